//! What the schedule is asked and what it rules, as values.

use std::time::Duration;

use super::usable::Age;
use super::{Quota, Setback};
use crate::mail::{QueueId, Stage};

/// The messages that wait, without the one in transaction.
pub trait Queue {
    /// The first in line.
    fn head(&self) -> Option<QueueId>;
    /// The first in line behind `id`.
    fn behind(&self, id: QueueId) -> Option<QueueId>;
    /// The first aside that `is` says yes to.
    fn find_aside(&self, is: &mut dyn FnMut(QueueId) -> bool) -> Option<QueueId>;
    /// The first behind `id` among those in line and those aside; of all, if `None`.
    fn waiting_behind(&self, id: Option<QueueId>) -> Option<QueueId>;
}

/// How messages are to be treated.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Between two tries.
    pub retry_interval: Duration,
    /// How long deferred messages may hold the line; `None` is for ever.
    pub hold_line: Option<Duration>,
    /// How long a message is tried after its first deferral, in time in which the smarthost was usable; `None` is for ever.
    pub max_age: Option<Duration>,
    /// How often it is tried at most; `None` is without end.
    pub max_attempts: Option<u32>,
    /// How much each smarthost is given.
    pub quotas: Vec<Quota>,
}

/// What is on record of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Set when it stepped aside from the line: how often it was tried since.
    pub aside: Option<u32>,
    /// Transactions that ended with an outcome for it.
    pub attempts: u32,
    /// Transactions that ended with the final dot out and no reply.
    pub unknown_ends: u32,
    /// Set with its first deferral.
    pub age: Option<Age>,
}

/// What came of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Every recipient has a final outcome.
    Done {
        /// In this transaction the server took the message for somebody.
        taken: bool,
        /// Not all have it: the message is given up.
        given_up: bool,
        /// What refused it, if that was the same for all it was refused for. `None` also for a failure report: it does
        /// not count.
        refused: Option<Setback>,
    },
    /// The server takes only so many recipients at once, and nobody was deferred.
    LeftOver {
        /// In this transaction the server took the message for somebody.
        taken: bool,
    },
    /// Recipients wait because the server said so.
    Deferred {
        /// In this transaction the server took the message for somebody.
        taken: bool,
        /// What it said, and who waits.
        deferral: Setback,
    },
    /// A session problem.
    Session,
    /// The line was lost before the final dot.
    Lost,
    /// The final dot is out and no reply came.
    Unknown,
}

impl End {
    /// Where the server said what it said.
    pub fn stage(&self) -> Stage {
        match self {
            End::Deferred { deferral: why, .. } | End::Done { refused: Some(why), .. } => why.said.stage,
            _ => Stage::FinalDot,
        }
    }
}

/// What becomes of the message that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The smarthost has it.
    Delivered,
    /// It is given up for what the server said.
    Failed,
    /// It is given up because it was deferred for too long.
    Expired(Expiry),
    /// It waits, and its outcomes go on record.
    Waits,
    /// It waits, and is charged nothing.
    Uncharged,
}

/// For how long a message that expired was deferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// In time in which the smarthost was usable.
    Age(Duration),
    /// In attempts.
    Attempts(u32),
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The next message.
    Proceed,
    /// It holds the line.
    HoldLine,
    /// The session is of no use; the smarthost is tried again after an interval.
    EndSession,
    /// The same: the server defers whatever it is given.
    DeferredAlike,
    /// The queue stops: whatever the server is given it refuses. The next message is tried after an interval.
    BreakerOpen,
}

/// What is to be done after a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// What goes on record.
    pub standing: Standing,
    /// What becomes of the message.
    pub fate: Fate,
    /// This other message steps aside: the line is lost with it and not with others.
    pub steps_aside: Option<QueueId>,
    /// These others, which were given up, wait again in their old places: the breaker has opened.
    pub brings_back: Vec<QueueId>,
    /// The breaker has closed.
    pub closes_breaker: bool,
    /// What comes next.
    pub then: Then,
}

impl Ruling {
    pub(super) fn new(standing: Standing, fate: Fate, then: Then) -> Ruling {
        Ruling { standing, fate, steps_aside: None, brings_back: Vec::new(), closes_breaker: false, then }
    }

    pub(super) fn with(self, steps_aside: Option<QueueId>) -> Ruling {
        Ruling { steps_aside, ..self }
    }
}
