//! Calls over whichever session there is, and the breaker: after an I/O error or a missing answer all calls fail at
//! once until a handshake has succeeded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::failure::{Failure, Meaning};
use super::handshake::read_state;
use super::keys::Keys;
use super::metrics::Metrics;
use super::scripts::Script;
use super::session::{Reply, Session};
use crate::oci::RepositoryName;
use crate::store::index::IndexError;

/// A session, or why there is none.
type Outcome = Result<Arc<Session>, Arc<Failure>>;

/// What the index and its background task share.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) keys: Keys,
    pub(super) timeout: Duration,
    /// Names this process in leases.
    pub(super) token: [u8; 16],
    /// The latest epoch met anywhere. It only grows.
    pub(super) known: AtomicU64,
    pub(super) metrics: Metrics,
    status: watch::Sender<Status>,
    /// Handshakes asked for.
    asked: AtomicU64,
    wake: Notify,
}

#[derive(Debug)]
struct Status {
    /// The handshakes asked for before this one began.
    answered: u64,
    outcome: Outcome,
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// What a script on a repository says.
    Done(Vec<Value>),
    /// The repository has no rows of this epoch.
    Unknown,
    /// What a script on something else says.
    Flag(bool),
    /// Epoch, and whether the index is complete.
    State(u64, bool),
}

/// What is asked; without a script, the state.
#[derive(Debug)]
struct Request<'a> {
    script: Option<Script>,
    key: &'a str,
    arguments: &'a [Vec<u8>],
}

enum Sent {
    Answered(Answer),
    /// Not done: there is an epoch at least this late.
    Outdated(u64),
}

impl Request<'_> {
    async fn send(&self, session: &Session, deadline: Instant) -> Result<Sent, Failure> {
        let Some(script) = self.script else {
            let state = read_state(session.node_of(self.key)?, self.key).await?;
            return Ok(match state.epoch {
                Some(epoch) => Sent::Answered(Answer::State(epoch, state.complete)),
                None => Sent::Outdated(session.epoch + 1),
            });
        };
        let reply = session.reply(script, self.key, self.arguments, deadline);
        Ok(match reply.await? {
            Reply::Done(parts) => Sent::Answered(Answer::Done(parts)),
            Reply::Unknown => Sent::Answered(Answer::Unknown),
            Reply::Flag(flag) => Sent::Answered(Answer::Flag(flag)),
            Reply::Moved(epoch) => Sent::Outdated(epoch),
        })
    }
}

impl Link {
    pub(super) fn new(keys: Keys, timeout: Duration, token: [u8; 16], outcome: Outcome) -> Self {
        let link = Self {
            keys,
            timeout,
            token,
            known: AtomicU64::new(0),
            metrics: Metrics::new(),
            status: watch::Sender::new(Status {
                answered: 0,
                outcome: Err(Arc::new(Failure::NoMaster)),
            }),
            asked: AtomicU64::new(0),
            wake: Notify::new(),
        };
        link.publish(0, outcome);
        link
    }

    /// The present session.
    pub(super) fn session(&self) -> Outcome {
        self.status.borrow().outcome.clone()
    }

    /// Runs a script on a repository.
    pub(super) async fn call(
        &self,
        operation: &'static str,
        script: Script,
        repository: &RepositoryName,
        arguments: &[Vec<u8>],
    ) -> Result<Answer, IndexError> {
        let request = Request {
            script: Some(script),
            key: &self.keys.meta(repository),
            arguments,
        };
        self.ask(operation, &request).await
    }

    /// Runs a script on something else, which answers yes or no.
    pub(super) async fn flag(
        &self,
        operation: &'static str,
        script: Script,
        key: &str,
        arguments: &[Vec<u8>],
    ) -> Result<bool, IndexError> {
        let request = Request {
            script: Some(script),
            key,
            arguments,
        };
        match self.ask(operation, &request).await? {
            Answer::Flag(flag) => Ok(flag),
            Answer::Done(_) | Answer::Unknown | Answer::State(..) => Err(IndexError::Corrupt),
        }
    }

