//! OTLP over HTTP with protobuf bodies, on the HTTP client that the rest of the program uses.
//!
//! The exporters run on threads of their own and wait there; the requests run on the runtime. A collector that is
//! down or slow costs what it was sent and one warning a minute, and nothing else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;
use tracing::warn;

/// How long one export may take with its retries; both signals fit into the wait at shutdown.
const TIMEOUT: Duration = Duration::from_secs(4);
/// How often a failure is worth a warning.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// More than any answer of a collector.
const LARGEST_RESPONSE: usize = 256 * 1024;

/// Makes the exporters of one endpoint, which share a connection pool.
#[derive(Debug)]
pub(super) struct Exporters {
    client: CollectorClient,
    endpoint: Uri,
}

impl Exporters {
    /// Must be called inside the runtime that is to send the requests.
    pub(super) fn new(endpoint: &Uri) -> Result<Self, rustls::Error> {
        Ok(Self {
            client: CollectorClient::new()?,
            endpoint: endpoint.clone(),
        })
    }

    pub(super) fn spans(&self) -> Result<SpanExporter, ExporterBuildError> {
        SpanExporter::builder()
            .with_http()
            .with_http_client(self.client.clone())
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(signal_url(&self.endpoint, "v1/traces"))
            .with_timeout(TIMEOUT)
            .build()
    }

    pub(super) fn metrics(&self) -> Result<MetricExporter, ExporterBuildError> {
        MetricExporter::builder()
            .with_http()
            .with_http_client(self.client.clone())
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(signal_url(&self.endpoint, "v1/metrics"))
            .with_timeout(TIMEOUT)
            .build()
    }
}

/// The path of the signal goes below that of the endpoint, as for `OTEL_EXPORTER_OTLP_ENDPOINT`.
fn signal_url(endpoint: &Uri, signal: &str) -> String {
    let scheme = endpoint.scheme_str().unwrap_or("http");
    let authority = endpoint
        .authority()
        .map_or("", |authority| authority.as_str());
    let path = endpoint.path().trim_end_matches('/');
    format!("{scheme}://{authority}{path}/{signal}")
}

#[derive(Clone, Debug)]
struct CollectorClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
    warnings: Arc<Throttle>,
}

impl CollectorClient {
    fn new() -> Result<Self, rustls::Error> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls()?)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self {
            client,
            runtime: Handle::current(),
            warnings: Arc::new(Throttle::new(WARN_EVERY)),
        })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let exchange = async {
            let (head, body) = self
                .client
                .request(request.map(Full::new))
                .await?
                .into_parts();
            let body = Limited::new(body, LARGEST_RESPONSE)
                .collect()
                .await?
                .to_bytes();
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(TIMEOUT, exchange).await?
    }
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.clone();
        let sending = self.runtime.spawn(async move {
            let result = client.send(request).await;
            let failure = match &result {
                Ok(response) if response.status().is_success() => return result,
                Ok(response) => format!("the collector answered {}", response.status()),
                Err(error) => error.to_string(),
            };
            if let Some(unreported) = client.warnings.admit(Instant::now()) {
                warn!(error = failure, unreported, "telemetry cannot be exported");
            }
            result
        });
        sending.await?
    }
}

fn tls() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Lets one event through in each period and counts those it held back.
#[derive(Debug)]
struct Throttle {
    period: Duration,
    state: Mutex<(Option<Instant>, u64)>,
}

impl Throttle {
    fn new(period: Duration) -> Self {
        Self {
            period,
            state: Mutex::new((None, 0)),
        }
    }

    /// How many were held back since the last one that was let through, if this one is.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, held_back) = &mut *state;
        if last.is_some_and(|last| now.duration_since(last) < self.period) {
            *held_back += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_go_below_the_path_of_the_endpoint() {
        let table = [
            (
                "http://collector:4318",
                "http://collector:4318/v1/traces",
                "no path",
            ),
            (
                "http://collector:4318/",
                "http://collector:4318/v1/traces",
                "root",
            ),
            (
                "https://collector/otlp",
                "https://collector/otlp/v1/traces",
                "a prefix",
            ),
            (
                "https://collector/otlp/",
                "https://collector/otlp/v1/traces",
                "a prefix with a slash",
            ),
        ];
        for (endpoint, expected, why) in table {
            assert_eq!(
                signal_url(&endpoint.parse().unwrap(), "v1/traces"),
                expected,
                "{why}"
            );
        }
    }

    #[test]
    fn failures_are_reported_once_a_period_with_their_number() {
        let throttle = Throttle::new(WARN_EVERY);
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(throttle.admit(start), Some(0));
        assert_eq!(throttle.admit(start + second), None);
        assert_eq!(throttle.admit(start + WARN_EVERY - second), None);
        assert_eq!(throttle.admit(start + WARN_EVERY), Some(2));
        assert_eq!(throttle.admit(start + WARN_EVERY + second), None);
    }
}
