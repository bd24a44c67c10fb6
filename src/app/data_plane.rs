//! One request of the data plane: classified, traced, measured, answered; errors become answers here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::Scheme;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use crate::auth::Relay;
use crate::body::{Body, BodyError, IdleTimeout};
use crate::handlers::Handlers;
use crate::oci::{Digest, Reference};
use crate::respond;
use crate::route::Route;
use crate::server::body::OnEnd;
use crate::server::limit::Admitted;
use crate::server::{AmbiguousFraming, Contradiction};
use crate::telemetry::{HttpMetrics, fields, make_span, record_response};

/// The name of requests without a route in spans and metrics.
const UNCLASSIFIED: &str = "unclassified";

/// What answers requests.
#[derive(Clone, Debug)]
pub(super) struct DataPlane {
    pub(super) handlers: Handlers,
    pub(super) relay: Arc<Relay>,
    pub(super) metrics: HttpMetrics,
    pub(super) idle: Duration,
    /// For all that is done for a request before its response begins.
    pub(super) deadline: Duration,
    /// Requests that may write, also those whose client has gone.
    pub(super) writes: TaskTracker,
}

impl DataPlane {
    pub(super) async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let route = Route::parse(request.method(), request.uri());
        let template = route.as_ref().map_or(UNCLASSIFIED, Route::template);
        let peer = request.extensions().get::<SocketAddr>().copied();
        let span = make_span(template, request.method(), request.headers(), peer);
        if let Ok(route) = &route {
            record_names(&span, route);
        }
        let mut active = self.metrics.begin(request.method(), template);
        let method = request.method().clone();

        let answer = async {
            if !is_plainly_framed(&request) {
                let mut response = respond::framing_error();
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
                return response;
            }
            if let Some(Contradiction(why)) = request.extensions().get() {
                return respond::contradiction(why);
            }
            match route {
                Ok(route) => {
                    let host = request.headers().get(HOST).cloned();
                    let scheme = request.extensions().get::<Scheme>().cloned();
                    let scheme = scheme.unwrap_or(Scheme::HTTP);
                    let request = request.map(|body| self.streamed(body));
                    let deadline = has_deadline(&route).then(|| Instant::now() + self.deadline);
                    let answered = in_time(deadline, self.handle(route, request)).await;
                    let answered = answered.unwrap_or_else(|| {
                        self.metrics.too_slow(template);
                        respond::too_slow(self.deadline)
                    });
                    let (mut answer, body) = answered.into_parts();
                    // Without it the challenge stays as the registry wrote it.
                    let announced = self.relay.announce(
                        answer.status,
                        &mut answer.headers,
                        &scheme,
                        host.as_ref(),
                    );
                    let _ = in_time(deadline, announced).await;
                    Response::from_parts(answer, body)
                }
                Err(error) => respond::route_error(&error),
            }
        };
        let response = answer.instrument(span.clone()).await;

        let status = response.status();
        record_response(&span, status);
        active.answered(status);
        response.map(|body| {
            OnEnd::new(body, move |end| {
                let duration_ms = u64::try_from(active.elapsed().as_millis()).unwrap_or(u64::MAX);
                span.in_scope(|| {
                    tracing::info!(
                        { fields::HTTP_REQUEST_METHOD } = method.as_str(),
                        { fields::HTTP_ROUTE } = template,
                        { fields::HTTP_RESPONSE_STATUS_CODE } = status.as_u16(),
                        { fields::HTTP_RESPONSE_BODY_SIZE } = end.bytes,
                        { fields::DURATION_MS } = duration_ms,
                        outcome = ?end.outcome,
                        "request served"
                    );
                });
            })
            .map_err(BodyError::new)
            .boxed_unsync()
        })
    }

    /// What may write to the store goes on when the client goes away, or its time is over: a record without its row in
    /// the index would stay unseen until it is pushed again. It is in flight until then.
    async fn handle(&self, route: Route, request: Request<Body>) -> Response<Body> {
        let (handlers, writes) = (self.handlers.clone(), may_write(&route));
        let admitted = request.extensions().get::<Admitted>().cloned();
        let answer = async move {
            let _in_flight = admitted;
            let answered = handlers.handle(&route, request).await;
            answered.unwrap_or_else(respond::handler_error)
        };
        if !writes {
            return answer.await;
        }
        let answered = self.writes.spawn(answer.in_current_span()).await;
        answered.unwrap_or_else(|panicked| respond::internal(&panicked))
    }

    fn streamed(&self, body: Incoming) -> Body {
        IdleTimeout::new(body, self.idle)
            .map_err(BodyError::new)
            .boxed_unsync()
    }
}

/// What `done` gives, if it gives it in time; it is dropped if not.
async fn in_time<T>(deadline: Option<Instant>, done: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, done).await.ok(),
        None => Some(done.await),
    }
}

/// A request that streams a body to the registry is one exchange, which has deadlines of its own: for the next bytes,
/// and for the answer after the last of them. A chain of questions has no end but this.
fn has_deadline(route: &Route) -> bool {
    match route {
        Route::UploadStart(_)
        | Route::Upload(..)
        | Route::SealedUpload(..)
        | Route::Passthrough => false,
        Route::ManifestPull(..)
        | Route::ManifestPush(..)
        | Route::ManifestDelete(..)
        | Route::Referrers(..)
        | Route::Version
        | Route::Token
        | Route::TagsList(_)
        | Route::BlobPull(..)
        | Route::BlobDelete(..) => true,
    }
}

/// Notes what the request is about: a span may name it, a metric never.
fn record_names(span: &Span, route: &Route) {
    let digest = |digest: &Digest| {
        span.record(fields::OCI_DIGEST, digest.as_str());
    };
    let repository = match route {
        Route::Version | Route::Token | Route::Passthrough => return,
        Route::TagsList(name)
        | Route::UploadStart(name)
        | Route::Upload(name, _)
        | Route::SealedUpload(name, ..) => name,
        Route::BlobPull(name, blob) | Route::BlobDelete(name, blob) => {
            digest(blob);
            name
        }
        Route::ManifestPull(name, reference)
        | Route::ManifestPush(name, reference)
        | Route::ManifestDelete(name, reference) => {
            match reference {
                Reference::Digest(manifest) => digest(manifest),
                Reference::Tag(tag) => {
                    span.record(fields::OCI_TAG, tag.as_str());
                }
            }
            name
        }
        Route::Referrers(name, subject) => {
            span.record(fields::OCI_SUBJECT, subject.as_str());
            name
        }
    };
    span.record(fields::OCI_REPOSITORY, repository.as_str());
}

fn may_write(route: &Route) -> bool {
    match route {
        Route::ManifestPull(..)
        | Route::ManifestPush(..)
        | Route::ManifestDelete(..)
        | Route::BlobDelete(..)
        | Route::Referrers(..) => true,
        Route::Version
        | Route::Token
        | Route::Passthrough
        | Route::TagsList(_)
        | Route::BlobPull(..)
        | Route::UploadStart(_)
        | Route::Upload(..)
        | Route::SealedUpload(..) => false,
    }
}

/// One length, and no transfer coding but `chunked`: what a registry behind makes of anything else is unknown.
fn is_plainly_framed(request: &Request<Incoming>) -> bool {
    let codings = request.headers().get_all(TRANSFER_ENCODING);
    request.extensions().get::<AmbiguousFraming>().is_none()
        && codings
            .iter()
            .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
}
