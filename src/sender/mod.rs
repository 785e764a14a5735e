//! Floor 4: the loop at the head of the line; the only code that knows both spool and smtp.
//!
//! One session at a time, one message at a time. A *pass* opens a session and sends what is due until nothing is, a
//! deferred message holds the line, or the smarthost cannot be used; what comes after a pass is a wait, and each kind of
//! wait is ended by something else: a new message (when nothing was due), time, or `flush`.

mod attempt;
mod state;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::fs::Clock;
use crate::mail::{Monotonic, QueueId};
use crate::net::{Connection, Endpoint, TlsConfig, TlsOptions};
use crate::outgoing;
use crate::policy::{LineBudget, aside_gap, login_gap};
use crate::smtp::{Login, Secret, SessionOptions, Timeouts, TlsMode};
use crate::spool::{OutOfLine, Spool, SpoolError};

use attempt::Attempt;

pub use state::SenderState;
pub use trouble::Trouble;

/// Reads a password anew; the error says what could not be read.
pub type PasswordReader = Arc<dyn Fn() -> Result<Secret, String> + Send + Sync>;

/// Where messages go.
#[derive(Clone)]
pub struct Smarthost {
    /// How it is called in the log.
    pub name: String,
    /// Host and port.
    pub endpoint: Endpoint,
    /// When TLS is begun.
    pub tls_mode: TlsMode,
    /// Whom to trust; read anew for each session.
    pub tls: TlsOptions,
    /// Who logs in.
    pub login: Option<(String, PasswordReader)>,
    /// How long each step may take.
    pub timeouts: Timeouts,
}

/// How the sender works.
#[derive(Clone)]
pub struct Options {
    /// Without one nothing is tried.
    pub smarthost: Option<Smarthost>,
    /// What the wire form needs.
    pub outgoing: outgoing::Options,
    /// Between two attempts.
    pub retry_interval: Duration,
    /// How long deferred messages may hold the line.
    pub hold_line: Option<Duration>,
    /// How long an idle session is kept.
    pub keep_open: Duration,
}

/// Told that the service ends.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

/// What wakes the sender up.
#[derive(Debug, Default)]
pub struct Wake {
    /// Something was accepted.
    pub accepted: Notify,
    /// Somebody wants everything tried now.
    pub flush: Notify,
}

/// How a pass ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassEnd {
    /// Nothing is due.
    NothingDue,
    /// A deferred message holds the line.
    Held,
    /// The smarthost cannot be used.
    Unusable(Trouble),
    /// No smarthost is configured.
    NoSmarthost,
    /// The service ends.
    Stopped,
}

/// Sends what waits.
pub struct Sender {
    spool: Arc<Spool>,
    clock: Arc<dyn Clock>,
    options: Options,
    budget: LineBudget,
    /// The head of the line is not tried before this.
    held_until: Option<Monotonic>,
    /// When each message that is aside is tried again; at once if it is not here.
    aside_due: HashMap<QueueId, Monotonic>,
    /// The last attempt was at a message aside: now the line has its turn.
    line_has_turn: bool,
    refused_logins: u32,
    said: Option<SenderState>,
}

impl Stop {
    /// The two ends.
    pub fn pair() -> (watch::Sender<bool>, Stop) {
        let (sender, receiver) = watch::channel(false);
        (sender, Stop(receiver))
    }

    /// Whether it was requested.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is requested; never otherwise.
    pub async fn requested(&mut self) {
        if self.0.wait_for(|stop| *stop).await.is_err() {
            // Nobody is left who could request it.
            std::future::pending::<()>().await;
        }
    }

    /// Returns when it was requested that long ago.
    async fn requested_for(&mut self, span: Duration) {
        self.requested().await;
        sleep(span).await;
    }
}

impl Sender {
    /// A sender for a spool that was recovered.
    pub fn new(spool: Arc<Spool>, clock: Arc<dyn Clock>, options: Options) -> Sender {
        let budget = LineBudget::new(options.hold_line, options.retry_interval);
        Sender {
            spool,
            clock,
            options,
            budget,
            held_until: None,
            aside_due: HashMap::new(),
            line_has_turn: true,
            refused_logins: 0,
            said: None,
        }
    }

