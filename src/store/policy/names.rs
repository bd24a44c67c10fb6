//! What has named a manifest: tags (`_tagged`), and indexes (`_parents`). Both only say that it has; neither is undone
//! when the tag moves on or the manifest is deleted.
//!
//! Below `_tagged` lie two kinds of stamps, told apart by the name of the tag. Those of captured tags are written and
//! removed with what they name (`captured_tag`, `collect`); the others are written here, and stay.

use crate::oci::{Digest, RepositoryName, Tag};

use crate::store::blob::{Condition, Key};
use crate::store::error::StoreError;
use crate::store::layout;
use crate::store::signatures::{PAGE, SignatureStore};

/// The most names that are read. Who knows fewer of them may only come to a stricter decision.
const MOST: usize = 10 * PAGE;
/// The most indexes that are read.
const MOST_PARENTS: usize = PAGE;

impl SignatureStore {
    /// Notes that a tag has named a manifest. Tags that may be captured are not noted: of them the store itself keeps
    /// what they name.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn note_tagged(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        tag: &Tag,
    ) -> Result<(), StoreError> {
        if layout::is_captured(tag) {
            return Ok(());
        }
        self.note(&layout::tagged_by(repository, digest, tag)).await
    }

    /// The tags that were [noted](Self::note_tagged) to have named a manifest, in the order of their names; of more
    /// than ten thousand the first.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn tags_naming(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Tag>, StoreError> {
        let tags = self.stamped_tags(repository, digest, MOST).await?;
        Ok(tags
            .into_iter()
            .filter(|tag| !layout::is_captured(tag))
            .collect())
    }

    /// Notes that an index has listed a manifest.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn note_parent(
        &self,
        repository: &RepositoryName,
        child: &Digest,
        parent: &Digest,
    ) -> Result<(), StoreError> {
        self.note(&layout::parent(repository, child, parent)).await
    }

    /// The indexes that were noted to have listed a manifest, in the order of their digests; of more than a thousand
    /// the first.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn parents(
        &self,
        repository: &RepositoryName,
        child: &Digest,
    ) -> Result<Vec<Digest>, StoreError> {
        let under = layout::parents(repository, child);
        let keys = self.first_keys(&under, MOST_PARENTS).await?;
        Ok(keys.iter().filter_map(layout::last_as_digest).collect())
    }

    /// The captured tags that have named a manifest.
    pub(in crate::store) async fn captured_tags(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Tag>, StoreError> {
        let tags = self.stamped_tags(repository, digest, usize::MAX).await?;
        Ok(tags.into_iter().filter(layout::is_captured).collect())
    }

    async fn stamped_tags(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        most: usize,
    ) -> Result<Vec<Tag>, StoreError> {
        let under = layout::tagged(repository, digest);
        let keys = self.first_keys(&under, most).await?;
        Ok(keys.iter().filter_map(layout::last_as_tag).collect())
    }

    async fn note(&self, key: &Key) -> Result<(), StoreError> {
        self.put_record(key, &self.stamp(), Condition::IfAbsent)
            .await?;
        Ok(())
    }
}
