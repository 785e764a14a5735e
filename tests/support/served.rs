//! The sweep over a message that is handed in over the socket: the service, killed at each of its calls while `send` waits for
//! its answer.
//!
//! Whoever was told a queue id finds that message with the sink in the end; a message arrives twice only by the kill; one
//! whose `send` failed arrives once or not at all.

use super::sink::Arrival;
use super::*;

const SCENARIO: &str = "send-served";
/// Each with an envelope beside it, so that there is a record.
const LABELS: [&str; 2] = ["one", "two"];

fn text(label: &str) -> String {
    format!("Date: Mon, 23 Nov 2026 15:14:52 +0000\nSubject: {label}\n\n{label}\n.\n")
}

/// `send` of a message of that name: whether it was told a queue id.
fn send(place: &Place, label: &str) -> io::Result<bool> {
    let path = place.dir.path().join(format!("{label}.eml"));
    fs::write(&path, text(label))?;
    let mut command = place.command("send");
    command.arg(path).args(["--from", "given@example.com", "--to", "to@example.com"]);
    // Read from the pipe: a killed service has the other output.
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    let is_id = said.len() == 32 && said.bytes().all(|byte| byte.is_ascii_hexdigit());
    match (output.status.code(), is_id) {
        (Some(0), true) => Ok(true),
        (Some(75), false) if said.is_empty() => Ok(false),
        _ => Err(io::Error::other(format!("send {label}: {output:?}"))),
    }
}

/// Runs the service under the tool, beside it two who hand in. Those who were told.
fn traced(place: &Place, sink: &Sink, kill: Option<(usize, When)>) -> io::Result<(Trace, Vec<&'static str>)> {
    let watch = Watch { dir: &place.spool, kill, fail: None, limit: LIMIT };
    let told = &Mutex::new(Vec::new());
    let trace = beside(&mut place.command("run"), &watch, sink, |until| {
        // A command that came first would have the spool to itself.
        until(&|_| place.spool.join("control").exists());
        for label in LABELS {
            if send(place, label)? {
                told.lock().expect("nobody panics with it").push(label);
            }
        }
        until(&|arrivals| arrivals.len() >= LABELS.len());
        Ok(())
    })?;
    let told = told.lock().expect("nobody panics with it").clone();
    Ok((trace, told))
}

fn is_of(arrival: &Arrival, label: &str) -> bool {
    arrival.bytes.windows(label.len() + 11).any(|w| w == format!("Subject: {label}\r\n").as_bytes())
}

/// What is wrong with what arrived.
fn judged(arrivals: &[Arrival], told: &[&str], killed: bool) -> Vec<String> {
    let mut violations = Vec::new();
    let mut again = 0;
    for label in LABELS {
        let copies: Vec<&Arrival> = arrivals.iter().filter(|arrival| is_of(arrival, label)).collect();
        if copies.is_empty() && told.contains(&label) {
            violations.push(format!("{label}: its queue id was told, and it did not arrive"));
        }
        if copies.windows(2).any(|two| two[0].bytes != two[1].bytes) {
            violations.push(format!("{label}: its copies differ"));
        }
        for arrival in &copies {
            let envelope = (arrival.reverse_path.as_str(), &arrival.forward_paths[..]);
            if envelope != ("given@example.com", &["to@example.com".to_owned()][..]) {
                violations.push(format!("{label}: it arrived with the envelope {envelope:?}"));
            }
            if !arrival.bytes.ends_with(format!("\r\n\r\n{label}\r\n.\r\n").as_bytes()) {
                violations.push(format!("{label}: it did not arrive whole"));
            }
        }
        again += copies.len().saturating_sub(1);
    }
    if again > usize::from(killed) {
        violations.push(format!("{again} copies more than {}", usize::from(killed)));
    }
    violations
}

fn try_point(point: KillPoint, sink: &Sink, keep: bool) -> io::Result<Verdict> {
    sink.clear();
    let place = Place::new(sink.port())?;
    let (trace, told) = traced(&place, sink, Some((point.nth, point.when)))?;
    let mut violations = Vec::new();
    if !trace.killed && !trace.status.success() {
        violations.push(format!("not killed, yet it ended with {}", trace.status));
    }
    if !trace.killed && told.len() != LABELS.len() {
        violations.push(format!("not killed, yet only {told:?} were told"));
    }
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
        violations.push(format!("left over: {}", left.join(", ")));
    }
    if !sink.wait_quiet(LIMIT) {
        violations.push("a session outlives flush".into());
    }
    let arrivals = sink.arrivals();
    violations.extend(judged(&arrivals, &told, trace.killed));
    violations.extend(sink.faults());
    let known = format!("told: {told:?}; arrivals: {}", arrivals.len());
    Ok(verdict(point, place, &trace, violations, arrivals.len() > LABELS.len(), keep.then_some(known)))
}

fn count() -> usize {
    let sink = Sink::start().expect("the sink listens");
    let place = Place::new(sink.port()).expect("a fresh spool");
    let (trace, told) = traced(&place, &sink, None).expect("an undisturbed run");
    assert!(trace.status.success() && told == LABELS, "{told:?}: {}", place.said());
    let violations = [judged(&sink.arrivals(), &told, false), judge::unsynced(&place.spool, &trace.calls)];
    assert!(violations.concat().is_empty(), "undisturbed, yet: {violations:#?}: {}", place.said());
    say(&format!("sigkill: {SCENARIO}: the service makes {} calls for two messages", trace.calls.len()));
    trace.calls.len() + 2
}

#[test]
fn a_service_killed_while_messages_are_handed_in_keeps_what_it_acknowledged() {
    every_point(SCENARIO, 1, Sink::start, count, try_point);
}
