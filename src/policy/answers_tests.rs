//! The table of answers, row by row and over all codes.

use super::*;
use crate::mail::EnhancedStatusCode;
use crate::policy::{Judgement, judge};
use crate::smtp::{Answer, Transcript};
use Class::{Configuration, Deferral, Failure, Session, Split};
use Reach::{Everyone, PerhapsOne};
use Stage::{
    Auth, Body, Connect, Data, Ehlo, FinalDot, Greeting, Idle, Mail, Quit, Rcpt, Rset, StartTls, Tls,
};

const STAGES: [Stage; 14] =
    [Connect, Tls, Greeting, Ehlo, StartTls, Auth, Mail, Rcpt, Data, Body, FinalDot, Rset, Quit, Idle];
const WITH_A_MESSAGE: [Stage; 5] = [Mail, Rcpt, Data, Body, FinalDot];
const LOGIN: Class = Configuration(Everyone);
const ONE: Class = Configuration(PerhapsOne);

/// Stage, reply, and what it says.
const ROWS: &[(Stage, &str, Class)] = &[
    // 421 at each stage.
    (Greeting, "421 4.3.2", Session),
    (Ehlo, "421", Session),
    (StartTls, "421", Session),
    (Auth, "421 4.7.0", Session),
    (Mail, "421 4.3.2", Session),
    (Rcpt, "421", Session),
    (Data, "421", Session),
    (Body, "421", Session),
    (FinalDot, "421", Session),
    (Rset, "421", Session),
    (Idle, "421 4.4.2", Session),
    (Quit, "421", Session),
    // 4yz.
    (Auth, "432 4.7.12", LOGIN),
    (Auth, "432 4.3.2", Session),
    (Mail, "432 4.3.2", Deferral),
    (FinalDot, "432 4.3.2", Deferral),
    (Rcpt, "450 4.2.0", Deferral),
    (Rcpt, "450 4.2.1", Deferral),
    (Mail, "451 4.3.0", Deferral),
    (Rcpt, "451", Deferral),
    (Data, "451 4.3.0", Deferral),
    (FinalDot, "451 4.7.1", Deferral),
    (Mail, "452 4.3.1", Deferral),
    (Rcpt, "452 4.3.1", Split),
    (Rcpt, "452 4.5.3", Split),
    (Rcpt, "452", Split),
    (Data, "452 4.5.3", Deferral),
    (FinalDot, "452 4.3.1", Deferral),
    (StartTls, "454 4.7.0", Session),
    (Auth, "454 4.7.0", Session),
    (Mail, "454 4.7.0", Deferral),
    (Rcpt, "454 4.7.1", Deferral),
    (Mail, "455", Deferral),
    (Mail, "451 4.7.8", LOGIN),
    // EHLO: behind 5yz HELO is tried first, see the dialogues.
    (Ehlo, "500", Session),
    (Ehlo, "501 5.5.4", Session),
    (Ehlo, "502", Session),
    (Ehlo, "504 5.5.2", Session),
    (Ehlo, "550", Session),
    (Ehlo, "451", Session),
    // What is not understood of a request.
    (Mail, "500", Failure),
    (Mail, "501 5.1.7", Failure),
    (Rcpt, "501 5.1.3", Failure),
    (Auth, "501 5.5.2", LOGIN),
    (Data, "502", Failure),
    (Mail, "503 5.5.1", Session),
    (Rcpt, "503", Session),
    (Data, "503", Session),
    (FinalDot, "503", Session),
    (Auth, "504 5.5.4", LOGIN),
    (Rcpt, "504 5.5.2", Failure),
    (Greeting, "521", Session),
    (Mail, "521", Session),
    (Rcpt, "521 5.7.1", Failure),
    (FinalDot, "521 5.2.1", Failure),
    // The login.
    (Mail, "530 5.7.0", LOGIN),
    (Mail, "530", LOGIN),
    (Mail, "530 5.7.57", LOGIN),
    (Rcpt, "530 5.7.0", LOGIN),
    (FinalDot, "530", LOGIN),
    (Auth, "534 5.7.9", LOGIN),
    (Mail, "534 5.7.9", LOGIN),
    (Auth, "534 5.7.14", LOGIN),
    (Auth, "535", LOGIN),
    (Auth, "535 5.7.8", LOGIN),
    (Auth, "535 5.7.139", LOGIN),
    (Mail, "535 5.7.139", LOGIN),
    (FinalDot, "535 5.7.8", LOGIN),
    (Auth, "538 5.7.11", LOGIN),
    (Mail, "538", LOGIN),
    (Mail, "554 5.7.11", LOGIN),
    (Auth, "550 5.7.30", LOGIN),
    (Mail, "550 5.7.30", LOGIN),
    (FinalDot, "550 5.7.30", LOGIN),
    (Mail, "550 5.7.57", LOGIN),
    (Mail, "554 5.7.9", LOGIN),
    (FinalDot, "554 5.7.9", Failure),
    (Body, "554 5.7.9", Failure),
    // The sender, and relaying.
    (Mail, "550 5.7.60", ONE),
    (FinalDot, "550 5.7.60", ONE),
    (Rcpt, "553 5.7.1", ONE),
    (Rcpt, "550 5.7.54", ONE),
    (Rcpt, "550 5.7.64", ONE),
    // Failures.
    (Mail, "550 5.7.1", Failure),
    (Rcpt, "550 5.1.1", Failure),
    (Rcpt, "551", Failure),
    (Mail, "552", Failure),
    (Mail, "552 5.3.4", Failure),
    (Rcpt, "552", Split),
    (Rcpt, "552 5.5.3", Split),
    (Rcpt, "552 5.2.2", Failure),
    (FinalDot, "552 5.3.4", Failure),
    (Mail, "553", Failure),
    (Rcpt, "553 5.1.3", Failure),
    (Greeting, "554 5.7.1", Session),
    (Rcpt, "554 5.7.1", Failure),
    (Data, "554 5.5.1", Failure),
    (FinalDot, "554 5.6.0", Failure),
    (FinalDot, "554 5.2.0", Failure),
    (Mail, "555 5.5.4", Failure),
    (Rcpt, "555 5.5.2", Failure),
    (Rcpt, "556 5.1.10", Failure),
    // Quotas wait.
    (FinalDot, "451 4.3.2", Deferral),
    (FinalDot, "554 5.3.2", Deferral),
    (FinalDot, "554 4.3.2", Deferral),
    // Two classes in one reply: that of the reply code.
    (Rcpt, "550 4.2.1", Failure),
    (Rcpt, "450 5.1.1", Deferral),
    (FinalDot, "451 5.6.0", Deferral),
    (FinalDot, "554 4.4.7", Failure),
    // Codes that nobody has defined.
    (Mail, "571", Failure),
    (FinalDot, "567", Failure),
    (Rcpt, "499", Deferral),
    (Data, "250", Deferral),
    (FinalDot, "354", Deferral),
    (FinalDot, "199", Deferral),
    (FinalDot, "677", Deferral),
    (Rcpt, "999", Deferral),
    (Greeting, "677", Session),
];

