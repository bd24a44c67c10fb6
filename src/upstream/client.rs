//! The registry behind, as others send to it.
//!
//! HTTP/1.1 only: large parallel HTTP/2 request bodies are not sound in the client library.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};

use super::connector::{Connector, Deadlines, Tls};
use super::error::UpstreamError;
use super::exchange::Terms;
use super::location;
use super::places::{self, Note, Places, Share};
use crate::body::{self, Body, Room};

/// Is told the method, status and duration of every request; no status if there was no answer.
pub type Observe = Arc<dyn Fn(&Method, Option<StatusCode>, Duration) + Send + Sync>;

/// Where the registry behind is, and how long it may take.
#[derive(Clone)]
pub struct Config {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
    /// What TLS is spoken with at first: see [`Upstream::use_tls`].
    pub tls: Tls,
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
    /// How much may be under way.
    pub bounds: Bounds,
    /// Measures.
    pub observe: Observe,
    /// Measures what happens to places.
    pub note: Note,
}

/// How much may be under way at a time.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Requests.
    pub places: places::Config,
    /// Memory for answers that are read whole.
    pub room: Room,
    /// Deadline of the response head of the last request of an upload, from the last byte that was sent.
    pub completion: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            places: places::Config {
                requests: 512,
                waiting: 512,
                wait: Duration::from_secs(2),
            },
            room: Room::of(64 << 20),
            completion: Duration::from_secs(600),
        }
    }
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
    pub(super) config: Config,
    pub(super) places: Arc<Places>,
    pub(super) connector: Arc<Connector>,
}

impl Upstream {
    /// A client with an empty pool.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let deadlines = Deadlines {
            connect: config.connect,
            idle: config.idle,
        };
        let connector = Connector::new(config.tls.clone(), deadlines);
        let places = Places::new(config.bounds.places, Arc::clone(&config.note));
        Self {
            config,
            places: Arc::new(places),
            connector: Arc::new(connector),
        }
    }

    /// Uses other certificates for all connections from now on; those that stand end with the requests that use them.
    pub fn use_tls(&self, tls: Tls) {
        self.connector.use_tls(tls);
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
        location::path_on(location, &self.config.authority, host)
    }

    /// Refuses at once what [`Self::send`] would refuse at once, before the body of a request is read.
    ///
    /// # Errors
    /// No place is free, and as many wait as may.
    pub fn expect_place(&self) -> Result<(), UpstreamError> {
        if self.places.is_full() {
            self.places.shed(Share::Clients);
            return Err(UpstreamError::Full);
        }
        Ok(())
    }

    /// Sends a client's request, whose URI has only path and query, and streams both bodies.
    ///
    /// # Errors
    /// No place, no connection, or no response head in time.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Body>, UpstreamError> {
        self.send_on(request, self.terms(Share::Clients)).await
    }

    /// As [`Self::send`], for the last request of an upload of regseal itself.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn upload(&self, request: Request<Body>) -> Result<Response<Body>, UpstreamError> {
        self.send_on(request, self.last_terms(Share::Own)).await
    }

    /// As [`Self::send`], of bytes in memory. `again` says that a second try can do no harm where the connection ended
    /// without an answer.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_bytes(
        &self,
        request: Request<Bytes>,
        again: bool,
    ) -> Result<Response<Body>, UpstreamError> {
        let terms = self.terms(Share::Clients);
        let request = self.addressed(request)?;
        let second = again.then(|| request.clone().map(body::full));
        self.exchange(request.map(body::full), second, terms).await
    }

    pub(super) async fn send_on(
        &self,
        request: Request<Body>,
        terms: Terms,
    ) -> Result<Response<Body>, UpstreamError> {
        let request = self.addressed(request)?;
        self.exchange_read(request, terms).await
    }

    /// With the URI of the registry behind before path and query.
    fn addressed<B>(&self, mut request: Request<B>) -> Result<Request<B>, UpstreamError> {
        let path = request
            .uri()
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = self.absolute(path)?;
        Ok(request)
    }

    pub(super) fn terms(&self, share: Share) -> Terms {
        Terms {
            share,
            head: self.config.first_byte,
        }
    }

    /// Of the last request of an upload: some registries copy the whole blob before they answer.
    pub(super) fn last_terms(&self, share: Share) -> Terms {
        Terms {
            share,
            head: self.config.bounds.completion,
        }
    }

    pub(super) fn absolute(&self, path: PathAndQuery) -> Result<Uri, UpstreamError> {
        let config = &self.config;
        Ok(Uri::builder()
            .scheme(config.scheme.clone())
            .authority(config.authority.clone())
            .path_and_query(path)
            .build()?)
    }

    pub(super) fn is_own(&self, uri: &Uri) -> bool {
        uri.scheme() == Some(&self.config.scheme) && uri.authority() == Some(&self.config.authority)
    }
}
