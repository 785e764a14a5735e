//! Where the log goes: one line an event on stderr, `<time> <level> <event> field=value ...`.

use std::fmt;
use std::io;

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

/// Starts the log.
pub(super) fn start(level: tracing::Level) {
    let log = tracing_subscriber::fmt()
        .with_writer(|| OneLine(io::stderr()))
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .with_timer(WallTime);
    // A second start in one process keeps the first.
    drop(log.try_init());
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
