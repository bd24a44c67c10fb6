//! Reading from the registry behind for regseal itself, with the credential of a caller.
//!
//! An outage is not an absence: what is neither there nor said to be absent is an error.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};

use super::Handlers;
use super::error::HandlerError;
use crate::auth::Caller;
use crate::oci::{Digest, Manifest, RepositoryName, media_type};
use crate::upstream::client::Answer;

impl Handlers {
    /// Reads a manifest by digest; `None` if the registry has no such manifest, or one that is not what the digest
    /// says.
    pub(super) async fn manifest_upstream(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<(Bytes, Manifest)>, HandlerError> {
        let Some(answer) = self.fetch_manifest(caller, name, digest.as_str()).await? else {
            return Ok(None);
        };
        if !digest.matches(&answer.body) {
            return Ok(None);
        }
        let manifest = Manifest::parse(&answer.body, &content_type(&answer)).ok();
        Ok(manifest.map(|manifest| (answer.body, manifest)))
    }

    /// `GET` of a manifest by tag or digest, asking for every type.
    pub(super) async fn fetch_manifest(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        reference: &str,
    ) -> Result<Option<Answer>, HandlerError> {
        let path = format!("/v2/{name}/manifests/{reference}");
        self.read_upstream(
            caller,
            &path,
            media_type::ACCEPT_MANIFESTS,
            self.config.max_manifest,
        )
        .await
    }

    /// `GET` of `path`; `None` if the registry says that there is nothing.
    pub(super) async fn read_upstream(
        &self,
        caller: &Caller,
        path: &str,
        accept: &'static str,
        limit: usize,
    ) -> Result<Option<Answer>, HandlerError> {
        let mut headers = caller.headers();
        headers.push((ACCEPT, HeaderValue::from_static(accept)));
        let answer = self
            .upstream
            .fetch(&Method::GET, path, &headers, limit)
            .await?;
        match answer.parts.status {
            StatusCode::OK => Ok(Some(answer)),
            status if is_absence(status) => Ok(None),
            status => Err(HandlerError::Undecided { status }),
        }
    }
}

/// The statuses with which registries say that they have no such thing, or no such endpoint.
pub(super) fn is_absence(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::GONE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
    )
}

/// The `Content-Type` of an answer, without parameters.
pub(super) fn content_type(answer: &Answer) -> String {
    let value = answer
        .parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    media_type::essence(value.unwrap_or_default()).to_owned()
}
