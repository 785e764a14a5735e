//! The sweep over messages of which each meets another fate: copied, refused in part, deferred in part, refused unsent.
//!
//! Delivered ones are kept in `sent/`, so that each message lies in exactly one place from the drop to the end.

use std::sync::OnceLock;

use serde_json::Value;

use super::judge::{REVERSE_PATH, names};
use super::sink::Script;
use super::*;

/// What the sink makes of them.
const SCRIPT: Script = Script { refused: &["gone2@example.com"], deferred_once: &["later4@example.com"] };
/// So many lie in `pickup/` before the service starts.
const BEFORE: usize = 3;
/// The sweep of `run` takes every second call: its calls are those of `flush`, a few more, and it waits longer.
const STEP_OF_RUN: usize = 2;

/// A message and its end.
struct Mixed {
    /// `forward_paths` are those who take it.
    message: Message,
    /// The file has a second name outside the spool.
    linked: bool,
    /// The directory that it ends in.
    end: &'static str,
    /// What its report says, if there is one.
    report: &'static [&'static str],
}

fn mixed() -> &'static [Mixed] {
    static MADE: OnceLock<Vec<Mixed>> = OnceLock::new();
    MADE.get_or_init(|| {
        let refused = &[
            "- <ops2@example.com>: taken by the server",
            "- <gone2@example.com>: refused: the server said: 550",
        ];
        vec![
            made("m0-linked", &["ops0"], &["ops0"], "sent", &[]),
            made("m1-plain", &["ops1"], &["ops1"], "sent", &[]),
            made("m2-half-refused", &["ops2", "gone2"], &["ops2"], "failed", refused),
            made("m3-to-nobody", &[], &[], "failed", &["recipient"]),
            made("m4-half-deferred", &["ops4", "later4"], &["ops4", "later4"], "sent", &[]),
            made("m5-last", &["ops5", "night5"], &["ops5", "night5"], "sent", &[]),
        ]
    })
}

fn made(
    label: &str,
    to: &[&str],
    taken: &[&str],
    end: &'static str,
    report: &'static [&'static str],
) -> Mixed {
    let addresses = |to: &[&str]| to.iter().map(|name| format!("{name}@example.com")).collect::<Vec<_>>();
    let to_line = if to.is_empty() { String::new() } else { format!("To: {}\n", addresses(to).join(", ")) };
    let text = format!(
        "From: Panel <{REVERSE_PATH}>\n{to_line}Subject: {label}\nDate: Mon, 23 Nov 2026 14:00:00 +0000\n\
         Message-ID: <{label}@example.com>\n\n{label}\n.\n"
    );
    let wire = text.replace('\n', "\r\n").into_bytes();
    let message =
        Message { name: format!("{label}.eml"), dropped: text.into(), wire, forward_paths: addresses(taken) };
    Mixed { message, linked: label.ends_with("linked"), end, report }
}

fn drop_in(place: &Place, mixed: &Mixed) -> io::Result<()> {
    if !mixed.linked {
        return place.drop_in(&mixed.message);
    }
    fs::write(outside(place), &mixed.message.dropped)?;
    fs::hard_link(outside(place), place.spool.join("pickup").join(&mixed.message.name))
}

/// The other name of the linked file.
fn outside(place: &Place) -> PathBuf {
    place.dir.path().join("outside.eml")
}

/// Whether everybody has everything that is meant for them.
fn all_came(arrivals: &[Arrival]) -> bool {
    let has = |message: &Message, to: &String| {
        arrivals.iter().any(|a| a.bytes == message.wire && a.forward_paths.contains(to))
    };
    mixed().iter().all(|m| m.message.forward_paths.iter().all(|to| has(&m.message, to)))
}

