//! `send` that composes a message, and `send --wait`: what arrives, what is said, and with which exit code.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::support::server::{Answer, Arrival, Gate, Server, say};
use crate::support::stage::{Ran, Stage, finish, letter, pass_time, plain, until};
use crate::{ask, done, refused};

const FROM: &str = "from = \"panel@example.com\"\ndomain = \"example.com\"\n";

/// A stage whose configuration names a sender and a domain.
fn stage(server: &Server) -> Stage {
    let stage = Stage::new(&plain(server.port()), "");
    stage.set("hostname", &format!("\"box.example.com\"\n{FROM}"));
    stage
}

/// `send` with that on its stdin.
fn send(stage: &Stage, arguments: &[&str], stdin: &[u8]) -> Ran {
    let path = stage.dir().join("stdin");
    fs::write(&path, stdin).unwrap();
    let mut command = stage.command(&[&["send"], arguments].concat());
    command.stdin(Stdio::from(fs::File::open(path).unwrap()));
    finish(command)
}

/// Sends, delivers, and gives what arrived.
fn arrival(stage: &Stage, server: &Server, arguments: &[&str], stdin: &[u8]) -> Arrival {
    let before = server.taken().len();
    let ran = send(stage, arguments, stdin);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}: {ran:?}");
    assert_eq!(ran.stdout.trim_end().len(), 32, "{ran:?}");
    done(stage, &["flush", "--strict"]);
    server.wait_taken(before + 1);
    server.taken()[before].clone()
}

