//! Floor 3: OAuth 2.0 access tokens for a login (RFC 6749), with nobody at the box.
//!
//! Two grants: the application itself (`client_credentials`, section 4.4), or a person who once agreed (`refresh_token`,
//! section 6). The pure part: `ask` makes the request, `answer` reads what came back, `fault` names a refusal with its
//! cure, `due` says when to renew. The rest: `tokens` holds the token in force and asks for the next, `kept` is what lies on
//! disk, and `certificate` signs where a certificate stands for the client's secret.
//!
//! The room above knows [`Tokens`] and [`Fault`]: a token to log in with, or why there is none.

mod answer;
mod ask;
mod certificate;
mod due;
mod fault;
mod kept;
#[cfg(test)]
mod tests;
mod tokens;

use std::pin::Pin;
use std::sync::Arc;

use crate::net::{ClientCertificate, HttpUrl, TlsOptions};
use crate::smtp::Secret;

pub use fault::Fault;
pub use tokens::{Token, Tokens};

/// Reads a secret anew; the error says what could not be read.
pub type SecretReader =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Secret, String>> + Send>> + Send + Sync>;

/// Whose tokens, and where they come from.
#[derive(Clone)]
pub struct Options {
    /// The smarthost that they are for; it names the file in `meta/`.
    pub name: String,
    /// The token endpoint (RFC 6749 section 3.2).
    pub token_url: HttpUrl,
    /// Whom to trust there.
    pub tls: TlsOptions,
    /// The application.
    pub client_id: String,
    /// What proves that it is the application.
    pub client: ClientProof,
    /// By what right.
    pub grant: Grant,
    /// What for; the server's default if it is not said.
    pub scope: Option<String>,
}

/// What proves to the token endpoint who asks.
#[derive(Clone)]
pub enum ClientProof {
    /// Nothing: a public client (RFC 6749 section 2.1).
    None,
    /// A secret, in the form that is sent (RFC 6749 section 2.3.1).
    Secret(SecretReader),
    /// A certificate whose key signs each request (RFC 7523 section 2.2).
    Certificate(ClientCertificate),
}

/// By what right a token is asked for.
#[derive(Clone)]
pub enum Grant {
    /// The application's own.
    ClientCredentials,
    /// A person's, who agreed once. This is the first refresh token; later ones are kept in `meta/`.
    RefreshToken(SecretReader),
}
