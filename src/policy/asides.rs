//! The messages that are aside: when each is tried again, and what the server said of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Queue, Setback, aside_gap};
use crate::mail::{Monotonic, QueueId};

/// What is known of the messages aside. Which they are is the queue's to say: what is known of one that is gone does no harm.
#[derive(Debug, Default)]
pub(super) struct Asides(BTreeMap<QueueId, Aside>);

#[derive(Debug, Default)]
struct Aside {
    /// At once, if none.
    due: Option<Monotonic>,
    deferral: Option<Setback>,
}

impl Asides {
    pub(super) fn is_due(&self, id: QueueId, now: Monotonic) -> bool {
        self.due(id).is_none_or(|due| due <= now)
    }

    pub(super) fn due(&self, id: QueueId) -> Option<Monotonic> {
        self.0.get(&id).and_then(|aside| aside.due)
    }

    /// Whether one of them was deferred in the same way for the same recipient.
    pub(super) fn know(&self, deferral: &Setback, queue: &dyn Queue) -> bool {
        let repeats =
            |id| self.0.get(&id).and_then(|a| a.deferral.as_ref()).is_some_and(|d| d.repeats(deferral));
        queue.find_aside(&mut |id| repeats(id)).is_some()
    }

    pub(super) fn schedule(&mut self, id: QueueId, tries: u32, interval: Duration, now: Monotonic) {
        self.0.entry(id).or_default().due = Some(now + aside_gap(tries, interval));
    }

    pub(super) fn deferred(&mut self, id: QueueId, deferral: Setback) {
        self.0.entry(id).or_default().deferral = Some(deferral);
    }

    pub(super) fn forget(&mut self, id: QueueId) {
        self.0.remove(&id);
    }

    pub(super) fn all_due(&mut self) {
        self.0.values_mut().for_each(|aside| aside.due = None);
    }
}
