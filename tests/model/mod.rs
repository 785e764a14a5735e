//! A disk that forgets what was not synced.
//!
//! What it keeps apart (docs/TESTING.md, "The fault model"): the bytes of each file, and each change of a directory.
//! A change is *pending* until the sync that covers it. A power cut keeps any subset of the pending changes,
//! with one rule: a rename never loses both names, unless the directory that lost the name was synced and the one
//! that gained it was not. A kill keeps everything, and leaves the pending changes pending.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use pillarbox::fs::{Dir, File, FileId, Fs, Kind, Room, Stat, SyncSite, Writer};

/// Names of one directory.
type Names = BTreeMap<OsString, u64>;

#[derive(Clone, Debug, Default)]
struct State {
    live: BTreeMap<Dir, Names>,
    durable: BTreeMap<Dir, Names>,
    /// Bytes as every reader sees them, and as they are on the disk.
    files: BTreeMap<u64, (Vec<u8>, Vec<u8>)>,
    /// When the bytes of a file, and when anything of it, last changed; in ticks of a clock of the disk's own.
    times: BTreeMap<u64, (i64, i64)>,
    pending: Vec<Change>,
    /// Files that somebody has open for writing.
    writers: BTreeSet<u64>,
    /// Files that have another name outside of the spool.
    linked: BTreeSet<u64>,
    /// Whoever has that name writes to the file once more, when its name in `pickup/` is given up.
    written_when_taken: BTreeMap<u64, Vec<u8>>,
    /// Files on the other filesystem.
    foreign: BTreeSet<u64>,
    /// The other filesystem is not mounted.
    away: Option<Away>,
    next_inode: u64,
    next_rename: u64,
    ticks: i64,
}

/// One thing that a power cut can forget.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Data { inode: u64, offset: usize, bytes: Vec<u8> },
    Added { dir: Dir, name: OsString, inode: u64, by_rename: Option<u64> },
    Removed { dir: Dir, name: OsString, by_rename: Option<u64> },
}

#[derive(Debug, Default)]
struct Control {
    calls: usize,
    crash_before: Option<usize>,
    ignored_site: Option<u8>,
    log: Vec<String>,
}

/// What is seen of a filesystem that is not mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Away {
    Nothing,
    /// The directory on which it would be mounted.
    EmptyDirectory,
}

/// A handle; clones share the disk.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    state: Arc<Mutex<State>>,
    control: Arc<Mutex<Control>>,
}

/// A picture of the disk, to crash from in more than one way.
#[derive(Clone)]
pub(crate) struct Snapshot(State);

struct Open {
    disk: Disk,
    inode: u64,
}

