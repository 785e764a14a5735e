//! The breaker: messages that fail alike, one after the other, are the configuration's fault and not theirs.
//!
//! One or two failures are told at once: they lie in failed/ with their report, for nobody knows when the next message
//! comes. The third alike, without a common recipient and without a delivery between, opens the breaker: all of them wait
//! again, in their old places, and the queue stops. Then one message after the other is tried, each a retry interval after
//! the one before, and none is given up, until one is taken. That one proves that not all is refused: those that failed
//! alike are theirs after all, and are given up when they fail once more.

use std::collections::BTreeSet;

use super::{Queue, ReplyKind, Setback};
use crate::mail::QueueId;

/// So many failures alike open it.
const ALIKE: usize = 3;
/// So many failures alike are remembered: those for one recipient count once, and all are brought back.
const ROW_MAX: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Failures alike without a delivery between, the oldest first.
    pub(super) row: Vec<Failing>,
    /// Set while it is open.
    pub(super) open: Option<Open>,
    /// They failed while it was open, and something else was taken: when they fail once more they are given up.
    pub(super) spared: BTreeSet<QueueId>,
}

/// A message that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failing {
    pub(super) id: QueueId,
    pub(super) why: Setback,
    /// It shares no recipient with one before it that counts.
    pub(super) counts: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) said: ReplyKind,
    /// The message that was tried last.
    pub(super) probed: Option<QueueId>,
    /// Those that failed since, and those that opened it.
    pub(super) failed: BTreeSet<QueueId>,
}

/// What a failure is taken for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// The message's.
    Message,
    /// The configuration's: it has just come out, and these others that failed are to wait again.
    Opens(Vec<QueueId>),
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The next to be tried while it is open: the waiting messages in turn, in order of acceptance.
    pub(super) fn probe(&self, queue: &dyn Queue) -> Option<QueueId> {
        let next = |after| queue.waiting_behind(after);
        self.open.as_ref().and_then(|open| next(open.probed).or_else(|| next(None)))
    }

    pub(super) fn begins(&mut self, id: QueueId) {
        if let Some(open) = &mut self.open {
            open.probed = Some(id);
        }
    }

    /// While it is open, a message was refused or deferred.
    pub(super) fn probed_in_vain(&mut self, id: QueueId) {
        if let Some(open) = &mut self.open {
            open.failed.insert(id);
        }
    }

    /// Whether a delivery would change anything.
    pub(super) fn knows_any(&self) -> bool {
        self.is_open() || !self.row.is_empty()
    }

    /// A message failed while it was shut, and the server took it for nobody.
    pub(super) fn failed(&mut self, id: QueueId, why: Setback) -> Blame {
        if self.spared.remove(&id) {
            return Blame::Message;
        }
        self.row.retain(|failing| failing.id != id && failing.why.said == why.said);
        let mut counted = self.row.iter().filter(|failing| failing.counts);
        let counts = !counted.any(|failing| failing.why.shares_recipient(&why));
        if self.row.len() == ROW_MAX {
            let oldest = self.row.iter().position(|failing| !failing.counts).unwrap_or(0);
            self.row.remove(oldest);
        }
        let said = why.said;
        self.row.push(Failing { id, why, counts });
        if self.row.iter().filter(|failing| failing.counts).count() < ALIKE {
            return Blame::Message;
        }
        let failed: BTreeSet<QueueId> = self.row.drain(..).map(|failing| failing.id).collect();
        let others = failed.iter().copied().filter(|other| *other != id).collect();
        self.open = Some(Open { said, probed: Some(id), failed });
        Blame::Opens(others)
    }

    /// The server took a message. True if that closes it.
    pub(super) fn delivered(&mut self) -> bool {
        self.row.clear();
        let Some(open) = self.open.take() else { return false };
        self.spared.extend(open.failed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Stage;

    fn id(n: u32) -> QueueId {
        format!("{:032x}", (0x7_u128 << 76) | (0b10 << 62) | u128::from(n)).parse().unwrap()
    }

    fn refused(code: u16, to: &[&str]) -> Setback {
        let recipients = to.iter().map(|local| format!("{local}@example.com").parse().unwrap()).collect();
        Setback { said: ReplyKind { stage: Stage::Mail, code, enhanced: None }, recipients }
    }

    #[test]
    fn three_alike_without_a_common_recipient_open_it() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.failed(id(1), refused(550, &["a"])), Blame::Message);
        assert_eq!(breaker.failed(id(2), refused(550, &["a", "b"])), Blame::Message, "shares a recipient");
        assert_eq!(breaker.failed(id(3), refused(550, &["c"])), Blame::Message);
        assert_eq!(breaker.failed(id(4), refused(550, &["d"])), Blame::Opens(vec![id(1), id(2), id(3)]));
        breaker.probed_in_vain(id(5));
        assert!(breaker.delivered());
        assert_eq!(breaker.failed(id(1), refused(550, &["a"])), Blame::Message);
        assert_eq!(breaker.failed(id(3), refused(550, &["c"])), Blame::Message);
        assert_eq!(breaker.failed(id(4), refused(550, &["d"])), Blame::Message, "it is theirs after all");
        assert_eq!(breaker.failed(id(5), refused(550, &["e"])), Blame::Message);
        assert!(breaker.row.is_empty() && !breaker.is_open());
    }

    #[test]
    fn another_reply_or_a_delivery_begins_the_row_anew() {
        let mut breaker = Breaker::default();
        breaker.failed(id(1), refused(550, &["a"]));
        breaker.failed(id(2), refused(550, &["b"]));
        assert!(!breaker.delivered());
        assert_eq!(breaker.failed(id(3), refused(550, &["c"])), Blame::Message);
        assert_eq!(breaker.failed(id(4), refused(550, &["d"])), Blame::Message);
        assert_eq!(breaker.failed(id(5), refused(554, &["e"])), Blame::Message);
        assert_eq!(breaker.failed(id(6), refused(550, &["f"])), Blame::Message);
        assert_eq!(breaker.row.len(), 1);
    }

    #[test]
    fn one_recipient_alone_never_opens_it_and_is_not_remembered_without_end() {
        let mut breaker = Breaker::default();
        for n in 0..1000 {
            assert_eq!(breaker.failed(id(n), refused(550, &["a"])), Blame::Message);
        }
        assert_eq!(breaker.row.len(), ROW_MAX);
        breaker.failed(id(1000), refused(550, &["b"]));
        let Blame::Opens(others) = breaker.failed(id(1001), refused(550, &["c"])) else {
            panic!("it stays shut")
        };
        assert_eq!(others.len(), ROW_MAX - 1);
    }
}
