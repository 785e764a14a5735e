//! The driver: moves bytes between a [`Wire`] and a [`Session`], and wakes the session up at its deadlines.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connect::{connect_unix, connect_watched};
use super::wire::{Moved, Wire};
use super::witness::{masked_answer, masked_request};
use super::{ConnectError, Endpoint, Heard, Peer, TlsConfig, TlsError, TlsFacts, Witness};
use crate::mail::{Monotonic, Stage};
use crate::smtp::{
    Event, Extensions, LinkFault, Mechanism, Session, SessionEnd, SessionOptions, TlsMode, Transaction,
    Transcript,
};

/// How long after a failed write the server's last words are waited for.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The longest line of a server that a witness is told.
const LINE_MAX: usize = 64 * 1024;

/// The message as it goes over the wire: canonical, with transparency, the final dot included.
pub trait BodySource {
    /// Appends the next block (about 64 KiB) and says whether more follows. The block that ends with the final
    /// dot is the last, and is given only if the message may now be taken by the server. An error means that it
    /// may not, or that the message cannot be read: the connection is dropped without the dot.
    fn next(&mut self, block: &mut Vec<u8>) -> io::Result<bool>;
}

/// A session on its connection.
pub struct Connection {
    session: Session,
    wire: Wire,
    endpoint: Endpoint,
    peer: Peer,
    tls: Option<TlsFacts>,
    read_buffer: Box<[u8]>,
    /// The wire took bytes that may still lie in its own buffer.
    unflushed: bool,
    witness: Option<Arc<dyn Witness>>,
    /// A line of the server that the witness was not told yet.
    unheard: Vec<u8>,
}

/// Why a session did not come to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// No connection.
    Connect(ConnectError),
    /// No TLS on it.
    Tls {
        /// With whom.
        endpoint: Endpoint,
        /// At which address.
        peer: Peer,
        /// Why.
        error: TlsError,
    },
    /// The session ended before it was ready.
    Session {
        /// With whom.
        endpoint: Endpoint,
        /// At which address.
        peer: Peer,
        /// How.
        end: SessionEnd,
        /// How it was logged in last, whatever came of it.
        mechanism: Option<Mechanism>,
    },
}

impl Connection {
    /// Connects, sets TLS up, greets and logs in. With `endpoint.implicit` the session's mode is
    /// [`TlsMode::Implicit`], whatever `options` says. `tls` is needed where TLS may be begun.
    pub async fn open(
        endpoint: &Endpoint,
        options: SessionOptions,
        tls: Option<&TlsConfig>,
        now: &(dyn Fn() -> Monotonic + Sync),
    ) -> Result<Connection, OpenError> {
        Self::open_watched(endpoint, options, tls, now, None).await
    }

    /// The same, watched; and so is all that follows on it.
    pub async fn open_watched(
        endpoint: &Endpoint,
        options: SessionOptions,
        tls: Option<&TlsConfig>,
        now: &(dyn Fn() -> Monotonic + Sync),
        witness: Option<Arc<dyn Witness>>,
    ) -> Result<Connection, OpenError> {
        let told = witness.clone();
        tell(&told, || Heard::Opening(endpoint));
        let opened = Self::open_at(endpoint, options, tls, now, witness).await;
        if let Err(error) = &opened {
            tell(&told, || Heard::Failed(error));
        }
        opened
    }

    async fn open_at(
        endpoint: &Endpoint,
        mut options: SessionOptions,
        tls: Option<&TlsConfig>,
        now: &(dyn Fn() -> Monotonic + Sync),
        witness: Option<Arc<dyn Witness>>,
    ) -> Result<Connection, OpenError> {
        let timeouts = options.timeouts.clone();
        let connected = match endpoint.socket() {
            Some(path) => connect_unix(endpoint, path, timeouts.connect)
                .await
                .map(|stream| (Wire::Unix(stream), Peer::Unix(path.to_owned()))),
            None => connect_watched(endpoint, timeouts.connect, now, witness.as_deref())
                .await
                .map(|(stream, address)| (Wire::Plain(stream), Peer::Tcp(address))),
        };
        let (mut wire, peer) = connected.map_err(OpenError::Connect)?;
        let tls_error = |error| OpenError::Tls { endpoint: endpoint.clone(), peer: peer.clone(), error };
        tell(&witness, || Heard::Connected(&peer));
        let mut facts = None;
        if endpoint.implicit {
            options.tls = TlsMode::Implicit;
            (wire, facts) = begin_tls(wire, tls, endpoint, timeouts.tls).await.map_err(tls_error)?;
        } else if options.tls == TlsMode::Implicit {
            // The session would believe itself inside TLS and log in.
            return Err(tls_error(TlsError::unconfigured()));
        }
        if let Some(facts) = &facts {
            tell(&witness, || Heard::Tls(facts));
        }
        Self::over(wire, facts, endpoint, peer, options, tls, now, witness).await
    }

