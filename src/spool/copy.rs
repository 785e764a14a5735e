//! accept for a file that cannot be renamed into `pending/`: it is copied. Either it has another name (a hard link) besides the
//! one where it was dropped, and whoever has that name can write to it at any time; what lies in `pending/` must be nobody's
//! but ours. Or it lies on another filesystem.
//!
//! The copy is made and synced first; then the producer's name is given up; and only then does the copy take its name. So
//! there is no instant at which the message is not whole under one name or the other, and recovery never copies.

use std::ffi::{OsStr, OsString};
use std::io;

use super::accept::{Candidate, Copied, NotAccepted, OpenFile, Step, is_same_bytes};
use super::name::{Name, record_name};
use super::record::Record;
use super::source::Source;
use super::sync::{COPY_FILE, COPY_PENDING, COPY_TAKEN, FOREIGN_FILE, FOREIGN_PENDING, FOREIGN_TAKEN};
use super::{Spool, SpoolError};
use crate::fs::{Dir, File, Stat};

/// Octets copied at a time.
const BLOCK: usize = 64 * 1024;

/// Why there is no copy: the file, or our own side of the disk.
enum NotCopied {
    Left(NotAccepted),
    Fault(SpoolError),
}

impl Copied {
    fn of(source: &Stat, copy: &Stat) -> Copied {
        // A file with one name that could not be renamed is on another filesystem whatever its number is.
        match source.links > 1 && source.id.device == copy.id.device {
            true => Copied::Linked,
            false => Copied::Foreign,
        }
    }
}

impl Spool {
    /// Steps 2 to 5 of "accept, by copy" (docs/SPOOL.md). The copy is on the disk under its hidden name in `pending/`, and
    /// the file has lost its name where it was dropped, durably.
    pub(super) fn take_copy(
        &self,
        from: &Source,
        candidate: &Candidate,
        source: &OpenFile,
        name: &Name,
        record: Option<&Record>,
    ) -> Step<(Box<dyn File>, Copied)> {
        // A sparse file, or a huge one, would take the room that records and outcomes need.
        let room = match self.fs.room() {
            Ok(room) => room.bytes / 2,
            Err(error) => return Ok(Err(NotAccepted::Io(error))),
        };
        if source.stat.size > room {
            return Ok(Err(NotAccepted::NoRoomToCopy(source.stat.size)));
        }
        let copy = match self.copy_of(from.dir, &source.stat) {
            Ok(of) => name.copy(&of),
            Err(error) => return Ok(Err(error.into())),
        };
        let (file, copied) = match self.copy_to(&copy, source) {
            Ok(made) => made,
            Err(NotCopied::Fault(error)) => return Err(error),
            Err(NotCopied::Left(why)) => {
                self.take_away(Dir::Pending, &copy)?;
                return Ok(Err(why));
            }
        };
        let site = if copied == Copied::Foreign { FOREIGN_PENDING } else { COPY_PENDING };
        self.sync_dir(Dir::Pending, site)?;
        if let Some(record) = record {
            self.write_origin(name.id, record)?;
        }
        if let Err(why) = self.give_up(from, candidate, source, name, copied)? {
            // What cannot be told of is settled when the folder can be looked at.
            if !self.is_unsettled(from.dir) {
                self.take_away(Dir::Pending, &copy)?;
                self.forget_record(name, record)?;
            }
            return Ok(Err(why));
        }
        self.name_copy(&copy, name)?;
        Ok(Ok((file, copied)))
    }

    /// Step 4: the name where it was dropped goes.
    fn give_up(
        &self,
        from: &Source,
        candidate: &Candidate,
        source: &OpenFile,
        name: &Name,
        copied: Copied,
    ) -> Step<()> {
        let taken = name.taken();
        let hidden = OsStr::new(&taken);
        if let Err(error) = self.fs.rename(from.dir, &candidate.name, from.dir, hidden) {
            // A folder that is read-only is its own trouble, and not want of room in the spool.
            let is_its_own = from.dir != Dir::Pickup && error.kind() == io::ErrorKind::ReadOnlyFilesystem;
            return Ok(Err(if is_its_own {
                NotAccepted::NotMoved(error)
            } else {
                NotAccepted::not_moved(error)
            }));
        }
        let done = self.check_and_sync(from, candidate, source, (name, hidden), copied);
        match done {
            Ok(done) => Ok(done),
            // On another filesystem: that folder has to wait, and nobody else.
            Err(error) if copied == Copied::Foreign => {
                self.unsettle(from.dir, std::iter::empty(), &error);
                Ok(Err(NotAccepted::Unsettled))
            }
            Err(error) => Err(self.fault(error)),
        }
    }

