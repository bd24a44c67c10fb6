//! The index in one file beside the objects (`redb`), for a single process.
//!
//! One thread writes and commits in groups: whatever has queued up while the last commit was synced goes into the
//! next transaction, so a hundred concurrent pushes pay for a few syncs. Point reads run where they are asked for
//! (pages are cached); reads of ranges run on blocking threads.
//!
//! The database is a cache, and is treated as one: a panic inside it is an [`IndexError`], never the end of a request.

mod open;
mod rows;
mod verdicts;
mod writer;

use std::error::Error as StdError;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use redb::{Database, ReadTransaction, ReadableDatabase};
use serde::de::DeserializeOwned;
use tokio::task::spawn_blocking;

use self::rows::Section;
use self::writer::Writer;
use super::{Epoch, Generation, Incarnation, IndexError, Lookup, ReferrersIndex, Row};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::store::records::{self, Link, Referrer, TagVersion};

pub use open::{Found, OpenError, Opened};

/// Rows read per transaction when all are walked.
const PAGE: usize = 512;

/// The index in a file.
#[derive(Debug)]
pub struct EmbeddedIndex {
    database: Arc<Database>,
    writer: Writer,
}

impl EmbeddedIndex {
    fn new(database: Database) -> io::Result<Self> {
        let database = Arc::new(database);
        let writer = Writer::start(Arc::clone(&database))?;
        Ok(Self { database, writer })
    }

    /// A read that touches a few pages.
    fn read<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, IndexError> {
        read(&self.database, operation, work)
    }

    /// A read of any size.
    async fn read_many<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, IndexError> {
        let database = Arc::clone(&self.database);
        spawn_blocking(move || read(&database, operation, work))
            .await
            .unwrap_or_else(|stopped| Err(unavailable(operation, stopped)))
    }
}

fn read<T>(
    database: &Database,
    operation: &'static str,
    work: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
) -> Result<T, IndexError> {
    let guarded = catch_unwind(AssertUnwindSafe(|| work(&database.begin_read()?)));
    match guarded {
        Ok(outcome) => outcome.map_err(|error| unavailable(operation, error)),
        Err(_panic) => Err(unavailable(operation, Panicked)),
    }
}

fn unavailable(
    operation: &'static str,
    source: impl StdError + Send + Sync + 'static,
) -> IndexError {
    IndexError::Unavailable {
        operation,
        source: Arc::new(source),
    }
}

/// The database broke an invariant of its own, which a damaged file makes it do.
#[derive(Debug, thiserror::Error)]
#[error("the database panicked")]
struct Panicked;

#[async_trait]
impl ReferrersIndex for EmbeddedIndex {
    async fn complete(&self) -> Result<bool, IndexError> {
        self.read("read its state", rows::complete)
    }

    async fn clear(&self) -> Result<Epoch, IndexError> {
        self.writer.write("clear", rows::clear).await.map(Epoch)
    }

    async fn epoch(&self) -> Result<Epoch, IndexError> {
        self.read("read its state", rows::epoch).map(Epoch)
    }

    async fn set_complete(&self, epoch: Epoch) -> Result<bool, IndexError> {
        self.writer
            .write("write its state", move |txn| {
                rows::set_complete(txn, epoch.0)
            })
            .await
    }

    async fn begin_repository(&self, _: &RepositoryName) -> Result<Incarnation, IndexError> {
        self.epoch().await.map(|epoch| Incarnation(epoch.0))
    }

    async fn complete_repository(
        &self,
        _: &RepositoryName,
        _: Incarnation,
    ) -> Result<bool, IndexError> {
        Ok(false)
    }

    async fn put_referrer(&self, referrer: &Referrer) -> Result<(), IndexError> {
        let subject = rows::subject_key(&referrer.repository, &referrer.subject);
        let key = rows::referrer_key(&subject, &referrer.descriptor.digest);
        let row = records::encode(referrer);
        self.writer
            .write("write a referrer", move |txn| {
                rows::put_referrer(txn, &subject, &key, &row)
            })
            .await
    }

