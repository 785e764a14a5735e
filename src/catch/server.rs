//! Listening, and one task a session.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::dialogue::{self, Dialogue, Envelope, Step, say};
use super::store::Store;
use super::{AnswerMode, Caught};

/// The longest message taken, octets.
pub(super) const LONGEST_MESSAGE: usize = 100 * 1024 * 1024;

/// Sessions at a time; what comes beyond waits to be accepted.
const MOST_SESSIONS: usize = 100;

/// How long a session may be silent (RFC 5321 section 4.5.3.2.7).
const IDLE: Duration = Duration::from_secs(300);

/// How long a client may leave its replies unread.
const WRITE: Duration = Duration::from_secs(60);

/// How long sessions have to take their leave.
const LEAVE: Duration = Duration::from_secs(1);

const CLOSING: &str = "421 4.3.2 closing, as told";

#[derive(Debug)]
pub(super) enum Order {
    /// Change the answer, then say that it is in force.
    Answer(AnswerMode, SyncSender<io::Result<()>>),
    Stop,
}

/// The listening socket, or in its stead one that is bound and does not listen: connections to it are
/// refused, and nobody else can be given the port. (A client that tries a free port of loopback again and
/// again can even be given that port for its own end, and be connected to itself.)
#[derive(Debug)]
pub(super) struct Door {
    address: SocketAddr,
    state: DoorState,
}

#[derive(Debug)]
enum DoorState {
    Open(TcpListener),
    Closed(TcpSocket),
    /// Not even bound: somebody took the port in the instant of a change.
    Lost,
}

struct Shared {
    store: Mutex<Store>,
    events: Sender<Caught>,
}

impl Door {
    /// Binds `address`. To be called within a runtime.
    pub(super) fn open(address: SocketAddr, listening: bool) -> io::Result<Self> {
        let socket = bind(address)?;
        let address = socket.local_addr()?;
        let mut door = Door { address, state: DoorState::Closed(socket) };
        if listening {
            door.set_listening(true)?;
        }
        Ok(door)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    fn set_listening(&mut self, listening: bool) -> io::Result<()> {
        self.state = match (std::mem::replace(&mut self.state, DoorState::Lost), listening) {
            (DoorState::Open(listener), true) => DoorState::Open(listener),
            (DoorState::Closed(socket), false) => DoorState::Closed(socket),
            (DoorState::Closed(socket), true) => DoorState::Open(socket.listen(1024)?),
            (DoorState::Lost, true) => DoorState::Open(bind(self.address)?.listen(1024)?),
            (before @ (DoorState::Open(_) | DoorState::Lost), false) => {
                drop(before);
                DoorState::Closed(bind(self.address)?)
            }
        };
        Ok(())
    }

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match &self.state {
            DoorState::Open(listener) => listener.accept().await,
            DoorState::Closed(_) | DoorState::Lost => std::future::pending().await,
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // So that connections of before, still in TIME_WAIT, do not hold the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Runs until it is told to stop.
pub(super) async fn serve(
    mut door: Door,
    mut orders: UnboundedReceiver<Order>,
    first: AnswerMode,
    store: Store,
    events: Sender<Caught>,
) {
    let (answer, _keep) = watch::channel(first);
    let shared = Arc::new(Shared { store: Mutex::new(store), events });
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(Order::Answer(mode, done)) => {
                    let changed = door.set_listening(mode != AnswerMode::Down);
                    answer.send_replace(mode);
                    if mode == AnswerMode::Down {
                        leave(&mut sessions).await;
                    }
                    // Whoever asked may have given up waiting.
                    drop(done.send(changed));
                }
                Some(Order::Stop) | None => break,
            },
            Some(_) = sessions.join_next() => {}
            accepted = door.accept(), if sessions.len() < MOST_SESSIONS => match accepted {
                Ok((stream, peer)) => {
                    sessions.spawn(session(stream, peer, answer.subscribe(), Arc::clone(&shared)));
                }
                // Out of descriptors or the like: it passes, or every connection fails alike.
                Err(_) => sleep(Duration::from_millis(100)).await,
            },
        }
    }
    answer.send_replace(AnswerMode::Down);
    leave(&mut sessions).await;
}

