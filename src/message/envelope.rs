//! From the fields to the envelope: who sends, to whom.

use std::borrow::Cow;
use std::fmt;

use super::address_list::{AddressList, Listed, is_null};
use super::aliases::{Aliases, Expanded, Step, Target};
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
    /// `identity.domain`: completes the sender's name where it has no domain.
    pub domain: Option<&'a str>,
    /// Whom recipients stand for, and what completes their names. `None`: for themselves.
    pub aliases: Option<&'a Aliases>,
    /// The recipients, whatever the message says: addresses and names.
    pub to: &'a [String],
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
    /// Whether the sender is one that the message names.
    pub has_sender: bool,
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
/// In place of these recipients stand [`Identity::to`], if there are any. Each recipient then stands for what
/// [`Identity::aliases`] says.
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
    let is_stray = |f: &&Field| f.is("X-Receiver", bytes) && !injected::is_ours(header.injected(), bytes);
    let stray = header.own().iter().find(is_stray);
    if let Some(stray) = stray.filter(|_| identity.to.is_empty()) {
        let reason = "expected every X-Receiver in one block at the very top, found one further down";
        return Err(NoEnvelope::Refused(Refusal::at(stray.line(), reason)));
    }
    let none = Aliases::none(identity.domain);
    let aliases = identity.aliases.unwrap_or(&none);
    let source = Source::of(header, bytes);
    let Named { mailboxes, unreadable } = match identity.to {
        [] => source.named(bytes, aliases)?,
        to => fixed(to, aliases)?,
    };
    if mailboxes.is_empty() {
        return Err(NoEnvelope::Refused(source.nobody(&unreadable)));
    }
    let (reverse_path, has_sender) = source.reverse_path(bytes, identity)?;
    match Envelope::new(reverse_path, mailboxes) {
        Some(mut envelope) => {
            let dropped = source.ask(&mut envelope, bytes, aliases, identity.to.is_empty());
            let injected = source.kind == Kind::Injected;
            Ok(Addressed { envelope, unreadable, injected, dropped, has_sender })
        }
        None => Err(NoEnvelope::Refused(source.nobody(&unreadable))),
    }
}

/// The recipients that a message names, in the order in which they were found.
#[derive(Default)]
struct Named {
    mailboxes: Vec<Mailbox>,
    unreadable: Vec<Unreadable>,
}

/// Those that are given for every message, whatever it says.
fn fixed(to: &[String], aliases: &Aliases) -> Result<Named, NoEnvelope> {
    let (mut named, mut expanded) = (Named::default(), Expanded::default());
    for listed in to.iter().flat_map(|text| AddressList::new(text.as_bytes())) {
        let target = match listed {
            Listed::Mailbox(mailbox) => Target::Mailbox(mailbox),
            Listed::Bare(name) => Target::Name(name),
            Listed::Unreadable { text, why, .. } => {
                let why = format!("its recipient {text:?} cannot be read: {why}");
                return Err(NoEnvelope::Unconfigured { setting: "a usable to of the folder", why });
            }
        };
        let found = || format!("expected an address in to of the folder, found {:?}", target.to_string());
        expand(&target, aliases, &mut expanded, &mut named.mailboxes, &found)?;
    }
    Ok(named)
}

/// Appends the addresses that `target` stands for. `found` says where it stands.
fn expand<'a>(
    target: &Target,
    aliases: &'a Aliases,
    expanded: &mut Expanded<'a>,
    mailboxes: &mut Vec<Mailbox>,
    found: &dyn Fn() -> String,
) -> Result<(), NoEnvelope> {
    let mut unconfigured = None;
    aliases.expand(target, expanded, &mut |depth, step| match step {
        Step::Address { mailbox, .. } => mailboxes.push(mailbox),
        Step::NoAddress { recipient, why } => {
            let by_way_of = match depth {
                0 => String::new(),
                _ => format!(", an alias that leads to {:?}", recipient.to_string()),
            };
            let why = || format!("{}{by_way_of}, which {why}", found());
            unconfigured = unconfigured.take().or_else(|| Some(why()));
        }
        Step::Alias { .. } | Step::Again { .. } => {}
    });
    unconfigured.map_or(Ok(()), |why| Err(NoEnvelope::Unconfigured { setting: "identity.domain", why }))
}

/// The same envelope for those whom its recipients stand for, each asked what its alias was. A recipient that leads to a
/// name without a domain stays what it is.
pub fn expand_envelope(envelope: &Envelope, aliases: &Aliases) -> Envelope {
    let mut expanded = Expanded::default();
    let mut all: Vec<(Mailbox, Dsn)> = Vec::new();
    for (mailbox, dsn) in envelope.recipients() {
        let (start, mut is_whole) = (all.len(), true);
        let target = Target::Mailbox(mailbox.clone());
        aliases.expand(&target, &mut expanded, &mut |_, step| match step {
            Step::Address { mailbox, .. } => all.push((mailbox, dsn.clone())),
            Step::NoAddress { .. } => is_whole = false,
            Step::Alias { .. } | Step::Again { .. } => {}
        });
        if !is_whole {
            all.truncate(start);
            all.push((mailbox.clone(), dsn.clone()));
        }
    }
    let Some(mut new) = Envelope::new(envelope.reverse_path.clone(), all.iter().map(|(m, _)| m.clone()))
    else {
        return envelope.clone();
    };
    new.dsn = envelope.dsn.clone();
    for (mailbox, dsn) in all.into_iter().rev() {
        new.set_rcpt_dsn(&mailbox, dsn);
    }
    new
}

