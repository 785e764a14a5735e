//! `pillarbox pause`.

use super::ask::{Desk, unexpected};
use super::{ConfigArgs, Failure, exit, print, print_json};
use crate::control::{Answer, Request};

/// Send nothing more until `pillarbox resume`
///
/// What is in flight is carried to its end. Messages are accepted and kept. It outlives a restart.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// What is so now as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let Answer::Pause(pause) = Desk::new(&args.config, "pause")?.ask(&Request::Pause)? else {
        return Err(unexpected());
    };
    match args.json {
        true => print_json(&pause)?,
        false => print("paused: nothing is sent until `pillarbox resume`\n")?,
    };
    Ok(exit::OK)
}
