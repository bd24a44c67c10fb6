//! Keeps requests from waiting for a store that was just found unreachable.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

/// How long nothing is sent after the store was found unreachable.
const PAUSE: Duration = Duration::from_secs(1);

/// Closed until an exchange fails for want of an answer; then open for [`PAUSE`], after which one exchange is let
/// through to see. Any answer closes it, an error of the service included.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    last_answer: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    until: Instant,
    probing: bool,
}

/// Nothing was sent: the store was not reachable a moment ago.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the store has not been reachable for {} s, and was not asked", .since.as_secs())]
pub struct Refused {
    /// For how long.
    since: Duration,
}

/// The right to one exchange. Dropped without an outcome (the caller went away), it leaves the probe to the next.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    begun: Instant,
    probe: bool,
}

impl Breaker {
    pub(super) fn pass(&self, now: Instant) -> Result<Pass<'_>, Refused> {
        let mut state = self.state();
        let probe = state.open.is_some();
        if let Some(open) = &mut state.open {
            if open.probing || now < open.until {
                let since = now.duration_since(open.since);
                return Err(Refused { since });
            }
            open.probing = true;
        }
        Ok(Pass {
            breaker: self,
            begun: now,
            probe,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The service has answered.
    pub(super) fn answered(self, now: Instant) {
        let mut state = self.breaker.state();
        state.open = None;
        state.last_answer = Some(now);
    }

    /// The service has not answered. That says nothing if somebody else had an answer meanwhile.
    pub(super) fn failed(self, now: Instant) {
        let mut state = self.breaker.state();
        if state.last_answer.is_some_and(|answer| answer > self.begun) {
            return;
        }
        let open = state.open.get_or_insert(Open {
            since: now,
            until: now,
            probing: false,
        });
        open.until = now + PAUSE;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe
            && let Some(open) = &mut self.breaker.state().open
        {
            open.probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_nothing_passes_for_a_second_and_then_one_to_see() {
        let breaker = Breaker::default();
        let start = Instant::now();
        let after = |pauses| start + PAUSE * pauses;
        breaker.pass(start).unwrap().failed(start);
        assert!(breaker.pass(start).is_err());
        let probe = breaker.pass(after(1)).unwrap();
        assert!(breaker.pass(after(1)).is_err());
        probe.failed(after(1));
        assert_eq!(
            breaker.pass(after(1)).unwrap_err(),
            Refused { since: PAUSE }
        );
        breaker.pass(after(2)).unwrap().answered(after(2));
        let _one = breaker.pass(after(2)).unwrap();
        let _other = breaker.pass(after(2)).unwrap();
    }

    #[test]
    fn a_probe_that_is_abandoned_leaves_its_place_to_the_next() {
        let breaker = Breaker::default();
        let start = Instant::now();
        breaker.pass(start).unwrap().failed(start);
        drop(breaker.pass(start + PAUSE).unwrap());
        assert!(breaker.pass(start + PAUSE).is_ok());
    }

    #[test]
    fn a_failure_from_before_the_last_answer_does_not_count() {
        let breaker = Breaker::default();
        let start = Instant::now();
        let stuck = breaker.pass(start).unwrap();
        let later = start + PAUSE;
        breaker.pass(later).unwrap().answered(later);
        stuck.failed(later);
        assert!(breaker.pass(later).is_ok());
    }

    #[test]
    fn an_answer_to_what_was_sent_before_closes_it() {
        let breaker = Breaker::default();
        let start = Instant::now();
        let slow = breaker.pass(start).unwrap();
        breaker.pass(start).unwrap().failed(start);
        assert!(breaker.pass(start).is_err());
        slow.answered(start);
        assert!(breaker.pass(start).is_ok());
    }
}
