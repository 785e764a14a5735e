//! N8: where the disk says no, nothing is taken that cannot be kept, the reason is told, and work resumes by itself.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::support::server::{Answer, Gate, Server, say};
use crate::support::stage::{Service, Stage, alarms, letter, pass_time, plain, until};

/// To root no directory is closed: there the service runs as another user.
const NOBODY: u32 = 65534;

/// A stage whose service is an ordinary user that owns the spool.
struct Ordinary {
    stage: Stage,
    is_root: bool,
}

impl Ordinary {
    fn new(smarthost: &str) -> Ordinary {
        let mut stage = Stage::new(smarthost, "");
        stage.set("rescan", "\"300ms\"");
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            // Where cargo builds may be closed to others.
            let binary = stage.dir().join("pillarbox");
            fs::copy(env!("CARGO_BIN_EXE_pillarbox"), &binary).unwrap();
            fs::set_permissions(stage.dir(), fs::Permissions::from_mode(0o755)).unwrap();
            for path in ["", "pickup", "pending", "sending", "failed", "sent", "meta"] {
                let path = stage.spool().join(path);
                if path.exists() {
                    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
                }
            }
            chown(stage.config(), Some(NOBODY), Some(NOBODY)).unwrap();
            stage.set_binary(binary);
        }
        Ordinary { stage, is_root }
    }

    fn run(&self) -> Service {
        let mut command = self.stage.command(&["run"]);
        if self.is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        let service = self.stage.start(command);
        service.wait_log("ready");
        service
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.stage.spool().join(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Drops a file that belongs to the service's user, as the lease on it needs.
    fn drop_letter(&self, number: usize, mode: u32) {
        let path = self.stage.dir().join("being written");
        fs::write(&path, letter(number, &["ops@example.com"])).unwrap();
        if self.is_root {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        self.stage.next_tick();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(path, self.stage.pickup().join(format!("{number}.eml"))).unwrap();
    }
}

#[test]
fn n8_a_file_that_may_not_be_read_stays_and_the_log_says_what_mends_it() {
    let server = Server::start();
    let ordinary = Ordinary::new(&plain(server.port()));
    let service = ordinary.run();
    ordinary.drop_letter(1, 0o000);
    service.wait_log(
        "WARN drop-left file=1.eml reason=Permission denied hint= mode 0000 and owner chmod a+r pickup/1.eml",
    );
    ordinary.drop_letter(2, 0o600);
    server.wait_taken(1);
    ordinary.mode("pickup/1.eml", 0o644);
    server.wait_taken(2);
    assert_eq!(server.subjects(), alarms([2, 1]));
    assert_eq!(service.log().matches("drop-left").count(), 1);
    assert_eq!(service.stop(), 0);
}

#[test]
fn n8_files_wait_in_pickup_while_they_cannot_be_moved_out_of_it() {
    let server = Server::start();
    let ordinary = Ordinary::new(&plain(server.port()));
    let service = ordinary.run();
    for directory in ["pickup", "pending"] {
        let before = server.taken().len();
        ordinary.mode(directory, 0o500);
        let writable = directory == "pending" || ordinary.is_root;
        if !writable {
            // Only root may still drop.
            ordinary.mode(directory, 0o700);
            continue;
        }
        ordinary.drop_letter(before + 1, 0o600);
        service.wait_log(&format!("WARN drop-left file={}.eml reason=Permission denied hint= pending/ must belong to the user of the service", before + 1));
        assert_eq!(ordinary.stage.names("pickup").len(), 1, "{directory}");
        assert!(!service.log().contains(&format!("accepted file=\"{}\"", before + 1)));
        ordinary.mode(directory, 0o700);
        server.wait_taken(before + 1);
    }
    ordinary.stage.wait_empty();
    assert_eq!(service.stop(), 0);
}

#[test]
fn n8_no_final_dot_leaves_while_the_move_to_sending_cannot_be_made() {
    let server = Server::start();
    let ordinary = Ordinary::new(&plain(server.port()));
    let service = ordinary.run();
    ordinary.mode("sending", 0o500);
    ordinary.drop_letter(1, 0o600);
    ordinary.drop_letter(2, 0o600);
    service.wait_log("ERROR spool-fault Permission denied hint=");
    pass_time(Duration::from_millis(300));
    assert_eq!(server.count("."), 0);
    ordinary.mode("sending", 0o700);
    server.wait_taken(2);
    assert_eq!(server.subjects(), alarms([1, 2]));
    ordinary.stage.wait_empty();
    assert_eq!(service.stop(), 0);
}

#[test]
fn n8_an_outcome_that_cannot_be_written_stops_the_sender_until_it_can_be() {
    // What the server answers, and what that has to write.
    for (reply, directory) in
        [("250 2.0.0 taken", "sending"), ("451 4.3.0 later", "sending"), ("550 5.6.0 no", "failed")]
    {
        let gate = Arc::new(Gate::default());
        let pass = Arc::clone(&gate);
        let server = Server::scripted(move |asked| match asked.line {
            "." if asked.session == 1 => {
                pass.pass();
                say(reply)
            }
            _ => Answer::Usual,
        });
        let ordinary = Ordinary::new(&plain(server.port()));
        let service = ordinary.run();
        ordinary.drop_letter(1, 0o600);
        server.wait_heard(".", 1);
        ordinary.mode(directory, 0o500);
        gate.open();
        // Before the next message runs into the same.
        service.wait_log("ERROR spool-fault");
        ordinary.drop_letter(2, 0o600);
        pass_time(Duration::from_millis(300));
        assert_eq!(server.count("."), 1, "{reply}: sent although nothing could be written");
        ordinary.mode(directory, 0o700);
        let stage = &ordinary.stage;
        server.wait_taken(2 - usize::from(reply.starts_with('5')));
        until("an empty spool", || {
            ["pickup", "pending", "sending"].iter().all(|d| stage.names(d).is_empty())
        });
        if reply.starts_with('5') {
            // The failure was decided: it is carried out, and nothing more is sent.
            assert_eq!(server.subjects(), alarms([2]));
            assert!(stage.the_failed_one().0.contains("550 5.6.0 no"));
        } else {
            // At most this one comes twice, and then the same to the byte.
            let arrivals = server.arrivals();
            let subjects: Vec<String> = arrivals.iter().map(|arrival| arrival.subject()).collect();
            assert_eq!(subjects, alarms([1, 1, 2]), "{reply}");
            assert_eq!(arrivals[0].bytes, arrivals[1].bytes);
            assert!(stage.is_empty());
        }
        assert_eq!(service.stop(), 0);
    }
}

#[test]
fn n8_a_full_disk_loses_nothing_and_work_resumes_when_there_is_room() {
    let server = Server::scripted(|asked| match asked.line {
        "RCPT TO:<gone@example.com>" => say("550 5.1.1 no such user"),
        _ => Answer::Usual,
    });
    let stage = Stage::new(&plain(server.port()), "");
    let Some(small) = SmallDisk::run(&stage) else { return };
    let SmallDisk { service, inside } = &small;
    small.drop_in("1.eml", letter(1, &["gone@example.com"])).unwrap();
    let failed = || {
        let entries = fs::read_dir(format!("{inside}/failed")).unwrap();
        entries.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "eml")).count()
    };
    until("the first to have failed", || failed() == 1);

    // Three wait, one of them to fail; then not a byte is left.
    server.follow(|asked| if asked.line == "." { say("451 4.3.0 later") } else { Answer::Usual });
    small.drop_in("2.eml", letter(2, &["ops@example.com"])).unwrap();
    small.drop_in("3.eml", letter(3, &["gone@example.com"])).unwrap();
    small.drop_in("4.eml", letter(4, &["ops@example.com"])).unwrap();
    service.wait_log_times("INFO accepted", 4);
    small.fill();
    server.follow(|asked| match asked.line {
        "RCPT TO:<gone@example.com>" => say("550 5.1.1 no such user"),
        _ => Answer::Usual,
    });
    service.wait_log("ERROR spool-fault No space left on device");
    small.free();
    server.wait_taken(2);
    assert_eq!(server.subjects(), alarms([2, 4]));
    until("both failed", || failed() == 2);
    assert_eq!(small.service.stop(), 0);
}

