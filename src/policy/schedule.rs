//! Which message is next, when, and what becomes of the one that was tried.
//!
//! A state machine without disk, network or clock: the sender tells it what came of each transaction and does what it
//! rules. In line the messages leave in order, and the head may hold those behind it for as long as the budget lasts;
//! those aside are tried on a schedule of their own, in turn with the line.

use std::collections::{BTreeMap, BTreeSet};

use super::asides::Asides;
use super::breaker::{Blame, Breaker};
use super::rate::{Limit, Pace};
use super::usable::{Age, UsableTime};
use super::{End, Expiry, Fate, LineBudget, Next, Queue, Ruling, Setback, Standing, Terms, Then};
use crate::mail::{Monotonic, QueueId};

/// So often in a row the line may be lost with one message before the next one is tried.
const LOST_MAX: u32 = 3;
/// After so many transactions that ended with the dot out and no reply the message steps aside.
const UNKNOWN_ENDS_MAX: u32 = 3;

/// What the past makes of the future. See the head of this file.
#[derive(Debug)]
pub struct Schedule {
    terms: Terms,
    pub(super) budget: LineBudget,
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
    pub(super) last_aside: Option<Setback>,
    pub(super) breaker: Breaker,
    pub(super) usable: UsableTime,
    /// One for each smarthost.
    pub(super) paces: Vec<Pace>,
    /// How many recipients a message has that found no room. One is enough for any other, as far as is known.
    needs: BTreeMap<QueueId, u32>,
    /// The smarthost in use.
    smarthost: usize,
    /// What is to outlive this run has changed.
    changed: bool,
}

impl Schedule {
    /// Of a sender that knows nothing yet.
    pub fn new(terms: Terms) -> Schedule {
        Schedule {
            budget: LineBudget::new(terms.hold_line, terms.retry_interval),
            held_until: None,
            asides: Asides::default(),
            line_has_turn: true,
            lost: None,
            trial: None,
            last_aside: None,
            breaker: Breaker::default(),
            usable: UsableTime::default(),
            paces: terms.quotas.iter().cloned().map(Pace::new).collect(),
            needs: BTreeMap::new(),
            smarthost: 0,
            changed: false,
            terms,
        }
    }

    /// What its record says of a message that was aside before the sender began.
    pub fn recall_aside(&mut self, id: QueueId, deferral: Setback) {
        self.asides.deferred(id, deferral);
    }

    /// While the breaker is open: the messages that opened it and those refused since. None of them is given up.
    pub fn failed_while_open(&self) -> Vec<QueueId> {
        self.breaker.open.iter().flat_map(|open| open.failed.iter().copied()).collect()
    }

    /// Those that were given up, and will wait again if the breaker opens.
    pub fn may_come_back(&self) -> BTreeSet<QueueId> {
        let in_row = self.breaker.row.iter().map(|failing| failing.id);
        in_row.chain(self.failed_while_open()).collect()
    }

    /// Whether what is to outlive this run has changed since this was asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The message that is due: the next in line unless the line is held, and in turn with it those aside. To ask changes
    /// nothing: the turn passes when one of them is tried.
    pub fn due(&self, queue: &dyn Queue, now: Monotonic) -> Option<QueueId> {
        if self.breaker.is_open() {
            return self.breaker.probe(queue).filter(|id| self.pace_allows(*id, now));
        }
        let in_line = self.due_in_line(queue, now);
        if in_line.is_some() && self.line_has_turn {
            return in_line;
        }
        self.due_aside(queue, now).or(in_line)
    }

    /// The next in line, unless something holds it.
    pub fn due_in_line(&self, queue: &dyn Queue, now: Monotonic) -> Option<QueueId> {
        if self.breaker.is_open() || self.is_held(now) {
            return None;
        }
        self.next_in_line(queue).filter(|id| self.pace_allows(*id, now))
    }

    /// One that finds no room lets all others pass. But where the next in line finds none, nobody takes from what it waits for.
    fn due_aside(&self, queue: &dyn Queue, now: Monotonic) -> Option<QueueId> {
        if !self.is_held(now) && self.next_in_line(queue).is_some_and(|id| !self.pace_allows(id, now)) {
            return None;
        }
        queue.find_aside(&mut |id| self.asides.is_due(id, now) && self.pace_allows(id, now))
    }

    fn is_held(&self, now: Monotonic) -> bool {
        self.held_until.is_some_and(|until| until > now)
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
        self.next_ready(queue, now).map(|(due, _)| due)
    }

    /// If only its quota keeps something from being sent to the smarthost: until when, and which.
    pub fn waits_for_quota(&self, queue: &dyn Queue, now: Monotonic) -> Option<(Monotonic, Limit)> {
        self.next_ready(queue, now).and_then(|(due, limit)| Some((due, limit?)))
    }

