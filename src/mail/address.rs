//! One address of an envelope.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// `local-part@domain` (RFC 5321 section 4.1.2, RFC 6531 section 3.3), valid by construction.
///
/// lettre's [`lettre::Address`] is the judge of what is valid; it refuses line ends, spaces and angle
/// brackets, so an address cannot carry a second command. Two addresses are equal if their local parts
/// are equal to the byte and their domains are equal without regard to case (RFC 5321 section 2.4).
#[derive(Clone)]
pub struct Mailbox(lettre::Address);

/// Why a text is not an address: a fragment that fits after "expected an address, found ...".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxError {
    found: String,
    why: String,
}

impl Mailbox {
    /// The part before the last `@`.
    pub fn local_part(&self) -> &str {
        self.0.user()
    }

    /// The part behind the last `@`.
    pub fn domain(&self) -> &str {
        self.0.domain()
    }

    /// Whether the address needs SMTPUTF8 (RFC 6531 section 3.2).
    pub fn is_internationalized(&self) -> bool {
        !AsRef::<str>::as_ref(&self.0).is_ascii()
    }

    /// The address as the type that lettre's commands take.
    pub fn as_lettre(&self) -> &lettre::Address {
        &self.0
    }

    /// `local-part@domain`.
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }
}

impl FromStr for Mailbox {
    type Err = MailboxError;

    fn from_str(text: &str) -> Result<Self, MailboxError> {
        let error = |why: &str| MailboxError { found: text.chars().take(100).collect(), why: why.to_owned() };
        // A path is at most 256 octets with its brackets (RFC 5321 section 4.5.3.1.3).
        if text.len() > 254 {
            return Err(error("it is longer than 254 octets"));
        }
        text.parse::<lettre::Address>().map(Mailbox).map_err(|e| error(&e.to_string().to_lowercase()))
    }
}

impl PartialEq for Mailbox {
    fn eq(&self, other: &Self) -> bool {
        self.local_part() == other.local_part() && self.domain().eq_ignore_ascii_case(other.domain())
    }
}

impl Eq for Mailbox {}

impl Hash for Mailbox {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.local_part().hash(state);
        self.domain().to_ascii_lowercase().hash(state);
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{self}>")
    }
}

impl fmt::Display for MailboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected an address, found {:?}: {}", self.found, self.why)
    }
}

impl std::error::Error for MailboxError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_compare_without_case_and_local_parts_with() {
        let a: Mailbox = "Ops@Example.com".parse().unwrap();
        assert_eq!(a, "Ops@example.COM".parse().unwrap());
        assert_ne!(a, "ops@example.com".parse().unwrap());
    }

    #[test]
    fn nothing_that_could_end_a_command_is_an_address() {
        for text in ["a@b\r\nRCPT TO:<c@d>", "a@b> <c@d", "a b@c", "", "a", "a@", "@b", "a\0@b", "a@b\n"] {
            assert!(text.parse::<Mailbox>().is_err(), "{text:?} was taken");
        }
        assert!(format!("{}@b", "x".repeat(300)).parse::<Mailbox>().is_err());
    }
}
