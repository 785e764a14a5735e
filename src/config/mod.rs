//! Floor 5: the configuration, from its files to values that the rooms below take.
//!
//! Two steps: `raw` is what the files say, `check` what it means. Nothing below this floor sees a type of this
//! module: each room has its own options.

mod check;
mod error;
mod load;
mod password;
mod raw;
mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::mail::{ForceFrom, Mailbox};
use crate::message::{Aliases, Template};
use crate::net::{ClientCertificate, HttpUrl, Pin};
use crate::pickup::Pattern;
use crate::policy::Rate;
use crate::smtp::{Mechanism, Protocol};

pub use check::is_here;
pub use error::ConfigError;
pub use load::{Overrides, accept_only, default_file, load};
pub use password::Password;
pub use value::parse_duration;

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
    /// Where files are dropped besides.
    pub folders: Vec<Folder>,
    /// Who we are.
    pub identity: Identity,
    /// `[user.NAME]`: who sends in place of a user of this host.
    pub users: BTreeMap<String, UserSender>,
    /// Whom names and addresses stand for.
    pub aliases: Arc<Aliases>,
    /// Where messages go, in order of preference; without one they are accepted and kept.
    pub smarthosts: Vec<Smarthost>,
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
    /// The dots at the beginnings of lines come doubled.
    pub unstuff: bool,
}

/// `[folder.NAME]`, with what its dialect fills in.
#[derive(Debug, Clone)]
pub struct Folder {
    /// NAME.
    pub name: String,
    /// Where files are dropped; of a Maildir its `new/`.
    pub dir: PathBuf,
    /// Which drops are taken, and when.
    pub pickup: Pickup,
    /// A file is the text of a message, and no message.
    pub is_text: bool,
    /// The recipients of all that is dropped there; empty: those that each message names.
    pub to: Vec<String>,
    /// A sender, perhaps with `{user}` or `{hostname}` in it.
    pub from: Option<String>,
    /// Where that stands whatever a message says.
    pub force_from: Option<ForceFrom>,
    /// Where producers learn what became of each file.
    pub outcomes: Option<PathBuf>,
}

/// `[identity]`.
#[derive(Debug, Clone)]
pub struct Identity {
    /// What EHLO says, and what stands in `Received:` and `Message-ID:`.
    pub hostname: String,
    /// Stands in where a message has no usable sender.
    pub from: Option<Template>,
    /// Where that stands whatever the message says.
    pub force_from: Option<ForceFrom>,
    /// Completes an address without a domain.
    pub domain: Option<String>,
}

/// `[user.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSender {
    /// In place of that of [`Identity`].
    pub from: Option<Template>,
    /// The same.
    pub force_from: Option<ForceFrom>,
}

/// `[[smarthost]]`.
#[derive(Debug, Clone)]
pub struct Smarthost {
    /// How it is called in the log.
    pub name: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS from the first byte (RFC 8314 section 3).
    pub implicit_tls: bool,
    /// What TLS has to be.
    pub tls: Tls,
    /// The url names no port: this and these are tried in turn, the safest first; whether with TLS from the first byte.
    pub further_ports: Vec<(u16, bool)>,
    /// Who logs in, if anybody.
    pub login: Option<Login>,
    /// Certificates that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Keys of which the server's must be one; empty is any.
    pub pins: Vec<Pin>,
    /// Who we are.
    pub client: Option<ClientCertificate>,
    /// How long before a certificate ends that is warned of.
    pub tls_warn: Duration,
    /// Longest wait for any one reply but that to the final dot.
    pub timeout: Duration,
    /// The reverse-path of every message that has one.
    pub from: Option<Mailbox>,
    /// How many transactions may begin; `None` is as many as there are.
    pub rate: Option<Rate>,
    /// So many recipients within any 24 hours.
    pub daily: Option<u32>,
    /// So many messages in one session.
    pub messages_per_session: Option<u64>,
}

/// Who logs in, and how.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user's name; may be empty with a certificate.
    pub user: String,
    /// What proves it.
    pub proof: Proof,
    /// The mechanisms that may be used, in this order; empty is any.
    pub mechanisms: Vec<Mechanism>,
}

/// What proves who logs in.
#[derive(Debug, Clone)]
pub enum Proof {
    /// A password.
    Password(Password),
    /// An OAuth 2.0 access token.
    Token(Password),
    /// OAuth 2.0 access tokens that are asked for.
    OAuth(Box<OAuth>),
    /// The client certificate.
    Certificate,
}

/// `[smarthost.oauth]`, with what its profile fills in.
#[derive(Debug, Clone)]
pub struct OAuth {
    /// The token endpoint.
    pub token_url: HttpUrl,
    /// The application.
    pub client_id: String,
    /// What proves that it is the application.
    pub client: OAuthClient,
    /// By what right.
    pub grant: OAuthGrant,
    /// What for.
    pub scope: Option<String>,
    /// Certificates that are trusted at the token endpoint besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// What proves that it is the application that asks.
#[derive(Debug, Clone)]
pub enum OAuthClient {
    /// Nothing.
    Public,
    /// A secret that is sent.
    Secret(Password),
    /// A certificate whose key signs.
    Certificate(ClientCertificate),
}

/// By what right tokens are asked for.
#[derive(Debug, Clone)]
pub enum OAuthGrant {
    /// The application's own.
    ClientCredentials,
    /// A person's; the first refresh token.
    RefreshToken(Password),
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
    /// How long a better smarthost has to be well before it is used again.
    pub fail_back: Duration,
    /// How long an idle session is kept.
    pub keep_open: Duration,
    /// Whether a `Received:` line is added.
    pub received: bool,
}
