//! `check` beside a service and without one, on the loopback: what it finds, what it says, and that it changes nothing. Every cause,
//! produced for real, is in tests/check/causes.py.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "these tests are a user with an editor")]

#[expect(dead_code, reason = "promises.rs uses the rest")]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use support::server::Server;

const BINARY: &str = env!("CARGO_BIN_EXE_pillarbox");

fn pillarbox(arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_remove("PILLARBOX_CONFIG").env_remove("PILLARBOX_SPOOL");
    command.output().expect("the binary runs")
}

fn spool(at: &Path) -> String {
    let spool = at.join("spool").display().to_string();
    assert!(pillarbox(&["init", "--spool", &spool]).status.success());
    spool
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Name, size and time of last change of everything in it.
fn picture(of: &str) -> Vec<String> {
    let mut folders = vec![Path::new(of).to_owned()];
    let mut all = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let stat = entry.metadata().unwrap();
            all.push(format!("{} {} {:?}", entry.path().display(), stat.len(), stat.modified().unwrap()));
            if stat.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    all.sort();
    all
}

#[test]
fn a_closed_port_is_named_with_its_cure_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(dir.path());
    let before = picture(&spool);
    let arguments = ["check", "--spool", &spool, "--smarthost", "smtp://127.0.0.1:1"];
    let output = pillarbox(&arguments);
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    assert!(text(&output).contains("cause: port-closed\n"), "{}", text(&output));
    assert!(text(&output).contains("hint: check the port in url"), "{}", text(&output));
    let output = pillarbox(&[&arguments[..], &["--json"]].concat());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false);
    let steps = report["steps"].as_array().unwrap();
    let failed: Vec<_> = steps.iter().filter(|step| step["result"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{report}");
    assert_eq!((&failed[0]["step"], &failed[0]["cause"]), (&"port".into(), &"port-closed".into()));
    assert!(failed[0]["ms"].is_u64() && failed[0]["evidence"].is_string() && failed[0]["hint"].is_string());
    assert_eq!(picture(&spool), before);
}

#[test]
fn fix_prints_commands_that_mend_and_runs_none() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(dir.path());
    let pending = Path::new(&spool).join("pending");
    fs::set_permissions(&pending, fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_dir(Path::new(&spool).join("sent")).unwrap();
    let fixed = || text(&pillarbox(&["check", "--fix", "--spool", &spool]));
    let mut printed = fixed();
    assert!(printed.starts_with("install -d -m 0700 ") && printed.contains("/sent"), "{printed}");
    assert_eq!(fs::metadata(&pending).unwrap().permissions().mode() & 0o777, 0o755);
    // One thing may hide another: the first is mended, then the next is told.
    for _ in 0..2 {
        assert!(Command::new("sh").args(["-c", &printed]).status().unwrap().success(), "{printed}");
        printed = fixed();
    }
    assert_eq!(printed, "");
    assert_eq!(fs::metadata(&pending).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_server_that_takes_it_is_asked_up_to_the_recipient_and_sent_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(dir.path());
    let server = Server::start();
    let url = format!("smtp://127.0.0.1:{}", server.port());
    let asked = ["check", "--spool", &spool, "--smarthost", &url, "--from", "a@x.org", "--to", "b@x.org"];
    let output = pillarbox(&asked);
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    for line in ["<a@x.org> is taken", "<b@x.org> is taken", "works; `pillarbox test"] {
        assert!(shown.contains(line), "{shown}");
    }
    assert_eq!((server.count("RCPT TO:<b@x.org>"), server.count("DATA"), server.count("QUIT")), (1, 0, 1));
    assert!(server.arrivals().is_empty());
}
