//! Objects in an S3 bucket, through `aws-sdk-s3`.
//!
//! What is asked of the service is what all of them have: `GetObject`, `HeadObject`, `PutObject` (with
//! `If-None-Match: *`), `DeleteObject`, `ListObjectsV2` and multipart uploads. Bodies are signed as they are, without
//! trailers and, unless configured otherwise, without checksum headers, which several services refuse.
//!
//! - Times of objects have a resolution of one second here, as the header `Last-Modified` has.
//! - Every exchange ends within the operation timeout, three attempts included; one piece of a body that is streamed
//!   out may take as long. A listing of more than one page, and a stream in parts, are several exchanges.
//! - An object that needs more than one part becomes visible when it is completed. What a crash leaves of an upload is
//!   not visible, and not removed here either: a lifecycle rule of the bucket (`AbortIncompleteMultipartUpload`) does.
//! - Once the store was found unreachable, the next exchanges fail at once for a second ([`Refused`]).

mod breaker;
mod client;
mod config;
mod credentials;
mod failure;
mod listing;
mod multipart;
mod read;
mod write;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout};

use super::{BlobError, BlobStore, ByteStream, Condition, Head, Key, Listed, Object, Written};
use breaker::Breaker;
use failure::Failure;

pub use breaker::Refused;
pub use client::OpenError;
pub use config::{Checksums, ConditionalWrites, Config, Credentials, Encryption};

/// A bucket, or the part of it below a prefix, as an object store.
#[derive(Debug)]
pub struct S3BlobStore {
    client: Client,
    bucket: String,
    /// Empty, or ends in a slash.
    prefix: String,
    encryption: Encryption,
    conditional_writes: ConditionalWrites,
    operation_timeout: Duration,
    breaker: Breaker,
    /// An answer has shown that there is a bucket, so that a 404 without a reason speaks of the object.
    bucket_seen: AtomicBool,
    /// The service lists in no order.
    unordered: AtomicBool,
}

impl S3BlobStore {
    /// Makes the client. Nothing is asked of the service yet, so regseal starts while it is down.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let client = client::client(&config).await?;
        Ok(Self {
            client,
            prefix: client::prefix(config.prefix)?,
            // Buckets of this kind list in no order, and take no position to begin after.
            unordered: AtomicBool::new(config.bucket.ends_with("--x-s3")),
            bucket: config.bucket,
            encryption: config.encryption,
            conditional_writes: config.conditional_writes,
            operation_timeout: config.operation_timeout,
            breaker: Breaker::default(),
            bucket_seen: AtomicBool::new(false),
        })
    }

    /// The key as the service sees it.
    fn full(&self, key: &Key) -> String {
        format!("{}{key}", self.prefix)
    }

    /// One exchange with the service, with its retries: under the deadline, and not while the breaker is open.
    async fn exchange<T>(&self, exchange: BoxFuture<'_, Result<T, Failure>>) -> Result<T, Failure> {
        let pass = self
            .breaker
            .pass(Instant::now())
            .map_err(Failure::Refused)?;
        let outcome = timeout(self.operation_timeout, exchange)
            .await
            .unwrap_or(Err(Failure::NoAnswer(self.operation_timeout)));
        match &outcome {
            Err(failure) if failure.is_unreachable() => pass.failed(Instant::now()),
            Err(failure) if !failure.is_answer() => drop(pass),
            Ok(_) | Err(_) => pass.answered(Instant::now()),
        }
        outcome
    }

    /// Whether a failure says that there is no such object, which a 404 alone does not: there may be no bucket, or no
    /// S3 at that address.
    async fn is_absence(&self, failure: &Failure) -> Result<bool, Failure> {
        match failure.not_found() {
            None => Ok(false),
            Some(Some("NoSuchKey")) => {
                self.bucket_seen.store(true, Ordering::Relaxed);
                Ok(true)
            }
            // What answers HEAD has no body to tell the reason in.
            Some(None | Some("NotFound")) => {
                if !self.bucket_seen.load(Ordering::Relaxed) {
                    self.list_one().await?;
                    self.bucket_seen.store(true, Ordering::Relaxed);
                }
                Ok(true)
            }
            Some(Some(_)) => Ok(false),
        }
    }
}

fn unavailable(operation: &'static str, key: &Key) -> impl FnOnce(Failure) -> BlobError {
    let key = key.clone();
    move |failure| BlobError::Unavailable {
        operation,
        key,
        source: failure.into_source(),
    }
}

#[async_trait]
impl BlobStore for S3BlobStore {
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, BlobError> {
        match self.exchange(Box::pin(self.read_whole(key))).await {
            Ok(read::Whole::Absent) => Ok(None),
            Ok(read::Whole::Bytes(bytes)) => Ok(Some(bytes)),
            Ok(read::Whole::TooLarge(size)) => Err(BlobError::TooLarge {
                key: key.clone(),
                size,
            }),
            Err(failure) => Err(unavailable("read", key)(failure)),
        }
    }

    async fn open(&self, key: &Key) -> Result<Option<Object>, BlobError> {
        self.exchange(Box::pin(self.read_stream(key)))
            .await
            .map_err(unavailable("open", key))
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>, BlobError> {
        self.exchange(Box::pin(self.read_head(key)))
            .await
            .map_err(unavailable("read", key))
    }

    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        condition: Condition,
    ) -> Result<Written, BlobError> {
        self.exchange(Box::pin(self.write(key, bytes, condition)))
            .await
            .map_err(unavailable("write", key))
    }

    async fn put_stream(&self, key: &Key, stream: ByteStream) -> Result<u64, BlobError> {
        Box::pin(self.write_stream(key, stream)).await
    }

    async fn list(
        &self,
        under: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Listed>, BlobError> {
        Box::pin(self.list_keys(under, after, limit))
            .await
            .map_err(unavailable("list", under))
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        self.exchange(Box::pin(self.remove(key)))
            .await
            .map_err(unavailable("delete", key))
    }
}
