//! What reaches a sender from outside while it runs: what wakes it, and what stops it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::{PassEnd, Sender, SenderState};
use crate::mail::QueueId;

/// What wakes the sender up.
#[derive(Debug)]
pub struct Wake {
    /// Something was accepted.
    pub accepted: Notify,
    /// The other way round: the sender has something to tell. A message has got its outcome, or a pass has ended.
    pub told: Notify,
    /// An operator did something to a message, or to all of them.
    steered: Notify,
    due: Mutex<Vec<QueueId>>,
    /// How many have asked for a flush so far.
    flushes: watch::Sender<u64>,
    /// The last pass that answers a flush.
    answered: watch::Sender<Pass>,
}

/// How a pass ended, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// Those who asked for a flush before it began: all up to this one.
    flush: u64,
    /// How it ended.
    pub end: PassEnd,
    /// Messages that the smarthost took, for one recipient at least.
    pub delivered: u64,
}

impl Default for Wake {
    fn default() -> Wake {
        Wake {
            accepted: Notify::new(),
            told: Notify::new(),
            steered: Notify::new(),
            due: Mutex::default(),
            flushes: watch::Sender::new(0),
            answered: watch::Sender::new(Pass { flush: 0, end: PassEnd::NothingDue, delivered: 0 }),
        }
    }
}

impl Wake {
    /// The line is another one than before: somebody held or removed a message, or ended a pause.
    pub fn steered(&self) {
        self.steered.notify_one();
    }

    /// A message that is out of line is due at once. It does not shorten the wait for a smarthost that cannot be used.
    pub fn due_now(&self, id: QueueId) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        self.steered();
    }

    /// Has everything tried now, and returns when the pass that began behind this call has ended. Never if the sender ends
    /// before.
    pub async fn flush(&self) -> Pass {
        let mut number = 0;
        self.flushes.send_modify(|flushes| {
            *flushes += 1;
            number = *flushes;
        });
        let mut answered = self.answered.subscribe();
        let pass = answered.wait_for(|pass| pass.flush >= number).await.map(|pass| pass.clone());
        match pass {
            Ok(pass) => pass,
            // This value holds the other end.
            Err(_) => std::future::pending().await,
        }
    }

    pub(super) fn flushes(&self) -> u64 {
        *self.flushes.borrow()
    }

    /// Whether somebody waits for the end of the pass that answers the flush of this number.
    pub(super) fn is_waited_for(&self, flush: u64) -> bool {
        self.answered.borrow().flush < flush
    }

    pub(super) async fn flush_beyond(&self, flush: u64) {
        if self.flushes.subscribe().wait_for(|flushes| *flushes > flush).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) async fn was_steered(&self) {
        self.steered.notified().await;
    }

    pub(super) fn answer(&self, flush: u64, end: PassEnd, delivered: u64) {
        self.answered.send_replace(Pass { flush, end, delivered });
    }
}

impl Sender {
    /// What an operator did since this was asked the last time.
    pub(super) fn take_hints(&mut self, wake: Option<&Wake>) {
        let Some(wake) = wake else { return };
        let due = std::mem::take(&mut *wake.due.lock().unwrap_or_else(PoisonError::into_inner));
        for id in due {
            self.schedule.is_due(id);
        }
        let is_held =
            matches!(self.said.as_ref().map(|said| &said.smarthost), Some(SenderState::Held { .. }));
        if is_held && !self.is_head_said_to_hold() {
            // The message that held the line is not its head any more.
            self.schedule.line_is_due();
            self.say_line_moves();
        }
    }
}

/// Told that the service ends.
#[derive(Debug, Clone)]
pub struct Stop {
    requested: watch::Receiver<bool>,
    hurry: watch::Receiver<bool>,
}

impl Stop {
    /// The two ends. What is in flight then has a limited time to end.
    pub fn pair() -> (watch::Sender<bool>, Stop) {
        let (sender, requested) = watch::channel(false);
        (sender, Stop { requested, hurry: watch::channel(true).1 })
    }

    /// The same, where what is in flight has all the time it needs until the second sender says that there is hurry.
    pub fn with_hurry() -> (watch::Sender<bool>, watch::Sender<bool>, Stop) {
        let ((sender, requested), (hurry_sender, hurry)) = (watch::channel(false), watch::channel(false));
        (sender, hurry_sender, Stop { requested, hurry })
    }

    /// Whether it was requested.
    pub fn is_requested(&self) -> bool {
        *self.requested.borrow()
    }

    /// Returns when it is requested; never otherwise.
    pub async fn requested(&mut self) {
        if self.requested.wait_for(|stop| *stop).await.is_err() {
            // Nobody is left who could request it.
            std::future::pending::<()>().await;
        }
    }

    /// Returns when it was requested, in a hurry, that long ago.
    pub(super) async fn requested_for(&mut self, span: Duration) {
        self.requested().await;
        if self.hurry.wait_for(|hurry| *hurry).await.is_err() {
            std::future::pending::<()>().await;
        }
        sleep(span).await;
    }
}
