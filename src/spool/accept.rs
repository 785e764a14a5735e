//! accept: `pickup/`, or another folder, to `pending/`. From here on the message is ours.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::sync::PoisonError;

use super::line::Waiting;
use super::name::Name;
use super::record::{Failed, Record};
use super::source::Source;
use super::sync::{ACCEPT_FILE, ACCEPT_FOLDER, ACCEPT_PENDING, ACCEPT_PICKUP};
use super::{NoRoom, Spool, SpoolError};
use crate::fs::{Dir, File, Kind, Stat, Writer};
use crate::mail::UnixTime;

/// A file that the pickup believes to be complete.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its name where it was dropped.
    pub name: OsString,
    /// It was looked at twice and had not changed, so that it may be taken also where nobody can say whether a
    /// writer has it open.
    pub settled: bool,
    /// Two looks, as far apart as a file takes to settle, found it the same: it may be copied if it has other names.
    pub rested: bool,
    /// If somebody still writes to it, those behind it in the group are left for the next one.
    pub holds: bool,
}

/// A message that was accepted: it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its name from now on.
    pub name: Name,
    /// Octets as dropped.
    pub size: u64,
    /// It can never be sent, and lies in `failed/` already: why.
    pub refused: Option<String>,
}

/// Looks at the bytes of a message that was accepted, before it comes into line: the failure and its reason in one line,
/// if it can never be sent.
pub type Examine<'a> = &'a dyn Fn(&Name, &dyn File) -> Option<(Failed, String)>;

/// Why a file was left where it is. It is asked again at the next look.
#[derive(Debug)]
pub enum NotAccepted {
    /// It is gone, or was replaced while it was taken.
    Changed,
    /// Somebody is writing to it.
    BeingWritten,
    /// It was not looked at: one in front of it that holds the others is being written.
    Behind,
    /// Whether somebody writes cannot be known here; it must settle first.
    NotSettled,
    /// It is empty.
    Empty,
    /// It has other names, and must settle before it is copied: most producers that link take the other name away.
    Linked(u64),
    /// It is no regular file.
    NotAFile(Kind),
    /// Nothing more is taken now.
    NoRoom(NoRoom),
    /// Its bytes, as they were then, could not be synced: nobody knows what of them is on the disk, and no later
    /// sync will tell.
    Unsynced(io::Error, Stat),
    /// It cannot be opened.
    Unreadable(io::Error),
    /// It cannot be moved out of where it was dropped.
    NotMoved(io::Error),
    /// It has other names, or lies on another filesystem, and so many octets; a copy would take more than half of the room
    /// that is left.
    NoRoomToCopy(u64),
    /// What was begun before in its folder could not be finished yet.
    Unsettled,
    /// Anything else that the disk said.
    Io(io::Error),
}

/// What a step came to for one file; the outer error is the spool's, not the file's.
pub(super) type Step<T> = Result<Result<T, NotAccepted>, SpoolError>;

/// A file that is complete, and how it looked when it was opened. While it is open writers are kept out.
pub(super) struct OpenFile {
    pub(super) file: Box<dyn File>,
    pub(super) stat: Stat,
}

/// A file after its rename, before the directories are synced. The open file, unless it is a copy, keeps writers out.
pub(super) struct Moved {
    pub(super) name: Name,
    pub(super) size: u64,
    pub(super) file: Box<dyn File>,
    /// What is on record of it.
    pub(super) record: Option<Record>,
    /// Whether it is a copy, and the file still has its hidden name where it was dropped.
    pub(super) copy: Option<Copied>,
}

/// Why a file was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copied {
    /// It has other names.
    Linked,
    /// It lies on another filesystem. What goes wrong there is no fault of the spool.
    Foreign,
}

