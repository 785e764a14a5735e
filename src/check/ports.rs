//! What is on a port that did not do as a mail server does: asked by hand, after the session has failed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Ports of which one answers on most hosts that run.
const OTHERS: [u16; 5] = [587, 465, 25, 443, 80];
/// The most that is read of what it says.
const WORDS_MAX: usize = 200;

/// What a port says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Speaks {
    /// TLS.
    Tls,
    /// SMTP: its greeting.
    Smtp(String),
    /// Something else: the beginning of it.
    Other(String),
    /// Nothing.
    Nothing,
}

/// The port by which the host shows that it runs, if any does: it answers, be it with a refusal.
pub(super) async fn another_that_answers(host: IpAddr, port: u16, within: Duration) -> Option<u16> {
    let mut tries = tokio::task::JoinSet::new();
    for other in OTHERS.into_iter().filter(|other| *other != port) {
        tries.spawn(async move { (other, timeout(within, TcpStream::connect((host, other))).await) });
    }
    while let Some(tried) = tries.join_next().await {
        match tried {
            Ok((other, Ok(Ok(_)))) => return Some(other),
            Ok((other, Ok(Err(error)))) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Some(other);
            }
            _ => {}
        }
    }
    None
}

/// Whether a connection can be had at all.
pub(super) async fn answers(address: SocketAddr, within: Duration) -> bool {
    matches!(timeout(within, TcpStream::connect(address)).await, Ok(Ok(_)))
}

/// What is spoken there: first it is listened to, then TLS is begun, then HTTP.
pub(super) async fn speaks(address: SocketAddr, within: Duration) -> Speaks {
    let first = exchange(address, b"", within).await;
    if !first.is_empty() {
        return told(&first);
    }
    for question in [&client_hello()[..], b"OPTIONS / HTTP/1.0\r\n\r\n"] {
        let said = exchange(address, question, within).await;
        if !said.is_empty() {
            return told(&said);
        }
    }
    Speaks::Nothing
}

fn told(octets: &[u8]) -> Speaks {
    const ALERT: u8 = 0x15;
    const HANDSHAKE: u8 = 0x16;
    const TLS_MAJOR: u8 = 3;
    if matches!(octets, [ALERT | HANDSHAKE, TLS_MAJOR, ..]) {
        return Speaks::Tls;
    }
    let text = String::from_utf8_lossy(octets);
    let line = text.lines().next().unwrap_or_default().replace(char::is_control, "\u{fffd}");
    match line.starts_with("220") || line.starts_with("554") || line.starts_with("421") {
        true => Speaks::Smtp(line),
        false => Speaks::Other(line),
    }
}

/// Says `question` and returns the beginning of what comes; nothing if there is no connection or nothing comes.
async fn exchange(address: SocketAddr, question: &[u8], within: Duration) -> Vec<u8> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(question).await?;
        let mut octets = vec![0; WORDS_MAX];
        let count = stream.read(&mut octets).await?;
        octets.truncate(count);
        io::Result::Ok(octets)
    };
    match timeout(within, talk).await {
        Ok(Ok(octets)) => octets,
        // Whoever does not answer says nothing.
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

/// A ClientHello (RFC 5246 section 7.4.1.2) that offers one cipher. Whoever speaks TLS answers, be it with an alert.
fn client_hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([0x42; 32]);
    // No session; TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256; no compression.
    body.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
    let length = body.len() as u8;
    let mut hello = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    hello
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_port_says_is_told_by_its_first_octets() {
        assert_eq!(told(b"\x15\x03\x03\0\x02\x02\x28"), Speaks::Tls);
        assert_eq!(told(b"220 mx ESMTP\r\n"), Speaks::Smtp("220 mx ESMTP".into()));
        assert_eq!(told(b"SSH-2.0-OpenSSH_9.2\r\n"), Speaks::Other("SSH-2.0-OpenSSH_9.2".into()));
        assert_eq!(
            told(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            Speaks::Other("HTTP/1.1 400 Bad Request".into())
        );
    }
}
