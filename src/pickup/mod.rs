//! Floor 4: from a file in `pickup/` to [`Spool::accept`].
//!
//! [`watch`](Watch) tells what may have happened, a scan tells what is there, and two looks at a file tell whether
//! its producer is done. A file that came in by a rename is complete at once, if nobody has it open for writing; any
//! other must be found unchanged by two looks [`Options::settle`] apart, on a clock that nobody sets.
//!
//! [`Pickup::step`] does one round of this without waiting; [`Driver`] calls it when there is a hint or a look is due.

mod driver;
mod pattern;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::Duration;

use crate::fs::{Clock, Dir, File, FileTime, Kind, Stat};
use crate::mail::{Monotonic, UnixTime};
use crate::message::NoEnvelope;
use crate::outgoing::{self, Outgoing, Unsendable};
use crate::report::Report;
use crate::spool::{Accepted, Candidate, Failed, Name, NotAccepted, Spool, SpoolError};

pub use driver::{Driver, OnAccepted};
pub use pattern::{Pattern, is_unfinished};
pub use watch::{Hint, Watch};

/// Where neither a lease nor a close event can be had, nothing but time tells that a writer is done.
const SLOW_SETTLE: Duration = Duration::from_secs(10);
/// How long a name that no pattern matches is left before it is spoken of: most are on their way to another name.
const IGNORED_AFTER: Duration = Duration::from_secs(10);
/// Files accepted with one pair of directory syncs; each holds a descriptor and a lease until then.
const GROUP_MAX: usize = 64;

/// How the pickup works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names that are taken.
    pub patterns: Vec<Pattern>,
    /// How far apart two looks must be that find the same.
    pub settle: Duration,
    /// How often the directory is read although nothing was heard.
    pub rescan: Duration,
    /// How messages will be sent: what can never be is refused at once, and not when its turn comes.
    pub outgoing: outgoing::Options,
}

/// The files of `pickup/` on their way in.
pub struct Pickup {
    spool: Arc<Spool>,
    clock: Arc<dyn Clock>,
    options: Options,
    /// By the order in which they were first heard of.
    known: BTreeMap<u64, OsString>,
    files: HashMap<OsString, Known>,
    next_number: u64,
    scan_due: Option<Monotonic>,
    /// The directory could not be read the last time.
    is_away: bool,
}

/// A file that was heard of and is not accepted yet.
#[derive(Debug, Clone)]
struct Known {
    number: u64,
    /// A scan found it, and no event was heard of it since.
    is_from_scan: bool,
    renamed_in: bool,
    closed: bool,
    writer: RenamedWriter,
    look: Option<Look>,
    /// Not asked again before this.
    not_before: Monotonic,
    /// No file that was heard of later is accepted before this. A file known from a scan alone has to settle; one
    /// that was renamed in meanwhile must not overtake it.
    holds_until: Monotonic,
    since: Monotonic,
    /// It was asked for once and not taken: nobody waits for it.
    left: bool,
    /// The bytes that could not be synced. A later sync of the same bytes that succeeds says nothing about them
    /// (fsync(2)), so that they are never taken.
    unsynced: Option<Bytes>,
    /// What was last logged about it.
    reported: Option<String>,
}

/// Whether a file that came in by a rename is still open for writing. Some producers rename before they close; and others
/// start a child at that moment, which has the file open until it runs a program of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RenamedWriter {
    /// Not seen. If there is one, the file holds those behind it, once and for as long as a file takes to settle.
    Unseen,
    /// Seen, and those behind it wait.
    WaitedFor,
    /// It has to settle like any other file, and holds nobody.
    Stays,
}

/// Which file, its size, and when it was last written to.
type Bytes = (crate::fs::FileId, u64, FileTime);

/// How a file looked, and since when.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Look {
    stat: (crate::fs::FileId, u64, FileTime, FileTime),
    since: Monotonic,
}

