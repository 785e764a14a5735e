//! One message in one transaction, and what is written down of it before the next one may go.

use std::time::Duration;

use super::due::{restated, standing};
use super::prepare::{Audience, NotReady, Prepared, takes};
use super::{Ended, MessageEnd, Sender, Stop, Trouble};
use crate::mail::{Mailbox, Outcome, QueueId};
use crate::message::{NoEnvelope, Refusal};
use crate::net::Connection;
use crate::outgoing::Unsendable;
use crate::policy::{End, Expiry, Fate, Judgement, Ruling, Then, judge, may_have_had_enough};
use crate::report::Report;
use crate::smtp::{Answer, EndCause, SessionEnd, Transcript};
use crate::spool::{Failed, InFlight, Place, Recipient, Record, SpoolError};

/// How long a transaction in flight may still take when the service ends.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum Attempt {
    /// It is settled, or waits without holding anybody; `taken` by the server.
    Settled { taken: bool },
    /// No server was asked: it is refused, or held.
    NotSent,
    /// It was deferred and holds the line.
    HoldsLine { cause: String },
    /// The session is of no use any more; the message is charged nothing.
    Trouble(Trouble),
    /// The same, and the session is still open.
    SessionIsFull(Trouble),
    /// The same, and it is not the session's fault: a new one would fare no better.
    QueueStops(Trouble),
    /// The service ends and the transaction did not end in time. Recovery finds the message.
    Stopped,
}

impl Sender {
    /// Takes the message through one transaction. The move to `sending/` is durable before the first byte leaves,
    /// and the outcome is on disk when this returns. `served` says that a message was taken on this connection.
    pub(super) async fn attempt(
        &mut self,
        connection: &mut Connection,
        id: QueueId,
        served: bool,
        stop: &mut Stop,
    ) -> Result<Attempt, SpoolError> {
        self.schedule.begins(id, &*self.spool);
        let Some(in_flight) = self.spool.begin(id)? else { return Ok(Attempt::NotSent) };
        let takes = takes(connection.extensions());
        let (file, name, record) = (in_flight.file(), in_flight.name(), in_flight.record());
        let ready = self
            .prepared
            .take()
            .filter(|p| p.is_of(id, record, takes))
            .map_or_else(|| self.read(file, name, record, takes), Ok);
        let Prepared { outgoing, mut audience, transaction, .. } = match ready {
            Ok(prepared) => prepared,
            Err(why) => return self.not_ready(in_flight, why),
        };
        // Once there is a record of it, its envelope is no more read from its bytes.
        for parameter in outgoing.addressed.iter().flat_map(|a| &a.dropped).filter(|_| record.is_none()) {
            tracing::warn!(%id, file = name.label(), parameter, "dsn-parameter-dropped");
        }
        if outgoing.is_converted() || outgoing.breaks_dkim() {
            tracing::debug!(%id, breaks_dkim = outgoing.breaks_dkim(), "converted");
        }
        let recipients = transaction.forward_paths.len().try_into().unwrap_or(u32::MAX);
        if !self.schedule.has_room_for(id, recipients, self.clock.monotonic()) {
            self.spool.defer(in_flight, None)?;
            return Ok(Attempt::NotSent);
        }
        if let Err(error) = self.spool.set_room_aside(audience.record_size_max()) {
            // What the server would say could not be written down.
            self.spool.defer(in_flight, None)?;
            return Err(error);
        }
        if self.schedule.sends(recipients, self.clock.monotonic()) {
            // It counts whatever comes of it, also if this process is killed meanwhile.
            self.keep_memory();
        }
        self.prepared = self.prepare_next(connection, stop);
        let next = self.prepared.as_ref().map(|p| p.transaction.clone());
        let clock = self.clock.clone();
        let now = move || clock.monotonic();
        let mut body = outgoing.body(in_flight.file());
        let transcript = tokio::select! {
            transcript = connection.transact(transaction, &mut body, next, &now) => transcript,
            () = stop.requested_for(STOP_WITHIN) => return Ok(Attempt::Stopped),
        };
        drop(body);
        self.weigh(&transcript, connection);
        if let Some(end) = may_have_had_enough(&transcript).filter(|_| served) {
            self.spool.defer(in_flight, None)?;
            return Ok(Attempt::SessionIsFull(Trouble::ended(&end, connection.peer())));
        }
        match judge(&transcript) {
            Judgement::Settled(outcomes) => self.settle(in_flight, audience, outcomes),
            Judgement::Session(end) => self.cut_short(in_flight, &audience, (End::Session, &end), connection),
            Judgement::Lost(end) => {
                // Between two messages it belongs to neither.
                let lost = if transcript.mail == Answer::NotSent { End::Session } else { End::Lost };
                self.cut_short(in_flight, &audience, (lost, &end), connection)
            }
            Judgement::InDoubt(end, known) => {
                // Whoever is known to have it must not be sent it again.
                for (mailbox, outcome) in &audience.settle(known) {
                    self.log_outcome(&in_flight, mailbox, outcome);
                }
                self.cut_short(in_flight, &audience, (End::Unknown, &end), connection)
            }
        }
    }

