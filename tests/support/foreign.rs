//! The sweep over files in a folder on another filesystem: the copy, and the producer's name that goes.
//!
//! /dev/shm is the other filesystem; where it is none, that is skipped, and says so.

use std::os::unix::fs::MetadataExt;

use super::judge::names;
use super::ptrace::FOREIGN;
use super::*;

/// So many files lie in the folder.
const FILES: usize = 2;

/// A spool, and a folder on another filesystem.
struct Pair {
    place: Place,
    there: tempfile::TempDir,
}

impl Pair {
    fn new(port: u16) -> io::Result<Pair> {
        let place = Place::new(port)?;
        let prefix = Path::new(FOREIGN).file_name().unwrap_or_default();
        let there = tempfile::Builder::new().prefix(prefix).tempdir_in("/dev/shm")?;
        let mut config = fs::OpenOptions::new().append(true).open(place.config())?;
        writeln!(config, "[folder.there]\ndir = {:?}\nsettle = \"100ms\"", there.path())?;
        for message in &messages()[..FILES] {
            let hidden = there.path().join(format!(".{}", message.name));
            let mut file = fs::File::create(&hidden)?;
            file.write_all(&message.dropped)?;
            file.sync_all()?;
            fs::rename(&hidden, there.path().join(&message.name))?;
        }
        Ok(Pair { place, there })
    }

    fn traced(&self, kill: Option<(usize, When)>) -> io::Result<Trace> {
        let watch = Watch { dir: &self.place.spool, kill, fail: None, limit: LIMIT };
        ptrace::run(&mut self.place.command("flush"), &watch, drop)
    }

    /// Whatever lies anywhere.
    fn leftovers(&self) -> io::Result<Vec<String>> {
        let mut left = judge::leftovers(&self.place.spool)?;
        left.extend(names(self.there.path())?.into_iter().map(|name| format!("there/{name}")));
        Ok(left)
    }
}

fn count() -> usize {
    let sink = Sink::start().expect("the sink listens");
    let pair = Pair::new(sink.port()).expect("a spool and a folder");
    let trace = pair.traced(None).expect("a run");
    assert!(trace.status.success(), "{}", pair.place.said());
    assert_eq!(sink.arrivals().len(), FILES, "{}", pair.place.said());
    let there = |call: &&ptrace::Call| call.paths.iter().any(|path| path.starts_with(pair.there.path()));
    assert!(trace.calls.iter().filter(there).count() > 10, "the calls in the folder are not seen");
    trace.calls.len()
}

fn try_kill_point(point: KillPoint, sink: &Sink, keep: bool) -> io::Result<Verdict> {
    sink.clear();
    let pair = Pair::new(sink.port())?;
    let trace = pair.traced(Some((point.nth, point.when)))?;
    let mut violations = Vec::new();
    if !sink.wait(LIMIT, |_| true) || !sink.wait_quiet(LIMIT) {
        violations.push("a session outlives the process".into());
    }
    let before_kill = sink.arrivals().len();
    let mut left = Vec::new();
    for _ in 0..FLUSHES {
        let flush = pair.place.finish(&mut pair.place.command("flush"))?;
        if !flush.success() {
            violations.push(format!("flush after the kill: {flush}"));
        }
        left = pair.leftovers()?;
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
    violations.extend(judge::judge(&messages()[..FILES], &arrivals, before_kill));
    violations.extend(sink.faults());
    let counts = format!("arrivals: {before_kill} before the kill, {} in all", arrivals.len());
    Ok(verdict(point, pair.place, &trace, violations, arrivals.len() > FILES, keep.then_some(counts)))
}

#[test]
fn flush_killed_while_it_takes_files_from_another_filesystem_loses_nothing() {
    let device = |path: &Path| fs::metadata(path).map(|stat| stat.dev()).ok();
    if device(Path::new("/dev/shm")).is_none_or(|shm| device(&env::temp_dir()) == Some(shm)) {
        say("SKIPPED: /dev/shm is no other filesystem here");
        return;
    }
    every_point("foreign-flush", 1, Sink::start, count, try_kill_point);
}
