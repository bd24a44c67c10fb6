//! How many bytes of a body have passed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

use super::{Body, BodyError};

/// The bytes of data that a body has given so far.
#[derive(Clone, Debug, Default)]
pub struct Count(Arc<AtomicU64>);

impl Count {
    /// Bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The same body, and the count of its bytes.
#[must_use]
pub fn counted(body: Body) -> (Body, Count) {
    let count = Count::default();
    if body.is_end_stream() {
        return (body, count);
    }
    let counted = Counted {
        inner: body,
        count: count.clone(),
    };
    (counted.boxed_unsync(), count)
}

struct Counted {
    inner: Body,
    count: Count,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            self.count.0.fetch_add(bytes, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body;

    #[tokio::test]
    async fn what_has_passed_is_counted() {
        let (streamed, count) = counted(body::full("01234"));
        assert_eq!(count.bytes(), 0);
        assert_eq!(streamed.collect().await.unwrap().to_bytes(), "01234");
        assert_eq!(count.bytes(), 5);
    }
}
