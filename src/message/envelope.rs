//! From the fields to the envelope: who sends, to whom.

use std::borrow::Cow;
use std::fmt;

use super::address_list::{AddressList, Listed, is_null};
use super::header::{Field, Header, line_ends};
use super::{Refusal, injected};
use crate::mail::{Dsn, Envelope, Mailbox, ReversePath};

/// Most unreadable recipients that are told one by one: a header block full of garbage is not worth its
/// hundredfold in memory.
const TOLD: usize = 1000;

/// What the configuration says about addresses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Identity<'a> {
    /// `identity.from`: stands in where the message names no usable sender.
    pub from: Option<&'a Mailbox>,
    /// `identity.domain`: completes a name without a domain.
    pub domain: Option<&'a str>,
}

/// An envelope, and what was named as a recipient and is no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed {
    /// Whom the message goes to, and from whom.
    pub envelope: Envelope,
    /// Recipients that cannot be read: failed ones, to be reported. Of more than a thousand, the last entry
    /// tells how many there are besides.
    pub unreadable: Vec<Unreadable>,
    /// Whether the envelope is that of an `X-Sender`/`X-Receiver` block.
    pub injected: bool,
    /// Parameters behind addresses that cannot be read: they are not passed on.
    pub dropped: Vec<String>,
}

/// A recipient that is no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The line of the file in which it begins, counted from 1.
    pub line: u64,
    /// The name of the field as it is written there.
    pub field: String,
    /// What was written, fit to be shown.
    pub text: String,
    /// A fragment: "expected X, found Y".
    pub why: String,
}

/// Why there is no envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoEnvelope {
    /// The message itself will never have one.
    Refused(Refusal),
    /// Something is ours to configure: the message waits.
    Unconfigured {
        /// `identity.domain` or `identity.from`.
        setting: &'static str,
        /// A fragment: what was needed and what was there.
        why: String,
    },
}

/// Makes the envelope of a message from its fields, of these the first that are there:
///
/// 1. the injected block at the very top: X-Sender and X-Receiver;
/// 2. the topmost block of Resent-* fields (RFC 5322 section 3.6.6);
/// 3. Sender or From, and To, Cc, Bcc.
///
/// The reverse-path is the first readable address of these; else [`Identity::from`]; else a bare name, with
/// the domain. `X-Sender: <>` is the null reverse-path. A sender that is forced on every message is not known
/// here: whoever forces it writes it over [`Envelope::reverse_path`].
///
/// A recipient that cannot be read does not keep the message from the others; a bare name without a domain
/// keeps it from all, because the operator can mend that.
///
/// # Errors
/// [`NoEnvelope::Refused`] if no recipient can be read or an X-Receiver stands outside the block at the top;
/// [`NoEnvelope::Unconfigured`] if a setting would have helped.
pub fn address(header: &Header, bytes: &[u8], identity: &Identity<'_>) -> Result<Addressed, NoEnvelope> {
    if let Some(stray) = header.own().iter().find(|f| f.is("X-Receiver", bytes)) {
        let reason = "expected every X-Receiver in one block at the very top, found one further down";
        return Err(NoEnvelope::Refused(Refusal::at(stray.line(), reason)));
    }
    let source = Source::of(header, bytes);
    let mut mailboxes = Vec::new();
    let (mut unreadable, mut untold) = (Vec::<Unreadable>::new(), 0_usize);
    for field in &source.recipients {
        let value = source.value(field, bytes);
        let (mut seen, mut line) = (0, field.line());
        for listed in AddressList::new(&value) {
            match listed {
                Listed::Mailbox(mailbox) => mailboxes.push(mailbox),
                // Aliases are looked up here, before the name gets a domain.
                Listed::Bare(name) => mailboxes.push(complete(&name, field, bytes, identity)?),
                Listed::Unreadable { offset, text, why } => {
                    line += line_ends(&value[seen..offset]);
                    seen = offset;
                    match unreadable.len() {
                        TOLD => untold += 1,
                        _ => unreadable.push(Unreadable { line, field: name_of(field, bytes), text, why }),
                    }
                }
            }
        }
    }
    if let Some(last) = unreadable.last_mut().filter(|_| untold > 0) {
        last.why.push_str(&format!(" ({untold} more behind it cannot be read)"));
    }
    if mailboxes.is_empty() {
        return Err(NoEnvelope::Refused(source.nobody(&unreadable)));
    }
    let reverse_path = source.reverse_path(bytes, identity)?;
    match Envelope::new(reverse_path, mailboxes) {
        Some(mut envelope) => {
            let dropped = source.ask(&mut envelope, bytes);
            Ok(Addressed { envelope, unreadable, injected: source.kind == Kind::Injected, dropped })
        }
        None => Err(NoEnvelope::Refused(source.nobody(&unreadable))),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Injected,
    Resent,
    Original,
}

/// The fields that the envelope is made from.
struct Source<'h> {
    kind: Kind,
    recipients: Vec<&'h Field>,
    /// The first in which an address is found decides.
    senders: Vec<&'h Field>,
}

