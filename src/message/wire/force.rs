//! Another From: what becomes of the fields that said who wrote the message.

use std::ops::Range;

use super::super::address_list::{AddressList, Listed};
use super::super::envelope::topmost_resent;
use super::super::header::{Field, Header};
use super::super::template::{Author, shown_name};
use crate::mail::Mailbox;

/// Fields that are written otherwise than in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forced {
    /// In order: a field, and what stands in its place, perhaps nothing.
    pub(super) edits: Vec<(Range<usize>, String)>,
    /// Whether Reply-To is that From.
    pub(super) reply_to: Option<ReplyTo>,
}

/// What the former From becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReplyTo {
    /// The value as it stands.
    Value(Range<usize>),
    /// Those of its addresses that can be read.
    Addresses(String),
}

impl Forced {
    /// Whether the message is written as it is.
    pub fn is_nothing(&self) -> bool {
        self.edits.is_empty()
    }
}

/// Makes `author` the one who wrote the message: in From, and in Resent-From of the topmost block of these, the address is
/// his. The name that was shown stays, and the former author becomes Reply-To where the message has none. Sender and
/// Resent-Sender go: the one who sends is the author now (RFC 5322 section 3.6.2). A message that is his already stays
/// as it is.
///
/// A message without From gets one from [`super::head`].
pub fn force_from(header: &Header, bytes: &[u8], author: &Author) -> Forced {
    let own = header.own();
    let mut forced = Forced::default();
    let resent = topmost_resent(own, bytes);
    edit(resent, ("Resent-From", "Resent-Sender"), bytes, author, &mut forced.edits);
    let replaced = edit(own, ("From", "Sender"), bytes, author, &mut forced.edits);
    forced.edits.sort_by_key(|(range, _)| range.start);
    if let Some(from) = replaced.filter(|_| !header.has("Reply-To", bytes)) {
        forced.reply_to = reply_to(from, bytes, author);
    }
    forced
}

/// Notes the edits; gives the first From if it is another's.
fn edit<'h>(
    fields: &'h [Field],
    (from, sender): (&str, &str),
    bytes: &[u8],
    author: &Author,
    edits: &mut Vec<(Range<usize>, String)>,
) -> Option<&'h Field> {
    let mut froms = fields.iter().filter(|f| f.is(from, bytes));
    let first = froms.next();
    let is_his = |field: &&Field| is_of(field.value(bytes), &author.mailbox);
    let foreign = first.filter(|field| !is_his(field));
    if let Some(field) = foreign {
        let shown = shown_name(field.value(bytes));
        edits.push((field.range(), format!("{from}: {}\r\n", author.field(shown))));
    }
    edits.extend(froms.map(|field| (field.range(), String::new())));
    for field in fields.iter().filter(|f| f.is(sender, bytes) && !is_his(f)) {
        edits.push((field.range(), String::new()));
    }
    foreign
}

/// Whether it names this one and nobody else.
fn is_of(value: &[u8], mailbox: &Mailbox) -> bool {
    let mut listed = AddressList::new(value);
    matches!(listed.next(), Some(Listed::Mailbox(only)) if only == *mailbox) && listed.next().is_none()
}

fn reply_to(from: &Field, bytes: &[u8], author: &Author) -> Option<ReplyTo> {
    let (mut addresses, mut is_whole) = (Vec::new(), true);
    for listed in AddressList::new(from.value(bytes)) {
        match listed {
            Listed::Mailbox(mailbox) => addresses.push(mailbox),
            Listed::Bare(_) | Listed::Unreadable { .. } => is_whole = false,
        }
    }
    if addresses.iter().all(|address| *address == author.mailbox) {
        return None;
    }
    if is_whole {
        return Some(ReplyTo::Value(from.value_range()));
    }
    let addresses: Vec<String> = addresses.iter().map(Mailbox::to_string).collect();
    Some(ReplyTo::Addresses(addresses.join(",\r\n ")))
}

#[cfg(test)]
mod tests {
    use super::super::super::Scan;
    use super::super::head::{WireOptions, head};
    use super::*;
    use crate::mail::UnixTime;

