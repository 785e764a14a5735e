//! Why the smarthost cannot be used, and what to do about it.

use std::fmt;

use crate::mail::Stage;
use crate::net::{CertificateFault, ConnectFault, Endpoint, OpenError, TlsError, TlsFault};
use crate::oauth::Fault;
use crate::policy::{Limit, cure};
use crate::smtp::{EndCause, SessionEnd};

/// Where there is nothing to be done.
const AGAIN: &str = "it is tried again";

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
    /// What is missing on our side, if that is why.
    pub lacks: Option<Lacks>,
}

/// What is missing on our side, so that a session was not even tried, or is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacks {
    /// What TLS needs: `ca_file`, the client certificate, any certificate to trust.
    Tls(TlsFault),
    /// The password or the token cannot be read.
    Password,
    /// The token endpoint gives none.
    Token,
    /// A login for a port that wants one.
    Login,
    /// What is known of the hosts that had TLS.
    Hosts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Session,
    RefusedLogin,
    /// The same, in words that may be about the token alone.
    RefusedToken,
    BreakerOpen,
}

impl Trouble {
    /// No session came to be.
    pub(super) fn opening(error: &OpenError, smarthost: &str) -> Trouble {
        let hint = match error {
            OpenError::Connect(error) => connect_hint(error.kind, &error.endpoint),
            OpenError::Tls { error, .. } => tls_hint(error.kind),
            OpenError::Session { end, .. } => session_hint(end),
        };
        Trouble {
            stage: error.stage(),
            cause: format!("failed to {error}"),
            hint: hint.replace("{}", smarthost),
            kind: match error {
                OpenError::Session { end, .. } if is_refused_token(end) => Kind::RefusedToken,
                OpenError::Session { end, .. } if is_refused_login(end) => Kind::RefusedLogin,
                _ => Kind::Session,
            },
            lacks: None,
        }
    }

    /// A session ended or was refused in the middle.
    pub(super) fn ended(end: &SessionEnd, peer: impl fmt::Display) -> Trouble {
        Trouble {
            stage: end.stage,
            cause: format!("{peer}: {end}"),
            hint: session_hint(end).to_owned(),
            kind: Kind::Session,
            lacks: None,
        }
    }

    /// TLS cannot be set up on our side.
    pub(super) fn no_tls(error: &TlsError) -> Trouble {
        let hint = tls_hint(error.kind).to_owned();
        let lacks = Some(Lacks::Tls(error.kind));
        Trouble { stage: Stage::Tls, cause: error.to_string(), hint, kind: Kind::Session, lacks }
    }

    /// Several smarthosts, and none of them can be used; by their names, in the order in which they were tried.
    pub(super) fn of_all(troubles: Vec<(String, Trouble)>) -> Trouble {
        let mut troubles = troubles.into_iter();
        let Some((name, mut all)) = troubles.next() else { return Trouble::nowhere() };
        let others: Vec<_> = troubles.collect();
        if !others.is_empty() {
            all.cause = format!("{name}: {}", all.cause);
        }
        for (name, trouble) in others {
            all.cause += &format!("; {name}: {}", trouble.cause);
            if trouble.hint != all.hint {
                all.hint += &format!("; {name}: {}", trouble.hint);
            }
            if trouble.kind != all.kind {
                all.kind = Kind::Session;
            }
        }
        all
    }

    /// It could be used, if its quota were not used up.
    pub(super) fn paced(limit: Limit) -> Trouble {
        let name = limit.name();
        Trouble {
            stage: Stage::Connect,
            cause: format!("as much was sent as it is given ({name})"),
            hint: format!("see {name} in [[smarthost]]; it is tried again"),
            kind: Kind::Session,
            lacks: None,
        }
    }

    /// A look at a smarthost that was not over in time.
    pub(super) fn not_yet() -> Trouble {
        Trouble {
            stage: Stage::Connect,
            cause: "no session within 10 s".into(),
            hint: "it is tried again".into(),
            kind: Kind::Session,
            lacks: None,
        }
    }

    /// A look at a smarthost that broke down on our side.
    pub(super) fn look_failed(error: &dyn fmt::Display) -> Trouble {
        Trouble {
            stage: Stage::Connect,
            cause: format!("failed to look whether it is well: {error}"),
            hint: "it is tried again".into(),
            kind: Kind::Session,
            lacks: None,
        }
    }

