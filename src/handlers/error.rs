//! Why a request got no answer of its own; `respond` gives each a status and an error code.

use std::time::Duration;

use http::StatusCode;
use thiserror::Error;

use crate::auth::AuthError;
use crate::auth::caller::SeveralCredentials;
use crate::body::BodyError;
use crate::oci::{Digest, ManifestError};
use crate::store::StoreError;
use crate::upstream::UpstreamError;

/// An error of a handler.
#[derive(Debug, Error)]
pub enum HandlerError {
    /// More than one credential.
    #[error(transparent)]
    Credentials(#[from] SeveralCredentials),
    /// The registry behind gave no permission.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The registry behind gave no answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The registry behind neither gave what regseal asked for nor said that it has none.
    #[error("the registry behind answered {status}")]
    Undecided {
        /// Its status.
        status: StatusCode,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The request body broke off or stalled.
    #[error("the request body broke off: {0}")]
    RequestBody(#[source] BodyError),
    /// The manifest did not come in time (408).
    #[error("the manifest did not come within {limit:?}")]
    ManifestTooSlow {
        /// The time it had.
        limit: Duration,
    },
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
