//! How a session is to be held.

use std::time::Duration;

use super::Login;

/// What a session is given when it begins.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// What is spoken.
    pub protocol: Protocol,
    /// The argument of EHLO or LHLO: a host name, or an address literal in brackets.
    pub hostname: String,
    /// Whether and how the connection is encrypted.
    pub tls: TlsMode,
    /// Who logs in, if anybody.
    pub login: Option<Login>,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// How much is sent without a reply between.
    pub pipelining: Pipelining,
    /// So many transactions at most, whatever the server's MAILMAX (RFC 9422) allows beyond.
    pub messages_max: Option<u64>,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// RFC 5321.
    #[default]
    Smtp,
    /// RFC 2033: LHLO, and behind the final dot a reply for each recipient that was taken.
    Lmtp,
}

/// How much is sent without a reply between, where the server offers PIPELINING (RFC 2920). Without the offer each
/// request waits for the reply to the one before, whatever is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pipelining {
    /// Nothing: a message takes a round trip for each request and one for its text.
    Off,
    /// MAIL, every RCPT and DATA of a message: two round trips a message.
    Group,
    /// Also behind the final dot of the message before, if the caller hands the next one in
    /// ([`Session::begin_behind`](super::Session::begin_behind)): one round trip a message. Not with LMTP, where it is a
    /// [`Pipelining::Group`].
    #[default]
    Overlap,
}

/// When TLS is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    None,
    /// By STARTTLS (RFC 3207), or the session ends.
    StartTlsRequired,
    /// By STARTTLS if the server offers it. With a login it is required all the same: someone in the
    /// middle could take the offer out, and the password would follow in the clear.
    StartTlsIfOffered,
    /// It stood before the session began (RFC 8314 section 3.3).
    Implicit,
}

/// The most that each step may take, from the request to the last octet of its reply. The defaults are the
/// least values of RFC 5321 section 4.5.3.2 where it names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// Looking up the name and connecting, over all its addresses.
    pub connect: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// The 220 of the greeting.
    pub greeting: Duration,
    /// EHLO and HELO.
    pub ehlo: Duration,
    /// STARTTLS.
    pub starttls: Duration,
    /// Each line of AUTH.
    pub auth: Duration,
    /// MAIL.
    pub mail: Duration,
    /// Each RCPT.
    pub rcpt: Duration,
    /// DATA.
    pub data: Duration,
    /// Writing one block of the message.
    pub block: Duration,
    /// The reply to the final dot. Giving up early makes duplicates (RFC 1047), so this is never shortened.
    pub final_dot: Duration,
    /// RSET.
    pub rset: Duration,
    /// QUIT, after which nothing depends on the reply.
    pub quit: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Timeouts {
            connect: MINUTE,
            tls: MINUTE,
            greeting: 5 * MINUTE,
            ehlo: 5 * MINUTE,
            starttls: 5 * MINUTE,
            auth: 5 * MINUTE,
            mail: 5 * MINUTE,
            rcpt: 5 * MINUTE,
            data: 2 * MINUTE,
            block: 3 * MINUTE,
            final_dot: 10 * MINUTE,
            rset: 5 * MINUTE,
            quit: Duration::from_secs(5),
        }
    }
}

impl Timeouts {
    /// The defaults, none above `general`, except that of the final dot.
    pub fn at_most(general: Duration) -> Self {
        let t = Timeouts::default();
        Timeouts {
            connect: t.connect.min(general),
            tls: t.tls.min(general),
            greeting: t.greeting.min(general),
            ehlo: t.ehlo.min(general),
            starttls: t.starttls.min(general),
            auth: t.auth.min(general),
            mail: t.mail.min(general),
            rcpt: t.rcpt.min(general),
            data: t.data.min(general),
            block: t.block.min(general),
            final_dot: t.final_dot,
            rset: t.rset.min(general),
            quit: t.quit.min(general),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_dot_is_waited_for_whatever_the_general_time_out() {
        let t = Timeouts::at_most(Duration::from_secs(30));
        assert_eq!(
            (t.mail, t.block, t.quit),
            (Duration::from_secs(30), Duration::from_secs(30), Duration::from_secs(5))
        );
        assert_eq!(t.final_dot, Duration::from_secs(600));
        assert_eq!(Timeouts::at_most(Duration::MAX), Timeouts::default());
    }
}
