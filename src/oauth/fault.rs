//! Why there is no token: what an error of the token endpoint means, and what to do about it.
//!
//! One table. The standard's own word (RFC 6749 section 5.2) decides whether it is a refusal, which waits longer and longer like a
//! refused login, or an outage. The numbers are Microsoft's (AADSTS...), and make cause and cure more exact.

use std::time::Duration;

use crate::net::{CertificateFault, ConnectFault, HttpError, TlsFault};

/// The longest that a server may have us wait.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// Why there is no token; never a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub cause: String,
    /// What to do.
    pub hint: String,
    /// Asking again will not help before somebody has done something: the next try waits as after a refused login.
    pub is_refusal: bool,
    /// The server asked for so much patience.
    pub again_after: Option<Duration>,
}

/// One row: by word and, if there is any, number.
struct Row {
    error: &'static str,
    code: Option<u32>,
    cause: &'static str,
    hint: &'static str,
    is_refusal: bool,
}

const fn row(error: &'static str, cause: &'static str, hint: &'static str) -> Row {
    Row { error, code: None, cause, hint, is_refusal: true }
}

const fn aadsts(code: u32, cause: &'static str, hint: &'static str) -> Row {
    Row { error: "", code: Some(code), cause, hint, is_refusal: true }
}

const fn outage(error: &'static str, cause: &'static str) -> Row {
    Row { error, code: None, cause, hint: "it is tried again", is_refusal: false }
}

const SECRET: &str = "make a new secret for the app (Certificates & secrets), and put its value, not its ID, into client_secret";
const SIGN_IN: &str = "sign in again, and put the new refresh token into refresh_token";

/// The rows of numbers come first.
const TABLE: &[Row] = &[
    aadsts(7_000_215, "the client secret is wrong", SECRET),
    aadsts(7_000_222, "the client secret has ended", SECRET),
    aadsts(
        700_027,
        "the signature of the client's certificate is not accepted",
        "upload the certificate to the app (Certificates & secrets); it must not have ended, and this box's clock must be right",
    ),
    aadsts(
        700_025,
        "the application is a public client, which has no secret",
        "take client_secret or client_cert out of [smarthost.oauth]",
    ),
    aadsts(700_082, "the refresh token has ended because it was not used for too long", SIGN_IN),
    aadsts(50_173, "the refresh token was taken back, as after a change of the password", SIGN_IN),
    aadsts(70_008, "the refresh token has ended or was taken back", SIGN_IN),
    aadsts(70_000, "the refresh token is not valid", SIGN_IN),
    aadsts(90_002, "there is no such tenant", "check tenant: the directory's ID or one of its domains"),
    aadsts(
        900_021,
        "the tenant is none that can be",
        "check tenant: the directory's ID or one of its domains",
    ),
    aadsts(
        900_023,
        "the tenant is none that can be",
        "check tenant: the directory's ID or one of its domains",
    ),
    aadsts(
        700_016,
        "there is no such application in this tenant",
        "check client_id (the application ID, not the object ID) and tenant",
    ),
    aadsts(
        7_000_112,
        "the application is switched off in this tenant",
        "switch it on again: Enterprise applications, the app, Properties",
    ),
    aadsts(
        65_001,
        "nobody has agreed to what the application asks for",
        "an administrator has to grant consent to it (API permissions, Grant admin consent)",
    ),
    aadsts(
        50_076,
        "the tenant wants a second factor",
        "sign in again with it, and put the new refresh token into refresh_token; grant = \"client_credentials\" needs no person",
    ),
    aadsts(
        50_079,
        "the tenant wants the user to set up a second factor",
        "set it up, sign in again, and put the new refresh token into refresh_token; grant = \"client_credentials\" needs no person",
    ),
    aadsts(
        53_003,
        "a policy of conditional access forbids it",
        "an administrator has to except the application or this box's address from that policy",
    ),
    aadsts(70_011, "the scope is not valid", "check scope; without it the one of the profile is used"),
    row(
        "invalid_client",
        "the client is not known, or its secret is wrong or has ended",
        "check client_id and client_secret in [smarthost.oauth]",
    ),
    row(
        "invalid_grant",
        "the refresh token has ended or was taken back",
        "sign in again, and put the new refresh token into refresh_token (Google: that of an app in the state Testing \
         ends after 7 days)",
    ),
    row(
        "unauthorized_client",
        "this client may not ask in this way",
        "check client_id, tenant and grant, and what the app is registered for",
    ),
    row(
        "unsupported_grant_type",
        "the server does not know this grant",
        "check grant and token_url in [smarthost.oauth]",
    ),
    row("invalid_scope", "the scope is not valid", "check scope in [smarthost.oauth]"),
    row(
        "interaction_required",
        "the server wants a person to sign in",
        "sign in again, and put the new refresh token into refresh_token; grant = \"client_credentials\" needs no person",
    ),
    row("access_denied", "the server denies it", "ask who runs the server"),
    row(
        "invalid_request",
        "the server does not understand what it is asked",
        "check tenant, client_id, scope and token_url in [smarthost.oauth]",
    ),
    outage("temporarily_unavailable", "the server is too busy"),
    outage("server_error", "the server has a fault of its own"),
    outage("slow_down", "the server is asked too often"),
];

