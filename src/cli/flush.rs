//! `pillarbox flush`: one pass, for cron.

use std::io::IsTerminal as _;

use super::{ConfigArgs, Failure, exit, log, start_failure};
use crate::fs::LockError;
use crate::sender::PassEnd;
use crate::service::{self, FlushError, Flushed, StartError};

/// Accept what was dropped, deliver what waits, now and once, and exit (for cron)
///
/// Off a terminal it says nothing about a smarthost that cannot be used or a lock that is held: cron would mail that.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// Exit with 75 if anything is left
    #[arg(long)]
    strict: bool,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let config = args.config.load()?;
    let on_terminal = std::io::stderr().is_terminal();
    if on_terminal {
        log::start(config.level);
    }
    match service::flush(&config) {
        Ok(flushed) => Ok(finished(&flushed, args.strict, on_terminal)),
        Err(FlushError::Start(StartError::Lock(LockError::Held { by }))) => {
            // The holder delivers what waits.
            if on_terminal {
                eprintln!("pillarbox: the spool is in use by {by}, which delivers what waits");
            }
            Ok(if args.strict { exit::TEMPFAIL } else { exit::OK })
        }
        Err(FlushError::Start(error)) => Err(start_failure(&error, &config)),
        Err(FlushError::Spool(error)) => Err(Failure::new(exit::IOERR, error.to_string())),
        Err(FlushError::System(error)) => Err(Failure::new(exit::SOFTWARE, format!("cannot start: {error}"))),
    }
}

fn finished(flushed: &Flushed, strict: bool, on_terminal: bool) -> u8 {
    if on_terminal {
        match (&flushed.end, flushed.left) {
            (PassEnd::Unusable(trouble), left) => {
                eprintln!("pillarbox: {} left: {trouble}\nhint: {}", messages(left), trouble.hint);
            }
            (PassEnd::NoSmarthost, left) => {
                eprintln!("pillarbox: {} left: no smarthost is configured", messages(left));
            }
            (_, 0) => {}
            (_, left) => eprintln!("pillarbox: {} left", messages(left)),
        }
    }
    if strict && flushed.left > 0 { exit::TEMPFAIL } else { exit::OK }
}

fn messages(count: u64) -> String {
    match count {
        1 => "1 message is".to_owned(),
        _ => format!("{count} messages are"),
    }
}
