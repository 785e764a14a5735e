//! From what stdin and the command line say to what is stored. Pure.
//!
//! In front of the message come a block with its envelope and the fields that it lacks; its own bytes stay as they are.

use std::collections::HashSet;

use super::argv::Invocation;
use crate::mail::{Dsn, Mailbox};
use crate::message::{Header, Listed, Scan, named_recipients, parse_address_list};
use crate::submit::Envelope;

/// Who runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The login name.
    pub login: String,
    /// The person's name, as the account has it; may be empty.
    pub full_name: String,
    /// Completes it to an address, where that is known.
    pub domain: Option<String>,
}

impl Caller {
    /// That of a name of this host, as far as its domain is known.
    fn address(&self, name: &str) -> String {
        let address = self.domain.as_ref().map(|domain| format!("{name}@{domain}"));
        address.filter(|text| text.parse::<Mailbox>().is_ok()).unwrap_or_else(|| name.to_owned())
    }
}

/// What goes in front of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    /// The envelope, the fields that were missing, and an empty line if there was no header.
    pub head: Vec<u8>,
    /// So many octets at the beginning of the message are left out: what an mbox has there.
    pub skip: usize,
    /// What was passed over: for a person who reads it.
    pub notes: Vec<String>,
}

/// Composes the head of a message. `prefix` is its beginning, and all of it if `at_end`; else longer than
/// [`HEADER_MAX`](crate::message::HEADER_MAX).
pub fn compose(invocation: &Invocation, caller: &Caller, prefix: &[u8], at_end: bool) -> Composed {
    let header = match Header::scan(prefix, at_end) {
        Ok(Scan::Done(header)) => Some(header.without_block()),
        Ok(Scan::NeedMore) | Err(_) => None,
    };
    let mut notes = Vec::new();
    let envelope = envelope(invocation, caller, header.as_ref(), prefix, &mut notes);
    let mut head = envelope.block_as_it_is();
    match &header {
        Some(header) => {
            let skip = header.fields().first().map_or(0, |field| field.range().start);
            add_missing(&mut head, invocation, caller, &envelope, |name| header.has(name, prefix));
            Composed { head, skip, notes }
        }
        // A header that is too long, or has a NUL in it: the service refuses it, and shows it to a person as it was.
        None if begins_with_field(prefix) => Composed { head, skip: 0, notes },
        None => {
            add_missing(&mut head, invocation, caller, &envelope, |_| false);
            // A message may begin with the empty line behind a header that it has not.
            if !prefix.is_empty() && !prefix.starts_with(b"\n") && !prefix.starts_with(b"\r\n") {
                head.push(b'\n');
            }
            Composed { head, skip: 0, notes }
        }
    }
}

/// Everybody on the command line, and with `-t` in the header, each once.
fn envelope(
    invocation: &Invocation,
    caller: &Caller,
    header: Option<&Header>,
    prefix: &[u8],
    notes: &mut Vec<String>,
) -> Envelope {
    let mut listed: Vec<Listed> =
        invocation.recipients.iter().flat_map(|text| parse_address_list(text.as_bytes())).collect();
    if let Some(header) = header.filter(|_| invocation.reads_header) {
        listed.extend(named_recipients(header, prefix));
    }
    let (on_message, on_recipient) = asked(invocation, notes);
    let sender = invocation.sender.clone().unwrap_or_else(|| caller.login.clone());
    let mut envelope = Envelope::from_sender(sender).asking(on_message);
    let (mut mailboxes, mut others) = (HashSet::<Mailbox>::new(), HashSet::<String>::new());
    for one in listed {
        let (text, is_new) = match one {
            Listed::Mailbox(mailbox) => (mailbox.as_str().to_owned(), mailboxes.insert(mailbox)),
            Listed::Bare(text) | Listed::Unreadable { text, .. } => (text.clone(), others.insert(text)),
        };
        if is_new {
            envelope = envelope.to_asking(text, on_recipient.clone());
        }
    }
    envelope
}

