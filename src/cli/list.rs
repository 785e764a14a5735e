//! `pillarbox list`: the messages, one a line.

use super::ask::{Desk, unexpected};
use super::{ConfigArgs, Failure, exit, print, print_json};
use crate::control::{Answer, Message, Recipient, Request, State, parse_state};
use crate::mail::{Outcome, UnixTime};

/// List the messages, in order
///
/// Queue id, time of acceptance, state, the name under which it was dropped, and what the server last said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// Only these: waiting, aside, held, sending or failed
    #[arg(long, value_parser = parse_state)]
    state: Option<State>,

    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let answer = Desk::new(&args.config, "list")?.ask(&Request::List(args.state))?;
    let Answer::Messages(list) = answer else { return Err(unexpected()) };
    for message in &list.messages {
        let goes_on = match args.json {
            true => print_json(message)?,
            false => print(&format!("{}\n", line(message)))?,
        };
        if !goes_on {
            // `list | head` has seen enough.
            break;
        }
    }
    Ok(exit::OK)
}

/// One message as it is listed.
pub(super) fn line(message: &Message) -> String {
    let is_news = |r: &&Recipient| matches!(r.outcome, Some(Outcome::Deferred(..) | Outcome::Failed(..)));
    let last = message.recipients.iter().rev().find(is_news);
    let said = match (last, &message.problem) {
        (Some(recipient), _) => format!("  {}: {}", recipient.address, outcome(recipient)),
        (None, Some(problem)) => format!("  {problem}"),
        (None, None) => String::new(),
    };
    let accepted = UnixTime::from_secs(message.accepted);
    let line = format!("{}  {accepted}  {:<7}  {}{said}", message.id, message.state, message.file);
    line.replace(char::is_control, "\u{fffd}")
}

/// What became of a recipient, in the server's words.
pub(super) fn outcome(recipient: &Recipient) -> String {
    match &recipient.outcome {
        None => "not tried yet".to_owned(),
        Some(Outcome::Delivered(reply)) => format!("taken: {reply}"),
        Some(Outcome::Deferred(stage, reply) | Outcome::Failed(stage, reply)) => {
            format!("{reply} (in reply to {})", stage.request())
        }
    }
}
