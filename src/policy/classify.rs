//! One reply at one stage: whose fault is it, and for how long?

use crate::mail::{Reply, Severity, Stage};

/// What a reply that is not a success says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It is about the session, the login or the configuration: no message is charged.
    Session,
    /// It is about this message or recipient, for now.
    Deferral,
    /// It is about this message or recipient, for good.
    Failure,
}

/// Judges a reply that is not the one hoped for at `stage`.
pub fn classify(stage: Stage, reply: &Reply) -> Class {
    match stage {
        Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Body | Stage::FinalDot => {}
        // Before a transaction and between two there is no message to charge.
        _ => return Class::Session,
    }
    match reply.code {
        // RFC 5321 section 3.8: to any command, the server is going.
        421 => Class::Session,
        // Sequence of commands: we and the server are out of step (RFC 5321 section 4.3.2).
        503 => Class::Session,
        // Login required, too weak, refused, or TLS required first (RFC 4954 section 6, RFC 3207 section 4).
        530 | 534 | 535 | 538 => Class::Session,
        // To a whole message a large provider says with this code that it breaks the provider's policy (554 5.7.9).
        _ if stage == Stage::FinalDot && reply.code == 554 && reply.is_about(7, 9) => Class::Failure,
        _ if is_about_the_login(reply) => Class::Session,
        // "Too many recipients" in the words of RFC 821; 552 of a mailbox (5.2.2) is that mailbox's failure
        // (RFC 5321 section 4.5.3.1.10).
        552 if stage == Stage::Rcpt && (reply.enhanced.is_none() || reply.is_about(5, 3)) => Class::Deferral,
        _ => match reply.severity() {
            Severity::Permanent => Class::Failure,
            Severity::Transient | Severity::Undefined | Severity::Completed | Severity::Intermediate => {
                Class::Deferral
            }
        },
    }
}

/// X.7.8 credentials invalid, X.7.9 mechanism too weak, X.7.11 encryption needed (RFC 4954 section 6, RFC 5248),
/// and the codes by which a large provider says that it does not take this login: X.7.30 password logins are
/// switched off, X.7.57 not logged in, X.7.139 login switched off.
fn is_about_the_login(reply: &Reply) -> bool {
    [8, 9, 11, 30, 57, 139].into_iter().any(|detail| reply.is_about(7, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Class::{Deferral, Failure, Session};
    use Stage::{Auth, Data, Ehlo, FinalDot, Greeting, Mail, Rcpt, StartTls};

    /// Stage, reply, and what it says.
    const TABLE: &[(Stage, &str, Class)] = &[
        (Greeting, "421", Session),
        (Greeting, "554 5.7.1", Session),
        (Ehlo, "550", Session),
        (StartTls, "454 4.7.0", Session),
        (Auth, "535 5.7.8", Session),
        (Auth, "454 4.7.0", Session),
        (Mail, "421 4.3.2", Session),
        (Rcpt, "421", Session),
        (Data, "421", Session),
        (FinalDot, "421", Session),
        (Mail, "451 4.3.0", Deferral),
        (Mail, "452 4.3.1", Deferral),
        (Mail, "455", Deferral),
        (Mail, "503 5.5.1", Session),
        (Mail, "530 5.7.0", Session),
        (Mail, "530", Session),
        (Mail, "534 5.7.9", Session),
        (Mail, "535 5.7.139", Session),
        (Mail, "538", Session),
        (Mail, "550 5.7.30", Session),
        (Mail, "550 5.7.57", Session),
        (Mail, "550 5.7.1", Failure),
        (Mail, "552 5.3.4", Failure),
        (Mail, "553", Failure),
        (Mail, "571", Failure),
        (Rcpt, "450 4.2.0", Deferral),
        (Rcpt, "451", Deferral),
        (Rcpt, "452 4.5.3", Deferral),
        (Rcpt, "550 5.1.1", Failure),
        (Rcpt, "551", Failure),
        (Rcpt, "552", Deferral),
        (Rcpt, "552 5.5.3", Deferral),
        (Rcpt, "552 5.2.2", Failure),
        (Rcpt, "553 5.1.3", Failure),
        (Rcpt, "554 5.7.1", Failure),
        (Rcpt, "530 5.7.0", Session),
        (Data, "451 4.3.0", Deferral),
        (Data, "554 5.5.1", Failure),
        (Data, "250", Deferral),
        (FinalDot, "451 4.7.1", Deferral),
        (FinalDot, "452 4.3.1", Deferral),
        (FinalDot, "552 5.3.4", Failure),
        (FinalDot, "554 5.6.0", Failure),
        (FinalDot, "535 5.7.8", Session),
        (FinalDot, "554 5.7.9", Failure),
        (FinalDot, "550 5.7.30", Session),
        (FinalDot, "354", Deferral),
        (FinalDot, "199", Deferral),
        (FinalDot, "677", Deferral),
    ];

    #[test]
    fn each_reply_at_each_stage_is_charged_to_whom_it_concerns() {
        for (stage, said, class) in TABLE {
            let (code, enhanced) = said.split_once(' ').unwrap_or((said, ""));
            let reply =
                Reply { code: code.parse().unwrap(), enhanced: enhanced.parse().ok(), text: Vec::new() };
            assert_eq!(classify(*stage, &reply), *class, "{said} in reply to {}", stage.request());
        }
    }

    #[test]
    fn the_text_of_a_reply_never_decides() {
        for text in ["535 authentication failed", "quota exceeded", "421", ""] {
            let reply = Reply { code: 550, enhanced: None, text: vec![text.into()] };
            assert_eq!(classify(Rcpt, &reply), Failure);
        }
    }
}
