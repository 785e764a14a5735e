//! The thread of the pickup: waits for hints and for the next look.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::{Hint, Pickup, Watch};
use crate::fs::Clock;
use crate::spool::{Accepted, SpoolError};

/// Told of what was accepted, in order.
pub type OnAccepted = Box<dyn FnMut(Vec<Accepted>) -> Result<(), SpoolError> + Send>;

/// How often the directory is read where it cannot be watched.
const UNWATCHED_RESCAN: Duration = Duration::from_secs(5);
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
        Driver { pickup, clock, directory, sender, hints, on_accepted, watch: None }
    }

    /// Watches and accepts until [`Hint::Stop`].
    ///
    /// # Errors
    ///
    /// A disk call of the spool that failed half-way.
    pub fn run(&mut self) -> Result<(), SpoolError> {
        // Watch first, scan then: what comes between the two is heard of twice, never missed.
        self.watch();
        let mut rewatch_at = self.clock.monotonic() + WATCH_RETRY;
        loop {
            let step = self.pickup.step()?;
            if !step.accepted.is_empty() {
                (self.on_accepted)(step.accepted)?;
            }
            let now = self.clock.monotonic();
            if step.replaced || (self.watch.is_none() && now >= rewatch_at) {
                self.watch();
                rewatch_at = now + WATCH_RETRY;
                self.pickup.hint(Hint::Rescan);
                continue;
            }
            let mut wait = step.next_look.map_or(UNWATCHED_RESCAN, |at| at - now);
            if self.watch.is_none() && wait > UNWATCHED_RESCAN {
                wait = UNWATCHED_RESCAN;
                self.pickup.hint(Hint::Rescan);
            }
            if step.more {
                wait = Duration::ZERO;
            }
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
            self.pickup.hint(hint);
            next = self.hints.try_recv().ok();
        }
        false
    }

    fn watch(&mut self) {
        self.watch = None;
        match Watch::start(&self.directory, self.sender.clone()) {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => tracing::warn!(
                directory = %self.directory.display(),
                %error,
                hint = "drops are found by a scan every 5 s until the directory can be watched",
                "pickup-not-watched"
            ),
        }
    }
}
