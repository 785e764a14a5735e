//! `pillarbox resume`.

use super::ask::{Desk, unexpected};
use super::{ConfigArgs, Failure, exit, print, print_json};
use crate::control::{Answer, Request};

/// End a pause
///
/// What waited goes on in order.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// What is so now as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let Answer::Pause(pause) = Desk::new(&args.config, "resume")?.ask(&Request::Resume)? else {
        return Err(unexpected());
    };
    match args.json {
        true => print_json(&pause)?,
        false => print("resumed\n")?,
    };
    Ok(exit::OK)
}
