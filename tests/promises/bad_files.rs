//! N7: no producer can stall, crash or escape the spool.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::server::Server;
use crate::support::stage::{Stage, alarms, letter, plain, until};

const TO: &[&str] = &["ops@example.com"];

#[test]
fn n7_no_bad_file_stalls_the_good_ones() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    // A directory is heard of by a rescan alone.
    stage.set("rescan", "\"300ms\"");
    let service = stage.run();
    let pickup = stage.pickup();
    let outside = stage.dir().join("outside");
    fs::write(&outside, letter(99, TO)).unwrap();

    stage.drop_letters([1]);
    fs::write(pickup.join("empty.eml"), "").unwrap();
    fs::create_dir(pickup.join("directory.eml")).unwrap();
    fs::write(pickup.join("directory.eml/inside.eml"), letter(98, TO)).unwrap();
    mknodat(CWD, pickup.join("fifo.eml"), FileType::Fifo, Mode::from(0o666), 0).unwrap();
    let _socket = UnixListener::bind(pickup.join("socket.eml")).unwrap();
    symlink(&outside, pickup.join("link.eml")).unwrap();
    symlink("nowhere", pickup.join("dangling.eml")).unwrap();
    stage.drop_letters([2]);
    fs::write(pickup.join("linked.eml"), letter(97, TO)).unwrap();
    fs::hard_link(pickup.join("linked.eml"), stage.dir().join("its other name")).unwrap();
    let open = fs::File::create_new(pickup.join("open.eml")).unwrap();
    fs::write(pickup.join("open.eml"), letter(96, TO)).unwrap();
    stage.drop_letters([3]);

    // A file that keeps another name is copied, and the other name is left alone.
    server.wait_taken(4);
    // What lies there is told by status, each with its reason.
    let left = |status: &serde_json::Value| -> Vec<String> {
        let left = status["left_in_pickup"].as_array().unwrap();
        left.iter().map(|l| format!("{}: {}", l["file"], l["reason"]).replace('"', "")).collect()
    };
    assert_eq!(
        left(&stage.status()),
        [
            "dangling.eml: not a regular file",
            "directory.eml: not a regular file",
            "empty.eml: empty",
            "fifo.eml: not a regular file",
            "link.eml: not a regular file",
            "open.eml: a program has it open for writing",
            "socket.eml: not a regular file",
        ]
    );
    // And by the log: at once what can never be a message, after a while what may still become one.
    for (name, reason) in [
        ("dangling.eml", "it is a symbolic link"),
        ("directory.eml", "it is a directory"),
        ("fifo.eml", "it is not a regular file"),
        ("link.eml", "it is a symbolic link"),
        ("socket.eml", "it is not a regular file"),
        ("empty.eml", "it is empty"),
    ] {
        service.wait_log(&format!("WARN drop-left file={name} reason={reason} hint="));
    }
    // The service still works, and what its producer finishes is taken, not before.
    assert!(stage.pickup().join("open.eml").exists(), "taken while a program has it open for writing");
    drop(open);
    stage.drop_letters([4]);
    server.wait_taken(6);
    assert_eq!(fs::read_to_string(stage.dir().join("its other name")).unwrap(), letter(97, TO));
    let mut subjects = server.subjects();
    subjects.sort();
    assert_eq!(subjects, alarms([1, 2, 3, 4, 96, 97]));
    assert_eq!(fs::read_to_string(outside).unwrap(), letter(99, TO), "a link was followed");
    assert!(stage.names("failed").is_empty());
    assert_eq!(service.stop(), 0);
}

#[test]
fn n7_a_message_that_can_never_be_sent_is_set_aside_with_its_reason() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    let bad: [(&str, &[u8], &str); 6] = [
        ("nul.eml", b"To: ops@example.com\n\na\0b\n", "NUL"),
        ("no-header.eml", b"\nTo: ops@example.com\n\nbody\n", "header"),
        ("no-recipient.eml", b"From: a@example.com\nSubject: x\n\nbody\n", "recipient"),
        ("unreadable.eml", b"From: a@example.com\nTo: <ops@@example.com>\n\nbody\n", "line 2"),
        (
            "x-receiver.eml",
            b"From: a@example.com\nX-Receiver: b@example.com\nTo: ops@example.com\n\nx\n",
            "line 2",
        ),
        ("garbage.eml", b"\x89PNG\r\n\x1a\n\xff\xff\xff", "header"),
    ];
    for (number, (name, bytes, _)) in bad.iter().enumerate() {
        stage.drop_in(name, bytes);
        service.wait_log_times("ERROR refused", number + 1);
    }
    assert_eq!(server.sessions(), 0, "a session for nothing");
    stage.drop_letters(0..bad.len());
    server.wait_taken(bad.len());
    assert_eq!(server.subjects(), alarms(0..bad.len()));
    until("a report for each", || stage.names("failed").len() == 2 * bad.len());
    let failed = stage.names("failed");
    for (name, bytes, reason) in bad {
        let label = name.strip_suffix(".eml").unwrap();
        let of = |ending: &str| failed.iter().find(|f| f.ends_with(&format!("_{label}{ending}"))).unwrap();
        let report = stage.read("failed", of(".txt"));
        assert!(report.contains(reason), "{name}: {report}");
        assert_eq!(fs::read(stage.spool().join("failed").join(of(".eml"))).unwrap(), bytes, "{name}");
        // Beside where it was dropped, for its producer.
        until("the producer's copy", || stage.pickup().join(format!("{name}.rejected.txt")).exists());
        let told = stage.read("pickup", &format!("{name}.rejected.txt"));
        assert!(told.contains(reason) && told.contains(of(".eml").as_str()), "{name}: {told}");
        service.wait_log(&format!("ERROR refused file=\"{label}\" reason="));
    }
    // None of it was even begun.
    assert_eq!(server.count("MAIL"), bad.len());
    assert_eq!(service.stop(), 0);
}

