//! Carries requests out on the spool that this process owns: the service in its loop, a command under the lock.

use super::answer::{Code, NotDone, Pause, Refused, State, Steered};
use super::find;
use super::request::Steer;
use crate::fs::Clock;
use crate::mail::QueueId;
use crate::spool::{Name, NotSteered, OutOfLine, Place, Spool};

/// Where requests are carried out, one after the other.
pub struct Desk<'a> {
    spool: &'a Spool,
    clock: &'a dyn Clock,
}

impl<'a> Desk<'a> {
    /// Over a spool that was recovered.
    pub fn new(spool: &'a Spool, clock: &'a dyn Clock) -> Desk<'a> {
        Desk { spool, clock }
    }

    /// Does something to a message. What it says has reached the disk. The sender has to be told of the id.
    ///
    /// # Errors
    ///
    /// Why nothing was done, or the disk call that failed.
    pub fn steer(&self, steer: Steer, which: &str) -> Result<(QueueId, Steered), NotDone> {
        let id = find::find(&**self.spool.fs(), which)?;
        let (done, state) = match steer {
            Steer::Retry => match self.due_already(id) {
                Some(done) => (done, State::Aside),
                None => (self.spool.retry(id, Place::Aside)?, State::Aside),
            },
            Steer::Remove => (self.spool.remove(id)?, State::Removed),
            Steer::Hold => (self.spool.hold(id)?, State::Held),
            Steer::Release => (self.spool.release(id)?, State::Aside),
        };
        let name = done.map_err(|why| self.refused(id, which, &why))?;
        let done = Steered { id: id.to_string(), file: name.label().to_owned(), state };
        let file = &done.file;
        match steer {
            Steer::Retry => tracing::info!(%id, file, "retried"),
            Steer::Remove => tracing::warn!(%id, file, "removed"),
            Steer::Hold => tracing::info!(%id, file, "held"),
            Steer::Release => tracing::info!(%id, file, "released"),
        }
        Ok((id, done))
    }

    /// A message that waits need not be brought back. One that is aside is only to be told of.
    fn due_already(&self, id: QueueId) -> Option<Result<Name, NotSteered>> {
        let name = self.spool.name(id)?;
        let out = self.spool.out_of_line().into_iter().find(|(other, _)| *other == id);
        matches!(out, Some((_, OutOfLine::Aside(_)))).then_some(Ok(name))
    }

    fn refused(&self, id: QueueId, which: &str, why: &NotSteered) -> Refused {
        let name =
            self.spool.name(id).map_or_else(|| which.to_owned(), |name| format!("{id} ({})", name.label()));
        let refused = |code| Refused::new(code, format!("{name}: {why}"));
        match why {
            NotSteered::Unknown => find::unknown(which),
            NotSteered::InFlight => {
                refused(Code::InFlight).hint("nothing was changed; ask again when its transaction has ended")
            }
            NotSteered::NotFailed => self.not_failed(id, refused(Code::Conflict)),
            NotSteered::NotWaiting => refused(Code::Conflict).hint("`pillarbox retry` brings it back"),
            NotSteered::AlreadyHeld => refused(Code::Conflict).hint("`pillarbox release` lets it go"),
            NotSteered::NotHeld => refused(Code::Conflict).hint("`pillarbox list` says how it stands"),
            NotSteered::Unreadable(_) => {
                refused(Code::Conflict).hint("mend its record in meta/, or remove the message")
            }
        }
    }

    /// Why a message that waits cannot be retried: in line its turn comes, out of line something keeps it.
    fn not_failed(&self, id: QueueId, refused: Refused) -> Refused {
        let out = self.spool.out_of_line().into_iter().find(|(other, _)| *other == id);
        match out.map(|(_, out)| out) {
            None => refused.hint("its turn comes; `pillarbox flush` has everything tried now"),
            Some(OutOfLine::Held) => refused.hint("an operator holds it: `pillarbox release` lets it go"),
            Some(OutOfLine::Aside(_)) => refused.hint("it is tried on its own schedule"),
            Some(OutOfLine::Unreadable(why)) => refused.hint(format!("it cannot be read: {why}")),
            Some(OutOfLine::Unconfigured(why)) => refused.hint(format!("{why}; then `pillarbox reload`")),
        }
    }

    /// Nothing is sent from now on.
    ///
    /// # Errors
    ///
    /// The disk call that failed.
    pub fn pause(&self) -> Result<Pause, NotDone> {
        let was_paused = self.spool.paused().is_some();
        self.spool.pause(self.clock.wall())?;
        if !was_paused {
            tracing::warn!(hint = "nothing is sent until `pillarbox resume`", "paused");
        }
        Ok(self.paused())
    }

    /// Sending goes on.
    ///
    /// # Errors
    ///
    /// The disk call that failed.
    pub fn resume(&self) -> Result<Pause, NotDone> {
        let was_paused = self.spool.paused().is_some();
        self.spool.resume()?;
        if was_paused {
            tracing::info!("resumed");
        }
        Ok(self.paused())
    }

    fn paused(&self) -> Pause {
        Pause { paused_since: self.spool.paused().map(|since| since.as_secs()) }
    }
}
