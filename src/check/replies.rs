//! What a reply or the end of a session is called here. Pure.
//!
//! By codes, as in `policy`; where that has one class for several causes (a refused login, for one), more codes are told apart.

use super::Cause;
use crate::mail::{Reply, Severity, Stage};
use crate::net::{CertificateFault, TlsFault};
use crate::policy::{Class, classify};
use crate::smtp::{EndCause, SessionEnd};

/// What is known of the session in which it was said.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Setting {
    /// It is encrypted.
    pub(super) inside_tls: bool,
    /// STARTTLS is offered.
    pub(super) offers_starttls: bool,
    /// Any AUTH is offered.
    pub(super) offers_login: bool,
    /// The login is by a token.
    pub(super) by_token: bool,
}

/// Of a session that ended.
pub(super) fn of_end(end: &SessionEnd, setting: Setting) -> Cause {
    match (&end.why, end.stage) {
        (EndCause::Reply(reply), stage) => of_reply(stage, reply, setting),
        (EndCause::NotOffered(_), Stage::Ehlo) => Cause::NotLmtp,
        (EndCause::NotOffered(_), Stage::Auth) if setting.offers_login => Cause::MechanismNotOffered,
        (EndCause::NotOffered(_), Stage::Auth) if !setting.inside_tls && setting.offers_starttls => {
            Cause::EncryptionRequired
        }
        (EndCause::NotOffered(_), Stage::Auth) => Cause::LoginNotOffered,
        (EndCause::NotOffered(_), _) => Cause::StartTlsNotOffered,
        (EndCause::Tls(_), _) => Cause::ClientCertificateRefused,
        (EndCause::TimedOut(_), Stage::Greeting) => Cause::NoGreeting,
        (EndCause::TimedOut(_), _) => Cause::ServerSilent,
        (EndCause::Protocol(_), Stage::Greeting) => Cause::NotSmtp,
        (EndCause::Protocol(_) | EndCause::Source(_), _) => Cause::NotUnderstood,
        (EndCause::Closed | EndCause::Io(_) | EndCause::Quit, _) => Cause::ConnectionLost,
    }
}

/// Of a reply that is not the one hoped for.
pub(super) fn of_reply(stage: Stage, reply: &Reply, setting: Setting) -> Cause {
    let about = |subject, detail| reply.is_about(subject, detail);
    match (stage, reply.code) {
        (_, 421) if about(7, 28) => Cause::QuotaUsedUp,
        (_, 421) => Cause::ServerShuttingDown,
        _ if about(7, 30) || about(7, 139) => Cause::PasswordLoginsDisabled,
        _ if about(7, 57) => Cause::LoginRequired,
        (_, 538) => Cause::EncryptionRequired,
        _ if about(7, 11) => Cause::EncryptionRequired,
        (Stage::Auth, _) => of_login(reply, setting),
        (_, 530) if !setting.inside_tls && setting.offers_starttls => Cause::EncryptionRequired,
        (_, 530 | 535) => Cause::LoginRequired,
        (Stage::Greeting | Stage::Connect, _) => Cause::BoxRefused,
        (Stage::Ehlo, _) => Cause::HelloRefused,
        (Stage::StartTls | Stage::Tls, _) => Cause::StartTlsRefused,
        (_, 503) => Cause::NotUnderstood,
        (Stage::Mail | Stage::Rcpt, _) => of_envelope(stage, reply),
        _ => Cause::NotUnderstood,
    }
}

fn of_login(reply: &Reply, setting: Setting) -> Cause {
    match reply.code {
        500 | 502 | 504 => Cause::MechanismNotOffered,
        432 if !reply.is_about(3, 2) => Cause::OtherLoginWanted,
        400..=499 => Cause::LoginNotJudged,
        _ if setting.by_token => Cause::TokenRefused,
        534 => Cause::OtherLoginWanted,
        _ if reply.is_about(7, 9) => Cause::OtherLoginWanted,
        _ => Cause::LoginRefused,
    }
}

