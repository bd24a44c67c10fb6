//! One request of the data plane: classified, traced, measured, answered; errors become answers here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::auth::Relay;
use crate::body::{Body, BodyError, IdleTimeout};
use crate::handlers::Handlers;
use crate::respond;
use crate::route::Route;
use crate::server::AmbiguousFraming;
use crate::server::body::OnEnd;
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
    /// Requests that may write, also those whose client has gone.
    pub(super) writes: TaskTracker,
}

impl DataPlane {
    pub(super) async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let route = Route::parse(request.method(), request.uri());
        let template = route.as_ref().map_or(UNCLASSIFIED, Route::template);
        let peer = request.extensions().get::<SocketAddr>().copied();
        let span = make_span(template, request.method(), request.headers(), peer);
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
            match route {
                Ok(route) => {
                    let host = request.headers().get(HOST).cloned();
                    let request = request.map(|body| self.streamed(body));
                    let (mut answer, body) = self.handle(route, request).await.into_parts();
                    self.relay
                        .announce(answer.status, &mut answer.headers, host.as_ref())
                        .await;
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

    /// What may write to the store goes on when the client goes away: a record without its row in the index would
    /// stay unseen until it is pushed again.
    async fn handle(&self, route: Route, request: Request<Body>) -> Response<Body> {
        let (handlers, writes) = (self.handlers.clone(), may_write(&route));
        let answer = async move {
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

fn may_write(route: &Route) -> bool {
    match route {
        Route::ManifestPull(..)
        | Route::ManifestPush(..)
        | Route::ManifestDelete(..)
        | Route::Referrers(..) => true,
        Route::Version
        | Route::Token
        | Route::Passthrough
        | Route::TagsList(_)
        | Route::BlobPull(..)
        | Route::BlobDelete(..)
        | Route::UploadStart(_)
        | Route::Upload(..) => false,
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
