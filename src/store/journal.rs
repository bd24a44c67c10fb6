//! What happens when the index fails: an entry in the object store's journal, and the repair.
//!
//! An entry names what may be stale and holds none of it; the repair derives it again from the records, so an old
//! entry repeats nothing that has been undone since.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tracing::warn;

use crate::oci::{Digest, RepositoryName, Tag};

use super::blob::Condition;
use super::error::StoreError;
use super::index::IndexError;
use super::layout;
use super::records::{Referrer, Stale, TagVersion};
use super::signatures::{Health, IndexHealth, SignatureStore};

/// How often a subject is derived again when it changes meanwhile, before it is left to the next repair.
const ATTEMPTS: usize = 8;

/// What this process knows about the index's failures.
#[derive(Debug)]
pub(super) struct Journal {
    /// Makes the entries of this process its own.
    replica: u64,
    number: AtomicU64,
    /// Grows with everything that makes the index suspect. Begins above `repaired`: what an earlier process left in
    /// the journal is not known yet.
    suspicions: AtomicU64,
    /// The suspicions up to which the journal was seen empty.
    repaired: AtomicU64,
    depth: AtomicU64,
    complete: AtomicBool,
}

impl Journal {
    pub(super) fn new() -> Self {
        let mut replica = [0; 8];
        aws_lc_rs::rand::fill(&mut replica)
            .expect("the generator of the cryptographic library does not fail once seeded");
        Self {
            replica: u64::from_le_bytes(replica),
            number: AtomicU64::new(0),
            suspicions: AtomicU64::new(1),
            repaired: AtomicU64::new(0),
            depth: AtomicU64::new(0),
            complete: AtomicBool::new(false),
        }
    }

    /// Whether what the index says is all that was acknowledged.
    pub(super) fn index_is_trusted(&self) -> bool {
        self.suspicions.load(Ordering::SeqCst) == self.repaired.load(Ordering::SeqCst)
    }

    fn suspect(&self) {
        self.suspicions.fetch_add(1, Ordering::SeqCst);
    }
}

impl Stale {
    pub(super) fn of(repository: &RepositoryName) -> Self {
        Self {
            repository: repository.clone(),
            subject: None,
            links: Vec::new(),
            tag: None,
        }
    }
}

impl SignatureStore {
    /// Whether reads use the index, as of the last repair and the failures since.
    #[must_use]
    pub fn health(&self) -> Health {
        let index = if !self.journal.index_is_trusted() {
            IndexHealth::Degraded
        } else if self.journal.complete.load(Ordering::Relaxed) {
            IndexHealth::Ok
        } else {
            IndexHealth::Incomplete
        };
        Health {
            index,
            journal_depth: self.journal.depth.load(Ordering::Relaxed),
        }
    }

    /// Brings the index up to date with every journal entry, of this and other replicas, and removes them; returns
    /// how many. To be called every second: while an entry is left, reads go past the index.
    ///
    /// # Errors
    /// Index or object store are unavailable; what is left is repaired by a later call.
    pub async fn repair_journal(&self) -> Result<usize, StoreError> {
        let outcome = self.drain().await;
        if let Ok(complete) = self.index.complete().await {
            self.journal.complete.store(complete, Ordering::Relaxed);
        }
        let degraded = !self.journal.index_is_trusted();
        self.metrics.index_degraded.record(u64::from(degraded), &[]);
        outcome
    }

    async fn drain(&self) -> Result<usize, StoreError> {
        let mut repaired = 0;
        loop {
            // Read before the journal is: a failure that is not in this listing has a suspicion after it.
            let suspicions = self.journal.suspicions.load(Ordering::SeqCst);
            let entries = self.keys(&layout::journal()).await?;
            let depth = entries.len() as u64;
            self.journal.depth.store(depth, Ordering::Relaxed);
            self.metrics.journal_depth.record(depth, &[]);
            if entries.is_empty() {
                self.journal
                    .repaired
                    .fetch_max(suspicions, Ordering::SeqCst);
                return Ok(repaired);
            }
            if self.journal.index_is_trusted() {
                self.journal.suspect();
            }
            for key in entries {
                match self.readable_record::<Stale>(&key).await? {
                    Some(stale) => self.repair(&stale).await?,
                    // Another replica has dealt with it.
                    None if self.blobs.head(&key).await?.is_none() => continue,
                    // It cannot be told what is stale, so all may be.
                    None => drop(self.index.clear().await?),
                }
                self.blobs.delete(&key).await?;
                repaired += 1;
            }
        }
    }

