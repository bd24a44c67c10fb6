//! Decides with the registry behind whether a caller may pull or push, and remembers a yes for a short time.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use http::{HeaderMap, StatusCode};
use thiserror::Error;

use super::cache::{Action, Decisions};
use super::caller::Caller;
use super::flights::Flights;
use super::permit::{Permit, Pull, Push};
use super::pressure::Pressure;
use super::question::{Question, Refusal, is_manifest};
use crate::clock::Clock;
use crate::oci::{Digest, RepositoryName};
use crate::upstream::{Upstream, UpstreamError};

/// How decisions are made.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a decision is believed.
    pub cache_ttl: Duration,
    /// Whether a 404 of the registry behind may mean "you may not see it".
    pub hides_private_repositories: bool,
}

/// Asks, and remembers for a short time.
#[derive(Debug)]
pub struct Authorizer {
    upstream: Arc<Upstream>,
    decisions: Arc<Decisions>,
    pressure: Arc<Pressure>,
    flights: Flights,
    hides: bool,
}

/// Why there is no permit.
#[derive(Clone, Debug, Error)]
pub enum AuthError {
    /// The registry behind refused, or could not decide: its answer is the caller's.
    #[error("the registry behind answered {}", .0.parts.status)]
    Refused(Box<Refusal>),
    /// The registry behind does not show this repository: absent, or hidden from the caller.
    #[error("the registry behind does not show this repository")]
    Hidden,
    /// The registry behind gave no answer.
    #[error(transparent)]
    Upstream(Arc<UpstreamError>),
    /// A question to the registry behind ended without an answer, by a fault of ours.
    #[error("the question whether this is allowed ended without an answer")]
    Unanswered,
    /// No randomness for the key of the cache.
    #[error("the system gives no randomness")]
    Randomness,
}

impl From<UpstreamError> for AuthError {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(Arc::new(error))
    }
}

impl AuthError {
    /// Whether the registry behind has decided that the caller may not, in the one way or the other. Whoever learns of
    /// it is answered as for what never existed.
    #[must_use]
    pub fn is_a_no(&self) -> bool {
        match self {
            Self::Hidden => true,
            Self::Refused(refusal) => {
                let status = refusal.parts.status;
                matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            }
            Self::Upstream(_) | Self::Unanswered | Self::Randomness => false,
        }
    }
}

impl Authorizer {
    /// An authorizer with nothing remembered.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn new(
        upstream: Arc<Upstream>,
        config: &Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AuthError> {
        let mut key = [0; 32];
        rand::fill(&mut key).or(Err(AuthError::Randomness))?;
        let authority = upstream.authority().to_string();
        let decisions = Decisions::new(&key, authority, config.cache_ttl, Arc::clone(&clock));
        Ok(Self {
            upstream,
            decisions: Arc::new(decisions),
            pressure: Arc::new(Pressure::new(clock)),
            flights: Flights::default(),
            hides: config.hides_private_repositories,
        })
    }

    /// May the caller read `repository`? `manifest` is one that the registry behind probably has.
    ///
    /// # Errors
    /// No clear yes: see [`AuthError`].
    pub async fn pull(
        &self,
        caller: &Caller,
        repository: &RepositoryName,
        manifest: Option<&Digest>,
    ) -> Result<Permit<Pull>, AuthError> {
        self.decide(caller, repository, Action::Pull, manifest)
            .await?;
        Ok(Permit::new(repository.clone()))
    }

    /// As [`Self::pull`]; where the registry behind shows nothing of the repository, whoever may push may pull.
    ///
    /// # Errors
    /// No clear yes: see [`AuthError`].
    pub async fn pull_or_push(
        &self,
        caller: &Caller,
        repository: &RepositoryName,
        manifest: Option<&Digest>,
    ) -> Result<Permit<Pull>, AuthError> {
        match self.pull(caller, repository, manifest).await {
            Err(AuthError::Hidden) => {}
            decided => return decided,
        }
        match self.push(caller, repository, None).await {
            Ok(_) => Ok(Permit::new(repository.clone())),
            Err(AuthError::Refused(_) | AuthError::Hidden) => Err(AuthError::Hidden),
            Err(error) => Err(error),
        }
    }

    /// May the caller write to `repository`? `blob` is one that the registry behind probably has there.
    ///
    /// # Errors
    /// No clear yes: see [`AuthError`].
    pub async fn push(
        &self,
        caller: &Caller,
        repository: &RepositoryName,
        blob: Option<&Digest>,
    ) -> Result<Permit<Push>, AuthError> {
        self.decide(caller, repository, Action::Push, blob).await?;
        Ok(Permit::new(repository.clone()))
    }

