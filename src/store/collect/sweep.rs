//! The collector's side of a deletion: publish a batch, look at each of its keys again, delete, withdraw the batch.

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep_until};

use super::look::Published;
use super::{Keys, Unreferenced, random, unavailable, unless_damaged};
use crate::store::blob::{Condition, Key};
use crate::store::error::StoreError;
use crate::store::layout::{self, Place};
use crate::store::records::{Link, LinkKind, Stale};
use crate::store::signatures::{PARALLEL, SignatureStore};

/// What became of one key of a batch.
#[derive(Debug)]
enum Fate {
    Deleted(Unreferenced),
    /// It is gone already, or somebody has come to need it.
    Spared,
    /// The time for deletions was over.
    Left(Unreferenced),
}

/// Nothing could be deleted in the time that a batch has.
#[derive(Debug, thiserror::Error)]
#[error("it takes too long")]
struct Slow;

impl SignatureStore {
    /// Deletes those of `doomed` that are as the scan has found them; returns these.
    pub(super) async fn sweep(
        &self,
        mut doomed: Vec<Unreferenced>,
    ) -> Result<Vec<Unreferenced>, StoreError> {
        let mut deleted = Vec::new();
        while !doomed.is_empty() {
            let count = doomed.len();
            doomed = self.sweep_batch(doomed, &mut deleted).await?;
            if doomed.len() == count {
                return Err(StoreError::Unavailable {
                    operation: "delete what nothing refers to",
                    source: Box::new(Slow),
                });
            }
        }
        Ok(deleted)
    }

    /// One batch; returns what there was no time for.
    ///
    /// If anything fails, the batch stays published: a deletion whose answer was lost may still take place.
    async fn sweep_batch(
        &self,
        doomed: Vec<Unreferenced>,
        deleted: &mut Vec<Unreferenced>,
    ) -> Result<Vec<Unreferenced>, StoreError> {
        let began = Instant::now();
        let sweep = layout::sweep(random());
        let keys = doomed.iter().map(|doomed| doomed.key.as_str().to_owned());
        let keys = Keys {
            keys: keys.collect(),
        };
        self.put_record(&sweep, &keys, Condition::Always).await?;
        // To the end also after a failure, so that no deletion is left under way.
        let fates: Vec<Result<Fate, StoreError>> = stream::iter(doomed)
            .map(|doomed| self.delete_unneeded(doomed, began))
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        let mut left = Vec::new();
        for fate in fates {
            match fate? {
                Fate::Deleted(object) => deleted.push(object),
                Fate::Spared => {}
                Fate::Left(object) => left.push(object),
            }
        }
        self.blobs.delete(&sweep).await?;
        Ok(left)
    }

    async fn delete_unneeded(
        &self,
        doomed: Unreferenced,
        began: Instant,
    ) -> Result<Fate, StoreError> {
        let is_over = || began.elapsed() >= self.collections.waits.deleting;
        if is_over() {
            return Ok(Fate::Left(doomed));
        }
        let head = self.blobs.head(&doomed.key).await?;
        if head.is_none_or(|head| head.modified != doomed.modified)
            || self.has_come_to_be_needed(&doomed.key).await?
        {
            return Ok(Fate::Spared);
        }
        if is_over() {
            return Ok(Fate::Left(doomed));
        }
        self.blobs
            .delete(&doomed.key)
            .await
            .map_err(|error| unavailable("delete what nothing refers to", error))?;
        self.rows_follow(&doomed.key).await?;
        Ok(Fate::Deleted(doomed))
    }

    /// What can be seen cheaply of a need that has come up since the scan. The proof does not rest on it.
    async fn has_come_to_be_needed(&self, key: &Key) -> Result<bool, StoreError> {
        let Some((repository, place)) = layout::place(key) else {
            return Ok(false);
        };
        match place {
            Place::Link(digest) => {
                let record = self.record::<Link>(key).await;
                let Some(Some(link)) = unless_damaged(record)? else {
                    return Ok(true);
                };
                if matches!(link.kind, LinkKind::Blob | LinkKind::Generated) {
                    return Ok(false);
                }
                let recorded = match &link.subject {
                    Some(subject) => self.is_recorded(&repository, subject, &digest).await?,
                    None => false,
                };
                Ok(recorded || !self.captured_tags(&repository, &digest).await?.is_empty())
            }
            Place::Tagged(digest) => {
                let link = layout::link(&repository, &digest);
                Ok(self.blobs.head(&link).await?.is_some())
            }
            // No candidate.
            Place::Tombstone
            | Place::Orphaned(_)
            | Place::Staged
            | Place::Referrer { .. }
            | Place::TagVersion
            | Place::Named
            | Place::Mark
            | Place::Kept
            | Place::Existing
            | Place::Alias
            | Place::Unknown => Ok(true),
        }
    }

    /// Makes the index say of a link what its record does.
    async fn rows_follow(&self, key: &Key) -> Result<(), StoreError> {
        let Some((repository, Place::Link(digest))) = layout::place(key) else {
            return Ok(());
        };
        let stale = Stale {
            links: vec![digest],
            ..Stale::of(&repository)
        };
        self.derive_or_journal(&stale).await
    }

    /// Waits until the batches of collectors that died are old enough, lets the rows of their links follow, and
    /// withdraws them. What other collectors publish meanwhile is theirs.
    pub(super) async fn finish_abandoned_sweeps(&self) -> Result<(), StoreError> {
        for Published { sweep, first_seen } in self.published_sweeps().await? {
            let is_abandoned = first_seen + self.collections.waits.abandoned;
            while self.blobs.head(&sweep).await?.is_some() {
                if Instant::now() < is_abandoned {
                    let next_look = Instant::now() + self.collections.waits.patience;
                    sleep_until(next_look.min(is_abandoned)).await;
                    continue;
                }
                let record = self.record::<Keys>(&sweep).await;
                let keys = unless_damaged(record)?.flatten().unwrap_or_default().keys;
                for key in keys.iter().filter_map(|key| key.parse().ok()) {
                    self.rows_follow(&key).await?;
                }
                self.blobs.delete(&sweep).await?;
            }
        }
        Ok(())
    }
}