fn traced(place: &Place, sink: &Sink, verb: Verb, kill: Option<(usize, When)>) -> io::Result<Trace> {
    let watch = Watch { dir: &place.spool, kill, fail: None, limit: LIMIT };
    let mut command = place.command(verb.name());
    let before = if verb == Verb::Flush { mixed().len() } else { BEFORE };
    for mixed in &mixed()[..before] {
        drop_in(place, mixed)?;
    }
    if verb == Verb::Flush {
        return ptrace::run(&mut command, &watch, drop);
    }
    beside(&mut command, &watch, sink, |until| {
        for (n, mixed) in mixed().iter().enumerate().skip(before) {
            until(&|arrivals| arrivals.len() > n - before);
            drop_in(place, mixed)?;
        }
        until(&all_came);
        Ok(())
    })
}

/// The message whose file is called `name` behind `pickup/`: its place among the others.
fn message_of(name: &str) -> Option<usize> {
    let label = name.splitn(3, '_').nth(2)?;
    mixed().iter().position(|m| m.message.name == label)
}

/// Where each message lies, by its bytes; what is no message, or not whole, is a violation.
fn places(spool: &Path, violations: &mut Vec<String>) -> io::Result<Vec<Vec<String>>> {
    let mut places = vec![Vec::new(); mixed().len()];
    for dir in ["pickup", "pending", "sending", "failed", "sent"] {
        for name in names(&spool.join(dir))? {
            let is_about_one = name.ends_with(".txt") && ["pickup", "failed"].contains(&dir);
            // Not a message before its rename.
            let is_copy = dir == "pending" && name.ends_with(".copy");
            if is_about_one || is_copy {
                continue;
            }
            let path = format!("{dir}/{name}");
            let bytes = fs::read(spool.join(&path))?;
            match mixed().iter().position(|m| m.message.dropped == bytes) {
                Some(n) => places[n].push(path),
                None => violations.push(format!("{path} holds {} bytes that nobody dropped", bytes.len())),
            }
        }
    }
    Ok(places)
}

/// At every instant, right after a kill too: each message is whole in one place, each record whole, and what lies in
/// `failed/` has been decided on record and has its report.
fn at_any_instant(spool: &Path) -> io::Result<Vec<String>> {
    let mut violations = Vec::new();
    let places = places(spool, &mut violations)?;
    for (mixed, at) in mixed().iter().zip(&places) {
        let is_one = match &at[..] {
            [_] => true,
            // The producer's name goes when the copy has taken its own (SPOOL.md, "accept, by copy").
            [taken, copy] => mixed.linked && taken.ends_with(".taken") && copy.starts_with("pending/"),
            _ => false,
        };
        if !is_one {
            violations.push(format!("{} was in {at:?}", mixed.message.name));
        }
    }
    let meta = spool.join("meta");
    for name in names(&meta)?.iter().filter(|name| !name.starts_with('.') && name.ends_with(".json")) {
        if serde_json::from_slice::<Value>(&fs::read(meta.join(name))?).is_err() {
            violations.push(format!("the record {name} is not whole"));
        }
    }
    for path in places.iter().flatten().filter(|path| path.starts_with("failed/")) {
        let report = fs::read_to_string(spool.join(path.replace(".eml", ".txt"))).ok();
        let decided = record(spool, path)?["failed"]["report"].as_str().map(str::to_owned);
        if decided.is_none() || decided != report {
            violations.push(format!("{path}: on record is {decided:?}, the report says {report:?}"));
        }
    }
    Ok(violations)
}

/// The record of the message at `path`; null if there is none.
fn record(spool: &Path, path: &str) -> io::Result<Value> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let id = name.split('_').next().unwrap_or(name);
    match fs::read(spool.join("meta").join(format!("{id}.json"))) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Value::Null),
        bytes => Ok(serde_json::from_slice(&bytes?).unwrap_or_default()),
    }
}

/// Whether nothing waits any more.
fn is_done(spool: &Path) -> io::Result<bool> {
    let mut waiting = Vec::new();
    for dir in ["pickup", "pending", "sending"] {
        waiting.extend(names(&spool.join(dir))?);
    }
    Ok(waiting.iter().all(|name| name.ends_with(".rejected.txt")))
}

