//! The registry behind, as a transfer asks it: with regseal's own account, patiently. What is limited is asked again when
//! the registry says (`Retry-After`), and nobody else asks meanwhile; what fails is asked again a few times.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderName, HeaderValue, LINK};
use http::{Method, Request, Response, StatusCode};
use moka::future::Cache;
use thiserror::Error;
use tokio::time::Instant;

use super::patience::{Attempts, LONGEST, retry_after};
use crate::auth::{Caller, Relay};
use crate::body::{self, Body};
use crate::oci::{Digest, Manifest, RepositoryName, media_type};
use crate::upstream::Answer;
use crate::upstream::answer::is_absence;
use crate::upstream::{Upstream, UpstreamError};

/// How long a token is used; one that ends before is noticed.
const TOKEN: Duration = Duration::from_secs(240);
const TOKENS: u64 = 1000;
/// Lists that do not come in pages, in bytes.
const LIST_LIMIT: usize = 64 << 20;
/// The most native referrers of one manifest.
const MOST_REFERRERS: usize = 100_000;
/// The largest page of a list of referrers, in bytes.
const PAGE_LIMIT: usize = 8 << 20;
/// No subject has it: what answers is the API itself.
const NO_SUBJECT: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Bounds of what is read.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Artifact types of signatures, which are kept with their blobs.
    pub artifact_types: Vec<String>,
    /// The largest manifest, in bytes.
    pub max_manifest: usize,
    /// The largest blob of a signature, in bytes.
    pub max_blob: u64,
}

/// Why something of the registry could not be had.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// Its answer, after all attempts.
    #[error("the registry answered {0}")]
    Status(StatusCode),
    /// No answer, after all attempts.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The answer is none.
    #[error("the registry answered with something that is no list")]
    NoList,
    /// The registry refuses what it is given, for a reason it may name.
    #[error("the registry refuses it ({status}): {reason}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// What it says.
        reason: String,
    },
    /// What was written is not what is read back.
    #[error("the registry has something else than what was written")]
    NotKept,
    /// It would have bytes sent to another host, where our credential must not go.
    #[error("the registry wants uploads to go to another host")]
    Elsewhere,
}

/// What a transfer may do in a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    Catalog,
    Pull(RepositoryName),
    Push(RepositoryName),
}

impl Scope {
    fn text(&self) -> String {
        match self {
            Self::Catalog => "registry:catalog:*".to_owned(),
            Self::Pull(name) => format!("repository:{name}:pull"),
            Self::Push(name) => format!("repository:{name}:pull,push"),
        }
    }

    /// What is asked to see whether a token is wanted.
    fn probe(&self) -> String {
        match self {
            Self::Catalog => "/v2/".to_owned(),
            Self::Pull(name) | Self::Push(name) => format!("/v2/{name}/tags/list?n=1"),
        }
    }
}

/// A request that can be sent again.
#[derive(Clone, Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

impl<'a> Ask<'a> {
    pub(super) fn get(path: &'a str, accept: &'static str) -> Self {
        Self {
            method: Method::GET,
            path,
            headers: vec![(ACCEPT, HeaderValue::from_static(accept))],
            body: Bytes::new(),
        }
    }
}

/// The registry behind.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) upstream: Arc<Upstream>,
    relay: Arc<Relay>,
    account: Caller,
    callers: Cache<Scope, Caller>,
    /// Until when nothing is asked.
    put_off: Mutex<Option<Instant>>,
    pub(super) requests: AtomicU64,
}

impl Registry {
    pub(super) fn new(upstream: Arc<Upstream>, relay: Arc<Relay>, account: Caller) -> Self {
        Self {
            upstream,
            relay,
            account,
            callers: Cache::builder()
                .max_capacity(TOKENS)
                .time_to_live(TOKEN)
                .build(),
            put_off: Mutex::new(None),
            requests: AtomicU64::new(0),
        }
    }

    /// Requests so far, but for those for tokens.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether there is somebody: any answer will do.
    pub(super) async fn answers(&self) -> Result<(), UpstreamError> {
        let path = "/v2/";
        let headers = self.account.headers();
        let answer = self
            .upstream
            .fetch(&Method::GET, path, &headers, PAGE_LIMIT);
        answer.await.map(drop)
    }

    /// `GET` of a manifest by tag or digest, asking for every type; `None` if there is none.
    pub(super) async fn manifest(
        &self,
        name: &RepositoryName,
        reference: &str,
        limit: usize,
    ) -> Result<Option<Answer>, Failure> {
        let path = format!("/v2/{name}/manifests/{reference}");
        let accept = media_type::ACCEPT_MANIFESTS;
        let scope = Scope::Pull(name.clone());
        let answer = self.fetch(&scope, &path, accept, limit).await?;
        present(answer)
    }

    /// A blob, to be read; `None` if there is none.
    pub(super) async fn blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Response<Body>>, Failure> {
        let path = format!("/v2/{name}/blobs/{digest}");
        let scope = Scope::Pull(name.clone());
        let response = self.open(&scope, &Ask::get(&path, "*/*")).await?;
        match response.status() {
            StatusCode::OK => Ok(Some(response)),
            status if is_absence(status) => Ok(None),
            status => Err(Failure::Status(status)),
        }
    }

    /// Whether the registry has the Referrers API in this repository: a status alone is no proof.
    pub(super) async fn has_referrers_api(&self, name: &RepositoryName) -> Result<bool, Failure> {
        let path = format!("/v2/{name}/referrers/{NO_SUBJECT}");
        let scope = Scope::Pull(name.clone());
        let answer = self
            .fetch(&scope, &path, media_type::IMAGE_INDEX, PAGE_LIMIT)
            .await?;
        Ok(present(answer)?.is_some_and(|answer| answer.content_type() == media_type::IMAGE_INDEX))
    }

