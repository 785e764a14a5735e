//! Where the log goes: one line an event on stderr, `<time> <level> <event> field=value ...`.

use std::fmt;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::fs::{Clock, SystemClock};

/// The time of day in RFC 3339, UTC.
struct WallTime;

impl FormatTime for WallTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", SystemClock.wall())
    }
}

/// Starts the log.
pub(super) fn start(level: tracing::Level) {
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .with_timer(WallTime);
    // A second start in one process keeps the first.
    drop(log.try_init());
}
