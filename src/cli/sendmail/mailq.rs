//! `mailq`: what waits, for a person, and for monitoring that looks for these two last lines.

use crate::cli::ask::{Desk, unexpected};
use crate::cli::{ConfigArgs, Failure, exit, list, print};
use crate::control::{Answer, Request, State};

pub(super) fn run(config: &ConfigArgs) -> Result<u8, Failure> {
    let asked = Desk::new(config, "mailq")?.ask(&Request::List(None));
    let Answer::Messages(found) = asked.map_err(not_for_all)? else { return Err(unexpected()) };
    let waiting: Vec<_> = found.messages.iter().filter(|message| message.state != State::Failed).collect();
    for message in &waiting {
        if !print(&format!("{}\n", list::line(message)))? {
            return Ok(exit::OK);
        }
    }
    match waiting.len() {
        0 => print("Mail queue is empty\n")?,
        count => print(&format!("\tTotal requests: {count}\n"))?,
    };
    Ok(exit::OK)
}

/// Whoever may not look is told so in one sentence.
fn not_for_all(failure: Failure) -> Failure {
    match failure.code {
        exit::NOPERM => Failure::new(
            exit::NOPERM,
            "only root and the owner of the spool see what waits; what you sent was stored when sendmail returned",
        ),
        _ => failure,
    }
}
