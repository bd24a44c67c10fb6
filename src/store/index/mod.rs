//! The index: rows made from the records of the object store, to answer without LIST.
//!
//! It may lose everything at any time; it may not answer wrongly. So every lookup tells "not there" from "not known",
//! and rows come only from records that are durable already.

pub mod elsewhere;
pub mod embedded;
pub mod memory;
pub mod redis;

#[cfg(test)]
mod contract;

use std::error::Error as StdError;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use thiserror::Error;

use crate::oci::{Digest, RepositoryName, Tag};

use super::records::{Link, Referrer, TagVersion};

/// The most bytes of the verdicts on one subject.
pub const MAX_VERDICTS: usize = 256 * 1024;

/// A cache of the object store's records.
///
/// Every method is atomic within its repository and idempotent, and is durable when it returns `Ok`, as far as the
/// backend is durable at all. After an error the write may or may not have taken place. Removing an absent row is
/// success.
#[async_trait]
pub trait ReferrersIndex: Debug + Send + Sync {
    /// Whether every row was derived since the index was last cleared. Then the absence of a row means the absence of
    /// the record, but for repositories whose rows the backend has lost since.
    async fn complete(&self) -> Result<bool, IndexError>;

    /// The present epoch: for who goes on with what another process has cleared.
    async fn epoch(&self) -> Result<Epoch, IndexError>;

    /// Removes every row and makes the index incomplete. No [`replace_subject`] whose generation was read before
    /// succeeds afterwards. A backend that finds its content lost or put back to an older state does the same.
    ///
    /// [`replace_subject`]: ReferrersIndex::replace_subject
    async fn clear(&self) -> Result<Epoch, IndexError>;

    /// Makes the index complete, unless it was cleared again since `epoch`: then nothing changes and it is `false`.
    async fn set_complete(&self, epoch: Epoch) -> Result<bool, IndexError>;

    /// Takes the right to rebuild, or keeps it, for `term` from now: of all processes that share the index, one has it
    /// at a time. Without it a rebuild is right as well, only work that another does already.
    async fn lease_rebuild(&self, term: Duration) -> Result<bool, IndexError> {
        let _ = term;
        Ok(true)
    }

    /// Begins to derive a whole repository: to be called before its records are listed. Changes nothing.
    async fn begin_repository(
        &self,
        repository: &RepositoryName,
    ) -> Result<Incarnation, IndexError>;

    /// Makes the absence of a row of `repository` known: every record that existed at [`begin_repository`] has its row.
    /// `false` and without effect if rows of this repository were lost or cleared since, or if the backend, whose rows
    /// do not vanish under it, knows completeness as a whole only.
    ///
    /// [`begin_repository`]: ReferrersIndex::begin_repository
    async fn complete_repository(
        &self,
        repository: &RepositoryName,
        incarnation: Incarnation,
    ) -> Result<bool, IndexError>;

    /// Writes the row of a referrer, replacing one of the same digest; bumps the generation of its subject.
    async fn put_referrer(&self, referrer: &Referrer) -> Result<(), IndexError>;

    /// Removes the row of a referrer; bumps the generation of its subject also when there was none.
    async fn remove_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), IndexError>;

    /// All referrers of a subject, ordered by digest. Unknown unless the subject was replaced (see
    /// [`replace_subject`]) since the index was cleared, or the index or the repository is complete.
    ///
    /// [`replace_subject`]: ReferrersIndex::replace_subject
    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Lookup<Vec<Referrer>>, IndexError>;

    /// What changes with every write to the rows of a subject and whenever rows are lost, and never comes back.
    async fn generation(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Generation, IndexError>;

    /// Makes `referrers` the rows of a subject if its generation is still `expected`; then the subject is known from
    /// here on and the generation is bumped. Else nothing changes and it is `false`.
    async fn replace_subject(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        referrers: Vec<Referrer>,
        expected: Generation,
    ) -> Result<bool, IndexError>;

    /// Writes the rows of links, replacing those that are there.
    async fn put_links(
        &self,
        repository: &RepositoryName,
        links: &[(Digest, Link)],
    ) -> Result<(), IndexError>;

    /// Removes the row of a link.
    async fn remove_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), IndexError>;

    /// The link of a digest.
    async fn link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Lookup<Link>, IndexError>;

    /// Writes the row of version `number` of a tag.
    async fn put_tag_version(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        number: u64,
        version: &TagVersion,
    ) -> Result<(), IndexError>;

    /// All versions of a tag, lowest number first. Unknown unless the index or the repository is complete.
    async fn tag_versions(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Lookup<Vec<(u64, TagVersion)>>, IndexError>;

    /// What was last put as the verdicts on a subject; `None` if that is not known any more. No record stands behind
    /// them: a backend may forget them at any time, and does when it is cleared.
    async fn verdicts(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Option<Bytes>, IndexError>;

    /// Puts the verdicts on a subject, in place of those that are there; at most [`MAX_VERDICTS`] bytes, of which the
    /// index knows nothing. Neither the generation of the subject changes nor what is known of it.
    async fn put_verdicts(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        verdicts: Bytes,
    ) -> Result<(), IndexError>;

    /// Every row that is made from a record, in no order. A row written or removed meanwhile may come, or not, or twice.
    fn rows(&self) -> BoxStream<'_, Result<Row, IndexError>>;
}

/// What an index says about a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// The record exists.
    Found(T),
    /// There is none.
    Absent,
    /// The object store has to be asked.
    Unknown,
}

/// Which clearing of an index its content belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub u64);

/// The state of a subject's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(pub u128);

/// The time between two losses of a repository's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incarnation(pub u64);

/// One row of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A referrer.
    Referrer(Referrer),
    /// A link.
    Link {
        /// Its repository.
        repository: RepositoryName,
        /// The content.
        digest: Digest,
        /// The row.
        link: Link,
    },
    /// A version of a captured tag.
    TagVersion {
        /// Its repository.
        repository: RepositoryName,
        /// The tag.
        tag: Tag,
        /// The version's number.
        number: u64,
        /// The row.
        version: TagVersion,
    },
}

/// The index cannot be used; the object store answers in its place.
#[derive(Clone, Debug, Error)]
pub enum IndexError {
    /// The backend failed.
    #[error("the index cannot {operation}")]
    Unavailable {
        /// What was tried, as a verb.
        operation: &'static str,
        /// What the backend says; one failure may end several writes.
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// A row is not what we write.
    #[error("a row of the index cannot be read")]
    Corrupt,
}
