//! Whether the registry behind answers, as far as the requests show that were sent there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::clock::{Clock, UnixMillis};
use crate::server::Health;

/// What the latest requests to the registry met; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Contact {
    state: Arc<State>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct State {
    was_asked: AtomicBool,
    /// When the registry first gave no answer after it last gave one; 0 while it answers.
    silent_since: AtomicU64,
}

impl Contact {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Arc::default(),
            clock,
        }
    }

    /// Notes whether a request was answered, with whatever status.
    pub(super) fn note(&self, answered: bool) {
        let silent = &self.state.silent_since;
        if answered {
            silent.store(0, Ordering::Relaxed);
        } else {
            let now = self.clock.now().as_u64().max(1);
            // Only the first silence counts.
            let _ = silent.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
        self.state.was_asked.store(true, Ordering::Relaxed);
    }

    /// Nothing before the first request. A registry that is away is no reason to send requests to another replica.
    pub(super) fn health(&self) -> Option<Health> {
        if !self.state.was_asked.load(Ordering::Relaxed) {
            return None;
        }
        Some(match self.state.silent_since.load(Ordering::Relaxed) {
            0 => Health::Ok,
            since => Health::Degraded(format!("no answer since {}", UnixMillis::new(since))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn silence_lasts_from_the_first_request_without_an_answer_to_the_next_answer() {
        let clock = Arc::new(ManualClock::default());
        let contact = Contact::new(Arc::<ManualClock>::clone(&clock));
        assert_eq!(contact.health(), None, "nobody has asked");
        contact.note(true);
        assert_eq!(contact.health(), Some(Health::Ok));
        for seconds in [60, 120] {
            clock.set(UnixMillis::new(seconds * 1000));
            contact.note(false);
            let since = "no answer since 1970-01-01T00:01:00.000Z".to_owned();
            assert_eq!(contact.health(), Some(Health::Degraded(since)));
        }
        contact.note(true);
        assert_eq!(contact.health(), Some(Health::Ok));
    }
}
