//! What a request that was sent waits for, and what a reply means to it.

use std::time::Duration;

use super::Timeouts;
use crate::mail::{Reply, Severity, Stage};

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Auth,
    Rset,
    Mail,
    Rcpt(usize),
    Data,
    /// The reply to the message: pushed when its first octet may go.
    Body,
    /// The same, once the final dot is out.
    FinalDot,
    /// The dot that ends a DATA for which nobody takes the message (RFC 2920 section 3.1).
    LoneDot,
    Quit,
}

/// What a reply means to the one who waits for it (RFC 5321 section 4.3.2: by the first digit).
pub(super) enum Meaning {
    Completed,
    Intermediate,
    /// 4yz and 5yz, and codes above that nobody has defined: whoever decides takes those as temporary.
    Refused,
    /// 1yz announces a second reply, which nothing in SMTP does: the stream cannot be followed any more.
    OutOfStep,
}

impl Awaited {
    pub(super) fn stage(self) -> Stage {
        match self {
            Awaited::Greeting => Stage::Greeting,
            Awaited::Ehlo | Awaited::Helo => Stage::Ehlo,
            Awaited::StartTls => Stage::StartTls,
            Awaited::Auth => Stage::Auth,
            Awaited::Rset => Stage::Rset,
            Awaited::Mail => Stage::Mail,
            Awaited::Rcpt(_) => Stage::Rcpt,
            Awaited::Data | Awaited::LoneDot => Stage::Data,
            Awaited::Body => Stage::Body,
            Awaited::FinalDot => Stage::FinalDot,
            Awaited::Quit => Stage::Quit,
        }
    }

    /// The most that its reply may take.
    pub(super) fn time_out(self, t: &Timeouts) -> Duration {
        match self {
            Awaited::Greeting => t.greeting,
            Awaited::Ehlo | Awaited::Helo => t.ehlo,
            Awaited::StartTls => t.starttls,
            Awaited::Auth => t.auth,
            Awaited::Rset => t.rset,
            Awaited::Mail => t.mail,
            Awaited::Rcpt(_) => t.rcpt,
            Awaited::Data | Awaited::LoneDot => t.data,
            Awaited::Body => t.block,
            Awaited::FinalDot => t.final_dot,
            Awaited::Quit => t.quit,
        }
    }
}

impl Meaning {
    pub(super) fn of(reply: &Reply) -> Self {
        match reply.severity() {
            Severity::Completed => Meaning::Completed,
            Severity::Intermediate => Meaning::Intermediate,
            Severity::Undefined if reply.code < 200 => Meaning::OutOfStep,
            Severity::Transient | Severity::Permanent | Severity::Undefined => Meaning::Refused,
        }
    }
}
