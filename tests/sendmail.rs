//! `sendmail` as other programs call it: the real binary under that name, with their arguments and input as far as known, and a server that
//! shows what left the box.
//!
//! What is about other users needs root: else it is skipped, and says so.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "these tests are a mail program")]

#[expect(dead_code, reason = "other tests use the rest")]
mod support;

#[path = "sendmail/access.rs"]
mod access;
#[path = "sendmail/callers.rs"]
mod callers;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[path = "sendmail/kill.rs"]
mod kill;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[expect(dead_code, reason = "sigkill.rs uses the rest")]
#[path = "support/ptrace.rs"]
mod ptrace;
#[path = "sendmail/routes.rs"]
mod routes;
#[path = "sendmail/session.rs"]
mod session;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use support::stage::{Ran, Stage, finish};

/// A spool whose bare names belong to example.com, and whose messages get no field that a test does not expect.
fn stage(smarthost: &str) -> Stage {
    let stage = Stage::new(smarthost, "received = false");
    stage.set("hostname", "\"box.example.com\"\ndomain = \"example.com\"");
    // By their names the program knows what it is.
    for name in ["sendmail", "mailq", "newaliases"] {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pillarbox"), stage.dir().join(name)).unwrap();
    }
    stage
}

/// The program under one of these names, with the configuration of the stage.
fn program(stage: &Stage, name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(stage.dir().join(name));
    command.args(arguments).env("PILLARBOX_CONFIG", stage.config()).env_remove("PILLARBOX_SPOOL");
    command.current_dir(stage.dir());
    command
}

/// Runs it with that on its stdin.
fn run_with(mut command: Command, stdin: impl Into<Vec<u8>>) -> Ran {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let bytes = stdin.into();
    command.stdin(Stdio::from(reader));
    // It may end before it has read all.
    let feeder = thread::spawn(move || writer.write_all(&bytes).unwrap_or_default());
    let ran = finish(command);
    feeder.join().unwrap();
    ran
}

fn sendmail(stage: &Stage, arguments: &[&str], stdin: &str) -> Ran {
    run_with(program(stage, "sendmail", arguments), stdin)
}

/// It is durable, and nothing was said: a daemon that calls it would take a word for an error.
fn assert_stored(ran: &Ran) {
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""), "{ran:?}");
}
