//! The wire form: whatever the file, lines end in CRLF and in nothing else, nothing but its end ends it, what was private
//! does not go out, and the body arrives as it was dropped. The same for what is fitted to a server of seven bits.

use std::ffi::OsStr;
use std::io;

use pillarbox::fs::{File, FileId, Kind, Stat, SyncSite, Writer};
use pillarbox::mail::{ForceFrom, Origin, QueueIdSource, UnixTime};
use pillarbox::message::{Canonical, Header, Scan, Template};
use pillarbox::net::BodySource as _;
use pillarbox::outgoing::{Options, Outgoing, Sender, Senders, Takes};
use pillarbox::spool::Name;

pub(crate) fn run(data: &[u8]) {
    let Some((flags, data)) = data.split_first() else { return };
    let file = Memory(data.to_vec());
    let now = UnixTime::from_secs(1_700_000_000);
    let name = Name::new(QueueIdSource::primed(None).draw(now), now, OsStr::new("f.eml"));
    let forced = flags & 4 == 4;
    let from = "Box 7 <box7@example.com>".parse::<Template>().expect("a sender");
    let sender = Sender { from: Some(from), force: forced.then_some(ForceFrom::Both) };
    let options = Options {
        hostname: "box.example.com".into(),
        senders: Senders { host: sender, ..Senders::default() },
        domain: Some("example.com".into()),
        received: flags & 1 == 1,
        ..Options::default()
    };
    let origin = Origin { unstuff: flags & 2 == 2, ..Origin::default() };
    let Ok(mut outgoing) = Outgoing::read(&file, &name, &options, &origin) else { return };
    let sent = wire(&outgoing, &file);
    assert_eq!(sent, wire(&outgoing, &file), "another time");
    let text = check(&sent);
    assert_eq!(text.len() as u64, outgoing.facts.size);
    assert_eq!(outgoing.facts.eight_bit, !text.is_ascii());
    if !origin.unstuff {
        assert!(text.ends_with(&canonical_body(data)), "the body");
    }
    if let Ok(Scan::Done(header)) = Header::scan(&text, true) {
        for private in ["Bcc", "Resent-Bcc"] {
            assert!(!header.has(private, &text), "{private}");
        }
        let from: Vec<_> = header.own().iter().filter(|field| field.is("From", &text)).collect();
        if forced {
            assert_eq!(from.len(), 1, "one From, that which is forced");
            assert!(from[0].value(&text).windows(18).any(|w| w == b"<box7@example.com>"));
        }
    }
    outgoing.fit(&file, Takes { eight_bit: false, utf8: false }).expect("memory can be read");
    if outgoing.unconvertible().is_none() {
        let seven = check(&wire(&outgoing, &file));
        assert!(seven.is_ascii());
        assert_eq!(seven.len() as u64, outgoing.facts.size);
        assert!(outgoing.is_converted() || seven == text);
    }
}

fn wire(outgoing: &Outgoing, file: &dyn File) -> Vec<u8> {
    let mut out = Vec::new();
    let mut body = outgoing.body(file);
    while body.next(&mut out).expect("memory can be read") {}
    out
}

/// What a server makes of the data (RFC 5321 section 4.5.2).
fn check(sent: &[u8]) -> Vec<u8> {
    let end = sent.len().checked_sub(3).expect("a final dot");
    assert_eq!(&sent[end..], b".\r\n");
    let (mut text, mut rest) = (Vec::new(), &sent[..end]);
    while !rest.is_empty() {
        let at = rest.windows(2).position(|w| w == b"\r\n").expect("a line that ends") + 2;
        let line = &rest[..at];
        assert!(!line[..at - 2].contains(&b'\r') && !line[..at - 2].contains(&b'\n'), "a bare CR or LF");
        assert_ne!(line, b".\r\n", "a dot alone before the end");
        assert!(line[0] != b'.' || line[1] == b'.', "a dot that is not doubled");
        text.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        rest = &rest[at..];
    }
    assert!(!text.contains(&0));
    text
}

fn canonical_body(data: &[u8]) -> Vec<u8> {
    let Ok(Scan::Done(header)) = Header::scan(data, true) else { return Vec::new() };
    let (mut canonical, mut out) = (Canonical::new(), Vec::new());
    canonical.push(&data[header.body_offset()..], &mut out);
    canonical.finish(&mut out);
    out
}

struct Memory(Vec<u8>);

impl File for Memory {
    fn stat(&self) -> io::Result<Stat> {
        Ok(Stat {
            id: FileId { device: 0, inode: 0 },
            kind: Kind::File,
            links: 1,
            size: self.0.len() as u64,
            modified: (0, 0),
            changed: (0, 0),
            mode: 0o600,
            owner: 0,
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn reserve(&mut self, _: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn trim(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self, _: SyncSite) -> io::Result<()> {
        Ok(())
    }

    fn shut_out_writers(&self) -> Writer {
        Writer::None
    }
}
