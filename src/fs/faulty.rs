//! For tests: the real disk with somebody between, who hears of every call and may let it fail.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::{Dir, File, Fs, RealFs, Room, Stat, SyncSite, Writer, make_spool};

/// Hears of a call before it is made: what (`open`, `rename`, `sync`, ...), in which directory.
type Hook = Arc<Mutex<Option<Box<dyn Fn(&str, Dir) -> Option<io::Error> + Send>>>>;

/// A spool on a real disk whose calls can fail.
pub(crate) struct Faulty {
    disk: RealFs,
    hook: Hook,
}

struct FaultyFile {
    file: Box<dyn File>,
    dir: Dir,
    hook: Hook,
}

fn ask(hook: &Hook, what: &str, dir: Dir) -> io::Result<()> {
    hook.lock().unwrap().as_ref().and_then(|hook| hook(what, dir)).map_or(Ok(()), Err)
}

impl Faulty {
    /// A new spool at `root`; nothing fails.
    pub(crate) fn new(root: &Path) -> Arc<Faulty> {
        make_spool(root, 0o700).unwrap();
        Arc::new(Faulty { disk: RealFs::open(root).unwrap(), hook: Hook::default() })
    }

    /// From now on `hook` is asked before every call.
    pub(crate) fn ask_first(&self, hook: impl Fn(&str, Dir) -> Option<io::Error> + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    /// Nothing fails any more.
    pub(crate) fn mend(&self) {
        *self.hook.lock().unwrap() = None;
    }

    /// A producer drops a file.
    pub(crate) fn drop_file(&self, name: &str, text: &str) {
        self.disk.create(Dir::Pickup, OsStr::new(name)).unwrap().append(text.as_bytes()).unwrap();
    }

    fn file(&self, dir: Dir, file: Box<dyn File>) -> Box<dyn File> {
        Box::new(FaultyFile { file, dir, hook: self.hook.clone() })
    }
}

impl Fs for Faulty {
    fn list(&self, dir: Dir, visit: &mut dyn FnMut(&OsStr, u64)) -> io::Result<()> {
        ask(&self.hook, "list", dir)?;
        self.disk.list(dir, visit)
    }
    fn stat(&self, dir: Dir, name: &OsStr) -> io::Result<Stat> {
        ask(&self.hook, "stat", dir)?;
        self.disk.stat(dir, name)
    }
    fn open(&self, dir: Dir, name: &OsStr) -> io::Result<Box<dyn File>> {
        ask(&self.hook, "open", dir)?;
        Ok(self.file(dir, self.disk.open(dir, name)?))
    }
    fn create(&self, dir: Dir, name: &OsStr) -> io::Result<Box<dyn File>> {
        ask(&self.hook, "create", dir)?;
        Ok(self.file(dir, self.disk.create(dir, name)?))
    }
    fn rename(&self, from: Dir, old: &OsStr, to: Dir, new: &OsStr) -> io::Result<()> {
        ask(&self.hook, "rename", from)?;
        self.disk.rename(from, old, to, new)
    }
    fn link(&self, from: Dir, old: &OsStr, to: Dir, new: &OsStr) -> io::Result<()> {
        ask(&self.hook, "link", from)?;
        self.disk.link(from, old, to, new)
    }
    fn replace(&self, dir: Dir, old: &OsStr, new: &OsStr) -> io::Result<()> {
        ask(&self.hook, "replace", dir)?;
        self.disk.replace(dir, old, new)
    }
    fn unlink(&self, dir: Dir, name: &OsStr) -> io::Result<()> {
        ask(&self.hook, "unlink", dir)?;
        self.disk.unlink(dir, name)
    }
    fn sync_dir(&self, dir: Dir, site: SyncSite) -> io::Result<()> {
        ask(&self.hook, "sync_dir", dir)?;
        self.disk.sync_dir(dir, site)
    }
    fn room(&self) -> io::Result<Room> {
        ask(&self.hook, "room", Dir::Meta)?;
        self.disk.room()
    }
    fn refresh(&self, dir: Dir) -> io::Result<bool> {
        ask(&self.hook, "refresh", dir)?;
        self.disk.refresh(dir)
    }
    fn outside(&self, path: &Path) -> Dir {
        self.disk.outside(path)
    }
    fn place(&self, dir: Dir) -> String {
        self.disk.place(dir)
    }
    fn may_change_unheard(&self, dir: Dir) -> bool {
        self.disk.may_change_unheard(dir)
    }
}

impl File for FaultyFile {
    fn stat(&self) -> io::Result<Stat> {
        self.file.stat()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        ask(&self.hook, "read", self.dir)?;
        self.file.read_at(buffer, offset)
    }
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        ask(&self.hook, "append", self.dir)?;
        self.file.append(bytes)
    }
    fn reserve(&mut self, bytes: u64) -> io::Result<bool> {
        ask(&self.hook, "reserve", self.dir)?;
        self.file.reserve(bytes)
    }
    fn trim(&mut self) -> io::Result<()> {
        ask(&self.hook, "trim", self.dir)?;
        self.file.trim()
    }
    fn sync(&self, site: SyncSite) -> io::Result<()> {
        ask(&self.hook, "sync", self.dir)?;
        self.file.sync(site)
    }
    fn shut_out_writers(&self) -> Writer {
        self.file.shut_out_writers()
    }
    fn has_writer(&self) -> Writer {
        self.file.has_writer()
    }
}
