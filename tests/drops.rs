//! Folders besides pickup/ with the real binary: every dialect with a file as such a producer writes it (tests/dialects/), another
//! filesystem, folders that come late or go, and what producers are told.
//!
//! /dev/shm is the other filesystem; where it is none, that is skipped, and says so.

#![expect(clippy::disallowed_methods, reason = "these tests are a producer")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests use the rest")]
mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::server::{Arrival, Server, say};
use support::stage::{Stage, letter, plain, until};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dialects");

/// A stage with `sections` behind the usual configuration.
fn stage(server: &Server, sections: &str) -> Stage {
    let stage = Stage::new(&plain(server.port()), "");
    add(&stage, sections);
    stage
}

fn add(stage: &Stage, sections: &str) {
    let text = fs::read_to_string(stage.config()).unwrap();
    fs::write(stage.config(), text + sections).unwrap();
}

/// A directory beside the spool, and its section.
fn folder(stage: &Stage, name: &str, settings: &str) -> PathBuf {
    let dir = stage.dir().join(name);
    fs::create_dir(&dir).unwrap();
    add(stage, &format!("[folder.{name}]\ndir = {dir:?}\nsettle = \"50ms\"\n{settings}\n"));
    dir
}

/// Drops by a rename within the filesystem of `dir`.
fn drop_in(dir: &Path, name: &str, bytes: &[u8]) {
    let hidden = dir.join(".being written");
    fs::write(&hidden, bytes).unwrap();
    fs::rename(hidden, dir.join(name)).unwrap();
}

