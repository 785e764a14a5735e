//! `pillarbox check`: can it send? Every step, with cause and cure.

use std::io::IsTerminal as _;
use std::time::Duration;

use super::{ConfigArgs, Failure, exit, print, print_json};
use crate::check::{self, About, Cause, Report, Result as Came, Step, Wanted};
use crate::config::{self, parse_duration};
use crate::mail::Mailbox;

/// Try every step up to a delivery, and say what is wrong
///
/// Nothing is sent. Configuration, spool and clock; then of each smarthost: its name, the way to it, port, banner, TLS, login, sender. At the first
/// failure of each: the cause, what it is taken from, and the cure. Works beside a service and without one. Exits with 0 if
/// nothing failed, with 78 for the configuration, 77 for rights and logins, 74 for the disk, 69 for network and server.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// Ask the server whether it takes this recipient, too
    #[arg(long, value_name = "ADDRESS")]
    to: Option<Mailbox>,

    /// Ask with this sender [default: that of the configuration]
    #[arg(long, value_name = "ADDRESS")]
    from: Option<Mailbox>,

    /// The longest wait for any one answer, where the configuration has a longer one
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = parse_duration)]
    timeout: Duration,

    /// The steps as JSON
    #[arg(long)]
    json: bool,

    /// Only print the commands that mend what is wrong with owners and modes; run none
    #[arg(long, conflicts_with = "json")]
    fix: bool,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let overrides = args.config.overrides();
    let (config, error) = match config::load(&overrides) {
        Ok(config) => (Some(config), None),
        Err(error) => (config::accept_only(&overrides).ok(), Some(error)),
    };
    if args.fix {
        let report = check::local(config.as_ref(), error.as_ref());
        let commands = report.steps.iter().flat_map(|step| &step.fix);
        print(&commands.fold(String::new(), |all, command| all + command + "\n"))?;
        return Ok(exit::OK);
    }
    let wanted = Wanted { from: args.from.clone(), to: args.to.clone(), within: args.timeout };
    let is_quiet = args.json;
    let is_terminal = std::io::stdout().is_terminal();
    let show = move |step: &Step| {
        if !is_quiet {
            // Where nobody reads any more, the exit code tells.
            drop(print(&text(step, is_terminal)));
        }
    };
    let report = check::all(config.as_ref(), error.as_ref(), &wanted, Box::new(show));
    let report = report.map_err(|e| Failure::new(exit::IOERR, format!("cannot begin: {e}")))?;
    if args.json {
        print_json(&report)?;
    } else if report.ok {
        print("all that can be tried without sending works; `pillarbox test --to ADDRESS` sends one\n")?;
    }
    Ok(code(&report))
}

/// One step, as a line, and what is wrong below it.
fn text(step: &Step, is_terminal: bool) -> String {
    let (word, colour) = match step.result {
        Came::Ok => ("ok", "32"),
        Came::Warn => ("WARN", "33"),
        Came::Failed => ("FAILED", "31"),
    };
    let has_colour = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let word = match has_colour {
        true => format!("\x1b[{colour}m{word:<6}\x1b[0m"),
        false => format!("{word:<6}"),
    };
    let whose = step.smarthost.as_ref().map_or_else(String::new, |name| format!("{name}: "));
    let mut text = format!("{word}  {:<11} {whose}{} ({} ms)\n", step.step, step.found, step.ms);
    let below = [("cause", step.cause.map(|cause| cause.to_string())), ("evidence", step.evidence.clone())];
    for (what, value) in below.into_iter().chain([("hint", step.hint.clone())]) {
        if let Some(value) = value {
            text += &format!("        {what}: {}\n", value.replace('\n', "\n        "));
        }
    }
    text
}

fn code(report: &Report) -> u8 {
    match report.cause() {
        None if report.ok => exit::OK,
        None => exit::SOFTWARE,
        Some(cause) => code_of(cause),
    }
}

/// The exit code that says whose matter it is.
pub(super) fn code_of(cause: Cause) -> u8 {
    match cause.about() {
        About::Config => exit::CONFIG,
        About::Rights => exit::NOPERM,
        About::Disk => exit::IOERR,
        About::Server => exit::UNAVAILABLE,
    }
}
