//! The pooled client.
//!
//! HTTP/1.1 only: large parallel HTTP/2 request bodies are not sound in the client library. A stale pooled connection
//! is retried by the library when nothing was written; reads are retried once more here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderValue, LOCATION};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;

use super::error::UpstreamError;
use super::progress::{Progress, Watched};
use crate::body::{self, Body, BodyError, IdleTimeout, ReadError};

/// Redirects that regseal follows when it fetches for itself.
const MAX_REDIRECTS: usize = 3;

/// Is told the method, status and duration of every request; no status if there was no answer.
pub type Observe = Arc<dyn Fn(&Method, Option<StatusCode>, Duration) + Send + Sync>;

/// Where the registry behind is, and how long it may take.
#[derive(Clone)]
pub struct Config {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
    /// Certificates that sign the registry's own.
    pub roots: RootCertStore,
    /// Deadline of a TCP connection.
    pub connect: Duration,
    /// Deadline of the response head, from the last byte that was sent.
    pub first_byte: Duration,
    /// How long an answer that regseal reads whole may take.
    pub read: Duration,
    /// How long the next bytes of an answer may take.
    pub idle: Duration,
    /// Writes the trace context into the headers of a request.
    pub propagate: fn(&mut HeaderMap),
    /// Measures.
    pub observe: Observe,
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

/// The registry behind.
#[derive(Clone, Debug)]
pub struct Upstream {
    config: Config,
    client: Client<HttpsConnector<HttpConnector>, Watched>,
}

/// A whole answer in memory.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status and headers.
    pub parts: http::response::Parts,
    /// The body.
    pub body: Bytes,
}

