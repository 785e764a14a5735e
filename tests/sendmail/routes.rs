//! Where a message goes, and when sendmail says that it is stored.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::thread;

use crate::support::server::Server;
use crate::support::stage::{finish, plain, until};
use crate::{assert_stored, program, run_with, sendmail, stage};

const LETTER: &str = "From: ann@example.org\nTo: bob@example.org\nSubject: x\n\nhi\n";

#[test]
fn neither_a_dead_smarthost_nor_a_broken_configuration_is_a_reason_to_refuse() {
    let stage = stage("[[smarthost]]\nurl = \"smtp://127.0.0.1:1\"\ntls = \"none\"\n");
    assert_stored(&sendmail(&stage, &["-t"], LETTER));
    stage.configure_all(
        "[identity]\nhostname = = 5\n[[smarthost]]\nurl = \"nonsense\"\npassword = { file = \"/nowhere\" }\n",
    );
    assert_stored(&sendmail(&stage, &["-t"], LETTER));
    fs::write(stage.config(), "\0 not even TOML").unwrap();
    let mut command = program(&stage, "sendmail", &["-t"]);
    command.env("PILLARBOX_SPOOL", stage.spool());
    assert_stored(&run_with(command, LETTER));
    assert_eq!(stage.names("pickup").len(), 3);
    for name in stage.names("pickup") {
        let stat = fs::metadata(stage.pickup().join(&name)).unwrap();
        assert_eq!(stat.mode() & 0o7777, 0o640);
        assert!(stage.read("pickup", &name).ends_with(LETTER));
    }
}

#[test]
fn what_can_never_be_sent_is_stored_and_shown_to_a_person() {
    let server = Server::start();
    let stage = stage(&plain(server.port()));
    for with_service in [false, true] {
        let service = with_service.then(|| stage.run());
        // No recipient in the header, none that can be read, a NUL.
        assert_stored(&sendmail(&stage, &["-t"], "From: ann@example.org\nSubject: x\n\nhi\n"));
        assert_stored(&sendmail(&stage, &["a b c"], LETTER));
        assert_stored(&sendmail(&stage, &["-t"], &LETTER.replace("hi", "h\0i")));
        match service {
            Some(service) => {
                until("three reports", || {
                    stage.names("failed").iter().filter(|n| n.ends_with(".txt")).count() == 6
                });
                assert_eq!(service.stop(), 0);
            }
            None => assert_eq!(stage.pillarbox(&["flush"]).code, 0),
        }
    }
    let reports: String = stage
        .names("failed")
        .iter()
        .filter(|n| n.ends_with(".txt"))
        .map(|n| stage.read("failed", n))
        .collect();
    for words in ["expected a recipient in To, Cc or Bcc", "no recipient in X-Receiver", "NUL"] {
        assert_eq!(reports.matches(words).count(), 2, "{words}: {reports}");
    }
    assert!(server.taken().is_empty());
}

#[test]
fn one_whom_only_some_recipients_reach_goes_to_those() {
    let server = Server::start();
    let stage = stage(&plain(server.port()));
    assert_stored(&sendmail(&stage, &["-f", "ann@example.org", "bob@example.org", "x y z"], LETTER));
    assert_eq!(stage.pillarbox(&["flush"]).code, 0);
    assert_eq!(server.taken()[0].forward_paths, ["bob@example.org"]);
}

/// A service that takes a request and does `with` the connection.
fn impostor(stage: &crate::Stage, answer: &'static str) -> thread::JoinHandle<String> {
    let listener = UnixListener::bind(stage.spool().join("control")).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = Vec::new();
        let mut piece = [0; 4096];
        // To the end of the message.
        while !heard.ends_with(b"hi\n") {
            let read = stream.read(&mut piece).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&piece[..read]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(heard).unwrap()
    })
}

