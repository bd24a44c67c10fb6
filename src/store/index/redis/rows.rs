//! Walking over every row.
//!
//! Subjects and tags are found by SCAN. A repository's links are read bucket by bucket, upwards: a bucket that is
//! split meanwhile gives to one further up, so none is missed; and a bucket that was made of one read before is left
//! out, so none comes twice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use redis::{FromRedisValue, Value};

use super::failure::Failure;
use super::keys::{self, Key, Kind};
use super::link::{Answer, Link};
use super::scripts::Script;
use super::session::Session;
use super::{codec, unavailable};
use crate::oci::RepositoryName;
use crate::store::index::{IndexError, Row};

const OPERATION: &str = "walk over its rows";

/// A walk, and where it is.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    link: &'a Link,
    session: Arc<Session>,
    node: usize,
    /// `None` after the last page of a node.
    cursor: Option<u64>,
    repositories: VecDeque<RepositoryName>,
    buckets: Option<Buckets>,
    rows: VecDeque<Row>,
}

#[derive(Debug)]
struct Buckets {
    repository: RepositoryName,
    incarnation: Vec<u8>,
    /// How many buckets there were when each was read.
    counts: Vec<u64>,
}

impl Buckets {
    /// Whether the rows of bucket `number` were met already, in a bucket that was read before it was split. What a
    /// bucket is split from is its number without the highest bit.
    fn has_met(&self, number: usize) -> bool {
        let mut later = number;
        while let Some(highest) = later.checked_ilog2() {
            let earlier = later - (1 << highest);
            // Was the later one not there yet when the earlier one was read?
            if self
                .counts
                .get(earlier)
                .is_some_and(|count| *count <= later as u64)
            {
                return true;
            }
            later = earlier;
        }
        false
    }
}

impl<'a> Walk<'a> {
    pub(super) fn begin(link: &'a Link) -> Result<Self, IndexError> {
        Ok(Self {
            link,
            session: link
                .session()
                .map_err(|error| unavailable(OPERATION, error))?,
            node: 0,
            cursor: Some(0),
            repositories: VecDeque::new(),
            buckets: None,
            rows: VecDeque::new(),
        })
    }

