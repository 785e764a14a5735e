//! What retry, remove, hold and release have in common.

use super::ask::{Desk, unexpected};
use super::{ConfigArgs, Failure, exit, print, print_json};
use crate::control::{Answer, Request, State, Steer, Steered};

/// Which messages.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    #[command(flatten)]
    pub(super) config: ConfigArgs,

    /// Messages: the queue id, its beginning or its end (4 digits at least), or the name the file was dropped under
    #[arg(value_name = "ID")]
    pub(super) ids: Vec<String>,

    /// What was done as JSON, one object a line
    #[arg(long)]
    pub(super) json: bool,
}

/// Does it to each; those behind one that is refused have their turn all the same.
pub(super) fn run(which: &Which, steer: Steer, command: &'static str) -> Result<u8, Failure> {
    if which.ids.is_empty() {
        let failure = Failure::new(exit::USAGE, "no message is named: expected an ID");
        return Err(failure.hint("`pillarbox list` shows the messages"));
    }
    each(&Desk::new(&which.config, command)?, &which.ids, steer, which.json)
}

/// The same, with all that have failed.
pub(super) fn run_failed(which: &Which, steer: Steer, command: &'static str) -> Result<u8, Failure> {
    let desk = Desk::new(&which.config, command)?;
    let Answer::Messages(failed) = desk.ask(&Request::List(Some(State::Failed)))? else {
        return Err(unexpected());
    };
    let ids: Vec<String> = failed.messages.into_iter().map(|message| message.id).collect();
    each(&desk, &ids, steer, which.json)
}

fn each(desk: &Desk, ids: &[String], steer: Steer, json: bool) -> Result<u8, Failure> {
    let mut code = exit::OK;
    for id in ids {
        match desk.ask(&Request::Steer(steer, id.clone())) {
            Ok(Answer::Steered(done)) if json => drop(print_json(&done)?),
            Ok(Answer::Steered(done)) => drop(print(&line(&done, steer))?),
            Ok(_) => return Err(unexpected()),
            Err(failure) => {
                eprintln!("{failure}");
                // One that is worth another try is told before one that is not.
                code = if code == exit::TEMPFAIL { code } else { failure.code };
            }
        }
    }
    Ok(code)
}

fn line(done: &Steered, steer: Steer) -> String {
    let what = match steer {
        Steer::Retry => "due now, out of line",
        Steer::Remove => "removed",
        Steer::Hold => "held until it is released",
        Steer::Release => "released: due now, out of line",
    };
    format!("{}  {}  {what}\n", done.id, done.file)
}
