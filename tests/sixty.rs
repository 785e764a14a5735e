//! Ways to misbehave, more than sixty: for each a server, a spool with three messages, the real binary, and what must come
//! of it. Prints a line for each with the time it took:
//!
//!     cargo test --test sixty -- --nocapture
//!
//! `PILLARBOX_WAY="rst behind"` runs those whose name has that in it, and prints the log of each.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "these tests are a producer and a stopwatch")]

#[expect(dead_code, reason = "promises.rs uses the rest")]
mod support;

#[path = "sixty/rogue.rs"]
mod rogue;
#[path = "sixty/ways.rs"]
mod ways;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rogue::{Nature, Rogue, Rule, Said};
use support::certificate::certificate;
use support::stage::{Stage, pass_time, plain};
use ways::{Link, Place, Twice, Way};

/// So many at a time. They mostly wait.
const AT_A_TIME: usize = 8;

#[test]
fn sixty_ways_to_misbehave_and_nothing_is_lost() {
    let only = std::env::var("PILLARBOX_WAY").unwrap_or_default();
    let ways: Vec<Way> = ways::all().into_iter().filter(|way| way.name.contains(&only)).collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(way) = ways.get(next.fetch_add(1, Ordering::SeqCst)) {
                    match play(way, !only.is_empty()) {
                        Ok((took, sessions)) => println!(
                            "{:>5.2} s of {:>2}  {sessions:>2} sessions  {}",
                            took.as_secs_f64(),
                            way.within.as_secs(),
                            way.name
                        ),
                        Err(why) => {
                            println!("FAILED  {}: {why}", way.name);
                            failed.lock().unwrap().push(way.name.clone());
                        }
                    }
                }
            });
        }
    });
    println!("{} ways in {:.0} s", ways.len(), begun.elapsed().as_secs_f64());
    let names: BTreeMap<&str, usize> = ways.iter().map(|way| (way.name.as_str(), 0)).collect();
    assert_eq!(names.len(), ways.len(), "two ways have one name");
    assert_eq!(failed.into_inner().unwrap(), [""; 0]);
    assert!(ways.len() >= 60 || !only.is_empty(), "only {} ways", ways.len());
}

/// Three messages against a server that misbehaves so. How long it took, and in how many sessions.
fn play(way: &Way, tells: bool) -> Result<(Duration, usize), String> {
    let dir = tempfile::tempdir().unwrap();
    let (ca_file, config) = certificate(dir.path(), "localhost");
    let mut offers = way.offers.clone();
    offers.extend((way.link == Link::Login).then_some("AUTH PLAIN LOGIN"));
    let rogue = Rogue::start(Nature {
        rules: way.rules.iter().map(|(at, when, act)| Rule::new(*at, *when, act.clone())).collect(),
        manner: way.manner,
        offers,
        implicit_tls: way.link == Link::ImplicitTls,
        tls: (!matches!(way.link, Link::Plain | Link::Login)).then_some(config),
    });
    let port = rogue.port();
    let smarthost = match way.link {
        Link::Plain => plain(port),
        Link::Login => plain(port) + "user = \"box\"\npassword = \"open sesame\"\n",
        Link::StartTls => {
            format!(
                "[[smarthost]]\nurl = \"smtp://localhost:{port}\"\nca_file = {ca_file:?}\ntls = \"required\"\n"
            )
        }
        Link::AutoTls => {
            format!("[[smarthost]]\nurl = \"smtp://localhost:{port}\"\ntls = \"auto\"\n")
        }
        Link::ImplicitTls => {
            format!("[[smarthost]]\nurl = \"smtps://localhost:{port}\"\nca_file = {ca_file:?}\n")
        }
    };
    let stage = Stage::new(&(smarthost + "timeout = \"3s\"\n"), "");
    for number in 1..=3 {
        stage.drop_in(format!("{number}.eml"), letter(way, number));
        stage.next_tick();
    }
    let begun = Instant::now();
    let service = stage.run();
    let settled = wait_settled(&stage, way, begun);
    let took = begun.elapsed();
    let judged = settled.and_then(|()| judge(&stage, way, &rogue));
    let log = service.log();
    let code = service.stop();
    let judged = judged.and_then(|()| match code {
        _ if !log.contains(way.says) => Err(format!("expected {:?} in the log", way.says)),
        // Nothing changes when it ends, and one that was on its way waits again.
        0 if stage.names("sending").is_empty() => judge_places(&stage, way),
        code => Err(format!("the service ended with {code}, in sending/ {:?}", stage.names("sending"))),
    });
    if tells {
        println!("{log}");
    }
    judged
        .map(|()| (took, rogue.sessions()))
        .map_err(|why| format!("{why}\nheard {:#?}\n{log}", rogue.heard()))
}

