//! The way through the structure of a message (RFC 2046 section 5.1), line by line and in little room.

use super::super::ascii::ascii_block;
use super::Unconvertible;
use super::entity::{Entity, Kind, Place};
use crate::message::HEADER_MAX;

/// How deep multiparts and messages may lie in each other.
const DEPTH_MAX: usize = 20;

/// A line is held until it ends or is longer than this, octets; no boundary is.
const HELD_MAX: usize = 1024;

/// Longest header block of an entity, octets: as long as a file's may be with each of its line ends doubled.
const BLOCK_MAX: usize = 2 * HEADER_MAX;

/// Who is told of what is met. Everything of the message comes by here, once and in order.
pub(super) trait Visitor {
    /// A header block with its empty line, in ASCII.
    fn header(&mut self, block: &[u8], entity: &Entity, out: &mut Vec<u8>) -> Result<(), Unconvertible>;
    /// Some of the content of the leaf whose header was the last.
    fn content(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Unconvertible>;
    /// The leaf is over; `delimited`: its last CRLF belongs to the boundary that follows.
    fn leaf_ends(&mut self, delimited: bool, out: &mut Vec<u8>);
    /// Some of what no reader shows: in front of the first boundary of a multipart and behind its last.
    fn between(&mut self, piece: &[u8], out: &mut Vec<u8>);
    /// A boundary's line.
    fn delimiter(&mut self, line: &[u8], out: &mut Vec<u8>);
}

/// Where in the message the next octet is.
#[derive(Debug)]
pub(super) struct Walk<V> {
    visitor: V,
    state: State,
    /// The multiparts that are open, the innermost last.
    levels: Vec<Level>,
    depth: usize,
    /// The beginning of the line that has not ended.
    line: Vec<u8>,
    /// The beginning of the line was handed on: its rest is no boundary.
    is_handed_on: bool,
    /// The header block so far.
    block: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header(Place),
    Leaf,
    Between,
}

#[derive(Debug)]
struct Level {
    boundary: Vec<u8>,
    is_digest: bool,
    depth: usize,
}

impl<V: Visitor> Walk<V> {
    /// At the first octet of a header.
    pub(super) fn new(visitor: V) -> Self {
        Walk {
            visitor,
            state: State::Header(Place::Message),
            levels: Vec::new(),
            depth: 0,
            line: Vec::new(),
            is_handed_on: false,
            block: Vec::new(),
        }
    }

    /// Takes the next chunk of canonical head and body; chunks may be cut anywhere.
    pub(super) fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Unconvertible> {
        let mut rest = chunk;
        while !rest.is_empty() {
            if self.levels.is_empty() && !matches!(self.state, State::Header(_)) && self.line.is_empty() {
                // No boundary can end it any more.
                return self.hand_on(rest, out);
            }
            let lf = rest.iter().position(|b| *b == b'\n');
            let (piece, after) = rest.split_at(lf.map_or(rest.len(), |at| at + 1));
            rest = after;
            self.push_piece(piece, lf.is_some(), out)?;
        }
        Ok(())
    }

    pub(super) fn visitor(&self) -> &V {
        &self.visitor
    }

