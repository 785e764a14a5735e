//! What ends a message, what stops the queue, and what is known after a restart.

use super::*;
use crate::fs::Fs as _;
use crate::mail::{Envelope, QueueId, ReversePath};
use crate::policy::Rate;
use crate::spool::{Limits, Place, Record, read_record};

/// Says `said` to every RCPT, and yes to the rest.
async fn saying(said: &'static str) -> (u16, mpsc::UnboundedReceiver<String>) {
    server(move |asked| if asked.starts_with("RCPT") { said } else { "250 ok" }).await
}

fn with(bench: &Bench, port: u16, change: impl FnOnce(&mut Options)) -> Sender {
    let mut options = Bench::options(port);
    change(&mut options);
    Sender::new(bench.spool.clone(), bench.clock.clone(), options)
}

/// The one file in failed/ that is no message: its report.
fn report(bench: &Bench) -> String {
    let reports: Vec<String> = std::fs::read_dir(bench._root.path().join("failed"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    assert_eq!(reports.len(), 1, "{reports:?}");
    reports.into_iter().next().unwrap()
}

fn record(bench: &Bench, id: QueueId) -> Record {
    read_record(&**bench.spool.fs(), id).unwrap()
}

#[tokio::test]
async fn a_message_that_is_deferred_for_too_long_by_a_usable_server_expires_with_its_reply() {
    let bench = Bench::new();
    bench.accept("late", "late@example.com");
    let (port, _told) = saying("450 4.2.1 mailbox busy").await;
    let mut sender = with(&bench, port, |o| o.max_age = Some(Duration::from_secs(300)));
    for _ in 0..9 {
        bench.pass(&mut sender).await;
    }
    assert_eq!(bench.spool.counts().failed, 0, "300 s are not over");
    for _ in 0..20 {
        bench.pass(&mut sender).await;
    }
    assert_eq!(bench.spool.counts().failed, 1);
    let report = report(&bench);
    assert!(report.contains("- expired: it was deferred for "), "{report}");
    assert!(report.contains("while the server could be reached (delivery.max_age)"), "{report}");
    assert!(
        report.contains("<late@example.com>: not taken: the server said: 450 4.2.1 mailbox busy"),
        "{report}"
    );
}

#[tokio::test]
async fn an_outage_makes_no_message_older() {
    let bench = Bench::new();
    bench.accept("late", "late@example.com");
    let away = Arc::new(AtomicU64::new(0));
    let is_away = away.clone();
    let (port, _told) = server(move |asked| match asked {
        _ if is_away.load(Ordering::SeqCst) == 1 => "421 4.3.2 closing",
        _ if asked.starts_with("RCPT") => "450 4.2.1 mailbox busy",
        _ => "250 ok",
    })
    .await;
    let options = |o: &mut Options| o.max_age = Some(Duration::from_secs(3600));
    let mut sender = with(&bench, port, options);
    let id = bench.spool.head().unwrap();
    bench.pass(&mut sender).await;
    away.store(1, Ordering::SeqCst);
    for _ in 0..500 {
        assert!(matches!(bench.pass(&mut sender).await, PassEnd::Unusable(_)));
    }
    // One-shot runs know it as well.
    sender = with(&bench, port, options);
    away.store(0, Ordering::SeqCst);
    bench.pass(&mut sender).await;
    assert_eq!(bench.spool.counts().failed, 0);
    assert_eq!(record(&bench, id).age.unwrap().span(), Duration::ZERO);
}

#[tokio::test]
async fn one_shot_runs_age_a_message_and_use_up_the_line_as_a_service_does() {
    let bench = Bench::new();
    bench.accept("late", "late@example.com");
    bench.accept("next", "b@example.com");
    let (port, mut told) =
        server(|asked| if asked.contains("late@") { "450 4.2.1 mailbox busy" } else { "250 ok" }).await;
    let mut runs = 0;
    while bench.spool.counts().failed == 0 {
        let mut sender = with(&bench, port, |o| o.max_age = Some(Duration::from_secs(600)));
        bench.pass(&mut sender).await;
        runs += 1;
        assert!(runs < 100, "a job that sends every half minute never ends it");
        // hold_line is 60 s: two runs hold it.
        assert_eq!(all(&mut told).len(), usize::from(runs == 3), "run {runs}");
    }
    assert_eq!(runs, 21, "its first deferral, and 600 s in steps of 31 s");
}

#[tokio::test]
async fn a_message_that_was_tried_too_often_expires() {
    let bench = Bench::new();
    bench.accept("late", "late@example.com");
    let (port, _told) = saying("450 4.2.1 mailbox busy").await;
    let mut sender = with(&bench, port, |o| o.max_attempts = Some(2));
    bench.pass(&mut sender).await;
    assert_eq!(bench.spool.counts().failed, 0);
    bench.pass(&mut sender).await;
    assert!(report(&bench).contains("- expired: it was tried 2 times (delivery.max_attempts)"));
}

/// Refuses every MAIL while the switch is on.
async fn refusing(on: &Arc<AtomicU64>) -> (u16, mpsc::UnboundedReceiver<String>) {
    let on = on.clone();
    server(move |asked| match asked.starts_with("RCPT") && on.load(Ordering::SeqCst) == 1 {
        true => "550 5.7.1 relaying denied",
        false => "250 ok",
    })
    .await
}

#[tokio::test]
async fn three_failures_alike_are_the_configurations_fault_and_nothing_is_given_up() {
    let bench = Bench::new();
    let names = ["one", "two", "three", "four", "five"];
    names.iter().for_each(|name| bench.accept(name, &format!("{name}@example.com")));
    let on = Arc::new(AtomicU64::new(1));
    let (port, mut told) = refusing(&on).await;
    let mut sender = bench.sender(port);
    for _ in 0..12 {
        let PassEnd::Unusable(trouble) = bench.pass(&mut sender).await else { panic!("the queue goes on") };
        assert!(trouble.cause.contains("550 5.7.1 relaying denied"), "{trouble}");
        assert!(matches!(said(&sender), Some(SenderState::BreakerOpen { .. })), "{:?}", said(&sender));
    }
    let counts = bench.spool.counts();
    assert_eq!((counts.in_line, counts.aside, counts.failed), (5, 0, 0));
    // Also a sender that comes anew knows.
    sender = bench.sender(port);
    bench.pass(&mut sender).await;
    assert_eq!(bench.spool.counts().failed, 0);
    on.store(0, Ordering::SeqCst);
    for _ in 0..3 {
        bench.pass(&mut sender).await;
    }
    let mut taken = all(&mut told);
    assert_eq!(taken.len(), 5);
    assert!(matches!(said(&sender), Some(SenderState::Usable { .. })));
    // The first that is taken is the one whose turn it was; behind it the order is that of acceptance.
    let first = taken.remove(0);
    assert_eq!(taken, names.iter().copied().filter(|name| *name != first).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_kill_left_in_failed_is_brought_back_at_the_next_start() {
    let bench = Bench::new();
    for name in ["one", "two", "three"] {
        bench.accept(name, &format!("{name}@example.com"));
    }
    let on = Arc::new(AtomicU64::new(1));
    let (port, mut told) = refusing(&on).await;
    let mut sender = bench.sender(port);
    bench.pass(&mut sender).await;
    // As if it had been killed before the first one was back.
    let first = bench.spool.begin(bench.spool.head().unwrap()).unwrap().unwrap();
    let mut record = first.record().cloned().unwrap();
    record.failed = Some(crate::spool::Failed::new(UnixTime::from_secs(1), "refused".into()));
    bench.spool.fail(first, &record).unwrap();
    on.store(0, Ordering::SeqCst);
    let mut sender = bench.sender(port);
    bench.pass(&mut sender).await;
    let mut taken = all(&mut told);
    taken.sort_unstable();
    assert_eq!(taken, ["one", "three", "two"]);
    assert_eq!(bench.spool.counts().failed, 0);
}

#[tokio::test]
async fn each_waiting_message_is_tried_in_its_turn_while_the_breaker_is_open() {
    let bench = Bench::new();
    for name in ["one", "two", "three", "good"] {
        bench.accept(name, &format!("{name}@example.com"));
    }
    let (port, mut told) = server(|asked| match asked.starts_with("RCPT") && !asked.contains("<good@") {
        true => "550 5.7.1 relaying denied",
        false => "250 ok",
    })
    .await;
    let mut sender = bench.sender(port);
    bench.pass(&mut sender).await;
    assert_eq!(bench.spool.counts().failed, 0);
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut told), ["good"]);
    // That it was taken shows that the others are at fault.
    assert_eq!((bench.spool.counts().failed, bench.spool.counts().in_line), (3, 0));
}

#[tokio::test]
async fn a_rate_that_is_used_up_lets_nobody_go_and_opens_no_session() {
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
    let rate = Rate { count: 2, per: Duration::from_secs(60) };
    let mut sender = with(&bench, port, |o| o.smarthosts[0].rate = Some(rate));
    assert_eq!(bench.pass(&mut sender).await, PassEnd::Paced(Limit::Rate));
    assert_eq!(all(&mut told), ["n0", "n1"]);
    assert_eq!(sender.next_due_in(), Some(Duration::from_secs(60)));
    assert!(matches!(said(&sender), Some(SenderState::Paced { .. })));
    // Neither the next pass nor the next run asks before.
    assert_eq!(bench.pass(&mut sender).await, PassEnd::Paced(Limit::Rate));
    sender = with(&bench, port, |o| o.smarthosts[0].rate = Some(rate));
    assert_eq!(sender.pass(None, &mut Stop::pair().1).await.unwrap(), PassEnd::Paced(Limit::Rate));
    assert_eq!(sessions.load(Ordering::SeqCst), 1);
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut told), ["n2", "n3"]);
    bench.pass(&mut sender).await;
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut told), ["n4"]);
    assert!(matches!(said(&sender), Some(SenderState::Usable { .. })));
}

