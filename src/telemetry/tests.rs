//! Telemetry from end to end: what is written, what is exported, what is passed on.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{error, info, warn};

use super::*;
use crate::clock::{ManualClock, UnixMillis};

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT_SPAN: &str = "b7ad6b7169203331";

/// The log of a test.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Telemetry for this thread, as long as the guard lives.
fn start(config: &Config) -> (Telemetry, Log, DefaultGuard) {
    let telemetry = Telemetry::start(config).unwrap();
    let log = Log::default();
    let writer = log.clone();
    let clock = Arc::new(ManualClock::new(UnixMillis::new(1_700_000_000_123)));
    let subscriber = init::subscriber(config, &telemetry, clock, move || writer.clone());
    (telemetry, log, set_default(subscriber))
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    let traceparent = format!("00-{TRACE_ID}-{CLIENT_SPAN}-01");
    headers.insert("traceparent", traceparent.parse().unwrap());
    headers.insert(
        "authorization",
        HeaderValue::from_static("Basic c2VjcmV0OnNlY3JldA=="),
    );
    headers.insert("cookie", HeaderValue::from_static("session=secret"));
    headers
}

#[test]
fn a_line_in_a_span_carries_its_ids_and_no_secret() {
    let (_telemetry, log, _guard) = start(&Config::default());
    let span = make_span("manifest_push", &Method::PUT, &headers(), None);
    span.in_scope(|| {
        info!(
            { fields::OCI_REPOSITORY } = "team/app",
            { fields::DURATION_MS } = 12_u128,
            "manifest pushed"
        );
    });
    let mut lines = log.lines();
    let span_id = lines[0].as_object_mut().unwrap().remove("span_id").unwrap();
    assert_eq!(
        lines,
        [json!({
            "timestamp": "2023-11-14T22:13:20.123Z",
            "level": "INFO",
            "target": "regseal::telemetry::tests",
            "message": "manifest pushed",
            "trace_id": TRACE_ID,
            "oci.repository": "team/app",
            "duration_ms": 12,
        })]
    );
    assert_eq!(span_id.as_str().unwrap().len(), 16);
    assert_ne!(span_id, CLIENT_SPAN);
    assert!(!log.text().contains("c2VjcmV0") && !log.text().contains("session"));
}

#[test]
fn every_kind_of_field_is_written_as_its_json_type() {
    let (_telemetry, log, _guard) = start(&Config::default());
    let broken = io::Error::other("disk \"a\"\nis full");
    let error: &(dyn std::error::Error + 'static) = &broken;
    warn!(number = -3, share = 0.5, yes = true, level = "hidden", list = ?[1, 2], error, "{} things", 2);
    let line = &log.lines()[0];
    for (field, value) in [
        ("message", json!("2 things")),
        ("number", json!(-3)),
        ("share", json!(0.5)),
        ("yes", json!(true)),
        ("list", json!("[1, 2]")),
        ("error", json!("disk \"a\"\nis full")),
        ("level", json!("WARN")),
        ("trace_id", Value::Null),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert_eq!(log.text().lines().count(), 1, "one line, whatever is in it");
}

#[test]
fn the_level_bounds_lines_and_not_spans() {
    let (_telemetry, log, _guard) = start(&Config {
        level: LevelFilter::ERROR,
        ..Config::default()
    });
    make_span("ping", &Method::GET, &HeaderMap::new(), None).in_scope(|| {
        info!("not logged");
        error!("logged");
    });
    let lines = log.lines();
    assert_eq!(lines.len(), 1);
    assert_eq!(
        lines[0]["trace_id"].as_str().unwrap().len(),
        32,
        "without exporter and client trace there is an id"
    );
}

#[test]
fn text_lines_are_for_people() {
    let (_telemetry, log, _guard) = start(&Config {
        log_format: LogFormat::Text,
        ..Config::default()
    });
    info!(port = 8080, "listening");
    assert!(log.text().contains("listening port=8080"), "{}", log.text());
}

#[test]
fn the_upstream_continues_the_trace_of_the_client() {
    let (_telemetry, _log, _guard) = start(&Config::default());
    let mut client = headers();
    client.insert("tracestate", HeaderValue::from_static("vendor=1"));
    let span = make_span("ping", &Method::GET, &client, None);
    let mut upstream = client.clone();
    span.in_scope(|| propagation::inject(&mut upstream));
    let parts: Vec<_> = upstream["traceparent"]
        .to_str()
        .unwrap()
        .split('-')
        .collect();
    assert_eq!(
        (parts[1], parts[3]),
        (TRACE_ID, "01"),
        "same trace, and the client's decision to sample it"
    );
    assert_ne!(parts[2], CLIENT_SPAN, "but a span of its own");
    assert_eq!(upstream["tracestate"], "vendor=1");

    let mut upstream = HeaderMap::new();
    make_span("ping", &Method::GET, &HeaderMap::new(), None)
        .in_scope(|| propagation::inject(&mut upstream));
    assert!(
        upstream["traceparent"].to_str().unwrap().ends_with("-00"),
        "nobody samples it"
    );
    assert!(!upstream.contains_key("tracestate"));

    let mut outside = client.clone();
    propagation::inject(&mut outside);
    assert_eq!(outside, client, "without a span nothing changes");
}

#[test]
fn malformed_trace_context_starts_a_new_trace() {
    let (_telemetry, log, _guard) = start(&Config::default());
    for value in [
        "",
        "junk",
        "00-0-0-00",
        "00-00000000000000000000000000000000-0000000000000000-01",
    ] {
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("traceparent"),
            value.parse().unwrap(),
        )]);
        make_span("ping", &Method::GET, &headers, None).in_scope(|| info!("served"));
    }
    for line in log.lines() {
        let id = line["trace_id"].as_str().unwrap();
        assert!(id.len() == 32 && id != "0".repeat(32), "{line}");
    }
}

