//! `pillarbox reload`.

use super::ask::{Desk, unexpected};
use super::{ConfigArgs, Failure, exit, print, print_json};
use crate::control::{Answer, Client, Request};

/// Have the service read its configuration anew
///
/// If it is wrong, the one before stays in force, and the exit code is 78. What is in flight ends as it was begun.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// What is in force now as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let desk = Desk::new(&args.config, "reload")?;
    if let Ok(None) = Client::connect(&desk.config().spool_dir) {
        let nobody =
            format!("no service runs on {}: nothing has to be reloaded", desk.config().spool_dir.display());
        return Err(Failure::new(exit::UNAVAILABLE, nobody));
    }
    let Answer::Reloaded(reloaded) = desk.ask(&Request::Reload)? else { return Err(unexpected()) };
    match args.json {
        true => print_json(&reloaded)?,
        false => {
            let smarthost = match &reloaded.smarthosts[..] {
                [] => "no smarthost".to_owned(),
                names => format!("smarthost {}", names.join(", ")),
            };
            print(&format!("reloaded: {smarthost}\n"))?
        }
    };
    Ok(exit::OK)
}