    async fn repair(&self, stale: &Stale) -> Result<(), StoreError> {
        if let Some(subject) = &stale.subject {
            self.derive_subject(&stale.repository, subject).await?;
        }
        for digest in &stale.links {
            self.derive_link(&stale.repository, digest).await?;
        }
        if let Some(Ok(tag)) = stale.tag.as_deref().map(str::parse) {
            self.derive_tag(&stale.repository, &tag).await?;
        }
        Ok(())
    }

    /// Awaits a write to the index; when it fails, notes in the journal what is stale. Fails only if that fails too.
    pub(super) async fn index_or_journal(
        &self,
        stale: Stale,
        write: impl Future<Output = Result<(), IndexError>> + Send,
    ) -> Result<(), StoreError> {
        let Err(error) = write.await else {
            return Ok(());
        };
        self.metrics.index_failures.add(1, &[]);
        self.metrics.index_degraded.record(1, &[]);
        warn!(
            error = &error as &dyn std::error::Error,
            "the index failed, its repair is in the journal"
        );
        // Once before the entry, so that no read trusts the index from here on; and once after it, since a repair
        // may have looked at the journal in between and taken the first as dealt with.
        self.journal.suspect();
        let number = self.journal.number.fetch_add(1, Ordering::Relaxed);
        let key = layout::journal_entry(self.journal.replica, number);
        self.put_record(&key, &stale, Condition::Always).await?;
        self.journal.suspect();
        Ok(())
    }

    pub(super) fn index_read_failed(&self, error: &IndexError) {
        self.metrics.index_failures.add(1, &[]);
        warn!(
            error = error as &dyn std::error::Error,
            "the index failed, the object store answers"
        );
    }

    /// Makes the index's rows of a subject those of its records, under the subject's generation; returns how many.
    pub(super) async fn derive_subject(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<usize, StoreError> {
        for _ in 0..ATTEMPTS {
            let generation = self.index.generation(repository, subject).await?;
            let referrers: Vec<Referrer> = self.stored_referrers(repository, subject).await?;
            let count = referrers.len();
            let replaced = self
                .index
                .replace_subject(repository, subject, referrers, generation)
                .await?;
            if replaced {
                return Ok(count);
            }
        }
        Err(StoreError::Unavailable {
            operation: "derive a subject that keeps changing",
            source: Box::new(Busy),
        })
    }

    /// Makes the index's row of a link that of its record.
    ///
    /// Without a generation: written, then compared with the record again, until both agree. Whoever changes the
    /// record after the last comparison writes the row after it too, so the row ends as the record does.
    pub(super) async fn derive_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let mut record = self.stored_link(repository, digest).await?;
        loop {
            match &record {
                Some(link) => {
                    let row = [(digest.clone(), link.clone())];
                    self.index.put_links(repository, &row).await?;
                }
                None => self.index.remove_link(repository, digest).await?,
            }
            let now = self.stored_link(repository, digest).await?;
            if now == record {
                return Ok(());
            }
            record = now;
        }
    }

    /// Gives the index every version of a tag. Versions are never changed or removed.
    async fn derive_tag(&self, repository: &RepositoryName, tag: &Tag) -> Result<(), StoreError> {
        let versions: Vec<(u64, TagVersion)> = self.stored_tag_versions(repository, tag).await?;
        for (number, version) in versions {
            self.index
                .put_tag_version(repository, tag, number, &version)
                .await?;
        }
        Ok(())
    }

    /// Refreshes what [`health`](Self::health) says of completeness.
    pub(super) fn note_complete(&self) {
        self.journal.complete.store(true, Ordering::Relaxed);
    }
}

