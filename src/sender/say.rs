//! What the sender says, once for each change: to the log, and to `meta/sender.json` for `status`.

use super::open::pin_line;
use super::{HeldMessage, PassEnd, Said, Sender, SenderState, Smarthost};
use std::time::Duration;

use crate::mail::{QueueId, UnixTime};
use crate::net::Connection;
use crate::policy::Limit;
use crate::spool::OutOfLine;

/// So many held messages are named for `status`.
const HELD_SHOWN: usize = 200;

impl Sender {
    pub(super) fn say_held(&mut self, id: QueueId, cause: String) {
        let smarthost = self.smarthost_name();
        self.say(SenderState::Held { smarthost, since: 0, message: id.to_string(), cause });
    }

    /// What `status` shows must not say that a message holds the line when it is not at its head any more.
    pub(super) fn say_line_moves(&mut self) {
        let Some(SenderState::Held { smarthost, .. }) = self.said.as_ref().map(|said| &said.smarthost) else {
            return;
        };
        let smarthost = smarthost.clone();
        if !self.is_head_said_to_hold() {
            self.say(SenderState::Usable { smarthost, since: 0 });
        }
    }

    /// That the smarthost can be used does not change it: only the outcome of its next try does.
    pub(super) fn is_head_said_to_hold(&self) -> bool {
        match self.said.as_ref().map(|said| &said.smarthost) {
            Some(SenderState::Held { message, .. }) => {
                self.spool.head().is_some_and(|head| head.to_string() == *message)
            }
            _ => false,
        }
    }

    /// A certificate that is not in order, where that is borne: once for each reason.
    pub(super) fn say_certificate(&mut self, smarthost: &Smarthost, connection: &Connection) {
        let problem = connection.tls().and_then(|facts| facts.problem.as_ref()).map(ToString::to_string);
        if problem != self.said_certificate {
            if let Some(problem) = &problem {
                let pin = connection.tls().map(|facts| pin_line(&facts.certificate)).unwrap_or_default();
                let hint = format!("if it is the right server, trust its key in [[smarthost]]: {pin}");
                tracing::warn!(smarthost = smarthost.name, problem, hint, "certificate-not-verified");
            }
            self.said_certificate = problem;
        }
    }

    /// The smarthost answers for messages, and not only for logins. A message that held the line before holds it until its
    /// next try has ended, and a rate that is used up is so until nothing is due.
    pub(super) fn say_usable(&mut self) {
        let said = self.said.as_ref().map(|said| &said.smarthost);
        if !matches!(said, Some(SenderState::Held { .. } | SenderState::Paced { .. })) {
            self.say(SenderState::Usable { smarthost: self.smarthost_name(), since: 0 });
        }
    }

    pub(super) fn is_said_unusable(&self) -> bool {
        let said = self.said.as_ref().map(|said| &said.smarthost);
        matches!(said, Some(SenderState::Unusable { .. } | SenderState::BreakerOpen { .. }))
    }

    /// A pass ended, or the session idles. That messages were answered says that the smarthost is usable only if nothing came behind: else the
    /// two would be said in turn, at each try.
    pub(super) fn say_end(&mut self, end: &PassEnd) {
        let paced = matches!(self.said.as_ref().map(|said| &said.smarthost), Some(SenderState::Paced { .. }));
        match end {
            PassEnd::Paced(limit) => self.say_paced(*limit),
            PassEnd::NothingDue if paced => {
                self.say(SenderState::Usable { smarthost: self.smarthost_name(), since: 0 });
            }
            PassEnd::NothingDue | PassEnd::Held if self.answered => self.say_usable(),
            _ => {}
        }
        self.answered = false;
    }

    /// Said once; until when is written down anew whenever it changes.
    fn say_paced(&mut self, limit: Limit) {
        let wait = self.waits_for_quota().map_or(Duration::ZERO, |(wait, _)| wait);
        let until = self.clock.wall().as_secs() + wait.as_millis().div_ceil(1000) as u64;
        let state = SenderState::Paced { smarthost: self.smarthost_name(), since: 0, limit, until };
        let Some(mut said) = self.said.take_if(|said| said.smarthost.is_like(&state)) else {
            return self.say(state);
        };
        if let SenderState::Paced { until: was, .. } = &mut said.smarthost
            && *was != until
        {
            *was = until;
            self.write(&said);
        }
        self.said = Some(said);
    }

