//! Opening a session: login and certificates read anew, the ports of a bare host in turn, and no way back from TLS.

use std::pin::Pin as Pinned;
use std::sync::Arc;
use std::time::Duration;

use super::hosts::Hosts;
use super::{Options, Sender, Trouble, known::Known};
use crate::fs::{Clock, Fs};
use crate::mail::{Mailbox, Monotonic, Stage, UnixTime};
use crate::net::{
    ConnectFault, Connection, Endpoint, OpenError, Pin, TlsConfig, TlsFault, TlsOptions, Verify, Witness,
    not_after,
};
use crate::oauth::Tokens;
use crate::policy::{Quota, Rate};
use crate::smtp::{
    Credential, EndCause, Login, Mechanism, Pipelining, Protocol, Secret, SessionOptions, Timeouts, TlsMode,
};

/// Reads a secret anew; the error says what could not be read.
pub type SecretReader =
    Arc<dyn Fn() -> Pinned<Box<dyn Future<Output = Result<Secret, String>> + Send>> + Send + Sync>;

/// The longest that one port of a bare host is waited for while there is another.
const ONE_PORT: Duration = Duration::from_secs(10);

/// Before this the box's clock was never set, and no certificate's end is told.
const PLAUSIBLE: UnixTime = UnixTime::from_secs(1_700_000_000);

/// Where messages go.
#[derive(Clone)]
pub struct Smarthost {
    /// How it is called in the log.
    pub name: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it listens; several if that is to be found out, the safest first.
    pub endpoints: Vec<Endpoint>,
    /// When TLS is begun.
    pub tls_mode: TlsMode,
    /// Whom to trust, and who we are; read anew when it changes.
    pub tls: TlsOptions,
    /// How long before a certificate ends that is warned of.
    pub tls_warn: Duration,
    /// Who logs in.
    pub login: Option<LoginOptions>,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// The reverse-path of every message that has one.
    pub from: Option<Mailbox>,
    /// How many transactions may begin.
    pub rate: Option<Rate>,
    /// So many recipients within any 24 hours.
    pub daily: Option<u32>,
    /// So many transactions in one session.
    pub messages_per_session: Option<u64>,
    /// What was learned of it.
    pub known: Known,
}

impl Smarthost {
    pub(super) fn quota(&self) -> Quota {
        Quota { smarthost: self.name.clone(), rate: self.rate, daily: self.daily }
    }
}

/// Who logs in, and how.
#[derive(Clone)]
pub struct LoginOptions {
    /// The user's name.
    pub user: String,
    /// What proves it.
    pub proof: Proof,
    /// The mechanisms that may be used, in this order; empty is any.
    pub mechanisms: Vec<Mechanism>,
    /// The connection does not leave this host.
    pub stays_on_host: bool,
}

/// What proves who logs in; read for each session.
#[derive(Clone)]
pub enum Proof {
    /// A password.
    Password(SecretReader),
    /// An OAuth 2.0 access token.
    Token(SecretReader),
    /// OAuth 2.0 access tokens that are asked for.
    OAuth(Arc<Tokens>),
    /// The client certificate.
    Certificate,
}

impl LoginOptions {
    /// The login, and whether another token could be had if this one is refused.
    async fn read(
        &self,
        known: &Known,
        clock: &Arc<dyn Clock>,
        fs: &Arc<dyn Fs>,
    ) -> Result<(Login, bool), Trouble> {
        let mut may_renew = false;
        let credential = match &self.proof {
            Proof::Password(read) => Credential::Password(read().await.map_err(Trouble::no_password)?),
            Proof::Token(read) => Credential::Token(read().await.map_err(Trouble::no_password)?),
            Proof::OAuth(tokens) => {
                let token = tokens.read(fs, clock).await.map_err(Trouble::no_token)?;
                may_renew = !token.is_new;
                Credential::Token(token.secret)
            }
            Proof::Certificate => Credential::Certificate,
        };
        let login = Login {
            user: self.user.clone(),
            begin_with: known.mechanism(&credential),
            credential,
            mechanisms: self.mechanisms.clone(),
            stays_on_host: self.stays_on_host,
        };
        Ok((login, may_renew))
    }
}

