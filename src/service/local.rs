//! What is asked for where no service runs: carried out by this process, under the lock where something is changed.

use std::io::{self, Read};

use super::{StartError, flush, open_spool, recover, setup};
use crate::config::Config;
use crate::control::{Answer, Code, Desk, Handed, Intake, NotDone, Refused, Request, Sent, view};
use crate::fs::{Clock as _, RealFs, SystemClock};
use crate::spool::{Spool, SpoolError};

/// A message that is handed in, and its size where that is known.
pub type Upload = (Box<dyn Read + Send>, Option<u64>);

/// Octets that are read at once.
const PIECE: usize = 64 * 1024;

/// Why it was not done.
#[derive(Debug)]
pub enum LocalError {
    /// The spool cannot be used.
    Start(StartError),
    /// It was refused. Nothing was changed.
    Refused(Refused),
    /// A disk call of the spool failed.
    Spool(SpoolError),
    /// The runtime or a signal handler could not be had, or the message to hand in cannot be read.
    System(io::Error),
}

/// Carries out `request`; `command` is told to whoever wants the spool meanwhile. `upload` is the message of
/// [`Request::Send`], and is taken once the spool is ours.
///
/// # Errors
///
/// Why it was not done.
pub fn carry_out(
    config: &Config,
    command: &str,
    request: &Request,
    upload: &mut Option<Upload>,
) -> Result<Answer, LocalError> {
    if matches!(request, Request::Status | Request::List(_) | Request::Show(_)) {
        let opened = RealFs::open(&config.spool_dir);
        let fs = opened.map_err(|(path, error)| LocalError::Start(StartError::Directory(path, error)))?;
        return Ok(view::answer(request, &fs, &setup::facts(config))?);
    }
    if *request == Request::Reload {
        let refused =
            Refused::new(Code::Unavailable, "no service runs on this spool: nothing has to be reloaded");
        return Err(refused.into());
    }
    if let Request::Outcome(..) = request {
        let refused = Refused::new(Code::Unavailable, "no service runs on this spool: nobody delivers");
        return Err(refused.hint("pillarbox flush").into());
    }
    let spool = open_spool(config, command).map_err(LocalError::Start)?;
    recover(&spool)?;
    let desk = Desk::new(&spool, &SystemClock);
    let done = match request {
        Request::Steer(steer, which) => {
            desk.steer(*steer, which).map(|(_, steered)| Answer::Steered(steered))
        }
        Request::Pause => desk.pause().map(Answer::Pause),
        Request::Resume => desk.resume().map(Answer::Pause),
        Request::Send(handed) => return Ok(Answer::Sent(take(config, &spool, handed, upload.take())?)),
        Request::Flush => return flush::flush(config, spool).map(Answer::Flushed),
        Request::Status | Request::List(_) | Request::Show(_) | Request::Outcome(..) | Request::Reload => {
            return Err(Refused::new(Code::BadRequest, "nothing to be done").into());
        }
    };
    Ok(done?)
}

fn take(config: &Config, spool: &Spool, handed: &Handed, upload: Option<Upload>) -> Result<Sent, LocalError> {
    let options = setup::intake_options(config);
    let mut intake = Intake::begin(spool, &options)?;
    let mut from = upload.map_or_else(|| Box::new(io::empty()) as Box<dyn Read + Send>, |(from, _)| from);
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(intake.finish(handed, SystemClock.wall())?),
            Ok(read) => intake.append(&piece[..read])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(LocalError::System(e)),
        }
    }
}

impl From<Refused> for LocalError {
    fn from(refused: Refused) -> LocalError {
        LocalError::Refused(refused)
    }
}

impl From<SpoolError> for LocalError {
    fn from(error: SpoolError) -> LocalError {
        LocalError::Spool(error)
    }
}

impl From<NotDone> for LocalError {
    fn from(why: NotDone) -> LocalError {
        match why {
            NotDone::Refused(refused) => LocalError::Refused(refused),
            NotDone::Disk(_) => LocalError::Refused(why.refused()),
        }
    }
}
