//! Objects in memory: for tests, and the plainest reading of the contract.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    BlobError, BlobStore, ByteStream, Condition, Head, Key, Listed, MAX_GET, Object, Written,
};
use crate::clock::{Clock, UnixMillis};

/// A store that is gone with the process.
#[derive(Debug)]
pub struct MemoryBlobStore {
    objects: Mutex<BTreeMap<Key, Stored>>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Debug)]
struct Stored {
    bytes: Bytes,
    modified: UnixMillis,
}

impl MemoryBlobStore {
    /// An empty store whose objects take their time from `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            objects: Mutex::default(),
            clock,
        }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<Key, Stored>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stored(&self, bytes: Bytes) -> Stored {
        Stored {
            bytes,
            modified: self.clock.now(),
        }
    }
}

#[async_trait]
impl BlobStore for MemoryBlobStore {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, BlobError> {
        let Some(stored) = self.objects().get(key).cloned() else {
            return Ok(None);
        };
        let size = stored.bytes.len() as u64;
        if size > MAX_GET {
            return Err(BlobError::TooLarge {
                key: key.clone(),
                size,
            });
        }
        Ok(Some(stored.bytes))
    }

    async fn open(&self, key: &Key) -> Result<Option<Object>, BlobError> {
        Ok(self.objects().get(key).cloned().map(|stored| Object {
            size: stored.bytes.len() as u64,
            modified: stored.modified,
            stream: stream::once(async { Ok(stored.bytes) }).boxed(),
        }))
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>, BlobError> {
        Ok(self.objects().get(key).map(|stored| Head {
            size: stored.bytes.len() as u64,
            modified: stored.modified,
        }))
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        condition: Condition,
    ) -> Result<Written, BlobError> {
        let stored = self.stored(bytes);
        let mut objects = self.objects();
        if condition == Condition::IfAbsent && objects.contains_key(key) {
            return Ok(Written::AlreadyThere);
        }
        objects.insert(key.clone(), stored);
        Ok(Written::Created)
    }

    async fn put_stream(&self, key: &Key, stream: ByteStream) -> Result<u64, BlobError> {
        let bytes: BytesMut = stream.try_collect().await.map_err(BlobError::Body)?;
        let length = bytes.len() as u64;
        let stored = self.stored(bytes.freeze());
        self.objects().insert(key.clone(), stored);
        Ok(length)
    }

    async fn list(
        &self,
        under: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Listed>, BlobError> {
        let folder = format!("{under}/");
        let after = after.unwrap_or(under).max(under);
        Ok(self
            .objects()
            .range((Bound::Excluded(after), Bound::Unbounded))
            .skip_while(|(key, _)| key.as_str() < folder.as_str())
            .take_while(|(key, _)| key.as_str().starts_with(&folder))
            .take(limit)
            .map(|(key, stored)| Listed {
                key: key.clone(),
                size: stored.bytes.len() as u64,
                modified: stored.modified,
            })
            .collect())
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        self.objects().remove(key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::store::blob::contract;

    #[tokio::test]
    async fn memory_keeps_the_contract() {
        contract::holds_for(Arc::new(MemoryBlobStore::new(Arc::new(SystemClock)))).await;
    }
}
