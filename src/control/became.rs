//! What became of a message: the one place that is asked. What is in the spool is known from there, what has left it from
//! what the sender remembers.

use std::ffi::OsStr;

use super::answer::{Became, Recipient, Refused, State};
use super::{find, view};
use crate::fs::{Dir, Fs};
use crate::mail::QueueId;
use crate::sender::{Ended, MessageEnd, Outcomes};
use crate::spool::{Name, OutOfLine, Record, Spool, read_record};

/// What became of the message that `which` means. To be called where no transition of the spool can come between: else a
/// message on its way from one directory to the next is in neither.
///
/// # Errors
///
/// That it means none or several, or what cannot be read.
pub fn became(spool: &Spool, outcomes: &Outcomes, which: &str) -> Result<(QueueId, Became), Refused> {
    let fs = &**spool.fs();
    let id = find::find(fs, which)?;
    let became = match outcomes.of(id) {
        Some(ended) => remembered(id, ended),
        None => on_disk(spool, fs, id)?,
    };
    Ok((id, became))
}

impl Became {
    /// Whether nothing more can become of it, as far as is known.
    pub fn is_final(&self) -> bool {
        matches!(self.state, State::Delivered | State::Failed | State::Removed | State::Unknown)
    }
}

fn remembered(id: QueueId, Ended { how, recipients, problems }: Ended) -> Became {
    let state = match how {
        MessageEnd::Delivered => State::Delivered,
        MessageEnd::Failed => State::Failed,
        MessageEnd::Removed => State::Removed,
    };
    let recipient =
        |(mailbox, outcome): (crate::mail::Mailbox, _)| Recipient { address: mailbox.to_string(), outcome };
    Became {
        id: id.to_string(),
        state,
        recipients: recipients.into_iter().map(recipient).collect(),
        problems,
    }
}

fn on_disk(spool: &Spool, fs: &dyn Fs, id: QueueId) -> Result<Became, Refused> {
    let out = spool.out_of_line().into_iter().find(|(other, _)| *other == id).map(|(_, out)| out);
    let (state, mut problems) = match out {
        Some(OutOfLine::Aside(_)) => (State::Aside, Vec::new()),
        Some(OutOfLine::Held) => (State::Held, vec!["an operator holds it".to_owned()]),
        Some(OutOfLine::Unreadable(why) | OutOfLine::Unconfigured(why)) => (State::Held, vec![why]),
        None if spool.name(id).is_some() => (State::Waiting, Vec::new()),
        None => {
            let places =
                [(Dir::Sending, State::Sending), (Dir::Failed, State::Failed), (Dir::Sent, State::Delivered)];
            let mut state = State::Unknown;
            for (dir, there) in places {
                view::list(fs, dir, &mut |file| {
                    if is_message(file, id) {
                        state = there;
                    }
                })?;
            }
            (state, Vec::new())
        }
    };
    let record = read_record(fs, id).ok().filter(|_| state != State::Unknown);
    let recipients = record.as_ref().and_then(Record::recipients).map(|(_, recipients)| recipients);
    let recipients = recipients.unwrap_or_default().into_iter();
    if let (State::Failed, Some(failed)) = (state, record.as_ref().and_then(|record| record.failed.as_ref()))
    {
        // Of the report those lines that say what was wrong, and not with whom.
        let lines = failed.report.lines().filter_map(|line| line.strip_prefix("- "));
        problems.extend(lines.filter(|line| !line.starts_with('<')).map(str::to_owned));
    }
    let recipients =
        recipients.map(|r| Recipient { address: r.mailbox.to_string(), outcome: r.outcome }).collect();
    Ok(Became { id: id.to_string(), state, recipients, problems })
}

fn is_message(file: &OsStr, id: QueueId) -> bool {
    Name::parse(file).is_some_and(|name| name.id == id)
}
