//! What answers of a registry say.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use super::Answer;
use crate::oci::media_type;

/// The statuses with which registries say that they have no such thing, or no such endpoint.
#[must_use]
pub fn is_absence(status: StatusCode) -> bool {
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

/// The `Content-Type` of an answer, without parameters; empty if it has none.
#[must_use]
pub fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    media_type::essence(value.unwrap_or_default())
}

impl Answer {
    /// The `Content-Type`, without parameters; empty if there is none.
    #[must_use]
    pub fn content_type(&self) -> &str {
        content_type(&self.parts.headers)
    }
}
