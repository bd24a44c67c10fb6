//! The store on real servers ([`servers`]); what it sends ([`requests`]) and what it makes of the answers ([`answers`],
//! [`listings`]), with a server that follows a script ([`recorder`]).

mod answers;
mod listings;
mod recorder;
mod requests;
mod servers;

use std::error::Error as StdError;
use std::time::Duration;

use super::*;
use crate::secret::Secret;
use recorder::{Recorder, Reply};

const SECRET: &str = "not-to-be-shown";

const OK: Reply = Reply::With(200, "", "");
const NO_SUCH_KEY: Reply = Reply::With(404, "", "<Error><Code>NoSuchKey</Code></Error>");
const NO_SUCH_BUCKET: Reply = Reply::With(404, "", "<Error><Code>NoSuchBucket</Code></Error>");
const EMPTY_PAGE: Reply = Reply::With(200, "", "<ListBucketResult></ListBucketResult>");
const BEGUN: Reply = Reply::With(
    200,
    "",
    "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
);
const PART: Reply = Reply::With(200, "etag: \"e\"\r\n", "");
const COMPLETED: Reply = Reply::With(200, "", "<CompleteMultipartUploadResult/>");

/// A bucket at `endpoint`, in path style.
fn config(endpoint: &str) -> Config {
    Config {
        bucket: "signatures".to_owned(),
        prefix: None,
        region: Some("eu-central-1".to_owned()),
        endpoint: Some(endpoint.parse().unwrap()),
        path_style: true,
        credentials: Credentials::Static {
            access_key_id: "id".to_owned(),
            secret_access_key: Secret::new(SECRET),
            session_token: None,
        },
        encryption: Encryption::Bucket,
        checksums: Checksums::WhenRequired,
        conditional_writes: ConditionalWrites::Auto,
        ca: None,
        operation_timeout: Duration::from_secs(15),
    }
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

/// An error with its causes.
fn chain(error: &BlobError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn is_refused(error: &BlobError) -> bool {
    matches!(error, BlobError::Unavailable { source, .. } if source.is::<Refused>())
}

async fn store(replies: Vec<Reply>) -> (S3BlobStore, Recorder) {
    store_with(replies, |_| {}).await
}

async fn store_with(
    replies: Vec<Reply>,
    change: impl FnOnce(&mut Config),
) -> (S3BlobStore, Recorder) {
    let recorder = Recorder::start(replies).await;
    let mut config = config(&format!("http://127.0.0.1:{}", recorder.port));
    change(&mut config);
    (S3BlobStore::open(config).await.unwrap(), recorder)
}

async fn create(store: &S3BlobStore) -> Result<Written, BlobError> {
    let bytes = Bytes::from_static(b"abc");
    store.put(&key("v1/a"), bytes, Condition::IfAbsent).await
}
