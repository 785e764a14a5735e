//! What came of a transaction and of a session, as values: nobody above has to read text to decide.

use std::fmt;
use std::time::Duration;

use crate::mail::{EnhancedStatusCode, Reply, Severity, Stage};

/// What each request of one transaction was answered. In a group (RFC 2920 section 3.1) RCPT and DATA are sent
/// before MAIL is answered: the first refusal is the cause, what follows (503, 554) its consequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// To MAIL.
    pub mail: Answer,
    /// To each RCPT, in the order of the forward-paths.
    pub rcpts: Vec<Answer>,
    /// To DATA.
    pub data: Answer,
    /// To the final dot. `Awaited` is the one case in doubt: the dot is out and nobody knows whether the
    /// message was taken. `NotSent` is certain: without its dot no message is taken. A dot without a message, which
    /// ends a 354 for nobody (RFC 2920 section 3.1), is not told here, nor what was said to it.
    pub dot: Answer,
    /// With LMTP, once the dot is out, what stands in its place: the reply to it for each recipient, in the order of the
    /// forward-paths, `NotSent` for one whose RCPT was not taken (RFC 2033 section 4.2). Empty with SMTP. An answer in the
    /// midst of the text is in `dot` and concerns all.
    pub dots: Vec<Answer>,
    /// The session ended in the middle, by 421 or by a fault. `None` if the transaction got its answer, also where
    /// the session ended with it: a refusal before the final dot is in `dot` like one behind it.
    pub lost: Option<SessionEnd>,
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was not sent.
    NotSent,
    /// It was sent and no reply came.
    Awaited,
    /// It was sent and answered.
    Reply(Reply),
    /// It was not sent, because this server cannot take it.
    Unsendable(Unsendable),
}

/// Why something must not be sent to this server. Permanent for this server, and no reply of its.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsendable {
    /// The message is larger than the server's SIZE (RFC 1870 section 6.1).
    TooLarge {
        /// Octets of the message.
        size: u64,
        /// Octets that the server takes.
        limit: u64,
    },
    /// Octets above 127 and no 8BITMIME (RFC 6152 section 3); why it has no other form, if that was tried.
    EightBit(Option<&'static str>),
    /// Header fields or an address that need SMTPUTF8, which is not offered (RFC 6531 section 3.2); why the header has no other
    /// form, if that was tried.
    Internationalized(Option<&'static str>),
}

/// How a session ended: what was being waited for, and what came instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEnd {
    /// What was being waited for.
    pub stage: Stage,
    /// What came instead.
    pub why: EndCause,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndCause {
    /// The server's own words: 421 to anything, or a refusal without which the session cannot go on.
    Reply(Reply),
    /// Nothing came within this time.
    TimedOut(Duration),
    /// The server closed the connection.
    Closed,
    /// The connection broke.
    Io(String),
    /// What came is not SMTP or is out of step.
    Protocol(String),
    /// The TLS handshake failed.
    Tls(String),
    /// The server lacks what the options demand.
    NotOffered(String),
    /// The message could not be read to its end; its final dot was not sent.
    Source(String),
    /// We ended it.
    Quit,
}

impl Answer {
    /// The reply, if one came.
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Answer::Reply(reply) => Some(reply),
            _ => None,
        }
    }

    /// 2yz came.
    pub fn is_completed(&self) -> bool {
        self.reply().is_some_and(|reply| reply.severity() == Severity::Completed)
    }
}

impl Transcript {
    /// Before anything was sent to `rcpts` recipients.
    pub(super) fn unsent(rcpts: usize) -> Self {
        Transcript {
            mail: Answer::NotSent,
            rcpts: vec![Answer::NotSent; rcpts],
            data: Answer::NotSent,
            dot: Answer::NotSent,
            dots: Vec::new(),
            lost: None,
        }
    }

    /// Whether the server took responsibility for the message, for somebody: 2yz to the final dot (RFC 5321 section 4.2.5).
    pub fn is_taken(&self) -> bool {
        self.to_dot().any(Answer::is_completed)
    }

