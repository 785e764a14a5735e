//! The name of a message in the spool, which is also its place in the line.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::UnixTime;

/// A UUIDv7 (RFC 9562 section 5.7), written as 32 lower-case hex digits so that names sort as bytes.
///
/// It is only an order: the milliseconds in it may be ahead of the clock (see [`QueueIdSource`]). The time
/// of acceptance is the second field of the file's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(u128);

/// Why a text is not a queue id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueIdError(String);

/// Draws queue ids, each greater than the one before and than every id it was primed with, whatever the
/// clock does (RFC 9562 section 6.2, method 2: monotonic random).
#[derive(Debug)]
pub struct QueueIdSource {
    last: u128,
}

const VERSION_AND_VARIANT: u128 = (0x7 << 76) | (0b10 << 62);
const MILLISECONDS_SHIFT: u32 = 80;

impl QueueId {
    /// The id in the range of [`QueueId::from_str`], as an order for tests and indexes.
    pub fn as_u128(self) -> u128 {
        self.0
    }
}

impl QueueIdSource {
    /// `last` is the greatest id that the spool holds, so that order outlives a restart and a clock that
    /// went back.
    pub fn primed(last: Option<QueueId>) -> Self {
        QueueIdSource { last: last.map_or(0, |id| id.0) }
    }

    /// Makes sure that every further id is greater than `seen`.
    pub fn raise_to(&mut self, seen: Option<QueueId>) {
        self.last = self.last.max(seen.map_or(0, |id| id.0));
    }

    /// The next id. `random` supplies 74 bits that nobody can foresee; the order does not depend on them.
    pub fn next(&mut self, now: UnixTime, random: u128) -> QueueId {
        let fresh = from_parts(now.as_millis(), random);
        self.last = if fresh > self.last { fresh } else { successor(self.last) };
        QueueId(self.last)
    }

    /// The next id with bits from the operating system.
    pub fn draw(&mut self, now: UnixTime) -> QueueId {
        self.next(now, Uuid::new_v4().as_u128())
    }
}

fn from_parts(millis: u64, random: u128) -> u128 {
    let millis = u128::from(millis & 0xFFFF_FFFF_FFFF) << MILLISECONDS_SHIFT;
    // 12 bits between the time and the variant, 62 behind it (RFC 9562 section 5.7).
    let a = (random >> 64) & 0x0FFF;
    let b = random & 0x3FFF_FFFF_FFFF_FFFF;
    millis | VERSION_AND_VARIANT | (a << 64) | b
}

/// The least id of the same form that is greater: the 74 random bits and the time count as one number.
fn successor(id: u128) -> u128 {
    let b = id & 0x3FFF_FFFF_FFFF_FFFF;
    let a = (id >> 64) & 0x0FFF;
    let millis = id >> MILLISECONDS_SHIFT;
    let next = ((millis << 74) | (a << 62) | b) + 1;
    from_parts((next >> 74) as u64, ((next >> 62) & 0x0FFF) << 64 | (next & 0x3FFF_FFFF_FFFF_FFFF))
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for QueueId {
    type Err = QueueIdError;

    fn from_str(text: &str) -> Result<Self, QueueIdError> {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let well_formed = text.len() == 32 && text.bytes().all(is_hex);
        match u128::from_str_radix(text, 16) {
            Ok(value) if well_formed => Ok(QueueId(value)),
            _ => Err(QueueIdError(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for QueueIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected a queue id of 32 lower-case hex digits, found {:?}", self.0)
    }
}

impl std::error::Error for QueueIdError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> UnixTime {
        UnixTime::from_millis(millis)
    }

    #[test]
    fn ids_are_version_7_and_sort_by_time_as_text() {
        let mut source = QueueIdSource::primed(None);
        let a = source.draw(at(1_000));
        let b = source.draw(at(2_000));
        assert!(a < b && a.to_string() < b.to_string());
        let uuid = Uuid::from_u128(b.as_u128());
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(a.to_string().parse(), Ok(a));
    }

    #[test]
    fn a_clock_that_goes_back_never_lowers_an_id_also_across_a_restart() {
        let mut source = QueueIdSource::primed(None);
        let mut last = source.next(at(5_000_000), u128::MAX);
        for n in 0..10_000 {
            let id = if n == 5_000 {
                source = QueueIdSource::primed(Some(last));
                source.draw(at(0))
            } else {
                source.draw(at(4_000_000))
            };
            assert!(id > last, "{id} after {last}");
            assert_eq!(Uuid::from_u128(id.as_u128()).get_version_num(), 7);
            last = id;
        }
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in ["", "0192", &"G".repeat(32), &"A".repeat(32), &"a".repeat(33)] {
            assert!(text.parse::<QueueId>().is_err(), "{text:?} was taken");
        }
    }
}
