//! `from` as the configuration has it: an address with places in it that are filled in for each message.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::token::{Kind, Lexer};
use super::{Listed, parse_address_list};
use crate::mail::Mailbox;

/// A sender with `{user}`, `{hostname}` and `{domain}` in it: `{user}@{hostname}.example.com`, `Box 7 <box7@example.com>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// What is shown beside the address.
    name: Option<Vec<Piece>>,
    address: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    User,
    Hostname,
    Domain,
}

/// Longest From whose name is taken over, octets: unfolded it still is a line (RFC 5322 section 2.1.1).
const SHOWN_MAX: usize = 600;

/// What is filled in.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The login name, or the number of one that has none.
    pub user: &'a str,
    /// `identity.hostname`.
    pub hostname: &'a str,
    /// `identity.domain`.
    pub domain: Option<&'a str>,
}

/// A sender of ours: an address, perhaps with the name that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// As it is read, in UTF-8, without quotes.
    pub name: Option<String>,
    /// The address.
    pub mailbox: Mailbox,
}

impl Template {
    /// Whether it depends on who sends.
    pub fn names_user(&self) -> bool {
        self.name.iter().flatten().chain(&self.address).any(|piece| *piece == Piece::User)
    }

    /// Fills in the places. In the address, what a local part cannot have in a user's name becomes `_`.
    ///
    /// # Errors
    ///
    /// Why that makes no address.
    pub fn fill(&self, places: &Places<'_>) -> Result<Author, String> {
        let user = local_part(places.user);
        let text = fill(&self.address, places, &user)?;
        let mailbox = text.parse::<Mailbox>().map_err(|e| e.to_string())?;
        let name = self.name.as_ref().map(|pieces| fill(pieces, places, places.user)).transpose()?;
        Ok(Author { name: name.filter(|name| !name.is_empty()), mailbox })
    }
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Template, String> {
        let text = text.trim();
        if text.chars().any(char::is_control) {
            return Err(format!("expected an address in one line, found {text:?}"));
        }
        let (name, address) = match text.strip_suffix('>').and_then(|rest| rest.rsplit_once('<')) {
            Some((name, address)) => (Some(unquoted(name.trim())), address),
            None => (None, text),
        };
        let name = name.filter(|name| !name.is_empty()).map(|name| pieces(&name)).transpose()?;
        Ok(Template { name, address: pieces(address)? })
    }
}

impl From<Mailbox> for Template {
    fn from(mailbox: Mailbox) -> Template {
        Template { name: None, address: vec![Piece::Text(mailbox.to_string())] }
    }
}

impl Author {
    /// It as the value of a From field, in ASCII but for the address. `instead` is shown in place of its own name.
    pub(super) fn field(&self, instead: Option<Shown>) -> String {
        let name = match instead {
            Some(Shown::Phrase(phrase)) => Some(phrase),
            Some(Shown::Text(text)) => Some(phrase(&text)),
            None => self.name.as_deref().map(phrase),
        };
        match name {
            Some(name) => format!("{name} <{}>", self.mailbox),
            None => self.mailbox.to_string(),
        }
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} <{}>", self.mailbox),
            None => self.mailbox.fmt(f),
        }
    }
}

/// What is between quotes, if it is.
fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return text.to_owned();
    };
    let (mut out, mut is_escaped) = (String::new(), false);
    for c in inner.chars() {
        is_escaped = c == '\\' && !is_escaped;
        if !is_escaped {
            out.push(c);
        }
    }
    out
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some((before, behind)) = rest.split_once('{') {
        let (place, behind) = behind
            .split_once('}')
            .ok_or_else(|| format!("expected \"}}\" behind {:?}, found the end", format!("{{{behind}")))?;
        pieces.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
        pieces.push(match place {
            "user" => Piece::User,
            "hostname" => Piece::Hostname,
            "domain" => Piece::Domain,
            _ => return Err(format!("expected {{user}}, {{hostname}} or {{domain}}, found {{{place}}}")),
        });
        rest = behind;
    }
    pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.to_owned())));
    Ok(pieces)
}

