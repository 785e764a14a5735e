//! How a message gets into the spool: handed to the service, or dropped where it will find it. Durable either way.
//!
//! A message is read to its end before anybody is asked, into memory or, if it is long, into the hidden file in `pickup/` that
//! would be dropped. So a service that says no, dies or does nothing loses nothing: the message is dropped then. Should its answer
//! have been lost, and not the message, that is there twice.

use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::time::Duration;

use super::compose::Composed;
use super::input::Input;
use crate::cli::{Failure, exit};
use crate::config::{self, Config, Overrides};
use crate::control::{Client, Handed};
use crate::message::HEADER_MAX;
use crate::pickup::Pattern;
use crate::submit;

/// A message that is longer is not kept in memory, octets. The whole header always is.
pub(super) const IN_MEMORY: usize = HEADER_MAX + 1;

/// How long a service may do nothing before the message is dropped beside it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Part of the name of what is dropped, and the name of what is handed in.
const NAME: &str = "sendmail";

/// Where messages go.
pub(super) struct Place {
    pub(super) spool: PathBuf,
    /// Completes names, as far as that can be read.
    pub(super) domain: Option<String>,
    /// For the name of what is dropped.
    ending: String,
}

/// The beginning of a message, and whether that is all.
pub(super) struct Beginning {
    pub(super) bytes: Vec<u8>,
    pub(super) is_all: bool,
}

/// Where a message is now.
pub(super) enum Stored {
    /// The service has it, under that queue id.
    Accepted(String),
    /// It lies in `pickup/` under that name.
    Dropped(String),
}

impl Place {
    /// As configured, or as far as that can be read: to store a message it is enough to know where.
    pub(super) fn find(overrides: &Overrides) -> Result<Place, Failure> {
        let config = config::load(overrides).or_else(|_| config::accept_only(overrides));
        let unknown = |e: config::ConfigError| Failure::new(exit::TEMPFAIL, e.to_string());
        let Config { spool_dir, pickup, identity, .. } = config.map_err(unknown)?;
        Ok(Place { domain: identity.domain, spool: spool_dir, ending: ending(&pickup.patterns) })
    }

    /// Stores what was composed and read, and what there is still to be read.
    pub(super) fn store(
        &self,
        composed: Composed,
        beginning: Beginning,
        rest: &mut Input<impl Read>,
    ) -> Result<Stored, Failure> {
        let mut message = composed.head;
        message.extend_from_slice(&beginning.bytes[composed.skip..]);
        drop(beginning.bytes);
        match beginning.is_all {
            true => self.store_short(message),
            false => self.store_long(&message, rest),
        }
    }

    /// A message that is in memory.
    pub(super) fn store_short(&self, message: Vec<u8>) -> Result<Stored, Failure> {
        let message = Cursor::new(std::sync::Arc::<[u8]>::from(message));
        let size = message.get_ref().len() as u64;
        if let Some(id) = self.ask((Box::new(message.clone()), size)) {
            return Ok(Stored::Accepted(id));
        }
        let spool = self.open()?;
        dropped(spool.submit(message, None, NAME))
    }

    fn store_long(&self, beginning: &[u8], rest: &mut Input<impl Read>) -> Result<Stored, Failure> {
        let spool = self.open()?;
        let mut draft = self.begin_draft(&spool, beginning)?;
        let (mut piece, mut more) = (Vec::new(), true);
        while more {
            piece.clear();
            more = rest.next(&mut piece).map_err(|e| failure(&submit::Error::Input(e)))?;
            draft.append(&piece).map_err(|e| failure(&e))?;
        }
        self.store_draft(draft)
    }

    /// Begins a message that is too long for memory.
    pub(super) fn begin_draft<'s>(
        &self,
        spool: &'s submit::Spool,
        beginning: &[u8],
    ) -> Result<submit::Draft<'s>, Failure> {
        let mut draft = spool.draft(NAME).map_err(|e| failure(&e))?;
        draft.append(beginning).map_err(|e| failure(&e))?;
        Ok(draft)
    }

    /// Stores one that is whole.
    pub(super) fn store_draft(&self, draft: submit::Draft<'_>) -> Result<Stored, Failure> {
        let size = draft.size();
        let again =
            draft.reader().map_err(|e| Failure::new(exit::TEMPFAIL, format!("cannot read again: {e}")))?;
        match self.ask((Box::new(again), size)) {
            // The draft removes itself.
            Some(id) => Ok(Stored::Accepted(id)),
            None => dropped(draft.finish()),
        }
    }

    pub(super) fn open(&self) -> Result<submit::Spool, Failure> {
        Ok(submit::Spool::open(&self.spool).map_err(|e| failure(&e))?.with_ending(&self.ending))
    }

    /// Hands it to the service; the queue id if that took it. Whatever else it says, the message can be dropped: the service then
    /// sets it aside where a person sees it.
    fn ask(&self, message: (Box<dyn Read + Send>, u64)) -> Option<String> {
        let handed = Handed { name: NAME.to_owned(), ..Handed::default() };
        Client::hand_in(&self.spool, handed, message, PATIENCE).unwrap_or_default()
    }
}

/// Reads the beginning: the whole header, and all of a message that is short.
pub(super) fn begin(input: &mut Input<impl Read>) -> io::Result<Beginning> {
    let mut bytes = Vec::new();
    while bytes.len() <= IN_MEMORY {
        if !input.next(&mut bytes)? {
            return Ok(Beginning { bytes, is_all: true });
        }
    }
    Ok(Beginning { bytes, is_all: false })
}

fn dropped(result: Result<submit::Dropped, submit::Error>) -> Result<Stored, Failure> {
    let dropped = result.map_err(|e| failure(&e))?;
    Ok(Stored::Dropped(dropped.name.to_string_lossy().into_owned()))
}

pub(super) fn failure(error: &submit::Error) -> Failure {
    let text = error.to_string();
    let (message, hint) = text.split_once("\nhint: ").map_or((text.as_str(), None), |(m, h)| (m, Some(h)));
    Failure { code: error.exit_code(), message: message.to_owned(), hint: hint.map(str::to_owned) }
}

/// An ending of names that `pickup/` takes: `.eml`, none, or that of a pattern like `*.mail`.
fn ending(patterns: &[Pattern]) -> String {
    let takes =
        |ending: &str| patterns.iter().any(|pattern| pattern.matches(format!("0-0-{NAME}{ending}").as_ref()));
    let texts: Vec<String> = patterns.iter().map(Pattern::to_string).collect();
    let others = texts.iter().filter_map(|text| text.strip_prefix('*'));
    [".eml", ""].into_iter().chain(others).find(|ending| takes(ending)).unwrap_or(".eml").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_has_a_name_that_is_taken() {
        let rows: [(&[&str], &str); 5] = [
            (&["*.eml", "!*.*"], ".eml"),
            (&["!*.*"], ""),
            (&["*.txt", "*.mail"], ".txt"),
            (&["*"], ".eml"),
            (&["alarm-*"], ".eml"),
        ];
        for (patterns, want) in rows {
            let patterns: Vec<Pattern> = patterns.iter().map(|text| Pattern::new(text)).collect();
            assert_eq!(ending(&patterns), want, "{patterns:?}");
        }
    }
}