#[test]
fn the_exposition_is_well_formed() {
    let (telemetry, _log, _guard) = start(&Config::default());
    let meter = telemetry.meter();
    drop(HttpMetrics::new(&meter).begin(&Method::GET, "ping"));
    meter
        .u64_counter("capture.manifests")
        .with_unit("{manifest}")
        .build()
        .add(2, &[]);
    meter
        .u64_counter("capture.written")
        .with_unit("By")
        .build()
        .add(7, &[]);

    let text = prometheus::TextEncoder::new()
        .encode_to_string(&telemetry.registry().gather())
        .unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series.split('{').next().unwrap();
        assert!(
            name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
            "{line}"
        );
        assert!(!series.contains("otel_scope"), "{line}");
    }
    for expected in [
        "capture_manifests_total 2\n",
        "capture_written_bytes_total 7\n",
        "http_server_active_requests{",
        "http_server_request_duration_seconds_bucket{",
        "service_name=\"regseal\"",
        "service_version=",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

/// A request that the collector got.
#[derive(Debug)]
struct Export {
    path: String,
    content_type: Option<HeaderValue>,
    body: Bytes,
}

/// A collector that answers `status`, and what it gets.
async fn collector(status: StatusCode) -> (Uri, Arc<Mutex<Vec<Export>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/otlp", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let exports = Arc::new(Mutex::new(Vec::new()));
    let received = Arc::clone(&exports);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let received = Arc::clone(&received);
            let service = service_fn(move |request: Request<Incoming>| {
                let received = Arc::clone(&received);
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let content_type = head.headers.get("content-type").cloned();
                    received.lock().unwrap().push(Export {
                        path: head.uri.to_string(),
                        content_type,
                        body,
                    });
                    let answer = Response::builder()
                        .status(status)
                        .body(Full::<Bytes>::default());
                    Ok::<_, Infallible>(answer.unwrap())
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (endpoint, exports)
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn traces_and_metrics_reach_the_collector_by_the_end() {
    let (endpoint, exports) = collector(StatusCode::OK).await;
    let config = Config {
        otlp_endpoint: Some(endpoint),
        service_name: "seal-7".to_owned(),
        ..Config::default()
    };
    let (telemetry, log, _guard) = start(&config);
    let metrics = HttpMetrics::new(&telemetry.meter());
    let active = metrics.begin(&Method::PUT, "manifest_push");
    let span = make_span("manifest_push", &Method::PUT, &headers(), None);
    record_response(&span, StatusCode::CREATED);
    drop((span, active));
    telemetry.shutdown().await;

    let exports = exports.lock().unwrap();
    for (path, within) in [
        ("/otlp/v1/traces", "manifest_push"),
        ("/otlp/v1/metrics", "http.server.request.duration"),
    ] {
        let export = exports.iter().find(|export| export.path == path).unwrap();
        assert_eq!(
            export.content_type.as_ref().unwrap(),
            "application/x-protobuf"
        );
        for text in [within, "seal-7", "service.version"] {
            assert!(contains(&export.body, text), "{path}: {text}");
        }
        assert!(!contains(&export.body, "c2VjcmV0"), "{path}: a credential");
    }
    assert_eq!(log.text(), "", "nothing went wrong");
}

#[tokio::test]
async fn a_collector_that_refuses_costs_one_warning() {
    let (endpoint, exports) = collector(StatusCode::BAD_REQUEST).await;
    let (telemetry, log, _guard) = start(&Config {
        otlp_endpoint: Some(endpoint),
        ..Config::default()
    });
    drop(HttpMetrics::new(&telemetry.meter()).begin(&Method::GET, "ping"));
    drop(make_span("ping", &Method::GET, &HeaderMap::new(), None));
    telemetry.shutdown().await;

    assert_eq!(exports.lock().unwrap().len(), 2, "both signals were tried");
    let warnings: Vec<_> = log
        .lines()
        .into_iter()
        .filter(|line| line["message"] == "telemetry cannot be exported")
        .collect();
    assert_eq!(warnings.len(), 1, "{}", log.text());
    assert_eq!(
        warnings[0]["error"],
        "the collector answered 400 Bad Request"
    );
}
