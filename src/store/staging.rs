//! Blobs before their manifest: staged uploads, and claiming a blob for a manifest.

use std::time::Duration;

use bytes::Bytes;

use crate::clock::UnixMillis;
use crate::oci::{Digest, RepositoryName};

use super::blob::{BlobError, ByteStream, Condition};
use super::content::{self, Refused};
use super::error::StoreError;
use super::layout::{self, Passing};
use super::records::{Link, LinkKind};
use super::signatures::SignatureStore;

/// How long staged bytes wait for a manifest.
pub(super) const KEPT: Duration = Duration::from_secs(3600);
/// Media type of a blob that came without one.
const OCTETS: &str = "application/octet-stream";

impl SignatureStore {
    /// Keeps uploaded bytes for an hour, for a manifest of this repository to claim.
    ///
    /// # Errors
    /// The bytes do not have the digest, or the object store is unavailable.
    pub async fn stage(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<(), StoreError> {
        expect_digest(digest, &bytes)?;
        let key = layout::staged(repository, digest);
        self.blobs.put(&key, bytes, Condition::Always).await?;
        self.staged.push(self.clock.now().saturating_add(KEPT), key);
        Ok(())
    }

    /// Removes staged bytes that are an hour old at `now`; returns how many. To be called on a timer. The first call
    /// looks through all repositories, for what earlier processes left.
    ///
    /// # Errors
    /// The object store is unavailable; a later call goes on.
    pub async fn sweep_staging(&self, now: UnixMillis) -> Result<usize, StoreError> {
        let mut swept = 0;
        if self.staged.needs_walk() {
            match self.walk_staging(now).await {
                Ok(count) => swept += count,
                Err(error) => {
                    self.staged.walk_again();
                    return Err(error);
                }
            }
        }
        while let Some(key) = self.staged.pop(now) {
            // It may have been staged again since, and then stands in the queue a second time.
            if let Some(head) = self.blobs.head(&key).await?
                && head.modified.saturating_add(KEPT) <= now
            {
                self.blobs.delete(&key).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    async fn walk_staging(&self, now: UnixMillis) -> Result<usize, StoreError> {
        let mut swept = 0;
        let mut after = None;
        while let Some((found, next)) = self.step_through(Passing::Staging, after.as_ref()).await? {
            after = Some(next);
            for listed in found {
                let due = listed.modified.saturating_add(KEPT);
                if due <= now {
                    self.blobs.delete(&listed.key).await?;
                    swept += 1;
                } else {
                    self.staged.push(due, listed.key);
                }
            }
        }
        Ok(swept)
    }

    /// Makes a blob durable for a manifest that is about to name it, from what this repository has: content it links
    /// already (written again, so that no collector takes it in between), or bytes staged for it. Returns its size;
    /// `None` if it is in neither, and has to be fetched. Never looks at another repository's content.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn claim_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        media_type: &str,
    ) -> Result<Option<u64>, StoreError> {
        let _held = self.digests.hold(&(repository, digest)).await;
        let linked = layout::link(repository, digest);
        let size = match self.readable_record::<Link>(&linked).await? {
            Some(_) => self.write_again(digest).await?,
            None => None,
        };
        let size = match size {
            Some(size) => size,
            None => match self.claim_staged(repository, digest).await? {
                Some(size) => size,
                None => return Ok(None),
            },
        };
        self.link_blob(repository, digest, media_type, size).await?;
        Ok(Some(size))
    }

    /// Links a blob of the repository `from` in `repository` as well, writing it again, so that no collector takes it in
    /// between. `false` if `from` does not link it as a blob, or it is lost.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn adopt_blob(
        &self,
        from: &RepositoryName,
        repository: &RepositoryName,
        digest: &Digest,
        media_type: &str,
    ) -> Result<bool, StoreError> {
        let _held = self.digests.hold(&(repository, digest)).await;
        let linked = layout::link(from, digest);
        let link = self.readable_record::<Link>(&linked).await?;
        if link.is_none_or(|link| link.kind != LinkKind::Blob) {
            return Ok(false);
        }
        let Some(size) = self.write_again(digest).await? else {
            return Ok(false);
        };
        self.link_blob(repository, digest, media_type, size).await?;
        Ok(true)
    }

    /// Stores a blob for a manifest that is about to name it, hashing it while it is written; returns its size.
    ///
    /// # Errors
    /// The stream fails, is longer than `limit`, or does not have the digest: then nothing becomes visible. Or the
    /// object store is unavailable.
    pub async fn put_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        stream: ByteStream,
        limit: u64,
    ) -> Result<u64, StoreError> {
        let Some(stream) = content::hashed(stream, digest, limit) else {
            return Err(StoreError::UnsupportedDigest {
                digest: digest.clone(),
            });
        };
        let written = self.blobs.put_stream(&layout::blob(digest), stream).await;
        let size = written.map_err(|error| match refusal(&error) {
            Some(Refused::Mismatch) => StoreError::DigestMismatch {
                expected: digest.clone(),
            },
            Some(Refused::TooLong) => StoreError::TooLarge { limit },
            None => error.into(),
        })?;
        let _held = self.digests.hold(&(repository, digest)).await;
        self.link_blob(repository, digest, OCTETS, size).await?;
        Ok(size)
    }

    async fn link_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        media_type: &str,
        size: u64,
    ) -> Result<(), StoreError> {
        let link = Link {
            kind: LinkKind::Blob,
            media_type: media_type.to_owned(),
            size,
            subject: None,
        };
        let change = self.begin_change(repository, digest, None);
        let link = self.put_link(repository, digest, link).await?;
        self.index_link(repository, digest, link.clone()).await?;
        if link.kind != LinkKind::Blob {
            // A manifest as well, which may be deleted at this moment.
            self.look_at_link(repository, digest, &link).await?;
        }
        change.finished();
        let name = (repository.clone(), digest.clone());
        self.collections.claimed.insert(name, ()).await;
        Ok(())
    }

