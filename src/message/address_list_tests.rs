//! Rows of lists and what is read in them.

use super::*;

/// Each element: an address as it is, a bare name in front of `!`, an unreadable text behind `?`.
fn shown(value: &[u8]) -> String {
    let one = |listed: Listed| match listed {
        Listed::Mailbox(mailbox) => mailbox.to_string(),
        Listed::Bare(name) => format!("{name}!"),
        Listed::Unreadable { text, .. } => format!("?{text}"),
    };
    parse_address_list(value).into_iter().map(one).collect::<Vec<_>>().join(" | ")
}

fn check(rows: &[(&str, &str)]) {
    for (value, want) in rows {
        assert_eq!(shown(value.as_bytes()), *want, "{value:?}");
    }
}

const ADDRESSES: &[(&str, &str)] = &[
    ("a@b.c", "a@b.c"),
    (" a@b.c , d@e.f ", "a@b.c | d@e.f"),
    ("<a@b.c>", "a@b.c"),
    ("Ann Lee <a@b.c>, Bob <d@e.f>", "a@b.c | d@e.f"),
    ("\"Lee, Ann\" <a@b.c>", "a@b.c"),
    ("\"x <no@no.no>, \\\" y\" <a@b.c>", "a@b.c"),
    ("J. R. \"Bob\" Dobbs <a@b.c>", "a@b.c"),
    ("=?utf-8?q?x=2C_y?= <a@b.c>", "a@b.c"),
    ("Jos\u{e9} <a@b.c>", "a@b.c"),
    ("Ann [work] <a@b.c>", "a@b.c"),
    ("a@b.c (Ann)", "a@b.c"),
    ("(x) a (y) @ (z) b . c (w)", "a@b.c"),
    ("a . b @ c . d", "a.b@c.d"),
    ("(a (nested (deep)) \\) comment, x@y.z) a@b.c", "a@b.c"),
    ("Ann\r\n <a@b.c>,\r\n\td@e.f", "a@b.c | d@e.f"),
    ("Ann\r <a@b.c>,\n d@e.f", "a@b.c | d@e.f"),
    ("\"a b\"@c.d", "\"a b\"@c.d"),
    ("\"abc\"@d.e", "\"abc\"@d.e"),
    ("\"a@b\"@c.d", "\"a@b\"@c.d"),
    ("\"a\\\"b\"@c.d", "\"a\\\"b\"@c.d"),
    ("\"a,b\"@c.d, e@f.g", "\"a,b\"@c.d | e@f.g"),
    ("\"a\r\n b\"@c.d", "\"a b\"@c.d"),
    ("x <\"a b\"@c.d>", "\"a b\"@c.d"),
    (
        "a@[127.0.0.1], <b@[IPv6:::1]>, c@[ipv6:2001:db8::1]",
        "a@[127.0.0.1] | b@[IPv6:::1] | c@[ipv6:2001:db8::1]",
    ),
    ("a@m\u{fc}ller.de, j\u{f6}rg@m\u{fc}ller.de", "a@m\u{fc}ller.de | j\u{f6}rg@m\u{fc}ller.de"),
    ("a@xn--mller-kva.de", "a@xn--mller-kva.de"),
    ("<@r1,@r2:a@b.c>", "a@b.c"),
    ("x <@r1 , , @r2.x : a@b.c>, d@e.f", "a@b.c | d@e.f"),
    ("o'neil+tag/x=y@b.c", "o'neil+tag/x=y@b.c"),
    ("SRS0=a=b=c.d=e@f.g", "SRS0=a=b=c.d=e@f.g"),
    ("a@b.c <a@b.c>, \"d@e.f\" <d@e.f>", "a@b.c | d@e.f"),
    ("a@b.c; d@e.f;", "a@b.c | d@e.f"),
];

#[test]
fn addresses_are_found_in_every_form() {
    check(ADDRESSES);
}

