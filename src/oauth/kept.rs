//! What lies on disk: `meta/oauth-<smarthost>.json`, 0600 (docs/SPOOL.md, "The records").

use std::ffi::OsStr;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::due::Now;
use crate::fs::{Dir, Fs, SyncSite};
use crate::mail::{Monotonic, UnixTime};

const FILE: SyncSite = SyncSite { number: 25, why: "a refresh token that was given could be torn" };
const META: SyncSite =
    SyncSite { number: 26, why: "a refresh token that was given could be lost, the one before being void" };

/// The longest file that is read, octets: two tokens are much shorter.
const BYTES_MAX: usize = 256 * 1024;

/// The longest part of a smarthost's name that stands in that of the file.
const NAME_MAX: usize = 80;

/// No Debug: nobody may see it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) version: u32,
    /// Digest of the refresh token of the configuration, and of whom it is for: another one wins over what is kept.
    pub(super) refresh_for: String,
    /// The one that the server gave last, if it ever gave one.
    pub(super) refresh_token: Option<String>,
    pub(super) access: Option<Access>,
}

/// An access token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Access {
    pub(super) token: String,
    /// Digest of what it was asked for with.
    pub(super) granted_for: String,
    pub(super) lifetime_secs: u64,
    got_boot: String,
    got_boottime_millis: u64,
    got_wall_millis: u64,
}

impl Access {
    pub(super) fn new(token: String, granted_for: String, lifetime: Duration, got: &Now) -> Access {
        Access {
            token,
            granted_for,
            lifetime_secs: lifetime.as_secs(),
            got_boot: got.boot.clone(),
            got_boottime_millis: u64::try_from(got.monotonic.0.as_millis()).unwrap_or(u64::MAX),
            got_wall_millis: got.wall.as_millis(),
        }
    }

    pub(super) fn got(&self) -> Now {
        Now {
            monotonic: Monotonic(Duration::from_millis(self.got_boottime_millis)),
            boot: self.got_boot.clone(),
            wall: UnixTime::from_millis(self.got_wall_millis),
        }
    }

    pub(super) fn lifetime(&self) -> Duration {
        Duration::from_secs(self.lifetime_secs)
    }
}

impl Kept {
    /// As it is on disk; `None` if nothing is.
    ///
    /// # Errors
    ///
    /// It is there and cannot be read.
    pub(super) fn read(fs: &dyn Fs, name: &str) -> io::Result<Option<Kept>> {
        let file = match fs.open(Dir::Meta, OsStr::new(name)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut bytes = Vec::new();
        let mut block = [0; 4096];
        while bytes.len() < BYTES_MAX {
            match file.read_at(&mut block, bytes.len() as u64)? {
                0 => break,
                read => bytes.extend_from_slice(&block[..read]),
            }
        }
        // What a parser says may quote what it found.
        let broken = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|_| broken("it is not as it was written"))?;
        if kept.version == 1 { Ok(Some(kept)) } else { Err(broken("it is of another version")) }
    }

    /// Writes it, durably. The file before stays whole until this one is.
    ///
    /// # Errors
    ///
    /// The disk call that failed. Either file may be there then; nothing is known of the new one.
    pub(super) fn write(&self, fs: &dyn Fs, name: &str) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        let temporary = format!(".{}.tmp", name.trim_end_matches(".json"));
        let temporary = OsStr::new(&temporary);
        match fs.unlink(Dir::Meta, temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = fs.create(Dir::Meta, temporary)?;
        file.append(&json)?;
        file.sync(FILE)?;
        fs.replace(Dir::Meta, temporary, OsStr::new(name))?;
        fs.sync_dir(Dir::Meta, META)
    }
}

/// `oauth-<smarthost>.json`. What a file's name cannot hold is replaced, and two that would become alike are told apart.
pub(super) fn file_name(smarthost: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    let plain: String = smarthost.chars().map(|c| if is_plain(c) { c } else { '_' }).take(NAME_MAX).collect();
    match plain == smarthost {
        true => format!("oauth-{plain}.json"),
        false => format!("oauth-{plain}-{}.json", &digest(&[smarthost])[..8]),
    }
}

/// SHA-256 of the parts, in hex; their borders count.
pub(super) fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smarthost_has_a_file_of_its_own_whatever_it_is_called() {
        assert_eq!(file_name("smtp.office365.com"), "oauth-smtp.office365.com.json");
        let names = ["a/b", "a_b", "a b", "..", "ä", &"x".repeat(300), &"x".repeat(301)].map(file_name);
        for (at, name) in names.iter().enumerate() {
            assert!(!name.contains('/') && name.len() < 120, "{name}");
            assert_eq!(names.iter().position(|other| other == name), Some(at));
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_eq!(digest(&[]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
