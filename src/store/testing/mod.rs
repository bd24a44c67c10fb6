//! What the tests of the store share: manifests, and backends that fail or yield.

mod index;
mod objects;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::json;

use super::blob::BlobStore;
use super::blob::memory::MemoryBlobStore;
use super::{NewManifest, SignatureStore, Source, StoreError};
use crate::clock::{ManualClock, UnixMillis};
use crate::oci::{Digest, Manifest, RepositoryName, Tag, media_type};

pub(in crate::store) use index::{Flaky, Mode};
pub(in crate::store) use objects::{Stop, Stopping, Yielding};

/// A store over memory, and what it is made of.
pub(in crate::store) struct Fixture {
    pub(in crate::store) store: Arc<SignatureStore>,
    pub(in crate::store) blobs: Arc<dyn BlobStore>,
    pub(in crate::store) index: Arc<Flaky>,
    pub(in crate::store) clock: Arc<ManualClock>,
}

impl Fixture {
    pub(in crate::store) fn new() -> Self {
        let clock = Arc::new(ManualClock::new(UnixMillis::new(1_000)));
        let blobs = Arc::new(MemoryBlobStore::new(Arc::<ManualClock>::clone(&clock)));
        Self::over(blobs, clock)
    }

    pub(in crate::store) fn over(blobs: Arc<dyn BlobStore>, clock: Arc<ManualClock>) -> Self {
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
    pub(in crate::store) async fn ready() -> Self {
        let fixture = Self::new();
        fixture.store.repair_journal().await.unwrap();
        fixture.store.rebuild_index(|_| ()).await.unwrap();
        fixture
    }

    /// Another process over the same objects and index.
    pub(in crate::store) fn replica(&self) -> Arc<SignatureStore> {
        Arc::new(SignatureStore::new(
            Arc::clone(&self.blobs),
            Arc::<Flaky>::clone(&self.index),
            Arc::<ManualClock>::clone(&self.clock),
        ))
    }
}

pub(in crate::store) fn repository() -> RepositoryName {
    "a/b".parse().unwrap()
}

pub(in crate::store) fn subject() -> Digest {
    Digest::sha256(b"subject")
}

pub(in crate::store) fn tag() -> Tag {
    format!("{}.sig", subject().key_form()).parse().unwrap()
}

/// A signature manifest, with the one blob it names.
pub(in crate::store) struct Signature {
    pub(in crate::store) bytes: Bytes,
    pub(in crate::store) manifest: Manifest,
    pub(in crate::store) digest: Digest,
    pub(in crate::store) blob: Bytes,
}

impl Signature {
    pub(in crate::store) fn new(text: &str) -> Self {
        Self::with_layers(&[text])
    }

    /// One layer for each text, all of the same payload and config.
    pub(in crate::store) fn with_layers(texts: &[&str]) -> Self {
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

    pub(in crate::store) fn new_manifest(&self) -> NewManifest<'_> {
        NewManifest {
            bytes: self.bytes.clone(),
            digest: self.digest.clone(),
            manifest: &self.manifest,
        }
    }

    /// Stages and claims the blob.
    pub(in crate::store) async fn claim(&self, store: &SignatureStore) {
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

    pub(in crate::store) async fn add(
        &self,
        store: &SignatureStore,
        source: Source,
    ) -> Result<(), StoreError> {
        self.claim(store).await;
        store
            .add_referrer(&repository(), &subject(), self.new_manifest(), source)
            .await
    }

    pub(in crate::store) async fn merge(&self, store: &SignatureStore) -> Result<(), StoreError> {
        store
            .merge_upstream_referrer(&repository(), &subject(), self.new_manifest())
            .await
    }

    pub(in crate::store) async fn append(&self, store: &SignatureStore) -> Result<(), StoreError> {
        self.claim(store).await;
        store
            .append_tag(&repository(), &tag(), self.new_manifest())
            .await
    }
}

/// The digests and sources of the test subject's referrers, as listed.
pub(in crate::store) async fn listed(store: &SignatureStore) -> Vec<(Digest, Source)> {
    let referrers = store.referrers(&repository(), &subject()).await.unwrap();
    referrers
        .into_iter()
        .map(|referrer| (referrer.descriptor.digest, referrer.source))
        .collect()
}

/// Gives way to other tasks, a number of times that varies and can be repeated.
#[derive(Debug, Default)]
pub(super) struct Yields(pub(super) AtomicU64);

impl Yields {
    pub(super) async fn some(&self) {
        let step = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        for _ in 0..(step >> 61) {
            tokio::task::yield_now().await;
        }
    }
}
