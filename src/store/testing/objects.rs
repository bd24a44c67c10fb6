//! Objects whose operations are stopped, or give way to others.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::Yields;
use crate::clock::ManualClock;
use crate::store::blob::memory::MemoryBlobStore;
use crate::store::blob::{
    BlobError, BlobStore, ByteStream, Condition, Head, Key, Listed, Object, Written,
};

/// What an operation of [`Stopping`] is stopped for.
pub(in crate::store) enum Stop {
    /// This runs to its end first.
    For(BoxFuture<'static, ()>),
    /// The process dies before it: nothing happens any more.
    Death,
    /// The process dies after it.
    LateDeath,
}

/// The objects as one process sees them, which is stopped at one of its operations.
pub(in crate::store) struct Stopping {
    inner: Arc<dyn BlobStore>,
    stop: Mutex<Option<Planned>>,
    is_dead: AtomicBool,
}

struct Planned {
    /// Counting begins with the first write below this folder.
    since_write_below: &'static str,
    has_begun: bool,
    left: usize,
    stop: Stop,
}

impl Stopping {
    pub(in crate::store) fn new(inner: Arc<dyn BlobStore>) -> Self {
        Self {
            inner,
            stop: Mutex::default(),
            is_dead: AtomicBool::new(false),
        }
    }

    /// Stops at the operation after the next `count`.
    pub(in crate::store) fn stop_after(&self, count: usize, stop: Stop) {
        self.plan(count, stop, "", true);
    }

    /// Stops at the operation `count` after the first write below a folder.
    pub(in crate::store) fn stop_after_write_below(
        &self,
        folder: &'static str,
        count: usize,
        stop: Stop,
    ) {
        self.plan(count, stop, folder, false);
    }

    fn plan(&self, left: usize, stop: Stop, since_write_below: &'static str, has_begun: bool) {
        *self.stop.lock().unwrap() = Some(Planned {
            since_write_below,
            has_begun,
            left,
            stop,
        });
    }

    /// Whether it has not come to the operation; it will not be stopped then.
    pub(in crate::store) fn forget_stop(&self) -> bool {
        self.stop.lock().unwrap().take().is_some()
    }

    async fn through<T>(
        &self,
        written: Option<&Key>,
        operation: impl Future<Output = Result<T, BlobError>>,
    ) -> Result<T, BlobError> {
        let dead = || BlobError::Unavailable {
            operation: "do anything",
            key: "dead".parse().unwrap(),
            source: Box::new(std::io::Error::other("told to die")),
        };
        let stop = self.next_stop(written);
        match stop {
            Some(Stop::For(other)) => other.await,
            Some(Stop::Death) => self.is_dead.store(true, Ordering::SeqCst),
            Some(Stop::LateDeath) => {
                operation.await?;
                self.is_dead.store(true, Ordering::SeqCst);
                return Err(dead());
            }
            None => {}
        }
        if self.is_dead.load(Ordering::SeqCst) {
            return Err(dead());
        }
        operation.await
    }

    fn next_stop(&self, written: Option<&Key>) -> Option<Stop> {
        let mut planned = self.stop.lock().unwrap();
        let plan = planned.as_mut()?;
        let begins = |key: &Key| key.as_str().starts_with(plan.since_write_below);
        plan.has_begun |= written.is_some_and(begins);
        if !plan.has_begun {
            return None;
        }
        if plan.left == 0 {
            return planned.take().map(|plan| plan.stop);
        }
        plan.left -= 1;
        None
    }
}

impl fmt::Debug for Stopping {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Stopping").finish_non_exhaustive()
    }
}

#[async_trait]
impl BlobStore for Stopping {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, BlobError> {
        self.through(None, self.inner.get(key)).await
    }

    async fn open(&self, key: &Key) -> Result<Option<Object>, BlobError> {
        self.through(None, self.inner.open(key)).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>, BlobError> {
        self.through(None, self.inner.head(key)).await
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        condition: Condition,
    ) -> Result<Written, BlobError> {
        self.through(Some(key), self.inner.put(key, bytes, condition))
            .await
    }

    async fn put_stream(&self, key: &Key, stream: ByteStream) -> Result<u64, BlobError> {
        self.through(Some(key), self.inner.put_stream(key, stream))
            .await
    }

    async fn list(
        &self,
        under: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Listed>, BlobError> {
        self.through(None, self.inner.list(under, after, limit))
            .await
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        self.through(None, self.inner.delete(key)).await
    }
}

/// Objects in memory that yield around each operation.
#[derive(Debug)]
pub(in crate::store) struct Yielding {
    inner: MemoryBlobStore,
    yields: Yields,
    /// Writes to the journal wait for a permit of it.
    pub(in crate::store) journal: Semaphore,
}

impl Yielding {
    pub(in crate::store) fn new(clock: Arc<ManualClock>, seed: u64) -> Self {
        Self {
            inner: MemoryBlobStore::new(clock),
            yields: Yields(AtomicU64::new(seed)),
            journal: Semaphore::new(Semaphore::MAX_PERMITS),
        }
    }

    async fn through<T>(&self, operation: impl Future<Output = T>) -> T {
        self.yields.some().await;
        let outcome = operation.await;
        self.yields.some().await;
        outcome
    }
}

#[async_trait]
impl BlobStore for Yielding {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, BlobError> {
        self.through(self.inner.get(key)).await
    }

    async fn open(&self, key: &Key) -> Result<Option<Object>, BlobError> {
        self.through(self.inner.open(key)).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>, BlobError> {
        self.through(self.inner.head(key)).await
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        condition: Condition,
    ) -> Result<Written, BlobError> {
        if key.as_str().starts_with("v1/journal/") {
            self.journal.acquire().await.unwrap().forget();
        }
        self.through(self.inner.put(key, bytes, condition)).await
    }

    async fn put_stream(&self, key: &Key, stream: ByteStream) -> Result<u64, BlobError> {
        self.through(self.inner.put_stream(key, stream)).await
    }

    async fn list(
        &self,
        under: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Listed>, BlobError> {
        self.through(self.inner.list(under, after, limit)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        self.through(self.inner.delete(key)).await
    }
}
