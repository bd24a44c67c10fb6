//! end-5 and end-6 with a `Content-Range`: a chunk that does not begin where the session ends is refused before it is
//! forwarded, since old registries append whatever comes.
//!
//! The registry behind is asked how far the session is, so it does not matter which replica took the chunks before.

use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE, TRANSFER_ENCODING,
};
use http::{HeaderMap, Method, StatusCode, Uri, request};

use super::Handlers;
use super::error::HandlerError;
use crate::auth::Caller;
use crate::body;
use crate::oci::RepositoryName;
use crate::route::Route;
use crate::upstream::place::Place;

impl Handlers {
    /// Asks nothing of a request without `Content-Range`, or with one that is not of the specification's form.
    ///
    /// # Errors
    /// The chunk is out of order; the session is as it was.
    pub(super) async fn require_order(
        &self,
        route: &Route,
        parts: &request::Parts,
        caller: &Caller,
        name: &RepositoryName,
    ) -> Result<(), HandlerError> {
        let start = start(&parts.headers);
        // Where the registry sends elsewhere, what answers is not of this specification.
        let Some(start) = start.filter(|_| parts.extensions.get::<Place>().is_none()) else {
            return Ok(());
        };
        let status = status_request(parts);
        let response = self.send(route, &status, caller, body::empty()).await?;
        let response = self.relay_upload(&status, name, response)?;
        if response.status() != StatusCode::NO_CONTENT {
            return Ok(());
        }
        let headers = response.headers();
        let Some(end) = end(headers) else {
            return Ok(());
        };
        // Most registries say `0-0` of an empty session as of one with a single byte.
        let is_next = match end {
            End::Empty => start == 0,
            End::At(0) => start <= 1,
            End::At(end) => end.checked_add(1) == Some(start),
        };
        if is_next {
            return Ok(());
        }
        let mut shown = HeaderMap::new();
        for name in [
            LOCATION,
            RANGE,
            http::HeaderName::from_static("docker-upload-uuid"),
        ] {
            if let Some(value) = headers.get(&name) {
                shown.insert(name, value.clone());
            }
        }
        if end == End::Empty {
            shown.insert(RANGE, HeaderValue::from_static("0-0"));
        }
        Err(HandlerError::ChunkOutOfOrder {
            session: Box::new(shown),
        })
    }
}

/// The first byte of `Content-Range: <start>-<end>`.
fn start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (start, end) = range.split_once('-')?;
    end.parse::<u64>().ok()?;
    start.parse().ok()
}

/// How far a session is.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Empty,
    /// Its last byte.
    At(u64),
}

/// What `Range: 0-<end>` says; some registries say `0--1` of an empty session.
fn end(headers: &HeaderMap) -> Option<End> {
    let range = headers.get(RANGE)?.to_str().ok()?;
    match range.strip_prefix("0-")? {
        "-1" => Some(End::Empty),
        end => end.parse().ok().map(End::At),
    }
}

/// `GET` on the session: the state in its query verbatim, without the digest of a last chunk.
fn status_request(parts: &request::Parts) -> request::Parts {
    let mut status = parts.clone();
    status.method = Method::GET;
    status.uri = without_digest(&parts.uri);
    for name in [
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        TRANSFER_ENCODING,
    ] {
        status.headers.remove(name);
    }
    status
}

fn without_digest(uri: &Uri) -> Uri {
    let query = uri.query().unwrap_or_default().split('&');
    let kept: Vec<&str> = query.filter(|pair| !pair.starts_with("digest=")).collect();
    let path = uri.path();
    let rebuilt = format!("{path}?{}", kept.join("&"));
    rebuilt.parse().unwrap_or_else(|_error| uri.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_a_chunk_has_the_form_of_the_specification() {
        for (range, expected) in [
            ("5-9", Some(5)),
            ("0-0", Some(0)),
            ("bytes 5-9/10", None),
            ("5-", None),
            ("-9", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, range.parse().unwrap());
            assert_eq!(start(&headers), expected, "{range}");
        }
    }

    #[test]
    fn the_state_of_a_session_stays_verbatim() {
        for (uri, expected) in [
            ("/u?_state=a%3D&digest=sha256:x", "/u?_state=a%3D"),
            ("/u?digest=sha256:x&b=%2F", "/u?b=%2F"),
            ("/u", "/u?"),
        ] {
            assert_eq!(without_digest(&uri.parse().unwrap()), expected);
        }
    }
}
