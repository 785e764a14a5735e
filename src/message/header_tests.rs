//! Rows of files and their fields.

use super::*;

fn scan(bytes: &[u8]) -> Header {
    match Header::scan(bytes, true) {
        Ok(Scan::Done(header)) => header,
        other => panic!("{other:?} for {:?}", String::from_utf8_lossy(bytes)),
    }
}

fn refusal(bytes: &[u8]) -> String {
    Header::scan(bytes, true).unwrap_err().to_string()
}

/// Line, name and value of each field, and the body.
fn shown(bytes: &[u8]) -> (Vec<(u64, String, String)>, String) {
    let header = scan(bytes);
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let fields = header.fields().iter();
    let fields = fields.map(|f| (f.line(), text(f.name(bytes)), text(f.value(bytes)))).collect();
    (fields, text(&bytes[header.body_offset()..]))
}

const SAMPLES: &[&[u8]] = &[
    b"A: 1\r\nB: 2\r\n 3\r\n\r\nbody\r\n",
    b"A: 1\nB: 2\n 3\n\nbody\r\n",
    b"A: 1\rB: 2\r 3\r\rbody\r\n",
    b"A: 1\r\nB: 2\n 3\r\rbody\r\n",
];

#[test]
fn every_kind_of_line_end_gives_the_same_fields() {
    for sample in SAMPLES {
        let (fields, body) = shown(sample);
        assert_eq!(fields[0], (1, "A".into(), " 1".into()));
        assert_eq!((fields[1].0, fields[1].1.as_str()), (2, "B"));
        assert_eq!(fields[1].2.split_whitespace().collect::<Vec<_>>(), ["2", "3"]);
        assert_eq!(fields.len(), 2);
        assert_eq!(body, "body\r\n");
        assert_eq!(scan(sample).body_line(), 5);
    }
}

#[test]
fn a_prefix_either_asks_for_more_or_finds_what_the_whole_finds() {
    let more: &[&[u8]] = &[
        b"From a b\r\nA: 1\r\ntext: no\r",
        b"A: 1\nno field\nB: 2\n\n",
        b"A : 1\r\n \r\n\r\r\n",
        b"\xEF\xBB\xBFA: 1\n",
    ];
    for sample in SAMPLES.iter().chain(more) {
        let whole = scan(sample);
        for cut in 0..sample.len() {
            match Header::scan(&sample[..cut], false) {
                Ok(Scan::NeedMore) => {}
                Ok(Scan::Done(header)) => assert_eq!(header, whole, "cut at {cut} of {sample:?}"),
                Err(refusal) => panic!("{refusal} at {cut} of {sample:?}"),
            }
        }
    }
}

#[test]
fn the_block_ends_at_text_and_no_text_is_lost() {
    let (fields, body) = shown(b"A: 1\r\nHello world: how\r\nB: 2\r\n\r\nx");
    assert_eq!(fields.len(), 1);
    assert_eq!(body, "Hello world: how\r\nB: 2\r\n\r\nx");
    assert_eq!(scan(b"A: 1\r\nHello you\r\n").body_line(), 2);
    let mut no_colon = b"A: 1\n".to_vec();
    no_colon.resize(3000, b'x');
    assert_eq!(scan(&no_colon).body_offset(), 5);
    assert!(matches!(Header::scan(&no_colon, false), Ok(Scan::Done(_))), "a name of 3000 octets");
}

#[test]
fn what_stands_in_front_of_the_first_field_is_cut() {
    for front in ["From a@b Mon Jan  1 00:00:00 2026\n", ">From x\r\n", "\u{feff}", "\u{feff}From x\r"] {
        let (fields, _) = shown(format!("{front}To: a@b\n\n").as_bytes());
        assert_eq!(fields[0].1, "To", "{front:?}");
    }
    let (fields, _) = shown(b"From : a@b\n\n");
    assert_eq!(fields, [(1, "From".into(), " a@b".into())]);
}

#[test]
fn a_header_without_a_body_is_whole() {
    for bytes in ["To: a@b", "To: a@b\r", "To: a@b\n", "To: a@b\r\n\r\n", "To: a@b\n "] {
        let header = scan(bytes.as_bytes());
        assert_eq!((header.fields().len(), header.body_offset()), (1, bytes.len()), "{bytes:?}");
    }
    assert_eq!(shown(b"To:\n\n").0, [(1, "To".into(), String::new())]);
}

#[test]
fn what_has_no_header_is_refused_with_what_was_found() {
    assert_eq!(refusal(b""), "expected a message, found an empty file");
    let rows: &[(&[u8], &str)] = &[
        (b"\nTo: a@b\n", "line 1: * found an empty line"),
        (b" To: a@b\n", "line 1: * found \"To: a@b\""),
        (b"Hello there\x1b\n", "line 1: * found \"Hello there\u{fffd}\""),
        (b"From x\nHello there\n", "line 2: * found \"Hello there\""),
        (b"From x", "line 2: * found an empty line"),
        (b"\xFF\xFET\0o\0:\0", "line 1: * found text in UTF-16"),
        (b": no name\n", "line 1: * found \": no name\""),
    ];
    for (bytes, want) in rows {
        let want = want.replace('*', "expected a header field such as \"To: name@example.com\",");
        assert_eq!(refusal(bytes), want);
    }
}

#[test]
fn nul_and_length_are_refused() {
    assert_eq!(
        refusal(b"A: 1\r\nB: x\r\n y\r\n \0z\r\n\r\n"),
        format!("line 4: {}", super::super::wire::NUL_REASON)
    );
    let mut long = b"A: ".to_vec();
    long.resize(HEADER_MAX - 2, b'x');
    long.extend(b"\n\nbody");
    assert_eq!(scan(&long).body_offset(), HEADER_MAX);
    long.insert(5, b'x');
    assert!(refusal(&long).contains("at most 1048576 octets"));
    assert!(Header::scan(&long[..HEADER_MAX + 1], false).is_err());
}
