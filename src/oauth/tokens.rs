//! The token in force, and how the next one comes: asked for, made durable, then used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, watch};

use super::answer::{self, Granted};
use super::ask::Asked;
use super::certificate;
use super::due::{self, Now};
use super::fault::{Fault, tls_hint};
use super::kept::{Access, Kept, digest, file_name};
use super::{ClientProof, Grant, Options, SecretReader};
use crate::fs::{Clock, Fs};
use crate::mail::Monotonic;
use crate::net::{HttpLink, HttpTimeouts, Trust};
use crate::smtp::Secret;

/// For each request. A stop waits for an answer that may hold a refresh token: less than the service is given to end.
const TIMEOUTS: HttpTimeouts = HttpTimeouts {
    connect: Duration::from_secs(10),
    tls: Duration::from_secs(10),
    answer: Duration::from_secs(15),
};

/// How long after a renewal that failed the next is tried, while the token is still good.
const EARLY_AGAIN: Duration = Duration::from_secs(30);

/// Where the access tokens of one smarthost come from.
pub struct Tokens {
    options: Options,
    file: String,
    trust: Trust,
    /// Whoever asks holds it: one renewal at a time.
    held: Mutex<Held>,
    /// A refresh token is out, and what comes back must be written down.
    rotates: watch::Sender<bool>,
    /// No refresh token goes out any more: somebody else may have it now.
    is_closed: AtomicBool,
}

/// A token to log in with.
pub struct Token {
    /// The token itself.
    pub secret: Secret,
    /// It was granted just now: to have it renewed would help nobody.
    pub is_new: bool,
}

#[derive(Default)]
struct Held {
    /// `None`: the disk was not looked at yet.
    kept: Option<Kept>,
    /// What is kept in memory could not be written.
    unwritten: bool,
    /// The server did not take the access token.
    refused: bool,
    /// The server wants to be left alone until then, and why.
    patience: Option<(Monotonic, Fault)>,
    /// No early renewal before this.
    early_after: Option<Monotonic>,
}

/// What was read for one request.
struct Proofs {
    client_secret: Option<Secret>,
    assertion: Option<Secret>,
    /// That of the configuration.
    refresh_token: Option<Secret>,
}

/// Says that a refresh token is out for as long as it lives.
struct Rotating<'a>(&'a watch::Sender<bool>);

impl Drop for Rotating<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

impl Tokens {
    /// Tokens as `options` has it. Nothing is read or asked for yet.
    pub fn new(options: Options) -> Tokens {
        Tokens {
            file: file_name(&options.name),
            options,
            trust: Trust::default(),
            held: Mutex::default(),
            rotates: watch::Sender::new(false),
            is_closed: AtomicBool::new(false),
        }
    }

