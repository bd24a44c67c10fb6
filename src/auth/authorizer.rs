//! Asks the registry behind whether a caller may pull or push.
//!
//! Pull: HEAD of the subject manifest, then the tag list. Push: the success of an upload that was forwarded for the
//! caller, else an upload that mounts a blob onto itself, else a session that is opened and cancelled.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use thiserror::Error;

use super::cache::{Action, Decisions};
use super::caller::Caller;
use super::permit::{Permit, Pull, Push};
use crate::clock::Clock;
use crate::oci::{Digest, RepositoryName, media_type};
use crate::route::query;
use crate::upstream::client::Answer;
use crate::upstream::{Upstream, UpstreamError};

/// Refusals are read up to here: they are errors and challenges.
const PROBE_LIMIT: usize = 1 << 20;

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
    decisions: Decisions,
    hides: bool,
}

/// The registry's own words of refusal, to be relayed.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Status and headers, among them the challenge.
    pub parts: http::response::Parts,
    /// The body.
    pub body: Bytes,
}

/// Why there is no permit.
#[derive(Debug, Error)]
pub enum AuthError {
    /// The registry behind refused, or could not decide: its answer is the caller's.
    #[error("the registry behind answered {}", .0.parts.status)]
    Refused(Box<Refusal>),
    /// The registry behind does not show this repository: absent, or hidden from the caller.
    #[error("the registry behind does not show this repository")]
    Hidden,
    /// The registry behind gave no answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// No randomness for the key of the cache.
    #[error("the system gives no randomness")]
    Randomness,
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
        let decisions = Decisions::new(&key, authority, config.cache_ttl, clock);
        Ok(Self {
            upstream,
            decisions,
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
        if self.is_allowed(caller, repository, Action::Pull).await {
            return Ok(Permit::new(repository.clone()));
        }
        // A digest that cannot be computed names no manifest, and old registries fail on it.
        if let Some(digest) = manifest.filter(|digest| digest.hasher().is_some()) {
            let path = format!("/v2/{repository}/manifests/{digest}");
            if self.probe(Method::HEAD, &path, caller).await? {
                self.allow(caller, repository, Action::Pull).await;
                return Ok(Permit::new(repository.clone()));
            }
        }
        let tags = format!("/v2/{repository}/tags/list?n=1");
        if self.probe(Method::GET, &tags, caller).await? || !self.hides {
            self.allow(caller, repository, Action::Pull).await;
            return Ok(Permit::new(repository.clone()));
        }
        Err(AuthError::Hidden)
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
        if self.is_allowed(caller, repository, Action::Push).await {
            return Ok(Permit::new(repository.clone()));
        }
        let mut path = format!("/v2/{repository}/blobs/uploads/");
        if let Some(digest) = blob {
            let mount = query::encode([("mount", digest.as_str()), ("from", repository.as_str())]);
            path = format!("{path}?{mount}");
        }
        let answer = self
            .upstream
            .submit(&Method::POST, &path, &caller.headers(), Bytes::new())
            .await?;
        match answer.parts.status {
            StatusCode::CREATED => {}
            StatusCode::ACCEPTED => self.cancel(caller, &answer).await,
            StatusCode::NOT_FOUND => return Err(AuthError::Hidden),
            _ => return Err(refused(answer)),
        }
        self.allow(caller, repository, Action::Push).await;
        Ok(Permit::new(repository.clone()))
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
        let refused =
            |status: StatusCode| matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        match self.push(caller, repository, None).await {
            Ok(_) => Ok(true),
            Err(AuthError::Hidden) => {
                self.decisions.hide(key).await;
                Ok(false)
            }
            Err(AuthError::Refused(refusal)) if refused(refusal.parts.status) => {
                self.decisions.hide(key).await;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Learns from an upload that was forwarded for the caller: its success is the registry's decision, if it can
    /// have decided by nothing that a question of our own would lack.
    pub async fn learn_push(
        &self,
        caller: &Caller,
        repository: &RepositoryName,
        forwarded: StatusCode,
    ) {
        if caller.is_plain() && matches!(forwarded, StatusCode::CREATED | StatusCode::ACCEPTED) {
            self.allow(caller, repository, Action::Push).await;
        }
    }

    /// Learns from a manifest that was read for the caller.
    pub async fn learn_pull(
        &self,
        caller: &Caller,
        repository: &RepositoryName,
        forwarded: StatusCode,
    ) {
        if caller.is_plain() && forwarded == StatusCode::OK {
            self.allow(caller, repository, Action::Pull).await;
        }
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
        self.learn_push(caller, repository, forwarded).await;
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

    async fn is_allowed(
        &self,
        caller: &Caller,
        repository: &RepositoryName,
        action: Action,
    ) -> bool {
        self.decisions
            .find(&self.decisions.key(caller, repository, action))
            .await
            == Some(true)
    }

    /// Yes (2xx), not shown (404), or an error that is relayed. The body of a yes, perhaps a long list, is not read.
    async fn probe(&self, method: Method, path: &str, caller: &Caller) -> Result<bool, AuthError> {
        let mut headers = caller.headers();
        headers.push((
            ACCEPT,
            HeaderValue::from_static(media_type::ACCEPT_MANIFESTS),
        ));
        let response = self.upstream.ask(&method, path, &headers).await?;
        match response.status() {
            // Some registries keep manifests elsewhere, and send there whoever may read them.
            StatusCode::TEMPORARY_REDIRECT if method == Method::HEAD => Ok(true),
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(refused(self.upstream.collect(response, PROBE_LIMIT).await?)),
        }
    }

    /// Best effort: a session that stays open is collected by the registry behind.
    async fn cancel(&self, caller: &Caller, opened: &Answer) {
        let location = opened
            .parts
            .headers
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let Some(path) =
            location.and_then(|location| self.upstream.own_path(location, caller.host()))
        else {
            return;
        };
        if let Err(error) = self
            .upstream
            .submit(
                &Method::DELETE,
                path.as_str(),
                &caller.headers(),
                Bytes::new(),
            )
            .await
        {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "an upload session of a probe was not cancelled"
            );
        }
    }
}

fn refused(answer: Answer) -> AuthError {
    AuthError::Refused(Box::new(Refusal {
        parts: answer.parts,
        body: answer.body,
    }))
}
