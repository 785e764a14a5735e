//! Several smarthosts: away from one that cannot be used, and back.

use super::*;
use crate::fs::Fs as _;
use crate::policy::{Limit, Rate};
use crate::spool::read_record;

/// A server that can be told to go away: then it closes every session at its EHLO.
async fn coming_and_going() -> (u16, mpsc::UnboundedReceiver<String>, Arc<Mutex<bool>>) {
    let is_there = Arc::new(Mutex::new(true));
    let there = is_there.clone();
    let (port, told) = server(move |asked| match asked.starts_with("EHLO") && !*there.lock().unwrap() {
        true => "421 4.3.2 going down",
        false => "250 ok",
    })
    .await;
    (port, told, is_there)
}

async fn taking() -> (u16, mpsc::UnboundedReceiver<String>) {
    server(|_| "250 ok").await
}

fn sender(bench: &Bench, first: u16, second: u16) -> Sender {
    Sender::new(
        bench.spool.clone(),
        bench.clock.clone(),
        Bench::options_for([("first", first), ("second", second)]),
    )
}

fn out_of_service(sender: &Sender) -> Vec<(String, String)> {
    let said = sender.said.as_ref().unwrap();
    said.out_of_service.iter().map(|out| (out.smarthost.clone(), out.cause.clone())).collect()
}

#[tokio::test]
async fn a_smarthost_that_cannot_be_used_is_left_at_once_and_comes_back_once_it_was_well_for_a_while() {
    let bench = Bench::new();
    let (one, mut to_first, is_there) = coming_and_going().await;
    let (two, mut to_second) = taking().await;
    let mut sender = sender(&bench, one, two);
    bench.accept("a", "b@example.com");
    assert_eq!(bench.pass(&mut sender).await, PassEnd::NothingDue);
    assert_eq!(all(&mut to_first), ["a"]);

    *is_there.lock().unwrap() = false;
    bench.accept("b", "b@example.com");
    assert_eq!(bench.pass(&mut sender).await, PassEnd::NothingDue, "in the same pass");
    assert_eq!(all(&mut to_second), ["b"]);
    assert!(matches!(said(&sender), Some(SenderState::Usable { smarthost, .. }) if smarthost == "second"));
    let out = out_of_service(&sender);
    assert!(out[0].0 == "first" && out[0].1.contains("421 4.3.2 going down"), "{out:?}");

    *is_there.lock().unwrap() = true;
    // The pass that finds it well sends to the second; 300 s of that, and the first is used again.
    for n in 0..20 {
        bench.accept(&format!("n{n}"), "b@example.com");
        bench.pass(&mut sender).await;
    }
    let (first, second) = (all(&mut to_first), all(&mut to_second));
    assert_eq!(second.len(), 10 + 1, "{first:?} {second:?}");
    let sent: Vec<String> = second.into_iter().chain(first).collect();
    assert_eq!(sent, (0..20).map(|n| format!("n{n}")).collect::<Vec<_>>());
    assert!(out_of_service(&sender).is_empty());
}

#[tokio::test]
async fn a_host_that_comes_and_goes_is_not_gone_back_to() {
    let bench = Bench::new();
    let (one, mut to_first, is_there) = coming_and_going().await;
    let (two, mut to_second) = taking().await;
    let mut sender = sender(&bench, one, two);
    for n in 0..40 {
        *is_there.lock().unwrap() = n % 5 == 4;
        bench.accept(&format!("n{n}"), "b@example.com");
        assert_eq!(bench.pass(&mut sender).await, PassEnd::NothingDue);
    }
    assert_eq!((all(&mut to_first).len(), all(&mut to_second).len()), (0, 40));
}

#[tokio::test]
async fn where_none_can_be_used_each_is_named_with_its_cause_and_nothing_is_charged() {
    let bench = Bench::new();
    let (one, _first, is_there) = coming_and_going().await;
    let (two, _second) =
        server(|asked| if asked.starts_with("EHLO") { "421 4.7.0 not you" } else { "250 ok" }).await;
    *is_there.lock().unwrap() = false;
    let mut sender = sender(&bench, one, two);
    bench.accept("a", "b@example.com");
    assert!(matches!(bench.pass(&mut sender).await, PassEnd::Unusable(_)));
    let Some(SenderState::Unusable { smarthost, cause, .. }) = said(&sender) else { panic!() };
    assert_eq!(smarthost, "first, second");
    assert!(cause.contains("first: ") && cause.contains("421 4.3.2"), "{cause}");
    assert!(cause.contains("; second: ") && cause.contains("421 4.7.0 not you"), "{cause}");
    assert_eq!(bench.spool.counts().in_line, 1);
    // The box was without a network, as far as anybody knows: the first is the first again.
    *is_there.lock().unwrap() = true;
    bench.pass(&mut sender).await;
    assert_eq!(sender.smarthost_name(), "first");
}

