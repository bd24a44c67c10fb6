//! The socket of a connection, as hyper sees it: writes that wait too long fail, and closing loses no response.
//!
//! A client that asks for a blob and then reads nothing keeps its connection, its place among the requests in flight
//! and an upstream connection. The idle timeout of a body does not see it, since a body is not polled while the
//! connection cannot be written; so the connection itself watches its writes.
//!
//! A request may be answered before its body was read: refused, shed, or answered early by the upstream. If the
//! socket were closed then, what the client is still sending would be met by a reset, which also destroys the response
//! on its way. So what comes after the response is read and thrown away for a while before the socket is closed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use tokio::time::{Instant, Sleep};

/// How long a closed connection is read on for the sake of its last response.
const LINGER: Duration = Duration::from_secs(2);

/// An IO with bounded writes and a lingering close.
pub(super) struct Guarded<T> {
    io: T,
    write_timeout: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Runs from the moment that the writing side is closed.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl<T> Guarded<T> {
    pub(super) fn new(io: T, write_timeout: Duration) -> Self {
        Self {
            io,
            write_timeout,
            waiting: None,
            lingering: None,
        }
    }

    /// Passes `result` on; a write that waits starts the clock, any other stops it.
    fn watch<R>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if result.is_ready() {
            self.waiting = None;
            return result;
        }
        let limit = self.write_timeout;
        let waiting = self.waiting.get_or_insert_with(|| sleep(limit));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer does not read",
        )))
    }
}

fn sleep(duration: Duration) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep_until(Instant::now() + duration))
}

impl<T: Read + Unpin> Guarded<T> {
    /// Throws away what comes, until nothing more can come.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 8192];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, buffer.unfilled()));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

impl<T: Read + Unpin> Read for Guarded<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: Read + Write + Unpin> Write for Guarded<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.watch(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let result = Pin::new(&mut self.io).poll_shutdown(cx);
            ready!(self.watch(cx, result))?;
        }
        // The clock comes first: reading may use up what the runtime lets a task do in one turn, and a clock that is
        // asked after that is always told to wait.
        let lingering = self.lingering.get_or_insert_with(|| sleep(LINGER));
        if lingering.as_mut().poll(cx).is_pending() {
            ready!(self.poll_discard(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, buffers);
        self.watch(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_does_not_read_ends_the_write() {
        let limit = Duration::from_millis(20);
        let (ours, _theirs) = tokio::io::duplex(4);
        let mut io = TokioIo::new(Guarded::new(TokioIo::new(ours), limit));
        let started = Instant::now();
        let error = io.write_all(b"more than fits").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= limit);
    }

    #[tokio::test]
    async fn only_a_waiting_write_counts_and_each_progress_ends_it() {
        let (ours, mut theirs) = tokio::io::duplex(1);
        let mut io = TokioIo::new(Guarded::new(TokioIo::new(ours), Duration::from_secs(60)));
        io.write_all(b"a").await.unwrap();
        assert!(io.inner().waiting.is_none(), "the first byte fits");
        assert!(io.write_all(b"b").now_or_never().is_none());
        assert!(io.inner().waiting.is_some(), "the second waits");
        theirs.read_u8().await.unwrap();
        io.write_all(b"b").await.unwrap();
        assert!(io.inner().waiting.is_none(), "the peer has read");
    }
}
