//! Listing in key order.

use std::sync::atomic::Ordering;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;

use super::super::{Key, Listed};
use super::S3BlobStore;
use super::failure::Failure;
use super::read::{length, time};

/// What a service lists at a time.
const MAX_KEYS: usize = 1000;

/// The service lists in another order than that of the bytes.
struct Disorder;

impl S3BlobStore {
    /// The pages until there are enough objects; each is an exchange of its own.
    pub(super) async fn list_keys(
        &self,
        under: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Listed>, Failure> {
        let folder = format!("{under}/");
        let after = after
            .map(Key::as_str)
            .filter(|after| *after > folder.as_str());
        if limit == 0 || after.is_some_and(|after| !after.starts_with(&folder)) {
            return Ok(Vec::new());
        }
        if !self.unordered.load(Ordering::Relaxed) {
            match self.list_ordered(&folder, after, limit).await? {
                Ok(found) => return Ok(found),
                Err(Disorder) => self.unordered.store(true, Ordering::Relaxed),
            }
        }
        self.list_unordered(&folder, after, limit).await
    }

    async fn list_ordered(
        &self,
        folder: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Result<Vec<Listed>, Disorder>, Failure> {
        let mut found = Vec::new();
        let mut last = after.map(|after| format!("{}{after}", self.prefix));
        let mut position = None;
        loop {
            let wanted = (limit - found.len()).min(MAX_KEYS);
            let page = self.page(folder, after, position, wanted).await?;
            for object in page.contents() {
                let key = object.key().ok_or_else(|| Failure::lacks("key"))?;
                if last.as_deref().is_some_and(|last| last >= key) {
                    return Ok(Err(Disorder));
                }
                last = Some(key.to_owned());
            }
            self.add_objects(&page, &mut found)?;
            position = next(page)?;
            if position.is_none() || found.len() >= limit {
                found.truncate(limit);
                return Ok(Ok(found));
            }
        }
    }

    /// Everything in the folder, to be put in order here.
    async fn list_unordered(
        &self,
        folder: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Listed>, Failure> {
        let mut found = Vec::new();
        let mut position = None;
        loop {
            let page = self.page(folder, None, position, MAX_KEYS).await?;
            self.add_objects(&page, &mut found)?;
            position = next(page)?;
            if position.is_none() {
                break;
            }
        }
        found.retain(|listed| after.is_none_or(|after| listed.key.as_str() > after));
        found.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        found.dedup_by(|one, other| one.key == other.key);
        found.truncate(limit);
        Ok(found)
    }

    async fn page(
        &self,
        folder: &str,
        after: Option<&str>,
        position: Option<String>,
        wanted: usize,
    ) -> Result<ListObjectsV2Output, Failure> {
        // The position of a page says where it begins.
        let after = after.filter(|_| position.is_none());
        let sent = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(format!("{}{folder}", self.prefix))
            .set_start_after(after.map(|after| format!("{}{after}", self.prefix)))
            .set_continuation_token(position)
            .max_keys(i32::try_from(wanted).unwrap_or(i32::MAX))
            .send();
        self.exchange(Box::pin(async { sent.await.map_err(Failure::from) }))
            .await
    }

    /// Those of the page that have keys of ours; others in the bucket are somebody else's.
    fn add_objects(
        &self,
        page: &ListObjectsV2Output,
        found: &mut Vec<Listed>,
    ) -> Result<(), Failure> {
        for object in page.contents() {
            let key = object.key().and_then(|key| key.strip_prefix(&self.prefix));
            if let Some(Ok(key)) = key.map(str::parse) {
                found.push(Listed {
                    key,
                    size: length(object.size)?,
                    modified: time(object.last_modified.as_ref())?,
                });
            }
        }
        Ok(())
    }

    /// Asks for something that only a bucket can answer.
    pub(super) async fn list_one(&self) -> Result<(), Failure> {
        let sent = self.client.list_objects_v2().bucket(&self.bucket);
        sent.prefix(&self.prefix).max_keys(1).send().await?;
        Ok(())
    }
}

/// Where the next page begins, if there is one.
fn next(page: ListObjectsV2Output) -> Result<Option<String>, Failure> {
    match (page.is_truncated, page.next_continuation_token) {
        (Some(true), None) => Err(Failure::lacks("position of the next page")),
        (Some(true), position) => Ok(position),
        (Some(false) | None, _) => Ok(None),
    }
}