    /// The login is missing on our side.
    pub(super) fn no_password(why: String) -> Trouble {
        let hint = "see password in [[smarthost]]".into();
        let lacks = Some(Lacks::Password);
        Trouble { stage: Stage::Auth, cause: why, hint, kind: Kind::Session, lacks }
    }

    /// There is no access token.
    pub(super) fn no_token(Fault { cause, hint, is_refusal, .. }: Fault) -> Trouble {
        let kind = if is_refusal { Kind::RefusedLogin } else { Kind::Session };
        Trouble { stage: Stage::Auth, cause, hint, kind, lacks: Some(Lacks::Token) }
    }

    /// What to do where a token is refused, in place of what there is to do about a password.
    pub(super) const TOKEN: &'static str = "the server does not take this token: is it for this user, and for sending mail (its scope, \
        the permission of the application), and may this user log in by SMTP at all? See user, and token or \
        [smarthost.oauth], in [[smarthost]]";

    /// What to do where a host that had TLS has none.
    pub(super) const HAD_TLS: &'static str = "this host had TLS before, and somebody on the way may have taken it away; if it \
        has none any more, remove meta/hosts.json in the spool, or set tls = \"none\"";

    /// What is known of the hosts that had TLS cannot be used.
    pub(super) fn hosts(doing: &str, error: &std::io::Error) -> Trouble {
        Trouble {
            stage: Stage::Tls,
            cause: format!("failed to {doing} meta/hosts.json, which knows the hosts that had TLS: {error}"),
            hint: match doing {
                "read" => {
                    "remove it, if the server can be trusted without having TLS: it is made anew".into()
                }
                _ => "free or repair the disk: it is tried again".into(),
            },
            kind: Kind::Session,
            lacks: Some(Lacks::Hosts),
        }
    }

    /// A port for those who log in, and nobody is to be logged in.
    pub(super) fn wants_login(endpoint: &Endpoint) -> Trouble {
        Trouble {
            stage: Stage::Ehlo,
            cause: format!("{endpoint} offers a login, and none is configured"),
            hint: "set user and password in [[smarthost]], or name the port in url".into(),
            kind: Kind::Session,
            lacks: Some(Lacks::Login),
        }
    }

    /// There is no port to try.
    pub(super) fn nowhere() -> Trouble {
        Trouble {
            stage: Stage::Connect,
            cause: "the smarthost has no port".into(),
            hint: "name the port in url".into(),
            kind: Kind::Session,
            lacks: None,
        }
    }

    /// Two messages in a row without a common recipient were deferred alike.
    pub(super) fn deferred_alike(stage: Stage, cause: &str) -> Trouble {
        Trouble {
            stage,
            cause: format!("the server defers whatever it is given: {cause}"),
            hint: "nobody is charged with it; if it lasts, ask who runs the server".into(),
            kind: Kind::Session,
            lacks: None,
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
            lacks: None,
        }
    }

    /// Whether the breaker is open.
    pub(super) fn is_breaker(&self) -> bool {
        self.kind == Kind::BreakerOpen
    }

    /// Whether a login was refused: then the next one waits longer, so that no account is locked.
    pub(super) fn is_refused_login(&self) -> bool {
        matches!(self.kind, Kind::RefusedLogin | Kind::RefusedToken)
    }

    /// Whether the refusal may be about the token that was shown, if it was one.
    pub(super) fn is_refused_token(&self) -> bool {
        self.kind == Kind::RefusedToken
    }
}

/// A permanent reply that is not about the mechanism.
fn is_refused_token(end: &SessionEnd) -> bool {
    let is_about_token = |code| (500..600).contains(&code) && !matches!(code, 500 | 502 | 504 | 538);
    end.stage == Stage::Auth && matches!(&end.why, EndCause::Reply(reply) if is_about_token(reply.code))
}

/// The server said no, or hung up on the password. That it is silent, the line breaks or there is no password to be had is
/// an outage like any other.
fn is_refused_login(end: &SessionEnd) -> bool {
    end.stage == Stage::Auth
        && matches!(end.why, EndCause::Reply(_) | EndCause::Closed | EndCause::Protocol(_))
}

