//! How replicas that change one digest at once come to agree.
//!
//! No lock holds between processes. Everyone who changes the records of a digest writes first, the index last, and then
//! looks at the records again: of two at once at least one sees the other's work, and makes link and rows what the
//! records say. A push writes blobs, link, record, then removes the tombstone; a deletion writes the tombstone, then
//! removes records and link. So where a tombstone stays, the records it concerns are gone.

use crate::oci::{Digest, RepositoryName};

use super::error::StoreError;
use super::layout;
use super::records::{Link, Referrer, Stale};
use super::signatures::SignatureStore;
use super::tag_versions::live;

impl SignatureStore {
    /// Looks at what was just written for a referrer and told to the index.
    pub(super) async fn look_at_referrer(
        &self,
        written: &Referrer,
        link: &Link,
    ) -> Result<(), StoreError> {
        let (repository, digest) = (&written.repository, &written.descriptor.digest);
        let key = layout::link(repository, digest);
        let (linked, recorded) = tokio::try_join!(
            self.readable_record::<Link>(&key),
            self.stored_referrer(repository, &written.subject, digest),
        )?;
        if linked.as_ref() == Some(link) && recorded.as_ref() == Some(written) {
            return Ok(());
        }
        self.settle(repository, digest, link).await
    }

    /// Looks at the link of what was just made a version of a tag.
    pub(super) async fn look_at_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        link: &Link,
    ) -> Result<(), StoreError> {
        let key = layout::link(repository, digest);
        if self.readable_record::<Link>(&key).await?.as_ref() == Some(link) {
            return Ok(());
        }
        self.settle(repository, digest, link).await
    }

    /// Removes the link of a digest whose records are gone, and from the index its link and its row under the link's
    /// subject; then looks whether it has records again.
    pub(super) async fn unlink(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        link: &Link,
    ) -> Result<(), StoreError> {
        self.blobs.delete(&layout::link(repository, digest)).await?;
        let rows = async {
            if let Some(subject) = &link.subject {
                self.index
                    .remove_referrer(repository, subject, digest)
                    .await?;
            }
            self.index.remove_link(repository, digest).await
        };
        let stale = Stale::manifest(repository, digest, link);
        self.index_or_journal(stale, rows).await?;
        if self.stands(repository, digest, link).await? {
            return self.settle(repository, digest, link).await;
        }
        Ok(())
    }

    /// Makes link and rows of a digest agree with its records. `link` is what it has been linked as.
    async fn settle(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        link: &Link,
    ) -> Result<(), StoreError> {
        while self.stands(repository, digest, link).await? {
            self.put_link(repository, digest, link.clone()).await?;
            if self.stands(repository, digest, link).await? {
                break;
            }
            // Deleted in between; that deletion may not have seen this link.
            self.blobs.delete(&layout::link(repository, digest)).await?;
        }
        self.derive_or_journal(&Stale::manifest(repository, digest, link))
            .await
    }

    /// Whether a record lists the manifest, or a captured tag serves it.
    ///
    /// A record of what was found upstream is taken away here if there is a tombstone as well: the one who merged it
    /// had not seen that deletion.
    async fn stands(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        link: &Link,
    ) -> Result<bool, StoreError> {
        if let Some(subject) = &link.subject {
            let pushed = layout::referrer(repository, subject, digest);
            if self.blobs.head(&pushed).await?.is_some() {
                return Ok(true);
            }
            let upstream = layout::upstream_referrer(repository, subject, digest);
            if self.blobs.head(&upstream).await?.is_some() {
                if !self.deleted(repository, digest).await? {
                    return Ok(true);
                }
                self.blobs.delete(&upstream).await?;
            }
        }
        self.is_live_version(repository, digest).await
    }

    /// Whether a captured tag serves a manifest, by its records.
    async fn is_live_version(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        for tag in self.captured_tags(repository, digest).await? {
            let versions = self.stored_tag_versions(repository, &tag).await?;
            if live(&versions)
                .iter()
                .any(|version| version.digest == *digest)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a referrer has a record, of either kind.
    pub(super) async fn is_recorded(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let pushed = layout::referrer(repository, subject, digest);
        let upstream = layout::upstream_referrer(repository, subject, digest);
        Ok(
            self.blobs.head(&pushed).await?.is_some()
                || self.blobs.head(&upstream).await?.is_some(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::Source;
    use crate::store::testing::{Fixture, Signature, Stop, Stopping, listed, repository, subject};

    /// Another process over the same objects and index, whose operations on objects can be stopped.
    async fn stoppable(fixture: &Fixture) -> (Arc<Stopping>, SignatureStore) {
        let stopping = Arc::new(Stopping::new(Arc::clone(&fixture.blobs)));
        let store = SignatureStore::new(
            Arc::<Stopping>::clone(&stopping),
            Arc::<crate::store::testing::Flaky>::clone(&fixture.index),
            Arc::<crate::clock::ManualClock>::clone(&fixture.clock),
        );
        store.repair_journal().await.unwrap();
        (stopping, store)
    }

    #[tokio::test]
    async fn a_replica_that_dies_while_it_forgets_takes_no_push_with_it() {
        let mut reached = 0;
        for step in 0..12 {
            let fixture = Fixture::ready().await;
            let store = Arc::clone(&fixture.store);
            let signature = Signature::new("a");
            signature.merge(&store).await.unwrap();
            let (stopping, other) = stoppable(&fixture).await;
            let push = {
                let (store, stopping) = (Arc::clone(&store), Arc::clone(&stopping));
                async move {
                    let pushed = Signature::new("a").add(&store, Source::Captured).await;
                    pushed.unwrap();
                    stopping.stop_after(0, Stop::Death);
                }
            };
            stopping.stop_after(step, Stop::For(Box::pin(push)));
            let (name, digest) = (repository(), &signature.digest);
            let forgotten = other
                .forget_upstream_referrer(&name, &subject(), digest)
                .await;
            drop(other);
            let pushed = forgotten.is_err();
            reached += usize::from(pushed);
            let left = usize::from(pushed);
            assert_eq!(listed(&store).await.len(), left, "step {step}");
            if pushed {
                let read = store.read_manifest(&name, digest).await.unwrap();
                assert!(read.is_some(), "step {step}");
            }
            store.repair_journal().await.unwrap();
            assert_eq!(listed(&store).await.len(), left, "step {step}");
            let read = store.read_manifest(&name, digest).await.unwrap();
            assert_eq!(read.is_some(), pushed, "step {step}");
            assert_eq!(store.differences().await.unwrap(), [], "step {step}");
        }
        assert!(reached > 2, "the push came in between {reached} times");
    }

    #[tokio::test]
    async fn what_a_dead_replica_recorded_and_did_not_index_is_merged_by_another() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let (stopping, dead) = stoppable(&fixture).await;
        let signature = Signature::new("a");
        stopping.stop_after_write_below("v1/repos/a/b/_subjects/", 0, Stop::LateDeath);
        assert!(signature.merge(&dead).await.is_err());
        drop(dead);
        assert_eq!(listed(store).await, []);
        signature.merge(store).await.unwrap();
        assert_eq!(listed(store).await.len(), 1);
    }
}
