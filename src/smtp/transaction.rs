//! One transaction inside a session: MAIL, RCPT, DATA, the message (RFC 5321 section 3.3).

use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{MailBodyParameter, MailParameter};

use super::session::{Awaited, Event, Meaning, Phase};
use super::transcript::is_about_number;
use super::{Answer, EndCause, Session, SessionEnd, Transcript, Unsendable};
use crate::mail::{Mailbox, Monotonic, Reply, ReversePath, Stage};

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
}

/// A transaction under way.
pub(super) struct Progress {
    transaction: Transaction,
    transcript: Transcript,
    /// RCPTs sent or passed over.
    next_rcpt: usize,
    rcpts_sent: u64,
    /// A reply was about the number of recipients: no more RCPTs.
    full: bool,
}

impl Session {
    /// Begins a transaction; after [`Event::Ready`] or the end of the one before. What must not be sent to this
    /// server is not, and is [`Answer::Unsendable`] in the transcript.
    pub fn begin(&mut self, transaction: Transaction, now: Monotonic) {
        let mut transcript = Transcript::unsent(transaction.forward_paths.len());
        if !matches!(self.phase, Phase::Idle) {
            let out_of_turn = || SessionEnd {
                stage: self.stage(),
                why: EndCause::Protocol("expected a session between two messages".to_owned()),
            };
            transcript.lost = Some(self.end().cloned().unwrap_or_else(out_of_turn));
            return self.events.push_back(Event::TransactionEnded(transcript));
        }
        self.mark_unsendable(&transaction, &mut transcript);
        if transcript.mail != Answer::NotSent || !transcript.rcpts.contains(&Answer::NotSent) {
            return self.events.push_back(Event::TransactionEnded(transcript));
        }
        let progress = Progress { transaction, transcript, next_rcpt: 0, rcpts_sent: 0, full: false };
        self.phase = Phase::Transacting(Box::new(progress));
        self.next_request(now);
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
            progress.transcript.dot = Answer::Awaited;
            self.awaited[0] = Awaited::FinalDot;
            self.arm(now);
        }
    }

    /// RFC 1870 section 6.1, RFC 6152 section 3, RFC 6531 section 3.2.
    fn mark_unsendable(&self, transaction: &Transaction, transcript: &mut Transcript) {
        let offers = &self.extensions;
        let internationalized = transaction.smtputf8
            || transaction.reverse_path.mailbox().is_some_and(Mailbox::is_internationalized);
        let why = match offers.size_limit() {
            Some(limit) if transaction.size > limit => {
                Some(Unsendable::TooLarge { size: transaction.size, limit })
            }
            _ if transaction.eight_bit && !offers.eight_bit_mime => Some(Unsendable::EightBit),
            _ if internationalized && !offers.smtputf8 => Some(Unsendable::Internationalized),
            _ => None,
        };
        if let Some(why) = why {
            transcript.mail = Answer::Unsendable(why);
            return;
        }
        for (mailbox, answer) in transaction.forward_paths.iter().zip(&mut transcript.rcpts) {
            if mailbox.is_internationalized() && !offers.smtputf8 {
                *answer = Answer::Unsendable(Unsendable::Internationalized);
            }
        }
    }

    /// Sends what comes next, one request at a time. This is the seam for RFC 2920: with PIPELINING it may go on
    /// to push requests (RSET, MAIL, every RCPT, DATA last) without a reply between; `awaited` routes them all.
    fn next_request(&mut self, now: Monotonic) {
        let Phase::Transacting(progress) = &mut self.phase else { return };
        let (line, awaited) = if self.needs_rset {
            (Rset.to_string(), Awaited::Rset)
        } else if progress.transcript.mail == Answer::NotSent {
            progress.transcript.mail = Answer::Awaited;
            self.mails += 1;
            (progress.mail(&self.extensions).to_string(), Awaited::Mail)
        } else if let Some(index) = progress.take_rcpt(self.extensions.rcpt_max) {
            progress.transcript.rcpts[index] = Answer::Awaited;
            let mailbox = progress.transaction.forward_paths[index].as_lettre().clone();
            (Rcpt::new(mailbox, vec![]).to_string(), Awaited::Rcpt(index))
        } else if progress.transcript.rcpts.iter().any(Answer::is_completed) {
            progress.transcript.data = Answer::Awaited;
            (Data.to_string(), Awaited::Data)
        } else {
            // MAIL stands and nobody takes the message.
            self.needs_rset = true;
            return self.end_transaction();
        };
        self.request(&line, awaited, now);
    }

    pub(super) fn on_transaction_reply(&mut self, awaited: Awaited, reply: Reply, now: Monotonic) {
        let Phase::Transacting(progress) = &mut self.phase else { return };
        let transcript = &mut progress.transcript;
        let meaning = Meaning::of(&reply);
        match (awaited, &meaning) {
            (_, Meaning::OutOfStep)
            | (Awaited::Rset | Awaited::Mail | Awaited::Rcpt(_) | Awaited::FinalDot, Meaning::Intermediate)
            | (Awaited::Data, Meaning::Completed)
            // 2yz before the dot is out answers something else; it must never pass for a delivery.
            | (Awaited::Body, Meaning::Completed | Meaning::Intermediate) => {
                return self.out_of_step(awaited.stage(), &reply);
            }
            (Awaited::Mail, _) => transcript.mail = Answer::Reply(reply.clone()),
            (Awaited::Rcpt(index), _) => transcript.rcpts[index] = Answer::Reply(reply.clone()),
            (Awaited::Data, _) => transcript.data = Answer::Reply(reply.clone()),
            (Awaited::Body | Awaited::FinalDot, _) => transcript.dot = Answer::Reply(reply.clone()),
            _ => {}
        }
        if reply.code == 421 {
            // RFC 5321 section 3.8. Also to the final dot: then the message was not taken.
            return self.finish(awaited.stage(), EndCause::Reply(reply));
        }
        match (awaited, meaning) {
            (Awaited::Rset, Meaning::Completed) => {
                self.needs_rset = false;
                self.next_request(now);
            }
            (Awaited::Rset, _) => self.finish(Stage::Rset, EndCause::Reply(reply)),
            (Awaited::Mail, Meaning::Completed) => self.next_request(now),
            (Awaited::Rcpt(_), _) => {
                let taken = transcript.rcpts.iter().any(Answer::is_completed);
                progress.full |= taken && is_about_number(&reply);
                self.next_request(now);
            }
            (Awaited::Data, Meaning::Intermediate) => {
                self.awaited.push_front(Awaited::Body);
                self.events.push_back(Event::SendBody);
            }
            (Awaited::Mail | Awaited::Data, _) => {
                self.needs_rset = true;
                self.end_transaction();
            }
            (Awaited::Body, _) => {
                // An answer before the end. The server may take what we write next for text or for commands.
                self.end_transaction();
                self.finish(Stage::Body, EndCause::Reply(reply));
            }
            _ => self.end_transaction(),
        }
    }

    fn end_transaction(&mut self) {
        if let Phase::Transacting(progress) = std::mem::replace(&mut self.phase, Phase::Idle) {
            self.events.push_back(Event::TransactionEnded(progress.transcript));
        }
    }
}

