//! submit: a message that was handed in, by a command or over a socket, instead of dropped into `pickup/`.
//!
//! Its bytes are written to a temporary name in `pending/`, which nobody looks at, and become a message by one rename. An
//! envelope that came with it is on record before that.

use std::ffi::{OsStr, OsString};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use super::accept::{Accepted, Examine, Moved};
use super::name::Name;
use super::record::Record;
use super::sync::{SUBMIT_FILE, SUBMIT_PENDING};
use super::{NoRoom, Spool, SpoolError};
use crate::fs::{Dir, File};
use crate::mail::{Envelope, Origin, UnixTime};

/// How many were begun in this process.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// A message that is being handed in. Dropped, it leaves nothing behind.
pub struct Submission<'a> {
    spool: &'a Spool,
    temporary: OsString,
    /// `None` once it has become a message.
    file: Option<Box<dyn File>>,
    size: u64,
    origin: Origin,
}

impl Spool {
    /// Begins to take a message.
    ///
    /// # Errors
    ///
    /// The disk call that failed.
    pub fn submit(&self) -> Result<Result<Submission<'_>, NoRoom>, SpoolError> {
        self.check_sound()?;
        if let Err(why) = self.room_for(1) {
            return Ok(Err(why));
        }
        let temporary = OsString::from(format!(".{}.tmp", BEGUN.fetch_add(1, Ordering::Relaxed)));
        let file = self.fs.create(Dir::Pending, &temporary);
        let file = file.map_err(|e| SpoolError::new("make a file in pending/".into(), e))?;
        Ok(Ok(Submission { spool: self, temporary, file: Some(file), size: 0, origin: Origin::default() }))
    }
}

impl Submission<'_> {
    /// Appends to it.
    ///
    /// # Errors
    ///
    /// The disk call that failed. Nobody was told anything: the spool is as it was.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        if let Some(file) = &mut self.file {
            file.append(bytes).map_err(|e| SpoolError::new("write to pending/".into(), e))?;
            self.size += bytes.len() as u64;
        }
        Ok(())
    }

    /// Notes where it came from. It goes on record with the message.
    pub fn came_by(&mut self, origin: Origin) {
        self.origin = origin;
    }

    /// The bytes so far, to be looked at before they become a message. `None` once they have.
    pub fn file(&self) -> Option<&dyn File> {
        self.file.as_deref()
    }

    /// Octets so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes it a message called `label`. Durable when this returns; `envelope` if it did not come in the bytes.
    ///
    /// # Errors
    ///
    /// The disk call that failed. If it failed behind the rename the spool is faulted, and the message may be there after
    /// recovery.
    pub fn finish(
        mut self,
        label: &OsStr,
        envelope: Option<&Envelope>,
        now: UnixTime,
        examine: Examine<'_>,
    ) -> Result<Accepted, SpoolError> {
        let spool = self.spool;
        spool.check_sound()?;
        let gone =
            || SpoolError::new("finish a message".into(), std::io::Error::other("it was finished before"));
        let file = self.file.take().ok_or_else(gone)?;
        let guard = Unlink { spool, temporary: &self.temporary };
        file.sync(SUBMIT_FILE).map_err(|e| SpoolError::new("sync a file in pending/".into(), e))?;
        let id = spool.ids.lock().unwrap_or_else(PoisonError::into_inner).draw(now);
        let name = Name::new(id, now, label);
        let mut record = Record::empty();
        record.origin = std::mem::take(&mut self.origin);
        if let Some(envelope) = envelope {
            record.freeze(envelope);
            record.given = true;
        }
        let record = Some(record).filter(|record| !record.is_empty());
        if let Some(record) = &record {
            spool.write_record(id, record)?;
        }
        let text = name.to_string();
        let renamed = spool.fs.rename(Dir::Pending, guard.temporary, Dir::Pending, OsStr::new(&text));
        renamed.map_err(|e| spool.fault(SpoolError::new(format!("name {text} in pending/"), e)))?;
        std::mem::forget(guard);
        spool.sync_dir(Dir::Pending, SUBMIT_PENDING)?;
        spool.enter_line(Moved { name, size: self.size, file, record, copy: None }, examine)
    }
}

/// Takes the temporary name away unless it has become a message's.
struct Unlink<'a> {
    spool: &'a Spool,
    temporary: &'a OsStr,
}

impl Drop for Unlink<'_> {
    fn drop(&mut self) {
        // What cannot be removed now is removed by recovery.
        drop(self.spool.fs.unlink(Dir::Pending, self.temporary));
    }
}

impl Drop for Submission<'_> {
    fn drop(&mut self) {
        if self.file.is_some() {
            drop(Unlink { spool: self.spool, temporary: &self.temporary });
        }
    }
}
