//! Content on its way out or in, hashed as it flows.

use std::fmt;
use std::io;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use thiserror::Error;

use crate::oci::{Digest, Hasher};

use super::blob::{ByteStream, Key, Object};
use super::error::StoreError;
use super::records::Link;

/// Content up to this length is verified before the first byte is given.
const VERIFIED_FIRST: u64 = 4 * 1024 * 1024;

/// Content of a repository.
pub struct Content {
    /// What the repository serves it as.
    pub link: Link,
    /// Length in bytes.
    pub size: u64,
    /// The bytes; ends in an error if they are not those of the digest.
    pub body: ByteStream,
}

impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Content")
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

/// Why a stream was refused while it was hashed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum Refused {
    /// The bytes hash to another digest.
    #[error("the content does not have its digest")]
    Mismatch,
    /// There are more bytes than allowed.
    #[error("the content is longer than allowed")]
    TooLong,
}

impl Refused {
    /// The reason within `error`, if it is one of these.
    pub(super) fn within(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// `object` as content that is verified while it is read.
pub(super) async fn verify(
    link: Link,
    object: Object,
    digest: &Digest,
    key: Key,
) -> Result<Content, StoreError> {
    let size = object.size;
    let Some(body) = hashed(object.stream, digest, size) else {
        return Err(StoreError::Corrupt { key });
    };
    if size > VERIFIED_FIRST {
        return Ok(Content { link, size, body });
    }
    let collected: Result<BytesMut, _> = body.try_collect().await;
    match collected {
        Ok(bytes) => {
            let bytes = bytes.freeze();
            let body = stream::once(async { Ok(bytes) }).boxed();
            Ok(Content { link, size, body })
        }
        Err(error) if Refused::within(&error).is_some() => Err(StoreError::Corrupt { key }),
        Err(error) => Err(StoreError::Unavailable {
            operation: "read content",
            source: Box::new(error),
        }),
    }
}

/// `stream`, ending in an error unless it has the digest and at most `limit` bytes. The last piece is given only when
/// all is verified, so that whoever counts bytes cannot take a wrong body for a whole one. `None` if the digest's
/// algorithm is not supported.
pub(super) fn hashed(stream: ByteStream, digest: &Digest, limit: u64) -> Option<ByteStream> {
    let state = Hashed {
        stream,
        hasher: Some(digest.hasher()?),
        digest: digest.clone(),
        allowed: limit,
        held: None,
    };
    Some(stream::try_unfold(state, Hashed::next).boxed())
}

struct Hashed {
    stream: ByteStream,
    /// `None` once everything is verified.
    hasher: Option<Hasher>,
    digest: Digest,
    allowed: u64,
    held: Option<Bytes>,
}

impl Hashed {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let Some(mut hasher) = self.hasher.take() else {
            return Ok(None);
        };
        while let Some(piece) = self.stream.next().await {
            let piece = piece?;
            self.allowed = self
                .allowed
                .checked_sub(piece.len() as u64)
                .ok_or_else(|| io::Error::other(Refused::TooLong))?;
            hasher.update(&piece);
            if let Some(earlier) = self.held.replace(piece) {
                self.hasher = Some(hasher);
                return Ok(Some((earlier, self)));
            }
        }
        if hasher.finish() != self.digest {
            return Err(io::Error::other(Refused::Mismatch));
        }
        Ok(self.held.take().map(|last| (last, self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(texts: &[&'static str]) -> ByteStream {
        let pieces: Vec<_> = texts
            .iter()
            .map(|text| Ok(Bytes::from_static(text.as_bytes())))
            .collect();
        stream::iter(pieces).boxed()
    }

    #[tokio::test]
    async fn a_wrong_body_never_ends_cleanly_nor_reaches_its_length() {
        let digest = Digest::sha256(b"abcdef");
        for (texts, limit, refused, why) in [
            (&["abc", "def"][..], 6, None, "whole"),
            (&["abcdef"], 6, None, "in one piece"),
            (&["abc", "deX"], 6, Some(Refused::Mismatch), "changed"),
            (&["abc"], 6, Some(Refused::Mismatch), "truncated"),
            (&[], 6, Some(Refused::Mismatch), "empty"),
            (&["abc", "def"], 5, Some(Refused::TooLong), "too long"),
        ] {
            let mut stream = hashed(pieces(texts), &digest, limit).unwrap();
            let mut seen = BytesMut::new();
            let mut end = None;
            while let Some(piece) = stream.next().await {
                match piece {
                    Ok(piece) => seen.extend_from_slice(&piece),
                    Err(error) => end = Refused::within(&error),
                }
            }
            assert_eq!(end, refused, "{why}");
            assert_eq!(seen.len() == 6, refused.is_none(), "{why}");
        }
    }
}
