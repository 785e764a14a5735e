//! Who sends, and to whom: what MAIL and RCPT say.

use std::fmt;

use super::{Dsn, Mailbox};

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
    /// What is asked of notifications about the message.
    pub dsn: Dsn,
    /// The same for each recipient.
    rcpt_dsn: Vec<Dsn>,
}

impl Envelope {
    /// `None` without a recipient; a recipient named twice is kept once.
    pub fn new(reverse_path: ReversePath, recipients: impl IntoIterator<Item = Mailbox>) -> Option<Self> {
        let mut seen = std::collections::HashSet::new();
        let forward_paths: Vec<Mailbox> = recipients.into_iter().filter(|m| seen.insert(m.clone())).collect();
        let rcpt_dsn = vec![Dsn::default(); forward_paths.len()];
        (!forward_paths.is_empty()).then_some(Envelope {
            reverse_path,
            forward_paths,
            dsn: Dsn::default(),
            rcpt_dsn,
        })
    }

    /// Sets what is asked of notifications about one recipient; nothing if it is none.
    pub fn set_rcpt_dsn(&mut self, mailbox: &Mailbox, dsn: Dsn) {
        if let Some(at) = self.forward_paths.iter().position(|known| known == mailbox) {
            self.rcpt_dsn[at] = dsn;
        }
    }

    /// The recipients, each with what is asked of notifications about it.
    pub fn recipients(&self) -> impl Iterator<Item = (&Mailbox, &Dsn)> {
        self.forward_paths.iter().zip(&self.rcpt_dsn)
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