impl Smarthost {
    fn tokens(&self) -> Option<&Arc<Tokens>> {
        match &self.login.as_ref()?.proof {
            Proof::OAuth(tokens) => Some(tokens),
            _ => None,
        }
    }
}

/// One way to a smarthost that did not lead to a session.
struct Closed {
    trouble: Trouble,
    /// Another port may fare better: nobody answered here, or not as one answers who is meant.
    may_go_on: bool,
}

impl Sender {
    /// Waits while a refresh token is out: what comes in its place must not be lost by a stop. With `for_good` none goes out
    /// any more.
    pub(super) async fn rotations_ended(&self, for_good: bool) {
        for tokens in self.options.smarthosts.iter().filter_map(Smarthost::tokens) {
            if for_good {
                tokens.close();
            }
            tokens.rotation_ended().await;
        }
    }
}

/// Opens a session with `smarthost`. An access token that is refused is renewed, once.
pub(super) async fn open(
    smarthost: &Smarthost,
    options: &Options,
    pipelining: Pipelining,
    clock: &Arc<dyn Clock>,
    fs: &Arc<dyn Fs>,
) -> Result<Connection, Trouble> {
    open_watched(smarthost, options, pipelining, clock, fs, None).await
}

/// The same, for whoever wants to know how far it comes (`check`) or what is said (`test`). Whatever is sent on it goes one request
/// at a time.
///
/// # Errors
///
/// Why there is no session.
pub async fn look(
    smarthost: &Smarthost,
    options: &Options,
    clock: &Arc<dyn Clock>,
    fs: &Arc<dyn Fs>,
    witness: Arc<dyn Witness>,
) -> Result<Connection, Trouble> {
    open_watched(smarthost, options, Pipelining::Off, clock, fs, Some(witness)).await
}

async fn open_watched(
    smarthost: &Smarthost,
    options: &Options,
    pipelining: Pipelining,
    clock: &Arc<dyn Clock>,
    fs: &Arc<dyn Fs>,
    witness: Option<Arc<dyn Witness>>,
) -> Result<Connection, Trouble> {
    let (mut login, mut may_renew) = (None, false);
    if let Some(options) = &smarthost.login {
        let read = options.read(&smarthost.known, clock, fs).await?;
        (login, may_renew) = (Some(read.0), read.1);
    }
    let way = Way { smarthost, options, pipelining, witness };
    let opened = way.open(login, clock, &**fs).await;
    match (opened, &smarthost.login, smarthost.tokens()) {
        (Err(trouble), Some(login), Some(tokens)) if may_renew && trouble.is_refused_token() => {
            tokens.refused().await;
            tracing::info!(smarthost = smarthost.name, cause = trouble.cause, "token-refused");
            let (login, _) = login.read(&smarthost.known, clock, fs).await?;
            way.open(Some(login), clock, &**fs).await
        }
        (opened, ..) => opened,
    }
}

/// How a session is to be opened.
struct Way<'a> {
    smarthost: &'a Smarthost,
    options: &'a Options,
    pipelining: Pipelining,
    witness: Option<Arc<dyn Witness>>,
}

