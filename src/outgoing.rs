//! Floor 3: an accepted message as it will be sent: its envelope, its head, and its body as a stream.
//!
//! The bytes on disk are never changed; what goes over the wire is made anew at each attempt, and is the same each
//! time (the time in it is that of acceptance).

mod senders;
mod text;

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::fs::File;
use crate::mail::{Envelope, Mailbox, Origin};
use crate::message::{
    self, Aliases, Canonical, DotStuffer, DotUnstuffer, Facts, Forced, HEADER_MAX, HeadText, Header,
    Identity, NoEnvelope, Plan, Refusal, Scan, SevenBit, Survey, Unconvertible, Unreadable, WireOptions,
};
use crate::net::BodySource;
use crate::spool::Name;

pub use senders::{Chosen, Sender, Senders};

/// How much is read and written at once, octets.
const BLOCK: usize = 64 * 1024;

/// What the wire form needs from the configuration.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Stands in `Received:` and `Message-ID:`.
    pub hostname: String,
    /// The sender where the message names none that is usable, and those that are forced.
    pub senders: Senders,
    /// Completes addresses without a domain.
    pub domain: Option<String>,
    /// Whom recipients stand for. `None`: for themselves.
    pub aliases: Option<Arc<Aliases>>,
    /// Whether a `Received:` line is added.
    pub received: bool,
}

/// A message that was read.
#[derive(Debug)]
pub struct Outgoing {
    /// From its own bytes.
    pub addressed: Result<Addressed, NoEnvelope>,
    /// What the server must be able to take.
    pub facts: Facts,
    /// The reverse-path of it if it has one, whatever the envelope says.
    pub forced_sender: Option<Mailbox>,
    /// Whether another From is put in place of its own.
    is_from_replaced: bool,
    /// Whether it has a signature (RFC 6376) that does not outlive a conversion.
    has_dkim: bool,
    head: Vec<u8>,
    body_offset: u64,
    /// Its producer doubles dots.
    unstuff: bool,
    seven: Option<Plan>,
    is_converted: bool,
    unconvertible: Option<Unconvertible>,
}

/// What a server takes as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takes {
    /// Octets above 127 (RFC 6152).
    pub eight_bit: bool,
    /// UTF-8 in header fields (RFC 6531), which nobody offers without the other.
    pub utf8: bool,
}

/// Sender and recipients.
#[derive(Debug, Clone)]
pub struct Addressed {
    /// Those that can be read.
    pub envelope: Envelope,
    /// Recipients that cannot.
    pub unreadable: Vec<Unreadable>,
    /// Parameters of DSN that cannot be read, and are not passed on.
    pub dropped: Vec<String>,
    /// Whether the sender is one that it names.
    pub has_sender: bool,
}

/// Why a message cannot be sent, whatever the server.
#[derive(Debug)]
pub enum Unsendable {
    /// It never can be.
    Refused(Refusal),
    /// It could not be read.
    Io(io::Error),
}

impl Options {
    /// An envelope that came beside a message, for those whom its recipients stand for.
    pub fn expand(&self, envelope: &Envelope) -> Envelope {
        match &self.aliases {
            Some(aliases) => message::expand_envelope(envelope, aliases),
            None => envelope.clone(),
        }
    }
}

impl Outgoing {
    /// Reads the message in `file`, which came by `origin`, once from end to end.
    ///
    /// # Errors
    ///
    /// Why it cannot be sent, whatever the server.
    pub fn read(
        file: &dyn File,
        name: &Name,
        options: &Options,
        origin: &Origin,
    ) -> Result<Outgoing, Unsendable> {
        let (header, prefix) = match origin.text {
            true => text::header(file, name, origin)?,
            false => read_header(file)?,
        };
        let chosen = options.sender(origin, || senders::user(origin, file))?;
        let identity = Identity {
            from: chosen.as_ref().ok().and_then(|c| c.author.as_ref()).map(|author| &author.mailbox),
            domain: options.domain.as_deref(),
            aliases: options.aliases.as_deref(),
            to: &origin.to,
        };
        let addressed = message::address(&header, &prefix, &identity).map(|a| Addressed {
            envelope: a.envelope,
            unreadable: a.unreadable,
            dropped: a.dropped,
            has_sender: a.has_sender,
        });
        let body_offset = if origin.text { 0 } else { header.body_offset() as u64 };
        let read = (header, prefix, body_offset);
        Outgoing::compose(file, name, options, read, addressed, (chosen, origin.unstuff))
    }

