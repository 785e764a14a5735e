//! One transaction inside a session: MAIL, RCPT, DATA, the message (RFC 5321 section 3.3), one request at a time or,
//! where PIPELINING is offered, as one group (RFC 2920 section 3.1). What rides behind a final dot is in `overlap.rs`.

use super::awaited::{Awaited, Meaning};
use super::progress::{Progress, Verdict};
use super::session::{Event, Phase};
use super::{Answer, EndCause, Pipelining, Protocol, Session, SessionEnd, Transcript, Unsendable};
use crate::mail::{Dsn, Mailbox, Monotonic, Reply, ReversePath, Stage};

/// What one transaction is to carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The argument of MAIL FROM.
    pub reverse_path: ReversePath,
    /// The arguments of RCPT TO.
    pub forward_paths: Vec<Mailbox>,
    /// Octets on the wire, without transparency and the final dot (RFC 1870 section 5).
    pub size: u64,
    /// There are octets above 127 in it.
    pub eight_bit: bool,
    /// Its header fields need SMTPUTF8. The addresses are looked at here.
    pub smtputf8: bool,
    /// DSN parameters of MAIL (RFC 3461), for a server that offers DSN.
    pub dsn: Dsn,
    /// Those of each RCPT, in the order of the forward-paths; where there is none, nothing is asked.
    pub rcpt_dsn: Vec<Dsn>,
    /// Why it has no form in which any server takes it, if that was tried: a fragment behind "cannot be converted:".
    pub unconvertible: Option<&'static str>,
}

impl Session {
    /// Begins a transaction; after [`Event::Ready`] or the end of the one before. What must not be sent to this
    /// server is not, and is [`Answer::Unsendable`] in the transcript.
    ///
    /// The one that was sent ahead by [`Session::begin_behind`] is gone on with; any other in its place abandons it.
    pub fn begin(&mut self, transaction: Transaction, now: Monotonic) {
        let Some(transaction) = self.adopt(transaction, now) else { return };
        if !matches!(self.phase, Phase::Idle) {
            let out_of_turn = || SessionEnd {
                stage: self.stage(),
                why: EndCause::Protocol("expected a session between two messages".to_owned()),
            };
            let mut transcript = Transcript::unsent(transaction.forward_paths.len());
            transcript.lost = Some(self.end().cloned().unwrap_or_else(out_of_turn));
            return self.events.push_back(Event::TransactionEnded(transcript));
        }
        let progress = self.prepare(transaction);
        self.start(progress, now);
    }

    /// MAIL and every RCPT of a transaction, one after the other, and nothing behind them: it ends there, and the server is
    /// told so by what comes next (RSET, or QUIT). Only between two messages; anywhere else nothing is sent.
    pub fn probe(&mut self, transaction: Transaction, now: Monotonic) {
        let progress = self.prepare(transaction).probing();
        match self.phase {
            Phase::Idle => self.start(progress, now),
            _ => {
                let mut transcript = progress.into_transcript();
                transcript.lost = self.end().cloned();
                self.events.push_back(Event::TransactionEnded(transcript));
            }
        }
    }

    fn start(&mut self, progress: Progress, now: Monotonic) {
        if !progress.is_sendable() {
            return self.events.push_back(Event::TransactionEnded(progress.into_transcript()));
        }
        self.phase = Phase::Transacting(Box::new(progress));
        self.advance(now);
    }

    /// Some of the message was taken by the connection: the time-out for a block starts anew
    /// (RFC 5321 section 4.5.3.2.5).
    pub fn body_progress(&mut self, now: Monotonic) {
        if self.awaited.front() == Some(&Awaited::Body) {
            self.arm(now);
        }
    }

    /// The last octet of the final dot was handed to the connection: from here on the message may have been taken.
    pub fn body_sent(&mut self, now: Monotonic) {
        if self.awaited.front() == Some(&Awaited::Body)
            && let Phase::Transacting(progress) = &mut self.phase
        {
            let replies = progress.dot_sent(self.options.protocol);
            self.awaited[0] = Awaited::FinalDot;
            // With LMTP nothing rides, and so nothing else is awaited.
            self.awaited.extend(std::iter::repeat_n(Awaited::FinalDot, replies.saturating_sub(1)));
            self.arm(now);
        }
    }

    /// The transaction before its first request, with what must not be sent to this server marked.
    /// RFC 1870 section 6.1, RFC 6152 section 3, RFC 6531 section 3.2.
    pub(super) fn prepare(&self, transaction: Transaction) -> Progress {
        let mut transcript = Transcript::unsent(transaction.forward_paths.len());
        let offers = &self.extensions;
        let internationalized = transaction.smtputf8
            || transaction.reverse_path.mailbox().is_some_and(Mailbox::is_internationalized);
        let why = match offers.size_limit() {
            Some(limit) if transaction.size > limit => {
                Some(Unsendable::TooLarge { size: transaction.size, limit })
            }
            _ if transaction.eight_bit && !offers.eight_bit_mime => {
                Some(Unsendable::EightBit(transaction.unconvertible))
            }
            _ if internationalized && !offers.smtputf8 => {
                Some(Unsendable::Internationalized(transaction.unconvertible))
            }
            _ => None,
        };
        if let Some(why) = why {
            transcript.mail = Answer::Unsendable(why);
            return Progress::new(transaction, transcript);
        }
        for (mailbox, answer) in transaction.forward_paths.iter().zip(&mut transcript.rcpts) {
            if mailbox.is_internationalized() && !offers.smtputf8 {
                *answer = Answer::Unsendable(Unsendable::Internationalized(None));
            }
        }
        Progress::new(transaction, transcript)
    }

