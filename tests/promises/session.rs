//! A session problem is charged to no message: the queue waits whole and in order.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use pillarbox::catch::{AnswerMode, Catch, Caught};

use crate::support::LIMIT;
use crate::support::server::{Answer, Asked, GREETING, Options, Server, say};
use crate::support::stage::{Stage, alarms, letter, plain, until};

const LOGIN: &str = "user = \"box\"\npassword = \"open sesame\"\n";

/// Holds the product to it while the server answers by `problem`; `step` and `words` are how status tells it.
fn charges_nothing(
    options: Options,
    smarthost: &str,
    problem: fn(&Asked<'_>) -> Answer,
    step: &str,
    words: &str,
    length: usize,
    numbers: &[usize],
) {
    let server = Server::with(options, problem);
    let stage = Stage::new(&(plain(server.port()) + smarthost), "");
    let service = stage.run();
    for &number in numbers {
        // Too long for any buffer on the way: a connection that is cut in the text is cut before the final dot.
        let text = "x".repeat(70) + "\n";
        stage.drop_in(
            format!("{number}.eml"),
            letter(number, &["ops@example.com"]) + &text.repeat(length / 70),
        );
        stage.next_tick();
    }
    service.wait_log_times("INFO accepted", numbers.len());
    service.wait_log(&format!("WARN smarthost-unusable step=\"{step}\" {words} hint="));
    // It is tried again and again, and that leaves no trace on any message.
    server.wait_sessions(4);
    assert_eq!(stage.records(), [""; 0]);
    assert_eq!(stage.names("failed"), [""; 0]);
    until("all to wait", || stage.names("pending").len() == numbers.len());
    // While a session is being tried it counts as usable.
    let mut status = stage.status();
    until("status to tell the problem", || {
        status = stage.status();
        status["sender"]["state"] == "unusable" && status["waiting"] == numbers.len()
    });
    assert_eq!(status["failed"], 0);
    assert_eq!(status["sender"]["step"], step);
    until("status to tell it in words", || {
        let text = stage.pillarbox(&["status"]).stdout;
        text.contains("NOT USABLE since 2") && text.contains("           hint: ")
    });

    server.follow(|_| Answer::Usual);
    server.wait_taken(numbers.len());
    stage.wait_empty();
    assert_eq!(server.subjects(), alarms(numbers.iter().copied()));
    assert_eq!(stage.names("failed"), [""; 0]);
    service.wait_log("INFO smarthost-usable");
    assert_eq!(service.stop(), 0);
}

fn charges_nothing_plain(problem: fn(&Asked<'_>) -> Answer, step: &str, words: &str) {
    charges_nothing(Options::default(), "", problem, step, words, 0, &[2, 1, 3]);
}

fn on(asked: &Asked<'_>, start: &str, reply: &str) -> Answer {
    if asked.line.starts_with(start) { say(reply) } else { Answer::Usual }
}

#[test]
fn a_greeting_of_421_is_charged_to_no_message() {
    let problem = |_: &Asked<'_>| Answer::SayAndCut("421 4.3.2 come back later");
    charges_nothing_plain(problem, "waiting for the greeting", "421 4.3.2 come back later");
}

#[test]
fn a_greeting_of_554_is_charged_to_no_message() {
    let problem = |asked: &Asked<'_>| on(asked, GREETING, "554 5.7.1 you are on a list");
    charges_nothing_plain(problem, "waiting for the greeting", "554 5.7.1 you are on a list");
}

#[test]
fn a_login_refused_with_535_is_charged_to_no_message() {
    let options = Options {
        offers: vec!["AUTH PLAIN LOGIN"],
        login: Some(("box", "open sesame")),
        ..Options::default()
    };
    let problem = |asked: &Asked<'_>| on(asked, "AUTH", "535 5.7.8 authentication failed");
    charges_nothing(options, LOGIN, problem, "logging in", "535 5.7.8 authentication failed", 0, &[2, 1, 3]);
}

#[test]
fn a_530_to_mail_is_charged_to_no_message() {
    let problem = |asked: &Asked<'_>| on(asked, "MAIL", "530 5.7.0 authentication required");
    charges_nothing_plain(problem, "waiting for the reply to MAIL FROM", "530 5.7.0 authentication required");
}

#[test]
fn a_421_to_the_final_dot_is_charged_to_no_message() {
    let problem = |asked: &Asked<'_>| match asked.line {
        "." => Answer::SayAndCut("421 4.3.0 shutting down"),
        _ => Answer::Usual,
    };
    let step = "waiting for the reply to the end of the message text (the message may be sent twice)";
    charges_nothing_plain(problem, step, "421 4.3.0 shutting down");
}

#[test]
fn a_connection_cut_in_the_message_text_is_charged_to_no_message() {
    let problem = |asked: &Asked<'_>| match asked.line {
        "DATA" => Answer::SayAndCut("354 go on"),
        _ => Answer::Usual,
    };
    // Alone: behind it another would be tried after three times.
    charges_nothing(Options::default(), "", problem, "sending the message text", "", 8 << 20, &[1]);
}

