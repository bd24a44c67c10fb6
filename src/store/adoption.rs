//! Taking over what the registry behind has: a signature that is found there is kept as if it had been pushed through
//! regseal, with its blobs, and no longer depends on the registry.
//!
//! The record of an adopted referrer lies where that of one that was only found lies, behind `.upstream`: so a deletion
//! that comes at the same moment takes it away without ever taking a push with it.

use crate::oci::{Digest, RepositoryName, Tag};

use super::blob::{Condition, Written};
use super::captured_tag::last_write_wins;
use super::error::StoreError;
use super::layout;
use super::records::{LinkKind, Referrer, Source, Stale};
use super::signatures::{NewManifest, SignatureStore};
use super::staging::expect_digest;
use super::tag_versions::live;

/// How what was found stands to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// It was not there, and is now.
    Stored,
    /// It was there already.
    AlreadyThere,
    /// It was deleted through regseal, and stays so.
    Deleted,
}

impl SignatureStore {
    /// Whether a referrer is listed from so strong a `source`, or was deleted; `None` if it is to be taken over.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn known_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
        source: Source,
    ) -> Result<Option<Adopted>, StoreError> {
        if self.deleted(repository, digest).await? {
            return Ok(Some(Adopted::Deleted));
        }
        let stored = self.stored_referrer(repository, subject, digest).await?;
        let is_listed = stored.is_some_and(|stored| stored.source >= source);
        Ok(is_listed.then_some(Adopted::AlreadyThere))
    }

    /// Tells the index of a referrer that is recorded: who did so may have ended before it told the index.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn confirm_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let stale = Stale {
            subject: Some(subject.clone()),
            links: vec![digest.clone()],
            ..Stale::of(repository)
        };
        self.derive_or_journal(&stale).await
    }

    /// As [`Self::confirm_referrer`], of what a captured tag has named.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn confirm_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<(), StoreError> {
        let stale = Stale {
            tag: Some(tag.as_str().to_owned()),
            ..Stale::of(repository)
        };
        self.derive_or_journal(&stale).await
    }

    /// Keeps a signature that was found on the registry behind. Every blob that it names was claimed or put for this
    /// repository before. What was deleted through regseal stays deleted.
    ///
    /// # Errors
    /// The object store is unavailable, the bytes do not have the digest, or a blob was not claimed.
    pub async fn adopt_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        new: NewManifest<'_>,
    ) -> Result<Adopted, StoreError> {
        expect_digest(&new.digest, &new.bytes)?;
        self.expect_blobs(repository, &new).await?;
        let digest = &new.digest;
        let _held = self.digests.hold(&(repository, digest)).await;
        let source = Source::Captured;
        if let Some(known) = self
            .known_referrer(repository, subject, digest, source)
            .await?
        {
            return Ok(known);
        }
        let change = self.begin_change(repository, digest, Some(subject));
        let link = self
            .keep_manifest(repository, &new, LinkKind::Manifest, Some(subject), &[])
            .await?;
        let mut record = self.new_record(repository, subject, &new, source);
        let key = layout::upstream_referrer(repository, subject, digest);
        let stored = self.stored_referrer(repository, subject, digest).await?;
        record.referrer.time = stored.map_or(record.referrer.time, |stored| stored.time);
        if self.put_record(&key, &record, Condition::IfAbsent).await? == Written::AlreadyThere {
            if let Some(found) = self.readable_record::<Referrer>(&key).await? {
                record.referrer.time = found.time;
            }
            self.put_record(&key, &record, Condition::Always).await?;
        }
        let adopted = if self.deleted(repository, digest).await? {
            // Deleted in between: whichever of the two came later takes the record away.
            self.blobs.delete(&key).await?;
            self.unlink(repository, digest, &link).await?;
            Adopted::Deleted
        } else {
            self.index_referrer(&record.referrer, link.clone()).await?;
            self.look_at_referrer(&record.referrer, &link).await?;
            Adopted::Stored
        };
        change.finished();
        Ok(adopted)
    }

    /// How a manifest that the registry behind has under a captured tag stands to the store; `None` if it is to be taken
    /// over. What the tag has once named is there, also if the tag was deleted since; where the last push wins, whatever
    /// the tag has stays.
    ///
    /// # Errors
    /// The object store is unavailable, or what it has is corrupt.
    pub async fn known_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<Option<Adopted>, StoreError> {
        if self.deleted(repository, digest).await? {
            return Ok(Some(Adopted::Deleted));
        }
        let versions = self.stored_tag_versions(repository, tag).await?;
        let has_named = versions
            .iter()
            .any(|(_, version)| version.digest == *digest);
        let stays = last_write_wins(tag) && !live(&versions).is_empty();
        // A union of versions, which was written back there.
        let link = self.stored_link(repository, digest).await?;
        let is_union = link.is_some_and(|link| link.kind == LinkKind::Generated);
        let is_known = has_named || stays || (is_union && !versions.is_empty());
        Ok(is_known.then_some(Adopted::AlreadyThere))
    }

    /// Keeps what the registry behind has under a captured tag as one more version. Every blob that it names was claimed
    /// or put for this repository before.
    ///
    /// # Errors
    /// See [`append_tag`](Self::append_tag).
    pub async fn adopt_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        new: NewManifest<'_>,
    ) -> Result<Adopted, StoreError> {
        if let Some(known) = self.known_tag(repository, tag, &new.digest).await? {
            return Ok(known);
        }
        self.append_tag(repository, tag, new).await?;
        Ok(Adopted::Stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMillis;
    use crate::store::testing::{Fixture, Signature, listed, repository, subject, tag};

    async fn adopt(store: &SignatureStore, signature: &Signature) -> Adopted {
        signature.claim(store).await;
        let new = signature.new_manifest();
        let adopted = store.adopt_referrer(&repository(), &subject(), new).await;
        adopted.unwrap()
    }

    #[tokio::test]
    async fn what_is_adopted_is_kept_whatever_the_registry_forgets() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let signature = Signature::new("a");
        signature.merge(store).await.unwrap();
        fixture.clock.set(UnixMillis::new(9_000));
        assert_eq!(adopt(store, &signature).await, Adopted::Stored);
        assert_eq!(adopt(store, &signature).await, Adopted::AlreadyThere);
        let name = &repository();
        let of = &subject();
        let forgotten = store.forget_upstream_referrer(name, of, &signature.digest);
        forgotten.await.unwrap();
        let expected = [(signature.digest.clone(), Source::Captured)];
        assert_eq!(listed(store).await, expected);
        assert_eq!(store.verify_index().await.unwrap(), []);
        let link = store.link(name, &signature.digest).await.unwrap();
        assert_eq!(link.unwrap().kind, LinkKind::Manifest);
        let times = store.referrers(name, &subject()).await.unwrap();
        assert_eq!(
            times[0].time,
            UnixMillis::new(1_000),
            "when it was first found"
        );
    }

    #[tokio::test]
    async fn what_was_deleted_is_not_adopted() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let signature = Signature::new("a");
        signature.add(store, Source::Captured).await.unwrap();
        let name = &repository();
        store
            .delete_manifest(name, &signature.digest)
            .await
            .unwrap();
        assert_eq!(adopt(store, &signature).await, Adopted::Deleted);
        assert_eq!(listed(store).await, []);
        let adopted = store
            .adopt_tag(name, &tag(), signature.new_manifest())
            .await;
        assert_eq!(adopted.unwrap(), Adopted::Deleted);
        // A push brings it back.
        signature.add(store, Source::Captured).await.unwrap();
        assert_eq!(adopt(store, &signature).await, Adopted::AlreadyThere);
    }

    #[tokio::test]
    async fn a_manifest_without_its_blobs_is_not_adopted() {
        let fixture = Fixture::ready().await;
        let signature = Signature::new("a");
        let new = signature.new_manifest();
        let adopted = fixture
            .store
            .adopt_referrer(&repository(), &subject(), new)
            .await;
        assert!(matches!(adopted, Err(StoreError::BlobUnknown { .. })));
        assert_eq!(listed(&fixture.store).await, []);
    }

    #[tokio::test]
    async fn what_was_adopted_is_strengthened_by_a_push_and_goes_with_its_deletion() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let signature = Signature::new("a");
        signature.add(store, Source::Forwarded).await.unwrap();
        assert_eq!(adopt(store, &signature).await, Adopted::Stored);
        let expected = [(signature.digest.clone(), Source::Captured)];
        assert_eq!(listed(store).await, expected);
        signature.add(store, Source::Captured).await.unwrap();
        assert_eq!(listed(store).await, expected);
        store
            .delete_manifest(&repository(), &signature.digest)
            .await
            .unwrap();
        assert_eq!(listed(store).await, []);
        assert_eq!(store.verify_index().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_tag_takes_over_what_it_has_not_named() {
        let fixture = Fixture::ready().await;
        let (store, name) = (&fixture.store, &repository());
        let [a, b] = ["a", "b"].map(Signature::new);
        a.append(store).await.unwrap();
        b.claim(store).await;
        for (signature, expected, why) in [
            (&a, Adopted::AlreadyThere, "its own push"),
            (&b, Adopted::Stored, "another signature"),
            (&b, Adopted::AlreadyThere, "again"),
        ] {
            let adopted = store
                .adopt_tag(name, &tag(), signature.new_manifest())
                .await;
            assert_eq!(adopted.unwrap(), expected, "{why}");
        }
        let served = store.tag(name, &tag()).await.unwrap().unwrap();
        let known = store.known_tag(name, &tag(), &served.digest).await.unwrap();
        assert_eq!(known, Some(Adopted::AlreadyThere), "the union itself");
        store.delete_tag(name, &tag()).await.unwrap();
        let known = store.known_tag(name, &tag(), &b.digest).await.unwrap();
        assert_eq!(known, Some(Adopted::AlreadyThere), "deleted with its tag");
    }
}
