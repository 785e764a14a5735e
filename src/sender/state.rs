//! What the sender last said about the smarthost, for `status`, and what the next run of it begins with:
//! `meta/sender.json`. A hint, not a record: it is not synced, no message is lost or sent twice without it, and it is
//! written only when something changes.

use std::ffi::OsStr;
use std::io;

use serde::{Deserialize, Serialize};

use crate::fs::{Dir, Fs};
use crate::mail::UnixTime;
use crate::policy::{Limit, Memory};

const NAME: &str = "sender.json";
const TEMPORARY: &str = ".sender.tmp";

/// The longest file that is read, octets: a hundred failures that may come back, each with some thousand recipients.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the sender last said, and which messages it holds: what only it knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// About the smarthost.
    pub smarthost: SenderState,
    /// Messages that wait for a setting or for the disk, with the reason.
    pub held: Vec<HeldMessage>,
    /// Better smarthosts than the one in use, which cannot be used.
    #[serde(default)]
    pub out_of_service: Vec<OutOfService>,
    /// What the next run begins with.
    #[serde(default)]
    pub(super) memory: Memory,
}

/// A message that is held, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldMessage {
    /// Its queue id.
    pub id: String,
    /// Why, and what to set.
    pub why: String,
}

/// A smarthost that cannot be used while another one delivers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutOfService {
    /// Its name.
    pub smarthost: String,
    /// Seconds since 1970.
    pub since: u64,
    /// What was being done.
    pub step: String,
    /// What went wrong.
    pub cause: String,
    /// What to do.
    pub hint: String,
}

/// What the sender is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SenderState {
    /// The last session was in order.
    Usable {
        /// The smarthost's name.
        smarthost: String,
        /// Seconds since 1970.
        since: u64,
    },
    /// The smarthost cannot be used; nothing is charged to any message.
    Unusable {
        /// The smarthost's name.
        smarthost: String,
        /// Seconds since 1970.
        since: u64,
        /// What was being done.
        step: String,
        /// What went wrong.
        cause: String,
        /// What to do.
        hint: String,
    },
    /// No smarthost is configured: messages are accepted and kept.
    NoSmarthost {
        /// Seconds since 1970.
        since: u64,
    },
    /// An operator wants nothing to be sent.
    Paused {
        /// Seconds since 1970.
        since: u64,
    },
    /// A deferred message holds the line.
    Held {
        /// The smarthost's name.
        smarthost: String,
        /// Seconds since 1970.
        since: u64,
        /// Its queue id.
        message: String,
        /// What the server said.
        cause: String,
    },
    /// The server refuses whatever it is given: nothing is given up, and one message is tried at a time.
    BreakerOpen {
        /// The smarthost's name.
        smarthost: String,
        /// Seconds since 1970.
        since: u64,
        /// What the server said last.
        cause: String,
        /// What to do.
        hint: String,
    },
    /// As many were sent as the smarthost is given: the next waits for its turn.
    Paced {
        /// The smarthost's name.
        smarthost: String,
        /// Seconds since 1970.
        since: u64,
        /// Which of its limits is reached.
        limit: Limit,
        /// When the next may go, seconds since 1970.
        until: u64,
    },
}

impl SenderState {
    /// The same apart from the times. An open breaker is open whatever the server says next.
    pub(super) fn is_like(&self, other: &SenderState) -> bool {
        if let (SenderState::BreakerOpen { .. }, SenderState::BreakerOpen { .. }) = (self, other) {
            return true;
        }
        let at_zero = |state: &SenderState| {
            let mut state = state.clone();
            *state.since_mut() = 0;
            if let SenderState::Paced { until, .. } = &mut state {
                *until = 0;
            }
            state
        };
        at_zero(self) == at_zero(other)
    }

    fn since_mut(&mut self) -> &mut u64 {
        match self {
            SenderState::Usable { since, .. }
            | SenderState::Unusable { since, .. }
            | SenderState::NoSmarthost { since }
            | SenderState::Paused { since }
            | SenderState::Held { since, .. }
            | SenderState::BreakerOpen { since, .. }
            | SenderState::Paced { since, .. } => since,
        }
    }

    /// Since when.
    pub fn since(&self) -> UnixTime {
        let mut state = self.clone();
        UnixTime::from_secs(*state.since_mut())
    }
}

impl Said {
    /// Writes it. That it cannot be written is the caller's to log; nothing depends on it.
    pub(super) fn write(&self, fs: &dyn Fs) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        match fs.unlink(Dir::Meta, OsStr::new(TEMPORARY)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        fs.create(Dir::Meta, OsStr::new(TEMPORARY))?.append(&json)?;
        fs.replace(Dir::Meta, OsStr::new(TEMPORARY), OsStr::new(NAME))
    }

    /// Takes it away.
    pub(super) fn forget(fs: &dyn Fs) -> io::Result<()> {
        match fs.unlink(Dir::Meta, OsStr::new(NAME)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Reads it; `None` if there is none that can be read.
    pub fn read(fs: &dyn Fs) -> Option<Said> {
        let file = fs.open(Dir::Meta, OsStr::new(NAME)).ok()?;
        let (mut bytes, mut block) = (Vec::new(), [0; 16 * 1024]);
        while bytes.len() < BYTES_MAX {
            match file.read_at(&mut block, bytes.len() as u64).ok()? {
                0 => break,
                read => bytes.extend_from_slice(&block[..read]),
            }
        }
        serde_json::from_slice(&bytes).ok()
    }
}
