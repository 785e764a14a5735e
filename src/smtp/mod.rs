//! Floor 1: the client's side of an SMTP session (RFC 5321) as a state machine that is fed bytes and time.
//! No files, sockets, clocks or tokio: [`crate::net`] moves the bytes, tests replay dialogues at any speed.
//!
//! A [`Session`] is always in one of these states, each named for what it waits for:
//!
//! ```text
//!    new                                   tls_established
//!     |     greeting EHLO [HELO] AUTH            |
//!     v                                          v
//!  Opening --- 220 to STARTTLS ---> Handshake -- EHLO anew --> Opening
//!     |
//!     | every step of the opening was answered as hoped          Event::Ready
//!     v
//!   Idle  --- begin --->  Transacting  [RSET] MAIL RCPT* DATA    Event::SendBody at the 354
//!     ^                       |        body_progress* body_sent
//!     |                       |
//!     +-- every request that was sent is answered --+            Event::TransactionEnded
//!     |
//!     +--- quit --->  Quitting --- any reply --->  Ended         Event::Ended
//!
//!  from everywhere: 421, a time-out, a lost line, a reply that nobody awaits  --->  Ended
//! ```
//!
//! Inside a state a queue holds what each request that was sent awaits. A reply answers the front of the
//! queue and nothing else (RFC 2920 section 3.1: replies are matched by counting, never by their text).
//! Today every request waits for the reply to the one before (lockstep), so the queue holds one entry;
//! sending the next message's MAIL, RCPT and DATA behind a final dot changes what is sent when
//! (`transaction.rs`, `next_request`), not how replies find their place.

mod auth;
#[cfg(test)]
mod dialogues;
mod ehlo;
mod opening;
mod options;
mod reply_parser;
mod session;
mod transaction;
mod transcript;

pub use auth::{Login, Secret};
pub use ehlo::Extensions;
pub use options::{SessionOptions, Timeouts, TlsMode};
pub use reply_parser::{ReplyError, ReplyParser};
pub use session::{Event, LinkFault, Session};
pub use transaction::Transaction;
pub use transcript::{Answer, EndCause, SessionEnd, Transcript, Unsendable};
