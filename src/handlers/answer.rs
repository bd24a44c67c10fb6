//! Answers that regseal gives by itself.

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION,
};
use http::{HeaderMap, Method, Response, StatusCode, request};

use super::error::HandlerError;
use crate::body::{self, Body};
use crate::oci::{Digest, RepositoryName};

/// Old clients look for it to tell a registry from any other server.
const API_VERSION: (HeaderName, &str) = (
    HeaderName::from_static("docker-distribution-api-version"),
    "registry/2.0",
);
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
pub(super) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const NO_SNIFF: (HeaderName, &str) = (HeaderName::from_static("x-content-type-options"), "nosniff");

/// `GET` or `HEAD` of content whose digest is known: 200, or 304 where the client has it (RFC 9110 section 13.1.2).
pub(super) fn content(
    request: &request::Parts,
    digest: &Digest,
    media_type: &str,
    size: u64,
    content: Body,
) -> Result<Response<Body>, HandlerError> {
    let mut response = Response::builder()
        .header(CONTENT_TYPE, media_type)
        .header(CONTENT_DIGEST, digest.as_str())
        .header(ETAG, format!("\"{digest}\""))
        .header(API_VERSION.0, API_VERSION.1)
        .header(NO_SNIFF.0, NO_SNIFF.1);
    if has_it(&request.headers, digest) {
        return Ok(response
            .status(StatusCode::NOT_MODIFIED)
            .body(body::empty())?);
    }
    response = response.header(CONTENT_LENGTH, size);
    Ok(response.body(if request.method == Method::HEAD {
        body::empty()
    } else {
        content
    })?)
}

/// As [`content`], of bytes in memory.
pub(super) fn manifest(
    request: &request::Parts,
    digest: &Digest,
    media_type: &str,
    bytes: Bytes,
) -> Result<Response<Body>, HandlerError> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    content(request, digest, media_type, size, body::full(bytes))
}

/// 201 for a manifest that regseal keeps (end-7).
pub(super) fn created(
    repository: &RepositoryName,
    digest: &Digest,
    subject: Option<&Digest>,
) -> Result<Response<Body>, HandlerError> {
    let mut response = Response::builder()
        .status(StatusCode::CREATED)
        .header(LOCATION, format!("/v2/{repository}/manifests/{digest}"))
        .header(CONTENT_DIGEST, digest.as_str())
        .header(API_VERSION.0, API_VERSION.1)
        .header(CONTENT_LENGTH, 0);
    if let Some(subject) = subject {
        response = response.header(OCI_SUBJECT, subject.as_str());
    }
    Ok(response.body(body::empty())?)
}

/// 201 for a blob that regseal has (end-11).
pub(super) fn uploaded(
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Response<Body>, HandlerError> {
    Ok(Response::builder()
        .status(StatusCode::CREATED)
        .header(LOCATION, format!("/v2/{repository}/blobs/{digest}"))
        .header(CONTENT_DIGEST, digest.as_str())
        .header(API_VERSION.0, API_VERSION.1)
        .header(CONTENT_LENGTH, 0)
        .body(body::empty())?)
}

/// 202 for a deletion (end-9).
pub(super) fn deleted() -> Result<Response<Body>, HandlerError> {
    Ok(Response::builder()
        .status(StatusCode::ACCEPTED)
        .header(API_VERSION.0, API_VERSION.1)
        .header(CONTENT_LENGTH, 0)
        .body(body::empty())?)
}

/// Whether the client has the representation of this `ETag` (RFC 9110 section 13.1.2, weak comparison).
pub(super) fn has_tagged(headers: &HeaderMap, etag: Option<&HeaderValue>) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let Some(etag) = etag.and_then(|etag| etag.to_str().ok()).map(opaque) else {
        return false;
    };
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| opaque(tag) == etag)
}

pub(super) fn has_it(headers: &HeaderMap, digest: &Digest) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'))
        .any(|tag| tag == digest.as_str() || tag == "*")
}
