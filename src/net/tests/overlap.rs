//! One round trip a message: what rides behind a final dot, and what becomes of it.

use std::sync::atomic::Ordering;

use super::*;
use crate::smtp::{Answer, EndCause, Transcript};

/// What a [`relay`] received.
#[derive(Default)]
struct Heard {
    /// How often it spoke, the greeting not counted: the round trips.
    turns: usize,
    commands: Vec<String>,
    messages: Vec<String>,
    /// The line was lost in the middle of a message, behind so many octets of it.
    cut_off_at: Option<usize>,
}

/// A server behind a slow line: it speaks only when nothing more comes. `answer` is given each command, or `.` for a
/// whole message, with the number of messages before; `None` is the usual answer.
async fn relay(mut link: impl Link, answer: impl Fn(&str, usize) -> Option<&'static str> + Send) -> Heard {
    let (mut heard, mut input, mut in_data, mut taken) = (Heard::default(), Vec::new(), false, false);
    let mut output = "220 mx\r\n".to_owned();
    link.write_all(std::mem::take(&mut output).as_bytes()).await.unwrap();
    loop {
        let end: &[u8] = if in_data { b"\r\n.\r\n" } else { b"\r\n" };
        let unit = match input.windows(end.len()).position(|w| w == end) {
            _ if in_data && input.starts_with(b".\r\n") => Some(3),
            at => at.map(|at| at + end.len()),
        };
        let Some(unit) = unit else {
            match tokio::time::timeout(Duration::from_millis(1), link.read_buf(&mut input)).await {
                Ok(Ok(count)) if count > 0 => continue,
                Err(_) if output.is_empty() => continue,
                Err(_) if link.write_all(output.as_bytes()).await.is_ok() => {
                    heard.turns += 1;
                    if output.contains("421 ") {
                        return heard;
                    }
                    output.clear();
                    continue;
                }
                _ => {}
            }
            heard.cut_off_at = in_data.then_some(input.len());
            return heard;
        };
        let text = String::from_utf8(input.drain(..unit).collect()).unwrap();
        let number = heard.messages.len();
        let said = if std::mem::take(&mut in_data) {
            heard.messages.push(text);
            taken = false;
            answer(".", number).unwrap_or("250 queued")
        } else {
            let usual = match &text[..4] {
                "EHLO" => "250-mx\r\n250 PIPELINING",
                "DATA" if taken => "354 go",
                "DATA" => "554 5.5.1 no valid recipients",
                "QUIT" => "221 bye",
                _ => "250 ok",
            };
            let said = answer(text.trim_end(), number).unwrap_or(usual);
            taken |= text.starts_with("RCPT") && said.starts_with('2');
            taken &= !text.starts_with("RSET");
            in_data = said.starts_with("354");
            heard.commands.push(text.trim_end().to_owned());
            said
        };
        output.push_str(said);
        output.push_str("\r\n");
    }
}

fn numbered(number: usize) -> Transaction {
    Transaction { forward_paths: vec![format!("{number}@x.org").parse().unwrap()], ..transaction() }
}

fn text(number: usize) -> String {
    format!("a: b\r\n\r\n{number}\r\n.\r\n")
}

async fn send(
    connection: &mut Connection,
    number: usize,
    next: Option<usize>,
    now: &(dyn Fn() -> Monotonic + Sync),
) -> Transcript {
    let mut body = Blocks(vec![text(number).into_bytes()], None);
    connection.transact(numbered(number), &mut body, next.map(numbered), now).await
}

fn code(answer: &Answer) -> Option<u16> {
    answer.reply().map(|reply| reply.code)
}

/// A connection to a [`relay`] on a pipe.
async fn with_relay(
    answer: impl Fn(&str, usize) -> Option<&'static str> + Send + 'static,
    now: &(dyn Fn() -> Monotonic + Sync),
) -> (Connection, JoinHandle<Heard>) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let task = tokio::spawn(relay(theirs, answer));
    (over(ours, Arc::default(), options(TlsMode::None), now).await.unwrap(), task)
}

