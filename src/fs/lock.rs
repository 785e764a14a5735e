//! One owner of the spool at a time.
//!
//! The lock is flock(2) on `spool/lock`, so it dies with its process and can never be stale. The file itself
//! is never removed or renamed. Its text names the holder for people; it is a hint, the lock is the truth.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::real;

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why the lock could not be had.
#[derive(Debug)]
pub enum LockError {
    /// Another process has it.
    Held {
        /// What the holder wrote about itself: `pid 4711, pillarbox run, since 2026-11-23T14:10:53Z`.
        by: String,
    },
    /// The lock file cannot be opened or locked.
    Io(PathBuf, io::Error),
}

impl Lock {
    /// Takes the lock of the spool at `root` without waiting; `holder` is told to whoever comes second.
    pub fn acquire(root: &Path, holder: &str) -> Result<Lock, LockError> {
        let path = root.join("lock");
        let failed = |error| LockError::Io(path.clone(), error);
        let mut file = real::open_lock(&path).map_err(failed)?;
        let mut tries_left = 20;
        while let Err(error) = fs2::FileExt::try_lock_exclusive(&file) {
            if !is_contended(&error) {
                return Err(failed(error));
            }
            // `status` has a shared lock for some microseconds while it looks who holds this one.
            if tries_left == 0 {
                return Err(LockError::Held { by: read_holder(&mut file) });
            }
            tries_left -= 1;
            std::thread::park_timeout(Duration::from_millis(1));
        }
        // A full disk must not keep the spool from being emptied: without its text the lock still locks.
        if let Err(error) = write_holder(&mut file, holder) {
            tracing::warn!(%error, "lock-holder-not-written");
        }
        Ok(Lock { _file: file })
    }

    /// Who holds the lock of the spool at `root`, if anybody.
    pub fn holder(root: &Path) -> Result<Option<String>, LockError> {
        let path = root.join("lock");
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(LockError::Io(path, e)),
        };
        // A shared lock that is given back at once: two who ask do not disturb each other.
        match fs2::FileExt::try_lock_shared(&file) {
            Ok(()) => Ok(None),
            Err(e) if is_contended(&e) => Ok(Some(read_holder(&mut file))),
            Err(e) => Err(LockError::Io(path, e)),
        }
    }
}

fn is_contended(error: &io::Error) -> bool {
    error.raw_os_error() == fs2::lock_contended_error().raw_os_error()
}

fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(200).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "a process that left no name".to_owned(),
    }
}

fn write_holder(file: &mut File, holder: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{holder}")
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held { by } => write!(f, "the spool is in use by {by}"),
            LockError::Io(path, error) => write!(f, "cannot lock {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for LockError {}