    /// Writes a blob over itself; `None` if it is lost or corrupt, so that it is claimed from elsewhere, which heals
    /// it.
    async fn write_again(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let key = layout::blob(digest);
        let Some(object) = self.blobs.open(&key).await? else {
            return Ok(None);
        };
        let Some(stream) = content::hashed(object.stream, digest, object.size) else {
            return Ok(None);
        };
        match self.blobs.put_stream(&key, stream).await {
            Ok(size) => Ok(Some(size)),
            Err(error) if refusal(&error).is_some() => {
                tracing::error!(%key, "a stored blob is corrupt and has to be fetched again");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn claim_staged(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<u64>, StoreError> {
        let staged = layout::staged(repository, digest);
        let Some(bytes) = self.blobs.get(&staged).await? else {
            return Ok(None);
        };
        if !digest.matches(&bytes) {
            tracing::error!(key = %staged, "staged bytes are corrupt and have to be fetched");
            return Ok(None);
        }
        let size = bytes.len() as u64;
        self.blobs
            .put(&layout::blob(digest), bytes, Condition::Always)
            .await?;
        Ok(Some(size))
    }
}

/// Fails unless `bytes` have the digest.
pub(super) fn expect_digest(digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
    if digest.matches(bytes) {
        return Ok(());
    }
    Err(match digest.hasher() {
        Some(_) => StoreError::DigestMismatch {
            expected: digest.clone(),
        },
        None => StoreError::UnsupportedDigest {
            digest: digest.clone(),
        },
    })
}

fn refusal(error: &BlobError) -> Option<Refused> {
    match error {
        BlobError::Body(source) => Refused::within(source),
        BlobError::Unavailable { .. } | BlobError::TooLarge { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures_util::{StreamExt, stream};

    use super::*;
    use crate::clock::Clock;
    use crate::store::testing::{Fixture, Signature, repository};

    const BLOB: &[u8] = b"blob";

    fn whole() -> ByteStream {
        stream::iter([Ok(Bytes::from_static(BLOB))]).boxed()
    }

    #[tokio::test]
    async fn staged_bytes_are_claimed_by_their_own_repository_only() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let digest = Digest::sha256(BLOB);
        let bytes = Bytes::from_static(BLOB);
        store.stage(&repository(), &digest, bytes).await.unwrap();
        let other = "other".parse().unwrap();
        let claimed = store.claim_blob(&other, &digest, "x").await.unwrap();
        assert_eq!(claimed, None);
        assert!(store.read(&repository(), &digest).await.unwrap().is_none());

        let claimed = store.claim_blob(&repository(), &digest, "x").await.unwrap();
        assert_eq!(claimed, Some(4));
        let content = store.read(&repository(), &digest).await.unwrap().unwrap();
        assert_eq!(content.link.media_type, "x");
        assert!(store.read(&other, &digest).await.unwrap().is_none());
        // Linked content in one repository is nothing to claim for another.
        let claimed = store.claim_blob(&other, &digest, "x").await.unwrap();
        assert_eq!(claimed, None);
    }

    #[tokio::test]
    async fn claiming_writes_again_so_that_no_collector_takes_it() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let digest = Digest::sha256(BLOB);
        let limit = 4;
        store
            .put_blob(&repository(), &digest, whole(), limit)
            .await
            .unwrap();
        fixture.clock.set(UnixMillis::new(9_000));
        let claimed = store.claim_blob(&repository(), &digest, "x").await.unwrap();
        assert_eq!(claimed, Some(4));
        let head = fixture.blobs.head(&layout::blob(&digest)).await.unwrap();
        assert_eq!(head.unwrap().modified, UnixMillis::new(9_000));
    }

    #[tokio::test]
    async fn a_corrupt_blob_is_not_served_and_has_to_be_fetched_again() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let digest = Digest::sha256(BLOB);
        store
            .put_blob(&repository(), &digest, whole(), 4)
            .await
            .unwrap();
        let key = layout::blob(&digest);
        for damage in ["blub", "blo", ""] {
            let bytes = Bytes::from_static(damage.as_bytes());
            fixture
                .blobs
                .put(&key, bytes, Condition::Always)
                .await
                .unwrap();
            let read = store.read(&repository(), &digest).await;
            assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{damage}");
            let claimed = store.claim_blob(&repository(), &digest, "x").await.unwrap();
            assert_eq!(claimed, None, "{damage}");
        }
        fixture.blobs.delete(&key).await.unwrap();
        let read = store.read(&repository(), &digest).await;
        assert!(matches!(read, Err(StoreError::Corrupt { .. })), "lost");

        store
            .put_blob(&repository(), &digest, whole(), 4)
            .await
            .unwrap();
        assert!(store.read(&repository(), &digest).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_blob_that_is_refused_is_not_there() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let cut = || stream::iter([Err(io::Error::other("cut"))]).boxed();
        let other = Digest::sha256(b"another");
        let unsupported: Digest = "blake3:abcd".parse().unwrap();
        let right = Digest::sha256(BLOB);
        type Expected = fn(&StoreError) -> bool;
        let table: [(&Digest, ByteStream, u64, Expected); 4] = [
            (&other, whole(), 4, |error| {
                matches!(error, StoreError::DigestMismatch { .. })
            }),
            (&right, whole(), 3, |error| {
                matches!(error, StoreError::TooLarge { limit: 3 })
            }),
            (&right, cut(), 4, |error| {
                matches!(error, StoreError::Body { .. })
            }),
            (&unsupported, whole(), 4, |error| {
                matches!(error, StoreError::UnsupportedDigest { .. })
            }),
        ];
        for (digest, stream, limit, expected) in table {
            let error = store
                .put_blob(&repository(), digest, stream, limit)
                .await
                .unwrap_err();
            assert!(expected(&error), "{error}");
            assert!(store.link(&repository(), digest).await.unwrap().is_none());
            let head = fixture.blobs.head(&layout::blob(digest)).await.unwrap();
            assert_eq!(head, None);
        }
    }

    #[tokio::test]
    async fn a_long_blob_streams_and_a_corrupt_one_does_not_end_cleanly() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let mut bytes = vec![1; 5 * 1024 * 1024];
        let digest = Digest::sha256(&bytes);
        let pieces = |bytes: &[u8]| -> ByteStream {
            let pieces: Vec<_> = bytes
                .chunks(65_536)
                .map(|piece| Ok(Bytes::copy_from_slice(piece)))
                .collect();
            stream::iter(pieces).boxed()
        };
        store
            .put_blob(&repository(), &digest, pieces(&bytes), u64::MAX)
            .await
            .unwrap();
        for (change, clean) in [(1, true), (2, false)] {
            bytes[7] = change;
            fixture
                .blobs
                .put_stream(&layout::blob(&digest), pieces(&bytes))
                .await
                .unwrap();
            let content = store.read(&repository(), &digest).await.unwrap().unwrap();
            let ends: Vec<_> = content.body.collect().await;
            assert_eq!(ends.last().unwrap().is_ok(), clean);
        }
    }

    #[tokio::test]
    async fn staged_bytes_are_swept_after_an_hour() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let (old, young) = (Digest::sha256(b"old"), Digest::sha256(b"young"));
        // Records of other kinds lie before and behind the staged bytes.
        Signature::new("a").append(store).await.unwrap();
        let bytes = Bytes::from_static(b"old");
        store.stage(&repository(), &old, bytes).await.unwrap();
        fixture.clock.advance(KEPT / 2);
        let bytes = Bytes::from_static(b"young");
        store.stage(&repository(), &young, bytes).await.unwrap();
        fixture.clock.advance(KEPT / 2);

        // A process that staged nothing itself finds it by walking, then knows what is left.
        let replica = fixture.replica();
        let swept = replica.sweep_staging(fixture.clock.now()).await.unwrap();
        assert_eq!(swept, 2, "the old bytes, and the signature's blob");
        let left = |digest| layout::staged(&repository(), digest);
        assert_eq!(fixture.blobs.head(&left(&old)).await.unwrap(), None);
        assert!(fixture.blobs.head(&left(&young)).await.unwrap().is_some());
        fixture.clock.advance(KEPT / 2);
        let swept = replica.sweep_staging(fixture.clock.now()).await.unwrap();
        assert_eq!(swept, 1);
        let swept = store.sweep_staging(fixture.clock.now()).await.unwrap();
        assert_eq!(swept, 0);
    }

    #[tokio::test]
    async fn bytes_staged_again_wait_another_hour() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let digest = Digest::sha256(BLOB);
        store.sweep_staging(fixture.clock.now()).await.unwrap();
        for _ in 0..2 {
            let bytes = Bytes::from_static(BLOB);
            store.stage(&repository(), &digest, bytes).await.unwrap();
            fixture.clock.advance(KEPT * 2 / 3);
        }
        let swept = store.sweep_staging(fixture.clock.now()).await.unwrap();
        assert_eq!(swept, 0);
        fixture.clock.advance(KEPT);
        let swept = store.sweep_staging(fixture.clock.now()).await.unwrap();
        assert_eq!(swept, 1);
    }
}
