//! Serves HTTP/1.1, and HTTP/2 where TLS is spoken: accepts connections, bounds what they may cost, and drains them at
//! the end.
//!
//! It knows nothing of registries: it drives any [`tower::Service`] from requests with hyper's body to responses. In the
//! extensions of a request it hands it the address of the client as a [`SocketAddr`](std::net::SocketAddr), and the
//! scheme that the client uses as a [`Scheme`](http::uri::Scheme); `Host` is the host that the client asks. Who may say
//! something about these besides the connection itself stands in the [`Front`] of the listener.
//! What each part bounds:
//!
//! | part | bound |
//! |---|---|
//! | [`Config::head_timeout`] | a request head that does not arrive, and a connection that waits for the next one; before it, what precedes HTTP |
//! | [`Config::buffer`] | the size of a request head, and the memory of one connection in each direction |
//! | [`Config::write_timeout`] | a client that does not take its response |
//! | [`Config::max_connections`] | connections; more wait in the backlog of the kernel |
//! | [`limit::InFlightLayer`] | requests, of all and of one client, until they have ended with their response bodies; more are shed |
//! | `http2` | streams, windows, resets and silence of an HTTP/2 connection |
//! | [`crate::body::IdleTimeout`] | a body that stops coming, in either direction |
//!
//! A composition root puts it together like this:
//!
//! ```ignore
//! let drain = Drain::new();
//! let readiness = Readiness::new(&drain);
//! let data = Listener::bind(config.listen).await?;
//! let admin = Listener::bind(config.admin).await?;
//!
//! let service = InFlightLayer::new(config.max_in_flight, config.per_client, |why| overloaded(why)).layer(stack);
//! let data = tokio::spawn(serve(data, service, config.server.clone(), drain.clone()));
//! let admin_drain = Drain::new();
//! let admin = Admin::new(readiness.clone(), telemetry.registry(), None);
//! let admin = tokio::spawn(serve(admin, admin, config.admin_server, admin_drain.clone()));
//!
//! readiness.started();
//! sigterm().await;
//! drain.start();              // not ready at once, and accepting goes on for `drain_delay`
//! let drained = data.await?;  // the last response has ended, or `drain_deadline` has passed
//! admin_drain.start();        // the admin listener answers until the end
//! ```
//!
//! Framing is hyper's: a request with two different lengths, a folded header line, a transfer coding that does not end
//! in `chunked` or one on HTTP/1.0 gets 400 and the connection is closed. `Transfer-Encoding` beside `Content-Length`
//! is read as chunked, the length is dropped, and the connection is closed after the response; such a request carries
//! [`AmbiguousFraming`], so that the service can refuse it. The same length twice counts as one. A test holds hyper to
//! that.

pub mod admin;
pub mod body;
mod connection;
mod drain;
mod forwarded;
mod framing;
mod front;
mod http2;
mod io;
pub mod limit;
mod listener;
mod origin;
mod proxy_protocol;
mod readiness;
mod streams;
pub mod tls;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tower::Service;

pub use admin::{Admin, Api};
pub use drain::{Drain, Drained};
pub use framing::AmbiguousFraming;
pub use front::{Front, Refuse, Refused};
pub use listener::Listener;
pub use origin::Contradiction;
pub use readiness::{Health, Readiness};

/// Any error, where the kind does not matter to the server.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The bounds of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a request head may take to arrive, counted from the end of the previous response.
    pub head_timeout: Duration,
    /// How long a write may wait for a client that reads nothing.
    pub write_timeout: Duration,
    /// Bytes buffered for one connection in each direction; a request head must fit. At least 8 KiB.
    pub buffer: usize,
    /// Connections served at the same time.
    pub max_connections: usize,
    /// How long connections are still accepted when draining has started, so that balancers can take notice.
    pub drain_delay: Duration,
    /// How long open requests may take after that, before their connections are cut.
    pub drain_deadline: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            buffer: 64 * 1024,
            max_connections: 4096,
            drain_delay: Duration::ZERO,
            drain_deadline: Duration::from_secs(30),
        }
    }
}

/// Serves `service` on `listener` until `drain` has been started and is over.
///
/// Dropping the future cuts all connections.
pub async fn serve<S, B>(listener: Listener, service: S, config: Config, drain: Drain) -> Drained
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut connections = drain::Connections::default();
    let (mut accept, front) = listener::Accept::new(listener, config.max_connections);
    let rules = Arc::new(connection::Rules::new(config.clone(), front));
    let closing = async {
        drain.wait().await;
        tokio::time::sleep(config.drain_delay).await;
    };
    let mut closing = std::pin::pin!(closing);

    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut closing => break,
            () = connections.reap() => continue,
            accepted = accept.next() => accepted,
        };
        connections.spawn(connection::run(
            Arc::clone(&rules),
            accepted,
            service.clone(),
            connections.closing(),
        ));
    }

    drop(accept);
    connections.drain(config.drain_deadline).await
}

#[cfg(test)]
mod tests;
