use super::*;
use crate::message::{Identity, address};

fn caller() -> Caller {
    Caller { login: "ann".into(), full_name: "Ann B. Clark".into(), domain: None }
}

fn invocation(line: &[&str]) -> Invocation {
    Invocation::parse("sendmail", line.iter().map(std::ffi::OsString::from)).unwrap()
}

/// What is stored.
fn stored(line: &[&str], text: &str) -> String {
    let composed = compose(&invocation(line), &caller(), text.as_bytes(), true);
    String::from_utf8(composed.head).unwrap() + &text[composed.skip..]
}

const END: &str = "X-EndOfInjectedXHeaders: pillarbox\n";

#[test]
fn a_message_gets_its_envelope_and_what_it_lacks() {
    let whole = "From: x@y.z\nTo: d@e.f\n\nbody\n";
    let rows: [(&[&str], &str, String); 9] = [
        (
            &["a@b.c", "root"],
            whole,
            format!("X-Sender: <ann>\nX-Receiver: <a@b.c>\nX-Receiver: <root>\n{END}{whole}"),
        ),
        (&["-t"], whole, format!("X-Sender: <ann>\nX-Receiver: <d@e.f>\n{END}{whole}")),
        (
            &["-t", "-f", "q@r.s", "d@E.F,a@b.c"],
            whole,
            format!("X-Sender: <q@r.s>\nX-Receiver: <d@E.F>\nX-Receiver: <a@b.c>\n{END}{whole}"),
        ),
        (&["-f", "", "a"], whole, format!("X-Sender: <>\nX-Receiver: <a>\n{END}{whole}")),
        (
            &["a"],
            "Subject: x\n\n",
            format!(
                "X-Sender: <ann>\nX-Receiver: <a>\n{END}From: \"Ann B. Clark\" <ann>\nTo: undisclosed-recipients:;\nSubject: x\n\n"
            ),
        ),
        (
            &["-FCron Daemon", "-f", "root", "a"],
            "Bcc: x@y.z\n\n",
            format!("X-Sender: <root>\nX-Receiver: <a>\n{END}From: Cron Daemon <root>\nBcc: x@y.z\n\n"),
        ),
        (
            &["-f", "q@r.s", "a"],
            "To: a\r\n\nbody",
            format!("X-Sender: <q@r.s>\nX-Receiver: <a>\n{END}From: q@r.s\nTo: a\r\n\nbody"),
        ),
        (
            &["-f<>", "a"],
            "To: a\n\n",
            format!("X-Sender: <>\nX-Receiver: <a>\n{END}From: MAILER-DAEMON\nTo: a\n\n"),
        ),
        (
            &["-N", "never", "-Rhdrs", "-V", "a+b c", "a"],
            whole,
            format!("X-Sender: <ann> RET=HDRS ENVID=a+2Bb+20c\nX-Receiver: <a> NOTIFY=NEVER\n{END}{whole}"),
        ),
    ];
    for (line, text, want) in rows {
        assert_eq!(stored(line, text), want, "{line:?}");
    }
}

#[test]
fn a_body_without_a_header_gets_one() {
    let head = format!(
        "X-Sender: <ann>\nX-Receiver: <a>\n{END}From: \"Ann B. Clark\" <ann>\nTo: undisclosed-recipients:;\n"
    );
    for (text, between) in [
        ("disk full\n", "\n"),
        ("\ndisk full\n", ""),
        ("\r\ndisk full\r\n", ""),
        (" To: x@y.z\n", "\n"),
        ("Hello there: you\n", "\n"),
        ("", ""),
    ] {
        assert_eq!(stored(&["a"], text), format!("{head}{between}{text}"), "{text:?}");
    }
}

#[test]
fn what_an_mbox_has_in_front_is_left_out_and_the_rest_kept_to_the_byte() {
    let rest = "From: x@y.z\r\nTo: d@e.f\n\n From y\r\nü";
    for front in ["From ann Mon Nov 23 2026\n", ">From ann\r\n", "\u{feff}", ""] {
        let stored = stored(&["a"], &format!("{front}{rest}"));
        assert_eq!(stored, format!("X-Sender: <ann>\nX-Receiver: <a>\n{END}{rest}"), "{front:?}");
    }
}

#[test]
fn what_the_message_says_of_envelopes_changes_nothing() {
    let own = "X-Sender: x@y.z\nX-Receiver: x@y.z\nFrom: x@y.z\nTo: d@e.f\n\n";
    for (line, to) in [(&["a@b.c"][..], "<a@b.c>"), (&["-t"], "<d@e.f>")] {
        let stored = stored(line, own);
        assert_eq!(stored, format!("X-Sender: <ann>\nX-Receiver: {to}\n{END}{own}"));
        let Ok(Scan::Done(header)) = Header::scan(stored.as_bytes(), true) else { panic!("no header") };
        let identity = Identity::default();
        let addressed = address(&header, stored.as_bytes(), &identity).unwrap();
        let to: Vec<String> = addressed.envelope.forward_paths().iter().map(|to| format!("<{to}>")).collect();
        assert!(stored.contains(&to[0]) && to.len() == 1, "{to:?}");
    }
}

#[test]
fn what_cannot_be_read_is_stored_for_the_service_to_tell_of() {
    let nul = "To: a@b.c\nSubject: \0\n\nx";
    assert_eq!(stored(&["a"], nul), format!("X-Sender: <ann>\nX-Receiver: <a>\n{END}{nul}"));
    assert_eq!(stored(&["-t"], nul), nul);
    assert_eq!(stored(&["-t"], "Subject: x\n\n"), "From: \"Ann B. Clark\" <ann>\nSubject: x\n\n");
    let found = stored(&["a b", "x@y.z\nX-Receiver: <h@i.j>"], "From: x@y.z\nTo: a\n\n");
    let fields = found.lines().filter(|line| line.starts_with("X-Receiver:")).collect::<Vec<_>>();
    assert_eq!(fields, ["X-Receiver: \"a b\"", "X-Receiver: \"x@y.z X-Receiver: <h@i.j>\""]);
    let long = format!("To: a@b.c\nX: {}\n", "x".repeat(crate::message::HEADER_MAX));
    let composed = compose(&invocation(&["-t"]), &caller(), long.as_bytes(), false);
    assert_eq!((composed.head.as_slice(), composed.skip), (&b""[..], 0));
}

#[test]
fn a_name_is_quoted_where_it_has_to_be() {
    let rows = [
        ("Cron Daemon", "Cron Daemon"),
        ("A \"B\" (c), d\\", "\"A \\\"B\\\" (c), d\\\\\""),
        ("Jörg\n<x@y.z>", "\"Jörg <x@y.z>\""),
        ("=?utf-8?q?x?=", "\"=?utf-8?q?x?=\""),
    ];
    for (name, want) in rows {
        assert_eq!(phrase(name), want);
    }
}

#[test]
fn what_is_no_parameter_is_passed_over_with_a_note() {
    let composed = compose(&invocation(&["-N", "often", "-R", "some", "a"]), &caller(), b"", true);
    assert_eq!(composed.notes.len(), 2, "{:?}", composed.notes);
    assert!(!String::from_utf8(composed.head).unwrap().contains("often"));
}
