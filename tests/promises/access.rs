//! Who may reach into the spool: what is open to others is not worked on, and the command that is named mends it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::support::stage::{Ran, Stage, finish, letter};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// The command behind `hint: `, carried out.
fn heed(ran: &Ran) {
    let command = ran.stderr.lines().find_map(|line| line.strip_prefix("hint: ")).expect("a hint");
    let shell = finish({
        let mut shell = Command::new("sh");
        shell.args(["-c", command]);
        shell
    });
    assert_eq!((shell.code, shell.stderr.as_str()), (0, ""), "{command}");
}

#[test]
fn a_spool_that_is_open_to_others_is_refused_with_the_command_that_mends_it() {
    let stage = Stage::new("", "");
    assert_eq!(stage.pillarbox(&["flush"]).code, 0);
    let cases: [(&str, u32, &str); 8] = [
        ("pending", 0o750, "is open to others (mode 0750)"),
        ("sending", 0o701, "is open to others (mode 0701)"),
        ("failed", 0o755, "is open to others (mode 0755)"),
        ("sent", 0o704, "is open to others (mode 0704)"),
        ("meta", 0o720, "is open to others (mode 0720)"),
        ("lock", 0o644, "is open to others (mode 0644)"),
        ("", 0o770, "can be written to by others (mode 0770)"),
        ("", 0o1777, "can be written to by others (mode 1777)"),
    ];
    for (name, open, words) in cases {
        let path = stage.spool().join(name);
        let path = if name.is_empty() { stage.spool() } else { path };
        chmod(&path, open);
        for command in ["run", "flush"] {
            let ran = stage.pillarbox(&[command]);
            assert_eq!(ran.code, 77, "{name} {open:o}: {ran:?}");
            assert!(ran.stderr.contains(&format!("{} {words}", path.display())), "{ran:?}");
        }
        let status = stage.pillarbox(&["status"]).stdout;
        assert!(status.contains(&format!("WARNING    {} {words}", path.display())), "{status}");
        heed(&stage.pillarbox(&["flush"]));
        assert_eq!(mode(&path) & 0o022, 0, "{name}");
        assert_eq!(stage.pillarbox(&["flush"]).code, 0, "{name}");
    }
    assert_eq!(stage.status()["warnings"], serde_json::json!([]));
}

#[test]
fn one_command_mends_everything() {
    let stage = Stage::new("", "");
    for dir in ["pending", "sending", "failed", "sent", "meta"] {
        chmod(&stage.spool().join(dir), 0o755);
    }
    chmod(&stage.spool(), 0o775);
    heed(&stage.pillarbox(&["flush"]));
    assert_eq!(stage.pillarbox(&["flush"]).code, 0);
    assert_eq!((mode(&stage.spool()), mode(&stage.spool().join("meta"))), (0o755, 0o700));
}

#[test]
fn a_pickup_that_is_open_to_all_is_warned_of() {
    let stage = Stage::new("", "");
    chmod(&stage.pickup(), 0o3730);
    let service = stage.run();
    assert!(!service.log().contains("pickup-open"), "{}", service.log());
    service.stop();
    chmod(&stage.pickup(), 0o1777);
    let service = stage.run();
    service.wait_log("WARN pickup-open-to-all is open to all (mode 1777) hint=\"chmod o= pickup\"");
    service.stop();
    let warnings = &stage.status()["warnings"];
    assert!(
        warnings[0]["what"].as_str().unwrap().ends_with("pickup is open to all (mode 1777)"),
        "{warnings}"
    );
    assert!(warnings[0]["cure"].as_str().unwrap().starts_with("chmod o= "), "{warnings}");
}

