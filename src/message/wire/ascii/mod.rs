//! Header fields as ASCII, for a server without SMTPUTF8 (RFC 6531) and for the parts of a message in seven bits.
//!
//! Text becomes encoded words (RFC 2047), a parameter such as a file's name goes by RFC 2231. What is no text has no such
//! form: an address, a Message-ID. Fields that are ASCII stay as they are, to the octet.

mod structured;
mod words;

use std::ops::Range;

use super::parameters::{Parameter, Parsed};
use super::seven::{Unconvertible, fields};
use crate::message::header::Field;
use crate::message::{Header, Scan};
use structured::Grammar;
use words::{Folded, Word};

/// Fields whose names begin like that and that hold addresses.
const ADDRESSES: [&str; 17] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Resent-From",
    "Resent-Sender",
    "Resent-Reply-To",
    "Resent-To",
    "Resent-Cc",
    "Resent-Bcc",
    "Disposition-Notification-To",
    "Return-Receipt-To",
    "Errors-To",
    "Mail-Followup-To",
    "List-ID",
];

/// Fields in which nothing but a comment is text.
const NO_TEXT: [&str; 20] = [
    "Date",
    "Resent-Date",
    "Message-ID",
    "Resent-Message-ID",
    "In-Reply-To",
    "References",
    "Received",
    "Return-Path",
    "MIME-Version",
    "Content-Transfer-Encoding",
    "Content-ID",
    "DKIM-Signature",
    "Authentication-Results",
    "Auto-Submitted",
    "List-Unsubscribe",
    "List-Post",
    "List-Help",
    "List-Subscribe",
    "List-Archive",
    "List-Owner",
];

/// Longest line, without its CRLF (RFC 5322 section 2.1.1).
const LINE_MAX: usize = 76;

/// A head as [`head`](super::head()) composed it, in ASCII.
///
/// # Errors
/// What of it is not text, and so cannot be encoded.
pub fn ascii_head(head: &[u8]) -> Result<Vec<u8>, Unconvertible> {
    match Header::scan(head, true) {
        Ok(Scan::Done(header)) => encode(head, header.fields()),
        Ok(Scan::NeedMore) | Err(_) => Err(Unconvertible::MALFORMED_HEADER),
    }
}

/// The header block of a part, with its empty line, in ASCII.
pub(super) fn ascii_block(block: &[u8]) -> Result<Vec<u8>, Unconvertible> {
    encode(block, &fields(block)?)
}

fn encode(block: &[u8], fields: &[Field]) -> Result<Vec<u8>, Unconvertible> {
    let mut out = Vec::with_capacity(block.len() + block.len() / 2);
    let mut at = 0;
    for field in fields {
        let Range { start, end } = field.range();
        out.extend_from_slice(&block[at..start]);
        if block[start..end].is_ascii() {
            out.extend_from_slice(&block[start..end]);
        } else {
            write_field(field, block, &mut out)?;
        }
        at = end;
    }
    out.extend_from_slice(&block[at..]);
    if out.is_ascii() { Ok(out) } else { Err(Unconvertible::MALFORMED_HEADER) }
}

fn write_field(field: &Field, block: &[u8], out: &mut Vec<u8>) -> Result<(), Unconvertible> {
    let value = field.value(block);
    let name = [field.name(block), b":"].concat();
    let is = |names: &[&str]| names.iter().any(|name| field.is(name, block));
    if is(&["Content-Type", "Content-Disposition"]) {
        out.extend_from_slice(&name);
        write_parameters(value, out)?;
    } else {
        let mut folded = Folded::new(&name, out);
        let grammar = match () {
            () if is(&ADDRESSES) => Some(Grammar::Addresses),
            () if is(&["Keywords"]) => Some(Grammar::Phrases),
            () if is(&NO_TEXT) || field.has_prefix("ARC-", block) => Some(Grammar::Comments),
            () => None,
        };
        match grammar {
            Some(grammar) => {
                structured::write(value, grammar, &mut folded).ok_or(Unconvertible::NO_TEXT)?;
            }
            None => write_text(value, &mut folded),
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Running text, as in Subject and in every field that is not known here.
fn write_text(value: &[u8], folded: &mut Folded<'_>) {
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    let mut words = Vec::new();
    let mut rest = value;
    loop {
        let (blank, after) = rest.split_at(rest.iter().take_while(|b| is_blank(b)).count());
        let (raw, after) = after.split_at(after.iter().take_while(|b| !is_blank(b)).count());
        if raw.is_empty() {
            folded.words(&words);
            return folded.put(b"", blank);
        }
        words.push(Word { blank, raw, text: raw.to_vec() });
        rest = after;
    }
}

/// RFC 2231 sections 3 and 4 for the parameters that are not ASCII.
fn write_parameters(value: &[u8], out: &mut Vec<u8>) -> Result<(), Unconvertible> {
    let parsed = Parsed::read(value);
    let mut at = 0;
    for parameter in &parsed.parameters {
        let Range { start, end } = parameter.range.clone();
        if !value[at..start].is_ascii() {
            return Err(Unconvertible::NO_TEXT);
        }
        out.extend_from_slice(&value[at..start]);
        at = end;
        if value[start..end].is_ascii() {
            out.extend_from_slice(&value[start..end]);
        } else if !parameter.name.is_ascii() || parameter.name.contains('*') {
            return Err(Unconvertible::NO_TEXT);
        } else if parsed.get(&format!("{}*", parameter.name)).is_none() {
            // Where that is there, it says the same, and readers prefer it (RFC 6266 section 4.3).
            write_parameter(parameter, out);
        }
    }
    let rest = &value[at..];
    out.extend_from_slice(rest);
    if rest.is_ascii() { Ok(()) } else { Err(Unconvertible::NO_TEXT) }
}

/// One parameter, in pieces if it is long, each on a line of its own.
fn write_parameter(parameter: &Parameter, out: &mut Vec<u8>) {
    let Parameter { name, value, .. } = parameter;
    let charset = if std::str::from_utf8(value).is_ok() { "utf-8" } else { "unknown-8bit" };
    let mut text = format!("{charset}''");
    let room = LINE_MAX.saturating_sub(name.len() + " *99*=;".len()).max(24);
    let mut pieces = Vec::new();
    for byte in value {
        let encoded = match byte {
            b if b.is_ascii_alphanumeric() || b"!#$&+-.^_`{|}~".contains(b) => char::from(*b).to_string(),
            b => format!("%{b:02X}"),
        };
        if text.len() + encoded.len() > room {
            pieces.push(std::mem::take(&mut text));
        }
        text.push_str(&encoded);
    }
    pieces.push(text);
    for (number, piece) in pieces.iter().enumerate() {
        let number = if pieces.len() > 1 { format!("*{number}") } else { String::new() };
        out.extend_from_slice(format!(";\r\n {name}{number}*={piece}").as_bytes());
    }
}

#[cfg(test)]
mod tests;
