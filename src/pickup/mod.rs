//! Floor 4: from a file in `pickup/` to [`Spool::accept`].
//!
//! [`watch`](Watch) tells what may have happened, a scan tells what is there, and two looks at a file tell whether
//! its producer is done. A file that came in by a rename is complete at once, if nobody has it open for writing; any
//! other must be found unchanged by two looks [`Options::settle`] apart, on a clock that nobody sets.
//!
//! [`Pickup::step`] does one round of this without waiting; [`Driver`] calls it when there is a hint or a look is due.

mod driver;
mod left;
mod pattern;
mod scan;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::Duration;

use crate::fs::{Clock, File, FileTime, Kind, Stat};
use crate::mail::Monotonic;
use crate::outgoing;
use crate::spool::{Accepted, Candidate, Name, NotAccepted, Source, Spool, SpoolError};

pub use driver::{Driver, OnAccepted};
pub use pattern::{Pattern, is_unfinished};
pub use watch::{Hint, Watch};

/// Where neither a lease nor a close event can be had, nothing but time tells that a writer is done.
const SLOW_SETTLE: Duration = Duration::from_secs(10);
/// How long a name that no pattern matches is left before it is spoken of: most are on their way to another name.
const IGNORED_AFTER: Duration = Duration::from_secs(10);
/// How long a file may be open for writing before that is spoken of.
const OPEN_AFTER: Duration = Duration::from_secs(60);
/// How often the directory is read where not every change is heard of.
const UNHEARD_RESCAN: Duration = Duration::from_secs(5);
/// Files accepted with one pair of directory syncs; each holds a descriptor and a lease until then.
const GROUP_MAX: usize = 64;
/// How soon a spool that had no room is asked again.
const NO_ROOM_AGAIN: Duration = Duration::from_secs(1);

/// How the pickup works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where files are dropped, and what that says of them.
    pub source: Source,
    /// How that is called in the configuration: `pickup`, or `folder.NAME`.
    pub section: String,
    /// Names that are taken.
    pub patterns: Vec<Pattern>,
    /// How far apart two looks must be that find the same.
    pub settle: Duration,
    /// How often the directory is read although nothing was heard; where not every change is heard of, at least every 5 s.
    pub rescan: Duration,
    /// How messages will be sent: what can never be is refused at once, and not when its turn comes.
    pub outgoing: outgoing::Options,
    /// A longer message is refused unread, octets.
    pub max_message_size: Option<u64>,
}

/// The files of `pickup/`, or of one folder, on their way in.
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
    /// The spool takes nothing more: it is not asked before this.
    no_room_until: Option<Monotonic>,
    /// Somebody hears of what happens.
    is_watched: bool,
    /// The filesystem does not tell of every change.
    is_unheard: bool,
}

/// A file that was heard of and is not accepted yet.
#[derive(Debug, Clone)]
struct Known {
    number: u64,
    /// A scan found it, and no event was heard of it since.
    is_from_scan: bool,
    renamed_in: bool,
    /// Its name is new and nobody has opened it: it may have been linked in.
    linked_in: bool,
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
            no_room_until: None,
            is_watched: true,
            is_unheard: false,
        }
    }

    /// Whether the directory is watched from now on. Where it is not, a scan has to find everything.
    pub fn set_watched(&mut self, is_watched: bool) {
        self.is_watched = is_watched;
        if !is_watched {
            self.scan_due = Some(Monotonic::default());
        }
    }

    /// How long until the next scan if nothing is heard.
    fn rescan(&self) -> Duration {
        match self.is_watched && !self.is_unheard {
            true => self.options.rescan,
            false => self.options.rescan.min(UNHEARD_RESCAN),
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
            Hint::Created(name) => {
                if let Some(file) = self.heard_of(&name) {
                    file.linked_in = true;
                }
            }
            // What is linked in is not opened with it; what is made in place is.
            Hint::Opened(name) => {
                if let Some(file) = self.files.get_mut(&name) {
                    file.linked_in = false;
                }
            }
            Hint::Closed(name) => {
                if let Some(file) = self.heard_of(&name) {
                    file.closed = true;
                    file.not_before = Monotonic::default();
                    file.renamed_in |= file.writer == RenamedWriter::WaitedFor;
                }
            }
            Hint::Rescan => {
                self.scan_due = Some(Monotonic::default());
                self.no_room_until = self.no_room_until.map(|_| Monotonic::default());
            }
            Hint::Unwatched => self.set_watched(false),
            Hint::In { .. } | Hint::Ping | Hint::Stop => {}
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
            if step.replaced {
                self.spool.look_again_at(self.options.source.dir);
            }
            if !self.is_away {
                // What comes of it is accepted; what still cannot be finished waits for the next look.
                step.accepted = self.spool.settle(self.options.source.dir)?;
            }
            self.scan_due = Some(now + self.rescan());
        }
        let ready = match self.no_room_until.filter(|until| *until > now) {
            Some(_) => Vec::new(),
            None => self.ready(now, &mut step),
        };
        if !ready.is_empty() {
            let mut no_room = None;
            let wall = self.clock.wall();
            let examine = |name: &Name, file: &dyn File| left::examine(name, file, &self.options, wall);
            let results = self.spool.accept_from(&self.options.source, &ready, wall, &examine)?;
            for (candidate, result) in ready.iter().zip(results) {
                match result {
                    Ok(accepted) => {
                        self.forget(&candidate.name);
                        if let Some(reason) = &accepted.refused {
                            self.tell_producer(&candidate.name, &accepted.name, reason);
                        }
                        step.accepted.push(accepted);
                    }
                    Err(why) => {
                        if let NotAccepted::NoRoom(why) = &why {
                            no_room = Some(why.clone());
                        }
                        self.left_behind(&candidate.name, &why, now);
                    }
                }
            }
            self.say_room(no_room, now);
        }
        // While more is ready nobody asks for the next look, and there may be a hundred thousand.
        if !step.more {
            let next_look = self.next_look(now).max(self.no_room_until);
            step.next_look = next_look.into_iter().chain(self.scan_due).min();
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
        let Ok(stat) = self.spool.fs().stat(self.options.source.dir, name) else {
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
        let (settle, rescan) = (self.options.settle, self.rescan());
        let file = self.files.get_mut(name)?;
        if file.unsynced.is_some_and(|unsynced| unsynced == bytes(&stat)) {
            file.not_before = now + rescan;
            return None;
        }
        if file.renamed_in {
            // Once: if somebody still writes to it, it has to settle like any other.
            file.renamed_in = false;
            file.look = Some(Look { stat: identity(&stat), since: now });
            let holds = file.writer == RenamedWriter::Unseen;
            return Some(Candidate { name: name.to_owned(), settled: false, rested: false, holds });
        }
        // Linked in, and its bytes are older than its name. If the other name is still there, it is asked for once more.
        if file.linked_in && stat.changed > stat.modified && (stat.links == 1 || file.look.is_none()) {
            file.linked_in = stat.links > 1;
            file.look = Some(Look { stat: identity(&stat), since: now });
            return Some(Candidate { name: name.to_owned(), settled: false, rested: false, holds: false });
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
        Some(Candidate { name: name.to_owned(), settled, rested: true, holds: false })
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
                linked_in: false,
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

fn identity(stat: &Stat) -> (crate::fs::FileId, u64, FileTime, FileTime) {
    (stat.id, stat.size, stat.modified, stat.changed)
}

fn bytes(stat: &Stat) -> Bytes {
    (stat.id, stat.size, stat.modified)
}
