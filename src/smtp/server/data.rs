//! What follows 354: the message up to its final dot.

/// Reads the data of a message, removes stuffed dots, and finds the end (RFC 5321 sections 4.1.1.4 and 4.5.2).
///
/// Only CRLF ends a line. A dot behind a bare LF or a bare CR is a character like any other; a reader that takes it for the end can
/// be made to see a second message that nobody sent. Where the client ends its commands in LF, it is the other way round: LF ends
/// a line, with or without a CR in front.
#[derive(Debug)]
pub struct Data {
    state: State,
    is_lf: bool,
}

/// Named for what was read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A line end, or nothing yet.
    LineStart,
    /// A dot at the start of a line.
    Dot,
    /// A dot at the start of a line, and CR.
    DotCr,
    /// Anything else.
    Within,
    /// CR, not behind a dot at the start of a line.
    Cr,
}

impl Data {
    /// At the beginning; `is_lf` if the client ends its lines in LF.
    pub fn new(is_lf: bool) -> Data {
        Data { state: State::LineStart, is_lf }
    }

    /// Takes from the front of `input` what belongs to the message, and appends it to `out`. True once the final dot was read; the
    /// rest of `input` then is the next command.
    pub fn read(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> bool {
        while let Some((&byte, rest)) = input.split_first() {
            if self.state == State::Within && !matches!(byte, b'\r' | b'\n') {
                let run = input.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(input.len());
                let (plain, rest) = input.split_at(run);
                out.extend_from_slice(plain);
                *input = rest;
                continue;
            }
            *input = rest;
            let mut keep = |bytes: &[u8], next| {
                out.extend_from_slice(bytes);
                next
            };
            self.state = match (self.state, byte) {
                (State::LineStart, b'.') => State::Dot,
                (State::Dot, b'\r') => State::DotCr,
                (State::DotCr, b'\n') => return true,
                (State::Dot, b'\n') if self.is_lf => return true,
                (State::DotCr, b'\r') => keep(b"\r\r", State::Cr),
                (State::DotCr, other) => keep(&[b'\r', other], State::Within),
                (State::LineStart | State::Within | State::Cr, b'\r') => keep(b"\r", State::Cr),
                (State::Cr, b'\n') => keep(b"\n", State::LineStart),
                (State::LineStart | State::Within, b'\n') if self.is_lf => keep(b"\n", State::LineStart),
                (State::LineStart | State::Dot | State::Within | State::Cr, other) => {
                    keep(&[other], State::Within)
                }
            };
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message and what is left behind its end, fed in pieces of each size. With CRLF it is `catch/text.rs` that tests it.
    fn read(sent: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut seen = Vec::new();
        for size in 1..=sent.len() {
            let (mut data, mut out, mut found) = (Data::new(true), Vec::new(), None);
            for (n, piece) in sent.chunks(size).enumerate() {
                let mut input = piece;
                if data.read(&mut input, &mut out) {
                    found = Some((out.clone(), sent[n * size + piece.len() - input.len()..].to_vec()));
                    break;
                }
            }
            seen.push(found);
        }
        assert!(seen.windows(2).all(|w| w[0] == w[1]), "the pieces made a difference: {seen:?}");
        seen.pop().unwrap()
    }

    #[test]
    fn a_client_of_lf_ends_in_lf() {
        let rows: [(&[u8], &[u8], &[u8]); 5] = [
            (b"a\n.\nQUIT\n", b"a\n", b"QUIT\n"),
            (b"..a\n..\n.\n", b".a\n.\n", b""),
            (b".\n", b"", b""),
            (b"a\r\n.\r\nx", b"a\r\n", b"x"),
            (b"a\r.\n\r.\n.\n", b"a\r.\n\r.\n", b""),
        ];
        for (sent, message, rest) in rows {
            assert_eq!(read(sent), Some((message.to_vec(), rest.to_vec())), "{sent:?}");
        }
        for open in [&b"a.\n"[..], b"a\n..\n", b"a\n.b\n", b"a\r.\r"] {
            assert_eq!(read(open), None, "{open:?}");
        }
    }
}
