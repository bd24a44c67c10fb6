//! What the tests of the store share: manifests, and backends that fail or yield.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use serde_json::json;
use tokio::sync::Semaphore;

use super::blob::memory::MemoryBlobStore;
use super::blob::{
    BlobError, BlobStore, ByteStream, Condition, Head, Key, Listed, Object, Written,
};
use super::index::memory::MemoryIndex;
use super::index::{Epoch, Generation, Incarnation, IndexError, Lookup, ReferrersIndex, Row};
use super::{Link, NewManifest, Referrer, SignatureStore, Source, StoreError, TagVersion};
use crate::clock::{ManualClock, UnixMillis};
use crate::oci::{Digest, Manifest, RepositoryName, Tag, media_type};

/// A store over memory, and what it is made of.
pub(super) struct Fixture {
    pub(super) store: Arc<SignatureStore>,
    pub(super) blobs: Arc<dyn BlobStore>,
    pub(super) index: Arc<Flaky>,
    pub(super) clock: Arc<ManualClock>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let clock = Arc::new(ManualClock::new(UnixMillis::new(1_000)));
        let blobs = Arc::new(MemoryBlobStore::new(Arc::<ManualClock>::clone(&clock)));
        Self::over(blobs, clock)
    }

    pub(super) fn over(blobs: Arc<dyn BlobStore>, clock: Arc<ManualClock>) -> Self {
        let index = Arc::new(Flaky::default());
        let store = Arc::new(SignatureStore::new(
            Arc::clone(&blobs),
            Arc::<Flaky>::clone(&index),
            Arc::<ManualClock>::clone(&clock),
        ));
        Self {
            store,
            blobs,
            index,
            clock,
        }
    }

    /// With a complete index that reads trust.
    pub(super) async fn ready() -> Self {
        let fixture = Self::new();
        fixture.store.repair_journal().await.unwrap();
        fixture.store.rebuild_index(|_| ()).await.unwrap();
        fixture
    }

    /// Another process over the same objects and index.
    pub(super) fn replica(&self) -> Arc<SignatureStore> {
        Arc::new(SignatureStore::new(
            Arc::clone(&self.blobs),
            Arc::<Flaky>::clone(&self.index),
            Arc::<ManualClock>::clone(&self.clock),
        ))
    }
}

pub(super) fn repository() -> RepositoryName {
    "a/b".parse().unwrap()
}

pub(super) fn subject() -> Digest {
    Digest::sha256(b"subject")
}

pub(super) fn tag() -> Tag {
    format!("{}.sig", subject().key_form()).parse().unwrap()
}

/// A signature manifest, with the one blob it names.
pub(super) struct Signature {
    pub(super) bytes: Bytes,
    pub(super) manifest: Manifest,
    pub(super) digest: Digest,
    pub(super) blob: Bytes,
}

impl Signature {
    pub(super) fn new(text: &str) -> Self {
        Self::with_layers(&[text])
    }

    /// One layer for each text, all of the same payload and config.
    pub(super) fn with_layers(texts: &[&str]) -> Self {
        let blob = Bytes::from_static(b"{}");
        let layers: Vec<_> = texts
            .iter()
            .map(|text| {
                json!({
                    "mediaType": media_type::SIMPLE_SIGNING,
                    "digest": Digest::sha256(&blob),
                    "size": blob.len(),
                    "annotations": {"signature": text},
                })
            })
            .collect();
        let bytes = json!({
            "schemaVersion": 2,
            "mediaType": media_type::IMAGE_MANIFEST,
            "config": {
                "mediaType": media_type::IMAGE_CONFIG,
                "digest": Digest::sha256(&blob),
                "size": blob.len(),
            },
            "layers": layers,
            "subject": {
                "mediaType": media_type::IMAGE_MANIFEST,
                "digest": subject(),
                "size": 7,
            },
        })
        .to_string();
        Self {
            manifest: Manifest::parse(bytes.as_bytes(), media_type::IMAGE_MANIFEST).unwrap(),
            digest: Digest::sha256(bytes.as_bytes()),
            bytes: bytes.into(),
            blob,
        }
    }