impl Spool {
    /// Accepts `candidates` from `pickup/` in this order, with one sync of each directory for all of them.
    ///
    /// When it returns, what it says is accepted is durable and in line.
    ///
    /// # Errors
    ///
    /// If a directory could not be synced, or a file neither be taken nor put back: some of the files may be in
    /// `pending/`, nobody may be told that they are, and the spool is faulted. A file that could not be taken is no
    /// error of the group.
    pub fn accept(
        &self,
        candidates: &[Candidate],
        now: UnixTime,
        examine: Examine<'_>,
    ) -> Result<Vec<Result<Accepted, NotAccepted>>, SpoolError> {
        self.accept_from(&Source::default(), candidates, now, examine)
    }

    /// The same from any folder. Trouble with one on another filesystem is no error: nothing more is accepted from there
    /// before it is settled ([`Spool::settle`]).
    ///
    /// # Errors
    ///
    /// As [`Spool::accept`].
    pub fn accept_from(
        &self,
        source: &Source,
        candidates: &[Candidate],
        now: UnixTime,
        examine: Examine<'_>,
    ) -> Result<Vec<Result<Accepted, NotAccepted>>, SpoolError> {
        self.check_sound()?;
        if self.is_unsettled(source.dir) {
            return Ok(candidates.iter().map(|_| Err(NotAccepted::Unsettled)).collect());
        }
        let mut moved = Vec::with_capacity(candidates.len());
        let mut held = false;
        let mut room = self.room_for(candidates.len() as u64);
        for candidate in candidates {
            let taken = match &mut room {
                Err(why) => Err(NotAccepted::NoRoom(why.clone())),
                Ok(_) if held => Err(NotAccepted::Behind),
                Ok(0) => Err(NotAccepted::NoRoom(self.full())),
                Ok(left) => {
                    let taken = self.take(source, candidate, now)?;
                    *left -= u64::from(taken.is_ok());
                    if let Err(NotAccepted::NoRoom(why)) = &taken {
                        room = Err(why.clone());
                    }
                    taken
                }
            };
            held |= candidate.holds && matches!(taken, Err(NotAccepted::BeingWritten));
            moved.push(taken);
        }
        if moved.iter().any(Result::is_ok) {
            self.sync_dir(Dir::Pending, ACCEPT_PENDING)?;
            self.sync_source(source, &moved)?;
        }
        let mut results = Vec::with_capacity(moved.len());
        for moved in moved {
            results.push(match moved {
                Ok(moved) => Ok(self.enter_line(moved, examine)?),
                Err(why) => Err(why),
            });
        }
        Ok(results)
    }

    /// The names where the files were dropped are given up for good.
    fn sync_source(&self, source: &Source, moved: &[Result<Moved, NotAccepted>]) -> Result<(), SpoolError> {
        let moved = || moved.iter().flatten();
        for copied in moved().filter(|moved| moved.copy == Some(Copied::Linked)) {
            self.drop_taken(source.dir, &copied.name)?;
        }
        let foreign = || moved().filter(|moved| moved.copy == Some(Copied::Foreign)).map(|moved| &moved.name);
        for name in foreign() {
            if let Err(error) = self.unlink_taken(source.dir, name) {
                self.unsettle(source.dir, foreign(), &error);
                break;
            }
        }
        let site = if source.dir == Dir::Pickup { ACCEPT_PICKUP } else { ACCEPT_FOLDER };
        if moved().any(|moved| moved.copy != Some(Copied::Foreign)) {
            return self.sync_dir(source.dir, site);
        }
        // The producer's name is gone for good since the copy was named; at worst the hidden one comes back.
        if let Err(error) = self.fs.sync_dir(source.dir, site) {
            self.unsettle(source.dir, foreign(), &error);
        }
        Ok(())
    }

    /// It is durable: into line with it, or to `failed/` if it can never be sent.
    pub(super) fn enter_line(&self, moved: Moved, examine: Examine<'_>) -> Result<Accepted, SpoolError> {
        let Moved { name, size, file, record, .. } = moved;
        let unsendable = examine(&name, &*file);
        // Closed only now: until here nobody could open it for writing.
        drop(file);
        let refused = match unsendable {
            // Never in line: the sender would begin it under our hands.
            Some((failed, reason)) => {
                self.refuse_named(&name, record.unwrap_or_else(Record::empty), failed)?;
                Some(reason)
            }
            None => {
                let has_record = record.is_some();
                self.line().insert(Waiting { name: name.clone(), has_record }, None);
                None
            }
        };
        Ok(Accepted { name, size, refused })
    }

