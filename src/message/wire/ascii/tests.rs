use super::*;

fn encoded(field: &[u8]) -> Result<String, Unconvertible> {
    let head = [field, b"\r\n\r\n"].concat();
    let out = ascii_head(&head)?;
    assert!(out.is_ascii());
    let text = String::from_utf8(out).unwrap();
    assert!(text.lines().all(|line| line.len() <= 76), "{text}");
    Ok(text.strip_suffix("\r\n\r\n").unwrap().to_owned())
}

#[test]
fn text_becomes_encoded_words_and_the_rest_stays() {
    let rows = [
        ("Subject: Tür 3 offen", "Subject: =?utf-8?q?T=C3=BCr?= 3 offen"),
        ("Subject: größer für alle", "Subject: =?utf-8?q?gr=C3=B6=C3=9Fer_f=C3=BCr?= alle"),
        ("Subject: 警報", "Subject: =?utf-8?b?6K2m5aCx?="),
        ("X-Anything:\r\n a\r\n ä\r\n b", "X-Anything:\r\n a\r\n =?utf-8?b?w6Q=?=\r\n b"),
        // White space between two encoded words is not read: it has to be in one of them.
        (
            "Subject: =?utf-8?q?a?= ä =?utf-8?q?b?=",
            "Subject: =?utf-8?q?a?= =?utf-8?q?_=C3=A4_?= =?utf-8?q?b?=",
        ),
        ("Subject: a=b ü=_?", "Subject: a=b =?utf-8?b?w7w9Xz8=?="),
    ];
    for (field, want) in rows {
        assert_eq!(encoded(field.as_bytes()).as_deref(), Ok(want), "{field}");
    }
    assert_eq!(encoded(b"Subject: T\xfcr").unwrap(), "Subject: =?unknown-8bit?q?T=FCr?=");
}

#[test]
fn names_and_comments_are_text_and_addresses_are_not() {
    let rows = [
        ("From: Müller <a@b.c>", "From: =?utf-8?q?M=C3=BCller?= <a@b.c>"),
        ("From: \"Müller, Hans\" <a@b.c>", "From: =?utf-8?q?M=C3=BCller=2C_Hans?= <a@b.c>"),
        (
            "To: \"x, y\" J. Müller<a@b.c>,ö<d@e.f>",
            "To: \"x, y\" J. =?utf-8?q?M=C3=BCller?= <a@b.c>, =?utf-8?b?w7Y=?= <d@e.f>",
        ),
        (
            "Cc: Für alle: a@b.c, \"ü\" <d@e.f>;",
            "Cc: =?utf-8?q?F=C3=BCr?= alle: a@b.c, =?utf-8?b?w7w=?= <d@e.f>;",
        ),
        ("To: a@b.c (Tür (3))", "To: a@b.c (=?utf-8?q?T=C3=BCr_=283=29?=)"),
        ("From: Türsteuerung", "From: =?utf-8?q?T=C3=BCrsteuerung?="),
        ("Received: by x (für y); z", "Received: by x (=?utf-8?q?f=C3=BCr_y?=); z"),
        ("Keywords: Tür, b", "Keywords: =?utf-8?q?T=C3=BCr?= , b"),
    ];
    for (field, want) in rows {
        assert_eq!(encoded(field.as_bytes()).as_deref(), Ok(want), "{field}");
    }
    for field in [
        "From: ü@b.c",
        "To: Hans <ü@b.c>",
        "To: \"ü\"@b.c",
        "Cc: a@b.c, d@ü.e",
        "To: x <a@b.c> , <a@ü.c>",
        "Message-ID: <ü@x>",
        "Content-Type: tüxt/plain",
        "Content-Type: a/b; ü=c",
        "Content-Type: a/b; c*=ü",
        "Content-Disposition: attachment (ü); filename=x",
    ] {
        assert_eq!(encoded(field.as_bytes()), Err(Unconvertible::NO_TEXT), "{field}");
    }
}

#[test]
fn parameters_go_by_rfc_2231() {
    let rows = [
        (
            "Content-Disposition: attachment; filename=\"Tür 3.pdf\"; size=5",
            "Content-Disposition: attachment;\r\n filename*=utf-8''T%C3%BCr%203.pdf; size=5",
        ),
        (
            "Content-Type: a/b;\r\n name=zwei Türen.pdf ; x=y",
            "Content-Type: a/b;\r\n name*=utf-8''zwei%20T%C3%BCren.pdf ; x=y",
        ),
        (
            "Content-Disposition: attachment; filename=ü; filename*=utf-8''%C3%BC",
            "Content-Disposition: attachment; filename*=utf-8''%C3%BC",
        ),
    ];
    for (field, want) in rows {
        assert_eq!(encoded(field.as_bytes()).as_deref(), Ok(want), "{field}");
    }
    let long = format!("Content-Disposition: attachment; filename=\"{}\"", "ü".repeat(40));
    let text = encoded(long.as_bytes()).unwrap();
    let pieces: Vec<&str> = text.split(";\r\n ").skip(1).map(|p| p.split_once('=').unwrap().1).collect();
    assert!(text.contains(";\r\n filename*0*=utf-8''%C3%BC"), "{text}");
    assert_eq!(pieces.concat(), format!("utf-8''{}", "%C3%BC".repeat(40)));
    assert!(encoded(b"Content-Type: a/b; name=\xfc").unwrap().contains("name*=unknown-8bit''%FC"));
}

/// However long it is: lines of 76, and no character is divided between two words.
#[test]
fn long_text_is_folded_between_characters() {
    for text in ["ü", "警", "x ü", "🚪"] {
        for length in [1, 10, 23, 24, 25, 200] {
            let subject = text.repeat(length);
            let out = encoded(format!("Subject: {subject}").as_bytes()).unwrap();
            assert_eq!(decoded(out.strip_prefix("Subject: ").unwrap()), subject, "{out}");
        }
    }
}

/// Each encoded word by itself, so that a divided character would show.
fn decoded(text: &str) -> String {
    use base64::Engine;
    let mut out = String::new();
    let mut was_encoded = false;
    for word in text.split_whitespace() {
        let inside = word.strip_prefix("=?utf-8?").and_then(|w| w.strip_suffix("?="));
        let is_joined = was_encoded && inside.is_some();
        if !out.is_empty() && !is_joined {
            out.push(' ');
        }
        was_encoded = inside.is_some();
        out.push_str(&match inside.and_then(|w| w.split_once('?')) {
            None => word.to_owned(),
            Some(("b", w)) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(w).unwrap();
                String::from_utf8(bytes).unwrap()
            }
            Some((_, w)) => {
                let mut parts = w.split('=');
                let mut bytes = parts.next().unwrap().replace('_', " ").into_bytes();
                for part in parts {
                    bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
                    bytes.extend(part[2..].replace('_', " ").bytes());
                }
                String::from_utf8(bytes).unwrap()
            }
        });
    }
    out
}
