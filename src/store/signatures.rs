//! The signature store: what every handler reads and writes, over objects and index.
//!
//! Reading goes to the index first and to the object store whenever the index does not know, fails, or is suspect.
//! Writing is in the files beside this one: `referrers`, `captured_tag`, `staging`, `deletion`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::oci::{Digest, Manifest, RepositoryName};

use super::blob::metered::MeteredBlobStore;
use super::blob::{BlobStore, Condition, Key, Written};
use super::captured_tag::Unions;
use super::collect::look::{self, Collections};
use super::content::{self, Content};
use super::error::StoreError;
use super::heal::Unknown;
use super::index::{Lookup, ReferrersIndex};
use super::journal::Journal;
use super::layout;
use super::locks::Locks;
use super::metrics::Metrics;
use super::owed::{Owed, Told};
use super::passing::Waiting;
use super::records::{self, Link, LinkKind, Stale, Stamp};

/// Records read at a time.
pub(super) const PARALLEL: usize = 32;
/// Keys listed at a time.
pub(super) const PAGE: usize = 1000;

/// Signature manifests, their blobs and their records.
///
/// Every method is scoped by repository; authorising the caller for that repository is the caller's part. A write is
/// durable when it returns `Ok`; after an error, nothing was acknowledged and the same call can be repeated.
#[derive(Debug)]
pub struct SignatureStore {
    pub(super) blobs: Arc<dyn BlobStore>,
    pub(super) index: Arc<dyn ReferrersIndex>,
    pub(super) clock: Arc<dyn Clock>,
    /// Held while the records of one digest change; never two at a time.
    pub(super) digests: Locks,
    /// Held while a tag gets a version; taken after one of `digests`, if both.
    pub(super) tags: Locks,
    pub(super) rebuilding: tokio::sync::Mutex<()>,
    pub(super) journal: Journal,
    pub(super) unknown: Unknown,
    pub(super) owed: Owed,
    pub(super) told: Told,
    pub(super) staged: Waiting,
    pub(super) kept: Waiting,
    pub(super) unions: Unions,
    pub(super) collections: Collections,
    pub(super) metrics: Metrics,
}

/// A manifest that is to be kept.
#[derive(Clone, Debug)]
pub struct NewManifest<'a> {
    /// Its bytes.
    pub bytes: Bytes,
    /// Their digest, in the algorithm the client named it by.
    pub digest: Digest,
    /// What the bytes say.
    pub manifest: &'a Manifest,
}

/// The state of the store, for the readiness report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether reads use the index.
    pub index: IndexHealth,
    /// Whether the object store answered at the last look.
    pub objects_answer: bool,
    /// Journal entries at the last look, 1000 standing for more.
    pub journal_depth: u64,
    /// How long the oldest of them has waited: what other replicas acknowledged that long ago, the index may lack.
    pub journal_age: Option<Duration>,
}

/// Whether reads use the index. Answers are right in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexHealth {
    /// They do.
    Ok,
    /// It does not know everything yet; what it does not know is read from the object store.
    Incomplete,
    /// It fails, or has failed and is not repaired; everything is read from the object store.
    Degraded,
}

impl SignatureStore {
    /// A store over `blobs`, with `index` as the cache of its records.
    ///
    /// Until the first [`repair_journal`](Self::repair_journal) has found the journal empty, reads go past the index.
    #[must_use]
    pub fn new(
        blobs: Arc<dyn BlobStore>,
        index: Arc<dyn ReferrersIndex>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let metrics = Metrics::new();
        let blobs = MeteredBlobStore::new(blobs, metrics.object_duration.clone());
        Self {
            blobs: Arc::new(blobs),
            index,
            clock,
            digests: Locks::default(),
            tags: Locks::default(),
            rebuilding: tokio::sync::Mutex::default(),
            journal: Journal::new(),
            unknown: Unknown::default(),
            owed: Owed::default(),
            told: Told::default(),
            staged: Waiting::default(),
            kept: Waiting::default(),
            unions: Unions::new(),
            collections: Collections::default(),
            metrics,
        }
    }

