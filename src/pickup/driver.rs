//! The thread of the pickup: waits for hints and for the next look.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::{Hint, Pickup, Watch};
use crate::fs::Clock;
use crate::mail::Monotonic;
use crate::spool::{Accepted, Spool, SpoolError};

/// Told after each round of what was accepted in it, in order; mostly nothing.
pub type OnAccepted = Box<dyn FnMut(Vec<Accepted>) -> Result<(), SpoolError> + Send>;

/// How long an attempt to watch again is put off after it failed.
const WATCH_RETRY: Duration = Duration::from_secs(60);

/// Runs a [`Pickup`] for each folder until it is told to stop.
pub struct Driver {
    spool: Arc<Spool>,
    clock: Arc<dyn Clock>,
    /// `pickup/` first.
    folders: Vec<Folder>,
    sender: Sender<Hint>,
    hints: Receiver<Hint>,
    on_accepted: OnAccepted,
}

/// One folder, and how it is watched.
struct Folder {
    pickup: Pickup,
    directory: PathBuf,
    watch: Option<Watch>,
    /// When it is tried again to watch, if nothing is watched.
    rewatch_at: Monotonic,
}

impl Driver {
    /// A driver for these pickups, each with its directory, that of `pickup/` first; `sender` and `hints` are the two ends of
    /// one channel.
    pub fn new(
        spool: Arc<Spool>,
        pickups: Vec<(Pickup, PathBuf)>,
        clock: Arc<dyn Clock>,
        (sender, hints): (Sender<Hint>, Receiver<Hint>),
        on_accepted: OnAccepted,
    ) -> Driver {
        let folder =
            |(pickup, directory)| Folder { pickup, directory, watch: None, rewatch_at: Monotonic::default() };
        Driver {
            spool,
            clock,
            folders: pickups.into_iter().map(folder).collect(),
            sender,
            hints,
            on_accepted,
        }
    }

    /// Watches and accepts until [`Hint::Stop`].
    ///
    /// # Errors
    ///
    /// A disk call of the spool that failed half-way.
    pub fn run(&mut self) -> Result<(), SpoolError> {
        // Watch first, scan then: what comes between the two is heard of twice, never missed.
        for number in 0..self.folders.len() {
            self.watch(number);
        }
        loop {
            // One group of each in turn: a folder with a hundred thousand files keeps no other waiting.
            let mut wait = Duration::MAX;
            for number in 0..self.folders.len() {
                wait = wait.min(self.round(number)?);
            }
            let now = self.clock.monotonic();
            if let Some(at) = self.spool.tell_producers(now)? {
                wait = wait.min(at - now);
            }
            if self.listen(wait) {
                return Ok(());
            }
        }
    }

    /// One step of one folder; how long until the next.
    fn round(&mut self, number: usize) -> Result<Duration, SpoolError> {
        let folder = &mut self.folders[number];
        let step = folder.pickup.step()?;
        (self.on_accepted)(step.accepted)?;
        let now = self.clock.monotonic();
        let folder = &mut self.folders[number];
        if step.replaced || (folder.watch.is_none() && now >= folder.rewatch_at) {
            self.watch(number);
            self.folders[number].pickup.hint(Hint::Rescan);
            return Ok(Duration::ZERO);
        }
        Ok(match step.next_look {
            Some(at) if !step.more => at - now,
            _ => Duration::ZERO,
        })
    }

    /// Takes every hint that is there; waits for the first one. True if the service ends.
    fn listen(&mut self, wait: Duration) -> bool {
        let first = match self.hints.recv_timeout(wait) {
            Ok(hint) => hint,
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => return true,
        };
        let mut next = Some(first);
        while let Some(hint) = next {
            match hint {
                Hint::Stop => return true,
                Hint::In { folder, hint } => self.hear(folder, *hint),
                // Who asks for it from outside means every folder.
                Hint::Rescan => (0..self.folders.len()).for_each(|number| self.hear(number, Hint::Rescan)),
                hint => self.hear(0, hint),
            }
            next = self.hints.try_recv().ok();
        }
        false
    }

    fn hear(&mut self, number: usize, hint: Hint) {
        let Some(folder) = self.folders.get_mut(number) else { return };
        if hint == Hint::Unwatched {
            folder.watch = None;
            folder.rewatch_at = Monotonic::default();
        }
        folder.pickup.hint(hint);
    }

    fn watch(&mut self, number: usize) {
        let folder = &mut self.folders[number];
        folder.watch = None;
        folder.rewatch_at = self.clock.monotonic() + WATCH_RETRY;
        match Watch::start_for(number, &folder.directory, self.sender.clone()) {
            Ok(watch) => folder.watch = Some(watch),
            // That it is not there the pickup says.
            Err(_) if !folder.directory.is_dir() => {}
            Err(error) => tracing::warn!(
                directory = %folder.directory.display(),
                %error,
                hint = "drops are found by a scan every 5 s until the directory can be watched; \
                        is fs.inotify.max_user_watches or max_user_instances used up?",
                "pickup-not-watched"
            ),
        }
        folder.pickup.set_watched(folder.watch.is_some());
    }
}
