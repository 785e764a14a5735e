//! A message made ready for its transaction: read once, before its turn where it may ride behind the one before.

use super::{Sender, Stop};
use crate::fs::File;
use crate::mail::{Dsn, Envelope, Mailbox, Outcome, QueueId, ReversePath};
use crate::message::{HeadText, NoEnvelope};
use crate::net::Connection;
use crate::outgoing::{self, Addressed, Outgoing, Takes, Unsendable};
use crate::policy::{End, ReplyKind, Setback};
use crate::smtp::{Extensions, Transaction};
use crate::spool::{Name, Recipient, Record};

/// A message with its transaction. Its bytes do not change while it waits; what does is its record.
pub(super) struct Prepared {
    pub(super) id: QueueId,
    pub(super) outgoing: Outgoing,
    pub(super) audience: Audience,
    pub(super) transaction: Transaction,
    record: Option<Record>,
    takes: Takes,
}

/// Why a message cannot be made ready.
pub(super) enum NotReady {
    /// What its bytes say.
    Unsendable(Unsendable),
    /// It names nobody, or a setting is missing.
    NoEnvelope(NoEnvelope),
}

/// Who is still to be sent to, and what is known of the others.
pub(super) struct Audience {
    pub(super) reverse_path: ReversePath,
    /// What is asked of notifications.
    pub(super) dsn: Dsn,
    pub(super) recipients: Vec<Recipient>,
    /// Recipients that cannot be read, in words.
    pub(super) problems: Vec<String>,
}

impl Prepared {
    /// Reads the message in `file`, for a server that takes no more than `takes`. With `from` that is the reverse-path of a
    /// message that has one; else the one that is forced on it.
    pub(super) fn read(
        file: &dyn File,
        name: &Name,
        record: Option<&Record>,
        options: &outgoing::Options,
        takes: Takes,
        from: Option<&Mailbox>,
    ) -> Result<Prepared, NotReady> {
        let origin = record.map(|r| r.origin.clone()).unwrap_or_default();
        let outgoing = match record.and_then(given_envelope) {
            Some(envelope) => Outgoing::read_given(file, name, options, &origin, envelope),
            None => Outgoing::read(file, name, options, &origin),
        };
        let mut outgoing = outgoing.map_err(NotReady::Unsendable)?;
        let audience = audience(record, &outgoing).map_err(NotReady::NoEnvelope)?;
        outgoing.fit(file, takes).map_err(|error| NotReady::Unsendable(error.into()))?;
        let waiting: Vec<Mailbox> = audience.waiting().map(|r| r.mailbox.clone()).collect();
        let reverse_path = match (&audience.reverse_path, from.or(outgoing.forced_sender.as_ref())) {
            (ReversePath::Mailbox(_), Some(from)) => ReversePath::Mailbox(from.clone()),
            (own, _) => own.clone(),
        };
        let transaction = Transaction {
            smtputf8: outgoing.facts.head == HeadText::Utf8,
            reverse_path,
            forward_paths: waiting,
            size: outgoing.facts.size,
            eight_bit: outgoing.facts.eight_bit,
            dsn: audience.dsn.clone(),
            rcpt_dsn: audience.waiting().map(|r| r.dsn.clone()).collect(),
            unconvertible: outgoing.unconvertible().map(|why| why.0),
        };
        Ok(Prepared { id: name.id, outgoing, audience, transaction, record: record.cloned(), takes })
    }

    /// Whether it still says what is true of the message `id`, for such a server.
    pub(super) fn is_of(&self, id: QueueId, record: Option<&Record>, takes: Takes) -> bool {
        self.id == id && self.record.as_ref() == record && self.takes == takes
    }
}

/// What a server takes that offers this.
pub(super) fn takes(offers: &Extensions) -> Takes {
    Takes { eight_bit: offers.eight_bit_mime, utf8: offers.smtputf8 && offers.eight_bit_mime }
}

