//! Bytes to replies (RFC 5321 section 4.2), lenient where servers are known to stray.

use std::fmt;

use crate::mail::{EnhancedStatusCode, Reply};

/// The longest line taken. RFC 5321 section 4.5.3.1.5 allows 512 octets; real servers exceed that.
const MAX_LINE: usize = 4096;
/// The most a reply may come to, all its lines together.
const MAX_REPLY: usize = 64 * 1024;
/// The most lines of one reply.
const MAX_LINES: usize = 512;

/// Collects bytes and gives whole replies. What follows a reply stays for the next call.
///
/// Tolerated: a reply without text, a bare LF as line end, bytes that are not UTF-8 and control
/// characters (both replaced by U+FFFD), any code from 100 to 999.
#[derive(Default)]
pub struct ReplyParser {
    buffer: Vec<u8>,
    lines: Vec<String>,
    code: Option<u16>,
    octets: usize,
}

/// Bytes that are no reply: "expected X, found Y". The stream is out of step from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyError(String);

impl ReplyParser {
    /// Takes what the server sent.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether nothing at all lies here, not even a part of a reply.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.lines.is_empty()
    }

    /// The next whole reply; `None` if more bytes are needed.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, ReplyError> {
        loop {
            let end = self.buffer.iter().take(MAX_LINE).position(|&b| b == b'\n');
            let Some(end) = end else {
                return if self.buffer.len() < MAX_LINE {
                    Ok(None)
                } else {
                    Err(ReplyError(format!(
                        "expected a reply line of at most {MAX_LINE} octets, found a longer one"
                    )))
                };
            };
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            self.octets += line.len();
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if self.take_line(line)? {
                return Ok(Some(self.finish()));
            }
        }
    }

    /// Whether this line was the last one of its reply.
    fn take_line(&mut self, line: &[u8]) -> Result<bool, ReplyError> {
        let (code, last, text) = split_line(line)?;
        match self.code {
            Some(first) if first != code => {
                return Err(ReplyError(format!("expected {first} on every line of the reply, found {code}")));
            }
            _ => self.code = Some(code),
        }
        if self.octets > MAX_REPLY || self.lines.len() == MAX_LINES {
            return Err(ReplyError(format!(
                "expected a reply of at most {MAX_LINES} lines and {MAX_REPLY} octets, found a longer one"
            )));
        }
        self.lines.push(printable(text));
        Ok(last)
    }

    /// The collected lines as a reply, with the enhanced code of its first line (RFC 2034 section 4)
    /// taken off every line that repeats it.
    fn finish(&mut self) -> Reply {
        let code = self.code.take().unwrap_or_default();
        let mut text = std::mem::take(&mut self.lines);
        self.octets = 0;
        let first_word = text.first().and_then(|line| line.split(' ').next()).unwrap_or_default().to_owned();
        let enhanced: Option<EnhancedStatusCode> =
            if matches!(code / 100, 2 | 4 | 5) { first_word.parse().ok() } else { None };
        if enhanced.is_some() {
            for line in &mut text {
                match line.strip_prefix(first_word.as_str()) {
                    Some("") => line.clear(),
                    Some(rest) if rest.starts_with(' ') => *line = rest.trim_start().to_owned(),
                    _ => {}
                }
            }
        }
        Reply { code, enhanced, text }
    }
}

/// Code, whether it is the last line, text.
fn split_line(line: &[u8]) -> Result<(u16, bool, &[u8]), ReplyError> {
    let (digits, rest) = line.split_at(line.len().min(3));
    if digits.len() < 3 || !digits.iter().all(u8::is_ascii_digit) || digits[0] == b'0' {
        return Err(ReplyError(format!("expected a reply code of three digits, found {}", quoted(line))));
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match rest.split_first() {
        None => Ok((code, true, b"")),
        Some((b' ', text)) => Ok((code, true, text)),
        Some((b'-', text)) => Ok((code, false, text)),
        Some(_) => {
            Err(ReplyError(format!("expected a space or a hyphen behind the code, found {}", quoted(line))))
        }
    }
}

/// Safe to show and to log, whatever the server sent.
fn printable(text: &[u8]) -> String {
    let replace = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(text).chars().map(replace).collect()
}

fn quoted(line: &[u8]) -> String {
    format!("\"{}\"", printable(&line[..line.len().min(60)]))
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReplyError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Vec<Reply>, String> {
        let mut parser = ReplyParser::default();
        parser.push(bytes);
        let mut replies = Vec::new();
        while let Some(reply) = parser.next_reply().map_err(|e| e.to_string())? {
            replies.push(reply);
        }
        Ok(replies)
    }

    #[test]
    fn replies_are_framed_by_their_lines() {
        let replies =
            parse(b"250\r\n550-5.1.1 no\r\n550-5.1.1\r\n550 5.1.1  such user\n354 2.0.0 go\r\n25").unwrap();
        assert_eq!(replies.len(), 3);
        assert_eq!((replies[0].code, replies[0].text.as_slice()), (250, &[String::new()][..]));
        assert_eq!(replies[1].text, ["no", "", "such user"]);
        assert_eq!(replies[1].to_string(), "550 5.1.1 no such user");
        assert_eq!((replies[2].enhanced, replies[2].text[0].as_str()), (None, "2.0.0 go"));
    }

    #[test]
    fn what_cannot_be_shown_is_replaced() {
        let replies = parse(b"571 Empf\xe4nger\x1b[2J\0\r\n").unwrap();
        assert_eq!(replies[0].to_string(), "571 Empf\u{fffd}nger\u{fffd}[2J\u{fffd}");
    }

    #[test]
    fn codes_without_three_digits_and_mixed_codes_are_bad() {
        for bytes in
            ["25 ok\r\n", "099 x\r\n", "2500 x\r\n", "\r\n", "hello\r\n", "250-a\r\n354 b\r\n", "+25 x\r\n"]
        {
            assert!(parse(bytes.as_bytes()).is_err(), "{bytes:?} was taken");
        }
        for (bytes, code) in [("100 x\n", 100), ("999 x\n", 999), ("571\n", 571)] {
            assert_eq!(parse(bytes.as_bytes()).unwrap()[0].code, code);
        }
    }

    #[test]
    fn a_reply_has_bounds_in_lines_and_octets() {
        let line = |text: usize| format!("250-{}\r\n", "x".repeat(text)).into_bytes();
        assert_eq!(parse(&line(4090)), Ok(vec![]), "4096 octets are a line");
        assert!(parse(&line(4091)).is_err());
        assert!(parse(&vec![b'2'; 4095]).is_ok());
        assert!(parse(&vec![b'2'; 4096]).is_err(), "no line end comes any more");
        assert!(parse(&b"250-x\r\n".repeat(512)).is_ok());
        assert!(parse(&b"250-x\r\n".repeat(513)).is_err());
        assert!(parse(&line(4000).repeat(17)).is_err());
    }
}
