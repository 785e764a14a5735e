//! What became of the last messages: in memory, for whoever waits for it.
//!
//! A message that was delivered is gone from the spool, and so is one that was removed; whether it was the one or the other is
//! known here. It is forgotten with the process.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::Sender;
use super::prepare::Audience;
use crate::mail::{Mailbox, Outcome, QueueId};

/// So many messages are remembered.
const MESSAGES_MAX: usize = 1_000;
/// With so many recipients in all; the last message is remembered whatever it has.
const RECIPIENTS_MAX: usize = 20_000;

/// What became of the last messages, the oldest first.
#[derive(Debug)]
pub struct Outcomes {
    last: Mutex<VecDeque<(QueueId, Ended)>>,
    /// How many there were.
    count: watch::Sender<u64>,
}

/// How the way of a message ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub how: End,
    /// What became of each recipient, with the server's words.
    pub recipients: Vec<(Mailbox, Option<Outcome>)>,
    /// What else was wrong with it.
    pub problems: Vec<String>,
}

/// How the way of a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The smarthost took it for every recipient.
    Delivered,
    /// It was given up.
    Failed,
    /// An operator removed it.
    Removed,
}

impl Default for Outcomes {
    fn default() -> Outcomes {
        Outcomes { last: Mutex::default(), count: watch::Sender::new(0) }
    }
}

impl Outcomes {
    /// Remembers it, and tells who waits. Only when it is on the disk.
    pub fn note(&self, id: QueueId, ended: Ended) {
        let weight = |ended: &Ended| ended.recipients.len().max(1);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|(other, _)| *other != id);
        last.push_back((id, ended));
        let mut sum: usize = last.iter().map(|(_, ended)| weight(ended)).sum();
        while last.len() > 1 && (last.len() > MESSAGES_MAX || sum > RECIPIENTS_MAX) {
            sum -= last.pop_front().map_or(0, |(_, ended)| weight(&ended));
        }
        drop(last);
        self.count.send_modify(|count| *count += 1);
    }

    /// It was brought back: nothing has become of it yet.
    pub fn forget(&self, id: QueueId) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).retain(|(other, _)| *other != id);
    }

    /// What became of it, if that is remembered.
    pub fn of(&self, id: QueueId) -> Option<Ended> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().rev().find(|(other, _)| *other == id).map(|(_, ended)| ended.clone())
    }

    /// How many wait for a change.
    pub fn awaited(&self) -> usize {
        self.count.receiver_count()
    }

    /// Changes whenever something is remembered from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }
}

impl Sender {
    /// What becomes of messages is told there from now on.
    pub fn tell_outcomes(&mut self, outcomes: std::sync::Arc<Outcomes>) {
        self.outcomes = outcomes;
    }
}

impl Audience {
    /// Everybody with what became of him.
    pub(super) fn ended(&self, how: End) -> Ended {
        let recipients = self.recipients.iter().map(|r| (r.mailbox.clone(), r.outcome.clone())).collect();
        Ended { how, recipients, problems: self.problems.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{QueueIdSource, UnixTime};

    fn ended(recipients: usize) -> Ended {
        let mailbox: Mailbox = "a@example.com".parse().unwrap();
        Ended { how: End::Delivered, recipients: vec![(mailbox, None); recipients], problems: Vec::new() }
    }

    #[test]
    fn the_last_are_remembered_and_no_more_than_there_is_room_for() {
        let (outcomes, mut ids) = (Outcomes::default(), QueueIdSource::primed(None));
        let mut next = || ids.draw(UnixTime::from_secs(1));
        let all: Vec<QueueId> = (0..=MESSAGES_MAX).map(|_| next()).collect();
        all.iter().for_each(|id| outcomes.note(*id, ended(1)));
        assert_eq!((outcomes.of(all[0]), outcomes.of(all[1])), (None, Some(ended(1))));
        let many = next();
        outcomes.note(many, ended(RECIPIENTS_MAX + 1));
        assert_eq!((outcomes.of(all[MESSAGES_MAX]), outcomes.of(many).is_some()), (None, true));
        outcomes.note(all[0], ended(2));
        assert_eq!((outcomes.of(many), outcomes.of(all[0])), (None, Some(ended(2))));
        outcomes.forget(all[0]);
        assert_eq!(outcomes.of(all[0]), None);
    }
}
