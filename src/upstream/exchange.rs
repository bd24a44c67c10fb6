//! One exchange with the registry behind: a place for it, the request, the head of its answer in time, and a second try
//! where that can do no harm.
//!
//! A registry may close an idle connection just as a request is written to it. When nothing was written the library
//! takes another connection. When something was, a request is sent again if that can change nothing: a `GET` or `HEAD`,
//! and bytes in memory of which the caller says so ([`Upstream::send_bytes`]). It is sent again once, and on a new
//! connection, since others in the pool may be as stale. A body that was streamed is never sent twice.

use std::time::Duration;

use http::header::{HOST, HeaderValue};
use http::{Method, Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::Instant;
use tracing::Instrument;

use super::client::Upstream;
use super::connector::Line;
use super::error::UpstreamError;
use super::places::{self, Event, Share};
use super::progress::{Progress, Watched};
use super::span;
use crate::body::{self, Body, BodyError, Held, IdleTimeout};

/// How much longer than its own idle timeout a request body is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// What a request is, for its bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) share: Share,
    /// Deadline of the response head.
    pub(super) head: Duration,
}

impl Upstream {
    /// As [`Self::exchange`]; a read without a body can be sent again.
    pub(super) async fn exchange_read(
        &self,
        request: Request<Body>,
        terms: Terms,
    ) -> Result<Response<Body>, UpstreamError> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let (parts, body) = request.into_parts();
        let again = (is_read && body.is_end_stream())
            .then(|| Request::from_parts(parts.clone(), body::empty()));
        self.exchange(Request::from_parts(parts, body), again, terms)
            .await
    }

    /// Sends `request`, and `again` if the connection ends without an answer. Both have the URI of the host that they go
    /// to, which may be another than the registry's: who streams from there takes as much of regseal. The place is held
    /// until the body of the answer has ended.
    pub(super) async fn exchange(
        &self,
        request: Request<Body>,
        again: Option<Request<Body>>,
        terms: Terms,
    ) -> Result<Response<Body>, UpstreamError> {
        let place = self.take_place(terms.share).await?;
        let first = self.try_once(request, Line::Pooled, terms.head).await;
        let response = match (first, again) {
            (Err(UpstreamError::Cut(error)), Some(again)) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a request is sent again on a new connection"
                );
                (self.config.note)(Event::SentAgain);
                self.try_once(again, Line::New, terms.head).await?
            }
            (first, _) => first?,
        };
        Ok(response.map(|body| Held::new(body, Some(place)).boxed_unsync()))
    }

    async fn take_place(&self, share: Share) -> Result<places::Place, UpstreamError> {
        let taken = self.places.take(share).await;
        taken.or(Err(UpstreamError::Full))
    }

    /// In a span of its own, which is the parent of what the receiver does. Measured is what the registry itself does.
    async fn try_once(
        &self,
        mut request: Request<Body>,
        line: Line,
        head: Duration,
    ) -> Result<Response<Body>, UpstreamError> {
        let span = span::of(&request);
        span.in_scope(|| (self.config.propagate)(request.headers_mut()));
        let is_own = self.is_own(request.uri());
        let (method, started) = (request.method().clone(), Instant::now());
        let answered = self.await_head(request, is_own, line, head);
        let answered = answered.instrument(span.clone()).await;
        span::record(&span, &answered);
        // A client that broke off says nothing about the registry.
        if is_own && !matches!(answered, Err(UpstreamError::RequestBody(_))) {
            let status = answered.as_ref().ok().map(Response::status);
            (self.config.observe)(&method, status, started.elapsed());
        }
        answered
    }

    async fn await_head(
        &self,
        request: Request<Body>,
        is_own: bool,
        line: Line,
        head: Duration,
    ) -> Result<Response<Body>, UpstreamError> {
        let idle = self.config.idle;
        let progress = Progress::start();
        let mut request = request.map(|inner| Watched::new(inner, progress.clone()));
        if let Some(host) = request
            .uri()
            .authority()
            .and_then(|host| HeaderValue::from_str(host.as_str()).ok())
        {
            request.headers_mut().insert(HOST, host);
        }
        // A body that does not come is the fault of whoever sends it, and has its own idle timeout.
        let deadline = || {
            let patience = if progress.is_awaited() {
                head.max(idle + GRACE)
            } else {
                head
            };
            progress.last() + patience
        };
        let mut response = std::pin::pin!(self.connector.request(request, is_own, line));
        loop {
            let until = deadline();
            match tokio::time::timeout_at(until, &mut response).await {
                Ok(Ok(response)) => {
                    return Ok(response.map(|incoming| {
                        IdleTimeout::new(incoming, idle)
                            .map_err(BodyError::new)
                            .boxed_unsync()
                    }));
                }
                Ok(Err(error)) => {
                    let is_connect = error.is_connect();
                    let error = BodyError::new(error);
                    return Err(if progress.has_failed() {
                        UpstreamError::RequestBody(error)
                    } else if is_connect {
                        UpstreamError::Connection(error)
                    } else {
                        UpstreamError::Cut(error)
                    });
                }
                Err(_) if deadline() > until => {}
                Err(_) => return Err(UpstreamError::FirstByte(head)),
            }
        }
    }
}
