//! The sweep: every kill point, one after the other, and the tests of its own tool.
#![expect(clippy::disallowed_methods, reason = "these tests are a producer and a stopwatch")]

#[path = "disk_errors.rs"]
mod disk_errors;
#[path = "foreign.rs"]
mod foreign;
mod judge;
#[path = "mixed.rs"]
mod mixed;
#[path = "one_shot.rs"]
mod one_shot;
mod ptrace;
#[path = "served.rs"]
mod served;
mod sink;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use judge::Message;
use ptrace::{Fail, Process, Trace, Watch, When};
use sink::{Arrival, Sink};

/// How many messages each kill point has before it.
const MESSAGES: usize = 10;
/// Kill points under way at a time: the product waits for the disk as much as for the processor.
const WORKERS: usize = 2;
/// No single run takes nearly as long; one that does hangs.
const LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked whether something holds of which no arrival tells.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// One pass is enough; more would be a finding, more than these a failure.
const FLUSHES: usize = 5;
/// A sweep that has used up this much leaves out what only says the same again, and says so.
const BUDGET: Duration = Duration::from_secs(100);

/// A spool of its own with its configuration, gone with the value unless `keep` is called.
struct Place {
    dir: tempfile::TempDir,
    spool: PathBuf,
}

impl Place {
    fn new(port: u16) -> io::Result<Place> {
        Place::retrying(port, "1s")
    }

    fn retrying(port: u16, retry_interval: &str) -> io::Result<Place> {
        Place::keeping(port, retry_interval, "")
    }

    /// With further lines of the section \[spool\].
    fn keeping(port: u16, retry_interval: &str, lines: &str) -> io::Result<Place> {
        let dir = tempfile::Builder::new().prefix("pillarbox-sweep-").tempdir()?;
        let spool = dir.path().canonicalize()?.join("spool");
        let place = Place { dir, spool };
        let rescan = if retry_interval == "1s" { "" } else { "rescan = \"500ms\"\n" };
        let config = format!(
            "[spool]\ndir = {:?}\n{lines}[pickup]\nsettle = \"100ms\"\n{rescan}[identity]\nhostname = \"box.example.com\"\n\
             [[smarthost]]\nurl = \"smtp://127.0.0.1:{port}\"\ntls = \"none\"\n\
             [delivery]\nretry_interval = \"{retry_interval}\"\nreceived = false\n",
            place.spool.display().to_string()
        );
        fs::write(place.config(), config)?;
        let init = place.finish(place.command("init").arg("--spool").arg(&place.spool))?;
        if !init.success() {
            return Err(io::Error::other(format!("init: {init}: {}", place.said())));
        }
        Ok(place)
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("pillarbox.toml")
    }

    /// The product, its output into files beside the spool.
    fn command(&self, verb: &str) -> Command {
        let binary =
            env::var_os("PILLARBOX_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_pillarbox").into());
        let output = || {
            let path = self.dir.path().join("output");
            fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .map_or_else(|_| Stdio::null(), Stdio::from)
        };
        let mut command = Command::new(binary);
        command.arg(verb).stdin(Stdio::null()).stdout(output()).stderr(output());
        if verb != "init" {
            command.arg("--config").arg(self.config());
        }
        command
    }

    /// What the product said so far.
    fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("output")).unwrap_or_default()
    }

    /// Runs `command` undisturbed to its end.
    fn finish(&self, command: &mut Command) -> io::Result<ExitStatus> {
        let mut child = command.spawn()?;
        if !Process::of(&child)?.ended_within(LIMIT) {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other(format!(
                "{command:?} still running after {LIMIT:?}: {}",
                self.said()
            )));
        }
        child.wait()
    }

    /// Drops a message the way a careful producer does.
    fn drop_in(&self, message: &Message) -> io::Result<()> {
        let pickup = self.spool.join("pickup");
        let hidden = pickup.join(format!(".{}", message.name));
        let mut file = fs::File::create(&hidden)?;
        file.write_all(&message.dropped)?;
        file.sync_all()?;
        fs::rename(&hidden, pickup.join(&message.name))
    }

    fn keep(self) -> PathBuf {
        self.dir.keep()
    }
}