fn reply(said: &str) -> Reply {
    let (code, enhanced) = said.split_once(' ').unwrap_or((said, ""));
    Reply { code: code.parse().unwrap(), enhanced: enhanced.parse().ok(), text: Vec::new() }
}

#[test]
fn each_reply_at_each_stage_is_charged_to_whom_it_concerns() {
    for (stage, said, class) in ROWS {
        assert_eq!(classify(*stage, &reply(said)), *class, "{said} in reply to {}", stage.request());
    }
}

#[test]
fn every_row_of_the_table_is_the_first_for_something_says_why_and_how_to_mend_it() {
    let mut reached = vec![false; answers::TABLE.len()];
    let mut quota = reply("554 5.2.0");
    quota.text = vec!["STOREDRV.Submission.Exception:SubmissionQuotaExceededException".into()];
    let said = ROWS.iter().map(|(stage, said, _)| (*stage, reply(said))).chain([(FinalDot, quota)]);
    for (stage, reply) in said {
        let row = answers::find(stage, &reply).unwrap();
        reached[answers::TABLE.iter().position(|other| std::ptr::eq(other, row)).unwrap()] = true;
    }
    for (row, reached) in answers::TABLE.iter().zip(reached) {
        assert!(reached, "no test row comes to: {}", row.why());
        assert!(row.why().len() > 10);
        let is_ours = matches!(row.class, Configuration(_));
        assert!(!is_ours || row.cure.is_some(), "nothing to be done about: {}", row.why());
        assert!(!matches!(row.class, Deferral | Failure | Split) || row.cure.is_none(), "{}", row.why());
    }
}

#[test]
fn the_text_of_a_reply_decides_in_one_place_alone() {
    let with = |said: &str, text: &str| Reply { text: vec!["first line".into(), text.into()], ..reply(said) };
    for text in ["535 authentication failed", "QuotaExceeded", "421", ""] {
        assert_eq!(classify(Rcpt, &with("550", text)), Failure);
    }
    for text in ["SubmissionQuotaExceededException; MapiExceptionSubmissionQuotaExceeded", "QuotaExceeded"] {
        for stage in WITH_A_MESSAGE {
            assert_eq!(classify(stage, &with("554 5.2.0", text)), Deferral);
        }
        assert_eq!(classify(FinalDot, &with("554", text)), Failure);
        assert_eq!(classify(FinalDot, &with("550 5.2.0", text)), Failure);
        assert_eq!(classify(FinalDot, &with("554 5.2.2", text)), Failure);
    }
    assert_eq!(classify(FinalDot, &with("554 5.2.0", "SendAsDenied")), Failure);
}