#[tokio::test]
async fn a_restart_does_not_forget_what_deferred_those_aside() {
    let bench = Bench::new();
    bench.accept("one", "full@example.com");
    let (port, mut told) = full_server(&["<full@"]).await;
    let mut sender = bench.sender(port);
    while bench.spool.counts().aside == 0 {
        bench.pass(&mut sender).await;
    }
    bench.accept("two", "full@example.com");
    bench.accept("good", "good@example.com");
    let mut sender = bench.sender(port);
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut told), ["good"], "the second steps aside at once");
    assert_eq!(bench.spool.counts().aside, 2);
}

#[tokio::test]
async fn a_restart_in_the_middle_of_a_trial_leaves_the_message_in_its_place() {
    let bench = Bench::new();
    bench.accept("first", "first@example.com");
    bench.accept("second", "second@example.com");
    let (port, _told) = cutting_server(&["first@", "second@"]).await;
    let mut sender = bench.sender(port);
    for _ in 0..3 {
        bench.pass(&mut sender).await;
    }
    assert!(sender.wants_another_try());
    let counts = bench.spool.counts();
    assert_eq!((counts.in_line, counts.aside), (2, 0));
    let (port, mut told) = server(|_| "250 ok").await;
    let mut sender = bench.sender(port);
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut told), ["first", "second"]);
}

