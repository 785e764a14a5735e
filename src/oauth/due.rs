//! When a token is renewed. In one process, and in all of one boot, a clock that nobody sets counts. Across boots there is only the
//! time of day, which a box without a clock does not know: what cannot be known is renewed.

use std::time::Duration;

use crate::mail::{Monotonic, UnixTime};

/// Before this the box's clock was never set.
const PLAUSIBLE: UnixTime = UnixTime::from_secs(1_700_000_000);

/// The most that is left when a token is renewed.
const EARLY_MAX: Duration = Duration::from_secs(300);

/// What the clocks say at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Now {
    pub(super) monotonic: Monotonic,
    /// Which boot that counts from; empty if nobody knows.
    pub(super) boot: String,
    pub(super) wall: UnixTime,
}

/// What is left of a token that was got `then` and is good for `lifetime`; `None` if it has ended or nobody can tell.
pub(super) fn left(lifetime: Duration, then: &Now, now: &Now) -> Option<Duration> {
    let age = if !now.boot.is_empty() && then.boot == now.boot {
        now.monotonic.0.checked_sub(then.monotonic.0)?
    } else if then.wall > PLAUSIBLE && now.wall >= then.wall {
        Duration::from_millis(now.wall.as_millis() - then.wall.as_millis())
    } else {
        return None;
    };
    lifetime.checked_sub(age).filter(|left| !left.is_zero())
}

/// Whether it is time to renew: a fifth of its time is left, or five minutes, whichever is less.
pub(super) fn is_due(lifetime: Duration, left: Duration) -> bool {
    left <= (lifetime / 5).min(EARLY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(boot: &str, monotonic: u64, wall: u64) -> Now {
        Now {
            monotonic: Monotonic(Duration::from_secs(monotonic)),
            boot: boot.to_owned(),
            wall: UnixTime::from_secs(wall),
        }
    }

    #[test]
    fn within_a_boot_the_time_of_day_means_nothing() {
        let then = at("b", 1000, 1_800_000_000);
        for wall in [0, 1_800_000_000, 1_900_000_000] {
            let left = |monotonic| left(HOUR, &then, &at("b", monotonic, wall));
            assert_eq!(left(1000), Some(HOUR));
            assert_eq!(left(4599), Some(Duration::from_secs(1)));
            assert_eq!(left(4600), None);
            // A reading from before it was got: it cannot be of this boot.
            assert_eq!(left(999), None);
        }
    }

    #[test]
    fn across_boots_only_a_clock_that_is_set_is_believed() {
        let left = |then_wall, now_wall| left(HOUR, &at("b", 9, then_wall), &at("c", 1, now_wall));
        let t = 1_800_000_000;
        assert_eq!(left(t, t + 600), Some(Duration::from_secs(3000)));
        assert_eq!(left(t, t + 3600), None);
        // It went back, or was never set, now or then.
        assert_eq!(left(t, t - 1), None);
        assert_eq!(left(t, 60), None);
        assert_eq!(left(60, 120), None);
        assert_eq!(left(60, t), None);
        // Nobody knows which boot it was.
        let unknown = super::left(HOUR, &at("", 9, t), &at("", 19, t + 600));
        assert_eq!(unknown, Some(Duration::from_secs(3000)));
    }

    #[test]
    fn it_is_renewed_when_a_fifth_is_left_or_five_minutes() {
        let is_due = |lifetime, left| is_due(Duration::from_secs(lifetime), Duration::from_secs(left));
        assert!(!is_due(3600, 301) && is_due(3600, 300));
        assert!(!is_due(100, 21) && is_due(100, 20));
        assert!(!is_due(86_400, 301) && is_due(86_400, 300));
    }
}
