//! What an operator sees of the process: traces and metrics at a collector, metrics on the second listener.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use regseal::server::{self, Drain, Listener};
use tower::service_fn;

use crate::support::images::NOTATION;
use crate::support::{ALICE, Auth, Registry, Regseal, Stage, block_on, wait_for};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Paths and bodies of what was exported.
type Exports = Arc<Mutex<Vec<(String, Bytes)>>>;

/// A collector that keeps what it is sent.
fn collector() -> (SocketAddr, Exports) {
    let exports = Exports::default();
    let kept = Arc::clone(&exports);
    let service = service_fn(move |request: Request<Incoming>| {
        let kept = Arc::clone(&kept);
        async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            kept.lock().unwrap().push((path, body));
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let address = block_on(async {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr();
        tokio::spawn(server::serve(
            listener,
            service,
            server::Config::default(),
            Drain::new(),
        ));
        address
    });
    (address, exports)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

#[test]
fn traces_and_metrics_reach_a_collector() {
    let (address, exports) = collector();
    let registry = Registry::with(Auth::None);
    let mut regseal = Regseal::builder(&registry)
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}"))
        .environment("OTEL_SERVICE_NAME", "registry-front")
        .start();
    let repository = regseal.endpoint.repository(ALICE, "team/secret-name");
    let image = repository.push_image("1.0");
    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
    repository
        .http
        .request(
            "GET",
            &repository.path(&format!("referrers/{}", image.digest())),
            &[("traceparent", &traceparent)],
            "",
        )
        .expect(200);
    regseal.terminate();

    let exports = exports.lock().unwrap();
    let sent = |path: &str, needle: &[u8]| {
        exports
            .iter()
            .any(|(to, body)| to == path && contains(body, needle))
    };
    let trace: Vec<u8> = (0..16)
        .map(|at| u8::from_str_radix(&TRACE[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    assert!(sent("/v1/traces", b"/v2/<name>/referrers/<digest>"));
    assert!(
        sent("/v1/traces", &trace),
        "the trace of the client goes on"
    );
    assert!(sent("/v1/traces", b"registry-front"));
    assert!(sent("/v1/metrics", b"http.server.request.duration"));
    assert!(
        !sent("/v1/metrics", b"secret-name"),
        "no label names a repository"
    );
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
