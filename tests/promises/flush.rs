//! `flush`: one pass for cron, which mails whatever is printed.

use std::fs;

use crate::support::server::{Answer, Server, say};
use crate::support::stage::{Ran, Stage, alarms, letter, plain};

fn is_silent(ran: &Ran, code: i32) {
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (code, "", ""));
}

#[test]
fn flush_delivers_what_is_there_in_order_and_ends() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    is_silent(&stage.pillarbox(&["flush"]), 0);
    is_silent(&stage.pillarbox(&["flush", "--strict"]), 0);
    assert_eq!(server.sessions(), 0, "a connection without anything to send");
    stage.drop_letters([3, 1]);
    // Written in place a moment ago, as most scripts do.
    fs::write(stage.pickup().join("2.eml"), letter(2, &["ops@example.com"])).unwrap();
    is_silent(&stage.pillarbox(&["flush", "--strict"]), 0);
    assert_eq!(server.subjects(), alarms([3, 1, 2]));
    assert_eq!((server.sessions(), server.count("QUIT")), (1, 1));
    assert!(stage.is_empty());
}

#[test]
fn flush_is_silent_about_a_server_that_is_down_and_keeps_what_it_accepted() {
    let server = Server::scripted(|_| Answer::SayAndCut("421 4.3.2 down"));
    let stage = Stage::new(&plain(server.port()), "");
    stage.drop_letters([2, 1]);
    is_silent(&stage.pillarbox(&["flush"]), 0);
    is_silent(&stage.pillarbox(&["flush", "--strict"]), 75);
    assert_eq!((stage.names("pickup").len(), stage.names("pending").len(), stage.records().len()), (0, 2, 0));
    assert_eq!(stage.status()["sender"]["state"], "unusable");
    server.follow(|_| Answer::Usual);
    is_silent(&stage.pillarbox(&["flush", "--strict"]), 0);
    assert_eq!(server.subjects(), alarms([2, 1]));
}

#[test]
fn flush_is_silent_about_a_daemon_that_holds_the_lock() {
    let stage = Stage::new("", "");
    let service = stage.run();
    is_silent(&stage.pillarbox(&["flush"]), 0);
    is_silent(&stage.pillarbox(&["flush", "--strict"]), 0);
    stage.drop_letters([1]);
    is_silent(&stage.pillarbox(&["flush"]), 0);
    is_silent(&stage.pillarbox(&["flush", "--strict"]), 75);
    assert_eq!(service.stop(), 0);
}

#[test]
fn flush_without_a_smarthost_accepts_and_keeps() {
    let stage = Stage::new("", "");
    stage.drop_letters([1]);
    is_silent(&stage.pillarbox(&["flush"]), 0);
    is_silent(&stage.pillarbox(&["flush", "--strict"]), 75);
    assert_eq!(stage.names("pending").len(), 1);
}

#[test]
fn flush_ends_its_pass_at_a_message_that_holds_the_line() {
    let server = Server::scripted(|asked| match asked.line {
        "RCPT TO:<late@example.com>" => say("450 4.2.1 not now"),
        _ => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "");
    stage.drop_letters([1]);
    stage.drop_in("2.eml", letter(2, &["late@example.com"]));
    stage.drop_letters([3]);
    is_silent(&stage.pillarbox(&["flush"]), 0);
    assert_eq!(server.subjects(), alarms([1]));
    assert_eq!(server.count("RCPT TO:<late@"), 1);
    assert_eq!((stage.names("pending").len(), stage.records().len()), (2, 1));
    server.follow(|_| Answer::Usual);
    is_silent(&stage.pillarbox(&["flush", "--strict"]), 0);
    assert_eq!(server.subjects(), alarms([1, 2, 3]));
}

#[test]
fn flush_says_where_a_spool_is_missing_even_to_cron() {
    let stage = Stage::without_spool();
    stage.configure("", "");
    let ran = stage.pillarbox(&["flush"]);
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(ran.stderr.contains("hint: pillarbox init --spool "), "{ran:?}");
}

#[test]
fn flush_lets_the_others_pass_a_message_with_which_the_line_is_lost() {
    let server = Server::scripted(|asked| match asked.line.starts_with("RCPT TO:<poison@") {
        true => Answer::Cut,
        false => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "");
    stage.drop_in("1.eml", letter(1, &["poison@example.com"]));
    stage.drop_letters([2, 3]);
    is_silent(&stage.pillarbox(&["flush"]), 0);
    assert_eq!(server.subjects(), alarms([2, 3]));
    assert_eq!(stage.list()[0]["state"], "aside");
}
