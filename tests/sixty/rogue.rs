//! An SMTP server that misbehaves by rules: at which point, how often, and what it does instead.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::LIMIT;
use crate::support::stage::pass_time;

/// What the server was about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    Banner,
    Ehlo,
    Helo,
    StartTls,
    /// Behind the 220 to STARTTLS, before the handshake.
    Handshake,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// Behind the 354, before the message is read.
    Text,
    /// The final dot was read.
    Dot,
    Rset,
    Quit,
}

/// How often it misbehaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    Always,
    /// So many times, over all sessions.
    First(usize),
    /// With the message of that number, which its sender tells.
    With(usize),
    /// Once so many messages were taken in the session.
    Behind(usize),
}

/// What it does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Says this, without its last line end, instead of the usual.
    Say(&'static str),
    /// Writes these octets.
    Raw(Vec<u8>),
    /// Writes these with a pause between; the code is that of the first.
    Pieces(&'static str, Duration, &'static str),
    /// Says the usual, this much later.
    Late(Duration),
    /// Says the usual and reads nothing for so long.
    Deaf(Duration),
    /// Says nothing more, and waits until the client goes.
    Silence,
    /// Closes, by FIN or by RST.
    Close(How),
    /// Says the usual and closes.
    ThenClose(How),
    /// Writes these octets and closes.
    RawThenClose(Vec<u8>, How),
    /// Says the usual, and then ends its own direction only.
    HalfClose,
    /// Writes this again and again until the client goes.
    Flood(&'static str),
    /// Says the usual, and loses what had been received behind this line.
    LoseTheRest,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Fin,
    Rst,
}

/// How everything is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Plain,
    LineFeedOnly,
    SingleOctets,
    LateBy(Duration),
    WithoutText,
    /// Octets above 127, control characters, NUL.
    Binary,
    /// Each line is that long.
    Long(usize),
    /// Each reply has several lines.
    Talkative,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) at: Point,
    pub(crate) when: When,
    pub(crate) act: Act,
    hits: AtomicUsize,
}

impl Rule {
    pub(crate) fn new(at: Point, when: When, act: Act) -> Rule {
        Rule { at, when, act, hits: AtomicUsize::new(0) }
    }
}

/// How the server is.
pub(crate) struct Nature {
    pub(crate) rules: Vec<Rule>,
    pub(crate) manner: Manner,
    /// The lines of the reply to EHLO behind the first.
    pub(crate) offers: Vec<&'static str>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// TLS from the first octet, else by STARTTLS.
    pub(crate) implicit_tls: bool,
}

/// A message whose final dot was read.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) number: usize,
    pub(crate) forward_paths: Vec<String>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) said: Said,
}

/// What a final dot was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// 2yz, whether or not the client could read it.
    Yes,
    /// Another reply: the message was not taken.
    No,
    /// Nothing: nobody knows whether it was taken.
    Nothing,
}

#[derive(Default)]
struct Record {
    sessions: usize,
    arrivals: Vec<Arrival>,
    heard: Vec<String>,
}

/// The server. Its threads end with their connections.
pub(crate) struct Rogue {
    port: u16,
    record: Arc<Mutex<Record>>,
}

