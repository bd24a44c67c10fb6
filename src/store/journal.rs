//! What happens when the index fails: an entry in the object store's journal, and the repair.
//!
//! An entry names what may be stale and holds none of it; the repair derives it again from the records, so an old
//! entry repeats nothing that has been undone since.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use moka::future::Cache;
use tracing::warn;

use crate::clock::UnixMillis;

use crate::oci::{Digest, RepositoryName, Tag};

use super::blob::{Condition, Key};
use super::error::StoreError;
use super::index::IndexError;
use super::layout;
use super::records::{Link, Referrer, Stale, TagVersion};
use super::signatures::{Health, IndexHealth, PAGE, PARALLEL, SignatureStore};

/// How often a subject is derived again when it changes meanwhile, before it is left to the next repair.
const ATTEMPTS: usize = 8;
/// How long it is remembered that rows were unknown, until it is known that the repository exists.
const SUSPECTED: Duration = Duration::from_secs(60);
/// How long a repository is left alone after it was derived because of a read.
const HEALED: Duration = Duration::from_secs(10);
/// Repositories remembered whose rows were found unknown.
const REMEMBERED: usize = 4096;

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
    /// Repositories whose rows were found unknown.
    unknown: Mutex<BTreeSet<RepositoryName>>,
    /// Repositories of which the same was met by a request that proves nothing, perhaps not even that they exist.
    suspected: Cache<RepositoryName, ()>,
    /// Repositories that were derived a short time ago: an index that forgets is not filled all the time.
    healed: Cache<RepositoryName, ()>,
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
            unknown: Mutex::default(),
            suspected: Cache::builder()
                .max_capacity(REMEMBERED as u64)
                .time_to_live(SUSPECTED)
                .build(),
            healed: Cache::builder()
                .max_capacity(REMEMBERED as u64)
                .time_to_live(HEALED)
                .build(),
        }
    }

    /// Whether what the index says is all that was acknowledged.
    pub(super) fn index_is_trusted(&self) -> bool {
        self.suspicions.load(Ordering::SeqCst) == self.repaired.load(Ordering::SeqCst)
    }

    fn suspect(&self) {
        self.suspicions.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes unknown rows of what may be no repository at all.
    pub(super) async fn suspect_unknown(&self, repository: &RepositoryName) {
        self.suspected.insert(repository.clone(), ()).await;
    }

    fn unknown(&self) -> MutexGuard<'_, BTreeSet<RepositoryName>> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
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

    pub(super) async fn repair(&self, stale: &Stale) -> Result<(), StoreError> {
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
        let mut record = self.readable_link(repository, digest).await?;
        loop {
            match &record {
                Some(link) => {
                    let row = [(digest.clone(), link.clone())];
                    self.index.put_links(repository, &row).await?;
                }
                None => self.index.remove_link(repository, digest).await?,
            }
            let now = self.readable_link(repository, digest).await?;
            if now == record {
                return Ok(());
            }
            record = now;
        }
    }

    /// A link by its records; none, also if it is damaged: one of them must not keep the others from being derived.
    pub(super) async fn readable_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Link>, StoreError> {
        match self.stored_link(repository, digest).await {
            Err(StoreError::Corrupt { key }) => {
                tracing::error!(%key, "a link cannot be read");
                Ok(None)
            }
            outcome => outcome,
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

    /// Notes that the index has lost the rows of a repository, or never had them.
    pub(super) fn note_unknown(&self, repository: &RepositoryName) {
        let mut unknown = self.journal.unknown();
        if unknown.len() < REMEMBERED {
            unknown.insert(repository.clone());
        }
    }

    /// The registry behind has shown this repository: if its rows were unknown, that is worth mending.
    pub fn note_shown(&self, repository: &RepositoryName) {
        if self.journal.suspected.contains_key(repository) {
            self.note_unknown(repository);
        }
    }

    /// Derives the repositories whose rows were found unknown, so that their absence is known from then on. To be
    /// called on a timer. While the index is being rebuilt that does it.
    ///
    /// # Errors
    /// Index or object store are unavailable; a later read finds what is left again.
    pub async fn heal(&self) -> Result<usize, StoreError> {
        let unknown = std::mem::take(&mut *self.journal.unknown());
        if unknown.is_empty() || !self.index.complete().await? {
            return Ok(0);
        }
        let mut count = 0;
        for repository in unknown {
            if self.journal.healed.contains_key(&repository) {
                continue;
            }
            self.derive_repository(&repository, &|_| ()).await?;
            self.journal.healed.insert(repository, ()).await;
            count += 1;
        }
        Ok(count)
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
    async fn only_a_repository_that_was_shown_is_derived_because_of_a_read() {
        let fixture = Fixture::new();
        let store = &fixture.store;
        store.repair_journal().await.unwrap();
        // Complete as a whole, and without the rows of any repository, as a server that lost some.
        let name = repository();
        let digest = subject();
        assert_eq!(store.link(&name, &digest).await.unwrap(), None);
        let epoch = store.index.epoch().await.unwrap();
        assert!(store.index.set_complete(epoch).await.unwrap());
        assert_eq!(store.heal().await.unwrap(), 0);
        store.note_shown(&name);
        assert_eq!(store.heal().await.unwrap(), 1);
        store.note_shown(&"other".parse().unwrap());
        assert_eq!(store.heal().await.unwrap(), 0);
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
