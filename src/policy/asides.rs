//! The messages that are aside: when each is tried again, and what the server said of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Queue, Setback, aside_gap};
use crate::mail::{Monotonic, QueueId};

/// What is known of the messages aside. Which they are is the queue's to say: what is known of one that is gone does no harm.
#[derive(Debug, Default)]
pub(super) struct Asides {
    known: BTreeMap<QueueId, Aside>,
    /// The one whose gaps a delivery started anew last, and when the next may be.
    early: Option<(QueueId, Monotonic)>,
}

#[derive(Debug, Default)]
struct Aside {
    /// At once, if none.
    due: Option<Monotonic>,
    tried: Option<Monotonic>,
    deferral: Option<Setback>,
    /// Its last try ended with an answer.
    answered: bool,
    /// A delivery started its gaps anew.
    anew: bool,
}

impl Asides {
    pub(super) fn is_due(&self, id: QueueId, now: Monotonic) -> bool {
        self.due(id).is_none_or(|due| due <= now)
    }

    pub(super) fn due(&self, id: QueueId) -> Option<Monotonic> {
        self.known.get(&id).and_then(|aside| aside.due)
    }

    /// Whether one of them was deferred in the same way for the same recipient.
    pub(super) fn know(&self, deferral: &Setback, queue: &dyn Queue) -> bool {
        let known = |id| self.known.get(&id).and_then(|aside| aside.deferral.as_ref());
        queue.find_aside(&mut |id| known(id).is_some_and(|d| d.repeats(deferral))).is_some()
    }

    pub(super) fn schedule(&mut self, id: QueueId, tries: u32, interval: Duration, now: Monotonic) {
        let aside = self.known.entry(id).or_default();
        aside.due = Some(now + aside_gap(tries, interval));
        (aside.tried, aside.anew) = (Some(now), false);
    }

    /// Its last try had no answer.
    pub(super) fn unanswered(&mut self, id: QueueId) {
        self.known.entry(id).or_default().answered = false;
    }

    pub(super) fn deferred(&mut self, id: QueueId, deferral: Setback) {
        let aside = self.known.entry(id).or_default();
        (aside.deferral, aside.answered) = (Some(deferral), true);
    }

    /// How often it was tried since it stepped aside, or since a delivery started its gaps anew, when it is deferred again.
    pub(super) fn tries(&self, id: QueueId, so_far: Option<u32>) -> u32 {
        match so_far {
            Some(_) if self.known.get(&id).is_some_and(|aside| aside.anew) => 0,
            Some(tries) => tries.saturating_add(1),
            None => 0,
        }
    }

    pub(super) fn forget(&mut self, id: QueueId) {
        self.known.remove(&id);
    }

    pub(super) fn due_now(&mut self, id: QueueId) {
        if let Some(aside) = self.known.get_mut(&id) {
            aside.due = None;
        }
    }

    pub(super) fn all_due(&mut self) {
        self.known.values_mut().for_each(|aside| aside.due = None);
    }

    /// The message `id` was taken, and that starts the gaps anew: of the one that has waited longest, if it waited an interval
    /// and its last try had an answer. One at a time: a hundred that are deferred as before must not all be tried behind
    /// each delivery. The next one's turn is after an interval, or at once if this one is taken.
    pub(super) fn delivered(&mut self, id: QueueId, interval: Duration, now: Monotonic) {
        self.early = self.early.filter(|(early, next)| *early != id && *next > now);
        if self.early.is_some() {
            return;
        }
        let waits = |aside: &Aside| {
            aside.answered
                && aside.due.is_some_and(|due| due > now)
                && aside.tried.is_some_and(|tried| tried + interval <= now)
        };
        let others = self.known.iter_mut().filter(|(other, aside)| **other != id && waits(aside));
        if let Some((early, aside)) = others.min_by_key(|(_, aside)| aside.tried) {
            (aside.due, aside.tried, aside.anew) = (None, Some(now), true);
            self.early = Some((*early, now + interval));
        }
    }
}
