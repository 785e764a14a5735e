//! `pillarbox flush`: one pass, for cron.

use std::io::IsTerminal as _;

use super::ask::{Desk, NoAnswer, unexpected};
use super::{ConfigArgs, Failure, exit, log, print_json};
use crate::control::{Answer, Flushed, Request};

/// Accept what was dropped, deliver what waits, now and once, and exit (for cron)
///
/// Where a service runs it does that, and this waits for the end of its pass; to interrupt it ends nothing but the waiting.
/// Off a terminal it says nothing about a smarthost that cannot be used or a lock that is held: cron would mail that.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// Exit with 75 if anything is left
    #[arg(long)]
    strict: bool,

    /// What came of it as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// With neither option, as `sendmail -q` wants it.
    pub(super) fn plain(config: ConfigArgs) -> Args {
        Args { config, strict: false, json: false }
    }
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let desk = Desk::new(&args.config, "flush")?;
    let on_terminal = std::io::stderr().is_terminal();
    if on_terminal {
        drop(log::start(desk.config().level));
    }
    match desk.ask_now(&Request::Flush) {
        Ok(Answer::Flushed(flushed)) => finished(&flushed, args, on_terminal),
        Ok(_) => Err(unexpected()),
        Err(NoAnswer::InUse(failure)) => {
            // The holder delivers what waits.
            if on_terminal {
                eprintln!("{failure}");
            }
            Ok(if args.strict { exit::TEMPFAIL } else { exit::OK })
        }
        // The service stops, or waits for the disk: its log says so, and the next run goes on where it was.
        Err(NoAnswer::Failed(failure)) if failure.code == exit::TEMPFAIL && !on_terminal => {
            Ok(if args.strict { exit::TEMPFAIL } else { exit::OK })
        }
        Err(NoAnswer::Failed(failure)) => Err(failure),
    }
}

fn finished(flushed: &Flushed, args: &Args, on_terminal: bool) -> Result<u8, Failure> {
    if args.json {
        print_json(flushed)?;
    }
    if on_terminal {
        match (&flushed.cause, flushed.left) {
            (Some(cause), left) => {
                eprintln!("pillarbox: {} left: {cause}", messages(left));
                if let Some(hint) = &flushed.hint {
                    eprintln!("hint: {hint}");
                }
            }
            (None, 0) => {}
            (None, left) => eprintln!("pillarbox: {} left", messages(left)),
        }
    }
    Ok(if args.strict && flushed.left > 0 { exit::TEMPFAIL } else { exit::OK })
}

fn messages(count: u64) -> String {
    match count {
        1 => "1 message is".to_owned(),
        _ => format!("{count} messages are"),
    }
}
