//! Command lines: where they end, and what they say.

/// The longest command line, CRLF included. RFC 5321 section 4.5.3.1.4 asks for 512, the parameters of
/// extensions for some more.
pub(crate) const LONGEST_LINE: usize = 2048;

/// The longest path without its brackets (RFC 5321 section 4.5.3.1.3).
const LONGEST_PATH: usize = 254;

/// Collects bytes up to a CRLF.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    last: u8,
    /// A bare LF ends a line too.
    takes_lf: bool,
    /// The last line ended so.
    had_lf: bool,
}

/// One line without its CRLF.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Text(String),
    TooLong,
    /// A control character, or not UTF-8.
    Garbled,
}

/// `MAIL` or `RCPT` behind its colon (RFC 5321 section 4.1.2): `<path> KEY=VALUE KEY`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// Without brackets and source route; empty is the null reverse-path.
    pub(crate) address: String,
    /// Keys in upper case.
    pub(crate) parameters: Vec<(String, Option<String>)>,
}

impl Lines {
    /// For programs of this host, of which some end their lines in LF.
    pub(crate) fn of_lf_too() -> Lines {
        Lines { takes_lf: true, ..Lines::default() }
    }

    /// Whether the last line ended in a bare LF.
    pub(crate) fn had_lf(&self) -> bool {
        self.had_lf
    }

    /// Takes one line from the front of `input`; `None` if it has not come to its end. A bare LF or CR is
    /// no end.
    pub(crate) fn read(&mut self, input: &mut &[u8]) -> Option<Line> {
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            if self.bytes.len() < LONGEST_LINE {
                self.bytes.push(byte);
            } else if self.bytes.len() == LONGEST_LINE {
                // One more marks it as too long; of the rest only the end matters.
                self.bytes.push(0);
            }
            if byte == b'\n' && (self.last == b'\r' || self.takes_lf) {
                self.had_lf = self.last != b'\r';
                self.last = 0;
                let end = if self.had_lf { 1 } else { 2 };
                return Some(finished(std::mem::take(&mut self.bytes), end));
            }
            self.last = byte;
        }
        None
    }
}

fn finished(mut bytes: Vec<u8>, end: usize) -> Line {
    if bytes.len() > LONGEST_LINE {
        return Line::TooLong;
    }
    bytes.truncate(bytes.len().saturating_sub(end));
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains(|c: char| c.is_control() && c != '\t') => Line::Text(text),
        _ => Line::Garbled,
    }
}

/// Verb in upper case and argument without surrounding blanks.
pub(crate) fn split(line: &str) -> (String, &str) {
    let (verb, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    (verb.to_ascii_uppercase(), argument.trim_matches([' ', '\t']))
}

/// Reads `FROM:<...>` or `TO:<...>`; `None` if it is not written like that.
pub(crate) fn path(keyword: &str, argument: &str) -> Option<Path> {
    let head = argument.get(..keyword.len())?;
    if !head.eq_ignore_ascii_case(keyword) {
        return None;
    }
    // A blank behind the colon is wrong and common (RFC 5321 section 3.3 allows to bear it).
    let rest = argument[keyword.len()..].trim_start_matches(' ').strip_prefix('<')?;
    let end = end_of_path(rest)?;
    let address = without_route(&rest[..end])?.to_owned();
    let behind = &rest[end + 1..];
    if !behind.is_empty() && !behind.starts_with(' ') {
        return None;
    }
    let parameters = behind
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(|word| match word.split_once('=') {
            Some((key, value)) => (key.to_ascii_uppercase(), Some(value.to_owned())),
            None => (word.to_ascii_uppercase(), None),
        })
        .collect();
    Some(Path { address, parameters })
}

/// Whether it can be an address: something, `@`, something, or the bare `Postmaster` that RFC 5321 section
/// 4.5.1 demands. What exactly a mailbox may look like is left to the client under test.
pub(crate) fn is_address(text: &str) -> bool {
    let whole = match text.rsplit_once('@') {
        Some((local, domain)) => !local.is_empty() && !domain.is_empty() && !domain.contains(' '),
        None => text.eq_ignore_ascii_case("postmaster"),
    };
    whole && text.len() <= LONGEST_PATH
}

/// The place of the `>` that closes the path: not one inside a quoted local part.
fn end_of_path(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => return Some(at),
            ' ' | '\t' | '<' if !quoted => return None,
            _ => {}
        }
    }
    None
}