fn of_envelope(stage: Stage, reply: &Reply) -> Cause {
    let about = |subject, detail| reply.is_about(subject, detail);
    let is_permanent = reply.severity() == Severity::Permanent;
    match (stage, reply.code) {
        _ if about(3, 2) || about(7, 28) => Cause::QuotaUsedUp,
        // A provider's quota in the clothes of a failure.
        _ if is_permanent && classify(stage, reply) == Class::Deferral => Cause::QuotaUsedUp,
        _ if about(3, 1) => Cause::ServerFull,
        (Stage::Mail, 452) if reply.enhanced.is_none() => Cause::ServerFull,
        (Stage::Mail, 552) => Cause::MessageTooLarge,
        _ if is_permanent && about(3, 4) => Cause::MessageTooLarge,
        (_, 553) if about(7, 1) => Cause::SenderRefused,
        _ if about(7, 60) => Cause::SenderRefused,
        (Stage::Mail, _) if is_permanent => Cause::SenderRefused,
        _ if is_permanent && (about(7, 54) || about(7, 64) || about(7, 1)) => Cause::RelayingRefused,
        _ if is_permanent => Cause::RecipientRefused,
        (Stage::Rcpt, 450 | 451) if reply.enhanced.is_none() => Cause::Greylisted,
        (Stage::Rcpt, 450 | 451) if about(2, 0) || about(7, 0) || about(7, 1) => Cause::Greylisted,
        _ => Cause::ServerDefers,
    }
}

/// Of TLS that did not come to be.
pub(super) fn of_tls(fault: TlsFault) -> Cause {
    match fault {
        TlsFault::Certificate(fault) => of_certificate(fault),
        TlsFault::CaFile | TlsFault::ClientFile | TlsFault::NoRoots | TlsFault::Unconfigured => {
            Cause::TlsFiles
        }
        TlsFault::ClientRefused => Cause::ClientCertificateRefused,
        TlsFault::Name => Cause::CertificateWrongName,
        TlsFault::NotTls => Cause::TlsToPlainPort,
        TlsFault::TooOld => Cause::TlsTooOld,
        TlsFault::Handshake | TlsFault::Link => Cause::TlsHandshakeFailed,
    }
}

/// Of a certificate.
pub(super) fn of_certificate(fault: CertificateFault) -> Cause {
    match fault {
        CertificateFault::Expired => Cause::CertificateExpired,
        CertificateFault::NotYetValid => Cause::CertificateNotYetValid,
        CertificateFault::UnknownIssuer => Cause::CertificateUnknownCa,
        CertificateFault::SelfSigned => Cause::CertificateSelfSigned,
        CertificateFault::WrongName => Cause::CertificateWrongName,
        CertificateFault::Pin => Cause::CertificateNotPinned,
        CertificateFault::Revoked | CertificateFault::Other => Cause::CertificateNotUsable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_apart_by_their_codes() {
        let plain = Setting { offers_starttls: true, ..Setting::default() };
        let tls = Setting { inside_tls: true, offers_login: true, ..Setting::default() };
        let token = Setting { by_token: true, ..tls };
        for (stage, code, enhanced, setting, cause) in [
            (Stage::Auth, 535, "5.7.8", tls, Cause::LoginRefused),
            (Stage::Auth, 535, "5.7.8", token, Cause::TokenRefused),
            (Stage::Auth, 535, "5.7.139", tls, Cause::PasswordLoginsDisabled),
            (Stage::Mail, 550, "5.7.30", tls, Cause::PasswordLoginsDisabled),
            (Stage::Auth, 534, "5.7.9", tls, Cause::OtherLoginWanted),
            (Stage::Auth, 454, "4.7.0", tls, Cause::LoginNotJudged),
            (Stage::Mail, 530, "5.7.0", tls, Cause::LoginRequired),
            (Stage::Mail, 530, "5.7.0", plain, Cause::EncryptionRequired),
            (Stage::Mail, 553, "5.7.1", tls, Cause::SenderRefused),
            (Stage::Mail, 452, "4.3.1", tls, Cause::ServerFull),
            (Stage::Mail, 552, "5.3.4", tls, Cause::MessageTooLarge),
            (Stage::Rcpt, 554, "5.7.1", tls, Cause::RelayingRefused),
            (Stage::Rcpt, 550, "5.1.1", tls, Cause::RecipientRefused),
            (Stage::Rcpt, 450, "4.2.0", tls, Cause::Greylisted),
            (Stage::Rcpt, 450, "4.1.8", tls, Cause::ServerDefers),
            (Stage::Rcpt, 432, "4.3.2", tls, Cause::QuotaUsedUp),
            (Stage::Rcpt, 421, "4.3.2", tls, Cause::ServerShuttingDown),
            (Stage::Greeting, 554, "", tls, Cause::BoxRefused),
        ] {
            let reply = Reply { code, enhanced: enhanced.parse().ok(), text: Vec::new() };
            assert_eq!(of_reply(stage, &reply, setting), cause, "{stage:?} {code} {enhanced}");
        }
    }
}
