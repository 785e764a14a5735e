//! The real disk: the only file of the project that changes one.
//!
//! The six directories are held open, as are those outside of the spool while they can be had, and every call names a file
//! relative to one of them, so that nobody who moves or links a directory can lead a call elsewhere.

use std::ffi::{CStr, OsStr};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::fs::{AtFlags, FallocateFlags, FileType, FlockOperation, Mode, OFlags, RawDir, RenameFlags};

use super::{Dir, File, FileId, Fs, Kind, Room, Stat, SyncSite, Writer};

/// A spool on a real disk.
#[derive(Debug)]
pub struct RealFs {
    /// In the order of [`Dir::ALL`]. `pickup/` can be opened anew, the others stay as they are.
    dirs: [Place; 6],
    /// Those outside of the spool, by number; none is ever taken out.
    outside: RwLock<Vec<Arc<Place>>>,
}

/// A directory, and how it is held open.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// `None` while it could not be opened.
    fd: RwLock<Option<OwnedFd>>,
}

struct RealFile(OwnedFd);

impl Place {
    fn with<T>(&self, call: impl FnOnce(&OwnedFd) -> io::Result<T>) -> io::Result<T> {
        match &*self.fd.read().unwrap_or_else(PoisonError::into_inner) {
            Some(fd) => call(fd),
            // As it failed before; the same error, with its cause.
            None => Err(open_dir(&self.path).err().unwrap_or_else(|| io::ErrorKind::NotFound.into())),
        }
    }

    /// True if it is another one now.
    fn refresh(&self) -> io::Result<bool> {
        let now = rustix::fs::stat(&self.path)?;
        let identity = |stat: &rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        let held = self.with(|fd| Ok(rustix::fs::fstat(fd)?));
        if held.is_ok_and(|held| identity(&held) == identity(&now)) {
            return Ok(false);
        }
        let fresh = open_dir(&self.path)?;
        *self.fd.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        Ok(true)
    }
}

impl RealFs {
    /// Opens the directories of the spool at `root`.
    ///
    /// # Errors
    ///
    /// The path that could not be opened, and why.
    pub fn open(root: &Path) -> Result<RealFs, (PathBuf, io::Error)> {
        ignore_lease_breaks();
        let open = |dir: Dir| {
            let path = root.join(dir.name());
            let fd = open_dir(&path).map_err(|e| (path.clone(), e))?;
            Ok(Place { path, fd: RwLock::new(Some(fd)) })
        };
        Ok(RealFs {
            dirs: [
                open(Dir::Pickup)?,
                open(Dir::Pending)?,
                open(Dir::Sending)?,
                open(Dir::Failed)?,
                open(Dir::Sent)?,
                open(Dir::Meta)?,
            ],
            outside: RwLock::default(),
        })
    }

    fn at<T>(&self, dir: Dir, call: impl FnOnce(&Place) -> io::Result<T>) -> io::Result<T> {
        let inside = match dir {
            Dir::Pickup => 0,
            Dir::Pending => 1,
            Dir::Sending => 2,
            Dir::Failed => 3,
            Dir::Sent => 4,
            Dir::Meta => 5,
            Dir::Outside(number) => {
                let outside = self.outside.read().unwrap_or_else(PoisonError::into_inner);
                // Numbers come from this list.
                let place = outside.get(usize::from(number)).cloned();
                drop(outside);
                return call(&*place.ok_or(io::ErrorKind::NotFound)?);
            }
        };
        call(&self.dirs[inside])
    }

    fn with<T>(&self, dir: Dir, call: impl FnOnce(&OwnedFd) -> rustix::io::Result<T>) -> io::Result<T> {
        self.at(dir, |place| place.with(|fd| Ok(call(fd)?)))
    }

    fn with_two<T>(
        &self,
        from: Dir,
        to: Dir,
        call: impl FnOnce(&OwnedFd, &OwnedFd) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        // One read lock at a time on the same directory: a waiting writer would block the second.
        if from == to {
            return self.with(from, |fd| call(fd, fd));
        }
        self.at(from, |from| from.with(|from_fd| self.with(to, |to_fd| call(from_fd, to_fd))))
    }
}