/// What one step did.
#[derive(Debug, Default)]
pub struct Step {
    /// In order of acceptance.
    pub accepted: Vec<Accepted>,
    /// When there is something to look at again, if nothing is heard before.
    pub next_look: Option<Monotonic>,
    /// More files are ready than one group takes.
    pub more: bool,
    /// Files that are not complete yet and will be looked at before long.
    pub settling: usize,
    /// The directory is another one than before: it must be watched anew.
    pub replaced: bool,
}

impl Pickup {
    /// Nothing is known yet; the first step scans.
    pub fn new(spool: Arc<Spool>, clock: Arc<dyn Clock>, options: Options) -> Pickup {
        Pickup {
            spool,
            clock,
            options,
            known: BTreeMap::new(),
            files: HashMap::new(),
            next_number: 0,
            scan_due: Some(Monotonic::default()),
            is_away: false,
        }
    }

    /// Takes note of what was heard.
    pub fn hint(&mut self, hint: Hint) {
        match hint {
            Hint::RenamedIn(name) => {
                // A scan was quicker than the event, and knew no order within one tick of the disk's clock: the event does.
                if self.files.get(&name).is_some_and(|file| file.is_from_scan) {
                    self.forget(&name);
                }
                if let Some(file) = self.heard_of(&name) {
                    file.renamed_in = true;
                    file.writer = RenamedWriter::Unseen;
                    file.not_before = Monotonic::default();
                }
            }
            Hint::Created(name) => drop(self.heard_of(&name)),
            Hint::Closed(name) => {
                if let Some(file) = self.heard_of(&name) {
                    file.closed = true;
                    file.not_before = Monotonic::default();
                    file.renamed_in |= file.writer == RenamedWriter::WaitedFor;
                }
            }
            Hint::Rescan => self.scan_due = Some(Monotonic::default()),
            Hint::Stop => {}
        }
    }

    /// One round: reads the directory if that is due, looks at every file whose time has come, and accepts those
    /// that are complete.
    ///
    /// # Errors
    ///
    /// A disk call of the spool that failed half-way. That the directory cannot be read is no error: it is logged and
    /// tried again.
    pub fn step(&mut self) -> Result<Step, SpoolError> {
        let now = self.clock.monotonic();
        let mut step = Step::default();
        if self.scan_due.is_some_and(|due| due <= now) {
            step.replaced = self.scan(now);
            self.scan_due = Some(now + self.options.rescan);
        }
        let ready = self.ready(now, &mut step);
        if !ready.is_empty() {
            let wall = self.clock.wall();
            let examine = |name: &Name, file: &dyn File| examine(name, file, &self.options.outgoing, wall);
            let results = self.spool.accept(&ready, wall, &examine)?;
            for (candidate, result) in ready.iter().zip(results) {
                match result {
                    Ok(accepted) => {
                        self.forget(&candidate.name);
                        if let Some(reason) = &accepted.refused {
                            self.tell_producer(&candidate.name, &accepted.name, reason);
                        }
                        step.accepted.push(accepted);
                    }
                    Err(why) => self.left_behind(&candidate.name, &why, now),
                }
            }
        }
        // While more is ready nobody asks for the next look, and there may be a hundred thousand.
        if !step.more {
            step.next_look = self.next_look(now).into_iter().chain(self.scan_due).min();
            step.settling =
                self.files.values().filter(|file| file.is_settling(now, self.options.settle)).count();
        }
        Ok(step)
    }

    /// When the first file is to be looked at. Those behind one that has to settle first wait for it.
    fn next_look(&self, now: Monotonic) -> Option<Monotonic> {
        let mut first: Option<Monotonic> = None;
        for file in self.known.values().filter_map(|name| self.files.get(name)) {
            first = Some(first.map_or(file.not_before, |first| first.min(file.not_before)));
            if file.holds(now) {
                break;
            }
        }
        first
    }