    /// The dot is out and for somebody no reply came.
    pub fn is_in_doubt(&self) -> bool {
        self.to_dot().any(|answer| *answer == Answer::Awaited)
    }

    /// What the final dot was answered for the recipient at `index`.
    pub fn dot_for(&self, index: usize) -> &Answer {
        self.dots.get(index).unwrap_or(&self.dot)
    }

    /// All that the final dot was answered.
    pub fn to_dot(&self) -> impl Iterator<Item = &Answer> {
        self.dots.iter().chain([&self.dot])
    }

    /// Whether the recipient at `index` belongs into a next transaction because this one was full: its RCPT
    /// was not sent although MAIL was taken, or was answered with "too many" behind at least one taken
    /// (RFC 5321 section 4.5.3.1.10). Says nothing of a transaction that was lost.
    pub fn is_left_over(&self, index: usize) -> bool {
        let taken_before = self.rcpts.iter().take(index).any(Answer::is_completed);
        self.lost.is_none()
            && match self.rcpts.get(index) {
                Some(Answer::NotSent) => self.mail.is_completed(),
                Some(Answer::Reply(reply)) => taken_before && is_about_number(reply),
                _ => false,
            }
    }
}

/// Whether a reply to RCPT, behind one that was taken, is about the number of recipients and not about this
/// one. A bare 552 counts too: if it is about the recipient after all, its next RCPT is the first and tells.
pub(super) fn is_about_number(reply: &Reply) -> bool {
    match reply.code {
        452 => true,
        552 => reply.enhanced.is_none() || reply.is_about(5, 3),
        _ => false,
    }
}

impl Unsendable {
    /// The enhanced status code for a failure report (RFC 3463, RFC 6531 section 4.2).
    pub fn enhanced(self) -> EnhancedStatusCode {
        let (subject, detail) = match self {
            Unsendable::TooLarge { .. } => (3, 4),
            Unsendable::EightBit(_) => (6, 3),
            Unsendable::Internationalized(_) => (6, 7),
        };
        EnhancedStatusCode { class: 5, subject, detail }
    }
}

impl fmt::Display for Unsendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsendable::TooLarge { size, limit } => {
                write!(f, "expected at most {limit} octets (the server's SIZE), found a message of {size}")
            }
            Unsendable::EightBit(why) => {
                f.write_str("expected 8BITMIME for a message with 8-bit octets, found a server without it")?;
                write_unconvertible(*why, f)
            }
            Unsendable::Internationalized(why) => {
                f.write_str(
                    "expected SMTPUTF8 for addresses or header fields that are not ASCII, found a server without it",
                )?;
                write_unconvertible(*why, f)
            }
        }
    }
}

fn write_unconvertible(why: Option<&'static str>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    why.map_or(Ok(()), |why| write!(f, "; it cannot be converted: {why}"))
}

/// A fragment like `the server said: 421 4.3.2 closing in reply to MAIL FROM`.
impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = self.stage;
        match &self.why {
            EndCause::Reply(reply) if stage == Stage::Idle => {
                write!(f, "the server said, unasked between two messages: {reply}")
            }
            EndCause::Reply(reply) => write!(f, "the server said: {reply} in reply to {}", stage.request()),
            EndCause::TimedOut(span) if stage == Stage::Body => {
                write!(f, "nothing was taken for {} s while {stage}", span.as_secs())
            }
            EndCause::TimedOut(span) => {
                write!(f, "nothing came for {} s while {stage}", span.as_secs())
            }
            EndCause::Closed => write!(f, "the server closed the connection while {stage}"),
            EndCause::Io(error) => write!(f, "the connection broke while {stage}: {error}"),
            EndCause::Protocol(found) => write!(f, "{found} while {stage}"),
            EndCause::Tls(error) => write!(f, "TLS failed: {error}"),
            EndCause::NotOffered(what) => write!(f, "the server does not offer {what}"),
            EndCause::Source(error) => write!(f, "the message could not be read while {stage}: {error}"),
            EndCause::Quit => f.write_str("quit"),
        }
    }
}

impl std::error::Error for SessionEnd {}
