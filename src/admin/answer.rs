//! Answers of the admin API: JSON, never stored by anybody on the way. Errors look as those of a registry do.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use thiserror::Error;

use crate::admission::AdmissionError;
use crate::handlers::HandlerError;
use crate::oci::{ErrorCode, InvalidImageReference, error_code};
use crate::policy::LoadErrors;
use crate::store::StoreError;

/// Why a question has no answer.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("there is nothing of this name in the admin API")]
    NoSuchPath,
    #[error("this is asked by another method")]
    Method,
    #[error("too many questions are being answered; ask again")]
    Busy,
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body cannot be used: {0}")]
    BadBody(String),
    #[error("the query needs one {0}")]
    Query(&'static str),
    #[error(transparent)]
    Reference(#[from] InvalidImageReference),
    #[error("the policy has no authority {0:?}")]
    UnknownAuthority(String),
    #[error("{0}")]
    Cases(LoadErrors),
    #[error("there is no policy: set policy.file")]
    NoPolicy,
    #[error("one is being worked on; GET tells how far it is")]
    Running,
    #[error(
        "the registry has no such manifest, and none is kept; what was rejected at its push is explained by its digest"
    )]
    NoManifest,
    #[error(
        "the registry answered {0} to regseal itself: set upstream.service_account to one who may pull there"
    )]
    NotAllowed(StatusCode),
    #[error("{0}")]
    Undecided(#[source] HandlerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the question broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

impl From<HandlerError> for Refusal {
    fn from(error: HandlerError) -> Self {
        if matches!(error, HandlerError::ManifestUnknown) {
            return Self::NoManifest;
        }
        if let HandlerError::Undecided { status } = error
            && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        {
            return Self::NotAllowed(status);
        }
        Self::Undecided(error)
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchPath | Self::NoManifest => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Busy | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BadBody(_)
            | Self::Query(_)
            | Self::Reference(_)
            | Self::UnknownAuthority(_)
            | Self::Cases(_) => StatusCode::BAD_REQUEST,
            Self::NoPolicy | Self::Running => StatusCode::CONFLICT,
            Self::Undecided(HandlerError::Store(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Undecided(HandlerError::Admission(error))
                if matches!(**error, AdmissionError::Store(_)) =>
            {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NotAllowed(_) | Self::Undecided(_) => StatusCode::BAD_GATEWAY,
            Self::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::NoManifest => ErrorCode::ManifestUnknown,
            Self::Reference(_) => ErrorCode::NameInvalid,
            Self::Busy => ErrorCode::TooManyRequests,
            Self::TooLarge(_) => ErrorCode::SizeInvalid,
            Self::NotAllowed(_) => ErrorCode::Denied,
            Self::NoSuchPath
            | Self::Method
            | Self::BadBody(_)
            | Self::Query(_)
            | Self::UnknownAuthority(_)
            | Self::Cases(_)
            | Self::NoPolicy
            | Self::Running
            | Self::Undecided(_)
            | Self::Store(_)
            | Self::Broken(_) => ErrorCode::Unsupported,
        }
    }
}

pub(super) fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    let mut message = refusal.to_string();
    let mut cause = std::error::Error::source(refusal);
    while let Some(error) = cause {
        let more = error.to_string();
        if !message.contains(&more) {
            message = format!("{message}: {more}");
        }
        cause = error.source();
    }
    let status = refusal.status();
    if status.is_server_error() {
        tracing::warn!(error = message, "a question to the admin API has no answer");
    }
    let document = error_code::error_document(refusal.code(), &message, None);
    written(status, document)
}

pub(super) fn unauthorized() -> Response<Full<Bytes>> {
    let message = "the admin API needs its token: Authorization: Bearer <token>";
    let document = error_code::error_document(ErrorCode::Unauthorized, message, None);
    let mut response = written(StatusCode::UNAUTHORIZED, document);
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    written(status, serde_json::to_vec(value).unwrap_or_default())
}

pub(super) fn written(status: StatusCode, document: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(document.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
