//! Floor 4: the loop at the head of the line; the only code that knows both spool and smtp.
//!
//! One session at a time, one message at a time. A *pass* opens a session and sends what is due until nothing is, a
//! deferred message holds the line, or the smarthost cannot be used; what comes after a pass is a wait, and each kind of
//! wait is ended by something else: a new message (when nothing was due), time, or `flush`.

mod attempt;
mod bearing;
mod due;
mod failover;
mod hosts;
mod known;
mod open;
mod outcomes;
mod prepare;
mod say;
mod state;
#[cfg(test)]
mod tests;
mod trouble;
mod wake;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::fs::Clock;
use crate::mail::QueueId;
use crate::net::Connection;
use crate::outgoing;
use crate::policy::{Failover, FailoverTerms, Limit, Schedule, Terms};
use crate::spool::{Spool, SpoolError};

use attempt::Attempt;
use bearing::Bearing;
use open::open;

pub use known::Known;
pub use open::{LoginOptions, Proof, SecretReader, Smarthost, look};
pub use outcomes::{End as MessageEnd, Ended, Outcomes};
pub use state::{HeldMessage, OutOfService, Said, SenderState};
pub use trouble::{Lacks, Trouble};
pub use wake::{Pass, Stop, Wake};

/// How often a pass is repeated that somebody waits for: three times with the same message, once with the next, and some
/// to spare.
pub const TRIES_AFTER_A_LOST_LINE: u32 = 6;

/// How the sender works.
#[derive(Clone)]
pub struct Options {
    /// In order of preference; without one nothing is tried.
    pub smarthosts: Vec<Smarthost>,
    /// What the wire form needs.
    pub outgoing: outgoing::Options,
    /// Between two attempts.
    pub retry_interval: Duration,
    /// How long deferred messages may hold the line.
    pub hold_line: Option<Duration>,
    /// How long an idle session is kept.
    pub keep_open: Duration,
    /// How long a deferred message is tried, in time in which the smarthost was usable.
    pub max_age: Option<Duration>,
    /// How often a message is tried.
    pub max_attempts: Option<u32>,
    /// How long a better smarthost has to be well before it is used again.
    pub fail_back: Duration,
}

/// How a pass ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassEnd {
    /// Nothing is due.
    NothingDue,
    /// A deferred message holds the line.
    Held,
    /// As many were sent as may be.
    Paced(Limit),
    /// The smarthost cannot be used.
    Unusable(Trouble),
    /// No smarthost is configured.
    NoSmarthost,
    /// An operator wants nothing to be sent.
    Paused,
    /// The service ends.
    Stopped,
}

/// Sends what waits.
pub struct Sender {
    spool: Arc<Spool>,
    clock: Arc<dyn Clock>,
    options: Options,
    schedule: Schedule,
    failover: Failover,
    /// At a better smarthost than the one in use.
    look: Option<failover::Look>,
    out_of_service: Vec<OutOfService>,
    /// Those that were left for the smarthost in use, which has taken nothing yet.
    left: Vec<(usize, Trouble)>,
    /// A message was answered in this pass.
    answered: bool,
    /// What an earlier run was about to bring back.
    to_bring_back: Vec<QueueId>,
    /// The next message, where its requests may ride behind the final dot of the one before.
    prepared: Option<prepare::Prepared>,
    /// Of each smarthost, how much it bears at once.
    bearing: Vec<Bearing>,
    said: Option<Said>,
    said_certificate: Option<String>,
    /// Messages that were taken, for one recipient at least.
    delivered: u64,
    /// The last flush that was heard of.
    flushes: u64,
    outcomes: Arc<Outcomes>,
}