    /// The opening of a session on a connection that stands.
    #[expect(clippy::too_many_arguments, reason = "all of it belongs to one connection")]
    pub(super) async fn over(
        wire: Wire,
        facts: Option<TlsFacts>,
        endpoint: &Endpoint,
        peer: Peer,
        options: SessionOptions,
        tls: Option<&TlsConfig>,
        now: &(dyn Fn() -> Monotonic + Sync),
        witness: Option<Arc<dyn Witness>>,
    ) -> Result<Connection, OpenError> {
        let handshake_within = options.timeouts.tls;
        let mut connection = Connection {
            session: Session::new(options, now()),
            wire,
            endpoint: endpoint.clone(),
            peer,
            tls: facts,
            read_buffer: vec![0; 16 * 1024].into_boxed_slice(),
            unflushed: false,
            witness,
            unheard: Vec::new(),
        };
        connection.bind();
        loop {
            match connection.next_event(now).await {
                Event::Ready => return Ok(connection),
                Event::StartTls => {
                    let wire = std::mem::replace(&mut connection.wire, Wire::Gone);
                    let begun = begin_tls(wire, tls, endpoint, handshake_within).await;
                    let peer = connection.peer.clone();
                    (connection.wire, connection.tls) =
                        begun.map_err(|error| OpenError::Tls { endpoint: endpoint.clone(), peer, error })?;
                    if let Some(facts) = &connection.tls {
                        tell(&connection.witness, || Heard::Tls(facts));
                    }
                    connection.bind();
                    connection.session.tls_established(now());
                }
                Event::Ended(end) => {
                    let mechanism = connection.session.mechanism();
                    let peer = connection.peer.clone();
                    return Err(OpenError::Session { endpoint: endpoint.clone(), peer, end, mechanism });
                }
                Event::SendBody | Event::TransactionEnded(_) => {}
            }
        }
    }

    /// One transaction from MAIL to the reply to the final dot. If it is dropped half-way, the connection is of no
    /// use any more.
    ///
    /// `next` is the transaction that comes behind, if that is known: where the session allows it
    /// ([`Session::begin_behind`]) its requests ride behind the final dot, in one write with the last block. Nothing
    /// of it is sent beyond that until it is given to `transact` itself. Until then [`Connection::ahead`] tells it;
    /// beginning another one in its place, or quitting, closes the connection without a dot.
    pub async fn transact(
        &mut self,
        transaction: Transaction,
        body: &mut dyn BodySource,
        mut next: Option<Transaction>,
        now: &(dyn Fn() -> Monotonic + Sync),
    ) -> Transcript {
        self.hear_what_is_there(now).await;
        self.session.begin(transaction, now());
        self.until_it_ends(body, &mut next, now).await
    }

    /// MAIL and every RCPT, and nothing behind them ([`Session::probe`]): no message is sent.
    pub async fn probe(
        &mut self,
        transaction: Transaction,
        now: &(dyn Fn() -> Monotonic + Sync),
    ) -> Transcript {
        self.hear_what_is_there(now).await;
        self.session.probe(transaction, now());
        self.until_it_ends(&mut Nothing, &mut None, now).await
    }

    async fn until_it_ends(
        &mut self,
        body: &mut dyn BodySource,
        next: &mut Option<Transaction>,
        now: &(dyn Fn() -> Monotonic + Sync),
    ) -> Transcript {
        loop {
            match self.next_event(now).await {
                Event::SendBody => self.send_body(body, next.take(), now).await,
                Event::TransactionEnded(transcript) => {
                    if self.session.end().is_some() {
                        self.wire = Wire::Gone;
                    }
                    return transcript;
                }
                // A transcript always comes before the end of its session.
                Event::Ready | Event::StartTls | Event::Ended(_) => {}
            }
        }
    }

