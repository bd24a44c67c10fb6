//! Why the registry behind gave no answer.

use std::time::Duration;

use http::StatusCode;
use thiserror::Error;

use super::place::PlaceError;
use crate::body::BodyError;

/// A request to the registry behind that has no usable response.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// All places for requests to the registry behind are taken (503).
    #[error("too many requests to the registry behind are under way")]
    Full,
    /// No connection (502).
    #[error("the registry behind could not be reached: {0}")]
    Connection(#[source] BodyError),
    /// The connection broke before the whole response head had come (502).
    #[error("the registry behind ended the connection without an answer: {0}")]
    Cut(#[source] BodyError),
    /// The body of the request broke off or stalled (400, 408).
    #[error("the request body broke off: {0}")]
    RequestBody(#[source] BodyError),
    /// No response head within the time after the last byte was sent (504).
    #[error("the registry behind did not answer within {0:?}")]
    FirstByte(Duration),
    /// A body that regseal itself reads broke off or stalled (502).
    #[error("the answer of the registry behind broke off: {0}")]
    Body(#[source] BodyError),
    /// There is no room in memory for a body that regseal itself reads (503).
    #[error("too many answers of the registry behind are read at the moment")]
    NoRoom,
    /// A body that regseal itself reads is larger than it may be (502).
    #[error("the answer of the registry behind is larger than {0} bytes")]
    TooLarge(usize),
    /// It sends to where regseal does not go (502).
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Where it sends to, there is no such content (502).
    #[error("where the registry behind sends to, the answer is {0}")]
    Elsewhere(StatusCode),
    /// The request could not be built from what the client or the registry sent (502).
    #[error("the request to the registry behind could not be built: {0}")]
    Request(#[from] http::Error),
}
