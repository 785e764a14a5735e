//! An SMTP server in this process that takes everything, but for what its script refuses, and remembers it.
//!
//! It offers PIPELINING, 8BITMIME and SIZE. A message is on record from the instant its final dot
//! has arrived, before the reply to it is sent, and in that order over all sessions. What the
//! client did wrong (a bare LF, data ahead of 354) is on record as a fault.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// One message whose final dot arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The session, counted from 1.
    pub(crate) session: usize,
    /// The reverse-path without its brackets.
    pub(crate) reverse_path: String,
    /// The forward-paths without their brackets.
    pub(crate) forward_paths: Vec<String>,
    /// The content as it was on the wire, transparency undone, the final dot's line taken off.
    pub(crate) bytes: Vec<u8>,
}

/// Who is not simply taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Script {
    /// Refused with 550, always.
    pub(crate) refused: &'static [&'static str],
    /// Deferred with 450 at the first RCPT since the last [`Sink::clear`], taken at all others.
    pub(crate) deferred_once: &'static [&'static str],
}

#[derive(Default)]
struct Record {
    sessions: usize,
    open: HashMap<usize, TcpStream>,
    arrivals: Vec<Arrival>,
    asked: Vec<String>,
    faults: Vec<String>,
    script: Script,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    record: Mutex<Record>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no holder of the record panics")
    }

    fn change(&self, what: impl FnOnce(&mut Record)) {
        what(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `done` holds; `false` if it does not within `limit`.
    fn wait(&self, limit: Duration, done: impl Fn(&Record) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), limit, |record| !done(record));
        !waited.expect("no holder of the record panics").1.timed_out()
    }
}

/// The server; it ends when this is dropped.
pub(crate) struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Sink {
    /// Listens on a free port of the loopback.
    pub(crate) fn start() -> io::Result<Sink> {
        Sink::scripted(Script::default())
    }

    /// The same, for which not all recipients are alike.
    pub(crate) fn scripted(script: Script) -> io::Result<Sink> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        shared.change(|record| record.script = script);
        let for_thread = Arc::clone(&shared);
        thread::Builder::new().name("sink".into()).spawn(move || accept(&listener, &for_thread))?;
        Ok(Sink { address, shared })
    }

    /// The port to deliver to.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What has arrived since the last [`Sink::clear`].
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.shared.lock().arrivals.clone()
    }

    /// What the client did wrong since the last [`Sink::clear`].
    pub(crate) fn faults(&self) -> Vec<String> {
        self.shared.lock().faults.clone()
    }

    /// How often `recipient` was named in a RCPT since the last [`Sink::clear`].
    pub(crate) fn asked(&self, recipient: &str) -> usize {
        self.shared.lock().asked.iter().filter(|asked| *asked == recipient).count()
    }

    /// Forgets all arrivals, requests and faults.
    pub(crate) fn clear(&self) {
        self.shared.change(|record| {
            record.arrivals.clear();
            record.asked.clear();
            record.faults.clear();
        });
    }

    /// Waits until `done` holds for the arrivals; `false` if it does not within `limit`.
    ///
    /// It is looked at again with each arrival and each [`Sink::wake`].
    pub(crate) fn wait(&self, limit: Duration, done: impl Fn(&[Arrival]) -> bool) -> bool {
        self.shared.wait(limit, |record| done(&record.arrivals))
    }

    /// Makes those who wait look again.
    pub(crate) fn wake(&self) {
        self.shared.change(|_| ());
    }

    /// Waits until every session is over, its last byte read; `false` if one is not within `limit`.
    pub(crate) fn wait_quiet(&self, limit: Duration) -> bool {
        self.shared.wait(limit, |record| record.open.is_empty())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.change(|record| {
            record.closed = true;
            for session in record.open.values() {
                session.shutdown(Shutdown::Both).ok();
            }
        });
        // Wakes the thread that accepts.
        TcpStream::connect(self.address).ok();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let mut number = 0;
        shared.change(|record| {
            record.sessions += 1;
            number = record.sessions;
            if let Ok(copy) = stream.try_clone() {
                record.open.insert(number, copy);
            }
        });
        if shared.lock().closed {
            return;
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // An end without QUIT is what these tests are about.
            Session { number, shared: &shared, out: Vec::new() }.serve(&stream).ok();
            shared.change(|record| drop(record.open.remove(&number)));
        });
    }
}

struct Session<'a> {
    number: usize,
    shared: &'a Shared,
    /// Replies not yet sent: they go out when the client has nothing more under way.
    out: Vec<u8>,
}

