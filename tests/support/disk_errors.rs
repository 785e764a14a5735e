//! Every call of the product fails once with EIO and once with ENOSPC, alone and with those that follow it.
//!
//! The service has to go on by itself when the disk does; a one-shot run may give up, and the next one must finish what it left.
//! Nothing is lost, nothing comes out of order, and nothing that cannot be read back was taken.
//!
//! `PILLARBOX_ERRORS_AT=run:57:5:1` tries one again: the first call that fails, its errno, and how many fail.

use super::ptrace::Call;
use super::*;

/// How many calls in a row: one that fails by itself, and a disk that stays full for a while.
const COUNTS: [usize; 2] = [1, 12];
/// Most of a run is waiting.
const RUNS_AT_A_TIME: usize = 4;

/// The service never takes a file whose sync has failed before it is written anew: the test would wait for it for ever.
fn failure(verb: Verb, errno: i32) -> Fail {
    let but_no_sync_of = (verb == Verb::Run).then_some("pickup");
    Fail { from: 1, count: 1, errno, but_no_sync_of }
}

fn name(verb: Verb, fail: Fail) -> String {
    format!("{}:{}:{}:{}", verb.name(), fail.from, fail.errno, fail.count)
}

/// What was broken, if anything.
fn try_one(verb: Verb, fail: Fail, sink: &Sink, keep: bool) -> io::Result<Option<String>> {
    sink.clear();
    let place = Place::retrying(sink.port(), "100ms")?;
    let trace = traced_with(&place, sink, verb, None, Some(fail))
        .map_err(|e| io::Error::other(format!("{e}\n    the product said:\n{}", place.said())))?;
    let mut violations = Vec::new();
    if !sink.wait_quiet(LIMIT) {
        violations.push("a session outlives the process".into());
    }
    let before = sink.arrivals().len();
    violations.extend(judge::whole(&place.spool, messages(), &sink.arrivals())?);
    let started = place.said().contains(" ready ");
    if verb == Verb::Run && started {
        if !trace.status.success() {
            violations.push(format!("the service ended with {}", trace.status));
        }
        if before < MESSAGES {
            violations.push(format!("the service left {} messages", MESSAGES - before));
        }
    }
    if trace.status.signal().is_some() || trace.status.code() == Some(101) {
        violations.push(format!("it ended with {}", trace.status));
    }
    let mut left = Vec::new();
    for _ in 0..FLUSHES {
        let flush = place.finish(&mut place.command("flush"))?;
        if !flush.success() {
            violations.push(format!("flush on a sound disk: {flush}"));
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
    violations.extend(judge_arrivals(&sink.arrivals(), &may_be_overtaken(&trace)));
    violations.extend(sink.faults());
    if violations.is_empty() && !keep {
        return Ok(None);
    }
    let failed: Vec<String> =
        trace.calls.iter().skip(fail.from - 1).take(fail.count).map(|c| format!("{c:?}")).collect();
    let text = format!(
        "{}: {}\n    failed: {}\n    the product said:\n{}",
        name(verb, fail),
        violations.join("\n    "),
        failed.join("\n            "),
        place.said()
    );
    if keep {
        say(&text);
    }
    Ok((!violations.is_empty()).then_some(text))
}

/// A file of which the disk says that it cannot be read or synced waits, and holds nobody.
fn may_be_overtaken(trace: &Trace) -> Vec<&'static str> {
    let failed = |call: &&Call| call.result == Some(-i64::from(libc::EIO)) || call.name == "fsync";
    let is_of = |message: &&Message| {
        let ends = |path: &PathBuf| path.ends_with(Path::new("pickup").join(&message.name));
        trace.calls.iter().filter(failed).any(|call| call.paths.iter().any(ends))
    };
    messages().iter().filter(is_of).map(|message| message.name.as_str()).collect()
}

/// All came, in order, whole, and at most one of them twice, one right behind the other.
fn judge_arrivals(arrivals: &[Arrival], overtaken: &[&str]) -> Vec<String> {
    let mut violations = Vec::new();
    let mut came: Vec<usize> = Vec::new();
    let mut twice = 0;
    for arrival in arrivals {
        match messages().iter().position(|message| message.wire == arrival.bytes) {
            None => violations.push("something else arrived than what was dropped".into()),
            Some(n) if came.last() == Some(&n) => twice += 1,
            Some(n) if came.contains(&n) => violations.push(format!("message {n} arrived again, later")),
            Some(n) => came.push(n),
        }
    }
    if twice > 1 {
        violations.push(format!("{twice} messages arrived twice"));
    }
    violations.extend((0..MESSAGES).filter(|n| !came.contains(n)).map(|n| format!("message {n} is lost")));
    came.retain(|n| !overtaken.contains(&messages()[*n].name.as_str()));
    if !came.is_sorted() {
        violations.push(format!("they arrived as {came:?}"));
    }
    violations
}

fn errors_everywhere(verb: Verb) {
    if let Ok(text) = env::var("PILLARBOX_ERRORS_AT") {
        let parts: Vec<&str> = text.split(':').collect();
        let [which, rest @ ..] = parts.as_slice() else { return };
        let numbers: Vec<usize> = rest.iter().map(|n| n.parse().expect("numbers")).collect();
        if *which == verb.name() {
            let fail = Fail { from: numbers[0], count: numbers[2], ..failure(verb, numbers[1] as i32) };
            let sink = Sink::start().expect("the sink listens");
            assert_eq!(try_one(verb, fail, &sink, true).expect("it can be tried"), None);
        }
        return;
    }
    let begun = Instant::now();
    let calls = count(verb);
    let failures: Vec<Fail> = (1..=calls)
        .flat_map(|from| COUNTS.map(|count| (from, count)))
        .enumerate()
        // Alone it is an error of the disk or of room; with those that follow, of room or a disk that turned read-only.
        .map(|(n, (from, count))| {
            let errnos = if count == 1 { [libc::EIO, libc::ENOSPC] } else { [libc::EROFS, libc::ENOSPC] };
            let errno = errnos[n / 2 % 2];
            Fail { from, count, ..failure(verb, errno) }
        })
        .collect();
    let next = AtomicUsize::new(0);
    let broken = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..RUNS_AT_A_TIME {
            scope.spawn(|| {
                let sink = Sink::start().expect("the sink listens");
                while let Some(fail) = failures.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let found = try_one(verb, *fail, &sink, false)
                        .unwrap_or_else(|e| Some(format!("{}: {e}", name(verb, *fail))));
                    broken.lock().expect("no worker panics with it").extend(found);
                }
            });
        }
    });
    let broken = broken.into_inner().expect("no worker panics with it");
    say(&format!(
        "disk errors: {}: {} runs, {} broken; {:.0} s",
        verb.name(),
        failures.len(),
        broken.len(),
        begun.elapsed().as_secs_f64()
    ));
    assert!(
        broken.is_empty(),
        "{} broken; the first of them:\n{}",
        broken.len(),
        broken[..broken.len().min(3)].join("\n")
    );
}

#[test]
fn n8_flush_loses_nothing_whichever_disk_call_fails() {
    errors_everywhere(Verb::Flush);
}

#[test]
fn n8_run_goes_on_by_itself_whichever_disk_call_fails() {
    errors_everywhere(Verb::Run);
}
