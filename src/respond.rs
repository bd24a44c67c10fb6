//! Every error becomes a status and an OCI error body here, and nowhere else (distribution-spec "Error Codes").

use std::error::Error;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use crate::admission::AdmissionError;
use crate::auth::relay::{RelayError, Unannounced};
use crate::auth::{AuthError, Refusal};
use crate::body::{self, Body, BodyError};
use crate::handlers::HandlerError;
use crate::oci::{ErrorCode, error_code};
use crate::route::RouteError;
use crate::store::StoreError;
use crate::telemetry::fields;
use crate::upstream::place::PlaceError;
use crate::upstream::{UpstreamError, headers};

/// How long a client is asked to wait when regseal itself cannot answer, in seconds.
const RETRY_SECONDS: u64 = 5;

/// The answer to a request without a route.
#[must_use]
pub fn route_error(error: &RouteError) -> Response<Body> {
    let (status, code) = match error {
        RouteError::NotCanonical | RouteError::Name => {
            (StatusCode::BAD_REQUEST, ErrorCode::NameInvalid)
        }
        RouteError::Digest => (StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid),
        RouteError::Tag => (StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid),
        RouteError::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported),
        RouteError::Unknown => (StatusCode::NOT_FOUND, ErrorCode::NameUnknown),
    };
    let mut response = document(status, code, &error.to_string());
    if let RouteError::Method { allow } = error {
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// The answer where a handler has none.
#[must_use]
pub fn handler_error(error: HandlerError) -> Response<Body> {
    let message = error.to_string();
    let (status, code) = match error {
        HandlerError::Auth(error) => return auth_error(error),
        HandlerError::Relay(error) => return relay_error(&error),
        HandlerError::Upstream(error) => return upstream_error(&error),
        HandlerError::Admission(error) => return admission_error(&error),
        HandlerError::Broken(error) => return upstream_error(&UpstreamError::Body(error)),
        HandlerError::Denied(denied) => {
            let (status, detail) = (StatusCode::FORBIDDEN, denied.detail());
            return detailed(status, ErrorCode::Denied, &message, Some(detail));
        }
        HandlerError::SignatureUntrusted { .. } | HandlerError::MarkerTag { .. } => {
            (StatusCode::FORBIDDEN, ErrorCode::Denied)
        }
        HandlerError::Store(error) => return store_error(&error),
        HandlerError::Undecided { .. } => (StatusCode::BAD_GATEWAY, ErrorCode::Unsupported),
        HandlerError::Busy {
            status,
            retry_after,
        } => {
            let mut response = retry(document(status, ErrorCode::TooManyRequests, &message));
            let words = retry_after.map(|words| (RETRY_AFTER, words));
            response.headers_mut().extend(words);
            return response;
        }
        HandlerError::NoRoom => return overloaded(),
        HandlerError::ManifestTooSlow { .. } => {
            (StatusCode::REQUEST_TIMEOUT, ErrorCode::SizeInvalid)
        }
        HandlerError::Credentials(_) => (StatusCode::BAD_REQUEST, ErrorCode::Unauthorized),
        HandlerError::RequestBody(error) => return request_body_error(&error),
        HandlerError::ManifestTooLarge { .. } | HandlerError::BlobTooLarge { .. } => {
            (StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid)
        }
        HandlerError::TooManyTags { .. } => (StatusCode::URI_TOO_LONG, ErrorCode::ManifestInvalid),
        HandlerError::ChunkOutOfOrder { session } => {
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            let mut response = document(status, ErrorCode::BlobUploadInvalid, &message);
            response.headers_mut().extend(*session);
            return response;
        }
        HandlerError::Manifest(_)
        | HandlerError::BlobSize { .. }
        | HandlerError::QueryTag
        | HandlerError::SignatureInvalid { .. } => {
            (StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid)
        }
        HandlerError::DigestMismatch { .. } | HandlerError::QueryDigest => {
            (StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid)
        }
        HandlerError::BlobOfManifestUnknown { .. } => {
            (StatusCode::BAD_REQUEST, ErrorCode::ManifestBlobUnknown)
        }
        HandlerError::ManifestUnknown => (StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown),
        HandlerError::BlobUnknown => (StatusCode::NOT_FOUND, ErrorCode::BlobUnknown),
        HandlerError::Namespace { .. } => (StatusCode::NOT_FOUND, ErrorCode::NameUnknown),
        HandlerError::UploadUnknown => (StatusCode::NOT_FOUND, ErrorCode::BlobUploadUnknown),
        HandlerError::Place(error) => return place_error(error),
        HandlerError::DeletionDisabled => (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported),
        HandlerError::Cursor => (StatusCode::BAD_REQUEST, ErrorCode::Unsupported),
        HandlerError::Http(error) => return upstream_error(&UpstreamError::Request(error)),
    };
    document(status, code, &message)
}

/// The answer to a request whose end is not certain (RFC 9112 section 6.3).
#[must_use]
pub fn framing_error() -> Response<Body> {
    let message =
        "the length of the request is not certain: give one, or the transfer coding chunked";
    document(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message)
}

/// The answer to a request that says two things of which one is wrong (RFC 9110 section 7.4).
#[must_use]
pub fn contradiction(why: &str) -> Response<Body> {
    document(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, why)
}

/// The answer to a request that is not taken on: too many are under way.
#[must_use]
pub fn overloaded() -> Response<Body> {
    let message = "too many requests are under way; try again";
    retry(document(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::TooManyRequests,
        message,
    ))
}

/// The answer to a client that has too many requests under way.
#[must_use]
pub fn too_many_of_one_client() -> Response<Body> {
    let message = "too many requests of this client are under way; try again";
    let (status, code) = (StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests);
    retry(document(status, code, message))
}

/// The answer to a request that took longer than a request may. What it had begun to write goes on.
#[must_use]
pub fn too_slow(limit: Duration) -> Response<Body> {
    tracing::warn!(?limit, "a request was not answered in time");
    let message = "this could not be answered in time; try again";
    let (status, code) = (StatusCode::GATEWAY_TIMEOUT, ErrorCode::Unsupported);
    retry(document(status, code, message))
}

fn auth_error(error: AuthError) -> Response<Body> {
    match error {
        AuthError::Refused(refusal) => relay(*refusal),
        AuthError::Hidden => document(
            StatusCode::NOT_FOUND,
            ErrorCode::NameUnknown,
            "repository name not known to registry",
        ),
        AuthError::Upstream(error) => match &*error {
            UpstreamError::Full | UpstreamError::NoRoom => upstream_error(&error),
            UpstreamError::Connection(_)
            | UpstreamError::Cut(_)
            | UpstreamError::RequestBody(_)
            | UpstreamError::FirstByte(_)
            | UpstreamError::Body(_)
            | UpstreamError::TooLarge(_)
            | UpstreamError::Place(_)
            | UpstreamError::Elsewhere(_)
            | UpstreamError::Request(_) => undecided(&error),
        },
        AuthError::Unanswered | AuthError::Randomness => internal(&error),
    }
}

/// The answer to a token request that no token service answers.
fn relay_error(error: &RelayError) -> Response<Body> {
    let (status, code) = match error {
        RelayError::Off | RelayError::NoRealm => (StatusCode::NOT_FOUND, ErrorCode::NameUnknown),
        RelayError::NotAForm | RelayError::Broken(_) => {
            (StatusCode::BAD_REQUEST, ErrorCode::Unsupported)
        }
        RelayError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid),
        RelayError::TooSlow(_) => (StatusCode::REQUEST_TIMEOUT, ErrorCode::SizeInvalid),
        RelayError::Redirected(_) => (StatusCode::BAD_GATEWAY, ErrorCode::Denied),
        RelayError::Unannounced(reason) => {
            return match &**reason {
                Unannounced::Upstream(error) => upstream_error(error),
                Unannounced::Status(_) => {
                    let message = "the registry behind does not say where its token service is";
                    let code = ErrorCode::Unsupported;
                    retry(document(StatusCode::BAD_GATEWAY, code, message))
                }
            };
        }
        RelayError::TokenService(error) => return upstream_error(error),
    };
    document(status, code, &error.to_string())
}

