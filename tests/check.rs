//! `check` and `test`, beside a service and without one, on the loopback: what they find and say, and that `check` changes nothing.
//! Every cause, produced for real, is in tests/check/causes.py.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "these tests are a user with an editor")]

#[expect(dead_code, reason = "promises.rs uses the rest")]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use support::certificate::certificate;
use support::server::{Answer, Options, Server, say};
use support::stage::{Ran, Stage, plain};

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

const SENDER: &str = "box@example.com";
const PASSWORD: &str = "open sesame";

/// A smarthost in plain, and who sends.
fn stage(port: u16) -> Stage {
    let stage = Stage::new(&plain(port), "");
    stage.set("hostname", &format!("\"box.example.com\"\nfrom = \"{SENDER}\""));
    stage
}

fn ran(stage: &Stage, arguments: &[&str]) -> Ran {
    let config = stage.config().display().to_string();
    stage.pillarbox(&[arguments, &["--config", &config]].concat())
}

#[test]
fn check_works_beside_a_service_which_does_not_notice() {
    let server = Server::start();
    let stage = stage(server.port());
    let service = stage.run();
    let before = picture(&stage.spool().display().to_string());
    let checked = ran(&stage, &["check"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert_eq!(picture(&stage.spool().display().to_string()), before);
    stage.drop_letters([1]);
    server.wait_taken(1);
    assert_eq!(service.stop(), 0);
}

#[test]
fn test_drops_as_a_producer_does_and_follows_it_to_its_delivery() {
    let server = Server::start();
    let stage = stage(server.port());
    let service = stage.run();
    // Its file is gone from the spool before anybody could look for it there.
    for number in 1..=5 {
        let tested = ran(&stage, &["test", "--to", "ops@example.com"]);
        assert_eq!(tested.code, 0, "{tested:?}");
        for words in ["dropped    ", "accepted   ", "the first hop took it: to ops@example.com: 250"] {
            assert!(tested.stdout.contains(words), "{tested:?}");
        }
        assert!(
            tested.stdout.contains("whether it reaches the mailbox cannot be seen from here"),
            "{tested:?}"
        );
        assert_eq!(server.taken().len(), number);
    }
    let as_json = ran(&stage, &["test", "--json", "--to", "ops@example.com"]);
    let became: serde_json::Value = serde_json::from_str(&as_json.stdout).unwrap();
    assert_eq!((as_json.code, &became["state"]), (0, &"delivered".into()), "{as_json:?}");
    let arrival = &server.taken()[0];
    assert_eq!(
        (arrival.reverse_path.as_str(), &arrival.forward_paths[..]),
        (SENDER, &["ops@example.com".to_owned()][..])
    );
    assert_eq!(arrival.subject(), "test by pillarbox on box.example.com");
    assert_eq!(service.stop(), 0);
}

#[test]
fn test_says_what_holds_it_up_and_what_refused_it() {
    let server = Server::scripted(|asked| match asked.line.starts_with("RCPT TO:<no@") {
        true => say("550 5.1.1 no such user"),
        false => Answer::Usual,
    });
    let stage = stage(server.port());
    let without = ran(&stage, &["test", "--to", "ops@example.com"]);
    assert_eq!((without.code, without.stdout.as_str()), (75, ""), "{without:?}");
    assert!(without.stderr.contains("no service runs") && without.stderr.contains("--direct"), "{without:?}");
    assert!(stage.is_empty());
    let service = stage.run();
    let refused = ran(&stage, &["test", "--to", "no@example.com"]);
    assert_eq!(refused.code, 69, "{refused:?}");
    assert!(refused.stderr.contains("550 5.1.1 no such user"), "{refused:?}");
    stage.pillarbox(&["pause"]);
    let waits = ran(&stage, &["test", "--to", "ops@example.com", "--wait", "1s"]);
    assert_eq!(waits.code, 75, "{waits:?}");
    assert!(waits.stdout.contains("sending is paused"), "{waits:?}");
    assert_eq!(service.stop(), 0);
}

#[test]
fn direct_shows_the_dialogue_without_the_secret_and_leaves_the_spool_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (ca_file, config) = certificate(dir.path(), "localhost");
    for (offers, word) in [("AUTH PLAIN", "AUTH PLAIN ****"), ("AUTH LOGIN", "AUTH LOGIN")] {
        let login = Some((SENDER, PASSWORD));
        let options = Options { tls: Some(config.clone()), implicit_tls: true, offers: vec![offers], login };
        let server = Server::with(options, |_| Answer::Usual);
        let stage = Stage::new(
            &format!(
                "[[smarthost]]\nurl = \"smtps://localhost:{}\"\nca_file = {ca_file:?}\nuser = {SENDER:?}\npassword = {PASSWORD:?}\n",
                server.port()
            ),
            "",
        );
        let before = picture(&stage.spool().display().to_string());
        let sent = ran(&stage, &["test", "--direct", "--to", "ops@example.com", "--from", SENDER]);
        assert_eq!(sent.code, 0, "{sent:?}");
        for line in
            [&format!("> {word}"), "< 354", "> MAIL FROM:<box@example.com>", "the first hop took it: 250"]
        {
            assert!(sent.stdout.contains(line), "no {line} in {sent:?}");
        }
        let encoded = [PASSWORD.to_owned(), base64(PASSWORD), base64(&format!("\0{SENDER}\0{PASSWORD}"))];
        assert!(!encoded.iter().any(|secret| sent.stdout.contains(secret.as_str())), "{sent:?}");
        assert_eq!(server.taken().len(), 1);
        assert_eq!(picture(&stage.spool().display().to_string()), before);
    }
}

#[test]
fn direct_says_why_it_was_not_sent() {
    let server = Server::scripted(|asked| match (asked.line, asked.content.is_empty()) {
        (line, _) if line.starts_with("RCPT TO:<no@") => say("550 5.1.1 no such user"),
        (".", _) => say("554 5.7.1 we do not like it"),
        _ => Answer::Usual,
    });
    let stage = stage(server.port());
    let refused = ran(&stage, &["test", "--direct", "--to", "no@example.com"]);
    assert_eq!(refused.code, 78, "{refused:?}");
    let as_json = ran(&stage, &["test", "--direct", "--json", "--to", "no@example.com"]);
    let report: serde_json::Value = serde_json::from_str(&as_json.stdout).unwrap();
    assert_eq!((as_json.code, &report["taken"]), (78, &false.into()), "{as_json:?}");
    assert!(report["dialogue"].to_string().contains("550 5.1.1 no such user"), "{as_json:?}");
    assert!(refused.stderr.contains("recipient-refused") && refused.stderr.contains("hint: "), "{refused:?}");
    let disliked = ran(&stage, &["test", "--direct", "--to", "ops@example.com"]);
    assert_eq!(disliked.code, 69, "{disliked:?}");
    assert!(disliked.stderr.contains("554 5.7.1 we do not like it"), "{disliked:?}");
}

fn base64(text: &str) -> String {
    use ::base64::Engine as _;
    ::base64::prelude::BASE64_STANDARD.encode(text)
}
