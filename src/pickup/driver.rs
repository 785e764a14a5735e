//! The thread of the pickup: waits for hints and for the next look.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::{Hint, Pickup, Watch};
use crate::fs::Clock;
use crate::mail::Monotonic;
use crate::spool::{Accepted, SpoolError};

/// Told after each round of what was accepted in it, in order; mostly nothing.
pub type OnAccepted = Box<dyn FnMut(Vec<Accepted>) -> Result<(), SpoolError> + Send>;

/// How long an attempt to watch again is put off after it failed.
const WATCH_RETRY: Duration = Duration::from_secs(60);

/// Runs a [`Pickup`] until it is told to stop.
pub struct Driver {
    pickup: Pickup,
    clock: Arc<dyn Clock>,
    directory: PathBuf,
    sender: Sender<Hint>,
    hints: Receiver<Hint>,
    on_accepted: OnAccepted,
    watch: Option<Watch>,
    /// When it is tried again to watch, if nothing is watched.
    rewatch_at: Monotonic,
}

impl Driver {
    /// A driver for the pickup whose directory is at `directory`; `sender` and `hints` are the two ends of one
    /// channel.
    pub fn new(
        pickup: Pickup,
        clock: Arc<dyn Clock>,
        directory: PathBuf,
        (sender, hints): (Sender<Hint>, Receiver<Hint>),
        on_accepted: OnAccepted,
    ) -> Driver {
        Driver {
            pickup,
            clock,
            directory,
            sender,
            hints,
            on_accepted,
            watch: None,
            rewatch_at: Monotonic::default(),
        }
    }

    /// Watches and accepts until [`Hint::Stop`].
    ///
    /// # Errors
    ///
    /// A disk call of the spool that failed half-way.
    pub fn run(&mut self) -> Result<(), SpoolError> {
        // Watch first, scan then: what comes between the two is heard of twice, never missed.
        self.watch();
        loop {
            let step = self.pickup.step()?;
            (self.on_accepted)(step.accepted)?;
            let now = self.clock.monotonic();
            if step.replaced || (self.watch.is_none() && now >= self.rewatch_at) {
                self.watch();
                self.pickup.hint(Hint::Rescan);
                continue;
            }
            let wait = match step.next_look {
                Some(at) if !step.more => at - now,
                _ => Duration::ZERO,
            };
            if self.listen(wait) {
                return Ok(());
            }
        }
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
            if hint == Hint::Stop {
                return true;
            }
            if hint == Hint::Unwatched {
                self.watch = None;
                self.rewatch_at = Monotonic::default();
            }
            self.pickup.hint(hint);
            next = self.hints.try_recv().ok();
        }
        false
    }

    fn watch(&mut self) {
        self.watch = None;
        self.rewatch_at = self.clock.monotonic() + WATCH_RETRY;
        match Watch::start(&self.directory, self.sender.clone()) {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => tracing::warn!(
                directory = %self.directory.display(),
                %error,
                hint = "drops are found by a scan every 5 s until the directory can be watched; \
                        is fs.inotify.max_user_watches or max_user_instances used up?",
                "pickup-not-watched"
            ),
        }
        self.pickup.set_watched(self.watch.is_some());
    }
}
