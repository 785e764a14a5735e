//! `pillarbox demo`: an outage, two crashes and a refusal, on this machine, with the real program.
//!
//! The demo plays the producer and the smarthost; what is between them is this same program, run as a child
//! process with a configuration and a spool of its own in a temporary folder.

mod acts;
mod ledger;
mod show;
mod signals;
mod world;

use super::{Failure, exit};
use show::Show;
use world::World;

/// See it work: an outage, two crashes and a refusal, in under half a minute
///
/// Everything happens in a temporary folder and on loopback: no mail leaves this machine, nothing on it is
/// changed. The folder is removed at the end, unless --keep is given or something was not as promised.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Keep the temporary folder
    #[arg(long)]
    keep: bool,
}

/// Exit code 0 if everything was as promised, 70 if not.
pub(super) fn run(args: Args) -> Result<u8, Failure> {
    let mut show = Show::on_stdout();
    let interrupted = signals::interruptions().map_err(|error| {
        Failure::new(exit::UNAVAILABLE, format!("demo: cannot watch for signals: {error}"))
    })?;
    let mut world = World::make(interrupted)?;
    let played = acts::play(&mut show, &mut world);
    let dir = world.dir().to_owned();
    // Ends the service, so that nothing is written into the folder any more.
    drop(world);
    let broken = played.as_ref().is_err_and(|failure| failure.code == exit::SOFTWARE);
    if args.keep || broken {
        let kept = format!("everything is kept in {0}, the log is {0}/log", dir.display());
        return match played {
            Ok(()) => show.line(&kept).map(|()| exit::OK),
            Err(failure) => Err(failure.hint(kept)),
        };
    }
    std::fs::remove_dir_all(&dir).map_err(|error| {
        Failure::new(exit::IOERR, format!("cannot remove the folder {}: {error}", dir.display()))
    })?;
    played.map(|()| exit::OK)
}

/// Something is not as promised.
fn broken(what: impl Into<String>) -> Failure {
    Failure::new(exit::SOFTWARE, format!("demo: {}", what.into()))
}
