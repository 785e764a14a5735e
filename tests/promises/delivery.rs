//! What becomes of a message that the server does not simply take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::server::{Answer, Server, say};
use crate::support::stage::{Stage, alarms, letter, pass_time, plain, until};

/// A server that defers `late@example.com` for as long as the switch says.
fn defers_late() -> (Server, Arc<AtomicBool>) {
    let late = Arc::new(AtomicBool::new(true));
    let is_late = Arc::clone(&late);
    let server = Server::scripted(move |asked| match asked.line {
        "RCPT TO:<late@example.com>" if is_late.load(Ordering::SeqCst) => say("450 4.2.1 not now"),
        _ => Answer::Usual,
    });
    (server, late)
}

#[test]
fn a_deferred_message_holds_the_line_until_hold_line_is_used_up_and_then_steps_aside() {
    let (server, late) = defers_late();
    let stage = Stage::new(&plain(server.port()), "hold_line = \"500ms\"");
    let service = stage.run();
    stage.drop_in("1.eml", letter(1, &["late@example.com"]));
    stage.drop_letters([2, 3]);
    service.wait_log("WARN line-held cause=\"450 4.2.1 not now (in reply to RCPT TO)\"");
    service.wait_log("WARN message-stepped-aside");
    server.wait_taken(2);
    assert_eq!(server.subjects(), alarms([2, 3]));
    let heard = server.heard();
    let others = heard.iter().position(|line| line == "RCPT TO:<ops@example.com>").unwrap();
    let tries = heard[..others].iter().filter(|line| line.contains("late@")).count();
    // Five intervals, and the try that found the budget used up.
    assert_eq!(tries, 6, "{heard:#?}");
    // It is still tried, also while nothing else is to be done.
    server.wait_heard("RCPT TO:<late@", tries + 2);
    late.store(false, Ordering::SeqCst);
    server.wait_taken(3);
    assert_eq!(server.subjects(), alarms([2, 3, 1]));
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
}

#[test]
fn with_hold_line_0s_a_deferred_message_never_holds_the_others() {
    let (server, late) = defers_late();
    let stage = Stage::new(&plain(server.port()), "hold_line = \"0s\"");
    let service = stage.run();
    stage.drop_in("1.eml", letter(1, &["late@example.com"]));
    stage.drop_letters([2, 3]);
    server.wait_taken(2);
    assert!(!service.log().contains("line-held"), "{}", service.log());
    late.store(false, Ordering::SeqCst);
    server.wait_taken(3);
    assert_eq!(server.subjects(), alarms([2, 3, 1]));
    stage.wait_empty();
}

