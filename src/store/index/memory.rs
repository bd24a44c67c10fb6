//! The index in memory: for tests, and the plainest reading of the contract.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::{Epoch, Generation, Incarnation, IndexError, Lookup, ReferrersIndex, Row};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::store::records::{Link, Referrer, TagVersion};

/// An index that is gone with the process.
#[derive(Debug, Default)]
pub struct MemoryIndex(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    complete: bool,
    complete_repositories: BTreeSet<RepositoryName>,
    /// Grows with every write; generations and epochs are taken from it, so none ever comes back.
    counter: u64,
    /// The generation of subjects without a row of their own.
    floor: u64,
    subjects: BTreeMap<(RepositoryName, Digest), Subject>,
    links: BTreeMap<(RepositoryName, Digest), Link>,
    tags: BTreeMap<(RepositoryName, Tag), BTreeMap<u64, TagVersion>>,
    verdicts: BTreeMap<(RepositoryName, Digest), Bytes>,
}

#[derive(Debug, Default)]
struct Subject {
    generation: u64,
    known: bool,
    referrers: BTreeMap<Digest, Referrer>,
}

impl Rows {
    /// The subject, with its generation bumped.
    fn touch(&mut self, repository: &RepositoryName, subject: &Digest) -> &mut Subject {
        self.counter += 1;
        let row = self
            .subjects
            .entry((repository.clone(), subject.clone()))
            .or_default();
        row.generation = self.counter;
        row
    }

    fn is_complete(&self, repository: &RepositoryName) -> bool {
        self.complete || self.complete_repositories.contains(repository)
    }

    fn absent<T>(&self, repository: &RepositoryName) -> Lookup<T> {
        if self.is_complete(repository) {
            Lookup::Absent
        } else {
            Lookup::Unknown
        }
    }

    fn generation(&self, repository: &RepositoryName, subject: &Digest) -> Generation {
        let number = self
            .subjects
            .get(&(repository.clone(), subject.clone()))
            .map_or(self.floor, |row| row.generation);
        Generation(u128::from(number))
    }
}

impl MemoryIndex {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ReferrersIndex for MemoryIndex {
    async fn complete(&self) -> Result<bool, IndexError> {
        Ok(self.rows().complete)
    }

    async fn epoch(&self) -> Result<Epoch, IndexError> {
        Ok(Epoch(self.rows().floor))
    }

    async fn clear(&self) -> Result<Epoch, IndexError> {
        let mut rows = self.rows();
        let floor = rows.counter + 1;
        *rows = Rows {
            counter: floor,
            floor,
            ..Rows::default()
        };
        Ok(Epoch(floor))
    }

    async fn set_complete(&self, epoch: Epoch) -> Result<bool, IndexError> {
        let mut rows = self.rows();
        if rows.floor != epoch.0 {
            return Ok(false);
        }
        rows.complete = true;
        Ok(true)
    }

    async fn begin_repository(&self, _: &RepositoryName) -> Result<Incarnation, IndexError> {
        Ok(Incarnation(self.rows().floor))
    }

    async fn complete_repository(
        &self,
        repository: &RepositoryName,
        incarnation: Incarnation,
    ) -> Result<bool, IndexError> {
        let mut rows = self.rows();
        if rows.floor != incarnation.0 {
            return Ok(false);
        }
        rows.complete_repositories.insert(repository.clone());
        Ok(true)
    }

    async fn put_referrer(&self, referrer: &Referrer) -> Result<(), IndexError> {
        self.rows()
            .touch(&referrer.repository, &referrer.subject)
            .referrers
            .insert(referrer.descriptor.digest.clone(), referrer.clone());
        Ok(())
    }

    async fn remove_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), IndexError> {
        self.rows()
            .touch(repository, subject)
            .referrers
            .remove(digest);
        Ok(())
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Lookup<Vec<Referrer>>, IndexError> {
        let rows = self.rows();
        let row = rows.subjects.get(&(repository.clone(), subject.clone()));
        Ok(match row {
            Some(row) if row.known || rows.is_complete(repository) => {
                Lookup::Found(row.referrers.values().cloned().collect())
            }
            Some(_) | None => rows.absent(repository),
        })
    }

    async fn generation(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Generation, IndexError> {
        Ok(self.rows().generation(repository, subject))
    }

    async fn replace_subject(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        referrers: Vec<Referrer>,
        expected: Generation,
    ) -> Result<bool, IndexError> {
        let mut rows = self.rows();
        if rows.generation(repository, subject) != expected {
            return Ok(false);
        }
        let row = rows.touch(repository, subject);
        row.known = true;
        row.referrers = referrers
            .into_iter()
            .map(|referrer| (referrer.descriptor.digest.clone(), referrer))
            .collect();
        Ok(true)
    }

    async fn put_links(
        &self,
        repository: &RepositoryName,
        links: &[(Digest, Link)],
    ) -> Result<(), IndexError> {
        let mut rows = self.rows();
        for (digest, link) in links {
            rows.links
                .insert((repository.clone(), digest.clone()), link.clone());
        }
        Ok(())
    }

    async fn remove_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), IndexError> {
        self.rows()
            .links
            .remove(&(repository.clone(), digest.clone()));
        Ok(())
    }

    async fn link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Lookup<Link>, IndexError> {
        let rows = self.rows();
        let link = rows.links.get(&(repository.clone(), digest.clone()));
        Ok(link
            .cloned()
            .map_or_else(|| rows.absent(repository), Lookup::Found))
    }

    async fn put_tag_version(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        number: u64,
        version: &TagVersion,
    ) -> Result<(), IndexError> {
        self.rows()
            .tags
            .entry((repository.clone(), tag.clone()))
            .or_default()
            .insert(number, version.clone());
        Ok(())
    }

    async fn tag_versions(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Lookup<Vec<(u64, TagVersion)>>, IndexError> {
        let rows = self.rows();
        if !rows.is_complete(repository) {
            return Ok(Lookup::Unknown);
        }
        let versions = rows.tags.get(&(repository.clone(), tag.clone()));
        Ok(versions.map_or(Lookup::Absent, |versions| {
            let copied = versions.iter().map(|(n, version)| (*n, version.clone()));
            Lookup::Found(copied.collect())
        }))
    }

    async fn verdicts(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Option<Bytes>, IndexError> {
        let key = (repository.clone(), subject.clone());
        Ok(self.rows().verdicts.get(&key).cloned())
    }

    async fn put_verdicts(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        verdicts: Bytes,
    ) -> Result<(), IndexError> {
        let key = (repository.clone(), subject.clone());
        self.rows().verdicts.insert(key, verdicts);
        Ok(())
    }

    fn rows(&self) -> BoxStream<'_, Result<Row, IndexError>> {
        let rows = self.rows();
        let referrers = rows
            .subjects
            .values()
            .flat_map(|subject| subject.referrers.values().cloned().map(Row::Referrer));
        let links = rows
            .links
            .iter()
            .map(|((repository, digest), link)| Row::Link {
                repository: repository.clone(),
                digest: digest.clone(),
                link: link.clone(),
            });
        let versions = rows.tags.iter().flat_map(|((repository, tag), versions)| {
            versions.iter().map(|(number, version)| Row::TagVersion {
                repository: repository.clone(),
                tag: tag.clone(),
                number: *number,
                version: version.clone(),
            })
        });
        let all: Vec<_> = referrers.chain(links).chain(versions).map(Ok).collect();
        stream::iter(all).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::index::contract;

    #[tokio::test]
    async fn memory_keeps_the_contract() {
        contract::holds_for(&MemoryIndex::default()).await;
    }
}