impl Rogue {
    pub(crate) fn start(nature: Nature) -> Rogue {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let record = Arc::new(Mutex::new(Record::default()));
        let (for_thread, nature) = (Arc::clone(&record), Arc::new(nature));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                for_thread.lock().unwrap().sessions += 1;
                let (record, nature) = (Arc::clone(&for_thread), Arc::clone(&nature));
                // How a session ends is the client's business, or the rule's.
                thread::spawn(move || drop(Session::new(stream, nature, record).and_then(Session::serve)));
            }
        });
        Rogue { port, record }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn sessions(&self) -> usize {
        self.record.lock().unwrap().sessions
    }

    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.record.lock().unwrap().arrivals.clone()
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.record.lock().unwrap().heard.clone()
    }
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Wire {
    fn socket(&self) -> &TcpStream {
        match self {
            Wire::Plain(stream) => stream,
            Wire::Tls(stream) => stream.get_ref(),
        }
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

struct Session {
    link: BufReader<Wire>,
    nature: Arc<Nature>,
    record: Arc<Mutex<Record>>,
    /// The message in transaction, by its sender.
    number: usize,
    forward_paths: Vec<String>,
    taken: usize,
    inside_tls: bool,
}

fn over() -> io::Error {
    io::Error::other("the rule ends the session")
}

impl Session {
    fn new(stream: TcpStream, nature: Arc<Nature>, record: Arc<Mutex<Record>>) -> io::Result<Session> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let link = BufReader::new(Wire::Plain(stream));
        let (number, forward_paths, taken, inside_tls) = (0, Vec::new(), 0, false);
        Ok(Session { link, nature, record, number, forward_paths, taken, inside_tls })
    }

    fn serve(mut self) -> io::Result<()> {
        if self.nature.implicit_tls {
            self = self.shake_hands()?;
        }
        self.answer(Point::Banner, "220 mx.example.com ESMTP")?;
        loop {
            let Some(line) = self.line()? else { return Ok(()) };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.record.lock().unwrap().heard.push(line.clone());
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => {
                    let text = self.ehlo();
                    self.answer(Point::Ehlo, &text)?;
                }
                "HELO" => drop(self.answer(Point::Helo, "250 mx.example.com")?),
                "STARTTLS" => self = self.begin_tls()?,
                "AUTH" => drop(self.answer(Point::Auth, "235 2.7.0 welcome")?),
                "MAIL" => {
                    (self.number, self.forward_paths) = (number_of(rest), Vec::new());
                    self.answer(Point::Mail, "250 2.1.0 ok")?;
                }
                "RCPT" => {
                    if self.answer(Point::Rcpt, "250 2.1.5 ok")? == 250 {
                        let path = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
                        self.forward_paths.push(path.map_or_else(String::new, |(path, _)| path.to_owned()));
                    }
                }
                "DATA" => {
                    let usual = if self.forward_paths.is_empty() { "503 5.5.1 RCPT" } else { "354 go on" };
                    if self.answer(Point::Data, usual)? == 354 {
                        self.message()?;
                    }
                }
                "RSET" => drop(self.answer(Point::Rset, "250 2.0.0 ok")?),
                "QUIT" => {
                    self.answer(Point::Quit, "221 2.0.0 bye")?;
                    return Ok(());
                }
                _ => drop(self.put("500 5.5.2 unknown command")?),
            }
        }
    }

    fn ehlo(&self) -> String {
        let mut lines = vec!["mx.example.com"];
        lines.extend(&self.nature.offers);
        lines.extend((self.nature.tls.is_some() && !self.inside_tls).then_some("STARTTLS"));
        let last = lines.pop().unwrap_or_default();
        lines.iter().map(|line| format!("250-{line}\r\n")).collect::<String>() + "250 " + last
    }

    fn begin_tls(mut self) -> io::Result<Session> {
        if self.answer(Point::StartTls, "220 2.0.0 go on")? != 220 {
            return Ok(self);
        }
        self.shake_hands()
    }

    fn shake_hands(mut self) -> io::Result<Session> {
        let act = self.act(Point::Handshake);
        if matches!(act, Some(Act::RawThenClose(..))) {
            // An answer to the client's hello, and not text in front of it.
            self.link.fill_buf()?;
        }
        self.perform(act, "")?;
        let Session { link, nature, .. } = self;
        let (Some(config), Wire::Plain(stream)) = (nature.tls.clone(), link.into_inner()) else {
            return Err(over());
        };
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let link = BufReader::new(Wire::Tls(Box::new(StreamOwned::new(connection, stream))));
        Ok(Session { link, nature, inside_tls: true, ..self })
    }

    fn message(&mut self) -> io::Result<()> {
        self.answer(Point::Text, "")?;
        let mut bytes = Vec::new();
        loop {
            let Some(line) = self.line()? else { return Err(over()) };
            match line.strip_prefix(b".") {
                Some(b"\r\n") => break,
                Some(rest) => bytes.extend_from_slice(rest),
                None => bytes.extend_from_slice(&line),
            }
        }
        self.record.lock().unwrap().heard.push(".".to_owned());
        let act = self.act(Point::Dot);
        let said = if self.forward_paths.is_empty() { Said::No } else { said(act.as_ref()) };
        if !bytes.is_empty() {
            let forward_paths = std::mem::take(&mut self.forward_paths);
            // On record before the reply: whoever saw its effect finds it here.
            let arrival = Arrival { number: self.number, forward_paths, bytes, said };
            self.record.lock().unwrap().arrivals.push(arrival);
        }
        self.taken += usize::from(said == Said::Yes);
        let usual = if said == Said::No { "554 5.5.1 no valid recipients" } else { "250 2.0.0 taken" };
        self.perform(act, usual).map(drop)
    }

    /// The rule that is due, if one is.
    fn act(&self, at: Point) -> Option<Act> {
        let due = |rule: &&Rule| {
            rule.at == at
                && match rule.when {
                    When::Always => true,
                    When::First(times) => rule.hits.fetch_add(1, Ordering::SeqCst) < times,
                    When::With(number) => self.number == number,
                    When::Behind(messages) => self.taken >= messages,
                }
        };
        self.nature.rules.iter().find(due).map(|rule| rule.act.clone())
    }

    fn answer(&mut self, at: Point, usual: &str) -> io::Result<u16> {
        let act = self.act(at);
        self.perform(act, usual)
    }

    /// Does it; gives the code that was said.
    fn perform(&mut self, act: Option<Act>, usual: &str) -> io::Result<u16> {
        match act {
            None => self.put(usual),
            Some(Act::Say(text)) => self.put(text),
            Some(Act::Raw(bytes)) => self.write(&bytes).map(|()| code_of(&bytes)),
            Some(Act::Pieces(first, pause, rest)) => {
                self.write(first.as_bytes())?;
                pass_time(pause);
                self.write(rest.as_bytes()).map(|()| code_of(format!("{first}{rest}").as_bytes()))
            }
            Some(Act::Late(span)) => {
                pass_time(span);
                self.put(usual)
            }
            Some(Act::Deaf(span)) => {
                let code = self.put(usual)?;
                pass_time(span);
                Ok(code)
            }
            Some(Act::Silence) => self.drain(),
            Some(Act::Close(how)) => self.close(how),
            Some(Act::ThenClose(how)) => {
                self.put(usual)?;
                self.close(how)
            }
            Some(Act::RawThenClose(bytes, how)) => {
                self.write(&bytes)?;
                self.close(how)
            }
            Some(Act::HalfClose) => {
                self.put(usual)?;
                self.link.get_ref().socket().shutdown(Shutdown::Write)?;
                self.drain()
            }
            Some(Act::Flood(text)) => loop {
                self.write(text.as_bytes())?;
            },
            Some(Act::LoseTheRest) => {
                let lost = self.link.buffer().len();
                self.link.consume(lost);
                self.put(usual)
            }
        }
    }

    fn drain(&mut self) -> io::Result<u16> {
        io::copy(&mut self.link, &mut io::sink())?;
        Err(over())
    }

    fn close(&mut self, how: How) -> io::Result<u16> {
        let socket = self.link.get_ref().socket();
        match how {
            How::Fin => socket.shutdown(Shutdown::Both)?,
            How::Rst => reset_when_dropped(socket)?,
        }
        Err(over())
    }

    /// Says it in the server's manner.
    fn put(&mut self, text: &str) -> io::Result<u16> {
        if text.is_empty() {
            return Ok(0);
        }
        let mut lines: Vec<Vec<u8>> = text.split("\r\n").map(|line| line.as_bytes().to_vec()).collect();
        let code = code_of(text.as_bytes());
        let end: &[u8] = if self.nature.manner == Manner::LineFeedOnly { b"\n" } else { b"\r\n" };
        match self.nature.manner {
            // What EHLO offers is not only text.
            Manner::WithoutText if lines.len() == 1 => lines[0].truncate(3),
            Manner::Binary if lines.len() == 1 => lines[0].extend(b" Empf\xe4nger \x1b[2J\0\x7f\xff"),
            Manner::Long(length) if lines.len() == 1 => lines[0].resize(length, b'x'),
            Manner::Talkative if lines.len() == 1 => {
                let more = format!("{code}-and more of it").into_bytes();
                lines = [vec![more; 20], lines].concat();
            }
            Manner::LateBy(span) => pass_time(span),
            _ => {}
        }
        let bytes: Vec<u8> = lines.iter().flat_map(|line| [line, end].concat()).collect();
        match self.nature.manner {
            Manner::SingleOctets => bytes.iter().try_for_each(|octet| self.write(&[*octet]))?,
            _ => self.write(&bytes)?,
        }
        Ok(code)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.link.get_mut().write_all(bytes)?;
        self.link.get_mut().flush()
    }

    /// A line with its CRLF; `None` when the connection has ended.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if self.link.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
        }
        Ok(Some(line))
    }
}

