//! `import`: queues as the real programs write them.
//!
//! The files of nullmailer are those of nullmailer-inject and nullmailer-queue 2.2 of Debian 12, run on an empty
//! /var/spool/nullmailer; those of msmtpq are made by hand after what the script of msmtp 1.8.23 of Debian 12 left, run with an
//! msmtp that ends with 75 and `EMAIL_CONN_TEST=x`.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::support::server::Server;
use crate::support::stage::{Stage, plain};

const INJECTED: &str = "root@defaulthost\nops@example.com\nroot@example.com\nhidden@example.com\n\n\
    Received: (nullmailer pid 27857 invoked by uid 0);\n\tMon, 23 Nov 2026 23:57:34 -0000\n\
    From: cron <cron@box.example.com>\nTo: ops@example.com, root@example.com\nSubject: first\n\
    Date: Mon, 23 Nov 2026 23:57:34 +0000\nMessage-Id: <1795478254.143290.27856.nullmailer@me>\n\nLine\n.\n..dots\n";
const QUEUED: &str = "a@example.com\nb@example.com\nc@example.com\n\n\
    Received: (nullmailer pid 27860 invoked by uid 0);\n\tMon, 23 Nov 2026 23:57:35 -0000\n\
    Subject: second\n\nbody\n";
const NULL: &str = "\nb@example.com\n\nReceived: (nullmailer pid 27862 invoked by uid 0);\n\
    \tMon, 23 Nov 2026 23:57:35 -0000\nSubject: third null sender\n\nbody\n";

