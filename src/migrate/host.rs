//! A mail server that messages were sent to, and the rules by which it becomes a `[[smarthost]]`: what was sent in clear by
//! somebody's wish stays so, what was sent in clear by chance does not, and no password goes out in clear.

use super::{Fate, Line, Note, Setting};
use crate::mail::Mailbox;
use crate::smtp::{Mechanism, Secret};

/// What TLS was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// None.
    None,
    /// Where the server offers it.
    Offered,
    /// Always, by STARTTLS.
    StartTls,
    /// Always, from the first byte.
    Implicit,
}

/// What proves who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A password that stood in a file.
    Secret(Secret),
    /// What a shell prints for this.
    Command(String),
    /// It is kept where it cannot be had: the operator writes it into the file.
    Elsewhere,
}

/// A mail server.
#[derive(Debug, Clone)]
pub struct Host {
    /// Who names it, and where.
    pub from: Line,
    /// `lmtp` in place of `smtp`.
    pub lmtp: bool,
    /// A name, an address, or the path of a unix socket.
    pub name: String,
    /// `None` is that of the protocol.
    pub port: Option<u16>,
    /// What TLS there is, and the line that says so.
    pub security: (Security, Line),
    /// Who logs in.
    pub user: Option<(String, Line)>,
    /// By what.
    pub proof: Option<(Proof, Line)>,
    /// The proof is an access token.
    pub is_token: bool,
    /// The mechanisms; empty is any.
    pub mechanisms: (Vec<Mechanism>, Line),
    /// A password was shown to the server where nothing hid it.
    pub shows_password: bool,
    /// The other settings.
    pub settings: Vec<Setting>,
}

impl Host {
    /// `None` if `name` is none of a host, an address or a socket.
    pub(super) fn new(name: &str, from: &Line) -> Option<Host> {
        let name = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
        let is_host_char = |c: char| c.is_alphanumeric() || ".-_".contains(c);
        let is_ip6 = name.parse::<std::net::Ipv6Addr>().is_ok();
        let is_path = name.starts_with('/') && !name.ends_with('/') && !name.chars().any(char::is_control);
        let is_host = !name.is_empty() && name.chars().all(is_host_char);
        (is_host || is_ip6 || is_path).then(|| Host {
            from: from.clone(),
            lmtp: false,
            name: name.to_owned(),
            port: None,
            security: (Security::None, from.clone()),
            user: None,
            proof: None,
            is_token: false,
            mechanisms: (Vec::new(), from.clone()),
            shows_password: false,
            settings: Vec::new(),
        })
    }

    pub(super) fn set(&mut self, key: &'static str, value: impl Into<String>, from: &Line) {
        self.settings.retain(|setting| setting.key != key);
        self.settings.push(Setting { key, value: value.into(), from: from.clone() });
    }

    /// The sender that it is told, if it is an address.
    pub(super) fn set_from(&mut self, address: &str, from: &Line, notes: &mut Vec<Note>) {
        match address.parse::<Mailbox>() {
            Ok(_) => self.set("from", address, from),
            Err(error) => notes.push(from.note(Fate::NotCarried, error.to_string())),
        }
    }

    /// A file of certificates that are trusted.
    pub(super) fn set_ca_file(&mut self, path: &str, from: &Line, notes: &mut Vec<Note>) {
        if super::lines::is_systems_trust(path) {
            return;
        }
        self.set("ca_file", path, from);
        let why = "the certificates in it are trusted besides the system's, not in their place";
        notes.push(from.note(Fate::Changed, why));
    }

    pub(super) fn set_port(&mut self, text: &str, from: &Line, notes: &mut Vec<Note>) {
        let port = match text {
            "smtp" => Some(25),
            "submission" => Some(587),
            "smtps" | "submissions" | "ssmtp" => Some(465),
            _ => text.parse::<u16>().ok().filter(|port| *port > 0),
        };
        match port {
            Some(_) => self.port = port,
            None => notes.push(from.note(Fate::NotCarried, format!("expected a port, found {text:?}"))),
        }
    }

    /// Whether a connection to it never leaves this host.
    fn is_here(&self) -> bool {
        let is_loopback = self.name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        is_loopback || self.name == "localhost" || self.is_socket()
    }

    pub(super) fn is_socket(&self) -> bool {
        self.name.starts_with('/')
    }

    /// Brings what was read to what can be had here, and says so.
    pub(super) fn settle(&mut self, notes: &mut Vec<Note>) {
        self.settle_login(notes);
        let line = self.security.1.clone();
        let mut say = |why: &str| notes.push(line.note(Fate::Changed, why));
        let has_client = self.settings.iter().any(|setting| setting.key == "client_cert");
        let has_login = self.user.is_some();
        match self.security.0 {
            _ if self.is_socket() => {
                self.security.0 = Security::None;
                self.settings.retain(|s| !["ca_file", "client_cert", "client_key"].contains(&s.key));
            }
            Security::None if self.is_here() => {}
            Security::None if has_login && (self.shows_password || self.is_token) => {
                self.security.0 = Security::StartTls;
                say(
                    "the password went out in clear there; here TLS is required with it: if the server has none, mail waits",
                );
            }
            Security::None => say(
                "mail goes out in clear, as it did there; tls = \"auto\" takes TLS where the server offers it, \"required\" \
                 sends nothing without",
            ),
            Security::Offered if has_login || has_client => {
                self.security.0 = Security::StartTls;
                say("TLS where it is offered is not enough for a login here: it is required, and verified");
            }
            Security::Offered | Security::StartTls | Security::Implicit => {}
        }
        if has_client && matches!(self.security.0, Security::None) && !self.is_socket() {
            self.security.0 = Security::StartTls;
            say("a certificate of our own needs TLS: it is required");
        }
    }

    fn settle_login(&mut self, notes: &mut Vec<Note>) {
        let is_external = self.mechanisms.0 == [Mechanism::External];
        match (&self.user, &self.proof) {
            (Some((_, line)), None) if !is_external => {
                let why = "no password stands beside it: write it into the file that password names";
                notes.push(line.note(Fate::Changed, why));
                self.proof = Some((Proof::Elsewhere, line.clone()));
            }
            (None, Some((_, line))) => {
                notes.push(line.note(Fate::NotCarried, "there is no user for it"));
                self.proof = None;
            }
            _ => {}
        }
        if self.user.is_none() && !is_external {
            self.mechanisms.0.clear();
        }
        let may_hide = |m: &Mechanism| !m.shows_secret() && *m != Mechanism::External;
        if !self.mechanisms.0.is_empty() && !self.mechanisms.0.iter().any(may_hide) {
            self.shows_password = true;
        }
    }
}
