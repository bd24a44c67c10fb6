//! Reading one object.

use std::io;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStream as Body, DateTime};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use tokio::time::timeout;

use super::super::{ByteStream, Head, Key, MAX_GET, Object};
use super::S3BlobStore;
use super::failure::Failure;
use crate::clock::UnixMillis;

/// How often an object is read whose body broke off; the client repeats only what comes before the body.
const READS: u32 = 3;

/// What was found when an object was to be read whole.
pub(super) enum Whole {
    Absent,
    Bytes(Bytes),
    TooLarge(u64),
}

impl S3BlobStore {
    pub(super) async fn read_whole(&self, key: &Key) -> Result<Whole, Failure> {
        let mut reads = 0;
        loop {
            reads += 1;
            let Some(found) = self.send_get(key).await? else {
                return Ok(Whole::Absent);
            };
            let size = length(found.content_length)?;
            if size > MAX_GET {
                return Ok(Whole::TooLarge(size));
            }
            match collect(found.body).await {
                Err(Failure::Connection(_)) if reads < READS => {}
                outcome => return outcome,
            }
        }
    }

    pub(super) async fn read_stream(&self, key: &Key) -> Result<Option<Object>, Failure> {
        let Some(found) = self.send_get(key).await? else {
            return Ok(None);
        };
        Ok(Some(Object {
            size: length(found.content_length)?,
            modified: time(found.last_modified.as_ref())?,
            stream: pieces(found.body, self.operation_timeout),
        }))
    }

    pub(super) async fn read_head(&self, key: &Key) -> Result<Option<Head>, Failure> {
        let sent = self.client.head_object().bucket(&self.bucket);
        match sent.key(self.full(key)).send().await.map_err(Failure::from) {
            Ok(found) => Ok(Some(Head {
                size: length(found.content_length)?,
                modified: time(found.last_modified.as_ref())?,
            })),
            Err(failure) if self.is_absence(&failure).await? => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn send_get(&self, key: &Key) -> Result<Option<GetObjectOutput>, Failure> {
        let sent = self.client.get_object().bucket(&self.bucket);
        match sent.key(self.full(key)).send().await.map_err(Failure::from) {
            Ok(found) => Ok(Some(found)),
            Err(failure) if self.is_absence(&failure).await? => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

async fn collect(mut body: Body) -> Result<Whole, Failure> {
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| Failure::Connection(error.into()))?);
        let size = bytes.len() as u64;
        if size > MAX_GET {
            return Ok(Whole::TooLarge(size));
        }
    }
    Ok(Whole::Bytes(bytes.freeze()))
}

/// The pieces of a body, each of which comes within `idle` or ends the stream with an error.
fn pieces(body: Body, idle: Duration) -> ByteStream {
    let next = move |body: Option<Body>| async move {
        let mut body = body?;
        match timeout(idle, body.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(body))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Err(elapsed) => Some((Err(io::Error::new(io::ErrorKind::TimedOut, elapsed)), None)),
        }
    };
    stream::unfold(Some(body), next).boxed()
}

pub(super) fn length(length: Option<i64>) -> Result<u64, Failure> {
    let length = length.and_then(|length| u64::try_from(length).ok());
    length.ok_or_else(|| Failure::lacks("length"))
}

/// In whole seconds, as the header has it; a listing may be more exact.
pub(super) fn time(time: Option<&DateTime>) -> Result<UnixMillis, Failure> {
    let seconds = time.and_then(|time| u64::try_from(time.secs()).ok());
    let seconds = seconds.ok_or_else(|| Failure::lacks("time"))?;
    Ok(UnixMillis::new(seconds.saturating_mul(1000)))
}