    /// The same for a message whose envelope was given beside it: what its bytes say of one is not read, and a block of
    /// X-Sender and X-Receiver is text like any other. The envelope stays as it is: [`Options::expand`] comes before.
    ///
    /// # Errors
    ///
    /// As [`Outgoing::read`].
    pub fn read_given(
        file: &dyn File,
        name: &Name,
        options: &Options,
        origin: &Origin,
        envelope: Envelope,
    ) -> Result<Outgoing, Unsendable> {
        let (header, prefix) = read_header(file)?;
        let chosen = options.sender(origin, || senders::user(origin, file))?;
        let addressed =
            Ok(Addressed { envelope, unreadable: Vec::new(), dropped: Vec::new(), has_sender: true });
        let body_offset = header.body_offset() as u64;
        let read = (header.without_block(), prefix, body_offset);
        Outgoing::compose(file, name, options, read, addressed, (chosen, false))
    }

    fn compose(
        file: &dyn File,
        name: &Name,
        options: &Options,
        (header, prefix, body_offset): (Header, Vec<u8>, u64),
        mut addressed: Result<Addressed, NoEnvelope>,
        (chosen, unstuff): (Result<Chosen, NoEnvelope>, bool),
    ) -> Result<Outgoing, Unsendable> {
        let chosen = chosen.unwrap_or_else(|why| {
            if !matches!(addressed, Err(NoEnvelope::Refused(_))) {
                addressed = Err(why);
            }
            Chosen::default()
        });
        let forced = match chosen.forced_header() {
            Some(author) => message::force_from(&header, &prefix, author),
            None => Forced::default(),
        };
        let wire = WireOptions {
            queue_id: name.id,
            accepted: name.accepted,
            hostname: &options.hostname,
            from: chosen.author.as_ref(),
            forced: &forced,
            received: options.received,
        };
        let head = message::head(&header, &prefix, &wire);
        let mut facts = Facts::of_head(&head, &header);
        let mut body = CanonicalBody::new(file, body_offset, unstuff);
        let mut block = Vec::with_capacity(BLOCK);
        let mut more = true;
        while more {
            block.clear();
            more = body.next(&mut block)?;
            facts.push(&block).map_err(Unsendable::Refused)?;
        }
        let has_dkim = header.has("DKIM-Signature", &prefix);
        Ok(Outgoing {
            addressed,
            facts,
            forced_sender: chosen.forced_envelope().cloned(),
            is_from_replaced: !forced.is_nothing(),
            has_dkim,
            head,
            body_offset,
            unstuff,
            seven: None,
            is_converted: false,
            unconvertible: None,
        })
    }

    /// Gives it the form in which a server takes it that takes no more than `takes`: that of the file where it can. What
    /// cannot be converted stays as it is, and [`Outgoing::unconvertible`] says why.
    ///
    /// # Errors
    ///
    /// It could not be read.
    pub fn fit(&mut self, file: &dyn File, takes: Takes) -> io::Result<()> {
        if !takes.utf8 && self.facts.head != HeadText::Ascii {
            match message::ascii_head(&self.head) {
                Ok(head) => (self.head, self.is_converted) = (head, true),
                Err(why) => {
                    self.unconvertible = Some(why);
                    return Ok(());
                }
            }
        }
        if !takes.eight_bit && self.facts.eight_bit_body {
            match self.survey(file)? {
                Ok(plan) => (self.seven, self.is_converted) = (Some(plan), true),
                Err(why) => self.unconvertible = Some(why),
            }
        }
        if self.is_converted {
            self.facts = self.measure(file)?;
        }
        Ok(())
    }

    fn survey(&self, file: &dyn File) -> io::Result<Result<Plan, Unconvertible>> {
        let mut survey = Survey::new();
        let mut body = CanonicalBody::new(file, self.body_offset, self.unstuff);
        let mut block = self.head.clone();
        let mut more = true;
        while more {
            more = body.next(&mut block)?;
            if let Err(why) = survey.push(&block) {
                return Ok(Err(why));
            }
            block.clear();
        }
        Ok(survey.finish())
    }

    /// What it is like in its new form.
    fn measure(&self, file: &dyn File) -> io::Result<Facts> {
        let mut text = self.text(file);
        let mut facts = Facts::of_nothing();
        let mut block = Vec::with_capacity(BLOCK);
        let mut more = true;
        while more {
            block.clear();
            more = text.next(&mut block)?;
            facts.push(&block).map_err(io::Error::other)?;
        }
        Ok(facts)
    }

    /// Whether it goes out in another form than that of the file.
    pub fn is_converted(&self) -> bool {
        self.is_converted
    }

    /// Whether another From is put in place of its own.
    pub fn is_from_replaced(&self) -> bool {
        self.is_from_replaced
    }

    /// Whether it goes out in another form or from another author, and was signed as it is in the file.
    pub fn breaks_dkim(&self) -> bool {
        (self.is_converted || self.is_from_replaced) && self.has_dkim
    }

    /// Why it could not be fitted to the server.
    pub fn unconvertible(&self) -> Option<Unconvertible> {
        self.unconvertible
    }

