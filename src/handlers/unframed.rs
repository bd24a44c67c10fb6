//! Content whose end is told by nothing but the end of the connection (RFC 9112 section 6.3): it may have been cut off,
//! and would be passed on with an end that looks right. Its digest tells.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use thiserror::Error;

use crate::body::{Body, BodyError};
use crate::oci::{Digest, digest::Hasher};

/// What the last frame is replaced by.
#[derive(Debug, Error)]
#[error("what came does not have the digest {0}: it was cut off")]
struct CutOff(Digest);

/// The same answer; content that ends with its connection, and whose digest is known, breaks off where it is not whole.
pub(super) fn verified(response: Response<Body>, digest: Option<Digest>) -> Response<Body> {
    let is_framed = response.body().is_end_stream() || names_its_end(response.headers());
    if response.status() != StatusCode::OK || is_framed {
        return response;
    }
    let Some((digest, hasher)) = digest.and_then(|digest| {
        let hasher = digest.hasher()?;
        Some((digest, hasher))
    }) else {
        return response;
    };
    response.map(|inner| {
        let expected = Some((digest, hasher));
        Verified { inner, expected }.boxed_unsync()
    })
}

/// Whether the end of the content is known, or its bytes are not those of the digest: another coding, or the signed form
/// of old manifests, whose digest leaves the signatures out.
fn names_its_end(headers: &HeaderMap) -> bool {
    let has = |name| headers.contains_key(name);
    let is_signed = headers.get(CONTENT_TYPE).is_some_and(|media_type| {
        let media_type = media_type.as_bytes();
        media_type.starts_with(b"application/vnd.docker.distribution.manifest.v1")
    });
    has(CONTENT_LENGTH) || has(TRANSFER_ENCODING) || has(CONTENT_ENCODING) || is_signed
}

struct Verified {
    inner: Body,
    expected: Option<(Digest, Hasher)>,
}

impl http_body::Body for Verified {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(bytes), Some((_, hasher))) = (frame.data_ref(), &mut self.expected) {
                    hasher.update(bytes);
                }
            }
            Some(Err(_)) => {}
            None => {
                if let Some((digest, hasher)) = self.expected.take()
                    && hasher.finish() != digest
                {
                    return Poll::Ready(Some(Err(BodyError::new(CutOff(digest)))));
                }
            }
        }
        Poll::Ready(frame)
    }
}
