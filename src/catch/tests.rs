//! Dialogues with a client that does what it is told, byte for byte.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct Client(BufReader<TcpStream>);

impl Client {
    /// Connected and greeted.
    fn to(catch: &Catch) -> Client {
        let stream = TcpStream::connect(catch.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client(BufReader::new(stream));
        assert!(client.reply().starts_with("220 "));
        client
    }

    /// Greeted, and EHLO said.
    fn introduced(catch: &Catch) -> Client {
        let mut client = Client::to(catch);
        client.say("EHLO test\r\n", &["250"]);
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// One reply with all its lines; empty at the end of the session.
    fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            assert!(line.is_empty() || line.ends_with("\r\n"), "{line:?}");
            reply += &line;
            if line.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
        }
    }

    /// Sends in one write and compares the beginnings of the replies.
    fn say(&mut self, sent: &str, expected: &[&str]) {
        self.send(sent.as_bytes());
        for want in expected {
            let reply = self.reply();
            assert!(reply.starts_with(want), "expected {want}, found {reply:?} in reply to {sent:?}");
        }
    }

    /// Reads until the server closes.
    fn end(mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        rest
    }
}

fn start(answer: AnswerMode, store: Option<&std::path::Path>) -> Catch {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Catch::start(Options { listen, store: store.map(Into::into), answer }).unwrap()
}

/// The next message that is told of: number, sender, recipients, bytes, answer.
fn next(catch: &Catch) -> (u64, String, Vec<String>, Vec<u8>, u16) {
    loop {
        match catch.events().recv_timeout(PATIENCE).unwrap() {
            Caught::Message { number, reverse_path, forward_paths, bytes, answered } => {
                return (number, reverse_path, forward_paths, bytes, answered);
            }
            Caught::NotStored { number, error } => panic!("{number}: {error}"),
            Caught::Connected(_) | Caught::Disconnected(_) => {}
        }
    }
}

const ONE: &str = "MAIL FROM:<a@x.org>\r\nRCPT TO:<b@y.org>\r\nDATA\r\nhi\r\n.\r\n";
const TAKEN: [&str; 4] = ["250 2.1.0", "250 2.1.5", "354 ", "250 2.0.0"];

#[test]
fn a_plain_session_step_by_step() {
    let catch = start(AnswerMode::Accept, None);
    let mut client = Client::to(&catch);
    client.send(b"EHLO test\r\n");
    let offer = client.reply();
    for keyword in ["PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"] {
        assert!(offer.lines().any(|line| line[4..] == *keyword), "{keyword} is missing in {offer}");
    }
    assert!(!offer.contains("AUTH") && !offer.contains("STARTTLS"));
    client.say("MAIL FROM:<a@x.org> SIZE=20 BODY=8BITMIME\r\n", &["250 2.1.0"]);
    client.say("RCPT TO:<b@y.org>\r\n", &["250 2.1.5"]);
    client.say("RCPT TO:<c@y.org>\r\n", &["250 2.1.5"]);
    client.say("DATA\r\n", &["354 "]);
    client.say("Subject: x\r\n\r\nh\u{fc}\r\n.\r\n", &["250 2.0.0"]);
    client.say("QUIT\r\n", &["221 2.0.0"]);
    assert_eq!(client.end(), "");
    let (number, from, to, bytes, answered) = next(&catch);
    assert_eq!((number, from.as_str(), answered), (1, "a@x.org", 250));
    assert_eq!(to, ["b@y.org", "c@y.org"]);
    assert_eq!(bytes, "Subject: x\r\n\r\nh\u{fc}\r\n".as_bytes());
}

