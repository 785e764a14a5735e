//! A message composed from the command line: UTF-8 in, a header and MIME parts out (RFC 2045 to 2047).
//!
//! Date, Message-ID and a missing From are left to whoever sends it: there the queue id and the configuration are known.

use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;
use mail_builder::headers::{Header as _, HeaderType};
use mail_builder::mime::{BodyPart, MimePart};

use crate::message::{Listed, parse_address_list};

/// What a message is made of.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// As in From; left out where there is none.
    pub(super) from: Option<String>,
    /// Each one address or several, with or without a name.
    pub(super) to: Vec<String>,
    pub(super) cc: Vec<String>,
    pub(super) bcc: Vec<String>,
    pub(super) subject: Option<String>,
    pub(super) body: Option<Vec<u8>>,
    pub(super) html: Option<Vec<u8>>,
    pub(super) attachments: Vec<Attachment>,
    /// `Name: value`.
    pub(super) headers: Vec<String>,
}

/// A file that goes with the message.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// One address of a list.
#[derive(Debug, PartialEq, Eq)]
struct Addressee {
    name: Option<String>,
    /// Without a domain it gets one when it is sent.
    address: String,
    is_whole: bool,
}

/// Fields that have an option of their own, and that option.
const WITH_OPTION: [(&str, &str); 5] =
    [("From", "--from"), ("To", "--to"), ("Cc", "--cc"), ("Bcc", "--bcc"), ("Subject", "--subject")];
/// Beginnings of names of fields that describe what is made here, or that would be another envelope.
const NOT_GIVEN: [&str; 5] = ["mime-version", "content-", "resent-", "x-sender", "x-receiver"];

impl Draft {
    /// The message.
    ///
    /// # Errors
    ///
    /// Which option is wrong, and why.
    pub(super) fn compose(self) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        if let Some(from) = &self.from {
            let mut from = read_list("--from", std::slice::from_ref(from))?;
            let one = from.pop().filter(|_| from.is_empty());
            let one = one.ok_or("--from: expected one address".to_owned())?;
            write_field(&mut out, "From", one.into_address());
        }
        let (mut has_recipient, lists) =
            (false, [("To", "--to", &self.to), ("Cc", "--cc", &self.cc), ("Bcc", "--bcc", &self.bcc)]);
        for (field, option, texts) in lists {
            let addressees = read_list(option, texts)?;
            if !addressees.is_empty() {
                has_recipient = true;
                let list = addressees.into_iter().map(Addressee::into_address).collect();
                write_field(&mut out, field, Address::new_list(list));
            }
        }
        if !has_recipient {
            return Err("expected a recipient: --to, --cc or --bcc".to_owned());
        }
        if let Some(subject) = &self.subject {
            write_field(&mut out, "Subject", one_line("--subject", subject)?);
        }
        for header in &self.headers {
            let (name, value) = field(header)?;
            write_field(&mut out, name, value);
        }
        out.extend_from_slice(b"MIME-Version: 1.0\r\n");
        let text = |kind: &'static str| move |bytes: Vec<u8>| text_part(kind, bytes);
        let builder = MessageBuilder {
            headers: Vec::new(),
            text_body: self.body.map(text("text/plain")),
            html_body: self.html.map(text("text/html")),
            attachments: match self.attachments.is_empty() {
                true => None,
                false => Some(self.attachments.into_iter().map(Attachment::into_part).collect()),
            },
            body: None,
        };
        builder.serialize_body(&mut out);
        Ok(out)
    }

    /// The recipients, where they go beside the message.
    ///
    /// # Errors
    ///
    /// What is no whole address: nobody completes it there.
    pub(super) fn recipients(&self) -> Result<Vec<String>, String> {
        let mut all = Vec::new();
        for (option, texts) in [("--to", &self.to), ("--cc", &self.cc), ("--bcc", &self.bcc)] {
            for addressee in read_list(option, texts)? {
                if !addressee.is_whole {
                    return Err(format!(
                        "{option}: expected an address with a domain, found {:?}",
                        addressee.address
                    ));
                }
                all.push(addressee.address);
            }
        }
        Ok(all)
    }
}

fn write_field<'x>(out: &mut Vec<u8>, name: &str, value: impl Into<HeaderType<'x>>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    value.into().write_header(out, name.len() + 2);
}

/// The value of a field: ASCII as it stands, so that what has a grammar of its own keeps it; the rest encoded (RFC 2047).
fn one_line<'x>(what: &str, text: &'x str) -> Result<HeaderType<'x>, String> {
    if text.contains(|c: char| c.is_control() && c != '\t') {
        return Err(format!("{what}: expected one line without control characters, found {text:?}"));
    }
    Ok(match text.is_ascii() {
        true => Raw::new(text).into(),
        false => Text::new(text).into(),
    })
}

