use super::*;

fn survey(text: &[u8], size: usize) -> Result<Plan, Unconvertible> {
    let mut survey = Survey::new();
    text.chunks(size).try_for_each(|chunk| survey.push(chunk))?;
    survey.finish()
}

fn convert(text: &[u8], size: usize) -> Result<String, Unconvertible> {
    let mut seven = SevenBit::new(&survey(text, size)?);
    let mut out = Vec::new();
    text.chunks(size).try_for_each(|chunk| seven.push(chunk, &mut out))?;
    seven.finish(&mut out)?;
    assert!(out.is_ascii());
    Ok(String::from_utf8(out).unwrap())
}

/// Lines with LF for the sake of reading; chunks of any size make the same.
fn converted(text: &[u8]) -> Result<String, Unconvertible> {
    let text = canonical(text);
    let whole = convert(&text, usize::MAX);
    for size in [1, 2, 3, 7, 64, 1000] {
        assert_eq!(convert(&text, size), whole, "in pieces of {size}");
    }
    whole.map(|text| text.replace("\r\n", "\n"))
}

fn canonical(text: &[u8]) -> Vec<u8> {
    let (mut lines, mut out) = (crate::message::Canonical::new(), Vec::new());
    lines.push(text, &mut out);
    lines.finish(&mut out);
    out
}

fn holds(text: &str, want: &str) {
    assert_eq!(converted(text.as_bytes()).as_deref(), Ok(want), "{text}");
}

#[test]
fn a_message_without_mime_becomes_text_with_a_charset() {
    holds(
        "Subject: door\n\nTür 3 offen \n",
        "Subject: door\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: quoted-printable\n\nT=C3=BCr 3 offen=20\n",
    );
    let latin = converted(b"A: 1\n\nT\xfcr\n").unwrap();
    assert!(latin.contains("charset=unknown-8bit\n") && latin.ends_with("\n\nT=FCr\n"), "{latin}");
    // A character that is cut off is none.
    let cut = converted(b"A: 1\n\n\xc3\n").unwrap();
    assert!(cut.contains("unknown-8bit"), "{cut}");
}

#[test]
fn a_label_is_replaced_where_it_stands() {
    holds(
        "MIME-Version: 1.0\nContent-Transfer-Encoding:\n 8BIT (really)\nContent-Type: text/html; charset=x\n\n<p>ü\n",
        "MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\nContent-Type: text/html; charset=x\n\n<p>=C3=BC\n",
    );
    // 7bit that is none is as common as nothing at all.
    let seven = converted("Content-Transfer-Encoding: 7bit\n\nü\n".as_bytes()).unwrap();
    assert!(seven.starts_with("Content-Transfer-Encoding: quoted-printable\n"), "{seven}");
}

const MIXED: &str = "MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=\"o (1)\"
Content-Transfer-Encoding: 8bit

Für niemanden
--o (1)
Content-Type: multipart/alternative;
 boundary=i
Content-Transfer-Encoding: 8bit

--i

plain
--i
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Türen
--i--
--o (1)\t
Content-Type: image/x
Content-Transfer-Encoding: base64

AAAA
--o (1)
Content-Type: application/x
Content-Transfer-Encoding: binary

ö
--o (1)
Content-Type: message/rfc822

Subject: inside

ä
--o (1)
--o (1)--
Ende für alle
";

#[test]
fn each_part_is_treated_by_itself() {
    holds(
        MIXED,
        "MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=\"o (1)\"
Content-Transfer-Encoding: 7bit

F??r niemanden
--o (1)
Content-Type: multipart/alternative;
 boundary=i
Content-Transfer-Encoding: 7bit

--i

plain
--i
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

T=C3=BCren
--i--
--o (1)\t
Content-Type: image/x
Content-Transfer-Encoding: base64

AAAA
--o (1)
Content-Type: application/x
Content-Transfer-Encoding: base64

w7Y=
--o (1)
Content-Type: message/rfc822

Subject: inside
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

=C3=A4
--o (1)
--o (1)--
Ende f??r alle
",
    );
}

#[test]
fn long_lines_of_text_are_text_and_others_are_binary() {
    let long = format!("{}ü\n", "x".repeat(5000));
    let text = converted(format!("Content-Type: text/plain; charset=utf-8\n\n{long}").as_bytes()).unwrap();
    assert!(text.contains("quoted-printable") && text.lines().all(|line| line.len() <= 76), "{text}");
    let other = |len: usize| {
        let text = format!("Content-Type: application/x\n\n{}ü\n", "x".repeat(len));
        converted(text.as_bytes()).unwrap()
    };
    assert!(other(996).contains("quoted-printable"));
    assert!(other(997).contains("base64"));
}

/// The name of an attachment is the one thing of a part's header that many producers do not encode.
#[test]
fn the_header_of_a_part_is_encoded() {
    let text = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: 8bit\n\
                Content-Disposition: attachment; filename=\"ü.txt\"\n\nü\n--b--\n";
    let part = converted(text.as_bytes()).unwrap();
    let want = "--b\nContent-Transfer-Encoding: quoted-printable\nContent-Disposition: attachment;\n \
                filename*=utf-8''%C3%BC.txt\nContent-Type: text/plain; charset=utf-8\n\n=C3=BC\n--b--\n";
    assert!(part.ends_with(want), "{part}");
}

