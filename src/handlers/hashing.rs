//! Computes both digests of a body while it is streamed on.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::body::{Body, BodyError};
use crate::oci::{Digest, Hasher};

/// The digests of a body, known once it has ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Digests {
    computed: Arc<Mutex<Option<(Digest, Digest)>>>,
}

impl Digests {
    /// The SHA-256 digest of the body, if it ended and `sha512` is its other digest.
    pub(super) fn canonical_of(&self, sha512: &Digest) -> Option<Digest> {
        let computed = self.computed.lock().unwrap_or_else(PoisonError::into_inner);
        let (canonical, other) = computed.as_ref()?;
        (other == sha512).then(|| canonical.clone())
    }
}

/// Splits `body` into the same body and its digests, if `digest` is one that needs them.
pub(super) fn hashing(body: Body, digest: Option<&Digest>) -> (Body, Digests) {
    let digests = Digests::default();
    if !digest.is_some_and(super::aliases::is_second) {
        return (body, digests);
    }
    let mut hashing = Hashing {
        inner: body,
        hashers: Some((Hasher::sha256(), Hasher::sha512())),
        digests: digests.clone(),
    };
    // The client library may not look at the end of a body that has nothing.
    if hashing.inner.is_end_stream() {
        hashing.end();
    }
    (hashing.boxed_unsync(), digests)
}

struct Hashing {
    inner: Body,
    hashers: Option<(Hasher, Hasher)>,
    digests: Digests,
}

impl Hashing {
    fn end(&mut self) {
        if let Some((sha256, sha512)) = self.hashers.take() {
            let mut computed = self
                .digests
                .computed
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *computed = Some((sha256.finish(), sha512.finish()));
        }
    }
}

impl http_body::Body for Hashing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(bytes), Some((sha256, sha512))) =
                    (frame.data_ref(), self.hashers.as_mut())
                {
                    sha256.update(bytes);
                    sha512.update(bytes);
                }
                if self.inner.is_end_stream() {
                    self.end();
                }
            }
            Some(Err(_)) => self.hashers = None,
            None => self.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body;

    #[tokio::test]
    async fn a_whole_body_has_both_its_digests_and_no_others() {
        let wanted = Digest::sha512(b"0123");
        for (content, read, expected) in [
            ("0123", true, Some(Digest::sha256(b"0123"))),
            ("012", true, None),
            ("0123", false, None),
        ] {
            let (streamed, digests) = hashing(body::full(content), Some(&wanted));
            if read {
                assert_eq!(streamed.collect().await.unwrap().to_bytes(), content);
            }
            assert_eq!(digests.canonical_of(&wanted), expected, "{content} {read}");
        }
        let empty = Digest::sha512(b"");
        let (_, digests) = hashing(body::empty(), Some(&empty));
        assert_eq!(digests.canonical_of(&empty), Some(Digest::sha256(b"")));
    }
}
