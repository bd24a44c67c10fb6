//! Repairs that this process owes: what it began to change and could not finish.
//!
//! The object store may have taken a record whose writer was answered with an error, so that nothing was acknowledged
//! and the index was told nothing. Then the index is told what the records say as soon as it can be, and once more when
//! a write that was still on its way has certainly ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use crate::oci::{Digest, RepositoryName};

use super::index::Epoch;
use super::records::Stale;
use super::signatures::{PARALLEL, SignatureStore};

/// After this time no write that was given up can still take effect.
const SETTLED: Duration = Duration::from_secs(60);
/// Repairs remembered at most; what is beyond them waits for the next rebuild.
const REMEMBERED: usize = 65_536;

/// What is owed, and when a repair has first succeeded.
#[derive(Debug, Default)]
pub(super) struct Owed(Mutex<BTreeMap<Stale, Option<Instant>>>);

/// What the index was told of late. A server that was replaced by another meanwhile may have taken it with it.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    epoch: Option<Epoch>,
    stale: VecDeque<(Instant, Stale)>,
}

impl Told {
    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, stale: Stale) {
        let mut recent = self.recent();
        let now = Instant::now();
        while recent
            .stale
            .pop_front_if(|(at, _)| now.duration_since(*at) > SETTLED)
            .is_some()
        {}
        if recent.stale.len() < REMEMBERED {
            recent.stale.push_back((now, stale));
        }
    }

    /// What was told in the last minute, if `epoch` is another one than at the last call: that may have been told to
    /// a server which is no longer the one.
    pub(super) fn since_before(&self, epoch: Epoch) -> Vec<Stale> {
        let mut recent = self.recent();
        if recent.epoch.replace(epoch).is_none_or(|last| last == epoch) {
            return Vec::new();
        }
        recent
            .stale
            .iter()
            .map(|(_, stale)| stale.clone())
            .collect()
    }
}

/// Owes a repair unless the change is finished before it is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Change<'a> {
    owed: &'a Owed,
    stale: Option<Stale>,
}

impl Owed {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Stale, Option<Instant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be repaired at the next opportunity, also if it was repaired a moment ago.
    pub(super) fn owe(&self, stale: Stale) {
        let mut all = self.all();
        if all.len() < REMEMBERED || all.contains_key(&stale) {
            all.insert(stale, None);
        }
    }

    /// Begins a change of what `stale` names.
    pub(super) fn change(&self, stale: Stale) -> Change<'_> {
        Change {
            owed: self,
            stale: Some(stale),
        }
    }
}

impl Change<'_> {
    /// The records and the index agree, or the journal says that they do not.
    pub(super) fn finished(mut self) {
        self.stale = None;
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if let Some(stale) = self.stale.take() {
            self.owed.owe(stale);
        }
    }
}

