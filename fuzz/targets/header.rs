//! The header scan: whatever the bytes, the fields lie in order inside them, and more of the file never changes what was
//! found.

use pillarbox::message::{Header, Scan};

pub(crate) fn run(data: &[u8]) {
    let whole = Header::scan(data, true);
    if let Ok(Scan::Done(header)) = &whole {
        check(header, data);
    }
    assert!(!matches!(whole, Ok(Scan::NeedMore)), "the whole file, and it wants more");
    for cut in [data.len() / 4, data.len() / 2, data.len().saturating_sub(1), data.len()] {
        match (Header::scan(&data[..cut], false), &whole) {
            (Ok(Scan::NeedMore), _) | (_, Ok(Scan::NeedMore)) | (Err(_), Err(_)) => {}
            (Ok(Scan::Done(part)), Ok(Scan::Done(header))) => {
                assert_eq!(places(&part), places(header), "cut at {cut}");
                assert_eq!(part.body_offset(), header.body_offset(), "cut at {cut}");
            }
            (Err(why), Ok(_)) => panic!("the first {cut} octets are refused, and all of them are not: {why}"),
            // What is refused lies further down.
            (Ok(Scan::Done(part)), Err(why)) => {
                panic!("the header ends at {}, and yet: {why}", part.body_offset())
            }
        }
    }
}

fn places(header: &Header) -> Vec<(u64, std::ops::Range<usize>)> {
    header.fields().iter().map(|field| (field.line(), field.range())).collect()
}

fn check(header: &Header, data: &[u8]) {
    let (mut end, mut line) = (0, 0);
    for field in header.fields() {
        let range = field.range();
        assert!(range.start >= end && range.start < range.end, "{range:?} behind {end}");
        assert!(field.line() > line, "line {} behind {line}", field.line());
        let lines = data[..range.start].split(|b| *b == b'\n').count() as u64;
        assert!(field.line() <= lines + data.iter().filter(|b| **b == b'\r').count() as u64);
        let name = field.name(data);
        assert!(!name.is_empty() && name.iter().all(|b| (33..=126).contains(b) && *b != b':'), "{name:?}");
        (end, line) = (range.end, field.line());
    }
    assert!(header.body_offset() >= end && header.body_offset() <= data.len());
    assert!(header.body_line() >= line);
    assert_eq!(header.injected().len() + header.own().len(), header.fields().len());
}
