//! The versions of captured tags: a log for each tag that only grows, numbered without gaps by all replicas together.

use crate::oci::{Digest, RepositoryName, Tag};

use super::blob::{Condition, Written};
use super::error::StoreError;
use super::index::Lookup;
use super::layout::{self, Record};
use super::records::{Stale, TagChange, TagVersion};
use super::signatures::SignatureStore;

impl SignatureStore {
    /// All versions of a tag, lowest number first, deletions too.
    pub(super) async fn tag_versions(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Vec<(u64, TagVersion)>, StoreError> {
        if self.journal.index_is_trusted() {
            match self.index.tag_versions(repository, tag).await {
                // A gap is a version whose writer has not told the index yet.
                Ok(Lookup::Found(versions)) if has_all(&versions) => return Ok(versions),
                Ok(Lookup::Found(_)) => self.owed.owe(Stale {
                    tag: Some(tag.as_str().to_owned()),
                    ..Stale::of(repository)
                }),
                Ok(Lookup::Absent) => return Ok(Vec::new()),
                Ok(Lookup::Unknown) => self.unknown.note(repository),
                Err(error) => self.index_read_failed(&error),
            }
        }
        self.stored_tag_versions(repository, tag).await
    }

    /// All versions of a tag by its records.
    pub(super) async fn stored_tag_versions(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Vec<(u64, TagVersion)>, StoreError> {
        let keys = self.keys(&layout::tag(repository, tag)).await?;
        let records = self.records(keys).await?;
        Ok(records
            .into_iter()
            .filter_map(|(key, version)| match layout::parse(&key)? {
                (_, Record::TagVersion(_, number)) => Some((number, version)),
                _ => None,
            })
            .collect())
    }

    /// The newest version of a tag by its records.
    pub(super) async fn newest_stored_version(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<(u64, TagVersion)>, StoreError> {
        let mut keys = self.keys(&layout::tag(repository, tag)).await?;
        while let Some(key) = keys.pop() {
            if let Some((_, Record::TagVersion(_, number))) = layout::parse(&key)
                && let Some(version) = self.readable_record(&key).await?
            {
                return Ok(Some((number, version)));
            }
        }
        Ok(None)
    }

    /// Takes a manifest out of a tag. If it is the newest version, or what the tag serves as of version `served_as_of`
    /// and still does, the tag is deleted; if it is an older version, that is withdrawn.
    pub(super) async fn take_out(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
        served_as_of: Option<u64>,
    ) -> Result<(), StoreError> {
        let _held = self.tags.hold(&(repository, tag)).await;
        let mut versions = self.stored_tag_versions(repository, tag).await?;
        let mut number = next_number(&versions);
        loop {
            let Some((taken, change)) = taken_out(&versions, digest, served_as_of) else {
                return Ok(());
            };
            let version = self.change(taken, change);
            if self
                .create_version(repository, tag, number, &version)
                .await?
            {
                return Ok(());
            }
            // Another replica was first, and what it pushed stays. The number grows even if that cannot be read.
            versions = self.stored_tag_versions(repository, tag).await?;
            number = next_number(&versions).max(number + 1);
        }
    }

    /// The version that does `change` to the one given.
    pub(super) fn change(&self, version: &TagVersion, change: TagChange) -> TagVersion {
        TagVersion {
            time: self.clock.now(),
            change,
            ..version.clone()
        }
    }

    /// Creates a version, of the number `next` or, where other replicas have been first, of one after it: so the numbers
    /// have no gap and none is overwritten.
    pub(super) async fn append_version(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        next: u64,
        version: &TagVersion,
    ) -> Result<(), StoreError> {
        let mut number = next;
        while !self
            .create_version(repository, tag, number, version)
            .await?
        {
            number += 1;
        }
        Ok(())
    }

    /// Creates a version; `false` if there is one of that number.
    async fn create_version(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        number: u64,
        version: &TagVersion,
    ) -> Result<bool, StoreError> {
        let key = layout::tag_version(repository, tag, number);
        let change = self.owed.change(Stale {
            tag: Some(tag.as_str().to_owned()),
            ..Stale::of(repository)
        });
        let created =
            self.put_record(&key, version, Condition::IfAbsent).await? == Written::Created;
        if created {
            self.index_version(repository, tag, number, version).await?;
        }
        change.finished();
        Ok(created)
    }

    pub(super) async fn index_version(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        number: u64,
        version: &TagVersion,
    ) -> Result<(), StoreError> {
        let stale = Stale {
            tag: Some(tag.as_str().to_owned()),
            ..Stale::of(repository)
        };
        let row = self.index.put_tag_version(repository, tag, number, version);
        self.index_or_journal(stale, row).await
    }
}

/// The pushes since the last deletion that were not withdrawn.
pub(super) fn live(versions: &[(u64, TagVersion)]) -> Vec<&TagVersion> {
    let mut live: Vec<&TagVersion> = Vec::new();
    for (_, version) in versions {
        match version.change {
            TagChange::Pushed => live.push(version),
            TagChange::Withdrawn => live.retain(|pushed| pushed.digest != version.digest),
            TagChange::Deleted => live.clear(),
        }
    }
    live
}

/// What is to be done to a tag when `digest` is deleted, and to which version.
fn taken_out<'a>(
    versions: &'a [(u64, TagVersion)],
    digest: &Digest,
    served_as_of: Option<u64>,
) -> Option<(&'a TagVersion, TagChange)> {
    let live = live(versions);
    let newest = *live.last()?;
    let highest = versions.last().map(|(number, _)| *number);
    if newest.digest == *digest || (served_as_of.is_some() && served_as_of == highest) {
        return Some((newest, TagChange::Deleted));
    }
    let older = live.into_iter().find(|version| version.digest == *digest)?;
    Some((older, TagChange::Withdrawn))
}

/// Whether no version is missing: their numbers have no gaps, from 1 on.
pub(super) fn has_all(versions: &[(u64, TagVersion)]) -> bool {
    versions
        .last()
        .is_none_or(|(highest, _)| *highest == versions.len() as u64)
}

/// The number after those of `versions`.
pub(super) fn next_number(versions: &[(u64, TagVersion)]) -> u64 {
    versions.last().map_or(1, |(highest, _)| highest + 1)
}