    /// What the transaction shows of the server's bearing.
    fn weigh(&mut self, transcript: &Transcript, connection: &Connection) {
        let now = self.clock.monotonic();
        match &transcript.lost {
            Some(end) if connection.sends_groups() && transcript.mail != Answer::NotSent => {
                self.bearing().ended(end, now);
            }
            None => self.bearing().answered(),
            Some(_) => {}
        }
    }

    /// Every recipient that was tried has an outcome.
    fn settle(
        &mut self,
        in_flight: InFlight,
        mut audience: Audience,
        outcomes: Vec<Option<Outcome>>,
    ) -> Result<Attempt, SpoolError> {
        let news = audience.settle(outcomes);
        let (end, cause) = audience.end(&news);
        let stage = end.stage();
        let taken = news.iter().any(|(_, outcome)| matches!(outcome, Outcome::Delivered(_)));
        let ruling = self.rule(&in_flight, end);
        self.spool.set_may_come_back(self.schedule.may_come_back());
        for (mailbox, outcome) in &news {
            match (ruling.fate, outcome) {
                // It is the configuration's, and the message waits.
                (Fate::Uncharged, Outcome::Failed(_, reply) | Outcome::Deferred(_, reply)) => {
                    tracing::warn!(id = %in_flight.name().id, to = %mailbox, %reply, "not-charged");
                }
                _ => self.log_outcome(&in_flight, mailbox, outcome),
            }
        }
        let was_aside = in_flight.record().is_some_and(|record| record.aside.is_some());
        if !was_aside && ruling.standing.aside.is_some() {
            tracing::warn!(id = %in_flight.name().id, %cause, "message-stepped-aside");
        }
        let mut record = restated(in_flight.record(), ruling.standing);
        audience.write_to(&mut record);
        let id = in_flight.name().id;
        match ruling.fate {
            Fate::Delivered => {
                self.spool.deliver_as(in_flight, record, self.clock.wall())?;
                self.outcomes.note(id, audience.ended(MessageEnd::Delivered));
            }
            Fate::Failed => self.give_up(in_flight, record, &audience)?,
            Fate::Expired(expiry) => self.expire(in_flight, record, audience, expiry)?,
            Fate::Waits => self.spool.defer(in_flight, Some(record))?,
            Fate::Uncharged => self.spool.defer(in_flight, None)?,
        }
        if let Some(first) = ruling.steps_aside {
            self.set_aside(first)?;
        }
        if ruling.fate == Fate::Failed || ruling.then == Then::BreakerOpen {
            // A kill must not forget it: what is to be brought back is known from there.
            self.keep_memory();
        }
        self.bring_back(&ruling.brings_back)?;
        if ruling.closes_breaker {
            tracing::info!(smarthost = self.smarthost_name(), "breaker-closed");
        }
        Ok(match ruling.then {
            Then::Proceed => {
                self.answered = true;
                if taken || !self.is_said_unusable() {
                    self.say_usable();
                }
                Attempt::Settled { taken }
            }
            Then::HoldLine => Attempt::HoldsLine { cause },
            Then::EndSession | Then::DeferredAlike => {
                Attempt::QueueStops(Trouble::deferred_alike(stage, &cause))
            }
            Then::BreakerOpen => Attempt::QueueStops(Trouble::refused_alike(stage, &cause)),
        })
    }

