//! The tokens of structured fields (RFC 5322 section 3.2): white space and comments are gone.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A run of atext, and of any octet above 127 (RFC 6532 section 3.2).
    Atom,
    /// A quoted string with its quotes.
    Quoted,
    /// `[...]`, as it stands.
    Literal,
    /// One of `. , : ; @ < >`.
    Special(u8),
    /// What cannot be part of a list, with the reason.
    Bad(&'static str),
    /// Nothing is left.
    End,
}

/// One token and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Reads each octet once and never goes back: what is not closed runs to the end of the field, so that no
/// text between quotes is ever taken for an address because one quote is missing.
pub(super) struct Lexer<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Lexer<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Lexer { bytes, at: 0 }
    }

    pub(super) fn next(&mut self) -> Token {
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'(' => {
                    let start = self.at;
                    if !self.skip_comment() {
                        return self.token(start, Kind::Bad("a comment that is not closed"));
                    }
                }
                _ => return self.visible(*byte),
            }
        }
        self.token(self.at, Kind::End)
    }

    fn visible(&mut self, byte: u8) -> Token {
        let start = self.at;
        let kind = match byte {
            b'"' if self.skip_past(b'"') => Kind::Quoted,
            b'"' => Kind::Bad("a quoted string that is not closed"),
            b'[' if self.skip_past(b']') => Kind::Literal,
            b'[' => Kind::Bad("a bracket that is not closed"),
            _ => {
                self.at += 1;
                match byte {
                    b'.' | b',' | b':' | b';' | b'@' | b'<' | b'>' => Kind::Special(byte),
                    b')' => Kind::Bad("a stray \")\""),
                    b']' => Kind::Bad("a stray \"]\""),
                    b'\\' => Kind::Bad("a stray backslash"),
                    0..=0x1F | 0x7F => Kind::Bad("a control character"),
                    _ => {
                        let rest = &self.bytes[self.at..];
                        self.at += rest.iter().position(|b| !is_atext(*b)).unwrap_or(rest.len());
                        Kind::Atom
                    }
                }
            }
        };
        self.token(start, kind)
    }

    /// Skips what `close` closes; a backslash takes the meaning from the octet behind it.
    fn skip_past(&mut self, close: u8) -> bool {
        self.at += 1;
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'\\' => self.at += 1,
                b if *b == close => {
                    self.at += 1;
                    return true;
                }
                _ => {}
            }
            self.at += 1;
        }
        self.at = self.bytes.len();
        false
    }

    /// Comments nest: counted, not recursed into.
    fn skip_comment(&mut self) -> bool {
        let mut depth = 0_usize;
        while let Some(byte) = self.bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return true;
            }
        }
        self.at = self.bytes.len();
        false
    }

    fn token(&self, start: usize, kind: Kind) -> Token {
        Token { kind, start, end: self.at }
    }
}

/// Everything that is neither special, white space nor control character; 8-bit octets are judged later.
fn is_atext(byte: u8) -> bool {
    !matches!(byte, 0..=b' ' | 0x7F) && !b"()<>[]:;@\\,.\"".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut lexer = Lexer::new(text.as_bytes());
        let mut out = Vec::new();
        loop {
            let token = lexer.next();
            let part = text.get(token.start..token.end).unwrap_or("?");
            match token.kind {
                Kind::End => return out.join(" "),
                Kind::Bad(why) => out.push(format!("{{{why}: {part}}}")),
                Kind::Special(_) => out.push(part.to_owned()),
                kind => out.push(format!("{kind:?}={part}")),
            }
        }
    }

    #[test]
    fn tokens_are_found_and_what_is_not_closed_runs_to_the_end() {
        let rows = [
            ("a.b@c", "Atom=a . Atom=b @ Atom=c"),
            ("a(x(y)\\)z)b", "Atom=a Atom=b"),
            ("\"a\\\"b\"c", "Quoted=\"a\\\"b\" Atom=c"),
            ("a\r\n\t@ [ x ]", "Atom=a @ Literal=[ x ]"),
            ("x,\"a, b", "Atom=x , {a quoted string that is not closed: \"a, b}"),
            ("x(a(b), c", "Atom=x {a comment that is not closed: (a(b), c}"),
            ("[a, \"b\\]", "{a bracket that is not closed: [a, \"b\\]}"),
            ("(\\", "{a comment that is not closed: (\\}"),
            ("\"\\", "{a quoted string that is not closed: \"\\}"),
            ("a\u{1}b)", "Atom=a {a control character: \u{1}} Atom=b {a stray \")\": )}"),
        ];
        for (text, want) in rows {
            assert_eq!(shown(text), want, "{text:?}");
        }
    }
}
