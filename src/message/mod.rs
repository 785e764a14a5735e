//! Floor 1: from the bytes of a dropped file to values, and to the bytes on the wire. Pure: no files, no
//! sockets, no clock. The same file gives the same bytes at each attempt.
//!
//! The way of a file through here:
//!
//! 1. [`Header::scan`] finds the fields, each as a byte range with its line, and where the body begins. It
//!    wants the beginning of the file, and asks for a longer one ([`Scan::NeedMore`]) until it has the whole
//!    header block, at most [`HEADER_MAX`] octets.
//! 2. [`address`] makes the envelope from the fields: who sends, to whom ([`parse_address_list`] reads the
//!    lists, [`Aliases`] says whom a name stands for). Not asked where the envelope came with the file.
//! 3. [`head`] composes the head as it is sent. It is small and is made once.
//! 4. [`Canonical`] turns the body, chunk by chunk, into lines that end in CRLF; then [`DotUnstuffer`] where
//!    the producer doubles its dots; [`Facts`] measures head and body; [`DotStuffer`] writes what goes behind
//!    DATA. Chunks may be cut anywhere: nothing here ever holds more than one of them.
//! 5. Between the last two, for a server without 8BITMIME: [`Survey`] walks the MIME structure and makes a
//!    [`Plan`], with which [`SevenBit`] converts what is above 127. For one without SMTPUTF8 [`ascii_head`] encodes
//!    the text in header fields.
//!
//! A file that can never be sent is a [`Refusal`], with its line where there is one. What is for the operator
//! to configure is [`NoEnvelope::Unconfigured`], and is no fault of the file.

mod address_list;
mod aliases;
mod envelope;
mod header;
mod injected;
mod template;
mod token;
mod wire;

use std::fmt;

pub use address_list::{Listed, parse_address_list};
pub use aliases::{ALIAS_DEPTH_MAX, ALIAS_TARGETS_MAX, AliasError, Aliases, Expanded, Step, Target};
pub use envelope::{Addressed, Identity, NoEnvelope, Unreadable, address, expand_envelope, named_recipients};
pub use header::{Field, HEADER_MAX, Header, Scan};
pub use template::{Author, Places, Template};
pub use wire::{
    Canonical, DotStuffer, DotUnstuffer, Facts, Forced, HeadText, Plan, SevenBit, Survey, Unconvertible,
    WireOptions, ascii_head, force_from, head,
};

/// Why a message can never be sent as it is, whoever tries again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The line of the dropped file, counted from 1, where there is one to look at.
    pub line: Option<u64>,
    /// A fragment: "expected X, found Y".
    pub reason: String,
}

impl Refusal {
    fn at(line: u64, reason: impl Into<String>) -> Self {
        Refusal { line: Some(line), reason: reason.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for Refusal {}

/// What a producer wrote, fit to be shown: one line, no control characters, cut after `most` characters.
fn excerpt(bytes: &[u8], most: usize) -> String {
    // A character has at most four octets; never decode a megabyte to show a line of it.
    let shown = &bytes[..bytes.len().min(most * 4 + 4)];
    let text = String::from_utf8_lossy(shown);
    let mut out = String::new();
    for (n, c) in text.trim().chars().enumerate() {
        if n == most {
            out.push_str("...");
            break;
        }
        match c {
            '\r' | '\n' if out.ends_with(' ') => {}
            '\r' | '\n' | '\t' => out.push(' '),
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt(b" a\r\n b\x1b[2J\t", 80), "a  b\u{fffd}[2J");
        assert_eq!(excerpt("ä".repeat(1000).as_bytes(), 3), "äää...");
        assert_eq!(excerpt(b"\xff\xfe", 3), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_refusal_names_its_line() {
        assert_eq!(Refusal::at(7, "expected x, found y").to_string(), "line 7: expected x, found y");
        assert_eq!(Refusal { line: None, reason: "expected x".into() }.to_string(), "expected x");
    }
}
