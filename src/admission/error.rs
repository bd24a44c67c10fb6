//! Why there is no decision.

use std::error::Error as StdError;

use thiserror::Error;

use crate::store::StoreError;

/// Something that a decision needs could not be had (503).
#[derive(Debug, Error)]
pub enum AdmissionError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A signature, or what is known of it, could not be read from the registry behind.
    #[error("a signature could not be read from the registry behind")]
    Upstream(#[source] Box<dyn StdError + Send + Sync>),
    /// A signature is there whose content cannot be read, and without it the image is unsigned.
    #[error("a signature of {subject} could not be read: {reason}")]
    Unreadable {
        /// The manifest it is about.
        subject: String,
        /// Why.
        reason: String,
    },
}
