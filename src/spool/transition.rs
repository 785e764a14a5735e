//! begin, deliver, defer, fail: the way of an accepted message.

use std::ffi::OsStr;
use std::io;

use super::line::{OutOfLine, Waiting};
use super::name::{Name, record_name, temporary_record_name};
use super::record::{Failed, Record};
use super::room::RESERVE;
use super::sync::{
    BEGIN_PENDING, BEGIN_SENDING, DEFER_PENDING, DELIVER_SENDING, FAIL_FAILED, FAIL_REPORT, FAIL_REPORT_NAME,
    RECORD_FILE, RECORD_META,
};
use super::{Spool, SpoolError};
use crate::fs::{Dir, File, SyncSite};
use crate::mail::QueueId;

/// A message in `sending/`. What became of it is written down also if the spool was faulted meanwhile by another
/// message: it was begun on a sound one, and what a smarthost has taken must not be sent again for that. Exactly one of [`Spool::deliver`], [`Spool::defer`] and [`Spool::fail`] takes it
/// from there; if none does, recovery returns it to the line.
#[must_use]
pub struct InFlight {
    name: Name,
    record: Option<Record>,
    file: Box<dyn File>,
}

impl InFlight {
    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What is known of earlier attempts.
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Its bytes.
    pub fn file(&self) -> &dyn File {
        &*self.file
    }
}

