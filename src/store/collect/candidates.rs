//! What scans have found, kept in the object store from one to the next: `v1/gc/candidates/<time>-<id>`.
//!
//! A candidate that an old enough set names is doomed, and swept in batches while the scan goes on. The others are
//! written as sets for a later run, but not while there is a young one: otherwise every run of many in one hour would
//! leave its own. A run that ends well removes the sets it has used; one that is cut off leaves them to the next.

use std::collections::HashSet;

use super::{Collected, Config, Keys, Options, Unreferenced, random, unless_damaged};
use crate::clock::UnixMillis;
use crate::oci::Digest;
use crate::store::blob::{Condition, Key};
use crate::store::error::StoreError;
use crate::store::layout;
use crate::store::signatures::SignatureStore;

/// Keys of one batch.
const BATCH: usize = 1000;
/// Bytes of the keys of one set: what is read whole stays well below its limit.
const SET: usize = 4 * 1024 * 1024;

/// The candidates of one run.
#[derive(Debug)]
pub(super) struct Candidates<'a> {
    store: &'a SignatureStore,
    options: Options,
    /// Hashes of the keys that old enough sets name.
    earlier: HashSet<u128>,
    /// These sets.
    used: Vec<Key>,
    leaves_sets: bool,
    doomed: Vec<Unreferenced>,
    found: Vec<String>,
    found_bytes: usize,
    collected: Collected,
}

impl<'a> Candidates<'a> {
    /// Reads what earlier scans have found.
    pub(super) async fn open(
        store: &'a SignatureStore,
        config: &Config,
        options: Options,
        now: UnixMillis,
    ) -> Result<Self, StoreError> {
        let mut candidates = Self {
            store,
            options,
            earlier: HashSet::new(),
            used: Vec::new(),
            leaves_sets: !options.dry_run,
            doomed: Vec::new(),
            found: Vec::new(),
            found_bytes: 0,
            collected: Collected::default(),
        };
        for key in store.keys(&layout::candidate_sets()).await? {
            match layout::candidate_time(&key) {
                Some(time) if time.saturating_add(config.between_scans) <= now => {
                    candidates.read(&key).await?;
                    candidates.used.push(key);
                }
                Some(time) if time <= now => candidates.leaves_sets = false,
                // Of a clock that was ahead, or none of ours.
                Some(_) | None => candidates.used.push(key),
            }
        }
        Ok(candidates)
    }

    async fn read(&mut self, set: &Key) -> Result<(), StoreError> {
        let record = self.store.record::<Keys>(set).await;
        let keys = unless_damaged(record)?.flatten().unwrap_or_default().keys;
        self.earlier.extend(keys.iter().map(|key| hash(key)));
        Ok(())
    }

    /// Counts what the scan looks at.
    pub(super) fn scanned(&mut self, objects: usize) {
        self.collected.scanned += objects as u64;
    }

    /// Takes what the scan has found unreferenced and untouched for long enough.
    pub(super) async fn found(&mut self, found: Unreferenced) -> Result<(), StoreError> {
        self.collected.candidates += 1;
        if self.earlier.contains(&hash(found.key.as_str())) {
            self.doomed.push(found);
            if self.doomed.len() >= BATCH {
                self.sweep().await?;
            }
            return Ok(());
        }
        self.collected.waiting += 1;
        if self.leaves_sets {
            self.found_bytes += found.key.as_str().len();
            self.found.push(found.key.as_str().to_owned());
            if self.found_bytes >= SET {
                self.leave_set().await?;
            }
        }
        Ok(())
    }

    /// Deletes staged bytes whose hour is over, unless they were staged again.
    pub(super) async fn expired(&mut self, staged: &Unreferenced) -> Result<(), StoreError> {
        if !self.options.dry_run {
            let head = self.store.blobs.head(&staged.key).await?;
            if head.is_none_or(|head| head.modified != staged.modified) {
                return Ok(());
            }
            self.store.blobs.delete(&staged.key).await?;
        }
        self.deleted(staged);
        Ok(())
    }

    /// Deletes what is still waiting for it, and leaves the rest for a later run.
    pub(super) async fn close(mut self) -> Result<Collected, StoreError> {
        self.sweep().await?;
        self.leave_set().await?;
        if !self.options.dry_run {
            for set in &self.used {
                self.store.blobs.delete(set).await?;
            }
        }
        Ok(self.collected)
    }

    async fn sweep(&mut self) -> Result<(), StoreError> {
        let doomed = std::mem::take(&mut self.doomed);
        let deleted = if self.options.dry_run {
            doomed
        } else {
            self.store.sweep(doomed).await?
        };
        for object in &deleted {
            self.deleted(object);
        }
        Ok(())
    }

    fn deleted(&mut self, object: &Unreferenced) {
        self.collected.deleted += 1;
        self.collected.bytes += object.size;
        if self.options.dry_run {
            self.collected.keys.push(object.key.clone());
        } else {
            self.store.metrics.collected_objects.add(1, &[]);
            self.store.metrics.collected_bytes.add(object.size, &[]);
        }
    }

    /// Writes what was found as a set. Its time is the present, not that of the beginning: nothing in it was found
    /// later.
    async fn leave_set(&mut self) -> Result<(), StoreError> {
        self.found_bytes = 0;
        let keys = std::mem::take(&mut self.found);
        if keys.is_empty() {
            return Ok(());
        }
        let set = layout::candidate_set(self.store.clock.now(), random());
        self.store
            .put_record(&set, &Keys { keys }, Condition::Always)
            .await?;
        Ok(())
    }
}

/// Half of the SHA-256 of a key: short, and no two keys that anybody could make share one.
fn hash(key: &str) -> u128 {
    let digest = Digest::sha256(key.as_bytes());
    let half = digest.encoded().get(..32).unwrap_or_default();
    u128::from_str_radix(half, 16).expect("a SHA-256 digest has 64 hexadecimal digits")
}
