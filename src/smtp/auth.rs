//! Logging in (RFC 4954): PLAIN with an initial response (RFC 4616), and LOGIN for those who know only that.

use std::collections::VecDeque;
use std::fmt;

use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS, Mechanism};
use lettre::transport::smtp::commands::Auth;

/// Who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// A text that is never shown: Debug and Display give `****`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

/// One login: the mechanisms still to be tried, and what the current one still has to say. No Debug.
pub(super) struct AuthExchange {
    login: Login,
    mechanisms: VecDeque<Mechanism>,
    responses: VecDeque<String>,
}

impl AuthExchange {
    /// The mechanisms that both sides know, lettre's favourite (PLAIN) first.
    pub(super) fn new(login: Login, offered: &[String]) -> Self {
        let both = DEFAULT_MECHANISMS.iter().filter(|known| offered.contains(&known.to_string()));
        AuthExchange { login, mechanisms: both.copied().collect(), responses: VecDeque::new() }
    }

    /// The AUTH command of the next mechanism, `None` if there is none left.
    pub(super) fn next_mechanism(&mut self) -> Option<String> {
        let mechanism = self.mechanisms.pop_front()?;
        let (command, responses) = match mechanism {
            Mechanism::Plain => {
                let command = self.encoded(mechanism, None);
                // For the servers that overlook the initial response and ask for it once more.
                let response = command.trim_start_matches("AUTH PLAIN ").to_owned();
                (command, vec![response])
            }
            _ => (
                self.encoded(mechanism, None),
                // LOGIN asks for the name first and the password second, in wordings beyond number; lettre
                // knows a few, so it is asked with one that it knows, whatever the server's prompt was.
                vec![self.encoded(mechanism, Some("Username:")), self.encoded(mechanism, Some("Password:"))],
            ),
        };
        self.responses = responses.into();
        Some(command)
    }

    /// The line that answers the next 334, `None` if the mechanism has nothing more to say.
    pub(super) fn next_response(&mut self) -> Option<String> {
        self.responses.pop_front()
    }

    /// `text` without the password in any form in which it went out: servers quote what they refuse.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        let mut forms = vec![
            self.encoded(Mechanism::Plain, None).trim_start_matches("AUTH PLAIN ").trim_end().to_owned(),
            self.encoded(Mechanism::Login, Some("Password:")).trim_end().to_owned(),
            self.login.password.expose().to_owned(),
        ];
        forms.retain(|form| !form.is_empty());
        forms.iter().fold(text.to_owned(), |text, form| text.replace(form.as_str(), "****"))
    }

    fn encoded(&self, mechanism: Mechanism, challenge: Option<&str>) -> String {
        let credentials = Credentials::new(self.login.user.clone(), self.login.password.expose().to_owned());
        // The error is about challenges that lettre does not know; only known ones are passed above.
        Auth::new(mechanism, credentials, challenge.map(str::to_owned))
            .map_or_else(|_| "*\r\n".to_owned(), |auth| auth.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(offered: &[&str]) -> AuthExchange {
        let login = Login { user: "ops".into(), password: Secret::new("hunter2") };
        AuthExchange::new(login, &offered.iter().map(|&m| m.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_mechanisms_that_both_know_are_tried_plain_first() {
        let mut auth = exchange(&["CRAM-MD5", "LOGIN", "PLAIN"]);
        assert_eq!(auth.next_mechanism().unwrap(), "AUTH PLAIN AG9wcwBodW50ZXIy\r\n");
        assert_eq!(auth.next_mechanism().unwrap(), "AUTH LOGIN\r\n");
        assert_eq!(auth.next_response().unwrap(), "b3Bz\r\n");
        assert_eq!(auth.next_response().unwrap(), "aHVudGVyMg==\r\n");
        assert_eq!(auth.next_response(), None);
        assert_eq!(auth.next_mechanism(), None);
        assert_eq!(exchange(&["GSSAPI"]).next_mechanism(), None);
    }

    #[test]
    fn a_secret_is_shown_nowhere() {
        let login = Login { user: "ops".into(), password: Secret::new("hunter2") };
        assert_eq!(format!("{login:?} {}", login.password), "Login { user: \"ops\", password: **** } ****");
        let auth = exchange(&["PLAIN"]);
        assert_eq!(auth.without_secrets("what is AG9wcwBodW50ZXIy or hunter2?"), "what is **** or ****?");
        assert_eq!(auth.without_secrets("aHVudGVyMg== refused"), "**** refused");
    }
}
