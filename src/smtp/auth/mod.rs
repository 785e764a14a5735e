//! Logging in (RFC 4954): which mechanism, what comes after a refusal, and what of it may be shown.
//!
//! A refusal is about the *mechanism* or about the *password*, and replies do not tell reliably which. The rule, which tries
//! no password more often than twice in a session and makes the second try only where the first may have failed for
//! another reason than the password:
//!
//! - Refused before anything was sent that shows or proves the password (the name of the mechanism, of the user): the next
//!   mechanism. No password was tried.
//! - Refused with 504, 500, 502 or 538 (unknown, not implemented, not on this connection): the next mechanism.
//! - A proof (SCRAM, CRAM-MD5) was refused with 534, 432 or a permanent reply that may be about it (no enhanced code, X.7.0, X.7.8,
//!   X.7.9, X.5.Z): a server that keeps only a hash offers what it can never check. Once more, with the first mechanism that
//!   shows the password. What says that the account is locked (X.7.13, X.7.139 and all others) ends it.
//! - The password or the token itself was refused, or 4yz came: the end. Another try would only bring a lock-out nearer.
//!
//! Which mechanism had the last word is remembered by the caller ([`Login::begin_with`]), so that a wrong password is tried
//! once in each later session.

mod dialogue;
mod mechanism;
mod secret;

use std::collections::VecDeque;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::mail::{Reply, Severity};
use dialogue::Dialogue;

pub use mechanism::Mechanism;
pub use secret::Secret;

/// The longest AUTH command with its CRLF: a longer initial response waits for the server's 334 (RFC 4954 section 4).
const COMMAND_MAX: usize = 512;

/// Who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// What proves it.
    pub credential: Credential,
    /// The mechanisms that may be used, in this order; empty is all that the credential allows, the strongest first.
    pub mechanisms: Vec<Mechanism>,
    /// The one that had the last word before, with this credential: stronger ones are passed over.
    pub begin_with: Option<Mechanism>,
    /// Nobody can listen although there is no TLS: the connection does not leave this host.
    pub stays_on_host: bool,
}

/// What proves who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A password.
    Password(Secret),
    /// An OAuth 2.0 access token.
    Token(Secret),
    /// The client certificate of the TLS connection.
    Certificate,
}

impl Login {
    /// A user with a password, by any mechanism.
    pub fn with_password(user: impl Into<String>, password: Secret) -> Self {
        let credential = Credential::Password(password);
        Login {
            user: user.into(),
            credential,
            mechanisms: Vec::new(),
            begin_with: None,
            stays_on_host: false,
        }
    }
}

/// One login: the mechanisms still to be tried, and the one at work. No Debug.
pub(super) struct AuthExchange {
    login: Login,
    binding: Option<Vec<u8>>,
    /// Nobody listens.
    may_show: bool,
    server_binds: bool,
    mechanisms: VecDeque<Mechanism>,
    current: Option<(Mechanism, Dialogue)>,
    /// An initial response that was sent, for the servers that overlook it and ask for it once more, or was too long
    /// to be sent.
    initial: Option<Vec<u8>>,
    is_withheld: bool,
    /// What went out, as it was on the wire and below: servers quote what they refuse.
    said: Vec<String>,
}

impl AuthExchange {
    /// The mechanisms that both sides know and that the connection allows. `binding` is what TLS gives for channel binding.
    pub(super) fn new(login: Login, offered: &[String], inside_tls: bool, binding: Option<&[u8]>) -> Self {
        let is_offered = |mechanism: &Mechanism| offered.iter().any(|name| name == mechanism.name());
        let may_show = inside_tls || login.stays_on_host;
        let is_possible = |mechanism: &Mechanism| {
            is_offered(mechanism)
                && mechanism.takes(&login.credential)
                && (may_show || !mechanism.shows_secret())
                && (binding.is_some() || !mechanism.is_bound())
        };
        let wanted = if login.mechanisms.is_empty() { &Mechanism::ALL[..] } else { &login.mechanisms };
        let mut mechanisms: VecDeque<Mechanism> = wanted.iter().copied().filter(is_possible).collect();
        if let Some(first) = login.begin_with.filter(|first| mechanisms.contains(first)) {
            while mechanisms.front() != Some(&first) {
                mechanisms.pop_front();
            }
        }
        AuthExchange {
            server_binds: Mechanism::ALL.iter().any(|m| m.is_bound() && is_offered(m)),
            binding: binding.map(<[u8]>::to_vec),
            may_show,
            login,
            mechanisms,
            current: None,
            initial: None,
            is_withheld: false,
            said: Vec::new(),
        }
    }

    /// What was looked for among the offers.
    pub(super) fn wanted(&self) -> String {
        let wanted = match &self.login.mechanisms[..] {
            [] => Mechanism::ALL.to_vec(),
            these => these.to_vec(),
        };
        let usable = wanted
            .into_iter()
            .filter(|mechanism| mechanism.takes(&self.login.credential) && !mechanism.is_bound());
        let names: Vec<&str> = usable
            .filter(|mechanism| self.may_show || !mechanism.shows_secret())
            .map(Mechanism::name)
            .collect();
        let place = if self.may_show { "" } else { " without TLS" };
        format!("AUTH {}{place}", names.join(" or "))
    }