#[test]
fn parts_of_a_digest_are_messages() {
    let text = "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\nü\n--b--\n";
    let digest = converted(text.as_bytes()).unwrap();
    assert!(digest.contains("\nSubject: x\nMIME-Version: 1.0\n"), "{digest}");
    assert!(
        digest.starts_with("Content-Type: multipart/digest; boundary=b\nMIME-Version: 1.0\n\n"),
        "{digest}"
    );
}

/// A signature covers the octets of its part, and only those.
#[test]
fn what_is_signed_is_not_touched() {
    let signed = |inside: &str, outside: &str| {
        let text = format!(
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=o\n\n--o\n\
             Content-Type: multipart/signed; boundary=s\n\n--s\nContent-Transfer-Encoding: 8bit\n\n{inside}\n--s\n\nsig\n--s--\n\
             --o\n\n{outside}\n--o--\n"
        );
        converted(text.as_bytes())
    };
    assert_eq!(signed("ü", ""), Err(Unconvertible(Unconvertible::SIGNED)));
    let kept = signed("hello", "ü").unwrap();
    assert!(
        kept.contains("--s\nContent-Transfer-Encoding: 8bit\n\nhello\n--s\n\nsig\n--s--\n--o\n"),
        "{kept}"
    );
    assert!(kept.contains("\n\n=C3=BC\n--o--\n"), "{kept}");
}

#[test]
fn what_cannot_be_read_without_doubt_is_not_converted() {
    let nested = |depth: usize| {
        let open: String = (0..depth)
            .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}x\n\n--b{n}x\n"))
            .collect();
        let close: String = (0..depth).rev().map(|n| format!("--b{n}x--\n")).collect();
        format!("{open}\nü\n{close}")
    };
    assert!(converted(nested(20).as_bytes()).is_ok());
    let messages = "Content-Type: message/rfc822\n\n".repeat(21);
    let rows: &[(&str, Unconvertible)] = &[
        (&nested(21), Unconvertible::TOO_DEEP),
        (&format!("{messages}A: 1\n\nü\n"), Unconvertible::TOO_DEEP),
        ("Content-Type: multipart/mixed\n\nü\n", Unconvertible::NO_BOUNDARY),
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\n\nü\n", Unconvertible::NOT_CLOSED),
        ("Content-Type: multipart/mixed; boundary=b\n\nü\n", Unconvertible::NOT_CLOSED),
        (
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nü\n--b--\n",
            Unconvertible::NOT_CLOSED,
        ),
        (
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\nü\n--b--\n",
            Unconvertible::AMBIGUOUS,
        ),
        ("Content-Type: multipart/mixed; boundary=b\n\n--bx\n\nü\n--b--\n", Unconvertible::AMBIGUOUS),
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\nü\n--b--\n", Unconvertible::MALFORMED_HEADER),
        (
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nA: 1\n--b--\nü\n",
            Unconvertible::MALFORMED_HEADER,
        ),
        ("Content-Type: text/plain\nContent-Type: text/html\n\nü\n", Unconvertible::MALFORMED_HEADER),
        ("Content-Transfer-Encoding: base64\n\nü\n", Unconvertible(Unconvertible::ENCODED)),
        ("Content-Transfer-Encoding: x-own\n\nü\n", Unconvertible(Unconvertible::ENCODED)),
        ("Content-Type: message/partial; id=1\n\nü\n", Unconvertible(Unconvertible::PARTIAL)),
        ("Content-Type: multipart/encrypted; boundary=b\n\nü\n", Unconvertible(Unconvertible::ENCRYPTED)),
    ];
    for (text, why) in rows {
        assert_eq!(converted(text.as_bytes()), Err(*why), "{text}");
    }
    let padded =
        format!("Content-Type: multipart/mixed; boundary=b\n\n--b{}\n\nü\n--b--\n", " ".repeat(2000));
    assert_eq!(converted(padded.as_bytes()), Err(Unconvertible::AMBIGUOUS));
    let parts = "--b\n\n".repeat(LEAVES_MAX + 1);
    let many = canonical(
        format!("Content-Type: multipart/mixed; boundary=b\n\n{parts}--b\n\nü\n--b--\n").as_bytes(),
    );
    assert_eq!(survey(&many, 4096), Err(Unconvertible::TOO_MANY));
}

/// 50 MB in one line, or in none: neither is ever held.
#[test]
fn a_large_message_is_never_held() {
    for line in ["ü".to_owned(), "Tür\r\n".repeat(10)] {
        let head = b"Content-Type: text/plain; charset=utf-8\r\n\r\n";
        let chunk = line.repeat(65_536 / line.len());
        let mut survey = Survey::new();
        survey.push(head).unwrap();
        (0..800).for_each(|_| survey.push(chunk.as_bytes()).unwrap());
        let mut seven = SevenBit::new(&survey.finish().unwrap());
        let mut out = Vec::new();
        seven.push(head, &mut out).unwrap();
        let mut most = 0;
        for _ in 0..800 {
            out.clear();
            seven.push(chunk.as_bytes(), &mut out).unwrap();
            most = most.max(out.capacity());
        }
        assert!(most < 16 * chunk.len(), "{most}");
    }
}
