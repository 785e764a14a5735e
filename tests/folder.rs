//! pickup/ itself under the real binary: something is mounted over it, nobody can watch it, its events overflow, or files come
//! without any. Everything is found.
//!
//! Mounts, and the limits of the kernel, take root; what cannot be had here is skipped, and says so.

#![expect(clippy::disallowed_methods, reason = "these tests are a producer")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "other tests use the rest")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::server::Server;
use support::stage::{Service, Stage, alarms, letter, pass_time, plain, until};

const TO: &[&str] = &["ops@example.com"];

/// Whether this works here; if not, why is said.
fn works(program: &str, arguments: &[&str]) -> bool {
    let ran = Command::new(program).args(arguments).output();
    let works = ran.as_ref().is_ok_and(|ran| ran.status.success());
    if !works {
        println!("SKIPPED: {program} {} does not work here: {ran:?}", arguments.join(" "));
    }
    works
}

fn must(program: &str, arguments: &[&str]) {
    let ran = Command::new(program).args(arguments).output().unwrap();
    assert!(ran.status.success(), "{program} {arguments:?}: {ran:?}");
}

/// The service, started by way of another program.
fn run_by(stage: &Stage, program: &str, arguments: &[&str]) -> Service {
    let run = stage.command(&["run"]);
    let mut command = Command::new(program);
    command.args(arguments).arg(run.get_program()).args(run.get_args()).current_dir(stage.dir());
    let service = stage.start(command);
    service.wait_log("ready");
    service
}

#[test]
fn what_is_dropped_into_a_filesystem_that_is_mounted_over_pickup_is_copied() {
    let alone = ["--mount", "--propagation", "private"];
    if !works("unshare", &[&alone[..], &["true"]].concat()) {
        return;
    }
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    stage.set("rescan", "\"200ms\"");
    let service = run_by(&stage, "unshare", &alone);
    let pid = service.id().to_string();
    let inside = |arguments: &[&str]| must("nsenter", &[&["-t", &pid, "-m", "--"], arguments].concat());
    // As the service sees it.
    let seen = |path: &Path| {
        PathBuf::from(format!("/proc/{pid}/root")).join(path.strip_prefix("/").unwrap()).join("2.eml")
    };
    let pickup = stage.pickup().display().to_string();
    stage.drop_letters([1]);
    server.wait_taken(1);
    inside(&["mount", "-t", "tmpfs", "none", &pickup]);
    fs::write(seen(&stage.pickup()), letter(2, TO)).unwrap();
    // A rename cannot take it from there: it is copied.
    server.wait_taken(2);
    assert!(!seen(&stage.pickup()).exists());
    // The service holds it open, as it holds every directory: it goes when it is let go.
    inside(&["umount", "--lazy", &pickup]);
    stage.drop_letters([3]);
    server.wait_taken(3);
    assert_eq!(server.subjects(), alarms([1, 2, 3]));
    assert!(!service.log().contains("spool-fault"), "{}", service.log());
    assert_eq!(service.stop(), 0);
}

#[test]
fn where_no_watch_is_left_the_directory_is_read() {
    for limit in ["watches", "instances"] {
        let script = format!("echo 0 > /proc/sys/user/max_inotify_{limit} && exec \"$@\"");
        let by = ["--user", "--map-root-user", "sh", "-c", &script, "sh"];
        if !works("unshare", &[&by[..], &["true"]].concat()) {
            return;
        }
        let server = Server::start();
        let stage = Stage::new(&plain(server.port()), "");
        stage.set("rescan", "\"200ms\"");
        let service = run_by(&stage, "unshare", &by);
        service.wait_log("WARN pickup-not-watched hint= every 5 s");
        stage.drop_letters([1, 2]);
        server.wait_taken(2);
        assert_eq!(server.subjects(), alarms([1, 2]));
        assert_eq!(service.stop(), 0);
    }
}

/// A limit of the kernel that is put back.
struct Limit(&'static str, String);

impl Limit {
    fn set(path: &'static str, value: &str) -> Option<Limit> {
        let before = fs::read_to_string(path).ok()?;
        let set = fs::write(path, value);
        if let Err(error) = &set {
            println!("SKIPPED: {path} cannot be set: {error}");
        }
        set.ok().map(|()| Limit(path, before))
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        fs::write(self.0, &self.1).ok();
    }
}

#[test]
fn when_more_happens_than_the_kernel_tells_of_everything_is_found() {
    const FILES: usize = 20_000;
    // No smarthost: what was accepted can be counted.
    let stage = Stage::new("", "");
    let Some(limit) = Limit::set("/proc/sys/fs/inotify/max_queued_events", "16") else { return };
    let service = stage.run();
    // The limit holds for the watch, which comes behind this word.
    stage.drop_letters([0]);
    service.wait_log("INFO accepted");
    drop(limit);
    let hidden = stage.dir().join("hidden");
    fs::create_dir(&hidden).unwrap();
    for number in 1..=FILES {
        fs::write(hidden.join(format!("{number}.eml")), letter(number, TO)).unwrap();
    }
    for number in 1..=FILES {
        let name = format!("{number}.eml");
        fs::rename(hidden.join(&name), stage.pickup().join(&name)).unwrap();
    }
    let left = || {
        pass_time(Duration::from_millis(50));
        fs::read_dir(stage.pickup()).unwrap().count()
    };
    // However slow the disk is: it goes on.
    let mut before = left();
    while before > 0 {
        until("the next file to be accepted", || left() < before);
        before = left();
    }
    let labels: std::collections::HashSet<String> =
        stage.names("pending").iter().map(|name| name.rsplit('_').next().unwrap().to_owned()).collect();
    assert_eq!(labels.len(), FILES + 1, "one was accepted twice");
    assert!(!service.log().contains("spool-fault"), "{}", service.log());
    assert_eq!(service.stop(), 0);
}

/// bindfs shows a folder a second time, by FUSE: what comes into the first is no event in the second, and a lease cannot be had.
#[test]
fn on_a_filesystem_without_events_files_are_found_with_the_defaults_of_the_product() {
    if !Path::new("/dev/fuse").exists() || !works("bindfs", &["--version"]) {
        println!("SKIPPED: this takes /dev/fuse and bindfs");
        return;
    }
    let server = Server::start();
    let stage = Stage::new(&plain(server.port()), "");
    let behind = stage.dir().join("behind");
    fs::rename(stage.spool(), &behind).unwrap();
    fs::create_dir(stage.spool()).unwrap();
    let (from, to) = (behind.display().to_string(), stage.spool().display().to_string());
    must("bindfs", &["-o", "attr_timeout=0,entry_timeout=0", &from, &to]);
    let unmount = Unmount(to);
    // The rescan that is configured is 60 s.
    let service = stage.run();
    let drop_behind = |number: usize| {
        fs::write(behind.join(".hidden"), letter(number, TO)).unwrap();
        fs::rename(behind.join(".hidden"), behind.join(format!("pickup/{number}.eml"))).unwrap();
    };
    drop_behind(1);
    server.wait_taken(1);
    drop_behind(2);
    server.wait_taken(2);
    assert_eq!(server.subjects(), alarms([1, 2]));
    assert_eq!(service.stop(), 0);
    drop(unmount);
}

struct Unmount(String);

impl Drop for Unmount {
    fn drop(&mut self) {
        Command::new("umount").args(["--lazy", &self.0]).status().ok();
    }
}
