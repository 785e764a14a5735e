//! What a crash, or trouble with a folder, left where files are dropped: files under hidden names whose copies are in
//! `pending/`, and second names of files that were accepted.
//!
//! Recovery does this for `pickup/` and for every folder that can be looked at then. A folder that cannot is *unsettled*:
//! its copies wait, nothing is accepted from it, and [`Spool::settle`] does the same for it alone once it is there again.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::{MutexGuard, PoisonError};

use super::accept::Accepted;
use super::line::Waiting;
use super::name::{Name, record_name};
use super::recover::Found;
use super::sync::{RECOVER_FOLDER, RECOVER_PENDING, RECOVER_PICKUP};
use super::{Spool, SpoolError};
use crate::fs::{Dir, Kind, Stat};
use crate::mail::QueueId;

/// A directory in which files are dropped, as it is found.
pub(super) struct Drops {
    pub(super) dir: Dir,
    /// Its name in the configuration; `pickup/` has none.
    pub(super) folder: Option<String>,
    /// Hidden names of files that were copied.
    taken: Vec<Name>,
    /// What copies of files in this very directory have in their names.
    tags: Vec<String>,
    /// Names and inodes; `None` if the directory is not there, or cannot be looked at.
    pub(super) dropped: Option<Vec<(OsString, u64)>>,
}

impl Drops {
    fn has(&self, of: &str) -> bool {
        self.tags.iter().any(|tag| tag == of)
    }
}

/// Whose trouble a failed call is.
enum Trouble {
    /// The folder's: it has to wait, and nobody else.
    Folder(io::Error),
    Spool(SpoolError),
}

impl Spool {
    /// The folders besides `pickup/`, by their names in the configuration; to be set before [`Spool::recover`].
    pub fn set_folders(&self, folders: Vec<(String, Dir)>) {
        *self.folders.lock().unwrap_or_else(PoisonError::into_inner) = folders;
    }

    /// `pickup/`, and the folders.
    pub(super) fn drop_dirs(&self) -> Vec<Dir> {
        std::iter::once(Dir::Pickup).chain(self.folders().into_iter().map(|(_, dir)| dir)).collect()
    }

    fn folders(&self) -> Vec<(String, Dir)> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the copy of a file in `from` has in its name: the folder, and the inode of the directory. Where nothing is mounted
    /// another directory has that place, and must not be taken for it.
    pub(super) fn copy_of(&self, from: Dir, file: &Stat) -> io::Result<String> {
        if from == Dir::Pickup && self.is_at_home(file) {
            return Ok(String::new());
        }
        let folder = self.folders().into_iter().find(|(_, dir)| *dir == from).map(|(folder, _)| folder);
        self.tag(folder.as_deref(), from)
    }

    fn tag(&self, folder: Option<&str>, dir: Dir) -> io::Result<String> {
        let inode = self.fs.stat(dir, OsStr::new("."))?.id.inode;
        // No folder is called pickup.
        Ok(format!("{}.{inode}", folder.unwrap_or("pickup")))
    }

    fn unsettled(&self) -> MutexGuard<'_, BTreeMap<Dir, Vec<Name>>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something that was begun in this folder could not be finished.
    pub fn is_unsettled(&self, dir: Dir) -> bool {
        self.unsettled().contains_key(&dir)
    }

