//! W3C trace context: read from the headers of a request, written into those of a request upstream.

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACESTATE: &str = "tracestate";

/// The trace that `headers` continue; an empty context if they name none, or no valid one.
pub fn extract(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers))
}

/// Names the current span as the parent, in place of what the client sent. Without a span, `headers` stay.
pub fn inject(headers: &mut HeaderMap) {
    let context = Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(headers));
    // The propagator writes an empty state as an empty header line.
    if headers
        .get(TRACESTATE)
        .is_some_and(http::HeaderValue::is_empty)
    {
        headers.remove(TRACESTATE);
    }
}
