//! A message that is handed in: taken whole and durably, or not at all.

use std::ffi::OsStr;

use super::answer::{Code, NotDone, Refused, Sent};
use super::request::Handed;
use crate::mail::{Origin, QueueIdSource, UnixTime};
use crate::message::NoEnvelope;
use crate::outgoing::{self, Outgoing, Unsendable};
use crate::spool::{Name, Spool, Submission};

/// How messages are taken.
#[derive(Debug, Clone)]
pub struct Options {
    /// How they will be sent: what can never be is refused.
    pub outgoing: outgoing::Options,
    /// Longest that is taken, octets.
    pub max_message_size: Option<u64>,
}

/// A message on its way in. Dropped, it leaves nothing behind.
pub struct Intake<'a> {
    submission: Submission<'a>,
    options: &'a Options,
}

impl<'a> Intake<'a> {
    /// Begins to take a message.
    ///
    /// # Errors
    ///
    /// That there is no room, or the disk call that failed.
    pub fn begin(spool: &'a Spool, options: &'a Options) -> Result<Intake<'a>, NotDone> {
        let submission = spool.submit()?.map_err(|why| {
            Refused::new(Code::NoRoom, format!("nothing is accepted: {why}")).hint("try again later")
        })?;
        Ok(Intake { submission, options })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// That it is too long, or the disk call that failed.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), NotDone> {
        if let Some(max) = self.options.max_message_size
            && self.submission.size() + bytes.len() as u64 > max
        {
            let why = format!("the message is longer than {max} octets (max_message_size in [spool])");
            return Err(Refused::new(Code::TooLarge, why).into());
        }
        Ok(self.submission.append(bytes)?)
    }

    /// Makes it a message. Durable when this returns.
    ///
    /// # Errors
    ///
    /// Why it can never be sent, or the disk call that failed.
    pub fn finish(self, handed: &Handed, now: UnixTime) -> Result<Sent, NotDone> {
        let Intake { mut submission, options } = self;
        let bad = |why: String| Refused::new(Code::BadMessage, format!("the message was not taken: {why}"));
        let label = match handed.name.as_str() {
            "" => "message",
            name => name,
        };
        if submission.size() == 0 {
            return Err(bad("it is empty".into()).into());
        }
        // Only looked at; the name it gets is another one.
        let name = Name::new(QueueIdSource::primed(None).draw(now), now, OsStr::new(label));
        let origin = Origin { user: handed.user.clone(), ..Origin::default() };
        let envelope = handed.envelope.as_ref().map(|envelope| options.outgoing.expand(envelope));
        let read = submission.file().map(|file| match envelope.clone() {
            Some(envelope) => Outgoing::read_given(file, &name, &options.outgoing, &origin, envelope),
            None => Outgoing::read(file, &name, &options.outgoing, &origin),
        });
        let has_sender = matches!(&read, Some(Ok(Outgoing { addressed: Ok(a), .. })) if a.has_sender);
        match read {
            Some(Ok(Outgoing { addressed: Err(NoEnvelope::Refused(refusal)), .. }))
            | Some(Err(Unsendable::Refused(refusal))) => return Err(bad(refusal.to_string()).into()),
            Some(Err(Unsendable::Io(error))) => {
                let why = format!("the message cannot be read again: {error}");
                return Err(Refused::new(Code::Disk, why).into());
            }
            // A setting that is missing now may be there when its turn comes.
            Some(Ok(_)) | None => {}
        }
        // Its file is ours, and does not tell who handed it in. A record costs two syncs: it is made where that matters.
        if origin.user.as_ref().is_some_and(|user| !has_sender || options.outgoing.senders.depend_on(user)) {
            submission.came_by(origin);
        }
        let accepted = submission.finish(OsStr::new(label), envelope.as_ref(), now, &|_, _| None)?;
        let (id, file) = (accepted.name.id, accepted.name.label());
        tracing::info!(%id, file, size = accepted.size, "accepted");
        Ok(Sent { id: id.to_string(), file: file.to_owned(), size: accepted.size })
    }
}
