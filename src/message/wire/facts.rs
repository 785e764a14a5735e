//! What a message is like, for SIZE, 8BITMIME and SMTPUTF8.

use super::super::{Header, Refusal};
use super::find::find_lf;

/// Why a NUL is refused: RFC 2045 section 2.7 and 2.8 allow it in no text, and servers cut lines at it.
pub(in crate::message) const NUL_REASON: &str = "expected text, found a NUL octet, which mail cannot carry";

/// Measures of the canonical, unstuffed bytes of head and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Octets, each CRLF counted as two and no dot doubled: the SIZE of RFC 1870 section 3.
    pub size: u64,
    /// Whether an octet above 127 is in it: BODY=8BITMIME (RFC 6152 section 3).
    pub eight_bit: bool,
    /// Whether one is behind the head.
    pub eight_bit_body: bool,
    /// Octets of the longest line without its CRLF; RFC 5321 section 4.5.3.1.6 promises 998.
    pub longest_line: u64,
    /// What the head is written in.
    pub head: HeadText,
    /// Octets of the line that is not at its end.
    open_line: u64,
    /// The line of the dropped file that the next octet belongs to.
    line: u64,
}

/// What the head is written in: whether the message needs SMTPUTF8 whatever its envelope (RFC 6531
/// section 3.2, RFC 6532 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadText {
    /// Any server takes it.
    Ascii,
    /// An internationalized header: for servers with SMTPUTF8 only.
    Utf8,
    /// Octets above 127 that are no UTF-8, which no standard allows and SMTPUTF8 does not cover.
    Other,
}

impl Facts {
    /// Measures a head as [`head`](super::head()) composed it.
    pub fn of_head(head: &[u8], header: &Header) -> Self {
        let text = match std::str::from_utf8(head) {
            Ok(text) if text.is_ascii() => HeadText::Ascii,
            Ok(_) => HeadText::Utf8,
            Err(_) => HeadText::Other,
        };
        let mut facts = Facts { head: text, ..Facts::of_nothing() };
        facts.measure(head);
        facts.line = header.body_line();
        facts
    }

    /// Measures nothing yet; for a message whose head is ASCII and goes in like its body.
    pub fn of_nothing() -> Self {
        Facts {
            size: 0,
            eight_bit: false,
            eight_bit_body: false,
            longest_line: 0,
            head: HeadText::Ascii,
            open_line: 0,
            line: 1,
        }
    }

    /// Measures the next chunk of the canonical body; chunks may be cut anywhere.
    ///
    /// # Errors
    /// A NUL, with its line in the dropped file.
    pub fn push(&mut self, body: &[u8]) -> Result<(), Refusal> {
        // Canonical lines are the file's lines, one to one.
        if let Some(before) = body.contains(&0).then(|| body.split(|b| *b == 0).next()).flatten() {
            let lines = before.iter().filter(|b| **b == b'\n').count();
            return Err(Refusal::at(self.line + lines as u64, NUL_REASON));
        }
        self.eight_bit_body |= !body.is_ascii();
        self.measure(body);
        Ok(())
    }

    fn measure(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.eight_bit |= !bytes.is_ascii();
        let mut rest = bytes;
        while let Some(lf) = find_lf(rest) {
            let with_cr = self.open_line + lf as u64;
            self.longest_line = self.longest_line.max(with_cr.saturating_sub(1));
            self.open_line = 0;
            self.line += 1;
            rest = &rest[lf + 1..];
        }
        self.open_line += rest.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Scan;
    use super::*;

    fn facts(head: &[u8], chunks: &[&[u8]]) -> Result<Facts, Refusal> {
        let file = b"From x\nA: 1\n\n";
        let Ok(Scan::Done(header)) = Header::scan(file, true) else { panic!() };
        assert_eq!(header.body_line(), 4);
        let mut facts = Facts::of_head(head, &header);
        chunks.iter().try_for_each(|chunk| facts.push(chunk))?;
        Ok(facts)
    }

    #[test]
    fn size_lines_and_octets_are_measured() {
        let f = facts(b"A: 1\r\n\r\n", &[b"hello\r\n"]).unwrap();
        assert_eq!((f.size, f.eight_bit, f.longest_line, f.head), (15, false, 5, HeadText::Ascii));
        let f = facts("A: ä\r\n\r\n".as_bytes(), &[]).unwrap();
        assert_eq!((f.size, f.eight_bit, f.longest_line, f.head), (9, true, 5, HeadText::Utf8));
        assert_eq!(facts(b"A: \xe4\r\n\r\n", &[]).unwrap().head, HeadText::Other);
        let f = facts(b"A: 1\r\n\r\n", &[b"\xe4\r\n"]).unwrap();
        assert_eq!((f.eight_bit, f.head), (true, HeadText::Ascii));
    }

    #[test]
    fn no_cut_changes_a_measure_or_the_line_of_a_nul() {
        let body = b"one\r\nand two\r\n\r\nthe longest of the lines\r\nx\r\n";
        let whole = facts(b"A: 1\r\n\r\n", &[body]).unwrap();
        assert_eq!(whole.longest_line, 24);
        assert_eq!(facts(b"A: 1\r\n\r\n", &body.chunks(1).collect::<Vec<_>>()).unwrap(), whole);
        let mut bad = body.to_vec();
        bad[25] = 0;
        for cut in 0..=body.len() {
            assert_eq!(facts(b"A: 1\r\n\r\n", &[&body[..cut], &body[cut..]]).unwrap(), whole);
            let refusal = facts(b"A: 1\r\n\r\n", &[&bad[..cut], &bad[cut..]]).unwrap_err();
            assert_eq!(refusal, Refusal::at(7, NUL_REASON), "cut at {cut}");
        }
    }
}
