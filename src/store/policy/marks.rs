//! Marks on tags: a log for each tag, whose version of the highest number says whether the tag is marked.
//!
//! A version is only created if there is none of its number, and who finds one there looks at what it says before
//! trying the next. Versions below the highest are removed once they are an hour old: nobody who has listed the
//! versions goes on so long, so nobody takes the number of one that was removed.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::oci::{Digest, RepositoryName, Tag};

use crate::store::blob::{Condition, Key, Listed, Written};
use crate::store::error::StoreError;
use crate::store::layout;
use crate::store::records::{Mark, MarkState, MarkVersion};
use crate::store::signatures::{PAGE, PARALLEL, SignatureStore};

/// How long versions are left that are not the newest.
const SUPERSEDED: Duration = Duration::from_secs(3600);

/// The newest version of a mark, as far as it is known.
#[derive(Debug)]
enum Newest {
    None,
    Version(u64, MarkVersion),
    /// It cannot be read.
    Damaged(u64, Key),
}

impl Newest {
    /// The mark, if the tag has one.
    fn mark(self) -> Result<Option<Mark>, StoreError> {
        match self {
            Self::Version(_, version) if version.state == MarkState::Set => Ok(Some(version.mark)),
            Self::Version(..) | Self::None => Ok(None),
            Self::Damaged(_, key) => Err(StoreError::Corrupt { key }),
        }
    }
}

impl SignatureStore {
    /// The mark of a tag, if it has one.
    ///
    /// # Errors
    /// The object store is unavailable, or what it has is corrupt.
    pub async fn mark(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<Mark>, StoreError> {
        let (newest, _) = self.newest_mark(repository, tag).await?;
        newest.mark()
    }

    /// The marks of all tags of a repository that have one, by tag. One that cannot be read is left out.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn marks(&self, repository: &RepositoryName) -> Result<Vec<(Tag, Mark)>, StoreError> {
        let keys = self.keys(&layout::marks(repository)).await?;
        // The numbers of one tag are in order.
        let newest: BTreeMap<Tag, Key> = keys
            .into_iter()
            .filter_map(|key| Some((layout::parse_mark_version(&key)?.0, key)))
            .collect();
        stream::iter(newest)
            .map(|(tag, key)| async move {
                let mark = match self.readable_record::<MarkVersion>(&key).await? {
                    Some(version) => (version.state == MarkState::Set).then_some(version.mark),
                    // Damaged, or followed by another since.
                    None => self
                        .newest_mark(repository, &tag)
                        .await?
                        .0
                        .mark()
                        .ok()
                        .flatten(),
                };
                Ok(mark.map(|mark| (tag, mark)))
            })
            .buffered(PARALLEL)
            .try_filter_map(|found| async { Ok(found) })
            .try_collect()
            .await
    }

    /// Marks a tag, in place of the mark that it has. Repeating a mark changes nothing.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn set_mark(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        mark: Mark,
    ) -> Result<(), StoreError> {
        self.change_mark(repository, tag, |newest| {
            let repeats = matches!(newest, Newest::Version(_, version)
                if version.state == MarkState::Set
                    && Mark { at: mark.at, ..version.mark.clone() } == mark);
            let version = || MarkVersion {
                state: MarkState::Set,
                mark: mark.clone(),
            };
            Ok((!repeats).then(version))
        })
        .await
        .map(drop)
    }

    /// Takes the mark from a tag: any, or only that of `digest`. `true` if there was one.
    ///
    /// # Errors
    /// The object store is unavailable, or the mark is corrupt: setting one anew ends that.
    pub async fn clear_mark(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        digest: Option<&Digest>,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        self.change_mark(repository, tag, |newest| match newest {
            Newest::Version(_, version)
                if version.state == MarkState::Set
                    && digest.is_none_or(|digest| version.mark.digest == *digest) =>
            {
                Ok(Some(MarkVersion {
                    state: MarkState::Cleared,
                    mark: Mark {
                        at: now,
                        ..version.mark.clone()
                    },
                }))
            }
            Newest::Version(..) | Newest::None => Ok(None),
            Newest::Damaged(_, key) => Err(StoreError::Corrupt { key: key.clone() }),
        })
        .await
    }

    /// Adds the version that `next` makes of the newest, if it makes one: and of the one that another replica has made
    /// newest meanwhile.
    async fn change_mark(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        next: impl Fn(&Newest) -> Result<Option<MarkVersion>, StoreError> + Send + Sync,
    ) -> Result<bool, StoreError> {
        loop {
            let (newest, listed) = self.newest_mark(repository, tag).await?;
            let Some(version) = next(&newest)? else {
                return Ok(false);
            };
            let number = match newest {
                Newest::None => 1,
                Newest::Version(number, _) | Newest::Damaged(number, _) => number + 1,
            };
            let key = layout::mark_version(repository, tag, number);
            match self.put_record(&key, &version, Condition::IfAbsent).await? {
                Written::Created => {
                    self.remove_superseded(listed).await;
                    return Ok(true);
                }
                Written::AlreadyThere => {}
            }
        }
    }

    /// The newest version, and what was listed of the tag.
    async fn newest_mark(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<(Newest, Vec<Listed>), StoreError> {
        let under = layout::mark(repository, tag);
        loop {
            let listed = self.listed(&under).await?;
            let Some((key, number)) = listed.last().and_then(|last| {
                let (_, number) = layout::parse_mark_version(&last.key)?;
                Some((last.key.clone(), number))
            }) else {
                return Ok((Newest::None, listed));
            };
            match self.record::<MarkVersion>(&key).await {
                Ok(Some(version)) => return Ok((Newest::Version(number, version), listed)),
                // Superseded for an hour by now, so there is a newer one.
                Ok(None) => {}
                Err(StoreError::Corrupt { key }) => {
                    return Ok((Newest::Damaged(number, key), listed));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What stays after a failure goes the next time.
    async fn remove_superseded(&self, mut listed: Vec<Listed>) {
        // What was the newest is superseded only now.
        listed.pop();
        let now = self.clock.now();
        for version in listed {
            if version.modified.saturating_add(SUPERSEDED) <= now
                && let Err(error) = self.blobs.delete(&version.key).await
            {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a version of a mark that was superseded stays"
                );
                return;
            }
        }
    }

    async fn listed(&self, under: &Key) -> Result<Vec<Listed>, StoreError> {
        let mut listed: Vec<Listed> = Vec::new();
        loop {
            let after = listed.last().map(|last| &last.key);
            let page = self.blobs.list(under, after, PAGE).await?;
            let is_last = page.len() < PAGE;
            listed.extend(page);
            if is_last {
                return Ok(listed);
            }
        }
    }
}
