//! What the service manager is told (sd_notify(3), systemd.service(5) `Type=notify`): ready, how it goes, still alive.
//!
//! Alive means that work gets done: each sign of life is asked for in a round of the pickup's thread and sent from the loop on
//! which the sender runs. If a disk call hangs in either, the signs end, and the manager starts the service anew.
//! Without a manager nothing is done here.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::mail::UnixTime;
use crate::pickup::Hint;
use crate::sender::{Said, SenderState, Wake};
use crate::spool::Spool;

/// The line that `systemctl status` shows is not sent more often.
const STATUS_GAP: Duration = Duration::from_secs(1);
/// A line longer than this is cut, octets: the datagram has to fit.
const STATUS_MAX: usize = 400;
/// How long the manager may keep us waiting. It reads nothing while it reloads.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// The service manager, if there is one.
#[derive(Clone, Default)]
pub(super) struct Manager(Option<Arc<Told>>);

struct Told {
    socket: UnixDatagram,
    address: SocketAddr,
    /// How long it may hear nothing.
    watchdog: Option<Duration>,
    is_ready: AtomicBool,
    /// The pickup that runs, if one does.
    pickup: Mutex<Option<mpsc::Sender<Hint>>>,
    round: Notify,
}

impl Manager {
    /// As the environment names it. One that cannot be reached is logged: the manager will miss us.
    pub(super) fn from_env() -> Manager {
        let Some(path) = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Manager(None);
        };
        let for_us = env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let watchdog = env::var("WATCHDOG_USEC").ok().filter(|_| for_us).and_then(|usec| usec.parse().ok());
        let watchdog = watchdog.filter(|usec| *usec > 0).map(Duration::from_micros);
        match Told::new(&path.into_vec(), watchdog) {
            Ok(told) => Manager(Some(Arc::new(told))),
            Err(error) => {
                tracing::warn!(%error, hint = "NOTIFY_SOCKET is not a socket of systemd", "manager-not-told");
                Manager(None)
            }
        }
    }

    /// Sends signs of life for as long as the runtime runs, if they are asked for.
    pub(super) fn keep_alive(&self) {
        let Some((told, span)) = self.0.clone().and_then(|told| told.watchdog.map(|span| (told, span)))
        else {
            return;
        };
        drop(tokio::spawn(async move {
            loop {
                tokio::time::sleep(span / 2).await;
                told.a_round().await;
                told.send("WATCHDOG=1");
            }
        }));
    }

    /// This pickup runs; `None`: none does.
    pub(super) fn set_pickup(&self, hints: Option<mpsc::Sender<Hint>>) {
        if let Some(told) = &self.0 {
            *told.pickup.lock().unwrap_or_else(PoisonError::into_inner) = hints;
            // Whoever waits for the last one waits in vain.
            told.round.notify_one();
        }
    }

    /// The pickup's thread has made a round. After the first one the service is ready.
    pub(super) fn pickup_made_a_round(&self) {
        if let Some(told) = &self.0 {
            told.round.notify_one();
            if !told.is_ready.load(Ordering::Relaxed) && told.send("READY=1") {
                told.is_ready.store(true, Ordering::Relaxed);
            }
        }
    }

    /// The service ends.
    pub(super) fn stopping(&self) {
        if let Some(told) = &self.0 {
            told.send("STOPPING=1\nSTATUS=stopping");
        }
    }

    /// What keeps the service from its work.
    pub(super) fn faulted(&self, error: &dyn std::fmt::Display) {
        if let Some(told) = &self.0 {
            told.send(&format!("STATUS={}", one_line(&format!("disk fault, tried again: {error}"))));
        }
    }

    /// Tells how it goes whenever `wake` says that something happened, until it is dropped.
    pub(super) async fn follow(self, spool: Arc<Spool>, wake: Arc<Wake>) {
        let Some(told) = self.0 else { return };
        let mut last = String::new();
        loop {
            let said = Said::read(&**spool.fs()).map(|said| said.smarthost);
            let counts = spool.counts();
            let line = status(counts.in_line + counts.aside + counts.held, said.as_ref());
            if line != last && told.send(&format!("STATUS={line}")) {
                last = line;
            }
            tokio::time::sleep(STATUS_GAP).await;
            wake.told.notified().await;
        }
    }
}

impl Told {
    fn new(path: &[u8], watchdog: Option<Duration>) -> io::Result<Told> {
        // A name in front of which stands "@" is in no directory (unix(7), "abstract").
        let address = match path.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Told {
            socket,
            address,
            watchdog,
            is_ready: AtomicBool::new(false),
            pickup: Mutex::new(None),
            round: Notify::new(),
        })
    }

    /// False if it was not taken; the next one may be.
    fn send(&self, text: &str) -> bool {
        match self.socket.send_to_addr(text.as_bytes(), &self.address) {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, "manager-not-told");
                false
            }
        }
    }

    /// Returns when the pickup has ended a round after this; at once if none runs.
    async fn a_round(&self) {
        // One that ended before does not count.
        drop(tokio::time::timeout(Duration::ZERO, self.round.notified()).await);
        if self.ping() {
            self.round.notified().await;
        }
    }

    fn ping(&self) -> bool {
        let pickup = self.pickup.lock().unwrap_or_else(PoisonError::into_inner);
        pickup.as_ref().is_some_and(|hints| hints.send(Hint::Ping).is_ok())
    }
}