#[test]
fn a_connection_cut_behind_mail_is_charged_to_no_message() {
    let problem =
        |asked: &Asked<'_>| if asked.line.starts_with("MAIL") { Answer::Cut } else { Answer::Usual };
    charges_nothing(Options::default(), "", problem, "waiting for the reply to MAIL FROM", "", 0, &[1]);
}

#[test]
fn a_server_that_is_down_is_charged_to_no_message_and_found_again_when_it_is_up() {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let options = pillarbox::catch::Options { listen, store: None, answer: AnswerMode::Down };
    let catch = Catch::start(options).unwrap();
    let stage = Stage::new(&plain(catch.address().port()), "");
    let service = stage.run();
    stage.drop_letters([2, 1, 3]);
    service.wait_log_times("INFO accepted", 3);
    service.wait_log("WARN smarthost-unusable step= connection refused hint=");
    assert_eq!((stage.records().len(), stage.names("failed").len(), stage.names("pending").len()), (0, 0, 3));
    let status = stage.pillarbox(&["status"]).stdout;
    assert!(status.contains("connection refused") && status.contains("is the server running"), "{status}");

    catch.set_answer(AnswerMode::Accept).unwrap();
    let mut subjects = Vec::new();
    while subjects.len() < 3 {
        if let Caught::Message { bytes, .. } = catch.events().recv_timeout(LIMIT).unwrap() {
            let text = String::from_utf8(bytes).unwrap();
            subjects.extend(text.lines().find_map(|line| line.strip_prefix("Subject: ")).map(str::to_owned));
        }
    }
    assert_eq!(subjects, alarms([2, 1, 3]));
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
}

#[test]
fn without_a_smarthost_messages_are_kept_and_status_says_so() {
    let stage = Stage::new("", "");
    let service = stage.run();
    service.wait_log("WARN no-smarthost hint=");
    stage.drop_letters([2, 1]);
    service.wait_log_times("INFO accepted", 2);
    let status = stage.pillarbox(&["status"]).stdout;
    assert!(status.contains("smarthost  none is configured: messages are accepted and kept"), "{status}");
    assert!(status.contains("[[smarthost]]") && status.contains("waiting    2, the oldest (2)"), "{status}");
    assert_eq!(stage.status()["sender"]["state"], "no-smarthost");
    assert_eq!(service.stop(), 0);
    // Named later, it gets them all.
    let server = Server::start();
    stage.configure(&plain(server.port()), "");
    let service = stage.run();
    server.wait_taken(2);
    assert_eq!(server.subjects(), alarms([2, 1]));
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_session_that_took_something_and_ended_is_opened_again_at_once() {
    let server = Server::scripted(|asked| match asked.line {
        "." => Answer::SayAndCut("250 2.0.0 taken, and that was all"),
        _ => Answer::Usual,
    });
    // If it waited an interval after each, this would take minutes.
    let stage = Stage::new(&plain(server.port()), "");
    stage.set("retry_interval", "\"60s\"");
    let service = stage.run();
    stage.drop_letters(1..=5);
    server.wait_taken(5);
    assert_eq!(server.subjects(), alarms(1..=5));
    assert_eq!(server.arrivals()[4].session, 5);
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_server_that_takes_two_on_a_session_and_then_says_452_gets_the_rest_on_the_next() {
    // As OpenSMTPD does, after a hundred: it leaves the session open, and refuses whatever is tried on it.
    let taken = Mutex::new(HashMap::<usize, usize>::new());
    let server = Server::scripted(move |asked| {
        let mut taken = taken.lock().unwrap();
        let here = taken.entry(asked.session).or_default();
        match asked.line.get(..4) {
            Some("MAIL") if *here == 2 => say("452 4.5.3 Too many recipients: Too many messages sent"),
            Some("RCPT" | "DATA") if *here == 2 => say("503 5.5.1 no"),
            _ => {
                *here += usize::from(asked.line == ".");
                Answer::Usual
            }
        }
    });
    let stage = Stage::new(&plain(server.port()), "");
    stage.set("retry_interval", "\"60s\"");
    let service = stage.run();
    stage.drop_letters(1..=5);
    server.wait_taken(5);
    assert_eq!(server.subjects(), alarms(1..=5));
    assert_eq!(server.arrivals()[4].session, 3);
    assert_eq!(stage.records(), [""; 0]);
    assert!(!service.log().contains("deferred"), "{}", service.log());
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_message_that_gets_452_on_a_new_session_too_is_deferred() {
    let server = Server::scripted(|asked| match asked.line {
        line if line.starts_with("MAIL") && asked.session > 1 => say("452 4.3.1 no room"),
        "." => Answer::SayAndCut("250 2.0.0 taken"),
        _ => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "");
    stage.set("retry_interval", "\"60s\"");
    let service = stage.run();
    stage.drop_letters([1, 2]);
    service.wait_log("WARN deferred request=\"MAIL FROM\"");
    assert_eq!(server.sessions(), 2);
    assert_eq!(server.subjects(), alarms([1]));
    assert_eq!(service.stop(), 0);
}
