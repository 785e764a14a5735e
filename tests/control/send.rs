//! `send`: a message handed in is durable, or was not taken.

use std::fs;
use std::process::Stdio;

use crate::support::server::Server;
use crate::support::stage::{Stage, letter, plain};
use crate::{ask, done, refused, states, with_and_without_a_service};

fn write(stage: &Stage, name: &str, text: &str) {
    fs::write(stage.dir().join(name), text).unwrap();
}

#[test]
fn send_prints_the_queue_id_of_a_message_that_is_durable() {
    with_and_without_a_service(
        || Stage::new("", ""),
        |stage, _| {
            let text = letter(1, &["ops@example.com"]);
            write(stage, "door 3.eml", &text);
            let id = done(stage, &["send", "door 3.eml"]);
            assert_eq!(stage.list()[0]["id"], id.trim_end());
            let names = stage.names("pending");
            assert_eq!(stage.read("pending", &names[0]), text, "what was handed in is what lies there");
            let json = done(stage, &["send", "door 3.eml", "--name", "other", "--json"]);
            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!((&json["file"], &json["size"]), (&"other".into(), &text.len().into()));
            // From stdin, whose length nobody knows.
            let mut command = stage.command(&["send", "-"]);
            let file = fs::File::open(stage.dir().join("door 3.eml")).unwrap();
            let output = command.stdin(Stdio::from(file)).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            assert_eq!(states(stage), ["door_3 waiting", "other waiting", "stdin waiting"]);
        },
    );
}

#[test]
fn an_envelope_that_is_given_is_the_only_one_that_is_read() {
    for served in [false, true] {
        let server = Server::start();
        let stage = Stage::new(&plain(server.port()), "");
        let service = served.then(|| stage.run());
        let text = "X-Sender: evil@example.com\nX-Receiver: evil@example.com\nFrom: a@example.com\n\
            To: not@example.com\nBcc: hidden@example.com\nSubject: given\n\ntext\n";
        write(&stage, "m.eml", text);
        let from =
            ["send", "m.eml", "--from", "me@example.com", "--to", "x@example.com", "--to", "y@example.com"];
        done(&stage, &from);
        done(&stage, &["flush", "--strict"]);
        server.wait_taken(1);
        let arrival = &server.taken()[0];
        assert_eq!(arrival.reverse_path, "me@example.com");
        assert_eq!(arrival.forward_paths, ["x@example.com", "y@example.com"]);
        // The block is text like any other, and a Bcc is not for those who read it.
        assert_eq!(arrival.field("X-Receiver").as_deref(), Some("evil@example.com"));
        assert_eq!(arrival.field("X-Sender").as_deref(), Some("evil@example.com"));
        assert_eq!((arrival.field("Bcc"), arrival.field("To").as_deref()), (None, Some("not@example.com")));
        // The null reverse-path, and a header without any recipient.
        write(&stage, "n.eml", "From: a@example.com\nSubject: null\n\ntext\n");
        done(&stage, &["send", "n.eml", "--from", "", "--to", "x@example.com"]);
        done(&stage, &["flush", "--strict"]);
        server.wait_taken(2);
        assert_eq!(server.taken()[1].reverse_path, "");
        drop(service);
    }
}

#[test]
fn what_can_never_be_sent_is_not_taken() {
    with_and_without_a_service(
        || Stage::new("", ""),
        |stage, _| {
            let bad = [
                ("", "it is empty"),
                ("From: a@example.com\nSubject: x\n\ntext\n", "expected a recipient in To, Cc or Bcc"),
                (
                    "From: a@example.com\nTo: b@example.com\n\n\0\n",
                    "line 4: expected text, found a NUL octet",
                ),
            ];
            for (text, why) in bad {
                write(stage, "m.eml", text);
                let said = refused(stage, &["send", "m.eml"], 65);
                assert!(said.contains(&format!("the message was not taken: {why}")), "{said}");
            }
            for directory in ["pending", "failed", "meta"] {
                assert!(
                    stage.names(directory).iter().all(|n| n == "sender.json"),
                    "{directory} is not empty"
                );
            }
        },
    );
}

#[test]
fn a_wrong_command_line_hands_nothing_in() {
    let stage = Stage::new("", "");
    write(&stage, "m.eml", &letter(1, &["ops@example.com"]));
    for (arguments, code, words) in [
        (&["send", "m.eml", "--to", "x@example.com"][..], 64, "--from"),
        (&["send", "m.eml", "--from", "x@example.com"], 64, "--to"),
        (&["send", "m.eml", "--from", "x", "--to", "y@example.com"], 64, "expected an address"),
        (&["send", "nowhere.eml"], 66, "cannot read nowhere.eml: No such file"),
        (&["send", "spool"], 66, "it is a directory"),
    ] {
        let ran = stage.pillarbox(arguments);
        assert!(ran.code == code && ran.stderr.contains(words), "{ran:?}");
    }
    assert!(stage.list().is_empty());
}

/// Whoever hangs up has not said that this was all.
#[test]
fn a_message_that_does_not_come_whole_is_not_taken() {
    let stage = Stage::new("", "");
    let service = stage.run();
    let head = "POST /v1/messages HTTP/1.1\r\nhost: x\r\n";
    let text = letter(1, &["ops@example.com"]);
    for request in [
        format!("{head}content-length: 5000\r\n\r\n{text}"),
        format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n", text.len()),
    ] {
        let mut stream = std::os::unix::net::UnixStream::connect(stage.spool().join("control")).unwrap();
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        crate::support::stage::until("its first bytes to be there", || !stage.names("pending").is_empty());
        drop(stream);
        crate::support::stage::until("them to be gone", || stage.names("pending").is_empty());
    }
    let whole = format!("{head}content-length: {}\r\n\r\n{text}", text.len());
    assert_eq!(ask(&stage.spool().join("control"), &whole).0, 200);
    assert_eq!(states(&stage), ["message waiting"]);
    assert_eq!(service.stop(), 0);
}

/// It is enough to know where the spool is.
#[test]
fn a_broken_configuration_is_no_reason_not_to_take_a_message() {
    with_and_without_a_service(
        || Stage::new("", ""),
        |stage, _| {
            let config = fs::read_to_string(stage.config()).unwrap();
            fs::write(stage.config(), config + "[delivery]\nwhat = 5\n").unwrap();
            write(stage, "m.eml", &letter(1, &["ops@example.com"]));
            done(stage, &["send", "m.eml"]);
            assert_eq!(stage.names("pending").len(), 1);
        },
    );
}

#[test]
fn a_configuration_that_was_named_and_cannot_be_read_puts_no_message_into_another_spool() {
    let stage = Stage::new("", "");
    std::fs::write(stage.dir().join("1.eml"), letter(1, &["ops@example.com"])).unwrap();
    for (command, hint) in
        [("nowhere.toml", "`pillarbox init --config nowhere.toml`"), ("spool", "name a file")]
    {
        let said = refused(&stage, &["send", "1.eml", "--config", command], 78);
        assert!(said.contains(&format!("{command}: cannot be read: ")) && said.contains(hint), "{said}");
    }
    done(&stage, &["send", "1.eml", "--config", "nowhere.toml", "--spool", "spool"]);
    assert_eq!(stage.names("pending").len(), 1);
}
