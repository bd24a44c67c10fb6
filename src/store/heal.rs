//! Repositories whose rows the index has lost, or never had: met by reads, and derived because of them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::future::Cache;

use crate::oci::RepositoryName;

use super::error::StoreError;
use super::signatures::SignatureStore;

/// How long it is remembered that rows were unknown, until it is known that the repository exists.
const SUSPECTED: Duration = Duration::from_secs(60);
/// How long a repository is left alone after it was derived: an index that forgets is not filled all the time.
const HEALED: Duration = Duration::from_secs(10);
/// Repositories remembered of each kind.
const REMEMBERED: usize = 4096;

/// The repositories that reads have met.
#[derive(Debug)]
pub(super) struct Unknown {
    to_derive: Mutex<BTreeSet<RepositoryName>>,
    /// Met by requests that prove nothing, perhaps not even that the repository exists.
    suspected: Cache<RepositoryName, ()>,
    healed: Cache<RepositoryName, ()>,
}

impl Default for Unknown {
    fn default() -> Self {
        let cache = |time| {
            Cache::builder()
                .max_capacity(REMEMBERED as u64)
                .time_to_live(time)
                .build()
        };
        Self {
            to_derive: Mutex::default(),
            suspected: cache(SUSPECTED),
            healed: cache(HEALED),
        }
    }
}

impl Unknown {
    fn to_derive(&self) -> MutexGuard<'_, BTreeSet<RepositoryName>> {
        self.to_derive
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was met under a permit.
    pub(super) fn note(&self, repository: &RepositoryName) {
        let mut to_derive = self.to_derive();
        if to_derive.len() < REMEMBERED {
            to_derive.insert(repository.clone());
        }
    }

    /// Notes what may be no repository at all.
    pub(super) async fn suspect(&self, repository: &RepositoryName) {
        self.suspected.insert(repository.clone(), ()).await;
    }
}

impl SignatureStore {
    /// The registry behind has shown this repository: if its rows were unknown, that is worth mending.
    pub fn note_shown(&self, repository: &RepositoryName) {
        if self.unknown.suspected.contains_key(repository) {
            self.unknown.note(repository);
        }
    }

    /// Derives the repositories whose rows were found unknown, so that their absence is known from then on. To be
    /// called on a timer. While the index is being rebuilt that does it.
    ///
    /// # Errors
    /// Index or object store are unavailable; a later read finds what is left again.
    pub async fn heal(&self) -> Result<usize, StoreError> {
        let unknown = std::mem::take(&mut *self.unknown.to_derive());
        if unknown.is_empty() || !self.index.complete().await? {
            return Ok(0);
        }
        let mut count = 0;
        for repository in unknown {
            if self.unknown.healed.contains_key(&repository) {
                continue;
            }
            self.derive_repository(&repository, &|_| ()).await?;
            self.unknown.healed.insert(repository, ()).await;
            count += 1;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use crate::store::testing::{Fixture, repository, subject};

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
}
