//! The routes of the second listener: health, metrics, and the admin API where there is one. Nothing of a registry is
//! served here.
//!
//! | path | 200 when |
//! |---|---|
//! | `/livez`, `/healthz` | the process answers |
//! | `/startupz` | [`Readiness::started`] was called |
//! | `/readyz` | started, not draining, and no check has failed; a degraded check is ready |
//! | `/metrics` | always: Prometheus text |
//! | below `/api/` | as the [`Api`] says; 404 without one |
//!
//! With `?verbose` the first three list the checks by name, one line each; an answer of 503 always does. What is only
//! degraded (slower, older) is told apart from what has failed. `Accept: application/json` gets the same as JSON.

use std::convert::Infallible;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, ready};
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use prometheus::{Encoder, Registry, TextEncoder};
use serde_json::json;
use tower::Service;

use super::{BoxError, Readiness};
use crate::body::{Body, BodyError, IdleTimeout};

/// Where the admin API is.
const API: &str = "/api/";

/// How long the next bytes of a request may take.
const IDLE: Duration = Duration::from_secs(30);

/// The admin API. It answers every request itself, those of strangers too.
pub trait Api: fmt::Debug + Send + Sync {
    /// Answers one request.
    fn answer(&self, request: Request<Body>) -> BoxFuture<'static, Response<Full<Bytes>>>;
}

/// The service of the second listener.
#[derive(Clone, Debug)]
pub struct Admin {
    readiness: Readiness,
    metrics: Registry,
    api: Option<Arc<dyn Api>>,
}

impl Admin {
    /// Serves `readiness`, what is registered in `metrics`, and the admin API if there is one.
    pub fn new(readiness: Readiness, metrics: Registry, api: Option<Arc<dyn Api>>) -> Self {
        Self {
            readiness,
            metrics,
            api,
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let verbose = request
            .uri()
            .query()
            .is_some_and(|query| query.split('&').any(|key| key == "verbose"));
        let form = if wants_json(request.headers()) {
            Form::Json
        } else if verbose {
            Form::Lines
        } else {
            Form::Word
        };
        let health = |healthy| self.health(healthy, form);
        let response = match request.uri().path() {
            "/livez" | "/healthz" => health(true),
            "/startupz" => health(self.readiness.is_started()),
            "/readyz" => health(self.readiness.is_ready()),
            "/metrics" => self.metrics(),
            _ => return respond(StatusCode::NOT_FOUND, JSON, r#"{"error":"not found"}"#),
        };
        if request.method() == Method::GET || request.method() == Method::HEAD {
            return response;
        }
        let mut refusal = respond(
            StatusCode::METHOD_NOT_ALLOWED,
            JSON,
            r#"{"error":"method not allowed"}"#,
        );
        refusal
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        refusal
    }

    fn health(&self, healthy: bool, form: Form) -> Response<Full<Bytes>> {
        let (status, word) = if healthy {
            let is_degraded = self.readiness.is_degraded();
            (StatusCode::OK, if is_degraded { "degraded" } else { "ok" })
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready")
        };
        match form {
            Form::Json => {
                let checks = self.readiness.to_json();
                let answer = json!({"status": word, "checks": checks});
                respond(status, JSON, answer.to_string())
            }
            Form::Word if healthy => respond(status, TEXT, format!("{word}\n")),
            Form::Word | Form::Lines => {
                let mut text = self.readiness.to_string();
                writeln!(text, "{word}").expect("writing to a string does not fail");
                respond(status, TEXT, text)
            }
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.metrics.gather(), &mut text) {
            Ok(()) => respond(StatusCode::OK, METRICS, text),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be encoded");
                respond(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    JSON,
                    r#"{"error":"metrics cannot be encoded"}"#,
                )
            }
        }
    }
}

/// How health is told.
#[derive(Clone, Copy)]
enum Form {
    Word,
    Lines,
    Json,
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|types| {
        types
            .split([',', ';'])
            .any(|media_type| media_type.trim() == "application/json")
    })
}

impl<B> Service<Request<B>> for Admin
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if let Some(api) = &self.api
            && request.uri().path().starts_with(API)
        {
            let streamed = |body| {
                let body = IdleTimeout::new(body, IDLE);
                body.map_err(BodyError::new).boxed_unsync()
            };
            return api.answer(request.map(streamed)).map(Ok).boxed();
        }
        ready(Ok(self.answer(&request))).boxed()
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METRICS: HeaderValue = HeaderValue::from_static(prometheus::TEXT_FORMAT);

