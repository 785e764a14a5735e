//! Which message is next, and when: the line, those aside, and one on trial.

use std::time::Duration;

use super::{PassEnd, Sender};
use crate::mail::QueueId;
use crate::policy::aside_gap;
use crate::spool::{Record, SpoolError};

/// So often in a row the line may be lost with one message before the next one is tried.
const LOST_MAX: u32 = 3;

impl Sender {
    /// The message that is due: the head of the line unless it is held, and in turn with it those aside. To ask changes
    /// nothing: the turn passes when one of them is tried.
    pub(super) fn next_due(&self) -> Option<QueueId> {
        let head = self.head_due();
        if head.is_some() && self.line_has_turn {
            return head;
        }
        self.aside_due_now().or(head)
    }

    /// The head of the line, unless it is held.
    pub(super) fn head_due(&self) -> Option<QueueId> {
        let now = self.clock.monotonic();
        self.spool.head().filter(|_| self.held_until.is_none_or(|until| until <= now))
    }

    /// The first message aside whose time has come.
    pub(super) fn aside_due_now(&self) -> Option<QueueId> {
        let (now, trial) = (self.clock.monotonic(), self.trial());
        let is_due =
            |id: &QueueId| Some(*id) != trial && self.aside_due.get(id).is_none_or(|due| *due <= now);
        self.spool.asides(|mut asides| Iterator::find(&mut asides, is_due))
    }

    /// How long until something that waits is due, if nothing is heard before.
    pub(super) fn next_due_in(&self) -> Option<Duration> {
        let now = self.clock.monotonic();
        // A head that nothing holds is due: it may have come while the pass before ended.
        let head = self.spool.head().map(|_| self.held_until.unwrap_or(now));
        let due = |id: QueueId| self.aside_due.get(&id).copied().unwrap_or(now);
        let trial = self.trial();
        let aside = self.spool.asides(|asides| asides.filter(|id| Some(*id) != trial).map(due).min());
        head.into_iter().chain(aside).min().map(|due| due - now)
    }

    pub(super) fn end_of_line(&self) -> PassEnd {
        match self.spool.head() {
            Some(_) => PassEnd::Held,
            None => PassEnd::NothingDue,
        }
    }

    pub(super) fn schedule_aside(&mut self, id: QueueId, aside: Option<u32>) {
        if let Some(tries) = aside {
            // It has just stepped aside to let the others pass.
            self.line_has_turn |= tries == 0;
            let gap = aside_gap(tries, self.options.retry_interval);
            self.aside_due.insert(id, self.clock.monotonic() + gap);
        }
    }

    /// The line was lost in a transaction of this message. That is charged to nobody; but after three times in a row the
    /// next message is tried, for it may be this one that the server, or something on the way, cannot bear. If that is
    /// lost too, both wait in order.
    pub(super) fn line_lost(&mut self, id: QueueId) -> Result<(), SpoolError> {
        if self.spool.head() != Some(id) {
            // One aside is not the next message, and says nothing of the line.
            return Ok(());
        }
        if let Some(first) = self.on_trial.take() {
            return self.set_aside(first, None);
        }
        let times = self.lost.filter(|(last, _)| *last == id).map_or(1, |(_, times)| times + 1);
        self.lost = Some((id, times));
        if times >= LOST_MAX && !self.budget.is_strict() && self.spool.counts().in_line > 1 {
            self.lost = None;
            self.on_trial = Some(id);
            self.set_aside(id, Some(0))?;
        }
        Ok(())
    }

    /// Whether a pass that ended without the smarthost should be followed by another at once, where nobody comes back in
    /// half a minute: only so is it found out whether one message breaks the line.
    pub fn wants_another_try(&self) -> bool {
        self.lost.is_some() || self.on_trial.is_some()
    }

    /// The message on trial, which is not tried before the next one was; if there still is one.
    fn trial(&self) -> Option<QueueId> {
        self.on_trial.filter(|_| self.spool.head().is_some())
    }

    /// The message `answered` had an answer: the link is sound, and another one on trial stays aside.
    pub(super) fn end_trial(&mut self, answered: QueueId) {
        // That others are answered does not mean that the head fared better: its lost lines stay counted.
        let head = self.spool.head();
        self.lost = self.lost.filter(|(last, _)| *last != answered && Some(*last) == head);
        if let Some(id) = self.on_trial.take().filter(|first| *first != answered) {
            tracing::warn!(%id, cause = "the connection is lost whenever it is sent", "message-stepped-aside");
        }
    }

    /// Takes a waiting message out of line, or back into its place.
    fn set_aside(&mut self, id: QueueId, aside: Option<u32>) -> Result<(), SpoolError> {
        let Some(in_flight) = self.spool.begin(id)? else { return Ok(()) };
        let mut record = in_flight.record().cloned().unwrap_or_else(Record::empty);
        record.aside = aside;
        self.schedule_aside(id, aside);
        self.spool.defer(in_flight, Some(record))
    }

    pub(super) fn try_everything_now(&mut self) {
        self.held_until = None;
        self.aside_due.clear();
    }
}
