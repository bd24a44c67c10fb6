//! A collector that receives traces and metrics by OTLP over HTTP, and decodes them.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use regseal::server::{self, Drain, Listener};
use tower::service_fn;

use super::block_on;

#[derive(Default)]
pub struct Received {
    pub spans: Vec<Span>,
    pub metrics: Vec<Metric>,
    /// What the process says of itself, of each export.
    pub resources: Vec<Vec<KeyValue>>,
    /// Paths of what could not be understood.
    pub refused: Vec<String>,
}

pub struct Collector {
    pub url: String,
    received: Arc<Mutex<Received>>,
}

impl Collector {
    pub fn start() -> Self {
        let received = Arc::<Mutex<Received>>::default();
        let kept = Arc::clone(&received);
        let service = service_fn(move |request: Request<Incoming>| {
            let kept = Arc::clone(&kept);
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let mut kept = kept.lock().unwrap();
                let mut response = Response::new(Empty::<Bytes>::new());
                if kept.take(&path, body).is_none() {
                    kept.refused.push(path);
                    *response.status_mut() = StatusCode::BAD_REQUEST;
                }
                Ok::<_, Infallible>(response)
            }
        });
        let address = block_on(async {
            let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
            let address = listener.local_addr();
            let config = server::Config::default();
            tokio::spawn(server::serve(listener, service, config, Drain::new()));
            address
        });
        Self {
            url: format!("http://{address}"),
            received,
        }
    }

    /// All that came until now.
    pub fn received(&self) -> std::sync::MutexGuard<'_, Received> {
        self.received.lock().unwrap()
    }
}

impl Received {
    fn take(&mut self, path: &str, body: Bytes) -> Option<()> {
        match path {
            "/v1/traces" => {
                for resource in ExportTraceServiceRequest::decode(body).ok()?.resource_spans {
                    self.resources.push(resource.resource?.attributes);
                    let scopes = resource.scope_spans.into_iter();
                    self.spans.extend(scopes.flat_map(|scope| scope.spans));
                }
            }
            "/v1/metrics" => {
                for resource in ExportMetricsServiceRequest::decode(body)
                    .ok()?
                    .resource_metrics
                {
                    self.resources.push(resource.resource?.attributes);
                    let scopes = resource.scope_metrics.into_iter();
                    self.metrics.extend(scopes.flat_map(|scope| scope.metrics));
                }
            }
            _ => return None,
        }
        Some(())
    }
}

/// The value of an attribute as text; empty where there is none.
pub fn attribute(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    let value = found.and_then(|attribute| attribute.value.as_ref()?.value.clone());
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}
