//! `pillarbox release`.

use super::{Failure, steer};
use crate::control::Steer;

/// Let go what was held
///
/// It is due at once, out of line.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(flatten)]
    which: steer::Which,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    steer::run(&args.which, Steer::Release, "release")
}
