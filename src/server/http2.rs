//! HTTP/2 (RFC 9113) on one connection, bounded so that no client gets more out of one connection than out of many.
//!
//! What a stream may cost: its window of what the client sends and nobody has read yet, and as much of the answer that the
//! client does not take. Both count only for requests that are under way, whose number has its own bound.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tower::service_fn;
use tower::{Service, ServiceExt};
use tracing::debug;

use super::connection::{Rules, Spoken, Wired};
use super::front::Refused;
use super::streams::{Answer, Streams};
use super::{BoxError, Config, origin};

/// Requests at a time on one connection.
const STREAMS: u32 = 100;
/// Bytes of one request body that may wait to be read.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Bytes of all request bodies of a connection that may wait: as many as its streams may have, so that a request that
/// nobody reads holds no other up.
const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;
/// Bytes of one answer that may wait to be sent.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that a client may cancel before this server has looked at them.
const PENDING_RESETS: usize = 20;
/// Streams that this server may have to cancel because of errors of the client.
const LOCAL_RESETS: usize = 100;
/// A client that is silent is asked so often whether it is still there,
const PING_EVERY: Duration = Duration::from_secs(20);
/// and has so long to answer.
const PONG_WITHIN: Duration = Duration::from_secs(20);
/// Answers that nobody takes, beyond which a connection is cut.
const MOST_STALLED: usize = 4;
/// How often a connection is looked at, at the least.
const LOOK: Duration = Duration::from_secs(1);

/// hyper with our bounds.
pub(super) fn builder(config: &Config) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(config.buffer).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN);
    builder
}

/// Serves one connection to its end.
pub(super) async fn serve<S, B>(
    rules: &Arc<Rules>,
    wired: Wired<impl Spoken>,
    service: S,
    closing: &CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = std::convert::Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let Wired { io, peer, is_tls } = wired;
    let streams = Streams::new();
    let service = {
        let (rules, streams) = (Arc::clone(rules), streams.clone());
        service_fn(move |mut request: Request<Incoming>| {
            let open = streams.begin();
            origin::join_cookies(&mut request);
            origin::settle(&mut request, peer, is_tls, &rules.front);
            let answered = service.clone().oneshot(request);
            async move {
                let response = answered.await?;
                Ok::<Response<Answer<B>>, std::convert::Infallible>(
                    response.map(|body| open.answer(body)),
                )
            }
        })
    };
    let connection = rules
        .http2
        .serve_connection(io, TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    let Config {
        head_timeout,
        write_timeout,
        ..
    } = rules.config;
    let shortest = head_timeout.min(write_timeout) / 4;
    let mut looks = interval(shortest.clamp(Duration::from_millis(5), LOOK));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_closing = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(%peer, %error, "connection ended early");
                }
                return;
            }
            () = closing.cancelled(), if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = streams.too_many_cancelled() => {
                debug!(%peer, "connection cut: it cancels its requests");
                return rules.front.refuse(Refused::Resets);
            }
            _ = looks.tick() => {
                let look = streams.look(write_timeout, Instant::now());
                if look.stalled > MOST_STALLED || (look.stalled > 0 && look.stalled == look.open) {
                    debug!(%peer, stalled = look.stalled, "connection cut: its answers are not taken");
                    return rules.front.refuse(Refused::Stalled);
                }
                // Once more that long, and whoever did not close it then never will.
                if look.idle > head_timeout * 2 {
                    return;
                }
                if look.idle > head_timeout && !is_closing {
                    is_closing = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}
