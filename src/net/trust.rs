//! Whom to trust, read anew when it has changed: an appliance is updated while it runs.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{TlsConfig, TlsError, TlsOptions};
use crate::mail::Monotonic;

/// The system's certificates are read again after this in any case: they may lie where nobody looks for a change.
const AT_MOST: Duration = Duration::from_secs(3600);

/// The last configuration that was built, and from what. Reading the system's certificates takes milliseconds of a fast
/// machine, looking whether they have changed takes microseconds.
#[derive(Default)]
pub struct Trust(Mutex<Option<Built>>);

struct Built {
    options: TlsOptions,
    stamps: Vec<Stamp>,
    at: Monotonic,
    config: TlsConfig,
}

/// What changes when a file or a directory does; `None` if it cannot be seen.
type Stamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;

impl Trust {
    /// The configuration for `options`, as the files are now.
    ///
    /// # Errors
    ///
    /// As [`TlsConfig::new`].
    pub fn config(&self, options: &TlsOptions, now: Monotonic) -> Result<TlsConfig, TlsError> {
        // Before they are read: what changes meanwhile is seen the next time.
        let stamps: Vec<Stamp> = sources(options).iter().map(|path| stamp(path)).collect();
        let mut built = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(built) = built.as_ref() {
            let is_young = now - built.at < AT_MOST;
            if is_young && built.options == *options && built.stamps == stamps {
                return Ok(built.config.clone());
            }
        }
        let config = TlsConfig::new(options)?;
        *built = Some(Built { options: options.clone(), stamps, at: now, config: config.clone() });
        Ok(config)
    }
}

fn sources(options: &TlsOptions) -> Vec<PathBuf> {
    let system = openssl_probe::probe();
    let mut paths: Vec<PathBuf> = system.cert_file.into_iter().chain(system.cert_dir).collect();
    paths.extend(options.ca_file.clone());
    paths.extend(options.client.iter().flat_map(|client| [client.certificate.clone(), client.key.clone()]));
    paths
}

fn stamp(path: &Path) -> Stamp {
    let stat = std::fs::metadata(path).ok()?;
    Some((
        stat.dev(),
        stat.ino(),
        stat.size(),
        stat.mtime(),
        stat.mtime_nsec(),
        stat.ctime(),
        stat.ctime_nsec(),
    ))
}
