//! One reply at one stage: whose fault is it, and for how long? The table is in `answers.rs`.

use super::answers;
use crate::mail::{Reply, Stage};

/// What a reply that is not a success says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It is about the session: no message is charged.
    Session,
    /// The login, the sender or relaying is refused, which is for the operator to mend: no message is charged.
    Configuration(Reach),
    /// It is about this message or recipient, for now.
    Deferral,
    /// It is about this message or recipient, for good.
    Failure,
    /// Of a recipient behind one that was taken: it belongs into a next transaction. Of the first one: a deferral.
    Split,
}

/// Whom a fault of the configuration concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Whatever is sent is refused.
    Everyone,
    /// It may be this message alone, for its sender or where it goes: after three times the next one is tried, as where
    /// the line is lost with one message.
    PerhapsOne,
}

/// Judges a reply that is not the one hoped for at `stage`.
pub fn classify(stage: Stage, reply: &Reply) -> Class {
    answers::find(stage, reply).map_or(Class::Session, |row| row.class)
}

/// What the operator can do about such a reply, where that is known.
pub fn cure(stage: Stage, reply: &Reply) -> Option<&'static str> {
    answers::find(stage, reply).and_then(|row| row.cure)
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
