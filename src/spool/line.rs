//! Who is next: the order of the waiting messages, in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::name::Name;
use super::record::Record;
use crate::mail::QueueId;

/// The waiting messages: those in line by queue id, and those out of line with the reason.
#[derive(Debug, Default)]
pub(super) struct Line {
    in_line: BTreeMap<QueueId, Waiting>,
    out_of_line: BTreeMap<QueueId, (Waiting, OutOfLine)>,
    failed: u64,
    sent: u64,
}

/// A message that waits.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) name: Name,
    pub(super) has_record: bool,
}

/// Why a message is out of line. It holds nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutOfLine {
    /// It was deferred for too long, and is tried on a schedule of its own; so often since.
    Aside(u32),
    /// An operator holds it.
    Held,
    /// It or its record cannot be read: it is not sent.
    Unreadable(String),
    /// The configuration lacks what it needs.
    Unconfigured(String),
}

/// How many messages are in which standing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// In line.
    pub in_line: u64,
    /// Aside, tried on their own schedule.
    pub aside: u64,
    /// Held, by an operator or because a record cannot be read or a setting is missing.
    pub held: u64,
    /// In `failed/`.
    pub failed: u64,
    /// In `sent/`.
    pub sent: u64,
}

impl Counts {
    /// Accepted and not yet let go, but for the one in flight.
    pub fn waiting(&self) -> u64 {
        self.in_line + self.aside + self.held
    }
}

impl OutOfLine {
    /// What its record says of it.
    pub(super) fn of(record: &Record) -> Option<OutOfLine> {
        match (record.held, record.aside) {
            (true, _) => Some(OutOfLine::Held),
            (false, aside) => aside.map(OutOfLine::Aside),
        }
    }
}

impl Line {
    pub(super) fn clear(&mut self) {
        *self = Line::default();
    }

    pub(super) fn head(&self) -> Option<QueueId> {
        self.in_line.keys().next().copied()
    }

    pub(super) fn behind(&self, id: QueueId) -> Option<QueueId> {
        self.in_line.range((Bound::Excluded(id), Bound::Unbounded)).next().map(|(id, _)| *id)
    }

    pub(super) fn waiting_behind(&self, id: Option<QueueId>) -> Option<QueueId> {
        let in_line = self.in_line.keys().copied().find(|next| Some(*next) > id);
        let aside = self.asides().find(|next| Some(*next) > id);
        in_line.into_iter().chain(aside).min()
    }

    pub(super) fn name(&self, id: QueueId) -> Option<Name> {
        self.get(id).map(|w| w.name.clone())
    }

    pub(super) fn get(&self, id: QueueId) -> Option<&Waiting> {
        self.in_line.get(&id).or_else(|| self.out_of_line.get(&id).map(|(waiting, _)| waiting))
    }

    pub(super) fn insert(&mut self, waiting: Waiting, out: Option<OutOfLine>) {
        let id = waiting.name.id;
        match out {
            None => drop(self.in_line.insert(id, waiting)),
            Some(why) => drop(self.out_of_line.insert(id, (waiting, why))),
        }
    }

    pub(super) fn remove(&mut self, id: QueueId) {
        if self.in_line.remove(&id).is_none() {
            drop(self.out_of_line.remove(&id));
        }
    }

    pub(super) fn count_failed(&mut self) {
        self.failed += 1;
    }

    pub(super) fn uncount_failed(&mut self, gone: u64) {
        self.failed = self.failed.saturating_sub(gone);
    }

    /// One more in `sent/`: how many there are now.
    pub(super) fn count_sent(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    pub(super) fn set_sent(&mut self, count: u64) {
        self.sent = count;
    }

    pub(super) fn set_failed(&mut self, count: u64) {
        self.failed = count;
    }

    pub(super) fn set_out_of_line(&mut self, id: QueueId, why: OutOfLine) {
        let aside = |(waiting, _)| waiting;
        if let Some(waiting) = self.in_line.remove(&id).or_else(|| self.out_of_line.remove(&id).map(aside)) {
            self.insert(waiting, Some(why));
        }
    }

    pub(super) fn out_of_line(&self) -> Vec<(QueueId, OutOfLine)> {
        self.out_of_line.iter().map(|(id, (_, why))| (*id, why.clone())).collect()
    }

    pub(super) fn asides(&self) -> impl Iterator<Item = QueueId> {
        let is_aside = |(_, why): &(Waiting, OutOfLine)| matches!(why, OutOfLine::Aside(_));
        self.out_of_line.iter().filter(move |(_, out)| is_aside(out)).map(|(id, _)| *id)
    }

    /// Those that could not be read.
    pub(super) fn unreadable(&self) -> impl Iterator<Item = &Waiting> {
        let is_unreadable = |(_, why): &&(Waiting, OutOfLine)| matches!(why, OutOfLine::Unreadable(_));
        self.out_of_line.values().filter(is_unreadable).map(|(waiting, _)| waiting)
    }

    pub(super) fn counts(&self) -> Counts {
        let aside = self.out_of_line.values().filter(|(_, why)| matches!(why, OutOfLine::Aside(_))).count();
        Counts {
            in_line: self.in_line.len() as u64,
            aside: aside as u64,
            held: (self.out_of_line.len() - aside) as u64,
            failed: self.failed,
            sent: self.sent,
        }
    }
}
