//! Storing a stream: in one request while it is small, else in parts.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::Fuse;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::debug;

use super::super::{BlobError, ByteStream, Key};
use super::failure::Failure;
use super::write::{WRITE, random_number};
use super::{S3BlobStore, unavailable};

/// What is held in memory of a stream, and the size of a part; none but the last may be below 5 MiB.
const PART: usize = 8 * 1024 * 1024;
/// The number of the last part that is as long as the first: parts of one length is what some services insist on.
const EQUAL_PARTS: i32 = 9_000;
/// The number of the last part that there may be.
const MAX_PARTS: i32 = 10_000;
/// Beyond [`EQUAL_PARTS`], so that there is an end only after 130 GiB.
const LARGE_PART: usize = 64 * 1024 * 1024;

impl S3BlobStore {
    pub(super) async fn write_stream(
        &self,
        key: &Key,
        stream: ByteStream,
    ) -> Result<u64, BlobError> {
        let mut parts = Parts::of(stream);
        let first = parts.next(1).await?;
        let mut length = first.len() as u64;
        if parts.at_end().await? {
            let put = self.put_object(key, first).send();
            self.exchange(Box::pin(async { put.await.map_err(Failure::from) }))
                .await
                .map_err(unavailable("write", key))?;
            return Ok(length);
        }
        let mut upload = self.begin(key).await.map_err(unavailable("write", key))?;
        let mut part = first;
        for number in 1..=MAX_PARTS {
            let sent = self.send_part(&upload, number, part).await;
            upload.parts.push(sent.map_err(unavailable("write", key))?);
            if parts.at_end().await? {
                let completed = self.complete(key, upload).await;
                completed.map_err(unavailable("write", key))?;
                return Ok(length);
            }
            part = parts.next(number + 1).await?;
            length += part.len() as u64;
        }
        Err(unavailable("write", key)(Failure::Other(
            "more than the parts of an upload can hold".into(),
        )))
    }

    async fn begin(&self, key: &Key) -> Result<Upload, Failure> {
        let (encryption, kms_key) = self.encryption();
        let write = random_number()?;
        let begun = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(self.full(key))
            .metadata(WRITE, &write)
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(kms_key)
            .send();
        let begun = self
            .exchange(Box::pin(async { begun.await.map_err(Failure::from) }))
            .await?;
        let id = begun.upload_id.ok_or_else(|| Failure::lacks("upload id"))?;
        Ok(Upload {
            open: Some(Open {
                client: self.client.clone(),
                bucket: self.bucket.clone(),
                key: self.full(key),
                id,
            }),
            write,
            parts: Vec::new(),
            patience: self.operation_timeout,
        })
    }

    async fn send_part(
        &self,
        upload: &Upload,
        number: i32,
        bytes: Bytes,
    ) -> Result<CompletedPart, Failure> {
        let sent = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .set_key(upload.open.as_ref().map(|open| open.key.clone()))
            .set_upload_id(upload.open.as_ref().map(|open| open.id.clone()))
            .part_number(number)
            .body(bytes.into())
            .send();
        let sent = self
            .exchange(Box::pin(async { sent.await.map_err(Failure::from) }))
            .await?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32(sent.checksum_crc32)
            .set_checksum_crc64_nvme(sent.checksum_crc64_nvme)
            .build())
    }

    /// Makes the object visible. A repeated request may find the upload gone because the first has done it.
    async fn complete(&self, key: &Key, mut upload: Upload) -> Result<(), Failure> {
        let parts = std::mem::take(&mut upload.parts);
        let completed = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .set_key(upload.open.as_ref().map(|open| open.key.clone()))
            .set_upload_id(upload.open.as_ref().map(|open| open.id.clone()))
            .multipart_upload(
                CompletedMultipartUpload::builder()
                    .set_parts(Some(parts))
                    .build(),
            )
            .send();
        let outcome = self.exchange(Box::pin(async {
            match completed.await.map_err(Failure::from) {
                Ok(_) => Ok(()),
                Err(failure)
                    if failure.not_found().is_some()
                        && self.is_of_write(key, &upload.write).await? =>
                {
                    Ok(())
                }
                Err(failure) => Err(failure),
            }
        }));
        outcome.await?;
        upload.open = None;
        Ok(())
    }
}

/// An upload in parts, which is aborted if it is dropped before it was completed.
struct Upload {
    open: Option<Open>,
    /// Tells its object from others of the same key.
    write: String,
    parts: Vec<CompletedPart>,
    patience: std::time::Duration,
}

struct Open {
    client: Client,
    bucket: String,
    key: String,
    id: String,
}

impl Drop for Upload {
    fn drop(&mut self) {
        let (Some(open), Ok(runtime)) = (self.open.take(), Handle::try_current()) else {
            return;
        };
        let patience = self.patience;
        runtime.spawn(async move {
            let aborted = open
                .client
                .abort_multipart_upload()
                .bucket(open.bucket)
                .key(open.key)
                .upload_id(open.id)
                .send();
            match timeout(patience, aborted).await {
                Ok(Ok(_)) => {}
                // Nothing but the bucket's lifecycle rule can do it now.
                Ok(Err(error)) => debug!(error = %Failure::from(error), "upload not aborted"),
                Err(error) => debug!(%error, "upload not aborted"),
            }
        });
    }
}

/// A stream in parts.
struct Parts {
    stream: Fuse<ByteStream>,
    /// What came after the end of the last part.
    rest: Bytes,
}

impl Parts {
    fn of(stream: ByteStream) -> Self {
        Self {
            stream: stream.fuse(),
            rest: Bytes::new(),
        }
    }

    /// The next part, shorter than it may be only at the end of the stream.
    async fn next(&mut self, number: i32) -> Result<Bytes, BlobError> {
        let size = if number <= EQUAL_PARTS {
            PART
        } else {
            LARGE_PART
        };
        let mut part = BytesMut::new();
        while part.len() < size && !self.at_end().await? {
            let piece = self.rest.split_to(self.rest.len().min(size - part.len()));
            part.extend_from_slice(&piece);
        }
        Ok(part.freeze())
    }

    /// Whether nothing is left, which takes reading on.
    async fn at_end(&mut self) -> Result<bool, BlobError> {
        while self.rest.is_empty() {
            match self.stream.next().await {
                Some(piece) => self.rest = piece.map_err(BlobError::Body)?,
                None => return Ok(true),
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn parts_are_cut_to_their_size_whatever_the_pieces_are() {
        for piece in [PART - 1, PART, PART + 1, 3 * PART] {
            let total = 2 * PART + 5;
            let mut bytes = Bytes::from(vec![7; total]);
            let mut pieces = Vec::new();
            while !bytes.is_empty() {
                pieces.push(Ok(bytes.split_to(bytes.len().min(piece))));
            }
            let mut parts = Parts::of(stream::iter(pieces).boxed());
            let mut lengths = Vec::new();
            while !parts.at_end().await.unwrap() {
                lengths.push(parts.next(1).await.unwrap().len());
            }
            assert_eq!(lengths, [PART, PART, 5], "{piece}");
        }
    }

    #[test]
    fn fifty_gibibytes_need_only_parts_of_one_length() {
        let equal = u64::try_from(EQUAL_PARTS).unwrap() * PART as u64;
        assert!(equal > 50 << 30);
    }
}
