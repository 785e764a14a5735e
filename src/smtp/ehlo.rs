//! What a server says that it can do (RFC 5321 section 4.1.1.1).

use crate::mail::Reply;

/// The extensions in a reply to EHLO. Unknown keywords are skipped, case does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions {
    /// SIZE (RFC 1870): offered, and the limit in octets; 0 means that no limit is told.
    pub size: Option<u64>,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// The mechanisms of AUTH (RFC 4954) in upper case, in the server's order. Also those of `AUTH=`,
    /// which servers keep for clients from before the RFC.
    pub auth: Vec<String>,
    /// LIMITS RCPTMAX (RFC 9422): the most RCPTs of one transaction.
    pub rcpt_max: Option<u64>,
    /// LIMITS MAILMAX (RFC 9422): the most transactions of one session.
    pub mail_max: Option<u64>,
}

impl Extensions {
    /// Reads the reply. Its first line names the server and is no capability, whatever it says.
    pub fn from_reply(reply: &Reply) -> Self {
        let mut extensions = Extensions::default();
        for line in reply.text.iter().skip(1) {
            extensions.read_line(&line.to_ascii_uppercase());
        }
        extensions
    }

    /// The limit of the server on the size of a message, if it tells one.
    pub fn size_limit(&self) -> Option<u64> {
        self.size.filter(|&limit| limit > 0)
    }

    fn read_line(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("SIZE") => self.size = Some(words.next().and_then(|n| n.parse().ok()).unwrap_or(0)),
            Some("PIPELINING") => self.pipelining = true,
            Some("8BITMIME") => self.eight_bit_mime = true,
            Some("SMTPUTF8") => self.smtputf8 = true,
            Some("STARTTLS") => self.starttls = true,
            Some("ENHANCEDSTATUSCODES") => self.enhanced_status_codes = true,
            Some("CHUNKING") => self.chunking = true,
            Some("DSN") => self.dsn = true,
            Some("LIMITS") => words.for_each(|limit| self.read_limit(limit)),
            Some("AUTH") => self.add_mechanisms(words),
            Some(word) => {
                if let Some(first) = word.strip_prefix("AUTH=") {
                    self.add_mechanisms(Some(first).into_iter().chain(words));
                }
            }
            None => {}
        }
    }

    fn read_limit(&mut self, limit: &str) {
        // A limit of zero would forbid everything; nobody can mean that.
        let value = |text: &str| text.parse().ok().filter(|&n: &u64| n > 0);
        match limit.split_once('=') {
            Some(("RCPTMAX", n)) => self.rcpt_max = value(n).or(self.rcpt_max),
            Some(("MAILMAX", n)) => self.mail_max = value(n).or(self.mail_max),
            _ => {}
        }
    }

    fn add_mechanisms<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names.filter(|name| !name.is_empty()) {
            if !self.auth.iter().any(|known| known == name) {
                self.auth.push(name.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Extensions {
        let text = lines.iter().map(|&line| line.to_owned()).collect();
        Extensions::from_reply(&Reply { code: 250, enhanced: None, text })
    }

    #[test]
    fn every_keyword_is_known_in_any_case() {
        let extensions = read(&[
            "mx.example.com greets you",
            "size 1000",
            "Pipelining",
            "8bitmime",
            "SmtpUtf8",
            "starttls",
            "EnhancedStatusCodes",
            "chunking",
            "dsn",
            "auth plain Login",
            "AUTH=LOGIN CRAM-MD5",
            "limits rcptmax=20 MAILMAX=5 RCPTDOMAINMAX=1 mailmax=x",
            "X-SOMETHING else",
        ]);
        let all = Extensions {
            size: Some(1000),
            pipelining: true,
            eight_bit_mime: true,
            smtputf8: true,
            starttls: true,
            enhanced_status_codes: true,
            chunking: true,
            dsn: true,
            auth: vec!["PLAIN".into(), "LOGIN".into(), "CRAM-MD5".into()],
            rcpt_max: Some(20),
            mail_max: Some(5),
        };
        assert_eq!(extensions, all);
        assert_eq!(extensions.size_limit(), Some(1000));
    }

    #[test]
    fn the_first_line_is_a_name_and_no_capability() {
        assert_eq!(read(&["STARTTLS", ""]), Extensions::default());
    }

    #[test]
    fn size_without_a_number_and_zero_limits_bind_nobody() {
        for line in ["SIZE", "SIZE 0", "SIZE many"] {
            let extensions = read(&["mx", line, "LIMITS RCPTMAX=0"]);
            assert_eq!(
                (extensions.size, extensions.size_limit(), extensions.rcpt_max),
                (Some(0), None, None)
            );
        }
    }
}