    /// Messages that were given up, and not for their own fault.
    pub(super) fn bring_back(&self, ids: &[QueueId]) -> Result<(), SpoolError> {
        for id in ids {
            match self.spool.retry(*id, Place::Line)? {
                Ok(name) => {
                    self.outcomes.forget(*id);
                    tracing::warn!(%id, file = name.label(), "brought-back");
                }
                // It waits, or an operator was there first.
                Err(why) => tracing::debug!(%id, %why, "not-brought-back"),
            }
        }
        Ok(())
    }

    /// Deferred for too long.
    fn expire(
        &self,
        in_flight: InFlight,
        mut record: Record,
        mut audience: Audience,
        expiry: Expiry,
    ) -> Result<(), SpoolError> {
        let why = match expiry {
            Expiry::Age(age) => format!(
                "expired: it was deferred for {} while the server could be reached (delivery.max_age)",
                in_words(age)
            ),
            Expiry::Attempts(times) => format!("expired: it was tried {times} times (delivery.max_attempts)"),
        };
        tracing::error!(id = %in_flight.name().id, file = in_flight.name().label(), why, "expired");
        audience.problems.push(why);
        let failed = self.failed(&in_flight, &audience);
        audience.expire();
        audience.write_to(&mut record);
        record.failed = Some(failed);
        self.fail(in_flight, &record, audience.ended(MessageEnd::Failed))
    }

    fn rule(&mut self, in_flight: &InFlight, end: End) -> Ruling {
        let (id, standing) = (in_flight.name().id, standing(in_flight.record()));
        self.schedule.ended(id, standing, end, &*self.spool, self.clock.monotonic())
    }

    /// The transaction has no outcome.
    fn cut_short(
        &mut self,
        in_flight: InFlight,
        audience: &Audience,
        (end, why): (End, &SessionEnd),
        connection: &Connection,
    ) -> Result<Attempt, SpoolError> {
        let id = in_flight.name().id;
        let was = standing(in_flight.record());
        let standing = self.rule(&in_flight, end.clone()).standing;
        let mut record = restated(in_flight.record(), standing);
        if end == End::Unknown {
            tracing::warn!(%id, cause = %why, times = standing.unknown_ends, "outcome-unknown");
            audience.write_to(&mut record);
        }
        if was.aside.is_none() && standing.aside.is_some() {
            tracing::warn!(%id, cause = %why, "message-stepped-aside");
        }
        if let EndCause::Source(error) = &why.why {
            tracing::error!(%id, %error, "message-unreadable");
        }
        self.spool.defer(in_flight, (standing != was).then_some(record))?;
        Ok(Attempt::Trouble(Trouble::ended(why, connection.peer())))
    }

    fn give_up(
        &self,
        in_flight: InFlight,
        mut record: Record,
        audience: &Audience,
    ) -> Result<(), SpoolError> {
        record.failed = Some(self.failed(&in_flight, audience));
        tracing::error!(
            id = %in_flight.name().id,
            file = in_flight.name().label(),
            report = in_flight.name().report(),
            "failed"
        );
        self.fail(in_flight, &record, audience.ended(MessageEnd::Failed))
    }