    /// The next row; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Row>, IndexError> {
        loop {
            if let Some(row) = self.rows.pop_front() {
                return Ok(Some(row));
            }
            if let Some(buckets) = self.buckets.take() {
                self.buckets = self.bucket(buckets).await?;
            } else if let Some(repository) = self.repositories.pop_front() {
                self.buckets = Some(Buckets {
                    repository,
                    incarnation: Vec::new(),
                    counts: Vec::new(),
                });
            } else if !self.page().await? {
                return Ok(None);
            }
        }
    }

    /// Reads a page of keys; `false` after the last one.
    async fn page(&mut self) -> Result<bool, IndexError> {
        let Some(cursor) = self.cursor else {
            self.node += 1;
            self.cursor = Some(0);
            return Ok(self.node < self.session.nodes.len());
        };
        let Some(node) = self.session.nodes.get(self.node) else {
            return Ok(false);
        };
        let present = self
            .link
            .session()
            .map_err(|error| unavailable(OPERATION, error))?;
        if present.epoch != self.session.epoch {
            return Err(unavailable(OPERATION, Arc::new(Failure::Restless)));
        }
        let page = self.session.scan(node, &self.link.keys, cursor).await;
        let (next, names) = page.map_err(|error| unavailable(OPERATION, Arc::new(error)))?;
        self.cursor = (next != 0).then_some(next);
        let mut found: BTreeMap<RepositoryName, Vec<Vec<u8>>> = BTreeMap::new();
        for name in names {
            match self.link.keys.parse(&name) {
                Some(Key::Meta(repository)) => self.repositories.push_back(repository),
                Some(Key::Row(repository, row)) => match keys::kind(&row) {
                    Some(Kind::Subject(_) | Kind::Tag(_)) => {
                        found.entry(repository).or_default().push(row);
                    }
                    Some(Kind::Bucket | Kind::Verdicts) | None => {}
                },
                None => {}
            }
        }
        for (repository, rows) in found {
            self.keys(&repository, &rows).await?;
        }
        Ok(true)
    }

    /// Reads subjects and tags.
    async fn keys(
        &mut self,
        repository: &RepositoryName,
        names: &[Vec<u8>],
    ) -> Result<(), IndexError> {
        let walked = self
            .link
            .call(OPERATION, Script::WalkKeys, repository, names);
        let Answer::Done(parts) = walked.await? else {
            return Ok(());
        };
        let [Value::Array(found)] = parts.as_slice() else {
            return Err(IndexError::Corrupt);
        };
        for pair in found.chunks(2) {
            let [Value::BulkString(name), value] = pair else {
                return Err(IndexError::Corrupt);
            };
            match (keys::kind(name), value) {
                (Some(Kind::Subject(subject)), Value::BulkString(value)) => {
                    let subject = codec::read_subject(value, repository, &subject);
                    let rows = subject.ok_or(IndexError::Corrupt)?.referrers;
                    self.rows.extend(rows.into_iter().map(Row::Referrer));
                }
                (Some(Kind::Tag(tag)), Value::Array(versions)) => {
                    for (number, version) in tag_versions(versions)? {
                        self.rows.push_back(Row::TagVersion {
                            repository: repository.clone(),
                            tag: tag.clone(),
                            number,
                            version,
                        });
                    }
                }
                // Removed since its name was read.
                (Some(_), Value::Nil) => {}
                _ => return Err(IndexError::Corrupt),
            }
        }
        Ok(())
    }

    /// Reads the next bucket of a repository's links.
    async fn bucket(&mut self, mut walk: Buckets) -> Result<Option<Buckets>, IndexError> {
        let number = walk.counts.len();
        let arguments = [number.to_string().into_bytes(), walk.incarnation.clone()];
        let asked = self
            .link
            .call(OPERATION, Script::WalkBucket, &walk.repository, &arguments);
        let Answer::Done(parts) = asked.await? else {
            return Ok(None);
        };
        let [Value::BulkString(incarnation), count, Value::Array(links)] = parts.as_slice() else {
            return Err(IndexError::Corrupt);
        };
        let count = u64::from_redis_value_ref(count).map_err(|_unexpected| IndexError::Corrupt)?;
        if !walk.has_met(number) {
            for pair in links.chunks(2) {
                let [Value::BulkString(digest), Value::BulkString(row)] = pair else {
                    return Err(IndexError::Corrupt);
                };
                self.rows.push_back(Row::Link {
                    repository: walk.repository.clone(),
                    digest: codec::read_digest(digest).ok_or(IndexError::Corrupt)?,
                    link: codec::read_link(row).ok_or(IndexError::Corrupt)?,
                });
            }
        }
        walk.incarnation.clone_from(incarnation);
        walk.counts.push(count);
        Ok((count > walk.counts.len() as u64).then_some(walk))
    }
}

/// The versions of a tag, from fields and values, lowest number first.
pub(super) fn tag_versions(
    parts: &[Value],
) -> Result<Vec<(u64, crate::store::records::TagVersion)>, IndexError> {
    let mut versions = Vec::with_capacity(parts.len() / 2);
    for pair in parts.chunks(2) {
        let [Value::BulkString(number), Value::BulkString(row)] = pair else {
            return Err(IndexError::Corrupt);
        };
        let number = std::str::from_utf8(number)
            .ok()
            .and_then(|number| number.parse().ok())
            .ok_or(IndexError::Corrupt)?;
        let version = codec::read_tag_version(row).ok_or(IndexError::Corrupt)?;
        versions.push((number, version));
    }
    versions.sort_by_key(|(number, _)| *number);
    Ok(versions)
}