#[test]
fn n8_without_an_inode_nothing_is_taken_or_sent_that_could_not_be_written_down() {
    let server = Server::scripted(|_| Answer::SayAndCut("421 4.3.2 down"));
    let stage = Stage::new(&plain(server.port()), "");
    stage.set("rescan", "\"300ms\"");
    let Some(small) = SmallDisk::on(&stage, "mount -t tmpfs -o size=8m,nr_inodes=64,mode=700 tmpfs \"$1\"")
    else {
        return;
    };
    small.drop_in("1.eml", letter(1, &["ops@example.com"])).unwrap();
    small.service.wait_log_times("INFO accepted", 1);
    let ballast = |n: usize| format!("{}/ballast-{n}", small.inside);
    let used = (0..).take_while(|n| fs::write(ballast(*n), "").is_ok()).count();
    (0..8).for_each(|n| fs::remove_file(ballast(n)).unwrap());
    small.drop_in("2.eml", letter(2, &["ops@example.com"])).unwrap();
    small.service.wait_log("ERROR no-room inodes are free");
    assert_eq!(small.service.log().matches("INFO accepted").count(), 1);
    // Not one is left for what the server may say.
    (0..8).for_each(|n| drop(fs::write(ballast(n), "")));
    server.follow(|_| Answer::Usual);
    small.service.wait_log("ERROR spool-fault set room aside No space left on device");
    assert_eq!(server.taken().len(), 0);
    (0..used).for_each(|n| drop(fs::remove_file(ballast(n))));
    server.wait_taken(2);
    assert_eq!(server.subjects(), alarms([1, 2]));
    assert_eq!(small.service.stop(), 0);
}