fn body(arrival: &Arrival) -> String {
    let text = String::from_utf8(arrival.bytes.clone()).unwrap();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn text_on_stdin_with_a_recipient_and_a_subject_is_a_message() {
    let server = Server::start();
    let stage = stage(&server);
    let arrived = arrival(&stage, &server, &["--to", "ops@example.com", "--subject", "door 3"], b"open\n");
    assert_eq!(arrived.reverse_path, "panel@example.com");
    assert_eq!(arrived.forward_paths, ["ops@example.com"]);
    let field = |name: &str| arrived.field(name);
    assert_eq!(field("To").as_deref(), Some("<ops@example.com>"));
    assert_eq!(field("From").as_deref(), Some("panel@example.com"));
    assert_eq!(field("Content-Type").as_deref(), Some("text/plain; charset=\"utf-8\""));
    assert!(field("Date").is_some() && field("MIME-Version").is_some());
    assert!(field("Message-ID").unwrap().contains("box.example.com"), "{:?}", field("Message-ID"));
    assert_eq!(body(&arrived), "open\r\n");
    // The subject is its name in the spool.
    send(&stage, &["--to", "ops@example.com", "--subject", "door 4"], b"");
    assert_eq!(stage.list()[0]["file"], "door_4");
}

#[test]
fn the_envelope_of_what_is_composed_is_that_of_its_header() {
    let server = Server::start();
    let stage = stage(&server);
    let arguments = [
        ["--from", "Tür <door@example.com>"],
        ["--to", "\"Ops, Night\" <ops@example.com>"],
        ["--to", "root, b@example.com"],
        ["--cc", "c@example.com"],
        ["--bcc", "hidden@example.com"],
        ["--subject", "Tür 3"],
        ["--body", "für 3 min"],
        ["--header", "X-Zone: 3"],
    ];
    let arrived = arrival(&stage, &server, arguments.as_flattened(), b"not read");
    assert_eq!(arrived.reverse_path, "door@example.com");
    let expected =
        ["ops@example.com", "root@example.com", "b@example.com", "c@example.com", "hidden@example.com"];
    assert_eq!(arrived.forward_paths, expected);
    assert_eq!(arrived.field("Bcc"), None, "nobody sees it");
    let encoded = ["Q?T=C3=BCr", "B?VMO8cg=="].map(|t| Some(format!("=?utf-8?{t}?= <door@example.com>")));
    assert!(encoded.contains(&arrived.field("From")), "{:?}", arrived.field("From"));
    let encoded = ["Q?T=C3=BCr_3", "B?VMO8ciAz"].map(|t| Some(format!("=?utf-8?{t}?=")));
    assert!(encoded.contains(&arrived.field("Subject")), "{:?}", arrived.field("Subject"));
    assert_eq!(arrived.field("X-Zone").as_deref(), Some("3"));
    assert_eq!(body(&arrived), "f=C3=BCr 3 min\r\n");
    // The null reverse-path goes beside the message.
    let arrived = arrival(&stage, &server, &["--from", "", "--to", "Ops <ops@example.com>"], b"x\n");
    assert_eq!(
        (arrived.reverse_path.as_str(), &arrived.forward_paths[..]),
        ("", &["ops@example.com".into()][..])
    );
}

#[test]
fn html_and_files_go_with_it_to_the_octet() {
    let server = Server::start();
    let stage = stage(&server);
    fs::write(stage.dir().join("page.html"), "<p>für</p>").unwrap();
    let octets: Vec<u8> = (0..=255).cycle().take(3000).collect();
    fs::write(stage.dir().join("Plan ö.pdf"), &octets).unwrap();
    fs::write(stage.dir().join("log.txt"), "10%\r20%\n").unwrap();
    let arguments =
        ["--to", "a@example.com", "--html", "@page.html", "--attach", "Plan ö.pdf", "--attach", "log.txt"];
    let arrived = arrival(&stage, &server, &arguments, b"not read");
    let text = String::from_utf8(arrived.bytes.clone()).unwrap();
    let boundary = text.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
    let parts: Vec<&str> = text.split(&format!("--{boundary}\r\n")).skip(1).collect();
    assert_eq!(parts.len(), 3, "{text}");
    assert!(
        parts[0].starts_with("Content-Type: text/html;") && parts[0].contains("<p>f=C3=BCr</p>"),
        "{text}"
    );
    assert!(parts[1].starts_with("Content-Type: application/pdf\r\n"), "{}", parts[1]);
    assert!(parts[1].contains("filename*=UTF-8''Plan%20%C3%B6.pdf"), "{}", parts[1]);
    assert!(parts[2].starts_with("Content-Type: text/plain\r\n"), "{}", parts[2]);
    for (part, file) in [(parts[1], &octets[..]), (parts[2], b"10%\r20%\n")] {
        let encoded = part.split_once("\r\n\r\n").unwrap().1.split("\r\n--").next().unwrap();
        assert_eq!(decode(encoded), file);
    }
}

/// Base64 (RFC 4648), by its own definition.
fn decode(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
    for c in text.bytes().filter(|c| !c.is_ascii_whitespace() && *c != b'=') {
        bits = (bits << 6 | alphabet.iter().position(|a| *a == c).unwrap() as u32) & 0xFFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

#[test]
fn what_cannot_be_composed_is_not_taken() {
    let server = Server::start();
    let stage = stage(&server);
    fs::write(stage.dir().join("m.eml"), letter(1, &["ops@example.com"])).unwrap();
    for (arguments, code, words) in [
        (&[][..], 64, "expected FILE, or a recipient"),
        (&["--subject", "x"], 64, "expected FILE, or a recipient"),
        (&["m.eml", "--subject", "x"], 64, "cannot be used with"),
        (&["--to", "a@example.com", "--header", "A: b\r\nBcc: c@example.com"], 64, "expected one line"),
        (&["--to", "a@b@c"], 64, "--to: "),
        (&["--from", "", "--to", "root"], 64, "expected an address with a domain"),
        (&["--to", "a@example.com", "--attach", "nowhere"], 66, "cannot read nowhere: No such file"),
        (&["--to", "a@example.com", "--html", "@spool"], 66, "it is a directory"),
        (&["--to", "a@example.com", "--wait=5"], 64, "expected a span of time"),
    ] {
        let ran = send(&stage, arguments, b"");
        assert!(
            ran.code == code && ran.stderr.contains(words) && ran.stdout.is_empty(),
            "{arguments:?}: {ran:?}"
        );
    }
    assert!(stage.list().is_empty());
}

const TO: [&str; 4] = ["--to", "ops@example.com", "--subject", "x"];

fn wait(stage: &Stage, arguments: &[&str]) -> Ran {
    send(stage, &[&TO[..], arguments].concat(), b"text\n")
}

#[test]
fn wait_ends_when_the_message_is_delivered() {
    let server = Server::start();
    let stage = stage(&server);
    let service = stage.run();
    let ran = wait(&stage, &["--wait"]);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!((ran.code, ran.stderr.as_str(), lines.len()), (0, "", 2), "{ran:?}");
    assert_eq!(lines[0].len(), 32);
    assert!(lines[1].starts_with("delivered to ops@example.com: 250 "), "{ran:?}");
    // What has become of it is known later, too, and everybody may ask who knows the whole queue id.
    let request = |which: &str| format!("GET /v1/messages/{which}/outcome HTTP/1.1\r\nhost: x\r\n\r\n");
    let (status, text) = ask(&stage.spool().join("control"), &request(lines[0]));
    let became: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &became["state"]), (200, &"delivered".into()), "{text}");
    let ran = wait(&stage, &["--wait=30s", "--json"]);
    let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((ran.code, lines.len()), (0, 2), "{ran:?}");
    assert_eq!((&lines[0]["id"], &lines[1]["state"]), (&lines[1]["id"], &"delivered".into()));
    assert_eq!(lines[1]["recipients"][0]["outcome"]["delivered"]["code"], 250);
    assert_eq!(service.stop(), 0);
}

#[test]
fn wait_ends_when_the_message_is_given_up_or_removed() {
    let server = Server::scripted(|asked| match asked.line.starts_with("RCPT TO:<gone@") {
        true => say("550 5.1.1 nobody here"),
        false => Answer::Usual,
    });
    let stage = stage(&server);
    let service = stage.run();
    let ran = wait(&stage, &["--cc", "gone@example.com", "--wait"]);
    let id = ran.stdout.trim_end();
    assert_eq!((ran.code, id.len()), (69, 32), "{ran:?}");
    let said = format!("pillarbox: {id} was given up: to ops@example.com: 250 ");
    assert!(ran.stderr.starts_with(&said), "{ran:?}");
    assert!(
        ran.stderr.contains("gone@example.com refused: 550 5.1.1 nobody here (in reply to RCPT TO)\nhint: ")
    );
    // The words are in its record, also when the service has forgotten them.
    assert_eq!(service.stop(), 0);
    let service = stage.run();
    let request = format!("GET /v1/messages/{id}/outcome HTTP/1.1\r\nhost: x\r\n\r\n");
    let (_, text) = ask(&stage.spool().join("control"), &request);
    assert!(text.contains("\"state\":\"failed\"") && text.contains("nobody here"), "{text}");
    done(&stage, &["pause"]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wait(&stage, &["--name", "removed", "--wait"]));
        until("it to wait", || stage.names("pending").len() == 1);
        done(&stage, &["remove", "removed"]);
        let ran = waiting.join().unwrap();
        assert!(ran.code == 69 && ran.stderr.contains("was removed by an operator"), "{ran:?}");
    });
    assert_eq!(service.stop(), 0);
}

