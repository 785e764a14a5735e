//! What became of a file that was dropped in a folder whose producers want to know (`outcomes`): a small file for each.
//!
//! A delivery of such a message is on record before the message is let go, and the record stays until its producer was
//! told; a failure leaves a mark in `meta/` that stays as long. So a crash forgets neither, and no outcome is ever written that is
//! not decided on disk. The directory is its owner's: where it is missing or full, the mail goes on, and it is tried again.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::name::{Name, mark_name, record_name};
use super::record::{Delivered, Record};
use super::sync::{OUTCOME_FILE, OUTCOME_NAME};
use super::transition::InFlight;
use super::{Spool, SpoolError};
use crate::fs::{Dir, File};
use crate::mail::{Monotonic, Outcome, QueueId, UnixTime};

/// How soon it is tried again to write what could not be written.
const AGAIN: Duration = Duration::from_secs(30);
/// Longest name of a file, octets.
const NAME_MAX: usize = 255;

/// What is yet to be told.
#[derive(Default)]
pub(super) struct Owed {
    messages: BTreeMap<QueueId, Name>,
    /// Not tried again before this.
    not_before: Option<Monotonic>,
    bell: Option<Bell>,
}

type Bell = Box<dyn Fn() + Send>;

/// The file that a producer reads.
#[derive(Serialize)]
struct Told<'a> {
    file: &'a str,
    id: String,
    outcome: &'static str,
    accepted: String,
    at: String,
    recipients: Vec<ToldRecipient>,
    /// Of a failure: the report, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'a str>,
}

#[derive(Serialize)]
struct ToldRecipient {
    address: String,
    outcome: Option<&'static str>,
    reply: Option<String>,
}

impl Spool {
    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is called whenever there is something to tell producers; [`Spool::tell_producers`] does it.
    pub fn set_bell(&self, bell: Bell) {
        self.owed().bell = Some(bell);
    }

    /// deliver, where `learned` is the record with what the smarthost said: kept until the producer was told, if it wants to
    /// know.
    ///
    /// # Errors
    ///
    /// As [`Spool::deliver`].
    pub fn deliver_as(
        &self,
        in_flight: InFlight,
        mut learned: Record,
        now: UnixTime,
    ) -> Result<(), SpoolError> {
        if learned.origin.outcomes.is_none() {
            return self.deliver(in_flight);
        }
        let name = in_flight.name().clone();
        let delivered = Delivered { at: now.as_secs(), accepted: name.accepted.as_secs() };
        learned.delivered = Some(delivered);
        self.write_outcome(name.id, &learned)?;
        self.let_go(Dir::Sending, &name)?;
        self.owe(name);
        Ok(())
    }