impl Sender {
    /// A sender for a spool that was recovered.
    pub fn new(spool: Arc<Spool>, clock: Arc<dyn Clock>, options: Options) -> Sender {
        let Options { retry_interval, hold_line, max_age, max_attempts, fail_back, .. } = options;
        let quotas = options.smarthosts.iter().map(Smarthost::quota).collect();
        let terms = Terms { retry_interval, hold_line, max_age, max_attempts, quotas };
        let hosts = FailoverTerms { retry_interval, fail_back };
        let mut sender = Sender {
            spool,
            clock,
            schedule: Schedule::new(terms),
            failover: Failover::new(hosts, options.smarthosts.len()),
            look: None,
            out_of_service: Vec::new(),
            left: Vec::new(),
            bearing: vec![Bearing::default(); options.smarthosts.len()],
            options,
            answered: false,
            to_bring_back: Vec::new(),
            prepared: None,
            said: None,
            said_certificate: None,
            delivered: 0,
            flushes: 0,
            outcomes: Arc::default(),
        };
        sender.recall();
        sender
    }

    /// Sends for as long as the service runs.
    ///
    /// # Errors
    ///
    /// A disk call of the spool that failed half-way.
    pub async fn run(&mut self, wake: &Wake, stop: &mut Stop) -> Result<(), SpoolError> {
        let ended = self.run_until_stopped(wake, stop).await;
        self.rotations_ended(true).await;
        ended
    }

    async fn run_until_stopped(&mut self, wake: &Wake, stop: &mut Stop) -> Result<(), SpoolError> {
        let (mut tries, mut delivered_before) = (0, 0);
        loop {
            if self.flushes != wake.flushes() {
                self.flushes = wake.flushes();
                self.schedule.everything_is_due();
                self.failover.everything_is_due();
                (tries, delivered_before) = (0, self.delivered);
            }
            let end = self.pass(Some(wake), stop).await?;
            wake.told.notify_one();
            if wake.is_waited_for(self.flushes) {
                tries += 1;
                let is_lost = matches!(end, PassEnd::Unusable(_)) && self.wants_another_try();
                if is_lost && tries <= TRIES_AFTER_A_LOST_LINE {
                    continue;
                }
                wake.answer(self.flushes, end.clone(), self.delivered - delivered_before);
            }
            if end == PassEnd::Stopped {
                return Ok(());
            }
            let wait = self.wait_behind(&end);
            let look_again_in = self.spool.has_unreadable().then_some(self.options.retry_interval);
            let wait = wait.into_iter().chain(look_again_in).min();
            let time = async {
                match wait {
                    Some(span) => sleep(span).await,
                    None => std::future::pending().await,
                }
            };
            // A new drop shortens only the wait of a sender that has nothing to do.
            let accepted = async {
                match end {
                    PassEnd::NothingDue => wake.accepted.notified().await,
                    _ => std::future::pending().await,
                }
            };
            let steered = async {
                match end {
                    PassEnd::Unusable(_) => std::future::pending().await,
                    _ => wake.was_steered().await,
                }
            };
            tokio::select! {
                () = time => {}
                () = accepted => {}
                () = steered => {}
                () = wake.flush_beyond(self.flushes) => {}
                () = stop.requested() => return Ok(()),
            }
        }
    }

    /// One pass. With `wake` an idle session is kept for a while, and what is accepted meanwhile is sent on it.
    ///
    /// # Errors
    ///
    /// A disk call of the spool that failed half-way.
    pub async fn pass(&mut self, wake: Option<&Wake>, stop: &mut Stop) -> Result<PassEnd, SpoolError> {
        self.spool.look_again_at_unreadable();
        let to_bring_back = std::mem::take(&mut self.to_bring_back);
        self.bring_back(&to_bring_back)?;
        let end = self.pass_through(wake, stop).await?;
        if wake.is_none() && !matches!(end, PassEnd::Stopped) {
            self.wait_for_look().await;
        }
        if wake.is_none() {
            self.rotations_ended(false).await;
        }
        self.say_end(&end);
        self.keep_memory();
        Ok(end)
    }