    /// What stands in the state now; an epoch is begun if there is none.
    pub(super) async fn state(&self, operation: &'static str) -> Result<(u64, bool), IndexError> {
        let request = Request {
            script: None,
            key: &self.keys.state(),
            arguments: &[],
        };
        match self.ask(operation, &request).await? {
            Answer::State(epoch, complete) => Ok((epoch, complete)),
            Answer::Done(_) | Answer::Unknown | Answer::Flag(_) => Err(IndexError::Corrupt),
        }
    }

    /// Does as asked, in time and measured.
    async fn ask(
        &self,
        operation: &'static str,
        request: &Request<'_>,
    ) -> Result<Answer, IndexError> {
        let begun = Instant::now();
        let outcome = self.attempt(begun + self.timeout, request).await;
        let succeeded = outcome.is_ok();
        self.metrics.called(operation, succeeded, begun.elapsed());
        outcome.map_err(|source| IndexError::Unavailable { operation, source })
    }

    /// Does as asked; a second time, with the session of a new handshake, if it was not done because the session is
    /// not up to date.
    async fn attempt(
        &self,
        deadline: Instant,
        request: &Request<'_>,
    ) -> Result<Answer, Arc<Failure>> {
        let mut session = self.session()?;
        for is_last in [false, true] {
            let asked = timeout_at(deadline, request.send(&session, deadline));
            let failure = match asked.await.unwrap_or_else(|elapsed| Err(elapsed.into())) {
                Ok(Sent::Answered(answer)) => return Ok(answer),
                Ok(Sent::Outdated(epoch)) => {
                    self.known.fetch_max(epoch, Ordering::SeqCst);
                    Failure::Outdated
                }
                Err(failure) => failure,
            };
            let meaning = failure.meaning();
            let failure = Arc::new(failure);
            if meaning == Meaning::Down {
                self.down(session.number, Arc::clone(&failure));
            }
            if is_last || meaning != Meaning::Stranger {
                return Err(failure);
            }
            session = timeout_at(deadline, self.refreshed())
                .await
                .map_err(|elapsed| Arc::new(Failure::from(elapsed)))??;
        }
        Err(Arc::new(Failure::Restless))
    }

    /// The session of a handshake that begins after this call.
    pub(super) async fn refreshed(&self) -> Outcome {
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.notify_one();
        let mut status = self.status.subscribe();
        match status.wait_for(|status| status.answered >= ticket).await {
            Ok(status) => status.outcome.clone(),
            // Not while this value, which sends, is there.
            Err(_closed) => Err(Arc::new(Failure::Restless)),
        }
    }

    /// Ends the use of a session.
    fn down(&self, number: u64, failure: Arc<Failure>) {
        let ended = self.status.send_if_modified(|status| {
            let is_present = matches!(&status.outcome, Ok(session) if session.number == number);
            if is_present {
                tracing::warn!(error = %describe(&failure), "the index in Redis is not used until Redis answers again");
                status.outcome = Err(failure);
            }
            is_present
        });
        if ended {
            self.metrics.set_up(false);
            self.wake.notify_one();
        }
    }

    /// Waits until a handshake is asked for; the number of those asked for so far.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Puts the outcome of a handshake in place. `answered` is what was asked for before it began.
    pub(super) fn publish(&self, answered: u64, outcome: Outcome) {
        self.metrics.set_up(outcome.is_ok());
        self.status.send_modify(|status| {
            match (&status.outcome, &outcome) {
                (Err(_), Ok(session)) => {
                    tracing::info!(epoch = session.epoch, "the index in Redis is in use");
                    self.metrics.epoch_began();
                }
                (Ok(before), Ok(session)) if before.epoch != session.epoch => {
                    self.metrics.epoch_began();
                }
                (Ok(_), Err(failure)) => {
                    tracing::warn!(error = %describe(failure), "the index in Redis is not used until Redis answers again");
                }
                (Err(before), Err(failure)) if describe(before) != describe(failure) => {
                    tracing::warn!(error = %describe(failure), "the index in Redis still cannot be used");
                }
                (Ok(_), Ok(_)) | (Err(_), Err(_)) => {}
            }
            status.answered = answered;
            status.outcome = outcome;
        });
    }
}

/// A failure with what caused it.
fn describe(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut source = std::error::Error::source(failure);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
