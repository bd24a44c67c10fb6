//! Referrers of a subject: listing, adding, and what was found upstream.
//!
//! The order of every write: manifest, link, record, index. A record is what makes a referrer; before it nothing is
//! listed, after it nothing is missing.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::oci::companion_tag::referrers_tag;
use crate::oci::{Digest, RepositoryName, Tag};

use super::blob::{Condition, Key, Written};
use super::collect::look;
use super::error::StoreError;
use super::index::Lookup;
use super::layout::{self, Record};
use super::records::{Link, LinkKind, Referrer, ReferrerRecord, Source, Stale};
use super::signatures::{NewManifest, PARALLEL, SignatureStore};
use super::staging::expect_digest;

impl SignatureStore {
    /// The referrers of a subject, oldest first: by time, then digest. Everything acknowledged is among them, whether
    /// the index works or not.
    ///
    /// # Errors
    /// The object store is needed and unavailable.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Referrer>, StoreError> {
        let mut generation = None;
        if self.journal.index_is_trusted() {
            match self.index.referrers(repository, subject).await {
                Ok(Lookup::Found(referrers)) => return Ok(oldest_first(referrers)),
                Ok(Lookup::Absent) => return Ok(Vec::new()),
                Ok(Lookup::Unknown) => {
                    self.unknown.note(repository);
                    generation = self.index.generation(repository, subject).await.ok();
                }
                Err(error) => self.index_read_failed(&error),
            }
        }
        let referrers = self.stored_referrers(repository, subject).await?;
        if let Some(generation) = generation {
            let filled = self
                .index
                .replace_subject(repository, subject, referrers.clone(), generation)
                .await;
            if let Err(error) = filled {
                self.index_read_failed(&error);
            }
        }
        Ok(oldest_first(referrers))
    }

    /// Whether a subject has referrers, without reading any.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn has_referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<bool, StoreError> {
        let under = layout::referrers(repository, subject);
        Ok(!self.blobs.list(&under, None, 1).await?.is_empty())
    }

    /// The subjects that have referrers and share a referrers tag that was cut, two at most: who has to tell them apart
    /// cannot by the tag.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn subjects_of_cut_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Vec<Digest>, StoreError> {
        let under = layout::subjects(repository);
        let mut after = layout::before_cut(repository, tag);
        let mut subjects = Vec::new();
        while subjects.len() < 2 {
            let next = self.blobs.list(&under, Some(&after), 1).await?;
            let Some(listed) = next.first() else { break };
            let record = layout::parse(&listed.key).map(|(_, record)| record);
            let Some(Record::Referrer { subject, .. }) = record else {
                break;
            };
            if referrers_tag(&subject) != tag.as_str() {
                break;
            }
            after = layout::behind_referrers(repository, &subject);
            subjects.push(subject);
        }
        Ok(subjects)
    }

    /// Keeps a manifest that was pushed, and lists it under `subject`.
    ///
    /// The first push sets the time. A push of what is known from a weaker source strengthens its record. A push
    /// clears the tombstone of an earlier deletion. When captured, every blob the manifest names was claimed or put
    /// for this repository before.
    ///
    /// # Errors
    /// The object store is unavailable, the bytes do not have the digest, or a blob was not claimed. Nothing is
    /// listed then.
    pub async fn add_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        new: NewManifest<'_>,
        source: Source,
    ) -> Result<(), StoreError> {
        expect_digest(&new.digest, &new.bytes)?;
        if source == Source::Captured {
            self.expect_blobs(repository, &new).await?;
        }
        let _held = self.digests.hold(&(repository, &new.digest)).await;
        let change = self.begin_change(repository, &new.digest, Some(subject));
        let kind = match source {
            Source::Captured => LinkKind::Manifest,
            Source::Forwarded | Source::Upstream => LinkKind::ManifestCopy,
        };
        let link = self
            .keep_manifest(repository, &new, kind, Some(subject), &[])
            .await?;
        let record = self.new_record(repository, subject, &new, source);
        let referrer = self.record_push(record).await?;
        // Last, as a deletion writes it first: if it stays, that deletion has taken the record away as well.
        self.blobs
            .delete(&layout::tombstone(repository, &new.digest))
            .await?;
        self.index_referrer(&referrer, link.clone()).await?;
        self.look_at_referrer(&referrer, &link).await?;
        change.finished();
        Ok(())
    }

    /// Writes the record of a push, unless a stronger one stands there; returns the one that stands.
    async fn record_push(&self, mut record: ReferrerRecord) -> Result<Referrer, StoreError> {
        let (repository, subject) = (&record.referrer.repository, &record.referrer.subject);
        let digest = &record.referrer.descriptor.digest;
        let key = layout::referrer(repository, subject, digest);
        let upstream = layout::upstream_referrer(repository, subject, digest);
        let found = self.readable_record::<Referrer>(&upstream).await?;
        let first = found.map_or(record.referrer.time, |found| found.time);
        record.referrer.time = first;
        if self.put_record(&key, &record, Condition::IfAbsent).await? == Written::AlreadyThere {
            match self.readable_record::<Referrer>(&key).await? {
                Some(existing) if existing.source >= record.referrer.source => return Ok(existing),
                existing => {
                    record.referrer.time = existing.map_or(first, |existing| existing.time);
                    self.put_record(&key, &record, Condition::Always).await?;
                }
            }
        }
        Ok(record.referrer)
    }

    /// Lists a manifest that was found upstream. What is listed already, or was deleted through regseal, stays so.
    ///
    /// # Errors
    /// The object store is unavailable, or the bytes do not have the digest.
    pub async fn merge_upstream_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        new: NewManifest<'_>,
    ) -> Result<(), StoreError> {
        expect_digest(&new.digest, &new.bytes)?;
        let digest = &new.digest;
        let _held = self.digests.hold(&(repository, digest)).await;
        if self.deleted(repository, digest).await? {
            return Ok(());
        }
        if self.is_recorded(repository, subject, digest).await? {
            // Whoever asks has not found it listed: who recorded it may have ended before it told the index.
            let stale = Stale {
                subject: Some(subject.clone()),
                links: vec![digest.clone()],
                ..Stale::of(repository)
            };
            return self.derive_or_journal(&stale).await;
        }
        let change = self.begin_change(repository, digest, Some(subject));
        let link = self
            .keep_manifest(repository, &new, LinkKind::ManifestCopy, Some(subject), &[])
            .await?;
        let record = self.new_record(repository, subject, &new, Source::Upstream);
        let key = layout::upstream_referrer(repository, subject, digest);
        if self.put_record(&key, &record, Condition::IfAbsent).await? == Written::AlreadyThere {
            // By another replica, which tells the index of it.
            return Ok(());
        }
        if self.deleted(repository, digest).await? {
            // Deleted in between: whichever of the two came later takes the record away.
            self.blobs.delete(&key).await?;
            self.unlink(repository, digest, &link).await?;
        } else {
            self.index_referrer(&record.referrer, link.clone()).await?;
            self.look_at_referrer(&record.referrer, &link).await?;
        }
        change.finished();
        Ok(())
    }

    /// Unlists a manifest that is no longer upstream, if that is the only place it was known from. No tombstone: it
    /// may come back.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn forget_upstream_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let _held = self.digests.hold(&(repository, digest)).await;
        let key = layout::upstream_referrer(repository, subject, digest);
        match self.readable_record::<Referrer>(&key).await? {
            // What was adopted is regseal's own, whatever the registry does with it.
            None => return Ok(()),
            Some(record) if record.source == Source::Captured => return Ok(()),
            Some(_) => {}
        }
        let change = self.begin_change(repository, digest, Some(subject));
        self.blobs.delete(&key).await?;
        // The link stays, for a push that another replica may just have acknowledged; without a record it counts for
        // nothing, and the collector takes it. Its row is left to the journal: who ends in the middle of deriving it
        // leaves the entry to the others.
        let rows = Stale {
            links: vec![digest.clone()],
            ..Stale::of(repository)
        };
        self.put_in_journal(&rows).await?;
        let list = Stale {
            subject: Some(subject.clone()),
            ..Stale::of(repository)
        };
        self.derive_or_journal(&list).await?;
        change.finished();
        Ok(())
    }

    /// Writes a manifest's bytes, then the link to it; returns the link that stands. No collector has taken these, the
    /// blobs of a captured manifest, or what else it relies on: `also`. The caller holds the lock.
    pub(super) async fn keep_manifest(
        &self,
        repository: &RepositoryName,
        new: &NewManifest<'_>,
        kind: LinkKind,
        subject: Option<&Digest>,
        also: &[Key],
    ) -> Result<Link, StoreError> {
        let link = Link {
            kind,
            media_type: new.manifest.media_type.clone(),
            size: new.bytes.len() as u64,
            subject: subject.cloned(),
        };
        let mut relied_on = also.to_vec();
        if kind == LinkKind::Manifest {
            let digests: BTreeSet<&Digest> =
                new.manifest.blobs().map(|blob| &blob.digest).collect();
            for digest in digests {
                relied_on.push(layout::blob(digest));
                relied_on.push(layout::link(repository, digest));
            }
        }
        self.put_linked(repository, &new.digest, &new.bytes, &link, &relied_on)
            .await
    }

    /// Fails unless the repository links every blob of the manifest: so nothing is acknowledged whose blobs are not
    /// durable, and no manifest opens a way to another repository's blobs.
    pub(super) async fn expect_blobs(
        &self,
        repository: &RepositoryName,
        new: &NewManifest<'_>,
    ) -> Result<(), StoreError> {
        let blobs = new.manifest.blobs().map(|blob| blob.digest.clone());
        let digests: BTreeSet<Digest> = blobs.collect();
        let mut links = stream::iter(digests)
            .map(|digest| async move {
                let link = layout::link(repository, &digest);
                Ok::<_, StoreError>((digest, self.blobs.head(&link).await?))
            })
            .buffer_unordered(PARALLEL);
        while let Some((digest, link)) = links.try_next().await? {
            if link.is_some() {
                continue;
            }
            let name = (repository.clone(), digest);
            if self.collections.claimed.contains_key(&name) {
                // Linked a moment ago, so a collector has taken it; it is claimed again when the push is repeated.
                return Err(look::swept());
            }
            let (_, digest) = name;
            return Err(StoreError::BlobUnknown { digest });
        }
        Ok(())
    }

    /// The referrers of a subject by its records, in the order of their digests; of one that was found upstream and
    /// pushed as well, what was pushed.
    pub(super) async fn stored_referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Referrer>, StoreError> {
        let keys = self.keys(&layout::referrers(repository, subject)).await?;
        let mut referrers: BTreeMap<Digest, Referrer> = BTreeMap::new();
        for (_, record) in self.records::<Referrer>(keys).await? {
            let digest = record.descriptor.digest.clone();
            match referrers.entry(digest) {
                Entry::Vacant(entry) => drop(entry.insert(record)),
                Entry::Occupied(mut entry) if entry.get().source < record.source => {
                    entry.insert(record);
                }
                Entry::Occupied(_) => {}
            }
        }
        Ok(referrers.into_values().collect())
    }

    /// A referrer by its records.
    pub(super) async fn stored_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<Option<Referrer>, StoreError> {
        let pushed = layout::referrer(repository, subject, digest);
        let pushed = self.readable_record::<Referrer>(&pushed).await?;
        if pushed
            .as_ref()
            .is_some_and(|record| record.source == Source::Captured)
        {
            return Ok(pushed);
        }
        let upstream = layout::upstream_referrer(repository, subject, digest);
        let upstream = self.readable_record::<Referrer>(&upstream).await?;
        Ok(match (pushed, upstream) {
            (Some(pushed), Some(upstream)) if pushed.source < upstream.source => Some(upstream),
            (Some(pushed), _) => Some(pushed),
            (None, upstream) => upstream,
        })
    }

    pub(super) fn new_record(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        new: &NewManifest<'_>,
        source: Source,
    ) -> ReferrerRecord {
        let size = new.bytes.len() as u64;
        let blobs = new.manifest.blobs().map(|blob| blob.digest.clone());
        ReferrerRecord {
            referrer: Referrer {
                repository: repository.clone(),
                subject: subject.clone(),
                descriptor: new.manifest.referrer_descriptor(new.digest.clone(), size),
                source,
                time: self.clock.now(),
            },
            blobs: blobs.collect(),
        }
    }

    pub(super) async fn index_referrer(
        &self,
        record: &Referrer,
        link: Link,
    ) -> Result<(), StoreError> {
        let digest = &record.descriptor.digest;
        let stale = Stale::manifest(&record.repository, digest, &link);
        let links = [(digest.clone(), link)];
        let rows = async {
            // Together, so that both go into one commit.
            tokio::try_join!(
                self.index.put_links(&record.repository, &links),
                self.index.put_referrer(record),
            )?;
            Ok(())
        };
        self.index_or_journal(stale, rows).await
    }
}

