//! The rows of the table, one function each.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use super::Wish;
use super::clock::nanos;
use super::raw::{self, Disk};
use super::service::{Service, Spool, scratch};
use super::sink::{Seen, Sink};
use super::table::{self, Pairs};

/// The longest that a row may take to be done.
const MOST: Duration = Duration::from_secs(1_200);

/// All that are wished for.
pub(super) fn all(wish: &Wish) -> io::Result<()> {
    table::head();
    if wish.wants("drain") {
        drain(wish)?;
    }
    for millis in [10, 50] {
        if wish.wants(&format!("round-trip-{millis}")) {
            round_trips(wish, millis)?;
        }
    }
    if wish.wants("accept") {
        accept(wish)?;
    }
    if wish.wants("lone") {
        lone(wish)?;
    }
    for (name, size, messages) in [("64 KB", 64 << 10, 1_000), ("1 MB", 1 << 20, 100), ("25 MB", 25 << 20, 8)]
    {
        if wish.wants("size") {
            large(wish, name, size, messages)?;
        }
    }
    if wish.wants("backlog") {
        backlog(100_000)?;
    }
    if wish.wants("million") {
        backlog(1_000_000)?;
    }
    Ok(())
}

/// A message of about `size` octets, as it is sent: the head that pillarbox adds is left out.
fn message(size: usize) -> Vec<u8> {
    let mut text = b"From: panel@example.com\r\nTo: ops@example.com\r\nSubject: door 3 open\r\n\
        Date: Mon, 23 Nov 2026 14:10:53 +0000\r\nMessage-ID: <1@example.com>\r\n\r\n"
        .to_vec();
    let line = b"Door 3 has been open for five minutes, and nobody has closed it until now.\r\n";
    while text.len() + line.len() <= size {
        text.extend_from_slice(line);
    }
    text
}

fn rate(messages: u64, seen: Seen) -> f64 {
    // From the first dot to the last: one interval less than dots.
    (messages - 1) as f64 / ((seen.last - seen.first) as f64 / 1e9)
}

/// A backlog leaves, in order, with every promise on.
fn drain(wish: &Wish) -> io::Result<()> {
    let text = message(4096);
    let (mut with_disk, mut wire_only) = (Pairs::default(), Pairs::default());
    for _ in 0..wish.runs {
        let ours = rate(wish.messages, drain_once(wish.messages, &text, Duration::ZERO)?);
        let mut sink = Sink::start(Duration::ZERO)?;
        let disk = Disk::with_backlog(&scratch("raw")?, wish.messages, &text)?;
        raw::send(sink.port, wish.messages, &text, |n| disk.begin(n), |n| disk.deliver(n))?;
        let limit = rate(wish.messages, sink.wait_for(wish.messages, MOST)?);
        raw::send(sink.port, wish.messages, &text, |_| Ok(()), |_| Ok(()))?;
        let wire = rate(wish.messages, sink.wait_for(wish.messages, MOST)?);
        with_disk.push(ours, limit);
        wire_only.push(ours, wire);
    }
    with_disk.print("drain, beside the same dialogue with the same syncs", "/s");
    wire_only.print("drain, beside the dialogue alone", "/s");
    Ok(())
}

fn drain_once(messages: u64, text: &[u8], delay: Duration) -> io::Result<Seen> {
    let mut sink = Sink::start(delay)?;
    let spool = Spool::new("drain")?;
    spool.fill(messages, text)?;
    let mut service = Service::start(&spool, Some(sink.port))?;
    service.let_it_talk();
    sink.wait_for(messages, MOST)
}

/// How many round trips a message takes where they cost something.
fn round_trips(wish: &Wish, millis: u64) -> io::Result<()> {
    let messages = (10_000 / millis).min(wish.messages);
    let (mut trips, mut rates) = (Pairs::default(), Pairs::default());
    for _ in 0..wish.runs {
        let seen = drain_once(messages, &message(4096), Duration::from_millis(millis))?;
        trips.push((seen.last - seen.first) as f64 / 1e6 / millis as f64 / (messages - 1) as f64, 1.0);
        rates.push(rate(messages, seen), 1000.0 / millis as f64);
    }
    trips.print(&format!("drain at {millis} ms: round trips a message"), "");
    rates.print(&format!("drain at {millis} ms"), "/s");
    Ok(())
}

/// Files that are dropped while it runs.
fn accept(wish: &Wish) -> io::Result<()> {
    let text = message(4096);
    let mut pairs = Pairs::default();
    for _ in 0..wish.runs {
        let spool = Spool::new("accept")?;
        let mut service = Service::start(&spool, None)?;
        service.wait_for("ready", 1)?;
        let begun = Instant::now();
        let pickup = spool.dir.join("pickup");
        let ours = std::thread::scope(|scope| {
            let producer = scope.spawn(|| raw::drop_all(&pickup, 0, wish.messages, &text));
            service.wait_for("accepted", wish.messages)?;
            let took = begun.elapsed();
            producer.join().map_err(|_| io::Error::other("the producer panicked"))??;
            io::Result::Ok(took)
        })?;
        drop(service);
        let root = scratch("raw")?;
        let (disk, pickup) = (Disk::with_backlog(&root, 0, &text)?, root.join("pickup"));
        let begun = Instant::now();
        let limit = std::thread::scope(|scope| {
            let producer = scope.spawn(|| raw::drop_all(&pickup, 0, wish.messages, &text));
            disk.accept(wish.messages)?;
            let took = begun.elapsed();
            producer.join().map_err(|_| io::Error::other("the producer panicked"))??;
            io::Result::Ok(took)
        })?;
        pairs.push(wish.messages as f64 / ours.as_secs_f64(), wish.messages as f64 / limit.as_secs_f64());
    }
    pairs.print("accept, files dropped while it runs", "/s");
    Ok(())
}