#[tokio::test(start_paused = true)]
async fn a_message_takes_one_round_trip_where_it_may() {
    // MAIL, RCPT, DATA, text; the group, the text; the text alone, behind one group for the first.
    for (pipelining, trips) in
        [(Pipelining::Off, 20 * 4), (Pipelining::Group, 20 * 2), (Pipelining::Overlap, 1 + 20)]
    {
        let (now, writes) = (clock(), Arc::new(AtomicUsize::new(0)));
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let task = tokio::spawn(relay(theirs, |_, _| None));
        let options = SessionOptions { pipelining, ..options(TlsMode::None) };
        let mut connection = over(ours, writes.clone(), options, &now).await.unwrap();
        for number in 0..20 {
            let next = (number < 19).then_some(number + 1);
            let transcript = send(&mut connection, number, next, &now).await;
            assert!(transcript.is_taken() && transcript.lost.is_none(), "{transcript:?}");
            let rides = next.filter(|_| pipelining == Pipelining::Overlap).map(numbered);
            assert_eq!(connection.ahead(), rides.as_ref());
        }
        assert!(connection.is_usable() && connection.bears_overlap());
        connection.quit(&now).await;
        let heard = task.await.unwrap();
        assert_eq!(heard.messages, (0..20).map(text).collect::<Vec<_>>());
        // EHLO and QUIT. Each turn of the server's answers one write of ours.
        assert_eq!((heard.turns, writes.load(Ordering::Relaxed)), (trips + 2, trips + 2), "{pipelining:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_rode_and_was_refused_is_known_before_it_is_begun_and_the_session_goes_on() {
    for refusal in ["550 5.1.1 no such user", "450 4.2.1 later"] {
        let now = clock();
        let answer = move |line: &str, _| line.starts_with("RCPT TO:<1@").then_some(refusal);
        let (mut connection, task) = with_relay(answer, &now).await;
        assert!(send(&mut connection, 0, Some(1), &now).await.is_taken());
        let refused = send(&mut connection, 1, Some(2), &now).await;
        assert_eq!(code(&refused.rcpts[0]), refusal[..3].parse().ok());
        assert_eq!((code(&refused.data), &refused.dot, &refused.lost), (Some(554), &Answer::NotSent, &None));
        // Nothing can ride behind a message that has no text.
        assert_eq!(connection.ahead(), None);
        assert!(send(&mut connection, 2, None, &now).await.is_taken());
        connection.quit(&now).await;
        let heard = task.await.unwrap();
        assert_eq!(heard.messages, [text(0), text(2)]);
        assert_eq!(heard.commands[7], "RSET");
        // EHLO, group, text 0 with 1's group, 2's group, text 2, QUIT.
        assert_eq!(heard.turns, 6);
    }
}

#[tokio::test(start_paused = true)]
async fn what_rode_is_given_up_without_a_dot() {
    // The message before was deferred, or the order changed: the one behind must not go.
    for way in ["abandon", "quit", "drop", "another"] {
        let now = clock();
        let answer = |line: &str, _| (line == ".").then_some("451 4.7.1 greylisted");
        let (mut connection, task) = with_relay(answer, &now).await;
        let transcript = send(&mut connection, 0, Some(1), &now).await;
        assert_eq!(code(&transcript.dot), Some(451));
        assert!(connection.ahead().is_some() && connection.is_usable());
        match way {
            "abandon" => {
                connection.abandon(&now).await;
                assert!(!connection.is_usable() && connection.bears_overlap());
                assert_eq!(connection.end().map(|end| &end.why), Some(&EndCause::Quit));
                // Also now it can be asked, and nothing of it was sent.
                let lost = send(&mut connection, 1, None, &now).await;
                assert_eq!(
                    (&lost.dot, lost.lost.map(|end| end.why)),
                    (&Answer::NotSent, Some(EndCause::Quit))
                );
            }
            "quit" => connection.quit(&now).await,
            "drop" => drop(connection),
            _ => {
                let lost = send(&mut connection, 2, None, &now).await;
                assert_eq!(
                    (&lost.mail, lost.lost.map(|end| end.why)),
                    (&Answer::NotSent, Some(EndCause::Quit))
                );
            }
        }
        let heard = task.await.unwrap();
        assert_eq!(heard.messages, [text(0)], "{way}");
        assert_eq!(
            heard.cut_off_at,
            Some(0),
            "{way}: more than nothing came of the message that was given up"
        );
        assert_eq!(heard.commands.last().map(String::as_str), Some("DATA"), "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_rode_and_was_refused_is_given_up_and_the_session_kept() {
    let now = clock();
    let answer = |line: &str, number: usize| match line {
        "." if number == 0 => Some("451 4.7.1 greylisted"),
        "RCPT TO:<1@x.org>" => Some("550 5.1.1 no"),
        _ => None,
    };
    let (mut connection, task) = with_relay(answer, &now).await;
    assert_eq!(code(&send(&mut connection, 0, Some(1), &now).await.dot), Some(451));
    connection.abandon(&now).await;
    assert!(connection.is_usable());
    assert!(send(&mut connection, 0, None, &now).await.is_taken());
    connection.quit(&now).await;
    assert_eq!(task.await.unwrap().messages, [text(0), text(0)]);
}

#[tokio::test(start_paused = true)]
async fn a_421_to_the_dot_takes_what_rode_with_it() {
    let now = clock();
    let answer = |line: &str, _| (line == ".").then_some("421 4.3.2 going");
    let (mut connection, task) = with_relay(answer, &now).await;
    let transcript = send(&mut connection, 0, Some(1), &now).await;
    assert_eq!(code(&transcript.dot), Some(421));
    assert!(transcript.lost.is_some() && !connection.is_usable() && connection.bears_overlap());
    let rode = send(&mut connection, 1, None, &now).await;
    assert_eq!(rode.dot, Answer::NotSent);
    assert!(rode.lost.is_some());
    assert_eq!(task.await.unwrap().messages, [text(0)]);
}

/// It has a thread of its own, and leaves what rode unread, which the kernel turns into a RST.
#[tokio::test]
async fn a_server_that_cuts_the_line_behind_each_message_gets_each_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let mut messages = Vec::new();
        for _ in 0..10 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"220 mx\r\n").unwrap();
            let ends = ["\r\n", "\r\n", "\r\n", "\r\n", "\r\n.\r\n"];
            let replies = ["250-mx\r\n250 PIPELINING", "250 ok", "250 ok", "354 go", "250 queued"];
            for (end, reply) in ends.iter().zip(replies) {
                let mut unit = Vec::new();
                while !unit.ends_with(end.as_bytes()) {
                    let mut octet = [0];
                    stream.read_exact(&mut octet).unwrap();
                    unit.push(octet[0]);
                }
                stream.write_all(format!("{reply}\r\n").as_bytes()).unwrap();
                if *end == ends[4] {
                    messages.push(String::from_utf8(unit).unwrap());
                }
            }
        }
        messages
    });
    let endpoint = Endpoint { host: "127.0.0.1".to_owned(), port, implicit: false };
    let now = clock();
    for number in 0..10 {
        let mut connection = Connection::open(&endpoint, options(TlsMode::None), None, &now).await.unwrap();
        let transcript = send(&mut connection, number, Some(number + 1), &now).await;
        assert!(transcript.is_taken(), "{transcript:?}");
        let rode = send(&mut connection, number + 1, None, &now).await;
        assert_eq!(rode.dot, Answer::NotSent);
        assert!(rode.lost.is_some() && !connection.is_usable() && !connection.bears_overlap());
    }
    assert_eq!(thread.join().unwrap(), (0..10).map(text).collect::<Vec<_>>());
}