impl Fs for RealFs {
    fn list(&self, dir: Dir, visit: &mut dyn FnMut(&OsStr, u64)) -> io::Result<()> {
        // A descriptor of its own: the position in a directory belongs to the open file, and calls overlap.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = self.with(dir, |fd| rustix::fs::openat(fd, c".", flags, Mode::empty()))?;
        let mut buffer = Vec::with_capacity(64 * 1024);
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name: &CStr = entry.file_name();
            if name != c"." && name != c".." {
                visit(OsStr::from_bytes(name.to_bytes()), entry.ino());
            }
        }
        Ok(())
    }

    fn stat(&self, dir: Dir, name: &OsStr) -> io::Result<Stat> {
        self.with(dir, |fd| rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)).map(stat_of)
    }

    fn open(&self, dir: Dir, name: &OsStr) -> io::Result<Box<dyn File>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = self.with(dir, |fd| rustix::fs::openat(fd, name, flags, Mode::empty()))?;
        Ok(Box::new(RealFile(fd)))
    }

    fn create(&self, dir: Dir, name: &OsStr) -> io::Result<Box<dyn File>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Where it drops a producer has to be able to read what is left for it.
        let mode = if dir.is_shared() { Mode::from_raw_mode(0o644) } else { Mode::RUSR | Mode::WUSR };
        let fd = self.with(dir, |fd| rustix::fs::openat(fd, name, flags, mode))?;
        if dir.is_shared() {
            // A service's umask is not meant for them.
            rustix::fs::fchmod(&fd, mode)?;
        }
        Ok(Box::new(RealFile(fd)))
    }

    fn rename(&self, from: Dir, old: &OsStr, to: Dir, new: &OsStr) -> io::Result<()> {
        self.with_two(from, to, |from_fd, to_fd| {
            match rustix::fs::renameat_with(from_fd, old, to_fd, new, RenameFlags::NOREPLACE) {
                // A filesystem that cannot refuse to replace. New names carry a fresh queue id, so that a look
                // before the call is enough; nobody else writes behind pickup/.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                    match rustix::fs::statat(to_fd, new, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(_) => Err(rustix::io::Errno::EXIST),
                        Err(rustix::io::Errno::NOENT) => rustix::fs::renameat(from_fd, old, to_fd, new),
                        Err(error) => Err(error),
                    }
                }
                other => other,
            }
        })
    }

    fn link(&self, from: Dir, old: &OsStr, to: Dir, new: &OsStr) -> io::Result<()> {
        self.with_two(from, to, |from_fd, to_fd| {
            rustix::fs::linkat(from_fd, old, to_fd, new, AtFlags::empty())
        })
    }

    fn replace(&self, dir: Dir, old: &OsStr, new: &OsStr) -> io::Result<()> {
        self.with(dir, |fd| rustix::fs::renameat(fd, old, fd, new))
    }

    fn unlink(&self, dir: Dir, name: &OsStr) -> io::Result<()> {
        self.with(dir, |fd| rustix::fs::unlinkat(fd, name, AtFlags::empty()))
    }

    fn sync_dir(&self, dir: Dir, _site: SyncSite) -> io::Result<()> {
        self.with(dir, |fd| rustix::fs::fsync(fd))
    }

    fn room(&self) -> io::Result<Room> {
        let found = self.with(Dir::Meta, |fd| rustix::fs::fstatvfs(fd))?;
        let inodes = (found.f_files > 0).then_some(found.f_favail);
        Ok(Room { bytes: found.f_bavail.saturating_mul(found.f_frsize), inodes })
    }

    fn refresh(&self, dir: Dir) -> io::Result<bool> {
        self.at(dir, Place::refresh)
    }

    fn outside(&self, path: &Path) -> Dir {
        let mut outside = self.outside.write().unwrap_or_else(PoisonError::into_inner);
        let number = outside.iter().position(|place| place.path == path).unwrap_or_else(|| {
            let fd = RwLock::new(open_dir(path).ok());
            outside.push(Arc::new(Place { path: path.to_owned(), fd }));
            outside.len() - 1
        });
        // More than the configuration can name.
        Dir::Outside(u16::try_from(number).unwrap_or(u16::MAX))
    }

    fn place(&self, dir: Dir) -> String {
        match dir {
            Dir::Outside(_) => self.at(dir, |place| Ok(place.path.display().to_string())).unwrap_or_default(),
            _ => dir.name().to_owned(),
        }
    }

    fn may_change_unheard(&self, dir: Dir) -> bool {
        // What cannot be asked is looked at more often.
        let kind = self.with(dir, |fd| rustix::fs::fstatfs(fd)).map(|stat| stat.f_type as u32);
        kind.map_or(true, is_shared)
    }
}