#[test]
fn groups_and_empty_elements_hold_what_they_hold() {
    check(&[
        ("", ""),
        (" \r\n\t", ""),
        (",, ,", ""),
        ("a@b.c,,d@e.f,", "a@b.c | d@e.f"),
        ("undisclosed-recipients:;", ""),
        ("Undisclosed recipients: ;", ""),
        ("undisclosed-recipients:", ""),
        ("(x) g (y) : (z) ; (w)", ""),
        ("Team: a@b.c, Bob <d@e.f>;", "a@b.c | d@e.f"),
        ("Team: a@b.c;, d@e.f", "a@b.c | d@e.f"),
        ("\"A, B\": a@b.c,, root; G2:; d@e.f", "a@b.c | root! | d@e.f"),
        ("mailto:a@b.c", "a@b.c"),
    ]);
}

#[test]
fn names_without_a_domain_are_told_apart() {
    check(&[
        ("root", "root!"),
        ("root, a@b.c", "root! | a@b.c"),
        ("root (Cron Daemon)", "root!"),
        ("Cron <root>", "root!"),
        ("<\"a b\">", "\"a b\"!"),
        ("first.last", "first.last!"),
        ("Lee, Ann <a@b.c>", "Lee! | a@b.c"),
    ]);
}

const UNREADABLE: &[(&str, &str)] = &[
    ("a@, b@c.d", "?a@ | b@c.d"),
    ("@b.c, d@e.f", "?@b.c | d@e.f"),
    ("Ann Lee, d@e.f", "?Ann Lee | d@e.f"),
    ("\"Ann\", d@e.f", "?\"Ann\" | d@e.f"),
    ("=?utf-8?b?YUBiLmM=?=, d@e.f", "?=?utf-8?b?YUBiLmM=?= | d@e.f"),
    ("<>, d@e.f", "?<> | d@e.f"),
    ("a b@c.d, e@f.g", "?a b@c.d | e@f.g"),
    ("a@b c, d@e.f", "?a@b c | d@e.f"),
    ("a@b.c d@e.f", "?a@b.c d@e.f"),
    ("<a@b.c><d@e.f>", "?<a@b.c><d@e.f>"),
    ("<<a@b.c>>, d@e.f", "?<<a@b.c>> | d@e.f"),
    ("x <a@b.c, d@e.f>, g@h.i", "?x <a@b.c | ?d@e.f> | g@h.i"),
    ("<a@b.c, d@e.f", "?<a@b.c | d@e.f"),
    ("a@b@c.d, e@f.g", "?a@b@c.d | e@f.g"),
    (".a@b.c, a..b@c.d, a.@b.c, a@.b, a@b..c", "?.a@b.c | ?a..b@c.d | ?a.@b.c | ?a@.b | ?a@b..c"),
    ("a@-b.c, a@b!.c", "?a@-b.c | ?a@b!.c"),
    ("\"a\".b@c.d, \"\"@c.d", "?\"a\".b@c.d | ?\"\"@c.d"),
    ("a@[127.0.0.1, b@c.d", "?a@[127.0.0.1, b@c.d"),
    ("a@[x>y], b@[::1], c@[127.0.0.1].d, e@f.g", "?a@[x>y] | ?b@[::1] | ?c@[127.0.0.1].d | e@f.g"),
    ("x@y.z, \"Ann <a@b.c>, d@e.f", "x@y.z | ?\"Ann <a@b.c>, d@e.f"),
    ("x@y.z, Ann (oops <a@b.c>, d@e.f", "x@y.z | ?Ann (oops <a@b.c>, d@e.f"),
    ("Ann) <a@b.c>, d@e.f", "?Ann) <a@b.c> | d@e.f"),
    ("g: h: a@b.c;, d@e.f", "?g: h: a@b.c | d@e.f"),
    (": a@b.c, d@e.f", "?: a@b.c | d@e.f"),
    ("<@r1 a@b.c>, <@r1,x@y.z>, <@r1:>, d@e.f", "?<@r1 a@b.c> | ?<@r1,x@y.z> | ?<@r1:> | d@e.f"),
    ("a\\b@c.d, a\0b@c.d, d@e.f", "?a\\b@c.d | ?a\u{fffd}b@c.d | d@e.f"),
    ("\"a\\\r\nRCPT TO:<x@y.z>\"@c.d", "\"a\\RCPT TO:<x@y.z>\"@c.d"),
    ("\"a\0b\"@c.d, d@e.f", "?\"a\u{fffd}b\"@c.d | d@e.f"),
    ("a@b.c NOTIFY=NEVER", "?a@b.c NOTIFY=NEVER"),
    ("[x], >, ., d@e.f", "?[x] | ?> | ?. | d@e.f"),
];

