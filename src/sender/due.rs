//! The spool as the schedule sees it, and the record of a message as it stands there.

use std::time::Duration;

use super::{PassEnd, Sender};
use crate::mail::QueueId;
use crate::policy::{Queue, Standing};
use crate::spool::{Record, Spool, SpoolError};

impl Queue for Spool {
    fn head(&self) -> Option<QueueId> {
        Spool::head(self)
    }

    fn behind(&self, id: QueueId) -> Option<QueueId> {
        Spool::behind(self, id)
    }

    fn find_aside(&self, is: &mut dyn FnMut(QueueId) -> bool) -> Option<QueueId> {
        self.asides(|asides| Iterator::find(&mut { asides }, |id| is(*id)))
    }
}

pub(super) fn standing(record: Option<&Record>) -> Standing {
    let of = |r: &Record| Standing { aside: r.aside, attempts: r.attempts, unknown_ends: r.unknown_ends };
    record.map_or_else(Standing::default, of)
}

/// The record with what the schedule ruled.
pub(super) fn restated(record: Option<&Record>, standing: Standing) -> Record {
    let mut record = record.cloned().unwrap_or_else(Record::empty);
    let Standing { aside, attempts, unknown_ends } = standing;
    (record.aside, record.attempts, record.unknown_ends) = (aside, attempts, unknown_ends);
    record
}

impl Sender {
    pub(super) fn next_due(&self) -> Option<QueueId> {
        self.schedule.due(&*self.spool, self.clock.monotonic())
    }

    /// How long until something that waits is due, if nothing is heard before.
    pub(super) fn next_due_in(&self) -> Option<Duration> {
        let now = self.clock.monotonic();
        self.schedule.next_due(&*self.spool, now).map(|due| due - now)
    }

    pub(super) fn end_of_line(&self) -> PassEnd {
        match self.spool.head() {
            Some(_) => PassEnd::Held,
            None => PassEnd::NothingDue,
        }
    }

    /// Takes a waiting message out of line.
    pub(super) fn set_aside(&mut self, id: QueueId) -> Result<(), SpoolError> {
        let Some(in_flight) = self.spool.begin(id)? else { return Ok(()) };
        tracing::warn!(%id, cause = "the connection is lost whenever it is sent", "message-stepped-aside");
        let standing = Standing { aside: Some(0), ..standing(in_flight.record()) };
        let record = restated(in_flight.record(), standing);
        self.schedule.put_off(id, standing.aside, self.clock.monotonic());
        self.spool.defer(in_flight, Some(record))
    }

    /// Whether a pass that ended without the smarthost should be followed by another at once, where nobody comes back in
    /// half a minute: only so is it found out whether one message breaks the line.
    pub fn wants_another_try(&self) -> bool {
        self.schedule.wants_another_try()
    }
}
