//! What the operating system says about `pickup/`: hints, never the truth.

use std::ffi::OsString;
use std::path::Path;
use std::sync::mpsc::Sender;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RemoveKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

/// Something may have happened in `pickup/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// This name came in by a rename: its producer is done with it.
    RenamedIn(OsString),
    /// This name was made in place.
    Created(OsString),
    /// Somebody who had written to this file has closed it.
    Closed(OsString),
    /// Events were lost, or the directory itself was moved: look at everything.
    Rescan,
    /// The service ends.
    Stop,
}

/// Watches until dropped.
#[derive(Debug)]
pub struct Watch {
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Watches `directory`; every event that may mean a message becomes a hint.
    ///
    /// # Errors
    ///
    /// If it cannot be watched (no watches left, a filesystem without events): the caller must look by itself.
    pub fn start(directory: &Path, hints: Sender<Hint>) -> notify::Result<Watch> {
        // Events carry absolute paths, also where the directory was named by a relative one.
        let directory = std::path::absolute(directory).map_err(notify::Error::io)?;
        let watched = directory.clone();
        // The handler runs on notify's thread: it only translates and sends.
        let handler = move |event: notify::Result<Event>| {
            for hint in translate(event, &watched) {
                // Nobody listens any more when the service ends.
                if hints.send(hint).is_err() {
                    return;
                }
            }
        };
        let mut watcher = notify::recommended_watcher(handler)?;
        watcher.watch(&directory, RecursiveMode::NonRecursive)?;
        Ok(Watch { _watcher: watcher })
    }
}

fn translate(event: notify::Result<Event>, watched: &Path) -> Vec<Hint> {
    let Ok(event) = event else { return vec![Hint::Rescan] };
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
        assert_eq!(next(), Hint::Closed("a.eml".into()));
        assert_eq!(next(), Hint::RenamedIn("b.eml".into()));
        let overflow = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        assert_eq!(translate(Ok(overflow), folder.path()), [Hint::Rescan]);
    }
}
