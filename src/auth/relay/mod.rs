//! The token relay: clients ask it for tokens, and it asks the token service of the registry behind.
//!
//! Most clients that sign ask for a token to pull, which does not tell who may push. So where a policy keeps images
//! for those who may push, Bearer challenges name the relay's own path as their realm. The relay passes a token request on to
//! the realm that the registry itself announces, asks once more for `pull,push` with the same credential, and hands
//! out the token that was asked for, wrapped with what it has learnt. Nothing is stored.

mod challenge;
pub mod direct;
mod exchange;
mod own;
mod realm;
mod token_answer;
mod token_request;
mod wrapper;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::uri::{Authority, Scheme};
use http::{Method, StatusCode, Uri};
use moka::future::Cache;
use thiserror::Error;

use crate::body::BodyError;
use crate::oci::RepositoryName;
use crate::route::TOKEN_PATH;
use crate::upstream::{Upstream, UpstreamError};

use realm::Pinning;
pub use wrapper::Wrapping;

/// How long the realm that the registry behind announces is believed.
const ANNOUNCED_FOR: Duration = Duration::from_secs(300);

/// Realms that are warned about, each once.
const WARNINGS: usize = 100;

/// How the relay works.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether it may be on at all.
    pub allowed: bool,
    /// Where token services are; none: on the host of the registry behind.
    pub realms: Vec<Uri>,
    /// The URL by which clients reach this server, where it cannot be told from their requests.
    pub public_url: Option<Uri>,
    /// How long the body of a token request may take to come.
    pub body_time: Duration,
}

/// What the policy in force keeps for those who may push.
pub trait Gates: fmt::Debug + Send + Sync {
    /// Whether it keeps anything in any repository.
    fn any(&self) -> bool;

    /// Whether it keeps anything in this repository.
    fn covers(&self, repository: &RepositoryName) -> bool;
}

/// The relay before one registry.
#[derive(Debug)]
pub struct Relay {
    config: Config,
    upstream: Arc<Upstream>,
    wrapping: Wrapping,
    pinning: Pinning,
    gates: Arc<dyn Gates>,
    announced: Cache<(), Option<Uri>>,
    warned: Mutex<HashSet<String>>,
}