/// What is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    /// One pass over ten messages that lie there.
    Flush,
    /// The service, while the last seven of ten are being dropped.
    Run,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Flush => "flush",
            Verb::Run => "run",
        }
    }
}

#[derive(Clone, Copy)]
struct KillPoint {
    /// What is killed, as it is called in `PILLARBOX_SWEEP_AT`.
    scenario: &'static str,
    nth: usize,
    when: When,
}

impl KillPoint {
    fn name(&self) -> String {
        let when = if self.when == When::Before { "before" } else { "after" };
        format!("{}:{}:{when}", self.scenario, self.nth)
    }

    /// The point that `text` names; `None` if it is one of another scenario.
    fn parse(text: &str, scenario: &'static str) -> Option<KillPoint> {
        let hint = "PILLARBOX_SWEEP_AT is SCENARIO:NUMBER:before or :after";
        let [named, nth, when] = text.split(':').collect::<Vec<_>>().try_into().expect(hint);
        let when = match when {
            "before" => When::Before,
            "after" => When::After,
            _ => panic!("{hint}"),
        };
        (named == scenario).then(|| KillPoint { scenario, nth: nth.parse().expect(hint), when })
    }
}

/// The messages, the same for every kill point.
fn messages() -> &'static [Message] {
    static MADE: OnceLock<Vec<Message>> = OnceLock::new();
    MADE.get_or_init(|| judge::messages(MESSAGES))
}

/// Runs `verb` under the tool, the messages dropped before or meanwhile.
fn traced(place: &Place, sink: &Sink, verb: Verb, kill: Option<(usize, When)>) -> io::Result<Trace> {
    traced_with(place, sink, verb, kill, None)
}

/// The same, with calls that fail.
fn traced_with(
    place: &Place,
    sink: &Sink,
    verb: Verb,
    kill: Option<(usize, When)>,
    fail: Option<Fail>,
) -> io::Result<Trace> {
    let watch = Watch { dir: &place.spool, kill, fail, limit: LIMIT };
    let mut command = place.command(verb.name());
    let before = if verb == Verb::Flush { MESSAGES } else { 3 };
    for message in &messages()[..before] {
        place.drop_in(message)?;
    }
    if verb == Verb::Flush {
        return ptrace::run(&mut command, &watch, drop);
    }
    beside(&mut command, &watch, sink, |until| {
        // Three are always on their way, so that the drops fall among the service's calls.
        for (n, message) in messages().iter().enumerate().skip(before) {
            until(&|arrivals| arrivals.len() > n - before);
            place.drop_in(message)?;
        }
        until(&|arrivals| arrivals.len() >= MESSAGES);
        Ok(())
    })
}

/// What a producer waits for: until it holds, or the service is gone.
type Until<'a> = &'a dyn Fn(&dyn Fn(&[Arrival]) -> bool);

