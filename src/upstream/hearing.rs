//! Connections on which an answer is heard although sending has failed.
//!
//! A registry may refuse an upload before it has all of it, and close. What is still being sent is met by a reset, while
//! the answer is here already: a write that fails must not keep it from being read. So a failed write is no error by
//! itself. What is read then is the answer, and after it, or without one, the end of the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::TryFutureExt;
use futures_util::future::MapOk;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tower::Service;

/// A connector whose connections go on hearing.
#[derive(Clone, Debug)]
pub(super) struct Hearing<C>(C);

impl<C> Hearing<C> {
    pub(super) fn new(connector: C) -> Self {
        Self(connector)
    }
}

impl<C: Service<Uri>> Service<Uri> for Hearing<C> {
    type Response = Heard<C::Response>;
    type Error = C::Error;
    type Future = MapOk<C::Future, fn(C::Response) -> Heard<C::Response>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        self.0.call(uri).map_ok(|io| Heard {
            io,
            is_broken: false,
        })
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Heard<T> {
    io: T,
    /// Whether the other side takes nothing any more.
    is_broken: bool,
}

impl<T> Heard<T> {
    /// As if all was sent, where the other side has closed.
    fn forgive<R>(
        &mut self,
        result: Poll<io::Result<R>>,
        sent: impl FnOnce() -> R,
    ) -> Poll<io::Result<R>> {
        let is_closed = |error: &io::Error| {
            let kind = error.kind();
            kind == io::ErrorKind::BrokenPipe || kind == io::ErrorKind::ConnectionReset
        };
        result.map(|result| match result {
            Err(error) if is_closed(&error) => {
                self.is_broken = true;
                Ok(sent())
            }
            result => result,
        })
    }
}

impl<T: Read + Unpin> Read for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: Write + Unpin> Write for Heard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_broken {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = Pin::new(&mut self.io).poll_write(context, bytes);
        self.forgive(result, || bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = || buffers.iter().map(|buffer| buffer.len()).sum();
        if self.is_broken {
            return Poll::Ready(Ok(length()));
        }
        let result = Pin::new(&mut self.io).poll_write_vectored(context, buffers);
        self.forgive(result, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(context);
        self.forgive(result, || ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

impl<T: Connection> Connection for Heard<T> {
    fn connected(&self) -> Connected {
        self.io.connected()
    }
}
