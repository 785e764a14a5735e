//! Floor 3: the other side of `pickup/`: how a program drops a message so that it is durable when the call returns.
//!
//! For producers written in Rust, and for `sendmail` and the commands. It needs the place of the spool and nothing else: no
//! configuration, no service, no runtime. What is dropped is taken when the service, or the next `flush`, comes by.
//!
//! ```no_run
//! use pillarbox::submit::{Envelope, Spool};
//!
//! # fn main() -> Result<(), pillarbox::submit::Error> {
//! let spool = Spool::open("/var/spool/pillarbox".as_ref())?;
//! let message = "From: panel@example.com\nTo: ops@example.com\nSubject: door 3\n\nOpen since 14:10.\n";
//! // To those that its header names.
//! spool.submit(message.as_bytes(), None, "panel")?;
//! // To those that are named here; the header is only read by people then.
//! let envelope = Envelope::from_sender("panel@example.com").to("night@example.com");
//! spool.submit(message.as_bytes(), Some(&envelope), "panel")?;
//! # Ok(())
//! # }
//! ```
//!
//! The steps, each of which a program in another language can do as well:
//!
//! 1. make a file in `pickup/` under a name that begins with a dot, and that nobody else has;
//! 2. give it the folder's group and mode 0640, whatever the umask is;
//! 3. write the message, and fsync(2) the file;
//! 4. rename it, without replacing anything, to a name that `pickup/` takes;
//! 5. fsync(2) the folder. Members of the folder's group may drop and not list it (mode 3730), and cannot open it for that: then
//!    syncfs(2) with the file's descriptor.
//!
//! A program that is killed before step 4 leaves a file whose name begins with a dot: it is never sent.

mod access;
mod disk;
mod envelope;
mod error;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "one of them moves the folder away")]
mod tests;

use std::ffi::OsString;
use std::io::{self, Read, Seek as _, Write};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fs::{Clock as _, SystemClock};
use access::Owner;
use disk::Folder;

pub use envelope::{END_OF_BLOCK, Envelope};
pub use error::Error;

/// Octets that are copied at once.
const PIECE: usize = 64 * 1024;

/// The longest part of a name that a producer chooses.
const HINT_MAX: usize = 60;

/// A spool, as those see it who drop into it.
#[derive(Debug)]
pub struct Spool {
    folder: Folder,
    owner: Owner,
    ending: String,
}

/// A message that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its name in `pickup/`. Names of one boot of the box sort in the order in which they were given.
    pub name: OsString,
    /// Octets.
    pub size: u64,
}

/// A message that is being written. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Draft<'a> {
    spool: &'a Spool,
    /// `None` once it is under its name, or given up.
    temporary: Option<OsString>,
    file: std::fs::File,
    size: u64,
    name: OsString,
}

impl Spool {
    /// The spool at `root`.
    ///
    /// # Errors
    ///
    /// There is none, or this user may not reach its `pickup/`.
    pub fn open(root: &Path) -> Result<Spool, Error> {
        let pickup = root.join("pickup");
        let folder = Folder::open(&pickup).map_err(|error| Error::of_folder(root, &pickup, error))?;
        let owner = Owner::of(root, &folder).map_err(|error| Error::disk("look at", &pickup, error))?;
        if !owner.may_work_in(&folder) {
            return Err(Error::Unreadable {
                path: pickup.clone(),
                why: format!("{} owns the spool and cannot work in it", owner.name),
                cure: format!("chown {} {}", owner.name, error::quoted(&pickup)),
            });
        }
        Ok(Spool { folder, owner, ending: ".eml".into() })
    }

    /// The same with another ending for the names of what is dropped, where `match` of `[pickup]` does not take `.eml`.
    #[must_use]
    pub fn with_ending(self, ending: &str) -> Spool {
        Spool { ending: ending.to_owned(), ..self }
    }

    /// `pickup/` of the spool.
    pub fn pickup(&self) -> &Path {
        self.folder.path()
    }