    /// Steps 1 to 4 of docs/SPOOL.md for one file. Behind the rename an error leaves it in `pending/`, in no line:
    /// that is for recovery.
    fn take(&self, from: &Source, candidate: &Candidate, now: UnixTime) -> Step<Moved> {
        let source = match self.open_complete(from.dir, candidate) {
            Ok(opened) => opened,
            Err(why) => return Ok(Err(why)),
        };
        let id = self.ids.lock().unwrap_or_else(PoisonError::into_inner).draw(now);
        let name = Name::new(id, now, &candidate.name);
        let size = source.stat.size;
        if source.stat.links == 1 && self.is_at_home(&source.stat) {
            let record = from.record(&candidate.name, None);
            match self.take_itself(from, candidate, &source, &name, record.as_ref())? {
                Ok(()) => return Ok(Ok(Moved { name, size, file: source.file, record, copy: None })),
                Err(why) => {
                    self.forget_record(&name, record.as_ref())?;
                    if !why.crosses_devices() {
                        return Ok(Err(why));
                    }
                }
            }
        }
        let record = from.record(&candidate.name, Some(&source.stat));
        let taken = self.take_copy(from, candidate, &source, &name, record.as_ref())?;
        Ok(taken.map(|(file, copied)| Moved { name, size, file, record, copy: Some(copied) }))
    }

    /// Steps 2 to 4.
    fn take_itself(
        &self,
        from: &Source,
        candidate: &Candidate,
        source: &OpenFile,
        name: &Name,
        record: Option<&Record>,
    ) -> Step<()> {
        if let Err(error) = source.file.sync(ACCEPT_FILE) {
            return Ok(Err(NotAccepted::Unsynced(error, source.stat)));
        }
        if let Some(record) = record {
            self.write_origin(name.id, record)?;
        }
        let text = name.to_string();
        let new = OsStr::new(&text);
        if let Err(error) = self.fs.rename(from.dir, &candidate.name, Dir::Pending, new) {
            return Ok(Err(NotAccepted::not_moved(error)));
        }
        let after =
            self.fs.stat(Dir::Pending, new).map_err(self.failed_to("look at", Dir::Pending, &text))?;
        if !is_same_bytes(&source.stat, &after) || after.links != source.stat.links {
            // The producer replaced it between open and rename: what was moved is not what was synced.
            self.put_back(Dir::Pending, &text, (from.dir, &candidate.name), name)?;
            return Ok(Err(NotAccepted::Changed));
        }
        Ok(Ok(()))
    }

    /// Step 1: it is complete, and nobody writes to it.
    fn open_complete(&self, from: Dir, candidate: &Candidate) -> Result<OpenFile, NotAccepted> {
        let file = self.fs.open(from, &candidate.name).map_err(|e| self.not_opened(from, candidate, e))?;
        let stat = file.stat()?;
        check_kind(&stat, candidate.rested)?;
        match file.shut_out_writers() {
            Writer::Present => Err(NotAccepted::BeingWritten),
            Writer::Unknown if !candidate.settled => Err(NotAccepted::NotSettled),
            Writer::None | Writer::Unknown => Ok(OpenFile { file, stat }),
        }
    }

