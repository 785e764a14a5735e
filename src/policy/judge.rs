//! A whole transaction: what became of each recipient.

use super::{Class, Reach, classify};
use crate::mail::{Outcome, Reply, Stage};
use crate::smtp::{Answer, EndCause, SessionEnd, Transcript, Unsendable};

/// What a transaction comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// For each recipient of the transaction its outcome; `None` was left over for a next transaction.
    Settled(Vec<Option<Outcome>>),
    /// A session problem: nothing is charged to anybody.
    Session(SessionEnd),
    /// The line was lost and the final dot was not out, or what was said may concern this message alone: nothing was taken,
    /// nothing is charged.
    Lost(SessionEnd),
    /// The final dot is out and no reply came: the message may have been taken. With LMTP the replies may have come for some
    /// recipients and not for others: then for each recipient his outcome, as above, and `None` for who is in doubt or was
    /// left over.
    InDoubt(SessionEnd, Vec<Option<Outcome>>),
}

/// Judges a transaction by what its requests were answered.
pub fn judge(transcript: &Transcript) -> Judgement {
    if transcript.is_in_doubt() {
        let unknown = SessionEnd { stage: Stage::FinalDot, why: EndCause::Closed };
        let known = match transcript.to_dot().any(|answer| answer.reply().is_some()) {
            true => outcomes(transcript),
            // Nothing was said of the message itself.
            false => vec![None; transcript.rcpts.len()],
        };
        return Judgement::InDoubt(transcript.lost.clone().unwrap_or(unknown), known);
    }
    // Once the message was taken for somebody this must go on record, or he would get it again each time. Whom the server
    // then refused for want of a login is deferred.
    let goes_on_record =
        |stage| transcript.is_taken() || stage == Stage::FinalDot && refuses_some(transcript);
    if let Some((stage, reply, class)) = session_problem(transcript).filter(|(at, ..)| !goes_on_record(*at)) {
        let end = SessionEnd { stage, why: EndCause::Reply(reply.clone()) };
        // RFC 5321 section 3.8: the server closes. Behind MAIL that may be for this message's sake, as with one that bears only
        // so many refused recipients: it counts as a line that was lost in its transaction.
        let closes = reply.code == 421 && stage != Stage::Mail;
        return match closes || class == Class::Configuration(Reach::PerhapsOne) {
            true => Judgement::Lost(end),
            false => Judgement::Session(end),
        };
    }
    // What refuses the message as a whole counts also if the line was lost behind it.
    if let Some(outcome) = whole_message(Stage::Mail, &transcript.mail) {
        return Judgement::Settled(vec![Some(outcome); transcript.rcpts.len()]);
    }
    if let Some(end) = &transcript.lost
        && transcript.to_dot().all(|answer| *answer == Answer::NotSent)
        && !is_refused_by_all(transcript)
    {
        return Judgement::Lost(end.clone());
    }
    Judgement::Settled(outcomes(transcript))
}

/// The outcome of each recipient for whom something was said.
fn outcomes(transcript: &Transcript) -> Vec<Option<Outcome>> {
    let taken = |index| {
        whole_message(Stage::Data, &transcript.data).or_else(|| match transcript.dot_for(index) {
            Answer::Reply(reply) if is_hoped_for(Stage::FinalDot, reply) => {
                Some(Outcome::Delivered(reply.clone()))
            }
            dot => whole_message(Stage::FinalDot, dot),
        })
    };
    let outcome = |(index, answer): (usize, &Answer)| match answer {
        _ if transcript.is_left_over(index) => None,
        answer if answer.is_completed() => taken(index),
        answer => whole_message(Stage::Rcpt, answer),
    };
    transcript.rcpts.iter().enumerate().map(outcome).collect()
}

/// Whether the server may be about to take no more messages on this session, and some on a next one: 452 to MAIL. OpenSMTPD
/// says so after a hundred, and leaves the session open. Of a session on which nothing was taken it says nothing.
pub fn may_have_had_enough(transcript: &Transcript) -> Option<SessionEnd> {
    let reply = transcript.mail.reply().filter(|reply| reply.code == 452)?;
    Some(SessionEnd { stage: Stage::Mail, why: EndCause::Reply(reply.clone()) })
}

