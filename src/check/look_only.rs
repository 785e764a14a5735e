//! A spool that is only looked at: what is written is taken and forgotten, so that a service that runs loses nothing by a check.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use crate::fs::{Dir, File, Fs, RealFs, Room, Stat, SyncSite, Writer};

/// The spool as it is, if it can be opened at all.
pub struct LookOnly(Option<RealFs>);

/// A file that nobody reads again.
struct Forgotten;

impl LookOnly {
    /// Of the spool at `root`.
    pub fn at(root: &Path) -> LookOnly {
        // What cannot be opened is told by another step.
        LookOnly(RealFs::open(root).ok())
    }

    fn there(&self) -> io::Result<&RealFs> {
        self.0.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Fs for LookOnly {
    fn list(&self, dir: Dir, visit: &mut dyn FnMut(&OsStr, u64)) -> io::Result<()> {
        self.there()?.list(dir, visit)
    }

    fn stat(&self, dir: Dir, name: &OsStr) -> io::Result<Stat> {
        self.there()?.stat(dir, name)
    }

    fn open(&self, dir: Dir, name: &OsStr) -> io::Result<Box<dyn File>> {
        self.there()?.open(dir, name)
    }

    fn create(&self, _dir: Dir, _name: &OsStr) -> io::Result<Box<dyn File>> {
        Ok(Box::new(Forgotten))
    }

    fn rename(&self, _from: Dir, _old: &OsStr, _to: Dir, _new: &OsStr) -> io::Result<()> {
        Ok(())
    }

    fn link(&self, _from: Dir, _old: &OsStr, _to: Dir, _new: &OsStr) -> io::Result<()> {
        Ok(())
    }

    fn replace(&self, _dir: Dir, _old: &OsStr, _new: &OsStr) -> io::Result<()> {
        Ok(())
    }

    fn unlink(&self, _dir: Dir, _name: &OsStr) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _dir: Dir, _site: SyncSite) -> io::Result<()> {
        Ok(())
    }

    fn room(&self) -> io::Result<Room> {
        self.there()?.room()
    }

    fn outside(&self, path: &Path) -> Dir {
        self.0.as_ref().map_or(Dir::Outside(0), |fs| fs.outside(path))
    }

    fn refresh(&self, _dir: Dir) -> io::Result<bool> {
        Ok(false)
    }
}

impl File for Forgotten {
    fn stat(&self) -> io::Result<Stat> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_at(&self, _buffer: &mut [u8], _offset: u64) -> io::Result<usize> {
        Ok(0)
    }

    fn append(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn reserve(&mut self, _bytes: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn trim(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self, _site: SyncSite) -> io::Result<()> {
        Ok(())
    }

    fn shut_out_writers(&self) -> Writer {
        Writer::Unknown
    }
}