fn oldest_first(mut referrers: Vec<Referrer>) -> Vec<Referrer> {
    referrers.sort_by(|a, b| (a.time, &a.descriptor.digest).cmp(&(b.time, &b.descriptor.digest)));
    referrers
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures_util::future::join_all;

    use super::*;
    use crate::clock::{ManualClock, SystemClock, UnixMillis};
    use crate::store::blob::fs::FsBlobStore;
    use crate::store::index::embedded::EmbeddedIndex;
    use crate::store::testing::{Fixture, Signature, listed, repository, subject};

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_hundred_at_once_on_one_subject_are_all_listed() {
        let directory = tempfile::tempdir().unwrap();
        let opened = EmbeddedIndex::open(directory.path(), &SystemClock).unwrap();
        let blobs = FsBlobStore::open(&directory.path().join("objects")).unwrap();
        let clock = Arc::new(ManualClock::new(UnixMillis::new(1)));
        let index = Arc::new(opened.index);
        let store = Arc::new(SignatureStore::new(Arc::new(blobs), index, clock));
        store.repair_journal().await.unwrap();
        store.rebuild_index(|_| ()).await.unwrap();

        let pushes = (0..100).map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let signature = Signature::new(&n.to_string());
                signature.add(&store, Source::Captured).await.unwrap();
                // One's own write is listed from here on.
                let listed = listed(&store).await;
                assert!(listed.iter().any(|(digest, _)| *digest == signature.digest));
            })
        });
        for push in join_all(pushes).await {
            push.unwrap();
        }
        assert_eq!(listed(&store).await.len(), 100);
        assert_eq!(store.verify_index().await.unwrap(), []);
        let stored = store.stored_referrers(&repository(), &subject()).await;
        assert_eq!(stored.unwrap().len(), 100);
    }

    #[tokio::test]
    async fn referrers_come_oldest_first_and_keep_their_first_time() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let [first, second] = ["first", "second"].map(Signature::new);
        first.merge(store).await.unwrap();
        fixture.clock.set(UnixMillis::new(2_000));
        second.add(store, Source::Captured).await.unwrap();
        fixture.clock.set(UnixMillis::new(3_000));
        first.add(store, Source::Captured).await.unwrap();
        first.add(store, Source::Forwarded).await.unwrap();
        let expected = [
            (first.digest.clone(), Source::Captured),
            (second.digest.clone(), Source::Captured),
        ];
        assert_eq!(listed(store).await, expected);
        let link = store.link(&repository(), &first.digest).await.unwrap();
        assert_eq!(link.unwrap().kind, LinkKind::Manifest);
        assert_eq!(listed(&fixture.replica()).await, expected);
    }

    #[tokio::test]
    async fn a_deleted_referrer_comes_back_by_a_push_and_not_from_upstream() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let signature = Signature::new("a");
        signature.merge(store).await.unwrap();
        store
            .delete_manifest(&repository(), &signature.digest)
            .await
            .unwrap();
        signature.merge(store).await.unwrap();
        assert_eq!(listed(store).await, []);
        assert!(
            store
                .deleted(&repository(), &signature.digest)
                .await
                .unwrap()
        );

        signature.add(store, Source::Captured).await.unwrap();
        assert_eq!(listed(store).await.len(), 1);
        assert!(
            !store
                .deleted(&repository(), &signature.digest)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn referrers_exist_from_the_first_to_the_last() {
        let fixture = Fixture::new();
        let (store, name) = (&fixture.store, &repository());
        let [one, two] = ["a", "b"].map(Signature::new);
        assert!(!store.has_referrers(name, &subject()).await.unwrap());
        one.add(store, Source::Captured).await.unwrap();
        two.merge(store).await.unwrap();
        for (digest, left) in [(&one.digest, true), (&two.digest, false)] {
            assert!(store.has_referrers(name, &subject()).await.unwrap());
            // No record is read.
            let record = layout::referrer(name, &subject(), digest);
            let bytes = Bytes::from_static(b"{");
            fixture
                .blobs
                .put(&record, bytes, Condition::Always)
                .await
                .unwrap();
            assert!(store.has_referrers(name, &subject()).await.unwrap());
            store.delete_manifest(name, digest).await.unwrap();
            let has = store.has_referrers(name, &subject()).await.unwrap();
            assert_eq!(has, left);
        }
        let other = "c".parse().unwrap();
        two.add(store, Source::Captured).await.unwrap();
        assert!(!store.has_referrers(&other, &subject()).await.unwrap());
    }

    #[tokio::test]
    async fn only_what_upstream_alone_held_is_forgotten() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        for (source, left) in [(None, 0), (Some(Source::Forwarded), 1)] {
            let signature = Signature::new("a");
            signature.merge(store).await.unwrap();
            if let Some(source) = source {
                signature.add(store, source).await.unwrap();
            }
            store
                .forget_upstream_referrer(&repository(), &subject(), &signature.digest)
                .await
                .unwrap();
            assert_eq!(listed(store).await.len(), left, "{source:?}");
        }
    }

    #[tokio::test]
    async fn forgetting_a_referrer_keeps_it_as_a_version_of_a_tag() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let signature = Signature::new("a");
        signature.append(store).await.unwrap();
        signature.merge(store).await.unwrap();
        store
            .forget_upstream_referrer(&repository(), &subject(), &signature.digest)
            .await
            .unwrap();
        assert_eq!(listed(store).await, []);
        let kept = store.read_manifest(&repository(), &signature.digest).await;
        assert_eq!(kept.unwrap().unwrap().0, signature.bytes);
        assert_eq!(store.verify_index().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_captured_manifest_needs_its_blobs_in_its_own_repository() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let signature = Signature::new("a");
        signature.claim(store).await;
        let other: RepositoryName = "other".parse().unwrap();
        let refused = store
            .add_referrer(
                &other,
                &subject(),
                signature.new_manifest(),
                Source::Captured,
            )
            .await;
        assert!(matches!(refused, Err(StoreError::BlobUnknown { .. })));
        let claimed = store
            .claim_blob(&other, &Digest::sha256(&signature.blob), "x")
            .await;
        assert_eq!(claimed.unwrap(), None);
        assert_eq!(store.referrers(&other, &subject()).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_manifest_is_only_taken_with_its_digest() {
        let fixture = Fixture::ready().await;
        let signature = Signature::new("a");
        signature.claim(&fixture.store).await;
        let wrong = NewManifest {
            digest: Digest::sha256(b"another"),
            ..signature.new_manifest()
        };
        let refused = fixture
            .store
            .add_referrer(&repository(), &subject(), wrong, Source::Captured)
            .await;
        assert!(matches!(refused, Err(StoreError::DigestMismatch { .. })));
    }
}