fn connect_hint(fault: ConnectFault, endpoint: &Endpoint) -> &'static str {
    match fault {
        ConnectFault::Dns => {
            "check the host in url, and that this box can reach its name server (/etc/resolv.conf)"
        }
        ConnectFault::Refused if endpoint.socket().is_some() => {
            "nobody listens on that socket: is the server running, and is the path in url right?"
        }
        ConnectFault::Forbidden | ConnectFault::Other if endpoint.socket().is_some() => {
            "may the user of this service open the socket and every folder above it?"
        }
        ConnectFault::Refused => {
            "nothing answers on that port: is the server running, and is the port in url right?"
        }
        ConnectFault::NoRoute => {
            "there is no way to that address from here: check the network and its gateway"
        }
        ConnectFault::HostUnreachable => {
            "the host is down, or a firewall on the way says so: check host and port in url, and whether the host runs"
        }
        ConnectFault::Forbidden => {
            "this box itself forbids it: see its routes (ip route) and its firewall (nft list ruleset)"
        }
        ConnectFault::TimedOut => {
            "the host is down, or a firewall swallows the connection: check host and port in url"
        }
        ConnectFault::Other => "check host and port in url",
    }
}

fn tls_hint(fault: TlsFault) -> &'static str {
    match fault {
        TlsFault::Certificate(CertificateFault::UnknownIssuer | CertificateFault::SelfSigned) => {
            "if this is your own server, name the certificate of its issuer in ca_file, or its key in pin"
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
        TlsFault::Certificate(CertificateFault::Pin) => {
            "if the server's key was changed on purpose, put the new one into pin; if not, it is another server"
        }
        TlsFault::ClientFile => {
            "see client_cert and client_key in [[smarthost]]: readable for pillarbox alone, PEM"
        }
        TlsFault::ClientRefused => {
            "see client_cert in [[smarthost]]: the server has to know who issued it, and it must not have ended"
        }
        TlsFault::CaFile => "check ca_file in [[smarthost]]: a readable file of certificates in PEM",
        TlsFault::NoRoots => "install the system's certificates (package ca-certificates), or set ca_file",
        TlsFault::Name => "use a host name in url, as it stands in the server's certificate",
        TlsFault::NotTls => {
            "that port does not speak TLS from the start: use smtp:// instead of smtps://, or port 465"
        }
        TlsFault::TooOld | TlsFault::Handshake => {
            "the server wants a TLS that is not spoken here (1.2 and 1.3 are)"
        }
        TlsFault::Link | TlsFault::Unconfigured => AGAIN,
    }
}

fn session_hint(end: &SessionEnd) -> &'static str {
    match (&end.why, end.stage) {
        // With TLS 1.3 the server refuses a certificate behind the handshake.
        (EndCause::Tls(_), _) => tls_hint(TlsFault::ClientRefused),
        (EndCause::Protocol(_), Stage::Auth) => {
            "if it lasts, name another login in auth, or ask who runs the server"
        }
        (EndCause::Reply(reply), stage) => cure(stage, reply).unwrap_or(AGAIN),
        (EndCause::NotOffered(_), _) => {
            "check url, tls and user in [[smarthost]] against what the server offers"
        }
        (EndCause::TimedOut(_), Stage::Greeting) => {
            "something accepts connections and says nothing: a port that wants TLS from the start is smtps://"
        }
        (EndCause::Protocol(_), Stage::Greeting) => {
            "what answers on that port is not a mail server: check url"
        }
        _ => AGAIN,
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
    fn a_refusal_comes_with_the_cure_of_the_table_of_answers() {
        let hint = |stage, code, enhanced: &str| {
            let reply = Reply { code, enhanced: enhanced.parse().ok(), text: Vec::new() };
            Trouble::ended(&SessionEnd { stage, why: EndCause::Reply(reply) }, "mx").hint
        };
        assert!(hint(Stage::Auth, 535, "5.7.139").contains("switched logins by password off"));
        assert!(hint(Stage::Mail, 550, "5.7.30").contains("token in [[smarthost]]"));
        assert!(hint(Stage::Mail, 550, "5.7.60").contains("may not send as the sender"));
        assert!(hint(Stage::Mail, 530, "5.7.0").contains("set user and password"));
        assert!(hint(Stage::Greeting, 554, "").contains("ask who runs it"));
        assert_eq!(hint(Stage::Idle, 421, ""), AGAIN);
    }

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
