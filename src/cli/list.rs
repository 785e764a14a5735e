//! `pillarbox list`: the messages, one a line.

use serde::Serialize;

use super::view::{self, Message};
use super::{ConfigArgs, Failure, exit};
use crate::fs::Dir;
use crate::mail::Outcome;
use crate::spool::Record;

/// List the messages, in order
///
/// Queue id, time of acceptance, state, the name under which it was dropped, and what the server last said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    id: String,
    /// Seconds since 1970.
    accepted: u64,
    state: &'static str,
    file: String,
    /// The file's place below the spool.
    path: String,
    attempts: u32,
    recipients: Vec<RecipientRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Serialize)]
struct RecipientRow {
    address: String,
    outcome: Option<Outcome>,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let config = args.config.load()?;
    let fs = view::open(&config)?;
    for message in view::messages(&fs)? {
        let row = Row::of(&message);
        let line = if args.json {
            serde_json::to_string(&row).map_err(|e| Failure::new(exit::SOFTWARE, e.to_string()))?
        } else {
            row.line(&message)
        };
        if !super::print(&format!("{line}\n"))? {
            // `list | head` has seen enough.
            break;
        }
    }
    Ok(exit::OK)
}

impl Row {
    fn of(message: &Message) -> Row {
        let record = message.record.as_ref();
        let recipients = record.and_then(Record::recipients).map(|(_, r)| r).unwrap_or_default();
        Row {
            id: message.name.id.to_string(),
            accepted: message.name.accepted.as_secs(),
            state: state(message),
            file: message.name.label().to_owned(),
            path: format!("{}/{}", message.dir.name(), message.name),
            attempts: record.map_or(0, |r| r.attempts),
            recipients: recipients
                .into_iter()
                .map(|r| RecipientRow { address: r.mailbox.to_string(), outcome: r.outcome })
                .collect(),
            problem: message.held.clone(),
        }
    }

    fn line(&self, message: &Message) -> String {
        let last = self.recipients.iter().rev().find_map(|r| match &r.outcome {
            Some(Outcome::Deferred(stage, reply) | Outcome::Failed(stage, reply)) => {
                Some(format!("  {}: {reply} (in reply to {})", r.address, stage.request()))
            }
            _ => None,
        });
        let said = last.or_else(|| self.problem.as_ref().map(|p| format!("  {p}"))).unwrap_or_default();
        format!("{}  {}  {:<7}  {}{said}", self.id, message.name.accepted, self.state, self.file)
    }
}

fn state(message: &Message) -> &'static str {
    match (message.dir, &message.record) {
        (Dir::Failed, _) => "failed",
        (Dir::Sending, _) => "sending",
        _ if message.held.is_some() => "held",
        (_, Some(record)) if record.aside.is_some() => "aside",
        _ => "waiting",
    }
}
