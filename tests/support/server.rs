//! An SMTP server in this process that follows a script.
//!
//! Left alone it takes everything. A script is asked before each reply (the greeting and the final dot
//! included) and may say something else, cut the connection, or hold the reply back until a [`Gate`] is
//! open. What was heard and what arrived is on record, in order over all sessions.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::LIMIT;
use super::sasl::{self, Hash, Scram};

/// One message whose final dot arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The session, counted from 1.
    pub(crate) session: usize,
    /// The reverse-path without its brackets.
    pub(crate) reverse_path: String,
    /// The forward-paths that were taken, without their brackets.
    pub(crate) forward_paths: Vec<String>,
    /// The content as it was on the wire, transparency undone, the final dot's line taken off.
    pub(crate) bytes: Vec<u8>,
    /// Whether it was answered 2yz.
    pub(crate) taken: bool,
}

impl Arrival {
    /// The value of a field of its header.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let header = text.split("\r\n\r\n").next().unwrap_or_default();
        let mut fields = header.split("\r\n").filter_map(|line| line.split_once(':'));
        fields.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    }

    /// Its Subject.
    pub(crate) fn subject(&self) -> String {
        self.field("Subject").unwrap_or_default()
    }
}

/// What waits for a reply.
pub(crate) struct Asked<'a> {
    /// The session, counted from 1.
    pub(crate) session: usize,
    /// The line that was heard; [`GREETING`] when a client has connected, `.` at the end of a message.
    pub(crate) line: &'a str,
    /// At the end of a message its content.
    pub(crate) content: &'a [u8],
}

/// Stands for the line of a client that has just connected.
pub(crate) const GREETING: &str = "(connected)";

/// What a script says.
pub(crate) enum Answer {
    /// What a server that takes everything would say.
    Usual,
    /// This line, or lines, without the last CRLF. Only 2yz has an effect.
    Say(String),
    /// The same, and the connection ends.
    SayAndCut(&'static str),
    /// The connection ends without a word.
    Cut,
}

/// Says `text`.
pub(crate) fn say(text: &str) -> Answer {
    Answer::Say(text.to_owned())
}

/// How the server is set up.
#[derive(Default, Clone)]
pub(crate) struct Options {
    /// Key and certificate; without them TLS is not spoken.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// TLS from the first byte, else by STARTTLS.
    pub(crate) implicit_tls: bool,
    /// Lines of the EHLO reply besides the usual ones.
    pub(crate) offers: Vec<&'static str>,
    /// Who must log in: user and password.
    pub(crate) login: Option<(&'static str, &'static str)>,
}

/// Closed until it is opened; nobody waits longer than [`LIMIT`].
#[derive(Default)]
pub(crate) struct Gate(Mutex<bool>, Condvar);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    pub(crate) fn pass(&self) {
        drop(self.1.wait_timeout_while(self.0.lock().unwrap(), LIMIT, |open| !*open).unwrap());
    }
}

