//! Where the log goes: one line an event on stderr, `<time> <level> <event> field=value ...`.

use std::fmt;
use std::io;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::fs::{Clock, SystemClock};

/// The time of day in RFC 3339, UTC.
struct WallTime;

impl FormatTime for WallTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", SystemClock.wall())
    }
}

/// Writes events, each as one line: what a producer calls a file or a server says must not forge a second one, nor
/// steer the terminal that shows it.
struct OneLine<W>(W);

impl<W: io::Write> io::Write for OneLine<W> {
    /// `event` is a whole one, its line end included.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        self.0.write_all((line.replace(char::is_control, "\u{fffd}") + "\n").as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The log, to have it say more or less.
pub(super) struct Log(Box<dyn Fn(tracing::Level)>);

impl Log {
    pub(super) fn set_level(&self, level: tracing::Level) {
        (self.0)(level);
    }
}

/// Starts the log.
pub(super) fn start(level: tracing::Level) -> Log {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| OneLine(io::stderr()))
        .with_target(false)
        .with_ansi(false)
        .with_timer(WallTime);
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(level));
    // A second start in one process keeps the first.
    drop(tracing_subscriber::registry().with(filter).with(lines).try_init());
    // It fails only where there is no log.
    Log(Box::new(move |level| drop(handle.reload(LevelFilter::from_level(level)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let mut log = OneLine(Vec::new());
        io::Write::write_all(&mut log, b"file=a\n2026 \x1b[31m\tT\xc3\xbcr \xff\xc2\x9b\n").unwrap();
        assert_eq!(
            String::from_utf8(log.0).unwrap(),
            "file=a\u{fffd}2026 \u{fffd}[31m\u{fffd}T\u{fc}r \u{fffd}\u{fffd}\n"
        );
    }
}
