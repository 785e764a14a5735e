//! Why a message was not dropped, and what to do about it.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::access::{Owner, name_in};
use super::disk::{self, Folder};

/// Why a message was not dropped. Shown, it names the place and the cause, and in a line `hint:` what to do.
#[derive(Debug)]
pub enum Error {
    /// There is no spool.
    NoSpool {
        /// Where it was looked for.
        root: PathBuf,
    },
    /// This user may not drop there.
    NotAllowed {
        /// The folder.
        path: PathBuf,
        /// Who wanted to.
        user: String,
        /// The command that lets him.
        cure: String,
    },
    /// The owner of the spool could not read what this user drops.
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// What is in the way.
        why: String,
        /// The command that mends it.
        cure: String,
    },
    /// The envelope cannot be written down: why.
    Envelope(String),
    /// There is nothing in the message.
    Empty,
    /// The message could not be read.
    Input(io::Error),
    /// A disk call failed.
    Disk {
        /// What was to be done: "write to".
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
}

impl Error {
    /// The command, or the advice, that mends it.
    pub fn cure(&self) -> Option<String> {
        match self {
            Error::NoSpool { root } => Some(format!("pillarbox init --spool {}", quoted(root))),
            Error::NotAllowed { cure, .. } | Error::Unreadable { cure, .. } => Some(cure.clone()),
            Error::Disk { error, path, .. } => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some(format!("make room on the disk of {}, and try again", path.display()))
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    Some(format!("mount the disk of {} for writing, and try again", path.display()))
                }
                _ => None,
            },
            Error::Envelope(_) | Error::Empty | Error::Input(_) => None,
        }
    }

    /// Whether the same message can be dropped once something else was mended.
    pub fn is_temporary(&self) -> bool {
        !matches!(self, Error::Envelope(_) | Error::Empty | Error::Input(_))
    }

    /// A code of sysexits(3): 75 if it is temporary, 74 if the message could not be read, 65 if there is something wrong with it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Envelope(_) | Error::Empty => 65,
            Error::Input(_) => 74,
            _ => 75,
        }
    }

    pub(super) fn disk(what: &'static str, path: &Path, error: io::Error) -> Error {
        Error::Disk { what, path: path.to_owned(), error }
    }

    /// `pickup/` could not be opened.
    pub(super) fn of_folder(root: &Path, pickup: &Path, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Error::NoSpool { root: root.to_owned() }
            }
            io::ErrorKind::PermissionDenied => {
                let owner = disk::access_at(root).map_or(0, |access| access.user);
                let cure = share_spool(root, owner);
                Error::NotAllowed { path: pickup.to_owned(), user: user(), cure }
            }
            _ => Error::disk("open", pickup, error),
        }
    }

    /// No file may be made in the folder.
    pub(super) fn not_allowed(pickup: &Path, folder: &Folder, owner: &Owner) -> Error {
        let access = folder.access();
        let cure = match access.mode & 0o030 {
            0o030 => join(access.group),
            _ => share_spool(pickup.parent().unwrap_or(pickup), owner.user),
        };
        Error::NotAllowed { path: pickup.to_owned(), user: user(), cure }
    }

    /// What this user makes in the folder the owner of the spool cannot read.
    pub(super) fn unreadable(pickup: &Path, folder: &Folder, owner: &Owner, file: &File) -> Error {
        let (access, path) = (folder.access(), quoted(pickup));
        let group = disk::access_of(file).map_or(access.group, |file| file.group);
        let shared = format!("chmod g+s {path}");
        let (why, cure) = if disk::acl_of(file).is_ok_and(|list| list.is_some()) {
            let why = "the access control list that the folder gives its files does not let in".to_owned();
            (why, format!("setfacl -b {path}"))
        } else {
            let why = format!(
                "files that this user makes in it belong to group {}, which keeps out",
                group_name(group)
            );
            match group != access.group && owner.is_in(access.group) {
                true => (why, shared),
                false => (why, format!("chgrp {} {path} && {shared}", primary_group(owner.user))),
            }
        };
        let why = format!("{why} {}, who owns the spool", owner.name);
        Error::Unreadable { path: pickup.to_owned(), why, cure }
    }
}

/// The command that makes this user a member of the group. It counts from the next login on.
fn join(group: u32) -> String {
    let (group, user) = (group_name(group), user());
    match user.parse::<u32>() {
        Ok(_) => format!("run it as a member of the group {group}"),
        Err(_) => format!("usermod -aG {group} {user}"),
    }
}

/// The group that is made for those who drop, where there is none.
const GROUP: &str = "pillarbox";

/// The commands that open a spool of one user's own to a group, and this user to that.
fn share_spool(root: &Path, owner: u32) -> String {
    let owner = name_in(&read("/etc/passwd"), owner).unwrap_or_else(|| owner.to_string());
    let init = format!("pillarbox init --spool {} --user {owner} --group {GROUP}", quoted(root));
    let user = user();
    match (owner.parse::<u32>(), user.parse::<u32>()) {
        (Err(_), Err(_)) => format!(
            "groupadd -f {GROUP} && usermod -aG {GROUP} {owner} && {init} && usermod -aG {GROUP} {user}"
        ),
        _ => format!("run it as {owner}"),
    }
}

fn user() -> String {
    let user = rustix::process::geteuid().as_raw();
    name_in(&read("/etc/passwd"), user).unwrap_or_else(|| user.to_string())
}

fn group_name(group: u32) -> String {
    name_in(&read("/etc/group"), group).unwrap_or_else(|| group.to_string())
}

/// The group of an account, by name where it has one.
fn primary_group(user: u32) -> String {
    let named = crate::fs::user(&user.to_string());
    named.ok().flatten().map_or_else(|| user.to_string(), |owner| group_name(owner.group))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A path as a shell takes it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-,:@%=".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoSpool { root } => write!(f, "there is no spool at {}", root.display()),
            Error::NotAllowed { path, user, .. } => write!(f, "{user} may not drop into {}", path.display()),
            Error::Unreadable { path, why, .. } => {
                write!(f, "nothing is dropped into {}: {why}", path.display())
            }
            Error::Envelope(why) => f.write_str(why),
            Error::Empty => f.write_str("the message is empty"),
            Error::Input(error) => write!(f, "the message cannot be read: {error}"),
            Error::Disk { what, path, error } => write!(f, "cannot {what} {}: {error}", path.display()),
        }?;
        match self.cure() {
            Some(cure) => write!(f, "\nhint: {cure}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Input(error) | Error::Disk { error, .. } => Some(error),
            _ => None,
        }
    }
}
