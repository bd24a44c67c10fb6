//! Deriving the whole index anew from the object store, while it is in use.
//!
//! Repository by repository: what is not derived yet is unknown to the index, and read from the object store. Whoever
//! writes meanwhile tells the index after the object store, so what the walk has passed is in the index by the writer's
//! own hand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::oci::{Digest, RepositoryName, Tag};

use super::blob::Key;
use super::error::StoreError;
use super::index::Epoch;
use super::layout::{self, Record};
use super::records::TagVersion;
use super::signatures::{PAGE, PARALLEL, SignatureStore};

/// Repositories derived at a time.
const REPOSITORIES: usize = 4;
/// How long one process may be silent before another begins to rebuild as well.
const LEASE: Duration = Duration::from_secs(30);

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Objects walked over.
    pub objects: u64,
}

/// What a rebuild found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Subjects that have referrers.
    pub subjects: u64,
    /// Their referrers.
    pub referrers: u64,
    /// Links.
    pub links: u64,
    /// Versions of captured tags.
    pub tag_versions: u64,
    /// Whether the index is complete now; not if another process began a rebuild meanwhile, which then completes it.
    pub complete: bool,
}

/// One thing to derive.
#[derive(Debug)]
enum Task {
    Subject(RepositoryName, Digest),
    Link(RepositoryName, Digest),
    TagVersion(RepositoryName, Tag, u64),
}

impl Summary {
    fn add(&mut self, part: Self) {
        self.subjects += part.subjects;
        self.referrers += part.referrers;
        self.links += part.links;
        self.tag_versions += part.tag_versions;
    }
}

impl SignatureStore {
    /// Derives the index anew, while the store is in use; then the index is complete. One at a time per process.
    ///
    /// # Errors
    /// Index or object store are unavailable: the index is then incomplete, and what is missing is read from the
    /// object store.
    pub async fn rebuild_index(
        &self,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<Summary, StoreError> {
        let _alone = self.rebuilding.lock().await;
        let epoch = self.index.clear().await?;
        self.derive_all(epoch, &progress).await
    }

    /// Derives what an index that is not complete lacks, unless it is complete already or another process is at it:
    /// then there is no summary.
    ///
    /// # Errors
    /// As [`rebuild_index`](Self::rebuild_index).
    pub async fn complete_index(
        &self,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<Option<Summary>, StoreError> {
        let _alone = self.rebuilding.lock().await;
        if self.index.complete().await? || !self.index.lease_rebuild(LEASE).await? {
            return Ok(None);
        }
        let epoch = self.index.epoch().await?;
        self.derive_all(epoch, &progress).await.map(Some)
    }

    async fn derive_all(
        &self,
        epoch: Epoch,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Summary, StoreError> {
        let mut summary = Summary::default();
        let walked = AtomicU64::new(0);
        let walk = |objects| {
            let objects = walked.fetch_add(objects, Ordering::Relaxed) + objects;
            progress(Progress { objects });
        };
        let mut after: Option<Key> = None;
        loop {
            let under = layout::repositories();
            let page = self.blobs.list(&under, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            let mut repositories: Vec<RepositoryName> = page
                .iter()
                .filter_map(|listed| Some(layout::parse(&listed.key)?.0))
                .collect();
            // The records of one stand together.
            repositories.dedup();
            after = Some(behind(&last.key));
            let mut done = stream::iter(repositories)
                .map(|repository| self.derive_one_of_all(repository, &walk))
                .buffer_unordered(REPOSITORIES);
            while let Some(part) = done.try_next().await? {
                summary.add(part);
            }
            // Whether it could be kept or not: what another process derives as well is as right.
            self.index.lease_rebuild(LEASE).await?;
        }
        summary.complete = self.index.set_complete(epoch).await?;
        if summary.complete {
            self.note_complete();
            self.metrics.index_rebuilds.add(1, &[]);
        }
        Ok(summary)
    }

    async fn derive_one_of_all(
        &self,
        repository: RepositoryName,
        walk: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Summary, StoreError> {
        self.derive_repository(&repository, walk).await
    }

    /// Makes the rows of a repository those of its records; then the absence of one is known, where the index knows
    /// that of single repositories.
    pub(super) async fn derive_repository(
        &self,
        repository: &RepositoryName,
        walk: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Summary, StoreError> {
        let incarnation = self.index.begin_repository(repository).await?;
        let under = layout::repository(repository);
        let (mut after, end) = layout::records_between(repository);
        let mut summary = Summary::default();
        let mut last_subject = None;
        loop {
            let mut page = self.blobs.list(&under, Some(&after), PAGE).await?;
            let is_last = page.len() < PAGE || page.last().is_none_or(|listed| listed.key >= end);
            page.retain(|listed| listed.key < end);
            let keys = page.iter().map(|listed| &listed.key);
            let part = self.derive(tasks(keys, &mut last_subject)).await?;
            summary.add(part);
            walk(page.len() as u64);
            match page.pop() {
                Some(last) if !is_last => after = last.key,
                Some(_) | None => break,
            }
        }
        self.index
            .complete_repository(repository, incarnation)
            .await?;
        Ok(summary)
    }

    async fn derive(&self, tasks: Vec<Task>) -> Result<Summary, StoreError> {
        let mut summary = Summary::default();
        // Many at a time: they share the commits of the index.
        let mut done = stream::iter(tasks)
            .map(|task| self.derive_one(task))
            .buffer_unordered(PARALLEL);
        while let Some(part) = done.try_next().await? {
            summary.add(part);
        }
        Ok(summary)
    }

    async fn derive_one(&self, task: Task) -> Result<Summary, StoreError> {
        let mut part = Summary::default();
        match task {
            Task::Subject(repository, subject) => {
                part.referrers = self.derive_subject(&repository, &subject).await? as u64;
                part.subjects = u64::from(part.referrers > 0);
            }
            Task::Link(repository, digest) => {
                self.derive_link(&repository, &digest).await?;
                part.links = 1;
            }
            Task::TagVersion(repository, tag, number) => {
                let key = layout::tag_version(&repository, &tag, number);
                if let Some(version) = self.readable_record::<TagVersion>(&key).await? {
                    self.index
                        .put_tag_version(&repository, &tag, number, &version)
                        .await?;
                    part.tag_versions = 1;
                }
            }
        }
        Ok(part)
    }
}

/// Where the walk over repositories goes on after `key`: behind the records of its repository.
fn behind(key: &Key) -> Key {
    match layout::parse(key) {
        Some((repository, _)) => layout::records_between(&repository).1.max(key.clone()),
        None => key.clone(),
    }
}

/// What the records under `keys` ask to be derived; a subject once, as its keys stand together.
fn tasks<'a>(
    keys: impl Iterator<Item = &'a Key>,
    last_subject: &mut Option<(RepositoryName, Digest)>,
) -> Vec<Task> {
    keys.filter_map(|key| match layout::parse(key)? {
        (repository, Record::Referrer { subject, .. }) => {
            let this = Some((repository.clone(), subject.clone()));
            if *last_subject == this {
                return None;
            }
            *last_subject = this;
            Some(Task::Subject(repository, subject))
        }
        (repository, Record::Link(digest)) => Some(Task::Link(repository, digest)),
        (repository, Record::TagVersion(tag, number)) => {
            Some(Task::TagVersion(repository, tag, number))
        }
        (_, Record::Staged | Record::Other) => None,
    })
    .collect()
}
