//! Manifests that were rejected, kept for a while so that they can be signed. Each is one object that says all of
//! itself: media type, end and bytes. Nothing refers to it, and it refers to nothing.

use bytes::Bytes;

use crate::clock::UnixMillis;
use crate::oci::{Digest, RepositoryName};

use crate::store::blob::{BlobError, Condition, Key};
use crate::store::error::StoreError;
use crate::store::layout::{self, Passing};
use crate::store::records::{self, KeptHead};
use crate::store::signatures::SignatureStore;
use crate::store::staging::expect_digest;

/// A manifest that was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its bytes, verified.
    pub bytes: Bytes,
    /// Its media type.
    pub media_type: String,
    /// When it ends.
    pub until: UnixMillis,
}

impl SignatureStore {
    /// Keeps the bytes of a manifest that was rejected until `until`, in place of what is kept of it already.
    ///
    /// # Errors
    /// The bytes do not have the digest, or the object store is unavailable.
    pub async fn keep_rejected(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        media_type: &str,
        bytes: Bytes,
        until: UnixMillis,
    ) -> Result<(), StoreError> {
        expect_digest(digest, &bytes)?;
        let head = records::encode(&KeptHead {
            media_type: media_type.to_owned(),
            until,
        });
        let object = [head.as_ref(), b"\n", bytes.as_ref()].concat();
        let key = layout::kept(repository, digest);
        self.blobs
            .put(&key, object.into(), Condition::Always)
            .await?;
        self.kept.push(until, key);
        Ok(())
    }

    /// Keeps a manifest no longer.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn forget_kept(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        Ok(self.blobs.delete(&layout::kept(repository, digest)).await?)
    }

    /// A manifest that was rejected and whose time has not ended.
    ///
    /// # Errors
    /// The object store is unavailable, or what it has is corrupt.
    pub async fn kept(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Kept>, StoreError> {
        let key = layout::kept(repository, digest);
        let Some(object) = self.blobs.get(&key).await? else {
            return Ok(None);
        };
        match read(&object) {
            Some(kept) if kept.until <= self.clock.now() => Ok(None),
            Some(kept) if digest.matches(&kept.bytes) => Ok(Some(kept)),
            Some(_) | None => Err(StoreError::Corrupt { key }),
        }
    }

    /// Removes what was kept until `now`, or cannot be read; returns how many. To be called on a timer. The first call
    /// looks through all repositories, for what earlier processes left.
    ///
    /// # Errors
    /// The object store is unavailable; a later call goes on.
    pub async fn sweep_kept(&self, now: UnixMillis) -> Result<usize, StoreError> {
        if self.kept.needs_walk()
            && let Err(error) = self.walk_kept(now).await
        {
            self.kept.walk_again();
            return Err(error);
        }
        let mut swept = 0;
        while let Some(key) = self.kept.pop(now) {
            match self.sweep_one(&key, now).await {
                Ok(gone) => swept += usize::from(gone),
                Err(error) => {
                    self.kept.push(now, key);
                    return Err(error);
                }
            }
        }
        Ok(swept)
    }

    /// Whether it was there, and is removed.
    async fn sweep_one(&self, key: &Key, now: UnixMillis) -> Result<bool, StoreError> {
        let kept = match self.blobs.get(key).await {
            Ok(Some(object)) => read(&object),
            Ok(None) => return Ok(false),
            Err(BlobError::TooLarge { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(kept) = kept
            && kept.until > now
        {
            self.kept.push(kept.until, key.clone());
            return Ok(false);
        }
        self.blobs.delete(key).await?;
        Ok(true)
    }

    async fn walk_kept(&self, now: UnixMillis) -> Result<(), StoreError> {
        let mut after = None;
        while let Some((found, next)) = self.step_through(Passing::Kept, after.as_ref()).await? {
            after = Some(next);
            for listed in found {
                // Each says itself when it ends.
                self.kept.push(now, listed.key);
            }
        }
        Ok(())
    }
}

/// Reads an object; `None` if it is none of ours.
fn read(object: &Bytes) -> Option<Kept> {
    let line = object.iter().position(|byte| *byte == b'\n')?;
    let (head, bytes) = object.split_at_checked(line)?;
    let head: KeptHead = records::decode(head)?;
    Some(Kept {
        bytes: object.slice_ref(bytes.get(1..)?),
        media_type: head.media_type,
        until: head.until,
    })
}
