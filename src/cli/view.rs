//! What the directories of a spool hold, for `status` and `list`: read without the lock, so it may be a moment old.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::{Failure, exit};
use crate::config::Config;
use crate::fs::{Dir, Fs, Kind, RealFs, Writer};
use crate::mail::QueueId;
use crate::pickup::{Pattern, is_unfinished};
use crate::sender::Said;
use crate::service::StartError;
use crate::spool::{Name, Record, read_record};

/// One message behind `pickup/`.
pub(super) struct Message {
    pub(super) name: Name,
    pub(super) dir: Dir,
    pub(super) record: Option<Record>,
    /// Why it is held, if it is: its record or its bytes cannot be read, or a setting is missing.
    pub(super) held: Option<String>,
}

/// A file in `pickup/`.
pub(super) struct Dropped {
    pub(super) name: OsString,
    /// Why it is not taken, if that can be seen from outside of the service.
    pub(super) left: Option<String>,
}

pub(super) fn open(config: &Config) -> Result<RealFs, Failure> {
    RealFs::open(&config.spool_dir)
        .map_err(|(path, e)| super::start_failure(&StartError::Directory(path, e), config))
}

/// Every message: those in flight first, then those that wait, then those that failed, each in order of acceptance.
pub(super) fn messages(fs: &RealFs) -> Result<Vec<Message>, Failure> {
    let mut found: BTreeMap<QueueId, (Dir, Name)> = BTreeMap::new();
    // A message moves between pending/ and sending/ while they are read: whichever way it goes, one of the three
    // readings shows it.
    for dir in [Dir::Pending, Dir::Sending, Dir::Pending, Dir::Failed] {
        list(fs, dir, &mut |file| found.extend(Name::parse(file).map(|name| (name.id, (dir, name)))))?;
    }
    let mut with_record: HashSet<QueueId> = HashSet::new();
    list(fs, Dir::Meta, &mut |file| {
        with_record.extend(
            file.to_str().and_then(|f| f.strip_suffix(".json")).and_then(|id| id.parse::<QueueId>().ok()),
        );
    })?;
    let said = Said::read(fs).map(|said| said.held).unwrap_or_default();
    let mut held: HashMap<String, String> = said.into_iter().map(|held| (held.id, held.why)).collect();
    let message = |(id, (dir, name)): (QueueId, (Dir, Name))| {
        let record = with_record.contains(&id).then(|| read_record(fs, id));
        let (record, unreadable) = match record {
            Some(Ok(record)) => (Some(record), None),
            Some(Err(why)) => (None, Some(format!("its record cannot be read: {why}"))),
            None => (None, None),
        };
        let held = unreadable.or_else(|| held.remove(&id.to_string()).filter(|_| dir == Dir::Pending));
        Message { name, dir, record, held }
    };
    let mut messages: Vec<Message> = found.into_iter().map(message).collect();
    let rank = |dir: Dir| [Dir::Sending, Dir::Pending, Dir::Failed].iter().position(|d| *d == dir);
    messages.sort_by_key(|m| (rank(m.dir), m.name.id));
    Ok(messages)
}

/// What lies in `pickup/`.
pub(super) fn dropped(fs: &RealFs, patterns: &[Pattern]) -> Result<Vec<Dropped>, Failure> {
    let mut names = Vec::new();
    list(fs, Dir::Pickup, &mut |file| names.push(file.to_owned()))?;
    names.retain(|name| !is_unfinished(name));
    names.sort();
    let matches = |name: &OsStr| patterns.iter().any(|p| p.matches(name));
    let home = fs.stat(Dir::Pending, OsStr::new(".")).ok().map(|stat| stat.id.device);
    let left = |name: &OsStr| match fs.stat(Dir::Pickup, name) {
        Ok(stat) if stat.kind != Kind::File => Some("not a regular file".to_owned()),
        _ if !matches(name) => Some("its name matches no pattern of match in [pickup]".to_owned()),
        Ok(stat) if stat.size == 0 => Some("empty".to_owned()),
        Ok(stat) if home.is_some_and(|home| home != stat.id.device) => {
            Some("pickup/ is on another filesystem than pending/".to_owned())
        }
        Ok(_) => match fs.open(Dir::Pickup, name) {
            Ok(file) if file.has_writer() == Writer::Present => {
                Some("a program has it open for writing".to_owned())
            }
            opened => opened.err().map(|e| e.to_string()),
        },
        Err(error) => Some(error.to_string()),
    };
    Ok(names.into_iter().map(|name| Dropped { left: left(&name), name }).collect())
}

fn list(fs: &RealFs, dir: Dir, visit: &mut dyn FnMut(&OsStr)) -> Result<(), Failure> {
    let listed = fs.list(dir, &mut |name, _| visit(name));
    listed.map_err(|e| Failure::new(exit::IOERR, format!("cannot list {}/: {e}", dir.name())))
}

/// Free space for ordinary users on the spool's filesystem, octets.
pub(super) fn free_space(root: &Path) -> Option<u64> {
    fs2::available_space(root).ok()
}