#[tokio::test]
async fn one_that_opens_a_session_and_takes_nothing_is_not_said_to_deliver_in_the_stead_of_another() {
    let bench = Bench::new();
    bench.accept("a", "b@example.com");
    let (one, _first, is_there) = coming_and_going().await;
    *is_there.lock().unwrap() = false;
    let (two, _sessions) = never_taking("421 4.3.2 busy").await;
    let mut sender = sender(&bench, one, two);
    for _ in 0..3 {
        assert!(matches!(bench.pass(&mut sender).await, PassEnd::Unusable(_)));
        assert!(matches!(said(&sender), Some(SenderState::Unusable { .. })));
        assert_eq!(out_of_service(&sender), []);
    }
}

#[tokio::test]
async fn an_unknown_outcome_at_the_first_is_on_record_before_the_message_goes_to_the_second() {
    let bench = Bench::new();
    bench.accept("a", "b@example.com");
    let id = bench.spool.head().unwrap();
    // It closes with the dot out.
    let (one, _first) = server(|asked| if asked == "a" { "" } else { "250 ok" }).await;
    let disk = bench.disk.clone();
    let (two, mut to_second) = server(move |asked| {
        let on_record = || read_record(&*disk, id).map(|record| record.unknown_ends).unwrap_or(0);
        match asked.starts_with("EHLO") && on_record() != 1 {
            true => "550 5.0.0 nothing is on record",
            false => "250 ok",
        }
    })
    .await;
    let mut sender = sender(&bench, one, two);
    assert_eq!(bench.pass(&mut sender).await, PassEnd::NothingDue);
    assert_eq!(all(&mut to_second), ["a"]);
}

#[tokio::test]
async fn each_smarthost_is_told_its_own_sender() {
    let bench = Bench::new();
    let (one, _first, is_there) = coming_and_going().await;
    let (two, mut to_second) = taking().await;
    let mut options = Bench::options_for([("first", one), ("second", two)]);
    options.smarthosts[1].from = Some("box@second.example".parse().unwrap());
    let mut sender = Sender::new(bench.spool.clone(), bench.clock.clone(), options);
    let told = |sender: &Sender| {
        let (name, record, file) = bench.spool.peek(bench.spool.head().unwrap()).unwrap();
        let takes = crate::outgoing::Takes { eight_bit: true, utf8: true };
        let prepared = sender.read(&*file, &name, record.as_ref(), takes).ok().unwrap();
        prepared.transaction.reverse_path.mailbox().unwrap().to_string()
    };
    bench.accept("a", "b@example.com");
    assert_eq!(told(&sender), "a@example.com");
    *is_there.lock().unwrap() = false;
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut to_second), ["a"]);
    bench.accept("b", "b@example.com");
    assert_eq!(told(&sender), "box@second.example");
}

