//! Comparing the index with the object store, without changing either.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use thiserror::Error;

use super::blob::Key;
use super::error::StoreError;
use super::index::{Lookup, Row};
use super::layout::{self, Record};
use super::records::TagVersion;
use super::signatures::{PAGE, PARALLEL, SignatureStore};

/// How often a difference is looked at again: on a store that is in use it may have been under way.
const LOOKS: usize = 2;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// A record that the index is wrong about. On a store that is in use, what changed meanwhile may show as one.
#[derive(Clone, Debug, Error, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// The index says that this record does not exist.
    #[error("the index lacks {0}")]
    Missing(Key),
    /// The index has a row for this record, which does not exist.
    #[error("the index has {0}, which does not exist")]
    Unexpected(Key),
    /// The index has another content for this record.
    #[error("the index has another content for {0}")]
    Different(Key),
}

impl SignatureStore {
    /// Whether the index is complete and nothing waits in the journal: only then is there something to verify.
    ///
    /// # Errors
    /// Index or object store are unavailable.
    pub async fn index_is_settled(&self) -> Result<bool, StoreError> {
        let journal = layout::journal();
        Ok(self.blobs.list(&journal, None, 1).await?.is_empty() && self.index.complete().await?)
    }

    /// Everything the index is wrong about. What it does not know is no difference, nor what was only on its way when
    /// it was looked at.
    ///
    /// # Errors
    /// Index or object store are unavailable.
    pub async fn verify_index(&self) -> Result<Vec<Difference>, StoreError> {
        let mut differences = self.differences().await?;
        for _ in 0..LOOKS {
            if differences.is_empty() {
                break;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
            let again: BTreeSet<Difference> = self.differences().await?.into_iter().collect();
            differences.retain(|difference| again.contains(difference));
        }
        Ok(differences)
    }

    /// What the index is wrong about at this moment.
    pub(super) async fn differences(&self) -> Result<Vec<Difference>, StoreError> {
        let mut differences: Vec<Difference> = self
            .index
            .rows()
            .map(|row| async { self.compare_row(row?).await })
            .buffer_unordered(PARALLEL)
            .try_filter_map(|difference| async { Ok(difference) })
            .try_collect()
            .await?;
        let mut after: Option<Key> = None;
        loop {
            let page = self
                .blobs
                .list(&layout::repositories(), after.as_ref(), PAGE)
                .await?;
            let Some(last) = page.last() else {
                return Ok(differences);
            };
            after = Some(last.key.clone());
            let missing: Vec<Difference> = stream::iter(page)
                .map(|listed| async {
                    let missing = self.is_missing(&listed.key).await?;
                    Ok::<_, StoreError>(missing.then_some(Difference::Missing(listed.key)))
                })
                .buffered(PARALLEL)
                .try_filter_map(|difference| async { Ok(difference) })
                .try_collect()
                .await?;
            differences.extend(missing);
        }
    }

    async fn compare_row(&self, row: Row) -> Result<Option<Difference>, StoreError> {
        let (key, same) = match row {
            Row::Referrer(row) => {
                let digest = &row.descriptor.digest;
                let key = layout::referrer(&row.repository, &row.subject, digest);
                let record = self
                    .stored_referrer(&row.repository, &row.subject, digest)
                    .await?;
                (key, record.map(|record| record == row))
            }
            Row::Link {
                repository,
                digest,
                link,
            } => {
                let key = layout::link(&repository, &digest);
                let record = self.readable_link(&repository, &digest).await?;
                (key, record.map(|record| record == link))
            }
            Row::TagVersion {
                repository,
                tag,
                number,
                version,
            } => {
                let key = layout::tag_version(&repository, &tag, number);
                let record = self.readable_record::<TagVersion>(&key).await?;
                (key, record.map(|record| record == version))
            }
        };
        Ok(match same {
            Some(true) => None,
            Some(false) => Some(Difference::Different(key)),
            None => Some(Difference::Unexpected(key)),
        })
    }

    /// Whether the index denies the record under `key`.
    async fn is_missing(&self, key: &Key) -> Result<bool, StoreError> {
        let Some((repository, record)) = layout::parse(key) else {
            return Ok(false);
        };
        Ok(match record {
            Record::Referrer {
                subject, digest, ..
            } => match self.index.referrers(&repository, &subject).await? {
                Lookup::Found(rows) => rows.iter().all(|row| row.descriptor.digest != digest),
                Lookup::Absent => true,
                Lookup::Unknown => false,
            },
            Record::Link(digest) => {
                self.index.link(&repository, &digest).await? == Lookup::Absent
                    && self.readable_link(&repository, &digest).await?.is_some()
            }
            Record::TagVersion(tag, number) => {
                match self.index.tag_versions(&repository, &tag).await? {
                    Lookup::Found(rows) => rows.iter().all(|(known, _)| *known != number),
                    Lookup::Absent => true,
                    Lookup::Unknown => false,
                }
            }
            Record::Staged | Record::Other => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Fixture, Signature, repository, subject};
    use crate::store::{Link, Source};

    #[tokio::test]
    async fn each_kind_of_difference_is_found_and_a_rebuild_ends_it() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let [missing, unexpected, different] = ["m", "u", "d"].map(Signature::new);
        for signature in [&missing, &unexpected, &different] {
            signature.add(store, Source::Captured).await.unwrap();
        }
        assert_eq!(store.verify_index().await.unwrap(), []);

        let key =
            |signature: &Signature| layout::referrer(&repository(), &subject(), &signature.digest);
        store
            .index
            .remove_referrer(&repository(), &subject(), &missing.digest)
            .await
            .unwrap();
        fixture.blobs.delete(&key(&unexpected)).await.unwrap();
        let link = layout::link(&repository(), &different.digest);
        let mut record: Link = store.record(&link).await.unwrap().unwrap();
        record.size += 1;
        let row = [(different.digest.clone(), record)];
        store.index.put_links(&repository(), &row).await.unwrap();

        let mut differences = store.verify_index().await.unwrap();
        differences.sort_by_key(|difference| format!("{difference:?}"));
        let expected = [
            Difference::Different(link),
            Difference::Missing(key(&missing)),
            Difference::Unexpected(layout::link(&repository(), &unexpected.digest)),
            Difference::Unexpected(key(&unexpected)),
        ];
        assert_eq!(differences, expected);

        let summary = store.rebuild_index(|_| ()).await.unwrap();
        assert!(summary.complete);
        assert_eq!(
            (summary.subjects, summary.referrers, summary.links),
            (1, 2, 4)
        );
        assert_eq!(store.verify_index().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_push_that_was_cut_off_before_its_record_left_no_link() {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let signature = Signature::new("cut off");
        signature.add(store, Source::Captured).await.unwrap();
        let record = layout::referrer(&repository(), &subject(), &signature.digest);
        store.blobs.delete(&record).await.unwrap();
        store.rebuild_index(|_| ()).await.unwrap();

        assert_eq!(
            store.link(&repository(), &signature.digest).await.unwrap(),
            None
        );
        assert_eq!(
            store.referrers(&repository(), &subject()).await.unwrap(),
            []
        );
        assert_eq!(store.verify_index().await.unwrap(), []);
        signature.add(store, Source::Captured).await.unwrap();
        assert!(
            store
                .link(&repository(), &signature.digest)
                .await
                .unwrap()
                .is_some()
        );
    }
}