fn field(header: &str) -> Result<(&str, HeaderType<'_>), String> {
    let no_field = || format!("--header: expected \"Name: value\", found {header:?}");
    let (name, value) = header.split_once(':').ok_or_else(no_field)?;
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(no_field());
    }
    if let Some((field, option)) = WITH_OPTION.iter().find(|(field, _)| name.eq_ignore_ascii_case(field)) {
        return Err(format!("--header: {field} is given by {option}"));
    }
    let lower = name.to_ascii_lowercase();
    if NOT_GIVEN.iter().any(|start| lower.starts_with(start)) {
        return Err(format!(
            "--header: {name} cannot be given beside what is composed here; hand in the whole message as FILE"
        ));
    }
    Ok((name, one_line("--header", value.trim())?))
}

fn text_part(kind: &'static str, bytes: Vec<u8>) -> MimePart<'static> {
    // RFC 1428: what nobody can know is not guessed, and no octet is lost.
    let charset = if std::str::from_utf8(&bytes).is_ok() { "utf-8" } else { "unknown-8bit" };
    MimePart::new(ContentType::new(kind).attribute("charset", charset), bytes)
}

impl Attachment {
    /// To the octet: a type that mail-builder takes for text would have its line ends changed on the way.
    fn into_part(self) -> MimePart<'static> {
        let kind = mime_guess::from_path(&self.name).first_or_octet_stream();
        let contents: BodyPart<'static> = self.bytes.into();
        let part = MimePart::raw(contents).header("Content-Type", Raw::new(kind.essence_str().to_owned()));
        part.attachment(self.name)
    }
}

impl Addressee {
    fn into_address<'x>(self) -> Address<'x> {
        Address::new_address(self.name, self.address)
    }
}

fn read_list(option: &str, texts: &[String]) -> Result<Vec<Addressee>, String> {
    let mut all = Vec::new();
    for text in texts {
        let before = all.len();
        for element in elements(text).filter(|element| !element.trim().is_empty()) {
            all.push(addressee(element).map_err(|why| format!("{option}: {why}"))?);
        }
        if all.len() == before {
            return Err(format!("{option}: expected an address, found {text:?}"));
        }
    }
    Ok(all)
}

fn addressee(text: &str) -> Result<Addressee, String> {
    let wrong = |why: &str| Err(format!("{why} in {text:?}"));
    if text.contains(char::is_control) {
        return wrong("expected one line without control characters");
    }
    let mut listed = parse_address_list(text.as_bytes());
    let (address, is_whole) = match (listed.pop(), listed.is_empty()) {
        (Some(Listed::Mailbox(mailbox)), true) => (mailbox.to_string(), true),
        (Some(Listed::Bare(name)), true) => (name, false),
        (Some(Listed::Unreadable { why, .. }), true) => return wrong(&why),
        _ => return wrong("expected one address"),
    };
    let name = text.rsplit_once('<').map(|(name, _)| unquoted(name.trim()));
    Ok(Addressee { name: name.filter(|name| !name.is_empty()), address, is_whole })
}

/// What a quoted string says (RFC 5322 section 3.2.4).
fn unquoted(name: &str) -> String {
    let Some(inner) = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) else {
        return name.to_owned();
    };
    let mut escaped = false;
    let keep = |c: &char| {
        escaped = *c == '\\' && !escaped;
        !escaped
    };
    inner.chars().filter(keep).collect()
}

