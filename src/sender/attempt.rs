//! One message in one transaction, and what is written down of it before the next one may go.

use std::time::Duration;

use super::prepare::{Audience, NotReady, Prepared};
use super::{Deferral, Sender, Stop, Trouble};
use crate::mail::{Mailbox, Outcome, QueueId};
use crate::message::{NoEnvelope, Refusal};
use crate::net::Connection;
use crate::outgoing::Unsendable;
use crate::policy::{Judgement, Next, judge};
use crate::report::Report;
use crate::smtp::{Answer, EndCause, SessionEnd};
use crate::spool::{Failed, InFlight, Record, SpoolError};

/// After so many transactions that ended with the dot out and no reply the message steps aside.
const UNKNOWN_ENDS_MAX: u32 = 3;
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
    /// The same, and the line was lost in the transaction of this message, before its final dot.
    Lost(Trouble),
    /// The service ends and the transaction did not end in time. Recovery finds the message.
    Stopped,
}

impl Sender {
    /// Takes the message through one transaction. The move to `sending/` is durable before the first byte leaves,
    /// and the outcome is on disk when this returns.
    pub(super) async fn attempt(
        &mut self,
        connection: &mut Connection,
        id: QueueId,
        stop: &mut Stop,
    ) -> Result<Attempt, SpoolError> {
        self.aside_due.remove(&id);
        let deferral = self.asides.remove(&id);
        let Some(in_flight) = self.spool.begin(id)? else { return Ok(Attempt::NotSent) };
        let ready = self.prepared.take().filter(|p| p.is_of(id, in_flight.record())).map_or_else(
            || Prepared::read(in_flight.file(), in_flight.name(), in_flight.record(), &self.options.outgoing),
            Ok,
        );
        let Prepared { outgoing, audience, transaction, .. } = match ready {
            Ok(prepared) => prepared,
            Err(why) => return self.not_ready(in_flight, why),
        };
        if let Err(error) = self.spool.set_room_aside(audience.record_size_max()) {
            // What the server would say could not be written down.
            self.spool.defer(in_flight, None)?;
            return Err(error);
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
        let judgement = judge(&transcript);
        match judgement {
            Judgement::Settled(outcomes) => self.settle(in_flight, audience, outcomes),
            Judgement::Session(ref end) | Judgement::Lost(ref end) => {
                // Between two messages it belongs to neither.
                let is_lost = matches!(judgement, Judgement::Lost(_)) && transcript.mail != Answer::NotSent;
                self.asides.extend(deferral.map(|known| (id, known)));
                self.return_uncharged(in_flight, is_lost)?;
                if let EndCause::Source(error) = &end.why {
                    tracing::error!(id = %id, %error, "message-unreadable");
                }
                let trouble = Trouble::ended(end, connection.peer());
                Ok(if is_lost { Attempt::Lost(trouble) } else { Attempt::Trouble(trouble) })
            }
            Judgement::InDoubt(end) => {
                self.asides.extend(deferral.map(|known| (id, known)));
                self.unknown_end(in_flight, &audience, &end)?;
                Ok(Attempt::Trouble(Trouble::ended(&end, connection.peer())))
            }
        }
    }

    /// Every recipient that was tried has an outcome.
    fn settle(
        &mut self,
        in_flight: InFlight,
        mut audience: Audience,
        outcomes: Vec<Option<Outcome>>,
    ) -> Result<Attempt, SpoolError> {
        self.say_usable();
        // By this transaction: what an earlier one delivered fills no budget.
        let taken = outcomes.iter().any(|outcome| matches!(outcome, Some(Outcome::Delivered(_))));
        for (mailbox, outcome) in audience.settle(outcomes) {
            self.log_outcome(&in_flight, &mailbox, &outcome);
        }
        if taken {
            self.budget.delivered();
            self.last_aside = None;
        }
        let mut record = in_flight.record().cloned().unwrap_or_else(Record::empty);
        record.attempts += 1;
        record.set_recipients(&audience.reverse_path, &audience.recipients);
        if let Some((deferral, cause)) = audience.deferral() {
            return self.deferred(in_flight, record, (deferral, cause), taken);
        }
        if audience.waiting().next().is_some() {
            // Left over because the server takes no more at once: the rest goes next, from the head of the line.
            self.spool.defer(in_flight, Some(record))?;
            return Ok(Attempt::Settled { taken });
        }
        let all_taken = audience.recipients.iter().all(|r| matches!(r.outcome, Some(Outcome::Delivered(_))));
        if all_taken && audience.problems.is_empty() {
            self.spool.deliver(in_flight)?;
        } else {
            self.give_up(in_flight, record, &audience)?;
        }
        Ok(Attempt::Settled { taken })
    }

    fn deferred(
        &mut self,
        in_flight: InFlight,
        mut record: Record,
        (deferral, cause): (Deferral, String),
        taken: bool,
    ) -> Result<Attempt, SpoolError> {
        let id = in_flight.name().id;
        let is_known = self.asides.values().any(|a| a.is_like(&deferral) && a.shares_recipient(&deferral));
        let next = match record.aside {
            Some(_) => Next::StepAside,
            // For this recipient the server has said so already: nobody has to wait to hear it again.
            None if is_known && !self.budget.is_strict() => Next::StepAside,
            None => self.budget.deferred(),
        };
        if next == Next::HoldLine {
            self.spool.defer(in_flight, Some(record))?;
            return Ok(Attempt::HoldsLine { cause });
        }
        let is_general = |last: &Deferral| {
            last.is_like(&deferral) && !last.shares_recipient(&deferral) && !deferral.is_about_mailbox()
        };
        if record.aside.is_none() && !is_known && self.last_aside.as_ref().is_some_and(is_general) {
            // Two in a row, and nobody in common: it is not about them.
            self.spool.defer(in_flight, Some(record))?;
            self.end_trial(id);
            return Ok(Attempt::Trouble(Trouble::deferred_alike(deferral.stage, &cause)));
        }
        if record.aside.is_none() {
            tracing::warn!(id = %id, %cause, "message-stepped-aside");
            self.last_aside = Some(deferral.clone());
        }
        record.aside = Some(record.aside.map_or(0, |tries| tries.saturating_add(1)));
        self.asides.insert(id, deferral);
        self.schedule_aside(id, record.aside);
        self.spool.defer(in_flight, Some(record))?;
        Ok(Attempt::Settled { taken })
    }

    /// Charged nothing; but one that is aside waits for its next turn as after any other try. If the line is lost with
    /// it, the gaps grow: each time everybody else waits an interval for it.
    fn return_uncharged(&mut self, in_flight: InFlight, is_lost: bool) -> Result<(), SpoolError> {
        let mut record = in_flight.record().filter(|record| record.aside.is_some()).cloned();
        if let Some(record) = record.as_mut().filter(|_| is_lost) {
            record.aside = record.aside.map(|tries| tries.saturating_add(1));
        }
        self.schedule_aside(in_flight.name().id, record.as_ref().and_then(|record| record.aside));
        self.spool.defer(in_flight, record.filter(|_| is_lost))
    }

    /// The dot is out and nobody knows: it counts, for a message must not be sent again and again for ever.
    fn unknown_end(
        &mut self,
        in_flight: InFlight,
        audience: &Audience,
        end: &SessionEnd,
    ) -> Result<(), SpoolError> {
        let id = in_flight.name().id;
        let mut record = in_flight.record().cloned().unwrap_or_else(Record::empty);
        record.set_recipients(&audience.reverse_path, &audience.recipients);
        record.unknown_ends += 1;
        tracing::warn!(id = %id, cause = %end, times = record.unknown_ends, "outcome-unknown");
        if let Some(tries) = record.aside {
            record.aside = Some(tries.saturating_add(1));
        } else if record.unknown_ends >= UNKNOWN_ENDS_MAX && !self.budget.is_strict() {
            tracing::warn!(id = %id, cause = %end, "message-stepped-aside");
            record.aside = Some(0);
        }
        self.schedule_aside(id, record.aside);
        self.spool.defer(in_flight, Some(record))
    }

    fn give_up(
        &self,
        in_flight: InFlight,
        mut record: Record,
        audience: &Audience,
    ) -> Result<(), SpoolError> {
        let recipients: Vec<_> =
            audience.recipients.iter().map(|r| (r.mailbox.clone(), r.outcome.clone())).collect();
        let failed = self.failed(&in_flight, &recipients, &audience.problems);
        tracing::error!(
            id = %in_flight.name().id,
            file = in_flight.name().label(),
            report = in_flight.name().report(),
            "failed"
        );
        record.failed = Some(failed);
        self.spool.fail(in_flight, &record)
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
        let mut record = Record::empty();
        record.failed = Some(self.failed(&in_flight, &[], &[refusal.to_string()]));
        self.spool.fail(in_flight, &record)?;
        Ok(Attempt::NotSent)
    }

    /// The disk does not give its bytes: it is not the message's fault, and it holds nobody.
    fn unreadable(&self, in_flight: InFlight, error: &std::io::Error) -> Result<Attempt, SpoolError> {
        let id = in_flight.name().id;
        tracing::error!(id = %id, %error, "message-unreadable");
        self.spool.defer(in_flight, None)?;
        self.spool.set_unconfigured(id, format!("it cannot be read: {error}"));
        Ok(Attempt::NotSent)
    }

    fn failed(
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
