//! Why the registry behind gave no answer.

use std::time::Duration;

use thiserror::Error;

use crate::body::BodyError;

/// A request to the registry behind that has no usable response.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// No connection, or it broke before the response head (502).
    #[error("the registry behind could not be reached: {0}")]
    Connection(#[source] BodyError),
    /// No response head within the time after the last byte was sent (504).
    #[error("the registry behind did not answer within {0:?}")]
    FirstByte(Duration),
    /// A body that regseal itself reads broke off or stalled (502).
    #[error("the answer of the registry behind broke off: {0}")]
    Body(#[source] BodyError),
    /// A body that regseal itself reads is larger than it may be (502).
    #[error("the answer of the registry behind is larger than {0} bytes")]
    TooLarge(usize),
    /// The request could not be built from what the client or the registry sent (502).
    #[error("the request to the registry behind could not be built: {0}")]
    Request(#[from] http::Error),
}
