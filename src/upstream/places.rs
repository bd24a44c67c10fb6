//! Places for requests to the registry behind.
//!
//! The pool of connections opens one more whenever none is idle, so the requests under way are bounded here. A request
//! keeps its place until the body of its answer has ended. Beyond the bound a few wait for a short time, and the others
//! are refused at once, before anything of their body is read.
//!
//! What regseal asks for itself has places of its own. A client that streams a blob keeps a place for as long as it
//! likes, and may keep it while regseal asks whether the blob may be read at all: in one line with the clients, that
//! question could wait for the very request that it decides about. Questions of regseal never keep a place while they
//! wait for another.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// A client's, which is forwarded.
    Clients,
    /// A question of regseal, or something that it uploads.
    Own,
}

impl Share {
    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Own => "own",
        }
    }
}

/// What happens to places, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// One more is taken.
    Taken(Share),
    /// One is free again.
    Freed(Share),
    /// One more request waits.
    Waits(Share),
    /// One that has waited has a place, or has gone.
    WaitsNoMore(Share),
    /// A request was refused.
    Shed(Share),
    /// A request was sent again, on a new connection.
    SentAgain,
}

/// Is told of every [`Event`].
pub type Note = Arc<dyn Fn(Event) + Send + Sync>;

/// How many places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Requests at a time; a quarter of the places is for questions of regseal. At least 2.
    pub requests: usize,
    /// Requests of each share that wait for a place.
    pub waiting: usize,
    /// How long each waits.
    pub wait: Duration,
}

/// The places, and who waits for one.
pub(super) struct Places {
    clients: Line,
    own: Line,
    wait: Duration,
    note: Note,
}

/// No place is free, and none has become free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

struct Line {
    share: Share,
    places: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Places {
    pub(super) fn new(config: Config, note: Note) -> Self {
        let own = (config.requests / 4).max(1);
        let clients = config.requests.saturating_sub(own).max(1);
        let line = |share, places: usize| Line {
            share,
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            waiting: Semaphore::new(config.waiting.min(Semaphore::MAX_PERMITS)),
        };
        Self {
            clients: line(Share::Clients, clients),
            own: line(Share::Own, own),
            wait: config.wait,
            note,
        }
    }

    /// Whether a client's request would be refused at once.
    pub(super) fn is_full(&self) -> bool {
        let Line {
            places, waiting, ..
        } = &self.clients;
        places.available_permits() == 0 && waiting.available_permits() == 0
    }

    /// Notes that a request is refused.
    pub(super) fn shed(&self, share: Share) -> Full {
        (self.note)(Event::Shed(share));
        Full
    }

    /// Takes a place, waiting for a short time. May be dropped while it waits.
    pub(super) async fn take(&self, share: Share) -> Result<Place, Full> {
        let line = match share {
            Share::Clients => &self.clients,
            Share::Own => &self.own,
        };
        let permit = match Arc::clone(&line.places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait(line).await.ok_or_else(|| self.shed(share))?,
        };
        (self.note)(Event::Taken(share));
        Ok(Place {
            share,
            note: Arc::clone(&self.note),
            _permit: permit,
        })
    }

    async fn wait(&self, line: &Line) -> Option<OwnedSemaphorePermit> {
        let _waiting = line.waiting.try_acquire().ok()?;
        (self.note)(Event::Waits(line.share));
        let _counted = Counted {
            note: &self.note,
            end: Event::WaitsNoMore(line.share),
        };
        let free = Arc::clone(&line.places).acquire_owned();
        tokio::time::timeout(self.wait, free).await.ok()?.ok()
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = |line: &Line| line.places.available_permits();
        formatter
            .debug_struct("Places")
            .field("clients", &free(&self.clients))
            .field("own", &free(&self.own))
            .finish_non_exhaustive()
    }
}

/// Tells the end of something, however it ends.
struct Counted<'a> {
    note: &'a Note,
    end: Event,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        (self.note)(self.end);
    }
}

/// A place, until it is dropped.
pub(super) struct Place {
    share: Share,
    note: Note,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.note)(Event::Freed(self.share));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::FutureExt;

    use super::*;

    fn places(requests: usize, waiting: usize, wait: Duration) -> (Places, Arc<Mutex<Vec<Event>>>) {
        let seen: Arc<Mutex<Vec<Event>>> = Arc::default();
        let noted = Arc::clone(&seen);
        let config = Config {
            requests,
            waiting,
            wait,
        };
        let note: Note = Arc::new(move |event| noted.lock().unwrap().push(event));
        (Places::new(config, note), seen)
    }

    #[tokio::test]
    async fn a_few_wait_for_a_place_and_the_others_are_refused_at_once() {
        let (places, seen) = places(2, 1, Duration::from_secs(60));
        let first = places.take(Share::Clients).await.ok().unwrap();
        let mut second = Box::pin(places.take(Share::Clients));
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        assert!(places.is_full());
        assert!(
            places.take(Share::Clients).await.is_err(),
            "the queue is full"
        );
        let own = places.take(Share::Own).await;
        assert!(own.is_ok(), "questions have places of their own");
        drop(first);
        assert!(second.await.is_ok(), "it has waited for this");
        drop(own);
        assert!(!places.is_full());
        let seen = seen.lock().unwrap();
        let count = |event| seen.iter().filter(|seen| **seen == event).count();
        assert_eq!(count(Event::Shed(Share::Clients)), 1);
        for share in [Share::Clients, Share::Own] {
            assert_eq!(count(Event::Taken(share)), count(Event::Freed(share)));
            assert_eq!(count(Event::Waits(share)), count(Event::WaitsNoMore(share)));
        }
    }

    #[tokio::test]
    async fn who_waits_is_refused_in_time_or_may_go() {
        let (places, seen) = places(2, 2, Duration::from_millis(5));
        let _first = places.take(Share::Clients).await.ok().unwrap();
        let mut gone = Box::pin(places.take(Share::Clients));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        assert!(places.take(Share::Clients).await.is_err());
        let ended = Event::WaitsNoMore(Share::Clients);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.iter().filter(|seen| **seen == ended).count(), 2);
    }
}