    async fn pass_through(&mut self, wake: Option<&Wake>, stop: &mut Stop) -> Result<PassEnd, SpoolError> {
        // Since something was taken: none is tried twice for nothing.
        let mut tried: Vec<(usize, Trouble)> = Vec::new();
        loop {
            if stop.is_requested() {
                return Ok(PassEnd::Stopped);
            }
            self.take_hints(wake);
            if self.spool.paused().is_some() {
                return Ok(PassEnd::Paused);
            }
            if self.options.smarthosts.is_empty() {
                self.say(SenderState::NoSmarthost { since: 0 });
                return Ok(PassEnd::NoSmarthost);
            }
            let tried_hosts: Vec<usize> = tried.iter().map(|(host, _)| *host).collect();
            let Some(host) = self.failover.next(&tried_hosts, self.clock.monotonic()) else {
                return Ok(self.all_left(tried));
            };
            let smarthost = self.options.smarthosts[host].clone();
            self.schedule.use_smarthost(host);
            if self.next_due().is_none() {
                match self.end_of_line() {
                    // The one in use was passed over, or had a problem: its next try is sooner than this quota may be free.
                    PassEnd::Paced(limit) if !tried.is_empty() || host != self.failover.in_use() => {
                        tried.push((host, Trouble::paced(limit)));
                        continue;
                    }
                    // A better one may be well, and have room.
                    PassEnd::Paced(_) if self.take_look().await => continue,
                    end => {
                        if matches!(end, PassEnd::Paced(_)) {
                            self.look_at_a_better_one();
                        }
                        return Ok(end);
                    }
                }
            }
            let pipelining = self.bearing[host].pipelining(self.clock.monotonic());
            let opened = tokio::select! {
                opened = open(&smarthost, &self.options, pipelining, &self.clock, self.spool.fs()) => opened,
                () = stop.requested() => return Ok(PassEnd::Stopped),
            };
            let connection = match opened {
                Ok(connection) => connection,
                Err(trouble) => {
                    self.leave(host, &trouble);
                    tried.push((host, trouble));
                    continue;
                }
            };
            self.arrive(host, &tried);
            self.say_certificate(&smarthost, &connection);
            let mut taken = 0;
            let end = self.use_session(connection, &mut taken, wake, stop).await?;
            if taken > 0 {
                tried.clear();
            }
            match end {
                // It served well and ended: a server may close after so many messages.
                Some(PassEnd::Unusable(trouble)) if taken > 0 => {
                    tracing::debug!(%trouble, taken, "session-ended");
                }
                Some(PassEnd::Unusable(trouble)) => {
                    self.leave(host, &trouble);
                    tried.push((host, trouble));
                }
                Some(end) => return Ok(end),
                // It may be a better one's turn again.
                None => tried.retain(|(host, _)| *host != self.failover.in_use()),
            }
        }
    }

