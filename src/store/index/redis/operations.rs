//! The operations of the index, as scripts and what they answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use redis::Value;

use super::link::Answer;
use super::rows::{self, Walk};
use super::scripts::Script;
use super::{RedisIndex, codec, keys, random, unavailable};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::store::index::{
    Epoch, Generation, Incarnation, IndexError, Lookup, ReferrersIndex, Row,
};
use crate::store::records::{Link, Referrer, TagVersion};

/// How long verdicts stay after they were put.
const VERDICTS_LAST: Duration = Duration::from_secs(3600);

#[async_trait]
impl ReferrersIndex for RedisIndex {
    async fn complete(&self) -> Result<bool, IndexError> {
        let (_, complete) = self.redis.state("read its state").await?;
        Ok(complete)
    }

    async fn epoch(&self) -> Result<Epoch, IndexError> {
        let (epoch, _) = self.redis.state("read its state").await?;
        Ok(Epoch(epoch))
    }

    async fn clear(&self) -> Result<Epoch, IndexError> {
        const OPERATION: &str = "clear";
        let (epoch, _) = self.redis.state(OPERATION).await?;
        // A handshake does not go back behind an epoch that is known, so it begins a new one.
        self.redis.known.fetch_max(epoch + 1, Ordering::SeqCst);
        let failed = |error| unavailable(OPERATION, error);
        let refreshed = tokio::time::timeout(self.redis.timeout, self.redis.refreshed());
        let refreshed = refreshed
            .await
            .map_err(|elapsed| failed(Arc::new(elapsed.into())))?;
        Ok(Epoch(refreshed.map_err(failed)?.epoch))
    }

    async fn set_complete(&self, epoch: Epoch) -> Result<bool, IndexError> {
        let key = self.redis.keys.state();
        let arguments = [
            epoch.0.to_string().into_bytes(),
            b"complete".to_vec(),
            b"1".to_vec(),
        ];
        self.redis
            .flag("write its state", Script::Note, &key, &arguments)
            .await
    }

    async fn lease_rebuild(&self, term: Duration) -> Result<bool, IndexError> {
        let key = self.redis.keys.rebuild();
        let arguments = [
            self.redis.token.to_vec(),
            term.as_millis().max(1).to_string().into_bytes(),
        ];
        self.redis
            .flag("take a lease", Script::Lease, &key, &arguments)
            .await
    }

    async fn begin_repository(
        &self,
        repository: &RepositoryName,
    ) -> Result<Incarnation, IndexError> {
        let begun = self
            .change(
                "begin a repository",
                Script::Begin,
                repository,
                &[incarnation()],
            )
            .await?;
        match begun.as_slice() {
            [Value::BulkString(incarnation)] => incarnation_of(incarnation).map(Incarnation),
            _ => Err(IndexError::Corrupt),
        }
    }

    async fn complete_repository(
        &self,
        repository: &RepositoryName,
        incarnation: Incarnation,
    ) -> Result<bool, IndexError> {
        const OPERATION: &str = "complete a repository";
        let session = self.redis.session();
        if session
            .map_err(|error| unavailable(OPERATION, error))?
            .evicts
        {
            // Any row may vanish, one by one.
            return Ok(false);
        }
        let incarnation = incarnation.0.to_be_bytes().to_vec();
        let done = self
            .change(OPERATION, Script::Complete, repository, &[incarnation])
            .await?;
        flag(&done)
    }

    async fn put_referrer(&self, referrer: &Referrer) -> Result<(), IndexError> {
        let arguments = [
            incarnation(),
            keys::subject(&referrer.subject),
            codec::digest(&referrer.descriptor.digest),
            codec::referrer(referrer),
        ];
        self.change(
            "write a referrer",
            Script::ChangeReferrer,
            &referrer.repository,
            &arguments,
        )
        .await
        .map(drop)
    }