impl Fault {
    /// The endpoint said no: its word, its number, the beginning of its explanation.
    pub(super) fn refused(host: &str, error: &str, code: Option<u32>, said: &str) -> Fault {
        let by_word = TABLE.iter().find(|row| row.code.is_none() && row.error == error);
        // The number of an outage is none of the table's.
        let is_outage = by_word.is_some_and(|row| !row.is_refusal);
        let by_number = TABLE.iter().find(|row| row.code.is_some() && row.code == code && !is_outage);
        let shown = if said.is_empty() { error.to_owned() } else { format!("{error}, {said}") };
        let begin = format!("the token endpoint {host} refused: ");
        match by_number.or(by_word) {
            Some(row) => Fault {
                cause: format!("{begin}{} ({shown})", row.cause),
                hint: row.hint.into(),
                is_refusal: row.is_refusal,
                again_after: None,
            },
            // What is not understood is temporary.
            None => Fault {
                cause: format!("{begin}{shown}"),
                hint: "check [smarthost.oauth] against what the server expects; it is tried again".into(),
                is_refusal: false,
                again_after: None,
            },
        }
    }

    /// 429 or 5yz.
    pub(super) fn busy(host: &str, status: u16, retry_after: Option<Duration>) -> Fault {
        let again_after = retry_after.map(|span| span.min(WAIT_MAX));
        let (cause, hint) = match (status, again_after) {
            (_, Some(span)) => (
                format!("wants to be asked later (HTTP {status})"),
                format!("it is asked again after {} s", span.as_secs()),
            ),
            (429, None) => ("is asked too often (HTTP 429)".into(), "it is tried again".into()),
            _ => (format!("has a fault of its own (HTTP {status})"), "it is tried again".into()),
        };
        Fault { cause: format!("the token endpoint {host} {cause}"), hint, is_refusal: false, again_after }
    }

    /// An answer that is none.
    pub(super) fn not_understood(host: &str, status: u16, why: &str) -> Fault {
        Fault {
            cause: format!("the answer of the token endpoint {host} cannot be used: HTTP {status}, {why}"),
            hint: "check tenant and token_url in [smarthost.oauth]; a proxy on the way may have answered"
                .into(),
            is_refusal: false,
            again_after: None,
        }
    }

    /// There was no answer.
    pub(super) fn unreachable(host: &str, error: &HttpError) -> Fault {
        let hint = match error {
            HttpError::Connect(error) => match error.kind {
                ConnectFault::Dns => {
                    "check token_url, and that this box can reach its name server (/etc/resolv.conf)"
                }
                _ => "this box needs a way to the token endpoint, too: check the firewall and token_url",
            },
            HttpError::Tls(error) => tls_hint(error.kind),
            HttpError::Broken(_) => {
                "check token_url in [smarthost.oauth]: what answers there does not speak HTTP"
            }
            HttpError::TimedOut(_) | HttpError::TooLong => "it is tried again",
        };
        let doing = if matches!(error, HttpError::Connect(_)) { "failed to " } else { "" };
        Fault {
            cause: format!("no token from the token endpoint {host}: {doing}{error}"),
            hint: hint.into(),
            is_refusal: false,
            again_after: None,
        }
    }

