//! What the registry had before there was a policy: one empty object for each manifest, and one that says that the
//! inventory is whole.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::oci::{Digest, RepositoryName};

use crate::store::blob::Condition;
use crate::store::error::StoreError;
use crate::store::layout;
use crate::store::records::Inventory;
use crate::store::signatures::{PARALLEL, SignatureStore};

impl SignatureStore {
    /// Whether a manifest was there when the inventory was made.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn in_inventory(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let key = layout::existing(repository, digest);
        Ok(self.blobs.head(&key).await?.is_some())
    }

    /// Whether an inventory was finished.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn has_inventory(&self) -> Result<bool, StoreError> {
        Ok(self.inventory().await?.is_some())
    }

    /// What the inventory says of itself; `None` if none was finished.
    ///
    /// # Errors
    /// The object store is unavailable, or what it has is corrupt.
    pub async fn inventory(&self) -> Result<Option<Inventory>, StoreError> {
        self.record(&layout::inventory()).await
    }

    /// Adds manifests to the inventory.
    ///
    /// # Errors
    /// The object store is unavailable; the same call can be repeated.
    pub async fn add_to_inventory(
        &self,
        repository: &RepositoryName,
        digests: &[Digest],
    ) -> Result<(), StoreError> {
        stream::iter(digests.to_vec())
            .map(|digest| async move {
                let key = layout::existing(repository, &digest);
                self.blobs
                    .put(&key, Bytes::new(), Condition::IfAbsent)
                    .await?;
                Ok(())
            })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await
    }

    /// Makes the inventory whole: all manifests were added, `manifests` of them in `repositories`.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn finish_inventory(
        &self,
        repositories: u64,
        manifests: u64,
    ) -> Result<(), StoreError> {
        let inventory = Inventory {
            made_at: self.clock.now(),
            repositories,
            manifests,
        };
        self.put_record(&layout::inventory(), &inventory, Condition::Always)
            .await?;
        Ok(())
    }
}
