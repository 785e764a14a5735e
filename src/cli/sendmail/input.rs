//! Where a message ends: at the end of stdin, or at a line with a lone dot.

use std::io::{self, Read};

/// Finds the line that holds a dot and nothing else, as mail programs of old end a message with it. Lines end in LF, with or
/// without a CR in front. It and what follows belong to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoneDot(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    LineStart,
    Dot,
    DotCr,
    Within,
    Found,
}

impl LoneDot {
    /// At the beginning of a message.
    pub fn new() -> LoneDot {
        LoneDot(State::LineStart)
    }

    /// Appends what belongs to the message. False once the dot was found.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        for &byte in bytes {
            self.0 = match (self.0, byte) {
                (State::Found, _) => return false,
                (State::LineStart, b'.') => State::Dot,
                (State::Dot, b'\r') => State::DotCr,
                (State::Dot | State::DotCr, b'\n') => {
                    self.0 = State::Found;
                    return false;
                }
                (state, _) => {
                    out.extend_from_slice(state.held());
                    out.push(byte);
                    if byte == b'\n' { State::LineStart } else { State::Within }
                }
            };
        }
        true
    }
}

impl Default for LoneDot {
    fn default() -> Self {
        LoneDot::new()
    }
}

impl State {
    /// What was kept back, as it might have been the end. At the end of stdin it was.
    fn held(self) -> &'static [u8] {
        match self {
            State::Dot => b".",
            State::DotCr => b".\r",
            State::LineStart | State::Within | State::Found => b"",
        }
    }
}

/// A message on stdin, piece by piece.
pub(super) struct Input<R> {
    from: R,
    dot: Option<LoneDot>,
    piece: Vec<u8>,
    has_ended: bool,
}

const PIECE: usize = 64 * 1024;

impl<R: Read> Input<R> {
    pub(super) fn new(from: R, ignores_dots: bool) -> Input<R> {
        let dot = (!ignores_dots).then(LoneDot::new);
        Input { from, dot, piece: vec![0; PIECE], has_ended: false }
    }

    /// Appends the next piece. False behind the last.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        if self.has_ended {
            return Ok(false);
        }
        let read = loop {
            match self.from.read(&mut self.piece) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.has_ended = match &mut self.dot {
            _ if read == 0 => true,
            Some(dot) => !dot.push(&self.piece[..read], out),
            None => {
                out.extend_from_slice(&self.piece[..read]);
                false
            }
        };
        Ok(!self.has_ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of `text`, in pieces of each size.
    fn read(text: &str, ignores_dots: bool) -> String {
        let mut seen = Vec::new();
        for size in 1..=text.len().max(1) {
            struct Pieces<'a>(&'a [u8], usize);
            impl Read for Pieces<'_> {
                fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                    let (now, later) = self.0.split_at(self.1.min(self.0.len()));
                    buffer[..now.len()].copy_from_slice(now);
                    self.0 = later;
                    Ok(now.len())
                }
            }
            let mut input = Input::new(Pieces(text.as_bytes(), size), ignores_dots);
            let mut out = Vec::new();
            while input.next(&mut out).unwrap() {}
            seen.push(String::from_utf8(out).unwrap());
        }
        assert!(seen.windows(2).all(|two| two[0] == two[1]), "{seen:?}");
        seen.pop().unwrap()
    }

    #[test]
    fn a_lone_dot_ends_the_message_unless_it_is_told_not_to() {
        let rows = [
            ("a\n.\nb\n", "a\n"),
            ("a\r\n.\r\nb", "a\r\n"),
            ("a\r\n.\nb", "a\r\n"),
            ("a\n.", "a\n"),
            ("a\n.\r", "a\n"),
            (".\na", ""),
            ("..\n.a\n. \na.\n.\rb\n", "..\n.a\n. \na.\n.\rb\n"),
            ("a\r.\r\n", "a\r.\r\n"),
            ("", ""),
        ];
        for (text, want) in rows {
            assert_eq!(read(text, false), want, "{text:?}");
            assert_eq!(read(text, true), text);
        }
    }
}