    async fn remove_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), IndexError> {
        let subject = rows::subject_key(repository, subject);
        let key = rows::referrer_key(&subject, digest);
        self.writer
            .write("remove a referrer", move |txn| {
                rows::remove_referrer(txn, &subject, &key)
            })
            .await
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Lookup<Vec<Referrer>>, IndexError> {
        let subject = rows::subject_key(repository, subject);
        let found = self
            .read_many("read referrers", move |txn| rows::referrers(txn, &subject))
            .await?;
        Ok(match found {
            Lookup::Found(rows) => Lookup::Found(
                rows.iter()
                    .map(|row| decode(row))
                    .collect::<Result<_, _>>()?,
            ),
            Lookup::Absent => Lookup::Absent,
            Lookup::Unknown => Lookup::Unknown,
        })
    }

    async fn generation(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Generation, IndexError> {
        let subject = rows::subject_key(repository, subject);
        let number = self.read("read a generation", |txn| rows::generation(txn, &subject))?;
        Ok(Generation(u128::from(number)))
    }

    async fn replace_subject(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        referrers: Vec<Referrer>,
        expected: Generation,
    ) -> Result<bool, IndexError> {
        let subject = rows::subject_key(repository, subject);
        let rows: Vec<_> = referrers
            .iter()
            .map(|referrer| {
                let key = rows::referrer_key(&subject, &referrer.descriptor.digest);
                (key, records::encode(referrer))
            })
            .collect();
        self.writer
            .write("replace a subject", move |txn| {
                rows::replace_subject(txn, &subject, &rows, expected.0)
            })
            .await
    }

    async fn put_links(
        &self,
        repository: &RepositoryName,
        links: &[(Digest, Link)],
    ) -> Result<(), IndexError> {
        let rows: Vec<_> = links
            .iter()
            .map(|(digest, link)| (rows::link_key(repository, digest), records::encode(link)))
            .collect();
        self.writer
            .write("write links", move |txn| {
                rows::put(txn, Section::Links, &rows)
            })
            .await
    }

    async fn remove_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), IndexError> {
        let key = rows::link_key(repository, digest);
        self.writer
            .write("remove a link", move |txn| rows::remove_link(txn, &key))
            .await
    }

    async fn link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Lookup<Link>, IndexError> {
        let key = rows::link_key(repository, digest);
        Ok(
            match self.read("read a link", |txn| rows::link(txn, &key))? {
                Lookup::Found(row) => Lookup::Found(decode(&row)?),
                Lookup::Absent => Lookup::Absent,
                Lookup::Unknown => Lookup::Unknown,
            },
        )
    }

    async fn put_tag_version(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        number: u64,
        version: &TagVersion,
    ) -> Result<(), IndexError> {
        let rows = [(
            rows::tag_version_key(repository, tag, number),
            records::encode(version),
        )];
        self.writer
            .write("write a tag", move |txn| {
                rows::put(txn, Section::TagVersions, &rows)
            })
            .await
    }

    async fn tag_versions(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Lookup<Vec<(u64, TagVersion)>>, IndexError> {
        let tag = rows::tag_key(repository, tag);
        let found = self
            .read_many("read a tag", move |txn| rows::tag_versions(txn, &tag))
            .await?;
        let Some(rows) = found else {
            return Ok(Lookup::Unknown);
        };
        if rows.is_empty() {
            return Ok(Lookup::Absent);
        }
        let versions = rows.iter().map(|(key, row)| {
            let (_, _, number) = rows::split_tag_version_key(key).ok_or(IndexError::Corrupt)?;
            Ok((number, decode(row)?))
        });
        Ok(Lookup::Found(versions.collect::<Result<_, IndexError>>()?))
    }

    async fn verdicts(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Option<Bytes>, IndexError> {
        let key = rows::subject_key(repository, subject);
        let found = self.read("read verdicts", |txn| verdicts::of(txn, &key))?;
        Ok(found.map(Bytes::from))
    }

    async fn put_verdicts(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        verdicts: Bytes,
    ) -> Result<(), IndexError> {
        let key = rows::subject_key(repository, subject);
        self.writer
            .write("write verdicts", move |txn| {
                verdicts::put(txn, &key, &verdicts, verdicts::MOST)
            })
            .await
    }

    fn rows(&self) -> BoxStream<'_, Result<Row, IndexError>> {
        stream::iter(Section::ALL)
            .flat_map(move |section| {
                stream::unfold(Some(Vec::new()), move |after| async move {
                    let after = after?;
                    let page = self
                        .read_many("read all rows", move |txn| {
                            rows::page(txn, section, &after, PAGE)
                        })
                        .await;
                    let (rows, next) = match page {
                        Ok(rows) => {
                            let next = rows.last().map(|(key, _)| key.clone());
                            let rows = rows.iter().map(|(key, row)| parse(section, key, row));
                            (rows.collect(), next)
                        }
                        Err(error) => (vec![Err(error)], None),
                    };
                    Some((stream::iter(rows), next))
                })
                .flatten()
            })
            .boxed()
    }
}

fn decode<T: DeserializeOwned>(row: &[u8]) -> Result<T, IndexError> {
    records::decode(row).ok_or(IndexError::Corrupt)
}

fn parse(section: Section, key: &[u8], row: &[u8]) -> Result<Row, IndexError> {
    match section {
        Section::Referrers => decode(row).map(Row::Referrer),
        Section::Links => {
            let (repository, digest) = rows::split_link_key(key).ok_or(IndexError::Corrupt)?;
            let link = decode(row)?;
            Ok(Row::Link {
                repository,
                digest,
                link,
            })
        }
        Section::TagVersions => {
            let (repository, tag, number) =
                rows::split_tag_version_key(key).ok_or(IndexError::Corrupt)?;
            let version = decode(row)?;
            Ok(Row::TagVersion {
                repository,
                tag,
                number,
                version,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::store::index::contract;

    #[tokio::test]
    async fn the_file_keeps_the_contract() {
        let directory = tempfile::tempdir().unwrap();
        let opened = EmbeddedIndex::open(directory.path(), &SystemClock).unwrap();
        contract::holds_for(&opened.index).await;
    }
}
