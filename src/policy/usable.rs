//! For how long the smarthost was usable, and how old a deferred message is by that.
//!
//! Between two answers with no session problem in between the smarthost counts as usable; nobody knows better. It is
//! counted on a clock that starts with the box and runs while it sleeps, so that nothing is compared across a reboot, and a
//! gap between two answers counts for a day at most: who asks more rarely knows too little. So an outage, a box that is
//! switched off and one that nobody told to send make no message older, and one that a job sends every minute or every
//! night ages as one that a service sends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::mail::Monotonic;

/// The longest time between two answers that counts.
const GAP_MAX: Duration = Duration::from_secs(86_400);

/// The sum of the time in which the smarthost was usable.
#[derive(Debug, Clone, Default)]
pub(super) struct UsableTime {
    total: Duration,
    /// The last answer, unless there was a session problem since.
    answered: Option<Monotonic>,
}

/// For how long the smarthost was usable since a message was first deferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Age {
    /// Milliseconds.
    pub millis: u64,
    /// The sender's sum of usable time, milliseconds, when that was written.
    mark: u64,
}

impl UsableTime {
    pub(super) fn new(total: Duration, answered: Option<Monotonic>) -> UsableTime {
        UsableTime { total, answered }
    }

    pub(super) fn total(&self) -> Duration {
        self.total
    }

    pub(super) fn answered_at(&self) -> Option<Monotonic> {
        self.answered
    }

    /// The smarthost gave an answer to a message.
    pub(super) fn answered(&mut self, now: Monotonic) {
        if let Some(last) = self.answered {
            self.total = self.total.saturating_add((now - last).min(GAP_MAX));
        }
        self.answered = Some(now);
    }

    pub(super) fn session_problem(&mut self) {
        self.answered = None;
    }

    /// The age of a message that has just been deferred, of which `age` was known.
    pub(super) fn age(&self, age: Option<Age>) -> Age {
        let mark = self.total.as_millis().try_into().unwrap_or(u64::MAX);
        // What the sender knew may be lost in a power cut: then the sum starts again, and less than was is counted.
        let more = |age: Age| age.millis.saturating_add(mark.saturating_sub(age.mark));
        Age { millis: age.map_or(0, more), mark }
    }
}

impl Age {
    /// The same as a span of time.
    pub fn span(self) -> Duration {
        Duration::from_millis(self.millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn only_time_between_two_answers_without_a_problem_counts() {
        let mut usable = UsableTime::default();
        usable.answered(at(0));
        let first = usable.age(None);
        assert_eq!(first.span(), Duration::ZERO);
        usable.answered(at(HOUR));
        let second = usable.age(Some(first));
        assert_eq!(second.span(), Duration::from_secs(HOUR));
        usable.session_problem();
        usable.answered(at(100 * HOUR));
        let third = usable.age(Some(second));
        assert_eq!(third.span(), second.span(), "an outage counts nothing");
        usable.answered(at(101 * HOUR));
        assert_eq!(usable.age(Some(third)).span(), Duration::from_secs(2 * HOUR));
    }

    #[test]
    fn a_gap_counts_for_a_day_at_most() {
        let mut usable = UsableTime::default();
        usable.answered(at(0));
        let first = usable.age(None);
        usable.answered(at(1000 * HOUR));
        assert_eq!(usable.age(Some(first)).span(), GAP_MAX);
    }

    #[test]
    fn a_sum_that_was_lost_makes_nobody_older() {
        let mut usable = UsableTime::new(Duration::from_secs(50 * HOUR), Some(at(0)));
        let known = usable.age(None);
        usable = UsableTime::default();
        let again = usable.age(Some(known));
        assert_eq!(again.span(), Duration::ZERO);
        usable.answered(at(0));
        usable.answered(at(HOUR));
        assert_eq!(usable.age(Some(again)).span(), Duration::from_secs(HOUR));
    }
}
