//! Logins end to end: each mechanism, the strongest first, and a wrong password that costs no message.

use std::os::unix::fs::PermissionsExt;

use crate::support::certificate::certificate;
use crate::support::server::{Answer, Asked, Options, Server, say};
use crate::support::stage::{Stage, alarms, letter};

const USER: &str = "box@example.com";
const PASSWORD: &str = "open sesame";

/// A server inside TLS that offers these and knows the user, and the smarthost with this login.
struct Room {
    _dir: tempfile::TempDir,
    server: Server,
    smarthost: String,
}

fn room(offers: &'static str, script: impl Fn(&Asked<'_>) -> Answer + Send + Sync + 'static) -> Room {
    let dir = tempfile::tempdir().unwrap();
    let (ca_file, config) = certificate(dir.path(), "localhost");
    let options = Options {
        tls: Some(config),
        implicit_tls: true,
        offers: vec![offers],
        login: Some((USER, PASSWORD)),
    };
    let server = Server::with(options, script);
    let smarthost = format!(
        "[[smarthost]]\nurl = \"smtps://localhost:{}\"\nca_file = {ca_file:?}\nuser = {USER:?}\n",
        server.port()
    );
    Room { _dir: dir, server, smarthost }
}

impl Room {
    fn with(&self, rest: &str) -> String {
        format!("{}{rest}\n", self.smarthost)
    }

    fn with_password(&self, password: &str) -> String {
        self.with(&format!("password = {password:?}"))
    }

    /// The mechanisms that were tried.
    fn tried(&self) -> Vec<String> {
        let heard = self.server.heard();
        let names = heard.iter().filter_map(|line| line.strip_prefix("AUTH "));
        names.map(|rest| rest.split(' ').next().unwrap_or_default().to_owned()).collect()
    }
}

fn delivers(room: &Room, smarthost: &str) {
    let before = room.server.taken().len();
    let stage = Stage::new(smarthost, "");
    let service = stage.run();
    stage.drop_letters([1]);
    room.server.wait_taken(before + 1);
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
}

#[test]
fn every_mechanism_logs_in() {
    for (offers, mechanism) in [
        ("AUTH SCRAM-SHA-256", "SCRAM-SHA-256"),
        ("AUTH SCRAM-SHA-1", "SCRAM-SHA-1"),
        ("AUTH SCRAM-SHA-256 SCRAM-SHA-256-PLUS", "SCRAM-SHA-256-PLUS"),
        ("AUTH SCRAM-SHA-1-PLUS", "SCRAM-SHA-1-PLUS"),
        ("AUTH CRAM-MD5", "CRAM-MD5"),
        ("AUTH PLAIN", "PLAIN"),
        ("AUTH LOGIN", "LOGIN"),
    ] {
        let room = room(offers, |_| Answer::Usual);
        delivers(&room, &room.with_password(PASSWORD));
        assert_eq!(room.tried(), [mechanism]);
    }
    for (offers, mechanism) in
        [("AUTH PLAIN XOAUTH2", "XOAUTH2"), ("AUTH XOAUTH2 OAUTHBEARER", "OAUTHBEARER")]
    {
        let room = room(offers, |_| Answer::Usual);
        delivers(&room, &room.with(&format!("token = {PASSWORD:?}")));
        assert_eq!(room.tried(), [mechanism]);
    }
}

#[test]
fn the_strongest_comes_first_unless_auth_says_otherwise() {
    let room = room("AUTH LOGIN PLAIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256", |_| Answer::Usual);
    delivers(&room, &room.with_password(PASSWORD));
    delivers(&room, &(room.with_password(PASSWORD) + "auth = \"LOGIN\"\n"));
    delivers(
        &room,
        &(room.with_password(PASSWORD) + "auth = [\"GSSAPI\", \"CRAM-MD5\"]\n").replace("\"GSSAPI\", ", ""),
    );
    assert_eq!(room.tried(), ["SCRAM-SHA-256", "LOGIN", "CRAM-MD5"]);
}