    /// Something is missing on our side.
    pub(super) fn ours(cause: String, hint: &str) -> Fault {
        Fault { cause, hint: hint.into(), is_refusal: false, again_after: None }
    }
}

pub(super) fn tls_hint(fault: TlsFault) -> &'static str {
    match fault {
        TlsFault::Certificate(CertificateFault::Expired | CertificateFault::NotYetValid) => {
            "if the certificate's dates are right, this box's clock is wrong"
        }
        TlsFault::Certificate(CertificateFault::UnknownIssuer | CertificateFault::SelfSigned) => {
            "if it is your own server, or a proxy that opens TLS, name the certificate of its issuer in ca_file in \
             [smarthost.oauth]"
        }
        TlsFault::Certificate(_) | TlsFault::Name => "check the host in token_url against its certificate",
        TlsFault::CaFile => "check ca_file in [smarthost.oauth]: a readable file of certificates in PEM",
        TlsFault::NoRoots => {
            "install the system's certificates (package ca-certificates), or set ca_file in [smarthost.oauth]"
        }
        TlsFault::ClientFile => {
            "see client_cert and client_key in [smarthost.oauth]: readable for pillarbox alone, PEM, an RSA key"
        }
        _ => "check token_url in [smarthost.oauth]: what answers there does not speak TLS as it should",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_named_with_its_cure() {
        for (error, code, cause, hint) in [
            ("invalid_client", Some(7_000_215), "the client secret is wrong", "not its ID"),
            ("invalid_client", Some(7_000_222), "the client secret has ended", "make a new secret"),
            ("invalid_client", None, "its secret is wrong or has ended", "client_secret"),
            ("invalid_client", Some(7_000_112), "switched off", "Enterprise applications"),
            ("invalid_client", Some(700_025), "a public client", "take client_secret"),
            ("unauthorized_client", Some(700_016), "no such application", "client_id"),
            ("unauthorized_client", None, "may not ask in this way", "registered"),
            ("invalid_request", Some(90_002), "no such tenant", "tenant"),
            ("invalid_request", Some(900_021), "the tenant is none", "tenant"),
            ("invalid_grant", Some(700_082), "not used for too long", "sign in again"),
            ("invalid_grant", Some(50_173), "taken back", "sign in again"),
            ("invalid_grant", Some(70_008), "has ended", "sign in again"),
            ("invalid_grant", None, "has ended or was taken back", "after 7 days"),
            ("invalid_grant", Some(65_001), "nobody has agreed", "Grant admin consent"),
            ("interaction_required", Some(50_076), "a second factor", "client_credentials"),
            ("interaction_required", Some(50_079), "set up a second factor", "client_credentials"),
            ("interaction_required", None, "a person", "sign in again"),
            ("access_denied", Some(53_003), "conditional access", "administrator"),
            ("invalid_scope", Some(70_011), "the scope is not valid", "profile"),
            ("invalid_scope", None, "the scope is not valid", "scope"),
            ("unsupported_grant_type", None, "does not know this grant", "grant"),
            // A number that is not known: the word says enough.
            ("invalid_client", Some(1), "its secret is wrong or has ended", "client_secret"),
        ] {
            let fault = Fault::refused("h", error, code, "");
            assert!(fault.cause.contains(cause) && fault.hint.contains(hint), "{error} {code:?}: {fault:?}");
            assert!(fault.is_refusal, "{fault:?}");
        }
    }

    #[test]
    fn an_outage_and_what_is_not_known_are_tried_again_soon() {
        for error in ["temporarily_unavailable", "server_error", "slow_down"] {
            assert!(!Fault::refused("h", error, Some(7_000_215), "").is_refusal, "{error}");
        }
        assert!(!Fault::refused("h", "something_new", Some(1), "").is_refusal);
    }

    #[test]
    fn a_server_is_not_waited_for_without_end() {
        let fault = Fault::busy("h", 503, Some(Duration::from_secs(86_400)));
        assert_eq!(fault.again_after, Some(WAIT_MAX));
    }

    #[test]
    fn no_row_hides_another() {
        for (at, row) in TABLE.iter().enumerate() {
            let is_same = |other: &&Row| other.code == row.code && other.error == row.error;
            assert_eq!(
                TABLE.iter().position(|other| is_same(&other)),
                Some(at),
                "{} {:?}",
                row.error,
                row.code
            );
        }
    }
}
