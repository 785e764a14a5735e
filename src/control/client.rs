//! The other end of the socket: one request, one answer.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;

use super::answer::{Answer, Code, Refused, Sent};
use super::request::{Handed, Line, Request};
use super::socket;

/// A connection to the service of a spool.
#[derive(Debug)]
pub struct Client(std::os::unix::net::UnixStream);

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// The socket is there and cannot be used.
    Connect(io::Error),
    /// The service said no.
    Refused(Refused),
    /// The connection broke, or what was said is not what was expected.
    Broken(String),
}

/// What is sent behind a request.
struct Upload {
    /// `None` when all is sent.
    from: Option<Box<dyn Read + Send>>,
    size: Option<u64>,
    /// Octets that were taken from it.
    sent: Arc<AtomicU64>,
}

/// Octets that are sent at once.
const PIECE: usize = 64 * 1024;

impl Client {
    /// Connects to the service of the spool at `spool`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The call that failed.
    pub fn connect(spool: &Path) -> Result<Option<Client>, ClientError> {
        socket::connect(spool).map(|stream| stream.map(Client)).map_err(ClientError::Connect)
    }

    /// Asks, and waits for the answer. `body` is the message of [`Request::Send`], with its size where that is known.
    ///
    /// # Errors
    ///
    /// That it was refused, or that there was no answer.
    pub fn ask(
        self,
        request: &Request,
        body: Option<(Box<dyn Read + Send>, Option<u64>)>,
    ) -> Result<Answer, ClientError> {
        let broken = |e: &dyn fmt::Display| ClientError::Broken(e.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| broken(&e))?;
        let (from, size) = body.map_or((None, Some(0)), |(from, size)| (Some(from), size));
        let upload = Upload { from, size, sent: Arc::default() };
        let (status, bytes) = runtime
            .block_on(async {
                self.0.set_nonblocking(true)?;
                exchange(tokio::net::UnixStream::from_std(self.0)?, request.line(), upload).await
            })
            .map_err(|e| broken(&e))?;
        if status != 200 {
            return Err(refused(status, &bytes));
        }
        answer_to(request, &bytes).map_err(|e| broken(&format!("the answer cannot be read: {e}")))
    }

    /// Hands a message in, whatever becomes of the service meanwhile: `None` if there is none, and an error if it does nothing for
    /// as long as `patience` while bytes are sent, or three times as long behind the last of them. Then it may have taken the
    /// message all the same. The queue id, if it can be read.
    ///
    /// # Errors
    ///
    /// That it was refused, or that there was no answer.
    pub fn hand_in(
        spool: &Path,
        handed: Handed,
        (from, size): (Box<dyn Read + Send>, u64),
        patience: Duration,
    ) -> Result<Option<String>, ClientError> {
        let broken = |e: &dyn fmt::Display| ClientError::Broken(e.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| broken(&e))?;
        let sent = Arc::new(AtomicU64::new(0));
        let upload = Upload { from: Some(from), size: Some(size), sent: Arc::clone(&sent) };
        let request = Request::Send(handed);
        let (status, bytes) = runtime.block_on(async {
            let Some(stream) = socket::connect_now(spool).await.map_err(ClientError::Connect)? else {
                return Ok((0, Bytes::new()));
            };
            let mut exchange = std::pin::pin!(exchange(stream, request.line(), upload));
            let (mut last, mut behind_the_end) = (0, 0);
            loop {
                match tokio::time::timeout(patience, &mut exchange).await {
                    Ok(answered) => return answered.map_err(|e| broken(&e)),
                    Err(_) if sent.load(Ordering::Relaxed) != last => last = sent.load(Ordering::Relaxed),
                    Err(_) if last >= size && behind_the_end < 1 => behind_the_end += 1,
                    Err(_) => return Err(broken(&"it did nothing for too long")),
                }
            }
        })?;
        match status {
            0 => Ok(None),
            // It is durable, whatever else was said.
            200 => {
                Ok(Some(serde_json::from_slice(&bytes).map_or_else(|_| String::new(), |sent: Sent| sent.id)))
            }
            _ => Err(refused(status, &bytes)),
        }
    }
}

async fn exchange(
    stream: tokio::net::UnixStream,
    Line { method, target }: Line,
    upload: Upload,
) -> io::Result<(u16, Bytes)> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let request = hyper::Request::builder().method(method).uri(target).header("host", "pillarbox");
    let request = request.body(upload).map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    connection.abort();
    Ok((status, bytes))
}

fn refused(status: u16, bytes: &[u8]) -> ClientError {
    #[derive(serde::Deserialize)]
    struct Error {
        error: Refused,
    }
    match serde_json::from_slice::<Error>(bytes) {
        Ok(Error { error }) => ClientError::Refused(error),
        // A head that is too long, or that hyper does not read, it answers itself.
        Err(_) => ClientError::Refused(Refused::new(
            Code::BadRequest,
            format!("the service said {status} and nothing that can be read"),
        )),
    }
}

fn answer_to(request: &Request, bytes: &[u8]) -> serde_json::Result<Answer> {
    fn read<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
        serde_json::from_slice(bytes)
    }
    Ok(match request {
        Request::Status => Answer::Status(read(bytes)?),
        Request::List(_) => Answer::Messages(read(bytes)?),
        Request::Show(_) => Answer::Shown(read(bytes)?),
        Request::Outcome(..) => Answer::Became(read(bytes)?),
        Request::Steer(..) => Answer::Steered(read(bytes)?),
        Request::Pause | Request::Resume => Answer::Pause(read(bytes)?),
        Request::Flush => Answer::Flushed(read(bytes)?),
        Request::Send(_) => Answer::Sent(read(bytes)?),
        Request::Reload => Answer::Reloaded(read(bytes)?),
    })
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let Some(from) = &mut this.from else { return Poll::Ready(None) };
        let mut piece = vec![0; PIECE];
        loop {
            // Nothing else runs in this process.
            match from.read(&mut piece) {
                Ok(0) => {
                    this.from = None;
                    return Poll::Ready(None);
                }
                Ok(read) => {
                    piece.truncate(read);
                    this.sent.fetch_add(read as u64, Ordering::Relaxed);
                    return Poll::Ready(Some(Ok(Frame::data(piece.into()))));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Some(Err(e))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.from.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.size.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Connect(error) => write!(f, "cannot connect to the service: {error}"),
            ClientError::Refused(refused) => write!(f, "{refused}"),
            ClientError::Broken(why) => write!(f, "the service gave no answer: {why}"),
        }
    }
}

impl std::error::Error for ClientError {}
