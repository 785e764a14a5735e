//! Rows of files and their envelopes.

use super::super::Scan;
use super::*;

fn read(text: &str, from: Option<&str>, domain: Option<&str>) -> Result<Addressed, NoEnvelope> {
    let Ok(Scan::Done(header)) = Header::scan(text.as_bytes(), true) else { panic!("no header in {text:?}") };
    let from: Option<Mailbox> = from.map(|f| f.parse().unwrap());
    address(&header, text.as_bytes(), &Identity { from: from.as_ref(), domain, ..Identity::default() })
}

/// `<sender> to, to` and each unreadable one behind `?`, or the reason why not.
fn shown(result: Result<Addressed, NoEnvelope>) -> String {
    match result {
        Ok(addressed) => {
            let to: Vec<&str> = addressed.envelope.forward_paths().iter().map(|m| m.as_str()).collect();
            let bad: String =
                addressed.unreadable.iter().map(|u| format!(" ?{}:{}", u.line, u.text)).collect();
            format!("{} {}{bad}", addressed.envelope.reverse_path, to.join(" "))
        }
        Err(no) => no.to_string(),
    }
}

fn check(rows: &[(&str, &str)]) {
    for (text, want) in rows {
        let text = text.replace('\n', "\r\n");
        assert_eq!(shown(read(&text, None, None)), *want, "{text:?}");
    }
}

#[test]
fn the_fields_of_the_message_make_the_envelope() {
    check(&[
        ("From: a@b.c\nTo: d@e.f\n\n", "<a@b.c> d@e.f"),
        (
            "Bcc: x@y.z\nFrom: A <a@b.c>\nTo: d@e.f,\n g@h.i\nCC: j@k.l\nto: m@n.o\n\n",
            "<a@b.c> x@y.z d@e.f g@h.i j@k.l m@n.o",
        ),
        ("From: a@b.c, z@b.c\nSender: s@b.c\nTo: d@e.f\n\n", "<s@b.c> d@e.f"),
        ("From: a@b.c, z@b.c\nTo: d@e.f\n\n", "<a@b.c> d@e.f"),
        ("From: a@b.c\nSender: nobody here\nTo: d@e.f\n\n", "<a@b.c> d@e.f"),
        ("From: a@b.c\nTo: d@e.f, d@E.f\nCc: d@e.f\n\n", "<a@b.c> d@e.f"),
        ("From: a@b.c\nTo: undisclosed-recipients:;\nBcc: d@e.f\n\n", "<a@b.c> d@e.f"),
        ("From: a@b.c\nTo: d@, g@h.i,\n x y,\n z\x01\n\n", "<a@b.c> g@h.i ?2:d@ ?3:x y ?4:z\u{fffd}"),
        ("X-Sender: x@y.z\nFrom: a@b.c\nTo: d@e.f\n\n", "<a@b.c> d@e.f"),
        ("From x y\nFrom: a@b.c\nBcc : d@e.f\n\n", "<a@b.c> d@e.f"),
    ]);
}

#[test]
fn the_parameters_of_the_block_are_kept() {
    let text = "X-Sender: <s@b.c> RET=hdrs ENVID=x+2B1 BODY=7BIT\r\n\
                X-Receiver: <d@e.f> NOTIFY=NEVER, g@h.i, \"A, B\" <j@k.l> ORCPT=rfc822;z@k.l NOTIFY=ALWAYS\r\n\
                From: a@b.c\r\n\r\n";
    let addressed = read(text, None, None).unwrap();
    assert_eq!(addressed.envelope.dsn.as_str(), "RET=HDRS ENVID=x+2B1");
    let recipients: Vec<String> =
        addressed.envelope.recipients().map(|(mailbox, dsn)| format!("{mailbox} {dsn}")).collect();
    assert_eq!(recipients, ["d@e.f NOTIFY=NEVER", "g@h.i ", "j@k.l ORCPT=rfc822;z@k.l"]);
    assert_eq!(addressed.dropped, ["NOTIFY=ALWAYS"]);
}

