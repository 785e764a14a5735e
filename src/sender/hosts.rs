//! Which hosts have spoken TLS: `meta/hosts.json`. Where it is used if offered, whoever sits in the middle could take the offer
//! away; a host that once had it must have it from then on. An operator clears that by removing the file.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;

use serde::{Deserialize, Serialize};

use crate::fs::{Dir, Fs, SyncSite};
use crate::mail::UnixTime;

const NAME: &str = "hosts.json";
const TEMPORARY: &str = ".hosts.tmp";

const FILE: SyncSite = SyncSite { number: 23, why: "the hosts that had TLS could be torn" };
const META: SyncSite = SyncSite { number: 24, why: "a host that had TLS could be spoken to without" };

/// The longest list that is read.
const BYTES_MAX: usize = 256 * 1024;

/// By name, with the first time (seconds since 1970).
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hosts {
    version: u32,
    tls_since: BTreeMap<String, u64>,
}

impl Hosts {
    /// As they are on disk.
    ///
    /// # Errors
    ///
    /// The list is there and cannot be read: then nobody knows who had TLS.
    pub(super) fn read(fs: &dyn Fs) -> io::Result<Hosts> {
        let file = match fs.open(Dir::Meta, OsStr::new(NAME)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Hosts::default()),
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
        Ok(serde_json::from_slice(&bytes)?)
    }

    pub(super) fn had_tls(&self, host: &str) -> bool {
        self.tls_since.contains_key(&key(host))
    }

    /// Notes it, durably.
    ///
    /// # Errors
    ///
    /// The disk call that failed; nothing is known of the list then, and it is written anew the next time.
    pub(super) fn note(mut self, host: &str, now: UnixTime, fs: &dyn Fs) -> io::Result<()> {
        self.version = 1;
        self.tls_since.insert(key(host), now.as_secs());
        let json = serde_json::to_vec(&self)?;
        match fs.unlink(Dir::Meta, OsStr::new(TEMPORARY)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = fs.create(Dir::Meta, OsStr::new(TEMPORARY))?;
        file.append(&json)?;
        file.sync(FILE)?;
        fs.replace(Dir::Meta, OsStr::new(TEMPORARY), OsStr::new(NAME))?;
        fs.sync_dir(Dir::Meta, META)
    }
}

fn key(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}
