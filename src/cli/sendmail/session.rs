//! `sendmail -bs`: SMTP on stdin and stdout, for programs that would rather speak it than write a file. Each message is durable when
//! its final dot is answered with 250.

use std::cell::OnceCell;
use std::io::{self, Read, Write};

use super::compose::begins_with_field;
use super::route::{IN_MEMORY, Place, Stored};
use crate::cli::{Failure, exit};
use crate::config::Overrides;
use crate::message::{Header, Listed, Scan, parse_address_list};
use crate::smtp::server::{Dialogue, Envelope, Step, say};
use crate::submit;

/// Octets that are read at once.
const PIECE: usize = 64 * 1024;

/// A message whose final dot has not come.
enum Taking<'a> {
    /// Its text so far.
    Short(Vec<u8>),
    /// It is too long for memory, and lies in `pickup/` under a hidden name.
    Long(submit::Draft<'a>),
    /// It cannot be kept; the rest of it is read all the same.
    Lost(Failure),
}

/// Speaks until QUIT or the end of stdin.
pub(super) fn run(overrides: &Overrides) -> Result<u8, Failure> {
    // Where messages go can be unknown, and the program that speaks be told in its own words.
    let place = Place::find(overrides);
    let spool = OnceCell::new();
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    converse(&name, &place, &spool, io::stdin().lock(), io::stdout().lock())
}

fn converse<'a>(
    name: &str,
    place: &'a Result<Place, Failure>,
    spool: &'a OnceCell<submit::Spool>,
    mut input: impl Read,
    mut output: impl Write,
) -> Result<u8, Failure> {
    let ended = |e: io::Error| Failure::new(exit::IOERR, format!("the session broke off: {e}"));
    let mut dialogue = Dialogue::new(name, is_recipient);
    let mut replies = dialogue.greeting().into_bytes();
    let mut taking = Taking::Short(Vec::new());
    let mut piece = vec![0; PIECE];
    loop {
        output.write_all(&replies).and_then(|()| output.flush()).map_err(ended)?;
        replies.clear();
        let read = match input.read(&mut piece) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(ended)?,
        };
        if read == 0 {
            return match dialogue.is_within_message() {
                true => {
                    Err(Failure::new(exit::IOERR, "the session ended within a message: it was not stored"))
                }
                false => Ok(exit::OK),
            };
        }
        let mut rest = &piece[..read];
        let mut text = Vec::new();
        loop {
            let step = dialogue.advance(&mut rest, &mut replies, &mut text);
            match step {
                Step::Hungry => {
                    taking = taking.and(&std::mem::take(&mut text), dialogue.envelope(), place, spool);
                    break;
                }
                Step::Message(envelope) => {
                    let whole = taking.and(&std::mem::take(&mut text), Some(&envelope), place, spool);
                    taking = Taking::Short(Vec::new());
                    say(&mut replies, &answer(whole.finish(&envelope, place)));
                }
                Step::Goodbye => {
                    output.write_all(&replies).and_then(|()| output.flush()).map_err(ended)?;
                    return Ok(exit::OK);
                }
            }
        }
    }
}

/// An address, or a name of this host.
fn is_recipient(text: &str) -> bool {
    matches!(parse_address_list(text.as_bytes())[..], [Listed::Mailbox(_) | Listed::Bare(_)])
}

fn answer(stored: Result<Stored, Failure>) -> String {
    match stored {
        Ok(Stored::Accepted(id)) => format!("250 2.0.0 accepted as {id}"),
        Ok(Stored::Dropped(name)) => format!("250 2.0.0 dropped as {name}"),
        Err(failure) => {
            let text = failure.to_string().replace(['\r', '\n'], " ");
            format!("451 4.3.0 {text}")
        }
    }
}

impl<'a> Taking<'a> {
    /// With more of its text.
    fn and(
        self,
        text: &[u8],
        envelope: Option<&Envelope>,
        place: &'a Result<Place, Failure>,
        spool: &'a OnceCell<submit::Spool>,
    ) -> Taking<'a> {
        match self {
            Taking::Short(mut before) => {
                before.extend_from_slice(text);
                match envelope.filter(|_| before.len() > IN_MEMORY) {
                    None => Taking::Short(before),
                    Some(envelope) => begin(&headed(envelope, &before), place, spool)
                        .map_or_else(Taking::Lost, Taking::Long),
                }
            }
            Taking::Long(mut draft) => match draft.append(text) {
                Ok(()) => Taking::Long(draft),
                Err(error) => Taking::Lost(super::route::failure(&error)),
            },
            Taking::Lost(failure) => Taking::Lost(failure),
        }
    }

    /// Its final dot has come.
    fn finish(self, envelope: &Envelope, place: &Result<Place, Failure>) -> Result<Stored, Failure> {
        let place = place.as_ref().map_err(Clone::clone)?;
        match self {
            Taking::Short(text) => place.store_short(headed(envelope, &text)),
            Taking::Long(draft) => place.store_draft(draft),
            Taking::Lost(failure) => Err(failure),
        }
    }
}

fn begin<'a>(
    beginning: &[u8],
    place: &'a Result<Place, Failure>,
    spool: &'a OnceCell<submit::Spool>,
) -> Result<submit::Draft<'a>, Failure> {
    let place = place.as_ref().map_err(Clone::clone)?;
    let spool = match spool.get() {
        Some(spool) => spool,
        None => {
            let opened = place.open()?;
            spool.get_or_init(|| opened)
        }
    };
    place.begin_draft(spool, beginning)
}

/// The text behind a block with its envelope.
fn headed(envelope: &Envelope, text: &[u8]) -> Vec<u8> {
    let start = submit::Envelope::from_sender(&envelope.reverse_path).asking(envelope.dsn.clone());
    let whole = envelope.forward_paths.iter().fold(start, |e, (to, dsn)| e.to_asking(to, dsn.clone()));
    let mut message = whole.block_as_it_is();
    if !begins_with_field(text) && !text.starts_with(b"\n") && !text.starts_with(b"\r\n") {
        message.push(b'\n');
    }
    // Behind the block what an mbox has in front of the header would end it.
    let skip = match Header::scan(text, true) {
        Ok(Scan::Done(header)) => header.without_block().fields().first().map_or(0, |f| f.range().start),
        Ok(Scan::NeedMore) | Err(_) => 0,
    };
    message.extend_from_slice(&text[skip..]);
    message
}