/// Closing it sends RST, and throws away what was not yet sent.
fn reset_when_dropped(socket: &TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and pointer and size are those of one linger.
    let set = unsafe {
        let value = std::ptr::from_ref(&linger).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, size)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn said(act: Option<&Act>) -> Said {
    let of = |yes| if yes { Said::Yes } else { Said::No };
    match act {
        None | Some(Act::Late(_) | Act::Deaf(_) | Act::ThenClose(_) | Act::HalfClose | Act::LoseTheRest) => {
            Said::Yes
        }
        Some(Act::Say(text) | Act::Pieces(text, _, _)) => of(text.starts_with('2')),
        Some(Act::Raw(bytes) | Act::RawThenClose(bytes, _)) => of(bytes.starts_with(b"2")),
        Some(Act::Silence | Act::Close(_) | Act::Flood(_)) => Said::Nothing,
    }
}

fn code_of(reply: &[u8]) -> u16 {
    std::str::from_utf8(&reply[..reply.len().min(3)]).ok().and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// Of `FROM:<panel-2@example.com>`.
fn number_of(rest: &str) -> usize {
    let digit = rest.split_once("panel-").and_then(|(_, rest)| rest.split_once('@'));
    digit.and_then(|(digit, _)| digit.parse().ok()).unwrap_or(0)
}
