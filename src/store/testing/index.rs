//! An index that fails when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::Yields;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::store::index::memory::MemoryIndex;
use crate::store::index::{
    Epoch, Generation, Incarnation, IndexError, Lookup, ReferrersIndex, Row,
};
use crate::store::{Link, Referrer, TagVersion};

/// How an index fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::store) enum Mode {
    Up,
    /// Nothing happens, and it is an error.
    Down,
    /// It happens, and it is an error.
    LosesReplies,
}

/// An index in memory that fails when told to, and yields around each operation, so that tasks interleave.
#[derive(Debug, Default)]
pub(in crate::store) struct Flaky {
    inner: MemoryIndex,
    mode: AtomicU8,
    yields: Yields,
}

impl Flaky {
    pub(in crate::store) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    fn fails_as(&self, mode: Mode) -> Result<(), IndexError> {
        if self.mode.load(Ordering::SeqCst) != mode as u8 {
            return Ok(());
        }
        Err(IndexError::Unavailable {
            operation: "do anything",
            source: Arc::new(std::io::Error::other("told to fail")),
        })
    }

    async fn through<T>(
        &self,
        operation: impl Future<Output = Result<T, IndexError>>,
    ) -> Result<T, IndexError> {
        self.yields.some().await;
        self.fails_as(Mode::Down)?;
        let outcome = operation.await;
        self.yields.some().await;
        self.fails_as(Mode::LosesReplies)?;
        outcome
    }
}

#[async_trait]
impl ReferrersIndex for Flaky {
    async fn complete(&self) -> Result<bool, IndexError> {
        self.through(self.inner.complete()).await
    }

    async fn clear(&self) -> Result<Epoch, IndexError> {
        self.through(self.inner.clear()).await
    }

    async fn epoch(&self) -> Result<Epoch, IndexError> {
        self.through(self.inner.epoch()).await
    }

    async fn begin_repository(
        &self,
        repository: &RepositoryName,
    ) -> Result<Incarnation, IndexError> {
        self.through(self.inner.begin_repository(repository)).await
    }

    async fn complete_repository(
        &self,
        repository: &RepositoryName,
        incarnation: Incarnation,
    ) -> Result<bool, IndexError> {
        self.through(self.inner.complete_repository(repository, incarnation))
            .await
    }

    async fn set_complete(&self, epoch: Epoch) -> Result<bool, IndexError> {
        self.through(self.inner.set_complete(epoch)).await
    }

    async fn put_referrer(&self, referrer: &Referrer) -> Result<(), IndexError> {
        self.through(self.inner.put_referrer(referrer)).await
    }

    async fn remove_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), IndexError> {
        let removal = self.inner.remove_referrer(repository, subject, digest);
        self.through(removal).await
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Lookup<Vec<Referrer>>, IndexError> {
        self.through(self.inner.referrers(repository, subject))
            .await
    }

    async fn generation(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Generation, IndexError> {
        self.through(self.inner.generation(repository, subject))
            .await
    }

    async fn replace_subject(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        referrers: Vec<Referrer>,
        expected: Generation,
    ) -> Result<bool, IndexError> {
        let replacement = self
            .inner
            .replace_subject(repository, subject, referrers, expected);
        self.through(replacement).await
    }

    async fn put_links(
        &self,
        repository: &RepositoryName,
        links: &[(Digest, Link)],
    ) -> Result<(), IndexError> {
        self.through(self.inner.put_links(repository, links)).await
    }

    async fn remove_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), IndexError> {
        self.through(self.inner.remove_link(repository, digest))
            .await
    }

    async fn link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Lookup<Link>, IndexError> {
        self.through(self.inner.link(repository, digest)).await
    }

    async fn put_tag_version(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        number: u64,
        version: &TagVersion,
    ) -> Result<(), IndexError> {
        let write = self.inner.put_tag_version(repository, tag, number, version);
        self.through(write).await
    }

    async fn tag_versions(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Lookup<Vec<(u64, TagVersion)>>, IndexError> {
        self.through(self.inner.tag_versions(repository, tag)).await
    }

    async fn verdicts(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Option<Bytes>, IndexError> {
        self.through(self.inner.verdicts(repository, subject)).await
    }

    async fn put_verdicts(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        verdicts: Bytes,
    ) -> Result<(), IndexError> {
        let write = self.inner.put_verdicts(repository, subject, verdicts);
        self.through(write).await
    }

    fn rows(&self) -> BoxStream<'_, Result<Row, IndexError>> {
        match self.fails_as(Mode::Down) {
            Ok(()) => ReferrersIndex::rows(&self.inner),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }
}
