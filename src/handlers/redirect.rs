//! Redirects of reads: the client follows them itself, or regseal does where the client cannot.

use http::{Method, Response, StatusCode, request};

use super::Handlers;
use super::answer::CONTENT_DIGEST;
use super::error::HandlerError;
use super::passthrough::headers_to_forward;
use super::upload_answer::asked_at;
use crate::auth::Caller;
use crate::body::Body;
use crate::upstream::elsewhere::FollowError;
use crate::upstream::headers;
use crate::upstream::place::Place;

/// Who follows the redirects of blobs and manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// The client.
    Relay,
    /// regseal, which answers with what it finds there.
    Follow,
}

impl Handlers {
    /// The answer of the registry behind to a read of a blob or a manifest, or what is where that answer sends.
    ///
    /// # Errors
    /// A place where regseal does not go, or what is there is not what was asked for.
    pub(super) async fn followed(
        &self,
        parts: &request::Parts,
        caller: &Caller,
        response: Response<Body>,
    ) -> Result<Response<Body>, HandlerError> {
        let is_read = matches!(parts.method, Method::GET | Method::HEAD);
        let follows = self.config.redirects == Redirects::Follow && is_read;
        if !follows || !response.status().is_redirection() {
            return Ok(response);
        }
        let digest = response.headers().get(CONTENT_DIGEST).cloned();
        let headers = headers_to_forward(parts, caller);
        let names: Vec<&str> = self.names(parts).collect();
        let following =
            self.upstream
                .follow(response, &parts.method, &headers, asked_at(parts), &names);
        let (mut response, from) = following.await.map_err(|error| match error {
            FollowError::Place(error) => HandlerError::Place(error),
            FollowError::Upstream(error) => HandlerError::Upstream(error),
        })?;
        if !matches!(from, Some(Place::Elsewhere(_))) {
            return Ok(response);
        }
        match response.status() {
            StatusCode::OK
            | StatusCode::PARTIAL_CONTENT
            | StatusCode::NOT_MODIFIED
            | StatusCode::RANGE_NOT_SATISFIABLE => {}
            // Its refusals are about regseal, not about the client.
            status => return Err(HandlerError::undecided(status, response.headers())),
        }
        headers::keep_said(response.headers_mut());
        let digest = digest.map(|digest| (CONTENT_DIGEST, digest));
        response.headers_mut().extend(digest);
        Ok(response)
    }
}
