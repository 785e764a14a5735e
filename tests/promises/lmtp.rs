//! LMTP (RFC 2033): behind the final dot each recipient has an outcome of his own.

use std::sync::Mutex;

use super::relays::listen_at;
use crate::support::server::{Answer, Arrival, Asked, GREETING, Server, say};
use crate::support::stage::{Stage, letter};

const ANNA: &str = "anna@example.com";
const BELA: &str = "bela@example.com";

/// Knows LHLO alone, and answers each final dot with the next of these.
fn lmtp(dots: Vec<fn() -> Answer>) -> Server {
    let dots = Mutex::new(dots.into_iter());
    Server::scripted(move |asked| match asked.line {
        "." => dots.lock().unwrap().next().map_or(Answer::Usual, |dot| dot()),
        line if line.starts_with("EHLO") || line.starts_with("HELO") => say("500 5.5.1 this is LMTP"),
        _ => greeting(asked),
    })
}

fn greeting(asked: &Asked<'_>) -> Answer {
    match asked.line.starts_with("LHLO ") {
        true => say("250-mx.example.com\r\n250-PIPELINING\r\n250 8BITMIME"),
        false => Answer::Usual,
    }
}

fn stage(server: &Server) -> Stage {
    Stage::new(&format!("[[smarthost]]\nurl = \"lmtp://127.0.0.1:{}\"\n", server.port()), "")
}

/// For whom each final dot was.
fn sent_to(server: &Server) -> Vec<Vec<String>> {
    server.arrivals().into_iter().map(|Arrival { forward_paths, .. }| forward_paths).collect()
}

#[test]
fn n3_lmtp_one_of_two_is_refused_behind_the_dot_and_the_other_is_not_sent_to_again() {
    let server = lmtp(vec![|| say("250 2.0.0 anna has it\r\n550 5.2.1 bela has left")]);
    let stage = stage(&server);
    let service = stage.run();
    stage.drop_in("1.eml", letter(1, &[ANNA, BELA]));
    let (report, _) = stage.the_failed_one();
    let line = |to: &str| report.lines().find(|line| line.contains(to)).unwrap_or_default().to_owned();
    assert!(line(ANNA).contains("taken by the server, which said: 250 2.0.0 anna has it"), "{report}");
    assert!(line(BELA).contains("refused: the server said: 550 5.2.1 bela has left"), "{report}");
    service.wait_log(&format!("INFO delivered {ANNA}"));
    service.wait_log(&format!("ERROR recipient-failed {BELA}"));
    assert_eq!(stage.pillarbox(&["retry", "1.eml"]).code, 0);
    stage.wait_empty();
    assert_eq!(sent_to(&server), [vec![ANNA, BELA], vec![BELA]]);
    assert!(stage.names("failed").is_empty());
    assert_eq!((server.count("EHLO"), server.count("HELO")), (0, 0));
}

#[test]
fn n3_lmtp_who_is_deferred_behind_the_dot_is_sent_to_again_alone_before_the_next_message() {
    let server = lmtp(vec![|| say("452 4.2.2 anna is full\r\n250 2.0.0 bela has it")]);
    let stage = stage(&server);
    stage.drop_in("1.eml", letter(1, &[ANNA, BELA]));
    stage.next_tick();
    stage.drop_in("2.eml", letter(2, &[BELA]));
    let service = stage.run();
    stage.wait_empty();
    assert_eq!(sent_to(&server), [vec![ANNA, BELA], vec![ANNA], vec![BELA]]);
    service.wait_log(&format!("INFO delivered {BELA}"));
    service.wait_log(&format!("WARN deferred {ANNA} 452 4.2.2"));
    assert!(stage.names("failed").is_empty());
}

#[test]
fn n5_lmtp_a_line_lost_between_two_replies_sends_again_only_to_the_one_without() {
    let server = Server::scripted(|asked| match asked.line {
        // A second session has to wait until the record was read.
        GREETING if asked.session > 1 => say("421 4.3.2 wait"),
        "." => Answer::SayAndCut("250 2.0.0 anna has it"),
        _ => greeting(asked),
    });
    let stage = stage(&server);
    stage.drop_in("1.eml", letter(1, &[ANNA, BELA]));
    let service = stage.run();
    // The outcome is on disk before the next session is opened.
    server.wait_sessions(2);
    service.wait_log("WARN outcome-unknown");
    service.wait_log(&format!("INFO delivered {ANNA}"));
    service.kill();
    let records = stage.records();
    assert_eq!(records.len(), 1, "{records:?}");
    let record: serde_json::Value = serde_json::from_str(&stage.read("meta", &records[0])).unwrap();
    assert_eq!((&record["unknown_ends"], &record["attempts"]), (&1.into(), &0.into()), "{record}");
    let of = |to: &str| {
        let recipients = record["envelope"]["recipients"].as_array().unwrap();
        recipients.iter().find(|r| r["address"] == to).unwrap()["outcome"].clone()
    };
    assert_eq!(of(ANNA)["delivered"]["code"], 250, "{record}");
    assert!(of(BELA).is_null(), "{record}");
    server.follow(greeting);
    let _service = stage.run();
    stage.wait_empty();
    assert_eq!(sent_to(&server), [vec![ANNA, BELA], vec![BELA]]);
    assert!(stage.names("failed").is_empty());
}

#[test]
fn lmtp_over_a_unix_socket() {
    let server = lmtp(vec![|| say("250 2.0.0 anna has it\r\n250 2.0.0 bela has it")]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lmtp");
    listen_at(&path, server.port());
    let stage = Stage::new(&format!("[[smarthost]]\nurl = \"lmtp+unix:{}\"\n", path.display()), "");
    stage.drop_in("1.eml", letter(1, &[ANNA, BELA]));
    let ran = stage.pillarbox(&["flush"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(stage.is_empty(), "{ran:?}");
    assert_eq!(sent_to(&server), [vec![ANNA, BELA]]);
}

#[test]
fn lmtp_to_a_server_of_smtp_is_charged_to_no_message_and_told() {
    let server = Server::start();
    let stage = stage(&server);
    stage.drop_in("1.eml", letter(1, &[ANNA]));
    let service = stage.run();
    service.wait_log("WARN smarthost-unusable the server does not offer LMTP");
    assert_eq!((server.count("HELO"), stage.names("failed").len()), (0, 0));
    stage.configure(
        &format!("[[smarthost]]\nurl = \"smtp://127.0.0.1:{}\"\ntls = \"none\"\n", server.port()),
        "",
    );
    assert_eq!(stage.pillarbox(&["reload"]).code, 0);
    server.wait_taken(1);
}
