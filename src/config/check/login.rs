//! Who logs in to a smarthost, and what proves it.

use std::os::unix::fs::MetadataExt;

use toml::Spanned;

use super::oauth::check_oauth;
use super::{at, text};
use crate::config::error::{ConfigError, Source};
use crate::config::raw::{OneOrMore, RawPassword, RawPasswordTable, RawSmarthost};
use crate::config::{Login, Password, Proof};
use crate::smtp::{Credential, Mechanism, Secret};

impl Login {
    /// Whether it may be proved without showing the password.
    pub(super) fn has_proof(&self) -> bool {
        let may_be = |m: &Mechanism| !m.shows_secret() && !m.is_bound() && *m != Mechanism::External;
        match self.proof {
            Proof::Password(_) => self.mechanisms.is_empty() || self.mechanisms.iter().any(may_be),
            Proof::Token(_) | Proof::OAuth(_) | Proof::Certificate => false,
        }
    }
}

pub(super) fn check_login(
    source: &Source,
    raw: &RawSmarthost,
    has_certificate: bool,
) -> Result<Option<Login>, ConfigError> {
    let mechanisms = match &raw.auth {
        Some(auth) => at(source, auth, check_auth)?,
        None => Vec::new(),
    };
    let user = raw.user.as_ref().map(|user| at(source, user, |t| text(t))).transpose()?;
    let proof = match (&raw.password, &raw.token, &raw.oauth) {
        (Some(_), Some(token), _) => {
            return Err(source.error(token.span(), "expected password or token, found both"));
        }
        (Some(set), None, Some(_)) => {
            return Err(source.error(set.span(), "expected password or [smarthost.oauth], found both"));
        }
        (None, Some(set), Some(_)) => {
            return Err(source.error(set.span(), "expected token or [smarthost.oauth], found both"));
        }
        (Some(password), None, None) => Some(Proof::Password(check_password(source, password)?)),
        (None, Some(token), None) => Some(Proof::Token(check_password(source, token)?)),
        (None, None, Some(oauth)) => Some(Proof::OAuth(Box::new(check_oauth(source, oauth, &raw.profile)?))),
        (None, None, None) => None,
    };
    let Some(proof) = proof else {
        return match (&raw.auth, &raw.user) {
            (Some(auth), _) if mechanisms != [Mechanism::External] => {
                Err(source.error(auth.span(), "auth is set but user and password are not"))
            }
            (Some(auth), _) if !has_certificate => {
                Err(source.error(auth.span(), "EXTERNAL is a login by certificate: expected client_cert"))
            }
            (Some(_), _) => {
                let user = user.unwrap_or_default();
                Ok(Some(Login { user, proof: Proof::Certificate, mechanisms }))
            }
            (None, Some(user)) => Err(source.error(user.span(), "user is set but password is not")),
            (None, None) => Ok(None),
        };
    };
    let Some(user) = user else {
        let (key, set) = match (&raw.password, &raw.token, &raw.oauth) {
            (Some(password), _, _) => ("password", password.span()),
            (None, Some(token), _) => ("token", token.span()),
            (None, None, oauth) => ("[smarthost.oauth]", oauth.as_ref().map_or(0..0, Spanned::span)),
        };
        return Err(source.error(set, format!("{key} is set but user is not")));
    };
    let example = match &proof {
        Proof::Token(_) | Proof::OAuth(_) => Credential::Token(Secret::new("")),
        _ => Credential::Password(Secret::new("")),
    };
    if let (Some(auth), Some(wrong)) = (&raw.auth, mechanisms.iter().find(|m| !m.takes(&example))) {
        let what = if matches!(proof, Proof::Password(_)) { "a password" } else { "a token" };
        return Err(source.error(auth.span(), format!("{wrong} is no login with {what}")));
    }
    Ok(Some(Login { user, proof, mechanisms }))
}

/// What was found is not shown: somebody may have written user and password there.
fn check_auth(auth: &OneOrMore) -> Result<Vec<Mechanism>, String> {
    let known = Mechanism::ALL.map(Mechanism::name).join(", ");
    let error = || format!("expected one of {known}, or a list of them");
    let mechanisms = auth.texts.iter().map(|t| t.parse().map_err(|_| error()));
    let mechanisms: Vec<Mechanism> = mechanisms.collect::<Result<_, _>>()?;
    if mechanisms.is_empty() { Err(error()) } else { Ok(mechanisms) }
}

pub(super) fn check_password(source: &Source, raw: &Spanned<RawPassword>) -> Result<Password, ConfigError> {
    let table = match raw.get_ref() {
        RawPassword::Table(table) => table,
        RawPassword::Inline(secret) => {
            let mode = std::fs::metadata(&source.path).map_or(0, |m| m.mode() & 0o7777);
            if mode & 0o004 == 0 {
                return Ok(Password::Inline(secret.clone()));
            }
            let message = format!("a password stands in a file that everybody can read (mode {mode:04o})");
            return Err(source
                .error(raw.span(), message)
                .hint(format!("chmod o-r {}", source.path.display())));
        }
    };
    match table.clone() {
        RawPasswordTable { file: Some(path), env: None, credential: None, command: None } => {
            Ok(Password::File(path.into()))
        }
        RawPasswordTable { file: None, env: Some(name), credential: None, command: None } => {
            Ok(Password::Env(name))
        }
        RawPasswordTable { file: None, env: None, credential: Some(name), command: None } => {
            Ok(Password::Credential(name))
        }
        RawPasswordTable { file: None, env: None, credential: None, command: Some(command) } => {
            match command.texts.first() {
                Some(program) if !program.is_empty() => Ok(Password::Command(match command.is_list {
                    true => command.texts,
                    false => vec!["/bin/sh".into(), "-c".into(), command.texts.concat()],
                })),
                _ => Err(source.error(raw.span(), "expected a command, found nothing")),
            }
        }
        _ => Err(source.error(raw.span(), "expected one of file, env, credential and command")),
    }
}
