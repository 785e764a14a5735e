//! Every answer that a server can give, and what is made of it: one table, first match wins.
//!
//! With a message in transaction the first digit decides (the last three rows), and the rows above are the exceptions. Of an
//! enhanced code only subject and detail are looked at. Where its class contradicts the reply code (`550 4.2.1`,
//! `450 5.1.1`) the reply code stands: RFC 5321 section 4.2 has a client act by it, and RFC 2034 section 4 has the server send
//! the two alike, so that one of them is a mistake, and nobody can tell from here which.

use std::ops::RangeInclusive;

use super::{Class, Reach};
use crate::mail::{Reply, Stage};

/// One row: what is said where, what it means, and why.
pub(super) struct Row {
    stages: &'static [Stage],
    codes: RangeInclusive<u16>,
    about: About,
    /// Stands in the text. There is one row with it.
    words: &'static str,
    pub(super) class: Class,
    /// RFC and section, or the provider.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for whoever reads the table; a test holds that it is there")
    )]
    why: &'static str,
    /// What the operator can do.
    pub(super) cure: Option<&'static str>,
}

/// Subject and detail of the enhanced code (RFC 3463).
enum About {
    /// Whatever they are, and without any.
    Any,
    /// There is no enhanced code.
    Bare,
    /// One of these.
    One(&'static [(u16, u16)]),
}

use About::{Any, Bare, One};
use Class::{Configuration, Deferral, Failure, Session, Split};
use Reach::{Everyone, PerhapsOne};
use Stage::{
    Auth, Body, Connect, Data, Ehlo, FinalDot, Greeting, Idle, Mail, Quit, Rcpt, Rset, StartTls, Tls,
};

/// There is a message that could be charged.
const MESSAGE: &[Stage] = &[Mail, Rcpt, Data, Body, FinalDot];
const WITHOUT_MESSAGE: &[Stage] = &[Connect, Tls, Greeting, Ehlo, StartTls, Auth, Rset, Quit, Idle];
const ANYWHERE: &[Stage] =
    &[Connect, Tls, Greeting, Ehlo, StartTls, Auth, Mail, Rcpt, Data, Body, FinalDot, Rset, Quit, Idle];

/// Refused whoever sends to whom.
const LOGIN: Class = Configuration(Everyone);
/// Refused for this sender, or for where it goes.
const THIS_ONE: Class = Configuration(PerhapsOne);

const LOG_IN: &str = "the server wants a login: set user and password in [[smarthost]]";
const CHECK_LOGIN: &str = "check user and password in [[smarthost]], and auth if it is set";
const ENCRYPT: &str = "the server wants TLS before anything else: set tls = \"required\" in [[smarthost]]";
const OTHER_LOGIN: &str = "the server wants another login for this user: a password for applications, a token, or \
    another mechanism (auth in [[smarthost]])";
const NO_PASSWORDS: &str = "this provider has switched logins by password off: use an OAuth 2.0 token (token in \
    [[smarthost]]), have SMTP AUTH allowed for this user, or have a connector made that knows this box by its address or \
    certificate";
const SENDER: &str = "this login may not send as the sender of the message: give it a From that is the login's address (from \
    in [identity] stands in where a message has none), or have the login allowed to send as others";
const RELAY: &str = "the server does not relay for this box: set user and password in [[smarthost]], or have whoever runs \
    the server let this box in by its address or certificate";

pub(super) static TABLE: &[Row] = &[
    // The session ends, whatever was asked.
    on(ANYWHERE, 421..=421, Any).is(Session, "RFC 5321 section 3.8: the server is going"),
    // The login; in front of it what looks like it and is not.
    on(&[Body, FinalDot], 554..=554, One(&[(7, 9)])).is(Failure, "Yahoo, of a message: it breaks our policy on mail"),
    on(ANYWHERE, 400..=599, One(&[(7, 30), (7, 139)]))
        .is(LOGIN, "Exchange Online: no logins by password")
        .cure(NO_PASSWORDS),
    on(ANYWHERE, 400..=599, One(&[(7, 57)])).is(LOGIN, "Exchange: not logged in").cure(LOG_IN),
    on(ANYWHERE, 400..=599, One(&[(7, 11)])).is(LOGIN, "RFC 4954 section 6: encryption needed").cure(ENCRYPT),
    on(ANYWHERE, 538..=538, Any).is(LOGIN, "RFC 4954 section 6: encryption needed").cure(ENCRYPT),
    on(ANYWHERE, 400..=599, One(&[(7, 9)]))
        .is(LOGIN, "RFC 4954 section 6: too weak; Gmail: a password for applications")
        .cure(OTHER_LOGIN),
    on(ANYWHERE, 534..=534, Any).is(LOGIN, "RFC 4954 section 6: too weak").cure(OTHER_LOGIN),
    on(ANYWHERE, 530..=530, Any).is(LOGIN, "RFC 4954 section 6: a login; RFC 3207 section 4: TLS").cure(
        "the server wants a login, or TLS before it: set user and password, or tls = \"required\", in [[smarthost]]",
    ),
    on(ANYWHERE, 535..=535, Any).is(LOGIN, "RFC 4954 section 6: credentials invalid").cure(CHECK_LOGIN),
    on(ANYWHERE, 400..=599, One(&[(7, 8)]))
        .is(LOGIN, "RFC 4954 section 6: credentials invalid")
        .cure(CHECK_LOGIN),
    on(&[Auth], 432..=432, One(&[(3, 2)]))
        .is(Session, "Exchange Online: three sessions of one user at a time")
        .cure("this user has more sessions than the provider allows: it is tried again"),
    on(&[Auth], 432..=432, Any).is(LOGIN, "RFC 4954 section 6: a password transition is needed").cure(
        "the server has this password in another form: log in once with auth = \"PLAIN\" in [[smarthost]], over TLS",
    ),
    on(&[Auth], 400..=499, Any)
        .is(Session, "RFC 4954 section 6: 454, a fault of the server; Gmail: too many logins")
        .cure("the login was not judged, or there were too many: it is tried again, each time later"),
    on(&[Auth], 500..=599, Any)
        .is(LOGIN, "RFC 4954 section 4: refused in other words")
        .cure(CHECK_LOGIN),
    // Before a transaction and between two there is no message to charge.
    on(&[Greeting], 0..=u16::MAX, Any)
        .is(Session, "RFC 5321 section 3.1: 554, not to this box; RFC 7504: 521, to nobody")
        .cure("the server does not want to talk to this box: ask who runs it"),
    on(&[Ehlo], 500..=599, Any)
        .is(Session, "RFC 5321 section 3.2: refused, and HELO as well if that was allowed")
        .cure("the server does not greet this box: check hostname in [identity], and that url names a mail server"),
    on(WITHOUT_MESSAGE, 0..=u16::MAX, Any)
        .is(Session, "nothing is in transaction; RFC 3207 section 4: 454, no TLS to be had now"),
    // From here on a message is in transaction.
    on(MESSAGE, 503..=503, Any).is(Session, "RFC 5321 section 4.2.4: we and the server are out of step"),
    on(&[Mail], 521..=521, Any).is(Session, "RFC 7504 section 3: a host that takes mail from nobody"),
    on(MESSAGE, 500..=599, One(&[(7, 60)]))
        .is(THIS_ONE, "Exchange: this login may not send as this sender")
        .cure(SENDER),
    on(&[Mail, Rcpt], 553..=553, One(&[(7, 1)]))
        .is(THIS_ONE, "Postfix: the sender's address is not this user's")
        .cure(SENDER),
    on(MESSAGE, 500..=599, One(&[(7, 54), (7, 64)]))
        .is(THIS_ONE, "Exchange, Exchange Online: no relaying for this box")
        .cure(RELAY),
    // RFC 5321 section 4.5.3.1.10: too many recipients, 552 in the words of RFC 821.
    on(&[Rcpt], 452..=452, Any).is(Split, "too many recipients (4.5.3); of a full disk (4.3.1) the next RCPT tells"),
    on(&[Rcpt], 552..=552, Bare).is(Split, "too many recipients; of a full mailbox the next RCPT tells"),
    on(&[Rcpt], 552..=552, One(&[(5, 3)])).is(Split, "too many recipients"),
    // A provider's quotas wait, whatever the first digit.
    on(MESSAGE, 400..=599, One(&[(3, 2)]))
        .is(Deferral, "RFC 3463 section 3.4: takes nothing now; Exchange Online: sender thread limit (432 4.3.2)"),
    on(MESSAGE, 554..=554, One(&[(2, 0)]))
        .says("QuotaExceeded")
        .is(Deferral, "Exchange Online: a quota is used up, of which no code tells"),
    // Failures that have a name.
    on(&[Mail], 552..=552, Any).is(Failure, "RFC 1870 section 6.1: larger than the server takes"),
    on(&[Rcpt], 552..=552, Any).is(Failure, "RFC 5321 section 4.2.2: that mailbox is full (5.2.2)"),
    on(&[Mail, Rcpt], 555..=555, Any).is(Failure, "RFC 5321 section 4.1.1.11: a parameter, or the address"),
    // The first digit.
    on(MESSAGE, 400..=499, Any).is(Deferral, "RFC 5321 section 4.2.1: transient"),
    on(MESSAGE, 500..=599, Any)
        .is(Failure, "RFC 5321 section 4.2.1: permanent, also where nobody has defined the code (section 4.3.2)"),
    on(MESSAGE, 0..=u16::MAX, Any).is(Deferral, "no code of SMTP, or out of place: not understood is temporary"),
];

const fn on(stages: &'static [Stage], codes: RangeInclusive<u16>, about: About) -> Row {
    Row { stages, codes, about, words: "", class: Deferral, why: "", cure: None }
}

impl Row {
    const fn says(self, words: &'static str) -> Row {
        Row { words, ..self }
    }

    const fn is(self, class: Class, why: &'static str) -> Row {
        Row { class, why, ..self }
    }

    const fn cure(self, cure: &'static str) -> Row {
        Row { cure: Some(cure), ..self }
    }

    #[cfg(test)]
    pub(super) fn why(&self) -> &'static str {
        self.why
    }

    fn is_about(&self, stage: Stage, reply: &Reply) -> bool {
        let about = match self.about {
            Any => true,
            Bare => reply.enhanced.is_none(),
            One(these) => these.iter().any(|(subject, detail)| reply.is_about(*subject, *detail)),
        };
        about
            && self.stages.contains(&stage)
            && self.codes.contains(&reply.code)
            && (self.words.is_empty() || reply.text.iter().any(|line| line.contains(self.words)))
    }
}

/// The row of a reply that is not the one hoped for. That there is always one is held by a test.
pub(super) fn find(stage: Stage, reply: &Reply) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.is_about(stage, reply))
}
