//! Floor 3: the state machine over the directories; the only code that renames.
//!
//! docs/SPOOL.md is the contract: which file lies where in which state, the steps of each transition, and what
//! recovery makes of a crash between any two of them. Upwards the spool is five transitions and nothing else
//! that changes anything:
//!
//! | transition | from | to |
//! |---|---|---|
//! | [`Spool::accept`] | `pickup/`, or a folder | `pending/` |
//! | [`Spool::begin`] | `pending/` | `sending/` |
//! | [`Spool::deliver`] | `sending/` | gone |
//! | [`Spool::defer`] | `sending/` | `pending/` |
//! | [`Spool::fail`], [`Spool::refuse`] | `sending/`, `pending/` | `failed/` |
//!
//! An operator has four more, none of which touches what is in flight: [`Spool::hold`], [`Spool::release`],
//! [`Spool::remove`] and [`Spool::retry`]. [`Spool::submit`] is the way in for what is not dropped.
//!
//! A transition that returned has reached the disk. One that failed half-way leaves the spool *faulted*: nothing
//! is known about what the disk holds, so nothing further is accepted or begun until [`Spool::recover`] has
//! run, and nothing is repeated as if it had worked. Only what is in flight may still be settled.

mod accept;
mod copy;
mod drops;
mod line;
mod name;
mod outcomes;
mod record;
mod recover;
mod room;
mod source;
mod steer;
mod submit;
mod sync;
#[cfg(test)]
mod tests;
mod transition;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::fs::{Dir, Fs, Lock, Stat, SyncSite};
use crate::mail::{QueueId, QueueIdSource, UnixTime};

pub use accept::{Accepted, Candidate, Examine, NotAccepted};
pub use line::{Counts, OutOfLine};
pub use name::Name;
pub use record::{Delivered, Failed, Recipient, Record};
pub use recover::Recovered;
pub use room::{Limits, NoRoom, room_for};
pub use source::Source;
pub use steer::{NotSteered, Place, read_pause};
pub use submit::Submission;
pub use sync::SYNC_SITES;
pub use transition::{InFlight, read_record};

/// Proof that nobody else changes the spool while this value lives. Today it is the lock; several nodes
/// sharing one queue would put theirs here.
pub trait Lease: Send + Sync + fmt::Debug {}

impl Lease for Lock {}

/// A spool that this process owns.
pub struct Spool {
    fs: Arc<dyn Fs>,
    ids: Mutex<QueueIdSource>,
    line: Mutex<line::Line>,
    faulted: AtomicBool,
    limits: Mutex<Limits>,
    reserve: Mutex<Option<room::Reserve>>,
    paused: Mutex<Option<UnixTime>>,
    may_come_back: Mutex<BTreeSet<QueueId>>,
    /// Folders besides `pickup/`.
    folders: Mutex<Vec<(String, Dir)>>,
    /// Folders in which something could not be finished, with the messages of which only the hidden names are left.
    unsettled: Mutex<BTreeMap<Dir, Vec<Name>>>,
    /// Producers that want to know what became of their files.
    owed: Mutex<outcomes::Owed>,
    /// The device of `pending/`, where it is known.
    home: OnceLock<Option<u64>>,
    _lease: Box<dyn Lease>,
}

/// A disk call that failed: what was being done, and the system's word.
#[derive(Debug)]
pub struct SpoolError {
    doing: String,
    /// The operating system's error.
    pub error: io::Error,
}

impl Spool {
    /// A spool over `fs`, not yet recovered: every transition is refused until [`Spool::recover`] has run.
    pub fn new(fs: Arc<dyn Fs>, lease: Box<dyn Lease>) -> Spool {
        Spool {
            fs,
            ids: Mutex::new(QueueIdSource::primed(None)),
            line: Mutex::default(),
            faulted: AtomicBool::new(true),
            limits: Mutex::default(),
            reserve: Mutex::default(),
            paused: Mutex::default(),
            may_come_back: Mutex::default(),
            folders: Mutex::default(),
            unsettled: Mutex::default(),
            owed: Mutex::default(),
            home: OnceLock::new(),
            _lease: lease,
        }
    }