/// What a path lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filesystem {
    /// `f_type` of statfs(2).
    pub kind: u32,
    /// Nothing can be written to it.
    pub is_read_only: bool,
}

/// What `path` lies on.
///
/// # Errors
///
/// It cannot be asked.
pub fn filesystem(path: &Path) -> io::Result<Filesystem> {
    let kind = rustix::fs::statfs(path)?.f_type as u32;
    let flags = rustix::fs::statvfs(path)?.f_flag;
    Ok(Filesystem { kind, is_read_only: flags.contains(rustix::fs::StatVfsMountFlags::RDONLY) })
}

/// Filesystems (statfs(2), `f_type`) that others change without an event here.
fn is_shared(f_type: u32) -> bool {
    const SHARED: [u32; 14] = [
        0x6969,      // NFS
        0x517B,      // SMB
        0xFF53_4D42, // CIFS
        0xFE53_4D42, // SMB 2 and later
        0x6573_5546, // FUSE, and virtiofs
        0x794C_7630, // overlayfs: a change of the lower layer
        0x0102_1997, // 9P
        0x00C3_6400, // Ceph
        0x5346_414F, // AFS
        0x0116_1970, // GFS2
        0x7461_636F, // OCFS2
        0x0BD0_0BD0, // Lustre
        0x786F_4256, // VirtualBox shared folders
        0xBACB_ACBC, // VMware shared folders
    ];
    SHARED.contains(&f_type)
}

impl File for RealFile {
    fn stat(&self) -> io::Result<Stat> {
        Ok(stat_of(rustix::fs::fstat(&self.0)?))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| rustix::io::pread(&self.0, &mut *buffer, offset))?)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::io::retry_on_intr(|| rustix::io::write(&self.0, rest))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => rest = &rest[written..],
            }
        }
        Ok(())
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<bool> {
        let size = self.stat()?.size;
        // Behind the end of the file, whose size stays: what is appended fills it.
        let call = || rustix::fs::fallocate(&self.0, FallocateFlags::KEEP_SIZE, size, bytes);
        match rustix::io::retry_on_intr(call) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn trim(&mut self) -> io::Result<()> {
        let size = self.stat()?.size;
        Ok(rustix::io::retry_on_intr(|| rustix::fs::ftruncate(&self.0, size))?)
    }

    fn sync(&self, _site: SyncSite) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }

    fn shut_out_writers(&self) -> Writer {
        // .NET holds a shared flock for as long as it writes; an exclusive one can be had only when it is done.
        let flocked = rustix::fs::flock(&self.0, FlockOperation::NonBlockingLockExclusive);
        if flocked == Err(rustix::io::Errno::WOULDBLOCK) {
            return Writer::Present;
        }
        self.has_writer()
    }

    fn has_writer(&self) -> Writer {
        // SAFETY: F_SETLEASE takes an integer and touches no memory; the descriptor is open.
        let leased =
            unsafe { libc::fcntl(self.0.as_fd().as_raw_fd(), libc::F_SETLEASE, libc::c_int::from(F_RDLCK)) };
        match leased {
            0 => Writer::None,
            _ if io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN) => Writer::Present,
            // EACCES: another user's file and no CAP_LEASE. EINVAL: this filesystem has no leases.
            _ => Writer::Unknown,
        }
    }
}

/// A writer that wants a file under our lease waits; the kernel tells the holder by SIGIO, whose default is to
/// end the process. The lease is given back within milliseconds anyway.
fn ignore_lease_breaks() {
    // SAFETY: SIG_IGN installs no handler; the call only changes this process's disposition of SIGIO.
    unsafe {
        libc::signal(libc::SIGIO, libc::SIG_IGN);
    }
}