    pub(super) fn new_manifest(&self) -> NewManifest<'_> {
        NewManifest {
            bytes: self.bytes.clone(),
            digest: self.digest.clone(),
            manifest: &self.manifest,
        }
    }

    /// Stages and claims the blob.
    pub(super) async fn claim(&self, store: &SignatureStore) {
        let digest = Digest::sha256(&self.blob);
        store
            .stage(&repository(), &digest, self.blob.clone())
            .await
            .unwrap();
        let size = store
            .claim_blob(&repository(), &digest, "application/json")
            .await
            .unwrap();
        assert_eq!(size, Some(2));
    }

    pub(super) async fn add(
        &self,
        store: &SignatureStore,
        source: Source,
    ) -> Result<(), StoreError> {
        self.claim(store).await;
        store
            .add_referrer(&repository(), &subject(), self.new_manifest(), source)
            .await
    }

    pub(super) async fn merge(&self, store: &SignatureStore) -> Result<(), StoreError> {
        store
            .merge_upstream_referrer(&repository(), &subject(), self.new_manifest())
            .await
    }

    pub(super) async fn append(&self, store: &SignatureStore) -> Result<(), StoreError> {
        self.claim(store).await;
        store
            .append_tag(&repository(), &tag(), self.new_manifest())
            .await
    }
}

/// The digests and sources of the test subject's referrers, as listed.
pub(super) async fn listed(store: &SignatureStore) -> Vec<(Digest, Source)> {
    let referrers = store.referrers(&repository(), &subject()).await.unwrap();
    referrers
        .into_iter()
        .map(|referrer| (referrer.descriptor.digest, referrer.source))
        .collect()
}

/// How an index fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mode {
    Up,
    /// Nothing happens, and it is an error.
    Down,
    /// It happens, and it is an error.
    LosesReplies,
}

/// An index in memory that fails when told to, and yields around each operation, so that tasks interleave.
#[derive(Debug, Default)]
pub(super) struct Flaky {
    inner: MemoryIndex,
    mode: AtomicU8,
    yields: Yields,
}

impl Flaky {
    pub(super) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    fn fails_as(&self, mode: Mode) -> Result<(), IndexError> {
        if self.mode.load(Ordering::SeqCst) != mode as u8 {
            return Ok(());
        }
        Err(IndexError::Unavailable {
            operation: "do anything",
            source: Arc::new(std::io::Error::other("told to fail")),
        })
    }

    async fn through<T>(
        &self,
        operation: impl Future<Output = Result<T, IndexError>>,
    ) -> Result<T, IndexError> {
        self.yields.some().await;
        self.fails_as(Mode::Down)?;
        let outcome = operation.await;
        self.yields.some().await;
        self.fails_as(Mode::LosesReplies)?;
        outcome
    }
}

/// Gives way to other tasks, a number of times that varies and can be repeated.
#[derive(Debug, Default)]
struct Yields(AtomicU64);