impl SignatureStore {
    /// Begins a change of the records of a digest.
    pub(super) fn begin_change(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        subject: Option<&Digest>,
    ) -> Change<'_> {
        self.owed.change(Stale {
            subject: subject.cloned(),
            links: vec![digest.clone()],
            ..Stale::of(repository)
        })
    }

    /// Repairs what this process owes; what fails is left for a later call. To be called every second.
    pub async fn settle_owed(&self) {
        let due: Vec<(Stale, bool)> = {
            let all = self.owed.all();
            let due = all.iter().filter_map(|(stale, repaired)| match repaired {
                None => Some((stale.clone(), false)),
                Some(at) if at.elapsed() >= SETTLED => Some((stale.clone(), true)),
                Some(_) => None,
            });
            due.collect()
        };
        let mut repairs = stream::iter(due)
            .map(|(stale, is_last)| self.settle_one(stale, is_last))
            .buffer_unordered(PARALLEL);
        // An index that is down is not asked for each of them.
        let mut failures = 0;
        while failures < PARALLEL
            && let Some(is_repaired) = repairs.next().await
        {
            failures += usize::from(!is_repaired);
        }
    }

    async fn settle_one(&self, stale: Stale, is_last: bool) -> bool {
        if let Err(error) = self.repair(&stale).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a repair that is owed has to wait"
            );
            return false;
        }
        let mut all = self.owed.all();
        if !is_last {
            all.insert(stale, Some(Instant::now()));
        } else if all.get(&stale).is_some_and(Option::is_some) {
            all.remove(&stale);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::store::Source;
    use crate::store::testing::{Fixture, Mode, Signature, Yielding, listed, repository, subject};

    #[tokio::test]
    async fn what_a_server_was_told_before_another_took_its_place_is_told_again() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        store.repair_journal().await.unwrap();
        let signature = Signature::new("a");
        signature.add(store, Source::Captured).await.unwrap();

        // The other begins without the row, and is complete.
        let epoch = store.index.clear().await.unwrap();
        assert!(store.index.set_complete(epoch).await.unwrap());
        assert_eq!(listed(store).await, []);

        store.repair_journal().await.unwrap();
        store.settle_owed().await;
        assert_eq!(listed(store).await.len(), 1);
        assert_eq!(store.differences().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_derivation_that_fails_is_owed_each_time() {
        let fixture = Fixture::ready().await;
        let (store, name) = (&fixture.store, &repository());
        let signature = Signature::new("a");
        signature.add(store, Source::Captured).await.unwrap();
        let digest = &signature.digest;
        let link = store.stored_link(name, digest).await.unwrap().unwrap();
        store.delete_manifest(name, digest).await.unwrap();
        for _ in ["at first", "again"] {
            fixture.index.set(Mode::LosesReplies);
            assert!(store.derive_link(name, digest).await.is_err());
            fixture.index.set(Mode::Up);
            // As of a derivation that had read the record before it was deleted.
            let row = [(digest.clone(), link.clone())];
            store.index.put_links(name, &row).await.unwrap();
            assert_ne!(store.differences().await.unwrap(), []);
            store.settle_owed().await;
            assert_eq!(store.differences().await.unwrap(), []);
        }
    }

    #[tokio::test]
    async fn what_was_cut_off_between_record_and_index_is_told_to_it_later() {
        let clock = Arc::new(ManualClock::default());
        let blobs = Arc::new(Yielding::new(Arc::clone(&clock), 0));
        let fixture = Fixture::over(Arc::<Yielding>::clone(&blobs), clock);
        let store = &fixture.store;
        store.repair_journal().await.unwrap();
        store.rebuild_index(|_| ()).await.unwrap();
        let signature = Signature::new("a");
        signature.claim(store).await;

        // The push stops where it would write its entry into the journal, and is cut off there.
        let permits = blobs.journal.available_permits();
        blobs.journal.forget_permits(permits);
        fixture.index.set(Mode::Down);
        let push = {
            let (store, name) = (Arc::clone(store), repository());
            let new = Signature::new("a");
            tokio::spawn(async move {
                store
                    .add_referrer(&name, &subject(), new.new_manifest(), Source::Captured)
                    .await
            })
        };
        while store.health().index == crate::store::IndexHealth::Ok {
            tokio::task::yield_now().await;
        }
        push.abort();
        assert!(push.await.unwrap_err().is_cancelled());
        blobs.journal.add_permits(permits);
        fixture.index.set(Mode::Up);
        store.repair_journal().await.unwrap();
        assert_ne!(store.differences().await.unwrap(), []);

        store.settle_owed().await;
        assert_eq!(store.differences().await.unwrap(), []);
        assert_eq!(listed(store).await.len(), 1);

        // A write that was given up may take effect until now.
        let late = Signature::new("late");
        late.add(store, Source::Captured).await.unwrap();
        store
            .index
            .remove_referrer(&repository(), &subject(), &late.digest)
            .await
            .unwrap();
        let long_ago = Instant::now().checked_sub(SETTLED).unwrap();
        for repaired in store.owed.all().values_mut() {
            *repaired = Some(long_ago);
        }
        store.settle_owed().await;
        assert_eq!(listed(store).await.len(), 2);
        assert!(store.owed.all().is_empty());
    }
}