/// `-N`, `-R` and `-V` as parameters of RFC 3461.
fn asked(invocation: &Invocation, notes: &mut Vec<String>) -> (Dsn, Dsn) {
    let ret = invocation.ret.as_ref().map(|value| format!("RET={value}"));
    let id = invocation.envelope_id.as_ref().map(|value| format!("ENVID={}", xtext(value)));
    let notify = invocation.notify.as_ref().map(|value| format!("NOTIFY={value}"));
    let (on_message, bad) = Dsn::of_mail([ret, id].iter().flatten().map(String::as_str));
    notes.extend(bad.into_iter().map(|word| format!("{word} is no parameter of RFC 3461 and was ignored")));
    let (on_recipient, bad) = Dsn::of_rcpt(notify.iter().map(String::as_str));
    notes.extend(bad.into_iter().map(|word| format!("{word} is no parameter of RFC 3461 and was ignored")));
    (on_message, on_recipient)
}

/// RFC 3461 section 4.
fn xtext(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'+' | b'=' | 0..=b' ' | 0x7F.. => out.push_str(&format!("+{byte:02X}")),
            plain => out.push(char::from(plain)),
        }
    }
    out
}

/// From, if there is none; and a To that names nobody, if nobody is named to whoever reads the message.
fn add_missing(
    head: &mut Vec<u8>,
    invocation: &Invocation,
    caller: &Caller,
    envelope: &Envelope,
    has: impl Fn(&str) -> bool,
) {
    if !has("From") {
        let sender = invocation.sender.as_deref().map_or(caller.login.as_str(), str::trim);
        let address = match parse_address_list(sender.as_bytes()).into_iter().next() {
            _ if matches!(sender, "" | "<>") => "MAILER-DAEMON".to_owned(),
            Some(Listed::Mailbox(mailbox)) => mailbox.as_str().to_owned(),
            Some(Listed::Bare(name)) => caller.address(&name),
            Some(Listed::Unreadable { .. }) | None => caller.address(&caller.login),
        };
        // The account's name says nothing about another address.
        let of_account = Some(&caller.full_name).filter(|_| invocation.sender.is_none());
        let name = invocation.full_name.as_ref().or(of_account).map_or("", |name| name.trim());
        let line = match name {
            "" => format!("From: {address}\n"),
            name => format!("From: {} <{address}>\n", phrase(name)),
        };
        head.extend(line.into_bytes());
    }
    let named = ["To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc"];
    if envelope.has_recipients() && !named.iter().any(|name| has(name)) {
        head.extend_from_slice(b"To: undisclosed-recipients:;\n");
    }
}

/// A display name (RFC 5322 section 3.2.5), in quotes where it has to be.
fn phrase(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " !#$%&'*+-/=?^_`{|}~".contains(c);
    if name.chars().all(is_plain) && !name.starts_with("=?") {
        return name.to_owned();
    }
    let mut out = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out + "\""
}

/// Whether the first line, or the one behind what an mbox has in front, is a field.
pub(super) fn begins_with_field(prefix: &[u8]) -> bool {
    let shown = &prefix[..prefix.len().min(4096)];
    let mut lines = shown.split_inclusive(|byte| *byte == b'\n');
    let first: Vec<u8> = lines.by_ref().take(1).flatten().copied().collect();
    let both: Vec<u8> = first.iter().chain(lines.next().unwrap_or_default()).copied().collect();
    let is_header = |text: &[u8]| {
        let without_nul: Vec<u8> = text.iter().copied().filter(|byte| *byte != 0).collect();
        matches!(Header::scan(&without_nul, true), Ok(Scan::Done(header)) if !header.fields().is_empty())
    };
    is_header(&first) || ((first.starts_with(b"From ") || first.starts_with(b">From ")) && is_header(&both))
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