fn fill(pieces: &[Piece], places: &Places<'_>, user: &str) -> Result<String, String> {
    let mut out = String::new();
    for piece in pieces {
        out.push_str(match piece {
            Piece::Text(text) => text,
            Piece::User => user,
            Piece::Hostname => places.hostname,
            Piece::Domain => places
                .domain
                .ok_or("{domain} has nothing to stand for: set domain in [identity], or write it out")?,
        });
    }
    Ok(out)
}

/// A user's name as a dot-string or a part of one (RFC 5321 section 4.1.2).
fn local_part(user: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let mut out = String::new();
    for c in user.chars() {
        let is_dot = c == '.' && !out.is_empty() && !out.ends_with('.');
        out.push(if safe(c) || is_dot { c } else { '_' });
    }
    if out.ends_with('.') {
        out.pop();
        out.push('_');
    }
    if out.is_empty() { "_".into() } else { out }
}

/// A name in front of an address: as it is where it can be, in quotes, or as encoded words (RFC 2047).
fn phrase(name: &str) -> String {
    let is_word =
        |word: &str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b));
    let plain = |c: char| (' '..='~').contains(&c);
    if name.split(' ').all(|word| !word.is_empty() && is_word(word)) {
        return name.to_owned();
    }
    if name.chars().all(plain) {
        return format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
    }
    // 45 octets make 60 characters, and 72 with what is around them; a word ends with a whole character.
    let mut words: Vec<String> = vec![String::new()];
    for c in name.chars().filter(|c| !c.is_control()) {
        match words.last_mut() {
            Some(word) if word.len() + c.len_utf8() <= 45 => word.push(c),
            _ => words.push(c.into()),
        }
    }
    let encoded = words.iter().map(|word| format!("=?utf-8?b?{}?=", STANDARD.encode(word)));
    encoded.collect::<Vec<_>>().join("\r\n ")
}

/// The name that a From field shows beside its first address, or as a comment behind it, as cron writes one. `None` where
/// that is not clear.
pub(super) fn shown_name(value: &[u8]) -> Option<Shown> {
    let value = std::str::from_utf8(value).ok().filter(|value| value.len() <= SHOWN_MAX)?;
    let value: String = value.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return None;
    }
    if !matches!(&parse_address_list(value.as_bytes())[..], [Listed::Mailbox(_) | Listed::Bare(_)]) {
        return None;
    }
    let (mut lexer, mut is_phrase) = (Lexer::new(value.as_bytes()), true);
    loop {
        let token = lexer.next();
        match token.kind {
            Kind::Special(b'<') => {
                let name = value.get(..token.start)?.trim();
                return (!name.is_empty()).then(|| match is_phrase || name.contains("=?") {
                    true => Shown::Phrase(name.to_owned()),
                    false => Shown::Text(name.to_owned()),
                });
            }
            Kind::End => break,
            kind => is_phrase &= matches!(kind, Kind::Atom | Kind::Quoted),
        }
    }
    let (_, comment) = value.split_once('(')?;
    let comment = comment.trim_end().strip_suffix(')')?;
    let is_plain = !comment.is_empty() && !comment.contains(['(', ')', '\\', '"']);
    is_plain.then(|| Shown::Text(comment.trim().to_owned()))
}

