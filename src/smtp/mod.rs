//! Floor 1: the client's side of an SMTP session (RFC 5321) as a state machine that is fed bytes and time.
//! No files, sockets, clocks or tokio: [`crate::net`] moves the bytes, tests replay dialogues at any speed.
//!
//! The other side, for programs of this host, is [`server`].
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
//!     ^                    ^  |   |    body_progress* body_sent
//!     |                    |  |   |
//!     +-- all answered ----|--+   +--- all answered, and begin_behind was called
//!     |                    |               |                     Event::TransactionEnded, both ways
//!     |                  begin             v
//!     |                    +------------ Ahead   the next one's replies are collected, no event
//!     |                                    |
//!     +--- abandon: refused anyway --------+--- abandon: 354 is there or may come --->  Ended
//!     |
//!     +--- quit --->  Quitting --- any reply --->  Ended         Event::Ended
//!
//!  from everywhere: 421, a time-out, a lost line, a reply that nobody awaits  --->  Ended
//! ```
//!
//! Inside a state a queue holds what each request that was sent awaits. A reply answers the front of the
//! queue and nothing else (RFC 2920 section 3.1: replies are matched by counting, never by their text), and the
//! time-out is that of the front.
//!
//! With LMTP (RFC 2033) it is the same machine: LHLO stands for EHLO, and the final dot awaits as many replies as recipients
//! were taken, each its own.
//!
//! Round trips a message: one for each request and one for the text in lockstep; two where PIPELINING is offered,
//! for RSET, MAIL, every RCPT and DATA go as one group; one if the caller hands the next transaction in while the
//! text is being sent, for then that group rides behind the final dot ([`Session::begin_behind`]). What rides costs
//! nothing of the order: its text goes only once the caller, who has the outcome of the message before, begins it.

mod auth;
mod awaited;
#[cfg(test)]
mod dialogues;
mod ehlo;
#[cfg(test)]
mod model;
mod opening;
mod options;
mod overlap;
mod progress;
mod reply_parser;
pub mod server;
mod session;
mod transaction;
mod transcript;

pub use auth::{Credential, Login, Mechanism, Secret};
pub use ehlo::Extensions;
pub use options::{Pipelining, Protocol, SessionOptions, Timeouts, TlsMode};
pub use reply_parser::{ReplyError, ReplyParser};
pub use session::{Event, LinkFault, Session};
pub use transaction::Transaction;
pub use transcript::{Answer, EndCause, SessionEnd, Transcript, Unsendable};
