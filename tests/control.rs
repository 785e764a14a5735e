//! Steering: the commands with a service and without one, the socket between them, and the limits of the spool. The real
//! binary, as an operator meets it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "these tests are an operator with an editor")]

#[expect(dead_code, reason = "promises.rs uses the rest")]
mod support;

#[path = "control/compose.rs"]
mod compose;
#[path = "control/documents.rs"]
mod documents;
#[path = "control/flush.rs"]
mod flush;
#[path = "control/limits.rs"]
mod limits;
#[path = "control/log.rs"]
mod log;
#[path = "control/reload.rs"]
mod reload;
#[path = "control/send.rs"]
mod send;
#[path = "control/socket.rs"]
mod socket;
#[path = "control/steer.rs"]
mod steer;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use support::stage::{Ran, Service, Stage};

/// A command that is to succeed, and what it prints.
fn done(stage: &Stage, arguments: &[&str]) -> String {
    let ran = stage.pillarbox(arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}: {ran:?}");
    ran.stdout
}

/// A command that is to be refused with this code, and what it says.
fn refused(stage: &Stage, arguments: &[&str], code: i32) -> String {
    let ran: Ran = stage.pillarbox(arguments);
    assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{arguments:?}: {ran:?}");
    assert!(ran.stderr.starts_with("pillarbox: "), "{ran:?}");
    ran.stderr
}

/// `what` without a service, and with one.
fn with_and_without_a_service(make: impl Fn() -> Stage, what: impl Fn(&Stage, Option<&Service>)) {
    let alone = make();
    what(&alone, None);
    let served = make();
    let service = served.run();
    what(&served, Some(&service));
    assert_eq!(service.stop(), 0);
}

/// States by file name, as `list` has them.
fn states(stage: &Stage) -> Vec<String> {
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
    stage.list().iter().map(|row| format!("{} {}", text(row, "file"), text(row, "state"))).collect()
}

/// What a raw request is answered: the status code and the body.
fn ask(socket: &Path, request: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    // It may be answered before it is read to its end.
    stream.write_all(request.as_bytes()).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status.unwrap_or_else(|| panic!("no answer to {request:?}: {answer:?}")), body)
}
