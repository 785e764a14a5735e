//! The header block of a dropped file as ranges of its bytes.

use super::{Refusal, excerpt, injected};

/// Longest header block that is read, octets; a longer one is refused with that reason.
pub const HEADER_MAX: usize = 1 << 20;

/// Longest name of a field, octets: as much as a whole line may have (RFC 5322 section 2.1.1). What runs on
/// for longer without a colon is text, however it began.
const NAME_MAX: usize = 998;

/// The UTF-8 byte order mark, which some producers write in front of everything.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What a scan of the beginning of a file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scan {
    /// The header block does not end in these bytes: scan again with more of the file.
    NeedMore,
    /// The whole header block.
    Done(Header),
}

/// Where the fields of a file are. It holds ranges only; the methods that want `bytes` want the beginning of
/// the same file, at least up to [`Header::body_offset`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    fields: Vec<Field>,
    injected: usize,
    body_offset: usize,
    body_line: u64,
    is_all: bool,
}

/// One field with its folded lines and its line end.
///
/// Offsets are 32 bits wide, so that a header block full of tiny fields costs a few megabytes and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    line: u32,
    start: u32,
    name_end: u32,
    value_start: u32,
    value_end: u32,
    end: u32,
}

impl Header {
    /// Reads the header block at the beginning of a file. `prefix` always starts with the file's first byte;
    /// `at_end` tells that it is the whole file. A scan starts from the beginning, so let the prefix grow by
    /// doubling.
    ///
    /// Lines end in CRLF, LF or a bare CR, in any mixture. An mbox `From ` line and a UTF-8 byte order mark
    /// in front belong to no field. A line that is neither a field nor the continuation of one ends the block
    /// and is the first line of the body: text is never lost to a forgotten empty line.
    ///
    /// # Errors
    /// An empty file, no header at all, a block longer than [`HEADER_MAX`], a NUL.
    pub fn scan(prefix: &[u8], at_end: bool) -> Result<Scan, Refusal> {
        let cut = &prefix[..prefix.len().min(HEADER_MAX + 1)];
        let scanned = Scanner { bytes: cut, at_end: at_end && cut.len() == prefix.len() }.run()?;
        let too_long = match &scanned {
            Some(header) => header.body_offset > HEADER_MAX,
            None => cut.len() > HEADER_MAX,
        };
        if too_long {
            let reason =
                format!("expected a header block of at most {HEADER_MAX} octets, found a longer one");
            return Err(Refusal { line: None, reason });
        }
        Ok(scanned.map_or(Scan::NeedMore, Scan::Done))
    }

    /// Where the body begins: behind the empty line, or at the line that ended the block instead of one.
    pub fn body_offset(&self) -> usize {
        self.body_offset
    }

    /// The line of the file, counted from 1, in which the body begins.
    pub fn body_line(&self) -> u64 {
        self.body_line
    }

    /// Whether the file ends with its last field: there is no body, nor the empty line in front of one.
    pub fn is_all(&self) -> bool {
        self.is_all
    }

    /// All fields, in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The block of `X-Sender`, `X-Receiver` and other injected lines at the very top: the envelope of a
    /// pickup folder. Empty where there is none.
    pub fn injected(&self) -> &[Field] {
        &self.fields[..self.injected]
    }

    /// The fields behind the injected block: those of the message itself.
    pub fn own(&self) -> &[Field] {
        &self.fields[self.injected..]
    }

    /// The same header where the envelope came beside the message: then a block at the top is none, and its lines are the
    /// message's own.
    #[must_use]
    pub fn without_block(self) -> Header {
        Header { injected: 0, ..self }
    }

    /// Whether the message itself has a field of that name.
    pub fn has(&self, name: &str, bytes: &[u8]) -> bool {
        self.own().iter().any(|field| field.is(name, bytes))
    }
}

impl Field {
    /// The line of the file in which it begins, counted from 1.
    pub fn line(&self) -> u64 {
        u64::from(self.line)
    }

    /// Everything: name, colon, value, folded lines, line end.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The name, without white space in front of the colon (RFC 5322 section 4.5 still allows it).
    pub fn name<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.start as usize..self.name_end as usize]
    }

    /// What is behind the colon, still folded, without the last line end.
    pub fn value<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.value_start as usize..self.value_end as usize]
    }

    /// Where [`Field::value`] is.
    pub(super) fn value_range(&self) -> std::ops::Range<usize> {
        self.value_start as usize..self.value_end as usize
    }

    /// Whether it has that name, in any case.
    pub fn is(&self, name: &str, bytes: &[u8]) -> bool {
        self.name(bytes).eq_ignore_ascii_case(name.as_bytes())
    }

    /// Whether its name begins like that, in any case.
    pub(super) fn has_prefix(&self, prefix: &str, bytes: &[u8]) -> bool {
        self.name(bytes).get(..prefix.len()).is_some_and(|p| p.eq_ignore_ascii_case(prefix.as_bytes()))
    }
}

struct Scanner<'b> {
    bytes: &'b [u8],
    at_end: bool,
}

/// A line by its beginning.
enum Line {
    /// Its end or its colon is not in the bytes yet.
    Unknown,
    Empty,
    Continuation,
    Field {
        name_end: usize,
        value_start: usize,
    },
    Text,
}

