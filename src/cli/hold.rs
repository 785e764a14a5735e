//! `pillarbox hold`.

use super::{Failure, steer};
use crate::control::Steer;

/// Keep messages from being sent until they are released
///
/// They are out of line and hold nobody. A message that is being sent cannot be held: exit code 75.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(flatten)]
    which: steer::Which,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    steer::run(&args.which, Steer::Hold, "hold")
}