/// Runs the service of `command` under the tool, beside it a producer at whose end it is told to stop.
fn beside(
    command: &mut Command,
    watch: &Watch<'_>,
    sink: &Sink,
    produce: impl FnOnce(Until<'_>) -> io::Result<()> + Send,
) -> io::Result<Trace> {
    let gone = &AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel::<Process>();
    thread::scope(|scope| {
        let producer = scope.spawn(move || -> io::Result<()> {
            let Ok(service) = receiver.recv() else { return Ok(()) };
            produce(&|done| {
                // What is no arrival wakes nobody: it is looked at now and then.
                let mut looks = 0..LIMIT.as_millis() / LOOK_AGAIN.as_millis();
                let holds = |arrivals: &[Arrival]| done(arrivals) || gone.load(Ordering::SeqCst);
                looks.any(|_| sink.wait(LOOK_AGAIN, holds));
            })?;
            service.signal(libc::SIGTERM)
        });
        let trace = ptrace::run(command, watch, move |process| sender.send(process).unwrap_or_default());
        gone.store(true, Ordering::SeqCst);
        sink.wake();
        producer.join().map_err(|_| io::Error::other("the producer panicked"))??;
        trace
    })
}

/// The life of one kill point.
enum Verdict {
    /// The run came to its end without as many calls.
    NotReached,
    /// Whether a message came twice.
    Kept { twice: bool },
    /// What was broken, with all that is known about it.
    Broken(String),
}

fn try_kill_point(verb: Verb, point: KillPoint, sink: &Sink, keep: bool) -> io::Result<Verdict> {
    sink.clear();
    let place = Place::new(sink.port())?;
    let trace = traced(&place, sink, verb, Some((point.nth, point.when)))?;
    let mut violations = Vec::new();
    if !sink.wait(LIMIT, |_| true) || !sink.wait_quiet(LIMIT) {
        violations.push("a session outlives the process".into());
    }
    if trace.killed && trace.status.signal() != Some(libc::SIGKILL) {
        violations.push(format!("killed, yet it ended with {}", trace.status));
    }
    if !trace.killed && !trace.status.success() {
        violations.push(format!("not killed, yet it ended with {}", trace.status));
    }
    let before_kill = sink.arrivals().len();
    violations.extend(judge::whole(&place.spool, messages(), &sink.arrivals())?);

    let mut left = Vec::new();
    for _ in 0..FLUSHES {
        let flush = place.finish(&mut place.command("flush"))?;
        if !flush.success() {
            violations.push(format!("flush after the kill: {flush}"));
        }
        left = judge::leftovers(&place.spool)?;
        if left.is_empty() {
            break;
        }
    }
    if !left.is_empty() {
        violations.push(format!("left over after {FLUSHES} flushes: {}", left.join(", ")));
    }
    if !sink.wait_quiet(LIMIT) {
        violations.push("a session outlives flush".into());
    }
    let arrivals = sink.arrivals();
    violations.extend(judge::judge(messages(), &arrivals, before_kill));
    violations.extend(sink.faults());

    let counts = format!("arrivals: {before_kill} before the kill, {} in all", arrivals.len());
    Ok(verdict(point, place, &trace, violations, arrivals.len() > MESSAGES, keep.then_some(counts)))
}

/// The verdict on one point; with `keep`, which says what else is known, all of it is told and the folder stays.
fn verdict(
    point: KillPoint,
    place: Place,
    trace: &Trace,
    violations: Vec<String>,
    twice: bool,
    keep: Option<String>,
) -> Verdict {
    if violations.is_empty() && keep.is_none() {
        return if trace.killed { Verdict::Kept { twice } } else { Verdict::NotReached };
    }
    let mut text = format!("{}: {}\n", point.name(), violations.join("\n    "));
    if let Some(call) = trace.calls.last() {
        text += &format!("    last call: {call:?}\n");
    }
    let said = place.said();
    if let Some(known) = keep {
        for (n, call) in trace.calls.iter().enumerate() {
            text += &format!("    {:4} {call:?}\n", n + 1);
        }
        text += &format!("    {known}\n    kept: {}\n", place.keep().display());
    }
    text += &format!("    the product said:\n{said}");
    if violations.is_empty() {
        say(&text);
        return Verdict::Kept { twice };
    }
    Verdict::Broken(text)
}

/// Past the test harness, which swallows what a test that passes prints.
fn say(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

/// Counts the calls of an undisturbed run, and holds that against the judge as well.
fn count(verb: Verb) -> usize {
    let sink = Sink::start().expect("the sink listens");
    let mut most = 0;
    let mut by_name = None;
    // Threads and ticks make the number vary a little: the highest of three is swept to.
    for _ in 0..3 {
        sink.clear();
        let place = Place::new(sink.port()).expect("a fresh spool");
        let trace = traced(&place, &sink, verb, None).expect("an undisturbed run");
        let said = place.said();
        assert!(trace.status.success(), "{} ended with {}: {said}", verb.name(), trace.status);
        assert!(sink.wait_quiet(LIMIT), "a session outlives the process: {said}");
        let left = judge::leftovers(&place.spool).expect("the spool can be read");
        assert!(left.is_empty(), "undisturbed, yet left over: {left:?}: {said}");
        let violations = [
            judge::judge(messages(), &sink.arrivals(), 0),
            sink.faults(),
            judge::unsynced(&place.spool, &trace.calls),
        ]
        .concat();
        assert!(violations.is_empty(), "undisturbed, yet: {violations:#?}: {said}");
        if trace.calls.len() > most {
            most = trace.calls.len();
            by_name = Some(trace.by_name());
        }
    }
    assert!(most > 0, "not one call below the spool was seen");
    say(&format!(
        "sigkill: {} makes {most} calls for {MESSAGES} messages: {:?}",
        verb.name(),
        by_name.unwrap_or_default()
    ));
    // A little beyond: a point that is not reached costs one run and proves nothing wrong.
    most + most / 20 + 2
}

fn sweep(verb: Verb) {
    let try_one = |point, sink: &Sink, keep| try_kill_point(verb, point, sink, keep);
    every_point(verb.name(), 1, Sink::start, || count(verb), try_one);
}

/// Tries every `step`th point of `scenario`, of as many as `calls` counts; fails if one is broken.
fn every_point(
    scenario: &'static str,
    step: usize,
    start: impl Fn() -> io::Result<Sink> + Sync,
    calls: impl FnOnce() -> usize,
    try_one: impl Fn(KillPoint, &Sink, bool) -> io::Result<Verdict> + Sync,
) {
    // One sweep at a time: the tests of this file run side by side, the machine may have two cores.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(|broken| broken.into_inner());
    if let Ok(text) = env::var("PILLARBOX_SWEEP_AT") {
        if let Some(point) = KillPoint::parse(&text, scenario) {
            let sink = start().expect("the sink listens");
            match try_one(point, &sink, true).expect("the kill point can be tried") {
                Verdict::Broken(text) => panic!("{text}"),
                Verdict::NotReached => say("sigkill: the run had fewer calls"),
                Verdict::Kept { .. } => {}
            }
        }
        return;
    }

    let begun = Instant::now();
    let calls = calls();
    // After every call first: these are all the states there are between two calls. Before each of
    // them finds the same again, but for calls of other threads: what a full budget may leave out.
    let points: Vec<KillPoint> = [When::After, When::Before]
        .into_iter()
        .flat_map(|when| (1..=calls).step_by(step).map(move |nth| KillPoint { scenario, nth, when }))
        .collect();
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let sink = start().expect("the sink listens");
                while let Some(point) = points.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if point.when == When::Before && begun.elapsed() > BUDGET {
                        break;
                    }
                    let verdict = try_one(*point, &sink, false)
                        .unwrap_or_else(|e| Verdict::Broken(format!("{}: {e}", point.name())));
                    verdicts.lock().expect("no worker panics with it").push(verdict);
                }
            });
        }
    });

    let verdicts = verdicts.into_inner().expect("no worker panics with it");
    let count = |which: fn(&Verdict) -> bool| verdicts.iter().filter(|verdict| which(verdict)).count();
    let broken: Vec<&str> = verdicts
        .iter()
        .filter_map(|verdict| if let Verdict::Broken(text) = verdict { Some(text.as_str()) } else { None })
        .collect();
    say(&format!(
        "sigkill: {}: {} kill points of {}: {} kept the promise ({} with one message twice), {} not reached, \
         {} broken; {:.0} s",
        scenario,
        verdicts.len(),
        points.len(),
        count(|v| matches!(v, Verdict::Kept { .. })),
        count(|v| matches!(v, Verdict::Kept { twice: true })),
        count(|v| matches!(v, Verdict::NotReached)),
        broken.len(),
        begun.elapsed().as_secs_f64(),
    ));
    if verdicts.len() < points.len() {
        say(&format!(
            "sigkill: the budget of {BUDGET:?} was used up: {} points before a call left out",
            points.len() - verdicts.len()
        ));
    }
    assert!(
        broken.is_empty(),
        "{} kill points broken; the first of them:\n{}",
        broken.len(),
        broken[..broken.len().min(3)].join("\n")
    );
    let reached = count(|v| matches!(v, Verdict::Kept { .. }));
    assert!(
        reached * 2 > verdicts.len(),
        "{reached} of {} kill points reached: the counts do not repeat",
        verdicts.len()
    );
}