impl Sender {
    /// The message that comes behind the one that was just begun, if its requests may ride behind that one's final dot:
    /// it is the head of the line and nothing holds it, nobody aside has his turn, and the server bears it. Whether
    /// it really rides is the session's to say. `None` also if it cannot be read: that is told when its turn comes.
    pub(super) fn prepare_next(&self, connection: &Connection, stop: &Stop) -> Option<Prepared> {
        if stop.is_requested() || !connection.extensions().pipelining || !connection.bears_overlap() {
            return None;
        }
        let next = self.schedule.rider(&*self.spool, self.clock.monotonic())?;
        let (name, record, file) = self.spool.peek(next)?;
        self.read(&*file, &name, record.as_ref(), takes(connection.extensions())).ok()
    }

    /// Makes a message ready for the smarthost in use.
    pub(super) fn read(
        &self,
        file: &dyn File,
        name: &Name,
        record: Option<&Record>,
        takes: Takes,
    ) -> Result<Prepared, NotReady> {
        let from = self.smarthost().and_then(|smarthost| smarthost.from.as_ref());
        Prepared::read(file, name, record, &self.options.outgoing, takes, from)
    }

    /// The message whose requests rode behind the last final dot, if it is still the next.
    pub(super) fn rider(&self) -> Option<QueueId> {
        let rider = self.prepared.as_ref()?.id;
        self.schedule.due_in_line(&*self.spool, self.clock.monotonic()).filter(|next| *next == rider)
    }
}

impl Audience {
    /// What the transaction that was just settled comes to, and the server's words if somebody is deferred or refused.
    /// `news` is what became of whom in it.
    pub(super) fn end(&self, news: &[(Mailbox, Outcome)]) -> (End, String) {
        let taken = news.iter().any(|(_, outcome)| matches!(outcome, Outcome::Delivered(_)));
        if let Some((deferral, cause)) = setback(self.recipients.iter()) {
            return (End::Deferred { taken, deferral }, cause);
        }
        if self.waiting().next().is_some() {
            // The rest goes next, from the head of the line.
            let cause = self.refused(news).map(|(_, cause)| cause);
            return (End::LeftOver { taken }, cause.unwrap_or_default());
        }
        let all_taken = self.recipients.iter().all(|r| matches!(r.outcome, Some(Outcome::Delivered(_))));
        let (refused, cause) = self.refused(news).unzip();
        let given_up = !all_taken || !self.problems.is_empty();
        (End::Done { taken, given_up, refused }, cause.unwrap_or_default())
    }

    /// What refused it, if that was the same for all. A message with the null reverse-path is a report (RFC 3464 section 2),
    /// and refused for reasons of its own.
    fn refused(&self, news: &[(Mailbox, Outcome)]) -> Option<(Setback, String)> {
        let refusal = |outcome: &Outcome| match outcome {
            Outcome::Failed(stage, reply) => {
                Some((ReplyKind::of(*stage, reply), format!("{reply} (in reply to {})", stage.request())))
            }
            Outcome::Delivered(_) | Outcome::Deferred(..) => None,
        };
        let (said, cause) = news.first().and_then(|(_, outcome)| refusal(outcome))?;
        let is_alike =
            |(_, outcome): &(Mailbox, Outcome)| refusal(outcome).is_some_and(|(other, _)| other == said);
        if self.reverse_path == ReversePath::Null || !news.iter().all(is_alike) {
            return None;
        }
        let recipients = news.iter().map(|(mailbox, _)| mailbox.clone()).collect();
        Some((Setback { said, recipients }, cause))
    }

    /// Those who wait are given up: with the last reply that each had, or the one that the message had.
    pub(super) fn expire(&mut self) {
        let words = self.waiting().find_map(|r| match &r.outcome {
            Some(Outcome::Deferred(stage, reply)) => Some((*stage, reply.clone())),
            _ => None,
        });
        for recipient in self.recipients.iter_mut().filter(|r| r.is_waiting()) {
            let own = match recipient.outcome.take() {
                Some(Outcome::Deferred(stage, reply)) => Some((stage, reply)),
                _ => words.clone(),
            };
            recipient.outcome = own.map(|(stage, reply)| Outcome::Failed(stage, reply));
        }
    }

