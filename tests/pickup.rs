//! The pickup on the model of a disk, with a clock that the test turns: which file is complete, and in which order.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "the crash tests use the rest")]
mod model;

use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::Disk;
use pillarbox::fs::{Clock, Dir, File, Fs, Room, Stat, SyncSite, Writer};
use pillarbox::mail::{Monotonic, UnixTime};
use pillarbox::outgoing;
use pillarbox::pickup::{Hint, Options, Pattern, Pickup, Step};
use pillarbox::spool::{Lease, Source, Spool};

const SETTLE: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Alone;

impl Lease for Alone {}

/// Milliseconds since the start; the time of day jumps about and must not matter.
#[derive(Default)]
struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn boot(&self) -> String {
        "one".into()
    }
    fn monotonic(&self) -> Monotonic {
        Monotonic(Duration::from_millis(self.0.load(Ordering::Relaxed)))
    }

    fn wall(&self) -> UnixTime {
        let now = self.0.load(Ordering::Relaxed);
        UnixTime::from_millis(if now.is_multiple_of(2) { now } else { 1_795_443_053_000 - now })
    }
}

struct Bench {
    disk: Disk,
    clock: Arc<TestClock>,
    pickup: Pickup,
}

impl Bench {
    fn new(disk: &Disk) -> Bench {
        Bench::over(disk, Arc::new(disk.clone()))
    }