    /// Refuses a push of whoever gives no name where the registry behind wants one. Anything else it says to the
    /// question is not said of the push, and passes.
    ///
    /// # Errors
    /// The challenge of the registry behind.
    pub async fn require_name(
        &self,
        caller: &Caller,
        repository: &RepositoryName,
    ) -> Result<(), AuthError> {
        if !caller.is_anonymous() || !caller.is_plain() {
            return Ok(());
        }
        match self.push(caller, repository, None).await {
            Err(AuthError::Refused(refusal))
                if refusal.parts.status == StatusCode::UNAUTHORIZED =>
            {
                Err(AuthError::Refused(refusal))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// May the caller see what is kept for those who may push to `repository`? The relay knows of those who got their
    /// token from it; of others the registry behind decides, as for a push.
    ///
    /// # Errors
    /// Neither a yes nor a no: see [`AuthError`].
    pub async fn may_push(
        &self,
        caller: &Caller,
        repository: &RepositoryName,
    ) -> Result<bool, AuthError> {
        if caller.is_known_to_push(repository) {
            return Ok(true);
        }
        let key = self.decisions.key(caller, repository, Action::SeeKept);
        if self.decisions.find(&key).await == Some(false) {
            return Ok(false);
        }
        match self.push(caller, repository, None).await {
            Ok(_) => Ok(true),
            Err(error) if is_denied(&error) => {
                self.decisions.hide(key).await;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether regseal may ask something of the registry behind for the caller, beside what the caller asks.
    ///
    /// # Errors
    /// The registry behind has told the caller to wait: that is the answer.
    pub async fn may_ask(&self, caller: &Caller) -> Result<(), AuthError> {
        let held = self.pressure.held(&self.decisions.caller(caller)).await;
        held.map_or(Ok(()), |refusal| Err(AuthError::Refused(Box::new(refusal))))
    }

    /// Notes an answer of the registry behind that may tell the caller to wait.
    pub async fn answered(&self, caller: &Caller, status: StatusCode, headers: &HeaderMap) {
        if status == StatusCode::TOO_MANY_REQUESTS {
            let caller = self.decisions.caller(caller);
            self.pressure.note(caller, status, headers).await;
        }
    }

    /// Learns from an upload that was forwarded for the caller: its success is the registry's decision, if it can
    /// have decided by nothing that a question of our own would lack.
    pub async fn learn_push(
        &self,
        caller: &Caller,
        repository: &RepositoryName,
        forwarded: StatusCode,
        headers: &HeaderMap,
    ) {
        self.answered(caller, forwarded, headers).await;
        if caller.is_plain() && matches!(forwarded, StatusCode::CREATED | StatusCode::ACCEPTED) {
            self.allow(caller, repository, Action::Push).await;
        }
    }

    /// Learns from a manifest that was read for the caller: a success that says it is one.
    pub async fn learn_pull(
        &self,
        caller: &Caller,
        repository: &RepositoryName,
        forwarded: StatusCode,
        headers: &HeaderMap,
    ) {
        self.answered(caller, forwarded, headers).await;
        if caller.is_plain() && forwarded == StatusCode::OK && is_manifest(headers) {
            self.allow(caller, repository, Action::Pull).await;
        }
    }

    /// Tells callers apart, and says nothing of them: for what is remembered of one caller alone.
    #[must_use]
    pub fn tell_apart(&self, caller: &Caller) -> [u8; 32] {
        self.decisions.caller(caller)
    }

    /// The registry behind took a manifest from the caller.
    ///
    /// # Errors
    /// `forwarded` is no success.
    pub async fn pushed(
        &self,
        caller: &Caller,
        repository: &RepositoryName,
        forwarded: StatusCode,
    ) -> Result<Permit<Push>, AuthError> {
        if !forwarded.is_success() {
            return Err(AuthError::Hidden);
        }
        if caller.is_plain() && forwarded == StatusCode::CREATED {
            self.allow(caller, repository, Action::Push).await;
        }
        Ok(Permit::new(repository.clone()))
    }

    /// The registry behind deleted for the caller.
    ///
    /// # Errors
    /// `forwarded` is no success.
    pub fn deleted(
        &self,
        repository: &RepositoryName,
        forwarded: StatusCode,
    ) -> Result<Permit<Push>, AuthError> {
        if forwarded.is_success() {
            Ok(Permit::new(repository.clone()))
        } else {
            Err(AuthError::Hidden)
        }
    }

    async fn allow(&self, caller: &Caller, repository: &RepositoryName, action: Action) {
        let key = self.decisions.key(caller, repository, action);
        self.decisions.allow(key, caller).await;
    }

    /// A yes that is remembered, or the answer of the registry behind; many who want the same decision at once make
    /// one question. `about` is content that the question may be asked with.
    async fn decide(
        &self,
        caller: &Caller,
        repository: &RepositoryName,
        action: Action,
        about: Option<&Digest>,
    ) -> Result<(), AuthError> {
        let key = self.decisions.key(caller, repository, action);
        if self.decisions.find(&key).await == Some(true) {
            return Ok(());
        }
        let question = || {
            let question = Question {
                upstream: Arc::clone(&self.upstream),
                caller: caller.clone(),
                repository: repository.clone(),
            };
            let (decisions, pressure) = (Arc::clone(&self.decisions), Arc::clone(&self.pressure));
            let (about, hides) = (about.cloned(), self.hides);
            async move {
                // Decided while this question was on its way here.
                if decisions.find(&key).await == Some(true) {
                    return Ok(());
                }
                let asker = decisions.caller(&question.caller);
                if let Some(held) = pressure.held(&asker).await {
                    return Err(AuthError::Refused(Box::new(held)));
                }
                let decided = match action {
                    Action::Pull => question.pull(about.as_ref(), hides).await,
                    Action::Push | Action::SeeKept => question.push(about.as_ref()).await,
                };
                match &decided {
                    Ok(()) => decisions.allow(key, &question.caller).await,
                    Err(AuthError::Refused(refusal)) => {
                        let answer = &refusal.parts;
                        pressure.note(asker, answer.status, &answer.headers).await;
                    }
                    Err(_) => {}
                }
                decided
            }
        };
        self.flights.ask(key, about, question).await
    }
}

/// Whether the registry behind has refused, and will again: an outage or a limit decides nothing.
fn is_denied(error: &AuthError) -> bool {
    match error {
        AuthError::Hidden => true,
        AuthError::Refused(refusal) => {
            let status = refusal.parts.status;
            status.is_client_error()
                && !matches!(
                    status,
                    StatusCode::REQUEST_TIMEOUT
                        | StatusCode::TOO_EARLY
                        | StatusCode::TOO_MANY_REQUESTS
                )
        }
        AuthError::Upstream(_) | AuthError::Unanswered | AuthError::Randomness => false,
    }
}