type Script = dyn Fn(&Asked<'_>) -> Answer + Send + Sync;

struct Record {
    sessions: usize,
    open: HashMap<usize, TcpStream>,
    heard: Vec<String>,
    arrivals: Vec<Arrival>,
    script: Arc<Script>,
    closed: bool,
}

struct Shared {
    options: Options,
    record: Mutex<Record>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    fn change<T>(&self, what: impl FnOnce(&mut Record) -> T) -> T {
        let result = what(&mut self.lock());
        self.changed.notify_all();
        result
    }
}

/// The server; it ends when this is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// A server on a free port of the loopback that takes everything.
    pub(crate) fn start() -> Server {
        Server::with(Options::default(), |_| Answer::Usual)
    }

    /// A server that follows `script`.
    pub(crate) fn scripted(script: impl Fn(&Asked<'_>) -> Answer + Send + Sync + 'static) -> Server {
        Server::with(Options::default(), script)
    }

    pub(crate) fn with(
        options: Options,
        script: impl Fn(&Asked<'_>) -> Answer + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let record = Record {
            sessions: 0,
            open: HashMap::new(),
            heard: Vec::new(),
            arrivals: Vec::new(),
            script: Arc::new(script),
            closed: false,
        };
        let shared = Arc::new(Shared { options, record: Mutex::new(record), changed: Condvar::new() });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &for_thread));
        Server { address, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Follows another script from the next reply on.
    pub(crate) fn follow(&self, script: impl Fn(&Asked<'_>) -> Answer + Send + Sync + 'static) {
        self.shared.change(|record| record.script = Arc::new(script));
    }

    /// What was answered 2yz, in order.
    pub(crate) fn taken(&self) -> Vec<Arrival> {
        self.arrivals().into_iter().filter(|arrival| arrival.taken).collect()
    }

    /// All final dots, whatever they were answered.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.shared.lock().arrivals.clone()
    }

    /// The subjects of what was taken, in order.
    pub(crate) fn subjects(&self) -> Vec<String> {
        self.taken().iter().map(Arrival::subject).collect()
    }

    /// All lines that were heard, those of the messages left out.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.shared.lock().heard.clone()
    }

    /// How many lines that were heard begin so.
    pub(crate) fn count(&self, start: &str) -> usize {
        self.shared.lock().heard.iter().filter(|line| line.starts_with(start)).count()
    }

    /// Waits until that many lines that begin so were heard.
    pub(crate) fn wait_heard(&self, start: &str, count: usize) {
        let many = |r: &Record| r.heard.iter().filter(|line| line.starts_with(start)).count() >= count;
        self.wait(&format!("{count} times {start:?}"), many);
    }

    /// How many sessions there were.
    pub(crate) fn sessions(&self) -> usize {
        self.shared.lock().sessions
    }

    /// Waits until there were that many sessions.
    pub(crate) fn wait_sessions(&self, count: usize) {
        self.wait(&format!("{count} sessions"), |r| r.sessions >= count);
    }

    /// Waits until that many messages were taken.
    pub(crate) fn wait_taken(&self, count: usize) {
        self.wait(&format!("{count} messages"), |r| r.arrivals.iter().filter(|a| a.taken).count() >= count);
    }

    fn wait(&self, what: &str, done: impl Fn(&Record) -> bool) {
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), LIMIT, |r| !done(r));
        let (record, timeout) = waited.unwrap();
        let (heard, timed_out) = (record.heard.clone(), timeout.timed_out());
        // Not under the lock: a panic would poison it for the sessions.
        drop(record);
        assert!(!timed_out, "the server still waits for {what}; it heard {heard:#?}");
    }
}

impl Drop for Server {
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
        let copy = stream.try_clone();
        let number = shared.change(|record| {
            record.sessions += 1;
            if let Ok(copy) = copy {
                record.open.insert(record.sessions, copy);
            }
            record.sessions
        });
        if shared.lock().closed {
            return;
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // How a client leaves is the client's business.
            Session::new(number, &shared).serve(stream).ok();
            shared.change(|record| {
                if let Some(stream) = record.open.remove(&number) {
                    stream.shutdown(Shutdown::Both).ok();
                }
            });
        });
    }
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Wire {
    fn into_tls(self, config: &Arc<ServerConfig>) -> io::Result<Wire> {
        let Wire::Plain(stream) = self else { return Err(io::Error::other("TLS inside TLS")) };
        let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        Ok(Wire::Tls(Box::new(StreamOwned::new(connection, stream))))
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(buffer),
            Wire::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.write(bytes),
            Wire::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.flush(),
            Wire::Tls(stream) => stream.flush(),
        }
    }
}

struct Session<'a> {
    number: usize,
    shared: &'a Shared,
    inside_tls: bool,
    logged_in: bool,
    /// What a login may be bound to (RFC 9266).
    exported: Option<Vec<u8>>,
    has_certificate: bool,
    reverse_path: Option<String>,
    forward_paths: Vec<String>,
}

