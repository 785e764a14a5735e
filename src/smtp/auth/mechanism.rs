//! The ways to log in, by name and by strength.

use std::fmt;
use std::str::FromStr;

use super::Credential;

/// A SASL mechanism (RFC 4422), in order of strength: the first that both sides know is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// SCRAM-SHA-256-PLUS (RFC 7677): proves the password and is bound to the TLS connection.
    ScramSha256Plus,
    /// SCRAM-SHA-1-PLUS (RFC 5802).
    ScramSha1Plus,
    /// SCRAM-SHA-256 (RFC 7677): proves the password without showing it, and the server proves that it knows it too.
    ScramSha256,
    /// SCRAM-SHA-1 (RFC 5802).
    ScramSha1,
    /// CRAM-MD5 (RFC 2195): proves the password without showing it.
    CramMd5,
    /// PLAIN (RFC 4616): shows the password.
    Plain,
    /// LOGIN: shows the password, in two lines.
    Login,
    /// OAUTHBEARER (RFC 7628): shows a token.
    OAuthBearer,
    /// XOAUTH2, its forerunner, which Google and Microsoft know.
    XOAuth2,
    /// EXTERNAL (RFC 4422 appendix A): the client certificate says who it is. Only where it is asked for by name.
    External,
}

impl Mechanism {
    /// All, the strongest first.
    pub const ALL: [Mechanism; 10] = [
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha1Plus,
        Mechanism::ScramSha256,
        Mechanism::ScramSha1,
        Mechanism::CramMd5,
        Mechanism::Plain,
        Mechanism::Login,
        Mechanism::OAuthBearer,
        Mechanism::XOAuth2,
        Mechanism::External,
    ];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Mechanism::ScramSha1Plus => "SCRAM-SHA-1-PLUS",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha1 => "SCRAM-SHA-1",
            Mechanism::CramMd5 => "CRAM-MD5",
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::OAuthBearer => "OAUTHBEARER",
            Mechanism::XOAuth2 => "XOAUTH2",
            Mechanism::External => "EXTERNAL",
        }
    }

    /// Whether who listens learns the password or the token.
    pub fn shows_secret(self) -> bool {
        matches!(self, Mechanism::Plain | Mechanism::Login | Mechanism::OAuthBearer | Mechanism::XOAuth2)
    }

    /// Whether it is bound to the TLS connection (RFC 5929, RFC 9266).
    pub fn is_bound(self) -> bool {
        matches!(self, Mechanism::ScramSha256Plus | Mechanism::ScramSha1Plus)
    }

    pub(super) fn is_scram(self) -> bool {
        self.is_bound() || matches!(self, Mechanism::ScramSha256 | Mechanism::ScramSha1)
    }

    /// Whether it can make use of such a credential.
    pub fn takes(self, credential: &Credential) -> bool {
        match credential {
            Credential::Password(_) => self < Mechanism::OAuthBearer,
            Credential::Token(_) => matches!(self, Mechanism::OAuthBearer | Mechanism::XOAuth2),
            Credential::Certificate => self == Mechanism::External,
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mechanism {
    type Err = String;

    /// In any case; the error lists what is known.
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Mechanism::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| {
            let known = Mechanism::ALL.map(Mechanism::name).join(", ");
            format!("expected one of {known}, found {text:?}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_in_any_case_and_an_unknown_one_lists_the_others() {
        for mechanism in Mechanism::ALL {
            assert_eq!(mechanism.name().to_ascii_lowercase().parse(), Ok(mechanism));
        }
        let error = "GSSAPI".parse::<Mechanism>().unwrap_err();
        assert!(error.contains("SCRAM-SHA-256, ") && error.ends_with("found \"GSSAPI\""), "{error}");
    }

    #[test]
    fn the_list_is_in_order_of_strength() {
        assert!(Mechanism::ALL.is_sorted());
    }
}