impl<'h> Source<'h> {
    fn of(header: &'h Header, bytes: &[u8]) -> Self {
        let pick = |fields: &'h [Field], names: &[&str]| -> Vec<&'h Field> {
            let named = |name| fields.iter().filter(move |f: &&Field| f.is(name, bytes));
            names.iter().flat_map(|name| named(*name)).collect()
        };
        let (block, own) = (header.injected(), header.own());
        if !block.is_empty() {
            let mut senders = pick(block, &["X-Sender"]);
            senders.extend(pick(own, &["Sender", "From"]));
            return Source { kind: Kind::Injected, recipients: pick(block, &["X-Receiver"]), senders };
        }
        let resent = topmost_resent(own, bytes);
        let (kind, fields, to, from): (_, _, [&str; 3], [&str; 2]) = if resent.is_empty() {
            (Kind::Original, own, ["To", "Cc", "Bcc"], ["Sender", "From"])
        } else {
            (Kind::Resent, resent, ["Resent-To", "Resent-Cc", "Resent-Bcc"], ["Resent-Sender", "Resent-From"])
        };
        let is_recipient = |f: &&Field| to.iter().any(|name| f.is(name, bytes));
        Source {
            kind,
            recipients: fields.iter().filter(is_recipient).collect(),
            senders: pick(fields, &from),
        }
    }

    /// The value of a field; in the block, Exchange's parameters stand behind the addresses.
    fn value<'b>(&self, field: &Field, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let value = field.value(bytes);
        if self.kind == Kind::Injected && field.has_prefix("X-", bytes) {
            return Cow::Owned(injected::without_parameters(value));
        }
        Cow::Borrowed(value)
    }

    /// Notes the parameters of DSN that stand behind the addresses of the block; gives those that cannot be read.
    fn ask(&self, envelope: &mut Envelope, bytes: &[u8]) -> Vec<String> {
        let mut dropped = Vec::new();
        if self.kind != Kind::Injected {
            return dropped;
        }
        let words_of = |asked: &injected::Asked| -> Vec<String> { asked.words.clone() };
        if let Some(field) = self.senders.iter().find(|f| f.is("X-Sender", bytes)) {
            let words: Vec<String> = injected::asked(field.value(bytes)).iter().flat_map(words_of).collect();
            let (dsn, bad) = Dsn::of_mail(words.iter().map(String::as_str));
            envelope.dsn = dsn;
            dropped.extend(bad);
        }
        for field in &self.recipients {
            let value = injected::without_parameters(field.value(bytes));
            for asked in injected::asked(field.value(bytes)) {
                let (dsn, bad) = Dsn::of_rcpt(asked.words.iter().map(String::as_str));
                dropped.extend(bad);
                let mut listed = AddressList::new(&value[asked.element]);
                if let Some(Listed::Mailbox(mailbox)) = listed.next() {
                    envelope.set_rcpt_dsn(&mailbox, dsn);
                }
            }
        }
        dropped.iter().map(|word| super::excerpt(word.as_bytes(), 100)).collect()
    }

    fn reverse_path(&self, bytes: &[u8], identity: &Identity<'_>) -> Result<ReversePath, NoEnvelope> {
        let mut bare = None;
        for field in &self.senders {
            let value = self.value(field, bytes);
            if self.kind == Kind::Injected && field.is("X-Sender", bytes) && is_null(&value) {
                return Ok(ReversePath::Null);
            }
            for listed in AddressList::new(&value) {
                match listed {
                    Listed::Mailbox(mailbox) => return Ok(ReversePath::Mailbox(mailbox)),
                    Listed::Bare(name) => bare = bare.or(Some((name, *field))),
                    Listed::Unreadable { .. } => {}
                }
            }
        }
        match (identity.from, bare) {
            (Some(from), _) => Ok(ReversePath::Mailbox(from.clone())),
            (None, Some((name, field))) if identity.domain.is_some() => {
                complete(&name, field, bytes, identity).map(ReversePath::Mailbox)
            }
            (None, _) => {
                Err(NoEnvelope::Unconfigured { setting: "identity.from", why: self.no_sender(bytes) })
            }
        }
    }

    fn no_sender(&self, bytes: &[u8]) -> String {
        match self.senders.first() {
            Some(field) => {
                let found = super::excerpt(field.value(bytes), 60);
                let (name, line) = (name_of(field, bytes), field.line());
                format!("expected the sender's address in {name} (line {line}), found {found:?}")
            }
            None => {
                format!("expected the sender's address in {}, found no such field", self.kind.sender_names())
            }
        }
    }

    fn nobody(&self, unreadable: &[Unreadable]) -> Refusal {
        if let Some(first) = unreadable.first() {
            let others = match unreadable.len() - 1 {
                0 => String::new(),
                n => format!(" (and {n} more that cannot be read)"),
            };
            let Unreadable { line, field, text, why } = first;
            return Refusal::at(
                *line,
                format!("no recipient in {field} can be read: {text:?}: {why}{others}"),
            );
        }
        let names = self.kind.recipient_names();
        match self.recipients.first() {
            Some(field) => Refusal::at(
                field.line(),
                format!("expected a recipient in {names}, found only fields that name nobody"),
            ),
            None => {
                let reason = format!("expected a recipient in {names}, found no such field");
                Refusal { line: None, reason }
            }
        }
    }
}

