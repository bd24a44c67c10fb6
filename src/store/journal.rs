//! What happens when the index fails: an entry in the object store's journal, and the repair.
//!
//! An entry names what may be stale and holds none of it; the repair derives it again from the records, so an old
//! entry repeats nothing that has been undone since.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::{StreamExt, TryStreamExt, stream};
use tracing::warn;

use crate::clock::UnixMillis;
use crate::oci::{Digest, RepositoryName};

use super::blob::{Condition, Key};
use super::error::StoreError;
use super::index::IndexError;
use super::layout;
use super::records::{Link, Stale};
use super::signatures::{Health, IndexHealth, PAGE, PARALLEL, SignatureStore};

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
    /// When the oldest entry was written, in milliseconds of the store's clock; 0: there is none.
    oldest: AtomicU64,
    complete: AtomicBool,
    /// The last look found index and object store in use.
    index_answers: AtomicBool,
    objects_answer: AtomicBool,
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
            oldest: AtomicU64::new(0),
            complete: AtomicBool::new(false),
            index_answers: AtomicBool::new(true),
            objects_answer: AtomicBool::new(true),
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

    /// Its single things, so that what many entries name is derived once.
    fn parts(&self) -> Vec<Self> {
        let of = || Self::of(&self.repository);
        let subject = self.subject.iter().map(|subject| Self {
            subject: Some(subject.clone()),
            ..of()
        });
        let links = self.links.iter().map(|link| Self {
            links: vec![link.clone()],
            ..of()
        });
        let tag = self.tag.iter().map(|tag| Self {
            tag: Some(tag.clone()),
            ..of()
        });
        subject.chain(links).chain(tag).collect()
    }

    /// A manifest's link, and its row under the link's subject.
    pub(super) fn manifest(repository: &RepositoryName, digest: &Digest, link: &Link) -> Self {
        Self {
            subject: link.subject.clone(),
            links: vec![digest.clone()],
            ..Self::of(repository)
        }
    }
}

impl SignatureStore {
    /// Whether reads use the index, as of the last repair and the failures since.
    #[must_use]
    pub fn health(&self) -> Health {
        let journal = &self.journal;
        let index = if !journal.index_is_trusted() || !journal.index_answers.load(Ordering::Relaxed)
        {
            IndexHealth::Degraded
        } else if journal.complete.load(Ordering::Relaxed) {
            IndexHealth::Ok
        } else {
            IndexHealth::Incomplete
        };
        let oldest = journal.oldest.load(Ordering::Relaxed);
        Health {
            index,
            objects_answer: journal.objects_answer.load(Ordering::Relaxed),
            journal_depth: journal.depth.load(Ordering::Relaxed),
            journal_age: (oldest > 0)
                .then(|| self.clock.now().saturating_since(UnixMillis::new(oldest))),
        }
    }

    /// Brings the index up to date with every journal entry, of this and other replicas, and removes them; returns
    /// how many. To be called every second: while an entry is left, reads go past the index.
    ///
    /// # Errors
    /// Index or object store are unavailable; what is left is repaired by a later call.
    pub async fn repair_journal(&self) -> Result<usize, StoreError> {
        let outcome = self.drain().await;
        if let Ok(epoch) = self.index.epoch().await {
            for stale in self.told.since_before(epoch) {
                self.owed.owe(stale);
            }
        }
        let complete = self.index.complete().await;
        let answers = complete.is_ok();
        self.journal.index_answers.store(answers, Ordering::Relaxed);
        if let Ok(complete) = complete {
            self.journal.complete.store(complete, Ordering::Relaxed);
        }
        let health = self.health();
        let degraded = u64::from(health.index == IndexHealth::Degraded);
        self.metrics.index_degraded.record(degraded, &[]);
        let lag = health.journal_age.unwrap_or_default().as_secs_f64();
        self.metrics.index_lag.record(lag, &[]);
        outcome
    }

    async fn drain(&self) -> Result<usize, StoreError> {
        let mut repaired = 0;
        loop {
            // Read before the journal is: a failure that is not in this listing has a suspicion after it.
            let suspicions = self.journal.suspicions.load(Ordering::SeqCst);
            let page = self.blobs.list(&layout::journal(), None, PAGE).await;
            self.journal
                .objects_answer
                .store(page.is_ok(), Ordering::Relaxed);
            let page = page?;
            let depth = page.len() as u64;
            self.journal.depth.store(depth, Ordering::Relaxed);
            self.metrics.journal_depth.record(depth, &[]);
            let oldest = page.iter().map(|entry| entry.modified.as_u64()).min();
            self.journal
                .oldest
                .store(oldest.unwrap_or(0), Ordering::Relaxed);
            if page.is_empty() {
                self.journal
                    .repaired
                    .fetch_max(suspicions, Ordering::SeqCst);
                return Ok(repaired);
            }
            if self.journal.index_is_trusted() {
                self.journal.suspect();
            }
            let keys = page.into_iter().map(|entry| entry.key).collect();
            repaired += self.repair_entries(keys).await?;
        }
    }

