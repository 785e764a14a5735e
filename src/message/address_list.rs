//! A strict reader of address lists (RFC 5322 section 3.4), because recipients are never guessed.
//!
//! Every address that comes out is a [`Mailbox`]. Obsolete forms (section 4.4) are read where they can mean
//! one thing only: routes, empty elements, white space around dots. Beyond the grammar, three habits of
//! producers are taken, which cannot be misread either: a semicolon between addresses, a group that is not
//! closed, and an address without quotes as the display name in front of another (`a@b <a@b>`).
//!
//! One pass, one token ahead, no recursion deeper than a group.

use super::excerpt;
use super::token::{Kind, Lexer, Token};
use crate::mail::Mailbox;

/// Most characters of an unreadable element that are shown.
const SHOWN: usize = 200;

/// One element of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// An address.
    Mailbox(Mailbox),
    /// A local part without a domain, such as `root`; with any domain it makes an address.
    Bare(String),
    /// What is no address.
    Unreadable {
        /// Where it begins in the value that was read.
        offset: usize,
        /// What was written, fit to be shown.
        text: String,
        /// A fragment: "expected X, found Y".
        why: String,
    },
}

/// Reads the value of a field such as To, folded or not. After an element that cannot be read it goes on
/// behind the next comma, so that the others are found.
pub fn parse_address_list(value: &[u8]) -> Vec<Listed> {
    AddressList::new(value).collect()
}

/// The same one by one, for a reader who does not want to keep them all.
pub(super) struct AddressList<'b> {
    value: &'b [u8],
    lexer: Lexer<'b>,
    ahead: Token,
    in_group: bool,
}

/// Whether the value is the null address, `<>`, and nothing else.
pub(super) fn is_null(value: &[u8]) -> bool {
    let mut lexer = Lexer::new(value);
    let kinds = [lexer.next().kind, lexer.next().kind, lexer.next().kind];
    kinds == [Kind::Special(b'<'), Kind::Special(b'>'), Kind::End]
}

/// The words in front of `@`, `<`, `:` or a separator: a local part or a display name.
#[derive(Default)]
struct Words {
    text: Vec<u8>,
    count: usize,
    /// A dot must come before the next word, or it is no local part.
    dot_is_due: bool,
    is_phrase: bool,
    is_quoted: bool,
}

type Read<T> = Result<T, String>;

impl Iterator for AddressList<'_> {
    type Item = Listed;

    fn next(&mut self) -> Option<Listed> {
        while self.ahead.kind != Kind::End {
            let start = self.ahead.start;
            let element = self.element();
            while !self.at_separator() {
                self.take();
            }
            let text = &self.value[start..self.ahead.start];
            if self.take().kind == Kind::Special(b';') {
                self.in_group = false;
            }
            match element {
                Ok(None) => {}
                Ok(found) => return found,
                Err(why) => {
                    return Some(Listed::Unreadable { offset: start, text: excerpt(text, SHOWN), why });
                }
            }
        }
        None
    }
}

impl<'b> AddressList<'b> {
    pub(super) fn new(value: &'b [u8]) -> Self {
        let mut lexer = Lexer::new(value);
        let ahead = lexer.next();
        AddressList { value, lexer, ahead, in_group: false }
    }

    fn take(&mut self) -> Token {
        std::mem::replace(&mut self.ahead, self.lexer.next())
    }

    fn at_separator(&self) -> bool {
        matches!(self.ahead.kind, Kind::Special(b',' | b';') | Kind::End)
    }

    fn next_is(&self, special: u8) -> bool {
        self.ahead.kind == Kind::Special(special)
    }

    /// One element up to its separator; `None` for an empty one and for the name of a group.
    fn element(&mut self) -> Read<Option<Listed>> {
        let words = self.words();
        match self.ahead.kind {
            Kind::Special(b',' | b';') | Kind::End if words.count == 0 => Ok(None),
            Kind::Special(b',' | b';') | Kind::End => words.bare_name().map(Some),
            Kind::Special(b':') if words.count > 0 && !self.in_group => {
                self.take();
                self.in_group = true;
                // What follows is the first element of the group, and ends at the same separators.
                self.element()
            }
            Kind::Special(b'<') => self.angle().map(Some),
            Kind::Special(b'@') if words.count > 0 => {
                self.take();
                let domain = self.domain()?;
                if self.next_is(b'<') {
                    return self.angle().map(Some);
                }
                self.expect_separator()?;
                words.address(&domain).map(Some)
            }
            _ => Err(self.expected("an address")),
        }
    }

    /// `<local@domain>`, with an obsolete route dropped.
    fn angle(&mut self) -> Read<Listed> {
        self.take();
        if self.next_is(b'@') {
            self.route()?;
        }
        let words = self.words();
        let domain = match self.ahead.kind {
            Kind::Special(b'@') if words.count > 0 => {
                self.take();
                Some(self.domain()?)
            }
            Kind::Special(b'>') if words.count > 0 => None,
            Kind::Special(b'>') => return Err("expected an address, found \"<>\"".into()),
            _ => return Err(self.expected("an address between \"<\" and \">\"")),
        };
        if !self.next_is(b'>') {
            return Err(self.expected("\">\" behind the address"));
        }
        self.take();
        self.expect_separator()?;
        match domain {
            Some(domain) => words.address(&domain),
            None => words.bare(),
        }
    }

