//! Which message is next, when, and what becomes of the one that was tried.
//!
//! A state machine without disk, network or clock: the sender tells it what came of each transaction and does what it
//! rules. In line the messages leave in order, and the head may hold those behind it for as long as the budget lasts;
//! those aside are tried on a schedule of their own, in turn with the line.

use std::time::Duration;

use super::asides::Asides;
use super::{LineBudget, Next, Setback};
use crate::mail::{Monotonic, QueueId, Stage};

/// So often in a row the line may be lost with one message before the next one is tried.
const LOST_MAX: u32 = 3;
/// After so many transactions that ended with the dot out and no reply the message steps aside.
const UNKNOWN_ENDS_MAX: u32 = 3;

/// The messages that wait, without the one in transaction.
pub trait Queue {
    /// The first in line.
    fn head(&self) -> Option<QueueId>;
    /// The first in line behind `id`.
    fn behind(&self, id: QueueId) -> Option<QueueId>;
    /// The first aside that `is` says yes to.
    fn find_aside(&self, is: &mut dyn FnMut(QueueId) -> bool) -> Option<QueueId>;
}

/// How messages are to be treated.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Between two tries.
    pub retry_interval: Duration,
    /// How long deferred messages may hold the line; `None` is for ever.
    pub hold_line: Option<Duration>,
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
}

/// What came of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Every recipient has a final outcome. `taken`: the server took the message for somebody.
    Done {
        /// In this transaction.
        taken: bool,
        /// Not all have it: the message is given up.
        given_up: bool,
    },
    /// The server takes only so many recipients at once, and nobody was deferred.
    LeftOver,
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
            End::Deferred { deferral, .. } => deferral.said.stage,
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
    /// It waits, and its outcomes go on record.
    Waits,
    /// It waits, and is charged nothing.
    Uncharged,
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
}

/// What is to be done after a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ruling {
    /// What goes on record.
    pub standing: Standing,
    /// What becomes of the message.
    pub fate: Fate,
    /// This other message steps aside: the line is lost with it and not with others.
    pub steps_aside: Option<QueueId>,
    /// What comes next.
    pub then: Then,
}

/// What the past makes of the future. See the head of this file.
#[derive(Debug)]
pub struct Schedule {
    terms: Terms,
    budget: LineBudget,
    /// The line is not tried before this.
    held_until: Option<Monotonic>,
    asides: Asides,
    /// The last attempt was at a message aside: now the line has its turn.
    line_has_turn: bool,
    /// The message in whose transactions the line was lost, and how often in a row.
    lost: Option<(QueueId, u32)>,
    /// It lets the next one pass, in memory only, until it is seen whether that fares better.
    trial: Option<QueueId>,
    /// What deferred the last message that stepped aside, unless something was delivered since.
    last_aside: Option<Setback>,
}

impl Schedule {
    /// Of a sender that knows nothing yet.
    pub fn new(terms: Terms) -> Schedule {
        Schedule {
            budget: LineBudget::new(terms.hold_line, terms.retry_interval),
            terms,
            held_until: None,
            asides: Asides::default(),
            line_has_turn: true,
            lost: None,
            trial: None,
            last_aside: None,
        }
    }

    /// The message that is due: the next in line unless the line is held, and in turn with it those aside. To ask changes
    /// nothing: the turn passes when one of them is tried.
    pub fn due(&self, queue: &dyn Queue, now: Monotonic) -> Option<QueueId> {
        let in_line = self.due_in_line(queue, now);
        if in_line.is_some() && self.line_has_turn {
            return in_line;
        }
        self.due_aside(queue, now).or(in_line)
    }

    /// The next in line, unless the line is held.
    pub fn due_in_line(&self, queue: &dyn Queue, now: Monotonic) -> Option<QueueId> {
        self.next_in_line(queue).filter(|_| self.held_until.is_none_or(|until| until <= now))
    }