fn gone() -> io::Error {
    io::Error::other("the machine has crashed")
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Counts a call; an error once the machine has crashed.
    fn call(&self, what: impl FnOnce() -> String) -> io::Result<()> {
        let mut control = self.control.lock().unwrap();
        if control.crash_before.is_some_and(|n| control.calls >= n) {
            return Err(gone());
        }
        control.calls += 1;
        control.log.push(what());
        Ok(())
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> usize {
        self.control.lock().unwrap().calls
    }

    /// The machine stops before the call with this number (0 is the first).
    pub(crate) fn crash_before(&self, call: Option<usize>) {
        let mut control = self.control.lock().unwrap();
        control.crash_before = call;
    }

    /// Whether the crash that was asked for has come.
    pub(crate) fn has_crashed(&self) -> bool {
        let control = self.control.lock().unwrap();
        control.crash_before.is_some_and(|n| control.calls >= n)
    }

    /// The sync site with this number does nothing from now on.
    pub(crate) fn ignore_site(&self, number: Option<u8>) {
        self.control.lock().unwrap().ignored_site = number;
    }

    /// What was called, for a message of a failed test.
    pub(crate) fn log(&self) -> Vec<String> {
        self.control.lock().unwrap().log.clone()
    }

    /// The disk as it is.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot(self.state().clone())
    }

    /// A new machine with the disk of `snapshot`, after a kill: all that was done can be seen.
    pub(crate) fn after_kill(snapshot: &Snapshot) -> Disk {
        Disk { state: Arc::new(Mutex::new(snapshot.0.clone())), control: Arc::default() }
    }

    /// A producer's drop by rename: the name is there at once; bytes and name are on the disk only if the
    /// producer was careful enough to sync both.
    pub(crate) fn drop_file(&self, name: &str, bytes: &[u8], careful: bool) {
        self.drop_file_in(Dir::Pickup, name, bytes, careful);
    }

    /// The same in any folder.
    pub(crate) fn drop_file_in(&self, dir: Dir, name: &str, bytes: &[u8], careful: bool) {
        let mut state = self.state();
        let inode = state.new_file_in(dir);
        let before = state.pending.len();
        state.write(inode, 0, bytes);
        state.add(dir, OsStr::new(name), inode, None);
        if careful {
            state.pending.split_off(before).into_iter().for_each(|change| state.harden(change));
        }
    }

    /// A producer writes on in a file that it has dropped.
    pub(crate) fn append_to(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.lookup(Dir::Pickup, OsStr::new(name)).unwrap();
        let offset = state.files[&inode].0.len();
        state.write(inode, offset, bytes);
    }

    /// Somebody opens a file in `pickup/` for writing, or closes it.
    pub(crate) fn set_writer(&self, name: &str, is_open: bool) {
        let mut state = self.state();
        let inode = state.lookup(Dir::Pickup, OsStr::new(name)).unwrap();
        match is_open {
            true => state.writers.insert(inode),
            false => state.writers.remove(&inode),
        };
    }

    /// A file in `pickup/` gets another name outside of the spool (a hard link), through which it can be written.
    pub(crate) fn link_file(&self, name: &str) {
        let mut state = self.state();
        let inode = state.lookup(Dir::Pickup, OsStr::new(name)).unwrap();
        state.linked.insert(inode);
        state.ticks += 1;
        state.times.get_mut(&inode).unwrap().1 = state.ticks;
    }

    /// Takes the other name away.
    pub(crate) fn unlink_other_name(&self, name: &str) {
        let mut state = self.state();
        let inode = state.lookup(Dir::Pickup, OsStr::new(name)).unwrap();
        state.linked.remove(&inode);
        state.ticks += 1;
        state.times.get_mut(&inode).unwrap().1 = state.ticks;
    }

    /// Through its other name a file is written to, once, between its copy and the instant in which its name is given up.
    pub(crate) fn write_when_taken(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.lookup(Dir::Pickup, OsStr::new(name)).unwrap();
        state.written_when_taken.insert(inode, bytes.to_vec());
    }

    /// Takes a file out of where it was dropped for good, as its producer may.
    pub(crate) fn forget_file(&self, dir: Dir, name: &str) {
        let mut state = self.state();
        state.live.entry(dir).or_default().remove(OsStr::new(name));
        state.durable.entry(dir).or_default().remove(OsStr::new(name));
    }

    /// The other filesystem is unmounted, or mounted again.
    pub(crate) fn set_foreign_away(&self, away: Option<Away>) {
        self.state().away = away;
    }

    /// All that a program could find out about the disk.
    pub(crate) fn picture(&self) -> Vec<(Dir, String, Vec<u8>, u64)> {
        let state = self.state();
        let mut picture = Vec::new();
        for (dir, names) in &state.live {
            for (name, inode) in names {
                let bytes = state.files[inode].0.clone();
                picture.push((*dir, name.to_string_lossy().into_owned(), bytes, *inode));
            }
        }
        picture
    }

    /// Name and bytes of every file in `dir`.
    pub(crate) fn files(&self, dir: Dir) -> Vec<(String, Vec<u8>)> {
        let state = self.state();
        let names = state.live.get(&dir).cloned().unwrap_or_default();
        names.into_iter().map(|(n, i)| (n.into_string().unwrap(), state.files[&i].0.clone())).collect()
    }
}

