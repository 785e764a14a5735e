//! SIGKILL at each disk call of sendmail: what it acknowledged arrives once, anything else once or not at all, and never a part.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::ptrace::{self, Trace, Watch, When};
use crate::support::LIMIT;
use crate::support::server::Server;
use crate::support::stage::{Stage, plain, until};
use crate::{program, stage};

fn letter(subject: &str, lines: usize) -> String {
    format!(
        "From: ann@example.org\nTo: bob@example.org\nSubject: {subject}\n\n{}",
        "The door is open.\n".repeat(lines)
    )
}

/// Runs sendmail under the tool, and kills it at that call.
fn traced(stage: &Stage, subject: &str, lines: usize, kill: Option<(usize, When)>) -> Trace {
    let path = stage.dir().join("input");
    std::fs::write(&path, letter(subject, lines)).unwrap();
    let mut command: Command = program(stage, "sendmail", &["-t", "-i"]);
    command.stdin(std::fs::File::open(path).unwrap()).stdout(Stdio::null()).stderr(Stdio::null());
    let spool = stage.spool().canonicalize().unwrap();
    ptrace::run(&mut command, &Watch { dir: &spool, kill, fail: None, limit: LIMIT }, drop).unwrap()
}

/// Kills at so many calls at most, evenly over all, on both sides of each. Gives what was acknowledged by subject.
fn sweep(stage: &Stage, lines: usize, most: usize) -> BTreeMap<String, bool> {
    let calls = traced(stage, "undisturbed", lines, None).calls.len();
    let mut acknowledged = BTreeMap::from([("undisturbed".to_owned(), true)]);
    println!("{calls} calls");
    for nth in (1..=calls).step_by(calls.div_ceil(most)) {
        for when in [When::Before, When::After] {
            let subject = format!("{nth} {when:?}");
            let trace = traced(stage, &subject, lines, Some((nth, when)));
            acknowledged.insert(subject, trace.status.success());
        }
    }
    assert!(acknowledged.values().filter(|was| !**was).count() > 5, "{acknowledged:?}");
    acknowledged
}

fn judge(server: &Server, acknowledged: &BTreeMap<String, bool>, lines: usize) {
    let taken = server.taken();
    for (subject, was_acknowledged) in acknowledged {
        let arrived = taken.iter().filter(|arrival| arrival.subject() == *subject).count();
        assert!(arrived <= 1 && (arrived == 1 || !was_acknowledged), "{subject}: {arrived} arrived");
    }
    let body = letter("", lines).split_once("\n\n").unwrap().1.replace('\n', "\r\n");
    for arrival in &taken {
        let text = String::from_utf8(arrival.bytes.clone()).unwrap();
        assert_eq!(text.split_once("\r\n\r\n").unwrap().1, body, "{}", arrival.subject());
    }
}

/// Nothing but names that nobody looks at.
fn is_quiet(stage: &Stage) -> bool {
    let is_empty = |dir| stage.names(dir).is_empty();
    stage.names("pickup").iter().all(|name| name.starts_with('.'))
        && is_empty("pending")
        && is_empty("sending")
}

#[test]
fn killed_while_it_drops() {
    let server = Server::start();
    let stage = stage(&plain(server.port()));
    let acknowledged = sweep(&stage, 1, usize::MAX);
    let left = stage.names("pickup").iter().filter(|name| name.starts_with('.')).count();
    assert!(left > 0, "it was never killed half-way");
    assert_eq!(stage.pillarbox(&["flush"]).code, 0);
    judge(&server, &acknowledged, 1);
    assert!(is_quiet(&stage));
}

#[test]
fn killed_while_it_hands_a_long_message_to_the_service() {
    let server = Server::start();
    let stage = stage(&plain(server.port()));
    // The tool waits for every child of this thread.
    let service = std::thread::scope(|scope| scope.spawn(|| stage.run()).join().unwrap());
    let lines = 62_000;
    let acknowledged = sweep(&stage, lines, 12);
    until("a quiet spool", || is_quiet(&stage));
    judge(&server, &acknowledged, lines);
    assert_eq!(service.stop(), 0);
}

/// What makes exit 0 mean durable: the bytes are synced before the name, and the name before the end.
#[test]
fn the_bytes_are_synced_before_the_name_and_the_name_before_the_end() {
    let stage = stage("");
    let trace = traced(&stage, "x", 1, None);
    assert!(trace.status.success());
    let calls: Vec<(&str, bool)> = trace
        .calls
        .iter()
        .filter(|call| call.result == Some(0) && !call.paths.is_empty())
        .map(|call| (call.name, call.paths[0].ends_with("pickup")))
        .collect();
    let last: Vec<(&str, bool)> = calls
        .into_iter()
        .filter(|(name, _)| ["fsync", "renameat2", "renameat", "syncfs"].contains(name))
        .collect();
    assert_eq!(last, [("fsync", false), ("renameat2", false), ("fsync", true)]);
}
