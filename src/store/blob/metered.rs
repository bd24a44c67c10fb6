//! How long the object store takes, by operation and outcome.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;

use super::s3::Refused;
use super::{BlobError, BlobStore, ByteStream, Condition, Head, Key, Listed, Object, Written};

/// A store whose operations are measured. The stream that `open` gives is not; the one that `put_stream` takes is.
#[derive(Debug)]
pub struct MeteredBlobStore {
    inner: Arc<dyn BlobStore>,
    seconds: Histogram<f64>,
}

impl MeteredBlobStore {
    /// Measures `inner` into `seconds`, with the labels `operation` and `outcome` (`ok`, `error`, `breaker`).
    #[must_use]
    pub fn new(inner: Arc<dyn BlobStore>, seconds: Histogram<f64>) -> Self {
        Self { inner, seconds }
    }

    async fn measured<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, BlobError>> + Send,
    ) -> Result<T, BlobError> {
        let begun = Instant::now();
        let result = work.await;
        let labels = [
            KeyValue::new("operation", operation),
            KeyValue::new("outcome", outcome(result.as_ref().err())),
        ];
        self.seconds.record(begun.elapsed().as_secs_f64(), &labels);
        result
    }
}

fn outcome(error: Option<&BlobError>) -> &'static str {
    match error {
        None => "ok",
        Some(BlobError::Unavailable { source, .. }) if source.is::<Refused>() => "breaker",
        Some(BlobError::Unavailable { .. } | BlobError::TooLarge { .. } | BlobError::Body(_)) => {
            "error"
        }
    }
}

#[async_trait]
impl BlobStore for MeteredBlobStore {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, BlobError> {
        self.measured("get", self.inner.get(key)).await
    }

    async fn open(&self, key: &Key) -> Result<Option<Object>, BlobError> {
        self.measured("open", self.inner.open(key)).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>, BlobError> {
        self.measured("head", self.inner.head(key)).await
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        condition: Condition,
    ) -> Result<Written, BlobError> {
        self.measured("put", self.inner.put(key, bytes, condition))
            .await
    }

    async fn put_stream(&self, key: &Key, stream: ByteStream) -> Result<u64, BlobError> {
        self.measured("put_stream", self.inner.put_stream(key, stream))
            .await
    }

    async fn list(
        &self,
        under: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Listed>, BlobError> {
        self.measured("list", self.inner.list(under, after, limit))
            .await
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        self.measured("delete", self.inner.delete(key)).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use prometheus::{Registry, TextEncoder};

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::blob::contract;
    use crate::store::blob::memory::MemoryBlobStore;

    fn metered() -> (MeteredBlobStore, Registry, SdkMeterProvider) {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone());
        let provider = SdkMeterProvider::builder()
            .with_reader(exporter.build().unwrap())
            .build();
        let seconds = provider.meter("test").f64_histogram("objects").build();
        let memory = Arc::new(MemoryBlobStore::new(Arc::new(SystemClock)));
        (MeteredBlobStore::new(memory, seconds), registry, provider)
    }

    #[tokio::test]
    async fn measuring_changes_nothing() {
        let (store, ..) = metered();
        contract::holds_for(Arc::new(store)).await;
    }

    #[tokio::test]
    async fn operations_are_counted_with_their_outcome() {
        let (store, registry, _provider) = metered();
        let key: Key = "v1/a".parse().unwrap();
        store.head(&key).await.unwrap();
        let failing = stream::iter([Err(std::io::Error::other("cut"))]).boxed();
        store.put_stream(&key, failing).await.unwrap_err();
        let text = TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap();
        for (operation, outcome) in [("head", "ok"), ("put_stream", "error")] {
            let labels = format!("operation=\"{operation}\",outcome=\"{outcome}\"");
            let line = |line: &&str| line.starts_with("objects_count") && line.contains(&labels);
            assert!(text.lines().find(line).unwrap().ends_with(" 1"), "{text}");
        }
    }
}