/// The first request whose answer is about the session; what follows it is its consequence.
fn session_problem(transcript: &Transcript) -> Option<(Stage, &Reply, Class)> {
    let rcpts = transcript.rcpts.iter().map(|answer| (Stage::Rcpt, answer));
    let all = std::iter::once((Stage::Mail, &transcript.mail))
        .chain(rcpts)
        .chain([(Stage::Data, &transcript.data)])
        .chain(transcript.to_dot().map(|answer| (Stage::FinalDot, answer)));
    let somebody = transcript.rcpts.iter().any(Answer::is_completed);
    for (stage, answer) in all {
        // DATA behind recipients who were all refused: 503 or 530 is the consequence, and so is the 421 of a server that
        // bears only so many refusals.
        if stage == Stage::Data && !somebody && answer.reply().is_some() {
            continue;
        }
        let Some(reply) = answer.reply().filter(|reply| !is_hoped_for(stage, reply)) else { continue };
        match classify(stage, reply) {
            class @ (Class::Session | Class::Configuration(_)) => return Some((stage, reply, class)),
            // DATA behind refused recipients answers 503 or 554: the refusal is the cause.
            Class::Deferral | Class::Failure | Class::Split if stage == Stage::Mail => return None,
            Class::Deferral | Class::Failure | Class::Split => {}
        }
    }
    None
}

/// With LMTP somebody has a refusal of his own behind the dot: what else was said there concerns others.
fn refuses_some(transcript: &Transcript) -> bool {
    let is_own = |reply| matches!(classify(Stage::FinalDot, reply), Class::Deferral | Class::Failure);
    transcript.dots.iter().filter_map(Answer::reply).any(is_own)
}

/// Every recipient has his refusal, whatever came of the line behind it.
fn is_refused_by_all(transcript: &Transcript) -> bool {
    transcript
        .rcpts
        .iter()
        .all(|answer| answer.reply().is_some_and(|reply| !is_hoped_for(Stage::Rcpt, reply)))
}

fn is_hoped_for(stage: Stage, reply: &Reply) -> bool {
    match stage {
        Stage::Data => reply.code == 354,
        _ => reply.code / 100 == 2,
    }
}

/// The outcome of a request that was refused; `None` if it was not.
fn whole_message(stage: Stage, answer: &Answer) -> Option<Outcome> {
    match answer {
        Answer::Reply(reply) if !is_hoped_for(stage, reply) => Some(match classify(stage, reply) {
            Class::Failure => Outcome::Failed(stage, reply.clone()),
            Class::Session | Class::Configuration(_) | Class::Deferral | Class::Split => {
                Outcome::Deferred(stage, reply.clone())
            }
        }),
        Answer::Unsendable(why) => Some(Outcome::Failed(stage, unsendable_reply(*why))),
        Answer::Reply(_) | Answer::NotSent | Answer::Awaited => None,
    }
}