#[test]
fn the_topmost_resent_block_takes_the_place_of_the_fields() {
    let original = "From: a@b.c\nTo: d@e.f\n\n";
    let rows = [
        ("Resent-From: r@b.c\nResent-To: x@y.z\n", "<r@b.c> x@y.z"),
        (
            "Resent-From: r@b.c\nResent-Sender: s@b.c\nResent-Cc: x@y.z\nResent-Bcc: v@w.x\n",
            "<s@b.c> x@y.z v@w.x",
        ),
        (
            "Received: x\nResent-From: r@b.c\nResent-To: x@y.z\nReceived: y\nResent-To: o@o.o\n",
            "<r@b.c> x@y.z",
        ),
        ("Resent-To: x@y.z\nResent-From: r@b.c\nResent-From: q@b.c\nResent-To: o@o.o\n", "<r@b.c> x@y.z"),
        ("Resent-To: x@y.z\nResent-To: v@w.x\nResent-From: r@b.c\n", "<r@b.c> x@y.z v@w.x"),
        (
            "Resent-From: r@b.c\nReturn-Path: <q@b.c>\nResent-To: o@o.o\n",
            "expected a recipient in Resent-To, Resent-Cc or Resent-Bcc of the topmost Resent- block, found no such field",
        ),
    ];
    for (block, want) in rows {
        check(&[(&format!("{block}{original}"), want)]);
    }
}

#[test]
fn an_injected_block_is_the_envelope() {
    let original = "From: a@b.c\nTo: d@e.f\n\n";
    let rows = [
        ("X-Sender: s@b.c\nX-Receiver: x@y.z\nX-Receiver: v@w.x\n", "<s@b.c> x@y.z v@w.x"),
        ("x-sender: <>\nX-RECEIVER: X <x@y.z>,\n v@w.x\n", "<> x@y.z v@w.x"),
        (
            "X-Sender: <s@b.c> BODY=7bit RET=HDRS ENVID=1 auth=<x>\nX-Receiver: <x@y.z> NOTIFY=SUCCESS,DELAY ORcpt=q@r.s\n",
            "<s@b.c> x@y.z",
        ),
        ("X-Receiver: x@y.z\n", "<a@b.c> x@y.z"),
        (
            "X-Sender: s@b.c\nX-Receiver: x@y.z\nX-Foo: 1\nX-Receiver: v@w.x\nX-EndOfInjectedXHeaders: 0\n",
            "<s@b.c> x@y.z v@w.x",
        ),
        ("X-Receiver: x@y.z\nResent-To: o@o.o\nResent-From: q@b.c\n", "<a@b.c> x@y.z"),
        ("X-Receiver: x@y.z, x@\n", "<a@b.c> x@y.z ?1:x@"),
        (
            "X-Receiver: x@ NOTIFY=NEVER\n",
            "line 1: no recipient in X-Receiver can be read: \"x@\": expected a domain, found the end of the field",
        ),
        ("X-Receiver:\n", "line 1: expected a recipient in X-Receiver, found only fields that name nobody"),
        (
            "X-Sender: s@b.c\nX-Receiver: x@y.z\nSubject: x\nX-Receiver: v@w.x\n",
            "line 4: expected every X-Receiver in one block at the very top, found one further down",
        ),
        (
            "Subject: x\nX-Receiver: v@w.x\n",
            "line 2: expected every X-Receiver in one block at the very top, found one further down",
        ),
    ];
    for (block, want) in rows {
        check(&[(&format!("{block}{original}"), want)]);
    }
    assert!(read(&format!("X-Receiver: x@y.z\n{original}"), None, None).unwrap().injected);
    assert!(!read(original, None, None).unwrap().injected);
}

#[test]
fn a_message_without_a_readable_recipient_is_refused() {
    check(&[
        ("From: a@b.c\nSubject: x\n\n", "expected a recipient in To, Cc or Bcc, found no such field"),
        (
            "From: a@b.c\nTo: g:;\n\n",
            "line 2: expected a recipient in To, Cc or Bcc, found only fields that name nobody",
        ),
        (
            "From: a@b.c\nTo: x@y.z d,\n e f\n\n",
            "line 2: no recipient in To can be read: \"x@y.z d\": expected a comma behind the address, found \"d\" \
             (and 1 more that cannot be read)",
        ),
    ]);
}

