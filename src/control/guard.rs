//! Who else may reach into the spool. Messages are private, and whoever may write behind `pickup/` could forge one, or an
//! outcome: a spool that is open to others is not worked on.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::fs::{Dir, user_name};

/// Anybody else may do anything.
const OTHERS: u32 = 0o077;
/// Anybody else may make, remove and rename.
const OTHERS_WRITE: u32 = 0o022;
/// Those who are not even in the group may.
const ALL_WRITE: u32 = 0o002;

/// What is wrong with one path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    Open { path: PathBuf, mode: u32 },
    Writable { path: PathBuf, mode: u32 },
    Foreign { path: PathBuf, owner: u32 },
}

/// A spool that is open to others or belongs to somebody else, at one or more places.
#[derive(Debug, PartialEq, Eq)]
pub struct Exposed {
    faults: Vec<Fault>,
    /// Who wants to work on it.
    user: u32,
}

/// Whether the spool at `root` belongs to `user` and is closed to everybody else: all of it but `pickup/`, where others
/// drop. The root may be read by others, as they must pass it, and may belong to root.
///
/// # Errors
///
/// The path that cannot be looked at.
pub fn exposed(root: &Path, user: u32) -> Result<Option<Exposed>, (PathBuf, io::Error)> {
    let mut faults = Vec::new();
    let stat = look(root.to_owned(), |path| std::fs::metadata(path))?;
    let is_roots = stat.uid() == 0;
    if stat.uid() != user && !is_roots {
        faults.push(Fault::Foreign { path: root.to_owned(), owner: stat.uid() });
    }
    if stat.mode() & OTHERS_WRITE != 0 {
        faults.push(Fault::Writable { path: root.to_owned(), mode: stat.mode() & 0o7777 });
    }
    let behind = Dir::ALL.into_iter().filter(|dir| *dir != Dir::Pickup).map(|dir| root.join(dir.name()));
    let lock = Some(root.join("lock")).filter(|lock| lock.exists());
    for path in behind.chain(lock) {
        let stat = look(path.clone(), |path| std::fs::metadata(path))?;
        if stat.uid() != user {
            faults.push(Fault::Foreign { path: path.clone(), owner: stat.uid() });
        }
        if stat.mode() & OTHERS != 0 {
            faults.push(Fault::Open { path, mode: stat.mode() & 0o7777 });
        }
    }
    Ok((!faults.is_empty()).then_some(Exposed { faults, user }))
}

/// A `pickup/` that everybody may drop into: what is wrong, and the command that mends it. There is nothing to say of one
/// that is away.
pub fn open_pickup(root: &Path) -> Option<(String, String)> {
    let path = root.join(Dir::Pickup.name());
    let mode = std::fs::metadata(&path).ok()?.mode() & 0o7777;
    (mode & ALL_WRITE != 0).then(|| {
        let path = path.display();
        (format!("{path} is open to all (mode {mode:04o})"), format!("chmod o= {path}"))
    })
}

fn look<T>(path: PathBuf, stat: impl Fn(&Path) -> io::Result<T>) -> Result<T, (PathBuf, io::Error)> {
    stat(&path).map_err(|error| (path, error))
}

impl Exposed {
    /// The commands that mend it.
    pub fn cure(&self) -> String {
        let (mut open, mut writable, mut foreign) = (Vec::new(), Vec::new(), Vec::new());
        for fault in &self.faults {
            match fault {
                Fault::Open { path, .. } => open.push(path),
                Fault::Writable { path, .. } => writable.push(path),
                Fault::Foreign { path, .. } => foreign.push(path),
            }
        }
        let (dirs, files): (Vec<_>, Vec<_>) = open.into_iter().partition(|path| path.is_dir());
        let owner = format!("chown {}", user_name(self.user));
        let commands = [
            (owner.as_str(), foreign),
            ("chmod go-w", writable),
            ("chmod 0700", dirs),
            ("chmod 0600", files),
        ];
        let command = |(command, paths): &(&str, Vec<&PathBuf>)| {
            paths.iter().fold((*command).to_owned(), |line, path| format!("{line} {}", quoted(path)))
        };
        commands.iter().filter(|(_, paths)| !paths.is_empty()).map(command).collect::<Vec<_>>().join(" && ")
    }

    /// Whether any part of it belongs to another user.
    pub fn is_foreign(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault, Fault::Foreign { .. }))
    }

    /// Whose it is, if every part of it that is wrong is so because it belongs to one other user.
    pub fn other_owner(&self) -> Option<u32> {
        let mut owners = self.faults.iter().map(|fault| match fault {
            Fault::Foreign { owner, .. } => Some(*owner),
            _ => None,
        });
        let first = owners.next()??;
        owners.all(|owner| owner == Some(first)).then_some(first)
    }
}

impl std::fmt::Display for Exposed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        for fault in &self.faults {
            if !text.is_empty() {
                text.push_str("; ");
            }
            match fault {
                Fault::Open { path, mode } => {
                    write!(text, "{} is open to others (mode {mode:04o})", path.display())
                }
                Fault::Writable { path, mode } => {
                    write!(text, "{} can be written to by others (mode {mode:04o})", path.display())
                }
                Fault::Foreign { path, owner } => {
                    let (owner, user) = (user_name(*owner), user_name(self.user));
                    write!(text, "{} belongs to {owner} and not to {user}", path.display())
                }
            }?;
        }
        f.write_str(&text)
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-,:@%=".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
