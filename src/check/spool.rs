//! The spool: is it there, whose is it, and what does it lie on?

use std::io::ErrorKind;
use std::path::Path;

use super::{Cause, Step};
use crate::config::Config;
use crate::control::guard::{exposed, open_pickup};
use crate::fs::{Dir, Filesystem, Fs, RealFs, filesystem, user_name};

/// Inodes that have to be free; the same number as in the spool's own limits.
const INODES_MIN: u64 = 16;

/// Looks at the spool of `config` as `user`; root looks as the user that owns it. Changes nothing and takes no lock.
pub(super) fn check(config: &Config, user: u32) -> Vec<Step> {
    let root = &config.spool_dir;
    let fs = match RealFs::open(root) {
        Ok(fs) => fs,
        Err((path, error)) => {
            let evidence = format!("{}: {error}", path.display());
            return vec![match error.kind() {
                ErrorKind::NotFound => {
                    Step { fix: missing(root), ..Step::failed("spool", Cause::SpoolMissing, evidence) }
                }
                _ => Step::failed("spool", Cause::SpoolNotReadable, evidence),
            }];
        }
    };
    vec![access(root, user), room(config, &fs), kind(root)]
}

/// The commands that make what is missing.
fn missing(root: &Path) -> Vec<String> {
    if !root.exists() {
        return vec![format!("pillarbox init --spool {}", quoted(root))];
    }
    let folders = Dir::ALL.into_iter().map(|dir| root.join(dir.name()));
    let missing = folders.filter(|path| !path.exists());
    let owner = super::owner_of(root).map_or_else(String::new, |owner| format!(" -o {}", user_name(owner)));
    missing.map(|path| format!("install -d -m 0700{owner} {}", quoted(&path))).collect()
}

fn access(root: &Path, user: u32) -> Step {
    let user =
        if user == 0 { super::owner_of(&root.join(Dir::Pending.name())).unwrap_or(user) } else { user };
    let commands = |cure: String| cure.split(" && ").map(str::to_owned).collect::<Vec<_>>();
    match exposed(root, user) {
        Err((path, error)) => {
            Step::failed("spool", Cause::SpoolNotReadable, format!("{}: {error}", path.display()))
        }
        Ok(Some(exposed)) => {
            let cause = if exposed.is_foreign() { Cause::SpoolOwner } else { Cause::SpoolOpen };
            let mut step = Step::failed("spool", cause, exposed.to_string());
            step.hint = Some(exposed.cure());
            step.fix = commands(exposed.cure());
            step
        }
        Ok(None) => match open_pickup(root) {
            Some((what, cure)) => {
                let mut step = Step::warn("spool", Cause::PickupOpen, what);
                step.hint = Some(cure.clone());
                step.fix = commands(cure);
                step
            }
            None => Step::ok("spool", format!("{} belongs to {}", root.display(), user_name(user))),
        },
    }
}

fn room(config: &Config, fs: &RealFs) -> Step {
    let min = config.limits.min_free;
    match fs.room() {
        Err(error) => Step::failed("room", Cause::SpoolNotReadable, error.to_string()),
        Ok(room) if room.bytes < min => {
            let evidence = format!("{} octets are free, min_free is {min}", room.bytes);
            Step::failed("room", Cause::DiskFull, evidence)
        }
        Ok(room) if room.inodes.is_some_and(|inodes| inodes < INODES_MIN) => {
            let inodes = room.inodes.unwrap_or_default();
            Step::failed("room", Cause::InodesUsedUp, format!("{inodes} inodes are free"))
        }
        Ok(room) => {
            let inodes = room.inodes.map_or_else(String::new, |inodes| format!(", {inodes} inodes"));
            Step::ok("room", format!("{} MB{inodes} free", room.bytes / 1_000_000))
        }
    }
}

fn kind(root: &Path) -> Step {
    const TMPFS: u32 = 0x0102_1994;
    const RAMFS: u32 = 0x8584_58f6;
    const OVERLAY: u32 = 0x794c_7630;
    const NETWORK: [(u32, &str); 8] = [
        (0x6969, "NFS"),
        (0x517B, "SMB"),
        (0xFF53_4D42, "SMB"),
        (0xFE53_4D42, "SMB"),
        (0x6573_5546, "FUSE"),
        (0x0102_1997, "9P"),
        (0x00C3_6400, "Ceph"),
        (0x5346_414F, "AFS"),
    ];
    let step = "filesystem";
    let found = match filesystem(root) {
        Ok(found) => found,
        Err(error) => return Step::failed(step, Cause::SpoolNotReadable, error.to_string()),
    };
    let network = NETWORK.iter().find(|(magic, _)| *magic == found.kind);
    match (found, network) {
        (Filesystem { is_read_only: true, .. }, _) => {
            Step::failed(step, Cause::DiskReadOnly, format!("{} is mounted read-only", root.display()))
        }
        (_, Some((_, name))) => {
            Step::warn(step, Cause::SpoolOnNetwork, format!("{} is on {name}", root.display()))
        }
        (Filesystem { kind: TMPFS | RAMFS, .. }, _) => {
            Step::warn(step, Cause::SpoolVolatile, format!("{} is on tmpfs", root.display()))
        }
        (Filesystem { kind: OVERLAY, .. }, _) => {
            Step::warn(step, Cause::SpoolOnOverlay, format!("{} is on overlayfs", root.display()))
        }
        _ => Step::ok(step, "a disk of this box"),
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
