//! The parameters of Content-Type and Content-Disposition (RFC 2045 section 5.1).

use std::ops::Range;

/// A structured value with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::message::wire) struct Parsed {
    /// What is in front of the first `;`, in lower case, without comments and white space: `text/plain`.
    pub(in crate::message::wire) main: String,
    pub(in crate::message::wire) parameters: Vec<Parameter>,
}

/// One parameter, by its place in the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::message::wire) struct Parameter {
    /// In lower case.
    pub(in crate::message::wire) name: String,
    /// Without quotes.
    pub(in crate::message::wire) value: Vec<u8>,
    pub(in crate::message::wire) is_quoted: bool,
    /// From its `;` to behind its value.
    pub(in crate::message::wire) range: Range<usize>,
}

impl Parsed {
    /// Reads a value. What has no `=` is passed over. An unquoted value runs to the next `;`, also with blanks in it: some
    /// producers write `filename=two words.pdf`.
    pub(in crate::message::wire) fn read(value: &[u8]) -> Parsed {
        let mut cuts = semicolons(value);
        let main_end = cuts.first().copied().unwrap_or(value.len());
        cuts.push(value.len());
        let parameters = cuts.windows(2).filter_map(|pair| parameter(value, pair[0], pair[1])).collect();
        Parsed { main: plain(&value[..main_end]).to_ascii_lowercase(), parameters }
    }

    /// The first parameter of that name.
    pub(in crate::message::wire) fn get(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|p| p.name == name)
    }
}

/// Where the `;` are that stand in no quotes and no comment.
fn semicolons(value: &[u8]) -> Vec<usize> {
    let (mut found, mut at, mut depth, mut quoted) = (Vec::new(), 0, 0_usize, false);
    while at < value.len() {
        match value[at] {
            b'\\' => at += 1,
            b'"' if depth == 0 => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth = depth.saturating_sub(1),
            b';' if !quoted && depth == 0 => found.push(at),
            _ => {}
        }
        at += 1;
    }
    found
}

fn parameter(value: &[u8], start: usize, end: usize) -> Option<Parameter> {
    let text = &value[start + 1..end];
    let equals = text.iter().position(|b| *b == b'=')?;
    let name = plain(&text[..equals]).to_ascii_lowercase();
    let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    let lead = text[equals + 1..].iter().take_while(|b| blank(b)).count();
    let from = equals + 1 + lead;
    let rest = &text[from..];
    let is_quoted = rest.first() == Some(&b'"');
    let (decoded, len) = match is_quoted {
        true => unquoted(rest),
        false => {
            let trail = rest.iter().rev().take_while(|b| blank(b)).count();
            (rest[..rest.len() - trail].to_vec(), rest.len() - trail)
        }
    };
    Some(Parameter { name, value: decoded, is_quoted, range: start..start + 1 + from + len })
}

/// The text of a quoted string, without line ends, and how long it is with its quotes.
pub(in crate::message::wire) fn unquoted(text: &[u8]) -> (Vec<u8>, usize) {
    let (mut out, mut at) = (Vec::new(), 1);
    while at < text.len() && text[at] != b'"' {
        if text[at] == b'\\' && at + 1 < text.len() {
            at += 1;
        }
        if !matches!(text[at], b'\r' | b'\n') {
            out.push(text[at]);
        }
        at += 1;
    }
    (out, (at + 1).min(text.len()))
}

/// Without comments and white space.
pub(in crate::message::wire) fn plain(text: &[u8]) -> String {
    let mut depth = 0_usize;
    let mut out = Vec::new();
    for byte in text {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ if depth == 0 => out.push(*byte),
            _ => {}
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_they_are_written() {
        let value =
            b" Multipart/Mixed (a; b) ;\r\n BOUNDARY = \"a;\\\"b\" (c); charset=utf-8; x; name=two words ";
        let parsed = Parsed::read(value);
        assert_eq!(parsed.main, "multipart/mixed");
        let shown: Vec<(&str, String)> = parsed
            .parameters
            .iter()
            .map(|p| (p.name.as_str(), String::from_utf8_lossy(&p.value).into_owned()))
            .collect();
        let want = [("boundary", "a;\"b"), ("charset", "utf-8"), ("name", "two words")];
        assert_eq!(shown, want.map(|(n, v)| (n, v.to_owned())));
        let range = parsed.get("charset").unwrap().range.clone();
        assert_eq!(&value[range], b"; charset=utf-8");
        assert_eq!(Parsed::read(b"").main, "");
        assert_eq!(Parsed::read(b"a/b; c=\"open").get("c").unwrap().value, b"open");
    }
}