    fn due_aside(&self, queue: &dyn Queue, now: Monotonic) -> Option<QueueId> {
        queue.find_aside(&mut |id| self.asides.is_due(id, now))
    }

    fn next_in_line(&self, queue: &dyn Queue) -> Option<QueueId> {
        let head = queue.head()?;
        match self.trial == Some(head) {
            true => queue.behind(head).or(Some(head)),
            false => Some(head),
        }
    }

    /// When something that waits is due, if nothing is heard before; `None` if nothing waits.
    pub fn next_due(&self, queue: &dyn Queue, now: Monotonic) -> Option<Monotonic> {
        // A head that nothing holds is due: it may have come while the pass before ended.
        let mut first = queue.head().map(|_| self.held_until.unwrap_or(now));
        queue.find_aside(&mut |id| {
            let due = self.asides.due(id).unwrap_or(now);
            first = Some(first.map_or(due, |first| first.min(due)));
            false
        });
        first
    }

    /// The message that may ride behind the one in transaction: the next in line, if nobody aside has his turn. After a lost
    /// line the attempt is repeated alone.
    pub fn rider(&self, queue: &dyn Queue, now: Monotonic) -> Option<QueueId> {
        if self.lost.is_some() || self.trial.is_some() || self.due_aside(queue, now).is_some() {
            return None;
        }
        self.due_in_line(queue, now)
    }

    /// A transaction begins with the message `id`; `queue` has it still.
    pub fn begins(&mut self, id: QueueId, queue: &dyn Queue) {
        self.line_has_turn = self.next_in_line(queue) != Some(id);
    }

    /// What came of the transaction with the message `id`, of which `standing` was on record. `queue` does not have it.
    pub fn ended(
        &mut self,
        id: QueueId,
        standing: Standing,
        end: End,
        queue: &dyn Queue,
        now: Monotonic,
    ) -> Ruling {
        match end {
            End::Done { taken, given_up } => {
                let fate = if given_up { Fate::Failed } else { Fate::Delivered };
                self.asides.forget(id);
                self.settled(id, charged(standing), (fate, Then::Proceed), taken, queue)
            }
            End::LeftOver => self.settled(id, standing, (Fate::Waits, Then::Proceed), true, queue),
            End::Deferred { taken, deferral } => self.deferred(id, standing, (taken, deferral), queue, now),
            End::Session => {
                self.put_off(id, standing.aside, now);
                ruling(standing, Fate::Uncharged, Then::EndSession)
            }
            End::Lost => self.line_lost(id, standing, queue, now),
            End::Unknown => self.unknown(id, standing, now),
        }
    }

    fn settled(
        &mut self,
        id: QueueId,
        standing: Standing,
        (fate, then): (Fate, Then),
        taken: bool,
        queue: &dyn Queue,
    ) -> Ruling {
        if taken {
            self.budget.delivered();
            self.last_aside = None;
        }
        Ruling { standing, fate, steps_aside: self.end_trial(id, queue), then }
    }

    fn deferred(
        &mut self,
        id: QueueId,
        standing: Standing,
        (taken, deferral): (bool, Setback),
        queue: &dyn Queue,
        now: Monotonic,
    ) -> Ruling {
        if taken {
            self.budget.delivered();
            self.last_aside = None;
        }
        let is_known = self.asides.know(&deferral, queue);
        let next = match standing.aside {
            Some(_) => Next::StepAside,
            // For this recipient the server has said so already: nobody has to wait to hear it again.
            None if is_known && !self.budget.is_strict() => Next::StepAside,
            None => self.budget.deferred(),
        };
        let is_general = self.last_aside.as_ref().is_some_and(|last| last.is_general_with(&deferral));
        if next == Next::StepAside && standing.aside.is_none() && !is_known && is_general {
            // Two in a row, and nobody in common: it is not about them.
            let steps_aside = self.end_trial(id, queue);
            return Ruling { standing, fate: Fate::Waits, steps_aside, then: Then::DeferredAlike };
        }
        let mut standing = charged(standing);
        let steps_aside = self.end_trial(id, queue);
        if next == Next::HoldLine {
            self.held_until = Some(now + self.terms.retry_interval);
            return Ruling { standing, fate: Fate::Waits, steps_aside, then: Then::HoldLine };
        }
        if standing.aside.is_none() {
            self.last_aside = Some(deferral.clone());
        }
        standing.aside = Some(standing.aside.map_or(0, |tries| tries.saturating_add(1)));
        self.asides.deferred(id, deferral);
        self.put_off(id, standing.aside, now);
        Ruling { standing, fate: Fate::Waits, steps_aside, then: Then::Proceed }
    }