#[tokio::test]
async fn a_delivery_starts_the_gaps_of_one_aside_anew_and_never_of_one_that_loses_the_line() {
    let bench = Bench::new();
    bench.accept("late", "late@example.com");
    let tries = Arc::new(AtomicU64::new(0));
    let count = tries.clone();
    let (port, mut told) = server(move |asked| match asked.contains("<late@") {
        true => {
            count.fetch_add(1, Ordering::SeqCst);
            "450 4.2.1 not now"
        }
        false => "250 ok",
    })
    .await;
    let mut sender = bench.sender(port);
    // Until the gap is 16 minutes.
    while tries.load(Ordering::SeqCst) < 9 {
        bench.pass(&mut sender).await;
    }
    bench.pass(&mut sender).await;
    assert_eq!(tries.load(Ordering::SeqCst), 9);
    bench.accept("good", "good@example.com");
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut told), ["good"]);
    assert_eq!(tries.load(Ordering::SeqCst), 10, "behind the delivery it is tried");
    // Its gaps begin with one interval again.
    bench.pass(&mut sender).await;
    assert_eq!(tries.load(Ordering::SeqCst), 11);
}

#[tokio::test]
async fn a_server_that_answers_some_and_loses_the_line_with_others_is_not_said_to_be_usable_in_between() {
    let bench = Bench::new();
    bench.accept("late", "late@example.com");
    let (port, _told) = server(|asked| match asked {
        _ if asked.contains("<late@") => "450 4.2.1 not now",
        _ if asked.contains("<poison@") => "",
        _ => "250 ok",
    })
    .await;
    let mut sender = bench.sender(port);
    while bench.spool.counts().aside == 0 {
        bench.pass(&mut sender).await;
    }
    bench.accept("poison", "poison@example.com");
    bench.pass(&mut sender).await;
    let first = said(&sender);
    assert!(matches!(first, Some(SenderState::Unusable { .. })), "{first:?}");
    for _ in 0..10 {
        bench.pass(&mut sender).await;
        // The moment it is unusable since would be another one if it had been said to be usable between.
        assert_eq!(said(&sender), first);
    }
}

