//! The pickup over a real directory, on a clock that stands until it is moved.

use std::sync::Mutex;
use std::sync::mpsc;

use super::*;
use crate::fs::Dir;
use crate::fs::faulty::Faulty;
use crate::fs::{Fs as _, RealFs};
use crate::mail::UnixTime;
use crate::spool::{Lease, Source};

#[derive(Debug)]
struct Alone;

impl Lease for Alone {}

/// Each reading may be `stride` later than the one before.
#[derive(Default)]
struct Hand {
    now: Mutex<Duration>,
    stride: Duration,
}

impl Hand {
    fn advance(&self, span: Duration) {
        *self.now.lock().unwrap() += span;
    }
}

impl Clock for Hand {
    fn boot(&self) -> String {
        "one".into()
    }
    fn monotonic(&self) -> Monotonic {
        self.advance(self.stride);
        Monotonic(*self.now.lock().unwrap())
    }
    fn wall(&self) -> UnixTime {
        UnixTime::from_secs(self.now.lock().unwrap().as_secs())
    }
}

struct Bench {
    root: tempfile::TempDir,
    disk: Arc<Faulty>,
    spool: Arc<Spool>,
    clock: Arc<Hand>,
    pickup: Pickup,
}

const SETTLE: Duration = Duration::from_millis(500);
const MESSAGE: &str = "From: a@example.com\nTo: b@example.com\n\ntext\n";

impl Bench {
    fn new() -> Bench {
        Bench::on(Hand::default())
    }

    fn on(clock: Hand) -> Bench {
        let root = tempfile::tempdir().unwrap();
        let disk = Faulty::new(root.path());
        let spool = Arc::new(Spool::new(disk.clone(), Box::new(Alone)));
        spool.recover().unwrap();
        let clock = Arc::new(clock);
        let outgoing = outgoing::Options {
            hostname: "box.example.com".into(),
            received: true,
            ..outgoing::Options::default()
        };
        let options = Options {
            source: Source::default(),
            section: "pickup".into(),
            patterns: Pattern::defaults(),
            settle: SETTLE,
            rescan: Duration::from_secs(60),
            outgoing,
            max_message_size: None,
        };
        let pickup = Pickup::new(spool.clone(), clock.clone(), options);
        Bench { root, disk, spool, clock, pickup }
    }

    /// A step, as much later than the one before.
    fn step_after(&mut self, span: Duration) -> Step {
        self.clock.advance(span);
        self.pickup.step().unwrap()
    }

    fn now(&self) -> Monotonic {
        self.clock.monotonic()
    }
}

#[test]
fn what_was_accepted_is_told_also_when_the_directory_is_watched_anew() {
    let Bench { root: _root, disk, clock, pickup, .. } =
        Bench::on(Hand { stride: Duration::from_secs(61), ..Hand::default() });
    disk.drop_file("a.eml", MESSAGE);
    let (told, heard) = mpsc::channel();
    let (hints, hints_heard) = mpsc::channel();
    let stop = hints.clone();
    let on_accepted = move |accepted: Vec<Accepted>| {
        if accepted.is_empty() {
            return Ok(());
        }
        told.send(accepted.len()).unwrap();
        drop(stop.send(Hint::Stop));
        Ok(())
    };
    // It cannot be watched, and with each look it is time to try again.
    let nowhere = std::path::PathBuf::from("/nonexistent");
    let mut driver = Driver::new(
        pickup.spool.clone(),
        vec![(pickup, nowhere)],
        clock,
        (hints, hints_heard),
        Box::new(on_accepted),
    );
    std::thread::spawn(move || driver.run());
    assert_eq!(heard.recv_timeout(Duration::from_secs(10)), Ok(1));
}

