//! What the registry behind is asked about a caller, and how its answers are read: what is not a clear yes is none.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use http::{Method, Response, StatusCode};

use super::authorizer::AuthError;
use super::caller::Caller;
use crate::body::Body;
use crate::oci::{Digest, RepositoryName, media_type};
use crate::route::{is_session_of, query};
use crate::upstream::Answer;
use crate::upstream::Upstream;

/// Refusals are read up to here: they are errors and challenges.
const REFUSAL_LIMIT: usize = 1 << 20;

/// The registry's own words of refusal, to be relayed.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Status and headers, among them the challenge.
    pub parts: http::response::Parts,
    /// The body.
    pub body: Bytes,
}

/// One question about one caller in one repository.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) upstream: Arc<Upstream>,
    pub(super) caller: Caller,
    pub(super) repository: RepositoryName,
}

impl Question {
    /// May the caller read? HEAD of `manifest`, which costs least, then the tag list. `hides` says whether 404 may mean
    /// that the caller may not.
    pub(super) async fn pull(
        &self,
        manifest: Option<&Digest>,
        hides: bool,
    ) -> Result<(), AuthError> {
        let repository = &self.repository;
        // A digest that cannot be computed names no manifest, and old registries fail on it.
        if let Some(digest) = manifest.filter(|digest| digest.hasher().is_some()) {
            let path = format!("/v2/{repository}/manifests/{digest}");
            let response = self.ask(Method::HEAD, &path).await?;
            match response.status() {
                StatusCode::OK if is_manifest(response.headers()) => return Ok(()),
                status if is_about_the_caller(status) => {
                    return Err(self.refused(response).await?);
                }
                // Absent, hidden, elsewhere, or nothing that can be asked for like this.
                _ => {}
            }
        }
        let path = format!("/v2/{repository}/tags/list?n=1");
        let response = self.ask(Method::GET, &path).await?;
        match response.status() {
            // The body, perhaps a long list, is not read.
            status if status.is_success() && !is_page(response.headers()) => Ok(()),
            StatusCode::NOT_FOUND if !hides => Ok(()),
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED => Err(AuthError::Hidden),
            _ => Err(self.refused(response).await?),
        }
    }

    /// May the caller write? An upload that mounts `blob` onto itself, else a session that is opened and cancelled.
    pub(super) async fn push(&self, blob: Option<&Digest>) -> Result<(), AuthError> {
        let repository = &self.repository;
        let mut path = format!("/v2/{repository}/blobs/uploads/");
        if let Some(digest) = blob {
            let mount = query::encode([("mount", digest.as_str()), ("from", repository.as_str())]);
            path = format!("{path}?{mount}");
        }
        let headers = self.caller.headers();
        let answer = self
            .upstream
            .submit(&Method::POST, &path, &headers, Bytes::new())
            .await?;
        match answer.parts.status {
            status if status.is_success() && !is_done(status, &answer.parts.headers) => {
                Err(refused(answer))
            }
            StatusCode::CREATED => Ok(()),
            StatusCode::ACCEPTED => {
                self.cancel(&answer).await;
                Ok(())
            }
            StatusCode::NOT_FOUND => Err(AuthError::Hidden),
            _ => Err(refused(answer)),
        }
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Response<Body>, AuthError> {
        let mut headers = self.caller.headers();
        headers.push((
            ACCEPT,
            HeaderValue::from_static(media_type::ACCEPT_MANIFESTS),
        ));
        Ok(self.upstream.ask(&method, path, &headers).await?)
    }

    async fn refused(&self, response: Response<Body>) -> Result<AuthError, AuthError> {
        Ok(refused(
            self.upstream.collect(response, REFUSAL_LIMIT).await?,
        ))
    }

    /// Best effort: a session that stays open is collected by the registry behind.
    async fn cancel(&self, opened: &Answer) {
        let location = opened.parts.headers.get(LOCATION);
        let location = location.and_then(|value| value.to_str().ok());
        let session =
            location.and_then(|location| self.upstream.own_path(location, self.caller.host()));
        let Some(path) = session.filter(|path| is_session_of(path, &self.repository)) else {
            return;
        };
        let headers = self.caller.headers();
        let cancelled =
            self.upstream
                .submit(&Method::DELETE, path.as_str(), &headers, Bytes::new());
        if let Err(error) = cancelled.await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "an upload session of a probe was not cancelled"
            );
        }
    }
}

/// Whether a status says who may not, or that nobody can tell: no other question changes that.
fn is_about_the_caller(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
        )
}

/// Whether an answer says that it is of a manifest. A success alone says nothing: what stands before a registry answers
/// 200 with a page where one may log in.
pub(super) fn is_manifest(headers: &HeaderMap) -> bool {
    let named = essence(headers);
    media_type::ACCEPT_MANIFESTS
        .split(", ")
        .any(|known| known.eq_ignore_ascii_case(named))
}

/// Whether the registry behind has done what it was asked to write or to delete: a success, and no page where one may log
/// in. Some registries call every answer a page: theirs are empty, or say where the content is.
#[must_use]
pub fn is_done(status: StatusCode, headers: &HeaderMap) -> bool {
    let is_empty = headers
        .get(CONTENT_LENGTH)
        .is_some_and(|length| length == "0");
    let is_theirs = is_empty || headers.contains_key(LOCATION);
    status.is_success() && (is_theirs || !is_page(headers))
}

/// Whether an answer is a page for people.
fn is_page(headers: &HeaderMap) -> bool {
    let named = essence(headers).to_ascii_lowercase();
    matches!(named.as_str(), "text/html" | "application/xhtml+xml")
}

fn essence(headers: &HeaderMap) -> &str {
    let named = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    media_type::essence(named.unwrap_or_default())
}

fn refused(answer: Answer) -> AuthError {
    AuthError::Refused(Box::new(Refusal {
        parts: answer.parts,
        body: answer.body,
    }))
}