impl Way<'_> {
    async fn open(
        &self,
        login: Option<Login>,
        clock: &Arc<dyn Clock>,
        fs: &dyn Fs,
    ) -> Result<Connection, Trouble> {
        let smarthost = self.smarthost;
        let tls = match smarthost.tls_mode {
            TlsMode::None => None,
            _ => {
                let built = smarthost.known.trust.config(&smarthost.tls, clock.monotonic());
                Some(built.map_err(|error| Trouble::no_tls(&error))?)
            }
        };
        let session = SessionOptions {
            protocol: smarthost.protocol,
            hostname: self.options.outgoing.hostname.clone(),
            tls: smarthost.tls_mode,
            login,
            timeouts: smarthost.timeouts.clone(),
            pipelining: self.pipelining,
            messages_max: smarthost.messages_per_session,
        };
        let mut opening =
            Opening { smarthost, tls, clock, fs, had_tls: false, witness: self.witness.clone() };
        if smarthost.tls_mode == TlsMode::StartTlsIfOffered {
            let hosts = Hosts::read(fs).map_err(|e| Trouble::hosts("read", &e))?;
            opening.had_tls = smarthost.endpoints.iter().any(|endpoint| hosts.had_tls(&endpoint.host));
        }
        let endpoints = smarthost.known.in_order(&smarthost.endpoints);
        let mut causes = Vec::new();
        for (index, endpoint) in endpoints.iter().enumerate() {
            let is_last = index + 1 == endpoints.len();
            match opening.at(endpoint, session.clone(), is_last).await {
                Ok(connection) => {
                    smarthost.known.note_worked(Some(endpoint));
                    opening.note_tls(&connection)?;
                    opening.warn_of_ends(&connection);
                    return Ok(connection);
                }
                Err(Closed { trouble, may_go_on: true }) if !is_last => causes.push(trouble.cause),
                Err(Closed { mut trouble, .. }) => {
                    smarthost.known.note_worked(None);
                    causes.push(trouble.cause);
                    trouble.cause = causes.join("; ");
                    return Err(trouble);
                }
            }
        }
        Err(Trouble::nowhere())
    }
}

struct Opening<'a> {
    smarthost: &'a Smarthost,
    tls: Option<TlsConfig>,
    clock: &'a Arc<dyn Clock>,
    fs: &'a dyn Fs,
    /// The host has spoken TLS before.
    had_tls: bool,
    witness: Option<Arc<dyn Witness>>,
}

