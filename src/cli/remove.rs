//! `pillarbox remove`.

use super::{Failure, steer};
use crate::control::Steer;

/// Remove messages that wait or have failed, for good
///
/// A message that is being sent is not removed: exit code 75.
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
        true => steer::run_failed(&args.which, Steer::Remove, "remove"),
        false => steer::run(&args.which, Steer::Remove, "remove"),
    }
}
