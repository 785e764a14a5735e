//! `flush` where a service runs: it hands over, and tells what came of it.

use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::done;
use crate::support::server::{Answer, Gate, Server, say};
use crate::support::stage::{Stage, alarms, letter, pass_time, plain};

fn flush(stage: &Stage) -> serde_json::Value {
    serde_json::from_str(&done(stage, &["flush", "--json"])).unwrap()
}

#[test]
fn flush_has_the_service_try_everything_now_and_tells_how_it_went() {
    let server = Server::scripted(|_| Answer::SayAndCut("421 4.3.2 down"));
    let stage = Stage::new(&plain(server.port()), "");
    stage.set("retry_interval", "\"1h\"");
    stage.set("settle", "\"400ms\"");
    // An idle session is not kept for somebody who waits.
    stage.set("keep_open", "\"1h\"");
    let service = stage.run();
    stage.drop_letters([1]);
    service.wait_log("WARN smarthost-unusable");
    let json = flush(&stage);
    assert_eq!((&json["end"], &json["left"]), (&"unusable".into(), &1.into()), "{json}");
    assert!(json["cause"].as_str().unwrap().contains("421 4.3.2 down"), "{json}");
    assert_eq!(stage.pillarbox(&["flush", "--strict"]).code, 75);
    server.follow(|_| Answer::Usual);
    // Written in place, so that it has to settle.
    fs::write(stage.pickup().join("2.eml"), letter(2, &["ops@example.com"])).unwrap();
    let json = flush(&stage);
    assert_eq!(
        (&json["end"], &json["delivered"], &json["left"]),
        (&"nothing-due".into(), &2.into(), &0.into()),
        "{json}"
    );
    assert_eq!(server.subjects(), alarms([1, 2]));
    // Again, while it lingers.
    stage.drop_letters([3]);
    server.wait_taken(3);
    assert_eq!(flush(&stage)["left"], 0);
    assert_eq!(stage.pillarbox(&["flush", "--strict"]).code, 0);
    assert_eq!(service.stop(), 0);
}

#[test]
fn flush_over_the_service_tries_what_is_aside_and_passes_what_breaks_the_line() {
    let server = Server::scripted(|asked| match asked.line {
        line if line.starts_with("RCPT TO:<poison@") => Answer::Cut,
        "RCPT TO:<late@example.com>" => say("450 4.2.1 not now"),
        _ => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "hold_line = \"0s\"");
    stage.set("retry_interval", "\"1h\"");
    let service = stage.run();
    stage.drop_in("late.eml", letter(1, &["late@example.com"]));
    service.wait_log("WARN message-stepped-aside");
    assert_eq!(flush(&stage)["left"], 1);
    server.wait_heard("RCPT TO:<late@", 2);
    stage.drop_in("poison.eml", letter(2, &["poison@example.com"]));
    stage.drop_letters([3]);
    service.wait_log_times("INFO accepted", 3);
    let json = flush(&stage);
    assert_eq!((&json["delivered"], &json["left"]), (&1.into(), &2.into()), "{json}");
    assert_eq!(server.subjects(), alarms([3]));
    assert_eq!(service.stop(), 0);
}

#[test]
fn to_interrupt_a_flush_ends_nothing_but_the_waiting() {
    let gate = Arc::new(Gate::default());
    let pass = Arc::clone(&gate);
    let server = Server::scripted(move |asked| {
        if asked.line == "." {
            pass.pass();
        }
        Answer::Usual
    });
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    stage.drop_letters([1]);
    server.wait_heard(".", 1);
    let mut waiting = stage.command(&["flush"]).stderr(Stdio::null()).spawn().unwrap();
    // It is asked something else meanwhile.
    assert_eq!(stage.status()["sending"], 1);
    // Not SIGINT: whoever runs the tests in the background has that ignored.
    kill_process(Pid::from_child(&waiting), Signal::TERM).unwrap();
    assert!(!waiting.wait().unwrap().success());
    gate.open();
    server.wait_taken(1);
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
}

/// Cron would mail what it says, through us: the service is restarted, and the next minute's pass finds it.
#[test]
fn a_service_that_stops_while_flush_waits_is_nothing_to_mail() {
    let gate = Arc::new(Gate::default());
    let pass = Arc::clone(&gate);
    let server = Server::scripted(move |asked| {
        if asked.line == "." {
            pass.pass();
        }
        Answer::Usual
    });
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    stage.drop_letters([1]);
    server.wait_heard(".", 1);
    let waiting = stage.command(&["flush"]).stderr(Stdio::piped()).spawn().unwrap();
    pass_time(Duration::from_millis(500));
    service.signal(Signal::TERM);
    service.wait_log("INFO stopping");
    gate.open();
    let ended = waiting.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!((ended.status.code(), said), (Some(0), String::new()));
}

#[test]
fn flush_does_not_wait_for_another_flush() {
    let gate = Arc::new(Gate::default());
    let pass = Arc::clone(&gate);
    let server = Server::scripted(move |asked| {
        if asked.line == "." {
            pass.pass();
        }
        Answer::Usual
    });
    let stage = Stage::new(&plain(server.port()), "");
    stage.drop_letters([1]);
    let first = stage.start(stage.command(&["flush"]));
    server.wait_heard(".", 1);
    assert_eq!(stage.pillarbox(&["flush", "--strict"]).code, 75);
    assert_eq!(done(&stage, &["flush"]), "");
    gate.open();
    server.wait_taken(1);
    stage.wait_empty();
    drop(first);
}
