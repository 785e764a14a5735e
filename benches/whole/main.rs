//! How fast the whole program is, and beside it, in the same run, what the disk and the wire allow:
//!
//!     cargo bench --bench whole                       # every row, five runs each
//!     cargo bench --bench whole -- drain accept       # rows whose name begins so
//!     cargo bench --bench whole -- --runs 3 --messages 2000
//!
//! The real binary sends to a sink in a process of its own; the limits are a client that holds the same dialogue without a
//! queue, and a loop that makes the same disk calls without a dialogue. Runs of the two alternate, so that both meet the same
//! machine; what counts is the ratio.

#![expect(
    clippy::disallowed_methods,
    reason = "what is measured beside the spool are the disk calls themselves"
)]

mod clock;
mod raw;
mod rows;
mod service;
mod sink;
mod table;

use std::io;
use std::time::Duration;

/// What is asked for on the command line.
pub(crate) struct Wish {
    rows: Vec<String>,
    runs: usize,
    messages: u64,
}

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut wish = Wish { rows: Vec::new(), runs: 5, messages: 10_000 };
    while let Some(arg) = args.next() {
        let mut number = |what: &str| -> io::Result<u64> {
            let text = args.next().unwrap_or_default();
            text.parse()
                .map_err(|_| io::Error::other(format!("expected a number behind {what}, found {text:?}")))
        };
        match arg.as_str() {
            "sink" => return sink::serve(Duration::from_millis(number("sink")?)),
            "--runs" => wish.runs = number("--runs")?.max(1) as usize,
            "--messages" => wish.messages = number("--messages")?.max(1),
            // cargo bench adds it.
            "--bench" => {}
            name => wish.rows.push(name.to_owned()),
        }
    }
    rows::all(&wish)
}

impl Wish {
    fn wants(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|wanted| row.starts_with(wanted.as_str()))
    }
}
