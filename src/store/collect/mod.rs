//! Collecting what nothing refers to, beside pushes by any replica; and a scrub of what is kept.
//!
//! Only the object store is asked what is needed; rows of the index follow the records. Collected are blobs that no
//! repository links, links that nothing in their repository needs (a blob that no standing manifest names, a manifest
//! whose push was cut off, what regseal makes anew when asked), marks of tags on what is no longer linked, staged bytes
//! after their hour, and, `subject_grace` after a subject was deleted, its referrers. Other records stay.
//!
//! # Why nothing acknowledged is lost
//!
//! Something is deleted when two scans at least `between_scans` apart found it unreferenced, and the later one untouched
//! for `untouched`. That alone is no proof: a push may come to rely on it a moment before it is deleted. Therefore:
//!
//! - A push *writes again* all that it relies on (bytes, links, marks), also what is there already.
//! - The collector publishes (`sweep`) the keys of a batch as an object below `v1/gc/sweeps`, *then* looks at the time of
//!   each, deletes those whose time is still that of its scan, and withdraws the object when all its deletions have
//!   ended.
//! - A push, having written, looks (`look`) for published batches, waits while one names a key of its own, and *then*
//!   looks whether all its keys are there. Only what has passed both is acknowledged.
//!
//! Let a push write the key *k*, find no batch that names *k*, find *k*, and be acknowledged; and let a batch delete *k*
//! after the push found it. Either the batch was published after the push looked for batches: then the collector read
//! the time of *k* after *k* was written, which is not that of a scan that found it untouched for a day, and did not
//! delete it. Or it was published before the push looked: then it had been withdrawn by that time, so all its deletions
//! had ended, and *k*, found after that, was not deleted later. Neither is possible. A look for batches alone would not
//! do: a whole batch may be published, delete *k* and be withdrawn between the writing and the look.
//!
//! A collector that died leaves its batch published. It deletes nothing later than 10 s after it began to publish, and
//! no request takes longer than another 15 s; so who has known a batch for 30 s by its own monotonic clock may take it
//! as withdrawn. Wall clocks decide how soon something is collected, and nothing of the above. Several collectors at
//! once only repeat each other's work: the proof speaks of each batch alone, and no lock or lease is needed.
//!
//! # Memory
//!
//! What is referenced is remembered as 64-bit hashes under a random key, 10 to 19 MB for each million digests that are
//! linked in the whole store, and 20 to 40 MB for each million links of the repository that is being scanned. Two
//! digests with one hash make the collector keep what it could delete. Candidates of an earlier scan take 19 to 36 MB
//! for each million.

mod candidates;
mod grace;
pub(super) mod look;
mod scan;
mod scrub;
mod sweep;

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::blob::{BlobError, Key};
use super::error::StoreError;
use super::signatures::SignatureStore;
use crate::clock::UnixMillis;

use candidates::Candidates;
use scan::Scan;

pub use grace::OnSubjectDelete;
pub use scrub::{Damage, Scrubbed, What};

/// When something may be collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Least time between the two scans that find it unreferenced.
    pub between_scans: Duration,
    /// How long it was not written. Above an hour, since what regseal makes itself is written again once an hour while
    /// it is in use.
    pub untouched: Duration,
    /// How long the referrers of a deleted subject wait for it to come back.
    pub subject_grace: Duration,
}

/// What a run does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Changes nothing, and says what it would do.
    pub dry_run: bool,
    /// Verifies everything that is kept as well.
    pub scrub: bool,
}

/// What a run has found and done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Objects looked at.
    pub scanned: u64,
    /// Objects that nothing refers to and that were not touched for long enough.
    pub candidates: u64,
    /// Objects that were deleted, of these and of staged bytes; in a dry run, that would be.
    pub deleted: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Candidates that an earlier scan has not found, or not long enough ago.
    pub waiting: u64,
    /// Deleted subjects whose referrers were deleted as well; in a dry run, would be.
    pub subjects: u64,
    /// In a dry run, the keys that would be deleted.
    pub keys: Vec<Key>,
    /// What the scrub has found, if there was one.
    pub scrub: Option<Scrubbed>,
}

/// An object that nothing refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unreferenced {
    key: Key,
    size: u64,
    /// As of the scan.
    modified: UnixMillis,
}

/// The content of a set of candidates, and of a published batch.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Keys {
    keys: Vec<String>,
}

impl SignatureStore {
    /// Scans everything, deletes what an earlier scan has found as well, and leaves the rest for a later one. May run
    /// beside pushes, reads and other collectors; when it is cut off, the next one goes on.
    ///
    /// # Errors
    /// The object store is unavailable. What was deleted until then was rightly deleted.
    pub async fn collect(
        &self,
        config: &Config,
        options: Options,
    ) -> Result<Collected, StoreError> {
        // Noted now, so that what a collector that died has left is known for long enough in the end.
        self.published_sweeps().await?;
        let now = self.clock.now();
        let mut candidates = Candidates::open(self, config, options, now).await?;
        let orphans = Box::pin(Scan::new(self, config, now).run(&mut candidates)).await?;
        let mut collected = Box::pin(candidates.close()).await?;
        for (repository, subject) in orphans {
            let is_over = self
                .end_grace(&repository, &subject, config.subject_grace, options.dry_run)
                .await?;
            collected.subjects += u64::from(is_over);
        }
        if !options.dry_run {
            self.finish_abandoned_sweeps().await?;
        }
        if options.scrub {
            collected.scrub = Some(Box::pin(self.scrub()).await?);
        }
        Ok(collected)
    }
}

/// `None` for an object that is damaged: what it says is in doubt, which is no outage.
fn unless_damaged<T>(outcome: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::Corrupt { key }) => {
            tracing::error!(%key, "a stored object is damaged; nothing that may depend on it is collected");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The object store cannot be used for what was tried.
fn unavailable(operation: &'static str, error: BlobError) -> StoreError {
    StoreError::Unavailable {
        operation,
        source: Box::new(error),
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes)
        .expect("the generator of the cryptographic library does not fail once seeded");
    u64::from_le_bytes(bytes)
}
