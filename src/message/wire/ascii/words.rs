//! Encoded words (RFC 2047), and lines that are folded at 76.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Longest line that has an encoded word in it, without its CRLF (RFC 2047 section 2).
const LINE_MAX: usize = 76;

/// With less room than this a line is folded before an encoded word, octets.
const ROOM_MIN: usize = 32;

/// A field that is being written.
pub(super) struct Folded<'a> {
    out: &'a mut Vec<u8>,
    column: usize,
}

/// A word of running text or of a phrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word<'a> {
    /// The white space in front of it, with what folds it.
    pub(super) blank: &'a [u8],
    /// As it is written.
    pub(super) raw: &'a [u8],
    /// What it says: without quotes.
    pub(super) text: Vec<u8>,
}

impl Word<'_> {
    fn is_encoded(&self) -> bool {
        self.raw.starts_with(b"=?") && self.raw.ends_with(b"?=")
    }

    /// The white space as it is read: unfolded.
    fn space(&self) -> Vec<u8> {
        self.blank.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect()
    }
}

impl<'a> Folded<'a> {
    /// Begins with what stands in front of the value: the name and the colon.
    pub(super) fn new(name: &[u8], out: &'a mut Vec<u8>) -> Self {
        out.extend_from_slice(name);
        Folded { out, column: name.len() }
    }

    /// Writes something that is not divided. Its white space folds where there is no room.
    pub(super) fn put(&mut self, blank: &[u8], token: &[u8]) {
        let is_folded = blank.contains(&b'\n');
        let too_long = self.column + blank.len() + token.len() > LINE_MAX;
        if too_long && !is_folded && !blank.is_empty() && self.column > 0 {
            self.raw(b"\r\n");
        }
        self.raw(blank);
        self.raw(token);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        match bytes.iter().rposition(|b| *b == b'\n') {
            Some(lf) => self.column = bytes.len() - lf - 1,
            None => self.column += bytes.len(),
        }
    }

    /// Writes words, those that are not ASCII as encoded words. White space between two of these is not read (RFC 2047
    /// section 6.2), and so is part of what they say.
    pub(super) fn words(&mut self, words: &[Word<'_>]) {
        let mut at = 0;
        while let Some(word) = words.get(at) {
            if word.raw.is_ascii() {
                self.put(word.blank, word.raw);
                at += 1;
                continue;
            }
            let run = words[at..].iter().take_while(|word| !word.raw.is_ascii()).count();
            let mut text = Vec::new();
            if at > 0 && words[at - 1].is_encoded() {
                text.extend(word.space());
            }
            text.extend_from_slice(&word.text);
            for next in &words[at + 1..at + run] {
                text.extend(next.space());
                text.extend_from_slice(&next.text);
            }
            if let Some(next) = words.get(at + run).filter(|next| next.is_encoded()) {
                text.extend(next.space());
            }
            self.encoded(word.blank, &text);
            at += run;
        }
    }

    /// Writes `text` as one encoded word, or several if it is long.
    pub(super) fn encoded(&mut self, blank: &[u8], text: &[u8]) {
        let is_utf8 = std::str::from_utf8(text).is_ok();
        let charset = if is_utf8 { "utf-8" } else { "unknown-8bit" };
        // What can mostly be read stays so.
        let plain = text.iter().filter(|b| is_plain(**b) || **b == b' ').count();
        let is_quoted = plain * 2 >= text.len();
        let prefix = format!("=?{charset}?{}?", if is_quoted { 'q' } else { 'b' });
        let (mut rest, mut blank) = (text, blank);
        while !rest.is_empty() {
            let used = if blank.contains(&b'\n') { 1 } else { self.column + blank.len() };
            let room = LINE_MAX.saturating_sub(used);
            let room = if room < ROOM_MIN { LINE_MAX - 1 } else { room };
            let most = room - prefix.len() - "?=".len();
            let taken = fitting(rest, is_utf8, is_quoted, most);
            let word = if is_quoted { quoted(&rest[..taken]) } else { STANDARD.encode(&rest[..taken]) };
            self.put(blank, format!("{prefix}{word}?=").as_bytes());
            rest = &rest[taken..];
            blank = b"\r\n ";
        }
    }
}

/// How much of `text` fits into so many encoded octets: whole characters, one at least.
fn fitting(text: &[u8], is_utf8: bool, is_quoted: bool, most: usize) -> usize {
    let (mut end, mut width) = (0, 0);
    while end < text.len() {
        let is_inside = |b: &u8| is_utf8 && *b & 0xC0 == 0x80;
        let len = 1 + text[end + 1..].iter().take_while(|b| is_inside(b)).count();
        width += match is_quoted {
            true => quoted(&text[end..end + len]).len(),
            false => len,
        };
        let encoded = if is_quoted { width } else { width.div_ceil(3) * 4 };
        if encoded > most && end > 0 {
            break;
        }
        end += len;
    }
    end
}

/// What the encoding Q leaves as it is everywhere, in phrases too (RFC 2047 section 5 rule 3).
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!*+-/".contains(&byte)
}

fn quoted(text: &[u8]) -> String {
    let mut out = String::new();
    for byte in text {
        match byte {
            b' ' => out.push('_'),
            byte if is_plain(*byte) => out.push(char::from(*byte)),
            byte => out.push_str(&format!("={byte:02X}")),
        }
    }
    out
}
