//! From a configuration to what the rooms below take.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{self, Config, Tls};
use crate::control;
use crate::control::view::{Facts, Folder};
use crate::fs::{Clock, Dir, Lock, LockError, RealFs, SystemClock};
use crate::mail::Origin;
use crate::net::{Endpoint, TlsOptions, Verify};
use crate::oauth;
use crate::outgoing;
use crate::pickup::{self, Pickup};
use crate::sender::{self, Known, LoginOptions, Proof, SecretReader, Smarthost};
use crate::smtp::{Timeouts, TlsMode};
use crate::spool::{Limits, Source, Spool};

use crate::control::guard::{self, Exposed};

/// Why the spool cannot be used.
#[derive(Debug)]
pub enum StartError {
    /// A directory of the spool cannot be opened.
    Directory(PathBuf, io::Error),
    /// Others may reach into it.
    Exposed(Exposed),
    /// The lock cannot be had.
    Lock(LockError),
}

/// Takes the lock and opens the spool; it is not recovered yet. `command` is told to whoever comes second.
///
/// # Errors
///
/// What is missing, or who has the lock.
pub fn open_spool(config: &Config, command: &str) -> Result<Spool, StartError> {
    let root = &config.spool_dir;
    // The directories first: where there is no spool, no lock file is left behind.
    let fs = RealFs::open(root).map_err(|(path, error)| StartError::Directory(path, error))?;
    check_access(root)?;
    let holder = format!("pid {}, pillarbox {command}, since {}", std::process::id(), SystemClock.wall());
    let lock = Lock::acquire(root, &holder).map_err(StartError::Lock)?;
    let spool = Spool::new(Arc::new(fs), Box::new(lock));
    spool.set_limits(limits(config));
    spool.set_folders(folder_dirs(config, &spool));
    Ok(spool)
}

pub(super) fn limits(config: &Config) -> Limits {
    let config::Limits { max_messages, min_free, keep_sent, keep_failed, .. } = config.limits;
    Limits { max_messages, min_free, keep_sent, keep_failed }
}

pub(super) fn facts(config: &Config) -> Facts {
    Facts {
        spool_dir: config.spool_dir.clone(),
        patterns: config.pickup.patterns.clone(),
        folders: config
            .folders
            .iter()
            .map(|f| Folder { name: f.name.clone(), dir: f.dir.clone(), patterns: f.pickup.patterns.clone() })
            .collect(),
        limits: limits(config),
        has_smarthost: !config.smarthosts.is_empty(),
        config_error: None,
        spool_fault: None,
    }
}

pub(super) fn intake_options(config: &Config) -> control::IntakeOptions {
    control::IntakeOptions {
        outgoing: outgoing_options(config),
        max_message_size: config.limits.max_message_size,
    }
}

/// Refuses a spool that others may reach into; of a `pickup/` that is open to all it warns.
fn check_access(root: &Path) -> Result<(), StartError> {
    let user = rustix::process::geteuid().as_raw();
    match guard::exposed(root, user) {
        Ok(None) => {}
        Ok(Some(exposed)) => return Err(StartError::Exposed(exposed)),
        Err((path, error)) => return Err(StartError::Directory(path, error)),
    }
    if let Some((what, cure)) = guard::open_pickup(root) {
        tracing::warn!(what, hint = cure, "pickup-open-to-all");
    }
    Ok(())
}

/// The pickups of all folders with their directories, that of `pickup/` first.
pub(super) fn pickups(config: &Config, spool: &Arc<Spool>, clock: &Arc<dyn Clock>) -> Vec<(Pickup, PathBuf)> {
    let start = |source: Source, section: String, from: &config::Pickup| {
        let options = pickup::Options {
            source,
            section,
            patterns: from.patterns.clone(),
            settle: from.settle,
            rescan: from.rescan,
            outgoing: outgoing_options(config),
            max_message_size: config.limits.max_message_size,
        };
        Pickup::new(spool.clone(), clock.clone(), options)
    };
    let origin = Origin { unstuff: config.pickup.unstuff, ..Origin::default() };
    let own = start(Source { origin, ..Source::default() }, "pickup".to_owned(), &config.pickup);
    let folders = config.folders.iter().map(|folder| {
        let source = Source { dir: spool.fs().outside(&folder.dir), origin: origin_of(folder) };
        (start(source, format!("folder.{}", folder.name), &folder.pickup), folder.dir.clone())
    });
    std::iter::once((own, config.spool_dir.join("pickup"))).chain(folders).collect()
}

/// Its settings, as they are frozen with each message. Where they say nothing of it there is nothing to freeze.
fn origin_of(folder: &config::Folder) -> Origin {
    let settings = Origin {
        to: folder.to.clone(),
        from: folder.from.clone(),
        force_from: folder.force_from,
        unstuff: folder.pickup.unstuff,
        text: folder.is_text,
        outcomes: folder.outcomes.clone(),
        ..Origin::default()
    };
    let name = Some(folder.name.clone()).filter(|_| !settings.is_empty());
    Origin { folder: name, ..settings }
}

