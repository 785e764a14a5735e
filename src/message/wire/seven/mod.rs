//! A message in seven bits, for a server without 8BITMIME (RFC 6152 section 3).
//!
//! It is walked twice. [`Survey`] sees each leaf of its MIME structure to the end and decides what is to become of it;
//! [`SevenBit`] does that while the message is being sent. Neither holds more than a header block and a line, besides one
//! entry a leaf.
//!
//! - What has octets above 127 and is text, or has no line longer than 998, becomes quoted-printable, line for line.
//! - Other content, and what is labelled `binary`, becomes base64.
//! - What is ASCII stays as it is. Labels `8bit` and `binary` become `7bit`, where the content is.
//! - Header fields of parts that are not ASCII are encoded.
//! - A message without a Content-Type gets one. The charset is utf-8, or unknown-8bit (RFC 1428) if it is not that.
//! - What no reader shows, in front of the first boundary and behind the last, gets a `?` for each octet above 127.
//!
//! What is signed or encrypted, and what cannot be read without doubt, is [`Unconvertible`].

mod encode;
mod entity;
mod walk;

use std::fmt;
use std::sync::Arc;

use encode::{Base64, Quoted};
pub(super) use entity::fields;
use entity::{Encoding, Entity, Kind};
use walk::{Visitor, Walk};

/// Most leaves of a message; each costs one entry.
const LEAVES_MAX: usize = 100_000;

/// Longest line of content that is not text and still no binary (RFC 2045 section 2.8).
const LINE_MAX: usize = 998;

/// Why a message cannot be put into seven bits: a fragment behind "cannot be converted:".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unconvertible(pub &'static str);

impl Unconvertible {
    const SIGNED: &str = "it would break a signature (multipart/signed)";
    const ENCRYPTED: &str = "a part of it is encrypted (multipart/encrypted)";
    const PARTIAL: &str = "message/partial and message/external-body have no other form";
    const ENCODED: &str = "8-bit octets in a part that is labelled as encoded";
    pub(super) const NO_TEXT: Unconvertible =
        Unconvertible("a header field is not ASCII where it is no text, as in an address");
    pub(super) const MALFORMED_HEADER: Unconvertible = Unconvertible("a part has no header that can be read");
    const NO_BOUNDARY: Unconvertible = Unconvertible("a multipart names no boundary");
    const NOT_CLOSED: Unconvertible = Unconvertible("a multipart is not closed by its boundary");
    const AMBIGUOUS: Unconvertible = Unconvertible("a line may be a boundary and may be none");
    const TOO_DEEP: Unconvertible = Unconvertible("its parts are nested more than 20 deep");
    const TOO_MANY: Unconvertible = Unconvertible("it has more than 100,000 parts");
}

/// What is done with the content of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Treatment {
    Keep,
    /// `utf8`: it is UTF-8, in case nothing says what it is.
    Quoted {
        utf8: bool,
    },
    Base64 {
        utf8: bool,
    },
}

/// What is to be done with each leaf, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan(Arc<[Treatment]>);

/// The first way through a message: it decides.
#[derive(Debug)]
pub struct Survey(Walk<Surveyor>);

/// The second way through a message: it converts.
#[derive(Debug)]
pub struct SevenBit(Walk<Converter>);

impl Survey {
    /// At the first octet of the head.
    pub fn new() -> Self {
        Survey(Walk::new(Surveyor::default()))
    }

    /// Looks at the next chunk of canonical head and body; chunks may be cut anywhere.
    ///
    /// # Errors
    /// Why there is no form of it in seven bits.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Unconvertible> {
        self.0.push(chunk, &mut Vec::new())?;
        if self.0.visitor().leaves.len() > LEAVES_MAX { Err(Unconvertible::TOO_MANY) } else { Ok(()) }
    }

    /// The message is over.
    ///
    /// # Errors
    /// As [`Survey::push`].
    pub fn finish(self) -> Result<Plan, Unconvertible> {
        Ok(Plan(self.0.finish(&mut Vec::new())?.leaves.into()))
    }
}

impl Default for Survey {
    fn default() -> Self {
        Self::new()
    }
}

impl SevenBit {
    /// At the first octet of the message that `plan` was made for.
    pub fn new(plan: &Plan) -> Self {
        let converter = Converter { plan: plan.clone(), next: 0, encoder: Encoder::Keep };
        SevenBit(Walk::new(converter))
    }

    /// Appends the next chunk as seven bits: lines that end in CRLF, no dot stuffed.
    ///
    /// # Errors
    /// Only if it is not the message that was surveyed.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Unconvertible> {
        self.0.push(chunk, out)
    }

    /// The message is over: appends what is left.
    ///
    /// # Errors
    /// As [`SevenBit::push`].
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), Unconvertible> {
        self.0.finish(out).map(|_| ())
    }
}

#[derive(Debug, Default)]
struct Surveyor {
    leaves: Vec<Treatment>,
    leaf: Leaf,
}