    /// Repairs what entries of the journal name, each thing once, and removes them.
    async fn repair_entries(&self, keys: Vec<Key>) -> Result<usize, StoreError> {
        let mut entries = Vec::new();
        let mut stale = BTreeSet::new();
        let mut is_readable = true;
        for (key, entry) in self.journal_entries(keys).await? {
            is_readable &= entry.is_some();
            stale.extend(entry.iter().flat_map(Stale::parts));
            entries.push(key);
        }
        if !is_readable {
            // It cannot be told what is stale, so all may be.
            self.index.clear().await?;
        }
        let mut repairs = stream::iter(stale)
            .map(|part| self.repair_owned(part))
            .buffer_unordered(PARALLEL);
        while repairs.try_next().await?.is_some() {}
        let count = entries.len();
        let mut removals = stream::iter(entries)
            .map(|key| self.remove_entry(key))
            .buffer_unordered(PARALLEL);
        while removals.try_next().await?.is_some() {}
        Ok(count)
    }

    /// The entries that are still there, `None` for one that cannot be read.
    async fn journal_entries(
        &self,
        keys: Vec<Key>,
    ) -> Result<Vec<(Key, Option<Stale>)>, StoreError> {
        let mut reads = stream::iter(keys)
            .map(|key| self.journal_entry(key))
            .buffer_unordered(PARALLEL);
        let mut entries = Vec::new();
        while let Some(read) = reads.try_next().await? {
            entries.extend(read);
        }
        Ok(entries)
    }

    async fn journal_entry(&self, key: Key) -> Result<Option<(Key, Option<Stale>)>, StoreError> {
        match self.record::<Stale>(&key).await {
            Ok(Some(stale)) => Ok(Some((key, Some(stale)))),
            // Another replica has dealt with it.
            Ok(None) => Ok(None),
            Err(StoreError::Corrupt { .. }) => {
                tracing::error!(%key, "an entry of the journal cannot be read");
                Ok(Some((key, None)))
            }
            Err(error) => Err(error),
        }
    }

    async fn remove_entry(&self, key: Key) -> Result<(), StoreError> {
        Ok(self.blobs.delete(&key).await?)
    }

    async fn repair_owned(&self, stale: Stale) -> Result<(), StoreError> {
        self.repair(&stale).await
    }

    /// Awaits a write to the index; when it fails, notes in the journal what is stale. Fails only if that fails too.
    pub(super) async fn index_or_journal(
        &self,
        stale: Stale,
        write: impl Future<Output = Result<(), IndexError>> + Send,
    ) -> Result<(), StoreError> {
        match write.await {
            Ok(()) => {
                self.told.note(stale);
                Ok(())
            }
            Err(error) => self.note_stale(&stale, &error).await,
        }
    }

    /// Derives what may be stale; when that fails, notes it in the journal. Fails only if that fails too.
    pub(super) async fn derive_or_journal(&self, stale: &Stale) -> Result<(), StoreError> {
        match self.repair(stale).await {
            Ok(()) => Ok(()),
            Err(error) => self.note_stale(stale, &error).await,
        }
    }

    async fn note_stale(
        &self,
        stale: &Stale,
        error: &(impl Error + Send + Sync + 'static),
    ) -> Result<(), StoreError> {
        self.metrics.index_failures.add(1, &[]);
        self.metrics.index_degraded.record(1, &[]);
        warn!(
            error = error as &dyn Error,
            "the index failed, its repair is put in the journal"
        );
        self.put_in_journal(stale).await
    }

    /// Leaves a repair to whoever looks into the journal next. No read of this process trusts the index from here on
    /// until that is done.
    pub(super) async fn put_in_journal(&self, stale: &Stale) -> Result<(), StoreError> {
        // Once before the entry, so that no read trusts the index from here on; and once after it, since a repair
        // may have looked at the journal in between and taken the first as dealt with.
        self.journal.suspect();
        let number = self.journal.number.fetch_add(1, Ordering::Relaxed);
        let key = layout::journal_entry(self.journal.replica, number);
        self.put_record(&key, stale, Condition::Always).await?;
        self.journal.suspect();
        Ok(())
    }

    pub(super) fn index_read_failed(&self, error: &IndexError) {
        self.metrics.index_failures.add(1, &[]);
        warn!(
            error = error as &dyn Error,
            "the index failed, the object store answers"
        );
    }

    /// Refreshes what [`health`](Self::health) says of completeness.
    pub(super) fn note_complete(&self) {
        self.journal.complete.store(true, Ordering::Relaxed);
    }
}

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
    async fn a_damaged_link_stops_neither_rebuild_nor_repair() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let [damaged, whole] = ["damaged", "whole"].map(Signature::new);
        for signature in [&damaged, &whole] {
            signature.add(store, Source::Captured).await.unwrap();
        }
        let link = layout::link(&repository(), &damaged.digest);
        let bytes = Bytes::from_static(b"{");
        fixture
            .blobs
            .put(&link, bytes, Condition::Always)
            .await
            .unwrap();
        let stale = Stale {
            links: vec![damaged.digest.clone()],
            ..Stale::of(&repository())
        };
        let entry = layout::journal_entry(1, 1);
        store
            .put_record(&entry, &stale, Condition::Always)
            .await
            .unwrap();
        assert_eq!(store.repair_journal().await.unwrap(), 1);
        assert!(store.rebuild_index(|_| ()).await.unwrap().complete);
        assert_eq!(store.health().index, IndexHealth::Ok);
        assert_eq!(listed(store).await.len(), 2);
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
