//! Why the smarthost cannot be used, and what to do about it.

use std::fmt;

use crate::mail::Stage;
use crate::net::{CertificateFault, ConnectFault, OpenError, TlsError, TlsFault};
use crate::smtp::{EndCause, SessionEnd};

/// A session problem: charged to no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What was being done.
    pub stage: Stage,
    /// What went wrong, with the server's words where it said something.
    pub cause: String,
    /// What to do.
    pub hint: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Session,
    RefusedLogin,
    BreakerOpen,
}

impl Trouble {
    /// No session came to be.
    pub(super) fn opening(error: &OpenError, smarthost: &str) -> Trouble {
        let hint = match error {
            OpenError::Connect(error) => connect_hint(error.kind),
            OpenError::Tls { error, .. } => tls_hint(error.kind),
            OpenError::Session { end, .. } => session_hint(end),
        };
        Trouble {
            stage: error.stage(),
            cause: format!("failed to {error}"),
            hint: hint.replace("{}", smarthost),
            kind: match error {
                OpenError::Session { end, .. } if is_refused_login(end) => Kind::RefusedLogin,
                _ => Kind::Session,
            },
        }
    }

    /// A session ended or was refused in the middle.
    pub(super) fn ended(end: &SessionEnd, peer: impl fmt::Display) -> Trouble {
        Trouble {
            stage: end.stage,
            cause: format!("{peer}: {end}"),
            hint: session_hint(end).to_owned(),
            kind: Kind::Session,
        }
    }

    /// TLS cannot be set up on our side.
    pub(super) fn no_tls(error: &TlsError) -> Trouble {
        let hint = tls_hint(error.kind).to_owned();
        Trouble { stage: Stage::Tls, cause: error.to_string(), hint, kind: Kind::Session }
    }

    /// The login is missing on our side.
    pub(super) fn no_password(why: String) -> Trouble {
        let hint = "see password in [[smarthost]]".into();
        Trouble { stage: Stage::Auth, cause: why, hint, kind: Kind::Session }
    }

    /// Two messages in a row without a common recipient were deferred alike.
    pub(super) fn deferred_alike(stage: Stage, cause: &str) -> Trouble {
        Trouble {
            stage,
            cause: format!("the server defers whatever it is given: {cause}"),
            hint: "nobody is charged with it; if it lasts, ask who runs the server".into(),
            kind: Kind::Session,
        }
    }

    /// Messages without a common recipient were refused alike, one after the other.
    pub(super) fn refused_alike(stage: Stage, cause: &str) -> Trouble {
        Trouble {
            stage,
            cause: format!("the server does not take what it is given: {cause}"),
            hint: "it is rather the configuration than the messages: check user and url in [[smarthost]] and from in \
                   [identity], or ask who runs the server; nothing is given up, and one message is tried at a time until \
                   one is taken"
                .into(),
            kind: Kind::BreakerOpen,
        }
    }

    /// Whether the breaker is open.
    pub(super) fn is_breaker(&self) -> bool {
        self.kind == Kind::BreakerOpen
    }

    /// Whether a login was refused: then the next one waits longer, so that no account is locked.
    pub(super) fn is_refused_login(&self) -> bool {
        self.kind == Kind::RefusedLogin
    }
}

/// The server said no, or hung up on the password. That it is silent, the line breaks or there is no password to be had is
/// an outage like any other.
fn is_refused_login(end: &SessionEnd) -> bool {
    end.stage == Stage::Auth
        && matches!(end.why, EndCause::Reply(_) | EndCause::Closed | EndCause::Protocol(_))
}

fn connect_hint(fault: ConnectFault) -> &'static str {
    match fault {
        ConnectFault::Dns => {
            "check the host in url, and that this box can reach its name server (/etc/resolv.conf)"
        }
        ConnectFault::Refused => {
            "nothing answers on that port: is the server running, and is the port in url right?"
        }
        ConnectFault::NoRoute => {
            "there is no way to that address from here: check the network and its gateway"
        }
        ConnectFault::TimedOut => {
            "the host is down, or a firewall swallows the connection: check host and port in url"
        }
        ConnectFault::Other => "check host and port in url",
    }
}

fn tls_hint(fault: TlsFault) -> &'static str {
    match fault {
        TlsFault::Certificate(CertificateFault::UnknownIssuer) => {
            "if this is your own server, name the certificate of its issuer in ca_file"
        }
        TlsFault::Certificate(CertificateFault::Expired) => {
            "the server's certificate has to be renewed; if its dates are right, this box's clock is wrong"
        }
        TlsFault::Certificate(CertificateFault::NotYetValid) => "check this box's clock",
        TlsFault::Certificate(CertificateFault::WrongName) => {
            "use in url the name that stands in the certificate"
        }
        TlsFault::Certificate(CertificateFault::Revoked | CertificateFault::Other) => {
            "the server's certificate has to be replaced"
        }
        TlsFault::CaFile => "check ca_file in [[smarthost]]: a readable file of certificates in PEM",
        TlsFault::NoRoots => "install the system's certificates (package ca-certificates), or set ca_file",
        TlsFault::Name => "use a host name in url, as it stands in the server's certificate",
        TlsFault::NotTls => {
            "that port does not speak TLS from the start: use smtp:// instead of smtps://, or port 465"
        }
        TlsFault::Handshake => "the server wants a TLS that is not spoken here (1.2 and 1.3 are)",
        TlsFault::Link | TlsFault::Unconfigured => "it is tried again",
    }
}

fn session_hint(end: &SessionEnd) -> &'static str {
    match (&end.why, end.stage) {
        (EndCause::Reply(_), Stage::Auth) => "check user and password in [[smarthost]]",
        (EndCause::Reply(reply), _) if matches!(reply.code, 530 | 535 | 538) => {
            "the server wants a login: set user and password in [[smarthost]]"
        }
        (EndCause::Reply(_), Stage::Greeting) => {
            "the server does not want to talk to this box: ask who runs it"
        }
        (EndCause::NotOffered(_), _) => {
            "check url, tls and user in [[smarthost]] against what the server offers"
        }
        (EndCause::TimedOut(_), Stage::Greeting) => {
            "something accepts connections and says nothing: a port that wants TLS from the start is smtps://"
        }
        (EndCause::Protocol(_), Stage::Greeting) => {
            "what answers on that port is not a mail server: check url"
        }
        _ => "it is tried again",
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mail::Reply;

    #[test]
    fn only_a_refused_login_makes_the_next_one_wait_longer() {
        let at = |stage, why| is_refused_login(&SessionEnd { stage, why });
        let no = Reply { code: 535, enhanced: None, text: Vec::new() };
        assert!(at(Stage::Auth, EndCause::Reply(no.clone())));
        assert!(at(Stage::Auth, EndCause::Closed));
        assert!(!at(Stage::Auth, EndCause::TimedOut(Duration::from_secs(30))));
        assert!(!at(Stage::Auth, EndCause::Io("connection reset".into())));
        assert!(!at(Stage::Auth, EndCause::NotOffered("AUTH".into())));
        assert!(!at(Stage::Mail, EndCause::Reply(no)));
        assert!(!Trouble::no_password("it is not there".into()).is_refused_login());
    }
}