    /// The errors are no faults yet.
    fn check_and_sync(
        &self,
        from: &Source,
        candidate: &Candidate,
        source: &OpenFile,
        (name, hidden): (&Name, &OsStr),
        copied: Copied,
    ) -> Step<()> {
        let site = if copied == Copied::Foreign { FOREIGN_TAKEN } else { COPY_TAKEN };
        let failed = |doing: &str, error| {
            SpoolError::new(format!("{doing} {}/{}", self.fs.place(from.dir), hidden.display()), error)
        };
        let after = match self.fs.stat(from.dir, hidden) {
            // Its owner may take it away, under whatever name.
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            stat => Some(stat.map_err(|e| failed("look at", e))?),
        };
        let is_it = after.is_some_and(|after| is_same_bytes(&source.stat, &after));
        if !is_it {
            // Written to, or replaced, while it was copied: the copy is of something else.
            let back = (from.dir, candidate.name.as_os_str());
            self.rename_back(from.dir, hidden, back, name).map_err(|e| failed("put back", e))?;
        }
        self.fs.sync_dir(from.dir, site).map_err(|e| failed("sync the directory of", e))?;
        Ok(if is_it { Ok(()) } else { Err(NotAccepted::Changed) })
    }

    /// The copy becomes the message; `pending/` is not synced yet.
    pub(super) fn name_copy(&self, copy: &str, name: &Name) -> Result<(), SpoolError> {
        let text = name.to_string();
        let renamed = self.fs.rename(Dir::Pending, OsStr::new(copy), Dir::Pending, OsStr::new(&text));
        renamed.map_err(self.failed_to("name", Dir::Pending, &text))
    }

    /// Takes the hidden name away behind which the file was copied.
    pub(super) fn drop_taken(&self, from: Dir, name: &Name) -> Result<(), SpoolError> {
        self.unlink_taken(from, name).map_err(self.failed_to("remove", from, &name.taken()))
    }

    /// The same, and an error is no fault. A directory that somebody has put there instead is not ours, and in nobody's way.
    pub(super) fn unlink_taken(&self, from: Dir, name: &Name) -> io::Result<()> {
        match self.fs.unlink(from, OsStr::new(&name.taken())) {
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => Ok(()),
            other => other,
        }
    }

    fn copy_to(&self, copy: &str, source: &OpenFile) -> Result<(Box<dyn File>, Copied), NotCopied> {
        let left = |error| NotCopied::Left(NotAccepted::Io(error));
        let refused = |error: io::Error| NotCopied::Left(error.into());
        let mut file = self.fs.create(Dir::Pending, OsStr::new(copy)).map_err(refused)?;
        let copied = Copied::of(&source.stat, &file.stat().map_err(left)?);
        let octets = copy_bytes(&*source.file, &mut *file).map_err(refused)?;
        // The size that was looked at, and all of it.
        if octets != source.stat.size {
            return Err(NotCopied::Left(NotAccepted::Changed));
        }
        let doing = format!("sync pending/{copy}");
        let site = if copied == Copied::Foreign { FOREIGN_FILE } else { COPY_FILE };
        file.sync(site).map_err(|e| NotCopied::Fault(self.fault(SpoolError::new(doing, e))))?;
        Ok((file, copied))
    }

    /// What was moved away from a producer gets its name back; or, if the producer has used that name again
    /// meanwhile, one like it. So nothing that a producer does is a fault of the spool.
    pub(super) fn put_back(
        &self,
        from: Dir,
        text: &str,
        back: (Dir, &OsStr),
        name: &Name,
    ) -> Result<(), SpoolError> {
        self.rename_back(from, OsStr::new(text), back, name).map_err(self.failed_to("put back", from, text))
    }

    fn rename_back(
        &self,
        from: Dir,
        text: &OsStr,
        (to, dropped): (Dir, &OsStr),
        name: &Name,
    ) -> io::Result<()> {
        let mut result = Ok(());
        for back in [dropped.to_owned(), second_name(dropped, name)] {
            result = self.fs.rename(from, text, to, &back);
            match &result {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                // Where it was dropped its owner may have taken it away.
                Err(e) if e.kind() == io::ErrorKind::NotFound && from.is_shared() => return Ok(()),
                _ => break,
            }
        }
        result
    }

    /// Takes the record of a file away that was not accepted. Not synced: recovery does it again.
    pub(super) fn forget_record(&self, name: &Name, record: Option<&Record>) -> Result<(), SpoolError> {
        match record {
            Some(_) => self.take_away(Dir::Meta, &record_name(name.id)),
            None => Ok(()),
        }
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
