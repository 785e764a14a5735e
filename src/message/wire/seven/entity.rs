//! One entity of a message by its header: what it is, and how that header is rewritten.

use std::ops::Range;

use super::super::parameters::{Parameter, Parsed, plain};
use super::{Treatment, Unconvertible};
use crate::message::header::Field;
use crate::message::{Header, Scan};

/// What a header block says of the entity it stands in front of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entity {
    pub(super) kind: Kind,
    /// A whole message, and not a part of one.
    is_message: bool,
    pub(super) encoding: Encoding,
    pub(super) has_type: bool,
    has_version: bool,
    encoding_field: Option<Range<usize>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Multipart {
        boundary: Vec<u8>,
        /// Its parts are messages unless they say otherwise (RFC 2046 section 5.1.5).
        is_digest: bool,
    },
    Message,
    Leaf {
        is_text: bool,
    },
    /// Not to be touched, for this reason.
    Opaque(&'static str),
}

/// What Content-Transfer-Encoding says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// `7bit`, or nothing at all.
    Seven,
    Eight,
    Binary,
    /// Quoted-printable, base64, or something unknown: nothing can be put around it.
    Other,
}

/// Where a header block stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At the top of a message, the whole one or one inside.
    Message,
    Part,
    /// A part of a digest.
    DigestPart,
}

impl Entity {
    /// Reads a whole header block, the empty line included.
    pub(super) fn read(block: &[u8], place: Place) -> Result<Entity, Unconvertible> {
        let fields = fields(block)?;
        let one = |name: &str| -> Result<Option<&Field>, Unconvertible> {
            let mut named = fields.iter().filter(|f| f.is(name, block));
            let first = named.next();
            if named.next().is_some() { Err(Unconvertible::MALFORMED_HEADER) } else { Ok(first) }
        };
        let encoding_field = one("Content-Transfer-Encoding")?;
        let encoding = encoding_field.map_or(Encoding::Seven, |f| Encoding::of(f.value(block)));
        let content_type = one("Content-Type")?;
        let parsed = content_type.map(|f| Parsed::read(f.value(block)));
        Ok(Entity {
            kind: Kind::of(parsed.as_ref(), encoding, place)?,
            is_message: place == Place::Message,
            encoding,
            has_type: content_type.is_some(),
            has_version: fields.iter().any(|f| f.is("MIME-Version", block)),
            encoding_field: encoding_field.map(Field::range),
        })
    }

    /// Appends its header block as it is once the content was treated like that; composite ones are [`Treatment::Keep`].
    pub(super) fn rewrite(&self, block: &[u8], treatment: Treatment, out: &mut Vec<u8>) {
        let is_composite = matches!(self.kind, Kind::Multipart { .. } | Kind::Message);
        let label = match treatment {
            Treatment::Quoted { .. } => Some("quoted-printable"),
            Treatment::Base64 { .. } => Some("base64"),
            Treatment::Keep => matches!(self.encoding, Encoding::Eight | Encoding::Binary).then_some("7bit"),
        };
        let field = label.map(|label| format!("Content-Transfer-Encoding: {label}\r\n"));
        let end = block.len() - b"\r\n".len();
        match (&self.encoding_field, &field) {
            (Some(range), Some(field)) => {
                out.extend_from_slice(&block[..range.start]);
                out.extend_from_slice(field.as_bytes());
                out.extend_from_slice(&block[range.end..end]);
            }
            _ => out.extend_from_slice(&block[..end]),
        }
        let charset = match treatment {
            Treatment::Quoted { utf8 } | Treatment::Base64 { utf8 } => Some(utf8),
            Treatment::Keep => None,
        };
        if self.is_message && !self.has_version && (charset.is_some() || is_composite) {
            out.extend_from_slice(b"MIME-Version: 1.0\r\n");
        }
        if let Some(utf8) = charset.filter(|_| !self.has_type) {
            // RFC 1428 section 3 has the name for what nobody knows.
            let charset = if utf8 { "utf-8" } else { "unknown-8bit" };
            out.extend_from_slice(format!("Content-Type: text/plain; charset={charset}\r\n").as_bytes());
        }
        if let (None, Some(field)) = (&self.encoding_field, &field) {
            out.extend_from_slice(field.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The fields of a block that ends with its empty line.
pub(in crate::message::wire) fn fields(block: &[u8]) -> Result<Vec<Field>, Unconvertible> {
    if block == b"\r\n" {
        return Ok(Vec::new());
    }
    match Header::scan(block, true) {
        Ok(Scan::Done(header)) if header.body_offset() == block.len() && !header.is_all() => {
            Ok(header.fields().to_vec())
        }
        _ => Err(Unconvertible::MALFORMED_HEADER),
    }
}

impl Kind {
    fn of(parsed: Option<&Parsed>, encoding: Encoding, place: Place) -> Result<Kind, Unconvertible> {
        let default = if place == Place::DigestPart { "message/rfc822" } else { "text/plain" };
        // What is no type and subtype is text (RFC 2045 section 5.2).
        let main = parsed.map(|p| p.main.as_str()).filter(|main| main.contains('/')).unwrap_or(default);
        let (kind, subtype) = main.split_once('/').unwrap_or((main, ""));
        Ok(match (kind, subtype) {
            ("multipart", "signed") => Kind::Opaque(Unconvertible::SIGNED),
            ("multipart", "encrypted") => Kind::Opaque(Unconvertible::ENCRYPTED),
            ("message", "partial" | "external-body") => Kind::Opaque(Unconvertible::PARTIAL),
            _ if encoding == Encoding::Other => Kind::Opaque(Unconvertible::ENCODED),
            ("multipart", _) => {
                let boundary = parsed.and_then(|p| p.get("boundary")).ok_or(Unconvertible::NO_BOUNDARY)?;
                let boundary = boundary_of(boundary);
                if boundary.is_empty() {
                    return Err(Unconvertible::NO_BOUNDARY);
                }
                Kind::Multipart { boundary, is_digest: subtype == "digest" }
            }
            ("message", "rfc822" | "news") => Kind::Message,
            _ => Kind::Leaf { is_text: kind == "text" },
        })
    }
}

/// Without white space at its end, which a boundary cannot have, and a comment that an unquoted one took with it.
fn boundary_of(parameter: &Parameter) -> Vec<u8> {
    let value = parameter.value.as_slice();
    let text = match value.iter().position(|b| *b == b'(') {
        Some(at) if !parameter.is_quoted && at > 0 && matches!(value[at - 1], b' ' | b'\t') => &value[..at],
        _ => value,
    };
    text.trim_ascii_end().to_vec()
}

impl Encoding {
    fn of(value: &[u8]) -> Encoding {
        match plain(value).to_ascii_lowercase().as_str() {
            "7bit" | "7-bit" | "" => Encoding::Seven,
            "8bit" | "8-bit" => Encoding::Eight,
            "binary" => Encoding::Binary,
            _ => Encoding::Other,
        }
    }
}
