//! From a name to a TCP connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::mail::Monotonic;

/// The longest that one address may hold up those behind it: a broken IPv6 route swallows packets.
const ONE_ADDRESS: Duration = Duration::from_secs(10);

/// Where a smarthost listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A name, or an address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// TLS from the first octet (RFC 8314 section 3.3), as on port 465.
    pub implicit: bool,
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
    /// Network or host unreachable.
    NoRoute,
    /// Nobody answered in time.
    TimedOut,
    /// The host answers and nothing listens on the port.
    Refused,
}

/// Connects to the first address that answers, all of them within `within`. One that is silent cannot use up
/// the time of those behind it.
pub async fn connect(
    endpoint: &Endpoint,
    within: Duration,
    now: &dyn Fn() -> Monotonic,
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
    connect_to_any(endpoint, &addresses, end, now).await
}

async fn connect_to_any(
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    end: Monotonic,
    now: &dyn Fn() -> Monotonic,
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let mut kind = ConnectFault::Dns;
    let mut details = Vec::new();
    for (index, &address) in addresses.iter().enumerate() {
        let left = end - now();
        let behind = (addresses.len() - index - 1) as u32;
        let share = if behind == 0 { left } else { ONE_ADDRESS.min(left / (behind + 1)) };
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // One write is one group of requests; Nagle would hold each back for an acknowledgement. A socket
                // that cannot do without is slow, not broken.
                let _slow = stream.set_nodelay(true);
                return Ok((stream, address));
            }
            Ok(Err(error)) => {
                kind = kind.max(ConnectFault::of(&error));
                details.push((address, plain(&error)));
            }
            Err(_) => {
                kind = kind.max(ConnectFault::TimedOut);
                details.push((address, format!("no answer within {} s", share.as_secs())));
            }
        }
    }
    if details.is_empty() {
        return Err(ConnectError::dns(endpoint, "the name has no address".to_owned()));
    }
    // An address that stands in the configuration itself need not be told again.
    let detail = |(address, what): &(SocketAddr, String)| match address.to_string() == endpoint.to_string() {
        true => what.clone(),
        false => format!("{address}: {what}"),
    };
    let detail = details.iter().map(detail).collect::<Vec<_>>().join("; ");
    Err(ConnectError { kind, endpoint: endpoint.clone(), detail })
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
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
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

/// `mx.example.com:587`, `[2001:db8::1]:25`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
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

    #[test]
    fn the_systems_errors_are_told_apart() {
        let kind = |errno| ConnectFault::of(&io::Error::from_raw_os_error(errno));
        assert_eq!(kind(libc::ECONNREFUSED), ConnectFault::Refused);
        assert_eq!(kind(libc::EHOSTUNREACH), ConnectFault::NoRoute);
        assert_eq!(kind(libc::ENETUNREACH), ConnectFault::NoRoute);
        assert_eq!(kind(libc::ETIMEDOUT), ConnectFault::TimedOut);
        assert_eq!(kind(libc::EMFILE), ConnectFault::Other);
    }
}