/// Waits for the sessions, which have been told to close; cuts off those whose client does not read.
async fn leave(sessions: &mut JoinSet<()>) {
    let all_gone = async { while sessions.join_next().await.is_some() {} };
    if timeout(LEAVE, all_gone).await.is_err() {
        sessions.shutdown().await;
    }
}

async fn session(
    stream: TcpStream,
    peer: SocketAddr,
    answer: watch::Receiver<AnswerMode>,
    shared: Arc<Shared>,
) {
    shared.tell(Caught::Connected(peer));
    // A line lost is an end like any other.
    drop(converse(stream, peer, answer, &shared).await);
    shared.tell(Caught::Disconnected(peer));
}

async fn converse(
    mut stream: TcpStream,
    peer: SocketAddr,
    mut answer: watch::Receiver<AnswerMode>,
    shared: &Shared,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut dialogue = Dialogue::new(LONGEST_MESSAGE);
    let mut replies = dialogue::greeting().into_bytes();
    let mut buffer = vec![0; 64 * 1024];
    let mut open = true;
    while open {
        timeout(WRITE, stream.write_all(&replies)).await??;
        replies.clear();
        let read = tokio::select! {
            biased;
            () = down(&mut answer) => Err(CLOSING),
            read = timeout(IDLE, stream.read(&mut buffer)) => read.map_err(|_| "421 4.4.2 silent for too long"),
        };
        match read {
            Ok(read) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                let mode = *answer.borrow();
                open = shared.reply_to(&buffer[..read], &mut dialogue, mode, peer, &mut replies);
            }
            Err(farewell) => {
                say(&mut replies, farewell);
                open = false;
            }
        }
    }
    timeout(WRITE, stream.write_all(&replies)).await??;
    stream.shutdown().await
}

/// Returns when sessions are to close.
async fn down(answer: &mut watch::Receiver<AnswerMode>) {
    // An error says that the server is gone, which is as good a reason.
    drop(answer.wait_for(|mode| *mode == AnswerMode::Down).await);
}

impl Shared {
    /// Works through all of `input`; false once the session is over.
    fn reply_to(
        &self,
        mut input: &[u8],
        dialogue: &mut Dialogue,
        mode: AnswerMode,
        peer: SocketAddr,
        replies: &mut Vec<u8>,
    ) -> bool {
        loop {
            match dialogue.advance(&mut input, replies) {
                Step::Hungry => return true,
                Step::Goodbye => return false,
                Step::Message(_, _) if mode == AnswerMode::Down => {
                    say(replies, CLOSING);
                    return false;
                }
                Step::Message(envelope, bytes) => say(replies, &self.take(mode, peer, envelope, bytes)),
            }
        }
    }

    /// Decides on one message; the reply to its final dot.
    fn take(&self, mode: AnswerMode, peer: SocketAddr, envelope: Envelope, bytes: Vec<u8>) -> String {
        let (number, kept) = {
            // Nothing in there can be left half done by a panic.
            let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
            let number = store.next_number();
            let take = mode == AnswerMode::Accept;
            (number, if take { store.keep(number, peer, &envelope, &bytes) } else { Ok(()) })
        };
        let (answered, reply) = match (mode, &kept) {
            (_, Err(_)) => (452, "452 4.3.1 it could not be stored".to_owned()),
            (AnswerMode::Accept, _) => (250, format!("250 2.0.0 taken as {number:06}")),
            (AnswerMode::Refuse, _) => (550, "550 5.7.1 refused, as told".to_owned()),
            (AnswerMode::Defer | AnswerMode::Down, _) => (451, "451 4.3.0 deferred, as told".to_owned()),
        };
        if let Err(error) = kept {
            self.tell(Caught::NotStored { number, error });
        }
        let Envelope { reverse_path, forward_paths, .. } = envelope;
        self.tell(Caught::Message { number, reverse_path, forward_paths, bytes, answered });
        reply
    }

    fn tell(&self, event: Caught) {
        // Who does not want to know is not told.
        drop(self.events.send(event));
    }
}
