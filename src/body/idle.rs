//! A body that stops coming.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that fails when no frame comes for a while.
///
/// Only waiting counts: time in which nobody asks for a frame (a slow reader on the other side) does not. The error
/// is an [`io::Error`] of kind [`TimedOut`](io::ErrorKind::TimedOut), so that whoever finds it in a chain of sources
/// knows it without knowing this module; see [`is_idle_timeout`].
#[derive(Debug)]
pub struct IdleTimeout<B> {
    body: B,
    limit: Duration,
    /// Runs while a frame is awaited.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<B> IdleTimeout<B> {
    /// Lets each frame of `body` take at most `limit`.
    pub fn new(body: B, limit: Duration) -> Self {
        Self {
            body,
            limit,
            waiting: None,
        }
    }
}

impl<B> Body for IdleTimeout<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let limit = self.limit;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        match waiting.as_mut().poll(cx) {
            Poll::Ready(()) => {
                let error = io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no bytes came for {limit:?}"),
                );
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether `error`, or anything it came from, is the failure of an [`IdleTimeout`].
pub fn is_idle_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::{FutureExt, Stream, StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    type Item = Result<Frame<Bytes>, BoxError>;

    fn data(text: &'static str) -> Item {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    fn body(
        stream: impl Stream<Item = Item> + Send + 'static,
    ) -> StreamBody<stream::BoxStream<'static, Item>> {
        StreamBody::new(stream.boxed())
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_fails_after_the_limit() {
        let limit = Duration::from_millis(20);
        let stopped = stream::iter([data("first")]).chain(stream::pending());
        let mut body = IdleTimeout::new(body(stopped), limit);
        assert!(body.frame().await.unwrap().is_ok());

        let waiting_since = Instant::now();
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(is_idle_timeout(error.as_ref()));
        assert!(waiting_since.elapsed() >= limit);
    }

    #[tokio::test]
    async fn only_waiting_counts_and_each_frame_ends_it() {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let frames = stream::unfold(receiver, async |mut receiver| {
            Some((receiver.recv().await?, receiver))
        });
        let mut body = IdleTimeout::new(body(frames), Duration::from_secs(60));
        assert!(body.waiting.is_none(), "nobody has asked yet");
        assert!(body.frame().now_or_never().is_none());
        assert!(body.waiting.is_some(), "a frame is awaited");
        sender.send(data("a")).await.unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.waiting.is_none(), "it came");
    }

    #[test]
    fn an_idle_timeout_is_found_below_other_errors() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);

        assert!(is_idle_timeout(&Outer(io::ErrorKind::TimedOut.into())));
        assert!(!is_idle_timeout(&Outer(io::ErrorKind::BrokenPipe.into())));
    }
}