#[test]
fn what_is_no_address_is_told_and_the_others_are_found() {
    check(UNREADABLE);
    let long = format!("{}@b.c, d@e.f", "x".repeat(65));
    assert!(shown(long.as_bytes()).ends_with(" | d@e.f"));
    assert_eq!(shown(b"M\xfcller <a@b.c>, m\xfc@b.c, a@m\xfc.c"), "a@b.c | ?m\u{fffd}@b.c | ?a@m\u{fffd}.c");
}

#[test]
fn the_reason_says_what_was_expected_and_found() {
    let why = |value: &str| match parse_address_list(value.as_bytes()).pop() {
        Some(Listed::Unreadable { why, offset, .. }) => format!("{offset}: {why}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(why("x@y.z, a@b.c d"), "7: expected a comma behind the address, found \"d\"");
    assert_eq!(why("a@"), "0: expected a domain, found the end of the field");
    assert_eq!(why("\"Ann"), "0: expected an address, found a quoted string that is not closed");
    assert_eq!(why("Ann Lee"), "0: expected an address, found only the name \"Ann Lee\"");
    assert_eq!(why("<a@b"), "0: expected \">\" behind the address, found the end of the field");
}

#[test]
fn a_hostile_megabyte_is_read_in_one_pass() {
    let patterns =
        ["(", "((()", "<", "\"", "\"\\", "a@b,", "<@a,", "x:", ":", "@", "[", ";", "a.", ",", "\\\"", "a "];
    for pattern in patterns {
        let value = pattern.repeat((1 << 20) / pattern.len());
        parse_address_list(value.as_bytes());
        super::super::injected::without_parameters(value.as_bytes());
    }
}

#[test]
fn nothing_but_the_empty_brackets_is_the_null_address() {
    assert!(is_null(b" <> ") && is_null(b"<(x)\r\n >"));
    assert!(!is_null(b"") && !is_null(b"<a@b>") && !is_null(b"<>,<>") && !is_null(b"x <>"));
}

/// A list of two is the two lists, whatever stands in the first, as long as it is closed.
#[test]
fn no_element_changes_how_its_neighbour_is_read() {
    let is_open = |value: &str| {
        let open = |listed| matches!(listed, Listed::Unreadable { why, .. } if why.contains("not closed"));
        parse_address_list(value.as_bytes()).into_iter().any(open)
    };
    for (a, in_a) in ADDRESSES.iter().chain(UNREADABLE).filter(|(a, _)| !is_open(a)) {
        for (b, in_b) in ADDRESSES.iter().chain(UNREADABLE) {
            assert_eq!(shown(format!("{a},{b}").as_bytes()), format!("{in_a} | {in_b}"), "{a:?} and {b:?}");
        }
    }
}

#[test]
fn every_address_found_in_rubbish_is_one_that_is_read_back() {
    let parts = [
        "a@b.c",
        "<d@e.f>",
        "@b.c",
        "\"x y",
        ", ",
        ",",
        "a",
        "b.c",
        "@",
        "@",
        "<",
        ">",
        ",",
        ";",
        ":",
        "\"",
        "\\",
        "(",
        ")",
        "[",
        "]",
        ".",
        " ",
        "\r\n",
        "\r",
        "\0",
        "\u{e4}",
        "IPv6:",
        "::1",
        "127.0.0.1",
        "=?x?q?y?=",
    ];
    let (mut state, mut found) = (1_u64, 0);
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(parts[(state >> 33) as usize % parts.len()]);
        }
        for listed in parse_address_list(text.as_bytes()) {
            if let Listed::Mailbox(mailbox) = listed {
                found += 1;
                assert!(!mailbox.as_str().contains(['\r', '\n', '\0']), "{text:?}");
                let again = parse_address_list(format!("x <{mailbox}>, ").as_bytes());
                assert_eq!(again, [Listed::Mailbox(mailbox)], "{text:?}");
            }
        }
    }
    assert!(found > 500, "only {found} addresses in all the rubbish");
}