    async fn remove_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), IndexError> {
        let arguments = [
            incarnation(),
            keys::subject(subject),
            codec::digest(digest),
            Vec::new(),
        ];
        self.change(
            "remove a referrer",
            Script::ChangeReferrer,
            repository,
            &arguments,
        )
        .await
        .map(drop)
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Lookup<Vec<Referrer>>, IndexError> {
        self.look_up(
            "read referrers",
            Script::Referrers,
            repository,
            keys::subject(subject),
            |value, complete| {
                let row = codec::read_subject(value, repository, subject)?;
                Some(if row.known || complete {
                    Lookup::Found(row.referrers)
                } else {
                    Lookup::Unknown
                })
            },
        )
        .await
    }

    async fn generation(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Generation, IndexError> {
        let arguments = [incarnation(), keys::subject(subject)];
        let parts = self
            .change(
                "read a generation",
                Script::Generation,
                repository,
                &arguments,
            )
            .await?;
        let [Value::BulkString(incarnation), Value::BulkString(number)] = parts.as_slice() else {
            return Err(IndexError::Corrupt);
        };
        let number = number
            .iter()
            .fold(0, |number, byte| number << 8 | u128::from(*byte));
        Ok(Generation(
            u128::from(incarnation_of(incarnation)?) << 64 | number,
        ))
    }

    async fn replace_subject(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        referrers: Vec<Referrer>,
        expected: Generation,
    ) -> Result<bool, IndexError> {
        let bytes = expected.0.to_be_bytes();
        let (incarnation, number) = bytes.split_at(keys::INCARNATION);
        let number = number.split_at(number.len() - codec::GENERATION).1;
        let arguments = [
            incarnation.to_vec(),
            keys::subject(subject),
            number.to_vec(),
            referrers.iter().flat_map(codec::referrer).collect(),
        ];
        let replaced = self
            .change(
                "replace a subject",
                Script::ReplaceSubject,
                repository,
                &arguments,
            )
            .await?;
        flag(&replaced)
    }

    async fn put_links(
        &self,
        repository: &RepositoryName,
        links: &[(Digest, Link)],
    ) -> Result<(), IndexError> {
        let rows = links
            .iter()
            .flat_map(|(digest, link)| [codec::digest(digest), codec::link(link)]);
        let arguments: Vec<_> = [incarnation()].into_iter().chain(rows).collect();
        self.change("write links", Script::PutLinks, repository, &arguments)
            .await
            .map(drop)
    }

    async fn remove_link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), IndexError> {
        let arguments = [incarnation(), codec::digest(digest)];
        self.change("remove a link", Script::RemoveLink, repository, &arguments)
            .await
            .map(drop)
    }

    async fn link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Lookup<Link>, IndexError> {
        let name = codec::digest(digest);
        self.look_up("read a link", Script::Link, repository, name, |row, _| {
            codec::read_link(row).map(Lookup::Found)
        })
        .await
    }

    async fn put_tag_version(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        number: u64,
        version: &TagVersion,
    ) -> Result<(), IndexError> {
        let arguments = [
            incarnation(),
            keys::tag(tag),
            number.to_string().into_bytes(),
            codec::tag_version(version),
        ];
        self.change(
            "write a version of a tag",
            Script::PutTagVersion,
            repository,
            &arguments,
        )
        .await
        .map(drop)
    }

    async fn tag_versions(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Lookup<Vec<(u64, TagVersion)>>, IndexError> {
        let name = [keys::tag(tag)];
        let operation = "read versions of a tag";
        let answer = self
            .redis
            .call(operation, Script::TagVersions, repository, &name);
        let Answer::Done(parts) = answer.await? else {
            return Ok(Lookup::Unknown);
        };
        match parts.as_slice() {
            [Value::Array(parts)] if parts.is_empty() => Ok(Lookup::Absent),
            [Value::Array(parts)] => rows::tag_versions(parts).map(Lookup::Found),
            _ => Err(IndexError::Corrupt),
        }
    }

    async fn verdicts(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Option<Bytes>, IndexError> {
        let name = [keys::verdicts(subject)];
        let asked = self
            .redis
            .call("read verdicts", Script::Verdicts, repository, &name);
        let Answer::Done(parts) = asked.await? else {
            return Ok(None);
        };
        match <[Value; 1]>::try_from(parts) {
            Ok([Value::BulkString(verdicts)]) => Ok(Some(verdicts.into())),
            Ok([Value::Nil]) => Ok(None),
            Ok(_) | Err(_) => Err(IndexError::Corrupt),
        }
    }

    async fn put_verdicts(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        verdicts: Bytes,
    ) -> Result<(), IndexError> {
        let arguments = [
            incarnation(),
            keys::verdicts(subject),
            verdicts.to_vec(),
            VERDICTS_LAST.as_millis().to_string().into_bytes(),
        ];
        self.change(
            "write verdicts",
            Script::PutVerdicts,
            repository,
            &arguments,
        )
        .await
        .map(drop)
    }

    fn rows(&self) -> BoxStream<'_, Result<Row, IndexError>> {
        stream::once(async { Walk::begin(&self.redis) })
            .map_ok(|walk| {
                stream::try_unfold(walk, |mut walk| async move {
                    Ok(walk.next().await?.map(|row| (row, walk)))
                })
            })
            .try_flatten()
            .boxed()
    }
}

impl RedisIndex {
    async fn change(
        &self,
        operation: &'static str,
        script: Script,
        repository: &RepositoryName,
        arguments: &[Vec<u8>],
    ) -> Result<Vec<Value>, IndexError> {
        match self
            .redis
            .call(operation, script, repository, arguments)
            .await?
        {
            Answer::Done(parts) => Ok(parts),
            Answer::Unknown | Answer::Flag(_) | Answer::State(..) => Err(IndexError::Corrupt),
        }
    }

    /// A row that is there, or what its absence means.
    async fn look_up<T>(
        &self,
        operation: &'static str,
        script: Script,
        repository: &RepositoryName,
        name: Vec<u8>,
        read: impl FnOnce(&[u8], bool) -> Option<Lookup<T>>,
    ) -> Result<Lookup<T>, IndexError> {
        let name = [name];
        let answer = self.redis.call(operation, script, repository, &name);
        let Answer::Done(parts) = answer.await? else {
            return Ok(Lookup::Unknown);
        };
        match parts.as_slice() {
            [Value::Int(complete), Value::BulkString(row)] => {
                read(row, *complete == 1).ok_or(IndexError::Corrupt)
            }
            [Value::Int(1), Value::Nil] => Ok(Lookup::Absent),
            [Value::Int(_), Value::Nil] => Ok(Lookup::Unknown),
            _ => Err(IndexError::Corrupt),
        }
    }
}

/// An incarnation for a repository that turns out to have none.
fn incarnation() -> Vec<u8> {
    random::<8>().to_vec()
}

/// Whether a script that answers 0 or 1 answered 1.
fn flag(parts: &[Value]) -> Result<bool, IndexError> {
    match parts {
        [Value::Int(flag)] => Ok(*flag == 1),
        _ => Err(IndexError::Corrupt),
    }
}

fn incarnation_of(bytes: &[u8]) -> Result<u64, IndexError> {
    let bytes: [u8; keys::INCARNATION] = bytes.try_into().map_err(|_length| IndexError::Corrupt)?;
    Ok(u64::from_be_bytes(bytes))
}
