//! The requests of one HTTP/2 connection: what HTTP/1.1 has by one connection being one request, and HTTP/2 has not.
//!
//! - A client that does not take an answer stops its stream and not the connection, so that a write to the socket never
//!   waits. The answer is dropped then, with its place among the requests in flight and its connection to the registry.
//! - A client that cancels each request as soon as it was taken on costs more than it pays (CVE-2023-44487).
//! - A connection without a request is idle, although frames that ask for nothing may come all the time.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::BoxError;

/// Cancelled requests that are forgiven beyond one for each that was answered. A client may give up all at once.
const FORGIVEN: u64 = 200;

/// The requests of one connection; clones share them.
#[derive(Clone)]
pub(super) struct Streams(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    too_many_cancelled: Notify,
}

struct State {
    open: usize,
    /// When the last request ended.
    idle_since: Instant,
    answered: u64,
    cancelled: u64,
    bodies: Vec<Weak<dyn Waits>>,
}

/// What a look at the connection has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Requests that are under way.
    pub(super) open: usize,
    /// Of these, the ones whose answers were dropped because nobody takes them.
    pub(super) stalled: usize,
    /// For how long there has been no request.
    pub(super) idle: Duration,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                open: 0,
                idle_since: Instant::now(),
                answered: 0,
                cancelled: 0,
                bodies: Vec::new(),
            }),
            too_many_cancelled: Notify::new(),
        }))
    }

    /// Counts a request until the result is dropped, which belongs at the end of its answer.
    pub(super) fn begin(&self) -> Open {
        self.state().open += 1;
        Open {
            streams: self.clone(),
            is_answered: false,
        }
    }

    /// Waits until far more requests were cancelled than were answered.
    pub(super) async fn too_many_cancelled(&self) {
        self.0.too_many_cancelled.notified().await;
    }

    /// Drops the answers that, `now`, have waited for their client longer than `limit`.
    pub(super) fn look(&self, limit: Duration, now: Instant) -> Look {
        let mut state = self.state();
        state.bodies.retain(|body| body.strong_count() > 0);
        let bodies: Vec<_> = state.bodies.iter().filter_map(Weak::upgrade).collect();
        let (open, idle_since) = (state.open, state.idle_since);
        // A body that is dropped may end its request, which takes the lock.
        drop(state);
        let stalled = bodies
            .iter()
            .filter(|body| body.is_given_up(limit, now))
            .count();
        let idle = if open == 0 {
            now.saturating_duration_since(idle_since)
        } else {
            Duration::ZERO
        };
        Look {
            open,
            stalled,
            idle,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is under way.
pub(super) struct Open {
    streams: Streams,
    is_answered: bool,
}

impl Open {
    /// The answer of the request, which is watched from now on.
    pub(super) fn answer<B>(mut self, body: B) -> Answer<B>
    where
        B: Body + Send + 'static,
    {
        self.is_answered = true;
        let slot = Arc::new(Slot(Mutex::new(Given {
            body: Some(Box::pin(body)),
            waits_since: Some(Instant::now()),
        })));
        let watched: Weak<Slot<B>> = Arc::downgrade(&slot);
        let mut state = self.streams.state();
        state.answered += 1;
        state.bodies.push(watched);
        drop(state);
        Answer { slot, _open: self }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.streams.state();
        state.open -= 1;
        state.idle_since = Instant::now();
        if !self.is_answered {
            state.cancelled += 1;
        }
        if state.cancelled > state.answered.saturating_add(FORGIVEN) {
            self.streams.0.too_many_cancelled.notify_one();
        }
    }
}

/// A body that can be taken away from the connection that sends it.
pub(super) struct Answer<B> {
    slot: Arc<Slot<B>>,
    _open: Open,
}

struct Slot<B>(Mutex<Given<B>>);

struct Given<B> {
    /// None once it was given up.
    body: Option<Pin<Box<B>>>,
    /// Since when nobody has asked for more; none while it is the body that is waited for.
    waits_since: Option<Instant>,
}

impl<B> Slot<B> {
    fn given(&self) -> MutexGuard<'_, Given<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

trait Waits: Send + Sync {
    /// Whether nobody takes it any more; dropped if it has been so for longer than `limit`.
    fn is_given_up(&self, limit: Duration, now: Instant) -> bool;
}

impl<B: Send> Waits for Slot<B> {
    fn is_given_up(&self, limit: Duration, now: Instant) -> bool {
        let mut given = self.given();
        let waited = given
            .waits_since
            .is_some_and(|since| now.saturating_duration_since(since) > limit);
        let body = if waited { given.body.take() } else { None };
        let is_gone = given.body.is_none();
        drop(given);
        drop(body);
        is_gone
    }
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut given = self.slot.given();
        let Some(body) = &mut given.body else {
            return Poll::Ready(Some(Err("the client did not take its answer".into())));
        };
        let polled = body.as_mut().poll_frame(context);
        given.waits_since = polled.is_ready().then(Instant::now);
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        let given = self.slot.given();
        given.body.as_ref().is_some_and(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let given = self.slot.given();
        given
            .body
            .as_ref()
            .map(|body| body.size_hint())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn full() -> Full<Bytes> {
        Full::new(Bytes::from_static(b"abc"))
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_is_dropped_and_one_that_waits_for_the_registry_is_not() {
        let streams = Streams::new();
        let held = Arc::new(());
        let inner = Arc::clone(&held);
        let endless = futures_util::stream::repeat_with(move || {
            let _held = &inner;
            Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"abc")))
        });
        let mut taken = streams.begin().answer(StreamBody::new(endless));
        let silent = futures_util::stream::pending::<Result<Frame<Bytes>, BoxError>>();
        let mut silent = streams.begin().answer(StreamBody::new(silent));
        let before = Instant::now();
        assert!(taken.frame().await.unwrap().is_ok());
        assert!(silent.frame().now_or_never().is_none());
        let after = Instant::now();
        assert_eq!(streams.look(LIMIT, before + LIMIT).stalled, 0, "not yet");
        let late = after + LIMIT + Duration::from_millis(1);
        let look = streams.look(LIMIT, late);
        assert_eq!((look.open, look.stalled), (2, 1));
        assert_eq!(Arc::strong_count(&held), 1, "what it held is free");
        assert!(taken.frame().await.unwrap().is_err());
        assert!(silent.frame().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_connection_is_idle_from_the_end_of_its_last_answer() {
        let streams = Streams::new();
        let idle = |later: Duration| streams.look(LIMIT, Instant::now() + later).idle;
        assert!(idle(LIMIT) >= LIMIT, "from its beginning");
        let answer = streams.begin().answer(full());
        assert_eq!(idle(LIMIT), Duration::ZERO, "while one is under way");
        drop(answer);
        assert!(idle(LIMIT) >= LIMIT);
    }

    #[tokio::test]
    async fn far_more_cancelled_requests_than_answered_ones_are_too_many() {
        let streams = Streams::new();
        for _ in 0..1000 {
            drop(streams.begin().answer(full()));
        }
        for _ in 0..FORGIVEN + 1000 {
            drop(streams.begin());
        }
        assert!(streams.too_many_cancelled().now_or_never().is_none());
        drop(streams.begin());
        streams.too_many_cancelled().await;
    }
}