    /// Gives up what rode behind the last final dot ([`Session::abandon`]): usually the connection closes.
    pub async fn abandon(&mut self, now: &(dyn Fn() -> Monotonic + Sync)) {
        self.hear_what_is_there(now).await;
        self.session.abandon(now());
        if self.session.end().is_some() {
            self.close().await;
        }
    }

    /// Says QUIT, waits a little for the reply and closes. Without a QUIT, and without a dot, where the server may
    /// wait for the message of a transaction that was sent ahead.
    pub async fn quit(mut self, now: &(dyn Fn() -> Monotonic + Sync)) {
        self.session.quit(now());
        while !matches!(self.next_event(now).await, Event::Ended(_)) {}
    }

    /// Waits until the server ends the session between two messages. Can be dropped at any time.
    pub async fn idle_closed(&mut self, now: &(dyn Fn() -> Monotonic + Sync)) -> SessionEnd {
        loop {
            if let Some(end) = self.session.end() {
                return end.clone();
            }
            self.next_event(now).await;
        }
    }

    /// Whether another transaction may be begun here, as far as is known without asking the server.
    pub fn is_usable(&self) -> bool {
        self.session.may_begin()
    }

    /// The transaction that rode behind the last final dot and was not begun yet.
    pub fn ahead(&self) -> Option<&Transaction> {
        self.session.ahead()
    }

    /// Whether the server bears requests behind a final dot, as far as is known; see [`Session::bears_overlap`].
    /// To be asked when the session has ended, for the options of the next one.
    pub fn bears_overlap(&self) -> bool {
        self.session.bears_overlap()
    }

    /// Whether the requests of a message go out together.
    pub fn sends_groups(&self) -> bool {
        self.session.sends_groups()
    }

    /// How the session ended, if it has.
    pub fn end(&self) -> Option<&SessionEnd> {
        self.session.end()
    }

    /// What the server offers.
    pub fn extensions(&self) -> &Extensions {
        self.session.extensions()
    }