#[tokio::test]
async fn what_a_smarthost_was_given_today_is_counted_over_restarts_and_its_end_is_told() {
    let bench = Bench::new();
    (0..5).for_each(|n| bench.accept(&format!("n{n}"), "b@example.com, c@example.com"));
    let root = bench._root.path().join("meta/sender.json");
    let at_the_last_dot = Arc::new(Mutex::new(Vec::new()));
    let copy = at_the_last_dot.clone();
    let (port, mut told) = server(move |asked| {
        if asked == "n1" {
            *copy.lock().unwrap() = std::fs::read(&root).unwrap();
        }
        "250 ok"
    })
    .await;
    let day = |bench: &Bench| {
        let mut options = Bench::options(port);
        options.smarthosts[0].daily = Some(5);
        options.smarthosts[0].rate = Some(Rate { count: 100, per: Duration::from_secs(60) });
        Sender::new(bench.spool.clone(), bench.clock.clone(), options)
    };
    let mut sender = day(&bench);
    assert_eq!(bench.pass(&mut sender).await, PassEnd::Paced(Limit::Daily));
    assert_eq!(all(&mut told), ["n0", "n1"], "two recipients each, and five a day");
    let Some(SenderState::Paced { limit, until, .. }) = said(&sender) else { panic!() };
    assert_eq!((limit, until), (Limit::Daily, 31 + 86_400 + 300));
    // Killed with the second dot out: what it would have written later is not there.
    let state = std::ffi::OsStr::new("sender.json");
    bench.disk.unlink(Dir::Meta, state).unwrap();
    bench.disk.create(Dir::Meta, state).unwrap().append(&at_the_last_dot.lock().unwrap()).unwrap();
    sender = day(&bench);
    assert_eq!(bench.pass(&mut sender).await, PassEnd::Paced(Limit::Daily));
    assert_eq!(all(&mut told), Vec::<String>::new());
    bench.clock.advance(86_400 + 300);
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut told), ["n2", "n3"]);
}

#[tokio::test]
async fn a_session_carries_as_many_messages_as_it_may() {
    let bench = Bench::new();
    (0..5).for_each(|n| bench.accept(&format!("n{n}"), "b@example.com"));
    let sessions = Arc::new(AtomicU64::new(0));
    let count = sessions.clone();
    let (port, mut told) = server(move |asked| match asked.starts_with("EHLO") {
        true => {
            count.fetch_add(1, Ordering::SeqCst);
            "250-test\r\n250 PIPELINING"
        }
        false => "250 ok",
    })
    .await;
    let mut options = Bench::options(port);
    options.smarthosts[0].messages_per_session = Some(2);
    let mut sender = Sender::new(bench.spool.clone(), bench.clock.clone(), options);
    assert_eq!(bench.pass(&mut sender).await, PassEnd::NothingDue);
    assert_eq!(all(&mut told), ["n0", "n1", "n2", "n3", "n4"]);
    assert_eq!(sessions.load(Ordering::SeqCst), 3);
}

/// Exchange Online as far as it matters here: away at first, then 30 messages a minute, and what comes faster fails.
#[tokio::test]
async fn two_hundred_alarms_after_an_outage_at_30_a_minute_fail_at_no_provider() {
    let bench = Bench::new();
    (0..200).for_each(|n| bench.accept(&format!("n{n}"), &format!("b{}@example.com", n % 7)));
    let (clock, is_there) = (bench.clock.clone(), Arc::new(Mutex::new(false)));
    let there = is_there.clone();
    let mut began = std::collections::VecDeque::new();
    let (port, mut told) = server(move |asked| {
        if asked.starts_with("EHLO") && !*there.lock().unwrap() {
            return "421 4.3.2 not now";
        }
        if asked.starts_with("RCPT") {
            began.push_back(clock.monotonic());
            let first = if began.len() > 30 { began.pop_front() } else { None };
            if first.is_some_and(|first| clock.monotonic() - first < Duration::from_secs(60)) {
                return "550 5.7.1 too fast";
            }
        }
        "250 ok"
    })
    .await;
    let mut options = Bench::options(port);
    options.smarthosts[0].rate = Some(Rate { count: 30, per: Duration::from_secs(60) });
    let mut sender = Sender::new(bench.spool.clone(), bench.clock.clone(), options);
    for _ in 0..50 {
        assert!(matches!(bench.pass(&mut sender).await, PassEnd::Unusable(_)));
    }
    *is_there.lock().unwrap() = true;
    let begin = bench.clock.monotonic();
    while sender.pass(None, &mut Stop::pair().1).await.unwrap() != PassEnd::NothingDue {
        let due = sender.next_due_in().unwrap();
        assert!(due >= Duration::from_secs(1), "nothing wakes before");
        bench.clock.advance(due.as_secs());
    }
    assert_eq!(all(&mut told), (0..200).map(|n| format!("n{n}")).collect::<Vec<_>>());
    assert_eq!(bench.spool.counts().failed, 0);
    assert_eq!(bench.clock.monotonic() - begin, Duration::from_secs(360), "and no longer than it takes");
}