#[test]
fn nobody_is_asked_to_look_before_something_can_be_done() {
    let mut bench = Bench::new();
    bench.disk.drop_file("first.eml", MESSAGE);
    bench.step_after(Duration::ZERO);
    // It has to settle behind the one that the scan found.
    bench.disk.drop_file("second.eml", MESSAGE);
    bench.pickup.hint(Hint::RenamedIn("second.eml".into()));
    let step = bench.step_after(SETTLE / 5);
    assert_eq!(step.next_look.unwrap() - bench.now(), SETTLE * 4 / 5);
    let step = bench.step_after(SETTLE * 4 / 5);
    let labels: Vec<_> = step.accepted.iter().map(|a| a.name.label()).collect();
    assert_eq!(labels, ["first", "second"]);
}

#[test]
fn what_will_not_be_taken_before_long_is_not_waited_for() {
    let mut bench = Bench::new();
    bench.disk.drop_file("open.eml", MESSAGE);
    bench.disk.drop_file("empty.eml", "");
    bench.disk.drop_file("README.txt", "not mail");
    let path = bench.root.path().join("pickup/open.eml");
    let _writer = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    assert_eq!(bench.step_after(Duration::ZERO).settling, 3);
    assert_eq!(bench.step_after(SETTLE).settling, 0);
    bench.disk.drop_file("new.eml", MESSAGE);
    bench.pickup.hint(Hint::Rescan);
    assert_eq!(bench.step_after(SETTLE).settling, 1);
    assert_eq!(bench.step_after(SETTLE).accepted.len(), 1);
}

#[test]
fn a_file_that_grows_without_end_is_waited_for_only_so_long() {
    let mut bench = Bench::new();
    bench.disk.drop_file("log.eml", MESSAGE);
    let path = bench.root.path().join("pickup/log.eml");
    let mut steps = 0;
    while bench.step_after(SETTLE).settling > 0 {
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, b"more\n").unwrap();
        steps += 1;
        assert!(steps < 100, "it is waited for without end");
    }
    assert!(steps > 10, "given up after {steps} looks");
}

#[test]
fn a_message_that_is_refused_is_never_in_line() {
    let mut bench = Bench::new();
    bench.disk.drop_file("bad.eml", "From: a@example.com\nTo: b@example.com\n\nnul \0\n");
    bench.step_after(Duration::ZERO);
    let (spool, seen) = (bench.spool.clone(), Arc::new(Mutex::new(Vec::new())));
    let heads = seen.clone();
    bench.disk.ask_first(move |_, dir| {
        heads.lock().unwrap().extend((dir == Dir::Meta).then(|| spool.head()));
        None
    });
    let step = bench.step_after(SETTLE);
    assert!(step.accepted[0].refused.is_some());
    let seen = seen.lock().unwrap();
    assert!(!seen.is_empty() && seen.iter().all(Option::is_none), "the sender could have begun it: {seen:?}");
}

#[test]
fn a_file_whose_bytes_could_not_be_synced_is_not_taken_for_synced_later() {
    let mut bench = Bench::new();
    bench.disk.drop_file("a.eml", MESSAGE);
    bench.step_after(Duration::ZERO);
    let error =
        |what: &str, dir| (what == "sync" && dir == Dir::Pickup).then(|| std::io::Error::other("EIO"));
    bench.disk.ask_first(error);
    assert!(bench.step_after(SETTLE).accepted.is_empty());
    // The second sync of the same bytes says nothing about the first (fsync(2)).
    bench.disk.mend();
    for _ in 0..5 {
        assert!(bench.step_after(Duration::from_secs(61)).accepted.is_empty());
    }
    // Written anew, they are other bytes.
    let path = bench.root.path().join("pickup/a.eml");
    std::io::Write::write_all(&mut std::fs::OpenOptions::new().append(true).open(path).unwrap(), b"x")
        .unwrap();
    bench.step_after(Duration::from_secs(61));
    assert_eq!(bench.step_after(SETTLE).accepted.len(), 1);
}

#[test]
fn a_file_that_can_neither_be_taken_nor_put_back_is_found_by_recovery() {
    let mut bench = Bench::new();
    bench.disk.drop_file("a.eml", MESSAGE);
    bench.step_after(Duration::ZERO);
    bench
        .disk
        .ask_first(|what, dir| ((what, dir) == ("stat", Dir::Pending)).then(|| std::io::Error::other("EIO")));
    bench.clock.advance(SETTLE);
    assert!(bench.pickup.step().is_err());
    assert!(bench.spool.is_faulted());
    bench.disk.mend();
    bench.spool.recover().unwrap();
    assert_eq!(bench.spool.counts().in_line, 1);
}

