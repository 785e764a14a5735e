//! Floor 0: the words of the field as types. No I/O, no clock, no async.
//!
//! The names are those of RFC 5321 and RFC 3463: a *reverse-path* is the sender of the envelope, a
//! *forward-path* one recipient of it, a *reply* is reply code, enhanced status code and text.

mod address;
mod dsn;
mod envelope;
mod origin;
mod outcome;
mod queue_id;
mod reply;
mod time;

pub use address::{Mailbox, MailboxError};
pub use dsn::Dsn;
pub use envelope::{Envelope, ReversePath};
pub use origin::{ForceFrom, Origin};
pub use outcome::{Outcome, Stage};
pub use queue_id::{QueueId, QueueIdError, QueueIdSource};
pub use reply::{EnhancedStatusCode, Reply, Severity};
pub use time::{Monotonic, UnixTime};