    fn text<'a>(&'a self, file: &'a dyn File) -> Text<'a> {
        Text {
            head: Some(&self.head),
            body: CanonicalBody::new(file, self.body_offset, self.unstuff),
            seven: self.seven.as_ref().map(SevenBit::new),
            canonical: Vec::new(),
        }
    }

    /// The message for the wire, final dot included. The same octets each time that it is fitted to the same kind of server.
    pub fn body<'a>(&'a self, file: &'a dyn File) -> WireBody<'a> {
        WireBody { text: self.text(file), canonical: Vec::with_capacity(BLOCK), dots: DotStuffer::new() }
    }
}

/// The header, and the bytes of the file up to at least its end.
fn read_header(file: &dyn File) -> Result<(Header, Vec<u8>), Unsendable> {
    let mut prefix = Vec::new();
    let mut want = 8 * 1024;
    loop {
        let at_end = !read_up_to(file, &mut prefix, want)?;
        match Header::scan(&prefix, at_end).map_err(Unsendable::Refused)? {
            Scan::Done(header) => return Ok((header, prefix)),
            Scan::NeedMore => want = (want * 2).min(HEADER_MAX + 1).max(prefix.len() + 1),
        }
    }
}

/// Reads until `prefix` is `want` long. False if the file ended before.
fn read_up_to(file: &dyn File, prefix: &mut Vec<u8>, want: usize) -> io::Result<bool> {
    while prefix.len() < want {
        let start = prefix.len();
        prefix.resize(want, 0);
        let read = file.read_at(&mut prefix[start..], start as u64);
        prefix.truncate(start + *read.as_ref().unwrap_or(&0));
        if read? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The body with every line ended by CRLF.
struct CanonicalBody<'a> {
    file: &'a dyn File,
    offset: u64,
    canonical: Canonical,
    dots: Option<DotUnstuffer>,
    raw: Vec<u8>,
    lines: Vec<u8>,
}

impl<'a> CanonicalBody<'a> {
    fn new(file: &'a dyn File, offset: u64, unstuff: bool) -> Self {
        let dots = unstuff.then(DotUnstuffer::new);
        CanonicalBody {
            file,
            offset,
            canonical: Canonical::new(),
            dots,
            raw: vec![0; BLOCK],
            lines: Vec::new(),
        }
    }

    /// Appends the next piece. False behind the last.
    fn next(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let read = self.file.read_at(&mut self.raw, self.offset)?;
        self.offset += read as u64;
        let mut push = |out: &mut Vec<u8>| match read {
            0 => self.canonical.finish(out),
            _ => self.canonical.push(&self.raw[..read], out),
        };
        match &mut self.dots {
            None => push(out),
            Some(dots) => {
                self.lines.clear();
                push(&mut self.lines);
                dots.push(&self.lines, out);
            }
        }
        Ok(read > 0)
    }
}

/// Head and body in the form in which they are sent, no dot stuffed.
struct Text<'a> {
    head: Option<&'a [u8]>,
    body: CanonicalBody<'a>,
    seven: Option<SevenBit>,
    canonical: Vec<u8>,
}

impl Text<'_> {
    /// Appends the next piece. False behind the last.
    fn next(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let Some(seven) = &mut self.seven else {
            out.extend_from_slice(self.head.take().unwrap_or_default());
            return self.body.next(out);
        };
        self.canonical.clear();
        self.canonical.extend_from_slice(self.head.take().unwrap_or_default());
        let more = self.body.next(&mut self.canonical)?;
        seven.push(&self.canonical, out).map_err(io::Error::other)?;
        if let Some(seven) = self.seven.take_if(|_| !more) {
            seven.finish(out).map_err(io::Error::other)?;
        }
        Ok(more)
    }
}

/// A message on its way to the wire.
pub struct WireBody<'a> {
    text: Text<'a>,
    canonical: Vec<u8>,
    dots: DotStuffer,
}

impl BodySource for WireBody<'_> {
    fn next(&mut self, block: &mut Vec<u8>) -> io::Result<bool> {
        // A small message leaves in one block, and so in one write.
        loop {
            self.canonical.clear();
            let more = self.text.next(&mut self.canonical)?;
            self.dots.push(&self.canonical, block);
            if !more {
                self.dots.finish(block);
                return Ok(false);
            }
            if block.len() >= BLOCK {
                return Ok(true);
            }
        }
    }
}

impl From<io::Error> for Unsendable {
    fn from(error: io::Error) -> Unsendable {
        Unsendable::Io(error)
    }
}

impl fmt::Display for Unsendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsendable::Refused(refusal) => write!(f, "{refusal}"),
            Unsendable::Io(error) => write!(f, "the message cannot be read: {error}"),
        }
    }
}

impl std::error::Error for Unsendable {}
