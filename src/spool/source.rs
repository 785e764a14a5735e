//! Where files are dropped, and what that says of the messages in them.

use std::ffi::OsStr;

use super::record::Record;
use super::sync::{ORIGIN_FILE, ORIGIN_META};
use super::{Spool, SpoolError};
use crate::fs::{Dir, Stat, user_name};
use crate::mail::{Origin, QueueId};

/// A directory in which files are dropped. By default `pickup/`.
#[derive(Debug, Clone)]
pub struct Source {
    /// The directory.
    pub dir: Dir,
    /// What is on record of each message that comes from it.
    pub origin: Origin,
}

impl Default for Source {
    fn default() -> Source {
        Source { dir: Dir::Pickup, origin: Origin::default() }
    }
}

impl Source {
    /// What is on record of a file that was dropped as `name`. `None` if its bytes and its owner tell all there is.
    pub fn origin_of(&self, name: &OsStr) -> Origin {
        let mut origin = self.origin.clone();
        // Where nobody asks for the name, that of the message is enough.
        if origin.text || origin.outcomes.is_some() {
            origin.file = Some(name.to_string_lossy().into_owned());
        }
        origin
    }

    /// The record of a message before its first outcome; `copied` is the file of which it is a copy, whose owner would be
    /// forgotten.
    pub(super) fn record(&self, name: &OsStr, copied: Option<&Stat>) -> Option<Record> {
        let mut record = Record::empty();
        record.origin = self.origin_of(name);
        record.origin.user = copied.map(|stat| user_name(stat.owner));
        Some(record).filter(|record| !record.is_empty())
    }
}

impl Spool {
    /// The record of a message that is being accepted. It is durable before the message has its name.
    pub(super) fn write_origin(&self, id: QueueId, record: &Record) -> Result<(), SpoolError> {
        self.write_record_at(id, record, ORIGIN_FILE, ORIGIN_META)
    }
}
