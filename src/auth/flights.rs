//! One question at a time for each decision: whoever has the same question meanwhile waits for the same answer.
//!
//! A question is a task of its own, so nobody who goes away takes it from the others. It is named by the key of its
//! decision, which names the caller: no answer is ever lent to another.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::oneshot;
use tracing::Instrument;

use super::authorizer::AuthError;
use super::cache::Key;
use crate::oci::Digest;
use crate::upstream::UpstreamError;

type Decided = Result<(), AuthError>;

/// The questions that are under way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    under_way: Arc<Mutex<HashMap<Name, Flight>>>,
}

/// The first question of a decision is named by its key alone; the second kind is one about the same content too.
type Name = (Key, Option<About>);

/// The manifest or blob that a question is asked with, which the answer may depend on if it is no yes.
type About = Option<Digest>;

#[derive(Clone, Debug)]
struct Flight {
    about: About,
    decided: Shared<BoxFuture<'static, Decided>>,
}

/// Ends a flight, also one whose question panicked.
struct Landing {
    under_way: Arc<Mutex<HashMap<Name, Flight>>>,
    name: Name,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        under_way.remove(&self.name);
    }
}

impl Flights {
    /// The answer to `question`, or to the same question of somebody else that is under way. What somebody else was
    /// answered holds if it is a yes, or a no about the same content; else it is asked again, once for all who ask
    /// exactly this.
    pub(super) async fn ask<F>(
        &self,
        key: Key,
        about: Option<&Digest>,
        question: impl Fn() -> F,
    ) -> Decided
    where
        F: Future<Output = Decided> + Send + 'static,
    {
        let about = about.cloned();
        let (first, is_own) = self.join((key, None), &about, &question);
        let decided = first.decided.await;
        if is_own || holds(&decided, first.about == about) {
            return decided;
        }
        let (again, _) = self.join((key, Some(about.clone())), &about, &question);
        again.decided.await
    }

    /// The flight of that name, and whether it was begun here.
    fn join<F>(&self, name: Name, about: &About, question: &impl Fn() -> F) -> (Flight, bool)
    where
        F: Future<Output = Decided> + Send + 'static,
    {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = under_way.get(&name) {
            return (flight.clone(), false);
        }
        let landing = Landing {
            under_way: Arc::clone(&self.under_way),
            name: name.clone(),
        };
        let question = question();
        let (answer, answered) = oneshot::channel();
        let task = async move {
            let decided = question.await;
            drop(landing);
            // Nobody may be left who waits for it.
            let _ = answer.send(decided);
        };
        let decided = answered
            .map(|answered| answered.unwrap_or(Err(AuthError::Unanswered)))
            .boxed()
            .shared();
        let flight = Flight {
            about: about.clone(),
            decided,
        };
        under_way.insert(name, flight.clone());
        drop(under_way);
        // A runtime that ends drops the task at once, and the flight with it, which takes the lock.
        tokio::spawn(task.in_current_span());
        (flight, true)
    }
}