#[test]
fn what_is_in_flight_is_settled_although_the_pickup_has_met_a_fault() {
    let mut bench = Bench::new();
    bench.disk.drop_file("taken.eml", MESSAGE);
    bench.step_after(Duration::ZERO);
    bench.step_after(SETTLE);
    let in_flight = bench.spool.begin(bench.spool.head().unwrap()).unwrap().unwrap();
    bench.disk.drop_file("b.eml", MESSAGE);
    bench.pickup.hint(Hint::Rescan);
    bench.step_after(SETTLE);
    bench.disk.ask_first(|what, dir| {
        ((what, dir) == ("sync_dir", Dir::Pickup)).then(|| std::io::Error::other("EIO"))
    });
    bench.clock.advance(SETTLE);
    assert!(bench.pickup.step().is_err());
    bench.disk.mend();
    // The smarthost has taken it: it must not be sent again because of another file.
    bench.spool.deliver(in_flight).unwrap();
    let accepted = bench.spool.accept(&[], bench.clock.wall(), &|_, _| None);
    assert!(accepted.is_err(), "nothing new is accepted");
    let recovered = bench.spool.recover().unwrap();
    assert_eq!((recovered.in_flight.len(), bench.spool.counts().in_line), (0, 1));
}

#[test]
fn a_failure_that_is_rolled_forward_is_counted_once() {
    let mut bench = Bench::new();
    bench.disk.drop_file("bad.eml", "From: a@example.com\nTo: b@example.com\n\nnul \0\n");
    bench.step_after(Duration::ZERO);
    bench
        .disk
        .ask_first(|what, dir| ((what, dir) == ("sync", Dir::Failed)).then(|| std::io::Error::other("EIO")));
    bench.clock.advance(SETTLE);
    assert!(bench.pickup.step().is_err());
    bench.disk.mend();
    assert_eq!(bench.spool.recover().unwrap().rolled_forward.len(), 1);
    assert_eq!(bench.spool.counts().failed, 1);
}

#[test]
fn without_a_pickup_the_spool_is_recovered_all_the_same() {
    let mut bench = Bench::new();
    let path = bench.root.path().join("pickup");
    std::fs::remove_dir(&path).unwrap();
    bench.spool.recover().unwrap();
    std::fs::create_dir(&path).unwrap();
    bench.spool.recover().unwrap();
    bench.disk.drop_file("a.eml", MESSAGE);
    bench.step_after(Duration::ZERO);
    assert_eq!(bench.step_after(SETTLE).accepted.len(), 1);
}

#[test]
fn files_that_are_not_taken_do_not_fill_a_group() {
    let mut bench = Bench::new();
    for number in 0..3 * GROUP_MAX {
        bench.disk.drop_file(&format!("{number}.txt"), "not mail");
    }
    bench.disk.drop_file("last.eml", MESSAGE);
    bench.step_after(Duration::ZERO);
    let step = bench.step_after(SETTLE);
    assert_eq!((step.accepted.len(), step.more), (1, false));
}

#[test]
fn a_producer_that_renames_before_it_closes_is_not_overtaken() {
    for closes in [true, false] {
        let mut bench = Bench::new();
        bench.step_after(Duration::ZERO);
        bench.disk.drop_file("a.eml", MESSAGE);
        let path = bench.root.path().join("pickup/a.eml");
        let writer = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        bench.pickup.hint(Hint::RenamedIn("a.eml".into()));
        assert!(bench.step_after(Duration::ZERO).accepted.is_empty());
        bench.disk.drop_file("b.eml", MESSAGE);
        bench.pickup.hint(Hint::RenamedIn("b.eml".into()));
        assert!(bench.step_after(SETTLE / 2).accepted.is_empty());
        let mut writer = Some(writer);
        let step = if closes {
            drop(writer.take());
            bench.pickup.hint(Hint::Closed("a.eml".into()));
            bench.step_after(Duration::ZERO)
        } else {
            // It holds nobody for longer than it would take to settle.
            bench.step_after(SETTLE)
        };
        let labels: Vec<_> = step.accepted.iter().map(|a| a.name.label()).collect();
        assert_eq!(labels, if closes { vec!["a", "b"] } else { vec!["b"] });
    }
}

