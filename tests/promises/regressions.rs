//! What did not hold once, and was mended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::disk::SmallDisk;
use crate::support::server::{Answer, Asked, Gate, Server, say};
use crate::support::stage::{Stage, alarms, letter, pass_time, plain};

/// Order of acceptance is the order of the events; ctime, then name, order only what no event told.
#[test]
fn n4_a_rescan_does_not_reorder_what_events_told_of() {
    for _ in 0..10 {
        let server = Server::start();
        let stage = Stage::new(&plain(server.port()), "");
        // The product's 60 s make it rare, not impossible.
        stage.set("rescan", "\"1ms\"");
        let service = stage.run();
        stage.drop_letters([100]);
        service.wait_log("INFO accepted");
        for number in (1..=20).rev() {
            stage.drop_in(format!("{number}.eml"), letter(number, &["ops@example.com"]));
        }
        server.wait_taken(21);
        assert_eq!(server.subjects(), alarms(std::iter::once(100).chain((1..=20).rev())));
    }
}

/// What an outcome needs on disk is set aside before the final dot leaves. Where it could not be, the message was sent all the
/// same; with one recipient taken and one deferred nothing of that was written down, and the first got it again.
#[test]
fn n8_nothing_is_sent_while_its_outcome_could_not_be_written_down() {
    let server = Server::scripted(|_| Answer::SayAndCut("421 4.3.2 down"));
    let stage = Stage::new(&plain(server.port()), "");
    let Some(small) = SmallDisk::run(&stage) else { return };
    small.drop_in("1.eml", letter(1, &["early@example.com", "late@example.com"])).unwrap();
    small.service.wait_log("INFO accepted");
    small.fill();
    server.follow(defers_late);
    small.service.wait_log("ERROR spool-fault set room aside No space left on device");
    pass_time(Duration::from_millis(500));
    assert_eq!(server.taken().len(), 0);
    small.free();
    server.wait_heard("RCPT TO:<late@example.com>", 2);
    assert_eq!(server.taken().len(), 1, "early@example.com has it once");
}

/// The same, and the disk becomes full while the final dot is out.
#[test]
fn n8_an_outcome_is_written_down_though_the_disk_is_full_by_then() {
    let gate = Arc::new(Gate::default());
    let pass = Arc::clone(&gate);
    let server = Server::scripted(move |asked| {
        if asked.line == "." {
            pass.pass();
        }
        defers_late(asked)
    });
    let stage = Stage::new(&plain(server.port()), "");
    let Some(small) = SmallDisk::run(&stage) else { return };
    small.drop_in("1.eml", letter(1, &["early@example.com", "late@example.com"])).unwrap();
    server.wait_heard(".", 1);
    small.fill();
    gate.open();
    // The next attempt finds no room to set aside, and nothing is sent.
    small.service.wait_log("ERROR spool-fault set room aside No space left on device");
    small.free();
    server.wait_heard("RCPT TO:<late@example.com>", 3);
    assert_eq!(server.taken().len(), 1, "early@example.com has it once");
    assert_eq!(server.heard().iter().filter(|line| line.contains("<early@")).count(), 1);
}

fn defers_late(asked: &Asked<'_>) -> Answer {
    match asked.line {
        "RCPT TO:<late@example.com>" => say("450 4.2.1 not now"),
        _ => Answer::Usual,
    }
}

/// A smarthost that takes logins and refuses every MAIL is unusable, and `status` says so; it was called usable with each
/// session that was opened, and the log got two lines at each retry_interval.
#[test]
fn a_smarthost_that_refuses_every_mail_is_told_once_and_stays_unusable() {
    let server = Server::scripted(|asked| match asked.line {
        line if line.starts_with("MAIL") => say("530 5.7.0 authentication required"),
        _ => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    stage.drop_letters([1]);
    server.wait_sessions(6);
    assert_eq!(service.log().matches("smarthost-unusable").count(), 1, "{}", service.log());
}

/// A folder that is away for a weekend was told of twice at each rescan.
#[test]
fn a_pickup_that_is_away_is_told_once() {
    let stage = Stage::new("", "");
    stage.set("rescan", "\"100ms\"");
    let service = stage.run();
    std::fs::remove_dir(stage.pickup()).unwrap();
    service.wait_log("WARN pickup-unreadable");
    pass_time(Duration::from_secs(1));
    let told = service.log().matches("pickup-unreadable").count();
    assert!(told <= 2, "told {told} times in a second:\n{}", service.log());
}

/// After three unknown ends it steps aside so that others can pass; it was tried a fourth time first.
#[test]
fn a_message_that_just_stepped_aside_lets_the_line_go_first() {
    for _ in 0..5 {
        let dots = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&dots);
        let server = Server::scripted(move |asked| {
            let is_first = String::from_utf8_lossy(asked.content).contains("alarm 1\r\n");
            match asked.line {
                "." if is_first => {
                    count.fetch_add(1, Ordering::SeqCst);
                    Answer::Cut
                }
                _ => Answer::Usual,
            }
        });
        let stage = Stage::new(&plain(server.port()), "");
        let _service = stage.run();
        stage.drop_letters([1, 2]);
        server.wait_taken(1);
        assert_eq!(dots.load(Ordering::SeqCst), 3);
    }
}

/// A message that is accepted while the server takes its time to answer QUIT waits until somebody restarts the service:
/// the pass ends as `Held` because there is a head of the line, nothing holds it, so no time is set, and new drops wake
/// only a sender whose pass ended as `NothingDue`.
#[test]
fn a_message_accepted_while_a_session_is_being_closed_is_sent() {
    let gate = Arc::new(Gate::default());
    let pass = Arc::clone(&gate);
    let server = Server::scripted(move |asked| {
        if asked.line == "QUIT" {
            pass.pass();
        }
        Answer::Usual
    });
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    stage.drop_letters([1]);
    server.wait_heard("QUIT", 1);
    stage.drop_letters([2]);
    service.wait_log_times("INFO accepted", 2);
    gate.open();
    pass_time(Duration::from_secs(2));
    // Nor does the next drop wake it.
    stage.drop_letters([3]);
    server.wait_taken(3);
    assert_eq!(server.subjects(), alarms(1..=3));
}

/// A message that can never be sent is put into line before it is refused. A sender that looks in that instant takes it, and
/// `refuse` then fails to move it: `spool-fault`, everything is recovered and started again, the rest of the group is
/// accepted without a word in the log, and what had its final dot out at that moment is sent twice.
#[test]
fn n7_a_refused_message_never_comes_into_line() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    for number in 0..200 {
        stage.drop_in(format!("good-{number}.eml"), letter(number, &["ops@example.com"]));
        stage.drop_in(format!("bad-{number}.eml"), "no header");
    }
    server.wait_taken(200);
    assert!(!service.log().contains("spool-fault"), "{}", service.log());
}