#[tokio::test]
async fn what_rode_is_not_sent_when_its_message_is_held_or_removed_meanwhile() {
    for removes in [false, true] {
        let bench = Bench::new();
        bench.accept("first", "b@example.com");
        bench.accept("next", "c@example.com");
        bench.accept("last", "d@example.com");
        let next = bench.spool.behind(bench.spool.head().unwrap()).unwrap();
        let spool = bench.spool.clone();
        let (port, mut told) = server(move |asked| match asked {
            "first" => {
                let done = if removes { spool.remove(next) } else { spool.hold(next) };
                done.unwrap().unwrap();
                "250 ok"
            }
            _ if asked.starts_with("EHLO") => "250-test\r\n250 PIPELINING",
            _ => "250 ok",
        })
        .await;
        let mut sender = bench.sender(port);
        bench.pass(&mut sender).await;
        assert_eq!(all(&mut told), ["first", "last"], "removes: {removes}");
    }
}

#[tokio::test]
async fn what_a_breaker_may_bring_back_is_kept_whatever_keep_failed_says() {
    let bench = Bench::new();
    let limits = Limits { keep_failed: Some(1), ..Limits::default() };
    bench.spool.set_limits(limits);
    for name in ["one", "two", "three"] {
        bench.accept(name, &format!("{name}@example.com"));
    }
    let (port, _told) = saying("550 5.7.1 relaying denied").await;
    let mut sender = bench.sender(port);
    assert!(matches!(bench.pass(&mut sender).await, PassEnd::Unusable(_)));
    assert_eq!((bench.spool.counts().failed, bench.spool.counts().in_line), (0, 3));
}

#[tokio::test]
async fn a_message_that_is_refused_for_its_bytes_keeps_the_envelope_that_was_given_with_it() {
    let bench = Bench::new();
    let now = UnixTime::from_secs(1);
    let mut submission = bench.spool.submit().unwrap().unwrap();
    submission.append(b"To: header@example.com\nSubject: given\n\ntext\n").unwrap();
    let given = Envelope::new(ReversePath::Null, ["given@example.com".parse().unwrap()]).unwrap();
    let name = submission.finish("given".as_ref(), Some(&given), now, &|_, _| None).unwrap().name;
    let rewrite = |dir, bytes: &[u8]| {
        let file = name.to_string();
        bench.disk.unlink(dir, file.as_ref()).unwrap();
        bench.disk.create(dir, file.as_ref()).unwrap().append(bytes).unwrap();
    };
    rewrite(Dir::Pending, b"Subject: given\n\n\0");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    let (port, mut told) = server(move |said| {
        heard.lock().unwrap().extend(said.starts_with("RCPT").then(|| said.to_owned()));
        "250 ok"
    })
    .await;
    let mut sender = bench.sender(port);
    bench.pass(&mut sender).await;
    rewrite(Dir::Failed, b"To: header@example.com\nSubject: given\n\ntext\n");
    bench.spool.retry(name.id, Place::Aside).unwrap().unwrap();
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut told), ["given"]);
    assert_eq!(*asked.lock().unwrap(), ["RCPT TO:<given@example.com>"]);
}

