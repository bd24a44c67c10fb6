//! The one body type of the data path: a stream of chunks, never a buffer of unknown size.

mod counted;
mod held;
mod idle;
mod room;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited};
use thiserror::Error;

pub use counted::{Count, counted};
pub use held::Held;
pub use idle::{IdleTimeout, is_idle_timeout};
pub use room::{Room, RoomError, Taken};

/// Any error of a body.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct BodyError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl BodyError {
    /// Wraps the error of whatever a body is made from.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// A streamed request or response body.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body without bytes.
#[must_use]
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of bytes in memory.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Why a body could not be read whole.
#[derive(Debug)]
pub enum ReadError {
    /// It has more bytes than allowed.
    TooLarge,
    /// It broke off.
    Broken(BodyError),
}

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// See [`ReadError`].
pub async fn read(body: Body, limit: usize) -> Result<Bytes, ReadError> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ReadError::TooLarge),
        Err(error) => Err(ReadError::Broken(BodyError::new(error))),
    }
}