/// The registry's own refusal: its challenge and its words. A success or a redirect to a probe is no answer to what
/// was asked.
fn relay(refusal: Refusal) -> Response<Body> {
    let Refusal { mut parts, body } = refusal;
    if !parts.status.is_client_error() && !parts.status.is_server_error() {
        let message = "the registry behind did not decide whether this is allowed";
        return document(StatusCode::BAD_GATEWAY, ErrorCode::Denied, message);
    }
    if parts.status == StatusCode::NOT_FOUND || body.is_empty() {
        let code = match parts.status {
            StatusCode::UNAUTHORIZED => ErrorCode::Unauthorized,
            StatusCode::TOO_MANY_REQUESTS => ErrorCode::TooManyRequests,
            status if status.is_server_error() => ErrorCode::Unsupported,
            _ => ErrorCode::Denied,
        };
        let mut response = document(parts.status, code, "refused by the registry behind");
        for (name, value) in &parts.headers {
            if matches!(name.as_str(), "www-authenticate" | "retry-after") {
                response.headers_mut().append(name.clone(), value.clone());
            }
        }
        return response;
    }
    headers::remove_hop_by_hop(&mut parts.headers);
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    Response::from_parts(parts, body::full(body))
}

/// regseal would answer itself, and cannot learn whether it may.
fn undecided(error: &UpstreamError) -> Response<Body> {
    tracing::warn!(
        error = error as &dyn Error,
        "the registry behind did not decide"
    );
    retry(document(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Unsupported,
        "the registry behind, which decides whether this is allowed, gave no answer",
    ))
}

