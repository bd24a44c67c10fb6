//! Accepting connections: bound early, so that addresses are known before anything serves; never ends by an error.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use super::Front;

/// A bound address that nobody serves yet; connections wait in the backlog.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    front: Front,
}

impl Listener {
    /// Binds `address`; port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self {
            socket,
            address,
            front: Front::default(),
        })
    }

    /// With this between its sockets and HTTP.
    #[must_use]
    pub fn behind(self, front: Front) -> Self {
        Self { front, ..self }
    }

    /// The address that is bound, with its real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

/// A connection with its place among the connections, which is freed when it is dropped.
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) place: OwnedSemaphorePermit,
}

/// The accepting side of a [`Listener`].
pub(super) struct Accept {
    socket: TcpListener,
    places: Arc<Semaphore>,
    backoff: Backoff,
}

impl Accept {
    pub(super) fn new(listener: Listener, max_connections: usize) -> (Self, Front) {
        let places = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        let accept = Self {
            socket: listener.socket,
            places,
            backoff: Backoff::default(),
        };
        (accept, listener.front)
    }

    /// The next connection. May be dropped while it waits without losing one.
    pub(super) async fn next(&mut self) -> Accepted {
        loop {
            let place = Arc::clone(&self.places)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    self.backoff = Backoff::default();
                    return Accepted {
                        stream,
                        peer,
                        place,
                    };
                }
                Err(error) => {
                    if let Some(delay) = self.backoff.after(&error) {
                        let delay_ms = delay.as_millis();
                        warn!(%error, delay_ms, "cannot accept connections");
                        tokio::time::sleep(delay).await;
                    }
                }
            }
        }
    }
}

/// How long to wait after an error of `accept`: nothing, when it was the one connection that failed; growing, when
/// the process or machine is out of something (file descriptors, memory) and trying at once would only burn a core.
#[derive(Default)]
struct Backoff(Option<Duration>);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(1);

    fn after(&mut self, error: &io::Error) -> Option<Duration> {
        let of_the_connection = [
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::ConnectionRefused,
        ];
        if of_the_connection.contains(&error.kind()) {
            return None;
        }
        let delay = self
            .0
            .map_or(Self::FIRST, |last| (last * 2).min(Self::LONGEST));
        self.0 = Some(delay);
        Some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn binding_port_zero_tells_the_real_address() {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        assert_ne!(listener.local_addr().port(), 0);
        assert!(
            Listener::bind(listener.local_addr()).await.is_err(),
            "the address is taken"
        );
    }

    #[test]
    fn errors_of_the_process_back_off_and_errors_of_a_connection_do_not() {
        let mut backoff = Backoff::default();
        let no_descriptors = io::Error::from_raw_os_error(24);
        let aborted = io::Error::from(io::ErrorKind::ConnectionAborted);
        assert_eq!(
            backoff.after(&no_descriptors),
            Some(Duration::from_millis(10))
        );
        assert_eq!(backoff.after(&aborted), None);
        assert_eq!(
            backoff.after(&no_descriptors),
            Some(Duration::from_millis(20))
        );
        for _ in 0..10 {
            backoff.after(&no_descriptors);
        }
        assert_eq!(
            backoff.after(&no_descriptors),
            Some(Duration::from_secs(1)),
            "there is an upper end"
        );
    }

    #[tokio::test]
    async fn a_connection_beyond_the_bound_waits_for_a_place() {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let address = listener.local_addr();
        let (mut accept, _) = Accept::new(listener, 1);
        let _clients = [
            TcpStream::connect(address).await.unwrap(),
            TcpStream::connect(address).await.unwrap(),
        ];

        let first = accept.next().await;
        assert_eq!(accept.places.available_permits(), 0);
        assert!(
            futures_util::FutureExt::now_or_never(accept.next()).is_none(),
            "no place is free"
        );
        drop(first);
        accept.next().await;
    }
}
