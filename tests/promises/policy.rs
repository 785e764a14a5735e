//! What stops the queue and what ends a message, with the real program.

use crate::support::server::{Answer, Server, say};
use crate::support::stage::{Stage, letter, plain, until};

#[test]
fn three_refused_alike_come_back_and_wait_until_one_is_taken() {
    let server = Server::scripted(|asked| match asked.line.starts_with("RCPT") {
        true => say("550 5.7.1 relaying denied"),
        false => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    for (n, to) in [(1, "a@example.com"), (2, "b@example.com"), (3, "c@example.com")] {
        stage.drop_in(format!("{n}.eml"), letter(n, &[to]));
    }
    service.wait_log("ERROR breaker-open");
    until("all to wait again", || stage.status()["waiting"] == 3 && stage.status()["failed"] == 0);
    assert_eq!(stage.status()["sender"]["state"], "breaker-open");
    // Each is tried in its turn, and none is given up; a kill changes nothing.
    server.wait_heard("RCPT TO:", 9);
    service.kill();
    let service = stage.run();
    server.wait_heard("RCPT TO:", 12);
    assert_eq!(stage.status()["failed"], 0);
    server.follow(|_| Answer::Usual);
    server.wait_taken(3);
    service.wait_log("INFO breaker-closed");
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_message_that_was_tried_too_often_is_given_up_with_the_last_reply() {
    let server = Server::scripted(|asked| match asked.line.starts_with("RCPT") {
        true => say("450 4.2.1 not now"),
        false => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "max_attempts = 3");
    let service = stage.run();
    stage.drop_in("1.eml", letter(1, &["late@example.com"]));
    let (report, _) = stage.the_failed_one();
    assert!(report.contains("- expired: it was tried 3 times (delivery.max_attempts)"), "{report}");
    assert!(report.contains("<late@example.com>: not taken: the server said: 450 4.2.1 not now"), "{report}");
    assert_eq!(server.count("RCPT TO:"), 3);
    assert_eq!(service.stop(), 0);
}
