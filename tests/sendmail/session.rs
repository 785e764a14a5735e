//! `sendmail -bs`: what was answered 250 arrives, whole and in order.

use std::fs;

use crate::support::server::Server;
use crate::support::stage::{Ran, Stage, plain, until};
use crate::{program, run_with, stage};

const HEADER: &str = "From: ann@example.org\r\nTo: bob@example.org\r\nMessage-ID: <1@example.org>\r\n";

fn transaction(subject: &str, to: &str, body: &str) -> String {
    format!("MAIL FROM:<ann@example.org>\r\n{to}DATA\r\n{HEADER}Subject: {subject}\r\n\r\n{body}.\r\n")
}

fn speak(stage: &Stage, said: &str) -> Ran {
    run_with(program(stage, "sendmail", &["-bs"]), said)
}

/// The codes of the last lines of its replies.
fn codes(ran: &Ran) -> Vec<&str> {
    ran.stdout.lines().filter(|line| line.as_bytes().get(3) == Some(&b' ')).map(|line| &line[..3]).collect()
}

#[test]
fn several_messages_in_one_session_arrive_whole_and_in_order() {
    for with_service in [true, false] {
        let server = Server::start();
        let stage = stage(&plain(server.port()));
        let service = with_service.then(|| stage.run());
        let long = "A line of some length, so that two megabytes are soon there.\r\n".repeat(34_000);
        let to = "RCPT TO:<bob@example.org>\r\nRCPT TO:<root>\r\n";
        // A dot between bare line ends is no end, and what follows it no command.
        let smuggled = "..a dot\r\nhi\n.\nMAIL FROM:<eve@example.org>\nbye\r\n";
        let said = format!(
            "EHLO here\r\n{}{}{}QUIT\r\n",
            transaction("one", to, smuggled),
            transaction("two", to, &long),
            transaction("three", "RCPT TO:<bob@example.org>\r\nRCPT TO:<a b>\r\n", "end\r\n"),
        );
        let ran = speak(&stage, &said);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        let (two, three) = (["250", "250", "250", "354", "250"], ["250", "250", "501", "354", "250"]);
        let want = [&["220", "250"][..], &two, &two, &three, &["221"]].concat();
        assert_eq!(codes(&ran), want, "{}", ran.stdout);
        let word = if with_service { "accepted as" } else { "dropped as" };
        assert_eq!(ran.stdout.matches(word).count(), 3, "{}", ran.stdout);
        match service {
            Some(service) => {
                until("all arrived", || server.taken().len() == 3);
                assert_eq!(service.stop(), 0);
            }
            None => assert_eq!(stage.pillarbox(&["flush"]).code, 0),
        }
        let taken = server.taken();
        let subjects: Vec<String> = taken.iter().map(|arrival| arrival.subject()).collect();
        assert_eq!(subjects, ["one", "two", "three"]);
        assert_eq!(taken[0].forward_paths, ["bob@example.org", "root@example.com"]);
        assert_eq!(taken[2].forward_paths, ["bob@example.org"]);
        let body = |n: usize| {
            let text = String::from_utf8(taken[n].bytes.clone()).unwrap();
            text.split_once("\r\n\r\n").unwrap().1.to_owned()
        };
        assert_eq!(body(0), ".a dot\r\nhi\r\n.\r\nMAIL FROM:<eve@example.org>\r\nbye\r\n");
        assert!(body(1) == long, "the long one");
        assert!(stage.names("pickup").is_empty(), "nothing is left behind");
        // The line of an mbox in front ends no header.
        let mbox = format!(
            "MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nFrom ann Mon Nov 23\r\n{HEADER}Subject: four\r\n\r\nx\r\n.\r\nQUIT\r\n"
        );
        assert_eq!(codes(&speak(&stage, &format!("HELO x\r\n{mbox}"))).last(), Some(&"221"));
        assert_eq!(stage.pillarbox(&["flush"]).code, 0);
        assert_eq!(server.taken()[3].subject(), "four");
    }
}

#[test]
fn a_session_that_ends_within_a_message_stores_nothing() {
    let stage = stage("");
    for text in ["half", &"half a line, and many of them\r\n".repeat(50_000)] {
        let ran = speak(&stage, &format!("HELO x\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\n{text}"));
        assert_eq!(ran.code, 74, "{ran:?}");
        assert!(ran.stderr.contains("was not stored"), "{}", ran.stderr);
    }
    assert!(stage.names("pickup").is_empty());
    assert_eq!(speak(&stage, "EHLO x\r\n").code, 0, "a client that goes away between two messages");
}

#[test]
fn what_cannot_be_stored_is_answered_for_now_and_the_session_goes_on() {
    let stage = stage("");
    fs::remove_dir(stage.pickup()).unwrap();
    let to = "RCPT TO:<bob@example.org>\r\n";
    let long = "A line of some length, so that two megabytes are soon there.\r\n".repeat(34_000);
    let said = format!("EHLO x\r\n{}{}QUIT\r\n", transaction("a", to, "x\r\n"), transaction("b", to, &long));
    let ran = speak(&stage, &said);
    assert_eq!((ran.code, codes(&ran).last().copied()), (0, Some("221")), "{ran:?}");
    assert_eq!(codes(&ran).iter().filter(|code| **code == "451").count(), 2, "{}", ran.stdout);
    assert!(ran.stdout.contains("pillarbox init --spool"), "the cure is named: {}", ran.stdout);
}