/// One file at a time, from its rename to its final dot.
fn lone(wish: &Wish) -> io::Result<()> {
    let text = message(4096);
    let (mut middle, mut worst) = (Pairs::default(), Pairs::default());
    for _ in 0..wish.runs {
        let mut sink = Sink::start(Duration::ZERO)?;
        let spool = Spool::new("lone")?;
        let mut service = Service::start(&spool, Some(sink.port))?;
        service.wait_for("ready", 1)?;
        service.let_it_talk();
        let root = scratch("raw")?;
        let disk = Disk::with_backlog(&root, 0, &text)?;
        let (mut ours, mut limit) = (Vec::new(), Vec::new());
        for n in 0..200 {
            let begun = nanos();
            raw::drop_all(&spool.dir.join("pickup"), n, 1, &text)?;
            ours.push((sink.wait_for(1, MOST)?.last - begun) as f64 / 1e6);
        }
        drop(service);
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        // The session stands, as it does with the program.
        let before = |n: u64| {
            starts.push(nanos());
            raw::drop_all(&root.join("pickup"), n, 1, &text)?;
            disk.accept(1)?;
            disk.begin(n)
        };
        let after = |n: u64| {
            ends.push(nanos());
            disk.deliver(n)
        };
        raw::send(sink.port, 200, &text, before, after)?;
        limit.extend(starts.iter().zip(&ends).map(|(start, end)| (end - start) as f64 / 1e6));
        middle.push(table::quantile(&ours, 0.5), table::quantile(&limit, 0.5));
        worst.push(table::quantile(&ours, 0.99), table::quantile(&limit, 0.99));
    }
    middle.print("a lone file, from its rename to its final dot: p50", "ms");
    worst.print("the same: p99", "ms");
    Ok(())
}

/// Large messages, in octets a second, and what they cost in memory.
fn large(wish: &Wish, name: &str, size: usize, messages: u64) -> io::Result<()> {
    let text = message(size);
    let mut pairs = Pairs::default();
    let mut peak = 0;
    for _ in 0..wish.runs {
        let mut sink = Sink::start(Duration::ZERO)?;
        let spool = Spool::new("large")?;
        spool.fill(messages, &text)?;
        let mut service = Service::start(&spool, Some(sink.port))?;
        service.let_it_talk();
        let ours = rate(messages, sink.wait_for(messages, MOST)?);
        peak = peak.max(service.memory_peak()?);
        drop(service);
        let disk = Disk::with_backlog(&scratch("raw")?, messages, &text)?;
        raw::send(sink.port, messages, &text, |n| disk.begin(n), |n| disk.deliver(n))?;
        let limit = rate(messages, sink.wait_for(messages, MOST)?);
        let megabytes = text.len() as f64 / 1e6;
        pairs.push(ours * megabytes, limit * megabytes);
    }
    pairs.print(&format!("messages of {name}"), "MB/s");
    table::fact(&format!("messages of {name}: most memory"), &format!("{peak} KiB"));
    Ok(())
}

/// Many wait while the smarthost is away, and then it is there.
fn backlog(messages: u64) -> io::Result<()> {
    let spool = Spool::new("backlog")?;
    let mut idle = Service::start(&spool, None)?;
    idle.wait_for("ready", 1)?;
    std::thread::sleep(Duration::from_secs(1));
    let empty = idle.memory()?;
    drop(idle);
    spool.fill(messages, &message(400))?;
    // Nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let begun = Instant::now();
    let mut service = Service::start(&spool, Some(port))?;
    service.wait_for("smarthost-unusable", 1)?;
    let started = begun.elapsed();
    service.let_it_talk();
    let before = service.cpu()?;
    std::thread::sleep(Duration::from_secs(60));
    let outage = service.cpu()?.saturating_sub(before);
    let full = service.memory()?;
    drop(service);
    let mut sink = Sink::start(Duration::ZERO)?;
    let begun = nanos();
    let mut service = Service::start(&spool, Some(sink.port))?;
    service.let_it_talk();
    let seen = sink.wait_for(1, MOST)?;
    table::fact("memory, nothing waits", &format!("{empty} KiB"));
    table::fact(&format!("memory, {messages} wait"), &format!("{full} KiB"));
    table::fact(
        "a waiting message",
        &format!("{:.0} octets of memory", (full - empty) as f64 * 1024.0 / messages as f64),
    );
    table::fact(
        &format!("start with {messages} waiting, until the smarthost is tried"),
        &format!("{started:.2?}"),
    );
    let first = Duration::from_nanos(seen.first - begun);
    table::fact(&format!("restart with {messages} waiting, until the first leaves"), &format!("{first:.2?}"));
    table::fact(
        &format!("processor time in a minute of outage, {messages} waiting"),
        &format!("{outage:.2?}"),
    );
    let listed = Instant::now();
    let list = std::process::Command::new(env!("CARGO_BIN_EXE_pillarbox"))
        .args(["list", "--json", "--spool"])
        .arg(&spool.dir)
        .stdout(std::process::Stdio::null())
        .status()?;
    table::fact(&format!("list, {messages} waiting"), &format!("{:.2?}, {list}", listed.elapsed()));
    drop(service);
    fs::remove_dir_all(&spool.dir)
}
