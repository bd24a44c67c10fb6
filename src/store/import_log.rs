//! How far an import has come: a numbered run, and in it, for each repository, the parts that are done. Each is an
//! object of its own, created once; what they hold is the importer's own matter.
//!
//! A run that is not finished is gone on with by whoever begins next. The records of earlier runs are deleted when a run
//! is finished.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::oci::RepositoryName;

use super::blob::{Condition, Key, Written};
use super::error::StoreError;
use super::layout;
use super::signatures::{PAGE, SignatureStore};

/// A run of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRun {
    /// Its number; later runs have higher ones.
    pub number: u64,
    /// What was written down when it was begun.
    pub begun: Json,
    /// What it has come to; none while it is not finished.
    pub finished: Option<Json>,
}

impl SignatureStore {
    /// The latest run, if there was one.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn latest_import(&self) -> Result<Option<ImportRun>, StoreError> {
        let Some(number) = self.import_runs().await?.pop() else {
            return Ok(None);
        };
        let (begun, finished) = (
            layout::import_begun(number),
            layout::import_finished(number),
        );
        Ok(Some(ImportRun {
            number,
            begun: self.readable_record(&begun).await?.unwrap_or_default(),
            finished: self.readable_record(&finished).await?,
        }))
    }

    /// Begins the next run; `None` if another process has done so at this moment.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn begin_import(
        &self,
        begun: &(impl Serialize + Sync),
    ) -> Result<Option<u64>, StoreError> {
        let number = self.import_runs().await?.pop().unwrap_or(0) + 1;
        let key = layout::import_begun(number);
        let written = self.put_record(&key, begun, Condition::IfAbsent).await?;
        Ok((written == Written::Created).then_some(number))
    }

    /// The parts of a repository that a run is through with, in their order.
    ///
    /// # Errors
    /// The object store is unavailable, or a part cannot be read.
    pub async fn import_parts<T: DeserializeOwned>(
        &self,
        run: u64,
        repository: &RepositoryName,
    ) -> Result<Vec<T>, StoreError> {
        let under = layout::import_repository(run, repository);
        let mut after = layout::before_import_parts(run, repository);
        let mut parts = Vec::new();
        loop {
            let page = self.blobs.list(&under, Some(&after), PAGE).await?;
            for listed in &page {
                // Behind the parts may lie the repositories that are nested in this one.
                let next = layout::import_part(run, repository, parts.len() as u64 + 1);
                if listed.key != next {
                    return Ok(parts);
                }
                let part = self.record(&next).await?;
                parts.push(part.ok_or(StoreError::Corrupt { key: next })?);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = last.key.clone(),
                Some(_) | None => return Ok(parts),
            }
        }
    }

    /// Writes down a part, the first of a repository as number 1; `false` if another process was first: then it is at
    /// the same run.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn put_import_part(
        &self,
        run: u64,
        repository: &RepositoryName,
        number: u64,
        part: &(impl Serialize + Sync),
    ) -> Result<bool, StoreError> {
        let key = layout::import_part(run, repository, number);
        let written = self.put_record(&key, part, Condition::IfAbsent).await?;
        Ok(written == Written::Created)
    }

    /// Finishes a run, and deletes what only its going on needed.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn finish_import(
        &self,
        run: u64,
        finished: &(impl Serialize + Sync),
    ) -> Result<(), StoreError> {
        let key = layout::import_finished(run);
        self.put_record(&key, finished, Condition::Always).await?;
        let kept = [layout::import_begun(run), key];
        let runs = self.import_runs().await?;
        for number in runs.into_iter().filter(|number| *number <= run) {
            let folder = layout::import_run(number);
            let mut after: Option<Key> = None;
            loop {
                let page = self.blobs.list(&folder, after.as_ref(), PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.key.clone());
                for listed in page.iter().filter(|listed| !kept.contains(&listed.key)) {
                    self.blobs.delete(&listed.key).await?;
                }
            }
        }
        Ok(())
    }

    /// The numbers of all runs, in order.
    async fn import_runs(&self) -> Result<Vec<u64>, StoreError> {
        let mut runs = Vec::new();
        let mut after: Option<Key> = None;
        loop {
            let page = self
                .blobs
                .list(&layout::imports(), after.as_ref(), 1)
                .await?;
            let Some(found) = page.first() else {
                return Ok(runs);
            };
            after = Some(match layout::parse_import(&found.key) {
                Some((run, next)) => {
                    runs.push(run);
                    next
                }
                None => found.key.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::testing::Fixture;

    #[tokio::test]
    async fn a_run_is_gone_on_with_until_it_is_finished() {
        let fixture = Fixture::new();
        let store = &fixture.store;
        assert_eq!(store.latest_import().await.unwrap(), None);
        let run = store.begin_import(&json!("all")).await.unwrap().unwrap();
        let [outer, inner]: [RepositoryName; 2] = ["a", "a/b"].map(|name| name.parse().unwrap());
        for (repository, number, part) in [(&outer, 1, "x"), (&inner, 1, "y"), (&outer, 2, "z")] {
            let put = store.put_import_part(run, repository, number, &part).await;
            assert!(put.unwrap());
        }
        assert!(
            !store
                .put_import_part(run, &outer, 2, &"other")
                .await
                .unwrap()
        );
        let parts = |repository| store.import_parts::<String>(run, repository);
        assert_eq!(parts(&outer).await.unwrap(), ["x", "z"]);
        assert_eq!(parts(&inner).await.unwrap(), ["y"]);
        let latest = store.latest_import().await.unwrap().unwrap();
        assert_eq!((latest.begun, latest.finished), (json!("all"), None));

        store.finish_import(run, &json!(1)).await.unwrap();
        assert_eq!(parts(&outer).await.unwrap(), Vec::<String>::new());
        let latest = store.latest_import().await.unwrap().unwrap();
        assert_eq!(latest.finished, Some(json!(1)));
        let next = store.begin_import(&json!("all")).await.unwrap().unwrap();
        assert_eq!(next, run + 1);
        store.finish_import(next, &json!(2)).await.unwrap();
        assert_eq!(store.import_runs().await.unwrap(), [next]);
    }
}