    /// Leaves the reason where the producer looks. It is a courtesy: the report lies in `failed/`.
    fn tell_producer(&self, dropped: &OsStr, name: &Name, reason: &str) {
        let mut file_name = dropped.to_owned();
        file_name.push(".rejected.txt");
        let text = format!("pillarbox cannot send this message: {reason}\nIt lies in failed/ as {name}\n");
        let fs = self.spool.fs();
        let written = match fs.unlink(Dir::Pickup, &file_name) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => fs.create(Dir::Pickup, &file_name).and_then(|mut file| file.append(text.as_bytes())),
        };
        if let Err(error) = written {
            tracing::warn!(file = %file_name.display(), %error, "producer-not-told");
        }
    }

    /// The files that are complete, in order; at most a group. Those that are not do not count: a hundred thousand of them
    /// are looked at in one step and not, from the front again each time, in a thousand.
    fn ready(&mut self, now: Monotonic, step: &mut Step) -> Vec<Candidate> {
        let mut ready = Vec::new();
        let mut next = 0;
        while let Some((number, name)) = self.known.range(next..).next() {
            next = number + 1;
            let Some(file) = self.files.get(name) else { continue };
            if file.holds(now) {
                break;
            }
            if file.not_before > now {
                continue;
            }
            let name = name.clone();
            ready.extend(self.look(&name, now));
            if ready.len() == GROUP_MAX {
                step.more = true;
                break;
            }
        }
        ready
    }

    /// Looks at one file: it is complete, or gets a time for the next look, or is forgotten.
    fn look(&mut self, name: &OsStr, now: Monotonic) -> Option<Candidate> {
        let Ok(stat) = self.spool.fs().stat(Dir::Pickup, name) else {
            self.forget(name);
            return None;
        };
        if !self.options.patterns.iter().any(|p| p.matches(name)) {
            self.ignore(name, now);
            return None;
        }
        if stat.kind != Kind::File {
            self.left_behind(name, &NotAccepted::NotAFile(stat.kind), now);
            return None;
        }
        let settle = self.options.settle;
        let file = self.files.get_mut(name)?;
        if file.unsynced.is_some_and(|unsynced| unsynced == bytes(&stat)) {
            file.not_before = now + self.options.rescan;
            return None;
        }
        if file.renamed_in {
            // Once: if somebody still writes to it, it has to settle like any other.
            file.renamed_in = false;
            file.look = Some(Look { stat: identity(&stat), since: now });
            let holds = file.writer == RenamedWriter::Unseen;
            return Some(Candidate { name: name.to_owned(), settled: false, holds });
        }
        let look = match file.look {
            Some(look) if look.stat == identity(&stat) => look,
            _ => Look { stat: identity(&stat), since: now },
        };
        file.look = Some(look);
        let looked_for = now - look.since;
        if looked_for < settle {
            file.not_before = look.since + settle;
            return None;
        }
        let settled = file.closed || looked_for >= SLOW_SETTLE;
        Some(Candidate { name: name.to_owned(), settled, holds: false })
    }

    /// Reads the directory. True if it is another directory than before.
    fn scan(&mut self, now: Monotonic) -> bool {
        let read = self.spool.fs().refresh(Dir::Pickup).and_then(|replaced| Ok((replaced, self.found()?)));
        let (replaced, found) = match read {
            Ok(read) => read,
            Err(error) => {
                // Said once: it may be away for a weekend.
                if !std::mem::replace(&mut self.is_away, true) {
                    let hint = "is pickup/ there, and may it be read? It is looked for at every rescan";
                    tracing::warn!(%error, hint, "pickup-unreadable");
                }
                return false;
            }
        };
        if std::mem::take(&mut self.is_away) {
            tracing::info!("pickup-readable");
        }
        // A hundred thousand files take a while: each was seen before this moment, and not at the begin.
        let now = self.clock.monotonic().max(now);
        let settled_at = now + self.options.settle;
        for (stat, name) in found {
            if let Some(file) = self.heard_of(&name) {
                file.is_from_scan = true;
                file.look = Some(Look { stat: identity(&stat), since: now });
                file.not_before = settled_at;
                file.holds_until = settled_at;
            }
        }
        replaced
    }

    /// Names in the directory that were not heard of yet, in the order of their ctime.
    ///
    /// A directory that is read while files come in may show a later one and not an earlier one. So it is read twice: what
    /// is older than the newest of the first reading is complete in the second. What is newer is left to its event, or to
    /// the next scan.
    fn found(&self) -> std::io::Result<Vec<(Stat, OsString)>> {
        let first = self.list_new()?;
        let Some(newest) = first.iter().map(|(stat, _)| stat.changed).max() else { return Ok(Vec::new()) };
        let mut found = self.list_new()?;
        found.retain(|(stat, _)| stat.changed <= newest);
        let order = |(a, name_a): &(Stat, OsString), (b, name_b): &(Stat, OsString)| {
            a.changed.cmp(&b.changed).then_with(|| pattern::natural_order(name_a, name_b))
        };
        found.sort_by(order);
        Ok(found)
    }

    fn list_new(&self) -> std::io::Result<Vec<(Stat, OsString)>> {
        let mut names = Vec::new();
        self.spool.fs().list(Dir::Pickup, &mut |name, _| {
            if !is_unfinished(name) && !self.files.contains_key(name) {
                names.push(name.to_owned());
            }
        })?;
        // What is gone since was on its way to another name.
        let with_stat = |name: OsString| Some((self.spool.fs().stat(Dir::Pickup, &name).ok()?, name));
        Ok(names.into_iter().filter_map(with_stat).collect())
    }

    fn heard_of(&mut self, name: &OsStr) -> Option<&mut Known> {
        if is_unfinished(name) {
            return None;
        }
        let now = self.clock.monotonic();
        let (known, number) = (&mut self.known, &mut self.next_number);
        Some(self.files.entry(name.to_owned()).or_insert_with(|| {
            *number += 1;
            known.insert(*number, name.to_owned());
            Known {
                number: *number,
                is_from_scan: false,
                renamed_in: false,
                closed: false,
                writer: RenamedWriter::Stays,
                look: None,
                not_before: Monotonic::default(),
                holds_until: Monotonic::default(),
                since: now,
                left: false,
                unsynced: None,
                reported: None,
            }
        }))
    }

    fn forget(&mut self, name: &OsStr) {
        if let Some(file) = self.files.remove(name) {
            drop(self.known.remove(&file.number));
        }
    }

    /// No pattern means it: it stays, and is spoken of once.
    fn ignore(&mut self, name: &OsStr, now: Monotonic) {
        let Some(file) = self.files.get_mut(name) else { return };
        let speak_at = file.since + IGNORED_AFTER;
        file.left = true;
        file.not_before = if now < speak_at { speak_at } else { now + self.options.rescan };
        if now >= speak_at && file.reported.is_none() {
            let patterns: Vec<String> = self.options.patterns.iter().map(Pattern::to_string).collect();
            file.reported = Some("ignored".into());
            tracing::warn!(
                file = %name.display(),
                patterns = patterns.join(" "),
                hint = "rename the file, or add a pattern to match in [pickup]",
                "drop-ignored"
            );
        }
    }

    /// It stays where it is; why is said once for each reason.
    fn left_behind(&mut self, name: &OsStr, why: &NotAccepted, now: Monotonic) {
        let Some(file) = self.files.get_mut(name) else { return };
        file.not_before = now + self.options.settle;
        match why {
            // Looked at again from the start, without a word: this is what a producer at work looks like.
            NotAccepted::Changed => return self.forget_and_rescan(name, now),
            NotAccepted::NotSettled => return,
            NotAccepted::BeingWritten if file.writer == RenamedWriter::Unseen => {
                file.writer = RenamedWriter::WaitedFor;
                file.holds_until = file.not_before;
                return;
            }
            NotAccepted::BeingWritten => {
                file.writer = RenamedWriter::Stays;
                return file.left = true;
            }
            // As if it had not been asked for.
            NotAccepted::Behind => {
                file.renamed_in = file.writer == RenamedWriter::Unseen;
                file.not_before = now;
                return;
            }
            NotAccepted::Unsynced(_, stat) => file.unsynced = Some(bytes(stat)),
            NotAccepted::Empty | NotAccepted::Linked(_) | NotAccepted::NotAFile(_) | NotAccepted::Io(_) => {}
        }
        file.left = true;
        let waited = now - file.since;
        if waited >= IGNORED_AFTER || !matches!(why, NotAccepted::Empty | NotAccepted::Linked(_)) {
            file.not_before = now + self.options.rescan;
            let reason = why.to_string();
            if file.reported.as_ref() != Some(&reason) {
                let stat = self.spool.fs().stat(Dir::Pickup, name).ok();
                tracing::warn!(file = %name.display(), %reason, hint = hint_for(why, stat, name), "drop-left");
                file.reported = Some(reason);
            }
        }
    }

    fn forget_and_rescan(&mut self, name: &OsStr, now: Monotonic) {
        self.forget(name);
        self.scan_due = self.scan_due.min(Some(now + self.options.settle));
    }
}