impl Session<'_> {
    fn new(number: usize, shared: &Shared) -> Session<'_> {
        let logged_in = shared.options.login.is_none();
        let (reverse_path, forward_paths) = (None, Vec::new());
        let (inside_tls, exported, has_certificate) = (false, None, false);
        Session {
            number,
            shared,
            inside_tls,
            logged_in,
            exported,
            has_certificate,
            reverse_path,
            forward_paths,
        }
    }

    fn serve(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut wire = Wire::Plain(stream);
        let options = self.shared.options.clone();
        if let Some(config) = options.tls.as_ref().filter(|_| options.implicit_tls) {
            wire = wire.into_tls(config)?;
            self.inside_tls = true;
        }
        let mut link = BufReader::new(wire);
        self.reply(&mut link, GREETING, &[], "220 mx.example.com ESMTP")?;
        loop {
            let Some(line) = read_line(&mut link)? else { return Ok(()) };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.hear(&line);
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => {
                    let usual = self.ehlo();
                    self.reply(&mut link, &line, &[], &usual)?;
                }
                "STARTTLS" => {
                    if self.reply(&mut link, &line, &[], "220 2.0.0 go on")? == 220 {
                        let config =
                            options.tls.as_ref().ok_or_else(|| io::Error::other("no certificate"))?;
                        link = BufReader::new(link.into_inner().into_tls(config)?);
                        self.inside_tls = true;
                    }
                }
                "AUTH" => {
                    self.look_at_tls(link.get_ref());
                    self.log_in(&mut link, &line)?;
                }
                "MAIL" => {
                    let usual = if self.logged_in { "250 2.1.0 ok" } else { "530 5.7.0 log in first" };
                    if self.reply(&mut link, &line, &[], usual)? == 250 {
                        (self.reverse_path, self.forward_paths) = (Some(path(rest)), Vec::new());
                    }
                }
                "RCPT" => {
                    let usual = if self.reverse_path.is_some() { "250 2.1.5 ok" } else { "503 5.5.1 MAIL" };
                    if self.reply(&mut link, &line, &[], usual)? == 250 {
                        self.forward_paths.push(path(rest));
                    }
                }
                "DATA" => {
                    let usual = if self.forward_paths.is_empty() { "503 5.5.1 RCPT" } else { "354 go on" };
                    if self.reply(&mut link, &line, &[], usual)? == 354 {
                        self.message(&mut link)?;
                    }
                }
                "RSET" => {
                    (self.reverse_path, self.forward_paths) = (None, Vec::new());
                    self.reply(&mut link, &line, &[], "250 2.0.0 ok")?;
                }
                "QUIT" => {
                    self.reply(&mut link, &line, &[], "221 2.0.0 bye")?;
                    return Ok(());
                }
                _ => {
                    self.reply(&mut link, &line, &[], "500 5.5.2 unknown command")?;
                }
            }
        }
    }

    fn look_at_tls(&mut self, wire: &Wire) {
        if let Wire::Tls(stream) = wire {
            let exported =
                stream.conn.export_keying_material(vec![0; 32], b"EXPORTER-Channel-Binding", Some(b""));
            self.exported = exported.ok();
            self.has_certificate = stream.conn.peer_certificates().is_some();
        }
    }

    fn hear(&self, line: &str) {
        self.shared.change(|record| record.heard.push(line.to_owned()));
    }

    /// Asks the script and answers; gives the code. An error ends the session.
    fn reply(&self, link: &mut BufReader<Wire>, line: &str, content: &[u8], usual: &str) -> io::Result<u16> {
        let script = Arc::clone(&self.shared.lock().script);
        let answer = script(&Asked { session: self.number, line, content });
        self.put(link, answer, usual)
    }

    fn put(&self, link: &mut BufReader<Wire>, answer: Answer, usual: &str) -> io::Result<u16> {
        let cut = || io::Error::other("the script cuts the connection");
        let text = match &answer {
            Answer::Usual => usual,
            Answer::Say(text) => text,
            Answer::SayAndCut(text) => text,
            Answer::Cut => return Err(cut()),
        };
        link.get_mut().write_all(format!("{text}\r\n").as_bytes())?;
        link.get_mut().flush()?;
        match answer {
            Answer::SayAndCut(_) => Err(cut()),
            _ => Ok(text[..3].parse().unwrap()),
        }
    }

    fn ehlo(&self) -> String {
        let options = &self.shared.options;
        let mut lines = vec!["mx.example.com", "PIPELINING", "8BITMIME"];
        let has_size = self.shared.options.offers.iter().any(|offer| offer.starts_with("SIZE"));
        lines.extend((!has_size).then_some("SIZE 26214400"));
        if options.tls.is_some() && !self.inside_tls {
            lines.push("STARTTLS");
        }
        lines.extend(&options.offers);
        let last = lines.pop().unwrap_or_default();
        lines.iter().map(|line| format!("250-{line}\r\n")).collect::<String>() + "250 " + last
    }

    /// RFC 4954, for every mechanism that a client may name; who offers fewer refuses the others by its script. The password is
    /// the token where one is wanted.
    fn log_in(&mut self, link: &mut BufReader<Wire>, line: &str) -> io::Result<()> {
        let Some((user, password)) = self.shared.options.login else {
            return self.reply(link, line, &[], "502 5.5.1 no login here").map(drop);
        };
        let (mechanism, initial) = line
            .strip_prefix("AUTH ")
            .unwrap_or(line)
            .split_once(' ')
            .unwrap_or((line.strip_prefix("AUTH ").unwrap_or(line), ""));
        let is_offered =
            self.shared.options.offers.iter().any(|o| o.split(' ').skip(1).any(|m| m == mechanism));
        let mut last = line.to_owned();
        let mut ok = is_offered;
        let mut ask = |session: &mut Self, prompt: &str, last: &mut String| -> io::Result<Option<Vec<u8>>> {
            let code = session.reply(link, last, &[], &format!("334 {prompt}"))?;
            session.logged_in |= code == 235;
            if code != 334 {
                return Ok(None);
            }
            *last = String::from_utf8_lossy(&read_line(link)?.unwrap_or_default()).trim_end().to_owned();
            session.hear(last);
            Ok(Some(sasl::decoded(last)))
        };
        let bearer = |front: &str| format!("{front}\x01auth=Bearer {password}\x01\x01").into_bytes();
        match mechanism {
            _ if !is_offered => {}
            "PLAIN" => ok = sasl::decoded(initial) == format!("\0{user}\0{password}").as_bytes(),
            "LOGIN" => {
                for (prompt, expected) in [("VXNlcm5hbWU6", user), ("UGFzc3dvcmQ6", password)] {
                    let Some(said) = ask(self, prompt, &mut last)? else { return Ok(()) };
                    ok &= said == expected.as_bytes();
                }
            }
            "CRAM-MD5" => {
                let challenge = "<1.2@mx.example.com>";
                let Some(said) = ask(self, &sasl::encoded(challenge), &mut last)? else { return Ok(()) };
                ok = said == sasl::cram_md5(challenge, user, password).as_bytes();
            }
            "XOAUTH2" | "OAUTHBEARER" => {
                let front =
                    if mechanism == "XOAUTH2" { format!("user={user}") } else { format!("n,a={user},") };
                ok = sasl::decoded(initial) == bearer(&front);
                if !ok {
                    let why = sasl::encoded("{\"status\":\"401\"}");
                    let Some(_dummy) = ask(self, &why, &mut last)? else { return Ok(()) };
                }
            }
            "EXTERNAL" => ok = self.has_certificate && (initial == "=" || initial == sasl::encoded(user)),
            scram => {
                let hash = if scram.contains("256") { Hash::Sha256 } else { Hash::Sha1 };
                let bound_to = self.exported.clone().filter(|_| scram.ends_with("-PLUS"));
                ok = false;
                if let Some((scram, challenge)) = Scram::begin(hash, &sasl::decoded(initial), user, bound_to)
                {
                    let Some(said) = ask(self, &sasl::encoded(challenge), &mut last)? else { return Ok(()) };
                    if let Some(proof) = scram.end(&said, password) {
                        let Some(empty) = ask(self, &sasl::encoded(proof), &mut last)? else { return Ok(()) };
                        ok = empty.is_empty();
                    }
                }
            }
        }
        let usual = match (ok, is_offered) {
            (true, _) => "235 2.7.0 welcome",
            (false, true) => "535 5.7.8 no",
            (false, false) => "504 5.5.4 not offered",
        };
        self.logged_in = self.reply(link, &last, &[], usual)? == 235;
        Ok(())
    }

    fn message(&mut self, link: &mut BufReader<Wire>) -> io::Result<()> {
        let mut bytes = Vec::new();
        loop {
            let Some(line) = read_line(link)? else { return Err(io::ErrorKind::UnexpectedEof.into()) };
            match line.strip_prefix(b".") {
                Some(b"\r\n") => break,
                Some(rest) => bytes.extend_from_slice(rest),
                None => bytes.extend_from_slice(&line),
            }
        }
        self.hear(".");
        let script = Arc::clone(&self.shared.lock().script);
        let answer = script(&Asked { session: self.number, line: ".", content: &bytes });
        let taken = match &answer {
            Answer::Usual => true,
            Answer::Say(text) => text.starts_with('2'),
            Answer::SayAndCut(text) => text.starts_with('2'),
            Answer::Cut => false,
        };
        let arrival = Arrival {
            session: self.number,
            reverse_path: self.reverse_path.take().unwrap_or_default(),
            forward_paths: std::mem::take(&mut self.forward_paths),
            bytes,
            taken,
        };
        // On record before the reply: whoever saw its effect finds it here.
        self.shared.change(|record| record.arrivals.push(arrival));
        self.put(link, answer, "250 2.0.0 taken").map(drop)
    }
}

/// A line with its CRLF; `None` when the connection has ended.
fn read_line(link: &mut BufReader<Wire>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if link.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(line))
}

/// The path in `FROM:<a@b.c> SIZE=1`.
fn path(rest: &str) -> String {
    let inside = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or_else(String::new, |(path, _)| path.to_owned())
}

/// RFC 4648 section 4.
pub(crate) fn base64(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for group in text.as_bytes().chunks(3) {
        let bits = group.iter().fold(0_usize, |bits, octet| bits << 8 | usize::from(*octet))
            << (8 * (3 - group.len()));
        for digit in 0..4 {
            let index = bits >> (18 - 6 * digit) & 63;
            encoded.push(if digit > group.len() { '=' } else { char::from(ALPHABET[index]) });
        }
    }
    encoded
}

#[test]
fn base64_is_that_of_the_rfc() {
    let pairs = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
    for (text, encoded) in pairs {
        assert_eq!(base64(text), encoded);
    }
}
