//! The metrics of HTTP. Other modules define their own struct of instruments in the same way, from a [`Meter`].
//!
//! Instruments carry OpenTelemetry names and base units; the Prometheus exposition turns
//! `http.server.request.duration` in seconds into `http_server_request_duration_seconds`, and a counter `x` into
//! `x_total`. Labels come from closed sets only.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};
use opentelemetry::{KeyValue, Value};
use tokio::runtime::Handle;

use super::fields;

/// Seconds: the buckets of the semantic conventions, and longer ones for blobs.
const DURATIONS: [f64; 17] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0,
    300.0,
];

/// Requests served, and requests sent upstream.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    served: Histogram<f64>,
    active: UpDownCounter<i64>,
    upstream: Histogram<f64>,
    shed: Counter<u64>,
    too_slow: Counter<u64>,
    upstream_active: UpDownCounter<i64>,
    upstream_waits: UpDownCounter<i64>,
    upstream_shed: Counter<u64>,
    sent_again: Counter<u64>,
}

impl HttpMetrics {
    /// Makes the instruments.
    pub fn new(meter: &Meter) -> Self {
        let durations = |name, description| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(DURATIONS.to_vec())
                .build()
        };
        let counter = |name, description| {
            meter
                .u64_counter(name)
                .with_description(description)
                .build()
        };
        let gauge = |name, description| {
            meter
                .i64_up_down_counter(name)
                .with_unit("{request}")
                .with_description(description)
                .build()
        };
        Self {
            served: durations(
                fields::HTTP_SERVER_REQUEST_DURATION,
                "Duration of requests, to the end of the response body.",
            ),
            active: meter
                .i64_up_down_counter(fields::HTTP_SERVER_ACTIVE_REQUESTS)
                .with_unit("{request}")
                .with_description("Requests whose response body has not ended.")
                .build(),
            upstream: durations(
                fields::HTTP_CLIENT_REQUEST_DURATION,
                "Duration of requests to the upstream, to the response head.",
            ),
            shed: meter
                .u64_counter(fields::REQUESTS_SHED)
                .with_description("Requests refused because too many were under way.")
                .build(),
            too_slow: counter(
                fields::REQUESTS_TOO_SLOW,
                "Requests that were not answered in time.",
            ),
            upstream_active: gauge(
                fields::UPSTREAM_ACTIVE_REQUESTS,
                "Requests to the upstream whose response body has not ended.",
            ),
            upstream_waits: gauge(
                fields::UPSTREAM_WAITING_REQUESTS,
                "Requests that wait until fewer are sent to the upstream.",
            ),
            upstream_shed: counter(
                fields::UPSTREAM_SHED,
                "Requests refused because too many were sent to the upstream.",
            ),
            sent_again: counter(
                fields::UPSTREAM_SENT_AGAIN,
                "Requests sent to the upstream again after their connection had ended.",
            ),
        }
    }

    /// Counts a request as active until the result is dropped, which belongs at the end of the response body.
    pub fn begin(&self, method: &Method, route: &'static str) -> ActiveRequest {
        let labels = [
            KeyValue::new(fields::HTTP_REQUEST_METHOD, method_label(method)),
            KeyValue::new(fields::HTTP_ROUTE, route),
        ];
        self.active.add(1, &labels);
        ActiveRequest {
            metrics: self.clone(),
            labels,
            started: Instant::now(),
            status: None,
        }
    }

    /// Counts a request that was refused because too many were under way.
    pub fn shed(&self) {
        self.shed.add(1, &[]);
    }

    /// Counts a request that was not answered in time.
    pub fn too_slow(&self, route: &'static str) {
        self.too_slow
            .add(1, &[KeyValue::new(fields::HTTP_ROUTE, route)]);
    }

    /// Counts requests of a share that are sent upstream, until the bodies of their responses have ended.
    pub fn upstream_active(&self, share: &'static str, more: i64) {
        self.upstream_active
            .add(more, &[KeyValue::new(fields::UPSTREAM_SHARE, share)]);
    }

    /// Counts requests of a share that wait.
    pub fn upstream_waits(&self, share: &'static str, more: i64) {
        self.upstream_waits
            .add(more, &[KeyValue::new(fields::UPSTREAM_SHARE, share)]);
    }

    /// Counts a request of a share that was refused because too many were sent upstream.
    pub fn upstream_shed(&self, share: &'static str) {
        self.upstream_shed
            .add(1, &[KeyValue::new(fields::UPSTREAM_SHARE, share)]);
    }

    /// Counts a request that was sent upstream again.
    pub fn sent_again(&self) {
        self.sent_again.add(1, &[]);
    }

    /// Records a request that was sent upstream; `None` if no response came.
    pub fn record_upstream(&self, method: &Method, status: Option<StatusCode>, duration: Duration) {
        let labels = [
            KeyValue::new(fields::HTTP_REQUEST_METHOD, method_label(method)),
            status_label(status),
        ];
        self.upstream.record(duration.as_secs_f64(), &labels);
    }
}