#[test]
fn names_get_the_domain_and_a_missing_sender_the_configured_one() {
    let cron = "From: root (Cron Daemon)\nTo: root\n\n";
    let logwatch = "From: Log Watch\nTo: d@e.f\n\n";
    let null = "From: <>\nTo: d@e.f\n\n";
    let rows = [
        (cron, Some("me@x.org"), Some("box.org"), "<me@x.org> root@box.org"),
        (cron, None, Some("box.org"), "<root@box.org> root@box.org"),
        (
            cron,
            Some("me@x.org"),
            None,
            "identity.domain is not set: expected an address in To (line 2), found \"root\", which has no domain and is none of [aliases]",
        ),
        (logwatch, Some("me@x.org"), None, "<me@x.org> d@e.f"),
        (
            logwatch,
            None,
            Some("box.org"),
            "identity.from is not set: expected the sender's address in From (line 1), found \"Log Watch\"",
        ),
        (null, Some("me@x.org"), None, "<me@x.org> d@e.f"),
        (
            "To: d@e.f\n\n",
            None,
            None,
            "identity.from is not set: expected the sender's address in Sender or From, found no such field",
        ),
        ("X-Sender: alarm\nX-Receiver: root\n\n", None, Some("box.org"), "<alarm@box.org> root@box.org"),
        ("From: a@b.c\nTo: root@, ops\n\n", None, Some("box.org"), "<a@b.c> ops@box.org ?2:root@"),
    ];
    for (text, from, domain, want) in rows {
        assert_eq!(shown(read(text, from, domain)), want, "{text:?}");
    }
    let bad = read(cron, None, Some("not a domain")).unwrap_err();
    assert!(matches!(bad, NoEnvelope::Unconfigured { setting: "identity.domain", .. }), "{bad}");
}

#[test]
fn a_flood_of_unreadable_recipients_is_counted_not_kept() {
    let text = format!("From: a@b.c\nTo: {}d@e.f\n\n", "x@,\n ".repeat(5000));
    let unreadable = read(&text, None, None).unwrap().unreadable;
    assert_eq!((unreadable.len(), unreadable[999].line), (1000, 1001));
    assert!(unreadable[999].why.ends_with("(4000 more behind it cannot be read)"), "{}", unreadable[999].why);
}

#[test]
fn what_recipients_stand_for_is_asked_what_they_were() {
    let lists =
        [("root", vec!["ops".to_owned(), "c@x.org".into()]), ("ops", vec!["a@e.f".into(), "b@e.f".into()])];
    let lists = lists.iter().map(|(key, to)| (*key, to.as_slice()));
    let aliases = Aliases::new(lists, Some("x.org"), &[]).unwrap();
    let text = "X-Sender: s@x.org RET=HDRS\nX-Receiver: root NOTIFY=NEVER ORCPT=rfc822;root@x.org\n\
        X-Receiver: <b@e.f> NOTIFY=DELAY\nX-Receiver: d@e.f\n\n";
    let Ok(Scan::Done(header)) = Header::scan(text.as_bytes(), true) else { panic!("no header") };
    let identity = Identity { aliases: Some(&aliases), ..Identity::default() };
    let envelope = address(&header, text.as_bytes(), &identity).unwrap().envelope;
    let shown = |envelope: &Envelope| -> Vec<String> {
        envelope.recipients().map(|(mailbox, dsn)| format!("{mailbox} {dsn}")).collect()
    };
    let of_root = "NOTIFY=NEVER ORCPT=rfc822;root@x.org";
    let want = [
        format!("a@e.f {of_root}"),
        "b@e.f NOTIFY=DELAY".into(),
        format!("c@x.org {of_root}"),
        "d@e.f ".into(),
    ];
    assert_eq!(shown(&envelope), want);
    assert_eq!(envelope.dsn.as_str(), "RET=HDRS");

    let to = |text: &str| text.parse::<Mailbox>().unwrap();
    let mut given = Envelope::new(ReversePath::Null, [to("ROOT@x.org"), to("d@e.f")]).unwrap();
    given.set_rcpt_dsn(&to("ROOT@x.org"), Dsn::of_rcpt(["NOTIFY=NEVER"]).0);
    let never = ["a@e.f NOTIFY=NEVER", "b@e.f NOTIFY=NEVER", "c@x.org NOTIFY=NEVER", "d@e.f "];
    assert_eq!(shown(&expand_envelope(&given, &aliases)), never);
    let nowhere = [("d@e.f", vec!["a@e.f".to_owned(), "ops".into()])];
    let nowhere = nowhere.iter().map(|(key, to)| (*key, to.as_slice()));
    let nowhere = Aliases::new(nowhere, None, &[]).unwrap();
    assert_eq!(expand_envelope(&given, &nowhere), given, "what leads nowhere stays what it is");
}

