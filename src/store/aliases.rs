//! Second names: one content has a SHA-256 and a SHA-512 digest, and a registry may know it by only one of them.
//!
//! The pair is written both ways, the canonical name's record first: a name that can be read can also be found by who
//! deletes the content by its other name. A pair is a fact about bytes that regseal has hashed, so it never changes; that
//! a repository has it is what comes and goes. Only requests by a name that is not canonical, and deletions, ask for it,
//! so there is no row in the index.

use serde::{Deserialize, Serialize};

use crate::oci::{Digest, RepositoryName, Tag};

use super::blob::Condition;
use super::error::StoreError;
use super::layout;
use super::records::Stamp;
use super::signatures::SignatureStore;

/// The other name of a digest: `_aliases/<d>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Alias {
    /// The digest, in the other algorithm.
    digest: Digest,
    /// When it was recorded.
    #[serde(flatten)]
    stamp: Stamp,
}

impl SignatureStore {
    /// Records that `alias` and `canonical` are digests of the same bytes, which the caller has hashed, and that the
    /// repository has them. Idempotent.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn put_alias(
        &self,
        repository: &RepositoryName,
        alias: &Digest,
        canonical: &Digest,
    ) -> Result<(), StoreError> {
        for (name, digest) in [(canonical, alias), (alias, canonical)] {
            let record = Alias {
                digest: digest.clone(),
                stamp: self.stamp(),
            };
            let key = layout::alias(repository, name);
            self.put_record(&key, &record, Condition::Always).await?;
        }
        Ok(())
    }

    /// The other name of `digest`, in either direction.
    ///
    /// # Errors
    /// The object store is unavailable, or the record is corrupt.
    pub async fn alias(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Digest>, StoreError> {
        let key = layout::alias(repository, digest);
        Ok(self.record::<Alias>(&key).await?.map(|alias| alias.digest))
    }

    /// Whether the repository has any second name.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn has_aliases(&self, repository: &RepositoryName) -> Result<bool, StoreError> {
        let found = self.first_keys(&layout::aliases(repository), 1).await?;
        Ok(!found.is_empty())
    }

    /// Forgets a pair of names: neither leads to the other any more.
    ///
    /// # Errors
    /// The object store is unavailable. The canonical name's record goes last, so that it can be repeated.
    pub async fn forget_alias(
        &self,
        repository: &RepositoryName,
        alias: &Digest,
        canonical: &Digest,
    ) -> Result<(), StoreError> {
        for name in [alias, canonical] {
            self.blobs.delete(&layout::alias(repository, name)).await?;
        }
        Ok(())
    }

    /// Whether `tag` was [noted](Self::note_tagged) to have named a manifest by this very digest.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn is_tagged(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        tag: &Tag,
    ) -> Result<bool, StoreError> {
        let key = layout::tagged_by(repository, digest, tag);
        Ok(self.blobs.head(&key).await?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Fixture, repository};

    fn names(content: &[u8]) -> (Digest, Digest) {
        let canonical = Digest::sha256(content);
        (Digest::sha512(content), canonical)
    }

    #[tokio::test]
    async fn either_name_leads_to_the_other_in_its_repository_alone() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let (alias, canonical) = names(b"{}");
        let other: RepositoryName = "other".parse().unwrap();
        assert!(!store.has_aliases(&repository()).await.unwrap());
        store
            .put_alias(&repository(), &alias, &canonical)
            .await
            .unwrap();
        for (name, expected) in [(&alias, &canonical), (&canonical, &alias)] {
            let found = store.alias(&repository(), name).await.unwrap();
            assert_eq!(found.as_ref(), Some(expected));
            assert_eq!(store.alias(&other, name).await.unwrap(), None);
        }
        assert!(store.has_aliases(&repository()).await.unwrap());
        assert!(!store.has_aliases(&other).await.unwrap());

        store
            .forget_alias(&repository(), &alias, &canonical)
            .await
            .unwrap();
        assert_eq!(store.alias(&repository(), &alias).await.unwrap(), None);
        assert!(!store.has_aliases(&repository()).await.unwrap());
    }

    #[tokio::test]
    async fn second_names_survive_the_index_and_the_collector() {
        use crate::store::collect::{Config, Options};
        use std::time::Duration;

        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let (alias, canonical) = names(b"{}");
        store
            .put_alias(&repository(), &alias, &canonical)
            .await
            .unwrap();
        store.rebuild_index(|_| ()).await.unwrap();
        assert_eq!(store.verify_index().await.unwrap(), []);
        let config = Config {
            between_scans: Duration::ZERO,
            untouched: Duration::ZERO,
            subject_grace: Duration::ZERO,
        };
        for _ in 0..3 {
            let collected = store.collect(&config, Options::default()).await.unwrap();
            assert_eq!(collected.candidates, 0);
        }
        let found = store.alias(&repository(), &alias).await.unwrap();
        assert_eq!(found, Some(canonical));
    }
}
