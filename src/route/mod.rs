//! Request classification: one [`Route`] per request, made once from the path as it came, still encoded.
//!
//! Paths are read from the right, since a repository name may itself have components `manifests` or `blobs`. What
//! regseal authorises and what it forwards is the value parsed here: a path that the registry behind could read in
//! another way (empty or dot segments, encoded slashes, needless escapes) is refused. Pure: no I/O.

mod path;
pub mod query;

use http::uri::PathAndQuery;
use http::{Method, Uri};
use thiserror::Error;

use crate::oci::reference::InvalidReference;
use crate::oci::{Digest, Reference, RepositoryName};

/// Where tokens are asked for.
pub const TOKEN_PATH: &str = "/_regseal/token";

/// What the session begins with where regseal has sealed an upload location of the registry behind.
pub const SEALED_SESSION: &str = "rs1.";

/// What a request asks for: the endpoints of the distribution specification ("Endpoints"), and the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// end-1: `GET /v2/`
    Version,
    /// The token relay: `GET` and `POST` of `/_regseal/token`.
    Token,
    /// Forwarded as it is: paths outside `/v2/`, `/v2/auth`, `/v2/token`, and extensions (`/v2/_…`, `/v2/<name>/_…`).
    Passthrough,
    /// end-8: `GET /v2/<name>/tags/list`
    TagsList(RepositoryName),
    /// end-2
    BlobPull(RepositoryName, Digest),
    /// end-10
    BlobDelete(RepositoryName, Digest),
    /// end-4 and end-11: `POST /v2/<name>/blobs/uploads/`
    UploadStart(RepositoryName),
    /// end-5, end-6, end-13, end-14: a request on an upload session.
    Upload(RepositoryName, UploadStep),
    /// The same on a session whose location regseal has sealed; the text is what follows [`SEALED_SESSION`].
    SealedUpload(RepositoryName, UploadStep, String),
    /// end-3
    ManifestPull(RepositoryName, Reference),
    /// end-7
    ManifestPush(RepositoryName, Reference),
    /// end-9
    ManifestDelete(RepositoryName, Reference),
    /// end-12: `GET /v2/<name>/referrers/<digest>`
    Referrers(RepositoryName, Digest),
}

/// What is done on an upload session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadStep {
    /// end-13: `GET`
    Status,
    /// end-5: `PATCH`
    Chunk,
    /// end-6: `PUT`
    Finish,
    /// end-14: `DELETE`
    Cancel,
}

/// Why a request has no route.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RouteError {
    /// The path has another reading: empty or dot segments, encoded slashes, needless escapes.
    #[error(
        "the path is not canonical: no empty or dot segments and no needless percent-encoding are allowed"
    )]
    NotCanonical,
    /// `NAME_INVALID`
    #[error("invalid repository name")]
    Name,
    /// `DIGEST_INVALID`
    #[error("invalid digest")]
    Digest,
    /// A tag outside the grammar.
    #[error("invalid tag")]
    Tag,
    /// The endpoint does not know the method.
    #[error("the method is not allowed here; allowed: {allow}")]
    Method {
        /// Value for the `Allow` header.
        allow: &'static str,
    },
    /// No endpoint of the specification has this path.
    #[error("no such endpoint")]
    Unknown,
}

impl Route {
    /// Classifies a request.
    ///
    /// # Errors
    /// See [`RouteError`].
    pub fn parse(method: &Method, uri: &Uri) -> Result<Self, RouteError> {
        path::parse(method, uri.path())
    }

    /// The route as a bounded name for spans and metrics.
    #[must_use]
    pub fn template(&self) -> &'static str {
        match self {
            Self::Version => "/v2/",
            Self::Token => TOKEN_PATH,
            Self::Passthrough => "passthrough",
            Self::TagsList(_) => "/v2/<name>/tags/list",
            Self::BlobPull(..) | Self::BlobDelete(..) => "/v2/<name>/blobs/<digest>",
            Self::UploadStart(_) => "/v2/<name>/blobs/uploads/",
            Self::Upload(..) | Self::SealedUpload(..) => "/v2/<name>/blobs/uploads/<session>",
            Self::ManifestPull(..) | Self::ManifestPush(..) | Self::ManifestDelete(..) => {
                "/v2/<name>/manifests/<reference>"
            }
            Self::Referrers(..) => "/v2/<name>/referrers/<digest>",
        }
    }

    /// The path that is forwarded, rebuilt from the parsed values; `None` where the path goes on as it came, or nothing
    /// is forwarded.
    #[must_use]
    pub fn canonical_path(&self) -> Option<String> {
        match self {
            Self::Passthrough | Self::Token | Self::Upload(..) | Self::SealedUpload(..) => None,
            Self::Version => Some("/v2/".to_owned()),
            Self::TagsList(name) => Some(format!("/v2/{name}/tags/list")),
            Self::BlobPull(name, digest) | Self::BlobDelete(name, digest) => {
                Some(format!("/v2/{name}/blobs/{digest}"))
            }
            Self::UploadStart(name) => Some(format!("/v2/{name}/blobs/uploads/")),
            Self::ManifestPull(name, reference)
            | Self::ManifestPush(name, reference)
            | Self::ManifestDelete(name, reference) => {
                Some(format!("/v2/{name}/manifests/{reference}"))
            }
            Self::Referrers(name, subject) => Some(format!("/v2/{name}/referrers/{subject}")),
        }
    }
}

/// Whether a path of the registry behind is an upload session of this repository, where a caller's credential may go on:
/// not a manifest, and nobody else's.
#[must_use]
pub fn is_session_of(path: &PathAndQuery, name: &RepositoryName) -> bool {
    let route = Route::parse(&Method::PUT, &Uri::from(path.clone()));
    matches!(route, Ok(Route::Upload(of, _)) if of == *name)
}

impl From<InvalidReference> for RouteError {
    fn from(error: InvalidReference) -> Self {
        match error {
            InvalidReference::Digest => Self::Digest,
            InvalidReference::Tag => Self::Tag,
        }
    }
}
