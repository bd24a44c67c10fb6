//! The push's side of a collection: nothing is acknowledged that a collector may be deleting.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use moka::future::Cache;
use tokio::time::{Instant, sleep};

use super::{Keys, unless_damaged};
use crate::oci::{Digest, RepositoryName};
use crate::store::blob::Key;
use crate::store::error::StoreError;
use crate::store::layout;
use crate::store::signatures::{PARALLEL, SignatureStore};

/// How often a push writes something again that is gone when it looks.
pub(in crate::store) const WRITES: usize = 3;
/// What regseal made itself is written again after this time; far below the time that a collector leaves it untouched.
pub(in crate::store) const WRITTEN_AGAIN: Duration = Duration::from_secs(3600);
/// Digests remembered that were written within that time; one that is forgotten is only written again.
const REMEMBERED: u64 = 16_384;

/// How long the two sides wait, by monotonic clocks.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Waits {
    /// How long after it began to publish a batch a collector begins to delete something.
    pub(in crate::store) deleting: Duration,
    /// After this time a published batch is one of a collector that died.
    pub(in crate::store) abandoned: Duration,
    /// How long a push waits for a batch to be withdrawn.
    pub(in crate::store) patience: Duration,
    /// Between two looks.
    pub(in crate::store) between_looks: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            deleting: Duration::from_secs(10),
            abandoned: Duration::from_secs(30),
            patience: Duration::from_secs(5),
            between_looks: Duration::from_millis(100),
        }
    }
}

/// What this process knows of collections.
#[derive(Debug)]
pub(in crate::store) struct Collections {
    pub(in crate::store) waits: Waits,
    /// When each batch that is published was first seen.
    seen: Mutex<HashMap<Key, Instant>>,
    /// What regseal made itself and has written within the hour.
    pub(in crate::store) written: Cache<(RepositoryName, Digest), ()>,
    /// Blobs that were linked within the hour: if one is not, a collector has taken it.
    pub(in crate::store) claimed: Cache<(RepositoryName, Digest), ()>,
}

impl Default for Collections {
    fn default() -> Self {
        let of_an_hour = || {
            Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(WRITTEN_AGAIN)
                .build()
        };
        Self {
            waits: Waits::default(),
            seen: Mutex::default(),
            written: of_an_hour(),
            claimed: of_an_hour(),
        }
    }
}

/// One of the published batches.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) sweep: Key,
    pub(super) first_seen: Instant,
}

/// What a push fails to do whose objects are taken away under it.
pub(in crate::store) const KEEP: &str = "keep what is being deleted";

/// A collector or a deletion takes away what a push relies on, or has.
#[derive(Debug, thiserror::Error)]
#[error("it is being deleted at this moment")]
struct Swept;

/// What a push is told that has to be repeated.
pub(in crate::store) fn swept() -> StoreError {
    StoreError::Unavailable {
        operation: KEEP,
        source: Box::new(Swept),
    }
}

impl SignatureStore {
    /// Those of `keys` that a collector has deleted. What is not among them stays: to be called when all of them have
    /// been written, and before anything is acknowledged or recorded. See [`super`].
    ///
    /// # Errors
    /// The object store is unavailable, or is deleting one of them for longer than a push should wait.
    pub(in crate::store) async fn swept_of(&self, keys: &[Key]) -> Result<Vec<Key>, StoreError> {
        let began = Instant::now();
        while self.sweep_names_any(keys).await? {
            if began.elapsed() >= self.collections.waits.patience {
                return Err(swept());
            }
            sleep(self.collections.waits.between_looks).await;
        }
        stream::iter(keys.to_vec())
            .map(|key| async move {
                let head = self.blobs.head(&key).await?;
                Ok::<_, StoreError>(head.is_none().then_some(key))
            })
            .buffer_unordered(PARALLEL)
            .try_filter_map(|missing| async { Ok(missing) })
            .try_collect()
            .await
    }

    /// Fails if one of `keys` is being collected, or has been.
    pub(in crate::store) async fn expect_unswept(&self, keys: &[Key]) -> Result<(), StoreError> {
        match self.swept_of(keys).await?.as_slice() {
            [] => Ok(()),
            [..] => Err(swept()),
        }
    }

    async fn sweep_names_any(&self, keys: &[Key]) -> Result<bool, StoreError> {
        for published in self.published_sweeps().await? {
            if published.first_seen.elapsed() >= self.collections.waits.abandoned {
                continue;
            }
            let record = self.record::<Keys>(&published.sweep).await;
            let named = match unless_damaged(record)? {
                Some(Some(batch)) => {
                    let named = |key: &Key| batch.keys.iter().any(|named| named == key.as_str());
                    keys.iter().any(named)
                }
                // Withdrawn in between.
                Some(None) => false,
                None => true,
            };
            if named {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The batches that are published, each with when this process first saw it.
    pub(super) async fn published_sweeps(&self) -> Result<Vec<Published>, StoreError> {
        let sweeps = self.keys(&layout::sweeps()).await?;
        let now = Instant::now();
        let seen = &self.collections.seen;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = std::mem::take(&mut *seen);
        let published: Vec<Published> = sweeps
            .into_iter()
            .map(|sweep| Published {
                first_seen: known.get(&sweep).copied().unwrap_or(now),
                sweep,
            })
            .collect();
        for Published { sweep, first_seen } in &published {
            seen.insert(sweep.clone(), *first_seen);
        }
        Ok(published)
    }
}
