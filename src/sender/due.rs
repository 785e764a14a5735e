//! The spool as the schedule sees it, and the record of a message as it stands there.

use std::time::Duration;

use super::prepare::setback;
use super::{OutOfService, PassEnd, Said, Sender};
use crate::mail::QueueId;
use crate::policy::{Memory, Queue, Setback, Standing};
use crate::spool::{Record, Spool, SpoolError, read_record};

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

    fn waiting_behind(&self, id: Option<QueueId>) -> Option<QueueId> {
        Spool::waiting_behind(self, id)
    }
}

pub(super) fn standing(record: Option<&Record>) -> Standing {
    let Some(Record { aside, attempts, unknown_ends, age, .. }) = record else { return Standing::default() };
    Standing { aside: *aside, attempts: *attempts, unknown_ends: *unknown_ends, age: *age }
}

/// The record with what the schedule ruled.
pub(super) fn restated(record: Option<&Record>, standing: Standing) -> Record {
    let mut record = record.cloned().unwrap_or_else(Record::empty);
    let Standing { aside, attempts, unknown_ends, age } = standing;
    (record.aside, record.attempts, record.unknown_ends, record.age) = (aside, attempts, unknown_ends, age);
    record
}

/// What deferred a message, as far as its record tells.
fn deferral(record: &Record) -> Option<Setback> {
    let (_, recipients) = record.recipients()?;
    setback(recipients.iter()).map(|(setback, _)| setback)
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
        match (self.waits_for_quota(), self.spool.head()) {
            (Some((_, limit)), _) => PassEnd::Paced(limit),
            (None, Some(_)) => PassEnd::Held,
            (None, None) => PassEnd::NothingDue,
        }
    }

    /// Takes up what the run before left: what the sender knew, and what deferred each message that is aside.
    pub(super) fn recall(&mut self) {
        let fs = self.spool.fs().clone();
        if let Some(said) = Said::read(&*fs) {
            self.go_on_from(&said.memory);
            let better = &self.options.smarthosts[..self.failover.in_use()];
            let is_better = |out: &OutOfService| better.iter().any(|host| host.name == out.smarthost);
            self.out_of_service = said.out_of_service.into_iter().filter(is_better).collect();
        }
        for id in self.spool.asides(|asides| asides.collect::<Vec<_>>()) {
            // One that cannot be read says so when its turn comes.
            if let Some(deferral) = read_record(&*fs, id).ok().as_ref().and_then(deferral) {
                self.schedule.recall_aside(id, deferral);
            }
        }
    }

    /// What the next sender of this process begins with. The disk may have been too full to keep it.
    pub fn memory(&self) -> Memory {
        let names = self.options.smarthosts.iter().map(|smarthost| smarthost.name.as_str());
        self.schedule.memory(&self.moment()).with_hosts(&self.failover, names)
    }

    /// Begins with what another sender knew, instead of what stands on the disk.
    pub fn go_on_from(&mut self, memory: &Memory) {
        let moment = self.moment();
        self.schedule.recall(memory, &moment);
        let names = self.options.smarthosts.iter().map(|smarthost| smarthost.name.as_str());
        memory.recall_hosts(&mut self.failover, names, &moment);
        self.to_bring_back = self.schedule.failed_while_open();
        self.spool.set_may_come_back(self.schedule.may_come_back());
    }

    /// Takes a waiting message out of line.
    pub(super) fn set_aside(&mut self, id: QueueId) -> Result<(), SpoolError> {
        let Some(in_flight) = self.spool.begin(id)? else { return Ok(()) };
        tracing::warn!(%id, cause = "whenever it is sent the session ends, and with another one it did not", "message-stepped-aside");
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