/// The pipe takes 64 octets at a time: the dot is answered while what rides is still being written.
#[tokio::test(start_paused = true)]
async fn a_large_message_is_answered_while_what_rides_is_being_written() {
    let now = clock();
    let message = [HearMessage, Say("250 queued\r\n")];
    let steps =
        script(&[&OPENING, &TO_DATA, &message, &TO_DATA, &message, &[Hear("QUIT"), Say("221 bye\r\n")]]);
    let (ours, theirs) = tokio::io::duplex(64);
    let task = tokio::spawn(follow(theirs, steps, None));
    let mut connection = over(ours, Arc::default(), options(TlsMode::None), &now).await.unwrap();
    let blocks = || vec![b"x\r\n".repeat(1000), b"y\r\n".repeat(1000), b"z\r\n.\r\n".to_vec()];
    let next = Some(transaction());
    assert!(connection.transact(transaction(), &mut Blocks(blocks(), None), next, &now).await.is_taken());
    assert_eq!(connection.ahead(), Some(&transaction()));
    assert!(connection.transact(transaction(), &mut Blocks(blocks(), None), None, &now).await.is_taken());
    connection.quit(&now).await;
    let heard = String::from_utf8(task.await.unwrap()).unwrap();
    let whole = String::from_utf8(blocks().concat()).unwrap();
    assert!(heard.contains(&format!("DATA\r\n{whole}MAIL FROM:<>\r\n")));
    assert!(heard.ends_with(&format!("DATA\r\n{whole}QUIT\r\n")));
    assert_eq!(now().0, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_dot_is_out_with_its_own_last_octet_and_not_with_what_rides() {
    let block = [&b"x\r\n".repeat(100)[..], b".\r\n"].concat();
    // So many octets of the block are heard, 64 more lie in the pipe, and then the line is lost.
    for (octets, dot) in [(block.len() - 65, Answer::NotSent), (block.len() - 64, Answer::Awaited)] {
        let (now, gate) = (clock(), Arc::new(Notify::new()));
        let steps = script(&[&OPENING, &TO_DATA, &[HearSome(octets), Wait(gate.clone())]]);
        tokio::spawn(async move {
            // Once everybody waits.
            tokio::time::sleep(Duration::from_secs(1)).await;
            gate.notify_one();
        });
        let mut connection = on_a_pipe(steps, 64, &now).await.unwrap();
        let mut body = Blocks(vec![block.clone()], None);
        let transcript = connection.transact(transaction(), &mut body, Some(numbered(1)), &now).await;
        assert_eq!(transcript.dot, dot, "{octets}");
        let rode = connection.transact(numbered(1), &mut short(), None, &now).await;
        assert_eq!(rode.dot, Answer::NotSent);
        assert!(rode.lost.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_read_takes_nothing_along() {
    let now = clock();
    let (mut connection, task) = with_relay(|_, _| None, &now).await;
    let mut body = Blocks(vec![b"a: b\r\n".to_vec()], Some("input/output error"));
    let transcript = connection.transact(transaction(), &mut body, Some(numbered(1)), &now).await;
    assert_eq!((&transcript.dot, connection.ahead()), (&Answer::NotSent, None));
    let heard = task.await.unwrap();
    assert_eq!((heard.messages.len(), heard.cut_off_at), (0, Some(6)));
    assert!(!heard.commands.iter().any(|line| line.contains("1@x.org")));
}