    /// A failure is about to be decided: that its producer was not told yet is on disk with it, at the same sync.
    pub(super) fn mark_untold(&self, id: QueueId, record: &Record) {
        if record.origin.outcomes.is_none() {
            return;
        }
        match self.fs.create(Dir::Meta, OsStr::new(&mark_name(id))) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                // It is told all the same, unless a crash comes before that.
                tracing::warn!(%id, %error, "outcome-not-marked");
            }
            _ => {}
        }
    }

    /// Its producer is to be told, if it wants to know.
    pub(super) fn owe(&self, name: Name) {
        let mut owed = self.owed();
        drop(owed.messages.insert(name.id, name));
        if let Some(bell) = &owed.bell {
            bell();
        }
    }

    pub(super) fn forget_owed(&self) {
        self.owed().messages.clear();
    }

    /// Writes what is yet to be told; when to try again what could not be, if anything. Nothing of what goes wrong in the
    /// directories of producers is an error.
    ///
    /// # Errors
    ///
    /// A disk call that failed in `meta/`.
    pub fn tell_producers(&self, now: Monotonic) -> Result<Option<Monotonic>, SpoolError> {
        let messages: Vec<Name> = {
            let owed = self.owed();
            match owed.not_before.filter(|until| *until > now && !owed.messages.is_empty()) {
                Some(until) => return Ok(Some(until)),
                None => owed.messages.values().cloned().collect(),
            }
        };
        let mut troubled: Vec<std::path::PathBuf> = Vec::new();
        for name in messages {
            let record = self.record_if_any(name.id).ok().flatten();
            let directory = record.as_ref().and_then(|record| record.origin.outcomes.clone());
            if let (Some(record), Some(directory)) = (&record, directory) {
                // One that is away or full is asked once, however many wait for it.
                if troubled.contains(&directory) {
                    continue;
                }
                if let Err(error) = self.tell(&directory, &name, record) {
                    tracing::warn!(
                        id = %name.id,
                        file = name.label(),
                        directory = %directory.display(),
                        %error,
                        hint = "the user of the service must be allowed to write there; it is tried again, and the mail goes on",
                        "outcome-not-written"
                    );
                    troubled.push(directory);
                    continue;
                }
                if record.delivered.is_some() {
                    self.take_away(Dir::Meta, &record_name(name.id))?;
                }
            }
            self.take_away(Dir::Meta, &mark_name(name.id))?;
            drop(self.owed().messages.remove(&name.id));
        }
        let again = Some(now + AGAIN).filter(|_| !troubled.is_empty());
        self.owed().not_before = again;
        Ok(again)
    }

    fn tell(&self, directory: &Path, name: &Name, record: &Record) -> io::Result<()> {
        let Some(text) = text(name, record) else { return Ok(()) };
        let dir = self.fs.outside(directory);
        self.fs.refresh(dir)?;
        let file = record.origin.file.as_deref().unwrap_or(name.label());
        for target in targets(file, name.id) {
            match self.fs.open(dir, &target) {
                // Told before a crash, which may have left the hidden name, and this one not on the disk.
                Ok(file) if is_same(&*file, &text)? => {
                    self.unlink_hidden(dir, name.id)?;
                    return self.fs.sync_dir(dir, OUTCOME_NAME);
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    return self.write_told(dir, name.id, &text, &target);
                }
                Err(e) => return Err(e),
            }
        }
        // Both names are there, and say something else.
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Never seen half: a hidden name first.
    fn write_told(&self, dir: Dir, id: QueueId, text: &[u8], target: &OsStr) -> io::Result<()> {
        self.unlink_hidden(dir, id)?;
        let hidden = hidden_name(id);
        let mut file = self.fs.create(dir, &hidden)?;
        file.append(text)?;
        file.sync(OUTCOME_FILE)?;
        self.fs.rename(dir, &hidden, dir, target)?;
        self.fs.sync_dir(dir, OUTCOME_NAME)
    }

    fn unlink_hidden(&self, dir: Dir, id: QueueId) -> io::Result<()> {
        match self.fs.unlink(dir, &hidden_name(id)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

fn hidden_name(id: QueueId) -> OsString {
    OsString::from(format!(".{id}.tmp"))
}

/// What is told. `None` if nothing is decided: it was brought back meanwhile.
fn text(name: &Name, record: &Record) -> Option<Vec<u8>> {
    let (outcome, at) = match (&record.failed, &record.delivered) {
        (Some(failed), _) => ("failed", failed.at),
        (None, Some(delivered)) => ("delivered", delivered.at),
        (None, None) => return None,
    };
    let recipients = record.recipients().map(|(_, recipients)| recipients).unwrap_or_default();
    let told = Told {
        file: record.origin.file.as_deref().unwrap_or(name.label()),
        id: name.id.to_string(),
        outcome,
        accepted: name.accepted.to_string(),
        at: UnixTime::from_secs(at).to_string(),
        recipients: recipients
            .iter()
            .map(|recipient| {
                let (outcome, reply) = match &recipient.outcome {
                    None => (None, None),
                    Some(Outcome::Delivered(reply)) => (Some("delivered"), Some(reply.to_string())),
                    Some(Outcome::Deferred(_, reply)) => (Some("deferred"), Some(reply.to_string())),
                    Some(Outcome::Failed(_, reply)) => (Some("failed"), Some(reply.to_string())),
                };
                ToldRecipient { address: recipient.mailbox.to_string(), outcome, reply }
            })
            .collect(),
        report: record.failed.as_ref().map(|failed| failed.report.as_str()),
    };
    let mut text = serde_json::to_vec(&told).ok()?;
    text.push(b'\n');
    Some(text)
}

/// The names to try: `NAME.json`, and if an outcome of an earlier file of that name is still there, one with the queue id.
fn targets(file: &str, id: QueueId) -> [OsString; 2] {
    let ending = format!(".{id}.json");
    let mut stem = file.to_owned();
    while stem.len() + ending.len() > NAME_MAX {
        stem.pop();
    }
    // It comes from a name in a directory, but by way of a record.
    let stem = stem.replace('/', "_");
    [OsString::from(format!("{stem}.json")), OsString::from(stem + &ending)]
}

fn is_same(file: &dyn File, text: &[u8]) -> io::Result<bool> {
    let mut found = vec![0; text.len() + 1];
    let mut filled = 0;
    loop {
        match file.read_at(&mut found[filled..], filled as u64)? {
            0 => return Ok(found[..filled] == *text),
            read => filled += read,
        }
        if filled == found.len() {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::QueueIdSource;

    #[test]
    fn a_name_can_be_told_from_that_of_the_file() {
        let id = QueueIdSource::primed(None).draw(UnixTime::from_secs(5));
        let names = |file: &str| targets(file, id).map(|name| name.into_string().unwrap());
        assert_eq!(names("a.eml"), ["a.eml.json".to_owned(), format!("a.eml.{id}.json")]);
        assert!(names(&"ü".repeat(127)).iter().all(|name| name.len() <= NAME_MAX));
        assert_eq!(names("../x")[0], ".._x.json");
    }
}