#[test]
fn a_producer_that_uses_the_name_again_while_its_file_is_put_back_is_no_fault() {
    let mut bench = Bench::new();
    bench.disk.drop_file("a.eml", MESSAGE);
    bench.step_after(Duration::ZERO);
    let producer = RealFs::open(bench.root.path()).unwrap();
    // Another file under that name before it is moved, and a third before that one is put back.
    bench.disk.ask_first(move |what, dir| {
        if what == "rename" && matches!(dir, Dir::Pickup | Dir::Pending) {
            let (hidden, name) = (OsStr::new(".hidden"), OsStr::new("a.eml"));
            let text = format!("{MESSAGE}{dir:?}\n");
            producer.create(Dir::Pickup, hidden).unwrap().append(text.as_bytes()).unwrap();
            producer.replace(Dir::Pickup, hidden, name).unwrap();
        }
        None
    });
    let step = bench.step_after(SETTLE);
    assert!(step.accepted.is_empty() && !bench.spool.is_faulted());
    bench.disk.mend();
    let mut accepted = bench.step_after(SETTLE).accepted;
    accepted.extend(bench.step_after(SETTLE).accepted);
    let mut labels: Vec<_> = accepted.iter().map(|a| a.name.label().to_owned()).collect();
    labels.sort();
    assert_eq!(labels.len(), 2, "{labels:?}");
    assert!(labels[0] == "a" && labels[1].starts_with("a-0"), "{labels:?}");
}

#[test]
fn a_file_that_is_open_for_a_minute_is_told_of_once() {
    let mut bench = Bench::new();
    bench.disk.drop_file("open.eml", MESSAGE);
    bench.step_after(Duration::ZERO);
    let path = bench.root.path().join("pickup/open.eml");
    let writer = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    let reported = |bench: &Bench| bench.pickup.files[OsStr::new("open.eml")].reported.clone();
    for _ in 0..119 {
        bench.step_after(SETTLE);
        assert_eq!(reported(&bench), None);
    }
    bench.step_after(SETTLE);
    assert_eq!(reported(&bench).as_deref(), Some("a program still has it open for writing"));
    drop(writer);
    assert_eq!(bench.step_after(SETTLE).accepted.len(), 1);
}

#[test]
fn a_watcher_that_died_is_replaced_and_hears_again() {
    let Bench { root, disk, clock, pickup, .. } = Bench::new();
    let (told, heard) = mpsc::channel();
    let (hints, hints_heard) = mpsc::channel();
    let on_accepted = move |accepted: Vec<Accepted>| {
        accepted.iter().for_each(|a| told.send(a.name.label().to_owned()).unwrap());
        Ok(())
    };
    // Nothing is there to be watched: as good as a watcher that died.
    let watched = root.path().join("watched");
    let ends = (hints.clone(), hints_heard);
    let mut driver = Driver::new(
        pickup.spool.clone(),
        vec![(pickup, watched.clone())],
        clock.clone(),
        ends,
        Box::new(on_accepted),
    );
    let thread = std::thread::spawn(move || driver.run());
    std::os::unix::fs::symlink(root.path().join("pickup"), watched).unwrap();
    let rename_in = |name: &str| {
        disk.drop_file(".hidden", MESSAGE);
        disk.replace(Dir::Pickup, OsStr::new(".hidden"), OsStr::new(name)).unwrap();
    };
    hints.send(Hint::Unwatched).unwrap();
    // Found by the scan that makes up for it. When the second is accepted, the round of the first is over.
    for name in ["first", "second"] {
        rename_in(&format!("{name}.eml"));
        let mut found = None;
        for _ in 0..300 {
            clock.advance(SETTLE / 10);
            found = heard.recv_timeout(Duration::from_millis(100)).ok();
            if found.is_some() {
                break;
            }
            hints.send(Hint::Closed("nothing".into())).unwrap();
        }
        assert_eq!(found.as_deref(), Some(name));
    }
    // The clock stands: there is no scan, and only what an event told of is complete.
    rename_in("third.eml");
    assert_eq!(heard.recv_timeout(Duration::from_secs(10)).as_deref(), Ok("third"));
    hints.send(Hint::Stop).unwrap();
    thread.join().unwrap().unwrap();
}

