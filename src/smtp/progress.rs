//! How far one transaction has come: which requests are next, what they were answered, what follows from it.

use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{MailBodyParameter, MailParameter, RcptParameter};

use super::awaited::Awaited;
use super::transcript::is_about_number;
use super::{Answer, Extensions, Protocol, SessionEnd, Transaction, Transcript};
use crate::mail::{Dsn, Mailbox, Reply, Severity};

/// A transaction under way.
pub(super) struct Progress {
    transaction: Transaction,
    transcript: Transcript,
    /// RCPTs sent or passed over.
    next_rcpt: usize,
    rcpts_sent: u64,
    /// A reply was about the number of recipients: no more RCPTs.
    full: bool,
    /// Its requests were sent behind the final dot of the one before.
    rode: bool,
    /// It rode, and its MAIL was not understood where it stood: that says nothing of the message.
    unborne: bool,
    /// It ends where DATA would come.
    probe: bool,
}

/// What follows from the answers, once none is outstanding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is decided: the next request goes, if there is one.
    Open,
    /// 354, and somebody takes the message.
    Message,
    /// 354, and nobody takes it (RFC 2920 section 3.1).
    Nobody,
    /// 354 where MAIL was refused, and somebody takes it all the same: nothing of this can be believed.
    Contradiction,
    /// MAIL or DATA was refused; on the server a transaction may be open.
    Refused,
}

impl Progress {
    pub(super) fn new(transaction: Transaction, transcript: Transcript) -> Self {
        Progress {
            transaction,
            transcript,
            next_rcpt: 0,
            rcpts_sent: 0,
            full: false,
            rode: false,
            unborne: false,
            probe: false,
        }
    }

    /// The same, to be sent behind the final dot of another one.
    pub(super) fn riding(mut self) -> Self {
        self.rode = true;
        self
    }

    /// The same, without DATA.
    pub(super) fn probing(mut self) -> Self {
        self.probe = true;
        self
    }

    pub(super) fn is_probe(&self) -> bool {
        self.probe
    }

    pub(super) fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Before the first request: whether the message and somebody it goes to may be sent to this server.
    pub(super) fn is_sendable(&self) -> bool {
        let has_somebody = self.transcript.rcpts.contains(&Answer::NotSent);
        let asks_for_nobody = self.probe && self.transcript.rcpts.is_empty();
        self.transcript.mail == Answer::NotSent && (has_somebody || asks_for_nobody)
    }

    pub(super) fn into_transcript(self) -> Transcript {
        self.transcript
    }

    /// The transcript of a transaction whose session ended.
    pub(super) fn lost(mut self, end: SessionEnd) -> Transcript {
        if self.unborne {
            self.start_anew();
        } else if self.is_refused() || self.verdict() == Verdict::Nobody {
            return self.transcript;
        }
        self.transcript.lost = Some(end);
        self.transcript
    }

    /// Everything is answered, and the server does not wait for a message.
    pub(super) fn is_refused(&self) -> bool {
        self.verdict() == Verdict::Refused
            && self.transcript.data.reply().is_some_and(|reply| reply.code != 421)
    }

    /// What goes out now, as one write. A group (RFC 2920 section 3.1) is all of it with DATA last; else it is one
    /// request, and DATA only if somebody takes the message.
    pub(super) fn requests(
        &mut self,
        offers: &Extensions,
        group: bool,
        rset: bool,
    ) -> Vec<(String, Awaited)> {
        let most = if group { usize::MAX } else { 1 };
        let rset = rset.then(|| (Rset.to_string(), Awaited::Rset));
        let rest = std::iter::from_fn(|| self.next_request(offers, group));
        rset.into_iter().chain(rest).take(most).collect()
    }

    fn next_request(&mut self, offers: &Extensions, group: bool) -> Option<(String, Awaited)> {
        if self.transcript.mail == Answer::NotSent {
            self.transcript.mail = Answer::Awaited;
            return Some((self.mail(offers).to_string(), Awaited::Mail));
        }
        if let Some(index) = self.take_rcpt(offers.rcpt_max) {
            self.transcript.rcpts[index] = Answer::Awaited;
            let mailbox = self.transaction.forward_paths[index].as_lettre().clone();
            let dsn = self.transaction.rcpt_dsn.get(index).filter(|dsn| asks(offers, dsn));
            // The value of a parameter would be encoded a second time.
            let verbatim = |dsn: &Dsn| RcptParameter::Other { keyword: dsn.to_string(), value: None };
            let parameters = dsn.map(verbatim).into_iter().collect();
            return Some((Rcpt::new(mailbox, parameters).to_string(), Awaited::Rcpt(index)));
        }
        let has_data = !self.probe && (group || self.is_taken_by_somebody());
        if self.transcript.data == Answer::NotSent && has_data {
            self.transcript.data = Answer::Awaited;
            return Some((Data.to_string(), Awaited::Data));
        }
        None
    }

