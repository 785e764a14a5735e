//! What a reply says without its text, and to whom it was said.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::mail::{EnhancedStatusCode, Mailbox, Reply, Stage};

/// A reply without its text: two replies of one kind mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplyKind {
    /// What it was said to.
    pub stage: Stage,
    /// Three digits.
    pub code: u16,
    /// RFC 3463.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enhanced: Option<EnhancedStatusCode>,
}

/// What kept a message from being taken, and who was still to be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    /// What the server said.
    pub said: ReplyKind,
    /// The recipients whom it left without the message.
    pub recipients: Arc<[Mailbox]>,
}

impl ReplyKind {
    /// The kind of `reply`, said in reply to `stage`.
    pub fn of(stage: Stage, reply: &Reply) -> ReplyKind {
        ReplyKind { stage, code: reply.code, enhanced: reply.enhanced }
    }

    /// X.1.x and X.2.x are about an address or a mailbox (RFC 3463 sections 3.2 and 3.3): two full mailboxes are two full
    /// mailboxes.
    fn is_about_mailbox(self) -> bool {
        self.stage == Stage::Rcpt && self.enhanced.is_some_and(|code| matches!(code.subject, 1 | 2))
    }
}

impl Setback {
    pub(super) fn shares_recipient(&self, other: &Setback) -> bool {
        self.recipients.iter().any(|mailbox| other.recipients.contains(mailbox))
    }

    /// The same was said, and to one of the same recipients.
    pub(super) fn repeats(&self, other: &Setback) -> bool {
        self.said == other.said && self.shares_recipient(other)
    }

    /// The same was said with nobody in common, and not of a mailbox: it is not about them.
    pub(super) fn is_general_with(&self, other: &Setback) -> bool {
        self.said == other.said && !self.shares_recipient(other) && !self.said.is_about_mailbox()
    }
}
