//! Who may drop: every user in the group, whatever his umask; whoever may not is told the command that lets him, and it does.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use crate::support::server::Server;
use crate::support::stage::{Ran, Service, Stage, finish, plain};
use crate::{assert_stored, run_with, stage};

/// The service's user; it has no account.
const SERVICE: u32 = 64_999;
const GROUP: u32 = 64_997;
/// Somebody without an account.
const PRODUCER: u32 = 64_998;
const LETTER: &str = "From: ann@example.org\nTo: bob@example.org\nSubject: x\n\nhi\n";

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("SKIP: to be another user takes root");
    }
    is_root
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A spool as it is installed, and a program that everybody can run.
fn installed(smarthost: &str) -> Stage {
    let mut stage = stage(smarthost);
    let binary = stage.dir().join("pillarbox");
    // Not copied by this process: a child of another thread would have it open for writing.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_pillarbox")).arg(&binary).status().unwrap().success());
    stage.set_binary(binary);
    chmod(stage.dir(), 0o755);
    chmod(&stage.config(), 0o640);
    chown(stage.config(), Some(0), Some(GROUP)).unwrap();
    chown(stage.spool(), Some(SERVICE), Some(GROUP)).unwrap();
    chmod(&stage.spool(), 0o755);
    for entry in fs::read_dir(stage.spool()).unwrap() {
        chown(entry.unwrap().path(), Some(SERVICE), Some(GROUP)).unwrap();
    }
    chmod(&stage.pickup(), 0o3730);
    stage
}

fn run(stage: &Stage) -> Service {
    let run = stage.command(&["run"]);
    let mut command = Command::new("setpriv");
    let (user, group) = (SERVICE.to_string(), GROUP.to_string());
    command.args([
        "--reuid",
        &user,
        "--regid",
        &group,
        "--clear-groups",
        "--inh-caps",
        "+lease",
        "--ambient-caps",
        "+lease",
    ]);
    command.arg(run.get_program()).args(run.get_args()).current_dir(stage.dir());
    let service = stage.start(command);
    service.wait_log("ready");
    service
}

/// sendmail as another user, with that umask.
fn as_user(stage: &Stage, user: u32, groups: &[u32], umask: &str) -> Ran {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user.to_string(), "--regid", &user.to_string()]);
    match groups {
        [] => command.arg("--clear-groups"),
        groups => {
            command.args(["--groups", &groups.iter().map(u32::to_string).collect::<Vec<_>>().join(",")])
        }
    };
    command.args(["sh", "-c", &format!("umask {umask}; exec \"$@\""), "sh"]);
    command.arg(stage.dir().join("pillarbox")).args(["sendmail", "-t", "-f", "ann@example.org"]);
    // The configuration is not for him, and he need not know more than the place.
    command.env("PILLARBOX_SPOOL", stage.spool()).current_dir("/");
    run_with(command, LETTER)
}

#[test]
fn a_member_of_the_group_may_whatever_his_umask_and_a_stranger_is_told_so() {
    if !is_root() {
        return;
    }
    let server = Server::start();
    let stage = installed(&plain(server.port()));
    let mut expected = 0;
    for with_service in [false, true] {
        let service = with_service.then(|| run(&stage));
        for umask in ["0077", "0022", "0777"] {
            assert_stored(&as_user(&stage, PRODUCER, &[GROUP], umask));
            assert_stored(&as_user(&stage, 0, &[], umask));
            expected += 2;
            let ran = as_user(&stage, PRODUCER, &[], umask);
            assert_eq!(ran.code, 75, "{ran:?}");
            let pickup = stage.pickup();
            let want = format!(
                "pillarbox: {PRODUCER} may not drop into {}\nhint: run it as a member of the group {GROUP}\n",
                pickup.display()
            );
            assert_eq!(ran.stderr, want);
        }
        if !with_service {
            for name in stage.names("pickup") {
                let stat = fs::metadata(stage.pickup().join(&name)).unwrap();
                assert_eq!((stat.mode() & 0o7777, stat.gid()), (0o640, GROUP), "{name}");
            }
        }
        let _service = service.unwrap_or_else(|| run(&stage));
        server.wait_taken(expected);
        stage.wait_empty();
    }
}