impl Snapshot {
    /// How many changes a power cut can forget.
    pub(crate) fn pending(&self) -> usize {
        self.0.pending.len()
    }

    /// A new machine after a power cut that kept the pending changes whose bit is set in `kept`. `None` if no
    /// disk would keep just those.
    pub(crate) fn after_power_cut(&self, kept: u64) -> Option<Disk> {
        let mut state = self.0.clone();
        let pending = std::mem::take(&mut state.pending);
        let is_kept = |n: usize| n >= 64 || kept & (1 << n) != 0;
        let lost_additions: BTreeSet<u64> = pending
            .iter()
            .enumerate()
            .filter(|(n, _)| !is_kept(*n))
            .filter_map(|(_, change)| match change {
                Change::Added { by_rename, .. } => *by_rename,
                _ => None,
            })
            .collect();
        for (n, change) in pending.into_iter().enumerate() {
            match &change {
                Change::Removed { by_rename: Some(rename), .. }
                    if is_kept(n) && lost_additions.contains(rename) =>
                {
                    return None;
                }
                _ if is_kept(n) => state.harden(change),
                _ => {}
            }
        }
        state.live = state.durable.clone();
        for (live, durable) in state.files.values_mut() {
            *live = durable.clone();
        }
        Some(Disk { state: Arc::new(Mutex::new(state)), control: Arc::default() })
    }
}

impl State {
    fn new_file_in(&mut self, dir: Dir) -> u64 {
        self.next_inode += 1;
        self.files.insert(self.next_inode, Default::default());
        if device(dir) == 2 {
            self.foreign.insert(self.next_inode);
        }
        self.next_inode
    }

    /// The directory that is seen in its place.
    fn reach(&self, dir: Dir) -> io::Result<Dir> {
        match self.away.filter(|_| device(dir) == 2) {
            None => Ok(dir),
            Some(Away::Nothing) => Err(io::ErrorKind::NotFound.into()),
            Some(Away::EmptyDirectory) => Ok(MOUNT_POINT),
        }
    }

    /// Two changes a write: the first half can reach the disk without the second, and the other way round.
    fn write(&mut self, inode: u64, offset: usize, bytes: &[u8]) {
        self.ticks += 1;
        self.times.insert(inode, (self.ticks, self.ticks));
        put(&mut self.files.get_mut(&inode).unwrap().0, offset, bytes);
        let (a, b) = bytes.split_at(bytes.len() / 2);
        self.pending.push(Change::Data { inode, offset, bytes: a.to_vec() });
        self.pending.push(Change::Data { inode, offset: offset + a.len(), bytes: b.to_vec() });
    }

    fn add(&mut self, dir: Dir, name: &OsStr, inode: u64, by_rename: Option<u64>) {
        self.ticks += 1;
        self.times.entry(inode).or_default().1 = self.ticks;
        self.live.entry(dir).or_default().insert(name.to_owned(), inode);
        self.pending.push(Change::Added { dir, name: name.to_owned(), inode, by_rename });
    }

    fn remove(&mut self, dir: Dir, name: &OsStr, by_rename: Option<u64>) {
        self.live.entry(dir).or_default().remove(name);
        self.pending.push(Change::Removed { dir, name: name.to_owned(), by_rename });
    }

    fn lookup(&self, dir: Dir, name: &OsStr) -> io::Result<u64> {
        let dir = self.reach(dir)?;
        let found = self.live.get(&dir).and_then(|names| names.get(name)).copied();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn move_name(&mut self, from: Dir, old: &OsStr, to: Dir, new: &OsStr) -> io::Result<()> {
        let inode = self.lookup(from, old)?;
        if new.as_encoded_bytes().ends_with(b".taken")
            && let Some(bytes) = self.written_when_taken.remove(&inode)
        {
            self.write(inode, self.files[&inode].0.len(), &bytes);
        }
        self.next_rename += 1;
        let rename = Some(self.next_rename);
        self.add(to, new, inode, rename);
        self.remove(from, old, rename);
        Ok(())
    }

    /// Makes durable what `covers` says, in the order in which it happened.
    fn sync(&mut self, covers: impl Fn(&Change) -> bool) {
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending).into_iter().partition(covers);
        self.pending = later;
        for change in now {
            // What is durable without its other half has no other half to wait for.
            self.harden(change);
        }
    }