fn letter(way: &Way, number: usize) -> String {
    let is_first = number == 1;
    let more = if is_first { way.larger / 64 } else { 0 };
    let recipients = if is_first { way.recipients } else { 1 };
    let to: Vec<String> = (1..=recipients).map(|n| format!("to-{number}-{n}@example.com")).collect();
    format!(
        "From: panel-{number}@example.com\nTo: {}\nSubject: alarm {number}\n\nZone {number} is open.\n.\n{}",
        to.join(", "),
        ("x".repeat(63) + "\n").repeat(more)
    )
}

fn wait_settled(stage: &Stage, way: &Way, begun: Instant) -> Result<(), String> {
    loop {
        let Err(why) = judge_places(stage, way) else { return Ok(()) };
        if begun.elapsed() > way.within {
            return Err(format!("after {:?}: {why}", way.within));
        }
        pass_time(Duration::from_millis(10));
    }
}

/// Where each message lies.
fn judge_places(stage: &Stage, way: &Way) -> Result<(), String> {
    let is_in = |directory: &str, number: usize| {
        stage.names(directory).iter().any(|name| name.ends_with(&format!("_{number}.eml")))
    };
    for (place, number) in way.places.iter().zip(1..) {
        // A message in flight is between two of these.
        let found = (is_in("pending", number) || is_in("sending", number), is_in("failed", number));
        let expected = match place {
            Place::Sent => (false, false),
            Place::Failed => (false, true),
            Place::Waiting => (true, false),
        };
        if found != expected {
            return Err(format!("message {number}: expected {place:?}, found (waits, failed) {found:?}"));
        }
    }
    match stage.names("pickup")[..] {
        [] => Ok(()),
        ref left => Err(format!("{left:?} were not accepted")),
    }
}

/// What the server got, in which order, how often, and in how many sessions.
fn judge(stage: &Stage, way: &Way, rogue: &Rogue) -> Result<(), String> {
    let arrivals = rogue.arrivals();
    let taken: Vec<usize> = arrivals.iter().filter(|a| a.said == Said::Yes).map(|a| a.number).collect();
    let mut order = taken.clone();
    if way.twice == Twice::May && order.first() == order.get(1) {
        order.remove(0);
    }
    if order != way.order {
        return Err(format!("expected {:?} to be taken in this order, found {taken:?}", way.order));
    }
    let mut copies: BTreeMap<(usize, String), Vec<&[u8]>> = BTreeMap::new();
    for arrival in arrivals.iter().filter(|arrival| arrival.said != Said::No) {
        for path in &arrival.forward_paths {
            copies.entry((arrival.number, path.clone())).or_default().push(&arrival.bytes);
        }
    }
    for ((number, path), copies) in &copies {
        let most = if *number == 1 && way.twice != Twice::No { 2 } else { 1 };
        let least = if *number == 1 && way.twice == Twice::Must { 2 } else { 1 };
        if !(least..=most).contains(&copies.len()) {
            return Err(format!("message {number} reached {path} {} times", copies.len()));
        }
        if copies.iter().any(|copy| *copy != copies[0]) {
            return Err(format!("the copies of message {number} differ"));
        }
        let text = String::from_utf8_lossy(copies[0]);
        let sent = letter(way, *number).replace('\n', "\r\n");
        let (_, body) = sent.split_once("\r\n\r\n").unwrap();
        if !text.ends_with(&format!("\r\n\r\n{body}"))
            || !text.contains(&format!("Subject: alarm {number}\r\n"))
        {
            return Err(format!("message {number} did not arrive as it was dropped"));
        }
    }
    let sent = way.places.iter().zip(1..).filter(|(place, _)| **place == Place::Sent);
    for (_, number) in sent {
        let recipients = if number == 1 { way.recipients } else { 1 };
        let reached = copies.keys().filter(|(other, _)| *other == number).count();
        if reached != recipients {
            return Err(format!("message {number} reached {reached} of {recipients} recipients"));
        }
    }
    if way.places[0] == Place::Failed && stage.the_failed_one().1 != letter(way, 1) {
        return Err("message 1 is not kept as it was dropped".to_owned());
    }
    let sessions = rogue.sessions();
    match way.sessions.contains(&sessions) {
        true => Ok(()),
        false => Err(format!("expected {:?} sessions, found {sessions}", way.sessions)),
    }
}