/// Shows how many tasks of `runtime` have not ended.
pub fn watch_tasks(meter: &Meter, runtime: Handle) {
    meter
        .u64_observable_gauge(fields::TASKS)
        .with_unit("{task}")
        .with_description("Tasks that have not ended.")
        .with_callback(move |observer| {
            let tasks = runtime.metrics().num_alive_tasks();
            observer.observe(u64::try_from(tasks).unwrap_or(u64::MAX), &[]);
        })
        .build();
}

/// Connections that were given up before or instead of a request.
#[derive(Clone, Debug)]
pub struct RefusedConnections(Counter<u64>);

impl RefusedConnections {
    /// Makes the instrument.
    pub fn new(meter: &Meter) -> Self {
        let counter = meter
            .u64_counter(fields::CONNECTIONS_REFUSED)
            .with_description("Connections of clients that were given up, by reason.")
            .build();
        Self(counter)
    }

    /// Counts one, for a reason out of a closed set.
    pub fn add(&self, reason: &'static str) {
        self.0.add(1, &[KeyValue::new("reason", reason)]);
    }
}

/// A request that is being answered; recorded when it is dropped.
#[derive(Debug)]
pub struct ActiveRequest {
    metrics: HttpMetrics,
    labels: [KeyValue; 2],
    started: Instant,
    status: Option<StatusCode>,
}

impl ActiveRequest {
    /// Notes the status that was answered. A request without one was given up by its client.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// How long ago it began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.metrics.active.add(-1, &self.labels);
        let [method, route] = self.labels.clone();
        self.metrics.served.record(
            self.elapsed().as_secs_f64(),
            &[method, route, status_label(self.status)],
        );
    }
}

fn status_label(status: Option<StatusCode>) -> KeyValue {
    match status {
        Some(status) => KeyValue::new(
            fields::HTTP_RESPONSE_STATUS_CODE,
            i64::from(status.as_u16()),
        ),
        None => KeyValue::new(fields::ERROR_TYPE, "no_response"),
    }
}

/// The method, if it is one that registries know: clients may invent as many as they like.
fn method_label(method: &Method) -> Value {
    let known = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"];
    known
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("_OTHER")
        .into()
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use prometheus::{Registry, TextEncoder};

    use super::*;

    fn exposition(registry: &Registry) -> String {
        TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap()
    }

    fn metrics() -> (Registry, SdkMeterProvider, HttpMetrics) {
        let registry = Registry::new();
        let provider = super::super::init::meter_provider("test", &registry, None).unwrap();
        let metrics = HttpMetrics::new(&provider.meter("test"));
        (registry, provider, metrics)
    }

    #[test]
    fn a_request_is_active_until_dropped_and_then_recorded() {
        let (registry, _provider, metrics) = metrics();
        let mut request = metrics.begin(&Method::PUT, "manifest");
        let active =
            r#"http_server_active_requests{http_request_method="PUT",http_route="manifest"}"#;
        assert!(exposition(&registry).contains(&format!("{active} 1\n")));

        request.answered(StatusCode::CREATED);
        drop(request);
        let text = exposition(&registry);
        assert!(text.contains(&format!("{active} 0\n")), "{text}");
        let labels =
            r#"http_request_method="PUT",http_response_status_code="201",http_route="manifest""#;
        assert!(
            text.contains(&format!(
                "http_server_request_duration_seconds_count{{{labels}}} 1\n"
            )),
            "{text}"
        );
        assert!(
            text.contains("# TYPE http_server_request_duration_seconds histogram\n"),
            "{text}"
        );
    }

    #[test]
    fn labels_are_bounded_whatever_clients_send() {
        let (registry, _provider, metrics) = metrics();
        drop(metrics.begin(&Method::from_bytes(b"INVENTED").unwrap(), "manifest"));
        metrics.record_upstream(&Method::GET, None, Duration::from_millis(20));
        let text = exposition(&registry);
        assert!(text.contains(r#"http_request_method="_OTHER""#), "{text}");
        assert!(!text.contains("INVENTED"), "{text}");
        let upstream = r#"http_client_request_duration_seconds_bucket{error_type="no_response",http_request_method="GET",le="0.025"} 1"#;
        assert!(text.contains(upstream), "{text}");
    }
}
