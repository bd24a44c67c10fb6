//! What can go wrong in the store.

use std::error::Error as StdError;
use std::io;

use thiserror::Error;

use crate::oci::Digest;

use super::blob::{BlobError, Key};
use super::index::IndexError;

/// Why the store could not do what it was asked. Nothing was acknowledged, and nothing half done is visible.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The object store (or, for a rebuild or a check of the index, the index) cannot be used at present. Our fault;
    /// retry. `503`.
    #[error("the signature store is unavailable: cannot {operation}")]
    Unavailable {
        /// What was tried, as a verb.
        operation: &'static str,
        /// What the backend says.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// An object is not what its key says: bytes that hash to something else, a record that cannot be read, content
    /// that is linked and not there. Our fault; a retry does not help, a new push does. `500`.
    #[error("the stored object {key} is corrupt")]
    Corrupt {
        /// Its key.
        key: Key,
    },
    /// Bytes given do not hash to the digest given (`DIGEST_INVALID`).
    #[error("the content does not have the digest {expected}")]
    DigestMismatch {
        /// The digest given.
        expected: Digest,
    },
    /// The digest's algorithm is not one regseal can compute (`UNSUPPORTED`).
    #[error("digests like {digest} are not supported")]
    UnsupportedDigest {
        /// The digest given.
        digest: Digest,
    },
    /// A blob is longer than the caller allows (`SIZE_INVALID`).
    #[error("the blob is longer than {limit} bytes")]
    TooLarge {
        /// The most that was allowed.
        limit: u64,
    },
    /// The stream of a blob failed before its end; the fault of whom it came from.
    #[error("the content could not be read to its end")]
    Body {
        /// What the stream said.
        source: io::Error,
    },
    /// The manifest names a blob that this repository has not claimed (`MANIFEST_BLOB_UNKNOWN`).
    #[error("the manifest names the blob {digest}, which is not in the repository")]
    BlobUnknown {
        /// The blob.
        digest: Digest,
    },
}

impl From<BlobError> for StoreError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Unavailable { operation, .. } => Self::Unavailable {
                operation,
                source: Box::new(error),
            },
            // What is read whole is written by us and bounded when written.
            BlobError::TooLarge { key, .. } => Self::Corrupt { key },
            BlobError::Body(source) => Self::Body { source },
        }
    }
}

impl From<IndexError> for StoreError {
    fn from(error: IndexError) -> Self {
        Self::Unavailable {
            operation: "use the index",
            source: Box::new(error),
        }
    }
}
