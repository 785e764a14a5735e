//! Two times that must not be mixed up: one that only runs forward, one that people read.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A reading of a clock that never goes back and is not set by anyone: time since some fixed moment.
/// Every wait, age and time-out is counted with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Monotonic(pub Duration);

/// Milliseconds since 1970-01-01 UTC as the box believes them. Shown to people and written into names and
/// headers; never compared with anything (a box without a clock wakes up in 1970).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct UnixTime(u64);

impl UnixTime {
    /// From milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        UnixTime(millis)
    }

    /// From seconds.
    pub const fn from_secs(secs: u64) -> Self {
        UnixTime(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Year, month 1-12, day 1-31, hour, minute, second in UTC, and the day of the week (0 is Sunday).
    pub fn civil(self) -> (u64, u8, u8, u8, u8, u8, u8) {
        let secs = self.as_secs();
        let (days, rest) = (secs / 86_400, secs % 86_400);
        // Days to a civil date by eras of 400 years, counted from 0000-03-01.
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (rest / 3600, rest % 3600 / 60, rest % 60);
        (year, month as u8, day as u8, hour as u8, minute as u8, second as u8, ((days + 4) % 7) as u8)
    }

    /// `Mon, 23 Nov 2026 14:10:53 +0000` (RFC 5322 section 3.3).
    pub fn rfc5322(self) -> String {
        const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (year, month, day, hour, minute, second, weekday) = self.civil();
        let (weekday, month) = (DAYS[weekday as usize], MONTHS[month as usize - 1]);
        format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} +0000")
    }
}

/// `2026-11-23T14:10:53Z` (RFC 3339).
impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, hour, minute, second, _) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl Add<Duration> for Monotonic {
    type Output = Monotonic;

    fn add(self, span: Duration) -> Monotonic {
        Monotonic(self.0.saturating_add(span))
    }
}

impl Sub for Monotonic {
    type Output = Duration;

    /// Zero if `earlier` is later.
    fn sub(self, earlier: Monotonic) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let shown = |secs| (UnixTime::from_secs(secs).to_string(), UnixTime::from_secs(secs).rfc5322());
        assert_eq!(shown(0), ("1970-01-01T00:00:00Z".into(), "Thu, 01 Jan 1970 00:00:00 +0000".into()));
        assert_eq!(
            shown(951_782_400),
            ("2000-02-29T00:00:00Z".into(), "Tue, 29 Feb 2000 00:00:00 +0000".into())
        );
        assert_eq!(
            shown(1_795_443_053),
            ("2026-11-23T14:10:53Z".into(), "Mon, 23 Nov 2026 14:10:53 +0000".into())
        );
    }
}
