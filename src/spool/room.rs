//! What may be taken, and what is kept: the limits of the queue, and room on the disk for what must be written down.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::sync::PoisonError;

use super::name::{Name, record_name};
use super::sync::DELIVER_SENT;
use super::{Spool, SpoolError};
use crate::fs::{Dir, File, Fs};
use crate::mail::QueueId;

/// The name in `meta/` of the room that is set aside; as any name with this ending it is removed by recovery.
pub(super) const RESERVE: &str = ".reserve.tmp";
/// Files that need an inode before the next outcome can be written: a record, a report, and some to spare.
const INODES_MIN: u64 = 16;

/// How much the spool takes, and what of the past it keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// So many messages may wait; no more are accepted.
    pub max_messages: Option<u64>,
    /// Nothing is accepted while less than this is free on the disk, octets.
    pub min_free: u64,
    /// So many delivered messages are kept in `sent/`, the newest.
    pub keep_sent: u64,
    /// So many messages are kept in `failed/`, the newest; `None`: all.
    pub keep_failed: Option<u64>,
}

/// Why nothing more is accepted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoom {
    /// So many messages wait, and no more may.
    Messages(u64),
    /// Less than `min` is free, octets.
    Disk {
        /// What is free.
        free: u64,
        /// What has to be.
        min: u64,
    },
    /// So few inodes are free.
    Inodes(u64),
    /// The system had no room for it: on the disk, of open files, of memory.
    Refused(String),
    /// What is free cannot be found out.
    Unknown(String),
}

/// A file in `meta/` whose blocks are there and whose bytes are not.
pub(super) struct Reserve {
    pub(super) file: Box<dyn File>,
    bytes: u64,
}

