//! The service's end of the socket: HTTP/1.1 and JSON, one request a connection.
//!
//! What is only read is answered here, from the directories; everything else is handed to the service's loop as [`Asked`].
//! Each connection is bounded in number, size and time, so that nobody can keep the others from being heard.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::answer::{Answer, Code, Refused};
use super::request::{Handed, Request};
use super::socket::Listener;
use super::view::{self, Facts};
use crate::fs::{Fs, user_name};

/// Connections at once.
const CONNECTIONS_MAX: usize = 32;
/// Of these, so many are kept for root and the spool's owner.
const CONNECTIONS_KEPT: usize = 8;
/// Longest head of a request, octets.
const HEAD_MAX: usize = 16 * 1024;
/// Most fields in it.
const FIELDS_MAX: usize = 32;
/// How long a client may be silent, or not take what it is told.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Pieces of a message that are taken from the socket before they are on the disk.
const PIECES: usize = 4;

/// A request on its way to the service's loop.
#[derive(Debug)]
pub struct Asked {
    /// What is asked for.
    pub request: Request,
    /// The bytes of a message, for [`Request::Send`].
    pub body: Body,
    /// Where the answer goes. Dropped without one it says "try again".
    pub answer: oneshot::Sender<Result<Answer, Refused>>,
}

/// The bytes behind a request, piece by piece.
pub type Body = mpsc::Receiver<Piece>;

/// What comes behind a request. Without a last word, as when the client is gone, it is not whole.
#[derive(Debug)]
pub enum Piece {
    /// The next bytes.
    Bytes(Bytes),
    /// That was all.
    End,
    /// It does not come whole: why.
    Broken(Refused),
}

/// Serves the socket for as long as it lives.
#[derive(Debug)]
pub struct Server {
    accepting: tokio::task::JoinHandle<()>,
}

