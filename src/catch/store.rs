//! What was taken, as files: `000001.eml` and beside it `000001.json`. Nothing here is synced: a toy for
//! trying things out may lose what it took, a mail server may not.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use serde::Serialize;

use super::dialogue::Envelope;
use crate::mail::UnixTime;

/// Numbers messages, and keeps them if there is a folder.
#[derive(Debug)]
pub(super) struct Store {
    dir: Option<PathBuf>,
    last: u64,
}

/// What the bytes of a message do not say.
#[derive(Serialize)]
struct Record<'a> {
    number: u64,
    reverse_path: &'a str,
    forward_paths: &'a [String],
    peer: String,
    received_at: String,
}

impl Store {
    /// Makes the folder if it is missing, for its owner alone, and goes on behind the greatest number in it.
    pub(super) fn open(dir: Option<PathBuf>) -> io::Result<Self> {
        let mut last = 0;
        if let Some(dir) = &dir {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            for entry in std::fs::read_dir(dir)? {
                let name = entry?.file_name();
                let number = name.to_str().and_then(|n| n.split('.').next()).and_then(|n| n.parse().ok());
                last = last.max(number.unwrap_or(0));
            }
        }
        Ok(Store { dir, last })
    }

    /// The number of the next message.
    pub(super) fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Writes the two files, if there is a folder; never over one that exists.
    pub(super) fn keep(
        &self,
        number: u64,
        peer: SocketAddr,
        envelope: &Envelope,
        bytes: &[u8],
    ) -> io::Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let record = Record {
            number,
            reverse_path: &envelope.reverse_path,
            forward_paths: &envelope.forward_paths,
            peer: peer.to_string(),
            received_at: now().to_string(),
        };
        let mut json = serde_json::to_vec_pretty(&record)?;
        json.push(b'\n');
        for (suffix, content) in [("eml", bytes), ("json", &json)] {
            let path = dir.join(format!("{number:06}.{suffix}"));
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)?;
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "written into a file for people; nothing is decided by it")]
fn now() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_secs(since.as_secs())
}
