//! Lines that end in CRLF, whatever they ended in.

use super::find::find_line_end;

/// Turns each CRLF, bare CR and bare LF into one CRLF, over chunks cut anywhere. What comes out has no CR
/// and no LF on its own, so that nothing in a message can end its data early (RFC 5321 sections 2.3.8 and
/// 4.1.1.4).
#[derive(Debug, Clone, Default)]
pub struct Canonical {
    /// The last octet was a CR, and its CRLF is written: an LF that follows belongs to it.
    after_cr: bool,
    /// Text was written that no line end closes yet.
    in_line: bool,
}

impl Canonical {
    /// At the beginning of a line.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the canonical form of the next chunk to `out`.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let Some(last) = chunk.last() else { return };
        out.reserve(chunk.len() + chunk.len() / 32 + 2);
        let mut run = usize::from(self.after_cr && chunk[0] == b'\n');
        let mut at = run;
        while let Some(found) = find_line_end(&chunk[at..]) {
            let end = at + found;
            if chunk[end] == b'\r' && chunk.get(end + 1) == Some(&b'\n') {
                // Canonical already: it is copied with its neighbours.
                at = end + 2;
                continue;
            }
            out.extend_from_slice(&chunk[run..end]);
            out.extend_from_slice(b"\r\n");
            run = end + 1;
            at = run;
        }
        out.extend_from_slice(&chunk[run..]);
        self.after_cr = *last == b'\r';
        self.in_line = !matches!(last, b'\r' | b'\n');
    }

    /// Ends the last line, if nothing ended it.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.in_line {
            out.extend_from_slice(b"\r\n");
        }
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(chunks: &[&[u8]]) -> Vec<u8> {
        let (mut state, mut out) = (Canonical::new(), Vec::new());
        for chunk in chunks {
            state.push(chunk, &mut out);
        }
        state.finish(&mut out);
        out
    }

    #[test]
    fn each_line_end_becomes_one_crlf() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"", b""),
            (b"a", b"a\r\n"),
            (b"a\n", b"a\r\n"),
            (b"a\r", b"a\r\n"),
            (b"a\r\n", b"a\r\n"),
            (b"\r\r\n", b"\r\n\r\n"),
            (b"\n\r", b"\r\n\r\n"),
            (b"\r\n\n\r\r\n\n", b"\r\n\r\n\r\n\r\n\r\n"),
            (b"a\n.\nMAIL FROM:<x@y>\r.\rb", b"a\r\n.\r\nMAIL FROM:<x@y>\r\n.\r\nb\r\n"),
            (
                b"long enough for words\rof eight\noctets\r\n\xff\x00",
                b"long enough for words\r\nof eight\r\noctets\r\n\xff\x00\r\n",
            ),
        ];
        for (text, want) in rows {
            assert_eq!(canonical(&[text]).escape_ascii().to_string(), want.escape_ascii().to_string());
        }
    }

    /// Every text of up to six of these octets, cut at every place and fed octet by octet.
    #[test]
    fn no_cut_changes_anything_and_no_bare_cr_or_lf_comes_out() {
        for len in 0..=6_u32 {
            for n in 0..3_usize.pow(len) {
                let text: Vec<u8> = (0..len).map(|at| b"\r\na"[n / 3_usize.pow(at) % 3]).collect();
                let whole = canonical(&[&text]);
                for cut in 0..=text.len() {
                    assert_eq!(canonical(&[&text[..cut], &text[cut..]]), whole, "{text:?} cut at {cut}");
                }
                assert_eq!(canonical(&text.chunks(1).collect::<Vec<_>>()), whole, "{text:?} by octets");
                assert_eq!(canonical(&[&whole]), whole, "{text:?} twice");
                let pairs = whole.windows(2).filter(|pair| pair == b"\r\n").count();
                let (cr, lf) = (count(&whole, b'\r'), count(&whole, b'\n'));
                assert_eq!((cr, lf), (pairs, pairs), "{text:?}");
            }
        }
    }

    fn count(bytes: &[u8], byte: u8) -> usize {
        bytes.iter().filter(|b| **b == byte).count()
    }
}
