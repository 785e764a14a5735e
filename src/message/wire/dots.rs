//! Transparency (RFC 5321 section 4.5.2): the dot at the beginning of a line.

use super::find::find_lf;

/// Doubles each dot that begins a line, over chunks of canonical bytes cut anywhere.
#[derive(Debug, Clone)]
pub struct DotStuffer {
    at_line_start: bool,
}

/// Takes one of two dots from the beginning of a line: for producers that stuff what they drop. A dot alone
/// stays, because such a producer never writes one. Over chunks of canonical bytes cut anywhere.
#[derive(Debug, Clone)]
pub struct DotUnstuffer {
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    LineStart,
    BehindFirstDot,
    Elsewhere,
}

impl DotStuffer {
    /// At the beginning of a line.
    pub fn new() -> Self {
        DotStuffer { at_line_start: true }
    }

    /// Appends the next chunk to `out`.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let Some(last) = chunk.last() else { return };
        out.reserve(chunk.len() + chunk.len() / 64 + 2);
        let (mut run, mut at) = (0, 0);
        if self.at_line_start && chunk[0] == b'.' {
            out.push(b'.');
        }
        while let Some(found) = find_lf(&chunk[at..]) {
            at += found + 1;
            if chunk.get(at) == Some(&b'.') {
                out.extend_from_slice(&chunk[run..at]);
                out.push(b'.');
                run = at;
            }
        }
        out.extend_from_slice(&chunk[run..]);
        self.at_line_start = *last == b'\n';
    }

    /// Ends the data: a line with a dot alone.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        debug_assert!(self.at_line_start, "the last line has no CRLF");
        out.extend_from_slice(b".\r\n");
        *self = Self::new();
    }
}

impl Default for DotStuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl DotUnstuffer {
    /// At the beginning of a line.
    pub fn new() -> Self {
        DotUnstuffer { place: Place::LineStart }
    }

    /// Appends the next chunk to `out`.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        out.reserve(chunk.len());
        let mut rest = chunk;
        while let Some(first) = rest.first() {
            match (self.place, first) {
                (Place::LineStart, b'.') => {
                    out.push(b'.');
                    (self.place, rest) = (Place::BehindFirstDot, &rest[1..]);
                }
                (Place::BehindFirstDot, b'.') => (self.place, rest) = (Place::Elsewhere, &rest[1..]),
                _ => {
                    let next = next_dotted_line(rest);
                    out.extend_from_slice(&rest[..next]);
                    let at_line_start = rest[next - 1] == b'\n';
                    self.place = if at_line_start { Place::LineStart } else { Place::Elsewhere };
                    rest = &rest[next..];
                }
            }
        }
    }
}

impl Default for DotUnstuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the next line begins that begins with a dot, or the end.
fn next_dotted_line(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = find_lf(&bytes[at..]) {
        at += found + 1;
        if bytes.get(at) == Some(&b'.') {
            return at;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::super::Canonical;
    use super::*;

    fn stuff(chunks: &[&[u8]]) -> Vec<u8> {
        let (mut state, mut out) = (DotStuffer::new(), Vec::new());
        chunks.iter().for_each(|chunk| state.push(chunk, &mut out));
        state.finish(&mut out);
        out
    }

    fn unstuff(chunks: &[&[u8]]) -> Vec<u8> {
        let (mut state, mut out) = (DotUnstuffer::new(), Vec::new());
        chunks.iter().for_each(|chunk| state.push(chunk, &mut out));
        out
    }

    /// What a server makes of the data (RFC 5321 section 4.5.2), written without looking at the code above.
    fn receive(data: &[u8]) -> Vec<u8> {
        let text = data.strip_suffix(b".\r\n").unwrap();
        let lines = text.split_inclusive(|b| *b == b'\n');
        lines.flat_map(|line| line.strip_prefix(b".").unwrap_or(line).iter().copied()).collect()
    }

    #[test]
    fn dots_at_the_beginning_of_a_line_are_doubled_and_no_others() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"", b".\r\n"),
            (b".\r\n", b"..\r\n.\r\n"),
            (b"a.\r\n.b\r\n..c\r\n d.e\r\n", b"a.\r\n..b\r\n...c\r\n d.e\r\n.\r\n"),
            (b"\r\n.\r\n\r\n", b"\r\n..\r\n\r\n.\r\n"),
        ];
        for (text, want) in rows {
            assert_eq!(stuff(&[text]).escape_ascii().to_string(), want.escape_ascii().to_string());
        }
    }

    #[test]
    fn one_of_two_dots_goes_and_one_alone_stays() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"..a\r\n..\r\n...\r\nb..\r\n", b".a\r\n.\r\n..\r\nb..\r\n"),
            (b".a\r\n.\r\n", b".a\r\n.\r\n"),
            (b"..", b"."),
        ];
        for (text, want) in rows {
            assert_eq!(unstuff(&[text]).escape_ascii().to_string(), want.escape_ascii().to_string());
        }
    }

    /// Every text of up to six of these octets, made canonical, then cut at every place.
    #[test]
    fn no_cut_changes_anything_and_the_server_gets_what_was_sent() {
        for len in 0..=6_u32 {
            for n in 0..3_usize.pow(len) {
                let raw: Vec<u8> = (0..len).map(|at| b"\n.a"[n / 3_usize.pow(at) % 3]).collect();
                let (mut canonical, mut text) = (Canonical::new(), Vec::new());
                canonical.push(&raw, &mut text);
                canonical.finish(&mut text);
                let data = stuff(&[&text]);
                let thin = unstuff(&[&text]);
                for cut in 0..=text.len() {
                    assert_eq!(stuff(&[&text[..cut], &text[cut..]]), data, "{text:?} cut at {cut}");
                    assert_eq!(unstuff(&[&text[..cut], &text[cut..]]), thin, "{text:?} cut at {cut}");
                }
                assert_eq!(stuff(&text.chunks(1).collect::<Vec<_>>()), data);
                assert_eq!(unstuff(&text.chunks(1).collect::<Vec<_>>()), thin);
                assert_eq!(receive(&data), text);
                let stuffed = &data[..data.len() - 3];
                assert_eq!(unstuff(&[stuffed]), text, "stuffed twice is unstuffed once");
                let framed = [b"\r\n", data.as_slice()].concat();
                let end = framed.windows(5).position(|w| w == b"\r\n.\r\n");
                assert_eq!(end, Some(framed.len() - 5), "the data of {text:?} ends early");
            }
        }
    }
}
