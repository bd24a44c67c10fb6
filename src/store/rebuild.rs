//! Deriving the whole index anew from the object store, while it is in use.
//!
//! The index is cleared first, so reads go to the object store until the end. Whoever writes meanwhile tells the index
//! after the object store; what the walk has passed is therefore in the index by the writer's own hand.

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::oci::{Digest, RepositoryName, Tag};

use super::blob::Key;
use super::error::StoreError;
use super::layout::{self, Record};
use super::records::TagVersion;
use super::signatures::{PAGE, PARALLEL, SignatureStore};

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
        let mut summary = Summary::default();
        let mut objects = 0;
        let mut last_subject = None;
        let mut after: Option<Key> = None;
        loop {
            let page = self
                .blobs
                .list(&layout::repositories(), after.as_ref(), PAGE)
                .await?;
            let Some(last) = page.last() else {
                break;
            };
            after = Some(last.key.clone());
            objects += page.len() as u64;
            let tasks = tasks(page.iter().map(|listed| &listed.key), &mut last_subject);
            self.derive(tasks, &mut summary).await?;
            progress(Progress { objects });
        }
        summary.complete = self.index.set_complete(epoch).await?;
        if summary.complete {
            self.note_complete();
            self.metrics.index_rebuilds.add(1, &[]);
        }
        Ok(summary)
    }

    async fn derive(&self, tasks: Vec<Task>, summary: &mut Summary) -> Result<(), StoreError> {
        // Many at a time: they share the commits of the index.
        let mut done = stream::iter(tasks)
            .map(|task| self.derive_one(task))
            .buffer_unordered(PARALLEL);
        while let Some(part) = done.try_next().await? {
            summary.subjects += part.subjects;
            summary.referrers += part.referrers;
            summary.links += part.links;
            summary.tag_versions += part.tag_versions;
        }
        Ok(())
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
