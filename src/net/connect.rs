//! From a name to a TCP connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Heard, Witness};
use crate::mail::Monotonic;

/// How long one address is waited for before the next is tried beside it (RFC 8305 section 8): a broken IPv6 route swallows
/// packets.
const HEAD_START: Duration = Duration::from_millis(250);

/// Where a smarthost listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A name, or an address without brackets; what begins with `/` is the path of a unix socket, which has no port.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// TLS from the first octet (RFC 8314 section 3.3), as on port 465.
    pub implicit: bool,
}

/// Where a connection leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// An address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// Why there is no connection. The kind decides; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectError {
    /// The kind of the most telling failure among all addresses.
    pub kind: ConnectFault,
    /// Where to.
    pub endpoint: Endpoint,
    /// What happened, each address by name.
    detail: String,
}

/// The ways in which a connection fails, the most telling last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectFault {
    /// The name has no address, or could not be looked up.
    Dns,
    /// Something else, told by the text.
    Other,
    /// This box itself does not let it out, or may not open the socket.
    Forbidden,
    /// There is no way to that network.
    NoRoute,
    /// There is a way, and somebody on it says that the host cannot be reached.
    HostUnreachable,
    /// Nobody answered in time.
    TimedOut,
    /// The host answers and nothing listens on the port.
    Refused,
}

/// Connects to a unix socket.
pub(super) async fn connect_unix(
    endpoint: &Endpoint,
    path: &Path,
    within: Duration,
) -> Result<UnixStream, ConnectError> {
    let failed = |kind, detail| ConnectError { kind, endpoint: endpoint.clone(), detail };
    match timeout(within, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(stream),
        // No socket is as good as one that nobody listens on.
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            Err(failed(ConnectFault::Refused, plain(&error)))
        }
        Ok(Err(error)) => Err(failed(ConnectFault::of(&error), plain(&error))),
        Err(_) => Err(failed(ConnectFault::TimedOut, format!("no answer within {} s", within.as_secs()))),
    }
}

/// Connects to the first address that answers, all of them within `within`. One that is silent cannot use up
/// the time of those behind it. The resolver is the system's (getaddrinfo), so `/etc/resolv.conf` is read as glibc reads it:
/// again when it has changed (glibc 2.26).
pub async fn connect(
    endpoint: &Endpoint,
    within: Duration,
    now: &(dyn Fn() -> Monotonic + Sync),
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    connect_watched(endpoint, within, now, None).await
}

/// The same, watched.
pub(super) async fn connect_watched(
    endpoint: &Endpoint,
    within: Duration,
    now: &(dyn Fn() -> Monotonic + Sync),
    witness: Option<&dyn Witness>,
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let end = now() + within;
    let addresses =
        match timeout(within, tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))).await {
            Ok(Ok(addresses)) => addresses.collect::<Vec<_>>(),
            Ok(Err(error)) => {
                return Err(ConnectError::dns(endpoint, format!("the name cannot be looked up: {error}")));
            }
            Err(_) => {
                let seconds = within.as_secs();
                return Err(ConnectError::dns(
                    endpoint,
                    format!("the name server did not answer within {seconds} s"),
                ));
            }
        };
    if let Some(witness) = witness {
        witness.hear(Heard::Addresses(&addresses));
    }
    connect_to_any(endpoint, &addresses, end, now).await
}