#[test]
fn recipients_that_are_fixed_stand_whatever_the_message_says() {
    let to = ["root, a@b.c".to_owned(), "Ann <ann@x.org>".into()];
    let rows = [
        ("From: s@x.org\nSubject: x\n\n", "<s@x.org> root@x.org a@b.c ann@x.org"),
        ("From: s@x.org\nTo: not@x.org\nX-Receiver: not@x.org\n\n", "<s@x.org> root@x.org a@b.c ann@x.org"),
        ("X-Sender: s@x.org\nX-Receiver: not@x.org NOTIFY=NEVER\n\n", "<s@x.org> root@x.org a@b.c ann@x.org"),
    ];
    for (text, want) in rows {
        let Ok(Scan::Done(header)) = Header::scan(text.as_bytes(), true) else { panic!("no header") };
        let identity = Identity { to: &to, domain: Some("x.org"), ..Identity::default() };
        assert_eq!(shown(address(&header, text.as_bytes(), &identity)), want, "{text:?}");
    }
    let Ok(Scan::Done(header)) = Header::scan(b"From: s@x.org\n\n", true) else { panic!("no header") };
    let bad = ["a b".to_owned()];
    let identity = Identity { to: &bad, ..Identity::default() };
    let error = address(&header, b"From: s@x.org\n\n", &identity).unwrap_err().to_string();
    assert!(
        error.starts_with("a usable to of the folder is not set: its recipient \"a b\" cannot be read"),
        "{error}"
    );
}

#[test]
fn behind_a_block_that_was_put_in_front_every_line_is_the_message_s_own() {
    let block = "X-Sender: <s@b.c>\nX-Receiver: <d@e.f>\nX-EndOfInjectedXHeaders: pillarbox\n";
    let own = "X-Receiver: x@y.z\nX-Sender: x@y.z\nX-EndOfInjectedXHeaders: 1\nFrom: a@b.c\nTo: x@y.z\n";
    check(&[(&format!("{block}{own}\n"), "<s@b.c> d@e.f")]);
    let foreign = block.replace(" pillarbox", " 1");
    let stray = "line 4: expected every X-Receiver in one block at the very top, found one further down";
    check(&[(&format!("{foreign}{own}\n"), stray)]);
    // Nor can a message bring such a block of its own further down.
    check(&[(&format!("X-Receiver: d@e.f\nFrom: a@b.c\n{block}\n"), stray)]);
}

#[test]
fn a_header_names_those_of_its_topmost_resent_block_or_all() {
    let rows = [
        ("To: a@b.c, root\nCc: G: d@e.f;\nBcc: g@h.i\nFrom: x@y.z\n\n", "a@b.c root d@e.f g@h.i"),
        ("Resent-To: a@b.c\nResent-Bcc: d@e.f\nResent-From: x@y.z\nTo: g@h.i\n\n", "a@b.c d@e.f"),
        ("Resent-To: a@b.c\nReceived: x\nResent-To: d@e.f\nTo: g@h.i\n\n", "a@b.c"),
        ("X-Receiver: x@y.z\nTo: a@b.c, b c\n\n", "a@b.c ?b c"),
        ("Subject: x\n\n", ""),
    ];
    for (text, want) in rows {
        let Ok(Scan::Done(header)) = Header::scan(text.as_bytes(), true) else { panic!("{text:?}") };
        let named = named_recipients(&header, text.as_bytes()).into_iter().map(|listed| match listed {
            Listed::Mailbox(mailbox) => mailbox.to_string(),
            Listed::Bare(name) => name,
            Listed::Unreadable { text, .. } => format!("?{text}"),
        });
        assert_eq!(named.collect::<Vec<_>>().join(" "), want, "{text:?}");
    }
}