impl Kind {
    fn recipient_names(self) -> &'static str {
        match self {
            Kind::Injected => "X-Receiver",
            Kind::Resent => "Resent-To, Resent-Cc or Resent-Bcc of the topmost Resent- block",
            Kind::Original => "To, Cc or Bcc",
        }
    }

    fn sender_names(self) -> &'static str {
        match self {
            Kind::Injected => "X-Sender, Sender or From",
            Kind::Resent => "Resent-Sender or Resent-From of the topmost Resent- block",
            Kind::Original => "Sender or From",
        }
    }
}

/// The first run of Resent-* fields. Any other field ends it, and so does a field that a block has only once
/// and that comes again: two resendings without a Received between them.
fn topmost_resent<'h>(fields: &'h [Field], bytes: &[u8]) -> &'h [Field] {
    const ONCE: [&str; 3] = ["Resent-Date", "Resent-From", "Resent-Message-ID"];
    let Some(start) = fields.iter().position(|f| f.has_prefix("Resent-", bytes)) else { return &[] };
    let mut seen = [false; ONCE.len()];
    let mut end = start;
    for field in &fields[start..] {
        let once = ONCE.iter().position(|name| field.is(name, bytes));
        let again = once.is_some_and(|n| std::mem::replace(&mut seen[n], true));
        if again || !field.has_prefix("Resent-", bytes) {
            break;
        }
        end += 1;
    }
    &fields[start..end]
}

fn complete(name: &str, field: &Field, bytes: &[u8], identity: &Identity<'_>) -> Result<Mailbox, NoEnvelope> {
    let unconfigured = |why| NoEnvelope::Unconfigured { setting: "identity.domain", why };
    let (named, line) = (name_of(field, bytes), field.line());
    let Some(domain) = identity.domain else {
        let why =
            format!("expected an address in {named} (line {line}), found {name:?}, which has no domain");
        return Err(unconfigured(why));
    };
    let completed = format!("{name}@{domain}").parse::<Mailbox>();
    completed.map_err(|e| {
        unconfigured(format!("{name:?} in {named} (line {line}) got the domain {domain:?}: {e}"))
    })
}

fn name_of(field: &Field, bytes: &[u8]) -> String {
    super::excerpt(field.name(bytes), 100)
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {:?}: {}", self.line, self.field, self.text, self.why)
    }
}

impl fmt::Display for NoEnvelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoEnvelope::Refused(refusal) => refusal.fmt(f),
            NoEnvelope::Unconfigured { setting, why } => write!(f, "{setting} is not set: {why}"),
        }
    }
}

impl std::error::Error for NoEnvelope {}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
