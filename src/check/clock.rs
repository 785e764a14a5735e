//! Whether the clock can be right.

use super::{Cause, Step};
use crate::mail::UnixTime;

/// It was never as early as this while this program was there: 2026-11-01.
const RELEASED: UnixTime = UnixTime::from_secs(1_793_491_200);
/// Nobody runs it that long afterwards: 30 years of 365 days, seconds.
const TOO_LATE: u64 = 30 * 365 * 86_400;

pub(super) fn check(now: UnixTime) -> Step {
    let evidence = || format!("it says {now}, and this program is of {RELEASED}");
    let is_plausible = now >= RELEASED && now.as_secs() < RELEASED.as_secs() + TOO_LATE;
    match is_plausible {
        true => Step::ok("clock", now.to_string()),
        false => Step::failed("clock", Cause::ClockWrong, evidence()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_or_is_far_ahead_is_told() {
        let cause = |secs| check(UnixTime::from_secs(secs)).cause;
        assert_eq!(cause(0), Some(Cause::ClockWrong));
        assert_eq!(cause(1_793_491_199), Some(Cause::ClockWrong));
        assert_eq!(cause(1_793_491_200), None);
        assert_eq!(cause(1_900_000_000), None);
        assert_eq!(cause(4_000_000_000), Some(Cause::ClockWrong));
    }
}
