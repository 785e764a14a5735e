//! The name of a message behind `pickup/`: `<queue id>_<time of acceptance>_<label>.eml`.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use crate::mail::{QueueId, UnixTime};

/// Longest label, octets; with id, time and the ending of a report a name stays well below 255.
const LABEL_MAX: usize = 80;

/// A message's name, the same in every directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Its place in the order of acceptance.
    pub id: QueueId,
    /// When it was accepted, whole seconds.
    pub accepted: UnixTime,
    label: Box<str>,
}

impl Name {
    /// The name of a file that was dropped as `dropped`.
    pub fn new(id: QueueId, accepted: UnixTime, dropped: &OsStr) -> Name {
        let bytes = dropped.as_bytes();
        let stem = bytes.strip_suffix(b".eml").unwrap_or(bytes);
        let safe = |b: &u8| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'+' | b'@' | b'-' => char::from(*b),
            _ => '_',
        };
        let label: String = stem.iter().take(LABEL_MAX).map(safe).collect();
        Name { id, accepted: UnixTime::from_secs(accepted.as_secs()), label: label.into() }
    }

    /// The name, if `file` is one.
    pub fn parse(file: &OsStr) -> Option<Name> {
        let text = file.to_str()?.strip_suffix(".eml")?;
        let (id, rest) = text.split_once('_')?;
        let (secs, label) = rest.split_once('_')?;
        let name = Name {
            id: id.parse().ok()?,
            accepted: UnixTime::from_secs(secs.parse().ok()?),
            label: label.into(),
        };
        (name.to_string().as_bytes() == file.as_bytes()).then_some(name)
    }

    /// The producer's name, made safe and cut.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The name in `pending/` of a copy that is not the message yet. `of` says of which directory; empty for `pickup/` on the
    /// spool's own filesystem.
    pub(super) fn copy(&self, of: &str) -> String {
        match of {
            "" => format!(".{self}.copy"),
            of => format!(".{self}.copy-{of}"),
        }
    }

    /// The hidden name of a file whose copy is about to be the message.
    pub(super) fn taken(&self) -> String {
        format!(".{self}.taken")
    }

    /// The name, and of which directory, if `file` is a [`Name::copy`].
    pub(super) fn parse_copy(file: &OsStr) -> Option<(Name, String)> {
        let text = file.to_str()?.strip_prefix('.')?;
        let (name, of) = match text.strip_suffix(".copy") {
            Some(name) => (name, ""),
            None => text.rsplit_once(".copy-")?,
        };
        Some((Name::parse(OsStr::new(name))?, of.to_owned()))
    }

    /// The name, if `file` is a [`Name::taken`].
    pub(super) fn parse_taken(file: &OsStr) -> Option<Name> {
        Name::parse(OsStr::new(file.to_str()?.strip_prefix('.')?.strip_suffix(".taken")?))
    }

    /// The name of the report that lies beside a failed message.
    pub fn report(&self) -> String {
        format!("{}_{}_{}.txt", self.id, self.accepted.as_secs(), self.label)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}.eml", self.id, self.accepted.as_secs(), self.label)
    }
}

/// The id in the name of a record, `<queue id>.json`.
pub(super) fn record_id(file: &OsStr) -> Option<QueueId> {
    file.to_str()?.strip_suffix(".json")?.parse().ok()
}

pub(super) fn record_name(id: QueueId) -> String {
    format!("{id}.json")
}

/// The name of the mark that the producer of a failed message was not told yet.
pub(super) fn mark_name(id: QueueId) -> String {
    format!("{id}.untold")
}

/// The id in a [`mark_name`].
pub(super) fn mark_id(file: &OsStr) -> Option<QueueId> {
    file.to_str()?.strip_suffix(".untold")?.parse().ok()
}

/// The name under which a record is written before it takes its place.
pub(super) fn temporary_record_name(id: QueueId) -> String {
    format!(".{id}.tmp")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::QueueIdSource;

    #[test]
    fn a_name_is_safe_short_and_reads_back() {
        let id = QueueIdSource::primed(None).draw(UnixTime::from_secs(5));
        let long = "x".repeat(255);
        let dropped: [&[u8]; 6] =
            [b"alarm.eml", b"../../etc/passwd", b"\xff\n\0 \x1b[31m", b"", b".eml", long.as_bytes()];
        for bytes in dropped {
            let name = Name::new(id, UnixTime::from_millis(5_999), OsStr::from_bytes(bytes));
            let text = name.to_string();
            assert!(text.len() < 160 && text.is_ascii() && !text.contains('/'), "{text}");
            assert_eq!(Name::parse(OsStr::new(&text)), Some(name));
        }
        let name = Name::new(id, UnixTime::from_secs(7), OsStr::new("a b.copy-x.eml"));
        assert_eq!(name.to_string(), format!("{id}_7_a_b.copy-x.eml"));
        assert_eq!(name.report(), format!("{id}_7_a_b.copy-x.txt"));
        for of in ["", "copy-fax.17"] {
            assert_eq!(Name::parse_copy(OsStr::new(&name.copy(of))), Some((name.clone(), of.to_owned())));
        }
        assert_eq!(Name::parse_taken(OsStr::new(&name.taken())), Some(name));
    }

    #[test]
    fn what_is_not_a_name_is_not_taken_for_one() {
        let id = QueueIdSource::primed(None).draw(UnixTime::from_secs(5));
        for text in [format!("{id}.eml"), format!("{id}_x_a.eml"), format!("{id}_05_a.eml"), "a.eml".into()] {
            assert_eq!(Name::parse(OsStr::new(&text)), None, "{text}");
            assert_eq!(Name::parse_taken(OsStr::new(&text)), None, "{text}");
        }
    }
}