/// Says `said` to every RCPT, and counts the sessions.
async fn never_taking(said: &'static str) -> (u16, Arc<AtomicU64>) {
    let sessions = Arc::new(AtomicU64::new(0));
    let count = sessions.clone();
    let (port, _told) = server(move |asked| {
        count.fetch_add(u64::from(asked.starts_with("EHLO")), Ordering::SeqCst);
        if asked.starts_with("RCPT") { said } else { "250 ok" }
    })
    .await;
    (port, sessions)
}

#[tokio::test]
async fn where_each_opens_a_session_and_takes_nothing_each_is_tried_once_in_a_pass() {
    for said in ["421 4.3.2 going down", "530 5.7.0 log in", "550 5.7.1 not you"] {
        let bench = Bench::new();
        (0..4).for_each(|n| bench.accept(&format!("n{n}"), &format!("b{n}@example.com")));
        let (one, first) = never_taking(said).await;
        let (two, second) = never_taking(said).await;
        let mut sender = sender(&bench, one, two);
        for tried in 1..4 {
            let end = timeout(Duration::from_secs(20), bench.pass(&mut sender)).await;
            let Ok(PassEnd::Unusable(trouble)) = end else { panic!("{said}: {end:?}") };
            assert!(trouble.cause.contains("first: ") && trouble.cause.contains("second: "), "{trouble}");
            let sessions = [&first, &second].map(|sessions| sessions.load(Ordering::SeqCst));
            assert_eq!(sessions, [tried, tried], "{said}");
        }
        assert_eq!((bench.spool.counts().in_line, bench.spool.counts().failed), (4, 0), "{said}");
    }
}

#[tokio::test]
async fn a_message_aside_that_waits_for_its_quota_holds_nobody() {
    let bench = Bench::new();
    let is_busy = Arc::new(Mutex::new(true));
    let busy = is_busy.clone();
    let (port, mut told) =
        server(move |asked| match asked.starts_with("RCPT TO:<b") && *busy.lock().unwrap() {
            true => "450 4.2.1 busy",
            false => "250 ok",
        })
        .await;
    let mut options = Bench::options(port);
    options.smarthosts[0].daily = Some(10);
    options.hold_line = Some(Duration::ZERO);
    let mut sender = Sender::new(bench.spool.clone(), bench.clock.clone(), options);
    let many: Vec<String> = (0..8).map(|n| format!("b{n}@example.com")).collect();
    bench.accept("many", &many.join(", "));
    bench.pass(&mut sender).await;
    assert_eq!(bench.spool.counts().aside, 1);
    // It has spent eight of ten, and needs as many again.
    *is_busy.lock().unwrap() = false;
    bench.accept("one", "c@example.com");
    assert_eq!(bench.pass(&mut sender).await, PassEnd::Paced(Limit::Daily));
    assert_eq!(all(&mut told), ["one"]);
    bench.accept("two", "c@example.com");
    assert_eq!(bench.pass(&mut sender).await, PassEnd::Paced(Limit::Daily));
    assert_eq!(all(&mut told), ["two"]);
    let due = bench.clock.monotonic() + sender.next_due_in().unwrap();
    assert_eq!(due, Monotonic(Duration::from_secs(31 + 86_400 + 300)));
    bench.clock.advance(86_400 + 300);
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut told), ["many"]);
}

#[tokio::test]
async fn a_message_that_waited_for_its_quota_and_is_removed_leaves_no_wait_behind() {
    let bench = Bench::new();
    let (port, mut told) = taking().await;
    let mut options = Bench::options(port);
    options.smarthosts[0].daily = Some(3);
    let mut sender = Sender::new(bench.spool.clone(), bench.clock.clone(), options);
    bench.accept("n0", "b@example.com");
    bench.accept("n1", "b@example.com, c@example.com, d@example.com");
    bench.accept("n2", "b@example.com");
    assert_eq!(bench.pass(&mut sender).await, PassEnd::Paced(Limit::Daily));
    bench.spool.remove(bench.spool.head().unwrap()).unwrap().unwrap();
    assert_eq!(bench.pass(&mut sender).await, PassEnd::NothingDue);
    assert_eq!(all(&mut told), ["n0", "n2"]);
}