    /// A token that is good, as far as anybody here can tell: the one in force, or a new one when its time runs out. What is
    /// new is durable before it is given out, unless the disk does not take it, which is said loudly and tried again.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub async fn read(self: &Arc<Self>, fs: &Arc<dyn Fs>, clock: &Arc<dyn Clock>) -> Result<Token, Fault> {
        let (this, fs, clock) = (self.clone(), fs.clone(), clock.clone());
        // Whoever waits for it may be stopped in the middle; an answer that is on its way must be written down all the same.
        let reading = tokio::spawn(async move { this.read_to_the_end(&*fs, &clock).await });
        let ended = |error| Fault::ours(format!("the token could not be read: {error}"), "it is tried again");
        reading.await.unwrap_or_else(|error| Err(ended(error)))
    }

    async fn read_to_the_end(&self, fs: &dyn Fs, clock: &Arc<dyn Clock>) -> Result<Token, Fault> {
        let mut held = self.held.lock().await;
        let now = now(&**clock);
        let configured = match &self.options.grant {
            Grant::ClientCredentials => None,
            Grant::RefreshToken(read) => Some(secret(read, "refresh_token").await?),
        };
        self.recall(&mut held, fs, configured.as_ref())?;
        if held.unwritten {
            self.write(&mut held, fs);
        }
        let in_force = (!held.refused).then(|| self.in_force(&held, &now)).flatten();
        let early_after = held.early_after;
        if let Some((token, lifetime, left)) = &in_force
            && (!due::is_due(*lifetime, *left) || early_after.is_some_and(|after| now.monotonic < after))
        {
            return Ok(Token { secret: token.clone(), is_new: false });
        }
        match (self.renew(&mut held, configured, fs, clock).await, in_force) {
            (Ok(token), _) => Ok(token),
            (Err(fault), Some((token, _, left))) => {
                let Fault { cause, hint, .. } = fault;
                let left = left.as_secs();
                tracing::warn!(smarthost = self.options.name, cause, hint, left, "token-not-renewed");
                held.early_after = Some(clock.monotonic() + EARLY_AGAIN);
                Ok(Token { secret: token, is_new: false })
            }
            (Err(fault), None) => Err(fault),
        }
    }

    /// Whether each token costs a refresh token, which has one owner.
    pub fn may_rotate(&self) -> bool {
        matches!(self.options.grant, Grant::RefreshToken(_))
    }

    /// The token in force, for those who only look: none is asked for.
    ///
    /// # Errors
    ///
    /// What cannot be read.
    pub async fn look(&self, fs: &dyn Fs, clock: &Arc<dyn Clock>) -> Result<Option<Secret>, Fault> {
        let mut held = self.held.lock().await;
        let configured = match &self.options.grant {
            Grant::ClientCredentials => None,
            Grant::RefreshToken(read) => Some(secret(read, "refresh_token").await?),
        };
        self.recall(&mut held, fs, configured.as_ref())?;
        Ok(self.in_force(&held, &now(&**clock)).map(|(token, ..)| token))
    }

    /// The server did not take the token that was read last: the next one is asked for anew.
    pub async fn refused(&self) {
        self.held.lock().await.refused = true;
    }

    /// From now on no refresh token goes out.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// Waits while a refresh token is out: the server may have put another one in its place, which must not be lost. Never
    /// longer than an answer may take.
    pub async fn rotation_ended(&self) {
        let mut rotates = self.rotates.subscribe();
        // An error says that nobody can begin one any more.
        let _never = rotates.wait_for(|rotates| !rotates).await;
    }

    #[cfg(test)]
    pub(super) fn is_rotating(&self) -> bool {
        *self.rotates.borrow()
    }

    /// Looks at the disk if that was not done yet, and forgets what belongs to another configuration.
    fn recall(&self, held: &mut Held, fs: &dyn Fs, configured: Option<&Secret>) -> Result<(), Fault> {
        if held.kept.is_none() {
            held.kept = match (Kept::read(fs, &self.file), configured) {
                (Ok(kept), _) => kept,
                // It holds nothing that cannot be had again.
                (Err(error), None) => {
                    tracing::warn!(file = self.file, %error, "tokens-not-read");
                    None
                }
                (Err(error), Some(_)) => {
                    return Err(Fault::ours(
                        format!(
                            "cannot read meta/{}, which holds the last refresh token: {error}",
                            self.file
                        ),
                        "repair the disk; if the file is lost, remove it, and put a new refresh token into refresh_token",
                    ));
                }
            };
        }
        let refresh_for = self.refresh_for(configured);
        let kept = held.kept.get_or_insert_default();
        if kept.refresh_for != refresh_for {
            *kept = Kept { version: 1, refresh_for, ..Kept::default() };
        }
        Ok(())
    }

    fn refresh_for(&self, configured: Option<&Secret>) -> String {
        let Options { token_url, client_id, .. } = &self.options;
        digest(&[&token_url.to_string(), client_id, configured.map_or("", Secret::expose)])
    }

    fn granted_for(&self, kept: &Kept) -> String {
        digest(&[&kept.refresh_for, self.options.scope.as_deref().unwrap_or_default()])
    }

    /// The token that is good still: for how long altogether, and how much of that is left.
    fn in_force(&self, held: &Held, now: &Now) -> Option<(Secret, Duration, Duration)> {
        let kept = held.kept.as_ref()?;
        let access = kept.access.as_ref().filter(|access| access.granted_for == self.granted_for(kept))?;
        let left = due::left(access.lifetime(), &access.got(), now)?;
        Some((Secret::new(access.token.as_str()), access.lifetime(), left))
    }

    async fn renew(
        &self,
        held: &mut Held,
        configured: Option<Secret>,
        fs: &dyn Fs,
        clock: &Arc<dyn Clock>,
    ) -> Result<Token, Fault> {
        if let Some((until, fault)) = &held.patience
            && clock.monotonic() < *until
        {
            return Err(fault.clone());
        }
        held.patience = None;
        let Some(mut kept) = held.kept.clone() else {
            return Err(Fault::ours("the tokens were not looked for".into(), "it is tried again"));
        };
        let proofs = self.proofs(configured, &**clock).await?;
        let link = self.link(clock).await?;
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(Fault::ours("the service ends".into(), "the next one asks for a token"));
        }
        let rotating = proofs.refresh_token.is_some().then(|| {
            self.rotates.send_replace(true);
            Rotating(&self.rotates)
        });
        let granted = match self.ask(link, &proofs, kept.refresh_token.as_deref()).await {
            Ok(granted) => granted,
            Err(fault) => {
                let until = fault.again_after.map(|span| clock.monotonic() + span);
                held.patience = until.map(|until| (until, fault.clone()));
                return Err(fault);
            }
        };
        let Granted { access_token, lifetime, refresh_token } = granted;
        let secret = Secret::new(access_token.as_str());
        let granted_for = self.granted_for(&kept);
        kept.access = Some(Access::new(access_token, granted_for, lifetime, &now(&**clock)));
        if refresh_token.is_some() && proofs.refresh_token.is_some() {
            kept.refresh_token = refresh_token;
        }
        held.kept = Some(kept);
        (held.refused, held.early_after) = (false, None);
        self.write(held, fs);
        drop(rotating);
        tracing::info!(smarthost = self.options.name, seconds = lifetime.as_secs(), "token-granted");
        Ok(Token { secret, is_new: true })
    }

    async fn proofs(&self, configured: Option<Secret>, clock: &dyn Clock) -> Result<Proofs, Fault> {
        let mut proofs = Proofs { client_secret: None, assertion: None, refresh_token: configured };
        match &self.options.client {
            ClientProof::None => {}
            ClientProof::Secret(read) => proofs.client_secret = Some(secret(read, "client_secret").await?),
            ClientProof::Certificate(certificate) => {
                let Options { token_url, client_id, .. } = &self.options;
                let signed =
                    certificate::assertion(certificate, client_id, &token_url.to_string(), clock.wall());
                proofs.assertion = Some(signed?);
            }
        }
        Ok(proofs)
    }

    async fn link(&self, clock: &Arc<dyn Clock>) -> Result<HttpLink, Fault> {
        let Options { token_url, tls, .. } = &self.options;
        let trusted = token_url.endpoint.implicit.then(|| self.trust.config(tls, clock.monotonic()));
        let trusted =
            trusted.transpose().map_err(|error| Fault::ours(error.to_string(), tls_hint(error.kind)))?;
        let clock = clock.clone();
        let link = HttpLink::open(token_url, trusted.as_ref(), TIMEOUTS, &move || clock.monotonic()).await;
        link.map_err(|error| Fault::unreachable(&token_url.endpoint.host, &error))
    }

    async fn ask(&self, link: HttpLink, proofs: &Proofs, kept: Option<&str>) -> Result<Granted, Fault> {
        let Options { token_url, client_id, scope, .. } = &self.options;
        let configured = proofs.refresh_token.as_ref().map(Secret::expose);
        let asked = Asked {
            client_id,
            client_secret: proofs.client_secret.as_ref().map(Secret::expose),
            assertion: proofs.assertion.as_ref().map(Secret::expose),
            refresh_token: configured.map(|configured| kept.unwrap_or(configured)),
            scope: scope.as_deref(),
        };
        let host = token_url.endpoint.host.as_str();
        let came = link.post_form(asked.form()).await.map_err(|error| Fault::unreachable(host, &error))?;
        answer::read(host, (came.status, came.retry_after), &came.body, &asked.secrets())
    }

    /// What could not be written is in memory, and used all the same: a message can go out while the disk is mended.
    fn write(&self, held: &mut Held, fs: &dyn Fs) {
        let Some(kept) = &held.kept else { return };
        match kept.write(fs, &self.file) {
            Ok(()) if held.unwritten => {
                held.unwritten = false;
                tracing::info!(file = self.file, "tokens-written");
            }
            Ok(()) => {}
            Err(error) if held.unwritten => {
                tracing::debug!(file = self.file, %error, "tokens-still-not-written")
            }
            Err(error) => {
                held.unwritten = true;
                let hint = match kept.refresh_token {
                    Some(_) => {
                        "free or repair the disk before the service ends: it is tried again, and until then the refresh token \
                         that counts is in memory alone"
                    }
                    None => "free or repair the disk: it is tried again",
                };
                tracing::error!(file = self.file, %error, hint, "tokens-not-written");
            }
        }
    }
}

async fn secret(read: &SecretReader, key: &str) -> Result<Secret, Fault> {
    read().await.map_err(|why| Fault::ours(why, &format!("see {key} in [smarthost.oauth]")))
}

fn now(clock: &dyn Clock) -> Now {
    Now { monotonic: clock.monotonic(), boot: clock.boot(), wall: clock.wall() }
}