    /// The disk, for those who only read.
    pub fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    /// The message whose turn it is.
    pub fn head(&self) -> Option<QueueId> {
        self.line().head()
    }

    /// The first in line behind `id`, whether that is in line or not.
    pub fn behind(&self, id: QueueId) -> Option<QueueId> {
        self.line().behind(id)
    }

    /// The first behind `id` among those in line and those aside; of all, if `None`.
    pub fn waiting_behind(&self, id: Option<QueueId>) -> Option<QueueId> {
        self.line().waiting_behind(id)
    }

    /// What waits out of line, in order of acceptance.
    pub fn out_of_line(&self) -> Vec<(QueueId, OutOfLine)> {
        self.line().out_of_line()
    }

    /// Looks through the messages that are aside, in order of acceptance.
    pub fn asides<T>(&self, look: impl FnOnce(&mut dyn Iterator<Item = QueueId>) -> T) -> T {
        look(&mut self.line().asides())
    }

    /// How many messages are in which standing.
    pub fn counts(&self) -> Counts {
        self.line().counts()
    }

    /// The name of a waiting message.
    pub fn name(&self, id: QueueId) -> Option<Name> {
        self.line().name(id)
    }

    /// Takes a message out of line because the configuration lacks what it needs; `why` names the setting.
    /// Not on disk: it is asked again at the next start.
    pub fn set_unconfigured(&self, id: QueueId, why: String) {
        self.line().set_out_of_line(id, OutOfLine::Unconfigured(why));
    }

    /// Takes a message out of line because the disk does not give its bytes: it is looked at again, see
    /// [`Spool::look_again_at_unreadable`].
    pub fn set_unreadable(&self, id: QueueId, why: String) {
        self.line().set_out_of_line(id, OutOfLine::Unreadable(why));
    }

    /// Whether a disk call failed half-way through a transition.
    pub fn is_faulted(&self) -> bool {
        self.faulted.load(Ordering::Acquire)
    }

    /// Whether the spool can be written to: a record's worth of bytes into a new file. Recovery itself only renames, and that
    /// works on a full disk, where the next outcome could not be written down either.
    ///
    /// # Errors
    ///
    /// The disk call that failed.
    pub fn prove_writable(&self) -> Result<(), SpoolError> {
        let name = OsStr::new(".probe.tmp");
        let write = || {
            match self.fs.unlink(Dir::Meta, name) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            self.fs.create(Dir::Meta, name)?.append(&[b' '; 64 * 1024])?;
            self.fs.unlink(Dir::Meta, name)
        };
        write().map_err(|error| SpoolError::new("write to meta/".into(), error))
    }

    fn line(&self) -> MutexGuard<'_, line::Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_sound(&self) -> Result<(), SpoolError> {
        if self.is_faulted() {
            let error = io::Error::other("a disk call failed before, and the spool was not recovered since");
            return Err(SpoolError::new("use the spool".into(), error));
        }
        Ok(())
    }

    /// Marks the spool as faulted and hands the error on.
    fn fault(&self, error: SpoolError) -> SpoolError {
        self.faulted.store(true, Ordering::Release);
        error
    }

    /// Whether a rename may take this file into `pending/`, as far as can be seen.
    fn is_at_home(&self, stat: &Stat) -> bool {
        let device = || self.fs.stat(Dir::Pending, OsStr::new(".")).ok().map(|stat| stat.id.device);
        self.home.get_or_init(device).is_none_or(|home| home == stat.id.device)
    }

    fn sync_dir(&self, dir: Dir, site: SyncSite) -> Result<(), SpoolError> {
        let doing = || format!("sync {}/", self.fs.place(dir));
        self.fs.sync_dir(dir, site).map_err(|e| self.fault(SpoolError::new(doing(), e)))
    }
}

impl SpoolError {
    fn new(doing: String, error: io::Error) -> SpoolError {
        SpoolError { doing, error }
    }
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {}: {}", self.doing, self.error)
    }
}

impl std::error::Error for SpoolError {}
