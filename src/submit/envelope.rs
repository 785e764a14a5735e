//! An envelope written down in the message itself: a block of X-Sender and X-Receiver at its top.

use super::Error;
use crate::mail::Dsn;
use crate::message::{Listed, parse_address_list};

/// The last line of the block. What follows is the message, also if it begins with such lines of its own.
pub const END_OF_BLOCK: &str = "X-EndOfInjectedXHeaders: pillarbox\n";

/// Who a message is from, and for whom. An address without a domain is completed, or found among the aliases, by the service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    sender: Option<String>,
    dsn: Dsn,
    recipients: Vec<(String, Dsn)>,
}

impl Envelope {
    /// From that address, for nobody yet; `""` is the null reverse-path, of a message that must not be answered by mail.
    pub fn from_sender(address: impl Into<String>) -> Envelope {
        Envelope { sender: Some(address.into()), ..Envelope::default() }
    }

    /// From whom the header says, for nobody yet.
    pub fn from_header() -> Envelope {
        Envelope::default()
    }

    /// And for that address.
    #[must_use]
    pub fn to(self, address: impl Into<String>) -> Envelope {
        self.to_asking(address, Dsn::default())
    }

    /// And for that address, with what is asked of notifications about it (`NOTIFY` and `ORCPT`, RFC 3461).
    #[must_use]
    pub fn to_asking(mut self, address: impl Into<String>, dsn: Dsn) -> Envelope {
        self.recipients.push((address.into(), dsn));
        self
    }

    /// With what is asked of notifications about the message (`RET` and `ENVID`, RFC 3461).
    #[must_use]
    pub fn asking(self, dsn: Dsn) -> Envelope {
        Envelope { dsn, ..self }
    }

    /// Whether it names anybody.
    pub fn has_recipients(&self) -> bool {
        !self.recipients.is_empty()
    }

    /// The lines to be written in front of the message.
    ///
    /// # Errors
    ///
    /// It names nobody, or something that is no address.
    pub fn block(&self) -> Result<Vec<u8>, Error> {
        let sender = self.sender.as_deref().filter(|sender| !is_null(sender));
        let addresses = self.recipients.iter().map(|(address, _)| address.as_str());
        if let Some(bad) = sender.into_iter().chain(addresses).find(|text| readable(text).is_none()) {
            return Err(Error::Envelope(format!("expected an address, found {bad:?}")));
        }
        if self.recipients.is_empty() {
            return Err(Error::Envelope("expected a recipient, found none".into()));
        }
        Ok(self.block_as_it_is())
    }

    /// The same, whatever the addresses are. A recipient that is none is written so that the service tells of it; a sender that is
    /// none is left out, and so is all of it where nobody is named.
    pub(crate) fn block_as_it_is(&self) -> Vec<u8> {
        if self.recipients.is_empty() {
            return Vec::new();
        }
        let mut block = String::new();
        if let Some(sender) = self.sender.as_deref() {
            let sender = if is_null(sender) { Some(String::new()) } else { readable(sender) };
            if let Some(address) = sender {
                block.push_str(&line("X-Sender", &format!("<{address}>"), &self.dsn));
            }
        }
        for (text, dsn) in &self.recipients {
            let written = match readable(text) {
                Some(address) => format!("<{address}>"),
                None => quoted(text),
            };
            block.push_str(&line("X-Receiver", &written, dsn));
        }
        block.push_str(END_OF_BLOCK);
        block.into_bytes()
    }
}

fn line(name: &str, written: &str, dsn: &Dsn) -> String {
    match dsn.is_empty() {
        true => format!("{name}: {written}\n"),
        false => format!("{name}: {written} {dsn}\n"),
    }
}

fn is_null(text: &str) -> bool {
    matches!(text.trim(), "" | "<>")
}

/// The one address, or local name, that the text is.
fn readable(text: &str) -> Option<String> {
    match parse_address_list(text.as_bytes()).as_slice() {
        [Listed::Mailbox(mailbox)] => Some(mailbox.as_str().to_owned()),
        [Listed::Bare(name)] => Some(name.clone()),
        _ => None,
    }
}

/// A quoted string (RFC 5322 section 3.2.4), which is a name and never an address.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out + "\""
}