#[test]
fn init_closes_a_spool_that_lies_open_and_tells_each_change() {
    let stage = Stage::new("", "");
    let init = ["init", "--spool", &stage.spool().display().to_string()];
    // As git leaves it.
    for dir in ["", "pickup", "pending", "sending", "failed", "sent", "meta"] {
        chmod(&stage.spool().join(dir), 0o755);
    }
    assert_eq!(stage.pillarbox(&["flush"]).code, 77);
    let ran = stage.pillarbox(&init);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert_eq!(ran.stdout.matches(": mode was 0755, is 0700 now\n").count(), 7, "{ran:?}");
    assert_eq!(stage.pillarbox(&["flush"]).code, 0);
    assert!(stage.pillarbox(&init).stdout.contains(" is complete\n"));
    // Others drop here, and go on to.
    chmod(&stage.pickup(), 0o3730);
    chmod(&stage.spool(), 0o755);
    assert!(stage.pillarbox(&init).stdout.contains(" is complete\n"));
    chmod(&stage.pickup(), 0o1777);
    let ran = stage.pillarbox(&init);
    assert!(ran.stdout.contains("pickup: mode was 1777, is 1770 now\n"), "{ran:?}");
    assert_eq!(mode(&stage.spool()), 0o755);
}

#[test]
fn init_takes_no_folder_away_from_others() {
    let stage = Stage::without_spool();
    let shared = stage.dir().join("tmp");
    fs::create_dir(&shared).unwrap();
    chmod(&shared, 0o1777);
    let ran = stage.pillarbox(&["init", "--spool", "tmp"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (73, ""), "{ran:?}");
    assert!(ran.stderr.contains("others can write to it (mode 1777)\nhint: name a folder"), "{ran:?}");
    assert_eq!((mode(&shared), fs::read_dir(&shared).unwrap().count()), (0o1777, 0));
    let ran = stage.pillarbox(&["init", "--spool", "new", "--user", "no such user"]);
    assert!(ran.code == 64 && ran.stderr.contains("there is no user no such user"), "{ran:?}");
    assert!(!stage.dir().join("new").exists());
}

#[test]
fn a_group_may_drop_and_not_list() {
    let stage = Stage::without_spool();
    let group = rustix::process::getegid().as_raw();
    let ran = stage.pillarbox(&["init", "--spool", "spool", "--group", &group.to_string()]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let stat = fs::metadata(stage.pickup()).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.gid()), (0o3730, group));
    assert_eq!((mode(&stage.spool()), mode(&stage.spool().join("pending"))), (0o755, 0o700));
    stage.configure("", "");
    let service = stage.run();
    stage.drop_in("1.eml", letter(1, &["ops@example.com"]));
    service.wait_log("accepted");
    assert_eq!(service.stop(), 0);
}

#[test]
fn root_gives_a_spool_to_its_user_and_does_not_work_on_it() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    const USER: u32 = 65534;
    let stage = Stage::without_spool();
    let arguments =
        ["init", "--spool", "spool", "--config", "pillarbox.toml", "--user", "65534", "--group", "65533"];
    let ran = stage.pillarbox(&arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    for name in ["", "pickup", "pending", "sending", "failed", "sent", "meta"] {
        let stat = fs::metadata(stage.spool().join(name)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (USER, 65533), "{name}");
    }
    assert_eq!(mode(&stage.pickup()), 0o3730);
    // Members of the group must not read a password there.
    let config = fs::metadata(stage.config()).unwrap();
    assert_eq!((config.uid(), config.mode() & 0o777), (USER, 0o600));
    stage.configure("", "");
    let ran = stage.pillarbox(&["flush"]);
    assert_eq!(ran.code, 77, "{ran:?}");
    assert!(ran.stderr.contains("hint: run it as ") && ran.stderr.contains("runuser -u "), "{ran:?}");
    assert_eq!(stage.status()["warnings"], serde_json::json!([]));
    // A second init by root leaves the owner alone.
    let ran = stage.pillarbox(&["init", "--spool", "spool", "--config", "new.toml"]);
    assert!(ran.stdout.contains(" is complete\n"), "{ran:?}");
    // The service can read what root has just written for it.
    assert_eq!(fs::metadata(stage.dir().join("new.toml")).unwrap().uid(), USER);
    // One part of it belongs to somebody else.
    std::os::unix::fs::chown(stage.spool().join("meta"), Some(0), None).unwrap();
    let warnings = &stage.status()["warnings"];
    assert!(warnings[0]["what"].as_str().unwrap().contains("meta belongs to root"), "{warnings}");
    let ran = stage.pillarbox(&["init", "--spool", "spool"]);
    assert!(ran.stdout.contains("meta: belonged to root, belongs to "), "{ran:?}");
    assert_eq!(stage.status()["warnings"], serde_json::json!([]));
}
