//! What the directories of a spool hold, for `status` and `list`: read without the lock, so it may be a moment old.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::{Failure, exit};
use crate::config::Config;
use crate::fs::{Dir, Fs, Kind, RealFs};
use crate::mail::QueueId;
use crate::pickup::{Pattern, is_unfinished};
use crate::service::StartError;
use crate::spool::{Name, Record, read_record};

/// One message behind `pickup/`.
pub(super) struct Message {
    pub(super) name: Name,
    pub(super) dir: Dir,
    pub(super) record: Option<Result<Record, String>>,
}

/// A file in `pickup/`.
pub(super) struct Dropped {
    pub(super) name: OsString,
    /// Why it is not taken, if that can be seen from its name and kind.
    pub(super) left: Option<String>,
}

pub(super) fn open(config: &Config) -> Result<RealFs, Failure> {
    RealFs::open(&config.spool_dir)
        .map_err(|(path, e)| super::start_failure(&StartError::Directory(path, e), config))
}

/// Every message, in order of acceptance; those in flight first.
pub(super) fn messages(fs: &RealFs) -> Result<Vec<Message>, Failure> {
    let mut messages = Vec::new();
    for dir in [Dir::Sending, Dir::Pending, Dir::Failed] {
        let mut names: Vec<Name> = Vec::new();
        list(fs, dir, &mut |file| names.extend(Name::parse(file)))?;
        names.sort_by_key(|name| name.id);
        messages.extend(names.into_iter().map(|name| Message { name, dir, record: None }));
    }
    let mut with_record: std::collections::HashSet<QueueId> = std::collections::HashSet::new();
    list(fs, Dir::Meta, &mut |file| {
        with_record.extend(
            file.to_str().and_then(|f| f.strip_suffix(".json")).and_then(|id| id.parse::<QueueId>().ok()),
        );
    })?;
    for message in messages.iter_mut().filter(|m| with_record.contains(&m.name.id)) {
        message.record = Some(read_record(fs, message.name.id));
    }
    Ok(messages)
}

/// What lies in `pickup/`.
pub(super) fn dropped(fs: &RealFs, patterns: &[Pattern]) -> Result<Vec<Dropped>, Failure> {
    let mut names = Vec::new();
    list(fs, Dir::Pickup, &mut |file| names.push(file.to_owned()))?;
    names.retain(|name| !is_unfinished(name));
    names.sort();
    let matches = |name: &OsStr| patterns.iter().any(|p| p.matches(name));
    let left = |name: &OsStr| match fs.stat(Dir::Pickup, name) {
        Ok(stat) if stat.kind != Kind::File => Some("not a regular file".to_owned()),
        _ if !matches(name) => Some("its name matches no pattern of match in [pickup]".to_owned()),
        Ok(stat) if stat.size == 0 => Some("empty".to_owned()),
        Ok(stat) if stat.links > 1 => Some(format!("it has {} names (hard links)", stat.links)),
        Ok(_) => fs.open(Dir::Pickup, name).err().map(|e| e.to_string()),
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