#[tokio::test]
async fn one_shot_runs_come_back_to_the_first_as_a_service_does() {
    let bench = Bench::new();
    let (one, mut to_first, is_there) = coming_and_going().await;
    let (two, mut to_second) = taking().await;
    *is_there.lock().unwrap() = false;
    for n in 0..16 {
        bench.accept(&format!("n{n}"), "b@example.com");
        let mut sender = sender(&bench, one, two);
        assert_eq!(bench.pass(&mut sender).await, PassEnd::NothingDue);
        if n == 1 {
            let out = out_of_service(&sender);
            assert!(out.len() == 1 && out[0].0 == "first", "known to a later run, too: {out:?}");
            *is_there.lock().unwrap() = true;
        }
    }
    let (first, second) = (all(&mut to_first), all(&mut to_second));
    assert!(first.len() >= 2 && first.last().unwrap() == "n15", "{first:?} {second:?}");
    assert_eq!(first.len() + second.len(), 16);
}

/// Two smarthosts of which the second takes one recipient a day; it has had that, and another message waits.
async fn second_is_used_up(bench: &Bench, first: u16) -> (Sender, mpsc::UnboundedReceiver<String>) {
    let (two, mut to_second) = taking().await;
    let mut options = Bench::options_for([("first", first), ("second", two)]);
    options.smarthosts[1].daily = Some(1);
    let mut sender = Sender::new(bench.spool.clone(), bench.clock.clone(), options);
    bench.accept("a", "b@example.com");
    bench.accept("b", "b@example.com");
    let end = bench.pass(&mut sender).await;
    assert_eq!((end, all(&mut to_second)), (PassEnd::Paced(Limit::Daily), vec!["a".to_owned()]));
    (sender, to_second)
}

#[tokio::test]
async fn while_the_quota_of_the_second_is_used_up_the_first_is_looked_at() {
    let bench = Bench::new();
    let (one, mut to_first, is_there) = coming_and_going().await;
    *is_there.lock().unwrap() = false;
    let (mut sender, _to_second) = second_is_used_up(&bench, one).await;
    *is_there.lock().unwrap() = true;
    let (wake, mut end) = (Wake::default(), PassEnd::Paced(Limit::Daily));
    while end != PassEnd::NothingDue {
        let wait = sender.wait_behind(&end).unwrap();
        assert!(wait <= Duration::from_secs(30), "{wait:?}");
        bench.clock.advance(wait.as_secs());
        assert!(bench.clock.monotonic() < Monotonic(Duration::from_secs(600)));
        while sender.look.as_ref().is_some_and(|look| !look.task.is_finished()) {
            tokio::task::yield_now().await;
        }
        end = sender.pass(Some(&wake), &mut Stop::pair().1).await.unwrap();
    }
    assert_eq!(all(&mut to_first), ["b"]);
}

#[tokio::test]
async fn a_quota_of_the_second_does_not_put_off_the_next_try_of_the_first() {
    let bench = Bench::new();
    let (one, mut to_first, is_there) = coming_and_going().await;
    *is_there.lock().unwrap() = false;
    let (sender, _to_second) = second_is_used_up(&bench, one).await;
    let memory = sender.memory();
    drop(sender);
    let mut options = Bench::options_for([("first", one), ("second", 1)]);
    options.smarthosts[1].daily = Some(1);
    let mut sender = Sender::new(bench.spool.clone(), bench.clock.clone(), options);
    sender.go_on_from(&memory);
    sender.failover.all_had_trouble();
    let end = bench.pass(&mut sender).await;
    let PassEnd::Unusable(trouble) = &end else { panic!("{end:?}") };
    assert!(trouble.cause.contains("second: as much was sent as it is given (daily)"), "{trouble}");
    assert!(sender.wait_behind(&end).unwrap() < Duration::from_secs(35));
    // Nor if its login is to wait.
    let now = bench.clock.monotonic();
    (0..3).for_each(|_| sender.failover.had_trouble(0, true, now));
    let end = bench.pass(&mut sender).await;
    assert!(matches!(&end, PassEnd::Unusable(t) if t.cause.contains("(daily)")), "{end:?}");
    assert!(sender.wait_behind(&end).unwrap() < Duration::from_secs(35));
    *is_there.lock().unwrap() = true;
    bench.clock.advance(120);
    assert_eq!(bench.pass(&mut sender).await, PassEnd::NothingDue);
    assert_eq!(all(&mut to_first), ["b"]);
}