#[test]
fn what_is_ours_to_mend_comes_with_the_way() {
    for (stage, said, words) in [
        (Auth, "535 5.7.139", "token in [[smarthost]]"),
        (Auth, "550 5.7.30", "a connector"),
        (Mail, "550 5.7.60", "from in [identity]"),
        (Mail, "530 5.7.0", "wants a login, or TLS"),
        (Mail, "530 5.7.57", "wants a login: set user and password"),
        (Mail, "538", "tls = \"required\""),
        (Auth, "454 5.7.11", "tls = \"required\""),
        (Auth, "534 5.7.9", "a password for applications"),
        (Auth, "535 5.7.8", "check user and password"),
        (Auth, "504", "and auth if it is set"),
        (Rcpt, "550 5.7.64", "does not relay for this box"),
        (Ehlo, "504", "hostname in [identity]"),
        (Greeting, "554", "ask who runs it"),
    ] {
        let cure = cure(stage, &reply(said)).unwrap();
        assert!(cure.contains(words), "{said}: {cure}");
    }
    assert_eq!(cure(Rcpt, &reply("550 5.1.1")), None);
}

/// Every code at every stage, with enhanced codes of each kind and without.
fn everything() -> impl Iterator<Item = (Stage, Reply)> {
    let details = [
        (0, 0),
        (1, 1),
        (2, 0),
        (2, 1),
        (2, 2),
        (3, 1),
        (3, 2),
        (3, 4),
        (5, 1),
        (5, 3),
        (6, 0),
        (7, 0),
        (7, 1),
        (7, 8),
        (7, 9),
        (7, 11),
        (7, 12),
        (7, 30),
        (7, 54),
        (7, 57),
        (7, 60),
        (7, 64),
        (7, 139),
        (999, 999),
    ];
    let enhanced = [2, 4, 5].into_iter().flat_map(move |class| {
        details.map(|(subject, detail)| Some(EnhancedStatusCode { class, subject, detail }))
    });
    let enhanced: Vec<_> = enhanced.chain([None]).collect();
    let replies = (0..=999).flat_map(move |code| {
        let all = enhanced.clone();
        all.into_iter().map(move |enhanced| Reply { code, enhanced, text: Vec::new() })
    });
    replies.flat_map(|reply| STAGES.map(|stage| (stage, reply.clone())))
}

#[test]
fn no_code_fails_a_message_but_5yz_to_it_and_no_fault_of_the_session_costs_one() {
    for (stage, reply) in everything() {
        let what = || format!("{reply} in reply to {}", stage.request());
        assert!(answers::find(stage, &reply).is_some(), "{}", what());
        let class = classify(stage, &reply);
        if !WITH_A_MESSAGE.contains(&stage) {
            assert!(matches!(class, Session | Configuration(_)), "{}", what());
            continue;
        }
        if class == Failure {
            assert!((500..=599).contains(&reply.code), "{}", what());
        }
        assert!(class != Split || stage == Rcpt, "{}", what());
        // What was hoped for, and what ends the session before anybody judges, is no matter of this.
        if matches!(reply.code, 0..=399) {
            continue;
        }
        let transcript = transcript(stage, &reply);
        let judged = judge(&transcript);
        let is_uncharged = matches!(judged, Judgement::Session(_) | Judgement::Lost(_));
        assert_eq!(is_uncharged, matches!(class, Session | Configuration(_)), "{}: {judged:?}", what());
        // Who is left over is told by the transcript alone: it must mean the same.
        let split = class == Split;
        assert!(!split || transcript.is_left_over(1), "{}", what());
        assert!(split || is_uncharged || !transcript.is_left_over(1), "{}", what());
    }
}

/// Two recipients; all goes well up to this reply. At RCPT it is to the second.
fn transcript(stage: Stage, reply: &Reply) -> Transcript {
    let at = |own: Stage, good: u16| match WITH_A_MESSAGE
        .iter()
        .position(|s| *s == own)
        .cmp(&WITH_A_MESSAGE.iter().position(|s| *s == stage))
    {
        std::cmp::Ordering::Less => Answer::Reply(Reply { code: good, enhanced: None, text: Vec::new() }),
        std::cmp::Ordering::Equal => Answer::Reply(reply.clone()),
        std::cmp::Ordering::Greater => Answer::NotSent,
    };
    let dot = if stage == Body { Answer::Reply(reply.clone()) } else { at(FinalDot, 250) };
    let first = if stage == Rcpt {
        Answer::Reply(Reply { code: 250, enhanced: None, text: Vec::new() })
    } else {
        at(Rcpt, 250)
    };
    Transcript {
        mail: at(Mail, 250),
        rcpts: vec![first, at(Rcpt, 250)],
        data: at(Data, 354),
        dot,
        dots: Vec::new(),
        lost: None,
    }
}
