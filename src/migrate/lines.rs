//! Settings as they stand in files of other systems.

use super::{Fate, Note, Place};

/// A setting there: its name, its value and its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its value; may be a secret, and is never shown.
    pub value: String,
    /// Where it stands.
    pub place: Place,
}

impl Line {
    pub(super) fn new(name: &str, value: &str, file: &str, line: usize) -> Line {
        Line { name: name.to_owned(), value: value.to_owned(), place: Place { file: file.to_owned(), line } }
    }

    pub(super) fn note(&self, fate: Fate, why: impl Into<String>) -> Note {
        Note { fate, place: self.place.clone(), what: self.name.clone(), why: why.into() }
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.name, self.place)
    }
}

/// The lines that are neither empty nor begin with `#`, trimmed, with their numbers.
pub(super) fn written(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// Lines that go on where the next begins with white space, as /etc/aliases and main.cf have them; with the number of the
/// first of each. Comments and empty lines between them do not count.
pub(super) fn folded(text: &str) -> Vec<(usize, String)> {
    let mut whole: Vec<(usize, String)> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        match whole.last_mut() {
            Some((_, begun)) if line.starts_with([' ', '\t']) => {
                begun.push(' ');
                begun.push_str(trimmed);
            }
            _ => whole.push((n + 1, trimmed.to_owned())),
        }
    }
    whole
}

/// Words as a shell splits them: quotes, double quotes and backslashes; nothing is expanded.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => {
                word.get_or_insert_default().extend(chars.next());
            }
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The files in which systems keep the certificates that the system trusts, which are trusted here anyway.
pub(super) fn is_systems_trust(path: &str) -> bool {
    [
        "system",
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/certs",
        "/etc/ssl/certs/",
        "/etc/ssl/cert.pem",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
    ]
    .contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        let rows: [(&str, &[&str]); 5] = [
            ("a smtp  port=25", &["a", "smtp", "port=25"]),
            ("a pass='my pass phrase' b", &["a", "pass=my pass phrase", "b"]),
            (r#"pass="a\"b" c\ d"#, &["pass=a\"b", "c d"]),
            ("''", &[""]),
            ("  ", &[]),
        ];
        for (text, expected) in rows {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn a_line_goes_on_where_the_next_begins_with_white_space() {
        let text = "a = b\n# not this\n   c\n\n d\ne = f\n";
        assert_eq!(folded(text), [(1, "a = b c d".to_owned()), (6, "e = f".to_owned())]);
    }
}