const F_RDLCK: libc::c_short = libc::F_RDLCK as libc::c_short;

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn stat_of(stat: rustix::fs::Stat) -> Stat {
    Stat {
        id: FileId { device: stat.st_dev, inode: stat.st_ino },
        kind: match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        },
        #[expect(clippy::useless_conversion, reason = "u32 on some architectures")]
        links: u64::from(stat.st_nlink),
        size: stat.st_size as u64,
        modified: (stat.st_mtime, stat.st_mtime_nsec as u32),
        changed: (stat.st_ctime, stat.st_ctime_nsec as u32),
        mode: stat.st_mode & 0o7777,
        owner: stat.st_uid,
    }
}

/// Opens the lock file, making it if it is not there; its text stays.
pub(super) fn open_lock(path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Longest path of a unix socket, octets without the NUL (unix(7), `sun_path`).
const SOCKET_PATH_MAX: usize = 107;

/// A path to `name` in `dir` that is short enough for a socket, and what has to stay open while it is used.
///
/// # Errors
///
/// That the directory cannot be opened.
pub fn socket_path(dir: &Path, name: &str) -> io::Result<(PathBuf, Option<OwnedFd>)> {
    let path = dir.join(name);
    if path.as_os_str().len() <= SOCKET_PATH_MAX {
        return Ok((path, None));
    }
    let fd = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{name}", fd.as_raw_fd())), Some(fd)))
}

/// Listens on a unix socket called `name` in `dir`, in place of whatever has that name. Nobody can connect before it has the
/// permissions `mode`.
///
/// # Errors
///
/// The call that failed.
pub fn listen_at(dir: &Path, name: &str, mode: u32) -> io::Result<std::os::unix::net::UnixListener> {
    let temporary = format!("{name}.new");
    let fd = open_dir(dir)?;
    unlink_if_there(&fd, &temporary)?;
    let (path, _open) = socket_path(dir, &temporary)?;
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    rustix::fs::chmodat(&fd, &temporary, Mode::from_raw_mode(mode), AtFlags::empty())?;
    rustix::fs::renameat(&fd, &temporary, &fd, name)?;
    Ok(listener)
}

/// Makes `name` in `dir` a symbolic link to `target`, in place of whatever has that name.
///
/// # Errors
///
/// The call that failed.
pub fn link_to(target: &Path, dir: &Path, name: &str) -> io::Result<()> {
    let temporary = format!("{name}.new");
    let fd = open_dir(dir)?;
    unlink_if_there(&fd, &temporary)?;
    rustix::fs::symlinkat(target, &fd, &temporary)?;
    Ok(rustix::fs::renameat(&fd, &temporary, &fd, name)?)
}

fn unlink_if_there(dir: &OwnedFd, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes the directories of a spool at `root` where they are missing. What is there is left as it is.
///
/// Returns the directories that were made. `pickup/` gets the mode `pickup_mode`, the others 0700.
///
/// # Errors
///
/// The path that could not be made, and why.
pub fn make_spool(root: &Path, pickup_mode: u32) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let mut made = Vec::new();
    if !root.is_dir() {
        // Whoever may not drop has no business in it.
        let mode = if pickup_mode & 0o077 == 0 { 0o700 } else { 0o755 };
        if let Some(parent) = root.parent() {
            fs::DirBuilder::new().recursive(true).create(parent).map_err(|e| (parent.to_owned(), e))?;
        }
        fs::DirBuilder::new().mode(mode).create(root).map_err(|e| (root.to_owned(), e))?;
        made.push(root.to_owned());
    }
    for dir in Dir::ALL {
        let path = root.join(dir.name());
        let mode = if dir == Dir::Pickup { pickup_mode } else { 0o700 };
        match fs::DirBuilder::new().mode(mode).create(&path) {
            Ok(()) => {
                // The umask may have taken bits away, and mkdir(2) ignores the set-group-id bit.
                let permissions = fs::Permissions::from_mode(mode);
                fs::set_permissions(&path, permissions).map_err(|e| (path.clone(), e))?;
                made.push(path);
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(e) => return Err((path, e)),
        }
    }
    // The directories must outlive a power cut, or the first message in them would not.
    for path in made.iter().filter_map(|path| path.parent()).chain([root]) {
        open_dir(path).and_then(|fd| Ok(rustix::fs::fsync(fd)?)).map_err(|e| (path.to_owned(), e))?;
    }
    Ok(made)
}

/// Gives a directory or file of a spool these bits and, where they are named, this user and group; links are refused but
/// for the spool's root, which is `path` with `follow`.
///
/// # Errors
///
/// The system's: not ours to change, a link, away.
pub fn set_access(
    path: &Path,
    follow: bool,
    mode: u32,
    user: Option<u32>,
    group: Option<u32>,
) -> io::Result<()> {
    use rustix::fs::{Gid, Uid};
    let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | nofollow;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    if user.is_some() || group.is_some() {
        rustix::fs::fchown(&fd, user.map(Uid::from_raw), group.map(Gid::from_raw))?;
    }
    // Behind chown(2), which takes the set-group-id bit away.
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
    Ok(rustix::fs::fsync(&fd)?)
}

/// A file that is written whole and durably under a name of its own beside its place, and then named. Dropped before that, it
/// leaves nothing behind.
#[derive(Debug)]
pub struct NewFile {
    temporary: PathBuf,
    is_named: bool,
}

impl NewFile {
    /// Writes it beside `place`; `user` and `group` only where they are to change.
    ///
    /// # Errors
    ///
    /// The disk call that failed.
    pub fn write(
        place: &Path,
        bytes: &[u8],
        mode: u32,
        owner: (Option<u32>, Option<u32>),
    ) -> io::Result<NewFile> {
        use rustix::fs::{Gid, Uid};
        use std::io::Write as _;
        let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let temporary =
            place.with_file_name(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&temporary, flags, Mode::from_raw_mode(0o600))?;
        let new = NewFile { temporary, is_named: false };
        let mut file = fs::File::from(fd);
        file.write_all(bytes)?;
        if owner.0.is_some() || owner.1.is_some() {
            rustix::fs::fchown(&file, owner.0.map(Uid::from_raw), owner.1.map(Gid::from_raw))?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        rustix::fs::fsync(&file)?;
        Ok(new)
    }

    /// Where it is until it is named.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Gives it its name, durably; over what is there only if `replace`.
    ///
    /// # Errors
    ///
    /// The disk call that failed; of kind `AlreadyExists` where something is there.
    pub fn name(mut self, place: &Path, replace: bool) -> io::Result<()> {
        rename_durably(&self.temporary, place, replace)?;
        self.is_named = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_named {
            // What cannot be removed has a name that nobody reads.
            let _left = rustix::fs::unlink(&self.temporary);
        }
    }
}

/// Renames a file outside of any spool, and syncs its directory; both names are in one.
///
/// # Errors
///
/// The disk call that failed; of kind `AlreadyExists` where something is there and is not to be replaced.
pub fn rename_durably(from: &Path, to: &Path, replace: bool) -> io::Result<()> {
    let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, flags)?;
    let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(rustix::fs::fsync(open_dir(dir)?)?)
}

/// A lock that is a directory, as shell scripts make them; it is removed when this is dropped.
#[derive(Debug)]
pub struct DirLock(PathBuf);

impl DirLock {
    /// Makes it.
    ///
    /// # Errors
    ///
    /// Of kind `AlreadyExists` where somebody else has it.
    pub fn take(path: &Path) -> io::Result<DirLock> {
        rustix::fs::mkdir(path, Mode::from_raw_mode(0o700))?;
        Ok(DirLock(path.to_owned()))
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Whoever waits for it says how it is removed by hand.
        let _left = rustix::fs::unlinkat(rustix::fs::CWD, &self.0, AtFlags::REMOVEDIR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_of_this_host_tells_of_every_change_and_a_network_does_not() {
        // ext4, xfs, btrfs, tmpfs, f2fs, zfs.
        for local in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0xF2F5_2010, 0x2FC1_2FC1] {
            assert!(!is_shared(local), "{local:x}");
        }
        for shared in [0x6969, 0xFE53_4D42, 0x6573_5546, 0x794C_7630] {
            assert!(is_shared(shared), "{shared:x}");
        }
    }
}
