//! One POST of a form over HTTP/1.1 on a connection of its own, inside TLS that is verified. No redirect is followed, and an answer is short.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::{ConnectError, Endpoint, TlsConfig, TlsError, connect};
use crate::mail::Monotonic;

/// The longest answer that is read, octets; its head may be as long once more.
const ANSWER_MAX: usize = 64 * 1024;

/// Where a form is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    /// Where it listens; `implicit` is `https`.
    pub endpoint: Endpoint,
    /// With its slash, and a query if there is one.
    pub path: String,
}

/// How long each step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpTimeouts {
    /// Name and TCP, all addresses together.
    pub connect: Duration,
    /// The handshake.
    pub tls: Duration,
    /// From the first octet of the request to the last of the answer.
    pub answer: Duration,
}

/// An answer, whatever its status says.
pub struct HttpAnswer {
    /// 200, 400, ...
    pub status: u16,
    /// Seconds of `Retry-After` (RFC 9110 section 10.2.3); a date there is not read: the box may have no clock.
    pub retry_after: Option<Duration>,
    /// At most 64 KiB. No Debug: it may hold what nobody may see.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpError {
    /// No connection.
    Connect(ConnectError),
    /// No TLS on it.
    Tls(TlsError),
    /// The connection broke, or what came is no HTTP.
    Broken(String),
    /// It did not come in time.
    TimedOut(Duration),
    /// It is longer than anybody would make it.
    TooLong,
}

/// `https://host[:port]/path`, or `http://`.
impl FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            // Before all else, because not shown: what stands in front of the @ may be a password.
            return Err("a login does not belong into the url".into());
        }
        let error = |why: &str| format!("{why}: expected \"https://host/path\", found {text:?}");
        let (implicit, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(error("not a scheme that is known here")),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => {
                address.parse::<std::net::Ipv6Addr>().map_err(|_| error("not an IPv6 address"))?;
                (address, port.strip_prefix(':').or((!port.is_empty()).then_some("")))
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(error("no host name"));
        }
        let port = match port {
            None if implicit => 443,
            None => 80,
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| error("not a port"))?,
        };
        if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(error("not a path"));
        }
        let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        Ok(HttpUrl { endpoint: Endpoint { host: host.to_owned(), port, implicit }, path })
    }
}

impl HttpUrl {
    /// As it stands in `Host:`.
    fn authority(&self) -> String {
        let Endpoint { host, port, implicit } = &self.endpoint;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        if *port == if *implicit { 443 } else { 80 } { host } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.endpoint.implicit { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection on which nothing was said yet.
pub struct HttpLink {
    stream: Box<dyn Stream>,
    url: HttpUrl,
    within: Duration,
}

impl HttpLink {
    /// Connects. `tls` is needed for `https`.
    ///
    /// # Errors
    ///
    /// The step that failed.
    pub async fn open(
        url: &HttpUrl,
        tls: Option<&TlsConfig>,
        timeouts: HttpTimeouts,
        now: &(dyn Fn() -> Monotonic + Sync),
    ) -> Result<HttpLink, HttpError> {
        let (stream, _) = connect(&url.endpoint, timeouts.connect, now).await.map_err(HttpError::Connect)?;
        let link = |stream| HttpLink { stream, url: url.clone(), within: timeouts.answer };
        if !url.endpoint.implicit {
            return Ok(link(Box::new(stream)));
        }
        let Some(tls) = tls else { return Err(HttpError::Tls(TlsError::unconfigured())) };
        let handshake = timeout(timeouts.tls, tls.handshake(stream, &url.endpoint.host)).await;
        let (stream, _) =
            handshake.map_err(|_| HttpError::TimedOut(timeouts.tls))?.map_err(HttpError::Tls)?;
        Ok(link(Box::new(stream)))
    }

    /// Sends `form` (`application/x-www-form-urlencoded`) and gives the answer.
    ///
    /// # Errors
    ///
    /// Why there is none. The request may be out: nobody knows whether the server has carried it out.
    pub async fn post_form(self, form: String) -> Result<HttpAnswer, HttpError> {
        let within = self.within;
        timeout(within, exchange(self.stream, &self.url, form))
            .await
            .unwrap_or(Err(HttpError::TimedOut(within)))
    }
}

async fn exchange(stream: Box<dyn Stream>, url: &HttpUrl, form: String) -> Result<HttpAnswer, HttpError> {
    let broken = |error: hyper::Error| HttpError::Broken(plain(&error));
    let mut builder = http1::Builder::new();
    builder.max_buf_size(ANSWER_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = hyper::Request::post(&url.path)
        .header("host", url.authority())
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "application/json")
        .header("user-agent", concat!("pillarbox/", env!("CARGO_PKG_VERSION")))
        .header("connection", "close")
        .body(Full::new(Bytes::from(form)))
        .map_err(|error| HttpError::Broken(error.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after");
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let retry_after = retry_after.map(Duration::from_secs);
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => broken(*error),
            Err(other) if other.is::<LengthLimitError>() => HttpError::TooLong,
            Err(other) => HttpError::Broken(other.to_string()),
        })?;
        Ok(HttpAnswer { status, retry_after, body: body.to_bytes().to_vec() })
    };
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // Its end is told to the answer, which knows more of it.
        _ended = &mut connection => answer.await,
    }
}

/// hyper's words, and what lies behind them.
fn plain(error: &hyper::Error) -> String {
    let behind = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{behind}").to_lowercase()
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Connect(error) => write!(f, "{error}"),
            HttpError::Tls(error) => write!(f, "{error}"),
            HttpError::Broken(why) => write!(f, "the connection broke: {why}"),
            HttpError::TimedOut(span) => write!(f, "no answer within {} s", span.as_secs()),
            HttpError::TooLong => write!(f, "the answer is longer than {} KiB", ANSWER_MAX / 1024),
        }
    }
}

impl std::error::Error for HttpError {}

#[cfg(test)]
#[path = "tests/https.rs"]
mod tests;