#[test]
fn n7_a_name_of_any_bytes_is_taken_and_cannot_forge_the_log() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    stage.set("rescan", "\"300ms\"");
    stage.set("keep_open", "\"60s\"");
    let service = stage.run();
    let long = "x".repeat(255);
    let names: [&[u8]; 7] = [
        b"new\nline 2026-01-01 INFO delivered.eml",
        b"\xff\xfe not UTF-8.eml",
        b"\x1b[31mred.eml",
        b"..eml..eml",
        long.as_bytes(),
        b"-rf",
        "Tür.eml".as_bytes(),
    ];
    // One with a name of 255 bytes that is refused: the note to its producer finds no room for its name.
    stage.drop_in(format!("{}.eml", "y".repeat(251)), "no header");
    service.wait_log("WARN producer-not-told");
    service.wait_log("ERROR refused");
    for (number, name) in names.iter().enumerate() {
        stage.drop_in(OsStr::from_bytes(name), letter(number, TO));
        stage.next_tick();
    }
    // What is left is told of, and tells nothing of its own.
    let forged = OsStr::from_bytes(b"d\n2026-01-01T00:00:00Z  INFO \x1b[31m\xff.eml");
    fs::create_dir(stage.pickup().join(forged)).unwrap();
    service.wait_log("WARN drop-left reason=it is a directory");
    let status = stage.pillarbox(&["status"]);
    assert!(status.stdout.contains("31m\u{fffd}.eml: not taken: not a regular file"), "{status:?}");
    assert!(!status.stdout.contains('\x1b') && !status.stdout.contains("\n2026"), "{status:?}");
    // "..eml..eml" starts with a dot: left alone.
    server.wait_taken(names.len() - 1);
    stage.drop_letters([100]);
    server.wait_taken(names.len());
    assert_eq!(server.subjects(), alarms([0, 1, 2, 4, 5, 6, 100]));
    assert_eq!(stage.names("pickup").len(), 2);
    assert_eq!(stage.names("failed").len(), 2);
    let log = service.log();
    assert!(log.lines().all(|line| line.starts_with('2') && line.contains('Z')), "{log}");
    assert!(!log.contains('\x1b'), "{log}");
    assert_eq!(service.stop(), 0);
}

#[test]
fn n7_what_matches_no_pattern_stays_and_is_spoken_of_once() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    let service = stage.run();
    stage.drop_in("photo.jpg", letter(1, TO));
    stage.drop_letters([2]);
    server.wait_taken(1);
    let status = stage.pillarbox(&["status"]);
    assert!(status.stdout.contains("photo.jpg: not taken: its name matches no pattern"), "{status:?}");
    service.wait_log("WARN drop-ignored file=photo.jpg patterns=\"*.eml !*.*\" hint=");
    assert_eq!(service.log().matches("drop-ignored").count(), 1);
    assert_eq!(stage.names("pickup"), ["photo.jpg"]);
    assert_eq!(server.subjects(), alarms([2]));
}

#[test]
fn n7_pickup_may_be_taken_away_and_come_back() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    stage.set("rescan", "\"300ms\"");
    let service = stage.run();
    fs::remove_dir(stage.pickup()).unwrap();
    service.wait_log("WARN pickup-unreadable");
    fs::create_dir(stage.pickup()).unwrap();
    stage.drop_letters([1]);
    server.wait_taken(1);
    // Another directory in its place, with something in it already.
    fs::create_dir(stage.dir().join("other")).unwrap();
    fs::write(stage.dir().join("other/2.eml"), letter(2, TO)).unwrap();
    fs::rename(stage.dir().join("other"), stage.pickup()).unwrap();
    server.wait_taken(2);
    stage.drop_letters([3]);
    server.wait_taken(3);
    assert_eq!(server.subjects(), alarms(1..=3));
    assert_eq!(service.stop(), 0);
}