impl Session<'_> {
    fn fault(&self, what: &str) {
        self.shared.change(|record| record.faults.push(format!("session {}: {what}", self.number)));
    }

    /// What the script has for this recipient.
    fn answer(&self, recipient: &str) -> &'static str {
        let mut reply = "250 2.1.5 ok";
        self.shared.change(|record| {
            let is_first = record.asked.iter().all(|asked| asked != recipient);
            if record.script.refused.contains(&recipient) {
                reply = "550 5.1.1 nobody here";
            } else if is_first && record.script.deferred_once.contains(&recipient) {
                reply = "450 4.2.1 later";
            }
            record.asked.push(recipient.to_owned());
        });
        reply
    }

    fn say(&mut self, reply: &str) {
        self.out.extend_from_slice(reply.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Sends the replies that wait. A client that is gone may have left bytes to read: no error.
    fn send(&mut self, mut stream: &TcpStream) {
        stream.write_all(&self.out).ok();
        self.out.clear();
    }

    fn serve(&mut self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut input = BufReader::new(stream);
        let (mut reverse, mut forward) = (None, Vec::new());
        self.say("220 sink.example.com ESMTP");
        loop {
            if input.buffer().is_empty() {
                self.send(stream);
            }
            let Some(line) = self.line(&mut input)? else { return Ok(()) };
            let line = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => {
                    (reverse, forward) = (None, Vec::new());
                    self.say("250-sink.example.com\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 26214400");
                }
                "HELO" => self.say("250 sink.example.com"),
                "MAIL" if reverse.is_some() => {
                    self.fault("MAIL inside a transaction");
                    self.say("503 5.5.1 nested MAIL");
                }
                "MAIL" => match path(rest, "FROM:") {
                    Some(found) => {
                        reverse = Some(found);
                        self.say("250 2.1.0 ok");
                    }
                    None => self.say("501 5.5.4 syntax"),
                },
                "RCPT" if reverse.is_none() => self.say("503 5.5.1 MAIL first"),
                "RCPT" => match path(rest, "TO:") {
                    Some(found) => {
                        let reply = self.answer(&found);
                        if reply.starts_with("250") {
                            forward.push(found);
                        }
                        self.say(reply);
                    }
                    None => self.say("501 5.5.4 syntax"),
                },
                "DATA" if forward.is_empty() => self.say("503 5.5.1 RCPT first"),
                "DATA" => {
                    if !input.buffer().is_empty() {
                        self.fault("data ahead of the reply to DATA");
                    }
                    self.say("354 go on");
                    self.send(stream);
                    let Some(bytes) = self.content(&mut input)? else { return Ok(()) };
                    let arrival = Arrival {
                        session: self.number,
                        reverse_path: reverse.take().unwrap_or_default(),
                        forward_paths: std::mem::take(&mut forward),
                        bytes,
                    };
                    self.shared.change(|record| record.arrivals.push(arrival));
                    self.say("250 2.0.0 taken");
                }
                "RSET" => {
                    (reverse, forward) = (None, Vec::new());
                    self.say("250 2.0.0 ok");
                }
                "NOOP" => self.say("250 2.0.0 ok"),
                "QUIT" => {
                    self.say("221 2.0.0 bye");
                    self.send(stream);
                    return Ok(());
                }
                _ => self.say("500 5.5.2 unknown command"),
            }
        }
    }

    /// A line with its CRLF; `None` when the connection ended, also in the middle of a line.
    fn line(&self, input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        loop {
            if input.read_until(b'\n', &mut line)? == 0 || !line.ends_with(b"\n") {
                return Ok(None);
            }
            if line.ends_with(b"\r\n") {
                if line[..line.len() - 2].contains(&b'\r') {
                    self.fault("a bare CR");
                }
                return Ok(Some(line));
            }
            // Not the end of a line, whatever the client meant (RFC 5321 section 2.3.8).
            self.fault("a bare LF");
        }
    }

    fn content(&self, input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        loop {
            let Some(line) = self.line(input)? else { return Ok(None) };
            match line.strip_prefix(b".") {
                Some(b"\r\n") => return Ok(Some(bytes)),
                Some(rest) => bytes.extend_from_slice(rest),
                None => bytes.extend_from_slice(&line),
            }
        }
    }
}

/// The path in `FROM:<a@b.c> SIZE=1`.
fn path(rest: &str, keyword: &str) -> Option<String> {
    let head = rest.get(..keyword.len())?;
    if !head.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let rest = rest[keyword.len()..].trim_start().strip_prefix('<')?;
    Some(rest[..rest.find('>')?].to_owned())
}