    /// The line was lost in a transaction of this message. That is charged to nobody; but after three times in a row the
    /// next message is tried, for it may be this one that the server, or something on the way, cannot bear. If that is
    /// lost too, both wait in order. One aside is not the next message and says nothing of the line; but the gaps between its
    /// tries grow: each time everybody else waits an interval for it.
    fn line_lost(
        &mut self,
        id: QueueId,
        mut standing: Standing,
        queue: &dyn Queue,
        now: Monotonic,
    ) -> Ruling {
        if let Some(tries) = standing.aside {
            standing.aside = Some(tries.saturating_add(1));
            self.put_off(id, standing.aside, now);
        } else if self.trial.take().is_none() {
            let times = self.lost.filter(|(last, _)| *last == id).map_or(1, |(_, times)| times + 1);
            self.lost = Some((id, times));
            if times >= LOST_MAX && !self.budget.is_strict() && queue.behind(id).is_some() {
                self.lost = None;
                self.trial = Some(id);
            }
        }
        ruling(standing, Fate::Uncharged, Then::EndSession)
    }

    /// The dot is out and nobody knows: it counts, for a message must not be sent again and again for ever.
    fn unknown(&mut self, id: QueueId, mut standing: Standing, now: Monotonic) -> Ruling {
        standing.unknown_ends += 1;
        if let Some(tries) = standing.aside {
            standing.aside = Some(tries.saturating_add(1));
        } else if standing.unknown_ends >= UNKNOWN_ENDS_MAX && !self.budget.is_strict() {
            standing.aside = Some(0);
        }
        self.put_off(id, standing.aside, now);
        ruling(standing, Fate::Waits, Then::EndSession)
    }

    /// The message `answered` had an answer: the link is sound, and another one on trial steps aside.
    fn end_trial(&mut self, answered: QueueId, queue: &dyn Queue) -> Option<QueueId> {
        // That others are answered does not mean that the head fared better: its lost lines stay counted.
        let head = queue.head();
        self.lost = self.lost.filter(|(last, _)| *last != answered && Some(*last) == head);
        self.trial.take().filter(|first| *first != answered && Some(*first) == head)
    }

    /// The message has stepped aside, or was tried again: when its next turn is.
    pub fn put_off(&mut self, id: QueueId, aside: Option<u32>, now: Monotonic) {
        if let Some(tries) = aside {
            // It has just stepped aside to let the others pass.
            self.line_has_turn |= tries == 0;
            self.asides.schedule(id, tries, self.terms.retry_interval, now);
        }
    }

    /// Whether a pass that ended without the smarthost should be followed by another at once, where nobody comes back in
    /// half a minute: only so is it found out whether one message breaks the line.
    pub fn wants_another_try(&self) -> bool {
        self.lost.is_some() || self.trial.is_some()
    }

    /// Somebody wants everything tried now.
    pub fn everything_is_due(&mut self) {
        self.held_until = None;
        self.asides.all_due();
    }
}

fn charged(mut standing: Standing) -> Standing {
    standing.attempts = standing.attempts.saturating_add(1);
    standing
}

fn ruling(standing: Standing, fate: Fate, then: Then) -> Ruling {
    Ruling { standing, fate, steps_aside: None, then }
}