    /// Nothing more is accepted from this folder before it is settled. Of `named` only the hidden names are left.
    pub(super) fn unsettle<'a>(
        &self,
        dir: Dir,
        named: impl Iterator<Item = &'a Name>,
        error: &dyn std::fmt::Display,
    ) {
        tracing::warn!(
            folder = self.fs.place(dir),
            %error,
            hint = "what was accepted from it is safe; nothing more is until it can be read and written again",
            "folder-unsettled"
        );
        self.unsettled().entry(dir).or_default().extend(named.cloned());
    }

    /// What lies in `pickup/` and in every folder.
    ///
    /// # Errors
    ///
    /// That `pickup/` cannot be read. A folder that cannot is for later.
    pub(super) fn look_at_all_drops(&self) -> Result<Vec<Drops>, SpoolError> {
        let pickup = self.look_at_drops(None, Dir::Pickup)?;
        let folders = self.folders().into_iter().map(|(name, dir)| self.look_at_drops(Some(name), dir));
        std::iter::once(Ok(pickup)).chain(folders).collect()
    }

    fn look_at_drops(&self, folder: Option<String>, dir: Dir) -> Result<Drops, SpoolError> {
        let mut drops = Drops { dir, folder, taken: Vec::new(), tags: Vec::new(), dropped: None };
        let (mut dropped, mut taken) = (Vec::new(), Vec::new());
        let listed = self.fs.list(dir, &mut |file, inode| match Name::parse_taken(file) {
            Some(name) => taken.push(name),
            None => dropped.push((file.to_owned(), inode)),
        });
        match listed {
            Err(e) if dir != Dir::Pickup || e.kind() == io::ErrorKind::NotFound => return Ok(drops),
            Err(e) => return Err(SpoolError::new(format!("list {}/", dir.name()), e)),
            Ok(()) => {}
        }
        // Anybody who may drop can make such a name; ours are regular files.
        let is_file = |name: &Name| {
            let stat = self.fs.stat(dir, OsStr::new(&name.taken()));
            stat.is_ok_and(|stat| stat.kind == Kind::File)
        };
        taken.retain(is_file);
        let tag = match self.tag(drops.folder.as_deref(), dir) {
            Ok(tag) => tag,
            Err(_) if dir != Dir::Pickup => return Ok(drops),
            Err(e) => return Err(SpoolError::new(format!("look at {}/", dir.name()), e)),
        };
        drops.tags = std::iter::once(tag).chain((dir == Dir::Pickup).then(String::new)).collect();
        (drops.taken, drops.dropped) = (taken, Some(dropped));
        Ok(drops)
    }

    /// Files that were being copied: where the name that was dropped was given up, the copy is whole and becomes the message;
    /// where it was not, the copy goes. Returns hidden names that are not ours; a folder that cannot be dealt with is
    /// unsettled.
    ///
    /// # Errors
    ///
    /// The disk call that failed in the spool.
    pub(super) fn complete_copies(&self, found: &mut Found) -> Result<Vec<(Dir, OsString)>, SpoolError> {
        let mut strangers = Vec::new();
        for mut drops in std::mem::take(&mut found.drops) {
            match self.complete(&mut drops, found) {
                Ok(not_ours) => {
                    strangers.extend(not_ours);
                    self.unsettled().remove(&drops.dir);
                }
                Err(Trouble::Spool(error)) => return Err(error),
                Err(Trouble::Folder(error)) => {
                    drops.dropped = None;
                    // One that is away is told of by its pickup, unless something waits for it.
                    self.unsettled().entry(drops.dir).or_default();
                    let begin = format!("{}.", drops.folder.as_deref().unwrap_or("pickup"));
                    if found.copies.iter().any(|(_, of)| of.starts_with(&begin)) {
                        self.unsettle(drops.dir, std::iter::empty(), &error);
                    }
                }
            }
            found.drops.push(drops);
        }
        for (name, of) in std::mem::take(&mut found.copies) {
            // The rename to the message's name can have left this one. Else without its folder nobody knows whether it is
            // needed; and what is seen may be a directory on which nothing is mounted.
            let is_left = found.has(&name);
            if is_left || found.drops.iter().any(|drops| drops.dropped.is_some() && drops.has(&of)) {
                self.take_away(Dir::Pending, &name.copy(&of))?;
                continue;
            }
            strangers.push((Dir::Pending, name.copy(&of).into()));
            found.copies.push((name, of));
        }
        Ok(strangers)
    }

    fn complete(&self, drops: &mut Drops, found: &mut Found) -> Result<Vec<(Dir, OsString)>, Trouble> {
        let Some(dropped) = &drops.dropped else {
            return match drops.dir {
                Dir::Pickup => Ok(Vec::new()),
                _ => Err(Trouble::Folder(io::Error::other("it cannot be looked at"))),
            };
        };
        // After a kill what is seen need not be on the disk. pickup/ was synced with the others.
        if drops.dir != Dir::Pickup {
            self.fs.sync_dir(drops.dir, RECOVER_FOLDER).map_err(Trouble::Folder)?;
        }
        let (mut strangers, mut finished) = (Vec::new(), Vec::new());
        let was_named = self.unsettled().get(&drops.dir).cloned().unwrap_or_default();
        for name in std::mem::take(&mut drops.taken) {
            // The rename of the copy can have left its hidden name: that one goes below.
            if found.has(&name) || was_named.contains(&name) {
                finished.push(name);
            } else if let Some(at) =
                found.copies.iter().position(|(copy, of)| *copy == name && drops.tags.contains(of))
            {
                let ours = found.copies.swap_remove(at);
                self.give_up_name(drops.dir, dropped, &name)?;
                let inode = self.complete_copy(&ours).map_err(Trouble::Spool)?;
                found.pending.insert(name.id, (name.clone(), inode));
                found.completed.push(name.clone());
                finished.push(name);
            } else {
                strangers.push((drops.dir, name.taken().into()));
            }
        }
        for name in &finished {
            let doing = || format!("remove {}", name.taken());
            self.unlink_taken(drops.dir, name).map_err(|e| self.trouble(drops.dir, doing(), e))?;
        }
        if !finished.is_empty() {
            self.sync_drops(drops.dir)?;
        }
        Ok(strangers)
    }

    /// The copy becomes the message, durably; its inode.
    fn complete_copy(&self, (name, of): &(Name, String)) -> Result<u64, SpoolError> {
        self.name_copy(&name.copy(of), name)?;
        self.sync_dir(Dir::Pending, RECOVER_PENDING)?;
        let text = name.to_string();
        let stat = self.fs.stat(Dir::Pending, OsStr::new(&text));
        Ok(stat.map_err(self.failed_to("look at", Dir::Pending, &text))?.id.inode)
    }

    /// The rename to the hidden name can have left the name that the producer gave. The file may have further names that are
    /// drops of their own, so only one with the same label is taken for it.
    fn give_up_name(&self, dir: Dir, dropped: &[(OsString, u64)], name: &Name) -> Result<(), Trouble> {
        let taken = name.taken();
        let stat = self.fs.stat(dir, OsStr::new(&taken));
        let inode = stat.map_err(|e| self.trouble(dir, format!("look at {taken}"), e))?.id.inode;
        let is_it = |dropped: &OsStr| Name::new(name.id, name.accepted, dropped) == *name;
        let left: Vec<_> = dropped.iter().filter(|(file, i)| *i == inode && is_it(file)).collect();
        for (file, _) in &left {
            let doing = || format!("remove {}", file.display());
            self.fs.unlink(dir, file).map_err(|e| self.trouble(dir, doing(), e))?;
        }
        match left.is_empty() {
            true => Ok(()),
            false => self.sync_drops(dir),
        }
    }

    fn sync_drops(&self, dir: Dir) -> Result<(), Trouble> {
        match dir {
            Dir::Pickup => self.sync_dir(dir, RECOVER_PICKUP).map_err(Trouble::Spool),
            _ => self.fs.sync_dir(dir, RECOVER_FOLDER).map_err(Trouble::Folder),
        }
    }

    fn trouble(&self, dir: Dir, doing: String, error: io::Error) -> Trouble {
        match dir {
            Dir::Outside(_) => Trouble::Folder(error),
            _ => Trouble::Spool(self.fault(SpoolError::new(doing, error))),
        }
    }

    /// A file that accept had moved when the power went can still have its old name. It is known by its inode:
    /// the directory tells that for nothing, and only a match is looked at closely.
    ///
    /// # Errors
    ///
    /// The disk call that failed in `pickup/`.
    pub(super) fn drop_accepted_names(&self, found: &Found) -> Result<Vec<OsString>, SpoolError> {
        let mut gone = Vec::new();
        for drops in &found.drops {
            match self.drop_accepted_from(drops, found) {
                Ok(names) => gone.extend(names),
                Err(Trouble::Spool(error)) => return Err(error),
                Err(Trouble::Folder(error)) => self.unsettle(drops.dir, std::iter::empty(), &error),
            }
        }
        Ok(gone)
    }

    fn drop_accepted_from(&self, drops: &Drops, found: &Found) -> Result<Vec<OsString>, Trouble> {
        let Some(dropped) = drops.dropped.as_ref().filter(|dropped| !dropped.is_empty()) else {
            return Ok(Vec::new());
        };
        let all =
            [(Dir::Pending, &found.pending), (Dir::Sending, &found.sending), (Dir::Failed, &found.failed)];
        let ours: BTreeMap<u64, (Dir, &Name)> = all
            .into_iter()
            .flat_map(|(dir, names)| names.values().map(move |(name, inode)| (*inode, (dir, name))))
            .collect();
        let mut gone = Vec::new();
        for (name, inode) in dropped {
            let Some((dir, accepted)) = ours.get(inode) else { continue };
            let identity = |dir, name: &OsStr| self.fs.stat(dir, name).map(|stat| stat.id).ok();
            let accepted = accepted.to_string();
            let is_same =
                identity(drops.dir, name).filter(|id| Some(*id) == identity(*dir, OsStr::new(&accepted)));
            if is_same.is_some() {
                let doing = || format!("remove {}", name.display());
                self.fs.unlink(drops.dir, name).map_err(|e| self.trouble(drops.dir, doing(), e))?;
                gone.push(name.clone());
            }
        }
        match gone.is_empty() {
            true => Ok(gone),
            false => self.sync_drops(drops.dir).map(|()| gone),
        }
    }

    /// Another directory than before is where this folder is, or it is there again: it is looked at by [`Spool::settle`] as if
    /// something had been begun there.
    pub fn look_again_at(&self, dir: Dir) {
        self.unsettled().entry(dir).or_default();
    }

    /// Finishes what was begun in a folder and could not be, if there is any such thing, and returns what was accepted by
    /// that. [`Spool::is_unsettled`] tells whether the folder still is.
    ///
    /// # Errors
    ///
    /// A disk call of the spool that failed half-way.
    pub fn settle(&self, dir: Dir) -> Result<Vec<Accepted>, SpoolError> {
        self.check_sound()?;
        if !self.is_unsettled(dir) {
            return Ok(Vec::new());
        }
        let folder = self.folders().into_iter().find(|(_, d)| *d == dir).map(|(folder, _)| folder);
        let mut found = self.look_at_messages()?;
        // One that went back to the line meanwhile.
        found.pending.extend(self.look_at_messages()?.pending);
        let mut drops = self.look_at_drops(folder, dir)?;
        if dir == Dir::Pickup {
            self.sync_dir(dir, RECOVER_PICKUP)?;
        }
        let settled = self.complete(&mut drops, &mut found);
        let settled =
            settled.and_then(|strangers| self.drop_accepted_from(&drops, &found).map(|_| strangers));
        let completed = std::mem::take(&mut found.completed);
        let names = completed.clone();
        let accepted = completed.into_iter().map(|name| self.put_in_line(name)).collect::<Result<_, _>>()?;
        match settled {
            Ok(strangers) => self.tell_strangers(&strangers),
            Err(Trouble::Folder(error)) => {
                tracing::debug!(folder = self.fs.place(dir), %error, "folder-still-unsettled");
                // Their hidden names may be left.
                self.unsettled().entry(dir).or_default().extend(names);
                return Ok(accepted);
            }
            Err(Trouble::Spool(error)) => return Err(error),
        }
        for (name, of) in found.copies.iter().filter(|(_, of)| drops.has(of)) {
            self.take_away(Dir::Pending, &name.copy(of))?;
            if !found.has(name) {
                self.take_away(Dir::Meta, &record_name(name.id))?;
            }
        }
        self.unsettled().remove(&dir);
        tracing::debug!(folder = self.fs.place(dir), "folder-settled");
        Ok(accepted)
    }

    fn put_in_line(&self, name: Name) -> Result<Accepted, SpoolError> {
        let id: QueueId = name.id;
        let record = self.record_if_any(id);
        let record = record
            .map_err(|why| SpoolError::new(format!("read {}", record_name(id)), io::Error::other(why)))?;
        let stat = self.fs.stat(Dir::Pending, OsStr::new(&name.to_string()));
        let size = stat.map_err(self.failed_to("look at", Dir::Pending, &name.to_string()))?.size;
        self.line().insert(Waiting { name: name.clone(), has_record: record.is_some() }, None);
        Ok(Accepted { name, size, refused: None })
    }

    fn tell_strangers(&self, strangers: &[(Dir, OsString)]) {
        for (dir, name) in strangers {
            tracing::warn!(
                dir = self.fs.place(*dir),
                file = %name.display(),
                hint = "its message has left, or somebody has taken the copy: remove it, or rename it to have it sent",
                "stranger"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::fs::Fs as _;
    use crate::mail::UnixTime;
    use crate::spool::tests::{Bench, names};
    use crate::spool::{Candidate, NotAccepted, Source};

    /// What fails in the folder, whether its file is accepted all the same, and how many are when it is settled.
    const ROWS: [(&str, bool, usize); 3] = [("sync_dir", false, 1), ("stat", false, 1), ("unlink", true, 0)];

    #[test]
    fn a_folder_that_fails_alone_keeps_nobody_and_is_settled_when_it_is_mended() {
        let device = |path: &std::path::Path| std::fs::metadata(path).map(|stat| stat.dev()).ok();
        let home = device(&std::env::temp_dir());
        let there = tempfile::tempdir_in("/dev/shm").ok().filter(|there| device(there.path()) != home);
        let Some(there) = there else {
            println!("SKIPPED: /dev/shm is no other filesystem here");
            return;
        };
        let bench = Bench::new();
        let dir = bench.disk.outside(there.path());
        bench.spool.set_folders(vec![("there".to_owned(), dir)]);
        bench.spool.recover().unwrap();
        let source = Source { dir, ..Source::default() };
        for (what, is_accepted, settled) in ROWS {
            let mut file = bench.disk.create(dir, OsStr::new(what)).unwrap();
            file.append(b"To: a@example.com\n\ntext\n").unwrap();
            drop(file);
            // The first look at a file is that at the directory, for the name of the copy.
            let seen = std::cell::Cell::new(if what == "stat" { 1 } else { 0 });
            bench.disk.ask_first(move |call, of| {
                let is_it = (call, of) == (what, dir) && seen.replace(seen.get().max(1) - 1) == 0;
                is_it.then(|| io::Error::other("the cable is loose"))
            });
            let candidate = Candidate { name: what.into(), settled: true, rested: true, holds: false };
            let results =
                bench.spool.accept_from(&source, &[candidate], UnixTime::from_secs(1), &|_, _| None);
            match &results.unwrap()[..] {
                [Ok(_)] => assert!(is_accepted, "{what}"),
                [Err(NotAccepted::Unsettled)] => assert!(!is_accepted, "{what}"),
                other => panic!("{what}: {other:?}"),
            }
            assert!(bench.spool.is_unsettled(dir) && !bench.spool.is_faulted(), "{what}");
            // Everybody else goes on.
            assert!(matches!(bench.drop_and_accept(&[&format!("beside-{what}")])[..], [Ok(_)]), "{what}");
            bench.disk.mend();
            assert_eq!(bench.spool.settle(dir).unwrap().len(), settled, "{what}");
            assert!(!bench.spool.is_unsettled(dir), "{what}");
            let mut left = 0;
            bench.disk.list(dir, &mut |_, _| left += 1).unwrap();
            assert_eq!(left, 0, "{what}");
        }
        let accepted = names(&bench.spool, Dir::Pending);
        assert_eq!(accepted.len(), 6, "{accepted:?}");
        assert_eq!(bench.spool.counts().in_line, 6);
    }
}
