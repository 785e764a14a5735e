//! Queue files of nullmailer, and of msmtpq and msmtpqueue: who a message is from and for, and where it begins.

use crate::mail::Mailbox;

/// The envelope of a queued message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// The sender, empty for none; `None`: with [`to`](Self::to), that of the message.
    pub from: Option<String>,
    /// The recipients, maybe without a domain; empty: those of the message.
    pub to: Vec<String>,
    /// Where the message begins, octets.
    pub message_at: usize,
}

/// Why a file is no message that can be taken: what it should be, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotQueued(pub String);

/// Longest that may stand in front of the message: a hundred thousand recipients.
const HEAD_MAX: usize = 32 << 20;

/// A file of nullmailer's `queue/`: a line with the sender, one or more with a recipient, an empty line, the message
/// (nullmailer-queue(8)). An empty first line is the null reverse-path.
///
/// # Errors
///
/// What it is instead.
pub fn nullmailer(bytes: &[u8]) -> Result<Queued, NotQueued> {
    let head = &bytes[..bytes.len().min(HEAD_MAX)];
    let mut at = 0;
    let mut next = || -> Option<&[u8]> {
        let end = head.get(at..)?.iter().position(|octet| *octet == b'\n')?;
        let line = &head[at..at + end];
        at += end + 1;
        Some(line)
    };
    let address = |line: &[u8]| -> Result<String, NotQueued> {
        let text =
            std::str::from_utf8(line).map_err(|_| NotQueued("expected an address, found no text".into()))?;
        Ok(text.parse::<Mailbox>().map_err(|error| NotQueued(error.to_string()))?.as_str().to_owned())
    };
    let cut = || NotQueued("expected sender, recipients, an empty line and a message: it is cut off".into());
    let from = match next().ok_or_else(cut)? {
        b"" => String::new(),
        line => address(line)?,
    };
    let mut to = Vec::new();
    loop {
        match next().ok_or_else(cut)? {
            b"" => break,
            line => to.push(address(line)?),
        }
    }
    if to.is_empty() {
        return Err(NotQueued("expected a recipient in its second line, found none".into()));
    }
    if bytes.len() == at {
        return Err(NotQueued("expected a message behind the recipients, found none".into()));
    }
    Ok(Queued { from: Some(from), to, message_at: at })
}

/// The command line that msmtpq keeps beside a message, as `echo "$@"` wrote it: quotes are lost, so that words are split at
/// white space alone.
///
/// # Errors
///
/// What in it cannot be done here.
pub fn msmtpq(text: &str) -> Result<Queued, NotQueued> {
    let mut words = text.split_whitespace();
    let mut from = None;
    let mut to = Vec::new();
    let mut reads_header = false;
    let missing = |option: &str| NotQueued(format!("expected a value behind {option}"));
    while let Some(word) = words.next() {
        match word {
            "--" => {
                to.extend(words.by_ref());
            }
            "-t" | "--read-recipients" => reads_header = true,
            // The sender of the header is what stands in for it here anyway.
            "--read-envelope-from" => from = None,
            "-f" | "-r" | "--from" => from = Some(words.next().ok_or_else(|| missing(word))?),
            // How it is connected, logged in and logged is the configuration's matter.
            "-a" | "-C" | "-F" | "-N" | "-R" | "-V" | "-X" | "-L" | "-O" | "-h" => {
                words.next().ok_or_else(|| missing(word))?;
            }
            // An o takes its value with it, and says nothing that is of use here.
            _ if word.starts_with("-o") || word.starts_with("-B") => {}
            "-i" | "-m" | "-n" | "-U" | "-v" | "-bm" => {}
            _ if word.starts_with("--from=") => from = word.split_once('=').map(|(_, value)| value),
            _ if word.starts_with("--") => {}
            _ if word.starts_with("-f") || word.starts_with("-r") => from = Some(&word[2..]),
            _ if word.starts_with("-a") || word.starts_with("-C") || word.starts_with("-F") => {}
            _ if word.starts_with('-') && word.len() > 1 => {
                return Err(NotQueued(format!("expected options of msmtp, found {word:?}")));
            }
            _ => to.push(word),
        }
    }
    if !reads_header && to.is_empty() {
        return Err(NotQueued("expected recipients, or -t, found neither".into()));
    }
    if reads_header && !to.is_empty() {
        return Err(NotQueued(
            "expected recipients or -t, found both: they are added to those of the header".into(),
        ));
    }
    let address = |text: &str| match text.trim_matches(['<', '>']) {
        // The null reverse-path, or a name that domain completes.
        text if !text.contains('@') => Ok(text.to_owned()),
        text => text.parse::<Mailbox>().map(|m| m.as_str().to_owned()).map_err(|e| NotQueued(e.to_string())),
    };
    let to = to.into_iter().map(address).collect::<Result<Vec<_>, _>>()?;
    let from = from.map(address).transpose()?;
    Ok(Queued { from, to, message_at: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_of_msmtp_says_who_and_whom() {
        let rows: [(&str, Option<&str>, &[&str]); 8] = [
            ("-t", None, &[]),
            ("--read-recipients --from=a@example.com", Some("a@example.com"), &[]),
            (
                "-oi -f a@example.com -- b@example.com c@example.com",
                Some("a@example.com"),
                &["b@example.com", "c@example.com"],
            ),
            ("-fa@example.com b@example.com", Some("a@example.com"), &["b@example.com"]),
            ("-f <> root", Some(""), &["root"]),
            ("-a work -C /etc/msmtprc -i <b@example.com>", None, &["b@example.com"]),
            ("--tls=on --host=h -v b@example.com", None, &["b@example.com"]),
            ("-N delay -R hdrs -r x@example.com b@example.com", Some("x@example.com"), &["b@example.com"]),
        ];
        for (text, from, to) in rows {
            let queued = msmtpq(text).unwrap();
            assert_eq!(queued.from.as_deref(), from, "{text}");
            assert_eq!(queued.to, to, "{text}");
        }
    }

    #[test]
    fn a_command_line_that_is_not_understood_is_no_envelope() {
        for text in
            ["", "-t b@example.com", "-f", "-Z b@example.com", "Name b@example.com@", "-f a@ b@example.com"]
        {
            assert!(msmtpq(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_message_begins_behind_the_first_empty_line_that_follows_a_recipient() {
        let queued = nullmailer(b"a@example.com\nb@example.com\n\n\nbody").unwrap();
        assert_eq!((queued.from.as_deref(), queued.message_at), (Some("a@example.com"), 29));
        let queued = nullmailer(b"\nb@example.com\n\nx").unwrap();
        assert_eq!((queued.from.as_deref(), queued.to), (Some(""), vec!["b@example.com".to_owned()]));
        for cut in 0..29 {
            assert!(nullmailer(&b"a@example.com\nb@example.com\n\n\nbody"[..cut]).is_err(), "{cut}");
        }
    }
}
