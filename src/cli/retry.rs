//! `pillarbox retry`.

use super::{Failure, steer};
use crate::control::Steer;

/// Bring back what was given up, or try now what is aside
///
/// Who has the message already does not get it again. It goes out of line: it holds nobody, and is due at once.
///
/// Exits with 75 if a message is being sent, with 65 if there is none or it needs no retry.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(flatten)]
    which: steer::Which,

    /// All that have failed
    #[arg(long, conflicts_with = "ids")]
    failed: bool,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    match args.failed {
        true => steer::run_failed(&args.which, Steer::Retry, "retry"),
        false => steer::run(&args.which, Steer::Retry, "retry"),
    }
}