#[test]
fn what_a_service_does_not_take_is_dropped() {
    let refusals = [
        "",
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 507 Insufficient Storage\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n",
        "rubbish\r\n\r\n",
    ];
    for answer in refusals {
        let stage = stage("");
        let service = impostor(&stage, answer);
        assert_stored(&sendmail(&stage, &["-t"], LETTER));
        let heard = service.join().unwrap();
        let names = stage.names("pickup");
        assert_eq!(names.len(), 1, "{answer:?}");
        // The same bytes by both ways.
        assert!(heard.ends_with(&stage.read("pickup", &names[0])), "{answer:?}: {heard}");
    }
    // Taken, although nobody can read the answer.
    let stage = stage("");
    let service = impostor(&stage, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n?");
    assert_stored(&sendmail(&stage, &["-t"], LETTER));
    service.join().unwrap();
    assert_eq!(stage.names("pickup"), [""; 0]);
}

#[test]
fn a_long_message_goes_the_same_ways_and_leaves_nothing_behind() {
    let server = Server::start();
    let stage = stage(&plain(server.port()));
    let body = "0123456789abcdef\n".repeat(200_000);
    let long = format!("{}{body}", LETTER.trim_end_matches("hi\n"));
    assert_stored(&sendmail(&stage, &["-t"], &long));
    let service = stage.run();
    server.wait_taken(1);
    assert_stored(&sendmail(&stage, &["-t"], &long));
    assert_stored(&sendmail(&stage, &["-t"], LETTER));
    server.wait_taken(3);
    stage.wait_empty();
    assert_eq!(service.stop(), 0);
    let arrived: Vec<usize> = server.taken().iter().map(|arrival| arrival.bytes.len()).collect();
    assert_eq!(arrived[0], arrived[1]);
    assert!(arrived[0] > 200_000 * 18 && arrived[2] < 1000, "{arrived:?}");
    let text = String::from_utf8(server.taken()[1].bytes.clone()).unwrap();
    assert!(text.ends_with(&body.replace('\n', "\r\n")));
}

#[test]
fn a_message_that_cannot_be_read_to_its_end_is_not_stored() {
    let stage = stage("");
    let mut command = program(&stage, "sendmail", &["-t"]);
    // A directory: read(2) fails.
    command.stdin(fs::File::open(stage.dir()).unwrap());
    let ran = finish(command);
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(ran.stderr.starts_with("pillarbox: the message cannot be read: "), "{ran:?}");
    assert_eq!(stage.names("pickup"), [""; 0]);
}

#[test]
fn mistakes_of_the_caller_are_told() {
    let stage = stage("");
    for (arguments, words) in [(&[][..], "no recipient"), (&["-bd"], "a daemon"), (&["-q1h"], "a daemon")] {
        let ran = sendmail(&stage, arguments, LETTER);
        assert_eq!(ran.code, 64, "{ran:?}");
        assert!(ran.stderr.contains(words) && ran.stderr.contains("\nhint: "), "{ran:?}");
    }
    fs::remove_dir_all(stage.spool()).unwrap();
    let ran = sendmail(&stage, &["-t"], LETTER);
    let spool = stage.spool();
    let want =
        format!("pillarbox: there is no spool at {0}\nhint: pillarbox init --spool {0}\n", spool.display());
    assert_eq!((ran.code, ran.stderr), (75, want));
    assert_eq!(stage.pillarbox(&["init", "--spool", &spool.display().to_string()]).code, 0);
    assert_stored(&sendmail(&stage, &["-t"], LETTER));
}

#[test]
fn the_other_names_do_what_they_are_known_for() {
    let server = Server::start();
    let stage = stage(&plain(server.port()));
    let run = |name: &str, arguments: &[&str]| run_with(program(&stage, name, arguments), "");
    assert_eq!(run("mailq", &[]).stdout, "Mail queue is empty\n");
    assert_stored(&run("newaliases", &[]));
    assert_stored(&run("sendmail", &["-bi"]));
    assert_eq!(stage.pillarbox(&["pause"]).code, 0);
    assert_stored(&sendmail(&stage, &["-t"], LETTER));
    assert_eq!(run("sendmail", &["-q"]).code, 0);
    let listed = run("sendmail", &["-bp"]);
    assert!(
        listed.stdout.contains("waiting") && listed.stdout.ends_with("\tTotal requests: 1\n"),
        "{listed:?}"
    );
    assert_eq!(stage.pillarbox(&["resume"]).code, 0);
    assert_stored(&run("sendmail", &["-q"]));
    assert_eq!(server.taken().len(), 1);
    let looked_at = run("sendmail", &["-bv", "ann@example.org", "root", "a b"]);
    assert_eq!((looked_at.code, looked_at.stdout.lines().count()), (65, 3), "{looked_at:?}");
    // As a command, and in words.
    let ran = stage.pillarbox(&[
        "sendmail",
        "--spool",
        &stage.spool().display().to_string(),
        "-v",
        "bob@example.org",
    ]);
    assert!(ran.code == 0 && ran.stderr.starts_with("pillarbox: dropped as "), "{ran:?}");
    assert!(stage.pillarbox(&["help", "sendmail"]).stdout.contains("sendmail(8)"));
    assert!(run("sendmail", &["--help"]).stdout.starts_with("usage: sendmail "));
    fs::set_permissions(stage.spool(), fs::Permissions::from_mode(0o755)).unwrap();
}