impl Upstream {
    /// A client with an empty pool.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(config.connect));
        http.set_keepalive(Some(Duration::from_secs(15)));
        let tls = ClientConfig::builder()
            .with_root_certificates(config.roots.clone())
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(connector);
        Self { config, client }
    }

    /// Scheme, host and port of the registry behind.
    #[must_use]
    pub fn url(&self) -> Uri {
        let root = self.absolute(PathAndQuery::from_static("/"));
        root.unwrap_or_default()
    }

    /// Host and port of the registry behind.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.config.authority
    }

    /// Path and query of a location on the registry behind itself, which may believe that it is called `host`; `None`
    /// for any other location, where no credential must go.
    #[must_use]
    pub fn own_path(&self, location: &str, host: Option<&str>) -> Option<PathAndQuery> {
        let uri: Uri = location.parse().ok()?;
        let own = |authority: &Authority| {
            *authority == self.config.authority || Some(authority.as_str()) == host
        };
        uri.path_and_query()
            .filter(|_| uri.authority().is_none_or(own))
            .cloned()
    }

    /// Sends a request whose URI has only path and query, and streams both bodies.
    ///
    /// # Errors
    /// No connection, or no response head in time.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, UpstreamError> {
        let path = request
            .uri()
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = self.absolute(path)?;
        self.send_absolute(request).await
    }

    /// Asks for regseal itself: a `GET` or `HEAD`, tried twice.
    ///
    /// # Errors
    /// No response head in time.
    pub async fn ask(
        &self,
        method: &Method,
        path: &str,
        headers: &[(http::HeaderName, HeaderValue)],
    ) -> Result<Response<Body>, UpstreamError> {
        let request = || build(method.clone(), path, headers, body::empty());
        match self.send(request()?).await {
            Err(UpstreamError::Connection(_)) => self.send(request()?).await,
            answered => answered,
        }
    }

    /// As [`Self::ask`], following redirects. `Authorization` never goes to another host, nor in clear where it came
    /// encrypted.
    ///
    /// # Errors
    /// No response head in time, or a redirect that cannot be followed.
    pub async fn open(
        &self,
        method: &Method,
        path: &str,
        headers: &[(http::HeaderName, HeaderValue)],
    ) -> Result<Response<Body>, UpstreamError> {
        let mut response = self.ask(method, path, headers).await?;
        for _ in 0..MAX_REDIRECTS {
            let Some(uri) = self.redirect(&response)? else {
                return Ok(response);
            };
            let own = self.is_own(&uri);
            let mut request = Request::builder()
                .method(method.clone())
                .uri(uri)
                .body(body::empty())?;
            for (name, value) in headers.iter().filter(|(name, _)| own || name == ACCEPT) {
                request.headers_mut().append(name.clone(), value.clone());
            }
            response = self.send_absolute(request).await?;
        }
        Ok(response)
    }

    /// As [`Self::open`], and reads at most `limit` bytes of answer.
    ///
    /// # Errors
    /// No whole answer in time or within the limit.
    pub async fn fetch(
        &self,
        method: &Method,
        path: &str,
        headers: &[(http::HeaderName, HeaderValue)],
        limit: usize,
    ) -> Result<Answer, UpstreamError> {
        let response = self.open(method, path, headers).await?;
        self.collect(response, limit).await
    }

    /// Sends bytes that regseal holds in memory and reads the whole answer.
    ///
    /// # Errors
    /// No whole answer in time.
    pub async fn submit(
        &self,
        method: &Method,
        path: &str,
        headers: &[(http::HeaderName, HeaderValue)],
        bytes: Bytes,
    ) -> Result<Answer, UpstreamError> {
        let response = self
            .send(build(method.clone(), path, headers, body::full(bytes))?)
            .await?;
        self.collect(response, 1 << 20).await
    }

    /// As [`Self::submit`], to a service that the registry behind relies on. No redirect is followed.
    ///
    /// # Errors
    /// No whole answer in time, or one of more than `limit` bytes.
    pub async fn submit_elsewhere(
        &self,
        method: &Method,
        uri: Uri,
        headers: &[(http::HeaderName, HeaderValue)],
        bytes: Bytes,
        limit: usize,
    ) -> Result<Answer, UpstreamError> {
        let mut request = build(method.clone(), uri, headers, body::full(bytes))?;
        (self.config.propagate)(request.headers_mut());
        let response = self.await_head(request).await?;
        self.collect(response, limit).await
    }

    /// Reads a response whole.
    ///
    /// # Errors
    /// It breaks off, takes too long, or is larger than `limit`.
    pub async fn collect(
        &self,
        response: Response<Body>,
        limit: usize,
    ) -> Result<Answer, UpstreamError> {
        let (parts, response_body) = response.into_parts();
        let body =
            match tokio::time::timeout(self.config.read, body::read(response_body, limit)).await {
                Ok(Ok(body)) => body,
                Ok(Err(ReadError::TooLarge)) => return Err(UpstreamError::TooLarge(limit)),
                Ok(Err(ReadError::Broken(error))) => return Err(UpstreamError::Body(error)),
                Err(elapsed) => return Err(UpstreamError::Body(BodyError::new(elapsed))),
            };
        Ok(Answer { parts, body })
    }

    async fn send_absolute(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, UpstreamError> {
        (self.config.propagate)(request.headers_mut());
        let (method, started) = (request.method().clone(), Instant::now());
        let answered = self.await_head(request).await;
        let status = answered.as_ref().ok().map(Response::status);
        (self.config.observe)(&method, status, started.elapsed());
        answered
    }

    async fn await_head(&self, request: Request<Body>) -> Result<Response<Body>, UpstreamError> {
        let idle = self.config.idle;
        let progress = Progress::start();
        let mut request = request.map(|inner| Watched::new(inner, progress.clone()));
        if let Some(host) = request
            .uri()
            .authority()
            .and_then(|host| HeaderValue::from_str(host.as_str()).ok())
        {
            request.headers_mut().insert(HOST, host);
        }
        let mut response = std::pin::pin!(self.client.request(request));
        loop {
            let deadline = progress.last() + self.config.first_byte;
            match tokio::time::timeout_at(deadline, &mut response).await {
                Ok(Ok(response)) => {
                    return Ok(response.map(|incoming| {
                        IdleTimeout::new(incoming, idle)
                            .map_err(BodyError::new)
                            .boxed_unsync()
                    }));
                }
                Ok(Err(error)) => return Err(UpstreamError::Connection(BodyError::new(error))),
                Err(_) if progress.last() + self.config.first_byte > deadline => {}
                Err(_) => return Err(UpstreamError::FirstByte(self.config.first_byte)),
            }
        }
    }

    fn absolute(&self, path: PathAndQuery) -> Result<Uri, UpstreamError> {
        let config = &self.config;
        Ok(Uri::builder()
            .scheme(config.scheme.clone())
            .authority(config.authority.clone())
            .path_and_query(path)
            .build()?)
    }

    fn is_own(&self, uri: &Uri) -> bool {
        uri.scheme() == Some(&self.config.scheme) && uri.authority() == Some(&self.config.authority)
    }

    /// Where a response sends, if it does.
    fn redirect(&self, response: &Response<Body>) -> Result<Option<Uri>, UpstreamError> {
        let redirected = matches!(
            response.status(),
            StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT
        );
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let (true, Some(location)) = (redirected, location) else {
            return Ok(None);
        };
        let uri: Uri = location.parse().map_err(http::Error::from)?;
        if uri.authority().is_some() {
            return Ok(Some(uri));
        }
        let path = uri.path_and_query().cloned();
        self.absolute(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
            .map(Some)
    }
}

fn build<U>(
    method: Method,
    uri: U,
    headers: &[(http::HeaderName, HeaderValue)],
    body: Body,
) -> Result<Request<Body>, UpstreamError>
where
    U: TryInto<Uri, Error: Into<http::Error>>,
{
    let mut request = Request::builder().method(method).uri(uri).body(body)?;
    for (name, value) in headers {
        request.headers_mut().append(name.clone(), value.clone());
    }
    Ok(request)
}