    fn over(disk: &Disk, fs: Arc<dyn Fs>) -> Bench {
        let spool = Arc::new(Spool::new(fs, Box::new(Alone)));
        spool.recover().unwrap();
        let clock = Arc::new(TestClock::default());
        let outgoing = outgoing::Options {
            hostname: "box.example.com".into(),
            received: false,
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
        let pickup = Pickup::new(spool, clock.clone(), options);
        Bench { disk: disk.clone(), clock, pickup }
    }

    /// Lets the time go on and steps once; the labels of what was accepted.
    fn after(&mut self, millis: u64) -> Vec<String> {
        self.clock.0.fetch_add(millis, Ordering::Relaxed);
        labels(&self.pickup.step().unwrap())
    }

    fn rename_in(&mut self, name: &str) {
        self.disk.drop_file(name, &message(name), true);
        self.pickup.hint(Hint::RenamedIn(name.into()));
    }
}

fn labels(step: &Step) -> Vec<String> {
    step.accepted.iter().map(|a| a.name.label().to_owned()).collect()
}

fn message(text: &str) -> Vec<u8> {
    format!("From: a@example.com\nTo: b@example.com\n\n{text}\n").into_bytes()
}

#[test]
fn a_file_that_was_renamed_in_is_accepted_at_once() {
    let mut bench = Bench::new(&Disk::default());
    assert!(bench.after(0).is_empty());
    bench.rename_in("b.eml");
    bench.rename_in("a.eml");
    assert_eq!(bench.after(0), ["b", "a"], "in the order of the events");
}

#[test]
fn a_file_known_from_a_scan_alone_needs_two_looks() {
    let disk = Disk::default();
    disk.drop_file("a.eml", &message("a"), true);
    let mut bench = Bench::new(&disk);
    assert!(bench.after(0).is_empty());
    assert!(bench.after(499).is_empty());
    // Neither lease nor close event say more, but the model has leases: nobody writes.
    assert_eq!(bench.after(1), ["a"]);
}

#[test]
fn a_file_that_grows_is_not_taken_before_it_rests() {
    let disk = Disk::default();
    disk.drop_file("a.eml", &message("a"), true);
    let mut bench = Bench::new(&disk);
    for _ in 0..20 {
        assert!(bench.after(400).is_empty());
        disk.append_to("a.eml", b"more\n");
    }
    assert!(bench.after(400).is_empty());
    assert_eq!(bench.after(500), ["a"]);
}

#[test]
fn what_was_renamed_in_does_not_overtake_what_a_scan_found_before() {
    let disk = Disk::default();
    for name in ["n-9.eml", "n-10.eml"] {
        disk.drop_file(name, &message(name), true);
    }
    let mut bench = Bench::new(&disk);
    assert!(bench.after(0).is_empty());
    bench.rename_in("n-11.eml");
    assert!(bench.after(100).is_empty(), "n-11 waits for the older ones to settle");
    assert_eq!(bench.after(400), ["n-9", "n-10", "n-11"]);
}

#[test]
fn a_file_that_never_rests_holds_the_others_only_once() {
    let disk = Disk::default();
    disk.drop_file("slow.eml", &message("slow"), true);
    let mut bench = Bench::new(&disk);
    assert!(bench.after(0).is_empty());
    bench.rename_in("quick.eml");
    disk.append_to("slow.eml", b"more\n");
    assert_eq!(bench.after(500), ["quick"]);
    disk.append_to("slow.eml", b"more\n");
    bench.rename_in("next.eml");
    assert_eq!(bench.after(10), ["next"]);
}

#[test]
fn a_file_renamed_in_that_a_child_of_its_producer_has_open_keeps_its_place() {
    let mut bench = Bench::new(&Disk::default());
    assert!(bench.after(0).is_empty());
    for name in ["one.eml", "two.eml", "three.eml"] {
        bench.rename_in(name);
    }
    bench.disk.set_writer("two.eml", true);
    assert_eq!(bench.after(0), ["one"]);
    bench.rename_in("four.eml");
    assert!(bench.after(10).is_empty());
    bench.disk.set_writer("two.eml", false);
    bench.pickup.hint(Hint::Closed("two.eml".into()));
    assert_eq!(bench.after(10), ["two", "three", "four"]);
}

#[test]
fn a_file_renamed_in_and_never_closed_holds_the_others_only_once() {
    let mut bench = Bench::new(&Disk::default());
    assert!(bench.after(0).is_empty());
    bench.rename_in("open.eml");
    bench.disk.set_writer("open.eml", true);
    bench.rename_in("two.eml");
    assert!(bench.after(0).is_empty());
    assert!(bench.after(499).is_empty());
    assert_eq!(bench.after(1), ["two"]);
    bench.rename_in("three.eml");
    assert_eq!(bench.after(1), ["three"]);
}

#[test]
fn an_empty_file_an_unfinished_name_and_a_foreign_name_stay() {
    let disk = Disk::default();
    for name in ["empty.eml", ".hidden.eml", "a.eml.tmp", "a.txt"] {
        disk.drop_file(name, if name == "empty.eml" { b"" } else { b"To: a@b.c\n\n" }, true);
    }
    let mut bench = Bench::new(&disk);
    for _ in 0..200 {
        assert!(bench.after(1_000).is_empty());
    }
    assert_eq!(disk.files(Dir::Pickup).len(), 4);
    // It was only slow: as soon as something is in it, it is a message.
    disk.append_to("empty.eml", &message("late"));
    bench.pickup.hint(Hint::Closed("empty.eml".into()));
    assert!(bench.after(0).is_empty());
    assert_eq!(bench.after(500), ["empty"]);
}

#[test]
fn a_message_that_can_never_be_sent_is_refused_where_it_was_dropped() {
    let disk = Disk::default();
    let mut bench = Bench::new(&disk);
    disk.drop_file("bad.eml", b"Subject: to nobody\n\n", true);
    bench.pickup.hint(Hint::RenamedIn("bad.eml".into()));
    bench.rename_in("good.eml");
    assert_eq!(bench.after(0), ["bad", "good"]);
    let left = disk.files(Dir::Pickup);
    let (name, text) = &left[0];
    assert_eq!((left.len(), name.as_str()), (1, "bad.eml.rejected.txt"));
    assert!(String::from_utf8_lossy(text).contains("cannot send this message"), "{text:?}");
    assert_eq!(disk.files(Dir::Failed).len(), 2, "the message and its report");
    assert_eq!(disk.files(Dir::Pending).len(), 1);
}

#[test]
fn a_hundred_files_leave_in_groups_and_in_order() {
    let disk = Disk::default();
    let mut bench = Bench::new(&disk);
    let names: Vec<String> = (0..100).map(|n| format!("n-{n}.eml")).collect();
    names.iter().for_each(|name| bench.rename_in(name));
    let mut accepted = bench.after(0);
    assert_eq!(accepted.len(), 64);
    accepted.extend(bench.after(0));
    let expected: Vec<String> = names.iter().map(|n| n.trim_end_matches(".eml").to_owned()).collect();
    assert_eq!(accepted, expected);
    let syncs = |what: &str| disk.log().iter().filter(|call| call.starts_with(what)).count();
    assert_eq!((syncs("sync pending/ (2)"), syncs("sync pickup/ (3)")), (2, 2), "one pair of syncs a group");
}

/// A disk with habits of its own.
#[derive(Default)]
struct Odd {
    disk: Disk,
    /// A directory that is read while files come in: the first reading shows the later file and not this earlier one.
    hidden_once: Mutex<Option<OsString>>,
    /// Files can come without an event.
    is_shared: bool,
    /// Nobody can say who has a file open.
    has_no_leases: bool,
}

struct NoLease(Box<dyn File>);

impl Fs for Odd {
    fn outside(&self, path: &std::path::Path) -> Dir {
        self.disk.outside(path)
    }

