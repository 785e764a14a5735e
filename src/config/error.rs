//! One message that names the place, the cause and what would be valid, and never shows a secret.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What is wrong with the configuration.
#[derive(Debug)]
pub struct ConfigError {
    /// A file, or what stands for one: `--smarthost`.
    place: String,
    /// Line number and text, with a secret masked.
    line: Option<(usize, String)>,
    message: String,
    hint: Option<String>,
}

/// A file that was read, to point into.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl ConfigError {
    pub(super) fn new(place: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError { place: place.into(), line: None, message: message.into(), hint: None }
    }

    pub(super) fn cannot_read(path: &Path, error: &std::io::Error) -> ConfigError {
        ConfigError::new(path.display().to_string(), format!("cannot be read: {error}"))
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> ConfigError {
        self.hint = Some(hint.into());
        self
    }
}

impl ConfigError {
    /// The same in one line, for the log and for an answer: place, cause, and what the line says.
    pub fn in_one_line(&self) -> String {
        let lines: Vec<String> = self.to_string().lines().map(|line| line.trim().to_owned()).collect();
        lines.join("; ")
    }
}

impl Source {
    /// An error about the text in `span`.
    pub(super) fn error(&self, span: Range<usize>, message: impl Into<String>) -> ConfigError {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let number = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let line = self.text.lines().nth(number - 1).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let shown = if is_inside_a_string(&before[..line_start]) { "****".to_owned() } else { mask(line) };
        ConfigError {
            place: self.path.display().to_string(),
            line: Some((number, shown)),
            message: message.into(),
            hint: None,
        }
    }

    /// An error of the TOML reader. Its own text quotes what it found, which may be a password.
    pub(super) fn toml_error(&self, error: &toml::de::Error) -> ConfigError {
        let span = error.span().unwrap_or(0..0);
        if self.is_secret(&span) {
            let valid = "expected a string, { file = \"/path\" }, { env = \"NAME\" }, { credential = \"name\" } or { command = \"...\" }";
            let mut error = self.error(span, valid);
            // The line may be one of a value that has several, with no key on it to know it by.
            if let Some((_, text)) = error.line.as_mut().filter(|(_, text)| !is_secret_line(text)) {
                *text = "****".to_owned();
            }
            return error;
        }
        match self.unquoted(&span) {
            Some((key, word)) if is_known_key(key) => {
                return self.error(span, format!("expected a value in quotes, \"{word}\", found {word}"));
            }
            Some(_) => {
                // Under a key that is not known it may be a password.
                let mut error = self.error(span, "expected a value in quotes");
                if let Some((_, line)) = &mut error.line {
                    *line = without_value(line);
                }
                return error;
            }
            None => {}
        }
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        // Beside a password the value of any key that is not known may be one, under a name that nobody foresaw.
        let is_beside_one = message.contains("`password`") || message.contains("`client_secret`");
        let may_be_password = message.starts_with("unknown field") && is_beside_one;
        let mut error = self.error(span, message);
        if let Some((_, line)) = error.line.as_mut().filter(|_| may_be_password) {
            *line = without_value(line);
        }
        error
    }

    /// The value at `span` and its key, if it is a text without quotes: the reader takes `level = info` for a number.
    fn unquoted(&self, span: &Range<usize>) -> Option<(&str, &str)> {
        let start = self.text.get(..span.start)?.rfind('\n').map_or(0, |n| n + 1);
        let (key, value) = self.text.get(start..)?.lines().next()?.split_once('=')?;
        let word = value.split('#').next()?.trim();
        let is_text = word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "-._/:@".contains(c));
        (is_text && !["true", "false", "inf", "nan"].contains(&word)).then_some((key.trim(), word))
    }

    /// Whether the nearest key in front of the span's end is one whose value nobody may see.
    fn is_secret(&self, span: &Range<usize>) -> bool {
        let line_end = self
            .text
            .get(span.end..)
            .and_then(|rest| rest.find('\n'))
            .map_or(self.text.len(), |n| span.end + n);
        let until = self.text.get(..line_end).unwrap_or(&self.text);
        until.lines().rev().find(|line| line.contains('=')).is_some_and(is_secret_line)
    }
}

/// Whether it is a key of ours, as the commented default file has it; the caller has seen that it is no secret one.
fn is_known_key(key: &str) -> bool {
    super::DEFAULT_FILE
        .lines()
        .any(|line| line.trim_start_matches(['#', ' ']).split(" = ").next() == Some(key))
}

/// Whether nobody may see what stands behind the `=`: a password, also under a key that was mistyped, and a url with a
/// login in it.
fn is_secret_line(line: &str) -> bool {
    let key = line.split('=').next().unwrap_or_default().to_ascii_lowercase();
    let is_named_alike = ["token_url", "[smarthost.oauth]"].contains(&key.trim());
    let is_secret_key = !is_named_alike
        && ["pas", "pw", "secret", "token", "cred", "login", "auth"].iter().any(|part| key.contains(part));
    let is_login_in_url = line.contains('@') && (line.contains("://") || key.trim() == "url");
    is_secret_key || line.contains("password") || is_login_in_url
}

/// Whether a string over several lines is open behind `text`. A quote in a comment can make this true where it is not:
/// then a line is not shown.
fn is_inside_a_string(text: &str) -> bool {
    ["\"\"\"", "'''"].iter().any(|quotes| text.matches(quotes).count() % 2 == 1)
}

/// A line that begins with no key goes on with the value of another line, and nobody knows of which.
fn mask(line: &str) -> String {
    let key = line.split('=').next().unwrap_or_default().trim();
    let is_key = |c: char| c.is_ascii_alphanumeric() || "_-.[] \t".contains(c);
    match key.chars().all(is_key) {
        true if !is_secret_line(line) => line.to_owned(),
        true => without_value(line),
        false => "****".to_owned(),
    }
}

/// A line without an `=` is none that TOML knows; what it was meant to be may be secret all the same.
fn without_value(line: &str) -> String {
    match line.split_once('=') {
        Some((key, _)) => format!("{} = ****", key.trim_end()),
        None => "****".to_owned(),
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        if let Some((number, _)) = &self.line {
            write!(f, " line {number}")?;
        }
        write!(f, ": {}", self.message)?;
        if let Some((number, text)) = &self.line {
            write!(f, "\n{number:>5} | {text}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}
