//! The only file that reads a clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::mail::{Monotonic, UnixTime};

/// Where times come from; a test has its own.
pub trait Clock: Send + Sync {
    /// Time that only runs forward, also while the box sleeps (CLOCK_BOOTTIME).
    fn monotonic(&self) -> Monotonic;
    /// What the box believes the time of day to be.
    fn wall(&self) -> UnixTime;
    /// Which boot [`Clock::monotonic`] counts from: the same text as long as its readings can be compared. Empty if nobody
    /// knows.
    fn boot(&self) -> String;
}

/// The clocks of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn monotonic(&self) -> Monotonic {
        let time = clock_gettime(ClockId::Boottime);
        // Time since boot is never negative, and its nanoseconds are below a thousand million.
        Monotonic(Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32))
    }

    fn wall(&self) -> UnixTime {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time of day")]
        let now = SystemTime::now();
        // Before 1970 is as good as 1970: nothing is compared with it.
        UnixTime::from_millis(now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64))
    }

    fn boot(&self) -> String {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        // Without one nothing is compared over two runs.
        text.map_or_else(|_| String::new(), |id| id.trim().to_owned())
    }
}