/// A queue of nullmailer with these three.
pub(crate) fn nullmailer(stage: &Stage) -> PathBuf {
    let dir = stage.dir().join("nullmailer");
    fs::create_dir_all(dir.join("queue")).unwrap();
    fs::create_dir_all(dir.join("failed")).unwrap();
    // In another order than that of their names.
    for (name, text) in
        [("1795478255.27860", QUEUED), ("1795478254.27857", INJECTED), ("1795478255.27862", NULL)]
    {
        fs::write(dir.join("queue").join(name), text).unwrap();
        stage.next_tick();
    }
    dir
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn import(stage: &Stage, system: &str, dir: &Path, code: i32) -> (String, String) {
    let ran = stage.pillarbox(&["import", system, &dir.display().to_string()]);
    assert_eq!(ran.code, code, "{ran:?}");
    (ran.stdout, ran.stderr)
}

#[test]
fn a_queue_of_nullmailer_arrives_in_its_order_with_envelope_and_bytes() {
    for served in [false, true] {
        let server = Server::start();
        let stage = Stage::new(&plain(server.port()), "received = false");
        let service = served.then(|| stage.run());
        let dir = nullmailer(&stage);
        let (said, _) = import(&stage, "nullmailer", &dir, 0);
        assert!(said.ends_with("imported 3, left 0\n"), "{said}");
        assert_eq!(
            names(&dir.join("queue")),
            [".1795478254.27857.imported", ".1795478255.27860.imported", ".1795478255.27862.imported"]
        );
        // Nothing is left to be taken a second time.
        assert_eq!(import(&stage, "nullmailer", &dir.join("queue"), 0).0, "imported 0, left 0\n");
        stage.pillarbox(&["flush", "--strict"]);
        server.wait_taken(3);
        let taken = server.taken();
        assert_eq!(server.subjects(), ["first", "second", "third null sender"]);
        let envelopes: Vec<(&str, usize)> =
            taken.iter().map(|a| (a.reverse_path.as_str(), a.forward_paths.len())).collect();
        assert_eq!(envelopes, [("root@defaulthost", 3), ("a@example.com", 2), ("", 1)]);
        assert_eq!(taken[0].forward_paths[2], "hidden@example.com");
        let sent = String::from_utf8(taken[0].bytes.clone()).unwrap();
        let message = INJECTED.split_once("\n\n").unwrap().1.replace('\n', "\r\n");
        assert_eq!(sent, message);
        drop(service);
    }
}

#[test]
fn what_is_no_message_of_nullmailer_is_told_and_left_and_the_next_one_goes() {
    let stage = Stage::new("", "");
    let dir = nullmailer(&stage);
    let bad = [
        ("1795478254.1", "a@example.com\n", "it is cut off"),
        ("1795478254.2", "a@example.com\n\nSubject: x\n\nx\n", "expected a recipient in its second line"),
        ("1795478254.3", "a b\nc@example.com\n\nSubject: x\n\nx\n", "expected an address, found \"a b\""),
        ("1795478254.4", "a@example.com\nb@example.com\n\n", "expected a message behind the recipients"),
        ("1795478254.5", "a@example.com\nb@example.com\n\nSubject: x\n\n\0\n", "found a NUL octet"),
    ];
    for (name, text, _) in bad {
        fs::write(dir.join("queue").join(name), text).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", dir.join("queue/1795478254.6")).unwrap();
    fs::write(dir.join("failed/1795478000.1"), QUEUED).unwrap();
    let (said, errors) = import(&stage, "nullmailer", &dir, 65);
    assert!(said.ends_with("imported 3, left 6\n"), "{said}");
    for (name, text, why) in bad {
        let line = errors.lines().find(|line| line.contains(&format!("{name} was left: "))).unwrap();
        assert!(line.contains(why), "{line}");
        assert_eq!(fs::read_to_string(dir.join("queue").join(name)).unwrap(), text);
    }
    assert!(errors.contains("1795478254.6 was left: it cannot be opened"), "{errors}");
    assert!(errors.contains("1 in ") && errors.contains("were given up by nullmailer"), "{errors}");
    assert_eq!(stage.list().len(), 3);
}

#[test]
fn a_nullmailer_that_runs_keeps_its_queue() {
    let stage = Stage::new("", "");
    let dir = nullmailer(&stage);
    let trigger = dir.join("trigger");
    rustix::fs::mkfifoat(rustix::fs::CWD, &trigger, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    // As nullmailer-send holds it.
    let reader = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&trigger).unwrap();
    let (_, errors) = import(&stage, "nullmailer", &dir, 75);
    assert!(errors.contains("nullmailer-send is running") && errors.contains("hint: systemctl"), "{errors}");
    assert!(stage.list().is_empty());
    drop(reader);
    // A process that another test is just starting may hold it for a moment more.
    let mut ran = stage.pillarbox(&["import", "nullmailer", &dir.display().to_string()]);
    for _ in 0..100 {
        if ran.code != 75 {
            break;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
        ran = stage.pillarbox(&["import", "nullmailer", &dir.display().to_string()]);
    }
    assert!(ran.code == 0 && ran.stdout.ends_with("imported 3, left 0\n"), "{ran:?}");
}

#[test]
fn a_queue_of_msmtpq_arrives_in_its_order_with_the_envelope_of_its_command_lines() {
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    let dir = stage.dir().join("msmtp.queue");
    fs::create_dir(&dir).unwrap();
    let mail = |subject: &str| {
        format!(
            "From: a@example.com\nTo: ops@example.com\nBcc: x@example.com\nSubject: {subject}\n\n.\nbody\n"
        )
    };
    let queue = [
        ("2026-11-23-23.57.35-10", "-t -a work\n"),
        ("2026-11-23-23.57.35-2", "-f other@example.com -t\n"),
        ("2026-11-23-23.57.35", "-oi -f a@example.com -- ops@example.com b@example.com\n"),
        ("2026-11-23-23.57.35-1", "-i c@example.com\n"),
        ("2026-11-22-09.00.00", "-f <> root@example.com\n"),
        ("2026-11-24-00.00.00", "--frobnicate -Y\n"),
        ("2026-11-24-00.00.01", ""),
    ];
    for (name, command) in queue {
        fs::write(dir.join(format!("{name}.mail")), mail(name)).unwrap();
        fs::write(dir.join(format!("{name}.msmtp")), command).unwrap();
        // Written within one tick, as far as anybody can tell.
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_795_478_255);
        fs::File::options()
            .write(true)
            .open(dir.join(format!("{name}.mail")))
            .unwrap()
            .set_modified(time)
            .unwrap();
    }
    fs::write(dir.join("2026-11-25-00.00.00.mail"), mail("alone")).unwrap();
    fs::write(dir.join("2026-11-25-00.00.01.msmtp"), "-t\n").unwrap();
    let (said, errors) = import(&stage, "msmtpq", &dir, 65);
    assert!(said.ends_with("imported 5, left 4\n"), "{said}{errors}");
    for words in [
        "2026-11-24-00.00.00.mail was left: its .msmtp: expected options of msmtp, found \"-Y\"",
        "2026-11-24-00.00.01.mail was left: its .msmtp: expected recipients, or -t, found neither",
        "2026-11-25-00.00.00.mail was left: its .msmtp: there is none",
        "2026-11-25-00.00.01.msmtp was left: there is no message beside it",
    ] {
        assert!(errors.contains(words), "{words}: {errors}");
    }
    assert_eq!(names(&dir).iter().filter(|name| name.ends_with(".imported")).count(), 10);
    stage.pillarbox(&["flush", "--strict"]);
    server.wait_taken(5);
    let order = [
        "2026-11-22-09.00.00",
        "2026-11-23-23.57.35",
        "2026-11-23-23.57.35-1",
        "2026-11-23-23.57.35-2",
        "2026-11-23-23.57.35-10",
    ];
    assert_eq!(server.subjects(), order);
    let envelope =
        |n: usize| (server.taken()[n].reverse_path.clone(), server.taken()[n].forward_paths.join(" "));
    let rows = [
        ("", "root@example.com"),
        ("a@example.com", "ops@example.com b@example.com"),
        ("a@example.com", "c@example.com"),
        ("other@example.com", "ops@example.com x@example.com"),
        ("a@example.com", "ops@example.com x@example.com"),
    ];
    for (n, (from, to)) in rows.into_iter().enumerate() {
        assert_eq!(envelope(n), (from.to_owned(), to.to_owned()), "{}", order[n]);
    }
}

#[test]
fn the_lock_of_msmtpq_is_respected_and_given_back() {
    let stage = Stage::new("", "");
    let dir = stage.dir().join("msmtp.queue");
    fs::create_dir_all(dir.join(".lock")).unwrap();
    let (_, errors) = import(&stage, "msmtpq", &dir, 75);
    assert!(errors.contains("msmtpq is at work") && errors.contains("rmdir "), "{errors}");
    fs::remove_dir(dir.join(".lock")).unwrap();
    assert_eq!(import(&stage, "msmtpq", &dir, 0).0, "imported 0, left 0\n");
    assert!(names(&dir).is_empty());
    let (_, errors) = import(&stage, "msmtpq", &stage.dir().join("nowhere"), 66);
    assert!(errors.contains("there is no "), "{errors}");
}
