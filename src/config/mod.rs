//! Floor 5: the configuration, from its files to values that the rooms below take.
//!
//! Two steps: `raw` is what the files say, `check` what it means. Nothing below this floor sees a type of this
//! module: each room has its own options.

mod check;
mod error;
mod load;
mod raw;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use crate::mail::Mailbox;
use crate::pickup::Pattern;
use crate::policy::Rate;
use crate::smtp::Secret;

pub use error::ConfigError;
pub use load::{Overrides, accept_only, default_file, load};

/// The commented file with every default.
pub const DEFAULT_FILE: &str = include_str!("default.toml");

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the spool is.
    pub spool_dir: PathBuf,
    /// How much it takes, and what of the past it keeps.
    pub limits: Limits,
    /// Which drops are taken, and when.
    pub pickup: Pickup,
    /// Who we are.
    pub identity: Identity,
    /// Where messages go; without one they are accepted and kept.
    pub smarthost: Option<Smarthost>,
    /// How they go there.
    pub delivery: Delivery,
    /// What is logged.
    pub level: tracing::Level,
}

/// `[spool]` but for its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// So many messages may wait.
    pub max_messages: Option<u64>,
    /// Longest message that is taken, octets.
    pub max_message_size: Option<u64>,
    /// Nothing is accepted while less is free on the disk, octets.
    pub min_free: u64,
    /// So many delivered messages are kept.
    pub keep_sent: u64,
    /// So many failed messages are kept; `None`: all.
    pub keep_failed: Option<u64>,
}

/// `[pickup]`.
#[derive(Debug, Clone)]
pub struct Pickup {
    /// Names that are taken.
    pub patterns: Vec<Pattern>,
    /// How far apart two looks must be that find the same.
    pub settle: Duration,
    /// How often the directory is read although nothing was heard.
    pub rescan: Duration,
}

/// `[identity]`.
#[derive(Debug, Clone)]
pub struct Identity {
    /// What EHLO says, and what stands in `Received:` and `Message-ID:`.
    pub hostname: String,
    /// Stands in where a message has no usable sender.
    pub from: Option<Mailbox>,
    /// Completes an address without a domain.
    pub domain: Option<String>,
}

/// `[[smarthost]]`.
#[derive(Debug, Clone)]
pub struct Smarthost {
    /// How it is called in the log.
    pub name: String,
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS from the first byte (RFC 8314 section 3).
    pub implicit_tls: bool,
    /// What TLS has to be.
    pub tls: Tls,
    /// Who logs in, if anybody.
    pub login: Option<(String, Password)>,
    /// Certificates that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Longest wait for any one reply but that to the final dot.
    pub timeout: Duration,
}

/// `tls` of a smarthost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Nothing is sent without TLS and a certificate that is in order.
    Required,
    /// TLS where the server offers it, verified if it can be; never with a login.
    Auto,
    /// No TLS.
    None,
}

/// Where a password comes from. It is read anew for each session.
#[derive(Debug, Clone)]
pub enum Password {
    /// In the configuration itself.
    Inline(Secret),
    /// The first line of a file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// `[delivery]`.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Between two attempts to use the smarthost.
    pub retry_interval: Duration,
    /// How long deferred messages may hold the line; `None` is for ever.
    pub hold_line: Option<Duration>,
    /// How long a deferred message is tried, in time in which the smarthost was usable; `None` is for ever.
    pub max_age: Option<Duration>,
    /// How often a message is tried; `None` is without end.
    pub max_attempts: Option<u32>,
    /// How many transactions may begin; `None` is as many as there are.
    pub rate: Option<Rate>,
    /// How long an idle session is kept.
    pub keep_open: Duration,
    /// Whether a `Received:` line is added.
    pub received: bool,
}

impl Password {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// What could not be read, and why; never the secret.
    pub fn read(&self) -> Result<Secret, String> {
        let first_line = |text: String| Secret::new(text.lines().next().unwrap_or_default());
        let read = |path: &std::path::Path| {
            std::fs::read_to_string(path)
                .map(first_line)
                .map_err(|e| format!("cannot read the password from {}: {e}", path.display()))
        };
        match self {
            Password::Inline(secret) => Ok(secret.clone()),
            Password::File(path) => read(path),
            Password::Env(name) => std::env::var(name).map(Secret::new).map_err(|_| {
                format!("the password should be in the environment variable {name}, which is not set")
            }),
            Password::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(directory) => read(&std::path::Path::new(&directory).join(name)),
                None => Err(format!(
                    "the password should be the systemd credential {name}, but no credentials were passed \
                     (CREDENTIALS_DIRECTORY is not set)"
                )),
            },
        }
    }
}