/// Cut at the commas that are in no quoted string and no comment.
fn elements(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped, mut depth) = (false, false, 0_usize);
    text.split(move |c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted || depth > 0 => escaped = true,
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            ',' => return !quoted && depth == 0,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(to: &str) -> Draft {
        Draft { to: vec![to.into()], body: Some(b"text\n".to_vec()), ..Draft::default() }
    }

    fn text(draft: Draft) -> String {
        String::from_utf8(draft.compose().unwrap()).unwrap()
    }

    #[test]
    fn what_is_plain_stays_plain() {
        let composed = text(Draft {
            from: Some("Panel <panel@example.com>".into()),
            cc: vec!["\"Last, First\" <l@example.com>, root".into()],
            bcc: vec!["hidden@example.com".into()],
            subject: Some("door 3".into()),
            headers: vec!["X-Zone:  3 ".into()],
            ..draft("ops@example.com")
        });
        assert_eq!(
            composed,
            "From: \"Panel\" <panel@example.com>\r\nTo: <ops@example.com>\r\n\
             Cc: \"Last, First\" <l@example.com>, <root>\r\nBcc: <hidden@example.com>\r\nSubject: door 3\r\n\
             X-Zone: 3\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=\"utf-8\"\r\n\
             Content-Transfer-Encoding: 7bit\r\n\r\ntext\r\n"
        );
    }

    #[test]
    fn what_is_not_ascii_is_encoded_and_no_line_is_long() {
        let composed = text(Draft {
            subject: Some("Tür 3 ist offen, und zwar seit geraumer Zeit; ☎ 0815".repeat(3)),
            body: Some(("für drei Minuten ".repeat(30) + "\nzwei\n").into_bytes()),
            headers: vec!["X-Ort: Köln".into()],
            ..draft("Öps <ops@example.com>")
        });
        assert!(composed.is_ascii() && composed.lines().all(|line| line.len() <= 78), "{composed}");
        assert!(composed.contains("To: =?utf-8?") && composed.contains("X-Ort: =?utf-8?"), "{composed}");
        assert!(composed.contains("quoted-printable\r\n\r\nf=C3=BCr drei Minuten"), "{composed}");
        // A long line of ASCII in the header is folded, not encoded.
        let composed = text(Draft { subject: Some("word ".repeat(40) + "end"), ..draft("a@example.com") });
        assert!(composed.contains("Subject: word word") && composed.contains("\r\n word"), "{composed}");
    }

    #[test]
    fn octets_that_are_no_utf_8_are_kept_and_called_so() {
        let composed = text(Draft { body: Some(b"T\xfcr 3\n".to_vec()), ..draft("a@example.com") });
        assert!(composed.contains("charset=\"unknown-8bit\"") && composed.contains("T=FCr 3"), "{composed}");
    }

    #[test]
    fn text_html_and_files_become_parts() {
        let attachments = [("a.csv", &b"1,2\r3\n"[..]), ("ö.bin", b"\0\x01"), ("noname", b"x")];
        let attachments =
            attachments.map(|(name, bytes)| Attachment { name: name.into(), bytes: bytes.to_vec() });
        let composed = text(Draft {
            html: Some(b"<p>text</p>".to_vec()),
            attachments: attachments.into(),
            ..draft("a@example.com")
        });
        let places: Vec<usize> = [
            "Content-Type: multipart/mixed;",
            "Content-Type: multipart/alternative;",
            "Content-Type: text/plain; charset",
            "Content-Type: text/html; charset",
            "Content-Type: text/csv\r\n",
            "MSwyDTMK",
            "Content-Type: application/octet-stream\r\n",
            "filename*=UTF-8''%C3%B6.bin",
            "AAE=",
            "Content-Type: application/octet-stream\r\n",
        ]
        .iter()
        .map(|part| composed.find(part).unwrap_or_else(|| panic!("{part} is not in {composed}")))
        .collect();
        assert!(places[..9].is_sorted(), "{places:?}: {composed}");
        assert_eq!(composed.matches("Content-Transfer-Encoding: base64").count(), 3, "{composed}");
    }

    #[test]
    fn what_would_make_another_message_of_it_is_refused() {
        let with = |header: &str| Draft { headers: vec![header.into()], ..draft("a@example.com") };
        let subject = |text: &str| Draft { subject: Some(text.into()), ..draft("a@example.com") };
        let rows = [
            (with("X-A: 1\r\nBcc: evil@example.com"), "--header: expected one line"),
            (with("X-A: 1\nX"), "--header: expected one line"),
            (with("X A: 1"), "--header: expected \"Name: value\""),
            (with("nothing"), "--header: expected \"Name: value\""),
            (with("tO: b@example.com"), "--header: To is given by --to"),
            (with("Content-Type: text/x"), "--header: Content-Type cannot be given"),
            (with("Resent-To: b@example.com"), "--header: Resent-To cannot be given"),
            (subject("a\r\nBcc: evil@example.com"), "--subject: expected one line"),
            (draft("a@example.com\r\nBcc: evil@example.com"), "--to: expected one line"),
            (draft("a@example.com b@example.com"), "--to: "),
            (draft(""), "--to: expected an address"),
            (Draft::default(), "expected a recipient"),
            (
                Draft { from: Some("a@b.example, c@d.example".into()), ..draft("a@example.com") },
                "--from: expected one",
            ),
        ];
        for (draft, why) in rows {
            let shown = format!("{draft:?}");
            let said = draft.compose().expect_err(&shown);
            assert!(said.starts_with(why), "{shown}: {said}");
        }
    }

    #[test]
    fn beside_the_message_every_recipient_stands_alone() {
        let to = "Ops <ops@example.com>, \"a,b\" <c@example.com>";
        assert_eq!(draft(to).recipients().unwrap(), ["ops@example.com", "c@example.com"]);
        assert!(draft("root").recipients().unwrap_err().contains("with a domain"));
        assert_eq!(unquoted(r#""a \"b\" \\ c""#), r#"a "b" \ c"#);
    }
}