#[test]
fn what_the_owner_of_the_spool_could_not_read_is_not_dropped_and_the_cure_works() {
    if !is_root() {
        return;
    }
    let server = Server::start();
    let stage = installed(&plain(server.port()));
    // Open to all, and without the bit that gives the folder's group to what is made in it.
    chmod(&stage.pickup(), 0o1777);
    let ran = as_user(&stage, PRODUCER, &[], "0022");
    assert_eq!(ran.code, 75, "{ran:?}");
    assert!(
        ran.stderr.contains("belong to group 64998, which keeps out 64999, who owns the spool"),
        "{ran:?}"
    );
    assert_eq!(stage.names("pickup"), [""; 0]);
    heed(&ran);
    assert_stored(&as_user(&stage, PRODUCER, &[], "0022"));
    // A member can give the group to what he makes.
    chmod(&stage.pickup(), 0o1777);
    assert_stored(&as_user(&stage, PRODUCER, &[GROUP], "0022"));
    // A group of others.
    chown(stage.pickup(), Some(SERVICE), Some(PRODUCER)).unwrap();
    chmod(&stage.pickup(), 0o3730);
    let ran = as_user(&stage, PRODUCER, &[], "0022");
    assert_eq!(ran.code, 75, "{ran:?}");
    heed(&ran);
    // Another user's folder.
    chown(stage.pickup(), Some(PRODUCER), Some(GROUP)).unwrap();
    chmod(&stage.pickup(), 0o700);
    let ran = as_user(&stage, PRODUCER, &[], "0022");
    assert_eq!(ran.code, 75, "{ran:?}");
    heed(&ran);
    chmod(&stage.pickup(), 0o3730);
    assert_stored(&as_user(&stage, PRODUCER, &[GROUP], "0077"));
    // Root gives what it drops to an owner who could not read it.
    chown(stage.pickup(), Some(SERVICE), Some(0)).unwrap();
    chmod(&stage.pickup(), 0o700);
    assert_stored(&as_user(&stage, 0, &[], "0077"));
    let _service = run(&stage);
    server.wait_taken(4);
    stage.wait_empty();
}

/// The command behind `hint: `, carried out by root.
fn heed(ran: &Ran) {
    let hint = ran.stderr.lines().find_map(|line| line.strip_prefix("hint: ")).expect("a hint");
    let done = finish({
        let mut shell = Command::new("sh");
        shell.args(["-c", hint]);
        shell
    });
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{hint}");
}

/// With accounts of its own in a copy of /etc that nobody else sees: an ordinary user, first no member of the group, then by the
/// command that he is told; once where the spool was its owner's alone.
#[test]
fn the_cure_for_a_user_with_an_account_works() {
    if !is_root() {
        return;
    }
    let stage = installed("");
    chmod(&stage.config(), 0o600);
    let script = r#"
        set -eu
        cp -a /etc "$DIR/etc" && mount --bind "$DIR/etc" /etc
        groupadd -f pillarbox && useradd -M -g pillarbox pbox && useradd -M ann && useradd -M owner
        PATH=$DIR:$PATH
        drop() { printf 'To: a@example.com\n\nhi\n' | su -s /bin/sh ann -c "umask 077; PILLARBOX_SPOOL=$1 $DIR/pillarbox sendmail -t" 2>"$DIR/said"; }
        cured() {
            if drop "$1"; then echo "$1: not refused"; exit 1; else test $? = 75; fi
            sed -n 's/^hint: //p' "$DIR/said" > "$DIR/cure"; cat "$DIR/said"
            sh -e "$DIR/cure"
            drop "$1"
            name=$(ls "$1/pickup"); echo "stored $name"
            su -s /bin/sh "$2" -c "cat $1/pickup/$name" | tail -n 1
        }
        pillarbox init --spool "$DIR/shared" --user pbox --group pillarbox
        cured "$DIR/shared" pbox
        pillarbox init --spool "$DIR/own" --user owner
        cured "$DIR/own" owner
    "#;
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).env("DIR", stage.dir());
    let ran = finish(command);
    if ran.stderr.contains("unshare failed") || ran.stderr.contains("mount:") {
        return eprintln!("SKIP: no mount namespace can be had: {}", ran.stderr);
    }
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("\nhint: usermod -aG pillarbox ann\n"), "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("\nstored ").count(), 2, "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("\nhi\n").count(), 2, "{}", ran.stdout);
}

/// As the Debian package installs it: with the group's rights, so that every user of the host may drop. They are good for that alone.
#[test]
fn rights_that_are_lent_take_messages_for_the_system_s_spool_and_nothing_else() {
    if !is_root() {
        return;
    }
    let stage = installed("");
    let lent = stage.dir().join("lent");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_pillarbox")).arg(&lent).status().unwrap();
    assert!(copied.success());
    chown(&lent, Some(0), Some(GROUP)).unwrap();
    chmod(&lent, 0o2755);
    let run = |name: &str, arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        let user = PRODUCER.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "bash", "-c"]);
        command.arg(format!("exec -a {name} {} \"$@\"", lent.display())).arg("bash").args(arguments);
        command.env("PILLARBOX_SPOOL", stage.spool()).env("PILLARBOX_CONFIG", stage.config());
        run_with(command, LETTER)
    };
    let spool = stage.spool();
    for arguments in [["--spool", spool.to_str().unwrap(), "-t"], ["--config", "/etc/shadow", "-t"]] {
        let ran = run("sendmail", &arguments);
        assert_eq!(ran.code, 64, "{ran:?}");
        assert!(ran.stderr.contains("expected no --config and no --spool"), "{ran:?}");
    }
    // The environment names no place either; and by any name it is sendmail.
    for (name, arguments) in [("sendmail", ["-t"]), ("pillarbox", ["status"]), ("pillarbox", ["show"])] {
        let ran = run(name, &arguments);
        assert!(!ran.stdout.contains("spool") && !ran.stderr.contains(spool.to_str().unwrap()), "{ran:?}");
    }
    assert!(stage.names("pickup").is_empty());
    // What is not a message is done without them: the queue of others is nobody's business.
    assert_ne!(run("mailq", &[]).code, 0);
}
