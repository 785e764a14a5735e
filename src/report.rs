//! Floor 1: what is said about a message that was given up.

use crate::mail::{Mailbox, Outcome, UnixTime};

/// A failure in the words of the report that lies beside the message.
#[derive(Debug)]
pub struct Report<'a> {
    /// The name under which it was dropped, made safe.
    pub label: &'a str,
    /// The name of the file beside which the report lies.
    pub file: &'a str,
    /// When it was accepted.
    pub accepted: UnixTime,
    /// When it was given up.
    pub given_up: UnixTime,
    /// What became of each recipient.
    pub recipients: &'a [(Mailbox, Option<Outcome>)],
    /// What else is wrong with it: recipients that cannot be read, a byte that cannot be sent.
    pub problems: &'a [String],
}

impl Report<'_> {
    /// The text for people.
    pub fn text(&self) -> String {
        let Report { label, file, accepted, given_up, .. } = self;
        let mut text = format!(
            "pillarbox gave up this message. It was not, or not for everybody, taken by the mail server.\n\n\
             dropped as:  {label}\naccepted:    {accepted}\ngiven up:    {given_up}\n\n"
        );
        for problem in self.problems {
            text.push_str(&format!("- {problem}\n"));
        }
        for (mailbox, outcome) in self.recipients {
            let what = match outcome {
                Some(Outcome::Delivered(reply)) => format!("taken by the server, which said: {reply}"),
                Some(Outcome::Deferred(stage, reply)) => {
                    format!("not taken: the server said: {reply} (in reply to {})", stage.request())
                }
                Some(Outcome::Failed(stage, reply)) => {
                    format!("refused: the server said: {reply} (in reply to {})", stage.request())
                }
                None => "not tried".to_owned(),
            };
            text.push_str(&format!("- <{mailbox}>: {what}\n"));
        }
        let id = file.split('_').next().unwrap_or(file);
        text.push_str(&format!(
            "\nThe message lies beside this file, as it was dropped:\n  {file}\n\
             To try again when the cause is mended: `pillarbox retry {id}`. Who has it already does not get it again.\n"
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Reply, Stage};

    #[test]
    fn the_report_names_each_recipient_with_the_words_of_the_server() {
        let reply = Reply { code: 550, enhanced: "5.1.1".parse().ok(), text: vec!["nobody here".into()] };
        let recipients = [("a@example.com".parse().unwrap(), Some(Outcome::Failed(Stage::Rcpt, reply)))];
        let text = Report {
            label: "alarm",
            file: "x_alarm.eml",
            accepted: UnixTime::from_secs(0),
            given_up: UnixTime::from_secs(1),
            recipients: &recipients,
            problems: &["line 3: To: expected an address".into()],
        }
        .text();
        assert!(text.contains(
            "- <a@example.com>: refused: the server said: 550 5.1.1 nobody here (in reply to RCPT TO)"
        ));
        assert!(text.contains("- line 3: To: expected an address\n") && text.contains("\n  x_alarm.eml\n"));
        assert!(text.contains("`pillarbox retry x`"), "who has it already must not get it again: {text}");
    }
}