/// A subject changed during each attempt to derive it.
#[derive(Debug, thiserror::Error)]
#[error("it changed during every attempt")]
struct Busy;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::clock::ManualClock;
    use crate::store::Source;
    use crate::store::index::{Lookup, ReferrersIndex};
    use crate::store::testing::{
        Fixture, Mode, Signature, Yielding, listed, repository, subject, tag,
    };

    #[tokio::test]
    async fn a_push_while_the_index_is_down_is_acknowledged_and_listed_and_repaired() {
        for mode in [Mode::Down, Mode::LosesReplies] {
            let fixture = Fixture::ready().await;
            let store = &fixture.store;
            let before = Signature::new("before");
            before.add(store, Source::Captured).await.unwrap();
            assert_eq!(store.health().index, IndexHealth::Ok);

            fixture.index.set(mode);
            let during = Signature::new("during");
            during.add(store, Source::Captured).await.unwrap();
            during.append(store).await.unwrap();
            store
                .delete_manifest(&repository(), &before.digest)
                .await
                .unwrap();
            let expected = [(during.digest.clone(), Source::Captured)];
            assert_eq!(listed(store).await, expected);
            assert_eq!(store.health().index, IndexHealth::Degraded);
            assert!(store.repair_journal().await.is_err());
            assert!(store.health().journal_depth > 0);

            // Back, but not repaired: what it says is not believed.
            fixture.index.set(Mode::Up);
            assert_eq!(listed(store).await, expected);

            assert!(store.repair_journal().await.unwrap() > 0);
            assert_eq!(store.health().index, IndexHealth::Ok);
            assert_eq!(store.health().journal_depth, 0);
            assert_eq!(store.verify_index().await.unwrap(), []);
            assert_eq!(listed(store).await, expected);
            let served = store.tag(&repository(), &tag()).await.unwrap().unwrap();
            assert_eq!(served.digest, during.digest);
            assert_eq!(store.repair_journal().await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_repair_between_the_failure_and_its_entry_does_not_bring_back_trust() {
        let clock = Arc::new(ManualClock::default());
        let blobs = Arc::new(Yielding::new(Arc::clone(&clock), 0));
        let fixture = Fixture::over(Arc::<Yielding>::clone(&blobs), clock);
        let store = &fixture.store;
        store.repair_journal().await.unwrap();
        store.rebuild_index(|_| ()).await.unwrap();
        let signature = Signature::new("a");
        signature.claim(store).await;

        blobs
            .journal
            .forget_permits(blobs.journal.available_permits());
        fixture.index.set(Mode::Down);
        let push = {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let name = repository();
                let new = signature.new_manifest();
                store
                    .add_referrer(&name, &subject(), new, Source::Captured)
                    .await
            })
        };
        while store.journal.index_is_trusted() {
            tokio::task::yield_now().await;
        }
        fixture.index.set(Mode::Up);
        assert_eq!(store.repair_journal().await.unwrap(), 0);
        blobs.journal.add_permits(1);
        push.await.unwrap().unwrap();
        assert_eq!(listed(store).await.len(), 1);
        store.repair_journal().await.unwrap();
        assert_eq!(store.verify_index().await.unwrap(), []);
    }

    #[tokio::test]
    async fn what_another_replica_could_not_index_is_repaired_here() {
        let fixture = Fixture::ready().await;
        let replica = fixture.replica();
        fixture.index.set(Mode::Down);
        let signature = Signature::new("a");
        signature.add(&replica, Source::Captured).await.unwrap();
        fixture.index.set(Mode::Up);

        fixture.store.repair_journal().await.unwrap();
        assert_eq!(listed(&fixture.store).await.len(), 1);
        assert_eq!(fixture.store.verify_index().await.unwrap(), []);
    }

    #[tokio::test]
    async fn an_entry_that_cannot_be_read_makes_the_index_start_over() {
        let fixture = Fixture::ready().await;
        let entry = layout::journal_entry(1, 1);
        fixture
            .blobs
            .put(&entry, Bytes::from_static(b"{"), Condition::Always)
            .await
            .unwrap();
        assert_eq!(fixture.store.repair_journal().await.unwrap(), 1);
        assert_eq!(fixture.store.health().index, IndexHealth::Incomplete);
    }

    #[tokio::test]
    async fn an_old_entry_does_not_bring_back_what_was_deleted() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        fixture.index.set(Mode::Down);
        let signature = Signature::new("a");
        signature.add(store, Source::Captured).await.unwrap();
        fixture.index.set(Mode::Up);
        store
            .delete_manifest(&repository(), &signature.digest)
            .await
            .unwrap();
        store.repair_journal().await.unwrap();
        assert_eq!(listed(store).await, []);
        let row = fixture.index.referrers(&repository(), &subject()).await;
        assert!(!matches!(row.unwrap(), Lookup::Found(rows) if !rows.is_empty()));
    }
}
