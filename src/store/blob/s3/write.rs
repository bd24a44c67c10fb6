//! Writing and deleting one object.

use std::time::Duration;

use aws_lc_rs::rand;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::types::ServerSideEncryption;
use bytes::Bytes;
use tokio::time::sleep;

use super::super::{Condition, Key, Written};
use super::S3BlobStore;
use super::config::{ConditionalWrites, Encryption};
use super::failure::Failure;

/// User metadata that tells one write from another of the same bytes.
pub(super) const WRITE: &str = "regseal-write";
/// How often a creation is tried that another one is in the way of.
const CREATIONS: u32 = 6;

impl S3BlobStore {
    pub(super) async fn write(
        &self,
        key: &Key,
        bytes: Bytes,
        condition: Condition,
    ) -> Result<Written, Failure> {
        match (condition, self.conditional_writes) {
            (Condition::Always, _) => {
                self.put_object(key, bytes).send().await?;
                Ok(Written::Created)
            }
            (Condition::IfAbsent, ConditionalWrites::Auto) => self.create(key, bytes).await,
            (Condition::IfAbsent, ConditionalWrites::Off) => {
                if self.read_head(key).await?.is_some() {
                    return Ok(Written::AlreadyThere);
                }
                self.put_object(key, bytes).send().await?;
                Ok(Written::Created)
            }
        }
    }

    /// Creates the object if the service says that there is none.
    ///
    /// The client repeats a request that had no answer. If the first had its effect, the second is refused for what is
    /// our own object, so a refusal is looked into: each write carries a number of its own, and whose number the object
    /// has is the writer that was first. Comparing bytes would not do, since two writers may write the same.
    async fn create(&self, key: &Key, bytes: Bytes) -> Result<Written, Failure> {
        let write = random_number()?;
        let mut tries = 0;
        loop {
            tries += 1;
            let put = self.put_object(key, bytes.clone());
            let put = put.if_none_match("*").metadata(WRITE, &write);
            let failure = match put.send().await {
                Ok(_) => return Ok(Written::Created),
                Err(error) => Failure::from(error).of_condition(),
            };
            match failure.status() {
                Some(412) if self.is_of_write(key, &write).await? => return Ok(Written::Created),
                Some(412) => return Ok(Written::AlreadyThere),
                // ConditionalRequestConflict: another creation is under way and may still fail.
                Some(409) if tries < CREATIONS => sleep(pause(tries)?).await,
                _ => return Err(failure),
            }
        }
    }

    /// Whether the object is what the write of that number made.
    pub(super) async fn is_of_write(&self, key: &Key, write: &str) -> Result<bool, Failure> {
        let sent = self.client.head_object().bucket(&self.bucket);
        match sent.key(self.full(key)).send().await.map_err(Failure::from) {
            Ok(found) => Ok(found
                .metadata
                .and_then(|metadata| metadata.get(WRITE).map(|found| found == write))
                .unwrap_or(false)),
            Err(failure) if self.is_absence(&failure).await? => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    pub(super) async fn remove(&self, key: &Key) -> Result<(), Failure> {
        let sent = self.client.delete_object().bucket(&self.bucket);
        match sent.key(self.full(key)).send().await.map_err(Failure::from) {
            Ok(_) => Ok(()),
            Err(failure) if self.is_absence(&failure).await? => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    pub(super) fn put_object(&self, key: &Key, bytes: Bytes) -> PutObjectFluentBuilder {
        let (encryption, kms_key) = self.encryption();
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(self.full(key))
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(kms_key)
            .body(bytes.into())
    }

    /// What is asked for with everything that makes an object.
    pub(super) fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.encryption {
            Encryption::Bucket => (None, None),
            Encryption::Aes256 => (Some(ServerSideEncryption::Aes256), None),
            Encryption::Kms { key_id } => (Some(ServerSideEncryption::AwsKms), key_id.clone()),
        }
    }
}

/// A number that no other write has.
pub(super) fn random_number() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|error| Failure::Other(error.into()))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// Longer after each try, and never the same for two writers.
fn pause(tries: u32) -> Result<Duration, Failure> {
    let mut byte = [0];
    rand::fill(&mut byte).map_err(|error| Failure::Other(error.into()))?;
    let most = 50 << tries.min(5);
    Ok(Duration::from_millis(
        most / 2 + most * u64::from(byte[0]) / 512,
    ))
}