impl Spool {
    /// begin: `pending/` to `sending/`. When it returns, the move is durable and the message may be sent.
    ///
    /// `None` if there is nothing to send: it is not there any more (an operator took the file away) and no longer
    /// waits, or it or its record cannot be read, and it is held.
    ///
    /// # Errors
    ///
    /// The disk call that failed. The message is still waiting unless the spool is faulted.
    pub fn begin(&self, id: QueueId) -> Result<Option<InFlight>, SpoolError> {
        self.check_sound()?;
        let Some(waiting) = self.line().get(id).cloned() else { return Ok(None) };
        let text = waiting.name.to_string();
        let file_name = OsStr::new(&text);
        let doing = || format!("move {text} to sending/");
        let file = match self.fs.open(Dir::Pending, file_name) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.line().remove(id);
                return Ok(None);
            }
            // Of descriptors and memory there will be more; the message is not to blame.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => {
                return Err(SpoolError::new(format!("open {text}"), e));
            }
            Err(e) => {
                self.hold_unreadable(waiting, e.to_string());
                return Ok(None);
            }
        };
        let record = match waiting.has_record.then(|| self.read_record(id)) {
            None => None,
            Some(Ok(record)) => Some(record),
            Some(Err(why)) => {
                self.hold_unreadable(waiting, why);
                return Ok(None);
            }
        };
        self.fs
            .rename(Dir::Pending, file_name, Dir::Sending, file_name)
            .map_err(|e| SpoolError::new(doing(), e))?;
        self.line().remove(id);
        self.sync_dir(Dir::Sending, BEGIN_SENDING)?;
        self.sync_dir(Dir::Pending, BEGIN_PENDING)?;
        Ok(Some(InFlight { name: waiting.name, record, file }))
    }

    /// Its producer still owns the file and can shut it; a disk can lose one file and keep the others. Nobody else
    /// has to wait for that.
    fn hold_unreadable(&self, waiting: Waiting, why: String) {
        tracing::error!(id = %waiting.name.id, %why, hint = "the message is held", "message-unreadable");
        let mut line = self.line();
        line.remove(waiting.name.id);
        line.insert(waiting, Some(OutOfLine::Unreadable(why)));
    }

    /// Looks again at what could not be read: a disk may fail for a moment. What can be read comes back into its place, or
    /// where its record says.
    pub fn look_again_at_unreadable(&self) {
        let unreadable: Vec<Waiting> = self.line().unreadable().cloned().collect();
        for waiting in unreadable {
            let id = waiting.name.id;
            let opened = self.fs.open(Dir::Pending, OsStr::new(&waiting.name.to_string()));
            let (Ok(()), Ok(record)) = (opened.and_then(|file| read_through(&*file)), self.record_if_any(id))
            else {
                continue;
            };
            if record.as_ref().is_some_and(|record| record.failed.is_some()) {
                // Its failure was decided: the next recovery carries it out.
                continue;
            }
            tracing::info!(%id, "message-readable");
            let mut line = self.line();
            line.remove(id);
            let out = record.as_ref().and_then(OutOfLine::of);
            line.insert(Waiting { has_record: record.is_some(), ..waiting }, out);
        }
    }

    /// Whether there is something to look at again.
    pub fn has_unreadable(&self) -> bool {
        self.line().unreadable().next().is_some()
    }

    /// A message that waits, to be read before its turn: its name, its record, its bytes. `None` if any of them cannot be
    /// had; what that means is for [`Spool::begin`] to say.
    pub fn peek(&self, id: QueueId) -> Option<(Name, Option<Record>, Box<dyn File>)> {
        let waiting = self.line().get(id).cloned()?;
        let record = match waiting.has_record {
            true => Some(self.read_record(id).ok()?),
            false => None,
        };
        let file = self.fs.open(Dir::Pending, OsStr::new(&waiting.name.to_string())).ok()?;
        Some((waiting.name, record, file))
    }

    /// deliver: lets the message go. Only after 2yz to the final dot for every recipient that was left.
    ///
    /// # Errors
    ///
    /// The disk call that failed. The spool is faulted: the message may be sent once more after recovery.
    pub fn deliver(&self, in_flight: InFlight) -> Result<(), SpoolError> {
        self.let_go(Dir::Sending, &in_flight.name)?;
        match in_flight.record {
            Some(_) => self.take_away(Dir::Meta, &record_name(in_flight.name.id)),
            None => Ok(()),
        }
    }

    /// The message leaves, or is kept in `sent/`.
    pub(super) fn let_go(&self, from: Dir, name: &Name) -> Result<(), SpoolError> {
        if !self.keep_sent(from, name)? {
            self.take_away(from, &name.to_string())?;
        }
        self.sync_dir(from, DELIVER_SENDING)
    }

    /// defer: back to the line, or aside of it if the record says so. `learned` is the record with what this
    /// attempt taught; `None` if it taught nothing, as when the connection was lost. An empty record takes the old one away.
    ///
    /// # Errors
    ///
    /// The disk call that failed. The spool is faulted.
    pub fn defer(&self, in_flight: InFlight, learned: Option<Record>) -> Result<(), SpoolError> {
        let InFlight { name, record: known, .. } = in_flight;
        let forget = learned.as_ref().is_some_and(Record::is_empty);
        if let Some(record) = learned.as_ref().filter(|_| !forget) {
            self.write_outcome(name.id, record)?;
        }
        let record = learned.or(known).filter(|_| !forget);
        self.return_to_pending(&name)?;
        if forget {
            // Not synced: what comes back is a record that held before.
            self.take_away(Dir::Meta, &record_name(name.id))?;
        }
        let out = record.as_ref().and_then(OutOfLine::of);
        self.line().insert(Waiting { name, has_record: record.is_some() }, out);
        Ok(())
    }

    /// fail: gives the message up. `record` says why in its `failed`, which is also the report.
    ///
    /// # Errors
    ///
    /// The disk call that failed. The spool is faulted; recovery rolls the failure forward if it was decided.
    pub fn fail(&self, in_flight: InFlight, record: &Record) -> Result<(), SpoolError> {
        self.mark_untold(in_flight.name.id, record);
        self.write_outcome(in_flight.name.id, record)?;
        self.roll_failure_forward(Dir::Sending, &in_flight.name, record)
    }

    /// fail, for a message that waits and that no server has to be asked about: its bytes can never be sent.
    ///
    /// # Errors
    ///
    /// As [`Spool::fail`].
    pub fn refuse(&self, id: QueueId, failed: Failed) -> Result<(), SpoolError> {
        self.check_sound()?;
        let Some(waiting) = self.line().get(id).cloned() else { return Ok(()) };
        // One that cannot be read would have held it.
        let record = self.record_if_any(id).ok().flatten().unwrap_or_else(Record::empty);
        self.refuse_named(&waiting.name, record, failed)
    }

    /// `record` is what is known of it.
    pub(super) fn refuse_named(
        &self,
        name: &Name,
        mut record: Record,
        failed: Failed,
    ) -> Result<(), SpoolError> {
        record.failed = Some(failed);
        self.mark_untold(name.id, &record);
        self.write_record(name.id, &record)?;
        self.line().remove(name.id);
        self.roll_failure_forward(Dir::Pending, name, &record)
    }

    pub(super) fn return_to_pending(&self, name: &Name) -> Result<(), SpoolError> {
        let text = name.to_string();
        let renamed = self.fs.rename(Dir::Sending, OsStr::new(&text), Dir::Pending, OsStr::new(&text));
        renamed.map_err(|e| self.fault(SpoolError::new(format!("move {text} to pending/"), e)))?;
        self.sync_dir(Dir::Pending, DEFER_PENDING)
    }

    /// The rest of fail once the failure is on record. The report may be there already, whole or torn.
    pub(super) fn roll_failure_forward(
        &self,
        from: Dir,
        name: &Name,
        record: &Record,
    ) -> Result<(), SpoolError> {
        let report = record.failed.as_ref().map_or("", |failed| failed.report.as_str());
        self.take_away(Dir::Failed, &name.report())?;
        self.write_new(Dir::Failed, &name.report(), report.as_bytes(), FAIL_REPORT)?;
        self.sync_dir(Dir::Failed, FAIL_REPORT_NAME)?;
        let text = name.to_string();
        let renamed = self.fs.rename(from, OsStr::new(&text), Dir::Failed, OsStr::new(&text));
        renamed.map_err(|e| self.fault(SpoolError::new(format!("move {text} to failed/"), e)))?;
        self.sync_dir(Dir::Failed, FAIL_FAILED)?;
        self.line().count_failed();
        if record.origin.outcomes.is_some() {
            self.owe(name.clone());
        }
        self.forget_oldest_failed();
        Ok(())
    }

    /// What became of the message in flight goes into the room that was set aside for it.
    pub(super) fn write_outcome(&self, id: QueueId, record: &Record) -> Result<(), SpoolError> {
        let Some(mut reserve) = self.take_reserve() else { return self.write_record(id, record) };
        let text = record_name(id);
        let mut write = || {
            reserve.file.append(&record.to_json().map_err(io::Error::other)?)?;
            reserve.file.trim()?;
            reserve.file.sync(RECORD_FILE)?;
            self.fs.replace(Dir::Meta, OsStr::new(RESERVE), OsStr::new(&text))
        };
        write().map_err(|e| self.fault(SpoolError::new(format!("write {text}"), e)))?;
        self.sync_dir(Dir::Meta, RECORD_META)
    }

    pub(super) fn write_record(&self, id: QueueId, record: &Record) -> Result<(), SpoolError> {
        self.write_record_at(id, record, RECORD_FILE, RECORD_META)
    }

    pub(super) fn write_record_at(
        &self,
        id: QueueId,
        record: &Record,
        file: SyncSite,
        meta: SyncSite,
    ) -> Result<(), SpoolError> {
        let (temporary, text) = (temporary_record_name(id), record_name(id));
        let doing = || format!("write {text}");
        let json = record.to_json().map_err(|e| self.fault(SpoolError::new(doing(), io::Error::other(e))))?;
        self.write_new(Dir::Meta, &temporary, &json, file)?;
        let replaced = self.fs.replace(Dir::Meta, OsStr::new(&temporary), OsStr::new(&text));
        replaced.map_err(|e| self.fault(SpoolError::new(doing(), e)))?;
        self.sync_dir(Dir::Meta, meta)
    }

    pub(super) fn write_new(
        &self,
        dir: Dir,
        name: &str,
        bytes: &[u8],
        site: SyncSite,
    ) -> Result<(), SpoolError> {
        let write = || {
            let mut file = self.fs.create(dir, OsStr::new(name))?;
            file.append(bytes)?;
            file.sync(site)
        };
        write().map_err(|e| self.fault(SpoolError::new(format!("write {}/{name}", dir.name()), e)))
    }

    /// Unlinks; that it is not there is as good.
    pub(super) fn take_away(&self, dir: Dir, name: &str) -> Result<(), SpoolError> {
        match self.fs.unlink(dir, OsStr::new(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(self.fault(SpoolError::new(format!("remove {}/{name}", dir.name()), e)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn read_record(&self, id: QueueId) -> Result<Record, String> {
        read_record(&*self.fs, id)
    }
}

/// Whether the disk gives all of it.
fn read_through(file: &dyn File) -> io::Result<()> {
    let (mut block, mut offset) = (vec![0; 64 * 1024], 0);
    loop {
        match file.read_at(&mut block, offset)? {
            0 => return Ok(()),
            read => offset += read as u64,
        }
    }
}

/// Longest record that is read, octets: ten thousand recipients with a long reply each.
const RECORD_MAX: usize = 32 << 20;

/// Reads the record of a message.
///
/// # Errors
///
/// Why it cannot be read.
pub fn read_record(fs: &dyn crate::fs::Fs, id: QueueId) -> Result<Record, String> {
    let read = || {
        let file = fs.open(Dir::Meta, OsStr::new(&record_name(id)))?;
        let mut bytes = Vec::new();
        let mut block = vec![0; 16 * 1024];
        while bytes.len() < RECORD_MAX {
            match file.read_at(&mut block, bytes.len() as u64)? {
                0 => break,
                read => bytes.extend_from_slice(&block[..read]),
            }
        }
        Ok(bytes)
    };
    let bytes = read().map_err(|e: io::Error| e.to_string())?;
    Record::from_json(&bytes)
}