#[test]
fn a_pipelined_group_is_answered_in_order_and_in_one_write() {
    let catch = start(AnswerMode::Accept, None);
    let mut client = Client::introduced(&catch);
    client.say("MAIL FROM:<a@x.org>\r\nRCPT TO:<b@y.org>\r\nDATA\r\n", &TAKEN[..3]);
    // The next transaction rides behind the final dot.
    client.send(b"1\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<refuse@y.org>\r\nRCPT TO:<c@y.org>\r\nDATA\r\n");
    let mut together = [0; 4096];
    let read = client.0.get_mut().read(&mut together).unwrap();
    let together = String::from_utf8_lossy(&together[..read]).into_owned();
    let codes: Vec<_> = together.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "250", "550", "250", "354"]);
    client.say("2\r\n.\r\nQUIT\r\n", &["250 2.0.0", "221"]);
    assert_eq!(next(&catch).3, b"1\r\n");
    let (number, from, to, bytes, _) = next(&catch);
    assert_eq!((number, from.as_str(), bytes.as_slice()), (2, "", &b"2\r\n"[..]));
    assert_eq!(to, ["c@y.org"]);
}

#[test]
fn bytes_come_out_as_they_were_before_stuffing() {
    let catch = start(AnswerMode::Accept, None);
    let mut client = Client::introduced(&catch);
    client.say("MAIL FROM:<a@x.org>\r\nRCPT TO:<b@y.org>\r\nDATA\r\n", &TAKEN[..3]);
    client.send(b"..\r\n...x\r\n\xff\x00\r\n..");
    client.send(b"\r");
    client.send(b"\n\r\n");
    client.send(b".");
    client.say("\r\n", &["250 2.0.0"]);
    assert_eq!(next(&catch).3, b".\r\n..x\r\n\xff\x00\r\n.\r\n\r\n");
}

#[test]
fn a_second_message_cannot_be_smuggled_into_the_first() {
    let catch = start(AnswerMode::Accept, None);
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r\n\0.\r\n"] {
        let mut client = Client::introduced(&catch);
        let body = format!("hi{end}MAIL FROM:<evil@x.org>\r\nRCPT TO:<b@y.org>\r\nDATA\r\nforged");
        client.say(
            &format!("MAIL FROM:<a@x.org>\r\nRCPT TO:<b@y.org>\r\nDATA\r\n{body}\r\n.\r\nQUIT\r\n"),
            &["250", "250", "354", "250", "221"],
        );
        let (_, from, _, bytes, _) = next(&catch);
        assert_eq!(from, "a@x.org");
        assert!(String::from_utf8(bytes).unwrap().contains("forged"), "{end:?} ended the first message");
        client.end();
    }
    // No second one came behind any of them.
    let mut client = Client::introduced(&catch);
    client.say(ONE, &TAKEN);
    assert_eq!(next(&catch).3, b"hi\r\n");
}

#[test]
fn a_bare_line_end_does_not_split_a_command() {
    let catch = start(AnswerMode::Accept, None);
    let mut client = Client::introduced(&catch);
    client.say("NOOP\nMAIL FROM:<a@x.org>\r\n", &["500 5.5.2"]);
    client.say("NOOP\rRSET\r\nRCPT TO:<b@y.org>\r\n", &["500 5.5.2", "503"]);
    client.say(&format!("{}\r\nNOOP\r\n", "x".repeat(1_000_000)), &["500 5.5.6", "250"]);
}

#[test]
fn the_answer_changes_under_open_sessions() {
    let catch = start(AnswerMode::Defer, None);
    let mut client = Client::introduced(&catch);
    client.say(ONE, &["250", "250", "354", "451 4.3.0"]);
    assert_eq!(next(&catch).4, 451);
    catch.set_answer(AnswerMode::Refuse).unwrap();
    client.say(ONE, &["250", "250", "354", "550 5.7.1"]);
    assert_eq!(next(&catch).4, 550);
    catch.set_answer(AnswerMode::Accept).unwrap();
    client.say(ONE, &TAKEN);
    assert_eq!((next(&catch).4, client.reply_to_quit()), (250, "221".into()));
}

impl Client {
    fn reply_to_quit(mut self) -> String {
        self.send(b"QUIT\r\n");
        self.reply()[..3].to_owned()
    }
}