#[test]
fn flush_killed_at_every_call_loses_nothing() {
    sweep(Verb::Flush);
}

#[test]
fn run_killed_while_messages_are_dropped_loses_nothing() {
    sweep(Verb::Run);
}

/// What the tests of the tool trace: this test program itself, with one test of it.
mod tool {
    use super::*;

    const DIR: &str = "PILLARBOX_TRACEE_DIR";

    /// Does nothing as a test; as a tracee six calls below the directory, from two threads.
    #[test]
    fn tracee() {
        let Some(dir) = env::var_os(DIR).map(PathBuf::from) else { return };
        let outside = tempfile::tempfile().expect("a file outside");
        (&outside).write_all(b"not counted").expect("written");
        fs::write(dir.join("a"), b"text").expect("openat and write");
        let moved = thread::spawn({
            let dir = dir.clone();
            move || fs::rename(dir.join("a"), dir.join("b"))
        });
        moved.join().expect("no panic").expect("rename");
        env::set_current_dir(&dir).expect("not counted");
        fs::File::open("b").and_then(|file| file.sync_all()).expect("openat and fsync");
        fs::remove_file("./x/../b").expect_err("unlink of what is not there");
    }

    fn trace(dir: &Path, kill: Option<(usize, When)>) -> Trace {
        let mut command = Command::new(env::current_exe().expect("a name"));
        command.args(["--exact", "sweep::tool::tracee"]).env(DIR, dir).stdout(Stdio::null());
        let watch = Watch { dir, kill, fail: None, limit: LIMIT };
        ptrace::run(&mut command, &watch, drop)
            .expect("the tool works here; is ptrace forbidden in this container?")
    }