fn upstream_error(error: &UpstreamError) -> Response<Body> {
    // The address of the registry behind is nobody's business.
    let (status, message) = match error {
        UpstreamError::Full | UpstreamError::NoRoom => return overloaded(),
        UpstreamError::RequestBody(error) => return request_body_error(error),
        UpstreamError::FirstByte(_) => (
            StatusCode::GATEWAY_TIMEOUT,
            "the registry behind did not answer in time",
        ),
        UpstreamError::Connection(_) => (
            StatusCode::BAD_GATEWAY,
            "the registry behind could not be reached",
        ),
        UpstreamError::Body(error) if body::is_idle_timeout(error) => (
            StatusCode::GATEWAY_TIMEOUT,
            "the answer of the registry behind stopped coming",
        ),
        UpstreamError::Cut(_) | UpstreamError::Body(_) => (
            StatusCode::BAD_GATEWAY,
            "the answer of the registry behind broke off",
        ),
        UpstreamError::Place(_) => (
            StatusCode::BAD_GATEWAY,
            "the registry behind sends to a place where regseal does not go",
        ),
        UpstreamError::TooLarge(_) | UpstreamError::Elsewhere(_) | UpstreamError::Request(_) => (
            StatusCode::BAD_GATEWAY,
            "the registry behind gave an unusable answer",
        ),
    };
    tracing::warn!(
        error = error as &dyn Error,
        "the registry behind gave no answer"
    );
    retry(document(status, ErrorCode::Unsupported, message))
}

/// The client, if it is still there, sent less than it announced.
fn request_body_error(error: &BodyError) -> Response<Body> {
    if body::is_idle_timeout(error) {
        let message = "the request body stopped coming";
        return document(StatusCode::REQUEST_TIMEOUT, ErrorCode::SizeInvalid, message);
    }
    let message = "the request body broke off";
    document(StatusCode::BAD_REQUEST, ErrorCode::SizeInvalid, message)
}

fn place_error(error: PlaceError) -> Response<Body> {
    tracing::warn!(
        error = &error as &dyn Error,
        "regseal does not go where the registry behind sends"
    );
    let (status, code) = (StatusCode::BAD_GATEWAY, ErrorCode::Unsupported);
    document(status, code, &error.to_string())
}

/// Whether something is signed could not be found out: not the same as unsigned.
fn admission_error(error: &AdmissionError) -> Response<Body> {
    if let AdmissionError::Store(error) = error {
        return store_error(error);
    }
    tracing::warn!(
        error = error as &dyn Error,
        "whether something is signed could not be decided"
    );
    retry(document(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Unsupported,
        "whether this is signed cannot be decided at the moment; try again",
    ))
}

fn store_error(error: &StoreError) -> Response<Body> {
    let message = error.to_string();
    match error {
        StoreError::Unavailable { .. } => {
            tracing::error!(error = error as &dyn Error, "the store is unavailable");
            let message = "the signature store is unavailable";
            retry(document(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::Unsupported,
                message,
            ))
        }
        StoreError::Corrupt { .. } => internal(error),
        StoreError::DigestMismatch { .. } | StoreError::UnsupportedDigest { .. } => {
            document(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid, &message)
        }
        StoreError::TooLarge { .. } => document(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::SizeInvalid,
            &message,
        ),
        StoreError::Body { .. } => {
            let message = "a blob of the manifest could not be read to its end";
            retry(document(
                StatusCode::BAD_GATEWAY,
                ErrorCode::ManifestBlobUnknown,
                message,
            ))
        }
        StoreError::BlobUnknown { .. } => document(
            StatusCode::BAD_REQUEST,
            ErrorCode::ManifestBlobUnknown,
            &message,
        ),
    }
}

/// The answer where regseal itself failed.
#[must_use]
pub fn internal(error: &(dyn Error + 'static)) -> Response<Body> {
    tracing::error!(error, "internal error");
    document(
        StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::Unsupported,
        "internal error",
    )
}

fn retry(mut response: Response<Body>) -> Response<Body> {
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
    response
}

fn document(status: StatusCode, code: ErrorCode, message: &str) -> Response<Body> {
    detailed(status, code, message, None)
}

fn detailed(
    status: StatusCode,
    code: ErrorCode,
    message: &str,
    detail: Option<serde_json::Value>,
) -> Response<Body> {
    tracing::Span::current().record(fields::OCI_ERROR_CODE, tracing::field::display(&code));
    let bytes = error_code::error_document(code, message, detail);
    let length = bytes.len();
    let mut response = Response::new(body::full(bytes));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}