impl Yields {
    async fn some(&self) {
        let step = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        for _ in 0..(step >> 61) {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl ReferrersIndex for Flaky {
    async fn complete(&self) -> Result<bool, IndexError> {
        self.through(self.inner.complete()).await
    }

    async fn clear(&self) -> Result<Epoch, IndexError> {
        self.through(self.inner.clear()).await
    }

    async fn epoch(&self) -> Result<Epoch, IndexError> {
        self.through(self.inner.epoch()).await
    }

    async fn begin_repository(
        &self,
        repository: &RepositoryName,
    ) -> Result<Incarnation, IndexError> {
        self.through(self.inner.begin_repository(repository)).await
    }

    async fn complete_repository(
        &self,
        repository: &RepositoryName,
        incarnation: Incarnation,
    ) -> Result<bool, IndexError> {
        self.through(self.inner.complete_repository(repository, incarnation))
            .await
    }

    async fn set_complete(&self, epoch: Epoch) -> Result<bool, IndexError> {
        self.through(self.inner.set_complete(epoch)).await
    }

    async fn put_referrer(&self, referrer: &Referrer) -> Result<(), IndexError> {
        self.through(self.inner.put_referrer(referrer)).await
    }

    async fn remove_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), IndexError> {
        let removal = self.inner.remove_referrer(repository, subject, digest);
        self.through(removal).await
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Lookup<Vec<Referrer>>, IndexError> {
        self.through(self.inner.referrers(repository, subject))
            .await
    }

    async fn generation(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Generation, IndexError> {
        self.through(self.inner.generation(repository, subject))
            .await
    }

    async fn replace_subject(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        referrers: Vec<Referrer>,
        expected: Generation,
    ) -> Result<bool, IndexError> {
        let replacement = self
            .inner
            .replace_subject(repository, subject, referrers, expected);
        self.through(replacement).await
    }

    async fn put_links(
        &self,
        repository: &RepositoryName,
        links: &[(Digest, Link)],
    ) -> Result<(), IndexError> {
        self.through(self.inner.put_links(repository, links)).await
    }

    async fn remove_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), IndexError> {
        self.through(self.inner.remove_link(repository, digest))
            .await
    }

    async fn link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Lookup<Link>, IndexError> {
        self.through(self.inner.link(repository, digest)).await
    }

    async fn put_tag_version(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        number: u64,
        version: &TagVersion,
    ) -> Result<(), IndexError> {
        let write = self.inner.put_tag_version(repository, tag, number, version);
        self.through(write).await
    }

    async fn tag_versions(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Lookup<Vec<(u64, TagVersion)>>, IndexError> {
        self.through(self.inner.tag_versions(repository, tag)).await
    }

    fn rows(&self) -> BoxStream<'_, Result<Row, IndexError>> {
        match self.fails_as(Mode::Down) {
            Ok(()) => ReferrersIndex::rows(&self.inner),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }
}

/// What an operation of [`Stopping`] is stopped for.
pub(super) enum Stop {
    /// This runs to its end first.
    For(BoxFuture<'static, ()>),
    /// The process dies before it: nothing happens any more.
    Death,
    /// The process dies after it.
    LateDeath,
}

/// The objects as one process sees them, which is stopped at one of its operations.
pub(super) struct Stopping {
    inner: Arc<dyn BlobStore>,
    stop: Mutex<Option<Planned>>,
    is_dead: AtomicBool,
}

struct Planned {
    /// Counting begins with the first write below this folder.
    since_write_below: &'static str,
    has_begun: bool,
    left: usize,
    stop: Stop,
}

impl Stopping {
    pub(super) fn new(inner: Arc<dyn BlobStore>) -> Self {
        Self {
            inner,
            stop: Mutex::default(),
            is_dead: AtomicBool::new(false),
        }
    }

    /// Stops at the operation after the next `count`.
    pub(super) fn stop_after(&self, count: usize, stop: Stop) {
        self.plan(count, stop, "", true);
    }

    /// Stops at the operation `count` after the first write below a folder.
    pub(super) fn stop_after_write_below(&self, folder: &'static str, count: usize, stop: Stop) {
        self.plan(count, stop, folder, false);
    }

    fn plan(&self, left: usize, stop: Stop, since_write_below: &'static str, has_begun: bool) {
        *self.stop.lock().unwrap() = Some(Planned {
            since_write_below,
            has_begun,
            left,
            stop,
        });
    }

    /// Whether it has not come to the operation; it will not be stopped then.
    pub(super) fn forget_stop(&self) -> bool {
        self.stop.lock().unwrap().take().is_some()
    }

    async fn through<T>(
        &self,
        written: Option<&Key>,
        operation: impl Future<Output = Result<T, BlobError>>,
    ) -> Result<T, BlobError> {
        let dead = || BlobError::Unavailable {
            operation: "do anything",
            key: "dead".parse().unwrap(),
            source: Box::new(std::io::Error::other("told to die")),
        };
        let stop = self.next_stop(written);
        match stop {
            Some(Stop::For(other)) => other.await,
            Some(Stop::Death) => self.is_dead.store(true, Ordering::SeqCst),
            Some(Stop::LateDeath) => {
                operation.await?;
                self.is_dead.store(true, Ordering::SeqCst);
                return Err(dead());
            }
            None => {}
        }
        if self.is_dead.load(Ordering::SeqCst) {
            return Err(dead());
        }
        operation.await
    }

    fn next_stop(&self, written: Option<&Key>) -> Option<Stop> {
        let mut planned = self.stop.lock().unwrap();
        let plan = planned.as_mut()?;
        let begins = |key: &Key| key.as_str().starts_with(plan.since_write_below);
        plan.has_begun |= written.is_some_and(begins);
        if !plan.has_begun {
            return None;
        }
        if plan.left == 0 {
            return planned.take().map(|plan| plan.stop);
        }
        plan.left -= 1;
        None
    }
}

impl fmt::Debug for Stopping {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Stopping").finish_non_exhaustive()
    }
}

#[async_trait]
impl BlobStore for Stopping {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, BlobError> {
        self.through(None, self.inner.get(key)).await
    }

    async fn open(&self, key: &Key) -> Result<Option<Object>, BlobError> {
        self.through(None, self.inner.open(key)).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>, BlobError> {
        self.through(None, self.inner.head(key)).await
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        condition: Condition,
    ) -> Result<Written, BlobError> {
        self.through(Some(key), self.inner.put(key, bytes, condition))
            .await
    }

    async fn put_stream(&self, key: &Key, stream: ByteStream) -> Result<u64, BlobError> {
        self.through(Some(key), self.inner.put_stream(key, stream))
            .await
    }

    async fn list(
        &self,
        under: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Listed>, BlobError> {
        self.through(None, self.inner.list(under, after, limit))
            .await
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        self.through(None, self.inner.delete(key)).await
    }
}

/// Objects in memory that yield around each operation.
#[derive(Debug)]
pub(super) struct Yielding {
    inner: MemoryBlobStore,
    yields: Yields,
    /// Writes to the journal wait for a permit of it.
    pub(super) journal: Semaphore,
}

impl Yielding {
    pub(super) fn new(clock: Arc<ManualClock>, seed: u64) -> Self {
        Self {
            inner: MemoryBlobStore::new(clock),
            yields: Yields(AtomicU64::new(seed)),
            journal: Semaphore::new(Semaphore::MAX_PERMITS),
        }
    }

    async fn through<T>(&self, operation: impl Future<Output = T>) -> T {
        self.yields.some().await;
        let outcome = operation.await;
        self.yields.some().await;
        outcome
    }
}

#[async_trait]
impl BlobStore for Yielding {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, BlobError> {
        self.through(self.inner.get(key)).await
    }

    async fn open(&self, key: &Key) -> Result<Option<Object>, BlobError> {
        self.through(self.inner.open(key)).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>, BlobError> {
        self.through(self.inner.head(key)).await
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        condition: Condition,
    ) -> Result<Written, BlobError> {
        if key.as_str().starts_with("v1/journal/") {
            self.journal.acquire().await.unwrap().forget();
        }
        self.through(self.inner.put(key, bytes, condition)).await
    }

    async fn put_stream(&self, key: &Key, stream: ByteStream) -> Result<u64, BlobError> {
        self.through(self.inner.put_stream(key, stream)).await
    }

    async fn list(
        &self,
        under: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Listed>, BlobError> {
        self.through(self.inner.list(under, after, limit)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        self.through(self.inner.delete(key)).await
    }
}
