//! One question to a name server and its answer, as octets (RFC 1035 section 4): as much as it takes to see whether there is a
//! name server, and whether it knows the name. Names are looked up by the system; this only finds out why that failed.

/// A type of record (RFC 1035 section 3.2.2, RFC 3596).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An IPv4 address.
    A = 1,
    /// An IPv6 address.
    Aaaa = 28,
}

/// What a name server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// So many records.
    Records(u16),
    /// There is no such name (RCODE 3).
    NoSuchName,
    /// Any other RCODE: 2 is a fault of its own, 5 is refused.
    Fault(u8),
}

const HEADER: usize = 12;
/// Longest label, octets.
const LABEL_MAX: usize = 63;
/// Longest name on the wire, octets.
const NAME_MAX: usize = 255;

/// The question; `None` if this cannot be a name of the DNS.
pub(super) fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    const RECURSION_DESIRED: u8 = 1;
    let mut octets = Vec::with_capacity(HEADER + name.len() + 6);
    octets.extend(id.to_be_bytes());
    octets.extend([RECURSION_DESIRED, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|&n| n > 0 && usize::from(n) <= LABEL_MAX)?;
        octets.push(length);
        octets.extend(label.as_bytes());
    }
    octets.extend([0, 0, kind as u8, 0, 1]);
    (octets.len() <= HEADER + NAME_MAX + 4).then_some(octets)
}

/// The answer to question `id`; `None` if this is none.
pub(super) fn answer(id: u16, octets: &[u8]) -> Option<Answer> {
    const IS_RESPONSE: u8 = 0x80;
    let header = octets.get(..HEADER)?;
    if header[..2] != id.to_be_bytes() || header[2] & IS_RESPONSE == 0 {
        return None;
    }
    Some(match header[3] & 0x0f {
        0 => Answer::Records(u16::from_be_bytes([header[6], header[7]])),
        3 => Answer::NoSuchName,
        code => Answer::Fault(code),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_as_the_rfc_has_it() {
        let octets = question(0x1234, "mx.example.com.", Kind::Aaaa).unwrap();
        assert_eq!(octets, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x02mx\x07example\x03com\0\0\x1c\0\x01");
        for name in ["", "a..b", &"x".repeat(64), &"abcdefg.".repeat(40)] {
            assert_eq!(question(1, name, Kind::A), None, "{name}");
        }
    }

    #[test]
    fn an_answer_is_one_to_this_question() {
        let header = |flags: u8, code: u8, count: u8| vec![0, 7, flags, code, 0, 1, 0, count, 0, 0, 0, 0];
        assert_eq!(answer(7, &header(0x81, 0x80, 2)), Some(Answer::Records(2)));
        assert_eq!(answer(7, &header(0x81, 0x83, 0)), Some(Answer::NoSuchName));
        assert_eq!(answer(7, &header(0x81, 0x85, 0)), Some(Answer::Fault(5)));
        assert_eq!(answer(8, &header(0x81, 0x80, 2)), None);
        assert_eq!(answer(7, &header(0x01, 0x80, 2)), None);
        assert_eq!(answer(7, b"SSH-2.0"), None);
    }
}