    /// Drops a message, read to its end. Durable when this returns.
    ///
    /// Without `envelope` its sender and recipients are those of its own header. `hint` becomes part of its name, and is seen in
    /// the lists.
    ///
    /// # Errors
    ///
    /// It was not dropped, and nothing of it is left; but for a folder that could not be synced behind the rename
    /// ([`Error::Disk`]), when it may have been taken already.
    pub fn submit(
        &self,
        mut message: impl Read,
        envelope: Option<&Envelope>,
        hint: &str,
    ) -> Result<Dropped, Error> {
        let mut draft = self.draft(hint)?;
        if let Some(envelope) = envelope {
            draft.append(&envelope.block()?)?;
        }
        let mut piece = vec![0; PIECE];
        loop {
            match message.read(&mut piece) {
                Ok(0) => return draft.finish(),
                Ok(read) => draft.append(&piece[..read])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::Input(e)),
            }
        }
    }

    /// Begins a message that is written piece by piece.
    ///
    /// # Errors
    ///
    /// This user may not drop here, the owner of the spool could not read what this user drops, or the disk said no.
    pub fn draft(&self, hint: &str) -> Result<Draft<'_>, Error> {
        let path = self.pickup();
        loop {
            let name = OsString::from(name(hint, &self.ending));
            let mut temporary = OsString::from(".");
            temporary.push(&name);
            temporary.push(".tmp");
            let file = match self.folder.create(&temporary) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(Error::not_allowed(path, &self.folder, &self.owner));
                }
                Err(e) => return Err(Error::disk("make a file in", path, e)),
            };
            let draft = Draft { spool: self, temporary: Some(temporary), file, size: 0, name };
            self.folder.share(&draft.file).map_err(|e| Error::disk("set the mode of a file in", path, e))?;
            self.see_to_the_owner(&draft.file)?;
            return Ok(draft);
        }
    }

    /// Makes sure that the owner of the spool can read what lies in `file`.
    fn see_to_the_owner(&self, file: &std::fs::File) -> Result<(), Error> {
        let look = |e| Error::disk("look at a file in", self.pickup(), e);
        if self.owner.may_read(file).map_err(look)? {
            return Ok(());
        }
        // Only root can; whoever is not is told what root has to do.
        if disk::give(file, self.owner.user).is_ok() && self.owner.may_read(file).map_err(look)? {
            return Ok(());
        }
        Err(Error::unreadable(self.pickup(), &self.folder, &self.owner, file))
    }
}

impl Draft<'_> {
    /// Appends to it.
    ///
    /// # Errors
    ///
    /// The disk said no; nothing of it is left.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|e| Error::disk("write to", self.spool.pickup(), e))?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Octets so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What was written so far, to be read from the beginning. The draft must not be written to meanwhile.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn reader(&self) -> io::Result<impl Read + Send + use<>> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(file)
    }

    /// The same file, open for reading alone: the path that /proc has for it tells where it lies, also once it is taken.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn reopened(&self) -> io::Result<std::fs::File> {
        std::fs::File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Gives it its name. Durable when this returns.
    ///
    /// # Errors
    ///
    /// As [`Spool::submit`].
    pub fn finish(mut self) -> Result<Dropped, Error> {
        let (folder, path) = (&self.spool.folder, self.spool.pickup().to_owned());
        if self.size == 0 {
            return Err(Error::Empty);
        }
        disk::sync_file(&self.file).map_err(|e| Error::disk("sync a file in", &path, e))?;
        let Some(temporary) = self.temporary.take() else { return Err(Error::Empty) };
        if let Err(error) = folder.rename(&temporary, &self.name) {
            self.temporary = Some(temporary);
            return Err(Error::disk("rename a file in", &path, error));
        }
        if let Err(error) = folder.sync(&self.file) {
            // What is still here was not taken, and is not going to be.
            folder.unlink(&self.name).ok();
            return Err(Error::disk("sync", &path, error));
        }
        Ok(Dropped { name: self.name.clone(), size: self.size })
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // What cannot be removed has a name that nobody looks at.
            self.spool.folder.unlink(&temporary).ok();
        }
    }
}

/// A name that nobody has, can guess, or uses again; in one boot of the box a later one sorts behind it.
fn name(hint: &str, ending: &str) -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = u64::try_from(SystemClock.monotonic().0.as_nanos()).unwrap_or(u64::MAX - 1);
    let later = |last: u64| Some(now.max(last.saturating_add(1)));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).unwrap_or_else(|last| last);
    let number = now.max(last.saturating_add(1));
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-_+@".contains(*c);
    let hint: String = hint.chars().filter(is_plain).take(HINT_MAX).collect();
    let hint = if hint.is_empty() { "message" } else { hint.as_str() };
    format!("{number:018}-{random:016x}-{hint}{ending}")
}