fn respond(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::super::{Drain, Health};
    use super::*;

    async fn ask(admin: &Admin, method: Method, path: &str) -> (StatusCode, String) {
        ask_for(admin, method, path, "*/*").await
    }

    async fn ask_for(
        admin: &Admin,
        method: Method,
        path: &str,
        accept: &str,
    ) -> (StatusCode, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(ACCEPT, accept)
            .body(crate::body::empty())
            .unwrap();
        let response = admin.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn admin() -> (Drain, Readiness, Admin) {
        let drain = Drain::new();
        let readiness = Readiness::new(&drain);
        let admin = Admin::new(readiness.clone(), Registry::new(), None);
        (drain, readiness, admin)
    }

    #[tokio::test]
    async fn readiness_follows_the_life_of_the_process() {
        let (drain, readiness, admin) = admin();
        let statuses = async || {
            let mut statuses = Vec::new();
            for path in ["/livez", "/healthz", "/startupz", "/readyz"] {
                statuses.push(ask(&admin, Method::GET, path).await.0.as_u16());
            }
            statuses
        };
        assert_eq!(statuses().await, [200, 200, 503, 503], "starting");
        readiness.started();
        assert_eq!(statuses().await, [200, 200, 200, 200], "started");
        readiness.set("index", Health::Degraded("rebuilding".to_owned()));
        assert_eq!(statuses().await, [200, 200, 200, 200], "degraded is ready");
        readiness.set("storage", Health::Failed("read-only".to_owned()));
        assert_eq!(statuses().await, [200, 200, 200, 503], "failed is not");
        readiness.set("storage", Health::Ok);
        assert_eq!(statuses().await, [200, 200, 200, 200], "recovered");
        drain.start();
        assert_eq!(statuses().await, [200, 200, 200, 503], "draining");
    }

    #[tokio::test]
    async fn the_verbose_answer_names_every_check() {
        let (drain, readiness, admin) = admin();
        readiness.started();
        readiness.set("index", Health::Degraded("rebuilding".to_owned()));
        let (status, text) = ask(&admin, Method::GET, "/readyz?verbose").await;
        assert_eq!(
            (status, text.as_str()),
            (
                StatusCode::OK,
                "[~]index degraded: rebuilding\n[+]started ok\ndegraded\n"
            )
        );
        assert_eq!(ask(&admin, Method::GET, "/readyz").await.1, "degraded\n");
        readiness.set("index", Health::Ok);
        assert_eq!(ask(&admin, Method::GET, "/readyz").await.1, "ok\n");

        drain.start();
        let (_, text) = ask(&admin, Method::GET, "/readyz").await;
        assert!(
            text.contains("[-]draining failed"),
            "a refusal names its reason unasked: {text}"
        );
    }

    #[tokio::test]
    async fn programs_are_answered_in_json() {
        let (drain, readiness, admin) = admin();
        readiness.started();
        readiness.set("index", Health::Degraded("rebuilding".to_owned()));
        let json = async || {
            let accept = "text/html, application/json;q=0.9";
            let (status, text) = ask_for(&admin, Method::GET, "/readyz", accept).await;
            let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
            (status.as_u16(), answer)
        };
        let (status, answer) = json().await;
        let expected = json!({"status": "degraded", "checks": {
            "index": {"status": "degraded", "reason": "rebuilding"},
            "started": {"status": "ok"},
        }});
        assert_eq!((status, answer), (200, expected));
        readiness.set("index", Health::Failed("gone".to_owned()));
        let (status, answer) = json().await;
        assert_eq!(status, 503);
        assert_eq!(answer["status"], "not ready");
        assert_eq!(answer["checks"]["index"]["status"], "failed");
        drain.start();
        assert_eq!(json().await.1["checks"]["draining"]["status"], "failed");
    }

    #[tokio::test]
    async fn what_is_not_served_here_is_refused() {
        let (_, _, admin) = admin();
        let table = [
            (Method::GET, "/", 404, "no page"),
            (
                Method::GET,
                "/v2/",
                404,
                "the registry is on the other listener",
            ),
            (Method::GET, "/readyz/", 404, "paths are exact"),
            (Method::GET, "/api/v1/explain", 404, "there is no admin API"),
            (Method::POST, "/readyz", 405, "reading only"),
            (Method::HEAD, "/livez", 200, "probes may use HEAD"),
        ];
        for (method, path, status, why) in table {
            assert_eq!(ask(&admin, method, path).await.0.as_u16(), status, "{why}");
        }
        let (_, body) = ask(&admin, Method::GET, "/v2/").await;
        assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
    }

    #[tokio::test]
    async fn metrics_are_prometheus_text() {
        let (_, _, admin) = admin();
        let counter = prometheus::IntCounter::new("things_total", "Things.").unwrap();
        admin.metrics.register(Box::new(counter.clone())).unwrap();
        counter.inc();
        let (status, text) = ask(&admin, Method::GET, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(
            text.contains("# TYPE things_total counter\nthings_total 1\n"),
            "{text}"
        );
    }
}
