//! What is read of a certificate (X.509, RFC 5280 section 4.1) by ourselves: its key, to pin it, and its last day.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use crate::mail::UnixTime;

/// The SHA-256 of a public key (SubjectPublicKeyInfo, as in RFC 7469 section 2.4). A certificate that is renewed with the same
/// key keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

impl Pin {
    /// That of a certificate (DER); `None` if it cannot be read.
    pub fn of(certificate: &[u8]) -> Option<Pin> {
        Some(Pin(Sha256::digest(fields(certificate)?.key).into()))
    }
}

/// `sha256:` and base64, as in the configuration.
impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", BASE64_STANDARD.encode(self.0))
    }
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let decoded = text.strip_prefix("sha256:").and_then(|hash| BASE64_STANDARD.decode(hash).ok());
        let hash = decoded.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        hash.map(Pin).ok_or_else(|| {
            format!("expected \"sha256:\" and 32 octets in base64 (44 characters), found {text:?}")
        })
    }
}

/// The last second in which a certificate (DER) is valid; `None` if it cannot be read.
pub fn not_after(certificate: &[u8]) -> Option<UnixTime> {
    let validity = element(fields(certificate)?.validity)?.content;
    let begin = element(validity)?;
    time(&element(begin.rest)?)
}

/// The first second in which it is valid; `None` if it cannot be read.
pub fn not_before(certificate: &[u8]) -> Option<UnixTime> {
    time(&element(element(fields(certificate)?.validity)?.content)?)
}

/// Whether it names itself as its issuer (RFC 5280 section 3.2).
pub(super) fn is_self_signed(certificate: &[u8]) -> bool {
    fields(certificate).is_some_and(|fields| fields.issuer == fields.subject)
}

struct Fields<'a> {
    issuer: &'a [u8],
    validity: &'a [u8],
    subject: &'a [u8],
    key: &'a [u8],
}

fn fields(certificate: &[u8]) -> Option<Fields<'_>> {
    const VERSION: u8 = 0xa0;
    let signed = element(element(certificate)?.content)?;
    let mut next = element(signed.content)?;
    if next.tag == VERSION {
        next = element(next.rest)?;
    }
    let algorithm = element(next.rest)?;
    let issuer = element(algorithm.rest)?;
    let validity = element(issuer.rest)?;
    let subject = element(validity.rest)?;
    let key = element(subject.rest)?;
    Some(Fields { issuer: issuer.whole, validity: validity.whole, subject: subject.whole, key: key.whole })
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    /// With tag and length.
    whole: &'a [u8],
    rest: &'a [u8],
}

/// The first element (X.690, DER).
fn element(bytes: &[u8]) -> Option<Element<'_>> {
    let (&tag, after) = bytes.split_first()?;
    let (&first, mut after) = after.split_first()?;
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x84 => {
            let (octets, behind) = after.split_at_checked(usize::from(first & 0x7f))?;
            after = behind;
            octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet))
        }
        _ => return None,
    };
    let (content, rest) = after.split_at_checked(length)?;
    Some(Element { tag, content, whole: &bytes[..bytes.len() - rest.len()], rest })
}

/// UTCTime or GeneralizedTime, in the one form that RFC 5280 section 4.1.2.5 allows of each.
fn time(element: &Element<'_>) -> Option<UnixTime> {
    let text = std::str::from_utf8(element.content).ok()?.strip_suffix('Z')?;
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, at) = match (element.tag, text.len()) {
        (0x17, 12) => (number(0, 2).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        (0x18, 14) => (number(0, 4)?, 4),
        _ => return None,
    };
    let (month, day) = (number(at, at + 2)?, number(at + 2, at + 4)?);
    let (hour, minute, second) = (number(at + 4, at + 6)?, number(at + 6, at + 8)?, number(at + 8, at + 10)?);
    if year < 1970 || !(1..=12).contains(&month) {
        return None;
    }
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_of = |month: u64| match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let days: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum::<u64>()
        + (1..month).map(days_of).sum::<u64>()
        + day.checked_sub(1)?;
    Some(UnixTime::from_secs(days * 86_400 + hour * 3_600 + minute * 60 + second))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PublicKeyData, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_tells_its_key_and_its_last_second() {
        for (year, month, day, shown) in [
            (2027, 3, 1, "2027-03-01T00:00:00Z"),
            (2096, 2, 29, "2096-02-29T00:00:00Z"),
            (1999, 12, 31, "1999-12-31T00:00:00Z"),
        ] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["mx.example.com".to_owned()]).unwrap();
            params.not_before = date_time_ymd(1990, 1, 1);
            params.not_after = date_time_ymd(year, month, day);
            let certificate = params.self_signed(&key).unwrap();
            assert_eq!(not_after(certificate.der()).unwrap().to_string(), shown);
            assert_eq!(not_before(certificate.der()).unwrap().to_string(), "1990-01-01T00:00:00Z");
            assert!(is_self_signed(certificate.der()));
            let pin = Pin::of(certificate.der()).unwrap();
            assert_eq!(pin, Pin(Sha256::digest(key.subject_public_key_info()).into()));
            assert_eq!(pin.to_string().parse(), Ok(pin));
        }
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["mx.example.com".to_owned()]).unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        for end in 0..der.len() {
            assert_eq!((Pin::of(&der[..end]), not_after(&der[..end])), (None, None));
        }
        for text in ["", "sha256:", "sha256:AAAA", "sha1:AAAA", "AAAA"] {
            assert!(text.parse::<Pin>().unwrap_err().starts_with("expected \"sha256:\""));
        }
    }
}
