//! Floor 1: what an answer means, and what comes next. Pure: a function of what was said and what happened before.
//!
//! Three things are told apart, and nothing here ever reads a reply's text:
//!
//! - a *session problem* is charged to no message, whatever its first digit: the queue waits whole and in order;
//! - a *deferral* is about one message or recipient, for now: it is tried again;
//! - a *failure* is about one message or recipient, for good.
//!
//! What is not understood is temporary.

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

pub use classify::{Class, classify};
pub use failover::{Failover, FailoverTerms, HostMemory};
pub use judge::{Judgement, judge, may_have_had_enough};
pub use kind::{ReplyKind, Setback};
pub use memory::{Memory, Moment};
pub use pace::{LineBudget, Next, aside_gap, login_gap};
pub use rate::{Limit, Quota, Rate};
pub use ruling::{End, Expiry, Fate, Queue, Ruling, Standing, Terms, Then};
pub use schedule::Schedule;
pub use usable::Age;
