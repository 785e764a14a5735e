//! Floor 2: the few disk calls and clocks that the rest may use, behind a trait.
//!
//! The trait is narrow so that a model can stand behind it: `tests/model` is a disk that forgets what was not
//! synced, and `tests/crash.rs` crashes it after every call. `real` is the only file that changes a disk,
//! [`clock`] the only one that reads a clock.

pub mod clock;
#[cfg(test)]
pub(crate) mod faulty;
mod lock;
mod real;
mod users;

pub use clock::{Clock, SystemClock};
pub use lock::{Lock, LockError};
pub use real::{
    DirLock, Filesystem, NewFile, RealFs, filesystem, link_to, listen_at, make_spool, rename_durably,
    set_access, socket_path,
};
pub use users::{Owner, group, user, user_name};

use std::ffi::OsStr;
use std::io;
use std::path::Path;

/// The directories of a spool. Names are relative to one of them, so that nothing is ever reached by a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dir {
    /// Producers drop here.
    Pickup,
    /// Accepted, waiting.
    Pending,
    /// In flight.
    Sending,
    /// Given up.
    Failed,
    /// Delivered and kept.
    Sent,
    /// Records.
    Meta,
    /// A directory outside of the spool, see [`Fs::outside`].
    Outside(u16),
}

impl Dir {
    /// Those of the spool itself, in the order in which a message can pass through.
    pub const ALL: [Dir; 6] = [Dir::Pickup, Dir::Pending, Dir::Sending, Dir::Failed, Dir::Sent, Dir::Meta];

    /// The directory's name below the spool root; where one outside of it is, [`Fs::place`] tells.
    pub fn name(self) -> &'static str {
        match self {
            Dir::Pickup => "pickup",
            Dir::Pending => "pending",
            Dir::Sending => "sending",
            Dir::Failed => "failed",
            Dir::Sent => "sent",
            Dir::Meta => "meta",
            Dir::Outside(_) => "a folder outside of the spool",
        }
    }

    /// Whether others put files there, and read what is left there for them.
    pub fn is_shared(self) -> bool {
        matches!(self, Dir::Pickup | Dir::Outside(_))
    }
}

/// One place in the code that syncs, by number (docs/SPOOL.md). A model can ignore one of them, to prove that
/// the promise it serves breaks without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SyncSite {
    /// The number in docs/SPOOL.md.
    pub number: u8,
    /// What would be lost without it.
    pub why: &'static str,
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
}

/// What kind of thing a name stands for. Links are never followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A FIFO, socket or device.
    Other,
}

/// A file's times: seconds and nanoseconds as the filesystem keeps them. Compared with each other only, never
/// with a clock.
pub type FileTime = (i64, u32);

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Which file.
    pub id: FileId,
    /// What kind.
    pub kind: Kind,
    /// How many names it has.
    pub links: u64,
    /// Octets.
    pub size: u64,
    /// Last change of the bytes.
    pub modified: FileTime,
    /// Last change of bytes, names or mode.
    pub changed: FileTime,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: u32,
}

/// What is left on a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Octets.
    pub bytes: u64,
    /// Inodes; `None` where the filesystem makes them as it needs them.
    pub inodes: Option<u64>,
}

/// Whether somebody may still be writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// Nobody has it open for writing, and nobody can while the file is held open here.
    None,
    /// Somebody has it open for writing, or holds the flock that .NET takes while it writes.
    Present,
    /// This filesystem or these rights do not allow to ask.
    Unknown,
}

/// The disk calls. All take effect at once for every reader; none is durable before the sync that covers it.
///
/// # Errors
///
/// Every call returns the operating system's error unchanged. After an error of a sync nothing is known about
/// what it should have covered (fsync(2)); the caller must not go on as if it had worked.
pub trait Fs: Send + Sync {
    /// Visits name and inode of every entry of `dir`, in no order, without `.` and `..`.
    fn list(&self, dir: Dir, visit: &mut dyn FnMut(&OsStr, u64)) -> io::Result<()>;
    /// What `name` stands for, not following links.
    fn stat(&self, dir: Dir, name: &OsStr) -> io::Result<Stat>;
    /// Opens for reading; refuses links, never blocks on a FIFO.
    fn open(&self, dir: Dir, name: &OsStr) -> io::Result<Box<dyn File>>;
    /// Makes a new file for writing; an existing name is an error. It is readable by its owner alone, where others drop
    /// ([`Dir::is_shared`]) by everybody who can reach it.
    fn create(&self, dir: Dir, name: &OsStr) -> io::Result<Box<dyn File>>;
    /// Moves a file; a name that is taken at the destination is an error (`AlreadyExists`).
    fn rename(&self, from: Dir, old: &OsStr, to: Dir, new: &OsStr) -> io::Result<()>;
    /// Gives a file a second name; one that is taken is an error (`AlreadyExists`).
    fn link(&self, from: Dir, old: &OsStr, to: Dir, new: &OsStr) -> io::Result<()>;
    /// Gives the file `old` the name `new` in the same directory, in place of what had it.
    fn replace(&self, dir: Dir, old: &OsStr, new: &OsStr) -> io::Result<()>;
    /// Takes a name away.
    fn unlink(&self, dir: Dir, name: &OsStr) -> io::Result<()>;
    /// Makes every change of names in `dir` so far durable.
    fn sync_dir(&self, dir: Dir, site: SyncSite) -> io::Result<()>;
    /// What is left on the spool's filesystem for ordinary users.
    fn room(&self) -> io::Result<Room>;
    /// Looks again where `dir` is: it may have been removed and made anew. True if it is another one now.
    fn refresh(&self, dir: Dir) -> io::Result<bool>;
    /// The directory at `path`, wherever it is, and whether it is there or not: the same value for the same path, as long as
    /// this disk is used. If it is not there, or may not be opened, calls on it fail with that error;
    /// [`Fs::refresh`] looks again.
    fn outside(&self, path: &Path) -> Dir;
    /// Where `dir` is, for people: its name in the spool, or the path.
    fn place(&self, dir: Dir) -> String {
        dir.name().to_owned()
    }
    /// Whether `dir` is on a filesystem on which files can come without an event: another host, or another program,
    /// can put them there behind this kernel's back.
    fn may_change_unheard(&self, _dir: Dir) -> bool {
        false
    }
}

/// An open file.
pub trait File: Send {
    /// What is known of it.
    fn stat(&self) -> io::Result<Stat>;
    /// Reads at `offset`; 0 is the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Appends.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Sets room aside on the disk for so many octets that are yet to be appended, so that they cannot fail for want of it.
    /// True if the filesystem can.
    fn reserve(&mut self, bytes: u64) -> io::Result<bool>;
    /// Gives back what was set aside and not used.
    fn trim(&mut self) -> io::Result<()>;
    /// Makes its bytes durable.
    fn sync(&self, site: SyncSite) -> io::Result<()>;
    /// Asks whether somebody may still be writing, and keeps writers out until the file is closed.
    fn shut_out_writers(&self) -> Writer;
    /// Asks the same, and keeps nobody out: for those who only look.
    fn has_writer(&self) -> Writer {
        Writer::Unknown
    }
}