    /// Sends on one session until there is a reason not to. `None` if it ended in order, between two messages.
    async fn use_session(
        &mut self,
        mut connection: Connection,
        taken: &mut u64,
        wake: Option<&Wake>,
        stop: &mut Stop,
    ) -> Result<Option<PassEnd>, SpoolError> {
        let clock = self.clock.clone();
        let now = move || clock.monotonic();
        // Read for another server, perhaps.
        self.prepared = None;
        loop {
            if stop.is_requested() {
                connection.quit(&now).await;
                return Ok(Some(PassEnd::Stopped));
            }
            self.take_hints(wake);
            let is_paused = self.spool.paused().is_some();
            let goes_back = self.take_look().await;
            if connection.ahead().is_some() && (is_paused || goes_back || self.rider().is_none()) {
                // What rode is not wanted now. Only closing is sure to send nothing of it; that is nobody's fault.
                connection.abandon(&now).await;
                if !connection.is_usable() {
                    return Ok(None);
                }
            }
            if is_paused {
                connection.quit(&now).await;
                return Ok(Some(PassEnd::Paused));
            }
            if goes_back {
                connection.quit(&now).await;
                return Ok(None);
            }
            let rider = connection.ahead().and_then(|_| self.rider());
            let Some(id) = rider.or_else(|| self.next_due()) else {
                self.say_end(&self.end_of_line());
                if self.linger(&mut connection, wake, stop).await {
                    continue;
                }
                if connection.is_usable() {
                    connection.quit(&now).await;
                }
                // Something may have been accepted while the server took its leave: the pass looks once more.
                return Ok(None);
            };
            if !connection.is_usable() {
                let trouble = connection.end().map(|end| Trouble::ended(end, connection.peer()));
                if trouble.is_none() {
                    // As many messages as this server takes on one session.
                    connection.quit(&now).await;
                }
                return Ok(trouble.map(PassEnd::Unusable));
            }
            self.look_at_a_better_one();
            let attempt = self.attempt(&mut connection, id, *taken > 0, stop).await?;
            if !connection.bears_overlap() {
                let now = self.clock.monotonic();
                self.bearing().no_overlap(now);
            }
            if let Some(wake) = wake {
                wake.told.notify_one();
            }
            match attempt {
                Attempt::NotSent => self.say_what_is_held(),
                Attempt::Settled { taken: message_taken } => {
                    *taken += u64::from(message_taken);
                    self.delivered += u64::from(message_taken);
                    if message_taken {
                        self.say_it_serves();
                    }
                    self.say_line_moves();
                }
                Attempt::HoldsLine { cause } => self.say_held(id, cause),
                Attempt::QueueStops(trouble) => {
                    *taken = 0;
                    if connection.ahead().is_none() && connection.is_usable() {
                        connection.quit(&now).await;
                    }
                    return Ok(Some(PassEnd::Unusable(trouble)));
                }
                Attempt::SessionIsFull(trouble) => {
                    if connection.is_usable() {
                        connection.quit(&now).await;
                    }
                    return Ok(Some(PassEnd::Unusable(trouble)));
                }
                Attempt::Trouble(trouble) => return Ok(Some(PassEnd::Unusable(trouble))),
                Attempt::Stopped => return Ok(Some(PassEnd::Stopped)),
            }
        }
    }

    /// How many messages were taken so far, for one recipient at least.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    fn bearing(&mut self) -> &mut Bearing {
        &mut self.bearing[self.failover.in_use()]
    }

    /// Keeps an idle session. True if there is something to send on it.
    async fn linger(&self, connection: &mut Connection, wake: Option<&Wake>, stop: &mut Stop) -> bool {
        let Some(wake) = wake.filter(|wake| !wake.is_waited_for(self.flushes)) else { return false };
        let clock = self.clock.clone();
        let now = move || clock.monotonic();
        let something = async {
            tokio::select! {
                () = wake.accepted.notified() => true,
                () = wake.was_steered() => true,
                () = wake.flush_beyond(self.flushes) => false,
                _ = connection.idle_closed(&now) => false,
                () = stop.requested() => false,
            }
        };
        let keep_open = self.options.keep_open;
        let span = self.next_due_in().map_or(keep_open, |due| due.min(keep_open));
        timeout(span, something).await.unwrap_or_else(|_| self.next_due().is_some())
    }

    /// How long to wait after a pass, if nothing is heard before; `None` for as long as that.
    fn wait_behind(&self, end: &PassEnd) -> Option<Duration> {
        match end {
            // A better smarthost is looked at meanwhile.
            PassEnd::Paced(_) if self.failover.in_use() > 0 => {
                self.next_due_in().map(|due| due.min(self.options.retry_interval))
            }
            PassEnd::NothingDue | PassEnd::Held | PassEnd::Paced(_) => self.next_due_in(),
            PassEnd::Unusable(_) => Some(self.retry_in()),
            PassEnd::NoSmarthost | PassEnd::Paused | PassEnd::Stopped => None,
        }
    }

    /// One interval, a little more or less so that a hundred boxes do not knock at the same moment; after refused logins
    /// more.
    fn retry_in(&self) -> Duration {
        let jitter = u64::from(self.clock.monotonic().0.subsec_micros()) % 100;
        self.failover.retry_in().mul_f64(0.95 + jitter as f64 / 1000.0)
    }
}