impl Scanner<'_> {
    /// `None`: the bytes end before the block does.
    fn run(&self) -> Result<Option<Header>, Refusal> {
        if self.bytes.is_empty() && self.at_end {
            return Err(Refusal { line: None, reason: "expected a message, found an empty file".into() });
        }
        if BYTE_ORDER_MARK.starts_with(self.bytes) && !self.at_end {
            return Ok(None);
        }
        let mut at = if self.bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let mut line = 1;
        if is_mbox_line(&self.bytes[at..]) {
            let Some((_, next)) = self.line_end(at) else { return Ok(None) };
            (at, line) = (next, 2);
        }
        let mut fields: Vec<Field> = Vec::new();
        loop {
            if at == self.bytes.len() && self.at_end {
                let header = self.done(fields, at, line, line)?;
                return Ok(Some(Header { is_all: true, ..header }));
            }
            let kind = self.line(at);
            if let (Line::Text, false) = (&kind, fields.is_empty()) {
                return self.done(fields, at, line, line).map(Some);
            }
            let Some((text_end, next)) = self.line_end(at) else {
                if let Line::Text = kind {
                    return Err(self.no_header(at, line));
                }
                return Ok(None);
            };
            match (kind, fields.last_mut()) {
                (Line::Unknown, _) => return Ok(None),
                (Line::Field { name_end, value_start }, _) => fields.push(Field {
                    line,
                    start: at as u32,
                    name_end: name_end as u32,
                    value_start: value_start as u32,
                    value_end: text_end as u32,
                    end: next as u32,
                }),
                (Line::Continuation, Some(last)) => {
                    (last.value_end, last.end) = (text_end as u32, next as u32)
                }
                (Line::Empty, Some(_)) => return self.done(fields, next, line, line + 1).map(Some),
                (Line::Empty | Line::Continuation | Line::Text, _) => return Err(self.no_header(at, line)),
            }
            (at, line) = (next, line + 1);
        }
    }

    fn done(&self, fields: Vec<Field>, at: usize, line: u32, body_line: u32) -> Result<Header, Refusal> {
        if fields.is_empty() {
            return Err(self.no_header(at, line));
        }
        let nul_in = |field: &&Field| field.value(self.bytes).contains(&0);
        if let Some(field) = fields.iter().find(nul_in) {
            let before = field.value(self.bytes).split(|b| *b == 0).next().unwrap_or_default();
            return Err(Refusal::at(field.line() + line_ends(before), super::wire::NUL_REASON));
        }
        let injected = injected::block_len(&fields, self.bytes);
        Ok(Header { fields, injected, body_offset: at, body_line: u64::from(body_line), is_all: false })
    }

    /// Where the text of the line ends, and where the next line begins; `None` if that is not known yet.
    fn line_end(&self, at: usize) -> Option<(usize, usize)> {
        let rest = &self.bytes[at..];
        let Some(end) = super::wire::find_line_end(rest) else {
            return self.at_end.then_some((self.bytes.len(), self.bytes.len()));
        };
        match (rest[end], rest.get(end + 1)) {
            (b'\r', Some(b'\n')) => Some((at + end, at + end + 2)),
            // It may be the first half of a CRLF.
            (b'\r', None) if !self.at_end => None,
            _ => Some((at + end, at + end + 1)),
        }
    }

    fn line(&self, at: usize) -> Line {
        let rest = &self.bytes[at..];
        match rest.first() {
            None => return Line::Unknown,
            Some(b'\r' | b'\n') => return Line::Empty,
            Some(b' ' | b'\t') => return Line::Continuation,
            Some(_) => {}
        }
        // ftext: printable US-ASCII except the colon (RFC 5322 section 3.6.8).
        let name = rest.iter().take_while(|b| b.is_ascii_graphic() && **b != b':').count();
        let blank = rest[name..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        match rest.get(name + blank) {
            _ if name == 0 || name > NAME_MAX => Line::Text,
            Some(b':') => Line::Field { name_end: at + name, value_start: at + name + blank + 1 },
            None if !self.at_end => Line::Unknown,
            _ => Line::Text,
        }
    }

    fn no_header(&self, at: usize, line: u32) -> Refusal {
        let end = super::wire::find_line_end(&self.bytes[at..]).map_or(self.bytes.len(), |n| at + n);
        let found = if self.bytes.starts_with(b"\xFF\xFE") || self.bytes.starts_with(b"\xFE\xFF") {
            "text in UTF-16".to_owned()
        } else if end == at {
            "an empty line".to_owned()
        } else {
            format!("{:?}", excerpt(&self.bytes[at..end], 60))
        };
        Refusal::at(
            u64::from(line),
            format!("expected a header field such as \"To: name@example.com\", found {found}"),
        )
    }
}

/// `From ` in front of everything, as in an mbox (RFC 4155), or `>From ` as some delivery agents leave it;
/// but not the obsolete `From : a@b`.
fn is_mbox_line(bytes: &[u8]) -> bool {
    let Some(rest) = bytes.strip_prefix(b"From ").or_else(|| bytes.strip_prefix(b">From ")) else {
        return false;
    };
    rest.iter().find(|b| !matches!(b, b' ' | b'\t')) != Some(&b':')
}

/// How many lines end in these bytes; a CRLF is one end.
pub(super) fn line_ends(bytes: &[u8]) -> u64 {
    let pairs = bytes.windows(2).filter(|pair| pair == b"\r\n").count();
    let single = bytes.iter().filter(|b| matches!(b, b'\r' | b'\n')).count();
    (single - pairs) as u64
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
