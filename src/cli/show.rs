//! `pillarbox show`: one message with all that is known of it.

use super::ask::{Desk, unexpected};
use super::list::outcome;
use super::{ConfigArgs, Failure, exit, print, print_json};
use crate::control::{Answer, Request, Shown};
use crate::mail::UnixTime;

/// Show one message: where it is, who gets it, and what became of it
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// The queue id, its beginning or its end (4 digits at least), or the name the file was dropped under
    #[arg(value_name = "ID")]
    id: String,

    /// The same facts as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let desk = Desk::new(&args.config, "show")?;
    let Answer::Shown(shown) = desk.ask(&Request::Show(args.id.clone()))? else { return Err(unexpected()) };
    match args.json {
        true => print_json(&shown)?,
        false => print(&text(&shown, &desk.config().spool_dir.display().to_string()))?,
    };
    Ok(exit::OK)
}

fn text(shown: &Shown, spool: &str) -> String {
    let message = &shown.message;
    let mut lines = vec![
        format!("id         {}", message.id),
        format!("name       {}", message.file),
        format!("state      {}", message.state),
        format!("accepted   {}, {} octets", UnixTime::from_secs(message.accepted), shown.size),
        format!("file       {spool}/{}", message.path),
    ];
    if let Some(problem) = &message.problem {
        lines.push(format!("held       {problem}"));
    }
    if message.attempts > 0 || shown.unknown_ends > 0 {
        let unknown = match shown.unknown_ends {
            0 => String::new(),
            times => format!(", and {times} of which nobody knows how they ended"),
        };
        lines.push(format!("attempts   {}{unknown}", message.attempts));
    }
    match &shown.reverse_path {
        None => lines.push("envelope   as its header says; on record from the first try on".into()),
        Some(from) => {
            let whence = if shown.given { "given beside the message" } else { "from its header" };
            lines.push(format!("from       <{from}> ({whence})"));
        }
    }
    lines.extend(message.recipients.iter().map(|r| format!("to         {}: {}", r.address, outcome(r))));
    if let Some(report) = &shown.report {
        lines.push(String::new());
        lines.push(report.trim_end().to_owned());
    }
    // What a server or a producer said must not steer the terminal.
    lines.join("\n").replace(|c: char| c.is_control() && c != '\n', "\u{fffd}") + "\n"
}