impl Progress {
    /// The transcript of a transaction whose session ended.
    pub(super) fn lost(mut self, end: SessionEnd) -> Transcript {
        self.transcript.lost = Some(end);
        self.transcript
    }

    fn mail(&self, offers: &super::Extensions) -> Mail {
        let t = &self.transaction;
        let mut parameters = Vec::new();
        if offers.size.is_some() {
            parameters.push(MailParameter::Size(usize::try_from(t.size).unwrap_or(usize::MAX)));
        }
        if t.eight_bit {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let sent = t.forward_paths.iter().zip(&self.transcript.rcpts).filter(|(_, a)| **a == Answer::NotSent);
        let mut paths = t.reverse_path.mailbox().into_iter().chain(sent.map(|(mailbox, _)| mailbox));
        if t.smtputf8 || paths.any(Mailbox::is_internationalized) {
            parameters.push(MailParameter::SmtpUtfEight);
        }
        Mail::new(t.reverse_path.mailbox().map(|mailbox| mailbox.as_lettre().clone()), parameters)
    }

    /// The next recipient to be sent; `None` if there is none left or this transaction has no room.
    fn take_rcpt(&mut self, most: Option<u64>) -> Option<usize> {
        if self.full || most.is_some_and(|most| self.rcpts_sent >= most) {
            return None;
        }
        let rest = self.transcript.rcpts.iter().enumerate().skip(self.next_rcpt);
        let (index, _) = rest.into_iter().find(|(_, answer)| **answer == Answer::NotSent)?;
        self.next_rcpt = index + 1;
        self.rcpts_sent += 1;
        Some(index)
    }
}
