//! Why a request got no answer of its own; `respond` gives each a status and an error code.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use thiserror::Error;

use crate::admission::{AdmissionError, Unsigned};
use crate::auth::AuthError;
use crate::auth::caller::CredentialError;
use crate::auth::relay::RelayError;
use crate::body::BodyError;
use crate::oci::{Digest, ManifestError, RepositoryName, Tag};
use crate::store::StoreError;
use crate::upstream::UpstreamError;
use crate::upstream::place::PlaceError;

/// An error of a handler.
#[derive(Debug, Error)]
pub enum HandlerError {
    /// More than one credential, or one that cannot be passed on (400).
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The registry behind gave no permission.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// No token was given out.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The registry behind gave no answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The registry behind neither gave what regseal asked for nor said that it has none.
    #[error("the registry behind answered {status}")]
    Undecided {
        /// Its status.
        status: StatusCode,
    },
    /// The registry behind has no time for what regseal asked (429, 503).
    #[error("the registry behind has no time: it answered {status}")]
    Busy {
        /// Its status.
        status: StatusCode,
        /// When to come again, in its own words.
        retry_after: Option<HeaderValue>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no decision whether it is allowed (503).
    #[error(transparent)]
    Admission(#[from] Arc<AdmissionError>),
    /// `DENIED`: the policy refuses it (403).
    #[error("{0}")]
    Denied(Box<Denied>),
    /// `MANIFEST_INVALID`: a signature that contradicts itself or its subject.
    #[error("the signature is refused: {reason}")]
    SignatureInvalid {
        /// The check that failed, and why.
        reason: String,
    },
    /// `DENIED`: a signature that counts for nobody, where a rule refuses those (403).
    #[error("the signature is refused, it counts for no authority of the policy: {reason}")]
    SignatureUntrusted {
        /// The check that failed, and why.
        reason: String,
    },
    /// `DENIED`: the tag is the name of a mark (403).
    #[error("tag {tag} is kept for the mark of unsigned images and cannot be pushed")]
    MarkerTag {
        /// The tag.
        tag: Tag,
    },
    /// The answer of the registry behind broke off while it was looked at.
    #[error("the answer of the registry behind broke off")]
    Broken(#[source] BodyError),
    /// The request body broke off or stalled.
    #[error("the request body broke off: {0}")]
    RequestBody(#[source] BodyError),
    /// The manifest did not come in time (408).
    #[error("the manifest did not come within {limit:?}")]
    ManifestTooSlow {
        /// The time it had.
        limit: Duration,
    },
    /// `TOOMANYREQUESTS`: there is no room in memory for one more manifest (503).
    #[error("too many manifests are read at the moment")]
    NoRoom,
    /// `SIZE_INVALID`: the manifest is too large (413).
    #[error("the manifest is larger than {limit} bytes")]
    ManifestTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The blob of a signature is too large (413).
    #[error(
        "blob {digest} is larger than the {limit} bytes that `capture.max_blob` allows for a signature"
    )]
    BlobTooLarge {
        /// The blob.
        digest: Digest,
        /// The limit in bytes.
        limit: u64,
    },
    /// `MANIFEST_INVALID`
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// `DIGEST_INVALID`: the manifest is not the one its path names.
    #[error("the manifest does not have the digest {digest}")]
    DigestMismatch {
        /// The digest of the path.
        digest: Digest,
    },
    /// `DIGEST_INVALID`: a query names no digest.
    #[error("the query has an invalid digest")]
    QueryDigest,
    /// `MANIFEST_INVALID`: a query names no tag.
    #[error("the query has an invalid tag")]
    QueryTag,
    /// `MANIFEST_INVALID`: a push asks for more tags than one may (414).
    #[error("a push sets at most {limit} tags")]
    TooManyTags {
        /// The limit.
        limit: usize,
    },
    /// `BLOB_UPLOAD_INVALID`: a chunk does not begin where its session ends (416).
    #[error("the chunk does not begin where the upload ends")]
    ChunkOutOfOrder {
        /// `Location` and `Range` of the session.
        session: Box<HeaderMap>,
    },
    /// `MANIFEST_BLOB_UNKNOWN`: the manifest names a blob that neither side has.
    #[error("blob {digest} of the manifest is unknown")]
    BlobOfManifestUnknown {
        /// The blob.
        digest: Digest,
    },
    /// `MANIFEST_INVALID`: a descriptor of the manifest has another size than its content.
    #[error("blob {digest} of the manifest has {size} bytes, not what its descriptor says")]
    BlobSize {
        /// The blob.
        digest: Digest,
        /// The length of its content in bytes.
        size: u64,
    },
    /// `MANIFEST_UNKNOWN`
    #[error("manifest unknown")]
    ManifestUnknown,
    /// `BLOB_UNKNOWN`
    #[error("blob unknown")]
    BlobUnknown,
    /// `NAME_UNKNOWN`: the client takes regseal for a mirror of another registry (404).
    #[error("this is no mirror of {namespace}")]
    Namespace {
        /// The registry it means.
        namespace: String,
    },
    /// `BLOB_UPLOAD_UNKNOWN`: an upload session that regseal did not hand out for this repository, or too long ago (404).
    #[error("blob upload unknown: it has ended, or is of another repository")]
    UploadUnknown,
    /// The registry behind sends where regseal does not go (502).
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// `UNSUPPORTED`: the registry behind does not allow deletion (405).
    #[error("the registry behind does not allow deletion")]
    DeletionDisabled,
    /// A page of referrers was asked for with a cursor that regseal did not make.
    #[error("invalid page")]
    Cursor,
    /// The answer could not be built from its parts.
    #[error(transparent)]
    Http(#[from] http::Error),
}

impl HandlerError {
    /// An answer of the registry behind that is neither what was asked for nor an absence.
    pub(super) fn undecided(status: StatusCode, headers: &HeaderMap) -> Self {
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Self::Busy {
                status,
                retry_after: headers.get(RETRY_AFTER).cloned(),
            },
            _ => Self::Undecided { status },
        }
    }
}

impl From<AdmissionError> for HandlerError {
    fn from(error: AdmissionError) -> Self {
        Self::Admission(Arc::new(error))
    }
}

/// What the policy refuses, and what would help.
#[derive(Debug)]
pub struct Denied {
    /// The repository.
    pub name: RepositoryName,
    /// What is missing.
    pub unsigned: Unsigned,
    /// The command that makes the signatures.
    pub next: Option<String>,
    /// Whether it was a push, which can be repeated.
    pub is_push: bool,
}

impl Denied {
    /// For programs.
    #[must_use]
    pub fn detail(&self) -> serde_json::Value {
        serde_json::json!({
            "rule": self.unsigned.rule,
            "digest": self.unsigned.digest.as_str(),
            "missing": self.unsigned.missing,
        })
    }
}

impl fmt::Display for Denied {
    /// One line: it is all that many clients show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unsigned {
            rule,
            requires,
            digest,
            reasons,
            missing: _,
            commands: _,
        } = &self.unsigned;
        let name = &self.name;
        write!(
            f,
            "{name}@{digest} is not signed as rule '{rule}' requires: {requires}"
        )?;
        if !reasons.is_empty() {
            write!(f, " ({})", reasons.join("; "))?;
        }
        match &self.next {
            Some(next) if self.is_push => write!(f, ". Sign it, then push again: {next}"),
            Some(next) => write!(f, ". To sign it: {next}"),
            None => Ok(()),
        }
    }
}