#[test]
fn a_proof_that_is_refused_is_followed_by_the_password_and_what_worked_is_remembered() {
    // A server that keeps hashes, offers CRAM-MD5 and can never check it.
    let room = room("AUTH CRAM-MD5 PLAIN LOGIN", |asked| match asked.line {
        line if line.starts_with("Ym94QGV4YW1wbGUuY29t") => say("535 5.7.8 no"),
        _ => Answer::Usual,
    });
    let stage = Stage::new(&room.with_password(PASSWORD), "");
    let service = stage.run();
    stage.drop_letters([1]);
    room.server.wait_taken(1);
    room.server.wait_heard("QUIT", 1);
    stage.drop_letters([2]);
    room.server.wait_taken(2);
    assert_eq!(room.tried(), ["CRAM-MD5", "PLAIN", "PLAIN"]);
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_server_that_cannot_prove_that_it_knows_the_password_gets_no_message() {
    let room = room("AUTH SCRAM-SHA-256", |asked| match asked.line {
        line if line.starts_with("AUTH ") => say("235 2.7.0 whatever you say"),
        _ => Answer::Usual,
    });
    let stage = Stage::new(&room.with_password(PASSWORD), "");
    let service = stage.run();
    stage.drop_letters([1]);
    service.wait_log("WARN smarthost-unusable expected the server's proof that it knows the password hint=");
    assert_eq!(room.server.count("MAIL"), 0);
    assert_eq!(stage.names("pending").len(), 1);
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_wrong_password_is_tried_no_more_than_twice_in_a_session_and_then_once() {
    let room = room("AUTH SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN", |_| Answer::Usual);
    let stage = Stage::new(&room.with_password("wrong"), "");
    let service = stage.run();
    stage.drop_letters([1]);
    service.wait_log("WARN smarthost-unusable logging in 535 5.7.8 hint= check user and password");
    room.server.wait_sessions(3);
    assert_eq!(service.stop(), 0);
    let tried = room.tried();
    assert_eq!(tried[..2], ["SCRAM-SHA-256", "PLAIN"]);
    assert!(tried[2..].iter().all(|mechanism| mechanism == "PLAIN"), "{tried:?}");
    assert_eq!((stage.names("pending").len(), stage.records().len()), (1, 0));
}

#[test]
fn a_password_comes_from_a_command_that_holds_up_nobody() {
    let room = room("AUTH PLAIN", |_| Answer::Usual);
    let stage = Stage::new(&room.with("password = { command = [\"./secret\", \"of the box\"] }"), "");
    let script = stage.dir().join("secret");
    let write = |text: &str| {
        std::fs::write(&script, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    };
    write("echo geheim; echo geheim >&2; exit 7");
    let service = stage.run();
    stage.drop_letters([1]);
    service.wait_log(
        "WARN smarthost-unusable cannot get the password from the command ./secret: exit status: 7 hint=",
    );
    // What hangs is cut off by the stop as well.
    write("exec sleep 600");
    stage.drop_letters([2]);
    service.wait_log_times("INFO accepted", 2);
    assert_eq!(service.stop(), 0);
    assert_eq!(room.server.sessions(), 0);
    write("test \"$1\" = 'of the box' && echo 'open sesame'");
    let service = stage.run();
    assert!(!service.log().contains("geheim"));
    room.server.wait_taken(2);
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_thousand_messages_wait_in_order_for_the_right_password() {
    let room = room("AUTH CRAM-MD5 PLAIN", |_| Answer::Usual);
    let sessions = || room.server.sessions();
    a_thousand_wait_and_leave(
        sessions,
        &room.server,
        &room.with_password("wrong"),
        &room.with_password(PASSWORD),
    );
    assert!(room.tried().len() > 100);
}

/// A hundred passes with `wrong` charge nobody with anything; with `right` all leave in order. `tries` is how often it was tried.
pub(crate) fn a_thousand_wait_and_leave(
    tries: impl Fn() -> usize,
    server: &Server,
    wrong: &str,
    right: &str,
) {
    let stage = Stage::new(wrong, "");
    for number in 1..=1_000 {
        stage.drop_in(format!("{number:04}.eml"), letter(number, &["ops@example.com"]));
    }
    for _ in 0..100 {
        let ran = stage.pillarbox(&["flush", "--strict"]);
        assert_eq!(ran.code, 75, "{ran:?}");
    }
    assert_eq!((stage.names("pending").len(), stage.names("failed").len()), (1_000, 0));
    assert_eq!(stage.records(), Vec::<String>::new());
    assert!(tries() >= 100, "{}", tries());
    assert_eq!(server.arrivals(), []);
    let waiting: Vec<String> =
        stage.names("pending").iter().map(|name| stage.read("pending", name)).collect();
    let in_line: Vec<String> = waiting
        .iter()
        .filter_map(|text| text.lines().find_map(|line| line.strip_prefix("Subject: ")).map(str::to_owned))
        .collect();
    stage.configure(right, "");
    let ran = stage.pillarbox(&["flush", "--strict"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(server.subjects(), in_line);
    assert_eq!(
        {
            let mut sorted = server.subjects();
            sorted.sort();
            sorted
        },
        {
            let mut all = alarms(1..=1_000);
            all.sort();
            all
        }
    );
}
