//! Logs, traces and metrics of the process.
//!
//! [`init()`] is called once, inside the runtime, before anything else; its [`Telemetry`] is kept to the end:
//!
//! ```ignore
//! let telemetry = telemetry::init(&config.telemetry)?;
//! let http = HttpMetrics::new(&telemetry.meter());
//! let admin = Admin::new(readiness, telemetry.registry());
//! // per request
//! let span = make_span(route, request.method(), request.headers(), peer);
//! let mut active = http.begin(request.method(), route);
//! let response = service.call(request).instrument(span.clone()).await;
//! record_response(&span, response.status());
//! active.answered(response.status());
//! let response = response.map(|body| OnEnd::new(body, move |end| {
//!     let duration_ms = active.elapsed().as_millis();
//!     span.in_scope(|| info!({ fields::HTTP_RESPONSE_BODY_SIZE } = end.bytes, duration_ms, "request served"));
//! }));
//! // at the end
//! telemetry.shutdown().await;
//! ```
//!
//! One set of instruments has two readers: Prometheus text on the second listener always, OTLP when an endpoint is
//! configured. Every request has a trace id, in its log lines and in what goes upstream, whether or not traces are
//! exported; without an endpoint a trace is sampled only if the client's was.
//! Credentials, cookies, queries and bodies are never given to any of the three.

pub mod fields;
mod init;
mod json;
mod make_span;
mod metrics;
mod otlp;
pub mod propagation;

pub use init::{Config, InitError, LogFormat, Telemetry, init};
pub use make_span::{make_span, record_response};
pub use metrics::{ActiveRequest, HttpMetrics, RefusedConnections, watch_tasks};

#[cfg(test)]
mod tests;
