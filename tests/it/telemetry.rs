//! What an operator sees of the process: traces and metrics at a collector, metrics on the second listener.

use std::io::Write;
use std::process::{Command, Stdio};

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};

use crate::support::collector::{Collector, attribute};
use crate::support::images::{MANIFEST, NOTATION, sha256};
use crate::support::process::program;
use crate::support::{ALICE, Auth, Registry, Regseal, Stage, wait_for};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const APP: &str = "team/secret-name";

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// Fails unless the span has these attributes.
#[track_caller]
fn assert_attributes(span: &Span, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(
            attribute(&span.attributes, name),
            *value,
            "{name} of {span:#?}"
        );
    }
}

#[test]
fn spans_say_what_was_asked_and_what_the_registry_was_asked_for_it() {
    let collector = Collector::start();
    let registry = Registry::with(Auth::None);
    let mut regseal = Regseal::builder(&registry)
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .environment("OTEL_SERVICE_NAME", "registry-front")
        .start();
    let repository = regseal.endpoint.repository(ALICE, APP);
    let image = repository.push_image("1.0");
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let get = |path: &str| {
        let path = repository.path(path);
        let headers = [("traceparent", traceparent.as_str()), ("accept", MANIFEST)];
        repository.http.request("GET", &path, &headers, "")
    };
    get(&format!("referrers/{}", image.digest())).expect(200);
    get("manifests/1.0?token=hidden").expect(200);
    get(&format!("blobs/{}", sha256(b"absent"))).expect(404);
    get("manifests/-no-tag-").expect(400);
    regseal.terminate();

    let received = collector.received();
    assert_eq!(received.refused, [""; 0], "all exports are understood");
    let service = |resource: &Vec<_>| attribute(resource, "service.name") == "registry-front";
    assert!(received.resources.iter().all(service));
    let of_the_trace = |span: &&Span| span.trace_id == bytes(TRACE);
    let spans: Vec<&Span> = received.spans.iter().filter(of_the_trace).collect();
    let server = |route: &str, status: &str| {
        let is_it = |span: &&&Span| {
            span.name == route && attribute(&span.attributes, "http.response.status_code") == status
        };
        let span = spans.iter().find(is_it);
        let span = *span.unwrap_or_else(|| panic!("no span {route} {status} in {spans:#?}"));
        assert_eq!(span.kind, SpanKind::Server as i32);
        assert_eq!(span.parent_span_id, bytes(PARENT), "the client's own span");
        span
    };
    let digest = image.digest();
    let referrers = server("/v2/<name>/referrers/<digest>", "200");
    let expected = [
        ("oci.repository", APP),
        ("oci.subject", digest.as_str()),
        ("http.request.method", "GET"),
        ("client.address", "127.0.0.1"),
    ];
    assert_attributes(referrers, &expected);
    let manifest = server("/v2/<name>/manifests/<reference>", "200");
    assert_attributes(manifest, &[("oci.repository", APP), ("oci.tag", "1.0")]);
    let refused = server("unclassified", "400");
    assert_attributes(refused, &[("oci.error.code", "MANIFEST_INVALID")]);

    let (host, port) = registry.endpoint.authority.split_once(':').unwrap();
    for above in [referrers, manifest] {
        let below = |span: &&&Span| span.parent_span_id == above.span_id;
        let asked: Vec<&&Span> = spans.iter().filter(below).collect();
        assert!(!asked.is_empty(), "the registry was asked for {above:#?}");
        for span in asked {
            assert_eq!(span.kind, SpanKind::Client as i32);
            let expected = [("server.address", host), ("server.port", port)];
            assert_attributes(span, &expected);
            let method = attribute(&span.attributes, "http.request.method");
            assert_eq!(span.name, method, "a name of a closed set");
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        }
    }
    let blob = server("/v2/<name>/blobs/<digest>", "404");
    let code = |span: &Span| span.status.as_ref().map_or(0, |status| status.code);
    assert_eq!(code(blob), StatusCode::Unset as i32, "it is the client's");
    let text = format!("{:?}", received.spans);
    assert!(!text.contains("hidden"), "no query is in any span");
}

#[test]
fn metrics_reach_a_collector_with_units_and_bounded_labels() {
    let collector = Collector::start();
    let registry = Registry::with(Auth::None);
    let mut regseal = Regseal::builder(&registry)
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .start();
    let repository = regseal.endpoint.repository(ALICE, APP);
    let image = repository.push_image("1.0");
    repository.attach(NOTATION, &image);
    regseal.terminate();

    let received = collector.received();
    for name in [
        "http.server.request.duration",
        "http.client.request.duration",
        "regseal.store.object.duration",
    ] {
        let is_it = |metric: &&_| {
            let metric: &opentelemetry_proto::tonic::metrics::v1::Metric = metric;
            metric.name == name
        };
        let metric = received.metrics.iter().find(is_it);
        let metric = metric.unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(metric.unit, "s", "{name}");
        assert_ne!(metric.description, "", "{name}");
        let Some(Data::Histogram(histogram)) = &metric.data else {
            panic!("{name} is no histogram");
        };
        assert!(histogram.data_points.iter().any(|point| point.count > 0));
    }
    let text = format!("{:?}", received.metrics);
    assert!(!text.contains(APP), "no label names a repository");
    assert!(!text.contains("sha256"), "nor a digest");
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics_page() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(APP);
    let image = repository.push_image("1.0");
    repository.attach(NOTATION, &image);
    repository.get_referrers(&image.digest(), "").expect(200);
    let page = stage.regseal.admin.get("/metrics").expect(200).body;
    let mut promtool = Command::new(program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(&page).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&said), "", "{page:?}");
    assert!(output.status.success());
}

#[test]
fn the_metrics_page_covers_requests_upstream_and_store() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("team/secret-name");
    let image = repository.push_image("1.0");
    repository.attach(NOTATION, &image);
    let text = wait_for("the first rebuild of the index", || {
        let page = stage.regseal.admin.get("/metrics").expect(200);
        let text = String::from_utf8(page.body.to_vec()).unwrap();
        let rebuilt = text.contains("regseal_store_index_rebuilds_total");
        rebuilt.then_some(text)
    });
    for metric in [
        "http_server_request_duration_seconds_bucket",
        "http_server_active_requests",
        "http_client_request_duration_seconds_bucket",
        "regseal_store_journal_depth",
        "regseal_store_index_degraded",
    ] {
        assert!(text.contains(metric), "{metric} is missing in\n{text}");
    }
    assert!(!text.contains("secret-name"), "no label names a repository");
    assert!(!text.contains("sha256"), "nor a digest");
}
