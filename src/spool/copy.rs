//! accept for a file that has another name (a hard link) besides the one in `pickup/`: it is copied, not renamed.
//!
//! Whoever has the other name can write to the file at any time, and what lies in `pending/` must be nobody's but ours.
//! The copy is made and synced first; then the producer's name is given up; and only then does the copy take its name. So
//! there is no instant at which the message is not whole under one name or the other, and recovery never copies.

use std::ffi::{OsStr, OsString};
use std::io;

use super::accept::{Candidate, NotAccepted, OpenFile, Step, is_same_bytes};
use super::name::Name;
use super::sync::{COPY_FILE, COPY_PENDING, COPY_TAKEN};
use super::{Spool, SpoolError};
use crate::fs::{Dir, File};

/// Octets copied at a time.
const BLOCK: usize = 64 * 1024;

/// Why there is no copy: the file, or our own side of the disk.
enum NotCopied {
    Left(NotAccepted),
    Fault(SpoolError),
}

impl Spool {
    /// Steps 3 to 5 of "accept, by copy" (docs/SPOOL.md). The copy is on the disk under its hidden name in `pending/`, and
    /// the file has lost its name in `pickup/`, durably.
    pub(super) fn take_copy(
        &self,
        candidate: &Candidate,
        source: &OpenFile,
        name: &Name,
    ) -> Step<Box<dyn File>> {
        // A sparse file, or a huge one, would take the room that records and outcomes need.
        let room = match self.fs.room() {
            Ok(room) => room.bytes / 2,
            Err(error) => return Ok(Err(NotAccepted::Io(error))),
        };
        if source.stat.size > room {
            return Ok(Err(NotAccepted::NoRoomToCopy(source.stat.size)));
        }
        let copy = name.copy();
        let file = match self.copy_to(&copy, source) {
            Ok(file) => file,
            Err(NotCopied::Fault(error)) => return Err(error),
            Err(NotCopied::Left(why)) => {
                self.take_away(Dir::Pending, &copy)?;
                return Ok(Err(why));
            }
        };
        self.sync_dir(Dir::Pending, COPY_PENDING)?;
        let taken = name.taken();
        let hidden = OsStr::new(&taken);
        if let Err(error) = self.fs.rename(Dir::Pickup, &candidate.name, Dir::Pickup, hidden) {
            self.take_away(Dir::Pending, &copy)?;
            return Ok(Err(NotAccepted::not_moved(error)));
        }
        let after = match self.fs.stat(Dir::Pickup, hidden) {
            // Its owner may take it away, under whatever name.
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            stat => Some(stat.map_err(self.failed_to("look at", Dir::Pickup, &taken))?),
        };
        if !after.is_some_and(|after| is_same_bytes(&source.stat, &after)) {
            // Written to, or replaced, while it was copied: the copy is of something else.
            self.put_back(Dir::Pickup, &taken, &candidate.name, name)?;
            self.sync_dir(Dir::Pickup, COPY_TAKEN)?;
            self.take_away(Dir::Pending, &copy)?;
            return Ok(Err(NotAccepted::Changed));
        }
        self.sync_dir(Dir::Pickup, COPY_TAKEN)?;
        self.name_copy(name)?;
        Ok(Ok(file))
    }

    /// The copy becomes the message; `pending/` is not synced yet.
    pub(super) fn name_copy(&self, name: &Name) -> Result<(), SpoolError> {
        let (copy, text) = (name.copy(), name.to_string());
        let renamed = self.fs.rename(Dir::Pending, OsStr::new(&copy), Dir::Pending, OsStr::new(&text));
        renamed.map_err(self.failed_to("name", Dir::Pending, &text))
    }

    /// Takes the hidden name away behind which the file was copied. A directory that somebody has put there instead is not
    /// ours, and in nobody's way.
    pub(super) fn drop_taken(&self, name: &Name) -> Result<(), SpoolError> {
        let taken = name.taken();
        match self.fs.unlink(Dir::Pickup, OsStr::new(&taken)) {
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => Ok(()),
            other => other.map_err(self.failed_to("remove", Dir::Pickup, &taken)),
        }
    }