    /// What is known of the encryption; `None` in the clear.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref()
    }

    /// How it was logged in, if at all.
    pub fn mechanism(&self) -> Option<Mechanism> {
        self.session.mechanism()
    }

    /// With whom.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// At which address.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What the login may be bound to.
    fn bind(&mut self) {
        if let Some(exported) = self.tls.as_ref().and_then(|facts| facts.exported.clone()) {
            self.session.bind(exported);
        }
    }

    /// What came while nobody listened (421, or the end of the line) belongs to no message: it is heard before the
    /// next one begins.
    async fn hear_what_is_there(&mut self, now: &(dyn Fn() -> Monotonic + Sync)) {
        // Lets the runtime look at its sockets.
        tokio::task::yield_now().await;
        while self.session.end().is_none() {
            match timeout(Duration::ZERO, self.wire.moved(&mut self.read_buffer, &[], false)).await {
                Ok(Moved::Read(read)) => self.take_read(read, now),
                _ => return,
            }
        }
    }

    /// Moves bytes until the session has something to say. Without an event and without a deadline it waits for
    /// the server for ever.
    async fn next_event(&mut self, now: &(dyn Fn() -> Monotonic + Sync)) -> Event {
        loop {
            if let Some(event) = self.session.poll_event() {
                if matches!(event, Event::Ended(_)) {
                    self.close().await;
                }
                return event;
            }
            if let Some(end) = self.session.end() {
                return Event::Ended(end.clone());
            }
            // One thing at a time, and then the events again: a reply may come while something is written.
            let output = self.session.take_output();
            self.tell_said(&output);
            if output.is_empty() && !self.unflushed {
                self.step(&[], now).await;
            } else {
                self.write(&output, None, now).await;
            }
        }
    }

    /// The whole message, and what rides behind it. Returns when that is written or the session has ended.
    async fn send_body(
        &mut self,
        body: &mut dyn BodySource,
        next: Option<Transaction>,
        now: &(dyn Fn() -> Monotonic + Sync),
    ) {
        let mut block = Vec::new();
        let mut octets = 0;
        let mut dot_at = None;
        while dot_at.is_none() && self.session.end().is_none() {
            block.clear();
            match body.next(&mut block) {
                Ok(true) => {
                    octets += block.len();
                    self.write(&block, None, now).await;
                }
                Ok(false) if !block.ends_with(b".\r\n") => {
                    self.wire = Wire::Gone;
                    let fault = LinkFault::Source("expected the final dot at its end, found none".to_owned());
                    return self.session.handle_closed(fault, now());
                }
                Ok(false) => dot_at = Some(block.len()),
                Err(error) => {
                    // Closed here and now: what is still buffered must not go, and no dot ever.
                    self.wire = Wire::Gone;
                    return self.session.handle_closed(LinkFault::Source(error.to_string()), now());
                }
            }
        }
        self.tell_message(dot_at, octets + block.len());
        if let Some(next) = next.filter(|_| dot_at.is_some()) {
            self.session.begin_behind(next, now());
            block.extend(self.session.take_output());
        }
        self.write(&block, dot_at, now).await;
    }

    /// Writes all of it and flushes, hearing what the server says meanwhile. `dot_at` is the end of the final dot if
    /// that is in it: the session is told in the moment in which that octet is taken.
    async fn write(&mut self, bytes: &[u8], dot_at: Option<usize>, now: &(dyn Fn() -> Monotonic + Sync)) {
        let mut written = 0;
        while (written < bytes.len() || self.unflushed) && self.session.end().is_none() {
            let before = written;
            written += self.step(&bytes[written..], now).await;
            if written == before {
                continue;
            }
            if dot_at.is_some_and(|at| written >= at) {
                self.session.body_sent(now());
            } else {
                self.session.body_progress(now());
            }
        }
    }

    /// The next thing that happens: octets come, octets go (how many is returned), or time is up.
    async fn step(&mut self, write: &[u8], now: &(dyn Fn() -> Monotonic + Sync)) -> usize {
        let moved = self.wire.moved(&mut self.read_buffer, write, self.unflushed);
        let moved = match self.session.deadline() {
            Some(deadline) => timeout(deadline - now(), moved).await,
            None => Ok(moved.await),
        };
        match moved {
            Ok(Moved::Read(read)) => self.take_read(read, now),
            Ok(Moved::Wrote(Ok(written))) => {
                self.unflushed = true;
                return written;
            }
            Ok(Moved::Flushed(Ok(()))) => self.unflushed = false,
            Ok(Moved::Wrote(Err(error)) | Moved::Flushed(Err(error))) => {
                self.read_last_words(&error, now).await
            }
            Err(_) => self.session.handle_time(now()),
        }
        0
    }

    fn take_read(&mut self, read: io::Result<usize>, now: &(dyn Fn() -> Monotonic + Sync)) {
        match read {
            Ok(0) => self.session.handle_closed(LinkFault::Closed, now()),
            Ok(count) => self.take_bytes(count, now),
            Err(error) => self.session.handle_closed(link_fault(&error), now()),
        }
    }

    fn take_bytes(&mut self, count: usize, now: &(dyn Fn() -> Monotonic + Sync)) {
        self.tell_answered(count);
        self.session.handle_bytes(&self.read_buffer[..count], now());
    }

    /// Tells what goes out. What rides behind a dot is not told: whoever is watched sends nothing ahead.
    fn tell_said(&self, output: &[u8]) {
        if self.witness.is_none() {
            return;
        }
        let stage = self.session.stage();
        for line in String::from_utf8_lossy(output).lines() {
            match stage {
                Stage::Auth => self.tell_line(Heard::Said(stage, &masked_request(line))),
                _ => self.tell_line(Heard::Said(stage, line)),
            }
        }
    }

    fn tell_line(&self, heard: Heard<'_>) {
        if let Some(witness) = &self.witness {
            witness.hear(heard);
        }
    }

    fn tell_message(&self, dot_at: Option<usize>, octets: usize) {
        if dot_at.is_some() {
            let text = format!("({octets} octets, the final dot included)");
            self.tell_line(Heard::Said(Stage::Body, &text));
        }
    }

    /// Tells the lines that have come whole. To be called before the session takes them: it knows what is secret until then.
    fn tell_answered(&mut self, count: usize) {
        if self.witness.is_none() {
            return;
        }
        self.unheard.extend_from_slice(&self.read_buffer[..count]);
        let stage = self.session.stage();
        while let Some(end) = self.unheard.iter().position(|&octet| octet == b'\n') {
            let line: Vec<u8> = self.unheard.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim_end().replace(char::is_control, "\u{fffd}");
            let line = self.session.without_secrets(&line);
            match stage {
                Stage::Auth => self.tell_line(Heard::Answered(stage, &masked_answer(&line))),
                _ => self.tell_line(Heard::Answered(stage, &line)),
            }
        }
        // Nobody sends lines like that.
        if self.unheard.len() > LINE_MAX {
            self.unheard.clear();
        }
    }

    /// Nothing can be written any more, but a server that refuses a message may say so before it cuts the line.
    async fn read_last_words(&mut self, error: &io::Error, now: &(dyn Fn() -> Monotonic + Sync)) {
        let end = now() + LAST_WORDS;
        while self.session.end().is_none() {
            match timeout(end - now(), self.wire.moved(&mut self.read_buffer, &[], false)).await {
                Ok(Moved::Read(Ok(count))) if count > 0 => {
                    self.take_bytes(count, now);
                }
                _ => self.session.handle_closed(LinkFault::Io(error.to_string()), now()),
            }
        }
        self.unflushed = false;
    }

    /// Writes what the session still wants to say (QUIT), as far as that goes without waiting for anyone.
    async fn close(&mut self) {
        let farewell = self.session.take_output();
        self.tell_said(&farewell);
        let mut wire = std::mem::replace(&mut self.wire, Wire::Gone);
        let goodbye = async {
            wire.write_all(&farewell).await?;
            wire.shutdown().await
        };
        // The session is over and its end is known; a farewell that does not get through changes nothing.
        let _unheard = timeout(Duration::from_secs(1), goodbye).await;
    }
}

