//! The disk calls of a producer. Apart from `fs/real.rs`, which works on a whole spool and opens all of it: who drops may open
//! nothing but what he makes himself.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, Stat, Uid};
use rustix::io::Errno;

/// What is dropped can be read by its owner and by the group of the folder.
const MODE: Mode = Mode::from_raw_mode(0o640);

/// The extended attribute that holds an access control list (acl(5)).
const ACL: &str = "system.posix_acl_access";

/// Longest list that is read, octets.
const ACL_MAX: usize = 64 * 1024;

/// A folder that files are dropped into.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    fd: OwnedFd,
    /// It can be opened, and so synced.
    can_be_opened: bool,
    stat: Access,
}

/// Whose something is, and what its mode allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) mode: u32,
}

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Folder> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let (fd, can_be_opened) = match rustix::fs::open(path, flags | OFlags::RDONLY, Mode::empty()) {
            Ok(fd) => (fd, true),
            // Mode 3730: to be passed, and not listed.
            Err(Errno::ACCESS) => (rustix::fs::open(path, flags | OFlags::PATH, Mode::empty())?, false),
            Err(error) => return Err(error.into()),
        };
        let stat = access(&rustix::fs::fstat(&fd)?);
        Ok(Folder { path: path.to_owned(), fd, can_be_opened, stat })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn access(&self) -> Access {
        self.stat
    }

    /// A new file, for nobody else yet.
    pub(super) fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// Gives a file the folder's group, where this user may, and the mode that goes with it, whatever the umask.
    pub(super) fn share(&self, file: &File) -> io::Result<()> {
        if access_of(file)?.group != self.stat.group {
            match rustix::fs::fchown(file, None, Some(Gid::from_raw(self.stat.group))) {
                // Not a member of it. Whether the owner of the spool can do without is asked next.
                Ok(()) | Err(Errno::PERM | Errno::ACCESS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(rustix::fs::fchmod(file, MODE)?)
    }

    /// Gives a file another name, which nothing may have.
    pub(super) fn rename(&self, old: &OsStr, new: &OsStr) -> io::Result<()> {
        match rustix::fs::renameat_with(&self.fd, old, &self.fd, new, RenameFlags::NOREPLACE) {
            // A filesystem that cannot refuse to replace. Nobody else can guess the name.
            Err(Errno::INVAL | Errno::NOSYS) => {
                match rustix::fs::statat(&self.fd, new, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(_) => Err(Errno::EXIST.into()),
                    Err(Errno::NOENT) => Ok(rustix::fs::renameat(&self.fd, old, &self.fd, new)?),
                    Err(error) => Err(error.into()),
                }
            }
            other => Ok(other?),
        }
    }

    pub(super) fn unlink(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Makes the names in it durable. `file` is one of them, and open: with it the whole filesystem can be synced where the
    /// folder cannot be opened.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        match self.can_be_opened {
            true => Ok(rustix::fs::fsync(&self.fd)?),
            false => Ok(rustix::fs::syncfs(file)?),
        }
    }
}

pub(super) fn sync_file(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fsync(file)?)
}

/// Gives a file to another user, which only root may.
pub(super) fn give(file: &File, user: u32) -> io::Result<()> {
    Ok(rustix::fs::fchown(file, Some(Uid::from_raw(user)), None)?)
}

pub(super) fn access_of(file: &File) -> io::Result<Access> {
    Ok(access(&rustix::fs::fstat(file)?))
}

/// Whose it is that lies at `path`.
pub(super) fn access_at(path: &Path) -> io::Result<Access> {
    Ok(access(&rustix::fs::stat(path)?))
}

/// The access control list of a file as the kernel has it; `None` if its mode is all that counts.
pub(super) fn acl_of(file: &File) -> io::Result<Option<Vec<u8>>> {
    let mut list = vec![0; ACL_MAX];
    match rustix::fs::fgetxattr(file, ACL, &mut list) {
        Ok(len) => {
            list.truncate(len);
            Ok(Some(list))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn access(stat: &Stat) -> Access {
    Access { user: stat.st_uid, group: stat.st_gid, mode: stat.st_mode & 0o7777 }
}