/// Where files are dropped besides `pickup/`, for recovery.
pub(super) fn folder_dirs(config: &Config, spool: &Spool) -> Vec<(String, Dir)> {
    let dir = |folder: &config::Folder| (folder.name.clone(), spool.fs().outside(&folder.dir));
    config.folders.iter().map(dir).collect()
}

/// What the sender does by `config`.
pub fn sender_options(config: &Config) -> sender::Options {
    sender::Options {
        smarthosts: config.smarthosts.iter().map(smarthost).collect(),
        outgoing: outgoing_options(config),
        retry_interval: config.delivery.retry_interval,
        hold_line: config.delivery.hold_line,
        keep_open: config.delivery.keep_open,
        max_age: config.delivery.max_age,
        max_attempts: config.delivery.max_attempts,
        fail_back: config.delivery.fail_back,
    }
}

/// How messages are addressed and written.
pub fn outgoing_options(config: &Config) -> outgoing::Options {
    let identity = &config.identity;
    let host = outgoing::Sender { from: identity.from.clone(), force: identity.force_from };
    let user =
        |user: &config::UserSender| outgoing::Sender { from: user.from.clone(), force: user.force_from };
    let users = config.users.iter().map(|(name, sender)| (name.clone(), user(sender))).collect();
    outgoing::Options {
        hostname: identity.hostname.clone(),
        senders: outgoing::Senders { host, users },
        domain: identity.domain.clone(),
        aliases: Some(config.aliases.clone()),
        received: config.delivery.received,
    }
}

fn smarthost(host: &crate::config::Smarthost) -> Smarthost {
    let is_implicit_only = host.implicit_tls && host.further_ports.is_empty();
    let tls_mode = match (is_implicit_only, host.tls) {
        (true, _) => TlsMode::Implicit,
        (false, Tls::Required) => TlsMode::StartTlsRequired,
        (false, Tls::Auto) => TlsMode::StartTlsIfOffered,
        (false, Tls::None) => TlsMode::None,
    };
    let verify = match host.tls {
        Tls::Auto => Verify::Opportunistic,
        Tls::Required | Tls::None => Verify::Required,
    };
    let ports = std::iter::once((host.port, host.implicit_tls)).chain(host.further_ports.iter().copied());
    Smarthost {
        name: host.name.clone(),
        protocol: host.protocol,
        endpoints: ports
            .map(|(port, implicit)| Endpoint { host: host.host.clone(), port, implicit })
            .collect(),
        tls_mode,
        tls: TlsOptions {
            ca_file: host.ca_file.clone(),
            verify,
            pins: host.pins.clone(),
            client: host.client.clone(),
        },
        tls_warn: host.tls_warn,
        login: host.login.as_ref().map(|login| login_options(login, host)),
        timeouts: Timeouts::at_most(host.timeout),
        from: host.from.clone(),
        rate: host.rate,
        daily: host.daily,
        messages_per_session: host.messages_per_session,
        known: Known::default(),
    }
}

fn reader(password: &config::Password) -> SecretReader {
    let password = Arc::new(password.clone());
    Arc::new(move || {
        let password = password.clone();
        Box::pin(async move { password.read().await })
    })
}

fn login_options(login: &config::Login, host: &config::Smarthost) -> LoginOptions {
    LoginOptions {
        user: login.user.clone(),
        proof: match &login.proof {
            config::Proof::Password(password) => Proof::Password(reader(password)),
            config::Proof::Token(token) => Proof::Token(reader(token)),
            config::Proof::OAuth(oauth) => {
                Proof::OAuth(Arc::new(oauth::Tokens::new(oauth_options(oauth, &host.name))))
            }
            config::Proof::Certificate => Proof::Certificate,
        },
        mechanisms: login.mechanisms.clone(),
        stays_on_host: config::is_here(&host.host),
    }
}

fn oauth_options(oauth: &config::OAuth, name: &str) -> oauth::Options {
    oauth::Options {
        name: name.to_owned(),
        token_url: oauth.token_url.clone(),
        tls: TlsOptions { ca_file: oauth.ca_file.clone(), ..TlsOptions::default() },
        client_id: oauth.client_id.clone(),
        client: match &oauth.client {
            config::OAuthClient::Public => oauth::ClientProof::None,
            config::OAuthClient::Secret(secret) => oauth::ClientProof::Secret(reader(secret)),
            config::OAuthClient::Certificate(certificate) => {
                oauth::ClientProof::Certificate(certificate.clone())
            }
        },
        grant: match &oauth.grant {
            config::OAuthGrant::ClientCredentials => oauth::Grant::ClientCredentials,
            config::OAuthGrant::RefreshToken(token) => oauth::Grant::RefreshToken(reader(token)),
        },
        scope: oauth.scope.clone(),
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Directory(path, error) => write!(f, "cannot open {}: {error}", path.display()),
            StartError::Exposed(exposed) => write!(f, "the spool is not safe to work on: {exposed}"),
            StartError::Lock(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for StartError {}