    fn harden(&mut self, change: Change) {
        match change {
            Change::Data { inode, offset, bytes } => {
                put(&mut self.files.get_mut(&inode).unwrap().1, offset, &bytes)
            }
            Change::Added { dir, name, inode, .. } => {
                self.durable.entry(dir).or_default().insert(name, inode);
            }
            Change::Removed { dir, name, .. } => {
                self.durable.entry(dir).or_default().remove(&name);
            }
        }
    }
}

/// Writes at an offset; a gap reads as zeros.
fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if file.len() < offset + bytes.len() {
        file.resize(offset + bytes.len(), 0);
    }
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Fs for Disk {
    fn list(&self, dir: Dir, visit: &mut dyn FnMut(&OsStr, u64)) -> io::Result<()> {
        self.call(|| format!("list {}", dir.name()))?;
        let names = {
            let state = self.state();
            let dir = state.reach(dir)?;
            state.live.get(&dir).cloned().unwrap_or_default()
        };
        names.iter().for_each(|(name, inode)| visit(name, *inode));
        Ok(())
    }

    fn stat(&self, dir: Dir, name: &OsStr) -> io::Result<Stat> {
        self.call(|| format!("stat {}/{}", dir.name(), name.display()))?;
        if name == "." {
            let seen = self.state().reach(dir)?;
            let id = FileId { device: device(seen), inode: u64::from(seen == MOUNT_POINT) };
            let (kind, mode, owner) = (Kind::Directory, 0o700, 0);
            return Ok(Stat { id, kind, links: 2, size: 0, modified: (0, 0), changed: (0, 0), mode, owner });
        }
        let inode = self.state().lookup(dir, name)?;
        Ok(self.state().stat(inode))
    }

    fn open(&self, dir: Dir, name: &OsStr) -> io::Result<Box<dyn File>> {
        self.call(|| format!("open {}/{}", dir.name(), name.display()))?;
        let inode = self.state().lookup(dir, name)?;
        Ok(Box::new(Open { disk: self.clone(), inode }))
    }

    fn create(&self, dir: Dir, name: &OsStr) -> io::Result<Box<dyn File>> {
        self.call(|| format!("create {}/{}", dir.name(), name.display()))?;
        let mut state = self.state();
        if state.lookup(dir, name).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.new_file_in(dir);
        state.add(dir, name, inode, None);
        Ok(Box::new(Open { disk: self.clone(), inode }))
    }

    fn rename(&self, from: Dir, old: &OsStr, to: Dir, new: &OsStr) -> io::Result<()> {
        self.call(|| format!("rename {}/{} {}/{}", from.name(), old.display(), to.name(), new.display()))?;
        let mut state = self.state();
        if device(from) != device(to) {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        if state.lookup(to, new).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.move_name(from, old, to, new)
    }

    fn link(&self, from: Dir, old: &OsStr, to: Dir, new: &OsStr) -> io::Result<()> {
        self.call(|| format!("link {}/{} {}/{}", from.name(), old.display(), to.name(), new.display()))?;
        let mut state = self.state();
        if state.lookup(to, new).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.lookup(from, old)?;
        state.add(to, new, inode, None);
        Ok(())
    }

    fn replace(&self, dir: Dir, old: &OsStr, new: &OsStr) -> io::Result<()> {
        self.call(|| format!("replace {}/{} {}", dir.name(), old.display(), new.display()))?;
        self.state().move_name(dir, old, dir, new)
    }

    fn unlink(&self, dir: Dir, name: &OsStr) -> io::Result<()> {
        self.call(|| format!("unlink {}/{}", dir.name(), name.display()))?;
        let mut state = self.state();
        state.lookup(dir, name)?;
        state.remove(dir, name, None);
        Ok(())
    }

    fn sync_dir(&self, dir: Dir, site: SyncSite) -> io::Result<()> {
        self.call(|| format!("sync {}/ ({})", dir.name(), site.number))?;
        let dir = self.state().reach(dir)?;
        if self.control.lock().unwrap().ignored_site != Some(site.number) {
            self.state().sync(|change| match change {
                Change::Added { dir: d, .. } | Change::Removed { dir: d, .. } => *d == dir,
                Change::Data { .. } => false,
            });
        }
        Ok(())
    }

    fn room(&self) -> io::Result<Room> {
        Ok(Room { bytes: 1 << 40, inodes: None })
    }

    fn refresh(&self, dir: Dir) -> io::Result<bool> {
        self.state().reach(dir).map(|_| false)
    }

    fn outside(&self, path: &Path) -> Dir {
        let known = [FOLDER, FOREIGN_FOLDER, OUTCOMES].map(Path::new);
        Dir::Outside(known.iter().position(|p| *p == path).unwrap() as u16)
    }
}

/// A folder on the filesystem of the spool, and one on another.
pub(crate) const FOLDER: &str = "/srv/folder";
pub(crate) const FOREIGN_FOLDER: &str = "/mnt/folder";
/// Where producers learn what became of their files.
pub(crate) const OUTCOMES: &str = "/mnt/outcomes";
pub(crate) const OUTCOMES_DIR: Dir = Dir::Outside(2);
pub(crate) const FOLDERS: [Dir; 2] = [Dir::Outside(0), Dir::Outside(1)];

const MOUNT_POINT: Dir = Dir::Outside(9);

/// Which filesystem a directory is on.
fn device(dir: Dir) -> u64 {
    if dir == FOLDERS[1] || dir == OUTCOMES_DIR { 2 } else { 1 }
}

impl State {
    fn stat(&self, inode: u64) -> Stat {
        let links = self.live.values().flat_map(|names| names.values()).filter(|i| **i == inode).count();
        Stat {
            id: FileId { device: 1 + u64::from(self.foreign.contains(&inode)), inode },
            kind: Kind::File,
            links: links as u64 + u64::from(self.linked.contains(&inode)),
            size: self.files[&inode].0.len() as u64,
            modified: (self.times[&inode].0, 0),
            changed: (self.times[&inode].1, 0),
            mode: 0o640,
            owner: 0,
        }
    }
}

impl File for Open {
    fn stat(&self) -> io::Result<Stat> {
        self.disk.call(|| format!("fstat {}", self.inode))?;
        Ok(self.disk.state().stat(self.inode))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.call(|| format!("read {}", self.inode))?;
        let state = self.disk.state();
        let rest = state.files[&self.inode].0.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.call(|| format!("write {} ({})", self.inode, bytes.len()))?;
        let mut state = self.disk.state();
        let offset = state.files[&self.inode].0.len();
        state.write(self.inode, offset, bytes);
        Ok(())
    }

    fn reserve(&mut self, _bytes: u64) -> io::Result<bool> {
        self.disk.call(|| format!("reserve {}", self.inode)).map(|()| true)
    }

    fn trim(&mut self) -> io::Result<()> {
        self.disk.call(|| format!("trim {}", self.inode))
    }

    fn sync(&self, site: SyncSite) -> io::Result<()> {
        self.disk.call(|| format!("sync {} ({})", self.inode, site.number))?;
        if self.disk.control.lock().unwrap().ignored_site != Some(site.number) {
            let inode = self.inode;
            self.disk.state().sync(|change| matches!(change, Change::Data { inode: i, .. } if *i == inode));
        }
        Ok(())
    }

    fn shut_out_writers(&self) -> Writer {
        if self.disk.state().writers.contains(&self.inode) { Writer::Present } else { Writer::None }
    }
}