    /// `@a,@b:` (RFC 5322 section 4.4): "SHOULD be ignored".
    fn route(&mut self) -> Read<()> {
        loop {
            while self.next_is(b',') {
                self.take();
            }
            if !self.next_is(b'@') {
                return Err(self.expected("\"@\" in the route"));
            }
            self.take();
            self.domain()?;
            if self.next_is(b':') {
                self.take();
                return Ok(());
            }
            if !self.next_is(b',') {
                return Err(self.expected("\":\" behind the route"));
            }
        }
    }

    fn words(&mut self) -> Words {
        let mut words = Words::default();
        loop {
            match self.ahead.kind {
                Kind::Atom | Kind::Quoted | Kind::Literal => {
                    let token = self.take();
                    words.is_phrase |= words.dot_is_due || token.kind == Kind::Literal;
                    if words.dot_is_due {
                        words.text.push(b' ');
                    }
                    words.is_quoted |= token.kind == Kind::Quoted;
                    words.dot_is_due = true;
                    // Folding inside a quoted string is no part of it (section 3.2.4).
                    let text = &self.value[token.start..token.end];
                    words.text.extend(text.iter().filter(|b| !matches!(b, b'\r' | b'\n')));
                }
                Kind::Special(b'.') => {
                    self.take();
                    words.dot_is_due = false;
                    words.text.push(b'.');
                }
                _ => return words,
            }
            words.count += 1;
        }
    }

    fn domain(&mut self) -> Read<Vec<u8>> {
        if self.ahead.kind == Kind::Literal {
            let token = self.take();
            return literal(&self.value[token.start..token.end]);
        }
        let (mut text, mut dot_is_due) = (Vec::new(), false);
        loop {
            match self.ahead.kind {
                Kind::Atom if !dot_is_due => {
                    let token = self.take();
                    text.extend_from_slice(&self.value[token.start..token.end]);
                    dot_is_due = true;
                }
                Kind::Special(b'.') => {
                    self.take();
                    text.push(b'.');
                    dot_is_due = false;
                }
                _ if text.is_empty() => return Err(self.expected("a domain")),
                _ => return Ok(text),
            }
        }
    }

    fn expect_separator(&self) -> Read<()> {
        if self.at_separator() { Ok(()) } else { Err(self.expected("a comma behind the address")) }
    }

    fn expected(&self, what: &str) -> String {
        match self.ahead.kind {
            Kind::End => format!("expected {what}, found the end of the field"),
            Kind::Bad(found) => format!("expected {what}, found {found}"),
            _ => {
                let found = excerpt(&self.value[self.ahead.start..self.ahead.end], 40);
                format!("expected {what}, found {found:?}")
            }
        }
    }
}

impl Words {
    fn address(self, domain: &[u8]) -> Read<Listed> {
        let mut text = self.local_part()?;
        let domain = std::str::from_utf8(domain).map_err(|_| not_utf8())?;
        text.push('@');
        text.push_str(domain);
        text.parse().map(Listed::Mailbox).map_err(|e: crate::mail::MailboxError| e.to_string())
    }

    /// A word alone. Quoted or encoded (RFC 2047) it is a person's name, and no local part.
    fn bare_name(self) -> Read<Listed> {
        let is_encoded = self.text.starts_with(b"=?") && self.text.ends_with(b"?=");
        if self.is_quoted || self.is_phrase || is_encoded {
            let found = excerpt(&self.text, 40);
            return Err(format!("expected an address, found only the name {found:?}"));
        }
        self.bare()
    }

    fn bare(self) -> Read<Listed> {
        let text = self.local_part()?;
        match format!("{text}@localhost").parse::<Mailbox>() {
            Ok(_) => Ok(Listed::Bare(text)),
            Err(_) => {
                Err(format!("expected an address or a local name, found {:?}", excerpt(text.as_bytes(), 40)))
            }
        }
    }

    fn local_part(self) -> Read<String> {
        if self.is_phrase {
            let found = excerpt(&self.text, 40);
            return Err(format!(
                "expected one local part in front of \"@\", found several words in {found:?}"
            ));
        }
        String::from_utf8(self.text).map_err(|_| not_utf8())
    }
}

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 section 4.1.3); no other kind was ever registered.
fn literal(text: &[u8]) -> Read<Vec<u8>> {
    let inner = std::str::from_utf8(&text[1..text.len() - 1]).unwrap_or_default();
    let is_ip = match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner[5..].parse::<std::net::Ipv6Addr>().is_ok(),
        _ => inner.parse::<std::net::Ipv4Addr>().is_ok(),
    };
    if is_ip {
        return Ok(text.to_vec());
    }
    let found = excerpt(text, 40);
    Err(format!("expected an address literal like [192.0.2.1] or [IPv6:2001:db8::1], found {found:?}"))
}

fn not_utf8() -> String {
    "expected an address in UTF-8, found other octets".into()
}

#[cfg(test)]
#[path = "address_list_tests.rs"]
mod tests;
