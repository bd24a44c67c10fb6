//! How far a request body is.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::body::{Body, BodyError};

/// When a request body last moved, so that a deadline for the answer does not run while bytes are still being sent.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    start: Instant,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    last: AtomicU64,
    is_awaited: AtomicBool,
    has_failed: AtomicBool,
}

impl Progress {
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
            state: Arc::default(),
        }
    }

    fn touch(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.state.last.store(elapsed, Ordering::Relaxed);
    }

    /// The instant of the last movement.
    pub(super) fn last(&self) -> Instant {
        self.start + std::time::Duration::from_millis(self.state.last.load(Ordering::Relaxed))
    }

    /// Whether more of the body is wanted and has not come.
    pub(super) fn is_awaited(&self) -> bool {
        self.state.is_awaited.load(Ordering::Relaxed)
    }

    /// Whether the body itself broke off.
    pub(super) fn has_failed(&self) -> bool {
        self.state.has_failed.load(Ordering::Relaxed)
    }
}

/// A request body that records its progress.
pub(super) struct Watched {
    inner: Body,
    progress: Progress,
}

impl Watched {
    pub(super) fn new(inner: Body, progress: Progress) -> Self {
        Self { inner, progress }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        let state = &self.progress.state;
        state
            .is_awaited
            .store(polled.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(frame) = &polled {
            self.progress.touch();
            if matches!(frame, Some(Err(_))) {
                state.has_failed.store(true, Ordering::Relaxed);
            }
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
