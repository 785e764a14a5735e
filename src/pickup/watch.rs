//! What the operating system says about `pickup/`: hints, never the truth.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RemoveKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

/// Something may have happened in `pickup/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// This name came in by a rename: its producer is done with it.
    RenamedIn(OsString),
    /// This name is new: it was made in place, or linked in.
    Created(OsString),
    /// Somebody has opened this file.
    Opened(OsString),
    /// Somebody who had written to this file has closed it.
    Closed(OsString),
    /// Events were lost, or the directory itself was moved: look at everything.
    Rescan,
    /// The watcher has died.
    Unwatched,
    /// Something in the folder with this number, counted from 1.
    In {
        /// Its number.
        folder: usize,
        /// What.
        hint: Box<Hint>,
    },
    /// Somebody asks whether rounds are still made.
    Ping,
    /// The service ends.
    Stop,
}

/// Watches until dropped, or until it says [`Hint::Unwatched`].
#[derive(Debug)]
pub struct Watch {
    _watcher: RecommendedWatcher,
    is_wanted: Arc<AtomicBool>,
}

/// Lives as long as notify's thread, on which it only translates and sends.
struct Ears {
    watched: PathBuf,
    /// 0 for `pickup/`.
    folder: usize,
    hints: Sender<Hint>,
    is_wanted: Arc<AtomicBool>,
}

impl Ears {
    fn hear(&self, event: notify::Result<Event>) {
        match event {
            Ok(event) => translate(&event, &self.watched).into_iter().for_each(|hint| self.send(hint)),
            Err(_) => self.is_deaf(),
        }
    }

    /// Said once: notify repeats an error of the system for as long as it lasts.
    fn is_deaf(&self) {
        if self.is_wanted.swap(false, Ordering::AcqRel) {
            self.send(Hint::Unwatched);
        }
    }

    fn send(&self, hint: Hint) {
        let hint = match self.folder {
            0 => hint,
            folder => Hint::In { folder, hint: Box::new(hint) },
        };
        // Nobody listens any more when the service ends.
        drop(self.hints.send(hint));
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.is_deaf();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_wanted.store(false, Ordering::Release);
    }
}

impl Watch {
    /// Watches `directory`, which is `pickup/`; every event that may mean a message becomes a hint.
    ///
    /// # Errors
    ///
    /// If it cannot be watched (no watches left, a filesystem without events): the caller must look by itself.
    pub fn start(directory: &Path, hints: Sender<Hint>) -> notify::Result<Watch> {
        Watch::start_for(0, directory, hints)
    }

    /// The same for the folder with this number, counted from 1.
    pub(super) fn start_for(folder: usize, directory: &Path, hints: Sender<Hint>) -> notify::Result<Watch> {
        // Events carry absolute paths, also where the directory was named by a relative one.
        let directory = std::path::absolute(directory).map_err(notify::Error::io)?;
        let is_wanted = Arc::new(AtomicBool::new(true));
        let ears = Ears { watched: directory.clone(), folder, hints, is_wanted: is_wanted.clone() };
        let mut watcher = notify::recommended_watcher(move |event| ears.hear(event))?;
        watcher.watch(&directory, RecursiveMode::NonRecursive)?;
        Ok(Watch { _watcher: watcher, is_wanted })
    }
}

fn translate(event: &Event, watched: &Path) -> Vec<Hint> {
    if event.need_rescan() {
        return vec![Hint::Rescan];
    }
    let names = |hint: fn(OsString) -> Hint| -> Vec<Hint> {
        let inside = event.paths.iter().filter(|path| path.parent() == Some(watched));
        inside.filter_map(|path| path.file_name()).map(|name| hint(name.to_owned())).collect()
    };
    let about_directory = event.paths.iter().any(|path| path == watched);
    match event.kind {
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => names(Hint::RenamedIn),
        EventKind::Create(CreateKind::File | CreateKind::Any | CreateKind::Other) => names(Hint::Created),
        EventKind::Access(AccessKind::Open(_)) => names(Hint::Opened),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => names(Hint::Closed),
        EventKind::Remove(RemoveKind::Folder) | EventKind::Modify(ModifyKind::Name(_)) if about_directory => {
            vec![Hint::Rescan]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_named_by_a_relative_path_is_heard_of() {
        let folder = tempfile::tempdir().unwrap();
        let mut relative = std::path::PathBuf::new();
        relative.extend(std::env::current_dir().unwrap().components().skip(1).map(|_| ".."));
        relative.extend(folder.path().components().skip(1));
        let (sender, hints) = std::sync::mpsc::channel();
        let _watch = Watch::start(&relative, sender).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the test plays the producer")]
        std::fs::write(folder.path().join("a.eml"), "x").unwrap();
        let heard = hints.recv_timeout(std::time::Duration::from_secs(10));
        assert_eq!(heard, Ok(Hint::Created("a.eml".into())));
    }

    #[test]
    fn a_rename_a_file_in_place_and_an_overflow_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, hints) = std::sync::mpsc::channel();
        let _watch = Watch::start(folder.path(), sender).unwrap();
        let next = || hints.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the test plays the producer")]
        {
            std::fs::write(folder.path().join("a.eml"), "x").unwrap();
            std::fs::rename(folder.path().join("a.eml"), folder.path().join("b.eml")).unwrap();
        }
        assert_eq!(next(), Hint::Created("a.eml".into()));
        assert_eq!(next(), Hint::Opened("a.eml".into()));
        assert_eq!(next(), Hint::Closed("a.eml".into()));
        assert_eq!(next(), Hint::RenamedIn("b.eml".into()));
        std::fs::hard_link(folder.path().join("b.eml"), folder.path().join("c.eml")).unwrap();
        assert_eq!(next(), Hint::Created("c.eml".into()));
        let overflow = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        assert_eq!(translate(&overflow, folder.path()), [Hint::Rescan]);
    }

    #[test]
    fn a_watcher_that_dies_says_so_and_one_that_is_not_wanted_does_not() {
        let ears = || {
            let (hints, heard) = std::sync::mpsc::channel();
            let is_wanted = Arc::new(AtomicBool::new(true));
            let ears = Ears { watched: "/x".into(), folder: 0, hints, is_wanted: is_wanted.clone() };
            (ears, is_wanted, heard)
        };
        let (deaf, _, heard) = ears();
        deaf.hear(Err(notify::Error::generic("EBADF")));
        deaf.hear(Err(notify::Error::generic("EBADF")));
        drop(deaf);
        assert_eq!(heard.iter().collect::<Vec<_>>(), [Hint::Unwatched]);
        // notify's thread has panicked.
        let (dead, _, heard) = ears();
        std::thread::spawn(move || {
            let _ears = dead;
            panic!("this is part of the test");
        })
        .join()
        .unwrap_err();
        assert_eq!(heard.iter().collect::<Vec<_>>(), [Hint::Unwatched]);
        let (unwanted, is_wanted, heard) = ears();
        is_wanted.store(false, Ordering::Release);
        drop(unwanted);
        assert_eq!(heard.iter().count(), 0);
    }
}