/// When all is done: each message is at its end, its record and report say what became of whom, and nothing else is left.
fn at_the_end(place: &Place) -> io::Result<Vec<String>> {
    let spool = &place.spool;
    let mut violations = at_any_instant(spool)?;
    let places = places(spool, &mut violations)?;
    let mut records = 0;
    for (n, mixed) in mixed().iter().enumerate() {
        let Some(path) = places[n].first() else { continue };
        if !path.starts_with(mixed.end) || message_of(path) != Some(n) {
            violations.push(format!("{} ended in {path}", mixed.message.name));
        }
        let record = record(spool, path)?;
        records += usize::from(!record.is_null());
        if record.is_null() != (mixed.end == "sent") {
            violations.push(format!("{path} has the record {record}"));
        }
        let report = fs::read_to_string(spool.join(path.replace(".eml", ".txt"))).unwrap_or_default();
        violations.extend(
            mixed.report.iter().filter(|said| !report.contains(**said)).map(|said| {
                format!("the report of {} does not say {said:?}: {report:?}", mixed.message.name)
            }),
        );
    }
    let left: Vec<String> = judge::leftovers(spool)?
        .into_iter()
        .filter(|path| !path.starts_with("sent/") && !path.ends_with(".rejected.txt"))
        .filter(|path| !(path.starts_with("failed/") || path.starts_with("meta/")))
        .collect();
    let (in_failed, in_meta) = (names(&spool.join("failed"))?.len(), names(&spool.join("meta"))?);
    let in_meta =
        in_meta.iter().filter(|name| name.split('.').next().is_some_and(|id| id.len() == 32)).count();
    if !left.is_empty() || in_failed != 2 * records || in_meta != records {
        violations.push(format!("left over: {left:?}, {in_failed} in failed/, {in_meta} records"));
    }
    let other = fs::read(outside(place))?;
    if other != mixed()[0].message.dropped {
        violations.push("the file behind its other name was changed".into());
    }
    Ok(violations)
}

/// Who got what: everybody theirs, in order, once; but for those of the last transaction whose dot was out at the kill.
fn judge_arrivals(arrivals: &[Arrival], before_kill: usize) -> Vec<String> {
    let mut violations = Vec::new();
    let mut came = Vec::new();
    for arrival in arrivals {
        let Some(n) = mixed().iter().position(|m| m.message.wire == arrival.bytes) else {
            violations.push(format!("arrived: {:?}", String::from_utf8_lossy(&arrival.bytes)));
            continue;
        };
        let allowed = &mixed()[n].message.forward_paths;
        if arrival.reverse_path != REVERSE_PATH
            || !arrival.forward_paths.iter().all(|to| allowed.contains(to))
        {
            violations.push(format!("message {n} came to {:?}", arrival.forward_paths));
        }
        came.push(n);
    }
    if !came.is_sorted() {
        violations.push(format!("they arrived as {came:?}"));
    }
    for mixed in mixed() {
        for to in &mixed.message.forward_paths {
            let is_it = |a: &Arrival| a.bytes == mixed.message.wire && a.forward_paths.contains(to);
            let at: Vec<usize> = (0..arrivals.len()).filter(|n| is_it(&arrivals[*n])).collect();
            match at[..] {
                [_] => {}
                [first, again] if first + 1 == before_kill && again == before_kill => {}
                _ => violations.push(format!(
                    "{} came to {to} at {at:?}; {before_kill} were there at the kill",
                    mixed.message.name
                )),
            }
        }
    }
    violations
}

fn fresh(sink: &Sink) -> io::Result<Place> {
    sink.clear();
    Place::keeping(sink.port(), "100ms", "keep_sent = 100\nkeep_failed = 100\n")
}