    /// Sends for as long as the service runs.
    ///
    /// # Errors
    ///
    /// A disk call of the spool that failed half-way.
    pub async fn run(&mut self, wake: &Wake, stop: &mut Stop) -> Result<(), SpoolError> {
        loop {
            let end = self.pass(Some(wake), stop).await?;
            let wait = match &end {
                PassEnd::Stopped => return Ok(()),
                PassEnd::NothingDue | PassEnd::Held => self.next_due_in(),
                PassEnd::Unusable(trouble) => Some(self.retry_in(trouble)),
                PassEnd::NoSmarthost => None,
            };
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
            tokio::select! {
                () = time => {}
                () = accepted => {}
                () = wake.flush.notified() => self.try_everything_now(),
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
        loop {
            if stop.is_requested() {
                return Ok(PassEnd::Stopped);
            }
            let Some(smarthost) = self.options.smarthost.clone() else {
                self.say(SenderState::NoSmarthost { since: 0 });
                return Ok(PassEnd::NoSmarthost);
            };
            if self.next_due().is_none() {
                return Ok(self.end_of_line());
            }
            let opened = tokio::select! {
                opened = open(&smarthost, &self.options, &self.clock) => opened,
                () = stop.requested() => return Ok(PassEnd::Stopped),
            };
            let connection = match opened {
                Ok(connection) => connection,
                Err(trouble) => return Ok(self.unusable(trouble)),
            };
            self.refused_logins = 0;
            self.say_usable(&smarthost, &connection);
            let mut taken = 0;
            let end = self.use_session(connection, &mut taken, wake, stop).await?;
            match end {
                // It served well and ended: a server may close after so many messages.
                Some(PassEnd::Unusable(trouble)) if taken > 0 => {
                    tracing::debug!(%trouble, taken, "session-ended");
                }
                Some(PassEnd::Unusable(trouble)) => return Ok(self.unusable(trouble)),
                Some(end) => return Ok(end),
                None => {}
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
        loop {
            if stop.is_requested() {
                connection.quit(&now).await;
                return Ok(Some(PassEnd::Stopped));
            }
            let Some(id) = self.next_due() else {
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
            self.line_has_turn = self.spool.head() != Some(id);
            match self.attempt(&mut connection, id, stop).await? {
                Attempt::Settled { taken: message_taken } => {
                    *taken += u64::from(message_taken);
                    self.say_line_moves();
                }
                Attempt::HoldsLine { cause } => {
                    self.hold_line(id, cause);
                }
                Attempt::Trouble(trouble) => return Ok(Some(PassEnd::Unusable(trouble))),
                Attempt::Stopped => return Ok(Some(PassEnd::Stopped)),
            }
        }
    }

    /// Keeps an idle session. True if there is something to send on it.
    async fn linger(&self, connection: &mut Connection, wake: Option<&Wake>, stop: &mut Stop) -> bool {
        let Some(wake) = wake else { return false };
        let clock = self.clock.clone();
        let now = move || clock.monotonic();
        let something = async {
            tokio::select! {
                () = wake.accepted.notified() => true,
                _ = connection.idle_closed(&now) => false,
                () = stop.requested() => false,
            }
        };
        let keep_open = self.options.keep_open;
        let span = self.next_due_in().map_or(keep_open, |due| due.min(keep_open));
        timeout(span, something).await.unwrap_or_else(|_| self.next_due().is_some())
    }

    /// The message that is due: the head of the line unless it is held, and in turn with it those aside. To ask changes
    /// nothing: the turn passes when one of them is tried.
    fn next_due(&self) -> Option<QueueId> {
        let now = self.clock.monotonic();
        let head = self.spool.head().filter(|_| self.held_until.is_none_or(|until| until <= now));
        if head.is_some() && self.line_has_turn {
            return head;
        }
        let is_due = |id: &QueueId| self.aside_due.get(id).is_none_or(|due| *due <= now);
        let aside =
            self.spool.out_of_line().into_iter().filter(|(_, why)| matches!(why, OutOfLine::Aside(_)));
        aside.map(|(id, _)| id).find(is_due).or(head)
    }

    /// How long until something that waits is due, if nothing is heard before.
    fn next_due_in(&self) -> Option<Duration> {
        let now = self.clock.monotonic();
        // A head that nothing holds is due: it may have come while the pass before ended.
        let head = self.spool.head().map(|_| self.held_until.unwrap_or(now));
        let aside =
            self.spool.out_of_line().into_iter().filter(|(_, why)| matches!(why, OutOfLine::Aside(_)));
        let aside = aside.map(|(id, _)| self.aside_due.get(&id).copied().unwrap_or(now));
        head.into_iter().chain(aside).min().map(|due| due - now)
    }

    fn end_of_line(&self) -> PassEnd {
        match self.spool.head() {
            Some(_) => PassEnd::Held,
            None => PassEnd::NothingDue,
        }
    }

    fn hold_line(&mut self, id: QueueId, cause: String) {
        self.held_until = Some(self.clock.monotonic() + self.options.retry_interval);
        let smarthost = self.options.smarthost.as_ref().map(|s| s.name.clone()).unwrap_or_default();
        self.say(SenderState::Held { smarthost, since: 0, message: id.to_string(), cause });
    }

    /// What `status` shows must not say that a message holds the line when it is not at its head any more.
    fn say_line_moves(&mut self) {
        let Some(SenderState::Held { smarthost, message, .. }) = &self.said else { return };
        if self.spool.head().is_none_or(|head| head.to_string() != *message) {
            self.say(SenderState::Usable { smarthost: smarthost.clone(), since: 0 });
        }
    }

    fn schedule_aside(&mut self, id: QueueId, aside: Option<u32>) {
        if let Some(tries) = aside {
            let gap = aside_gap(tries, self.options.retry_interval);
            self.aside_due.insert(id, self.clock.monotonic() + gap);
        }
    }

    fn try_everything_now(&mut self) {
        self.held_until = None;
        self.aside_due.clear();
    }

    fn unusable(&mut self, trouble: Trouble) -> PassEnd {
        if trouble.is_refused_login() {
            self.refused_logins = self.refused_logins.saturating_add(1);
        }
        let smarthost = self.options.smarthost.as_ref().map(|s| s.name.clone()).unwrap_or_default();
        let Trouble { stage, cause, hint, .. } = trouble.clone();
        self.say(SenderState::Unusable { smarthost, since: 0, step: stage.to_string(), cause, hint });
        PassEnd::Unusable(trouble)
    }

    /// One interval, a little more or less so that a hundred boxes do not knock at the same moment; after refused logins
    /// more.
    fn retry_in(&self, trouble: &Trouble) -> Duration {
        let interval = self.options.retry_interval;
        let gap =
            if trouble.is_refused_login() { login_gap(self.refused_logins, interval) } else { interval };
        let jitter = u64::from(self.clock.monotonic().0.subsec_micros()) % 100;
        gap.mul_f64(0.95 + jitter as f64 / 1000.0)
    }

    fn say_usable(&mut self, smarthost: &Smarthost, connection: &Connection) {
        if let Some(problem) = connection.tls().and_then(|facts| facts.problem.as_ref()) {
            tracing::warn!(smarthost = smarthost.name, %problem, "certificate-not-verified");
        }
        self.say(SenderState::Usable { smarthost: smarthost.name.clone(), since: 0 });
    }

    /// Logs a state and writes it down for `status`, if it is another one than before.
    fn say(&mut self, mut state: SenderState) {
        if self.said.as_ref().is_some_and(|said| said.is_like(&state)) {
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
            SenderState::Held { since, message, cause, .. } => {
                *since = now;
                tracing::warn!(id = message, cause, "line-held");
            }
        }
        if let Err(error) = state.write(&**self.spool.fs()) {
            tracing::debug!(%error, "sender-state-not-written");
        }
        self.said = Some(state);
    }
}

/// Opens a session; a password and the certificates are read anew.
async fn open(
    smarthost: &Smarthost,
    options: &Options,
    clock: &Arc<dyn Clock>,
) -> Result<Connection, Trouble> {
    let login = match &smarthost.login {
        None => None,
        Some((user, password)) => {
            let password = password().map_err(Trouble::no_password)?;
            Some(Login { user: user.clone(), password })
        }
    };
    let tls = match smarthost.tls_mode {
        TlsMode::None => None,
        _ => Some(TlsConfig::new(&smarthost.tls).map_err(|error| Trouble::no_tls(&error))?),
    };
    let session = SessionOptions {
        hostname: options.outgoing.hostname.clone(),
        tls: smarthost.tls_mode,
        login,
        timeouts: smarthost.timeouts.clone(),
    };
    let clock = clock.clone();
    let now = move || clock.monotonic();
    let opened = Connection::open(&smarthost.endpoint, session, tls.as_ref(), &now).await;
    opened.map_err(|error| Trouble::opening(&error, &smarthost.name))
}
