//! How it is told: short lines, the time in front.

use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use crate::cli::{Failure, exit};

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// Where the demo is told.
pub(super) struct Show {
    out: Box<dyn Write>,
    colour: bool,
    start: Instant,
    act: usize,
}

impl Show {
    /// In colour only on a terminal that can, and if NO_COLOR does not forbid it.
    pub(super) fn on_stdout() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let colour = io::stdout().is_terminal()
            && set("NO_COLOR").is_none()
            && set("TERM").is_none_or(|term| term != "dumb");
        Show { out: Box::new(io::stdout()), colour, start: now(), act: 0 }
    }

    /// A heading, numbered.
    pub(super) fn act(&mut self, title: &str) -> Result<(), Failure> {
        self.act += 1;
        let heading = format!("{}. {title}", self.act);
        let heading = self.painted(BOLD, &heading);
        self.line(&format!("\n{heading}"))
    }

    /// Something that happens now.
    pub(super) fn tell(&mut self, what: &str) -> Result<(), Failure> {
        let time = format!("{:5.1} s", now().duration_since(self.start).as_secs_f64());
        let time = self.painted(DIM, &time);
        self.line(&format!("{time}  {what}"))
    }

    /// Text as it is elsewhere: a file, the output of a command.
    pub(super) fn quote(&mut self, text: &str) -> Result<(), Failure> {
        for line in text.lines() {
            let line = harmless(line);
            let bar = self.painted(DIM, "|");
            self.line(format!("         {bar} {line}").trim_end())?;
        }
        Ok(())
    }

    /// Something that was promised and is so.
    pub(super) fn proved(&mut self, what: &str) -> Result<(), Failure> {
        let tick = self.painted(GREEN, "yes");
        self.line(&format!("  {tick}  {what}"))
    }

    /// A line as it is.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(|error| {
            Failure::new(exit::IOERR, format!("demo: cannot write to standard output: {error}"))
        })
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("{colour}{text}{PLAIN}") } else { text.to_owned() }
    }
}

/// The demo measures what its user sees, not what the service counts with.
#[expect(clippy::disallowed_methods, reason = "the demo plays the producer and times what comes of it")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// From files and replies: no character of it may steer the terminal.
fn harmless(line: &str) -> String {
    line.chars().filter(|c| *c == '\t' || !c.is_control()).take(120).collect()
}

/// `37 ms` or `1.2 s`.
pub(super) fn span(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        format!("{} ms", span.as_millis())
    } else {
        format!("{:.1} s", span.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_cannot_steer_the_terminal() {
        assert_eq!(harmless("550 \x1b[2J\tno\r"), "550 [2J\tno");
    }

    #[test]
    fn spans_are_short() {
        assert_eq!(span(Duration::from_micros(37_900)), "37 ms");
        assert_eq!(span(Duration::from_millis(1_240)), "1.2 s");
    }
}