impl Spool {
    /// Sets the limits; they hold from the next message on.
    pub fn set_limits(&self, limits: Limits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    fn limits(&self) -> Limits {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many more messages may be accepted now, at most `wanted`.
    pub(super) fn room_for(&self, wanted: u64) -> Result<u64, NoRoom> {
        room_for(&*self.fs, &self.limits(), self.counts().waiting(), wanted)
    }

    /// The queue is full.
    pub(super) fn full(&self) -> NoRoom {
        NoRoom::Messages(self.limits().max_messages.unwrap_or(u64::MAX))
    }

    /// Sets aside what the outcome of the message in flight may need on the disk. What the smarthost says must not be lost
    /// because the disk is full by then.
    ///
    /// # Errors
    ///
    /// The disk call that failed: the message must not be sent. The spool is sound.
    pub fn set_room_aside(&self, bytes: u64) -> Result<(), SpoolError> {
        let mut reserve = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
        if reserve.as_ref().is_some_and(|reserve| reserve.bytes >= bytes) {
            return Ok(());
        }
        let make = || {
            match self.fs.unlink(Dir::Meta, OsStr::new(RESERVE)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let mut file = self.fs.create(Dir::Meta, OsStr::new(RESERVE))?;
            // Where a filesystem cannot, the inode and the name are there at least.
            file.reserve(bytes)?;
            Ok(Reserve { file, bytes })
        };
        *reserve = None;
        *reserve = Some(make().map_err(|e| SpoolError::new("set room aside in meta/".into(), e))?);
        Ok(())
    }

    /// What was set aside, for one outcome.
    pub(super) fn take_reserve(&self) -> Option<Reserve> {
        self.reserve.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Moves a delivered message to `sent/`, durably, if it is to be kept. False if it is not; a copy that cannot be kept is
    /// no reason to send the message again.
    pub(super) fn keep_sent(&self, from: Dir, name: &Name) -> Result<bool, SpoolError> {
        let keep = self.limits().keep_sent;
        if keep == 0 {
            return Ok(false);
        }
        let text = name.to_string();
        if let Err(error) = self.fs.rename(from, OsStr::new(&text), Dir::Sent, OsStr::new(&text)) {
            tracing::warn!(id = %name.id, %error, "sent-not-kept");
            return Ok(false);
        }
        self.sync_dir(Dir::Sent, DELIVER_SENT)?;
        let sent = self.line().count_sent();
        if sent > keep + keep / SLACK
            && let Some(left) = self.forget_oldest(Dir::Sent, keep)
        {
            self.line().set_sent(left);
        }
        Ok(true)
    }

    /// Removes the oldest in `failed/` that are more than are to be kept.
    pub(super) fn forget_oldest_failed(&self) {
        let Some(keep) = self.limits().keep_failed else { return };
        let failed = self.counts().failed;
        if failed > keep + keep / SLACK
            && let Some(left) = self.forget_oldest(Dir::Failed, keep)
        {
            self.line().set_failed(left);
        }
    }

    /// Removes the oldest messages of `dir` that are more than `keep`, and returns how many are left; `None` if that is not
    /// known. They are counted anew: an operator may have taken some away by hand. Nothing is synced: what comes back is
    /// removed the next time. What cannot be removed stays, and is told of.
    fn forget_oldest(&self, dir: Dir, keep: u64) -> Option<u64> {
        let mut names: Vec<Name> = Vec::new();
        if let Err(error) = self.fs.list(dir, &mut |file, _| names.extend(Name::parse(file))) {
            tracing::warn!(dir = dir.name(), %error, "old-messages-not-removed");
            return None;
        }
        names.sort_by_key(|name| name.id);
        let mut left = names.len() as u64;
        let may_come_back = self.may_come_back.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for name in names.iter().filter(|name| !may_come_back.contains(&name.id)) {
            if left <= keep {
                break;
            }
            let mut files = vec![(dir, OsString::from(name.to_string()))];
            if dir == Dir::Failed {
                files.extend([(dir, name.report().into()), (Dir::Meta, record_name(name.id).into())]);
            }
            for (dir, file) in files {
                match self.fs.unlink(dir, &file) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        tracing::warn!(dir = dir.name(), %error, "old-messages-not-removed");
                        return Some(left);
                    }
                    _ => {}
                }
            }
            left -= 1;
        }
        Some(left)
    }

    /// These are kept in `failed/` whatever the limit, until others are named: they may wait again.
    pub fn set_may_come_back(&self, ids: BTreeSet<QueueId>) {
        *self.may_come_back.lock().unwrap_or_else(PoisonError::into_inner) = ids;
    }
}

/// How many more messages may be accepted where so many wait, at most `wanted`.
///
/// # Errors
///
/// Why there is room for none.
pub fn room_for(fs: &dyn Fs, limits: &Limits, waiting: u64, wanted: u64) -> Result<u64, NoRoom> {
    let free = fs.room().map_err(|e| NoRoom::Unknown(e.to_string()))?;
    if free.bytes < limits.min_free {
        return Err(NoRoom::Disk { free: free.bytes, min: limits.min_free });
    }
    if let Some(inodes) = free.inodes.filter(|inodes| *inodes < INODES_MIN) {
        return Err(NoRoom::Inodes(inodes));
    }
    let Some(max) = limits.max_messages else { return Ok(wanted) };
    match max.saturating_sub(waiting).min(wanted) {
        0 => Err(NoRoom::Messages(max)),
        room => Ok(room),
    }
}

/// So that the directory is not read for each message: up to a part in so many more are kept.
const SLACK: u64 = 16;

/// Fits behind "nothing is accepted: ".
impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoRoom::Messages(max) => write!(f, "{max} messages wait already (max_messages in [spool])"),
            NoRoom::Disk { free, min } => {
                write!(f, "{free} octets are free on the disk, less than {min} (min_free in [spool])")
            }
            NoRoom::Inodes(free) => write!(f, "{free} inodes are free on the disk"),
            NoRoom::Refused(why) => f.write_str(why),
            NoRoom::Unknown(why) => write!(f, "what is free on the disk cannot be found out: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::NotAccepted;
    use crate::spool::tests::{Bench, names};

    #[test]
    fn no_more_are_accepted_than_may_wait_and_more_when_one_is_gone() {
        let bench = Bench::new();
        bench.spool.set_limits(Limits { max_messages: Some(2), ..Limits::default() });
        let results = bench.drop_and_accept(&["a", "b", "c"]);
        assert!(matches!(results[..], [Ok(_), Ok(_), Err(NotAccepted::NoRoom(NoRoom::Messages(2)))]));
        assert!(matches!(bench.accept(&["c"])[..], [Err(NotAccepted::NoRoom(_))]));
        bench.deliver_head();
        assert!(matches!(bench.accept(&["c"])[..], [Ok(_)]));
    }

    #[test]
    fn nothing_is_accepted_while_less_is_free_than_has_to_be() {
        let bench = Bench::new();
        bench.spool.set_limits(Limits { min_free: u64::MAX, ..Limits::default() });
        assert!(matches!(
            bench.drop_and_accept(&["a"])[..],
            [Err(NotAccepted::NoRoom(NoRoom::Disk { min: u64::MAX, .. }))]
        ));
        assert!(matches!(bench.spool.submit(), Ok(Err(NoRoom::Disk { .. }))));
        bench.spool.set_limits(Limits::default());
        assert!(matches!(bench.accept(&["a"])[..], [Ok(_)]));
    }

    #[test]
    fn the_newest_that_were_delivered_or_failed_are_kept() {
        let bench = Bench::new();
        bench.spool.set_limits(Limits { keep_sent: 2, keep_failed: Some(1), ..Limits::default() });
        bench.drop_and_accept(&["a", "b", "c", "d", "e"]);
        (0..3).for_each(|_| bench.deliver_head());
        assert_eq!(names(&bench.spool, Dir::Sent), ["b", "c"]);
        (0..2).for_each(|_| bench.fail_head());
        assert_eq!(names(&bench.spool, Dir::Failed), ["e"]);
        assert_eq!((bench.spool.counts().sent, bench.spool.counts().failed), (2, 1));
        let mut files = 0;
        bench.spool.fs().list(Dir::Failed, &mut |_, _| files += 1).unwrap();
        bench.spool.fs().list(Dir::Meta, &mut |_, _| files += 1).unwrap();
        assert_eq!(files, 3, "a message, its report, its record");
    }

    #[test]
    fn what_an_operator_took_away_by_hand_is_not_made_up_for_by_newer_ones() {
        let bench = Bench::new();
        bench.spool.set_limits(Limits { keep_sent: 2, keep_failed: Some(2), ..Limits::default() });
        bench.drop_and_accept(&["a", "b", "c", "d", "e", "f", "g", "h"]);
        (0..2).for_each(|_| bench.deliver_head());
        (0..2).for_each(|_| bench.fail_head());
        for dir in [Dir::Sent, Dir::Failed] {
            let mut files = Vec::new();
            bench.spool.fs().list(dir, &mut |file, _| files.push(file.to_owned())).unwrap();
            files.iter().for_each(|file| bench.spool.fs().unlink(dir, file).unwrap());
        }
        (0..2).for_each(|_| bench.deliver_head());
        (0..2).for_each(|_| bench.fail_head());
        assert_eq!(names(&bench.spool, Dir::Sent), ["e", "f"]);
        assert_eq!(names(&bench.spool, Dir::Failed), ["g", "h"]);
    }

    #[test]
    fn what_is_set_aside_is_used_once_and_made_anew() {
        let bench = Bench::new();
        bench.drop_and_accept(&["a"]);
        bench.spool.set_room_aside(8192).unwrap();
        // From here on nothing new can be made in meta/.
        bench.disk.ask_first(|what, dir| {
            ((what, dir) == ("create", Dir::Meta)).then(|| io::ErrorKind::StorageFull.into())
        });
        bench.spool.set_room_aside(4096).unwrap();
        bench.fail_head();
        let error = bench.spool.set_room_aside(4096).unwrap_err();
        assert_eq!(error.error.kind(), io::ErrorKind::StorageFull);
        assert!(!bench.spool.is_faulted());
    }
}
