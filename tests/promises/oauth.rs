//! OAuth 2.0 end to end: tokens that are asked for, renewed, refused, and never lost in a crash.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::login::a_thousand_wait_and_leave;
use crate::ptrace::{self, Call, Trace, Watch, When};
use crate::support::LIMIT;
use crate::support::issuer::{Issuer, Verdict};
use crate::support::server::{Options, Server};
use crate::support::stage::{Stage, plain};

pub(crate) const USER: &str = "alarm@example.com";
const SECRET: &str = "client_secret = \"client-secret-of-the-test\"\n";
const REFRESH: &str = "refresh_token = \"first-refresh-token-of-the-test\"\n";
const FILE: &str = "oauth-127.0.0.1.json";

/// A token endpoint, and a mail server that takes its tokens and no other.
struct Room {
    _dir: tempfile::TempDir,
    issuer: Issuer,
    server: Server,
}

fn grant(seconds: u64, rotate: bool) -> Verdict {
    Verdict::Grant { seconds, rotate }
}

fn room() -> Room {
    let dir = tempfile::tempdir().unwrap();
    let issuer = Issuer::new(dir.path());
    let server = guarded(&issuer);
    Room { _dir: dir, issuer, server }
}

/// A mail server that asks `issuer`.
pub(crate) fn guarded(issuer: &Issuer) -> Server {
    let options = Options {
        offers: vec!["AUTH XOAUTH2"],
        login: Some((USER, "no such password")),
        ..Options::default()
    };
    Server::with(options, issuer.guard(USER))
}

impl Room {
    fn smarthost(&self, oauth: &str) -> String {
        format!("{}user = {USER:?}\n{}", plain(self.server.port()), self.issuer.oauth(oauth))
    }

    fn app(&self) -> String {
        self.smarthost(SECRET)
    }

    fn person(&self) -> String {
        self.smarthost(&[SECRET, REFRESH].concat())
    }

    /// The refresh tokens that were shown, in order.
    fn shown(&self) -> Vec<String> {
        self.issuer.forms().iter().map(|form| form.field("refresh_token").to_owned()).collect()
    }
}

fn flush(stage: &Stage, code: i32) {
    let ran = stage.pillarbox(&["flush", "--strict"]);
    assert_eq!(ran.code, code, "{ran:?}");
}