    /// Makes a fault of a disk call that failed behind the rename.
    pub(super) fn failed_to(
        &self,
        doing: &str,
        dir: Dir,
        name: &str,
    ) -> impl FnOnce(io::Error) -> SpoolError + use<'_> {
        let doing = format!("{doing} {}/{name}", self.fs.place(dir));
        move |error| self.fault(SpoolError::new(doing, error))
    }

    /// An error of open that tells less than a look at the name does: a link is refused with ELOOP, a socket
    /// with ENXIO.
    fn not_opened(&self, from: Dir, candidate: &Candidate, error: io::Error) -> NotAccepted {
        // Somebody holds a lease to write on it, and is told to give it up (fcntl(2), F_SETLEASE).
        if error.kind() == io::ErrorKind::WouldBlock {
            return NotAccepted::BeingWritten;
        }
        match self.fs.stat(from, &candidate.name) {
            Ok(stat) if stat.kind != Kind::File => NotAccepted::NotAFile(stat.kind),
            Ok(_) => match error.into() {
                NotAccepted::Io(error) => NotAccepted::Unreadable(error),
                other => other,
            },
            Err(_) => error.into(),
        }
    }
}

fn check_kind(stat: &Stat, rested: bool) -> Result<(), NotAccepted> {
    match stat {
        Stat { kind: Kind::File, size: 0, .. } => Err(NotAccepted::Empty),
        Stat { kind: Kind::File, links: 1, .. } => Ok(()),
        Stat { kind: Kind::File, .. } if rested => Ok(()),
        Stat { kind: Kind::File, links, .. } => Err(NotAccepted::Linked(*links)),
        Stat { kind, .. } => Err(NotAccepted::NotAFile(*kind)),
    }
}

/// The rename itself changes `changed`, so only file, size and last write count.
pub(super) fn is_same_bytes(before: &Stat, after: &Stat) -> bool {
    let what = |s: &Stat| (s.id, s.kind, s.size, s.modified);
    what(before) == what(after)
}

impl NotAccepted {
    /// A rename cannot take it where it has to go.
    fn crosses_devices(&self) -> bool {
        matches!(self, NotAccepted::NotMoved(e) if e.kind() == io::ErrorKind::CrossesDevices)
    }

    /// Why a rename out of where it was dropped was refused.
    pub(super) fn not_moved(error: io::Error) -> NotAccepted {
        match error.into() {
            NotAccepted::Io(error) => NotAccepted::NotMoved(error),
            other => other,
        }
    }
}

impl From<io::Error> for NotAccepted {
    fn from(error: io::Error) -> NotAccepted {
        match error.raw_os_error() {
            Some(libc::ENOENT) => NotAccepted::Changed,
            // Nothing that the file could help: those behind it would fare no better, and must not overtake it.
            Some(libc::ENOSPC | libc::EDQUOT | libc::EROFS | libc::EMFILE | libc::ENFILE | libc::ENOMEM) => {
                NotAccepted::NoRoom(NoRoom::Refused(error.to_string()))
            }
            _ => NotAccepted::Io(error),
        }
    }
}

/// Fits after "not accepted: ".
impl fmt::Display for NotAccepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAccepted::Changed => f.write_str("it changed while it was taken"),
            NotAccepted::BeingWritten => f.write_str("a program still has it open for writing"),
            NotAccepted::Behind => f.write_str("one in front of it is still being written"),
            NotAccepted::NotSettled => f.write_str("it may still be written to"),
            NotAccepted::Empty => f.write_str("it is empty"),
            NotAccepted::Linked(links) => write!(f, "it has {links} names (hard links)"),
            NotAccepted::NotAFile(Kind::Link) => f.write_str("it is a symbolic link"),
            NotAccepted::NotAFile(Kind::Directory) => f.write_str("it is a directory"),
            NotAccepted::NotAFile(_) => f.write_str("it is not a regular file"),
            NotAccepted::NoRoom(why) => write!(f, "{why}"),
            NotAccepted::Unsynced(error, _) => write!(f, "its bytes did not get to the disk: {error}"),
            NotAccepted::NoRoomToCopy(size) => {
                write!(
                    f,
                    "it has other names (hard links) or lies on another filesystem, and there is no room to copy its {size} \
                     octets"
                )
            }
            NotAccepted::Unsettled => f.write_str("what was begun in this folder could not be finished yet"),
            NotAccepted::Unreadable(error) | NotAccepted::NotMoved(error) | NotAccepted::Io(error) => {
                write!(f, "{error}")
            }
        }
    }
}
