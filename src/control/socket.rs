//! Where the socket is, and who is at its other end.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::fs;

/// The socket's name in the spool and in the directory that systemd makes for it.
const NAME: &str = "control";

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    pub(super) listener: UnixListener,
    /// Who may do everything, besides root: the spool's owner.
    pub(super) owner: u32,
}

/// Listens on `runtime_dir/control`, to which `control` in the spool then leads, or in the spool itself. A socket that a
/// killed process left is replaced: whoever calls this has the lock, so that nobody else listens.
///
/// # Errors
///
/// The place, and what went wrong there.
pub fn listen(spool: &Path, runtime_dir: Option<&Path>) -> Result<Listener, (PathBuf, io::Error)> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| (path, error)
    };
    let owner = std::fs::metadata(spool).map_err(at(spool))?.uid();
    // In a spool of one's own nobody else has business.
    let pickup = spool.join("pickup");
    let is_shared = std::fs::metadata(&pickup).is_ok_and(|pickup| pickup.mode() & 0o070 != 0);
    let mode = if is_shared { 0o660 } else { 0o600 };
    let place = runtime_dir.unwrap_or(spool);
    let socket = place.join(NAME);
    let listener = fs::listen_at(place, NAME, mode).map_err(at(&socket))?;
    listener.set_nonblocking(true).map_err(at(&socket))?;
    if runtime_dir.is_some() {
        fs::link_to(&socket, spool, NAME).map_err(at(&spool.join(NAME)))?;
    }
    Ok(Listener { listener, owner })
}

/// Connects to whoever serves the spool; `None` if nobody does.
///
/// # Errors
///
/// The call that failed: mostly that this user may not.
pub(super) fn connect(spool: &Path) -> io::Result<Option<UnixStream>> {
    let connect = || {
        let (path, _open) = fs::socket_path(spool, NAME)?;
        UnixStream::connect(path)
    };
    connected(connect())
}

/// The same without waiting for a service that does not accept connections: that is an error.
///
/// # Errors
///
/// As [`connect`].
pub(super) async fn connect_now(spool: &Path) -> io::Result<Option<tokio::net::UnixStream>> {
    let connect = async {
        let (path, _open) = fs::socket_path(spool, NAME)?;
        tokio::net::UnixStream::connect(path).await
    };
    connected(connect.await)
}

fn connected<T>(connected: io::Result<T>) -> io::Result<Option<T>> {
    match connected {
        Ok(stream) => Ok(Some(stream)),
        // Behind a service that was killed its socket is left.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => Ok(None),
        Err(e) => Err(e),
    }
}
