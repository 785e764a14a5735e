//! Floor 5: `catch`, an SMTP server for trying things out. It takes everybody's mail, sends none on, and
//! changes its answers when told to, so that outages and refusals can be had at will.
//!
//! The dialogue is strict where a client could be mistaken about it (RFC 5321): only CRLF ends a line and
//! only CRLF.CRLF ends the data. It is not a mail server: nothing it stores is synced, AUTH and STARTTLS
//! are not offered, and it believes every word.
//!
//! A recipient whose local part is `defer` or starts with `defer-` is answered 450 4.2.0 to RCPT, and
//! `refuse` or `refuse-...` 550 5.1.1; everybody else is taken.
//!
//! It runs on a thread of its own, so that tests and the demo can use it without an async runtime.

mod dialogue;
mod server;
mod store;
mod text;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use server::{Door, Order};

/// How long a change of the answer may take: sessions are given one second to take their leave.
const IN_FORCE: Duration = Duration::from_secs(5);

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 is any free port.
    pub listen: SocketAddr,
    /// The folder for what is taken, made if missing; without one, messages are only told of.
    pub store: Option<PathBuf>,
    /// The answer to begin with.
    pub answer: AnswerMode,
}

/// What a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerMode {
    /// 250 to the final dot.
    Accept,
    /// 451 4.3.0 to the final dot.
    Defer,
    /// 550 5.7.1 to the final dot.
    Refuse,
    /// Connections are refused: nobody listens, but the port stays ours.
    Down,
}

/// What happened, in order.
#[derive(Debug)]
pub enum Caught {
    /// A client connected.
    Connected(SocketAddr),
    /// A final dot came in. Told after the message was stored and before the reply leaves.
    Message {
        /// Counts the final dots; in a folder that holds messages it goes on from there.
        number: u64,
        /// The argument of MAIL without its brackets; empty is the null reverse-path.
        reverse_path: String,
        /// The arguments of the RCPTs that were taken, without their brackets.
        forward_paths: Vec<String>,
        /// As sent, stuffed dots removed (RFC 5321 section 4.5.2).
        bytes: Vec<u8>,
        /// The reply code: 250, 451, 550; 452 if it could not be stored.
        answered: u16,
    },
    /// A message could not be stored; its [`Caught::Message`] follows.
    NotStored {
        /// The number of the message.
        number: u64,
        /// What the system said.
        error: io::Error,
    },
    /// A client is gone.
    Disconnected(SocketAddr),
}

/// Why it cannot start.
#[derive(Debug)]
pub enum StartError {
    /// The address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The folder for the messages cannot be made or read.
    Store(PathBuf, io::Error),
    /// No thread or runtime can be had.
    Thread(io::Error),
}

/// A running server. Dropped, it stops.
#[derive(Debug)]
pub struct Catch {
    address: SocketAddr,
    events: Receiver<Caught>,
    control: Control,
    thread: Option<JoinHandle<()>>,
}

/// Steers a running server, from any thread.
#[derive(Debug, Clone)]
pub struct Control {
    orders: UnboundedSender<Order>,
}

impl Catch {
    /// Listens from the moment it returns (unless it starts as [`AnswerMode::Down`]).
    pub fn start(options: Options) -> Result<Catch, StartError> {
        let store = store::Store::open(options.store.clone())
            .map_err(|e| StartError::Store(options.store.unwrap_or_default(), e))?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let door = {
            let _context = runtime.enter();
            Door::open(options.listen, options.answer != AnswerMode::Down)
                .map_err(|e| StartError::Listen(options.listen, e))?
        };
        let address = door.address();
        let (events_in, events) = mpsc::channel();
        let (orders, orders_out) = tokio::sync::mpsc::unbounded_channel();
        let thread = thread::Builder::new()
            .name("catch".into())
            .spawn(move || {
                runtime.block_on(server::serve(door, orders_out, options.answer, store, events_in));
            })
            .map_err(StartError::Thread)?;
        Ok(Catch { address, events, control: Control { orders }, thread: Some(thread) })
    }

    /// Where it listens; the port stays the same through [`AnswerMode::Down`].
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As [`Control::set_answer`].
    pub fn set_answer(&self, answer: AnswerMode) -> io::Result<()> {
        self.control.set_answer(answer)
    }

    /// What happens. The channel has no bound: read it. It ends when the server has stopped.
    pub fn events(&self) -> &Receiver<Caught> {
        &self.events
    }

    /// A handle for other threads.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Tells the clients 421, closes, and waits for the end.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Catch {
    fn drop(&mut self) {
        self.control.stop();
        if let Some(thread) = self.thread.take() {
            // A panic over there was reported on stderr; there is nothing to add.
            drop(thread.join());
        }
    }
}

impl Control {
    /// Changes the answer; returns once it is in force for everybody. [`AnswerMode::Down`] tells open
    /// sessions 421 and closes them.
    ///
    /// Fails if the server has stopped, or if the port was lost to somebody else in an outage.
    pub fn set_answer(&self, answer: AnswerMode) -> io::Result<()> {
        let (done, in_force) = mpsc::sync_channel(1);
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the server has stopped");
        self.orders.send(Order::Answer(answer, done)).map_err(|_| gone())?;
        in_force.recv_timeout(IN_FORCE).map_err(|_| gone())?
    }

    /// Asks the server to stop; the end of [`Catch::events`] tells when it has.
    pub fn stop(&self) {
        // If nobody listens it has already stopped.
        drop(self.orders.send(Order::Stop));
    }
}

impl FromStr for AnswerMode {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "accept" => Ok(AnswerMode::Accept),
            "defer" => Ok(AnswerMode::Defer),
            "refuse" => Ok(AnswerMode::Refuse),
            "down" => Ok(AnswerMode::Down),
            _ => Err(format!("expected accept, defer, refuse or down, found {word:?}")),
        }
    }
}

impl fmt::Display for AnswerMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AnswerMode::Accept => "accept",
            AnswerMode::Defer => "defer",
            AnswerMode::Refuse => "refuse",
            AnswerMode::Down => "down",
        })
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen(address, e) => write!(f, "cannot listen on {address}: {e}"),
            StartError::Store(dir, e) => write!(f, "cannot use the folder {}: {e}", dir.display()),
            StartError::Thread(e) => write!(f, "cannot start a thread: {e}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<StartError> for io::Error {
    fn from(error: StartError) -> io::Error {
        let (StartError::Listen(_, e) | StartError::Store(_, e) | StartError::Thread(e)) = &error;
        io::Error::new(e.kind(), error.to_string())
    }
}