#[test]
fn wait_says_why_when_the_time_is_over() {
    let server = Server::scripted(|_| say("450 4.2.0 not now"));
    let stage = stage(&server);
    let service = stage.run();
    let ran = wait(&stage, &["--wait=1s"]);
    assert_eq!((ran.code, ran.stdout.trim_end().len()), (75, 32), "{ran:?}");
    assert!(ran.stderr.contains(" is waiting after 1s: "), "{ran:?}");
    assert!(
        ran.stderr.contains("not now") && ran.stderr.contains("hint: it is kept and will be sent"),
        "{ran:?}"
    );
    let id = ran.stdout.trim_end().to_owned();
    done(&stage, &["hold", &id]);
    let request = format!("GET /v1/messages/{id}/outcome?wait=0 HTTP/1.1\r\nhost: x\r\n\r\n");
    let (_, text) = ask(&stage.spool().join("control"), &request);
    assert!(text.contains("\"state\":\"held\"") && text.contains("an operator holds it"), "{text}");
    assert_eq!(service.stop(), 0);
    // And without a service nobody would ever deliver it.
    let ran = wait(&stage, &["--wait"]);
    assert_eq!((ran.code, ran.stdout.trim_end().len()), (75, 32), "{ran:?}");
    assert!(ran.stderr.contains("no service runs on this spool\nhint: pillarbox flush\n"), "{ran:?}");
    assert_eq!(stage.names("pending").len(), 2, "both are kept");
}

/// `send --wait` of a message whose final dot the server holds back, and its queue id.
fn waiting(stage: &Stage) -> (std::process::Child, BufReader<std::process::ChildStdout>, String) {
    let mut command = stage.command(&[&["send"], &TO[..], &["--wait"]].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"text\n").unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut id = String::new();
    out.read_line(&mut id).unwrap();
    assert_eq!(id.trim_end().len(), 32, "the queue id comes first, and at once");
    (child, out, id.trim_end().to_owned())
}

