//! The span of a request to the registry behind, by the semantic conventions of OpenTelemetry for HTTP clients.
//!
//! As the span of a request of a client it has neither path nor query in it.

use http::{Request, Response};
use tracing::field::Empty;
use tracing::{Span, info_span};

use super::error::UpstreamError;
use crate::telemetry::fields;

/// A span named after the method, below the current one.
pub(super) fn of<B>(request: &Request<B>) -> Span {
    let (method, uri) = (request.method().as_str(), request.uri());
    info_span!(
        "upstream",
        { fields::OTEL_NAME } = method,
        { fields::OTEL_KIND } = "client",
        { fields::OTEL_STATUS_CODE } = Empty,
        { fields::HTTP_REQUEST_METHOD } = method,
        { fields::HTTP_RESPONSE_STATUS_CODE } = Empty,
        { fields::SERVER_ADDRESS } = uri.host(),
        { fields::SERVER_PORT } = uri.port_u16(),
        { fields::ERROR_TYPE } = Empty,
    )
}

/// Notes the head of the answer; no answer, and for a client every refusal too, is an error.
pub(super) fn record<B>(span: &Span, answered: &Result<Response<B>, UpstreamError>) {
    let status = answered.as_ref().ok().map(Response::status);
    match status {
        Some(status) => span.record(fields::HTTP_RESPONSE_STATUS_CODE, status.as_u16()),
        None => span.record(fields::ERROR_TYPE, "no_response"),
    };
    if status.is_none_or(|status| status.is_client_error() || status.is_server_error()) {
        span.record(fields::OTEL_STATUS_CODE, "error");
    }
}
