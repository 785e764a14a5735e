//! Floor 1: what an answer means, and what comes next. Pure: a function of what was said and what happened before.
//!
//! Told apart in one table (`answers.rs`), by codes, and in one row of it by a word of the text:
//!
//! - a *session problem* is charged to no message, whatever its first digit: the queue waits whole and in order;
//! - a fault of the *configuration* (login, sender, relaying) is one too, and the table says how it is mended;
//! - a *deferral* is about one message or recipient, for now: it is tried again;
//! - a *failure* is about one message or recipient, for good;
//! - a *split*: this transaction takes no more recipients, and the rest goes in the next.
//!
//! What is not understood is temporary.

mod answers;
mod asides;
mod breaker;
mod classify;
mod failover;
mod judge;
mod kind;
mod memory;
mod pace;
mod rate;
mod ruling;
mod schedule;
mod usable;

pub use classify::{Class, Reach, classify, cure};
pub use failover::{Failover, FailoverTerms, HostMemory};
pub use judge::{Judgement, judge, may_have_had_enough};
pub use kind::{ReplyKind, Setback};
pub use memory::{Memory, Moment};
pub use pace::{LineBudget, Next, aside_gap, login_gap};
pub use rate::{Limit, Quota, Rate};
pub use ruling::{End, Expiry, Fate, Queue, Ruling, Standing, Terms, Then};
pub use schedule::Schedule;
pub use usable::Age;