/// Happy Eyeballs (RFC 8305): the families in turn, each address with a head start before the next, the first that
/// answers wins. A refusal does not wait for the head start.
async fn connect_to_any(
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    end: Monotonic,
    now: &(dyn Fn() -> Monotonic + Sync),
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let within = end - now();
    let mut kind = ConnectFault::Dns;
    let mut details: Vec<(usize, String)> = Vec::new();
    let addresses = families_in_turn(addresses);
    let mut tries = JoinSet::new();
    let mut started = 0;
    while started < addresses.len() || !tries.is_empty() {
        if let Some(&address) = addresses.get(started) {
            let number = started;
            tries.spawn(async move { (number, TcpStream::connect(address).await) });
            started += 1;
        }
        let wait = if started < addresses.len() { HEAD_START.min(end - now()) } else { end - now() };
        match timeout(wait, tries.join_next()).await {
            Ok(Some(Ok((number, Ok(stream))))) => {
                // One write is one group of requests; Nagle would hold each back for an acknowledgement. A socket
                // that cannot do without is slow, not broken.
                let _slow = stream.set_nodelay(true);
                return Ok((stream, addresses[number]));
            }
            Ok(Some(Ok((number, Err(error))))) => {
                kind = kind.max(ConnectFault::of(&error));
                details.push((number, plain(&error)));
            }
            // A task of ours that panicked would be a fault of the runtime; its address is told as silent below.
            Ok(Some(Err(_)) | None) => {}
            Err(_) if end > now() => {}
            Err(_) => break,
        }
    }
    if addresses.is_empty() {
        return Err(ConnectError::dns(endpoint, "the name has no address".to_owned()));
    }
    for number in 0..addresses.len() {
        if !details.iter().any(|(known, _)| *known == number) {
            kind = kind.max(ConnectFault::TimedOut);
            details.push((number, format!("no answer within {} s", within.as_secs())));
        }
    }
    details.sort();
    // An address that stands in the configuration itself need not be told again.
    let detail = |(number, what): &(usize, String)| match addresses[*number].to_string() {
        address if address == endpoint.to_string() => what.clone(),
        address => format!("{address}: {what}"),
    };
    let detail = details.iter().map(detail).collect::<Vec<_>>().join("; ");
    Err(ConnectError { kind, endpoint: endpoint.clone(), detail })
}

/// In the system's order (RFC 6724), but no two of a family one behind the other while there is one of the other
/// (RFC 8305 section 4).
fn families_in_turn(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_first_family = |a: &&SocketAddr| addresses.first().is_some_and(|f| f.is_ipv4() == a.is_ipv4());
    let (first, second): (Vec<&SocketAddr>, Vec<&SocketAddr>) = addresses.iter().partition(is_first_family);
    let longest = first.len().max(second.len());
    let in_turn = (0..longest).flat_map(|at| [first.get(at), second.get(at)]);
    in_turn.flatten().map(|&&address| address).collect()
}

/// The system's words without the number behind them.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

impl ConnectFault {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectFault::Refused,
            io::ErrorKind::TimedOut => ConnectFault::TimedOut,
            io::ErrorKind::HostUnreachable => ConnectFault::HostUnreachable,
            // A route that prohibits, a blackhole.
            io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => ConnectFault::Forbidden,
            io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            // No address of this family on this host: the usual answer for IPv6 on a box without.
            | io::ErrorKind::AddrNotAvailable => ConnectFault::NoRoute,
            _ => ConnectFault::Other,
        }
    }
}

impl ConnectError {
    fn dns(endpoint: &Endpoint, detail: String) -> Self {
        ConnectError { kind: ConnectFault::Dns, endpoint: endpoint.clone(), detail }
    }
}

impl Endpoint {
    /// The unix socket, if it is one.
    pub fn socket(&self) -> Option<&Path> {
        self.host.starts_with('/').then(|| Path::new(&self.host))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix(path) => path.display().fmt(f),
        }
    }
}

/// `mx.example.com:587`, `[2001:db8::1]:25`, `/run/smtp.sock`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.socket().is_some() {
            f.write_str(&self.host)
        } else if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connect to {}: {}", self.endpoint, self.detail)
    }
}