    /// When something is due, and which quota it waits for, if it does.
    fn next_ready(&self, queue: &dyn Queue, now: Monotonic) -> Option<(Monotonic, Option<Limit>)> {
        let ready = |id: QueueId, due: Monotonic| match self.pace_next(id) {
            Some((next, limit)) if next > now && next >= due => (next, Some(limit)),
            _ => (due, None),
        };
        if self.breaker.is_open() {
            return self.breaker.probe(queue).map(|id| ready(id, now));
        }
        // A head that nothing holds is due: it may have come while the pass before ended.
        let line = self.next_in_line(queue).map(|id| ready(id, self.held_until.unwrap_or(now)));
        let line_waits = line.filter(|(_, limit)| limit.is_some() && !self.is_held(now));
        let mut first = line;
        queue.find_aside(&mut |id| {
            let aside = ready(id, self.asides.due(id).unwrap_or(now));
            let aside = line_waits.filter(|(next, _)| *next >= aside.0).unwrap_or(aside);
            first = Some(first.filter(|first| first.0 <= aside.0).unwrap_or(aside));
            false
        });
        first
    }

    fn pace_allows(&self, id: QueueId, now: Monotonic) -> bool {
        self.pace_next(id).is_none_or(|(next, _)| next <= now)
    }

    fn pace_next(&self, id: QueueId) -> Option<(Monotonic, Limit)> {
        let recipients = self.needs.get(&id).copied().unwrap_or(1);
        self.paces.get(self.smarthost)?.next(recipients)
    }

    /// Messages go to the smarthost with this number from now on.
    pub fn use_smarthost(&mut self, smarthost: usize) {
        self.smarthost = smarthost;
    }

    /// Whether the message `id`, which was found due, may go although it has so many recipients. If not, it is due when it may.
    pub fn has_room_for(&mut self, id: QueueId, recipients: u32, now: Monotonic) -> bool {
        let fits = self.paces.get(self.smarthost).is_none_or(|pace| pace.fits(recipients, now));
        match fits {
            true => self.needs.remove(&id),
            false => self.needs.insert(id, recipients),
        };
        fits
    }

    /// A transaction is about to be sent. True if it has to be written down, for it counts whatever comes of it.
    pub fn sends(&mut self, recipients: u32, now: Monotonic) -> bool {
        let Some(pace) = self.paces.get_mut(self.smarthost) else { return false };
        pace.begins(recipients, now);
        self.changed |= pace.is_limited();
        pace.is_limited()
    }

    /// The message that may ride behind the one in transaction: the next in line, if nobody aside has his turn. After a lost
    /// line the attempt is repeated alone.
    pub fn rider(&self, queue: &dyn Queue, now: Monotonic) -> Option<QueueId> {
        if self.lost.is_some() || self.trial.is_some() || self.due_aside(queue, now).is_some() {
            return None;
        }
        self.due_in_line(queue, now)
    }

    /// It is the turn of the message `id`; `queue` has it still.
    pub fn begins(&mut self, id: QueueId, queue: &dyn Queue) {
        self.line_has_turn = self.next_in_line(queue) != Some(id);
        self.breaker.begins(id);
        self.changed |= self.breaker.is_open();
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
        let taken = match end {
            End::Done { taken, .. } | End::Deferred { taken, .. } | End::LeftOver { taken } => taken,
            End::Session | End::Lost | End::Unknown => false,
        };
        let closes_breaker = taken && self.delivered(id, now);
        let ruling = match end {
            End::Done { given_up: true, taken: false, .. }
            | End::Deferred { taken: false, .. }
            | End::LeftOver { taken: false }
                if self.breaker.is_open() =>
            {
                self.refused_while_open(id, standing, now)
            }
            End::Done { taken, given_up, refused } => {
                let refused = refused.filter(|_| given_up && !taken);
                self.done(id, standing, (given_up, refused), queue, now)
            }
            End::LeftOver { .. } => {
                self.usable.answered(now);
                Ruling::new(standing, Fate::Waits, Then::Proceed).with(self.end_trial(id, queue))
            }
            End::Deferred { deferral, .. } => self.deferred(id, standing, deferral, queue, now),
            End::Session => {
                self.put_off(id, standing.aside, now);
                Ruling::new(standing, Fate::Uncharged, Then::EndSession)
            }
            End::Lost => self.line_lost(id, standing, queue, now),
            End::Unknown => self.unknown(id, standing, now),
        };
        if matches!(ruling.then, Then::EndSession | Then::DeferredAlike | Then::BreakerOpen) {
            self.session_problem();
        }
        Ruling { closes_breaker, ..ruling }
    }

    /// The smarthost cannot be used, whatever it is that keeps it.
    pub fn session_problem(&mut self) {
        self.changed |= self.usable.answered_at().is_some();
        self.usable.session_problem();
    }

    /// The server took a message. True if that closes the breaker.
    fn delivered(&mut self, id: QueueId, now: Monotonic) -> bool {
        self.changed |=
            !self.budget.spent().is_zero() || self.last_aside.is_some() || self.breaker.knows_any();
        self.budget.delivered();
        self.last_aside = None;
        self.asides.delivered(id, self.terms.retry_interval, now);
        self.breaker.delivered()
    }