impl Opening<'_> {
    async fn at(
        &self,
        endpoint: &Endpoint,
        mut session: SessionOptions,
        is_last: bool,
    ) -> Result<Connection, Closed> {
        if !is_last {
            session.timeouts.connect = session.timeouts.connect.min(ONE_PORT);
            session.timeouts.greeting = session.timeouts.greeting.min(ONE_PORT);
        }
        if self.had_tls && session.tls == TlsMode::StartTlsIfOffered {
            session.tls = TlsMode::StartTlsRequired;
        }
        let may_be_plain = session.tls == TlsMode::StartTlsIfOffered && session.login.is_none();
        let mut opened = self.once(endpoint, &session).await;
        if let Err(OpenError::Tls { error, .. }) = &opened
            && matches!(error.kind, TlsFault::Handshake | TlsFault::TooOld)
            && may_be_plain
            && !endpoint.implicit
        {
            tracing::warn!(smarthost = self.smarthost.name, %error, "tls-not-usable");
            let plain = SessionOptions { tls: TlsMode::None, ..session.clone() };
            opened = self.once(endpoint, &plain).await;
        }
        self.note_login(&session, &opened);
        let wants_login = |connection: &Connection| {
            session.login.is_none() && !is_last && !connection.extensions().auth.is_empty()
        };
        match opened {
            // Submission: without a login it would refuse every message, where port 25 may take them.
            Ok(connection) if wants_login(&connection) => {
                let clock = self.clock.clone();
                connection.quit(&move || clock.monotonic()).await;
                Err(Closed { trouble: Trouble::wants_login(endpoint), may_go_on: true })
            }
            Ok(connection) => Ok(connection),
            Err(error) => {
                let mut trouble = Trouble::opening(&error, &self.smarthost.name);
                if self.had_tls && is_without_tls(&error) {
                    trouble.hint = Trouble::HAD_TLS.to_owned();
                }
                let credential = session.login.as_ref().map(|login| &login.credential);
                if trouble.is_refused_token() && matches!(credential, Some(Credential::Token(_))) {
                    trouble.hint = Trouble::TOKEN.to_owned();
                }
                Err(Closed { trouble, may_go_on: may_go_on(&error) })
            }
        }
    }

    async fn once(&self, endpoint: &Endpoint, session: &SessionOptions) -> Result<Connection, OpenError> {
        let clock = self.clock.clone();
        let now = move || -> Monotonic { clock.monotonic() };
        let witness = self.witness.clone();
        Connection::open_watched(endpoint, session.clone(), self.tls.as_ref(), &now, witness).await
    }

    /// The mechanism that worked, or whose refusal was the last word, is the first the next time.
    fn note_login(&self, session: &SessionOptions, opened: &Result<Connection, OpenError>) {
        let mechanism = match opened {
            Ok(connection) => connection.mechanism(),
            Err(OpenError::Session { end, mechanism, .. }) if end.stage == Stage::Auth => match &end.why {
                EndCause::Reply(reply) if reply.code / 100 == 5 => *mechanism,
                _ => None,
            },
            Err(_) => None,
        };
        if let (Some(login), Some(mechanism)) = (&session.login, mechanism) {
            self.smarthost.known.note_mechanism(&login.credential, mechanism);
        }
    }

    fn note_tls(&self, connection: &Connection) -> Result<(), Trouble> {
        let may_be_plain = self.smarthost.tls_mode == TlsMode::StartTlsIfOffered;
        if !may_be_plain || self.had_tls || connection.tls().is_none() {
            return Ok(());
        }
        let hosts = Hosts::read(self.fs).map_err(|e| Trouble::hosts("read", &e))?;
        let noted = hosts.note(&connection.endpoint().host, self.clock.wall(), self.fs);
        noted.map_err(|e| Trouble::hosts("write", &e))
    }

    /// Once a day, the server's certificate and ours.
    fn warn_of_ends(&self, connection: &Connection) {
        let Some(facts) = connection.tls() else { return };
        let now = self.clock.wall();
        let is_pinned = !self.smarthost.tls.pins.is_empty();
        // One that does not verify, or need not, may end when it likes.
        let servers = not_after(&facts.certificate).filter(|_| {
            !is_pinned && facts.problem.is_none() && self.smarthost.tls.verify == Verify::Required
        });
        let warn = self.smarthost.tls_warn.as_secs();
        let ends_soon = |ends: &UnixTime| now > PLAUSIBLE && ends.as_secs() < now.as_secs() + warn;
        let soon: Vec<(&str, UnixTime)> = [("server", servers), ("client", facts.client_ends)]
            .into_iter()
            .filter_map(|(whose, ends)| Some((whose, ends.filter(ends_soon)?)))
            .collect();
        if soon.is_empty() || !self.smarthost.known.may_warn(self.clock.monotonic()) {
            return;
        }
        for (whose, ends) in soon {
            let hint = match whose {
                "client" => "put a new certificate into client_cert before that day",
                _ => {
                    "whoever runs the server has to renew it before that day: nothing is sent to it afterwards"
                }
            };
            tracing::warn!(smarthost = self.smarthost.name, whose, %ends, hint, "certificate-ends");
        }
    }
}

/// The line of the configuration by which the server would be trusted.
pub(super) fn pin_line(certificate: &[u8]) -> String {
    Pin::of(certificate).map_or_else(String::new, |pin| format!("pin = \"{pin}\""))
}

fn may_go_on(error: &OpenError) -> bool {
    match error {
        OpenError::Connect(error) => error.kind != ConnectFault::Dns,
        OpenError::Tls { error, .. } => matches!(error.kind, TlsFault::NotTls | TlsFault::Link),
        OpenError::Session { end, .. } => match end.stage {
            Stage::Greeting => !matches!(end.why, EndCause::Reply(_)),
            Stage::StartTls => matches!(end.why, EndCause::NotOffered(_)),
            Stage::Auth => matches!(end.why, EndCause::NotOffered(_)),
            _ => false,
        },
    }
}

/// The server did not come into TLS.
fn is_without_tls(error: &OpenError) -> bool {
    match error {
        OpenError::Session { end, .. } => end.stage == Stage::StartTls,
        OpenError::Tls { error, .. } => {
            matches!(error.kind, TlsFault::Handshake | TlsFault::TooOld | TlsFault::NotTls)
        }
        OpenError::Connect(_) => false,
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
