//! Deleting a manifest that regseal lists or serves.

use serde::Deserialize;

use crate::oci::{Digest, RepositoryName, Tag};

use super::blob::Condition;
use super::error::StoreError;
use super::layout;
use super::records::{Link, LinkKind, Stale};
use super::signatures::SignatureStore;

impl SignatureStore {
    /// Deletes a manifest: it is no longer served nor listed, and a tombstone keeps what is upstream from bringing it
    /// back. Every captured tag that serves it or has it as its newest version is deleted; a tag that has it as an
    /// older version loses that one. Its bytes and blobs are left to the collector, and what has named it stays noted.
    /// Deleting what is not there leaves the tombstone only.
    ///
    /// # Errors
    /// The object store is unavailable. The link goes last, so that a deletion that was cut off can be repeated.
    pub async fn delete_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        // Before the lock: what a tag serves may have to be made first, under a lock of the same set.
        let tags = self.tags_serving(repository, digest).await?;
        self.delete_with_tags(repository, digest, &tags).await
    }

    /// Deletes a manifest that regseal made, if a captured tag serves it: then the tag is deleted with it, and it is
    /// `true`. Any other is left as it is: it is made anew from what the store has whenever it is asked for.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn delete_generated(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let tags = self.tags_serving(repository, digest).await?;
        let served = tags.iter().any(|(_, served_as_of)| served_as_of.is_some());
        // A tombstone: a deletion was cut off after the tag's.
        if !served && (tags.is_empty() || !self.deleted(repository, digest).await?) {
            return Ok(false);
        }
        self.delete_with_tags(repository, digest, &tags).await?;
        Ok(true)
    }

    /// The captured tags that have named `digest`, each with the version as of which it serves it, if it does.
    async fn tags_serving(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<(Tag, Option<u64>)>, StoreError> {
        let mut tags = Vec::new();
        for tag in self.captured_tags(repository, digest).await? {
            let versions = self.stored_tag_versions(repository, &tag).await?;
            let served = match self.served(repository, &tag, &versions).await {
                // Nothing is served then, and deleting what is corrupt may be the way out.
                Err(StoreError::Corrupt { .. }) => None,
                outcome => outcome?,
            };
            let served_as_of = served
                .filter(|(_, served)| served.digest == *digest)
                .map(|(number, _)| number);
            tags.push((tag, served_as_of));
        }
        Ok(tags)
    }

    async fn delete_with_tags(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        tags: &[(Tag, Option<u64>)],
    ) -> Result<(), StoreError> {
        let _held = self.digests.hold(&(repository, digest)).await;
        let tombstone = layout::tombstone(repository, digest);
        self.put_record(&tombstone, &self.stamp(), Condition::Always)
            .await?;
        self.blobs.delete(&layout::kept(repository, digest)).await?;
        let key = layout::link(repository, digest);
        let mut change = None;
        loop {
            let mut link = self.readable_record::<Link>(&key).await?;
            if link
                .as_ref()
                .is_some_and(|link| link.kind == LinkKind::Blob)
            {
                // A blob is no manifest, whatever the request calls it.
                return Ok(());
            }
            let subject = match link.as_ref().and_then(|link| link.subject.clone()) {
                Some(subject) => Some(subject),
                // Another replica may be about to list it, or to delete what was listed before this deletion began.
                None => self.subject_of(digest).await?,
            };
            change.get_or_insert_with(|| self.begin_change(repository, digest, subject.as_ref()));
            if let Some(subject) = &subject {
                self.delete_records(repository, subject, digest).await?;
            }
            for (tag, served_as_of) in tags {
                self.take_out(repository, tag, digest, *served_as_of)
                    .await?;
            }
            if let Some(link) = &mut link {
                link.subject = subject;
                self.unlink(repository, digest, link).await?;
                break;
            }
            let stale = Stale {
                subject,
                links: vec![digest.clone()],
                ..Stale::of(repository)
            };
            self.derive_or_journal(&stale).await?;
            if self.blobs.head(&key).await?.is_none() {
                break;
            }
        }
        if let Some(change) = change {
            change.finished();
        }
        Ok(())
    }

    async fn delete_records(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let pushed = layout::referrer(repository, subject, digest);
        let upstream = layout::upstream_referrer(repository, subject, digest);
        self.blobs.delete(&pushed).await?;
        Ok(self.blobs.delete(&upstream).await?)
    }

    /// The subject that a manifest names, by its bytes.
    async fn subject_of(&self, digest: &Digest) -> Result<Option<Digest>, StoreError> {
        #[derive(Deserialize)]
        struct Names {
            subject: Option<Subject>,
        }
        #[derive(Deserialize)]
        struct Subject {
            digest: Digest,
        }
        let bytes = self.blobs.get(&layout::blob(digest)).await?;
        let names = bytes.and_then(|bytes| serde_json::from_slice::<Names>(&bytes).ok());
        Ok(names
            .and_then(|names| names.subject)
            .map(|subject| subject.digest))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::Source;
    use crate::store::testing::{Fixture, Signature, listed, repository, tag};

    #[tokio::test]
    async fn a_blob_is_not_deleted_as_a_manifest() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let signature = Signature::new("a");
        signature.add(store, Source::Captured).await.unwrap();
        let blob = Digest::sha256(&signature.blob);
        store.delete_manifest(&repository(), &blob).await.unwrap();
        assert!(store.read(&repository(), &blob).await.unwrap().is_some());
        assert_eq!(listed(store).await.len(), 1);
        let as_manifest = store.read_manifest(&repository(), &blob).await.unwrap();
        assert_eq!(as_manifest, None);
    }

    #[tokio::test]
    async fn deleting_a_generated_manifest_deletes_the_tag_that_serves_it_and_nothing_else() {
        let fixture = Fixture::ready().await;
        let (store, name, tag) = (&fixture.store, &repository(), &tag());
        let index = Bytes::from_static(b"[]");
        let index = store.put_generated(name, index, "x").await.unwrap();
        assert!(!store.delete_generated(name, &index).await.unwrap());
        assert!(store.read_manifest(name, &index).await.unwrap().is_some());

        // The second time with a tombstone of the first.
        for _ in 0..2 {
            let mut served = Vec::new();
            for text in ["a", "b", "c"] {
                Signature::new(text).append(store).await.unwrap();
                served.push(store.tag(name, tag).await.unwrap().unwrap().digest);
            }
            let (before, served) = (&served[1], &served[2]);
            assert!(!store.deleted(name, served).await.unwrap());
            assert!(!store.delete_generated(name, before).await.unwrap());
            assert!(store.read_manifest(name, before).await.unwrap().is_some());
            assert!(store.tag(name, tag).await.unwrap().is_some());

            assert!(store.delete_generated(name, served).await.unwrap());
            assert_eq!(store.tag(name, tag).await.unwrap(), None);
            assert_eq!(store.read_manifest(name, served).await.unwrap(), None);
            assert_eq!(store.verify_index().await.unwrap(), []);
        }
    }

    #[tokio::test]
    async fn a_deletion_that_was_cut_off_after_the_tag_can_be_repeated() {
        let fixture = Fixture::ready().await;
        let (store, name, tag) = (&fixture.store, &repository(), &tag());
        for text in ["a", "b"] {
            Signature::new(text).append(store).await.unwrap();
        }
        let served = store.tag(name, tag).await.unwrap().unwrap().digest;
        store
            .put_record(
                &layout::tombstone(name, &served),
                &store.stamp(),
                Condition::Always,
            )
            .await
            .unwrap();
        store.delete_tag(name, tag).await.unwrap();
        assert!(store.delete_generated(name, &served).await.unwrap());
        assert_eq!(store.read_manifest(name, &served).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_corrupt_version_can_be_deleted() {
        let fixture = Fixture::ready().await;
        let (store, name, tag) = (&fixture.store, &repository(), &tag());
        let [older, newer] = ["a", "b"].map(Signature::new);
        older.append(store).await.unwrap();
        newer.append(store).await.unwrap();
        let bytes = Bytes::from_static(b"{");
        let blob = layout::blob(&older.digest);
        fixture
            .blobs
            .put(&blob, bytes, Condition::Always)
            .await
            .unwrap();
        assert!(store.tag(name, tag).await.is_err());
        store.delete_manifest(name, &older.digest).await.unwrap();
        let served = store.tag(name, tag).await.unwrap().unwrap();
        assert_eq!(served.digest, newer.digest);
    }

    #[tokio::test]
    async fn a_tagged_referrer_is_deleted_as_both() {
        for append_last in [false, true] {
            let fixture = Fixture::ready().await;
            let store = &fixture.store;
            let signature = Signature::new("a");
            if append_last {
                signature.add(store, Source::Captured).await.unwrap();
                signature.append(store).await.unwrap();
            } else {
                signature.append(store).await.unwrap();
                signature.add(store, Source::Captured).await.unwrap();
            }
            store
                .delete_manifest(&repository(), &signature.digest)
                .await
                .unwrap();
            assert_eq!(listed(store).await, []);
            assert_eq!(store.tag(&repository(), &tag()).await.unwrap(), None);
            assert_eq!(store.verify_index().await.unwrap(), []);
        }
    }
}
