//! Content as quoted-printable and as base64 (RFC 2045 section 6), over chunks cut anywhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Longest encoded line without its CRLF (RFC 2045 section 6.7 rule 5).
const LINE_MAX: usize = 76;

/// So many octets make one line of base64.
const BASE64_OCTETS: usize = 57;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Quoted-printable. Each line of the content stays a line.
#[derive(Debug, Default)]
pub(super) struct Quoted {
    /// Octets of the line that is being written.
    column: usize,
    /// A space or a tab: encoded if the line ends behind it, else as it is.
    held: Option<u8>,
    /// The line that is being written goes on one of the content.
    is_continued: bool,
}

impl Quoted {
    /// Appends the next chunk of canonical content.
    pub(super) fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        out.reserve(chunk.len() + chunk.len() / 8);
        for &byte in chunk {
            match byte {
                // In canonical lines it is half of a CRLF.
                b'\r' => {}
                b'\n' => {
                    if let Some(blank) = self.held.take() {
                        self.encoded(blank, out);
                    }
                    out.extend_from_slice(b"\r\n");
                    (self.column, self.is_continued) = (0, false);
                }
                b' ' | b'\t' => {
                    self.flush(out);
                    self.held = Some(byte);
                }
                b'!'..=b'<' | b'>'..=b'~' => {
                    self.flush(out);
                    self.plain(byte, out);
                }
                _ => {
                    self.flush(out);
                    self.encoded(byte, out);
                }
            }
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        if let Some(blank) = self.held.take() {
            self.plain(blank, out);
        }
    }

    fn plain(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.make_room(1, out);
        if byte == b'-' && self.column == 0 && self.is_continued {
            // What soft line breaks make must never look like a boundary.
            return self.encoded(byte, out);
        }
        out.push(byte);
        self.column += 1;
    }

    fn encoded(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.make_room(3, out);
        out.extend([b'=', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        self.column += 3;
    }

    /// The last place of a line is for the `=` of a soft line break.
    fn make_room(&mut self, octets: usize, out: &mut Vec<u8>) {
        if self.column + octets >= LINE_MAX {
            out.extend_from_slice(b"=\r\n");
            (self.column, self.is_continued) = (0, true);
        }
    }
}

/// Base64 in lines of 76.
#[derive(Debug, Default)]
pub(super) struct Base64 {
    pending: Vec<u8>,
    /// A CRLF that belongs to the boundary behind it, if one comes.
    held: Vec<u8>,
}

impl Base64 {
    /// Appends the next chunk of canonical content.
    pub(super) fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        for &byte in chunk {
            match (byte, self.held.as_slice()) {
                (b'\r', _) | (b'\n', b"\r") => {
                    if byte == b'\r' {
                        self.release(out);
                    }
                    self.held.push(byte);
                }
                _ => {
                    self.release(out);
                    self.take(byte, out);
                }
            }
        }
    }

    /// The content is over. `delimited`: its last CRLF is that of the boundary (RFC 2046 section 5.1.1).
    pub(super) fn finish(&mut self, delimited: bool, out: &mut Vec<u8>) {
        if delimited {
            self.held.clear();
        }
        self.release(out);
        if !self.pending.is_empty() {
            self.line(out);
        }
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        for byte in std::mem::take(&mut self.held) {
            self.take(byte, out);
        }
    }

    fn take(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.pending.push(byte);
        if self.pending.len() == BASE64_OCTETS {
            self.line(out);
        }
    }

    fn line(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(STANDARD.encode(&self.pending).as_bytes());
        out.extend_from_slice(b"\r\n");
        self.pending.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &[u8], size: usize) -> String {
        let (mut state, mut out) = (Quoted::default(), Vec::new());
        text.chunks(size).for_each(|chunk| state.push(chunk, &mut out));
        String::from_utf8(out).unwrap()
    }

    fn base64(text: &[u8], size: usize, delimited: bool) -> String {
        let (mut state, mut out) = (Base64::default(), Vec::new());
        text.chunks(size).for_each(|chunk| state.push(chunk, &mut out));
        state.finish(delimited, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn quoted_printable_keeps_what_can_be_read() {
        let rows: &[(&[u8], &str)] = &[
            (b"", ""),
            ("Tür 3 = offen\r\n".as_bytes(), "T=C3=BCr 3 =3D offen\r\n"),
            (b"tail \r\n\t\r\n a\t b\r\n", "tail=20\r\n=09\r\n a\t b\r\n"),
            (b".\r\n--x\r\n\x00\x7f\xff\r\n", ".\r\n--x\r\n=00=7F=FF\r\n"),
        ];
        for (text, want) in rows {
            for size in [1, 2, 3, 1000] {
                assert_eq!(quoted(text, size), *want);
            }
        }
    }

    #[test]
    fn soft_line_breaks_keep_lines_at_76_and_make_no_boundary() {
        let long = format!("{}--boundary {}\r\n", "x".repeat(75), "ü".repeat(60));
        let text = quoted(long.as_bytes(), 7);
        assert!(text.split("\r\n").all(|line| line.len() <= 76), "{text}");
        assert!(text.contains("=\r\n=2D-boundary "), "{text}");
        let undone = text.replace("=\r\n", "").replace("=2D", "-").replace("=C3=BC", "ü");
        assert_eq!(undone, long);
        // A blank in front of a soft line break is none at the end of a line.
        let blanks = quoted(&[b' '; 200], 200);
        assert!(blanks.split("=\r\n").all(|line| line.len() <= 75), "{blanks}");
        for width in 70..80 {
            let text = quoted(format!("{}\r\n", "ü".repeat(width)).as_bytes(), 5);
            assert!(text.split("\r\n").all(|line| line.len() <= 76), "{text}");
        }
    }

    #[test]
    fn base64_leaves_the_boundary_its_line_end() {
        for size in [1, 2, 3, 100] {
            assert_eq!(base64(b"a\r\nb\r\n", size, true), "YQ0KYg==\r\n");
            assert_eq!(base64(b"a\r\nb\r\n", size, false), "YQ0KYg0K\r\n");
            assert_eq!(base64(b"", size, true), "");
            assert_eq!(base64(b"\r\n\r\n", size, true), "DQo=\r\n");
        }
        let lines = base64(&[0xff; 120], 50, true);
        let widths: Vec<usize> = lines.split("\r\n").map(str::len).collect();
        assert_eq!(widths, [76, 76, 8, 0]);
    }
}