struct Shared {
    fs: Arc<dyn Fs>,
    facts: Arc<Mutex<Facts>>,
    asked: mpsc::UnboundedSender<Asked>,
    connections: Arc<Semaphore>,
    owner: u32,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
struct Peer {
    /// Root, or the owner of the spool.
    may_steer: bool,
    /// The user, if that is not the owner of the spool.
    other: Option<u32>,
}

impl Server {
    /// Begins to serve. What has to be carried out goes to `asked`.
    ///
    /// # Errors
    ///
    /// That the runtime does not take the socket.
    pub fn start(
        listener: Listener,
        fs: Arc<dyn Fs>,
        facts: Arc<Mutex<Facts>>,
        asked: mpsc::UnboundedSender<Asked>,
    ) -> std::io::Result<Server> {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let shared = Arc::new(Shared { fs, facts, asked, connections, owner: listener.owner });
        let listener = UnixListener::from_std(listener.listener)?;
        Ok(Server { accepting: tokio::spawn(accept(listener, shared)) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    let mut said = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                said = false;
                take_in(stream, &shared);
            }
            Err(error) => {
                // Mostly that there are no descriptors: there will be.
                if !said {
                    tracing::warn!(%error, "control-not-accepting");
                    said = true;
                }
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// What is said to one too many. He may not even listen.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-type: application/json\r\n\
    content-length: 103\r\n\r\n\
    {\"error\":{\"code\":\"unavailable\",\"message\":\"too many connections at once\",\"hint\":\"try again later\"}}    \n";

fn take_in(stream: UnixStream, shared: &Arc<Shared>) {
    let user = stream.peer_cred().ok().map(|peer| peer.uid());
    let peer = Peer {
        may_steer: user.is_some_and(|uid| uid == 0 || uid == shared.owner),
        other: user.filter(|uid| *uid != shared.owner),
    };
    let is_full = !peer.may_steer && shared.connections.available_permits() <= CONNECTIONS_KEPT;
    let permit = Arc::clone(&shared.connections).try_acquire_owned();
    let (Ok(permit), false) = (permit, is_full) else {
        drop(stream.try_write(BUSY));
        return;
    };
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        serve(stream, shared, peer).await;
        drop(permit);
    });
}

async fn serve(stream: UnixStream, shared: Arc<Shared>, peer: Peer) {
    let answered = Arc::new(Notify::new());
    let service = {
        let answered = Arc::clone(&answered);
        service_fn(move |request: hyper::Request<Incoming>| {
            let (shared, answered) = (Arc::clone(&shared), Arc::clone(&answered));
            async move {
                let answer = answer(request, &shared, peer).await;
                answered.notify_one();
                Ok::<_, Infallible>(response(answer))
            }
        })
    };
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .max_buf_size(HEAD_MAX)
        .max_headers(FIELDS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let too_slow = async {
        answered.notified().await;
        sleep(IDLE_MAX).await;
    };
    tokio::select! {
        // Whoever hung up is not told of it.
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "control-connection-ended");
        },
        () = too_slow => tracing::debug!("control-client-too-slow"),
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    shared: &Arc<Shared>,
    Peer { may_steer, other }: Peer,
) -> Result<Answer, Refused> {
    let (head, mut body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let request = Request::read(head.method.as_str(), head.uri.path(), query);
    let request = request.and_then(|request| match may_steer || request.is_for_all() {
        true => Ok(request),
        false => {
            let what = "only root and the owner of the spool may do that; everybody else may send and ask for status";
            Err(Refused::new(Code::Forbidden, what).hint("sudo -u pillarbox pillarbox ..., or as root"))
        }
    });
    let answer = match request {
        Ok(request @ (Request::Status | Request::List(_) | Request::Show(_))) => {
            read(shared, request, may_steer).await
        }
        Ok(Request::Send(handed)) => {
            let request = Request::Send(Handed { user: other.map(user_name), ..handed });
            ask(shared, request, &mut body).await
        }
        Ok(request) => ask(shared, request, &mut body).await,
        Err(refused) => Err(refused),
    };
    if answer.is_err() {
        // A client that is still talking would not hear the answer.
        drop(timeout(IDLE_MAX, drain(&mut body)).await);
    }
    answer
}

/// Reads the directories where that keeps nobody waiting.
async fn read(shared: &Arc<Shared>, request: Request, may_steer: bool) -> Result<Answer, Refused> {
    let shared = Arc::clone(shared);
    let looked = tokio::task::spawn_blocking(move || {
        let facts = shared.facts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = view::answer(&request, &*shared.fs, &facts);
        answer.map(|answer| if may_steer { answer } else { answer.for_others() })
    });
    looked.await.unwrap_or_else(|_| Err(try_again()))
}

/// Has the service's loop carry it out.
async fn ask(shared: &Shared, request: Request, body: &mut Incoming) -> Result<Answer, Refused> {
    let (answer, mut answered) = oneshot::channel();
    let (pieces, received) = mpsc::channel(PIECES);
    shared.asked.send(Asked { request, body: received, answer }).map_err(|_| try_again())?;
    let hand_over = async move {
        loop {
            let piece = next_piece(body).await;
            let is_last = !matches!(piece, Piece::Bytes(_));
            // Nobody listens where no message is expected.
            if pieces.send(piece).await.is_err() || is_last {
                break;
            }
        }
    };
    tokio::select! {
        biased;
        // It is refused before it is whole.
        answer = &mut answered => return answer.unwrap_or_else(|_| Err(try_again())),
        () = hand_over => {}
    }
    answered.await.unwrap_or_else(|_| Err(try_again()))
}

async fn next_piece(body: &mut Incoming) -> Piece {
    let broken = |why: String| {
        Piece::Broken(Refused::new(Code::BadRequest, format!("the message did not come whole: {why}")))
    };
    loop {
        if body.is_end_stream() {
            return Piece::End;
        }
        match timeout(IDLE_MAX, body.frame()).await {
            Err(_) => return broken(format!("nothing came for {} s", IDLE_MAX.as_secs())),
            Ok(None) => return Piece::End,
            Ok(Some(Err(error))) => return broken(error.to_string()),
            // What is not bytes are trailers.
            Ok(Some(Ok(frame))) => {
                if let Ok(bytes) = frame.into_data() {
                    return Piece::Bytes(bytes);
                }
            }
        }
    }
}

async fn drain(body: &mut Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

fn try_again() -> Refused {
    Refused::new(Code::Unavailable, "the service has just stopped what it did").hint("try again")
}

fn response(answer: Result<Answer, Refused>) -> Response<Full<Bytes>> {
    #[derive(serde::Serialize)]
    struct Error {
        error: Refused,
    }
    let (status, text) = match answer {
        Ok(answer) => (200, serde_json::to_string(&answer)),
        Err(error) => (error.code.status(), serde_json::to_string(&Error { error })),
    };
    let (status, text) = match text {
        Ok(text) => (status, text + "\n"),
        Err(error) => (500, format!("{error}\n")),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::ffi::OsStr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use crate::fs::faulty::Faulty;
    use crate::fs::{Dir, listen_at};

    /// A server on a socket of its own, and a client that has said `said`.
    async fn client(
        root: &std::path::Path,
        said: &str,
    ) -> (Server, mpsc::UnboundedReceiver<Asked>, UnixStream) {
        let (asked, heard) = mpsc::unbounded_channel();
        let listener = listen_at(root, "control", 0o600).unwrap();
        listener.set_nonblocking(true).unwrap();
        let owner = rustix::process::geteuid().as_raw();
        let facts = Facts { spool_dir: root.to_owned(), ..Facts::default() };
        let facts = Arc::new(Mutex::new(facts));
        let server = Server::start(Listener { listener, owner }, Faulty::new(root), facts, asked).unwrap();
        let mut client = UnixStream::connect(root.join("control")).await.unwrap();
        client.write_all(said.as_bytes()).await.unwrap();
        (server, heard, client)
    }

    async fn all(client: &mut UnixStream) -> String {
        let mut told = Vec::new();
        // Whoever is cut off may see that as an error.
        client.read_to_end(&mut told).await.ok();
        String::from_utf8(told).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_finish_a_request_is_cut_off() {
        let root = tempfile::tempdir().unwrap();
        for said in ["", "GET /v1/sta", "GET /v1/status HTTP/1.1\r\nhost:"] {
            let (_server, _heard, mut client) = client(root.path(), said).await;
            let begun = tokio::time::Instant::now();
            let told = all(&mut client).await;
            assert!(!told.contains("200"), "{told}");
            assert!((IDLE_MAX..IDLE_MAX * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_of_which_nothing_more_comes_is_not_whole() {
        let root = tempfile::tempdir().unwrap();
        let said = "POST /v1/messages HTTP/1.1\r\ncontent-length: 9\r\n\r\nFrom:";
        let (_server, mut heard, mut client) = client(root.path(), said).await;
        let Asked { request, mut body, answer } = heard.recv().await.unwrap();
        assert_eq!(request, Request::Send(super::super::Handed::default()));
        assert!(matches!(body.recv().await, Some(Piece::Bytes(bytes)) if bytes == "From:"));
        let Some(Piece::Broken(refused)) = body.recv().await else { panic!("it was taken for whole") };
        answer.send(Err(refused)).unwrap();
        let told = all(&mut client).await;
        assert!(told.starts_with("HTTP/1.1 400") && told.contains("nothing came for 30 s"), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_take_the_answer_is_cut_off() {
        let root = tempfile::tempdir().unwrap();
        let disk = Faulty::new(root.path());
        // More than the buffers of a socket hold.
        for number in 0..4000_u32 {
            let name = format!("{number:032x}_1700000000_{}.eml", "x".repeat(80));
            drop(crate::fs::Fs::create(&*disk, Dir::Pending, OsStr::new(&name)).unwrap());
        }
        let said = "GET /v1/messages HTTP/1.1\r\n\r\n";
        let (server, _heard, mut client) = client(root.path(), said).await;
        sleep(IDLE_MAX * 2).await;
        let told = all(&mut client).await;
        assert!(told.starts_with("HTTP/1.1 200") && !told.ends_with("]}\n"), "{} octets came", told.len());
        drop(server);
    }

    #[test]
    fn what_one_too_many_is_told_is_an_answer_like_any_other() {
        let text = std::str::from_utf8(BUSY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{} {head}", body.len());
        let error: serde_json::Value = serde_json::from_str(body).unwrap();
        let refused: Refused = serde_json::from_value(error["error"].clone()).unwrap();
        assert_eq!(refused.code, Code::Unavailable);
    }
}