/// In the place of a reply: what the server would have had to say. The text says that it is ours.
fn unsendable_reply(why: Unsendable) -> Reply {
    Reply { code: 554, enhanced: Some(why.enhanced()), text: vec![format!("not sent: {why}")] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16) -> Reply {
        Reply { code, enhanced: None, text: vec!["words".into()] }
    }

    fn said(code: u16) -> Answer {
        Answer::Reply(reply(code))
    }

    /// `0` stands for a request that was not sent, `1` for one without a reply.
    fn answer(code: u16) -> Answer {
        match code {
            0 => Answer::NotSent,
            1 => Answer::Awaited,
            _ => said(code),
        }
    }

    fn transcript(mail: u16, rcpts: &[u16], data: u16, dot: u16, lost: bool) -> Transcript {
        let end = SessionEnd { stage: Stage::Rcpt, why: EndCause::Closed };
        Transcript {
            mail: answer(mail),
            rcpts: rcpts.iter().map(|code| answer(*code)).collect(),
            data: answer(data),
            dot: answer(dot),
            dots: Vec::new(),
            lost: lost.then_some(end),
        }
    }

    /// `+` delivered, `~` deferred, `-` failed, `.` left over.
    fn signs(outcomes: &[Option<Outcome>]) -> String {
        let sign = |outcome: &Option<Outcome>| match outcome {
            Some(Outcome::Delivered(_)) => '+',
            Some(Outcome::Deferred(..)) => '~',
            Some(Outcome::Failed(..)) => '-',
            None => '.',
        };
        outcomes.iter().map(sign).collect()
    }

    /// The outcomes, or the name of the judgement.
    fn judged(t: &Transcript) -> String {
        match judge(t) {
            Judgement::Settled(outcomes) => signs(&outcomes),
            Judgement::Session(end) => format!("session at {:?}", end.stage),
            Judgement::Lost(_) => "lost".into(),
            Judgement::InDoubt(_, known) if known.iter().all(Option::is_none) => "in doubt".into(),
            Judgement::InDoubt(_, known) => format!("in doubt but {}", signs(&known)),
        }
    }

    #[test]
    fn recipients_of_one_message_are_kept_apart() {
        /// MAIL, each RCPT, DATA, the dot, whether the line was lost, and what it comes to.
        type Row<'a> = (u16, &'a [u16], u16, u16, bool, &'a str);
        let table: &[Row<'_>] = &[
            (250, &[250, 251], 354, 250, false, "++"),
            (250, &[250, 550, 450], 354, 250, false, "+-~"),
            (250, &[550, 450], 0, 0, false, "-~"),
            (250, &[550, 550], 554, 0, false, "--"),
            (250, &[550, 450], 503, 0, false, "-~"),
            (250, &[550], 530, 0, false, "-"),
            (250, &[550], 354, 0, false, "-"),
            (250, &[550], 421, 0, true, "-"),
            (250, &[550, 450], 421, 0, true, "-~"),
            (250, &[550], 1, 0, true, "-"),
            (250, &[250, 250], 451, 0, false, "~~"),
            (250, &[250, 550], 354, 451, false, "~-"),
            (250, &[250, 450], 354, 554, false, "-~"),
            (550, &[0, 0], 0, 0, false, "--"),
            (451, &[0, 0], 0, 0, false, "~~"),
            (250, &[250, 452, 0], 354, 250, false, "+.."),
            (250, &[250, 552, 250], 354, 250, false, "+.+"),
            (250, &[452, 250], 354, 250, false, "~+"),
        ];
        for (mail, rcpts, data, dot, lost, expected) in table {
            let t = transcript(*mail, rcpts, *data, *dot, *lost);
            assert_eq!(judged(&t), *expected, "{mail} {rcpts:?} {data} {dot}");
        }
    }

    #[test]
    fn what_is_about_the_session_is_charged_to_nobody() {
        assert_eq!(judged(&transcript(421, &[0], 0, 0, true)), "session at Mail");
        assert_eq!(judged(&transcript(530, &[0], 0, 0, false)), "session at Mail");
        assert_eq!(judged(&transcript(250, &[535, 535], 0, 0, false)), "session at Rcpt");
        assert_eq!(judged(&transcript(250, &[250, 535], 354, 451, false)), "session at Rcpt");
        // Closed behind MAIL, it may be for this message's sake: tried alone, and after three times the next one is.
        assert_eq!(judged(&transcript(250, &[250], 354, 421, true)), "lost");
        assert_eq!(judged(&transcript(250, &[550, 550, 421], 0, 0, true)), "lost");
        assert_eq!(judged(&transcript(250, &[250], 503, 0, false)), "session at Data");
    }

    #[test]
    fn what_was_taken_goes_on_record_whatever_else_was_said() {
        assert_eq!(judged(&transcript(250, &[250, 535], 354, 250, false)), "+~");
        assert_eq!(judged(&transcript(250, &[503, 250, 550], 354, 250, true)), "~+-");
        assert_eq!(judged(&transcript(250, &[250, 530], 354, 1, true)), "in doubt");
    }

    #[test]
    fn only_452_to_mail_may_be_the_end_of_a_session_that_served() {
        let has_had_enough =
            |mail, rcpt| may_have_had_enough(&transcript(mail, &[rcpt], 0, 0, false)).is_some();
        assert!(has_had_enough(452, 503));
        assert!(!has_had_enough(451, 503));
        assert!(!has_had_enough(552, 503));
        assert!(!has_had_enough(250, 452));
    }

    #[test]
    fn cascades_are_charged_to_their_first_cause() {
        // Postfix answers a refused MAIL with 503 to all that follows.
        assert_eq!(judged(&transcript(552, &[503, 503], 503, 0, false)), "--");
        assert_eq!(judged(&transcript(451, &[503, 503], 503, 0, false)), "~~");
        assert_eq!(judged(&transcript(530, &[503, 554], 554, 0, false)), "session at Mail");
        assert_eq!(judged(&transcript(421, &[421, 421], 421, 0, true)), "session at Mail");
        assert_eq!(judged(&transcript(250, &[452, 550], 503, 0, false)), "~-");
        assert_eq!(judged(&transcript(250, &[450, 450], 554, 0, false)), "~~");
        assert_eq!(judged(&transcript(250, &[550, 550], 421, 0, true)), "--");
    }

    #[test]
    fn what_may_be_one_messages_sender_is_charged_to_nobody_and_lets_the_next_one_be_tried() {
        let not_as_this_sender = Answer::Reply(Reply { enhanced: "5.7.60".parse().ok(), ..reply(550) });
        let at_mail = Transcript { mail: not_as_this_sender.clone(), ..transcript(250, &[0], 0, 0, false) };
        assert_eq!(judged(&at_mail), "lost");
        let at_dot = Transcript { dot: not_as_this_sender, ..transcript(250, &[250, 550], 354, 0, false) };
        assert_eq!(judged(&at_dot), "lost");
    }

    #[test]
    fn a_lost_line_is_in_doubt_only_with_the_dot_out() {
        assert_eq!(judged(&transcript(250, &[1], 0, 0, true)), "lost");
        assert_eq!(judged(&transcript(250, &[250, 550], 354, 0, true)), "lost");
        assert_eq!(judged(&transcript(250, &[250], 354, 1, true)), "in doubt");
        assert_eq!(judged(&transcript(250, &[250], 354, 250, true)), "+");
        assert_eq!(judged(&transcript(250, &[250], 354, 554, true)), "-");
        assert_eq!(judged(&transcript(550, &[0], 0, 0, true)), "-");
    }

    /// The dot is out, and answered like this for each.
    fn each(rcpts: &[u16], dots: &[u16], lost: bool) -> Transcript {
        let dots = dots.iter().map(|code| answer(*code)).collect();
        Transcript { dots, ..transcript(250, rcpts, 354, 0, lost) }
    }

    #[test]
    fn lmtp_each_recipient_has_the_outcome_of_his_own_reply() {
        /// Each RCPT, each reply to the dot, whether the line was lost, and what it comes to.
        type Row<'a> = (&'a [u16], &'a [u16], bool, &'a str);
        let table: &[Row<'_>] = &[
            (&[250, 251], &[250, 250], false, "++"),
            (&[250, 250, 250], &[550, 250, 451], false, "-+~"),
            (&[550, 250, 450], &[0, 250, 0], false, "-+~"),
            (&[550, 250, 250], &[0, 452, 550], false, "-~-"),
            (&[250, 452, 0], &[250, 0, 0], false, "+.."),
            // About the session, and somebody has an outcome of his own.
            (&[250, 250], &[250, 530], false, "+~"),
            (&[250, 250], &[530, 550], false, "~-"),
            (&[250, 250], &[250, 421], true, "+~"),
            (&[250, 250], &[451, 421], true, "~~"),
            // And nobody has.
            (&[250, 250], &[530, 530], false, "session at FinalDot"),
            (&[250], &[421], true, "lost"),
            (&[250, 535], &[451, 0], false, "session at Rcpt"),
        ];
        for (rcpts, dots, lost, expected) in table {
            assert_eq!(judged(&each(rcpts, dots, *lost)), *expected, "{rcpts:?} {dots:?}");
        }
    }

    #[test]
    fn lmtp_a_line_lost_between_the_replies_leaves_only_the_unanswered_in_doubt() {
        assert_eq!(judged(&each(&[250, 250], &[1, 1], true)), "in doubt");
        assert_eq!(judged(&each(&[550, 250], &[0, 1], true)), "in doubt");
        assert_eq!(judged(&each(&[250, 250], &[250, 1], true)), "in doubt but +.");
        assert_eq!(judged(&each(&[250, 250, 250], &[554, 451, 1], true)), "in doubt but -~.");
        assert_eq!(judged(&each(&[550, 250, 250], &[0, 250, 1], true)), "in doubt but -+.");
        assert_eq!(judged(&each(&[250, 250, 250], &[250, 421, 1], true)), "in doubt but +~.");
    }

    #[test]
    fn what_this_server_cannot_take_fails_with_that_reason() {
        let mut t = transcript(0, &[0, 0], 0, 0, false);
        t.mail = Answer::Unsendable(Unsendable::EightBit(None));
        match judge(&t) {
            Judgement::Settled(outcomes) => {
                let [Some(Outcome::Failed(Stage::Mail, reply)), _] = &outcomes[..] else {
                    panic!("{outcomes:?}")
                };
                assert!(reply.to_string().starts_with("554 5.6.3 not sent: expected 8BITMIME"), "{reply}");
            }
            other => panic!("{other:?}"),
        }
    }
}