#[test]
fn with_hold_line_forever_nobody_passes() {
    let (server, late) = defers_late();
    let stage = Stage::new(&plain(server.port()), "hold_line = \"forever\"");
    let service = stage.run();
    stage.drop_in("1.eml", letter(1, &["late@example.com"]));
    stage.drop_letters([2]);
    server.wait_heard("RCPT TO:<late@", 10);
    assert_eq!(server.count("RCPT TO:<ops@"), 0);
    late.store(false, Ordering::SeqCst);
    server.wait_taken(2);
    assert_eq!(server.subjects(), alarms([1, 2]));
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_message_that_stepped_aside_stays_aside_over_a_restart() {
    let (server, late) = defers_late();
    let stage = Stage::new(&plain(server.port()), "hold_line = \"0s\"");
    let service = stage.run();
    stage.drop_in("1.eml", letter(1, &["late@example.com"]));
    service.wait_log("WARN message-stepped-aside");
    until("it to be aside", || stage.status()["aside"] == 1);
    service.kill();
    // In line it would hold the next one now.
    stage.set("hold_line", "\"forever\"");
    stage.drop_letters([2]);
    let service = stage.run();
    server.wait_taken(1);
    assert_eq!(server.subjects(), alarms([2]));
    late.store(false, Ordering::SeqCst);
    server.wait_taken(2);
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_deferral_of_the_final_dot_is_tried_again_and_recorded() {
    let server = Server::scripted(|asked| match asked.line {
        "." => say("451 4.3.0 try later"),
        _ => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    stage.drop_letters([1]);
    server.wait_heard(".", 3);
    until("a record", || stage.records().len() == 1);
    let row = &stage.list()[0];
    assert!(row["attempts"].as_u64() >= Some(1), "{row}");
    server.follow(|_| Answer::Usual);
    server.wait_taken(1);
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
    let arrivals = server.arrivals();
    assert!(arrivals.iter().all(|arrival| arrival.bytes == arrivals[0].bytes));
}

#[test]
fn a_5yz_moves_the_message_to_failed_with_report_and_record_and_the_next_goes() {
    for refused_at in ["MAIL", "RCPT", "DATA", "."] {
        let first = AtomicBool::new(true);
        let server = Server::scripted(move |asked| {
            if asked.line.starts_with(refused_at) && first.swap(false, Ordering::SeqCst) {
                say("550 5.1.1 nobody \u{1b}here")
            } else {
                Answer::Usual
            }
        });
        let stage = Stage::new(&plain(server.port()), "");
        let service = stage.run();
        stage.drop_letters([1]);
        service.wait_log("ERROR failed file=\"1\" report=");
        stage.drop_letters([2]);
        server.wait_taken(1);
        assert_eq!(server.subjects(), alarms([2]), "{refused_at}");
        let (report, message) = stage.the_failed_one();
        assert_eq!(message, letter(1, &["ops@example.com"]));
        let says =
            "- <ops@example.com>: refused: the server said: 550 5.1.1 nobody \u{fffd}here (in reply to ";
        assert!(report.contains(says), "{report}");
        assert_eq!(stage.records().len(), 1);
        until("the second to be gone", || stage.list().len() == 1);
        assert_eq!(stage.list()[0]["state"], "failed");
        // Given up is given up, also after a restart.
        assert_eq!(service.stop(), 0);
        let service = stage.run();
        stage.drop_letters([3]);
        server.wait_taken(2);
        assert_eq!(server.subjects(), alarms([2, 3]), "{refused_at}");
        assert_eq!(service.stop(), 0);
    }
}

#[test]
fn of_taken_and_refused_recipients_the_report_names_both() {
    let server = Server::scripted(|asked| match asked.line {
        "RCPT TO:<gone@example.com>" => say("550 5.1.1 no such user"),
        _ => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    stage.drop_in("1.eml", letter(1, &["a@example.com", "gone@example.com", "b@example.com"]));
    stage.drop_letters([2]);
    server.wait_taken(2);
    assert_eq!(server.subjects(), alarms([1, 2]));
    assert_eq!(server.taken()[0].forward_paths, ["a@example.com", "b@example.com"]);
    let (report, _) = stage.the_failed_one();
    for line in [
        "- <a@example.com>: taken by the server, which said: 250 2.0.0 taken\n",
        "- <gone@example.com>: refused: the server said: 550 5.1.1 no such user (in reply to RCPT TO)\n",
        "- <b@example.com>: taken by the server, which said: 250 2.0.0 taken\n",
    ] {
        assert!(report.contains(line), "{report}");
    }
    assert_eq!(service.stop(), 0);
}

#[test]
fn taken_deferred_and_refused_are_kept_apart() {
    let late = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&late);
    let server = Server::scripted(move |asked| match asked.line {
        "RCPT TO:<gone@example.com>" => say("550 5.1.1 no such user"),
        "RCPT TO:<late@example.com>" if switch.load(Ordering::SeqCst) => say("450 4.2.1 not now"),
        _ => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "hold_line = \"0s\"");
    let service = stage.run();
    stage.drop_in("1.eml", letter(1, &["a@example.com", "gone@example.com", "late@example.com"]));
    server.wait_heard("RCPT TO:<late@", 3);
    late.store(false, Ordering::SeqCst);
    service.wait_log("ERROR failed");
    assert_eq!(["a", "gone"].map(|to| server.count(&format!("RCPT TO:<{to}@"))), [1, 1]);
    let taken: Vec<_> = server.taken().into_iter().map(|arrival| arrival.forward_paths).collect();
    assert_eq!(taken, [["a@example.com"], ["late@example.com"]]);
    let (report, _) = stage.the_failed_one();
    for words in ["<a@example.com>: taken", "<gone@example.com>: refused", "<late@example.com>: taken"] {
        assert!(report.contains(words), "{report}");
    }
    assert_eq!(service.stop(), 0);
}

#[test]
fn too_many_recipients_are_split_into_a_next_transaction() {
    for reply in ["452 4.5.3 too many recipients", "552 5.5.3 too many recipients", "552 too many"] {
        let server = Server::scripted(move |asked| match asked.line {
            "RCPT TO:<c@example.com>" if asked.session == 1 => say(reply),
            "RCPT TO:<d@example.com>" if asked.session == 1 => say(reply),
            "." if asked.session == 1 => Answer::SayAndCut("250 2.0.0 taken"),
            _ => Answer::Usual,
        });
        let stage = Stage::new(&plain(server.port()), "hold_line = \"forever\"");
        let service = stage.run();
        let to = ["a@example.com", "b@example.com", "c@example.com", "d@example.com"];
        stage.drop_in("1.eml", letter(1, &to));
        stage.drop_letters([2]);
        server.wait_taken(3);
        // Before the next message, and without anybody having been deferred.
        assert_eq!(server.subjects(), alarms([1, 1, 2]), "{reply}");
        let taken: Vec<_> = server.taken().into_iter().map(|arrival| arrival.forward_paths).collect();
        assert_eq!(taken[..2], [to[..2].to_vec(), to[2..].to_vec()], "{reply}");
        assert!(!service.log().contains("WARN deferred"), "{}", service.log());
        stage.wait_empty();
        assert_eq!(stage.names("failed"), [""; 0]);
        assert_eq!(service.stop(), 0);
    }
}

#[test]
fn an_unreadable_recipient_is_reported_and_the_readable_ones_are_sent_to() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    stage.drop_in("1.eml", letter(1, &["a@example.com", "two words@@", "b@example.com"]));
    stage.drop_letters([2]);
    server.wait_taken(2);
    assert_eq!(server.subjects(), alarms([1, 2]));
    assert_eq!(server.taken()[0].forward_paths, ["a@example.com", "b@example.com"]);
    let (report, _) = stage.the_failed_one();
    assert!(report.contains("line 2") && report.contains("two words@@"), "{report}");
    assert!(
        report.contains("<a@example.com>: taken") && report.contains("<b@example.com>: taken"),
        "{report}"
    );
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_bare_name_without_a_domain_waits_aside_and_the_setting_is_named() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    stage.drop_in("1.eml", letter(1, &["root"]));
    stage.drop_letters([2]);
    server.wait_taken(1);
    assert_eq!(server.subjects(), alarms([2]));
    if service.log().contains("message-held") {
        service.wait_log("WARN message-held setting=\"identity.domain\"");
        until("it to wait", || stage.names("pending").len() == 1);
    } else {
        panic!("this host has a domain of its own (/etc/mailname or its name): {}", service.log());
    }
    assert_eq!(service.stop(), 0);
    let name = "hostname";
    stage.set(name, "\"box.example.com\"\ndomain = \"example.net\"");
    let service = stage.run();
    server.wait_taken(2);
    assert_eq!(server.taken()[1].forward_paths, ["root@example.net"]);
    assert_eq!(service.stop(), 0);
}

#[test]
fn the_envelope_of_an_injected_block_is_used_and_nothing_of_it_is_sent() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "received = false");
    let service = stage.run();
    stage.drop_in(
        "1.eml",
        "x-sender: bounce@example.com\r\nX-RECEIVER: <a@example.com> NOTIFY=NEVER\r\nx-receiver: b@example.com\r\n\
         From: panel@example.com\r\nTo: nobody@example.com\r\nBcc: hidden@example.com\r\nSubject: alarm 1\r\n\
         Date: Mon, 23 Nov 2026 14:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\n.dot\r\n",
    );
    server.wait_taken(1);
    let arrival = &server.taken()[0];
    assert_eq!(arrival.reverse_path, "bounce@example.com");
    assert_eq!(arrival.forward_paths, ["a@example.com", "b@example.com"]);
    assert_eq!(
        String::from_utf8_lossy(&arrival.bytes),
        "From: panel@example.com\r\nTo: nobody@example.com\r\nSubject: alarm 1\r\n\
         Date: Mon, 23 Nov 2026 14:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\n.dot\r\n"
    );
    assert_eq!(service.stop(), 0);
}

#[test]
fn after_three_unknown_ends_a_message_lets_the_others_pass() {
    let server = Server::scripted(|asked| {
        let is_first = String::from_utf8_lossy(asked.content).contains("alarm 1\r\n");
        if asked.line == "." && is_first { Answer::Cut } else { Answer::Usual }
    });
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    stage.drop_letters([1, 2]);
    server.wait_taken(1);
    service.wait_log("WARN outcome-unknown times=3");
    service.wait_log("WARN message-stepped-aside");
    let dots: Vec<String> = server.arrivals().iter().map(|arrival| arrival.subject()).collect();
    let of_the_first = dots.iter().position(|subject| *subject == "alarm 2").unwrap();
    // Those aside and the line take turns.
    assert!((3..=4).contains(&of_the_first), "{dots:?}");
    server.follow(|_| Answer::Usual);
    server.wait_taken(2);
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_new_drop_does_not_shorten_the_wait_for_a_smarthost_that_cannot_be_used() {
    let server = Server::scripted(|_| Answer::SayAndCut("421 4.3.2 not now"));
    let stage = Stage::new(&plain(server.port()), "");
    stage.set("retry_interval", "\"1h\"");
    let service = stage.run();
    stage.drop_letters([1]);
    service.wait_log("WARN smarthost-unusable");
    stage.drop_letters([2]);
    service.wait_log_times("INFO accepted", 2);
    pass_time(std::time::Duration::from_millis(300));
    assert_eq!(server.sessions(), 1);
    // `flush` does not wait.
    assert_eq!(service.stop(), 0);
    server.follow(|_| Answer::Usual);
    assert_eq!(stage.pillarbox(&["flush"]).code, 0);
    assert_eq!(server.subjects(), alarms([1, 2]));
}
