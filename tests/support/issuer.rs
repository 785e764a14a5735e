//! A token endpoint in this process that follows a script. What it granted is known, so that a mail server can ask it.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::LIMIT;
use super::certificate::certificate;
use super::sasl::encoded;
use super::server::{Answer, Asked, say};

/// What the endpoint says to one request.
pub(crate) enum Verdict {
    /// A new access token for so many seconds; with `rotate` a new refresh token too, and the one that was shown is void.
    Grant { seconds: u64, rotate: bool },
    /// This status and this JSON.
    Refuse(u16, &'static str),
}

type Script = dyn Fn(&Form) -> Verdict + Send + Sync;

/// The fields of a request.
#[derive(Clone, Debug)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// A field's value; empty if it is not there.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
}

#[derive(Default)]
struct Record {
    forms: Vec<Form>,
    granted: usize,
    good: HashSet<String>,
    /// `None`: the first one, of the configuration.
    refresh: Option<String>,
    reached: bool,
    closed: bool,
}

struct Shared {
    record: Mutex<Record>,
    changed: Condvar,
    script: Mutex<Arc<Script>>,
    config: Arc<ServerConfig>,
}

/// The endpoint, over TLS with a certificate of an own authority; it ends when this is dropped.
pub(crate) struct Issuer {
    address: SocketAddr,
    ca_file: PathBuf,
    shared: Arc<Shared>,
}

impl Issuer {
    /// An endpoint that grants tokens for an hour.
    pub(crate) fn new(dir: &Path) -> Issuer {
        Issuer::scripted(dir, |_| Verdict::Grant { seconds: 3600, rotate: false })
    }

    pub(crate) fn scripted(dir: &Path, script: impl Fn(&Form) -> Verdict + Send + Sync + 'static) -> Issuer {
        let (ca_file, config) = certificate(dir, "localhost");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            record: Mutex::default(),
            changed: Condvar::new(),
            script: Mutex::new(Arc::new(script)),
            config,
        });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if for_thread.record.lock().unwrap().closed {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&for_thread);
                // How a client leaves is the client's business.
                thread::spawn(move || shared.answer(stream).ok());
            }
        });
        Issuer { address, ca_file, shared }
    }

    /// Follows another script from the next request on.
    pub(crate) fn follow(&self, script: impl Fn(&Form) -> Verdict + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    /// `[smarthost.oauth]` for it; `rest` are further lines.
    pub(crate) fn oauth(&self, rest: &str) -> String {
        format!(
            "[smarthost.oauth]\ntoken_url = \"https://localhost:{}/token\"\nca_file = {:?}\nclient_id = \"box\"\n{rest}",
            self.address.port(),
            self.ca_file
        )
    }

    /// What was asked so far.
    pub(crate) fn forms(&self) -> Vec<Form> {
        self.shared.record.lock().unwrap().forms.clone()
    }

    /// Waits until a request is there, answered or not.
    pub(crate) fn wait_reached(&self) {
        let record = self.shared.record.lock().unwrap();
        let waited = self.shared.changed.wait_timeout_while(record, LIMIT, |r| !r.reached);
        assert!(!waited.unwrap().1.timed_out(), "nobody asks for a token");
    }

    /// No token that was granted so far is good any more.
    pub(crate) fn revoke_all(&self) {
        self.shared.record.lock().unwrap().good.clear();
    }

    /// A script for a mail server that takes XOAUTH2 of `user` with a token that is good, and offers what it must.
    pub(crate) fn guard(
        &self,
        user: &'static str,
    ) -> impl Fn(&Asked<'_>) -> Answer + Send + Sync + use<> + 'static {
        let shared = Arc::clone(&self.shared);
        move |asked| {
            let Some(said) = asked.line.strip_prefix("AUTH XOAUTH2 ") else { return Answer::Usual };
            let is_it =
                |token: &String| encoded(format!("user={user}\x01auth=Bearer {token}\x01\x01")) == said;
            match shared.record.lock().unwrap().good.iter().any(is_it) {
                true => say("235 2.7.0 welcome"),
                false => Answer::Usual,
            }
        }
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.shared.record.lock().unwrap().closed = true;
        // Wakes the thread that accepts.
        TcpStream::connect(self.address).ok();
    }
}

impl Shared {
    fn answer(&self, stream: TcpStream) -> io::Result<()> {
        let connection = ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
        let mut link = BufReader::new(StreamOwned::new(connection, stream));
        let mut length = 0;
        loop {
            let mut line = String::new();
            if link.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        link.read_exact(&mut body)?;
        let (status, json) = self.judge(Form(fields(&String::from_utf8_lossy(&body))));
        let text = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        );
        let stream = link.get_mut();
        stream.write_all(text.as_bytes())?;
        stream.conn.send_close_notify();
        stream.flush()
    }

    fn judge(&self, form: Form) -> (u16, String) {
        self.record.lock().unwrap().reached = true;
        self.changed.notify_all();
        let script = Arc::clone(&self.script.lock().unwrap());
        let verdict = script(&form);
        let mut record = self.record.lock().unwrap();
        let shown = form.field("refresh_token").to_owned();
        let is_void = record.refresh.as_ref().is_some_and(|good| !shown.is_empty() && *good != shown);
        record.forms.push(form);
        match verdict {
            Verdict::Refuse(status, json) => (status, json.to_owned()),
            _ if is_void => (400, "{\"error\":\"invalid_grant\"}".to_owned()),
            Verdict::Grant { seconds, rotate } => {
                record.granted += 1;
                let number = record.granted;
                let access = format!("access-token-of-the-test-{number}");
                record.good.insert(access.clone());
                let refresh = if rotate {
                    let refresh = format!("refresh-token-of-the-test-{number}");
                    record.refresh = Some(refresh.clone());
                    format!(",\"refresh_token\":\"{refresh}\"")
                } else {
                    String::new()
                };
                let json = format!(
                    "{{\"token_type\":\"Bearer\",\"expires_in\":{seconds},\"access_token\":\"{access}\"{refresh}}}"
                );
                (200, json)
            }
        }
    }
}

fn fields(form: &str) -> Vec<(String, String)> {
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
        rest = tail;
    }
    String::from_utf8(bytes).unwrap()
}