impl std::error::Error for ConnectError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tests::clock;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint { host: host.to_owned(), port, implicit: false }
    }

    #[tokio::test]
    async fn a_dead_address_in_front_does_not_hide_a_live_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = listener.local_addr().unwrap();
        // Nothing listens on port 1; 192.0.2.1 (TEST-NET-1) has no route or swallows.
        let addresses = ["127.0.0.1:1".parse().unwrap(), "192.0.2.1:25".parse().unwrap(), live];
        let now = clock();
        let end = now() + Duration::from_millis(600);
        let (stream, address) = connect_to_any(&endpoint("mx", 25), &addresses, end, &now).await.unwrap();
        assert_eq!(address, live);
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn refused_is_told_with_name_and_address() {
        let error = connect(&endpoint("127.0.0.1", 1), Duration::from_secs(5), &clock()).await.unwrap_err();
        assert_eq!(error.kind, ConnectFault::Refused);
        assert_eq!(error.to_string(), "connect to 127.0.0.1:1: connection refused");
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_a_matter_of_dns() {
        let error =
            connect(&endpoint("nowhere.invalid", 25), Duration::from_secs(20), &clock()).await.unwrap_err();
        assert_eq!(error.kind, ConnectFault::Dns);
        assert!(error.to_string().starts_with("connect to nowhere.invalid:25: the name"), "{error}");
    }

    #[tokio::test]
    async fn an_address_that_swallows_holds_the_next_one_up_for_a_moment_only() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = listener.local_addr().unwrap();
        // A full backlog swallows: nobody accepts, and Linux drops what comes behind.
        let full = tokio::net::TcpSocket::new_v4().unwrap();
        full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = full.listen(1).unwrap();
        let swallows = full.local_addr().unwrap();
        let mut filling = Vec::new();
        while let Ok(Ok(stream)) = timeout(Duration::from_millis(200), TcpStream::connect(swallows)).await {
            filling.push(stream);
        }
        let now = clock();
        let end = now() + Duration::from_secs(60);
        let (_, address) = connect_to_any(&endpoint("mx", 25), &[swallows, live], end, &now).await.unwrap();
        assert_eq!(address, live);
        assert!(now().0 < Duration::from_secs(20), "the whole time was given to the first");
        let end = now() + Duration::from_millis(300);
        let error = connect_to_any(&endpoint("mx", 25), &[swallows], end, &now).await.unwrap_err();
        assert_eq!(error.kind, ConnectFault::TimedOut);
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_told_by_its_path() {
        let endpoint = endpoint("/nowhere/smtp.sock", 0);
        let path = endpoint.socket().unwrap();
        let error = connect_unix(&endpoint, path, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(error.kind, ConnectFault::Refused);
        assert_eq!(error.to_string(), "connect to /nowhere/smtp.sock: no such file or directory");
    }

    #[test]
    fn the_families_take_turns() {
        let addresses = ["[2001:db8::1]:25", "[2001:db8::2]:25", "[2001:db8::3]:25", "192.0.2.1:25"];
        let addresses = addresses.map(|a| a.parse().unwrap());
        let [six_1, six_2, six_3, four] = addresses;
        assert_eq!(families_in_turn(&addresses), [six_1, four, six_2, six_3]);
        assert_eq!(families_in_turn(&[four, six_1]), [four, six_1]);
        assert_eq!(families_in_turn(&[]), []);
    }

    #[test]
    fn the_systems_errors_are_told_apart() {
        let kind = |errno| ConnectFault::of(&io::Error::from_raw_os_error(errno));
        assert_eq!(kind(libc::ECONNREFUSED), ConnectFault::Refused);
        assert_eq!(kind(libc::EHOSTUNREACH), ConnectFault::HostUnreachable);
        assert_eq!(kind(libc::EACCES), ConnectFault::Forbidden);
        assert_eq!(kind(libc::ENETUNREACH), ConnectFault::NoRoute);
        assert_eq!(kind(libc::ETIMEDOUT), ConnectFault::TimedOut);
        assert_eq!(kind(libc::EMFILE), ConnectFault::Other);
    }
}