fn status(waiting: u64, sender: Option<&SenderState>) -> String {
    let smarthost = match sender {
        None => "smarthost not tried yet".to_owned(),
        Some(SenderState::Paused { .. }) => "PAUSED: nothing is sent".to_owned(),
        Some(SenderState::NoSmarthost { .. }) => "no smarthost is configured".to_owned(),
        Some(SenderState::Usable { smarthost, .. }) => format!("{smarthost} usable"),
        Some(SenderState::Unusable { smarthost, step, cause, .. }) => {
            format!("{smarthost} NOT USABLE, {step}: {cause}")
        }
        Some(SenderState::Held { smarthost, cause, .. }) => {
            format!("{smarthost} usable, a deferred message holds the line: {cause}")
        }
        Some(SenderState::BreakerOpen { smarthost, cause, .. }) => {
            format!("{smarthost} REFUSES EVERY MESSAGE: {cause}")
        }
        Some(SenderState::Paced { smarthost, limit, until, .. }) => {
            let until = UnixTime::from_secs(*until);
            format!(
                "{smarthost} usable, the next message waits for its turn until {until} ({})",
                limit.name()
            )
        }
    };
    one_line(&format!("waiting {waiting}, {smarthost}"))
}

/// What a server said must not begin a line of its own: the manager would take it for another variable.
fn one_line(text: &str) -> String {
    let mut line = text.replace(char::is_control, "\u{fffd}");
    line.truncate(line.floor_char_boundary(STATUS_MAX));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manager that hears what it is told.
    struct Heard(UnixDatagram);

    impl Heard {
        fn on(path: &std::path::Path) -> Heard {
            let socket = UnixDatagram::bind(path).unwrap();
            socket.set_nonblocking(true).unwrap();
            Heard(socket)
        }

        fn all(&self) -> Vec<String> {
            let mut buffer = [0; 1024];
            std::iter::from_fn(|| {
                self.0.recv(&mut buffer).ok().map(|n| String::from_utf8(buffer[..n].into()).unwrap())
            })
            .collect()
        }
    }

    fn manager(path: &std::path::Path, watchdog: Option<u64>) -> Manager {
        let told = Told::new(path.as_os_str().as_bytes(), watchdog.map(Duration::from_secs)).unwrap();
        Manager(Some(Arc::new(told)))
    }

    #[test]
    fn it_is_ready_with_the_first_round_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let heard = Heard::on(&path);
        let manager = manager(&path, None);
        assert!(heard.all().is_empty());
        manager.pickup_made_a_round();
        manager.pickup_made_a_round();
        assert_eq!(heard.all(), ["READY=1"]);
    }

    #[test]
    fn ready_is_said_again_until_it_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = manager(&path, None);
        manager.pickup_made_a_round();
        let heard = Heard::on(&path);
        manager.pickup_made_a_round();
        assert_eq!(heard.all(), ["READY=1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_end_when_the_pickup_makes_no_rounds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let heard = Heard::on(&path);
        let manager = manager(&path, Some(10));
        let (hints, pings) = mpsc::channel();
        manager.set_pickup(Some(hints));
        manager.keep_alive();
        let pass = tokio::time::sleep;
        // A round that ended before it was asked for is no answer.
        manager.pickup_made_a_round();
        assert_eq!(heard.all(), ["READY=1"]);
        pass(Duration::from_secs(60)).await;
        assert!(heard.all().is_empty());
        assert_eq!(pings.try_iter().count(), 1);
        manager.pickup_made_a_round();
        pass(Duration::from_secs(4)).await;
        assert_eq!(heard.all(), ["WATCHDOG=1"]);
        pass(Duration::from_secs(60)).await;
        assert!(heard.all().is_empty());
        // Where no pickup runs, as between a fault and the recovery, the loop alone is alive.
        manager.set_pickup(None);
        pass(Duration::from_secs(21)).await;
        assert_eq!(heard.all().len(), 5);
    }

    #[test]
    fn a_name_that_is_in_no_directory_is_reached() {
        let name = format!("@pillarbox-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let heard = Heard(socket);
        manager(std::path::Path::new(&name), None).stopping();
        assert_eq!(heard.all(), ["STOPPING=1\nSTATUS=stopping"]);
    }

    #[test]
    fn the_status_is_one_line_whatever_a_server_says() {
        let since = UnixTime::from_secs(0).as_secs();
        let usable = SenderState::Usable { smarthost: "mail".into(), since };
        assert_eq!(status(0, None), "waiting 0, smarthost not tried yet");
        assert_eq!(status(3, Some(&usable)), "waiting 3, mail usable");
        let said = SenderState::Unusable {
            smarthost: "mail".into(),
            since,
            step: "connecting".into(),
            cause: format!("x\nMAINPID=1\n{}", "\u{e4}".repeat(STATUS_MAX)),
            hint: String::new(),
        };
        let line = status(1, Some(&said));
        assert!(
            line.starts_with("waiting 1, mail NOT USABLE, connecting: x\u{fffd}MAINPID=1\u{fffd}"),
            "{line}"
        );
        assert!(!line.contains(char::is_control) && line.len() <= STATUS_MAX, "{line}");
    }
}