impl Known {
    /// Whether nothing that was heard of later may be taken now.
    fn holds(&self, now: Monotonic) -> bool {
        self.not_before > now && self.holds_until > now
    }

    /// Whether it will be taken before long, as far as can be seen. One that changes again and again is waited for only
    /// as long as one of which nobody can say whether it is open.
    fn is_settling(&self, now: Monotonic, settle: Duration) -> bool {
        self.look.is_some() && !self.left && now - self.since <= SLOW_SETTLE + settle
    }
}

/// What can be said of a message before its turn comes: `Some` if it can never be sent.
fn examine(
    name: &Name,
    file: &dyn File,
    options: &outgoing::Options,
    now: UnixTime,
) -> Option<(Failed, String)> {
    let reason = match Outgoing::read(file, name, options) {
        Ok(Outgoing { addressed: Err(NoEnvelope::Refused(refusal)), .. }) => refusal.to_string(),
        Err(Unsendable::Refused(refusal)) => refusal.to_string(),
        // What cannot be read now, or lacks a setting, may be sent later.
        Ok(_) | Err(Unsendable::Io(_)) => return None,
    };
    let report = Report {
        label: name.label(),
        file: &name.to_string(),
        accepted: name.accepted,
        given_up: now,
        recipients: &[],
        problems: std::slice::from_ref(&reason),
    };
    Some((Failed::new(now, report.text()), reason))
}

fn identity(stat: &Stat) -> (crate::fs::FileId, u64, FileTime, FileTime) {
    (stat.id, stat.size, stat.modified, stat.changed)
}

fn bytes(stat: &Stat) -> Bytes {
    (stat.id, stat.size, stat.modified)
}

/// What to do about a file that was left.
pub fn hint_for(why: &NotAccepted, stat: Option<Stat>, name: &OsStr) -> String {
    match (why, stat) {
        (NotAccepted::Io(e), Some(stat)) if e.kind() == std::io::ErrorKind::PermissionDenied => format!(
            "it has mode {:04o} and owner {}: chmod a+r pickup/{}",
            stat.mode,
            stat.owner,
            name.display()
        ),
        (NotAccepted::Unsynced(..), _) => "see to the disk, then drop it again as a new file".into(),
        (NotAccepted::Empty, _) => "remove it, or let its producer write to it".into(),
        (NotAccepted::Linked(_), _) => "remove its other names".into(),
        (NotAccepted::NotAFile(_), _) => "only regular files are taken: remove it".into(),
        _ => "it is tried again".into(),
    }
}