/// The message of a transaction that has none.
struct Nothing;

impl BodySource for Nothing {
    fn next(&mut self, _block: &mut Vec<u8>) -> io::Result<bool> {
        Err(io::Error::other("there is no message"))
    }
}

/// The text is made only if somebody wants it.
fn tell<'a>(witness: &Option<Arc<dyn Witness>>, heard: impl FnOnce() -> Heard<'a>) {
    if let Some(witness) = witness {
        witness.hear(heard());
    }
}

/// With TLS 1.3 a server refuses the client's certificate when the client has long gone on: the next read tells.
fn link_fault(error: &io::Error) -> LinkFault {
    match TlsError::after_handshake(error) {
        Some(refusal) => LinkFault::Tls(refusal.to_string()),
        None => LinkFault::Io(error.to_string()),
    }
}

async fn begin_tls(
    wire: Wire,
    tls: Option<&TlsConfig>,
    endpoint: &Endpoint,
    within: Duration,
) -> Result<(Wire, Option<TlsFacts>), TlsError> {
    let (Some(tls), Wire::Plain(stream)) = (tls, wire) else {
        return Err(TlsError::unconfigured());
    };
    match timeout(within, handshake(tls, stream, endpoint)).await {
        Ok(done) => done,
        Err(_) => Err(TlsError::timed_out(within.as_secs())),
    }
}

async fn handshake(
    tls: &TlsConfig,
    stream: TcpStream,
    endpoint: &Endpoint,
) -> Result<(Wire, Option<TlsFacts>), TlsError> {
    let (stream, facts) = tls.handshake(stream, &endpoint.host).await?;
    Ok((Wire::Tls(Box::new(stream)), Some(facts)))
}

impl OpenError {
    /// What was being done.
    pub fn stage(&self) -> Stage {
        match self {
            OpenError::Connect(_) => Stage::Connect,
            OpenError::Tls { .. } => Stage::Tls,
            OpenError::Session { end, .. } => end.stage,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Connect(error) => write!(f, "{error}"),
            OpenError::Tls { endpoint, peer, error } => {
                write!(f, "set up TLS with {endpoint} ({peer}): {error}")
            }
            OpenError::Session { endpoint, peer, end, .. } => {
                write!(f, "open a session with {endpoint} ({peer}): {end}")
            }
        }
    }
}

impl std::error::Error for OpenError {}