#[test]
fn an_outage_closes_sessions_and_refuses_connections_on_the_same_port() {
    let catch = start(AnswerMode::Accept, None);
    let address = catch.address();
    for _ in 0..3 {
        let idle = Client::introduced(&catch);
        let mut busy = Client::introduced(&catch);
        busy.say("MAIL FROM:<a@x.org>\r\nRCPT TO:<b@y.org>\r\nDATA\r\nhalf a mess", &TAKEN[..3]);
        catch.set_answer(AnswerMode::Down).unwrap();
        assert!(idle.end().starts_with("421 4.3.2"));
        assert!(busy.end().starts_with("421 4.3.2"));
        let error = TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        // Again changes nothing.
        catch.set_answer(AnswerMode::Down).unwrap();
        catch.set_answer(AnswerMode::Accept).unwrap();
        Client::introduced(&catch).say(ONE, &TAKEN);
        assert_eq!(next(&catch).3, b"hi\r\n");
    }
    assert_eq!(catch.address(), address);
}

#[test]
fn it_can_start_in_an_outage() {
    let catch = start(AnswerMode::Down, None);
    assert!(TcpStream::connect(catch.address()).is_err());
    catch.set_answer(AnswerMode::Accept).unwrap();
    Client::introduced(&catch).say(ONE, &TAKEN);
}

#[test]
fn a_client_that_reads_nothing_cannot_put_off_an_outage() {
    let catch = start(AnswerMode::Accept, None);
    let mut client = Client::introduced(&catch);
    let stream = client.0.get_mut();
    // Until the replies fill the buffers of both sides and our writes no longer go through.
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    while stream.write_all(&b"HELP\r\n".repeat(10_000)).is_ok() {}
    catch.set_answer(AnswerMode::Down).unwrap();
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let catch = start(AnswerMode::Accept, None);
    let options = Options { listen: catch.address(), store: None, answer: AnswerMode::Accept };
    let error = Catch::start(options).unwrap_err();
    assert!(matches!(&error, StartError::Listen(at, e)
        if *at == catch.address() && e.kind() == std::io::ErrorKind::AddrInUse));
    assert!(error.to_string().contains(&catch.address().to_string()));
}

#[test]
fn stopping_says_goodbye_and_ends_the_events() {
    let catch = start(AnswerMode::Accept, None);
    let client = Client::introduced(&catch);
    let control = catch.control();
    control.stop();
    while catch.events().recv_timeout(PATIENCE).is_ok() {}
    assert!(client.end().starts_with("421"));
    assert!(control.set_answer(AnswerMode::Defer).is_err());
    catch.stop();
}

#[test]
fn what_is_taken_is_stored_and_what_is_not_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("caught");
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let catch = start(AnswerMode::Accept, Some(&dir));
    let mut client = Client::introduced(&catch);
    client.say(ONE, &TAKEN);
    catch.set_answer(AnswerMode::Defer).unwrap();
    client.say(ONE, &["250", "250", "354", "451"]);
    catch.stop();
    assert_eq!(read("000001.eml"), b"hi\r\n");
    let record: serde_json::Value = serde_json::from_slice(&read("000001.json")).unwrap();
    assert_eq!(record["number"], 1);
    assert_eq!(record["reverse_path"], "a@x.org");
    assert_eq!(record["forward_paths"], serde_json::json!(["b@y.org"]));
    assert!(record["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2);

    // It goes on behind what is there.
    let catch = start(AnswerMode::Accept, Some(&dir));
    Client::introduced(&catch).say(ONE, &TAKEN);
    assert_eq!(next(&catch).0, 2);
    assert_eq!(read("000002.eml"), b"hi\r\n");
}

#[test]
fn what_cannot_be_stored_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("caught");
    let catch = start(AnswerMode::Accept, Some(&dir));
    std::fs::remove_dir_all(&dir).unwrap();
    Client::introduced(&catch).say(ONE, &["250", "250", "354", "452 4.3.1"]);
    let mut told = Vec::new();
    while told.len() < 2 {
        match catch.events().recv_timeout(PATIENCE).unwrap() {
            Caught::NotStored { number, .. } => told.push((number, 0)),
            Caught::Message { number, answered, .. } => told.push((number, answered)),
            Caught::Connected(_) | Caught::Disconnected(_) => {}
        }
    }
    assert_eq!(told, [(1, 0), (1, 452)]);
}
