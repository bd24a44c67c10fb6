//! A bound on the requests in flight, where a request is in flight until its response body has ended.
//!
//! A permit that is freed when the response head is ready bounds nothing in a proxy that streams: the body is where
//! the time, the memory and the upstream connection go. So the permit travels inside the body, and is freed when the
//! body has ended, has failed, or was dropped because the client went away.
//!
//! A request beyond the bound is shed at once, before any of its body is read: the response is made by the closure
//! given to [`InFlightLayer::new`]. Nothing queues, so a client learns within a round trip that it should come later.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service};

/// Bounds the requests in flight in all services that it wraps, taken together.
#[derive(Clone, Debug)]
pub struct InFlightLayer<F> {
    permits: Arc<Semaphore>,
    shed: F,
}

impl<F> InFlightLayer<F> {
    /// At most `max` requests; `shed` makes the response to any other.
    pub fn new(max: usize, shed: F) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            shed,
        }
    }
}

impl<S, F: Clone> Layer<S> for InFlightLayer<F> {
    type Service = InFlight<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        InFlight {
            inner,
            permits: Arc::clone(&self.permits),
            shed: self.shed.clone(),
        }
    }
}

/// The service that [`InFlightLayer`] makes.
#[derive(Clone, Debug)]
pub struct InFlight<S, F> {
    inner: S,
    permits: Arc<Semaphore>,
    shed: F,
}

impl<S, F, Request, B> Service<Request> for InFlight<S, F>
where
    S: Service<Request, Response = Response<B>>,
    S::Future: Send + 'static,
    F: Fn() -> Response<B>,
    B: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Held<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            let shed = (self.shed)().map(|body| Held { body, permit: None });
            return Box::pin(std::future::ready(Ok(shed)));
        };
        let response = self.inner.call(request);
        Box::pin(async move {
            Ok(response.await?.map(|body| Held {
                body,
                permit: Some(permit),
            }))
        })
    }
}

/// A response body that holds the permit of its request until it ends.
#[derive(Debug)]
pub struct Held<B> {
    body: B,
    permit: Option<OwnedSemaphorePermit>,
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.permit = None;
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