    /// Writes down for `status` which smarthosts are out of service.
    pub(super) fn say_out_of_service(&mut self) {
        if let Some(said) = self.said.take_if(|said| said.out_of_service != self.out_of_service) {
            let now = Said { out_of_service: self.out_of_service.clone(), memory: self.memory(), ..said };
            self.write(&now);
            self.said = Some(now);
        }
    }

    /// Writes down what the next run begins with, if that has changed.
    pub(super) fn keep_memory(&mut self) {
        // Where nothing was said yet, what the last run said stands.
        let Some(said) = self.said.clone().or_else(|| Said::read(&**self.spool.fs())) else { return };
        let (schedule, hosts) = (self.schedule.take_changed(), self.failover.take_changed());
        if schedule || hosts {
            let now = Said { memory: self.memory(), ..said };
            self.write(&now);
            self.said = self.said.is_some().then_some(now);
        }
    }

    /// Writes down for `status` which messages are held, if they are others than before.
    pub(super) fn say_what_is_held(&mut self) {
        if let Some(said) = self.said.take() {
            let now = Said { held: self.held(), ..said.clone() };
            if now != said {
                self.write(&now);
            }
            self.said = Some(now);
        }
    }

    fn held(&self) -> Vec<HeldMessage> {
        let why = |(id, out): (QueueId, OutOfLine)| match out {
            OutOfLine::Aside(_) => None,
            OutOfLine::Held => Some(HeldMessage { id: id.to_string(), why: "an operator holds it".into() }),
            OutOfLine::Unreadable(why) | OutOfLine::Unconfigured(why) => {
                Some(HeldMessage { id: id.to_string(), why })
            }
        };
        self.spool.out_of_line().into_iter().filter_map(why).take(HELD_SHOWN).collect()
    }

    fn write(&self, said: &Said) {
        if let Err(error) = said.write(&**self.spool.fs()) {
            tracing::debug!(%error, "sender-state-not-written");
            // What was true before is worse than nothing: it does not know of the outage that came since.
            if let Err(error) = Said::forget(&**self.spool.fs()) {
                tracing::debug!(%error, "sender-state-not-removed");
            }
        }
    }

    /// Logs a state and writes it down for `status`, if it is another one than before.
    pub(super) fn say(&mut self, mut state: SenderState) {
        if self.said.as_ref().is_some_and(|said| said.smarthost.is_like(&state)) {
            return;
        }
        let now = self.clock.wall().as_secs();
        match &mut state {
            SenderState::Usable { since, smarthost } => {
                *since = now;
                tracing::info!(smarthost, "smarthost-usable");
            }
            SenderState::Unusable { since, smarthost, step, cause, hint } => {
                *since = now;
                tracing::warn!(smarthost, step, cause, hint, "smarthost-unusable");
            }
            SenderState::NoSmarthost { since } => {
                *since = now;
                tracing::warn!(
                    hint = "set url in [[smarthost]]: until then messages are accepted and kept",
                    "no-smarthost"
                );
            }
            // Not for the sender to say: the pause is on the disk.
            SenderState::Paused { since } => *since = now,
            SenderState::Held { since, message, cause, .. } => {
                *since = now;
                tracing::warn!(id = message, cause, "line-held");
            }
            SenderState::BreakerOpen { since, smarthost, cause, hint } => {
                *since = now;
                tracing::error!(smarthost, cause, hint, "breaker-open");
            }
            SenderState::Paced { since, smarthost, limit, until } => {
                *since = now;
                let until = UnixTime::from_secs(*until);
                tracing::info!(smarthost, limit = limit.name(), %until, "quota-reached");
            }
        }
        let out_of_service = self.out_of_service.clone();
        let said = Said { smarthost: state, held: self.held(), out_of_service, memory: self.memory() };
        self.write(&said);
        self.said = Some(said);
    }
}
