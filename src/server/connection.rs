//! One connection: what comes before HTTP under a deadline, then HTTP with its timeouts and buffers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2 as hyper_http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};
use tracing::debug;

use super::framing::{Ambiguous, AmbiguousFraming, Followed};
use super::front::{Arrived, Failed, Refused, Wire};
use super::io::Guarded;
use super::listener::Accepted;
use super::{BoxError, Config, Front, http2, origin};

/// What hyper takes as the least.
const SMALLEST_BUFFER: usize = 8192;

/// How the connections of one listener are served.
pub(super) struct Rules {
    pub(super) config: Config,
    pub(super) front: Front,
    pub(super) http2: hyper_http2::Builder<TokioExecutor>,
    http1: http1::Builder,
}

impl Rules {
    pub(super) fn new(config: Config, front: Front) -> Self {
        Self {
            http1: http1_builder(&config),
            http2: http2::builder(&config),
            config,
            front,
        }
    }
}

/// hyper with our bounds. Without its timer the timeout of request heads would not act.
fn http1_builder(config: &Config) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_buf_size(config.buffer.max(SMALLEST_BUFFER))
        .half_close(false)
        .keep_alive(true);
    builder
}

/// A connection as HTTP is spoken on it.
pub(super) struct Wired<T> {
    pub(super) io: T,
    /// Where it comes from.
    pub(super) peer: SocketAddr,
    pub(super) is_tls: bool,
}

/// What hyper reads from and writes to.
pub(super) trait Spoken: Read + Write + Unpin + Send + 'static {}

impl<T: Read + Write + Unpin + Send + 'static> Spoken for T {}

/// Serves one connection to its end.
pub(super) async fn run<S, B>(
    rules: Arc<Rules>,
    accepted: Accepted,
    service: S,
    closing: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let Accepted {
        stream,
        peer,
        place: _place,
    } = accepted;
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let receiving = rules.front.receive(stream, peer);
    let received = tokio::select! {
        biased;
        received = tokio::time::timeout(rules.config.head_timeout, receiving) => received,
        // Nothing has been asked yet that could be answered.
        () = closing.cancelled() => return,
    };
    let Arrived { wire, peer } = match received {
        Ok(Ok(arrived)) => arrived,
        Ok(Err(Failed { why, error })) => {
            debug!(%peer, %error, reason = why.as_str(), "connection refused");
            return rules.front.refuse(why);
        }
        Err(_) => {
            let why = Refused::Timeout;
            debug!(%peer, reason = why.as_str(), "connection refused");
            return rules.front.refuse(why);
        }
    };
    let is_http2 = wire.is_http2();
    match wire {
        Wire::Clear(io) => {
            let is_tls = false;
            let wired = Wired { io, peer, is_tls };
            serve_http1(&rules, wired, service, &closing).await;
        }
        Wire::Encrypted(io) => {
            let is_tls = true;
            if is_http2 {
                let io = Guarded::new(TokioIo::new(io), rules.config.write_timeout);
                let wired = Wired { io, peer, is_tls };
                Box::pin(http2::serve(&rules, wired, service, &closing)).await;
            } else {
                let wired = Wired { io, peer, is_tls };
                Box::pin(serve_http1(&rules, wired, service, &closing)).await;
            }
        }
    }
}

async fn serve_http1<T, S, B>(
    rules: &Arc<Rules>,
    wired: Wired<T>,
    service: S,
    closing: &CancellationToken,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let Wired { io, peer, is_tls } = wired;
    let ambiguous = Ambiguous::default();
    let followed = Followed::new(io, ambiguous.clone());
    let of_service = Arc::clone(rules);
    let service = service.map_request(move |mut request: Request<Incoming>| {
        origin::settle(&mut request, peer, is_tls, &of_service.front);
        if ambiguous.is_seen() {
            request.extensions_mut().insert(AmbiguousFraming);
        }
        request
    });
    let io = Guarded::new(TokioIo::new(followed), rules.config.write_timeout);
    let connection = rules
        .http1
        .serve_connection(io, TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "connection ended early");
    }
}