    fn list(&self, dir: Dir, visit: &mut dyn FnMut(&OsStr, u64)) -> io::Result<()> {
        let hidden = if dir == Dir::Pickup { self.hidden_once.lock().unwrap().take() } else { None };
        self.disk.list(dir, &mut |name, inode| {
            if hidden.as_deref() != Some(name) {
                visit(name, inode);
            }
        })
    }
    fn stat(&self, dir: Dir, name: &OsStr) -> io::Result<Stat> {
        self.disk.stat(dir, name)
    }
    fn open(&self, dir: Dir, name: &OsStr) -> io::Result<Box<dyn File>> {
        let file = self.disk.open(dir, name)?;
        Ok(if self.has_no_leases { Box::new(NoLease(file)) } else { file })
    }
    fn create(&self, dir: Dir, name: &OsStr) -> io::Result<Box<dyn File>> {
        self.disk.create(dir, name)
    }
    fn rename(&self, from: Dir, old: &OsStr, to: Dir, new: &OsStr) -> io::Result<()> {
        self.disk.rename(from, old, to, new)
    }
    fn link(&self, from: Dir, old: &OsStr, to: Dir, new: &OsStr) -> io::Result<()> {
        self.disk.link(from, old, to, new)
    }
    fn room(&self) -> io::Result<Room> {
        self.disk.room()
    }
    fn replace(&self, dir: Dir, old: &OsStr, new: &OsStr) -> io::Result<()> {
        self.disk.replace(dir, old, new)
    }
    fn unlink(&self, dir: Dir, name: &OsStr) -> io::Result<()> {
        self.disk.unlink(dir, name)
    }
    fn sync_dir(&self, dir: Dir, site: SyncSite) -> io::Result<()> {
        self.disk.sync_dir(dir, site)
    }
    fn refresh(&self, dir: Dir) -> io::Result<bool> {
        self.disk.refresh(dir)
    }
    fn may_change_unheard(&self, dir: Dir) -> bool {
        self.is_shared && dir == Dir::Pickup
    }
}

impl File for NoLease {
    fn stat(&self) -> io::Result<Stat> {
        self.0.stat()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }
    fn sync(&self, site: SyncSite) -> io::Result<()> {
        self.0.sync(site)
    }
    fn reserve(&mut self, bytes: u64) -> io::Result<bool> {
        self.0.reserve(bytes)
    }
    fn trim(&mut self) -> io::Result<()> {
        self.0.trim()
    }
    fn shut_out_writers(&self) -> Writer {
        Writer::Unknown
    }
}

#[test]
fn a_reading_of_the_directory_that_missed_an_earlier_file_changes_no_order() {
    let disk = Disk::default();
    let fs = Arc::new(Odd { disk: disk.clone(), ..Odd::default() });
    let mut bench = Bench::over(&disk, fs.clone());
    for name in ["first.eml", "second.eml"] {
        disk.drop_file(name, &message(name), true);
    }
    *fs.hidden_once.lock().unwrap() = Some("first.eml".into());
    assert!(bench.after(0).is_empty());
    assert_eq!(bench.after(500), ["first", "second"]);
}

#[test]
fn where_files_come_unheard_the_directory_is_read_every_five_seconds() {
    let cases = [(true, true, 5_000), (false, false, 5_000), (true, false, 5_000), (false, true, 60_000)];
    for (is_shared, is_watched, period) in cases {
        let disk = Disk::default();
        let odd = Odd { disk: disk.clone(), is_shared, ..Odd::default() };
        let mut bench = Bench::over(&disk, Arc::new(odd));
        bench.pickup.set_watched(is_watched);
        assert!(bench.after(0).is_empty());
        disk.drop_file("a.eml", &message("a"), true);
        assert!(bench.after(period - 1).is_empty());
        assert!(bench.after(1).is_empty(), "found, and settling");
        assert_eq!(bench.after(500), ["a"], "{is_shared} {is_watched}");
    }
}

#[test]
fn a_watcher_that_dies_is_made_up_for_by_a_scan() {
    let mut bench = Bench::new(&Disk::default());
    assert!(bench.after(0).is_empty());
    bench.disk.drop_file("a.eml", &message("a"), true);
    bench.pickup.hint(Hint::Unwatched);
    assert!(bench.after(0).is_empty());
    assert_eq!(bench.after(500), ["a"]);
}

#[test]
fn where_neither_a_lease_nor_a_close_event_can_be_had_a_file_settles_for_ten_seconds() {
    for is_closed in [false, true] {
        let disk = Disk::default();
        let odd = Odd { disk: disk.clone(), has_no_leases: true, ..Odd::default() };
        let mut bench = Bench::over(&disk, Arc::new(odd));
        assert!(bench.after(0).is_empty());
        bench.rename_in("renamed.eml");
        disk.drop_file("a.eml", &message("a"), true);
        bench.pickup.hint(Hint::Created("a.eml".into()));
        bench.pickup.hint(Hint::Opened("a.eml".into()));
        if is_closed {
            bench.pickup.hint(Hint::Closed("a.eml".into()));
        }
        assert!(bench.after(0).is_empty());
        let mut accepted = Vec::new();
        for _ in 0..19 {
            accepted.extend(bench.after(500));
        }
        assert_eq!(accepted, if is_closed { vec!["a"] } else { vec![] });
        accepted.extend(bench.after(499));
        accepted.extend(bench.after(1));
        accepted.sort();
        assert_eq!(accepted, ["a", "renamed"]);
    }
}

#[test]
fn a_file_that_was_linked_in_is_accepted_at_once_and_one_made_in_place_is_not() {
    let mut bench = Bench::new(&Disk::default());
    assert!(bench.after(0).is_empty());
    for name in ["linked.eml", "made.eml"] {
        bench.disk.drop_file(name, &message(name), true);
        bench.pickup.hint(Hint::Created(name.into()));
    }
    bench.pickup.hint(Hint::Opened("made.eml".into()));
    assert_eq!(bench.after(0), ["linked"]);
    assert!(bench.after(499).is_empty());
    assert_eq!(bench.after(1), ["made"]);
}

#[test]
fn a_file_with_another_name_is_renamed_when_that_goes_and_copied_when_it_has_settled() {
    let mut bench = Bench::new(&Disk::default());
    assert!(bench.after(0).is_empty());
    for name in ["goes.eml", "stays.eml", "renamed.eml"] {
        bench.disk.drop_file(name, &message(name), true);
        bench.disk.link_file(name);
    }
    bench.pickup.hint(Hint::Created("goes.eml".into()));
    bench.pickup.hint(Hint::Created("stays.eml".into()));
    bench.pickup.hint(Hint::RenamedIn("renamed.eml".into()));
    assert!(bench.after(0).is_empty(), "never at once");
    bench.disk.unlink_other_name("goes.eml");
    assert!(bench.after(499).is_empty());
    assert_eq!(bench.after(1), ["goes", "stays", "renamed"]);
    let calls = bench.disk.log();
    let copied = |label: &str| calls.iter().any(|c| c.starts_with("create pending/.") && c.contains(label));
    assert_eq!([copied("_goes."), copied("_stays."), copied("_renamed.")], [false, true, true]);
    assert!(bench.disk.files(Dir::Pickup).is_empty());
    assert_eq!(bench.disk.files(Dir::Pending).len(), 3);
}

#[test]
fn a_file_with_another_name_through_which_it_is_written_is_left_until_it_rests() {
    let mut bench = Bench::new(&Disk::default());
    assert!(bench.after(0).is_empty());
    bench.disk.drop_file("a.eml", &message("a"), true);
    bench.disk.link_file("a.eml");
    bench.pickup.hint(Hint::RenamedIn("a.eml".into()));
    assert!(bench.after(0).is_empty());
    bench.disk.write_when_taken("a.eml", b"more\n");
    assert!(bench.after(500).is_empty());
    let in_pickup = bench.disk.files(Dir::Pickup);
    assert_eq!((in_pickup.len(), in_pickup[0].0.as_str()), (1, "a.eml"));
    assert!(bench.disk.files(Dir::Pending).is_empty(), "a copy was left");
    assert!(bench.after(500).is_empty());
    assert_eq!(bench.after(500), ["a"]);
    assert!(bench.disk.files(Dir::Pending)[0].1.ends_with(b"a\nmore\n"));
}