/// What is known of the leaf that is being read.
#[derive(Debug, Default)]
struct Leaf {
    opaque: Option<&'static str>,
    is_text: bool,
    is_binary: bool,
    eight_bit: bool,
    open_line: usize,
    longest_line: usize,
    utf8: Utf8,
}

impl Visitor for Surveyor {
    fn header(&mut self, _: &[u8], entity: &Entity, _: &mut Vec<u8>) -> Result<(), Unconvertible> {
        self.leaf = Leaf {
            opaque: if let Kind::Opaque(why) = entity.kind { Some(why) } else { None },
            is_text: entity.kind == Kind::Leaf { is_text: true },
            is_binary: entity.encoding == Encoding::Binary,
            ..Leaf::default()
        };
        Ok(())
    }

    fn content(&mut self, piece: &[u8], _: &mut Vec<u8>) -> Result<(), Unconvertible> {
        let leaf = &mut self.leaf;
        if !piece.is_ascii() {
            leaf.eight_bit = true;
            if let Some(why) = leaf.opaque {
                return Err(Unconvertible(why));
            }
        }
        leaf.utf8.push(piece);
        for line in piece.split_inclusive(|b| *b == b'\n') {
            leaf.open_line += line.len();
            leaf.longest_line = leaf.longest_line.max(leaf.open_line);
            if line.ends_with(b"\n") {
                leaf.open_line = 0;
            }
        }
        Ok(())
    }

    fn leaf_ends(&mut self, _: bool, _: &mut Vec<u8>) {
        let leaf = std::mem::take(&mut self.leaf);
        let utf8 = leaf.utf8.is_valid();
        let fits = leaf.is_text || leaf.longest_line <= LINE_MAX + b"\r\n".len();
        self.leaves.push(match () {
            () if leaf.opaque.is_some() => Treatment::Keep,
            () if leaf.is_binary => Treatment::Base64 { utf8 },
            () if !leaf.eight_bit => Treatment::Keep,
            () if fits => Treatment::Quoted { utf8 },
            () => Treatment::Base64 { utf8 },
        });
    }

    fn between(&mut self, _: &[u8], _: &mut Vec<u8>) {}

    fn delimiter(&mut self, _: &[u8], _: &mut Vec<u8>) {}
}

#[derive(Debug)]
struct Converter {
    plan: Plan,
    next: usize,
    encoder: Encoder,
}

#[derive(Debug)]
enum Encoder {
    Keep,
    Quoted(Quoted),
    Base64(Base64),
}

impl Visitor for Converter {
    fn header(&mut self, block: &[u8], entity: &Entity, out: &mut Vec<u8>) -> Result<(), Unconvertible> {
        let treatment = match entity.kind {
            Kind::Multipart { .. } | Kind::Message => Treatment::Keep,
            Kind::Leaf { .. } | Kind::Opaque(_) => {
                let planned = self.plan.0.get(self.next).copied();
                self.next += 1;
                planned.ok_or(Unconvertible("it is not what it was when it was looked at"))?
            }
        };
        self.encoder = match treatment {
            Treatment::Keep => Encoder::Keep,
            Treatment::Quoted { .. } => Encoder::Quoted(Quoted::default()),
            Treatment::Base64 { .. } => Encoder::Base64(Base64::default()),
        };
        entity.rewrite(block, treatment, out);
        Ok(())
    }

    fn content(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Unconvertible> {
        match &mut self.encoder {
            Encoder::Keep => out.extend_from_slice(piece),
            Encoder::Quoted(quoted) => quoted.push(piece, out),
            Encoder::Base64(base64) => base64.push(piece, out),
        }
        Ok(())
    }

    fn leaf_ends(&mut self, delimited: bool, out: &mut Vec<u8>) {
        if let Encoder::Base64(base64) = &mut self.encoder {
            base64.finish(delimited, out);
        }
    }

    fn between(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        out.extend(piece.iter().map(|b| if b.is_ascii() { *b } else { b'?' }));
    }

    fn delimiter(&mut self, line: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(line);
    }
}

/// Whether octets are UTF-8, over chunks cut anywhere.
#[derive(Debug, Default)]
struct Utf8 {
    /// A character that the last chunk began.
    begun: Vec<u8>,
    is_broken: bool,
}

impl Utf8 {
    fn push(&mut self, chunk: &[u8]) {
        if self.is_broken || (self.begun.is_empty() && chunk.is_ascii()) {
            return;
        }
        let mut rest = chunk;
        while !self.begun.is_empty() && !rest.is_empty() {
            self.begun.push(rest[0]);
            rest = &rest[1..];
            match std::str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) if error.error_len().is_some() => self.is_broken = true,
                Err(_) => {}
            }
            if self.is_broken {
                return;
            }
        }
        if let Err(error) = std::str::from_utf8(rest) {
            self.is_broken = error.error_len().is_some();
            self.begun = rest[error.valid_up_to()..].to_vec();
        }
    }

    fn is_valid(&self) -> bool {
        !self.is_broken && self.begun.is_empty()
    }
}

impl fmt::Display for Unconvertible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Unconvertible {}

#[cfg(test)]
mod tests;