    /// Writes a reply down where it belongs.
    pub(super) fn record(&mut self, awaited: Awaited, reply: &Reply) {
        let transcript = &mut self.transcript;
        let answer = Answer::Reply(reply.clone());
        match awaited {
            Awaited::Mail => {
                // 500 and 502: not understood; 503: not here (RFC 5321 section 4.2.4).
                self.unborne = self.rode && matches!(reply.code, 500 | 502 | 503);
                transcript.mail = answer;
            }
            Awaited::Rcpt(index) => {
                transcript.rcpts[index] = answer;
                self.full |= self.is_taken_by_somebody() && is_about_number(reply);
            }
            Awaited::Data => transcript.data = answer,
            Awaited::FinalDot if !transcript.dots.is_empty() => {
                if let Some(first) = transcript.dots.iter_mut().find(|dot| **dot == Answer::Awaited) {
                    *first = answer;
                }
            }
            Awaited::Body | Awaited::FinalDot => transcript.dot = answer,
            // A lone dot ends no message: whatever is said to it is nobody's outcome.
            _ => {}
        }
    }

    /// The final dot is out. Gives the number of replies that it awaits.
    pub(super) fn dot_sent(&mut self, protocol: Protocol) -> usize {
        let awaits = |rcpt: &Answer| if rcpt.is_completed() { Answer::Awaited } else { Answer::NotSent };
        match protocol {
            Protocol::Smtp => self.transcript.dot = Answer::Awaited,
            Protocol::Lmtp => self.transcript.dots = self.transcript.rcpts.iter().map(awaits).collect(),
        }
        self.transcript.to_dot().filter(|answer| **answer == Answer::Awaited).count()
    }

    /// The final dot is out, and a reply to it is still to come.
    pub(super) fn awaits_reply_to_dot(&self) -> bool {
        self.transcript.is_in_doubt()
    }

    pub(super) fn verdict(&self) -> Verdict {
        let t = &self.transcript;
        let (mail, data) = (t.mail.reply(), t.data.reply());
        let somebody = self.is_taken_by_somebody();
        match data.map(Reply::severity) {
            Some(Severity::Intermediate) if !somebody => Verdict::Nobody,
            Some(Severity::Intermediate) if !t.mail.is_completed() => Verdict::Contradiction,
            Some(Severity::Intermediate) => Verdict::Message,
            Some(_) => Verdict::Refused,
            None if mail.is_some() && !t.mail.is_completed() => Verdict::Refused,
            None => Verdict::Open,
        }
    }

    /// Whether the next message may ride behind this one's final dot: nobody of it has to be sent to again, as
    /// far as can be known before the dot is answered.
    pub(super) fn lets_ride(&self) -> bool {
        let done = |answer: &Answer| match answer {
            Answer::Reply(reply) if reply.severity() == Severity::Permanent => !is_about_number(reply),
            Answer::Unsendable(_) => true,
            answer => answer.is_completed(),
        };
        self.transcript.rcpts.iter().all(done)
    }

    /// Its MAIL rode and was not understood there: it is to be sent again by itself.
    pub(super) fn is_unborne(&self) -> bool {
        self.unborne
    }

    pub(super) fn rode(&self) -> bool {
        self.rode
    }

    /// As if nothing of it had been sent.
    pub(super) fn start_anew(&mut self) {
        let t = &mut self.transcript;
        let sent = t.rcpts.iter_mut().filter(|answer| !matches!(answer, Answer::Unsendable(_)));
        for answer in sent.chain([&mut t.mail, &mut t.data]) {
            *answer = Answer::NotSent;
        }
        (self.next_rcpt, self.rcpts_sent, self.full) = (0, 0, false);
        (self.rode, self.unborne) = (false, false);
    }

    fn is_taken_by_somebody(&self) -> bool {
        self.transcript.rcpts.iter().any(Answer::is_completed)
    }

    fn mail(&self, offers: &Extensions) -> Mail {
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
        if asks(offers, &t.dsn) {
            parameters.push(MailParameter::Other { keyword: t.dsn.to_string(), value: None });
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

/// Whether there is something to be asked of this server.
fn asks(offers: &Extensions, dsn: &Dsn) -> bool {
    offers.dsn && !dsn.is_empty()
}