    /// The digests of the registry's own list of the referrers of `subject`: names only, to be looked at.
    pub(super) async fn native(
        &self,
        name: &RepositoryName,
        subject: &Digest,
    ) -> Result<HashSet<Digest>, Failure> {
        let scope = Scope::Pull(name.clone());
        let mut next = Some(format!("/v2/{name}/referrers/{subject}"));
        let mut found = HashSet::new();
        while let Some(path) = next.take() {
            let page = self.page(&scope, &path, media_type::IMAGE_INDEX).await?;
            let Some((answer, following)) = page else {
                break;
            };
            let index = Manifest::parse(&answer.body, media_type::IMAGE_INDEX);
            let index = index.or(Err(Failure::NoList))?;
            let before = found.len();
            found.extend(index.manifests.into_iter().map(|entry| entry.digest));
            if found.len() > MOST_REFERRERS {
                return Err(UpstreamError::TooLarge(MOST_REFERRERS).into());
            }
            next = following.filter(|_| found.len() > before);
        }
        Ok(found)
    }

    /// One page of a list, and the path of the next; `None` if there is no such list.
    pub(super) async fn page(
        &self,
        scope: &Scope,
        path: &str,
        accept: &'static str,
    ) -> Result<Option<(Answer, Option<String>)>, Failure> {
        let answer = present(self.fetch(scope, path, accept, LIST_LIMIT).await?)?;
        Ok(answer.map(|answer| {
            let next = answer.parts.headers.get(LINK);
            let next = next.and_then(|link| self.own_next(link));
            (answer, next)
        }))
    }

    /// Path and query of the next page, on the registry behind itself.
    fn own_next(&self, link: &HeaderValue) -> Option<String> {
        let link = link.to_str().ok()?.trim();
        let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
        let path = self.upstream.own_path(target, None)?;
        parameters.contains("next").then(|| path.to_string())
    }

    /// A `GET` whose answer is read whole.
    async fn fetch(
        &self,
        scope: &Scope,
        path: &str,
        accept: &'static str,
        limit: usize,
    ) -> Result<Answer, Failure> {
        let mut attempts = Attempts::default();
        loop {
            let response = self.open(scope, &Ask::get(path, accept)).await?;
            match self.upstream.collect(response, limit).await {
                Ok(answer) => return Ok(answer),
                Err(error @ UpstreamError::TooLarge(_)) => return Err(error.into()),
                Err(error) => attempts.failed(error).await?,
            }
        }
    }

    /// Sends a request again until there is an answer that says something about it.
    pub(super) async fn open(
        &self,
        scope: &Scope,
        ask: &Ask<'_>,
    ) -> Result<Response<Body>, Failure> {
        let mut attempts = Attempts::default();
        let mut was_renewed = false;
        loop {
            self.wait().await;
            let caller = self.caller(scope, &mut attempts).await?;
            let mut headers = caller.headers();
            headers.extend(ask.headers.iter().cloned());
            self.requests.fetch_add(1, Ordering::Relaxed);
            let sent = match ask.method {
                Method::GET | Method::HEAD => {
                    self.upstream.open(&ask.method, ask.path, &headers).await
                }
                _ => {
                    let mut request = Request::builder()
                        .method(ask.method.clone())
                        .uri(ask.path)
                        .body(body::full(ask.body.clone()))
                        .map_err(UpstreamError::from)?;
                    request.headers_mut().extend(headers);
                    self.upstream.send(request).await
                }
            };
            let response = match sent {
                Ok(response) => response,
                Err(error) => {
                    attempts.failed(error).await?;
                    continue;
                }
            };
            match response.status() {
                StatusCode::UNAUTHORIZED if !was_renewed => {
                    was_renewed = true;
                    self.callers.invalidate(scope).await;
                }
                status @ (StatusCode::TOO_MANY_REQUESTS
                | StatusCode::INTERNAL_SERVER_ERROR
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT) => {
                    let wait = attempts.refused(status)?;
                    match retry_after(&response) {
                        Some(wait) => self.put_off(wait),
                        None if status == StatusCode::TOO_MANY_REQUESTS => self.put_off(wait),
                        None => tokio::time::sleep(wait).await,
                    }
                }
                _ => return Ok(response),
            }
        }
    }

    pub(super) async fn caller(
        &self,
        scope: &Scope,
        attempts: &mut Attempts,
    ) -> Result<Caller, Failure> {
        loop {
            let asked = async {
                let account = self.account.clone();
                let (text, probe) = (scope.text(), scope.probe());
                self.relay.own_caller_for(account, &text, &probe).await
            };
            match self.callers.try_get_with(scope.clone(), asked).await {
                Ok(caller) => return Ok(caller),
                Err(error) => attempts.failed_alike(&error).await?,
            }
        }
    }

    async fn wait(&self) {
        loop {
            let until = *self.put_off.lock().unwrap_or_else(PoisonError::into_inner);
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                Some(_) | None => return,
            }
        }
    }

    /// Lets nobody ask for `wait`.
    fn put_off(&self, wait: Duration) {
        let until = Instant::now() + wait.min(LONGEST);
        let mut put_off = self.put_off.lock().unwrap_or_else(PoisonError::into_inner);
        *put_off = Some(put_off.map_or(until, |known| known.max(until)));
    }
}

/// An answer that has what was asked for; `None` if it says that there is nothing.
pub(super) fn present(answer: Answer) -> Result<Option<Answer>, Failure> {
    match answer.parts.status {
        StatusCode::OK => Ok(Some(answer)),
        status if is_absence(status) => Ok(None),
        status => Err(Failure::Status(status)),
    }
}