    fn fresh() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().canonicalize().expect("its path");
        (dir, path)
    }

    #[test]
    fn the_tool_counts_the_calls_of_all_threads_below_the_directory() {
        let (_dir, path) = fresh();
        let trace = trace(&path, None);
        assert!(trace.status.success() && !trace.killed);
        let names: Vec<&str> = trace.calls.iter().map(|call| call.name).collect();
        let rename = names[2];
        assert!(["rename", "renameat", "renameat2"].contains(&rename), "{names:?}");
        let unlink = names[5];
        assert!(["unlink", "unlinkat"].contains(&unlink), "{names:?}");
        assert_eq!(names, ["openat", "write", rename, "openat", "fsync", unlink]);
        assert_eq!(trace.calls[2].paths, [path.join("a"), path.join("b")]);
        assert_eq!(trace.calls[5].paths, [path.join("b")]);
        assert_eq!(trace.calls[1].result, Some(4));
        assert_eq!(trace.calls[5].result, Some(-i64::from(libc::ENOENT)));
    }

    #[test]
    fn the_tool_kills_right_before_and_right_after_a_call() {
        for (nth, when, there) in [
            (1, When::Before, [None, None]),
            (1, When::After, [Some(""), None]),
            (2, When::Before, [Some(""), None]),
            (2, When::After, [Some("text"), None]),
            (3, When::Before, [Some("text"), None]),
            (3, When::After, [None, Some("text")]),
        ] {
            let (_dir, path) = fresh();
            let trace = trace(&path, Some((nth, when)));
            assert!(trace.killed && trace.status.signal() == Some(libc::SIGKILL), "{nth} {when:?}");
            assert_eq!(trace.calls.len(), nth, "{when:?}");
            let found = ["a", "b"].map(|name| fs::read_to_string(path.join(name)).ok());
            assert_eq!(found.each_ref().map(Option::as_deref), there, "{nth} {when:?}");
        }
    }

    #[test]
    fn the_tool_says_so_when_the_call_is_not_reached() {
        let (_dir, path) = fresh();
        let trace = trace(&path, Some((7, When::After)));
        assert!(trace.status.success() && !trace.killed);
        assert_eq!(trace.calls.len(), 6);
    }
}
