//! N1 to N6: nothing is lost, nothing comes twice but what must, and all of it in order.

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::server::{Answer, Gate, Server, say};
use crate::support::stage::{Stage, alarms, letter, pass_time, plain, until};

#[test]
fn n1_what_waits_lies_in_pending_as_it_was_dropped_to_the_byte() {
    let stage = Stage::new("", "");
    let service = stage.run();
    let dropped = b"To: ops@example.com\nX-Odd:  \xff \nSubject: \xe4\n\nbare \r and \r\n.\n..\n\nno end";
    stage.drop_in("odd name.eml", dropped);
    service.wait_log("INFO accepted file=\"odd_name\"");
    let names = stage.names("pending");
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(fs::read(stage.spool().join("pending").join(&names[0])).unwrap(), dropped);
    assert!(stage.names("pickup").is_empty());
    assert_eq!(service.stop(), 0);
    assert_eq!(stage.names("pending"), names);
}

#[test]
fn n3_a_taken_recipient_is_never_sent_the_message_again_while_another_is_deferred() {
    let late = Arc::new(AtomicBool::new(true));
    let is_late = Arc::clone(&late);
    let server = Server::scripted(move |asked| match asked.line {
        "RCPT TO:<late@example.com>" if is_late.load(Ordering::SeqCst) => say("450 4.2.1 not now"),
        _ => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    let to = ["early@example.com", "late@example.com", "early2@example.com"];
    stage.drop_in("1.eml", letter(1, &to));
    server.wait_heard("RCPT TO:<late@", 3);
    // What was taken is known after a restart too.
    service.kill();
    let service = stage.run();
    server.wait_heard("RCPT TO:<late@", 5);
    late.store(false, Ordering::SeqCst);
    stage.wait_empty();
    drop(service);
    assert_eq!(server.count("RCPT TO:<early@"), 1);
    assert_eq!(server.count("RCPT TO:<early2@"), 1);
    let taken: Vec<_> = server.taken().into_iter().map(|arrival| arrival.forward_paths).collect();
    assert_eq!(taken, [vec![to[0], to[2]], vec![to[1]]]);
}

#[test]
fn n3_a_message_is_kept_until_the_server_has_said_2yz_to_the_final_dot() {
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
    assert_eq!((stage.names("pending").len(), stage.names("sending").len()), (0, 1));
    assert!(!service.log().contains("delivered"));
    gate.open();
    service.wait_log("INFO delivered to=ops@example.com 2.0.0 taken");
    stage.wait_empty();
}

#[test]
fn n4_messages_leave_in_the_order_of_acceptance() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    // One that is accepted: from now on pickup/ is watched.
    stage.drop_letters([7]);
    service.wait_log("INFO accepted");
    // By name or time they would leave in another order: some of these have the same time.
    let numbers = [7, 3, 1, 20, 2, 10, 4];
    for number in &numbers[1..] {
        stage.drop_in(format!("{number}.eml"), letter(*number, &["ops@example.com"]));
    }
    server.wait_taken(numbers.len());
    assert_eq!(server.subjects(), alarms(numbers));
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
}

#[test]
fn n4_the_next_message_is_not_begun_before_the_outcome_of_the_last_is_known() {
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
    stage.drop_letters([1, 2]);
    server.wait_heard(".", 1);
    service.wait_log_times("INFO accepted", 2);
    pass_time(Duration::from_millis(200));
    assert_eq!(server.count("DATA"), 1);
    assert_eq!(stage.names("sending").len(), 1);
    gate.open();
    server.wait_taken(2);
    assert_eq!(server.subjects(), alarms(1..=2));
}

#[test]
fn n4_the_order_survives_restarts_and_an_outage() {
    let server = Server::scripted(|_| say("421 4.3.2 down"));
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    stage.drop_letters([5, 3]);
    service.wait_log_times("INFO accepted", 2);
    service.kill();
    let service = stage.run();
    stage.drop_letters([4, 1]);
    service.wait_log_times("INFO accepted", 2);
    assert_eq!(service.stop(), 0);
    let service = stage.run();
    stage.drop_letters([2]);
    service.wait_log("INFO accepted");
    server.follow(|_| Answer::Usual);
    server.wait_taken(5);
    assert_eq!(server.subjects(), alarms([5, 3, 4, 1, 2]));
    stage.wait_empty();
}

#[test]
fn n4_two_thousand_files_dropped_at_once_arrive_in_order() {
    const COUNT: usize = 2000;
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    let aside = stage.dir().join("aside");
    fs::create_dir(&aside).unwrap();
    for number in 1..=COUNT {
        fs::write(aside.join(number.to_string()), letter(number, &["ops@example.com"])).unwrap();
    }
    let service = stage.run();
    for number in 1..=COUNT {
        fs::rename(aside.join(number.to_string()), stage.pickup().join(format!("{number}.eml"))).unwrap();
    }
    until("two thousand messages", || server.taken().len() >= COUNT);
    assert!(server.subjects() == alarms(1..=COUNT), "out of order");
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
}

#[test]
fn n5_a_message_whose_final_dot_had_no_reply_is_sent_again_the_same_to_the_byte() {
    let server = Server::scripted(|asked| match (asked.session, asked.line) {
        (1, ".") => Answer::Cut,
        _ => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    // Neither Date nor Message-ID: both are added, the same each time.
    stage.drop_letters([1, 2, 3]);
    server.wait_taken(3);
    stage.wait_empty();
    let arrivals = server.arrivals();
    let subjects: Vec<_> = arrivals.iter().map(|arrival| arrival.subject()).collect();
    assert_eq!(subjects, alarms([1, 1, 2, 3]));
    assert_eq!(arrivals[0].bytes, arrivals[1].bytes);
    assert!(arrivals[0].field("Message-ID").is_some() && arrivals[0].field("Date").is_some());
    assert!(arrivals[0].field("Received").is_some());
    service.wait_log("WARN outcome-unknown times=1");
}

#[test]
fn n5_a_message_in_flight_at_a_crash_is_sent_again_the_same_to_the_byte_and_only_that() {
    let gate = Arc::new(Gate::default());
    let pass = Arc::clone(&gate);
    let server = Server::scripted(move |asked| {
        let is_second = String::from_utf8_lossy(asked.content).contains("alarm 2\r\n");
        if asked.line == "." && asked.session == 1 && is_second {
            pass.pass();
        }
        Answer::Usual
    });
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    stage.drop_letters(1..=3);
    server.wait_heard(".", 2);
    service.kill();
    gate.open();
    let service = stage.run();
    service.wait_log("WARN recovered-in-flight");
    stage.wait_empty();
    assert_eq!(server.subjects(), alarms([1, 2, 2, 3]));
    let arrivals = server.arrivals();
    assert_eq!(arrivals[1].bytes, arrivals[2].bytes);
}

#[test]
fn n6_a_second_daemon_says_who_holds_the_lock_and_exits_75() {
    let stage = Stage::new("", "");
    let service = stage.run();
    let second = stage.pillarbox(&["run"]);
    assert_eq!(second.code, 75, "{second:?}");
    let holder = format!("the spool is in use by pid {}, pillarbox run, since 2", service.id());
    assert!(second.stderr.contains(&holder), "{second:?}");
    assert!(second.stderr.contains("\nhint: "), "{second:?}");
    // The first is none the worse for it.
    stage.drop_letters([1]);
    service.wait_log("INFO accepted");
    // A lock dies with its holder.
    service.kill();
    let service = stage.run();
    assert_eq!(service.stop(), 0);
}

#[test]
fn n6_a_second_flush_leaves_the_messages_to_the_first() {
    let gate = Arc::new(Gate::default());
    let (pass, dots) = (Arc::clone(&gate), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&dots);
    let server = Server::scripted(move |asked| {
        if asked.line == "." {
            count.fetch_add(1, Ordering::SeqCst);
            pass.pass();
        }
        Answer::Usual
    });
    let stage = Stage::new(&plain(server.port()), "");
    stage.drop_letters([1]);
    let mut first = stage.start(stage.command(&["flush"]));
    server.wait_heard(".", 1);
    assert_eq!(stage.pillarbox(&["flush"]).code, 0);
    gate.open();
    assert_eq!(first.ended(), 0);
    assert_eq!(dots.load(Ordering::SeqCst), 1);
    assert!(stage.is_empty());
}

#[test]
fn sigterm_in_a_transaction_lets_it_finish_and_exits_0() {
    let (greeting, dot) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
    let (pass_greeting, pass_dot) = (Arc::clone(&greeting), Arc::clone(&dot));
    let server = Server::scripted(move |asked| {
        match asked.line {
            line if line.starts_with("EHLO") => pass_greeting.pass(),
            "." => pass_dot.pass(),
            _ => {}
        }
        Answer::Usual
    });
    let stage = Stage::new(&plain(server.port()), "");
    let mut service = stage.run();
    stage.drop_letters([1, 2]);
    // Both are in line before the first transaction begins, so the second rides behind the first's dot.
    service.wait_log_times("INFO accepted", 2);
    greeting.open();
    server.wait_heard(".", 1);
    service.signal(rustix::process::Signal::TERM);
    service.wait_log("INFO stopping signal=\"SIGTERM\"");
    // As long as a service that does not wait would need to be gone.
    pass_time(Duration::from_millis(300));
    dot.open();
    assert_eq!(service.ended(), 0);
    assert_eq!(server.subjects(), alarms([1]));
    // The first is done with, the second waits for the next start.
    assert_eq!((stage.names("sending").len(), stage.names("pending").len()), (0, 1));
    // The second had ridden behind the first, and its DATA waited for text: only closing sends nothing of it.
    assert_eq!((server.count("DATA"), server.count("QUIT")), (2, 0));
    let service = stage.run();
    server.wait_taken(2);
    assert_eq!(server.subjects(), alarms(1..=2));
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_file_written_in_place_by_a_slow_producer_is_one_whole_message() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    let text = letter(1, &["ops@example.com"]);
    let (head, rest) = text.split_at(text.find("\n\n").unwrap());
    let mut file = fs::File::create_new(stage.pickup().join("slow.eml")).unwrap();
    file.write_all(head.as_bytes()).unwrap();
    // Many times as long as a file has to settle.
    pass_time(Duration::from_millis(500));
    assert_eq!(stage.names("pickup"), ["slow.eml"], "taken while its producer has it open");
    file.write_all(rest.as_bytes()).unwrap();
    drop(file);
    server.wait_taken(1);
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
    let arrivals = server.arrivals();
    assert_eq!(arrivals.len(), 1);
    assert!(arrivals[0].bytes.ends_with(b"\r\n\r\nZone 1 is open.\r\n.\r\n"), "{:?}", arrivals[0]);
}

#[test]
fn a_file_that_is_not_renamed_yet_is_left_alone() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    stage.set("rescan", "\"100ms\"");
    let service = stage.run();
    let hidden = [".1.eml", "1.eml.tmp", "1.eml.part", "1.eml.swp", "1.eml~"];
    for name in hidden {
        fs::write(stage.pickup().join(name), letter(1, &["ops@example.com"])).unwrap();
    }
    stage.drop_letters([2]);
    server.wait_taken(1);
    // Rescans later they still lie there.
    pass_time(Duration::from_millis(500));
    assert_eq!(stage.names("pickup").len(), hidden.len());
    fs::rename(stage.pickup().join(hidden[0]), stage.pickup().join("1.eml")).unwrap();
    server.wait_taken(2);
    assert_eq!(server.subjects(), alarms([2, 1]));
    drop(service);
}