    fn copy_to(&self, copy: &str, source: &OpenFile) -> Result<Box<dyn File>, NotCopied> {
        let left = |error| NotCopied::Left(NotAccepted::Io(error));
        let mut file = self.fs.create(Dir::Pending, OsStr::new(copy)).map_err(left)?;
        if file.stat().map_err(left)?.id.device != source.stat.id.device {
            let error = io::Error::from(io::ErrorKind::CrossesDevices);
            return Err(NotCopied::Left(NotAccepted::not_moved(error)));
        }
        let copied = copy_bytes(&*source.file, &mut *file).map_err(left)?;
        // The size that was looked at, and all of it.
        if copied != source.stat.size {
            return Err(NotCopied::Left(NotAccepted::Changed));
        }
        let doing = format!("sync pending/{copy}");
        file.sync(COPY_FILE).map_err(|e| NotCopied::Fault(self.fault(SpoolError::new(doing, e))))?;
        Ok(file)
    }

    /// What was moved away from a producer gets its name back; or, if the producer has used that name again
    /// meanwhile, one like it. So nothing that a producer does is a fault of the spool.
    pub(super) fn put_back(
        &self,
        from: Dir,
        text: &str,
        dropped: &OsStr,
        name: &Name,
    ) -> Result<(), SpoolError> {
        let mut result = Ok(());
        for back in [dropped.to_owned(), second_name(dropped, name)] {
            result = self.fs.rename(from, OsStr::new(text), Dir::Pickup, &back);
            match &result {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                // In pickup/ its owner may have taken it away.
                Err(e) if e.kind() == io::ErrorKind::NotFound && from == Dir::Pickup => return Ok(()),
                _ => break,
            }
        }
        result.map_err(self.failed_to("put back", from, text))
    }
}

/// Octets that were copied.
fn copy_bytes(from: &dyn File, to: &mut dyn File) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut offset = 0;
    loop {
        match from.read_at(&mut block, offset)? {
            0 => return Ok(offset),
            read => {
                to.append(&block[..read])?;
                offset += read as u64;
            }
        }
    }
}

/// A name that ends like `dropped`, so that the same pattern means it, and that nobody else uses.
fn second_name(dropped: &OsStr, name: &Name) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = dropped.as_bytes();
    let dot = bytes.iter().rposition(|b| *b == b'.').filter(|at| *at > 0 && bytes.len() - at <= 64);
    let (stem, ending) = bytes.split_at(dot.unwrap_or(bytes.len()));
    let id = format!("-{}", name.id);
    let room = 255 - id.len() - ending.len();
    let mut second = stem[..stem.len().min(room)].to_vec();
    second.extend_from_slice(id.as_bytes());
    second.extend_from_slice(ending);
    OsString::from_vec(second)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::mail::{QueueIdSource, UnixTime};

    #[test]
    fn a_second_name_is_one_that_the_same_pattern_means() {
        let id = QueueIdSource::primed(None).draw(UnixTime::from_secs(5));
        let name = Name::new(id, UnixTime::from_secs(5), OsStr::new("x"));
        let second = |dropped: &str| second_name(OsStr::new(dropped), &name).into_string().unwrap();
        assert_eq!(second("a.eml"), format!("a-{id}.eml"));
        assert_eq!(second("alarm"), format!("alarm-{id}"));
        let long = "x".repeat(251) + ".eml";
        assert_eq!(second_name(OsStr::new(&long), &name).as_bytes().len(), 255);
        assert!(second(&long).ends_with(&format!("-{id}.eml")));
        let all_ending = "a.".to_owned() + &"y".repeat(253);
        assert_eq!(second(&all_ending).len(), 255);
    }
}