fn end(child: std::process::Child, mut out: impl BufRead) -> (i32, String, String) {
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), rest, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn wait_goes_on_when_the_service_was_started_anew() {
    let gate = Arc::new(Gate::default());
    let server = Server::start();
    let held = gate.clone();
    server.follow(move |asked| {
        if asked.line == "." {
            held.pass();
        }
        Answer::Usual
    });
    let stage = stage(&server);
    let service = stage.run();
    let (child, out, _) = waiting(&stage);
    server.wait_heard(".", 1);
    // What has become of that dot nobody knows: it is sent again, and that is waited for.
    service.kill();
    server.follow(|_| Answer::Usual);
    gate.open();
    let service = stage.run();
    let (code, rest, stderr) = end(child, out);
    assert!(code == 0 && rest.starts_with("delivered to ops@example.com: 250 "), "{code} {rest} {stderr}");
    // A reload is no restart: who waits for the next one goes on waiting.
    done(&stage, &["pause"]);
    let (child, out, _) = waiting(&stage);
    done(&stage, &["reload"]);
    done(&stage, &["resume"]);
    let (code, rest, stderr) = end(child, out);
    assert_eq!((code, stderr.as_str()), (0, ""), "{rest}");
    assert_eq!(service.stop(), 0);
}

#[test]
fn wait_says_so_when_nobody_knows_any_more_or_nobody_is_there() {
    let server = Server::start();
    let stage = stage(&server);
    done(&stage, &["pause"]);
    let service = stage.run();
    let (child, out, _) = waiting(&stage);
    service.kill();
    done(&stage, &["resume"]);
    done(&stage, &["flush", "--strict"]);
    let service = stage.run();
    let (code, rest, stderr) = end(child, out);
    assert_eq!((code, rest.as_str()), (75, ""), "{stderr}");
    assert!(stderr.contains("is not known any more") && stderr.contains("hint: the log"), "{stderr}");
    done(&stage, &["pause"]);
    let (child, out, id) = waiting(&stage);
    assert_eq!(service.stop(), 0);
    let (code, _, stderr) = end(child, out);
    assert!(code == 75 && stderr.contains("the service that was to deliver it has gone"), "{stderr}");
    assert_eq!(stage.list()[0]["id"], *id, "it is kept");
}

/// A killed --wait loses nothing, and many of them keep nobody from the socket.
#[test]
fn many_who_wait_keep_nobody_from_being_heard() {
    let server = Server::start();
    let stage = stage(&server);
    let service = stage.run();
    done(&stage, &["pause"]);
    let mut all: Vec<_> = (0..36).map(|_| waiting(&stage)).collect();
    pass_time(Duration::from_millis(300));
    for _ in 0..5 {
        assert!(stage.status()["sender"].is_object(), "it answers");
    }
    let (mut first, out, _) = all.remove(0);
    first.kill().unwrap();
    drop(out);
    first.wait().unwrap();
    done(&stage, &["resume"]);
    for (child, out, _) in all {
        let (code, rest, stderr) = end(child, out);
        assert!(code == 0 && rest.starts_with("delivered "), "{code} {rest} {stderr}");
    }
    server.wait_taken(36);
    assert_eq!(service.stop(), 0);
}

#[test]
fn what_became_of_a_message_is_asked_for_by_a_whole_queue_id_or_by_who_may_see_it() {
    let stage = Stage::new("", "");
    let service = stage.run();
    let said = refused(&stage, &["show", "nowhere"], 65);
    assert!(said.contains("no message"), "{said}");
    let (status, text) =
        ask(&stage.spool().join("control"), "GET /v1/messages/nowhere/outcome HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(status == 404 && text.contains("not-found"), "{text}");
    let id = "0".repeat(32);
    let (status, text) = ask(
        &stage.spool().join("control"),
        &format!("GET /v1/messages/{id}/outcome?wait=20 HTTP/1.1\r\nhost: x\r\n\r\n"),
    );
    assert!(status == 200 && text.contains("\"state\":\"unknown\""), "{text}");
    assert_eq!(service.stop(), 0);
}