    fn done(
        &mut self,
        id: QueueId,
        standing: Standing,
        (given_up, refused): (bool, Option<Setback>),
        queue: &dyn Queue,
        now: Monotonic,
    ) -> Ruling {
        let steps_aside = self.end_trial(id, queue);
        self.changed |= refused.is_some();
        if let Some(Blame::Opens(brings_back)) = refused.map(|why| self.breaker.failed(id, why)) {
            self.put_off(id, standing.aside, now);
            return Ruling { brings_back, ..Ruling::new(standing, Fate::Uncharged, Then::BreakerOpen) }
                .with(steps_aside);
        }
        self.usable.answered(now);
        self.asides.forget(id);
        let fate = if given_up { Fate::Failed } else { Fate::Delivered };
        Ruling::new(charged(standing), fate, Then::Proceed).with(steps_aside)
    }

    /// Nothing is given up, and nothing steps aside, while the configuration is at fault.
    fn refused_while_open(&mut self, id: QueueId, standing: Standing, now: Monotonic) -> Ruling {
        self.breaker.probed_in_vain(id);
        self.changed = true;
        self.put_off(id, standing.aside, now);
        Ruling::new(standing, Fate::Uncharged, Then::BreakerOpen)
    }

    fn deferred(
        &mut self,
        id: QueueId,
        standing: Standing,
        deferral: Setback,
        queue: &dyn Queue,
        now: Monotonic,
    ) -> Ruling {
        self.changed = true;
        let steps_aside = self.end_trial(id, queue);
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
            return Ruling::new(standing, Fate::Waits, Then::DeferredAlike).with(steps_aside);
        }
        self.usable.answered(now);
        let mut standing = charged(standing);
        standing.age = Some(self.usable.age(standing.age));
        if let Some(expiry) = self.expired(standing) {
            self.asides.forget(id);
            return Ruling::new(standing, Fate::Expired(expiry), Then::Proceed).with(steps_aside);
        }
        if next == Next::HoldLine {
            self.held_until = Some(now + self.terms.retry_interval);
            return Ruling::new(standing, Fate::Waits, Then::HoldLine).with(steps_aside);
        }
        if standing.aside.is_none() {
            self.last_aside = Some(deferral.clone());
        }
        standing.aside = Some(self.asides.tries(id, standing.aside));
        self.put_off(id, standing.aside, now);
        self.asides.deferred(id, deferral);
        Ruling::new(standing, Fate::Waits, Then::Proceed).with(steps_aside)
    }

    /// Asked only of a message that a usable smarthost has just deferred: no outage and no silence ends one.
    fn expired(&self, standing: Standing) -> Option<Expiry> {
        let age =
            standing.age.map(Age::span).filter(|age| self.terms.max_age.is_some_and(|most| *age >= most));
        let often = self.terms.max_attempts.is_some_and(|most| standing.attempts >= most);
        age.map(Expiry::Age).or(often.then_some(Expiry::Attempts(standing.attempts)))
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
            self.asides.unanswered(id);
        } else if self.breaker.is_open() {
            // What stops the line is known, and the probes go on in turn.
        } else if self.trial.take().is_none() {
            let times = self.lost.filter(|(last, _)| *last == id).map_or(1, |(_, times)| times + 1);
            self.lost = Some((id, times));
            if times >= LOST_MAX && !self.budget.is_strict() && queue.behind(id).is_some() {
                self.lost = None;
                self.trial = Some(id);
            }
        }
        Ruling::new(standing, Fate::Uncharged, Then::EndSession)
    }

    /// The dot is out and nobody knows: it counts, for a message must not be sent again and again for ever.
    fn unknown(&mut self, id: QueueId, mut standing: Standing, now: Monotonic) -> Ruling {
        standing.unknown_ends = standing.unknown_ends.saturating_add(1);
        if let Some(tries) = standing.aside {
            standing.aside = Some(tries.saturating_add(1));
        } else if standing.unknown_ends >= UNKNOWN_ENDS_MAX && !self.budget.is_strict() {
            standing.aside = Some(0);
        }
        self.put_off(id, standing.aside, now);
        if standing.aside.is_some() {
            self.asides.unanswered(id);
        }
        Ruling::new(standing, Fate::Waits, Then::EndSession)
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

    /// Somebody wants the message `id`, which is aside, tried now.
    pub fn is_due(&mut self, id: QueueId) {
        self.asides.due_now(id);
    }

    /// The message that held the line is gone.
    pub fn line_is_due(&mut self) {
        self.held_until = None;
    }

    /// Somebody wants everything tried now.
    pub fn everything_is_due(&mut self) {
        self.held_until = None;
        self.asides.all_due();
    }
}

fn charged(standing: Standing) -> Standing {
    Standing { attempts: standing.attempts.saturating_add(1), ..standing }
}