/// Whether what somebody else was answered is the answer for all who asked meanwhile.
fn holds(decided: &Decided, is_about_the_same: bool) -> bool {
    match decided {
        Ok(()) => true,
        Err(AuthError::Refused(_) | AuthError::Hidden) => is_about_the_same,
        Err(AuthError::Upstream(error)) => match **error {
            // Who waited for it has waited as long, and to ask once more each would make it worse.
            UpstreamError::FirstByte(_) | UpstreamError::Full | UpstreamError::NoRoom => true,
            UpstreamError::Connection(_)
            | UpstreamError::Cut(_)
            | UpstreamError::RequestBody(_)
            | UpstreamError::Body(_)
            | UpstreamError::TooLarge(_)
            | UpstreamError::Place(_)
            | UpstreamError::Elsewhere(_)
            | UpstreamError::Request(_) => false,
        },
        Err(AuthError::Unanswered | AuthError::Randomness) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;
    use crate::body::BodyError;

    /// Questions that end when the test lets them.
    struct Asked {
        flights: Arc<Flights>,
        asked: Arc<AtomicUsize>,
        gate: Arc<Semaphore>,
    }

    fn lost() -> Decided {
        let error = std::io::Error::other("lost");
        Err(UpstreamError::Connection(BodyError::new(error)).into())
    }

    impl Asked {
        fn new() -> Self {
            Self {
                flights: Arc::default(),
                asked: Arc::default(),
                gate: Arc::new(Semaphore::new(0)),
            }
        }

        /// Asks, and is waiting for an answer when this returns. The first question is answered with `first`, all
        /// others with `then`.
        async fn ask(
            &self,
            key: u8,
            about: Option<&Digest>,
            first: fn() -> Decided,
            then: fn() -> Decided,
        ) -> tokio::task::JoinHandle<Decided> {
            let (flights, asked, gate) = (
                Arc::clone(&self.flights),
                Arc::clone(&self.asked),
                Arc::clone(&self.gate),
            );
            let about = about.cloned();
            let asking = tokio::spawn(async move {
                let question = || {
                    let (asked, gate) = (Arc::clone(&asked), Arc::clone(&gate));
                    async move {
                        let number = asked.fetch_add(1, Ordering::SeqCst);
                        gate.acquire().await.unwrap().forget();
                        if number == 0 { first() } else { then() }
                    }
                };
                flights.ask([key; 32], about.as_ref(), question).await
            });
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            asking
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }

        fn is_empty(&self) -> bool {
            self.flights.under_way.lock().unwrap().is_empty()
        }
    }

    const YES: fn() -> Decided = || Ok(());
    const HIDDEN: fn() -> Decided = || Err(AuthError::Hidden);

    #[tokio::test]
    async fn many_who_ask_the_same_at_once_ask_once_and_another_caller_for_himself() {
        let world = Asked::new();
        let mut asking = Vec::new();
        for _ in 0..50 {
            asking.push(world.ask(1, None, YES, HIDDEN).await);
        }
        assert_eq!(world.asked(), 1);
        let other = world.ask(2, None, YES, HIDDEN).await;
        assert_eq!(world.asked(), 2, "the second question is answered no");
        world.gate.add_permits(2);
        for asking in asking {
            assert!(asking.await.unwrap().is_ok());
        }
        assert!(matches!(other.await.unwrap(), Err(AuthError::Hidden)));
        assert!(world.is_empty(), "nothing is left behind");
        world.gate.add_permits(1);
        let later = world.ask(1, None, YES, YES).await;
        assert!(later.await.unwrap().is_ok());
        assert_eq!(world.asked(), 3, "nothing is remembered here");
    }

    #[tokio::test]
    async fn who_goes_away_takes_the_answer_from_nobody() {
        let world = Asked::new();
        let first = world.ask(1, None, YES, HIDDEN).await;
        let second = world.ask(1, None, YES, HIDDEN).await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        world.gate.add_permits(1);
        assert!(second.await.unwrap().is_ok());
        assert_eq!(world.asked(), 1);
        let lonely = world.ask(1, None, YES, YES).await;
        lonely.abort();
        world.gate.add_permits(1);
        while !world.is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_failure_fails_nobody_else_and_costs_one_more_question() {
        let world = Asked::new();
        let mut asking = Vec::new();
        for _ in 0..20 {
            asking.push(world.ask(1, None, lost, YES).await);
        }
        world.gate.add_permits(2);
        let mut asking = asking.into_iter();
        let first = asking.next().unwrap().await.unwrap();
        assert!(matches!(first, Err(AuthError::Upstream(_))), "{first:?}");
        for asking in asking {
            assert!(asking.await.unwrap().is_ok());
        }
        assert_eq!(world.asked(), 2);
    }

    #[tokio::test]
    async fn a_question_that_panics_fails_nobody_else() {
        let world = Asked::new();
        let panics: fn() -> Decided = || panic!("a bug");
        let first = world.ask(1, None, panics, YES).await;
        let second = world.ask(1, None, panics, YES).await;
        world.gate.add_permits(2);
        assert!(matches!(first.await.unwrap(), Err(AuthError::Unanswered)));
        assert!(second.await.unwrap().is_ok());
        assert!(world.is_empty());
    }

    #[tokio::test]
    async fn a_no_about_one_manifest_is_none_about_another() {
        let world = Asked::new();
        let [a, b] = [b"a", b"b"].map(|bytes| Digest::sha256(bytes));
        let first = world.ask(1, Some(&a), HIDDEN, YES).await;
        let same = world.ask(1, Some(&a), HIDDEN, YES).await;
        let other = world.ask(1, Some(&b), HIDDEN, YES).await;
        let another = world.ask(1, Some(&b), HIDDEN, YES).await;
        assert_eq!(world.asked(), 1);
        world.gate.add_permits(2);
        for hidden in [first, same] {
            assert!(matches!(hidden.await.unwrap(), Err(AuthError::Hidden)));
        }
        for shown in [other, another] {
            assert!(shown.await.unwrap().is_ok());
        }
        assert_eq!(world.asked(), 2);
    }
}