#[tokio::test]
async fn a_message_that_the_disk_does_not_give_is_looked_at_again() {
    let bench = Bench::new();
    bench.accept("sick", "b@example.com");
    bench.accept("well", "b@example.com");
    let (port, mut told) = server(|_| "250 ok").await;
    let mut sender = bench.sender(port);
    let sick = Arc::new(AtomicU64::new(1));
    let left = sick.clone();
    bench.disk.ask_first(move |what, dir| {
        let fails = what == "read" && dir == Dir::Pending;
        (fails && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok())
            .then(|| std::io::Error::from_raw_os_error(libc::EIO))
    });
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut told), ["well"]);
    assert_eq!(bench.spool.counts().held, 1, "it is shown so");
    sick.store(1, Ordering::SeqCst);
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut told), [""; 0], "the disk does not give it yet");
    bench.pass(&mut sender).await;
    assert_eq!(all(&mut told), ["sick"]);
}

#[tokio::test]
async fn a_breaker_that_opened_on_a_full_disk_brings_back_what_it_has_to_once_there_is_room() {
    let bench = Bench::new();
    for name in ["one", "two", "three"] {
        bench.accept(name, &format!("{name}@example.com"));
    }
    let disk = bench.disk.clone();
    let (port, _told) = server(move |asked| {
        if asked.contains("<three@") {
            disk.ask_first(|what, dir| {
                ((what, dir) == ("create", Dir::Meta)).then(|| std::io::ErrorKind::StorageFull.into())
            });
        }
        if asked.starts_with("RCPT") { "550 5.7.1 relaying denied" } else { "250 ok" }
    })
    .await;
    let mut sender = bench.sender(port);
    bench.clock.advance(31);
    assert!(sender.pass(None, &mut Stop::pair().1).await.is_err());
    assert_eq!(bench.spool.counts().failed, 2);
    bench.disk.mend();
    bench.spool.recover().unwrap();
    let mut next = bench.sender(port);
    assert!(next.schedule.may_come_back().is_empty(), "the disk has kept nothing");
    next.go_on_from(&sender.memory());
    bench.pass(&mut next).await;
    assert_eq!((bench.spool.counts().failed, bench.spool.counts().in_line), (0, 3));
}

#[tokio::test]
async fn failures_of_many_recipients_are_remembered_over_a_restart() {
    let bench = Bench::new();
    let many = |name: &str| {
        let far = "d".repeat(60);
        (0..3000).map(|n| format!("{name}{n}@{far}.example.com")).collect::<Vec<_>>().join(",\n ")
    };
    let (port, _told) = saying("550 5.7.1 not you").await;
    for name in ["a", "b", "c"] {
        bench.accept(name, &many(name));
        // Each by a run of its own.
        bench.pass(&mut bench.sender(port)).await;
    }
    assert_eq!((bench.spool.counts().failed, bench.spool.counts().in_line), (0, 3), "the breaker is open");
}

#[tokio::test]
async fn a_message_that_is_refused_with_recipients_left_over_closes_no_breaker() {
    let bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.accept(name, &format!("{name}@example.com"));
    }
    bench.accept("two", "x@example.com, y@example.com");
    let (port, _told) = server(|asked| match asked {
        "two" => "554 5.7.1 not you",
        "RCPT TO:<y@example.com>" => "452 4.5.3 too many",
        _ if asked.starts_with("RCPT") && !asked.contains("<x@") => "550 5.7.1 not you",
        _ => "250 ok",
    })
    .await;
    let mut sender = bench.sender(port);
    for _ in 0..6 {
        bench.pass(&mut sender).await;
        let Some(SenderState::BreakerOpen { cause, .. }) = said(&sender) else {
            panic!("{:?}", said(&sender))
        };
        assert!(cause.contains("5.7.1 not you"), "{cause}");
    }
    assert_eq!((bench.spool.counts().failed, bench.spool.counts().in_line), (0, 4));
}