#[test]
fn n8_on_a_disk_that_turns_read_only_nothing_is_sent_and_nothing_is_lost() {
    let server = Server::scripted(|_| Answer::SayAndCut("421 4.3.2 down"));
    let stage = Stage::new(&plain(server.port()), "");
    let image = stage.dir().join("disk.img");
    fs::write(&image, vec![0; 16 << 20]).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).status();
    if !made.is_ok_and(|status| status.success()) {
        return SmallDisk::say_skipped("mkfs.ext4 is needed");
    }
    let mount = format!("mount -o loop {} \"$1\" && chmod 700 \"$1\"", image.display());
    let Some(small) = SmallDisk::on(&stage, &mount) else { return };
    small.drop_in("1.eml", letter(1, &["ops@example.com"])).unwrap();
    small.service.wait_log("INFO accepted");
    // What ext4 does when its journal cannot be written.
    let spool = stage.spool();
    let mut abort = Command::new("nsenter");
    abort
        .args(["--mount", "--target", &small.service.id().to_string(), "mount", "-o", "remount,abort"])
        .arg(&spool);
    assert!(abort.status().unwrap().success());
    server.follow(|_| Answer::Usual);
    small.service.wait_log("ERROR spool-fault Read-only file system");
    pass_time(Duration::from_millis(300));
    assert_eq!(server.taken().len(), 0);
    assert_eq!(small.service.stop(), 0);
    let again = SmallDisk::on(&stage, &mount).unwrap();
    server.wait_taken(1);
    assert_eq!(again.service.stop(), 0);
}

/// The service in a mount namespace of its own, its spool on a disk of 256 KiB.
pub(crate) struct SmallDisk {
    pub(crate) service: Service,
    /// The spool as it is seen from here.
    inside: String,
}

impl SmallDisk {
    /// `None`, and a loud word, where only root may do this.
    pub(crate) fn run(stage: &Stage) -> Option<SmallDisk> {
        SmallDisk::on(stage, "mount -t tmpfs -o size=256k,mode=700 tmpfs \"$1\"")
    }

    /// Past the test harness, which swallows what a test that passes prints.
    fn say_skipped(why: &str) {
        let skipped = format!("SKIPPED: a test of a disk that says no: {why}\n");
        std::io::Write::write_all(&mut std::io::stderr(), skipped.as_bytes()).unwrap();
    }

    /// The same on a disk that the shell command `mount` mounts at `$1`.
    fn on(stage: &Stage, mount: &str) -> Option<SmallDisk> {
        let probe = tempfile::tempdir().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "mount", "-t", "tmpfs", "tmpfs"]).arg(probe.path());
        if !command.output().is_ok_and(|output| output.status.success()) {
            SmallDisk::say_skipped("only root may mount a small tmpfs (unshare --mount)");
            return None;
        }
        // The namespace dies with the service; the test drops and looks through /proc.
        let script = format!("{mount} && \"$2\" init --spool \"$1\" >&2 && exec \"$2\" run --config \"$3\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).arg(stage.spool());
        command.arg(env!("CARGO_BIN_EXE_pillarbox")).arg(stage.config());
        let service = stage.start(command);
        service.wait_log("ready");
        let inside = format!("/proc/{}/root{}", service.id(), stage.spool().display());
        Some(SmallDisk { service, inside })
    }

    pub(crate) fn drop_in(&self, name: &str, text: String) -> std::io::Result<()> {
        let pickup = format!("{}/pickup", self.inside);
        fs::write(format!("{pickup}/.{name}"), text)?;
        fs::rename(format!("{pickup}/.{name}"), format!("{pickup}/{name}"))
    }

    /// Leaves not a byte.
    pub(crate) fn fill(&self) {
        let full = fs::write(format!("{}/ballast", self.inside), vec![0; 1 << 20]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    /// Room again.
    pub(crate) fn free(&self) {
        fs::remove_file(format!("{}/ballast", self.inside)).unwrap();
    }
}
