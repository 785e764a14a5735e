//! Who sends, and to whom: what MAIL and RCPT say.

use std::fmt;

use super::Mailbox;

/// The argument of MAIL FROM (RFC 5321 section 4.1.1.2). The null reverse-path is a value of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: of failure reports and other mail that must never be answered by mail.
    Null,
    /// An address that failure reports may go to.
    Mailbox(Mailbox),
}

/// What a transaction is about, apart from the message itself. Never without a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The sender.
    pub reverse_path: ReversePath,
    /// The recipients, each once, in the order in which they were found.
    forward_paths: Vec<Mailbox>,
}

impl Envelope {
    /// `None` without a recipient; a recipient named twice is kept once.
    pub fn new(reverse_path: ReversePath, recipients: impl IntoIterator<Item = Mailbox>) -> Option<Self> {
        let mut seen = std::collections::HashSet::new();
        let forward_paths: Vec<Mailbox> = recipients.into_iter().filter(|m| seen.insert(m.clone())).collect();
        (!forward_paths.is_empty()).then_some(Envelope { reverse_path, forward_paths })
    }

    /// The recipients; at least one, no two equal.
    pub fn forward_paths(&self) -> &[Mailbox] {
        &self.forward_paths
    }
}

impl ReversePath {
    /// The address, if it is not the null reverse-path.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => Some(mailbox),
        }
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => f.write_str("<>"),
            ReversePath::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipient_named_twice_is_kept_once_in_the_first_place() {
        let to = |t: &str| t.parse::<Mailbox>().unwrap();
        let e = Envelope::new(ReversePath::Null, [to("a@x.org"), to("b@x.org"), to("a@X.org")]).unwrap();
        assert_eq!(e.forward_paths(), [to("a@x.org"), to("b@x.org")]);
        assert_eq!(Envelope::new(ReversePath::Null, []), None);
    }
}