    /// How long the record of it may become, octets: with a reply of several lines for each recipient.
    pub(super) fn record_size_max(&self) -> u64 {
        let each = |r: &Recipient| 1536 + (r.mailbox.as_str().len() + r.dsn.as_str().len()) as u64;
        4096 + self.recipients.iter().map(each).sum::<u64>()
    }

    /// Writes it down, with what became of each.
    pub(super) fn write_to(&self, record: &mut Record) {
        record.set_recipients(&self.reverse_path, &self.recipients);
        record.set_dsn(&self.dsn);
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = &Recipient> {
        self.recipients.iter().filter(|r| r.is_waiting())
    }

    /// Notes what became of each that was waiting, and returns it. Those that were left over go first the next time: where
    /// the server takes only so many at once, a few that are deferred would keep them out for ever.
    pub(super) fn settle(&mut self, outcomes: Vec<Option<Outcome>>) -> Vec<(Mailbox, Outcome)> {
        let mut outcomes = outcomes.into_iter();
        let (mut left_over, mut tried, mut news) = (Vec::new(), Vec::new(), Vec::new());
        for mut recipient in std::mem::take(&mut self.recipients) {
            let was_waiting = recipient.is_waiting();
            match was_waiting.then(|| outcomes.next().flatten()).flatten() {
                Some(outcome) => {
                    news.push((recipient.mailbox.clone(), outcome.clone()));
                    recipient.outcome = Some(outcome);
                    tried.push(recipient);
                }
                None if was_waiting => left_over.push(recipient),
                None => tried.push(recipient),
            }
        }
        left_over.append(&mut tried);
        self.recipients = left_over;
        news
    }
}

/// The first deferral among those that still wait, for all of them, and the server's words.
pub(super) fn setback<'a>(
    recipients: impl Iterator<Item = &'a Recipient> + Clone,
) -> Option<(Setback, String)> {
    let waiting = recipients.filter(|r| r.is_waiting());
    waiting.clone().find_map(|r| match &r.outcome {
        Some(Outcome::Deferred(stage, reply)) => {
            let recipients = waiting.clone().map(|r| r.mailbox.clone()).collect();
            let setback = Setback { said: ReplyKind::of(*stage, reply), recipients };
            Some((setback, format!("{reply} (in reply to {})", stage.request())))
        }
        _ => None,
    })
}

/// The envelope that came beside the message, if it did.
fn given_envelope(record: &Record) -> Option<Envelope> {
    let (reverse_path, recipients) = record.recipients().filter(|_| record.given)?;
    Envelope::new(reverse_path, recipients.into_iter().map(|r| r.mailbox))
}

/// The frozen envelope if there is one, else that of the message's own bytes.
fn audience(record: Option<&Record>, outgoing: &Outgoing) -> Result<Audience, NoEnvelope> {
    let problems = |addressed: &Addressed| addressed.unreadable.iter().map(ToString::to_string).collect();
    let frozen = record.and_then(Record::recipients);
    match (frozen, &outgoing.addressed) {
        (Some((reverse_path, recipients)), addressed) => Ok(Audience {
            reverse_path,
            dsn: record.map(Record::dsn).unwrap_or_default(),
            recipients,
            problems: addressed.as_ref().map(problems).unwrap_or_default(),
        }),
        (None, Ok(addressed)) => {
            let Envelope { reverse_path, .. } = &addressed.envelope;
            Ok(Audience {
                reverse_path: reverse_path.clone(),
                dsn: addressed.envelope.dsn.clone(),
                recipients: addressed.envelope.recipients().map(Recipient::waiting).collect(),
                problems: problems(addressed),
            })
        }
        (None, Err(error)) => Err(error.clone()),
    }
}
