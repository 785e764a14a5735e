//! What a server answers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A reply: code, enhanced status code where the server gave one, and the text of its lines
/// (RFC 5321 section 4.2). Serialized, because a record keeps the server's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Three digits, 100 to 999; RFC 5321 section 4.3.2 wants unknown ones judged by the first digit.
    pub code: u16,
    /// RFC 2034: taken from the first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enhanced: Option<EnhancedStatusCode>,
    /// The text of each line without code and enhanced code. Bytes that are not UTF-8 or are control
    /// characters were replaced by U+FFFD, so that it can be shown and logged as it is.
    pub text: Vec<String>,
}

/// `class.subject.detail` (RFC 3463 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct EnhancedStatusCode {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// 0 to 999.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

/// What the first digit of a reply says (RFC 5321 section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// 2yz: done.
    Completed,
    /// 3yz: go on.
    Intermediate,
    /// 4yz: not now.
    Transient,
    /// 5yz: not like this.
    Permanent,
    /// Any other digit: nobody has defined it, so it is read as temporary.
    Undefined,
}

impl Reply {
    /// The first digit.
    pub fn severity(&self) -> Severity {
        match self.code / 100 {
            2 => Severity::Completed,
            3 => Severity::Intermediate,
            4 => Severity::Transient,
            5 => Severity::Permanent,
            _ => Severity::Undefined,
        }
    }

    /// Whether the enhanced code is `_.subject.detail`, whatever its class.
    pub fn is_about(&self, subject: u16, detail: u16) -> bool {
        self.enhanced.is_some_and(|e| e.subject == subject && e.detail == detail)
    }
}

/// One line: `550 5.1.1 no such user here`.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, " {enhanced}")?;
        }
        for line in self.text.iter().filter(|line| !line.is_empty()) {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for EnhancedStatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl std::str::FromStr for EnhancedStatusCode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: Option<&str>, most: usize| {
            part.filter(|p| (1..=most).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|p| p.parse::<u16>().ok())
        };
        let mut parts = text.split('.');
        match (number(parts.next(), 1), number(parts.next(), 3), number(parts.next(), 3), parts.next()) {
            (Some(class @ (2 | 4 | 5)), Some(subject), Some(detail), None) => {
                Ok(EnhancedStatusCode { class: class as u8, subject, detail })
            }
            _ => Err(format!("expected an enhanced status code like 5.1.1, found {text:?}")),
        }
    }
}

impl From<EnhancedStatusCode> for String {
    fn from(code: EnhancedStatusCode) -> String {
        code.to_string()
    }
}

impl TryFrom<String> for EnhancedStatusCode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes_are_read_strictly() {
        assert_eq!("5.7.139".parse(), Ok(EnhancedStatusCode { class: 5, subject: 7, detail: 139 }));
        for text in ["3.1.1", "5.1", "5.1.1.1", "5.1.1000", "5..1", "+5.1.1", ""] {
            assert!(text.parse::<EnhancedStatusCode>().is_err(), "{text:?} was taken");
        }
    }
}