/// Whom a header names, as `sendmail -t` asks: those of the topmost block of Resent-* fields, else of To, Cc and Bcc. A block of
/// X-Sender and X-Receiver says nothing here.
pub fn named_recipients(header: &Header, bytes: &[u8]) -> Vec<Listed> {
    let header = header.clone().without_block();
    let fields = Source::of(&header, bytes).recipients;
    fields.into_iter().flat_map(|field| AddressList::new(field.value(bytes))).collect()
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

    /// Those of its fields. A name that has no address keeps the message from all: the operator can mend that.
    fn named(&self, bytes: &[u8], aliases: &Aliases) -> Result<Named, NoEnvelope> {
        let (mut named, mut expanded, mut untold) = (Named::default(), Expanded::default(), 0_usize);
        for field in &self.recipients {
            let value = self.value(field, bytes);
            let (mut seen, mut line) = (0, field.line());
            for listed in AddressList::new(&value) {
                let target = match listed {
                    Listed::Mailbox(mailbox) => Target::Mailbox(mailbox),
                    Listed::Bare(name) => Target::Name(name),
                    Listed::Unreadable { offset, text, why } => {
                        line += line_ends(&value[seen..offset]);
                        seen = offset;
                        let field = name_of(field, bytes);
                        match named.unreadable.len() {
                            TOLD => untold += 1,
                            _ => named.unreadable.push(Unreadable { line, field, text, why }),
                        }
                        continue;
                    }
                };
                let found = || {
                    let (name, line) = (name_of(field, bytes), field.line());
                    format!("expected an address in {name} (line {line}), found {:?}", target.to_string())
                };
                expand(&target, aliases, &mut expanded, &mut named.mailboxes, &found)?;
            }
        }
        if let Some(last) = named.unreadable.last_mut().filter(|_| untold > 0) {
            last.why.push_str(&format!(" ({untold} more behind it cannot be read)"));
        }
        Ok(named)
    }

    /// Notes the parameters of DSN that stand behind the addresses of the block, those about a recipient only where they are
    /// `ours` to note; gives those that cannot be read. What an alias stands for is asked what the alias was (RFC 3461
    /// section 5.2.7: ORCPT goes on unchanged).
    fn ask(&self, envelope: &mut Envelope, bytes: &[u8], aliases: &Aliases, ours: bool) -> Vec<String> {
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
        let mut expanded = Expanded::default();
        for field in self.recipients.iter().filter(|_| ours) {
            let value = injected::without_parameters(field.value(bytes));
            for asked in injected::asked(field.value(bytes)) {
                let (dsn, bad) = Dsn::of_rcpt(asked.words.iter().map(String::as_str));
                dropped.extend(bad);
                let mut listed = AddressList::new(&value[asked.element]);
                let target = match listed.next() {
                    Some(Listed::Mailbox(mailbox)) => Target::Mailbox(mailbox),
                    Some(Listed::Bare(name)) => Target::Name(name),
                    Some(Listed::Unreadable { .. }) | None => continue,
                };
                aliases.expand(&target, &mut expanded, &mut |_, step| {
                    if let Step::Address { mailbox, .. } = step {
                        envelope.set_rcpt_dsn(&mailbox, dsn.clone());
                    }
                });
            }
        }
        dropped.iter().map(|word| super::excerpt(word.as_bytes(), 100)).collect()
    }

    /// The sender, and whether it is one that the message names.
    fn reverse_path(&self, bytes: &[u8], identity: &Identity<'_>) -> Result<(ReversePath, bool), NoEnvelope> {
        let mut bare = None;
        for field in &self.senders {
            let value = self.value(field, bytes);
            if self.kind == Kind::Injected && field.is("X-Sender", bytes) && is_null(&value) {
                return Ok((ReversePath::Null, true));
            }
            for listed in AddressList::new(&value) {
                match listed {
                    Listed::Mailbox(mailbox) => return Ok((ReversePath::Mailbox(mailbox), true)),
                    Listed::Bare(name) => bare = bare.or(Some((name, *field))),
                    Listed::Unreadable { .. } => {}
                }
            }
        }
        match (identity.from, bare) {
            (Some(from), _) => Ok((ReversePath::Mailbox(from.clone()), false)),
            (None, Some((name, field))) if identity.domain.is_some() => {
                complete(&name, field, bytes, identity).map(|mailbox| (ReversePath::Mailbox(mailbox), false))
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
pub(super) fn topmost_resent<'h>(fields: &'h [Field], bytes: &[u8]) -> &'h [Field] {
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