/// `@one,@two:user@host` is `user@host` (RFC 5321 appendix C: accepted and ignored).
fn without_route(path: &str) -> Option<&str> {
    if path.starts_with('@') { path.split_once(':').map(|(_, address)| address) } else { Some(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(keyword: &str, argument: &str) -> Option<String> {
        path(keyword, argument).map(|p| p.address)
    }

    #[test]
    fn paths_are_read_with_quotes_routes_and_parameters() {
        let p = path("FROM:", "from:<a@b.c> SIZE=12 smtputf8").unwrap();
        assert_eq!(p.address, "a@b.c");
        assert_eq!(p.parameters, [("SIZE".into(), Some("12".into())), ("SMTPUTF8".into(), None)]);
        assert_eq!(address("FROM:", "FROM:<>").as_deref(), Some(""));
        assert_eq!(address("TO:", "TO: <@x,@y:a@b>").as_deref(), Some("a@b"));
        assert_eq!(address("TO:", r#"TO:<"a> \" b"@c>"#).as_deref(), Some(r#""a> \" b"@c"#));
        assert_eq!(address("TO:", "TO:<jörg@bücher.example>").as_deref(), Some("jörg@bücher.example"));
        for wrong in
            ["", "TO", "TO:", "TO:a@b", "TO:<a@b", "TO:<a b@c>", "TO:<a@b>x", "ÄÄ:<a@b>", "TO:<<a@b>"]
        {
            assert_eq!(address("TO:", wrong), None, "{wrong:?} was taken");
        }
    }

    #[test]
    fn addresses_have_two_sides() {
        for good in ["a@b", "Postmaster", "a@[127.0.0.1]", "\"a@b\"@c"] {
            assert!(is_address(good), "{good:?} was refused");
        }
        for bad in ["", "a", "@b", "a@", &format!("{}@b", "a".repeat(300))] {
            assert!(!is_address(bad), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_line_ends_with_crlf_and_nothing_else() {
        let mut lines = Lines::default();
        let mut input: &[u8] = b"NO";
        assert_eq!(lines.read(&mut input), None);
        input = b"OP\r\nEHLO a\nMAIL\r\nRSET\rx\r\nNOOP\r";
        assert_eq!(lines.read(&mut input), Some(Line::Text("NOOP".into())));
        assert_eq!(lines.read(&mut input), Some(Line::Garbled));
        assert_eq!(lines.read(&mut input), Some(Line::Garbled));
        assert_eq!(lines.read(&mut input), None);
        input = b"\n";
        assert_eq!(lines.read(&mut input), Some(Line::Text("NOOP".into())));
    }

    #[test]
    fn a_program_of_this_host_may_end_its_lines_in_lf() {
        let mut lines = Lines::of_lf_too();
        let mut input: &[u8] = b"NOOP\nRSET\r\n\nA\rB\n";
        let mut read = || (lines.read(&mut input), lines.had_lf());
        assert_eq!(read(), (Some(Line::Text("NOOP".into())), true));
        assert_eq!(read(), (Some(Line::Text("RSET".into())), false));
        assert_eq!(read(), (Some(Line::Text(String::new())), true));
        assert_eq!(read(), (Some(Line::Garbled), true));
        assert_eq!(read().0, None);
    }

    #[test]
    fn long_lines_are_bounded_and_end_where_they_end() {
        let mut lines = Lines::default();
        for length in [LONGEST_LINE - 2, LONGEST_LINE - 1, LONGEST_LINE, 100_000] {
            let sent = [vec![b'x'; length], b"\r\nNOOP\r\n".to_vec()].concat();
            let mut input = &sent[..];
            let fits = length + 2 <= LONGEST_LINE;
            let line = lines.read(&mut input);
            assert_eq!(line == Some(Line::TooLong), !fits, "{length}");
            assert!(lines.bytes.is_empty());
            assert_eq!(lines.read(&mut input), Some(Line::Text("NOOP".into())));
        }
    }
}
