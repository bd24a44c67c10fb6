//! What the store has, repository by repository, by its records alone: for who takes it elsewhere.

use crate::oci::{Digest, RepositoryName, Tag};

use super::blob::Key;
use super::error::StoreError;
use super::layout::{self, Record};
use super::signatures::{PAGE, SignatureStore};
use super::union::{self, Union};
use bytes::Bytes;

impl SignatureStore {
    /// The next repository that has records, in the order of their keys; `None` behind the last.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn next_repository(
        &self,
        after: Option<&RepositoryName>,
    ) -> Result<Option<RepositoryName>, StoreError> {
        let mut after = after.map(|name| layout::records_between(name).1);
        loop {
            let under = layout::repositories();
            let page = self.blobs.list(&under, after.as_ref(), 1).await?;
            let Some(found) = page.first() else {
                return Ok(None);
            };
            if let Some((name, _)) = layout::parse(&found.key) {
                return Ok(Some(name));
            }
            after = Some(found.key.clone());
        }
    }

    /// Whether a repository has records, of whatever kind.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn has_records(&self, repository: &RepositoryName) -> Result<bool, StoreError> {
        let (before, behind) = layout::records_between(repository);
        let under = layout::repository(repository);
        let page = self.blobs.list(&under, Some(&before), 1).await?;
        Ok(page.first().is_some_and(|first| first.key < behind))
    }

    /// The subjects that have referrers.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn subjects(&self, repository: &RepositoryName) -> Result<Vec<Digest>, StoreError> {
        let under = layout::subjects(repository);
        let subject = |record| match record {
            Record::Referrer { subject, .. } => Some(subject),
            Record::Link(_) | Record::TagVersion(..) | Record::Staged | Record::Other => None,
        };
        self.distinct(&under, subject).await
    }

    /// The captured tags, those that were deleted as well.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn captured_tag_names(
        &self,
        repository: &RepositoryName,
    ) -> Result<Vec<Tag>, StoreError> {
        let under = layout::tags(repository);
        let tag = |record| match record {
            Record::TagVersion(tag, _) => Some(tag),
            Record::Referrer { .. } | Record::Link(_) | Record::Staged | Record::Other => None,
        };
        self.distinct(&under, tag).await
    }

    /// What the records below `under` name, which stand together, each once.
    async fn distinct<T: PartialEq>(
        &self,
        under: &Key,
        of: impl Fn(Record) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut all: Vec<T> = Vec::new();
        let mut after: Option<Key> = None;
        loop {
            let page = self.blobs.list(under, after.as_ref(), PAGE).await?;
            for listed in &page {
                let found = layout::parse(&listed.key).and_then(|(_, record)| of(record));
                if found.is_some() && all.last() != found.as_ref() {
                    all.extend(found);
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                Some(_) | None => return Ok(all),
            }
        }
    }
}

/// A cosign manifest that has the layers of both, and the config it names if that had to be made; `None` if `newer` has
/// them all.
#[must_use]
pub fn with_layers_of_both(older: &[u8], newer: &[u8]) -> Option<(Bytes, Option<Bytes>)> {
    match union::of(&[older, newer]) {
        Union::Newest => None,
        Union::Generated { manifest, config } => Some((manifest, config)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Source;
    use crate::store::testing::{Fixture, Signature, repository, subject, tag};

    #[tokio::test]
    async fn repositories_subjects_and_tags_are_found_each_once() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        assert_eq!(store.next_repository(None).await.unwrap(), None);
        let nested: RepositoryName = "a/b/c".parse().unwrap();
        for text in ["a", "b"] {
            let signature = Signature::new(text);
            signature.add(store, Source::Captured).await.unwrap();
            signature.append(store).await.unwrap();
        }
        let generated = Bytes::from_static(b"x");
        store.put_generated(&nested, generated, "x").await.unwrap();
        let mut names = Vec::new();
        while let Some(name) = store.next_repository(names.last()).await.unwrap() {
            names.push(name);
        }
        assert_eq!(names, [repository(), nested.clone()]);
        assert_eq!(store.subjects(&repository()).await.unwrap(), [subject()]);
        assert_eq!(
            store.captured_tag_names(&repository()).await.unwrap(),
            [tag()]
        );
        assert_eq!(store.subjects(&nested).await.unwrap(), []);
    }
}
