//! The span of a request.
//!
//! It is named by the route, never by the path, and takes nothing from the request that a client could fill with a
//! secret: no path, no query, no header but the trace context.

use std::net::SocketAddr;

use http::{HeaderMap, Method, StatusCode};
use tracing::field::Empty;
use tracing::{Span, debug, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{fields, propagation};

/// A span named `route`, in the trace that `headers` continue.
///
/// Handlers add what they learn with [`Span::record`]: repository, tag, digest, subject, error code.
pub fn make_span(
    route: &'static str,
    method: &Method,
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
) -> Span {
    let span = info_span!(
        "request",
        { fields::OTEL_NAME } = route,
        { fields::OTEL_KIND } = "server",
        { fields::OTEL_STATUS_CODE } = Empty,
        { fields::HTTP_ROUTE } = route,
        { fields::HTTP_REQUEST_METHOD } = method.as_str(),
        { fields::HTTP_RESPONSE_STATUS_CODE } = Empty,
        { fields::CLIENT_ADDRESS } = peer.map(|peer| tracing::field::display(peer.ip())),
        { fields::OCI_REPOSITORY } = Empty,
        { fields::OCI_TAG } = Empty,
        { fields::OCI_DIGEST } = Empty,
        { fields::OCI_SUBJECT } = Empty,
        { fields::OCI_ERROR_CODE } = Empty,
    );
    if let Err(error) = span.set_parent(propagation::extract(headers)) {
        debug!(%error, "the request starts a trace of its own");
    }
    span
}

/// Notes the response in its span; only what is our fault or the upstream's counts as an error.
pub fn record_response(span: &Span, status: StatusCode) {
    span.record(fields::HTTP_RESPONSE_STATUS_CODE, status.as_u16());
    if status.is_server_error() {
        span.record(fields::OTEL_STATUS_CODE, "error");
    }
}