    /// The message is over; gives the visitor back.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) -> Result<V, Unconvertible> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line, out)?;
        }
        match self.state {
            _ if !self.levels.is_empty() => return Err(Unconvertible::NOT_CLOSED),
            State::Header(_) => return Err(Unconvertible::MALFORMED_HEADER),
            State::Leaf => self.visitor.leaf_ends(false, out),
            State::Between => {}
        }
        Ok(self.visitor)
    }

    /// A line, or a piece of one.
    fn push_piece(&mut self, piece: &[u8], is_end: bool, out: &mut Vec<u8>) -> Result<(), Unconvertible> {
        if self.is_handed_on {
            self.is_handed_on = !is_end;
            return self.hand_on(piece, out);
        }
        if self.line.is_empty() && is_end {
            return self.take_line(piece, out);
        }
        self.line.extend_from_slice(piece);
        if is_end {
            let line = std::mem::take(&mut self.line);
            self.take_line(&line, out)?;
        } else if self.line.len() > HELD_MAX {
            let start = std::mem::take(&mut self.line);
            if self.boundary(&start)?.is_some() {
                return Err(Unconvertible::AMBIGUOUS);
            }
            self.is_handed_on = true;
            self.hand_on(&start, out)?;
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), Unconvertible> {
        if let Some(is_last) = self.boundary(line)? {
            return self.take_delimiter(line, is_last, out);
        }
        self.hand_on(line, out)?;
        match self.state {
            State::Header(place) if line == b"\r\n" => self.take_header(place, out),
            _ => Ok(()),
        }
    }

    fn hand_on(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Unconvertible> {
        match self.state {
            State::Header(_) => {
                self.block.extend_from_slice(piece);
                if self.block.len() > BLOCK_MAX { Err(Unconvertible::MALFORMED_HEADER) } else { Ok(()) }
            }
            State::Leaf => self.visitor.content(piece, out),
            State::Between => {
                self.visitor.between(piece, out);
                Ok(())
            }
        }
    }

    /// Whether the line is a boundary of the innermost multipart, and if so, whether it is its last.
    fn boundary(&self, line: &[u8]) -> Result<Option<bool>, Unconvertible> {
        let Some(text) = line.strip_prefix(b"--") else { return Ok(None) };
        let text = text.strip_suffix(b"\r\n").unwrap_or(text);
        let mut may_be_one = false;
        for (n, level) in self.levels.iter().rev().enumerate() {
            let Some(rest) = text.strip_prefix(level.boundary.as_slice()) else { continue };
            let (is_last, padding) = match rest.strip_prefix(b"--") {
                Some(padding) => (true, padding),
                None => (false, rest),
            };
            match padding.iter().all(|b| matches!(b, b' ' | b'\t')) {
                true if line.len() > HELD_MAX => return Err(Unconvertible::AMBIGUOUS),
                true if n == 0 => return Ok(Some(is_last)),
                // One further out, and the one inside is still open.
                true => return Err(Unconvertible::NOT_CLOSED),
                false => may_be_one = true,
            }
        }
        // Readers differ on a line that only begins like a boundary (RFC 2046 section 5.1.1).
        if may_be_one { Err(Unconvertible::AMBIGUOUS) } else { Ok(None) }
    }

    fn take_delimiter(&mut self, line: &[u8], is_last: bool, out: &mut Vec<u8>) -> Result<(), Unconvertible> {
        match self.state {
            State::Header(_) if !self.block.is_empty() => return Err(Unconvertible::MALFORMED_HEADER),
            State::Leaf => self.visitor.leaf_ends(true, out),
            State::Header(_) | State::Between => {}
        }
        self.visitor.delimiter(line, out);
        let Some(level) = self.levels.last() else { return Ok(()) };
        self.depth = level.depth;
        if is_last {
            self.levels.pop();
            self.state = State::Between;
        } else {
            self.state = State::Header(if level.is_digest { Place::DigestPart } else { Place::Part });
        }
        Ok(())
    }

    fn take_header(&mut self, place: Place, out: &mut Vec<u8>) -> Result<(), Unconvertible> {
        let mut block = std::mem::take(&mut self.block);
        if !block.is_ascii() {
            block = ascii_block(&block)?;
        }
        let entity = Entity::read(&block, place)?;
        self.visitor.header(&block, &entity, out)?;
        if matches!(entity.kind, Kind::Multipart { .. } | Kind::Message) {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(Unconvertible::TOO_DEEP);
            }
        }
        self.state = match entity.kind {
            Kind::Multipart { boundary, is_digest } => {
                if self.levels.iter().any(|level| level.boundary == boundary) {
                    return Err(Unconvertible::AMBIGUOUS);
                }
                self.levels.push(Level { boundary, is_digest, depth: self.depth });
                State::Between
            }
            Kind::Message => State::Header(Place::Message),
            Kind::Leaf { .. } | Kind::Opaque(_) => State::Leaf,
        };
        Ok(())
    }
}
