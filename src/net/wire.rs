//! A connection as bytes: plain, inside TLS, or given up.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// What bytes go through.
pub(super) enum Wire {
    Plain(TcpStream),
    /// It does not leave the host.
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// A pipe in memory, on which time can stand still, and how many writes it took.
    #[cfg(test)]
    Pipe(tokio::io::DuplexStream, std::sync::Arc<std::sync::atomic::AtomicUsize>),
    /// Nothing is written any more and nothing comes: the socket is closed.
    Gone,
}

/// What happened first.
pub(super) enum Moved {
    /// This much was read; 0 is the end.
    Read(io::Result<usize>),
    /// This much of what was to be written was taken.
    Wrote(io::Result<usize>),
    /// All that was taken is on its way.
    Flushed(io::Result<()>),
}

impl Wire {
    /// Waits for what can be done first. Reading comes before writing, so that a server that answers in the
    /// middle of a message is heard, and no write waits for a reply that already lies there.
    pub(super) async fn moved(&mut self, read: &mut [u8], write: &[u8], flush: bool) -> Moved {
        poll_fn(|cx| {
            let mut buffer = ReadBuf::new(read);
            if let Poll::Ready(result) = Pin::new(&mut *self).poll_read(cx, &mut buffer) {
                return Poll::Ready(Moved::Read(result.map(|()| buffer.filled().len())));
            }
            if !write.is_empty() {
                return Poll::Ready(Moved::Wrote(ready!(Pin::new(&mut *self).poll_write(cx, write))));
            }
            if flush {
                return Poll::Ready(Moved::Flushed(ready!(Pin::new(&mut *self).poll_flush(cx))));
            }
            Poll::Pending
        })
        .await
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(test)]
            Wire::Pipe(stream, _) => Pin::new(stream).poll_read(cx, buf),
            Wire::Tls(stream) => match ready!(Pin::new(stream).poll_read(cx, buf)) {
                // Many servers close without saying so inside TLS; SMTP has its own ends.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                result => Poll::Ready(result),
            },
            Wire::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = match self.get_mut() {
            Wire::Plain(stream) => ready!(Pin::new(stream).poll_write(cx, bytes)),
            Wire::Unix(stream) => ready!(Pin::new(stream).poll_write(cx, bytes)),
            #[cfg(test)]
            Wire::Pipe(stream, writes) => {
                let taken = ready!(Pin::new(stream).poll_write(cx, bytes));
                writes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                taken
            }
            Wire::Tls(stream) => ready!(Pin::new(stream).poll_write(cx, bytes)),
            Wire::Gone => Ok(0),
        };
        Poll::Ready(match taken {
            Ok(0) if !bytes.is_empty() => Err(io::ErrorKind::WriteZero.into()),
            taken => taken,
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Unix(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(test)]
            Wire::Pipe(stream, _) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(test)]
            Wire::Pipe(stream, _) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Gone => Poll::Ready(Ok(())),
        }
    }
}