/// A name that a field shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// As it stands in front of an address: atoms, quoted strings, encoded words.
    Phrase(String),
    /// As it is read.
    Text(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, user: &str) -> Result<String, String> {
        let places = Places { user, hostname: "box", domain: Some("x.org") };
        template.parse::<Template>()?.fill(&places).map(|author| author.field(None))
    }

    #[test]
    fn places_are_filled_in() {
        let rows = [
            ("box@x.org", "ann", "box@x.org"),
            ("{user}@{hostname}.example.com", "ann", "ann@box.example.com"),
            ("{hostname}-{user}@{domain}", "ann", "box-ann@x.org"),
            ("{user}@{domain}", "1000", "1000@x.org"),
            ("{user}@{domain}", "EXAMPLE\\ann b.", "EXAMPLE_ann_b_@x.org"),
            ("{user}@{domain}", ".a..b@c>\r\n", "_a._b_c___@x.org"),
            ("{user}@{domain}", "", "_@x.org"),
            ("{user}@{domain}", "jürgen", "j_rgen@x.org"),
            ("Box 7 <box7@x.org>", "ann", "Box 7 <box7@x.org>"),
            ("\"Box, the \\\"7\\\"\" <box7@x.org>", "ann", "\"Box, the \\\"7\\\"\" <box7@x.org>"),
            ("{user} on {hostname} <{user}@{domain}>", "a b", "a b on box <a_b@x.org>"),
            ("Büro <b@x.org>", "ann", "=?utf-8?b?QsO8cm8=?= <b@x.org>"),
            ("<b@x.org>", "ann", "b@x.org"),
        ];
        for (template, user, want) in rows {
            assert_eq!(filled(template, user).as_deref(), Ok(want), "{template} for {user}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused_with_what_would_be() {
        let rows = [
            ("{name}@x.org", "expected {user}, {hostname} or {domain}, found {name}"),
            ("{user@x.org", "expected \"}\" behind \"{user@x.org\", found the end"),
            ("{user}", "expected an address, found \"ann\""),
            ("a b@x.org", "expected an address, found \"a b@x.org\""),
            ("a\nb@x.org", "expected an address in one line"),
        ];
        for (template, want) in rows {
            let error = filled(template, "ann").unwrap_err();
            assert!(error.starts_with(want), "{error}");
        }
        let nowhere = Places { user: "ann", hostname: "box", domain: None };
        let error = "a@{domain}".parse::<Template>().unwrap().fill(&nowhere).unwrap_err();
        assert!(error.contains("set domain in [identity]"), "{error}");
    }

    #[test]
    fn a_long_name_is_folded_between_characters() {
        let name = "ä".repeat(50);
        let author = Author { name: Some(name.clone()), mailbox: "b@x.org".parse().unwrap() };
        let field = author.field(None);
        let mut read = String::new();
        for line in field.strip_suffix(" <b@x.org>").unwrap().split("\r\n ") {
            assert!(line.len() <= 75, "{line}");
            let word = line.strip_prefix("=?utf-8?b?").unwrap().strip_suffix("?=").unwrap();
            read.push_str(&String::from_utf8(STANDARD.decode(word).unwrap()).unwrap());
        }
        assert_eq!(read, name);
    }

    #[test]
    fn the_name_that_a_field_shows_is_found_where_it_is_clear() {
        let phrase = |text: &str| Some(Shown::Phrase(text.into()));
        let rows = [
            (" Ann Old <ann@x.org>", phrase("Ann Old")),
            (" \"Old, Ann\" <ann@x.org>", phrase("\"Old, Ann\"")),
            (" =?utf-8?q?=C3=84?=\r\n Old <ann@x.org>", phrase("=?utf-8?q?=C3=84?= Old")),
            (" root (Cron Daemon)", Some(Shown::Text("Cron Daemon".into()))),
            (" ann@x.org", None),
            (" <ann@x.org>", None),
            (" Ann, Old <ann@x.org>", None),
            (" a@b.c, Ann <ann@x.org>", None),
            (" Ann <ann@x.org>, Bob <bob@x.org>", None),
            (" Ann\x00 <ann@x.org>", None),
            (" ann@x.org <ann@x.org>", Some(Shown::Text("ann@x.org".into()))),
            (" Ann O. Old <ann@x.org>", Some(Shown::Text("Ann O. Old".into()))),
            (" \"unclosed <ann@x.org>", None),
            (" root (a (b))", None),
        ];
        for (value, want) in rows {
            assert_eq!(shown_name(value.as_bytes()), want, "{value:?}");
        }
        assert_eq!(shown_name(b" J\xe4n <ann@x.org>"), None);
        let long = format!(" {}<ann@x.org>", "Ann\r\n ".repeat(100));
        assert_eq!(shown_name(long.as_bytes()), None);
    }
}