    fn sent(file: &str, from: &str) -> String {
        let file = format!("{file}Date: d\nMessage-ID: <m>\n").replace('\n', "\r\n");
        let Ok(Scan::Done(header)) = Header::scan(file.as_bytes(), true) else { panic!("no header") };
        let places = super::super::super::Places { user: "ann", hostname: "box", domain: None };
        let author = from.parse::<super::super::super::Template>().unwrap().fill(&places).unwrap();
        let options = WireOptions {
            queue_id: "019aab3c5d7e7000800000000000002a".parse().unwrap(),
            accepted: UnixTime::from_secs(1_795_443_053),
            hostname: "box.org",
            from: Some(&author),
            forced: &force_from(&header, file.as_bytes(), &author),
            received: false,
        };
        let text = String::from_utf8(head(&header, file.as_bytes(), &options)).unwrap();
        text.replace("\r\n", "\n").replace("Date: d\nMessage-ID: <m>\n", "")
    }

    #[test]
    fn from_is_ours_and_the_author_is_answered() {
        let rows = [
            (
                "From: Ann <ann@x.org>\nTo: a@b.c\n",
                "From: Ann <box@y.org>\nTo: a@b.c\nReply-To: Ann <ann@x.org>\n",
            ),
            ("From: ann@x.org\nReply-To: bob@x.org\n", "From: Box 7 <box@y.org>\nReply-To: bob@x.org\n"),
            (
                "From:\n \"Old, Ann\"\n <ann@x.org>\n",
                "From: \"Old, Ann\" <box@y.org>\nReply-To:\n \"Old, Ann\"\n <ann@x.org>\n",
            ),
            ("From: root (Cron Daemon)\n", "From: Cron Daemon <box@y.org>\n"),
            ("From: Log Watch\nTo: a@b.c\n", "From: Box 7 <box@y.org>\nTo: a@b.c\n"),
            ("To: a@b.c\n", "To: a@b.c\nFrom: Box 7 <box@y.org>\n"),
            ("Sender: s@x.org\nTo: a@b.c\n", "To: a@b.c\nFrom: Box 7 <box@y.org>\n"),
            ("from: a@x.org, root\nSENDER: s@x.org\n", "From: Box 7 <box@y.org>\nReply-To: a@x.org\n"),
            (
                "From: a@x.org, b@x.org\nFrom: c@x.org\n",
                "From: Box 7 <box@y.org>\nReply-To: a@x.org, b@x.org\n",
            ),
            ("From: Me <box@Y.org>\nSubject: x\n", "From: Me <box@Y.org>\nSubject: x\n"),
            ("From: box@y.org\nSender: s@x.org\n", "From: box@y.org\n"),
            ("From: box@y.org\nSender: box@y.org\n", "From: box@y.org\nSender: box@y.org\n"),
            ("From: box@y.org, box@y.org\n", "From: Box 7 <box@y.org>\n"),
        ];
        for (file, want) in rows {
            assert_eq!(sent(file, "Box 7 <box@y.org>"), want, "{file:?}");
        }
        assert_eq!(sent("From: ann@x.org\n", "box@y.org"), "From: box@y.org\nReply-To: ann@x.org\n");
    }

    #[test]
    fn of_those_who_resent_it_only_the_last_is_replaced() {
        let file = "Resent-From: r@x.org\nResent-Sender: s@x.org\nResent-To: a@b.c\nReceived: by x\n\
                    Resent-From: q@x.org\nResent-Sender: p@x.org\nFrom: Ann <ann@x.org>\n";
        let want = "Resent-From: box@y.org\nResent-To: a@b.c\nReceived: by x\n\
                    Resent-From: q@x.org\nResent-Sender: p@x.org\nFrom: Ann <box@y.org>\nReply-To: Ann <ann@x.org>\n";
        assert_eq!(sent(file, "box@y.org"), want);
    }

    #[test]
    fn what_is_ours_already_is_not_touched() {
        let file = b"From: Me <box@y.org>\nTo: a@b.c\n\n";
        let Ok(Scan::Done(header)) = Header::scan(file, true) else { panic!("no header") };
        let of = |text: &str| Author { name: None, mailbox: text.parse().unwrap() };
        assert!(force_from(&header, file, &of("box@y.org")).is_nothing());
        assert!(!force_from(&header, file, &of("other@y.org")).is_nothing());
    }
}