#[test]
fn a_file_under_somebody_elses_lease_is_being_written() {
    let mut bench = Bench::new();
    bench.disk.drop_file("a.eml", MESSAGE);
    bench.step_after(Duration::ZERO);
    bench.disk.ask_first(|what, _| (what == "open").then(|| std::io::ErrorKind::WouldBlock.into()));
    bench.step_after(SETTLE);
    assert_eq!(bench.pickup.files[OsStr::new("a.eml")].reported, None);
    bench.disk.mend();
    assert_eq!(bench.step_after(SETTLE).accepted.len(), 1);
}

/// A sparse file costs its producer nothing, and its copy the disk.
#[test]
fn a_file_that_there_is_no_room_to_copy_stays_until_it_has_one_name() {
    let mut bench = Bench::new();
    bench.disk.drop_file("huge.eml", MESSAGE);
    let path = bench.root.path().join("pickup/huge.eml");
    let huge = bench.disk.room().unwrap().bytes / 2 + (1 << 30);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(huge).unwrap();
    std::fs::hard_link(&path, bench.root.path().join("other name")).unwrap();
    bench.step_after(Duration::ZERO);
    assert!(bench.step_after(SETTLE).accepted.is_empty());
    let told = bench.pickup.files[OsStr::new("huge.eml")].reported.clone().unwrap();
    assert!(told.ends_with(&format!("no room to copy its {huge} octets")), "{told}");
    let mut left = Vec::new();
    bench.disk.list(Dir::Pending, &mut |name, _| left.push(name.to_owned())).unwrap();
    assert!(left.is_empty(), "{left:?}");
}

/// Its owner may do what it likes with a file in pickup/, whatever we call it.
#[test]
fn a_producer_that_meddles_while_its_file_is_copied_is_no_fault() {
    for (deed, before) in [("remove", "stat"), ("remove", "sync_dir"), ("directory", "sync_dir")] {
        let mut bench = Bench::new();
        bench.disk.drop_file("a.eml", MESSAGE);
        let pickup = bench.root.path().join("pickup");
        std::fs::hard_link(pickup.join("a.eml"), bench.root.path().join("other name")).unwrap();
        bench.step_after(Duration::ZERO);
        let producer = RealFs::open(bench.root.path()).unwrap();
        let (meddled, has_meddled) = mpsc::channel();
        bench.disk.ask_first(move |what, dir| {
            let mut taken = Vec::new();
            producer.list(Dir::Pickup, &mut |name, _| taken.push(name.to_owned())).unwrap();
            taken.retain(|name| name.as_encoded_bytes().ends_with(b".taken"));
            let [taken] = &taken[..] else { return None };
            // What is a directory already cannot be removed.
            if (what, dir) == (before, Dir::Pickup) && producer.unlink(Dir::Pickup, taken).is_ok() {
                if deed == "directory" {
                    std::fs::create_dir(pickup.join(taken)).unwrap();
                }
                meddled.send(()).unwrap();
            }
            None
        });
        bench.clock.advance(SETTLE);
        bench.pickup.step().unwrap();
        assert!(!bench.spool.is_faulted(), "{deed} before {before}");
        has_meddled.try_recv().unwrap();
        bench.disk.mend();
        bench.spool.recover().unwrap();
        assert_eq!(bench.spool.counts().in_line, u64::from(before != "stat"), "{deed} before {before}");
    }
}