fn sample(name: &str) -> Vec<u8> {
    fs::read(Path::new(SAMPLES).join(name)).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn body(arrival: &Arrival) -> String {
    let text = String::from_utf8(arrival.bytes.clone()).unwrap();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn envelope(arrival: &Arrival) -> String {
    format!("{} > {}", arrival.reverse_path, arrival.forward_paths.join(" "))
}

#[test]
fn each_dialect_arrives_as_its_producer_meant_it() {
    let server = Server::start();
    let stage = stage(&server, "");
    let rows = [
        (
            "dotnet",
            "dotnet.eml",
            "panel@example.com > ops@example.com boss@example.com",
            "T=C3=BCr 3 ist offen.\r\n.\r\n\r\n\r\n",
        ),
        ("iis", "iis", "panel@example.com > ops@example.com", ".\r\n..net is not installed\r\nend\r\n"),
        (
            "exchange-pickup",
            "exchange-pickup.eml",
            "panel@example.com > ops@example.com boss@example.com auditor@example.com",
            "<p>Zone 3 is open.</p>\r\n",
        ),
        (
            "exchange-replay",
            "exchange-replay.eml",
            "panel@example.com > ops@example.com",
            "Zone 4 is open.\r\n",
        ),
    ];
    let dirs: Vec<PathBuf> =
        rows.iter().map(|(dialect, ..)| folder(&stage, dialect, &format!("dialect = {dialect:?}"))).collect();
    let service = stage.run();
    for ((dialect, file, want, text), dir) in rows.iter().zip(&dirs) {
        let before = server.taken().len();
        drop_in(dir, file, &sample(file));
        server.wait_taken(before + 1);
        let arrival = server.taken().pop().unwrap();
        assert_eq!(envelope(&arrival), *want, "{dialect}");
        assert_eq!(body(&arrival), *text, "{dialect}");
        let head = String::from_utf8(arrival.bytes.clone()).unwrap().to_ascii_lowercase();
        for ours in ["x-sender", "x-receiver", "x-createdby", "x-endofinjected", "bcc:"] {
            assert!(!head.contains(ours), "{dialect}: {ours}\n{head}");
        }
        assert!(names(dir).is_empty(), "{dialect}");
    }
    // Mono's SmtpClient writes no block at the top, and its dots as they are.
    drop_in(&dirs[0], "mono.eml", &sample("mono.eml"));
    server.wait_taken(rows.len() + 1);
    let arrival = server.taken().pop().unwrap();
    assert_eq!(envelope(&arrival), "panel@example.com > ops@example.com");
    assert_eq!(body(&arrival), ".one dot\r\n..two dots\r\n.\r\nend\r\n");
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
}

#[test]
fn what_is_delivered_to_a_maildir_is_sent_and_the_rest_of_it_is_not_touched() {
    let server = Server::start();
    let stage = stage(&server, "");
    let dir = folder(&stage, "box", "dialect = \"maildir\"");
    let python = "import mailbox, sys\n\
                  box = mailbox.Maildir(sys.argv[1], create=True)\n\
                  box.add('From: a@example.com\\nTo: b@example.com\\nSubject: from a Maildir\\n\\nbody\\n')\n";
    for sub in ["cur", "new", "tmp"] {
        fs::create_dir(dir.join(sub)).unwrap();
    }
    let message = letter(7, &["never@example.com"]);
    fs::write(dir.join("cur/1.M1P1.box:2,S"), &message).unwrap();
    fs::write(dir.join("tmp/2.M1P1.box"), &message).unwrap();
    let service = stage.run();
    let ran = Command::new("python3").args(["-c", python]).arg(&dir).status();
    if !ran.is_ok_and(|status| status.success()) {
        println!("SKIPPED: no python3 here delivers to a Maildir; a file is renamed into it instead");
        fs::write(
            dir.join("tmp/3.M1P1.box"),
            "From: a@example.com\nTo: b@example.com\nSubject: from a Maildir\n\nbody\n",
        )
        .unwrap();
        fs::rename(dir.join("tmp/3.M1P1.box"), dir.join("new/3.M1P1.box")).unwrap();
    }
    server.wait_taken(1);
    let arrival = server.taken().pop().unwrap();
    assert_eq!((arrival.subject().as_str(), body(&arrival).as_str()), ("from a Maildir", "body\r\n"));
    assert!(names(&dir.join("new")).is_empty());
    assert_eq!((names(&dir.join("cur")).len(), names(&dir.join("tmp")).len()), (1, 1));
    assert_eq!(service.stop(), 0);
}

#[test]
fn any_text_that_is_dropped_where_the_recipient_is_fixed_is_a_mail() {
    let server = Server::start();
    let stage = stage(&server, "");
    let dir = folder(
        &stage,
        "texts",
        "dialect = \"text\"\nto = [\"ops@example.com\", \"boss@example.com\"]\nfrom = \"panel@example.com\"",
    );
    let fixed = folder(&stage, "fixed", "to = \"ops@example.com\"");
    let service = stage.run();
    drop_in(&dir, "Zone 5 öffnet.txt", &sample("text.txt"));
    server.wait_taken(1);
    let arrival = server.taken().pop().unwrap();
    assert_eq!(envelope(&arrival), "panel@example.com > ops@example.com boss@example.com");
    assert_eq!(
        body(&arrival).as_bytes(),
        String::from_utf8(sample("text.txt")).unwrap().replace('\n', "\r\n").as_bytes()
    );
    let field = |name: &str| arrival.field(name).unwrap();
    assert_eq!(field("Content-Type"), "text/plain; charset=utf-8");
    assert_eq!(field("From"), "panel@example.com");
    assert_eq!(field("Subject"), "Zone 5 =?utf-8?q?=C3=B6ffnet?=");
    // Rubbish is no text, and its producer is told.
    drop_in(&dir, "core", b"\x7fELF\0\0\0");
    until("a word to the producer", || names(&dir) == ["core.rejected.txt"]);
    // Whatever a message says, it goes to those of its folder.
    drop_in(&fixed, "1.eml", letter(1, &["somebody@example.com"]).as_bytes());
    server.wait_taken(2);
    assert_eq!(envelope(&server.taken()[1]), "panel@example.com > ops@example.com");
    assert_eq!(service.stop(), 0);
}

/// A directory on another filesystem than the stage.
fn elsewhere(stage: &Stage) -> Option<tempfile::TempDir> {
    let there = tempfile::Builder::new().prefix("pillarbox-test-").tempdir_in("/dev/shm");
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    let there = there.ok().filter(|there| device(there.path()) != device(stage.dir()));
    if there.is_none() {
        println!("SKIPPED: /dev/shm is no other filesystem here");
    }
    there
}

#[test]
fn a_folder_on_another_filesystem_is_emptied_in_order_and_each_file_sent_once() {
    let server = Server::start();
    let stage = stage(&server, "");
    let Some(there) = elsewhere(&stage) else { return };
    let dir = there.path();
    add(&stage, &format!("[folder.there]\ndir = {dir:?}\nsettle = \"50ms\"\n"));
    let subjects: Vec<String> = (1..=5).map(|number| format!("alarm {number}")).collect();
    // Before anybody looks, for a flush, and under the service.
    for number in 1..=2 {
        drop_in(dir, &format!("{number}.eml"), letter(number, &["ops@example.com"]).as_bytes());
    }
    let flush = stage.pillarbox(&["flush", "--strict"]);
    assert_eq!((flush.code, server.subjects()), (0, subjects[..2].to_vec()), "{flush:?}");
    let service = stage.run();
    for number in 3..=5 {
        drop_in(dir, &format!("{number}.eml"), letter(number, &["ops@example.com"]).as_bytes());
    }
    server.wait_taken(5);
    assert_eq!(server.subjects(), subjects);
    stage.wait_empty();
    assert_eq!(names(dir), Vec::<String>::new());
    // What is not taken is told of.
    fs::write(dir.join("note.doc"), "x").unwrap();
    let status = stage.pillarbox(&["status"]);
    assert!(status.stdout.contains("note.doc: not taken: its name matches no pattern"), "{}", status.stdout);
    assert_eq!(service.stop(), 0);
}

#[test]
fn folders_may_come_late_and_with_a_reload_and_keep_nobody() {
    let server = Server::start();
    let stage = stage(&server, "");
    let late = folder(&stage, "late", "rescan = \"100ms\"");
    fs::remove_dir(&late).unwrap();
    let service = stage.run();
    service.wait_log("WARN pickup-unreadable");
    let status = stage.pillarbox(&["status"]).stdout;
    assert!(status.contains("ATTENTION  folder.late: ") && status.contains("cannot be read"), "{status}");
    stage.drop_letters([1]);
    server.wait_taken(1);
    fs::create_dir(&late).unwrap();
    drop_in(&late, "2.eml", letter(2, &["ops@example.com"]).as_bytes());
    server.wait_taken(2);
    let new = folder(&stage, "new", "to = \"new@example.com\"");
    drop_in(&new, "3.eml", letter(3, &["ops@example.com"]).as_bytes());
    assert_eq!(stage.pillarbox(&["reload"]).code, 0);
    server.wait_taken(3);
    assert_eq!(server.taken()[2].forward_paths, ["new@example.com"]);
    // Taken out again: what is dropped there stays.
    let text = fs::read_to_string(stage.config()).unwrap();
    fs::write(stage.config(), text.split("[folder.new]").next().unwrap()).unwrap();
    assert_eq!(stage.pillarbox(&["reload"]).code, 0);
    drop_in(&new, "4.eml", letter(4, &["ops@example.com"]).as_bytes());
    drop_in(&late, "5.eml", letter(5, &["ops@example.com"]).as_bytes());
    server.wait_taken(4);
    assert_eq!((server.subjects()[3].as_str(), names(&new).len()), ("alarm 5", 1));
    assert_eq!(service.stop(), 0);
}

#[test]
fn producers_are_told_what_became_of_each_file() {
    let server = Server::scripted(|asked| match asked.line {
        "RCPT TO:<nobody@example.com>" => say("550 5.1.1 no such user"),
        _ => support::server::Answer::Usual,
    });
    let stage = stage(&server, "");
    let outcomes = stage.dir().join("outcomes");
    let dir = folder(&stage, "told", &format!("outcomes = {outcomes:?}"));
    let told = |name: &str| -> Option<serde_json::Value> {
        serde_json::from_slice(&fs::read(outcomes.join(name)).ok()?).ok()
    };
    // The directory is not there yet: the mail goes on.
    let service = stage.run();
    drop_in(&dir, "1.eml", letter(1, &["ops@example.com"]).as_bytes());
    server.wait_taken(1);
    service.wait_log("WARN outcome-not-written");
    assert_eq!(service.stop(), 0);
    fs::create_dir(&outcomes).unwrap();
    // What could not be told is told by whoever comes next.
    let service = stage.run();
    until("the outcome of the first", || told("1.eml.json").is_some());
    let first = told("1.eml.json").unwrap();
    assert_eq!((first["file"].as_str(), first["outcome"].as_str()), (Some("1.eml"), Some("delivered")));
    assert_eq!(first["recipients"][0]["address"], "ops@example.com");
    assert!(first["recipients"][0]["reply"].as_str().unwrap().starts_with("250 "), "{first}");
    drop_in(&dir, "2.eml", letter(2, &["nobody@example.com"]).as_bytes());
    until("the outcome of the second", || told("2.eml.json").is_some());
    let second = told("2.eml.json").unwrap();
    assert_eq!(second["outcome"], "failed");
    assert!(second["report"].as_str().unwrap().contains("no such user"), "{second}");
    // The same name again, and one that is refused unread.
    drop_in(&dir, "1.eml", b"no header here");
    let of_first =
        || names(&outcomes).into_iter().filter(|name| name.starts_with("1.eml.")).collect::<Vec<_>>();
    until("the second outcome of that name", || of_first().len() == 2);
    let again = of_first().into_iter().find(|name| name != "1.eml.json").unwrap();
    assert_eq!(told(&again).unwrap()["outcome"], "failed");
    assert_eq!(told("1.eml.json").unwrap(), first);
    let mode = fs::metadata(outcomes.join("1.eml.json")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o644);
    until("nothing is owed", || !stage.records().iter().any(|name| name.ends_with(".untold")));
    assert_eq!(service.stop(), 0);
}