    pub(super) fn send(&mut self, requests: Vec<(String, Awaited)>, now: Monotonic) {
        for (line, awaited) in requests {
            self.mails += u64::from(awaited == Awaited::Mail);
            self.request(&line, awaited, now);
        }
    }

    /// Goes on, once nothing that was sent is unanswered: with a group that is behind its last reply.
    pub(super) fn advance(&mut self, now: Monotonic) {
        let group = self.pipelining() != Pipelining::Off;
        let Phase::Transacting(progress) = &mut self.phase else { return };
        if !self.awaited.is_empty() {
            return;
        }
        let group = group && !progress.is_probe();
        match progress.verdict() {
            Verdict::Open => {
                let rset = std::mem::take(&mut self.needs_rset);
                let requests = progress.requests(&self.extensions, group, rset);
                if requests.is_empty() {
                    // MAIL stands and nobody takes the message.
                    return self.end_refused(now);
                }
                self.send(requests, now);
            }
            Verdict::Message => {
                self.awaited.push_front(Awaited::Body);
                self.arm(now);
                self.events.push_back(Event::SendBody);
            }
            // RFC 2033 section 4.2: as many replies to the dot as recipients, and here that is none.
            Verdict::Nobody if self.options.protocol == Protocol::Lmtp => {
                self.fault(Stage::Data, "expected a refusal of DATA for no recipients, found 354");
            }
            Verdict::Nobody => self.request(".\r\n", Awaited::LoneDot, now),
            Verdict::Contradiction => {
                self.fault(Stage::Data, "expected a refusal behind the refused MAIL FROM, found 354");
            }
            Verdict::Refused => self.end_refused(now),
        }
    }

    pub(super) fn on_transaction_reply(&mut self, awaited: Awaited, reply: Reply, now: Monotonic) {
        let (Phase::Transacting(progress) | Phase::Ahead(progress)) = &mut self.phase else { return };
        let meaning = Meaning::of(&reply);
        let in_step = match meaning {
            Meaning::OutOfStep => false,
            Meaning::Intermediate => awaited == Awaited::Data,
            // 2yz before the dot is out answers something else; it must never pass for a delivery.
            Meaning::Completed => !matches!(awaited, Awaited::Data | Awaited::Body),
            Meaning::Refused => true,
        };
        if !in_step {
            return self.out_of_step(awaited.stage(), &reply);
        }
        progress.record(awaited, &reply);
        self.bears_overlap &= !progress.is_unborne();
        match (awaited, meaning) {
            // RFC 5321 section 3.8. Also to the final dot: then the message was not taken.
            _ if reply.code == 421 => self.finish(awaited.stage(), EndCause::Reply(reply)),
            (Awaited::Rset, Meaning::Refused) => self.finish(Stage::Rset, EndCause::Reply(reply)),
            (Awaited::Body, _) => {
                // An answer before the end. The server may take what we write next for text or for commands.
                self.end_transaction();
                self.finish(Stage::Body, EndCause::Reply(reply));
            }
            // The dot without a message is answered; RSET in front of the next MAIL costs nothing.
            (Awaited::LoneDot, _) => self.end_refused(now),
            // LMTP: the replies for the other recipients are still to come.
            (Awaited::FinalDot, _) if progress.awaits_reply_to_dot() => {}
            // Postfix keeps a transaction open whose message its smtpd_end_of_data_restrictions refused.
            (Awaited::FinalDot, Meaning::Refused) if self.behind.is_none() => self.end_refused(now),
            // What rode behind it is still unanswered.
            (Awaited::FinalDot, _) => self.end_transaction(),
            _ => self.advance(now),
        }
    }

    /// Nobody takes the message, and on the server the transaction may still be open.
    fn end_refused(&mut self, now: Monotonic) {
        self.needs_rset = true;
        match &mut self.phase {
            Phase::Transacting(progress) if progress.is_unborne() => {
                progress.start_anew();
                self.advance(now);
            }
            _ => self.end_transaction(),
        }
    }

    fn end_transaction(&mut self) {
        let after = self.behind.take().map_or(Phase::Idle, Phase::Ahead);
        if let Phase::Transacting(progress) = std::mem::replace(&mut self.phase, after) {
            self.events.push_back(Event::TransactionEnded(progress.into_transcript()));
        }
    }
}
