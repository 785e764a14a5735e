//! From the greeting to [`Event::Ready`]: EHLO or LHLO, STARTTLS (RFC 3207), AUTH (RFC 4954).

use lettre::transport::smtp::commands::{Ehlo, Starttls};
use lettre::transport::smtp::extension::ClientId;

use super::auth::AuthExchange;
use super::awaited::{Awaited, Meaning};
use super::session::{Event, Phase, Session};
use super::{EndCause, Extensions, Protocol, TlsMode};
use crate::mail::{Monotonic, Reply, Severity, Stage};

impl Session {
    pub(super) fn on_opening_reply(&mut self, awaited: Awaited, reply: Reply, now: Monotonic) {
        let stage = awaited.stage();
        match (awaited, Meaning::of(&reply)) {
            (_, Meaning::OutOfStep) => self.out_of_step(stage, &reply),
            (Awaited::Greeting, Meaning::Completed) => self.say_ehlo(now),
            (Awaited::Ehlo, Meaning::Completed) => {
                self.extensions = Extensions::from_reply(&reply);
                self.after_ehlo(now);
            }
            (Awaited::Ehlo, Meaning::Refused)
                if reply.severity() == Severity::Permanent && self.may_say_helo() =>
            {
                let helo = format!("HELO {}\r\n", self.client_id());
                self.request(&helo, Awaited::Helo, now);
            }
            (Awaited::Ehlo, Meaning::Refused) if self.does_not_know_lhlo(&reply) => {
                let what = format!("LMTP, it said to LHLO: {reply}");
                self.give_up(stage, EndCause::NotOffered(what));
            }
            (Awaited::Helo, Meaning::Completed) => {
                self.extensions = Extensions::default();
                self.become_ready();
            }
            (Awaited::StartTls, Meaning::Completed) => {
                self.phase = Phase::Handshake;
                self.events.push_back(Event::StartTls);
            }
            // Not now or not at all: an offer is not a promise (RFC 3207 section 4).
            (Awaited::StartTls, Meaning::Refused) if !self.requires_tls() => self.log_in(now),
            (Awaited::Auth, Meaning::Completed) => self.on_logged_in(),
            (Awaited::Auth, Meaning::Intermediate) => {
                let text = reply.text.first().map_or("", String::as_str);
                match self.auth.as_mut().map(|auth| auth.answer(text)) {
                    Some(Ok(line)) => self.request(&line, Awaited::Auth, now),
                    Some(Err(why)) => self.fault(stage, &why),
                    None => self.out_of_step(stage, &reply),
                }
            }
            (Awaited::Auth, Meaning::Refused) => self.on_auth_refused(reply, now),
            (_, Meaning::Refused) => self.give_up(stage, EndCause::Reply(reply)),
            (_, Meaning::Completed | Meaning::Intermediate) => self.out_of_step(stage, &reply),
        }
    }

    pub(super) fn say_ehlo(&mut self, now: Monotonic) {
        let greeting = match self.options.protocol {
            Protocol::Smtp => Ehlo::new(self.client_id()).to_string(),
            Protocol::Lmtp => format!("LHLO {}\r\n", self.client_id()),
        };
        self.request(&greeting, Awaited::Ehlo, now);
    }

    fn after_ehlo(&mut self, now: Monotonic) {
        let wanted = !self.inside_tls && self.options.tls != TlsMode::None;
        if wanted && self.extensions.starttls {
            self.request(&Starttls.to_string(), Awaited::StartTls, now);
        } else if wanted && self.requires_tls() {
            self.give_up(Stage::StartTls, EndCause::NotOffered("STARTTLS, and TLS is required".to_owned()));
        } else {
            self.log_in(now);
        }
    }

    fn log_in(&mut self, now: Monotonic) {
        let Some(login) = self.options.login.clone() else {
            return self.become_ready();
        };
        let offered = &self.extensions.auth;
        let mut auth = AuthExchange::new(login, offered, self.inside_tls, self.binding.as_deref());
        let command = auth.next_command();
        if command.is_none() {
            let what = match offered.is_empty() {
                true => "AUTH, and a login is configured".to_owned(),
                false => format!("{}, only AUTH {}", auth.wanted(), offered.join(" ")),
            };
            return self.give_up(Stage::Auth, EndCause::NotOffered(what));
        }
        self.auth = Some(auth);
        self.say_auth(command, None, now);
    }

    /// Says the AUTH command that is next. Without one the refusal stands.
    fn say_auth(&mut self, command: Option<Result<String, String>>, refusal: Option<Reply>, now: Monotonic) {
        self.mechanism = self.auth.as_ref().and_then(AuthExchange::mechanism).or(self.mechanism);
        match (command, refusal) {
            (Some(Ok(command)), _) => self.request(&command, Awaited::Auth, now),
            (Some(Err(why)), _) => self.fault(Stage::Auth, &why),
            (None, Some(reply)) => self.give_up(Stage::Auth, EndCause::Reply(reply)),
            (None, None) => self.fault(Stage::Auth, "expected a way to log in, found none"),
        }
    }

    fn on_auth_refused(&mut self, reply: Reply, now: Monotonic) {
        let next = self.auth.as_mut().and_then(|auth| auth.after_refusal(&reply));
        self.say_auth(next, Some(reply), now);
    }

    fn on_logged_in(&mut self) {
        if self.auth.as_ref().is_some_and(AuthExchange::may_succeed) {
            return self.become_ready();
        }
        let text = "expected the server's proof that it knows the password, found 235";
        self.fault(Stage::Auth, text);
    }

    fn become_ready(&mut self) {
        self.auth = None;
        self.phase = Phase::Idle;
        self.events.push_back(Event::Ready);
    }

    fn requires_tls(&self) -> bool {
        match self.options.tls {
            TlsMode::StartTlsRequired => true,
            TlsMode::StartTlsIfOffered => self.options.login.is_some(),
            TlsMode::None | TlsMode::Implicit => false,
        }
    }

    /// 500, 502: not understood (RFC 5321 section 4.2.4).
    fn does_not_know_lhlo(&self, reply: &Reply) -> bool {
        self.options.protocol == Protocol::Lmtp && matches!(reply.code, 500 | 502)
    }

    /// HELO has neither STARTTLS nor AUTH, and is no command of LMTP (RFC 2033 section 4.1).
    fn may_say_helo(&self) -> bool {
        self.options.protocol == Protocol::Smtp
            && self.options.login.is_none()
            && (self.inside_tls || !self.requires_tls())
    }

    /// Nothing that could end the line or begin a second argument gets into it.
    fn client_id(&self) -> ClientId {
        let name: String = self.options.hostname.chars().filter(char::is_ascii_graphic).collect();
        if name.is_empty() { ClientId::default() } else { ClientId::Domain(name) }
    }
}
