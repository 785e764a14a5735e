//! One round trip a message: the requests of the next one ride behind the final dot of the one before.
//!
//! RFC 2920 section 3.1 lets the text of a message be the first "command" of a group and wants DATA to be its last,
//! so that `text of n . MAIL RCPT* DATA of n+1` is one conforming group. Of n+1 nothing can be taken by that: its
//! text goes only once the caller has begun it, and that is after n's outcome is known and kept.

use super::awaited::Awaited;
use super::session::{Event, Phase};
use super::{EndCause, Pipelining, Protocol, Session, Transaction};
use crate::mail::{Monotonic, Stage};

impl Session {
    /// Hands in the next transaction while the message of this one is being sent, before its last block is written:
    /// what [`Session::take_output`] gives then belongs into the same write, behind the final dot. False if nothing
    /// may ride, and then nothing was done:
    ///
    /// - the protocol is LMTP, where a dot may have many replies;
    /// - PIPELINING is not offered, or the options or the server's conduct forbid it ([`Session::bears_overlap`]);
    /// - no message is being sent, or one rides already;
    /// - a recipient of the message that is being sent was deferred or left over, and so is sent to again first;
    /// - the server's MAILMAX is reached;
    /// - nothing of the next message may be sent to this server at all.
    ///
    /// The end of the transaction under way is told as ever. From then on the replies to the one that rode are
    /// collected and nothing is told of it, until [`Session::begin`] is called with an equal one or
    /// [`Session::abandon`]. If the session ends before that, `begin` gives what is known of it.
    pub fn begin_behind(&mut self, transaction: Transaction, now: Monotonic) -> bool {
        let Phase::Transacting(before) = &self.phase else { return false };
        let may_ride = self.pipelining() == Pipelining::Overlap
            && self.awaited.front() == Some(&Awaited::Body)
            && self.behind.is_none()
            && self.has_room()
            && before.lets_ride();
        if !may_ride {
            return false;
        }
        let mut progress = self.prepare(transaction).riding();
        if !progress.is_sendable() {
            return false;
        }
        let rset = std::mem::take(&mut self.needs_rset);
        let requests = progress.requests(&self.extensions, true, rset);
        self.behind = Some(Box::new(progress));
        self.send(requests, now);
        true
    }

    /// The transaction that was sent ahead and waits for [`Session::begin`] or [`Session::abandon`].
    pub fn ahead(&self) -> Option<&Transaction> {
        match &self.phase {
            Phase::Ahead(progress) => Some(progress.transaction()),
            _ => None,
        }
    }

    /// Gives up the transaction that was sent ahead. Where the server may wait for its message, or will, the session
    /// ends without another octet: a dot would send an empty message to those who were taken. Where everything is
    /// answered and DATA was refused, the session is as good as before.
    pub fn abandon(&mut self, _now: Monotonic) {
        let Phase::Ahead(progress) = &self.phase else { return };
        if self.awaited.is_empty() && progress.is_refused() {
            self.needs_rset = true;
            self.phase = Phase::Idle;
        } else {
            self.finish(self.stage(), EndCause::Quit);
        }
    }

    /// False once something speaks against this server's bearing requests behind a final dot: the riding MAIL was
    /// answered 500, 502 or 503, or the session ended, other than by 421 and by us, while such requests were out and
    /// unanswered. The line may also have failed by itself: it is a hint to hold the next session without
    /// [`Pipelining::Overlap`], at the cost of time only. Still told after the end.
    pub fn bears_overlap(&self) -> bool {
        self.bears_overlap
    }

    /// Whether the requests of a message go out together (RFC 2920 section 3.1).
    pub fn sends_groups(&self) -> bool {
        self.extensions.pipelining && self.options.pipelining != Pipelining::Off
    }

    /// What of the options holds now.
    pub(super) fn pipelining(&self) -> Pipelining {
        match self.options.pipelining {
            _ if !self.extensions.pipelining || !self.bears_overlap => Pipelining::Off,
            Pipelining::Overlap if self.options.protocol == Protocol::Lmtp => Pipelining::Group,
            chosen => chosen,
        }
    }

    /// Goes on with `transaction` if it is the one that was sent ahead; otherwise abandons that and gives it back.
    pub(super) fn adopt(&mut self, transaction: Transaction, now: Monotonic) -> Option<Transaction> {
        if let Phase::Ended(end) = &self.phase {
            let end = end.clone();
            let Some(kept) = self.behind.take_if(|kept| *kept.transaction() == transaction) else {
                return Some(transaction);
            };
            self.events.push_back(Event::TransactionEnded(kept.lost(end)));
            return None;
        }
        if self.ahead() != Some(&transaction) {
            self.abandon(now);
            return Some(transaction);
        }
        if let Phase::Ahead(progress) = std::mem::replace(&mut self.phase, Phase::Idle) {
            self.phase = Phase::Transacting(progress);
            self.advance(now);
        }
        None
    }

    /// What an end says of the server's bearing; before the end is noted.
    pub(super) fn weigh_end(&mut self, stage: Stage, why: &EndCause) {
        let out_of_step = matches!(why, EndCause::Protocol(_));
        let unanswered = out_of_step || !self.awaited.is_empty();
        let group = matches!(stage, Stage::Rset | Stage::Mail | Stage::Rcpt | Stage::Data);
        let rides = match &self.phase {
            // The dot was not out, and so nothing rode.
            _ if stage == Stage::Body => false,
            Phase::Transacting(_) if self.behind.is_some() => true,
            Phase::Ahead(_) => unanswered,
            Phase::Transacting(progress) => progress.rode() && group && unanswered,
            _ => false,
        };
        let ours = match why {
            EndCause::Quit | EndCause::Source(_) => true,
            EndCause::Reply(reply) => reply.code == 421,
            _ => false,
        };
        self.bears_overlap &= ours || !rides;
    }
}
