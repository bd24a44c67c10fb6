//! What decisions rest on and only the registry behind has, read with the right of the caller who caused them.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::Handlers;
use super::error::HandlerError;
use crate::admission::{AdmissionError, Described, Elsewhere};
use crate::auth::Caller;
use crate::oci::{Digest, RepositoryName};
use crate::upstream::UpstreamError;

/// The time that the registry behind has for one blob of a signature.
const ELSEWHERE: Duration = Duration::from_secs(5);

/// The registry behind, read with the right of a caller.
pub(super) struct Behind<'a> {
    pub(super) handlers: &'a Handlers,
    pub(super) caller: &'a Caller,
    pub(super) name: &'a RepositoryName,
}

impl Elsewhere for Behind<'_> {
    fn blob<'a>(
        &'a self,
        digest: &'a Digest,
        limit: u64,
    ) -> BoxFuture<'a, Result<Option<Bytes>, AdmissionError>> {
        Box::pin(async move {
            let path = format!("/v2/{}/blobs/{digest}", self.name);
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let read = self
                .handlers
                .read_upstream(self.caller, &path, "*/*", limit);
            match tokio::time::timeout(ELSEWHERE, read).await {
                Ok(Ok(answer)) => Ok(answer.map(|answer| answer.body)),
                // Not what its manifest says it is.
                Ok(Err(HandlerError::Upstream(UpstreamError::TooLarge(_)))) => Ok(None),
                Ok(Err(error)) => Err(unreachable(error)),
                Err(elapsed) => Err(AdmissionError::Upstream(Box::new(elapsed))),
            }
        })
    }

    fn describe<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<Described>, AdmissionError>> {
        Box::pin(async move {
            let known = &self.handlers.described;
            let key = (self.name.clone(), digest.clone());
            if let Some(described) = known.get(&key).await {
                return Ok(Some(described));
            }
            let read = self
                .handlers
                .manifest_upstream(self.caller, self.name, digest);
            let found = read.await.map_err(unreachable)?;
            let described = found.map(|(bytes, manifest)| Described::of(&manifest, size(&bytes)));
            if let Some(described) = &described {
                known.insert(key, described.clone()).await;
            }
            Ok(described)
        })
    }
}

fn unreachable(error: HandlerError) -> AdmissionError {
    AdmissionError::Upstream(Box::new(error))
}

pub(super) fn size(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
