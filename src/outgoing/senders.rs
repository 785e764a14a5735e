//! Who stands in for the sender of a message, or in place of him: what this host, its users and its folders say.

use std::collections::BTreeMap;
use std::io;

use super::Options;
use crate::fs::{File, user_name};
use crate::mail::{ForceFrom, Mailbox, Origin};
use crate::message::{Author, NoEnvelope, Places, Template};

/// Those of this host, and those of its users.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Senders {
    /// `from` and `force_from` of `[identity]`.
    pub host: Sender,
    /// The same of `[user.NAME]`: what is said there stands above the host's.
    pub users: BTreeMap<String, Sender>,
}

/// A sender, and whether it is forced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sender {
    /// Stands in where a message names no sender that is usable.
    pub from: Option<Template>,
    /// Where it stands whatever the message says.
    pub force: Option<ForceFrom>,
}

/// The sender that is chosen for a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// `None`: nobody stands in.
    pub author: Option<Author>,
    /// Where it stands whatever the message says.
    pub force: Option<ForceFrom>,
}

impl Senders {
    /// Whether it matters to them that `user` sends.
    pub fn depend_on(&self, user: &str) -> bool {
        let templates = self.host.from.iter().chain(self.users.values().filter_map(|u| u.from.as_ref()));
        self.users.contains_key(user) || templates.into_iter().any(Template::names_user)
    }
}

impl From<Mailbox> for Senders {
    fn from(mailbox: Mailbox) -> Senders {
        let from = Some(Template::from(mailbox));
        Senders { host: Sender { from, force: None }, users: BTreeMap::new() }
    }
}

impl Chosen {
    /// The reverse-path of a message that has one, whatever it says itself.
    pub fn forced_envelope(&self) -> Option<&Mailbox> {
        let is_forced = matches!(self.force, Some(ForceFrom::Envelope | ForceFrom::Both));
        self.author.as_ref().map(|author| &author.mailbox).filter(|_| is_forced)
    }

    /// The author of a message, whatever it says itself.
    pub fn forced_header(&self) -> Option<&Author> {
        let is_forced = matches!(self.force, Some(ForceFrom::Header | ForceFrom::Both));
        self.author.as_ref().filter(|_| is_forced)
    }
}

impl Options {
    /// The sender for a message that came by `origin`: what its folder says stands above what its user says, and that above
    /// what the host says. `user` is asked only if it matters.
    ///
    /// # Errors
    ///
    /// `user` failed; or what is filled in makes no address for this one.
    pub fn sender(
        &self,
        origin: &Origin,
        user: impl FnOnce() -> io::Result<String>,
    ) -> io::Result<Result<Chosen, NoEnvelope>> {
        let from_folder = match origin.from.as_deref().map(str::parse::<Template>).transpose() {
            Ok(template) => template,
            Err(why) => {
                return Ok(Err(NoEnvelope::Unconfigured { setting: "a usable from of the folder", why }));
            }
        };
        let names_user = |template: Option<&Template>| {
            template.or(self.senders.host.from.as_ref()).map(Template::names_user)
        };
        let matters = !self.senders.users.is_empty() || names_user(from_folder.as_ref()) == Some(true);
        let user = if matters { user()? } else { String::new() };
        let own = self.senders.users.get(&user).filter(|_| matters);
        let host = &self.senders.host;
        let template = from_folder.as_ref().or(own.and_then(|own| own.from.as_ref())).or(host.from.as_ref());
        let force = origin.force_from.or(own.and_then(|own| own.force)).or(host.force);
        let places = Places { user: &user, hostname: &self.hostname, domain: self.domain.as_deref() };
        Ok(match template.map(|template| template.fill(&places)).transpose() {
            Ok(author) => Ok(Chosen { author, force }),
            Err(why) => {
                let why = format!("from makes no address for the user {user:?}: {why}");
                Err(NoEnvelope::Unconfigured { setting: "a usable identity.from", why })
            }
        })
    }
}

/// Who dropped or handed in the message in `file`.
pub(super) fn user(origin: &Origin, file: &dyn File) -> io::Result<String> {
    match &origin.user {
        Some(user) => Ok(user.clone()),
        None => Ok(user_name(file.stat()?.owner)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        let sender = |from: Option<&str>, force| Sender { from: from.map(|f| f.parse().unwrap()), force };
        let users = [
            ("www-data".to_owned(), sender(Some("web@x.org"), Some(ForceFrom::Both))),
            ("ann".to_owned(), sender(None, Some(ForceFrom::Header))),
        ];
        let host = sender(Some("Box <{user}-{hostname}@{domain}>"), Some(ForceFrom::Envelope));
        Options {
            hostname: "box".into(),
            domain: Some("x.org".into()),
            senders: Senders { host, users: users.into() },
            ..Options::default()
        }
    }

    fn chosen(options: &Options, user: &str, origin: &Origin) -> String {
        let chosen = options.sender(origin, || Ok(user.to_owned())).unwrap().unwrap();
        format!(
            "{} {:?}/{:?}",
            chosen.author.as_ref().map(ToString::to_string).unwrap_or_default(),
            chosen.forced_envelope(),
            chosen.forced_header().map(|author| &author.mailbox)
        )
    }

    #[test]
    fn the_folder_stands_above_the_user_and_the_user_above_the_host() {
        let folder = |from: Option<&str>, force_from| Origin {
            from: from.map(str::to_owned),
            force_from,
            ..Origin::default()
        };
        let none = folder(None, None);
        let rows = [
            ("bob", &none, "Box <bob-box@x.org> Some(<bob-box@x.org>)/None"),
            ("www-data", &none, "web@x.org Some(<web@x.org>)/Some(<web@x.org>)"),
            ("ann", &none, "Box <ann-box@x.org> None/Some(<ann-box@x.org>)"),
            ("ann", &folder(Some("door-{user}@x.org"), None), "door-ann@x.org None/Some(<door-ann@x.org>)"),
            ("www-data", &folder(None, Some(ForceFrom::Envelope)), "web@x.org Some(<web@x.org>)/None"),
        ];
        for (user, origin, want) in rows {
            assert_eq!(chosen(&options(), user, origin), want, "{user}");
        }
    }

    #[test]
    fn the_user_is_asked_only_if_it_matters() {
        let never = || -> io::Result<String> { panic!("the user was asked") };
        let plain = Options { senders: Mailbox::into("box@x.org".parse().unwrap()), ..Options::default() };
        let author = plain.sender(&Origin::default(), never).unwrap().unwrap().author.unwrap();
        assert_eq!(author.to_string(), "box@x.org");
        assert!(!plain.senders.depend_on("ann"));
        assert!(options().senders.depend_on("ann"));
        let told = Options::default().sender(&Origin::default(), never).unwrap().unwrap();
        assert_eq!(told, Chosen::default());
        let failed = options().sender(&Origin::default(), || Err(io::Error::other("no")));
        assert!(failed.is_err());
    }

    #[test]
    fn what_makes_no_address_is_for_the_operator() {
        let from = Some("{user}@x.org".parse().unwrap());
        let senders = Senders { host: Sender { from, force: None }, ..Senders::default() };
        let options = Options { senders, ..Options::default() };
        let error = options.sender(&Origin::default(), || Ok("a".repeat(300))).unwrap().unwrap_err();
        assert!(error.to_string().starts_with("a usable identity.from is not set: from makes no"), "{error}");
    }
}
