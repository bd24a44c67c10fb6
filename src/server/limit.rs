//! A bound on the requests in flight, where a request is in flight until its response body has ended.
//!
//! A permit that is freed when the response head is ready bounds nothing in a proxy that streams: the body is where
//! the time, the memory and the upstream connection go. So the permit travels inside the body, and is freed when the
//! body has ended, has failed, or was dropped because the client went away.
//!
//! What is done for a request may go on when its client has gone: who does it keeps the [`Admitted`] in the extensions of
//! the request.
//!
//! One client, which is one address, or one network of IPv6, may have a bound of its own, so that it cannot take all
//! places.
//!
//! A request beyond a bound is shed at once, before any of its body is read: the response is made by the closure
//! given to [`InFlightLayer::new`]. Nothing queues, so a client learns within a round trip that it should come later.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service};

use crate::body::Held;

/// Parts of the table of clients, each with a lock of its own.
const PARTS: usize = 16;

/// Why a request is shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// Too many requests are in flight.
    All,
    /// Too many requests of this client are.
    Client,
}

/// Bounds the requests in flight in all services that it wraps, taken together.
#[derive(Clone, Debug)]
pub struct InFlightLayer<F> {
    permits: Arc<Semaphore>,
    clients: Option<Arc<Clients>>,
    shed: F,
}

impl<F> InFlightLayer<F> {
    /// At most `max` requests, and if `per_client` is given, so many of them of one client; `shed` makes the response to
    /// any other.
    pub fn new(max: usize, per_client: Option<NonZeroUsize>, shed: F) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            clients: per_client.map(|most| Arc::new(Clients::new(most.get()))),
            shed,
        }
    }
}

impl<S, F: Clone> Layer<S> for InFlightLayer<F> {
    type Service = InFlight<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        InFlight {
            inner,
            permits: Arc::clone(&self.permits),
            clients: self.clients.clone(),
            shed: self.shed.clone(),
        }
    }
}

/// The service that [`InFlightLayer`] makes.
#[derive(Clone, Debug)]
pub struct InFlight<S, F> {
    inner: S,
    permits: Arc<Semaphore>,
    clients: Option<Arc<Clients>>,
    shed: F,
}

/// What a request in flight keeps, until the last clone is dropped; it is also in the extensions of the request.
#[derive(Clone, Debug)]
pub struct Admitted {
    _permit: Arc<OwnedSemaphorePermit>,
    _seat: Option<Arc<Seat>>,
}

impl<S, F, R, B> Service<Request<R>> for InFlight<S, F>
where
    S: Service<Request<R>, Response = Response<B>>,
    S::Future: Send + 'static,
    F: Fn(Shed) -> Response<B>,
    B: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Held<B, Admitted>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<R>) -> Self::Future {
        let admitted = match self.admit(&request) {
            Ok(admitted) => admitted,
            Err(why) => {
                let shed = (self.shed)(why).map(|body| Held::new(body, None));
                return Box::pin(std::future::ready(Ok(shed)));
            }
        };
        request.extensions_mut().insert(admitted.clone());
        let response = self.inner.call(request);
        Box::pin(async move { Ok(response.await?.map(|body| Held::new(body, Some(admitted)))) })
    }
}

impl<S, F> InFlight<S, F> {
    fn admit<R>(&self, request: &Request<R>) -> Result<Admitted, Shed> {
        let client = request.extensions().get::<SocketAddr>();
        let seat = match (&self.clients, client) {
            (Some(clients), Some(client)) => Some(clients.seat(client.ip()).ok_or(Shed::Client)?),
            (None, _) | (_, None) => None,
        };
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        Ok(Admitted {
            _permit: Arc::new(permit.or(Err(Shed::All))?),
            _seat: seat.map(Arc::new),
        })
    }
}

/// The requests in flight of each client that has any.
struct Clients {
    most: usize,
    hasher: RandomState,
    parts: [Mutex<HashMap<IpAddr, usize>>; PARTS],
}

impl Clients {
    fn new(most: usize) -> Self {
        Self {
            most,
            hasher: RandomState::new(),
            parts: Default::default(),
        }
    }

    /// Counts one more request of the client, if it may have one.
    fn seat(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let client = network(address);
        let may_sit = self.change(client, |count| {
            let may_sit = *count < self.most;
            *count += usize::from(may_sit);
            may_sit
        });
        may_sit.then(|| Seat {
            clients: Arc::clone(self),
            client,
        })
    }

    /// Changes the count of a client; one without requests is forgotten.
    fn change<T>(&self, client: IpAddr, change: impl FnOnce(&mut usize) -> T) -> T {
        let part = usize::try_from(self.hasher.hash_one(client) % PARTS as u64);
        let part = self.parts.get(part.unwrap_or_default());
        let part = part.expect("it is the remainder of a division by their number");
        let mut counts = part.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(client).or_default();
        let changed = change(count);
        if *count == 0 {
            counts.remove(&client);
        }
        changed
    }
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let most = self.most;
        formatter
            .debug_struct("Clients")
            .field("most", &most)
            .finish_non_exhaustive()
    }
}

/// One request in flight of a client, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.clients.change(self.client, |count| *count -= 1);
    }
}

/// Whoever has one address of a network of IPv6 has all of it (RFC 6177): its first 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_seats_and_another_its_own() {
        let clients = Arc::new(Clients::new(2));
        let seat = |address: &str| clients.seat(address.parse().unwrap());
        let first = seat("192.0.2.1");
        let second = seat("::ffff:192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(seat("192.0.2.1").is_none(), "the same address twice over");
        let others = [seat("192.0.2.2"), seat("2001:db8::1"), seat("2001:db8::2")];
        assert!(others.iter().all(Option::is_some));
        assert!(seat("2001:db8::ffff:3").is_none(), "the same network");
        assert!(seat("2001:db8:0:1::1").is_some(), "the next network");
        drop(first);
        assert!(seat("192.0.2.1").is_some());
        drop((second, others));
        let parts = clients.parts.iter();
        let known: usize = parts.map(|part| part.lock().unwrap().len()).sum();
        assert_eq!(known, 0, "who has no request is forgotten");
    }
}
