//! A body that keeps something until it ends.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};

/// A body that holds `G`, a permit or a count, until it has ended, has failed or is dropped.
///
/// A permit that is freed when the head of a response is ready bounds nothing in a proxy that streams: the body is
/// where the time, the memory and the connection go.
#[derive(Debug)]
pub struct Held<B, G> {
    body: B,
    held: Option<G>,
}

impl<B, G> Held<B, G> {
    /// Keeps `held` as long as `body` goes on.
    pub fn new(body: B, held: Option<G>) -> Self {
        Self { body, held }
    }
}

impl<B: Body + Unpin, G: Unpin> Body for Held<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.held = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