/// Why a token request has no answer of a token service.
#[derive(Debug, Error)]
pub enum RelayError {
    /// No policy needs the relay, or it is switched off (404).
    #[error("no tokens are given out here")]
    Off,
    /// The registry behind announces no token service that credentials may go to (404).
    #[error("the registry behind names no token service that requests may be passed on to")]
    NoRealm,
    /// The body is no form (400).
    #[error("a token request is a form: application/x-www-form-urlencoded")]
    NotAForm,
    /// The body is too large (413).
    #[error("the token request is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body did not come in time (408).
    #[error("the token request did not come within {0:?}")]
    TooSlow(Duration),
    /// The body broke off (400).
    #[error("the token request broke off: {0}")]
    Broken(#[source] BodyError),
    /// The token service wants to send the request, with its credential, somewhere else (502).
    #[error("the token service answered {0}, which is not passed on")]
    Redirected(StatusCode),
    /// The registry behind does not say where its token service is (502).
    #[error(transparent)]
    Unannounced(#[from] Arc<Unannounced>),
    /// The token service gave no answer (502, 504).
    #[error(transparent)]
    TokenService(#[from] UpstreamError),
}

/// Why it is not known where the token service is.
#[derive(Debug, Error)]
pub enum Unannounced {
    /// The registry behind gave no answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// It answered neither with a success nor with a challenge.
    #[error("the registry behind answered {0} to the question who may use it")]
    Status(StatusCode),
}

impl Relay {
    /// A relay that has asked nothing yet.
    #[must_use]
    pub fn new(
        config: Config,
        upstream: Arc<Upstream>,
        wrapping: Wrapping,
        gates: Arc<dyn Gates>,
    ) -> Self {
        let pinning = Pinning::new(
            upstream.url(),
            config.realms.clone(),
            config.public_url.clone(),
        );
        let announced = Cache::builder()
            .max_capacity(1)
            .time_to_live(ANNOUNCED_FOR)
            .build();
        Self {
            config,
            upstream,
            wrapping,
            pinning,
            gates,
            announced,
            warned: Mutex::default(),
        }
    }

    /// Opens wrapped tokens, also those of a time when the relay was on.
    #[must_use]
    pub fn wrapping(&self) -> &Wrapping {
        &self.wrapping
    }

    /// Whether the policy in force keeps anything in `repository` for those who may push there.
    #[must_use]
    pub fn keeps(&self, repository: &RepositoryName) -> bool {
        self.gates.covers(repository)
    }

    fn is_on(&self) -> bool {
        self.config.allowed && self.gates.any()
    }

    /// Makes the challenges of an answer name this relay in place of the token service, for a client that has asked
    /// `host` over `scheme`. A challenge with any other realm stays as it is: the client then goes there itself.
    pub async fn announce(
        &self,
        status: StatusCode,
        headers: &mut HeaderMap,
        scheme: &Scheme,
        host: Option<&HeaderValue>,
    ) {
        if status != StatusCode::UNAUTHORIZED || !self.is_on() {
            return;
        }
        let host = host.and_then(|host| host.to_str().ok());
        let Some(own) = self.own_url(scheme, host) else {
            return;
        };
        let names_a_realm = |line: &HeaderValue| {
            let line = line.to_str().unwrap_or_default();
            !challenge::realms(line).is_empty()
        };
        if !headers.get_all(WWW_AUTHENTICATE).iter().any(names_a_realm) {
            return;
        }
        let Ok(Some(announced)) = self.announced().await else {
            return;
        };
        let change = |realm: &str| {
            let same = self.pinning.allowed(realm, host).as_ref() == Some(&announced);
            if !same {
                self.warn_once(realm);
            }
            same.then(|| own.clone())
        };
        let lines: Vec<HeaderValue> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .map(|line| {
                let text = line.to_str().ok();
                text.and_then(|text| challenge::with_realms(text, change))
                    .and_then(|changed| HeaderValue::from_str(&changed).ok())
                    .unwrap_or_else(|| line.clone())
            })
            .collect();
        headers.remove(WWW_AUTHENTICATE);
        for line in lines {
            headers.append(WWW_AUTHENTICATE, line);
        }
    }

    /// The URL of the relay, as the client can reach it.
    fn own_url(&self, scheme: &Scheme, host: Option<&str>) -> Option<String> {
        let (scheme, authority) = match &self.config.public_url {
            Some(url) => (url.scheme_str()?, url.authority()?.clone()),
            None => (scheme.as_str(), host?.parse::<Authority>().ok()?),
        };
        Some(format!("{scheme}://{authority}{TOKEN_PATH}"))
    }

    /// The realm that the registry behind announces to everybody, if credentials may go there. One question serves all
    /// who ask at once, and what is no answer is not remembered.
    async fn announced(&self) -> Result<Option<Uri>, Arc<Unannounced>> {
        self.announced
            .try_get_with((), Box::pin(self.ask_for_realm()))
            .await
    }

    async fn ask_for_realm(&self) -> Result<Option<Uri>, Unannounced> {
        let response = self.upstream.ask(&Method::GET, "/v2/", &[]).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(None);
        }
        if status != StatusCode::UNAUTHORIZED {
            return Err(Unannounced::Status(status));
        }
        let lines = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let realms = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(challenge::realms);
        let mut allowed = None;
        for realm in realms {
            match self.pinning.allowed(&realm, None) {
                Some(uri) if allowed.is_none() => allowed = Some(uri),
                Some(_) => {}
                None => self.warn_once(&realm),
            }
        }
        Ok(allowed)
    }

    fn warn_once(&self, realm: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() < WARNINGS && warned.insert(realm.to_owned()) {
            tracing::warn!(
                realm,
                "no credentials are passed on to this token service; list it in auth.realms if it is the registry's own"
            );
        }
    }
}

#[cfg(test)]
mod tests;