    /// The mechanism at work.
    pub(super) fn mechanism(&self) -> Option<Mechanism> {
        self.current.as_ref().map(|(mechanism, _)| *mechanism)
    }

    /// The AUTH command of the next mechanism, `None` if there is none left.
    pub(super) fn next_command(&mut self) -> Option<Result<String, String>> {
        let mechanism = self.mechanisms.pop_front()?;
        Some(self.begin(mechanism))
    }

    fn begin(&mut self, mechanism: Mechanism) -> Result<String, String> {
        let Login { user, credential, .. } = &self.login;
        let mut dialogue =
            Dialogue::new(mechanism, user, credential, self.binding.as_deref(), self.server_binds)?;
        let initial = dialogue.initial()?;
        self.current = Some((mechanism, dialogue));
        (self.initial, self.is_withheld) = (None, false);
        let Some(response) = initial else { return Ok(format!("AUTH {mechanism}\r\n")) };
        let encoded = self.encoded(&response);
        self.initial = Some(response);
        let command = match encoded.as_str() {
            "" => format!("AUTH {mechanism} =\r\n"),
            encoded => format!("AUTH {mechanism} {encoded}\r\n"),
        };
        self.is_withheld = command.len() > COMMAND_MAX;
        Ok(if self.is_withheld { format!("AUTH {mechanism}\r\n") } else { command })
    }

    /// The line that answers a 334 with this text. The error says why the login cannot go on.
    pub(super) fn answer(&mut self, text: &str) -> Result<String, String> {
        let Some((mechanism, dialogue)) = &mut self.current else {
            return Err("expected nothing, found 334".to_owned());
        };
        let challenge = match BASE64_STANDARD.decode(text.trim()) {
            Ok(challenge) => challenge,
            // Only the prompts of LOGIN mean nothing, and come in wordings beyond number.
            Err(_) if *mechanism == Mechanism::Login => Vec::new(),
            Err(_) if self.initial.is_some() && *mechanism == Mechanism::Plain => Vec::new(),
            Err(_) => {
                return Err("expected a challenge in base64 behind 334, found something else".to_owned());
            }
        };
        self.is_withheld = false;
        let response = match self.initial.take() {
            Some(initial) if challenge.is_empty() || *mechanism == Mechanism::Plain => initial,
            _ => dialogue.step(&challenge)?,
        };
        Ok(self.encoded(&response) + "\r\n")
    }

    /// Whether a 235 may be believed.
    pub(super) fn may_succeed(&self) -> bool {
        self.current.as_ref().is_some_and(|(_, dialogue)| dialogue.may_succeed())
    }

    /// What comes after a refusal, by the rule above: the next AUTH command, or nothing.
    pub(super) fn after_refusal(&mut self, reply: &Reply) -> Option<Result<String, String>> {
        let (mechanism, dialogue) = self.current.as_ref()?;
        let is_permanent = reply.severity() == Severity::Permanent;
        let is_about_mechanism = matches!(reply.code, 500 | 502 | 504 | 538);
        if is_about_mechanism || (is_permanent && (self.is_withheld || !dialogue.has_spent())) {
            return self.next_command();
        }
        if mechanism.shows_secret() || !may_be_about_proof(reply) {
            return None;
        }
        // None of these is followed by another: a refused password is the end.
        self.mechanisms.retain(|mechanism| mechanism.shows_secret());
        self.next_command()
    }

    /// `text` without the password in any form in which it went out.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        let mut forms = self.said.clone();
        if let Credential::Password(secret) | Credential::Token(secret) = &self.login.credential {
            let secret = secret.expose();
            let plain = format!("\0{}\0{secret}", self.login.user);
            forms.extend([secret.to_owned(), BASE64_STANDARD.encode(secret), BASE64_STANDARD.encode(plain)]);
        }
        forms.retain(|form| !form.is_empty());
        // A form may be part of a longer one.
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.iter().fold(text.to_owned(), |text, form| text.replace(form.as_str(), "****"))
    }

    /// In base64, and noted as said if it shows or proves the password.
    fn encoded(&mut self, response: &[u8]) -> String {
        let encoded = BASE64_STANDARD.encode(response);
        if self.current.as_ref().is_some_and(|(_, dialogue)| dialogue.has_spent()) {
            self.said.push(encoded.clone());
            // That of a token has control characters, which a server that quotes it leaves out or not.
            self.said.extend(String::from_utf8(response.to_vec()).ok());
        }
        encoded
    }
}

/// Whether a refused proof may have been refused for another reason than the password.
fn may_be_about_proof(reply: &Reply) -> bool {
    let is_code = matches!(reply.code, 432 | 501 | 503 | 534 | 535 | 550 | 554);
    is_code
        && reply.enhanced.is_none_or(|code| {
            code.subject == 5 || (code.subject == 7 && matches!(code.detail, 0 | 8 | 9 | 12))
        })
}

#[cfg(test)]
mod tests;
