//! One HTTP/1.1 connection: its timeouts, its buffers, and the address of its peer on every request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use hyper_util::service::TowerToHyperService;
use tower::{Service, ServiceExt};
use tracing::debug;

use super::framing::{Ambiguous, AmbiguousFraming, Followed};
use super::io::Guarded;
use super::listener::Accepted;
use super::{BoxError, Config};

/// What hyper takes as the least.
const SMALLEST_BUFFER: usize = 8192;

/// hyper with our bounds. Without its timer the timeout of request heads would not act.
pub(super) fn builder(config: &Config) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_buf_size(config.buffer.max(SMALLEST_BUFFER))
        .half_close(false)
        .keep_alive(true);
    builder
}

/// Serves one connection to its end.
pub(super) fn run<S, B>(
    http: &http1::Builder,
    accepted: Accepted,
    service: S,
    write_timeout: Duration,
    watcher: Watcher,
) -> impl Future<Output = ()> + Send + 'static
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let Accepted {
        stream,
        peer,
        place,
    } = accepted;
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let ambiguous = Ambiguous::default();
    let stream = Followed::new(stream, ambiguous.clone());
    let service = service.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert::<SocketAddr>(peer);
        if ambiguous.is_seen() {
            request.extensions_mut().insert(AmbiguousFraming);
        }
        request
    });
    let io = Guarded::new(TokioIo::new(stream), write_timeout);
    let connection = watcher.watch(http.serve_connection(io, TowerToHyperService::new(service)));
    async move {
        let _place = place;
        if let Err(error) = connection.await {
            debug!(%peer, %error, "connection ended early");
        }
    }
}
