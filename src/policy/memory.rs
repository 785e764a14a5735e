//! What the schedule knows and no record tells, in a form that outlives a run.
//!
//! It is kept without syncing. What is counted on the clock since boot is of no use after one; the rest may be lost in a
//! power cut, and then the line's budget is full, the breaker shut, and no message older than its record says.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::breaker::{Breaker, Failing, Open};
use super::failover::{Failover, HostMemory};
use super::rate::{PaceMemory, millis};
use super::schedule::Schedule;
use super::usable::UsableTime;
use super::{ReplyKind, Setback};
use crate::mail::{Mailbox, Monotonic, QueueId, UnixTime};

/// Before this the box's clock was never set.
const PLAUSIBLE: UnixTime = UnixTime::from_secs(1_700_000_000);

/// When something is written down or read again, on all the clocks that there are.
#[derive(Debug, Clone)]
pub struct Moment {
    /// Which boot `now` counts from; empty if nobody knows.
    pub boot: String,
    /// Since boot.
    pub now: Monotonic,
    /// What the box believes the time of day to be.
    pub wall: UnixTime,
}

/// See the head of this file. Times in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Which boot the readings of the clock belong to; empty if unknown, and then they are worth nothing.
    boot: String,
    now: u64,
    wall: u64,
    usable: u64,
    answered_at: Option<u64>,
    line_held_for: u64,
    stepped_aside_last: Option<Refused>,
    row: Vec<Refused>,
    breaker: Option<OpenBreaker>,
    spared: Vec<String>,
    paces: Vec<PaceMemory>,
    hosts: Vec<HostMemory>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Refused {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    id: String,
    said: ReplyKind,
    recipients: Vec<String>,
    #[serde(default)]
    counts: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OpenBreaker {
    said: ReplyKind,
    probed: Option<String>,
    failed: Vec<String>,
}

impl Schedule {
    /// What is to outlive this run.
    pub fn memory(&self, moment: &Moment) -> Memory {
        let refused = |id: String, why: &Setback, counts| Refused {
            id,
            said: why.said,
            recipients: why.recipients.iter().map(Mailbox::to_string).collect(),
            counts,
        };
        let Breaker { row, open, spared } = &self.breaker;
        Memory {
            boot: moment.boot.clone(),
            now: millis(moment.now.0),
            wall: moment.wall.as_secs(),
            usable: millis(self.usable.total()),
            answered_at: self.usable.answered_at().map(|at| millis(at.0)),
            line_held_for: millis(self.budget.spent()),
            stepped_aside_last: self.last_aside.as_ref().map(|why| refused(String::new(), why, false)),
            row: row.iter().map(|f| refused(f.id.to_string(), &f.why, f.counts)).collect(),
            breaker: open.as_ref().map(|open| OpenBreaker {
                said: open.said,
                probed: open.probed.map(|id| id.to_string()),
                failed: open.failed.iter().map(QueueId::to_string).collect(),
            }),
            spared: spared.iter().map(QueueId::to_string).collect(),
            paces: self.paces.iter().map(|pace| pace.memory(moment.now)).collect(),
            hosts: Vec::new(),
        }
    }

    /// Takes up what an earlier run left. What does not parse is forgotten.
    pub fn recall(&mut self, memory: &Memory, moment: &Moment) {
        let (same_boot, now) = (memory.is_of(moment), moment.now);
        // A reading that lies ahead of the clock is not one of this clock.
        let reading =
            |at: u64| Some(Monotonic(Duration::from_millis(at))).filter(|at| same_boot && *at <= now);
        let total = Duration::from_millis(memory.usable);
        self.usable = UsableTime::new(total, memory.answered_at.and_then(reading));
        self.budget.recall(Duration::from_millis(memory.line_held_for));
        self.last_aside = memory.stepped_aside_last.as_ref().and_then(Refused::setback);
        let gone = memory.gone(moment);
        self.paces.iter_mut().for_each(|pace| pace.recall(&memory.paces, gone, &reading, now));
        let ids = |texts: &[String]| texts.iter().filter_map(|id| id.parse().ok()).collect();
        let failing = |refused: &Refused| {
            let Refused { id, counts, .. } = refused;
            Some(Failing { id: id.parse().ok()?, why: refused.setback()?, counts: *counts })
        };
        self.breaker.row = memory.row.iter().filter_map(failing).collect();
        self.breaker.spared = ids(&memory.spared);
        self.breaker.open = memory.breaker.as_ref().map(|open| Open {
            said: open.said,
            probed: open.probed.as_ref().and_then(|id| id.parse().ok()),
            failed: ids(&open.failed),
        });
    }
}

impl Memory {
    /// The same, and what is known of the smarthosts with these names.
    #[must_use]
    pub fn with_hosts<'a>(self, hosts: &Failover, names: impl Iterator<Item = &'a str>) -> Memory {
        Memory { hosts: hosts.memory(names), ..self }
    }

    /// What is known of the smarthosts, if it is of this boot.
    pub fn recall_hosts<'a>(
        &self,
        hosts: &mut Failover,
        names: impl Iterator<Item = &'a str>,
        moment: &Moment,
    ) {
        if self.is_of(moment) {
            hosts.recall(&self.hosts, names, moment.now);
        }
    }

    fn is_of(&self, moment: &Moment) -> bool {
        !moment.boot.is_empty() && self.boot == moment.boot
    }

    /// How long ago it was written; if that was before the last boot, what the clock on the wall tells, if it was ever set.
    fn gone(&self, moment: &Moment) -> Duration {
        let written = UnixTime::from_secs(self.wall);
        match self.is_of(moment) {
            true => moment.now - Monotonic(Duration::from_millis(self.now)),
            false if written > PLAUSIBLE => {
                Duration::from_secs(moment.wall.as_secs().saturating_sub(self.wall))
            }
            false => Duration::ZERO,
        }
    }
}

impl Refused {
    fn setback(&self) -> Option<Setback> {
        let recipients: Arc<[Mailbox]> = self.recipients.iter().filter_map(|m| m.parse().ok()).collect();
        (!recipients.is_empty()).then_some(Setback { said: self.said, recipients })
    }
}
