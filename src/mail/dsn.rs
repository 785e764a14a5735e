//! What the sender asks of delivery status notifications (RFC 3461).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest ENVID, before it is encoded (RFC 3461 section 4.4).
const ENVID_MAX: usize = 100;

/// Longest ORCPT with its type (RFC 3461 section 4.2).
const ORCPT_MAX: usize = 500;

/// DSN parameters of MAIL, or of one RCPT, in the form in which they are sent: `RET=HDRS ENVID=QQ314159`. Checked, and
/// empty where nothing is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Dsn(String);

impl Dsn {
    /// Those of MAIL among `words`: RET and ENVID. With them the words that cannot be read, or come twice.
    pub fn of_mail<'w>(words: impl IntoIterator<Item = &'w str>) -> (Dsn, Vec<String>) {
        Dsn::of(words, |keyword, value| match keyword {
            "RET" => Some(value.to_ascii_uppercase()).filter(|v| matches!(v.as_str(), "FULL" | "HDRS")),
            "ENVID" => (1..=ENVID_MAX).contains(&xtext_len(value)?).then(|| value.to_owned()),
            _ => None,
        })
    }

    /// Those of RCPT among `words`: NOTIFY and ORCPT. With them the words that cannot be read, or come twice.
    pub fn of_rcpt<'w>(words: impl IntoIterator<Item = &'w str>) -> (Dsn, Vec<String>) {
        Dsn::of(words, |keyword, value| match keyword {
            "NOTIFY" => notify(value),
            "ORCPT" => {
                let (kind, address) = value.split_once(';')?;
                let is_atom =
                    !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                let fits = value.len() <= ORCPT_MAX && xtext_len(address)? > 0;
                (is_atom && fits).then(|| value.to_owned())
            }
            _ => None,
        })
    }

    fn of<'w>(
        words: impl IntoIterator<Item = &'w str>,
        checked: impl Fn(&str, &str) -> Option<String>,
    ) -> (Dsn, Vec<String>) {
        let (mut taken, mut dropped) = (Vec::<(String, String)>::new(), Vec::new());
        for word in words {
            let (keyword, value) = word.split_once('=').unwrap_or((word, ""));
            let keyword = keyword.to_ascii_uppercase();
            let is_first = !taken.iter().any(|(known, _)| *known == keyword);
            match checked(&keyword, value).filter(|_| is_first) {
                Some(value) => taken.push((keyword, value)),
                None => dropped.push(word.to_owned()),
            }
        }
        let text = taken.iter().map(|(keyword, value)| format!("{keyword}={value}")).collect::<Vec<_>>();
        (Dsn(text.join(" ")), dropped)
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A list of events, or NEVER (RFC 3461 section 4.1).
fn notify(value: &str) -> Option<String> {
    let value = value.to_ascii_uppercase();
    let mut seen = Vec::new();
    let is_event = |event: &str| matches!(event, "SUCCESS" | "FAILURE" | "DELAY");
    let is_list = value.split(',').all(|event| {
        let is_new = is_event(event) && !seen.contains(&event.to_owned());
        seen.push(event.to_owned());
        is_new
    });
    (value == "NEVER" || is_list).then_some(value)
}

/// How many characters an xtext stands for (RFC 3461 section 4). `None` if it is none, or stands for one that is not
/// printable.
fn xtext_len(text: &str) -> Option<usize> {
    let mut bytes = text.bytes();
    let mut len = 0;
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => {
                let digits = [bytes.next()?, bytes.next()?];
                let is_hex = digits.iter().all(|b| b.is_ascii_digit() || matches!(b, b'A'..=b'F'));
                let code = u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
                if !is_hex || !(b' '..=b'~').contains(&code) {
                    return None;
                }
            }
            b'=' => return None,
            b'!'..=b'~' => {}
            _ => return None,
        }
        len += 1;
    }
    Some(len)
}

impl TryFrom<String> for Dsn {
    type Error = String;

    fn try_from(text: String) -> Result<Dsn, String> {
        for (dsn, dropped) in [Dsn::of_mail(text.split(' ')), Dsn::of_rcpt(text.split(' '))] {
            if dropped.is_empty() {
                return Ok(dsn);
            }
        }
        Err(format!("expected DSN parameters, found {text:?}"))
    }
}

impl From<Dsn> for String {
    fn from(dsn: Dsn) -> String {
        dsn.0
    }
}

impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_is_kept_and_the_rest_told() {
        let (dsn, dropped) = Dsn::of_mail(["ret=hdrs", "ENVID=a+2Bb", "RET=FULL", "ENVID=", "SIZE=5", "x"]);
        assert_eq!(dsn.as_str(), "RET=HDRS ENVID=a+2Bb");
        assert_eq!(dropped, ["RET=FULL", "ENVID=", "SIZE=5", "x"]);
        let (dsn, dropped) = Dsn::of_rcpt(["Notify=success,Delay", "ORCPT=rfc822;a+2Bb@c.d"]);
        assert_eq!((dsn.as_str(), dropped.len()), ("NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c.d", 0));
        assert_eq!(Dsn::of_rcpt(["NOTIFY=NEVER"]).0.as_str(), "NOTIFY=NEVER");
        for word in [
            "NOTIFY=NEVER,DELAY",
            "NOTIFY=",
            "NOTIFY=DELAY,DELAY",
            "NOTIFY=LATER",
            "NOTIFY=DELAY,",
            "ORCPT=a@b",
            "ORCPT=;a",
            "ORCPT=rfc822;",
            "ORCPT=rfc822;a=b",
            "ORCPT=rfc822;a+2b",
            "ORCPT=rfc822;a+0D",
            "ORCPT=rfc822;a+2",
            "ORCPT=rfc822;ü",
        ] {
            assert_eq!(Dsn::of_rcpt([word]), (Dsn::default(), vec![word.to_owned()]));
        }
    }

    #[test]
    fn what_was_written_down_is_checked_again() {
        for text in ["RET=FULL", "NOTIFY=NEVER ORCPT=rfc822;a@b"] {
            assert_eq!(Dsn::try_from(text.to_owned()).map(String::from), Ok(text.to_owned()));
        }
        for text in ["RET=FULL\r\nRSET", "RET=FULL NOTIFY=NEVER", ""] {
            assert!(Dsn::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_envid_has_a_hundred_characters_however_they_are_written() {
        for (text, fits) in [("x".repeat(100), true), ("x".repeat(101), false), ("+20".repeat(100), true)] {
            assert_eq!(Dsn::of_mail([format!("ENVID={text}").as_str()]).0.is_empty(), !fits, "{text}");
        }
        let long = format!("ORCPT=rfc822;{}", "x".repeat(500));
        assert!(Dsn::of_rcpt([long.as_str()]).0.is_empty());
    }
}
