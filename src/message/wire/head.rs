//! The head as it is sent.

use super::super::{Author, Header, header::Field};
use super::Canonical;
use super::force::{Forced, ReplyTo};
use crate::mail::{QueueId, UnixTime};

/// Fields that nobody but us may see, or that are not a sender's to write: a Return-Path is added at final
/// delivery, and a system that sends removes one (RFC 5321 section 4.4).
const REMOVED: [&str; 3] = ["Bcc", "Resent-Bcc", "Return-Path"];

/// What the head needs to know besides the file.
#[derive(Debug, Clone, Copy)]
pub struct WireOptions<'a> {
    /// Named in Received, and in the Message-ID that is added.
    pub queue_id: QueueId,
    /// The time in Received, and in the Date that is added. The same at each attempt: where the clock was
    /// not plausible at acceptance, the caller keeps the time of the first attempt.
    pub accepted: UnixTime,
    /// The name of this host; a domain, checked by whoever read it.
    pub hostname: &'a str,
    /// `identity.from`, for a message without any From.
    pub from: Option<&'a Author>,
    /// What [`super::force_from`] makes of the fields of the author; its default is nothing.
    pub forced: &'a Forced,
    /// Whether a Received line is written.
    pub received: bool,
}

/// The head in canonical form, with the empty line behind it (unless the file ends with its last field: none is
/// added, RFC 5322 section 3.5) and no dot stuffed. `bytes` is the beginning of
/// the file as it was scanned, at least up to [`Header::body_offset`].
///
/// The fields of the message as they are, line ends apart, without every Bcc, Resent-Bcc and Return-Path, the
/// injected block and what stood in front of the first field. A Received line comes first; Date, Message-ID
/// and From come last if they are missing (RFC 6409 section 8). Nothing depends on the attempt.
pub fn head(header: &Header, bytes: &[u8], options: &WireOptions<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.body_offset() + 512);
    let WireOptions { queue_id, accepted, hostname, from, forced, received } = *options;
    if received {
        // No "from" and no "with": no SMTP was spoken. RFC 5322 section 3.6.7 wants neither.
        let date = accepted.rfc5322();
        out.extend(
            format!("Received: by {hostname} (pillarbox)\r\n\tid {queue_id}; {date}\r\n").into_bytes(),
        );
    }
    let mut lines = Canonical::new();
    let mut write = |raw: &[u8], out: &mut Vec<u8>| {
        lines.push(raw, out);
        // The last field of a file without a body may lack its line end.
        lines.finish(out);
    };
    for piece in pieces(header.own(), bytes, forced) {
        match piece {
            Piece::Kept(range) => write(&bytes[range], &mut out),
            Piece::Written(text) => out.extend_from_slice(text.as_bytes()),
        }
    }
    match &forced.reply_to {
        Some(ReplyTo::Value(range)) => {
            out.extend_from_slice(b"Reply-To:");
            write(&bytes[range.clone()], &mut out);
        }
        Some(ReplyTo::Addresses(list)) => out.extend(format!("Reply-To: {list}\r\n").into_bytes()),
        None => {}
    }
    if !header.has("Date", bytes) {
        out.extend(format!("Date: {}\r\n", accepted.rfc5322()).into_bytes());
    }
    if !header.has("Message-ID", bytes) {
        out.extend(format!("Message-ID: <{queue_id}@{hostname}>\r\n").into_bytes());
    }
    if let Some(from) = from.filter(|_| !header.has("From", bytes)) {
        out.extend(format!("From: {}\r\n", from.field(None)).into_bytes());
    }
    if !header.is_all() {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A part of the head.
enum Piece<'f> {
    /// Fields as they are in the file.
    Kept(std::ops::Range<usize>),
    /// A field that is another than in the file.
    Written(&'f str),
}

/// The head without removed fields, in as few pieces as can be.
fn pieces<'f>(fields: &[Field], bytes: &[u8], forced: &'f Forced) -> Vec<Piece<'f>> {
    let mut edits = forced.edits.iter().peekable();
    let mut pieces: Vec<Piece<'f>> = Vec::new();
    for field in fields {
        let range = field.range();
        if let Some((_, text)) = edits.next_if(|(edited, _)| *edited == range) {
            pieces.push(Piece::Written(text));
            continue;
        }
        if REMOVED.iter().any(|name| field.is(name, bytes)) {
            continue;
        }
        match pieces.last_mut() {
            Some(Piece::Kept(run)) if run.end == range.start => run.end = range.end,
            _ => pieces.push(Piece::Kept(range)),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::super::super::Scan;
    use super::super::DotStuffer;
    use super::*;

    const ID: &str = "019aab3c5d7e7000800000000000002a";
    const ADDED: &str =
        "Date: Mon, 23 Nov 2026 14:10:53 +0000\r\nMessage-ID: <019aab3c5d7e7000800000000000002a@box.org>\r\n";
    const RECEIVED: &str = "Received: by box.org (pillarbox)\r\n\tid 019aab3c5d7e7000800000000000002a; Mon, 23 Nov 2026 14:10:53 +0000\r\n";

    fn compose(file: &[u8], received: bool) -> String {
        let Ok(Scan::Done(header)) = Header::scan(file, true) else { panic!("no header") };
        let from = Author { name: None, mailbox: "me@x.org".parse().unwrap() };
        let options = WireOptions {
            queue_id: ID.parse().unwrap(),
            accepted: UnixTime::from_secs(1_795_443_053),
            hostname: "box.org",
            from: Some(&from),
            forced: &Forced::default(),
            received,
        };
        String::from_utf8(head(&header, file, &options)).unwrap()
    }

    #[test]
    fn what_is_missing_is_added_and_nothing_else_is_touched() {
        assert_eq!(
            compose(b"To: a@b.c\nSubject:  odd\n\t folding \n", true),
            format!("{RECEIVED}To: a@b.c\r\nSubject:  odd\r\n\t folding \r\n{ADDED}From: me@x.org\r\n")
        );
        let whole = "From: Log Watch\r\nDATE: then\r\nmessage-id: <x>\r\nReceived: by x; y\r\n";
        assert_eq!(compose(format!("{whole}\r\nbody").as_bytes(), true), format!("{RECEIVED}{whole}\r\n"));
        assert_eq!(compose(whole.as_bytes(), false), whole, "a header alone stays one");
    }

    #[test]
    fn hidden_fields_and_foreign_lines_go() {
        let rest = "From: a@b.c\r\nDate: d\r\nMessage-ID: <m>\r\n";
        let rows = [
            "Bcc: x@y.z\nbcc : x@y.z,\n v@w.x\nRESENT-BCC:\n\n",
            "Return-Path: <x@y.z>\n",
            "X-Sender: s@b.c\nX-Receiver: x@y.z\n",
            "X-Sender: s@b.c\nX-Receiver: x@y.z\nX-Foo: 1\nX-EndOfInjectedXHeaders: 1\n",
            "From s@b.c Mon Nov 23 2026\n",
            "From s@b.c\nX-Receiver: x@y.z NOTIFY=NEVER\nBcc: x@y.z\n",
            "\u{feff}",
        ];
        for row in rows {
            let file = format!("{}{rest}", row.replace("\n\n", "\n"));
            for ends in ["\n", "\r", "\r\n"] {
                let file = file.replace("\r\n", "\n").replace('\n', ends);
                assert_eq!(compose(file.as_bytes(), false), rest, "{file:?}");
            }
        }
        let between = "From: a@b.c\r\nBcc: x@y.z\r\nDate: d\nBCC:\r\n\tx@y.z\r\nMessage-ID: <m>";
        assert_eq!(compose(between.as_bytes(), false), rest);
        let kept = "From: a@b.c\r\nX-Sender: s@b.c\r\nBcc-Note: x\r\nDate: d\r\nMessage-ID: <m>\r\n";
        assert_eq!(compose(kept.as_bytes(), false), kept);
    }

    /// The whole message as it goes out, for a file that ends its header without an empty line.
    #[test]
    fn head_and_body_make_the_data() {
        let file = b"From: a@b.c\rDate: d\nMessage-ID: <m>\r\n.hidden\n.\rMAIL FROM:<x@y.z>\n\r\r\nend";
        let Ok(Scan::Done(header)) = Header::scan(file, true) else { panic!("no header") };
        let mut text = compose(file, false).into_bytes();
        let mut lines = Canonical::new();
        lines.push(&file[header.body_offset()..], &mut text);
        lines.finish(&mut text);
        let (mut dots, mut data) = (DotStuffer::new(), Vec::new());
        dots.push(&text, &mut data);
        dots.finish(&mut data);
        let want = "From: a@b.c\r\nDate: d\r\nMessage-ID: <m>\r\n\r\n\
                    ..hidden\r\n..\r\nMAIL FROM:<x@y.z>\r\n\r\n\r\nend\r\n.\r\n";
        assert_eq!(String::from_utf8(data).unwrap(), want);
    }
}
