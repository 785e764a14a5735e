//! Why a name was not found: each name server of /etc/resolv.conf is asked by hand. Only after the system's own look-up has failed.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::dns::{self, Answer, Kind};
use super::{Cause, Step};

const RESOLV_CONF: &str = "/etc/resolv.conf";
const PORT: u16 = 53;
/// As many as glibc reads (resolv.conf(5), MAXNS).
const SERVERS_MAX: usize = 3;

/// What one name server did.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Records,
    NoRecords,
    NoSuchName,
    Fault(u8),
    /// Something that is no answer came.
    Rubbish,
    /// The host says that nobody listens.
    Closed,
    Unreachable(String),
    Silent,
}

/// The steps that say why `host` was not found. `said` is what the system said.
pub(super) async fn explain(host: &str, said: &str, within: Duration) -> Vec<Step> {
    let servers = servers(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default());
    let mut heard = Vec::new();
    for &server in &servers {
        heard.push((server, ask(server, host, within).await));
    }
    verdict(&heard, said)
}

/// The `nameserver` lines; without any it is this box's own (resolv.conf(5)).
fn servers(conf: &str) -> Vec<SocketAddr> {
    let named = conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = named.filter_map(|rest| rest.trim().parse::<IpAddr>().ok());
    let mut servers: Vec<SocketAddr> =
        addresses.take(SERVERS_MAX).map(|address| SocketAddr::new(address, PORT)).collect();
    if servers.is_empty() {
        servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
    }
    servers
}

/// Asks for both kinds of address; the first that is not an empty answer tells.
async fn ask(server: SocketAddr, host: &str, within: Duration) -> Heard {
    for kind in [Kind::A, Kind::Aaaa] {
        match ask_for(server, host, kind, within).await {
            Ok(Heard::NoRecords) => {}
            Ok(heard) => return heard,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Heard::Closed,
            Err(error) => return Heard::Unreachable(error.to_string()),
        }
    }
    Heard::NoRecords
}

async fn ask_for(server: SocketAddr, host: &str, kind: Kind, within: Duration) -> io::Result<Heard> {
    let from: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let bytes = uuid::Uuid::new_v4().into_bytes();
    let id = u16::from_be_bytes([bytes[0], bytes[1]]);
    let Some(question) = dns::question(id, host, kind) else { return Ok(Heard::NoSuchName) };
    let socket = UdpSocket::bind((from, 0)).await?;
    socket.connect(server).await?;
    socket.send(&question).await?;
    let mut octets = [0; 1500];
    let Ok(received) = timeout(within, socket.recv(&mut octets)).await else { return Ok(Heard::Silent) };
    let count = received?;
    Ok(match dns::answer(id, &octets[..count]) {
        Some(Answer::Records(0)) => Heard::NoRecords,
        Some(Answer::Records(_)) => Heard::Records,
        Some(Answer::NoSuchName) => Heard::NoSuchName,
        Some(Answer::Fault(code)) => Heard::Fault(code),
        None => Heard::Rubbish,
    })
}

fn verdict(heard: &[(SocketAddr, Heard)], said: &str) -> Vec<Step> {
    let with = |wanted: fn(&Heard) -> bool| heard.iter().find(|(_, heard)| wanted(heard));
    let answered = |server: &SocketAddr| Step::ok("name-server", format!("{} answers", server.ip()));
    let told: Vec<String> =
        heard.iter().map(|(server, heard)| format!("{} {}", server.ip(), heard.in_words())).collect();
    let told = told.join("; ");
    if let Some((server, heard)) =
        with(|heard| matches!(heard, Heard::NoSuchName | Heard::NoRecords | Heard::Records))
    {
        let cause = match heard {
            Heard::NoSuchName => Cause::NameNotFound,
            Heard::NoRecords => Cause::NameWithoutAddress,
            _ => Cause::LookUpBroken,
        };
        return vec![answered(server), Step::failed("name", cause, format!("{said}; {told}"))];
    }
    let cause = match () {
        () if with(|heard| matches!(heard, Heard::Fault(_))).is_some() => Cause::NameServerFails,
        () if with(|heard| *heard == Heard::Silent).is_some() => Cause::NameServerSilent,
        () if with(|heard| matches!(heard, Heard::Closed | Heard::Rubbish)).is_some() => {
            Cause::NameServerAddressWrong
        }
        () => Cause::NameServerUnreachable,
    };
    vec![Step::failed("name-server", cause, format!("{told} ({said})"))]
}

impl Heard {
    fn in_words(&self) -> String {
        match self {
            Heard::Records => "knows the name".into(),
            Heard::NoRecords => "knows the name, and no address for it".into(),
            Heard::NoSuchName => "says that there is no such name (NXDOMAIN)".into(),
            Heard::Fault(2) => "says SERVFAIL".into(),
            Heard::Fault(5) => "says REFUSED".into(),
            Heard::Fault(code) => format!("says RCODE {code}"),
            Heard::Rubbish => "answers with what is not DNS".into(),
            Heard::Closed => "has nothing on UDP port 53".into(),
            Heard::Unreachable(error) => format!("cannot be reached: {error}"),
            Heard::Silent => "does not answer".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_servers_are_those_of_the_file() {
        let ips = |conf: &str| servers(conf).iter().map(|s| s.ip().to_string()).collect::<Vec<_>>();
        assert_eq!(
            ips("# x\nsearch a.b\nnameserver 192.0.2.1\n nameserver\t2001:db8::1\n"),
            ["192.0.2.1", "2001:db8::1"]
        );
        assert_eq!(
            ips("nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4"),
            ["1.1.1.1", "1.1.1.2", "1.1.1.3"]
        );
        assert_eq!(ips(""), ["127.0.0.1"]);
    }

    #[test]
    fn one_that_answers_decides_and_what_looks_the_same_is_one_cause() {
        let at = |last: u8| SocketAddr::from(([192, 0, 2, last], 53));
        let cause = |heard: &[Heard]| {
            let all: Vec<_> = heard.iter().enumerate().map(|(n, h)| (at(n as u8), h.clone())).collect();
            verdict(&all, "no").last().and_then(|step| step.cause)
        };
        assert_eq!(cause(&[Heard::Silent, Heard::NoSuchName]), Some(Cause::NameNotFound));
        assert_eq!(cause(&[Heard::Silent, Heard::Fault(2)]), Some(Cause::NameServerFails));
        assert_eq!(cause(&[Heard::Closed, Heard::Silent]), Some(Cause::NameServerSilent));
        assert_eq!(cause(&[Heard::Unreachable("x".into())]), Some(Cause::NameServerUnreachable));
        assert_eq!(
            cause(&[Heard::Unreachable("x".into()), Heard::Closed]),
            Some(Cause::NameServerAddressWrong)
        );
        assert_eq!(cause(&[Heard::NoRecords]), Some(Cause::NameWithoutAddress));
    }
}
