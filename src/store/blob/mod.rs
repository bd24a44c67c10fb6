//! Objects: bytes under keys, in a directory or in S3.
//!
//! The interface has what S3 has (whole objects, conditional creation, LIST in key order) and nothing more: no
//! rename, no append, no lock.

pub mod fs;
pub mod key;
pub mod memory;
pub mod metered;
pub mod s3;

#[cfg(test)]
mod contract;

use std::error::Error as StdError;
use std::fmt::Debug;
use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use thiserror::Error;

use crate::clock::UnixMillis;

pub use key::Key;

/// Bytes that arrive in pieces.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// The largest object that [`BlobStore::get`] reads: a manifest of 4 MiB, and a record that repeats its annotations.
pub const MAX_GET: u64 = 8 * 1024 * 1024;

/// A store of immutable or conditionally written objects.
///
/// Every write is durable and visible to every reader, in this process and in others, when it returns `Ok`; after an
/// error or a crash it has happened entirely or not at all. Writes are idempotent. Concurrent writes to one key leave
/// the whole content of one of them. No key may be a folder of another one (`a` and `a/b`): the layout sees to it.
#[async_trait]
pub trait BlobStore: Debug + Send + Sync {
    /// The bytes under `key`, `None` if there are none. Objects above [`MAX_GET`] are refused: they are for [`open`].
    ///
    /// [`open`]: BlobStore::open
    async fn get(&self, key: &Key) -> Result<Option<Bytes>, BlobError>;

    /// The object under `key` as a stream, `None` if there is none. A write or deletion that comes meanwhile does not
    /// change what the stream yields; it may end it with an error.
    async fn open(&self, key: &Key) -> Result<Option<Object>, BlobError>;

    /// Size and time of the object under `key`, `None` if there is none.
    async fn head(&self, key: &Key) -> Result<Option<Head>, BlobError>;

    /// Stores `bytes` under `key`. With [`Condition::IfAbsent`] exactly one of several concurrent writers is answered
    /// [`Written::Created`]; what the others find is as durable as what they would have written.
    async fn put(
        &self,
        key: &Key,
        bytes: Bytes,
        condition: Condition,
    ) -> Result<Written, BlobError>;

    /// Stores what `stream` yields under `key`, replacing what is there, and returns its length. If the stream yields
    /// an error nothing becomes visible and the error comes back as [`BlobError::Body`].
    async fn put_stream(&self, key: &Key, stream: ByteStream) -> Result<u64, BlobError>;

    /// At most `limit` objects whose keys lie below the folder `under`, at any depth, in the byte order of their whole
    /// keys, beginning after the key `after` (which need not exist). Fewer than `limit` means that there are no more.
    /// An object that is written or deleted meanwhile may be listed or not; all others are, once.
    async fn list(
        &self,
        under: &Key,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Listed>, BlobError>;

    /// Deletes the object under `key`; its absence is success.
    async fn delete(&self, key: &Key) -> Result<(), BlobError>;
}

/// When a write takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// In any case; the object's time becomes that of the write, also when the bytes are the same.
    Always,
    /// Only if the key has no object (`If-None-Match: *`).
    IfAbsent,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The object holds the bytes given.
    Created,
    /// There was an object, and it was left as it is; only with [`Condition::IfAbsent`].
    AlreadyThere,
}

/// Size and time of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Length in bytes.
    pub size: u64,
    /// When it was last written, by the clock of the store.
    pub modified: UnixMillis,
}

/// An object that is being read.
pub struct Object {
    /// Length in bytes.
    pub size: u64,
    /// When it was last written, by the clock of the store.
    pub modified: UnixMillis,
    /// The bytes.
    pub stream: ByteStream,
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The whole key.
    pub key: Key,
    /// Length in bytes.
    pub size: u64,
    /// When it was last written, by the clock of the store.
    pub modified: UnixMillis,
}

/// Why an operation on objects failed.
#[derive(Debug, Error)]
pub enum BlobError {
    /// The store cannot be used at present, or not for this key; retry.
    #[error("the object store cannot {operation} {key}")]
    Unavailable {
        /// What was tried, as a verb.
        operation: &'static str,
        /// Its key.
        key: Key,
        /// What the backend says.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// An object that is to be read whole is above [`MAX_GET`].
    #[error("the object {key} has {size} bytes, above the limit for reading it whole")]
    TooLarge {
        /// Its key.
        key: Key,
        /// Its length.
        size: u64,
    },
    /// The stream that was to be stored failed; the store did not.
    #[error("the stream to be stored failed")]
    Body(#[source] io::Error),
}