#[test]
fn a_token_is_asked_for_once_kept_for_its_owner_alone_and_used_by_the_next_run() {
    let room = room();
    let stage = Stage::new(&room.app(), "");
    for number in 1..=3 {
        stage.drop_letters([number]);
        flush(&stage, 0);
    }
    assert_eq!(room.server.subjects(), ["alarm 1", "alarm 2", "alarm 3"]);
    let forms = room.issuer.forms();
    assert_eq!(forms.len(), 1, "{forms:?}");
    assert_eq!(forms[0].field("grant_type"), "client_credentials");
    assert_eq!(forms[0].field("client_id"), "box");
    assert_eq!(forms[0].field("client_secret"), "client-secret-of-the-test");
    let mode = std::fs::metadata(stage.spool().join("meta").join(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_token_that_has_ended_is_not_shown_to_the_server() {
    let room = room();
    // Good for no time at all.
    room.issuer.follow(|_| grant(0, false));
    let stage = Stage::new(&room.app(), "");
    for number in 1..=2 {
        stage.drop_letters([number]);
        flush(&stage, 0);
    }
    assert_eq!(room.issuer.forms().len(), 2);
    assert_eq!((room.server.taken().len(), room.server.count("AUTH")), (2, 2));
}

#[test]
fn a_refused_token_is_renewed_once_and_costs_nobody_anything() {
    let room = room();
    let stage = Stage::new(&room.app(), "");
    let service = stage.run();
    stage.drop_letters([1]);
    room.server.wait_taken(1);
    room.server.wait_heard("QUIT", 1);
    room.issuer.revoke_all();
    stage.drop_letters([2]);
    room.server.wait_taken(2);
    service.wait_log("INFO token-refused smarthost= 535");
    assert!(!service.log().contains("smarthost-unusable"), "{}", service.log());
    assert_eq!(room.issuer.forms().len(), 2);
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_server_that_refuses_every_token_is_a_refused_login_and_no_loop() {
    let room = room();
    room.server.follow(|_| crate::support::server::Answer::Usual);
    let stage = Stage::new(&room.app(), "");
    stage.drop_letters([1]);
    flush(&stage, 75);
    // What was granted just now is not asked for again.
    assert_eq!((room.issuer.forms().len(), room.server.count("AUTH")), (1, 1));
    for run in 2..=4 {
        flush(&stage, 75);
        assert_eq!(room.issuer.forms().len(), run);
        assert_eq!(room.server.count("AUTH"), 2 * run - 1);
    }
    assert_eq!((stage.names("pending").len(), stage.names("failed").len()), (1, 0));
    let sender = &stage.status()["sender"];
    assert!(sender["cause"].as_str().unwrap().contains("535 5.7.8"), "{sender}");
    assert!(
        sender["hint"].as_str().unwrap().starts_with("the server does not take this token: "),
        "{sender}"
    );
}

#[test]
fn a_rotated_refresh_token_takes_the_place_of_the_one_before() {
    let room = room();
    room.issuer.follow(|_| grant(0, true));
    let stage = Stage::new(&room.person(), "");
    for number in 1..=3 {
        stage.drop_letters([number]);
        flush(&stage, 0);
    }
    let expected =
        ["first-refresh-token-of-the-test", "refresh-token-of-the-test-1", "refresh-token-of-the-test-2"];
    assert_eq!(room.shown(), expected);
    assert_eq!(room.server.taken().len(), 3);
}

#[test]
fn each_error_of_the_endpoint_is_told_with_its_cure_and_charged_to_no_message() {
    let room = room();
    let stage = Stage::new(&room.app(), "");
    stage.drop_letters([1]);
    for (status, json, cause, hint) in [
        (
            401,
            "{\"error\":\"invalid_client\",\"error_codes\":[7000222],\"error_description\":\"AADSTS7000222: no\"}",
            "the client secret has ended (invalid_client, AADSTS7000222: no)",
            "make a new secret",
        ),
        (400, "{\"error\":\"invalid_scope\"}", "the scope is not valid", "check scope"),
        (503, "{}", "HTTP 503", "tried again"),
        (200, "<html>", "it is not JSON", "a proxy on the way"),
    ] {
        room.issuer.follow(move |_| Verdict::Refuse(status, json));
        flush(&stage, 75);
        let sender = stage.status()["sender"].clone();
        assert_eq!(sender["step"], "logging in", "{sender}");
        assert!(sender["cause"].as_str().unwrap().contains(cause), "{sender}");
        assert!(sender["hint"].as_str().unwrap().contains(hint), "{sender}");
    }
    assert_eq!((stage.names("pending").len(), stage.names("failed").len()), (1, 0));
    assert!(stage.records().is_empty(), "{:?}", stage.records());
    assert_eq!(room.server.sessions(), 0);
}

#[test]
fn an_endpoint_that_nobody_has_vouched_for_is_not_told_the_secret() {
    let room = room();
    let app = room.app();
    let without: Vec<&str> = app.lines().filter(|line| !line.starts_with("ca_file")).collect();
    let stage = Stage::new(&(without.join("\n") + "\n"), "");
    stage.drop_letters([1]);
    flush(&stage, 75);
    let sender = stage.status()["sender"].clone();
    assert!(sender["cause"].as_str().unwrap().contains("cannot be trusted"), "{sender}");
    assert!(sender["hint"].as_str().unwrap().contains("ca_file in [smarthost.oauth]"), "{sender}");
    assert_eq!((room.issuer.forms().len(), room.server.sessions()), (0, 0));
}

#[test]
fn a_thousand_messages_wait_in_order_for_the_right_secret() {
    let room = room();
    room.issuer.follow(|form| match form.field("client_secret") {
        "right" => grant(3600, false),
        _ => Verdict::Refuse(401, "{\"error\":\"invalid_client\",\"error_codes\":[7000215]}"),
    });
    let [wrong, right] = ["wrong", "right"].map(|s| room.smarthost(&format!("client_secret = {s:?}\n")));
    a_thousand_wait_and_leave(|| room.issuer.forms().len(), &room.server, &wrong, &right);
    assert_eq!(room.issuer.forms().len(), 101);
}

fn traced(stage: &Stage, kill: Option<(usize, When)>) -> Trace {
    let dir = stage.spool().canonicalize().unwrap();
    let watch = Watch { dir: &dir, kill, fail: None, limit: LIMIT };
    ptrace::run(&mut stage.command(&["flush", "--strict"]), &watch, drop).unwrap()
}

fn is_about_tokens(call: &Call) -> bool {
    let is_it =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains("oauth-"));
    call.paths.iter().any(is_it)
}

/// The calls by which the tokens are written, from the first to the sync of `meta/`.
fn writing(trace: &Trace) -> BTreeSet<usize> {
    let about =
        trace.calls.iter().enumerate().filter(|(_, call)| is_about_tokens(call)).map(|(at, _)| at + 1);
    let about: Vec<usize> = about.collect();
    let renamed = |at: &&usize| trace.calls[**at - 1].name.starts_with("rename");
    let renamed = *about.iter().find(renamed).expect("the file is renamed");
    about.into_iter().filter(|at| *at <= renamed).chain([renamed + 1]).collect()
}

#[test]
fn a_rotated_refresh_token_outlives_a_kill_at_each_call_of_its_write() {
    let counting = {
        let room = room();
        room.issuer.follow(|_| grant(0, true));
        let stage = Stage::new(&room.person(), "");
        stage.drop_letters([1]);
        flush(&stage, 0);
        stage.drop_letters([2]);
        traced(&stage, None)
    };
    let points = writing(&counting);
    let names: Vec<&str> = points.iter().map(|at| counting.calls[at - 1].name).collect();
    assert!(
        names.contains(&"write") && names.iter().filter(|n| n.contains("sync")).count() == 2,
        "{names:?}"
    );
    let mut kept = 0;
    for (at, when) in points.iter().flat_map(|&at| [(at, When::Before), (at, When::After)]) {
        let room = room();
        room.issuer.follow(|_| grant(0, true));
        let stage = Stage::new(&room.person(), "");
        stage.drop_letters([1]);
        flush(&stage, 0);
        stage.drop_letters([2]);
        let trace = traced(&stage, Some((at, when)));
        assert!(trace.killed, "{at} {when:?}: {:?}", trace.status);
        // Before the rename the one before is whole, and behind it the new one is.
        let text = stage.read("meta", FILE);
        let has = |number: usize| text.contains(&format!("\"refresh-token-of-the-test-{number}\""));
        assert!(has(1) != has(2), "{at} {when:?}: {text}");
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        let is_renamed = trace.calls[..at - usize::from(when == When::Before)]
            .iter()
            .any(|call| is_about_tokens(call) && call.name.starts_with("rename"));
        assert_eq!(has(2), is_renamed, "{at} {when:?}");
        // No login was tried with a token whose companion was not kept.
        assert_eq!(room.server.count("AUTH"), 1, "{at} {when:?}");
        if has(2) {
            kept += 1;
            flush(&stage, 0);
            assert_eq!(room.server.subjects(), ["alarm 1", "alarm 2"]);
            assert!(stage.names("meta").iter().all(|name| !name.starts_with(".oauth")));
        }
    }
    // Behind the rename, and on both sides of the sync of meta/.
    assert_eq!(kept, 3);
}

#[test]
fn a_stop_waits_for_an_answer_that_may_hold_a_refresh_token() {
    let room = room();
    let gate = std::sync::Arc::new(crate::support::server::Gate::default());
    let for_script = gate.clone();
    room.issuer.follow(move |_| {
        for_script.pass();
        grant(3600, true)
    });
    let stage = Stage::new(&room.person(), "");
    let service = stage.run();
    stage.drop_letters([1]);
    service.wait_log("INFO accepted");
    room.issuer.wait_reached();
    service.signal(rustix::process::Signal::TERM);
    service.wait_log("INFO stopping");
    gate.open();
    assert_eq!(service.stop(), 0);
    assert!(stage.read("meta", FILE).contains("refresh-token-of-the-test-1"));
    assert_eq!(room.server.sessions(), 0);
}
