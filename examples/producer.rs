//! A producer in Rust: drops one message, and says so when it is durable.
//!
//!     cargo run --example producer -- /var/spool/pillarbox ops@example.com

use std::path::Path;
use std::process::ExitCode;

use pillarbox::submit::{Dropped, Envelope, Error, Spool};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [spool, to] = arguments.as_slice() else {
        eprintln!("usage: producer SPOOL ADDRESS");
        return ExitCode::from(64);
    };
    match alarm(Path::new(spool), to) {
        Ok(dropped) => {
            println!("{}", dropped.name.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("producer: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn alarm(spool: &Path, to: &str) -> Result<Dropped, Error> {
    let message = "From: panel@example.com\nSubject: door 3\n\nOpen since 14:10.\n";
    let envelope = Envelope::from_sender("panel@example.com").to(to);
    Spool::open(spool)?.submit(message.as_bytes(), Some(&envelope), "panel")
}