    fn fail(&self, in_flight: InFlight, record: &Record, ended: Ended) -> Result<(), SpoolError> {
        let id = in_flight.name().id;
        self.spool.fail(in_flight, record)?;
        self.outcomes.note(id, ended);
        Ok(())
    }

    fn failed(&self, in_flight: &InFlight, audience: &Audience) -> Failed {
        let each = |r: &Recipient| (r.mailbox.clone(), r.outcome.clone());
        let recipients: Vec<_> = audience.recipients.iter().map(each).collect();
        self.failure(in_flight, &recipients, &audience.problems)
    }

    /// It goes nowhere, or not now, and no server has to be asked.
    fn not_ready(&self, in_flight: InFlight, why: NotReady) -> Result<Attempt, SpoolError> {
        match why {
            NotReady::Unsendable(Unsendable::Refused(refusal))
            | NotReady::NoEnvelope(NoEnvelope::Refused(refusal)) => self.refuse(in_flight, &refusal),
            NotReady::Unsendable(Unsendable::Io(error)) => self.unreadable(in_flight, &error),
            NotReady::NoEnvelope(NoEnvelope::Unconfigured { setting, why }) => {
                let id = in_flight.name().id;
                tracing::warn!(%id, setting, %why, "message-held");
                self.spool.defer(in_flight, None)?;
                self.spool.set_unconfigured(id, format!("{why} (set {setting})"));
                Ok(Attempt::NotSent)
            }
        }
    }

    /// Its bytes can never be sent.
    fn refuse(&self, in_flight: InFlight, refusal: &Refusal) -> Result<Attempt, SpoolError> {
        tracing::error!(
            id = %in_flight.name().id,
            file = in_flight.name().label(),
            reason = %refusal,
            report = in_flight.name().report(),
            "refused"
        );
        // An envelope that was given stands nowhere else.
        let mut record = in_flight.record().cloned().unwrap_or_else(Record::empty);
        record.failed = Some(self.failure(&in_flight, &[], &[refusal.to_string()]));
        let problems = vec![refusal.to_string()];
        let ended = Ended { how: MessageEnd::Failed, recipients: Vec::new(), problems };
        self.fail(in_flight, &record, ended)?;
        Ok(Attempt::NotSent)
    }

    /// The disk does not give its bytes: it is not the message's fault, and it holds nobody.
    fn unreadable(&self, in_flight: InFlight, error: &std::io::Error) -> Result<Attempt, SpoolError> {
        let id = in_flight.name().id;
        tracing::error!(id = %id, %error, "message-unreadable");
        self.spool.defer(in_flight, None)?;
        self.spool.set_unreadable(id, error.to_string());
        Ok(Attempt::NotSent)
    }

    fn failure(
        &self,
        in_flight: &InFlight,
        recipients: &[(Mailbox, Option<Outcome>)],
        problems: &[String],
    ) -> Failed {
        let (name, given_up) = (in_flight.name(), self.clock.wall());
        let file = name.to_string();
        let report = Report {
            label: name.label(),
            file: &file,
            accepted: name.accepted,
            given_up,
            recipients,
            problems,
        };
        Failed::new(given_up, report.text())
    }

    fn log_outcome(&self, in_flight: &InFlight, to: &Mailbox, outcome: &Outcome) {
        let (id, file) = (in_flight.name().id, in_flight.name().label());
        match outcome {
            Outcome::Delivered(reply) => tracing::info!(%id, file, %to, %reply, "delivered"),
            Outcome::Deferred(stage, reply) => {
                tracing::warn!(%id, file, %to, %reply, request = stage.request(), "deferred");
            }
            Outcome::Failed(stage, reply) => {
                tracing::error!(%id, file, %to, %reply, request = stage.request(), "recipient-failed");
            }
        }
    }
}

fn in_words(span: Duration) -> String {
    match span.as_secs() {
        secs @ 0..7200 => format!("{secs} s"),
        secs @ 7200..172_800 => format!("{} h", secs / 3600),
        secs => format!("{} days", secs / 86_400),
    }
}
