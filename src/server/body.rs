//! Tells how a body ended, and how long it was.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};

/// How a body ended, and how many bytes of data it had given by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Bytes of data.
    pub bytes: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it was taken.
    Complete,
    /// It failed.
    Failed,
    /// It was dropped before its end: whoever read it went away, or did not want the rest.
    Abandoned,
}

/// A body that calls `on_end` once, when it has ended, has failed or is dropped.
#[derive(Debug)]
pub struct OnEnd<B: Body, F: FnOnce(End)> {
    body: B,
    bytes: u64,
    on_end: Option<F>,
}

impl<B: Body, F: FnOnce(End)> OnEnd<B, F> {
    /// Watches `body`.
    pub fn new(body: B, on_end: F) -> Self {
        Self {
            body,
            bytes: 0,
            on_end: Some(on_end),
        }
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(on_end) = self.on_end.take() {
            on_end(End {
                bytes: self.bytes,
                outcome,
            });
        }
    }
}

impl<B: Body, F: FnOnce(End)> Drop for OnEnd<B, F> {
    /// A body whose length is known is dropped by its reader at the last byte, without being asked for its end.
    fn drop(&mut self) {
        let complete = self.body.is_end_stream();
        self.end(if complete {
            Outcome::Complete
        } else {
            Outcome::Abandoned
        });
    }
}

impl<B, F> Body for OnEnd<B, F>
where
    B: Body + Unpin,
    F: FnOnce(End) + Unpin,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining);
                self.bytes = self
                    .bytes
                    .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
            }
            Poll::Ready(Some(Err(_))) => self.end(Outcome::Failed),
            Poll::Ready(None) => self.end(Outcome::Complete),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;
    use futures_util::{Stream, StreamExt, stream};
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::super::BoxError;
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
    async fn the_end_of_a_body_is_told_once_with_its_bytes() {
        let failure = || Err(BoxError::from("broken"));
        let table = [
            (
                body(stream::iter([data("ab"), data("cde")])),
                true,
                5,
                Outcome::Complete,
                "read to the end",
            ),
            (
                body(stream::iter([data("ab"), failure()])),
                true,
                2,
                Outcome::Failed,
                "failed",
            ),
            (
                body(stream::iter([data("ab"), data("cde")])),
                false,
                2,
                Outcome::Abandoned,
                "dropped in between",
            ),
        ];
        for (body, read_all, bytes, outcome, why) in table {
            let ends = Arc::new(Mutex::new(Vec::new()));
            let seen = Arc::clone(&ends);
            let mut body = OnEnd::new(body, move |end| seen.lock().unwrap().push(end));
            while let Some(Ok(_)) = body.frame().await {
                if !read_all {
                    break;
                }
            }
            drop(body);
            assert_eq!(*ends.lock().unwrap(), [End { bytes, outcome }], "{why}");
        }
    }

    #[tokio::test]
    async fn a_body_of_known_length_is_complete_when_its_last_byte_was_taken() {
        let (told, end) = std::sync::mpsc::channel();
        let mut body = OnEnd::new(Full::new(Bytes::from_static(b"abc")), move |end| {
            told.send(end).unwrap()
        });
        assert!(body.frame().await.unwrap().is_ok());
        drop(body);
        assert_eq!(
            end.recv().unwrap(),
            End {
                bytes: 3,
                outcome: Outcome::Complete
            }
        );
    }
}