    /// What this repository may serve `digest` as; `None` if it may not.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Link>, StoreError> {
        if self.journal.index_is_trusted() {
            match self.index.link(repository, digest).await {
                Ok(Lookup::Found(link)) => return Ok(Some(link)),
                Ok(Lookup::Absent) => return Ok(None),
                Ok(Lookup::Unknown) => self.unknown.suspect(repository).await,
                Err(error) => self.index_read_failed(&error),
            }
        }
        self.stored_link(repository, digest).await
    }

    /// [`Self::link`] by its records, past the index.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn recorded_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Link>, StoreError> {
        self.stored_link(repository, digest).await
    }

    /// [`Self::link`] by its records. A link whose push or deletion was cut off, so that its referrer is not listed,
    /// is none: whoever asks for the manifest would not push it again.
    pub(super) async fn stored_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Link>, StoreError> {
        let Some(link) = self
            .record::<Link>(&layout::link(repository, digest))
            .await?
        else {
            return Ok(None);
        };
        let Some(subject) = &link.subject else {
            return Ok(Some(link));
        };
        let stands = self.is_recorded(repository, subject, digest).await?
            || !self.captured_tags(repository, digest).await?.is_empty();
        Ok(stands.then_some(link))
    }

    /// The content of `digest`, if this repository links it.
    ///
    /// Bytes are hashed again as they are read. Content up to 4 MiB is verified before the first byte is given; of
    /// longer content the last piece is kept back until the whole is verified, and a mismatch ends the stream in an
    /// error, never cleanly.
    ///
    /// # Errors
    /// The object store is unavailable, or the content is corrupt or lost.
    pub async fn read(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Content>, StoreError> {
        let Some(link) = self.link(repository, digest).await? else {
            return Ok(None);
        };
        let key = layout::blob(digest);
        match self.blobs.open(&key).await? {
            Some(object) if object.size == link.size => {
                content::verify(link, object, digest, key).await.map(Some)
            }
            Some(_) | None => Err(StoreError::Corrupt { key }),
        }
    }

    /// The bytes of a manifest, if this repository links `digest` as one; verified.
    ///
    /// # Errors
    /// The object store is unavailable, or the manifest is corrupt or lost.
    pub async fn read_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<(Bytes, Link)>, StoreError> {
        let Some(link) = self.link(repository, digest).await? else {
            return Ok(None);
        };
        if link.kind == LinkKind::Blob {
            return Ok(None);
        }
        let key = layout::blob(digest);
        match self.blobs.get(&key).await? {
            Some(bytes) if digest.matches(&bytes) => Ok(Some((bytes, link))),
            Some(_) | None => Err(StoreError::Corrupt { key }),
        }
    }

    /// Whether `digest` was deleted through regseal and not pushed again since.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn deleted(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let tombstone = layout::tombstone(repository, digest);
        Ok(self.blobs.head(&tombstone).await?.is_some())
    }

    /// Keeps bytes that regseal made itself as a manifest of this repository. Idempotent; cheap when they are there.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn put_generated(
        &self,
        repository: &RepositoryName,
        bytes: Bytes,
        media_type: &str,
    ) -> Result<Digest, StoreError> {
        let digest = Digest::sha256(&bytes);
        self.put_own(repository, &digest, bytes, media_type, LinkKind::Generated)
            .await?;
        Ok(digest)
    }

    /// Keeps bytes that regseal made itself, unless this process has done so within the hour and the repository still
    /// links them: what is in use is written so often that no collector takes it.
    pub(super) async fn put_own(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        bytes: Bytes,
        media_type: &str,
        kind: LinkKind,
    ) -> Result<(), StoreError> {
        let name = (repository.clone(), digest.clone());
        let linked = self.link(repository, digest).await?;
        if linked.is_some_and(|link| link.kind >= kind)
            && self.collections.written.contains_key(&name)
        {
            return Ok(());
        }
        let _held = self.digests.hold(&(repository, digest)).await;
        let link = Link {
            kind,
            media_type: media_type.to_owned(),
            size: bytes.len() as u64,
            subject: None,
        };
        let change = self.begin_change(repository, digest, None);
        let link = self
            .put_linked(repository, digest, &bytes, &link, &[])
            .await?;
        self.blobs
            .delete(&layout::tombstone(repository, digest))
            .await?;
        self.index_link(repository, digest, link).await?;
        change.finished();
        self.collections.written.insert(name, ()).await;
        Ok(())
    }

    /// Writes bytes and the link to them, again if they are gone when it looks for collectors; returns the link that
    /// stands. No collector has taken, or will take, these or what else is relied on: `also`. The caller holds the
    /// digest's lock.
    pub(super) async fn put_linked(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        bytes: &Bytes,
        link: &Link,
        also: &[Key],
    ) -> Result<Link, StoreError> {
        let own = [layout::blob(digest), layout::link(repository, digest)];
        let keys = [&own, also].concat();
        for _ in 0..look::WRITES {
            let [blob, _] = &own;
            self.blobs
                .put(blob, bytes.clone(), Condition::Always)
                .await?;
            let link = self.put_link(repository, digest, link.clone()).await?;
            let swept = self.swept_of(&keys).await?;
            if swept.is_empty() {
                return Ok(link);
            }
            if swept.iter().any(|key| !own.contains(key)) {
                break;
            }
        }
        Err(look::swept())
    }

    /// Writes a link, joined with the one that stands there: a weaker kind never replaces a stronger one, of blobs the
    /// first stays, and the subject is kept, since the referrer's record is found by it. Written also if it stands there
    /// already, so that a collector sees that somebody relies on it. Returns the link that stands afterwards.
    ///
    /// The caller holds the digest's lock, and tells the index.
    pub(super) async fn put_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        link: Link,
    ) -> Result<Link, StoreError> {
        let key = layout::link(repository, digest);
        let mut existing = self.readable_record::<Link>(&key).await?;
        if existing.is_none() {
            match self.put_record(&key, &link, Condition::IfAbsent).await? {
                Written::Created => return Ok(link),
                // Another replica was first, or it cannot be read.
                Written::AlreadyThere => existing = self.readable_record::<Link>(&key).await?,
            }
        }
        let joined = match existing {
            Some(existing) if existing.kind > link.kind || link.kind == LinkKind::Blob => Link {
                subject: existing.subject.or(link.subject),
                ..existing
            },
            Some(existing) => Link {
                subject: link.subject.or(existing.subject),
                ..link
            },
            None => link,
        };
        self.put_record(&key, &joined, Condition::Always).await?;
        Ok(joined)
    }

    /// Tells the index of a link.
    pub(super) async fn index_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        link: Link,
    ) -> Result<(), StoreError> {
        let rows = [(digest.clone(), link)];
        let stale = Stale {
            links: vec![digest.clone()],
            ..Stale::of(repository)
        };
        self.index_or_journal(stale, self.index.put_links(repository, &rows))
            .await
    }

    pub(super) fn stamp(&self) -> Stamp {
        Stamp {
            time: self.clock.now(),
        }
    }

    /// A record, `None` if there is none.
    pub(super) async fn record<T: DeserializeOwned>(
        &self,
        key: &Key,
    ) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.blobs.get(key).await? else {
            return Ok(None);
        };
        match records::decode(&bytes) {
            Some(record) => Ok(Some(record)),
            None => Err(StoreError::Corrupt { key: key.clone() }),
        }
    }

    /// A record, `None` also if it cannot be read: for who is about to write it anew, and for lists, which one bad
    /// record must not hide.
    pub(super) async fn readable_record<T: DeserializeOwned>(
        &self,
        key: &Key,
    ) -> Result<Option<T>, StoreError> {
        match self.record(key).await {
            Err(StoreError::Corrupt { key }) => {
                tracing::error!(%key, "a record of the object store cannot be read");
                Ok(None)
            }
            outcome => outcome,
        }
    }

    /// The readable records under `keys`, in their order; those deleted meanwhile are left out.
    pub(super) async fn records<T: DeserializeOwned + Send>(
        &self,
        keys: Vec<Key>,
    ) -> Result<Vec<(Key, T)>, StoreError> {
        stream::iter(keys)
            .map(|key| async move {
                let record = self.readable_record(&key).await?;
                Ok(record.map(|record| (key, record)))
            })
            .buffered(PARALLEL)
            .try_filter_map(|found| async { Ok(found) })
            .try_collect()
            .await
    }

    pub(super) async fn put_record<T: Serialize + Sync>(
        &self,
        key: &Key,
        record: &T,
        condition: Condition,
    ) -> Result<Written, StoreError> {
        let bytes = records::encode(record);
        Ok(self.blobs.put(key, bytes, condition).await?)
    }

    /// All keys below `under`, in order.
    pub(super) async fn keys(&self, under: &Key) -> Result<Vec<Key>, StoreError> {
        self.first_keys(under, usize::MAX).await
    }

    /// The first keys below `under`, at most `most`.
    pub(super) async fn first_keys(
        &self,
        under: &Key,
        most: usize,
    ) -> Result<Vec<Key>, StoreError> {
        let mut keys: Vec<Key> = Vec::new();
        loop {
            let limit = PAGE.min(most - keys.len());
            let page = self.blobs.list(under, keys.last(), limit).await?;
            let last = page.len() < limit;
            keys.extend(page.into_iter().map(|listed| listed.key));
            if last || keys.len() >= most {
                return Ok(keys);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMillis;
    use crate::store::Source;
    use crate::store::blob::fs::FsBlobStore;
    use crate::store::collect;
    use crate::store::testing::{Fixture, Signature, repository, subject, tag};

    #[test]
    fn every_operation_can_run_on_any_thread() {
        fn spawnable<F: Future + Send>(_: F) {}
        let fixture = Fixture::new();
        let (store, name, digest) = (&fixture.store, &repository(), &subject());
        let signature = Signature::new("a");
        let manifest = || signature.new_manifest();
        spawnable(store.link(name, digest));
        spawnable(store.read(name, digest));
        spawnable(store.read_manifest(name, digest));
        spawnable(store.referrers(name, digest));
        spawnable(store.has_referrers(name, digest));
        spawnable(store.deleted(name, digest));
        spawnable(store.stage(name, digest, Bytes::new()));
        spawnable(store.sweep_staging(UnixMillis::new(0)));
        spawnable(store.sweep_kept(UnixMillis::new(0)));
        spawnable(store.keep_rejected(name, digest, "", Bytes::new(), UnixMillis::new(0)));
        spawnable(store.kept(name, digest));
        spawnable(store.note_tagged(name, digest, &tag()));
        spawnable(store.tags_naming(name, digest));
        spawnable(store.note_parent(name, digest, digest));
        spawnable(store.parents(name, digest));
        spawnable(store.mark(name, &tag()));
        spawnable(store.marks(name));
        spawnable(store.clear_mark(name, &tag(), Some(digest)));
        spawnable(store.add_to_inventory(name, &[]));
        spawnable(store.verdicts(name, digest));
        spawnable(store.put_verdicts(name, digest, Bytes::new()));
        spawnable(store.claim_blob(name, digest, ""));
        spawnable(store.put_blob(name, digest, stream::empty().boxed(), 0));
        spawnable(store.add_referrer(name, digest, manifest(), Source::Captured));
        spawnable(store.merge_upstream_referrer(name, digest, manifest()));
        spawnable(store.forget_upstream_referrer(name, digest, digest));
        spawnable(store.append_tag(name, &tag(), manifest()));
        spawnable(store.merge_upstream_tag(name, &tag(), manifest()));
        spawnable(store.tag(name, &tag()));
        spawnable(store.delete_tag(name, &tag()));
        spawnable(store.delete_manifest(name, digest));
        spawnable(store.delete_generated(name, digest));
        spawnable(store.put_generated(name, Bytes::new(), ""));
        spawnable(store.rebuild_index(|_| ()));
        spawnable(store.verify_index());
        spawnable(store.repair_journal());
        let config = collect::Config {
            between_scans: Duration::ZERO,
            untouched: Duration::ZERO,
            subject_grace: Duration::ZERO,
        };
        spawnable(store.collect(&config, collect::Options::default()));
    }

    #[tokio::test]
    async fn a_blob_changed_on_disk_is_not_served() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = FsBlobStore::open(directory.path()).unwrap();
        let fixture = Fixture::over(Arc::new(blobs), Arc::default());
        let store = &fixture.store;
        let signature = Signature::new("a");
        signature.add(store, Source::Captured).await.unwrap();
        let path = directory
            .path()
            .join(layout::blob(&signature.digest).as_str());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[10] ^= 1;
        std::fs::write(&path, bytes).unwrap();

        let content = store.read(&repository(), &signature.digest).await;
        assert!(matches!(content, Err(StoreError::Corrupt { .. })));
        let manifest = store.read_manifest(&repository(), &signature.digest).await;
        assert!(matches!(manifest, Err(StoreError::Corrupt { .. })));
        // Pushing it again heals it.
        signature.add(store, Source::Captured).await.unwrap();
        let manifest = store.read_manifest(&repository(), &signature.digest).await;
        assert_eq!(manifest.unwrap().unwrap().0, signature.bytes);
    }

    #[tokio::test]
    async fn generated_manifests_are_written_once() {
        let fixture = Fixture::ready().await;
        let bytes = Bytes::from_static(b"[]");
        let mut digests = Vec::new();
        for time in [10, 20] {
            fixture.clock.set(UnixMillis::new(time));
            let digest = fixture
                .store
                .put_generated(&repository(), bytes.clone(), "x")
                .await;
            digests.push(digest.unwrap());
        }
        assert_eq!(digests, [Digest::sha256(b"[]"), Digest::sha256(b"[]")]);
        let head = fixture
            .blobs
            .head(&layout::blob(&digests[0]))
            .await
            .unwrap();
        assert_eq!(head.unwrap().modified, UnixMillis::new(10));
    }
}
