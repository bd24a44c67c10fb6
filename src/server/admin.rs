//! The routes of the second listener: health and metrics. Nothing of a registry is served here.
//!
//! | path | 200 when |
//! |---|---|
//! | `/livez`, `/healthz` | the process answers |
//! | `/startupz` | [`Readiness::started`] was called |
//! | `/readyz` | started, not draining, and no check has failed; a degraded check is ready |
//! | `/metrics` | always: Prometheus text |
//!
//! With `?verbose` the first four list the checks by name, one line each; an answer of 503 always does.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::{self, Write};
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use prometheus::{Encoder, Registry, TextEncoder};
use tower::Service;

use super::Drain;

/// The state of one named check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Works.
    Ok,
    /// Works, with something lost (slower, older); the reason is for the operator. Still ready.
    Degraded(String),
    /// Does not work; the process is not ready.
    Failed(String),
}

/// What is known about the fitness of this process; clones share it.
#[derive(Clone, Debug)]
pub struct Readiness {
    checks: Arc<Mutex<BTreeMap<&'static str, Health>>>,
    drain: Drain,
}

const STARTED: &str = "started";
const DRAINING: &str = "draining";

impl Readiness {
    /// Not started; not ready any more from the moment `drain` is started.
    pub fn new(drain: &Drain) -> Self {
        let starting = BTreeMap::from([(STARTED, Health::Failed("starting".to_owned()))]);
        Self {
            checks: Arc::new(Mutex::new(starting)),
            drain: drain.clone(),
        }
    }

    /// Start-up is over.
    pub fn started(&self) {
        self.set(STARTED, Health::Ok);
    }

    /// Sets the check `name`. A check that was never set does not exist.
    pub fn set(&self, name: &'static str, health: Health) {
        self.checks().insert(name, health);
    }

    /// Whether requests should be sent here.
    pub fn is_ready(&self) -> bool {
        let failed = |health: &Health| matches!(health, Health::Failed(_));
        !self.drain.is_started() && !self.checks().values().any(failed)
    }

    /// Whether start-up is over.
    pub fn is_started(&self) -> bool {
        self.checks().get(STARTED) == Some(&Health::Ok)
    }

    /// No request of the data path comes here, so a lock does.
    fn checks(&self) -> MutexGuard<'_, BTreeMap<&'static str, Health>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line for each check.
impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.drain.is_started() {
            writeln!(f, "[-]{DRAINING} failed: shutting down")?;
        }
        for (name, health) in self.checks().iter() {
            match health {
                Health::Ok => writeln!(f, "[+]{name} ok")?,
                Health::Degraded(reason) => writeln!(f, "[~]{name} degraded: {reason}")?,
                Health::Failed(reason) => writeln!(f, "[-]{name} failed: {reason}")?,
            }
        }
        Ok(())
    }
}

/// The service of the second listener.
#[derive(Clone, Debug)]
pub struct Admin {
    readiness: Readiness,
    metrics: Registry,
}

impl Admin {
    /// Serves `readiness` and what is registered in `metrics`.
    pub fn new(readiness: Readiness, metrics: Registry) -> Self {
        Self { readiness, metrics }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let verbose = request
            .uri()
            .query()
            .is_some_and(|query| query.split('&').any(|key| key == "verbose"));
        let health = |healthy| self.health(healthy, verbose);
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

    fn health(&self, healthy: bool, verbose: bool) -> Response<Full<Bytes>> {
        let (status, summary) = if healthy {
            (StatusCode::OK, "ok\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
        };
        let mut text = String::new();
        if verbose || !healthy {
            write!(text, "{}", self.readiness).expect("writing to a string does not fail");
        }
        text.push_str(summary);
        respond(status, TEXT, text)
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

impl<B> Service<Request<B>> for Admin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(&request)))
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

    use super::*;

    async fn ask(admin: &Admin, method: Method, path: &str) -> (StatusCode, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(())
            .unwrap();
        let response = admin.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn admin() -> (Drain, Readiness, Admin) {
        let drain = Drain::new();
        let readiness = Readiness::new(&drain);
        let admin = Admin::new(readiness.clone(), Registry::new());
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
                "[~]index degraded: rebuilding\n[+]started ok\nok\n"
            )
        );
        assert_eq!(ask(&admin, Method::GET, "/readyz").await.1, "ok\n");

        drain.start();
        let (_, text) = ask(&admin, Method::GET, "/readyz").await;
        assert!(
            text.contains("[-]draining failed"),
            "a refusal names its reason unasked: {text}"
        );
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