fn try_point(verb: Verb, point: KillPoint, sink: &Sink, keep: bool) -> io::Result<Verdict> {
    let place = fresh(sink)?;
    let trace = traced(&place, sink, verb, Some((point.nth, point.when)))?;
    let mut violations = Vec::new();
    if !sink.wait_quiet(LIMIT) {
        violations.push("a session outlives the process".into());
    }
    if !trace.killed && !trace.status.success() {
        violations.push(format!("not killed, yet it ended with {}", trace.status));
    }
    let before_kill = sink.arrivals().len();
    let asked = sink.asked(SCRIPT.refused[0]);
    let mut decided = false;
    for path in places(&place.spool, &mut Vec::new())?.get(2).into_iter().flatten() {
        decided = !record(&place.spool, path)?["failed"].is_null();
    }
    violations.extend(at_any_instant(&place.spool)?.into_iter().map(|text| format!("right after: {text}")));
    finish(&place, &mut violations)?;
    if !sink.wait_quiet(LIMIT) {
        violations.push("a session outlives flush".into());
    }
    if decided && sink.asked(SCRIPT.refused[0]) > asked {
        violations.push("asked for a recipient again after the failure was on record".into());
    }
    let arrivals = sink.arrivals();
    violations.extend(at_the_end(&place)?);
    violations.extend(judge_arrivals(&arrivals, before_kill));
    violations.extend(sink.faults());
    let twice = arrivals.len() > 6;
    let known = keep.then(|| format!("{before_kill} before the kill: {arrivals:#?}"));
    Ok(verdict(point, place, &trace, violations, twice, known))
}

/// Undisturbed passes until nothing waits.
fn finish(place: &Place, violations: &mut Vec<String>) -> io::Result<()> {
    for _ in 0..FLUSHES {
        let flush = place.finish(&mut place.command("flush"))?;
        if !flush.success() {
            violations.push(format!("flush: {flush}"));
        }
        if is_done(&place.spool)? {
            return Ok(());
        }
    }
    violations.push(format!("not done after {FLUSHES} flushes"));
    Ok(())
}

/// Counts the calls of an undisturbed run, and holds that against the judge as well.
fn count(verb: Verb) -> usize {
    let sink = Sink::scripted(SCRIPT).expect("the sink listens");
    let place = fresh(&sink).expect("a fresh spool");
    let trace = traced(&place, &sink, verb, None).expect("an undisturbed run");
    assert!(trace.status.success(), "{}: {}", trace.status, place.said());
    let mut violations = Vec::new();
    if verb == Verb::Flush {
        // A pass ends with the message that holds the line.
        finish(&place, &mut violations).expect("undisturbed passes");
    }
    violations.extend(at_the_end(&place).expect("the spool can be read"));
    violations.extend(judge_arrivals(&sink.arrivals(), 0));
    violations.extend(sink.faults());
    if !place.spool.join("pickup/m3-to-nobody.eml.rejected.txt").exists() {
        violations.push("the producer was not told that nobody can be sent to".into());
    }
    assert!(violations.is_empty(), "undisturbed, yet: {violations:#?}: {}", place.said());
    say(&format!("sigkill: {} makes {} calls for the mixed messages", verb.name(), trace.calls.len()));
    trace.calls.len() + trace.calls.len() / 20 + 2
}

fn sweep(scenario: &'static str, verb: Verb, step: usize) {
    let try_one = |point, sink: &Sink, keep| try_point(verb, point, sink, keep);
    every_point(scenario, step, || Sink::scripted(SCRIPT), || count(verb), try_one);
}

#[test]
fn flush_of_mixed_messages_killed_at_every_call_keeps_each_on_its_way() {
    sweep("mixed-flush", Verb::Flush, 1);
}

#[test]
fn run_with_mixed_messages_killed_at_every_second_call_keeps_each_on_its_way() {
    sweep("mixed-run", Verb::Run, STEP_OF_RUN);
}
