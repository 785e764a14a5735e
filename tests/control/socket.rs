//! The socket itself: where it is, who may use it, and that nobody can keep others from it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::stage::{Stage, finish, letter};
use crate::{ask, done, refused};

const NOBODY: u32 = 65534;

#[test]
fn the_socket_of_a_killed_service_is_replaced() {
    let stage = Stage::new("", "");
    stage.run().kill();
    let socket = stage.spool().join("control");
    let left = fs::symlink_metadata(&socket).unwrap();
    assert!(left.file_type().is_socket());
    // Nobody listens there: commands work on the directories.
    done(&stage, &["pause"]);
    let service = stage.run();
    let now = fs::symlink_metadata(&socket).unwrap();
    assert_eq!((now.mode() & 0o777, now.ino() == left.ino()), (0o600, false));
    assert!(stage.status()["holder"].as_str().unwrap().starts_with(&format!("pid {}, ", service.id())));
    done(&stage, &["resume"]);
    service.wait_log("INFO resumed");
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_spool_may_lie_deeper_than_a_socket_can() {
    let stage = Stage::new("", "");
    let deep = stage.dir().join("d".repeat(100)).join("e".repeat(100));
    fs::create_dir_all(&deep).unwrap();
    let spool = deep.join("spool");
    fs::rename(stage.spool(), &spool).unwrap();
    let spool = spool.display().to_string();
    let mut command = stage.command(&["run"]);
    command.args(["--spool", &spool]);
    let service = stage.start(command);
    service.wait_log("ready");
    done(&stage, &["pause", "--spool", &spool]);
    service.wait_log("WARN paused");
    assert_eq!(service.stop(), 0);
}

#[test]
fn where_systemd_made_a_directory_the_socket_is_there_and_found_from_the_spool() {
    let stage = Stage::new("", "");
    let runtime = stage.dir().join("run");
    fs::create_dir(&runtime).unwrap();
    let mut command = stage.command(&["run"]);
    command.env("RUNTIME_DIRECTORY", format!("{}:/nowhere", runtime.display()));
    let service = stage.start(command);
    service.wait_log("ready");
    assert!(fs::symlink_metadata(runtime.join("control")).unwrap().file_type().is_socket());
    assert_eq!(fs::read_link(stage.spool().join("control")).unwrap(), runtime.join("control"));
    done(&stage, &["pause"]);
    service.wait_log("WARN paused");
    assert_eq!(service.stop(), 0);
    // And back to the spool, without one.
    let service = stage.run();
    assert!(fs::symlink_metadata(stage.spool().join("control")).unwrap().file_type().is_socket());
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_spool_whose_place_for_a_socket_is_taken_still_accepts_and_sends() {
    let stage = Stage::new("", "");
    fs::create_dir(stage.spool().join("control")).unwrap();
    let service = stage.run();
    service.wait_log("ERROR control-unavailable socket= hint=");
    stage.drop_letters([1]);
    service.wait_log("INFO accepted");
    assert_eq!(service.stop(), 0);
}

#[test]
fn others_who_can_connect_may_send_and_ask_for_status_and_nothing_else() {
    if !rustix::process::geteuid().is_root() {
        // Past the test harness, which swallows what a test that passes prints.
        std::io::stderr().write_all(b"SKIPPED: a test of two users: only root can be both\n").unwrap();
        return;
    }
    let mut stage = Stage::new("", "");
    let binary = stage.dir().join("pillarbox");
    // By another process: what this one has open for writing, a child that another test starts would inherit.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_pillarbox")).arg(&binary).status().unwrap();
    assert!(copied.success());
    stage.set_binary(binary);
    let mode =
        |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(stage.dir(), 0o755);
    mode(&stage.spool(), 0o755);
    mode(&stage.pickup(), 0o1730);
    let service = stage.run();
    let socket = stage.spool().join("control");
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o660, "the group may connect");
    // Not in the group: not even that.
    let as_nobody = |arguments: &[&str]| {
        let mut command = stage.command(arguments);
        command.args(["--spool", &stage.spool().display().to_string()]).uid(NOBODY).gid(NOBODY);
        finish(command)
    };
    fs::write(stage.dir().join("m.eml"), letter(1, &["ops@example.com"])).unwrap();
    assert_eq!(as_nobody(&["send", "m.eml"]).code, 77);
    chown(&socket, None, Some(NOBODY)).unwrap();
    let sent = as_nobody(&["send", "m.eml"]);
    assert_eq!((sent.code, sent.stdout.len()), (0, 33), "{sent:?}");
    let status = as_nobody(&["status", "--json"]);
    assert_eq!(status.code, 0, "{status:?}");
    assert!(status.stdout.contains("\"waiting\":1"), "{status:?}");
    assert!(status.stdout.contains("\"oldest_waiting\":null"), "what others handed in: {status:?}");
    assert!(!stage.status()["oldest_waiting"].is_null());
    let id = sent.stdout.trim_end();
    for arguments in [
        &["hold", id][..],
        &["remove", id],
        &["retry", id],
        &["release", id],
        &["list"],
        &["show", id],
        &["pause"],
        &["resume"],
        &["flush"],
        &["reload"],
    ] {
        let ran = as_nobody(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (77, ""), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("only root and the owner of the spool may do that"), "{ran:?}");
    }
    assert_eq!(stage.list()[0]["state"], "waiting");
    assert_eq!(service.stop(), 0);
}

#[test]
fn who_says_nothing_keeps_nobody_from_being_heard() {
    let stage = Stage::new("", "");
    let service = stage.run();
    let socket = stage.spool().join("control");
    let begun = "POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nFrom:";
    let silent: Vec<UnixStream> = (0..31)
        .map(|number| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.write_all(&begun.as_bytes()[..number * 3 % begun.len()]).unwrap();
            stream
        })
        .collect();
    done(&stage, &["status"]);
    done(&stage, &["pause"]);
    let one_too_many: Vec<UnixStream> = (0..8).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let mut told = String::new();
    one_too_many.last().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("too many connections"), "{told}");
    let busy = refused(&stage, &["resume"], 75);
    assert!(busy.contains("too many connections at once"), "{busy}");
    drop((silent, one_too_many));
    crate::support::stage::until("to be heard again", || stage.pillarbox(&["resume"]).code == 0);
    assert_eq!(service.stop(), 0);
}

#[test]
fn what_is_no_request_is_answered_and_harms_nobody() {
    let stage = Stage::new("", "");
    let service = stage.run();
    let socket = stage.spool().join("control");
    let get = |target: &str| ask(&socket, &format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n")).0;
    assert_eq!(get("/v1/status"), 200);
    assert_eq!(get("/"), 404);
    assert_eq!(get("/v1/messages/../../etc/passwd"), 404);
    assert_eq!(get("/v1/messages?state=what"), 400);
    assert_eq!(get(&format!("/{}", "x".repeat(20_000))), 431);
    assert_eq!(ask(&socket, "NONSENSE\r\n\r\n").0, 400);
    let fields: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    assert_eq!(ask(&socket, &format!("GET /v1/status HTTP/1.1\r\n{fields}\r\n")).0, 431);
    assert_eq!(ask(&socket, "PUT /v1/pause HTTP/1.1\r\nhost: x\r\n\r\n").0, 404);
    done(&stage, &["status"]);
    assert_eq!(service.stop(), 0);
}
