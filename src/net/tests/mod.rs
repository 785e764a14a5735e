//! Servers that follow a script, on loopback and on pipes in memory.

mod driver;
mod overlap;
mod tls;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::wire::Wire;
use super::*;
use crate::mail::{Dsn, Monotonic, ReversePath};
use crate::smtp::{Pipelining, Protocol, SessionOptions, Timeouts, TlsMode, Transaction};

/// The clock of the test's runtime, which may stand still.
pub(in crate::net) fn clock() -> impl Fn() -> Monotonic {
    let start = tokio::time::Instant::now();
    move || Monotonic(start.elapsed())
}

trait Link: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Link for T {}

#[derive(Clone)]
enum Step {
    Say(&'static str),
    /// One line, which begins so.
    Hear(&'static str),
    /// The message up to its final dot.
    HearMessage,
    /// This many octets.
    HearSome(usize),
    StartTls,
    /// Goes on when the test says so.
    Wait(Arc<Notify>),
    /// Nothing more, with the line held open.
    Hang,
}
use Step::{Hang, Hear, HearMessage, HearSome, Say, StartTls, Wait};

/// Follows the script, then closes. Gives what it heard.
async fn follow(link: impl Link + 'static, script: Vec<Step>, tls: Option<TlsAcceptor>) -> Vec<u8> {
    let mut link: Box<dyn Link> = Box::new(link);
    let mut heard = Vec::new();
    for step in script {
        match step {
            Say(text) => link.write_all(text.as_bytes()).await.unwrap(),
            Hear(start) => {
                let from = heard.len();
                while !heard[from..].ends_with(b"\r\n") {
                    match link.read_u8().await {
                        Ok(octet) => heard.push(octet),
                        Err(_) => return heard,
                    }
                }
                let line = String::from_utf8_lossy(&heard[from..]).into_owned();
                assert!(line.starts_with(start), "expected {start}, heard {line}");
            }
            HearMessage => {
                while !heard.ends_with(b"\r\n.\r\n") {
                    match link.read_u8().await {
                        Ok(octet) => heard.push(octet),
                        Err(_) => return heard,
                    }
                }
            }
            HearSome(count) => {
                let mut some = vec![0; count];
                link.read_exact(&mut some).await.unwrap();
            }
            StartTls => match tls.as_ref().unwrap().accept(link).await {
                Ok(stream) => link = Box::new(stream),
                Err(_) => return heard,
            },
            Wait(gate) => gate.notified().await,
            Hang => std::future::pending().await,
        }
    }
    heard
}

async fn server(script: Vec<Step>, tls: Option<TlsAcceptor>) -> (Endpoint, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        follow(stream, script, tls).await
    });
    (Endpoint { host: "127.0.0.1".to_owned(), port, implicit: false }, task)
}

fn options(tls: TlsMode) -> SessionOptions {
    SessionOptions {
        protocol: Protocol::Smtp,
        hostname: "box.example".to_owned(),
        tls,
        login: None,
        timeouts: Timeouts::default(),
        pipelining: Pipelining::default(),
        messages_max: None,
    }
}

fn transaction() -> Transaction {
    Transaction {
        reverse_path: ReversePath::Null,
        forward_paths: vec!["b@x.org".parse().unwrap()],
        size: 6,
        eight_bit: false,
        smtputf8: false,
        dsn: Dsn::default(),
        rcpt_dsn: Vec::new(),
        unconvertible: None,
    }
}

/// Blocks, then an error if there is one.
struct Blocks(Vec<Vec<u8>>, Option<&'static str>);

impl BodySource for Blocks {
    fn next(&mut self, block: &mut Vec<u8>) -> io::Result<bool> {
        if self.0.is_empty() {
            return Err(io::Error::other(self.1.unwrap()));
        }
        block.extend(self.0.remove(0));
        Ok(!self.0.is_empty() || self.1.is_some())
    }
}

fn short() -> Blocks {
    Blocks(vec![b"a: b\r\n".to_vec(), b"\r\nhi\r\n.\r\n".to_vec()], None)
}

const OPENING: [Step; 3] = [Say("220 mx\r\n"), Hear("EHLO box.example"), Say("250-mx\r\n250 PIPELINING\r\n")];
const TO_DATA: [Step; 6] = [
    Hear("MAIL FROM:<>"),
    Say("250 ok\r\n"),
    Hear("RCPT TO:<b@x.org>"),
    Say("250 ok\r\n"),
    Hear("DATA"),
    Say("354 go\r\n"),
];

fn script(parts: &[&[Step]]) -> Vec<Step> {
    parts.concat()
}

async fn on_a_pipe(
    steps: Vec<Step>,
    capacity: usize,
    now: &(dyn Fn() -> Monotonic + Sync),
) -> Result<Connection, OpenError> {
    let (ours, theirs) = tokio::io::duplex(capacity);
    tokio::spawn(follow(theirs, steps, None));
    over(ours, Arc::default(), options(TlsMode::None), now).await
}

async fn over(
    pipe: tokio::io::DuplexStream,
    writes: Arc<AtomicUsize>,
    options: SessionOptions,
    now: &(dyn Fn() -> Monotonic + Sync),
) -> Result<Connection, OpenError> {
    let endpoint = Endpoint { host: "mx".to_owned(), port: 25, implicit: false };
    let peer = Peer::Tcp("192.0.2.1:25".parse().unwrap());
    Connection::over(Wire::Pipe(pipe, writes), None, &endpoint, peer, options, None, now, None).await
}
