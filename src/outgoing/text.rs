//! A file that is no message but the text of one: the header that goes in front of it.

use std::io;

use super::Unsendable;
use crate::fs::File;
use crate::mail::Origin;
use crate::message::{self, Header, Refusal, Scan};
use crate::spool::Name;

/// Longest subject, characters.
const SUBJECT_MAX: usize = 120;
/// Longest ending of a name that is not part of the subject, octets.
const ENDING_MAX: usize = 5;

/// What the bytes of a text are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    Ascii,
    Utf8,
    /// Neither. What devices write that know of no other: Windows-1252, of which ISO 8859-1 is a part.
    Windows1252,
}

/// The header for the text in `file`, and its bytes: the recipients of its folder, and its name as the subject. From, Date and
/// Message-ID come with the head, as with any message that has none.
///
/// # Errors
///
/// It could not be read.
pub(super) fn header(file: &dyn File, name: &Name, origin: &Origin) -> Result<(Header, Vec<u8>), Unsendable> {
    let (charset, encoding) = match charset(file)? {
        Charset::Ascii => ("us-ascii", "7bit"),
        Charset::Utf8 => ("utf-8", "8bit"),
        Charset::Windows1252 => ("windows-1252", "8bit"),
    };
    let lines = [
        format!("To: {}", to(origin)),
        format!("Subject: {}", subject(origin.file.as_deref().unwrap_or(name.label()))),
        "MIME-Version: 1.0".to_owned(),
        format!("Content-Type: text/plain; charset={charset}"),
        format!("Content-Transfer-Encoding: {encoding}"),
        "Auto-Submitted: auto-generated".to_owned(),
    ];
    let head = lines.join("\r\n") + "\r\n\r\n";
    // Whatever the server can take: those behind it may not.
    let bytes = message::ascii_head(head.as_bytes()).unwrap_or_else(|_| head.into_bytes());
    match Header::scan(&bytes, true).map_err(Unsendable::Refused)? {
        Scan::Done(header) => Ok((header, bytes)),
        Scan::NeedMore => {
            let reason = "expected a header that ends, found none".to_owned();
            Err(Unsendable::Refused(Refusal { line: None, reason }))
        }
    }
}

/// The recipients that are addresses; what a name stands for is the envelope's.
fn to(origin: &Origin) -> String {
    let addresses: Vec<&str> = origin.to.iter().map(String::as_str).filter(|to| to.contains('@')).collect();
    match addresses.is_empty() {
        true => "undisclosed-recipients:;".to_owned(),
        // One a line: there may be many.
        false => addresses.join(",\r\n\t"),
    }
}

/// The name of a file as a line of text, without its ending.
fn subject(file: &str) -> String {
    let stem = match file.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && ending.len() <= ENDING_MAX => stem,
        _ => file,
    };
    let printable = |c: char| if c.is_control() || c == '\u{fffd}' { ' ' } else { c };
    let words: String = stem.chars().map(printable).collect();
    let subject: String =
        words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SUBJECT_MAX).collect();
    match subject.is_empty() {
        true => "(no name)".to_owned(),
        false => subject,
    }
}

fn charset(file: &dyn File) -> io::Result<Charset> {
    let (mut block, mut offset, mut kept) = (vec![0; super::BLOCK], 0, 0);
    let mut charset = Charset::Ascii;
    loop {
        let read = file.read_at(&mut block[kept..], offset)?;
        offset += read as u64;
        let filled = &block[..kept + read];
        if !filled.is_ascii() {
            charset = Charset::Utf8;
        }
        kept = match std::str::from_utf8(filled) {
            Ok(_) => 0,
            // A character that goes on in the next block.
            Err(e) if e.error_len().is_none() && read > 0 => filled.len() - e.valid_up_to(),
            Err(_) => return Ok(Charset::Windows1252),
        };
        if read == 0 {
            return Ok(charset);
        }
        let end = filled.len();
        block.copy_within(end - kept..end, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Dir, Fs as _, RealFs, make_spool};

    fn charset_of(bytes: &[u8]) -> Charset {
        let root = tempfile::tempdir().unwrap();
        make_spool(root.path(), 0o700).unwrap();
        let mut file = RealFs::open(root.path()).unwrap().create(Dir::Pickup, "x".as_ref()).unwrap();
        file.append(bytes).unwrap();
        charset(&*file).unwrap()
    }

    #[test]
    fn a_text_is_what_its_bytes_are_wherever_a_block_ends() {
        assert_eq!(charset_of(b"alarm\n"), Charset::Ascii);
        assert_eq!(charset_of("Tür\n".as_bytes()), Charset::Utf8);
        assert_eq!(charset_of(b"T\xfcr\n"), Charset::Windows1252);
        assert_eq!(charset_of("Tü".as_bytes().split_last().unwrap().1), Charset::Windows1252);
        for before in super::super::BLOCK - 4..super::super::BLOCK + 1 {
            let text = "x".repeat(before) + "€ und mehr";
            assert_eq!(charset_of(text.as_bytes()), Charset::Utf8, "{before}");
        }
    }

    #[test]
    fn a_subject_is_a_line_made_of_the_name() {
        let rows = [
            ("Door 3 open.txt", "Door 3 open"),
            ("alarm", "alarm"),
            (".hidden", ".hidden"),
            ("v1.2 is out", "v1.2 is out"),
            ("a\r\nBcc: x@y.z\u{1b}[2J.log", "a Bcc: x@y.z [2J"),
            ("Tür", "Tür"),
            ("\n", "(no name)"),
        ];
        for (file, want) in rows {
            assert_eq!(subject(file), want, "{file:?}");
        }
        assert_eq!(subject(&"x".repeat(255)).len(), SUBJECT_MAX);
    }
}
