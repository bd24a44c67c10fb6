//! end-4, end-5, end-6, end-11, end-13, end-14: uploads stream to the registry behind, which checks the caller's push
//! right. A small upload that comes whole is also kept in staging, for the manifest that may claim it: some registries
//! do not let a blob be read that no manifest of theirs references.

use bytes::Bytes;
use http::header::RANGE;
use http::{Response, StatusCode, response};

use super::error::HandlerError;
use super::tee::{Copy, tee};
use super::{Handlers, Incoming};
use crate::body::Body;
use crate::oci::{Digest, RepositoryName};
use crate::route::{Route, UploadStep, query};

impl Handlers {
    /// `POST /v2/<name>/blobs/uploads/`: opens a session, mounts, or uploads in one request.
    pub(super) async fn upload_start(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
    ) -> Result<Response<Body>, HandlerError> {
        let digest = query_digest(&incoming)?;
        let (body, copy) = tee(incoming.body, self.config.staging);
        let (parts, body) = self
            .send(route, &incoming.parts, &incoming.caller, body)
            .await?
            .into_parts();
        self.authorizer
            .learn_push(&incoming.caller, name, parts.status)
            .await;
        if parts.status == StatusCode::CREATED {
            self.stage_whole(name, digest.as_ref(), &copy).await;
        }
        Ok(self.relay(&incoming.parts, Response::from_parts(parts, body)))
    }

    /// A request on an upload session.
    pub(super) async fn upload(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        step: UploadStep,
    ) -> Result<Response<Body>, HandlerError> {
        let digest = query_digest(&incoming)?;
        let (body, copy) = tee(incoming.body, self.config.staging);
        let (parts, body) = self
            .send(route, &incoming.parts, &incoming.caller, body)
            .await?
            .into_parts();
        match (step, parts.status) {
            (UploadStep::Finish, StatusCode::CREATED) => {
                self.stage_whole(name, digest.as_ref(), &copy).await
            }
            (UploadStep::Chunk, StatusCode::ACCEPTED) => {
                self.stage_first_chunk(name, &parts, &copy).await
            }
            (
                UploadStep::Status | UploadStep::Chunk | UploadStep::Finish | UploadStep::Cancel,
                _,
            ) => {}
        }
        Ok(self.relay(&incoming.parts, Response::from_parts(parts, body)))
    }

    /// Keeps an upload that came whole: its bytes have the digest that the client named.
    async fn stage_whole(&self, name: &RepositoryName, digest: Option<&Digest>, copy: &Copy) {
        if let (Some(digest), Some(bytes)) = (digest, copy.take())
            && digest.matches(&bytes)
        {
            self.stage(name, digest, bytes).await;
        }
    }

    /// Keeps a chunk that is everything the session has so far, under the digest it has if nothing follows.
    async fn stage_first_chunk(
        &self,
        name: &RepositoryName,
        answer: &response::Parts,
        copy: &Copy,
    ) {
        let Some(bytes) = copy.take() else { return };
        let end = answer
            .headers
            .get(RANGE)
            .and_then(|range| range.to_str().ok())
            .and_then(|range| range.strip_prefix("0-"));
        if end.and_then(|end| end.parse::<usize>().ok()) == Some(bytes.len() - 1) {
            self.stage(name, &Digest::sha256(&bytes), bytes).await;
        }
    }

    /// Staging is a help, not a promise: without it the blob is fetched from the registry behind.
    async fn stage(&self, name: &RepositoryName, digest: &Digest, bytes: Bytes) {
        if let Err(error) = self.custody.stage(name, digest, bytes).await {
            tracing::warn!(
                oci.repository = %name,
                oci.digest = %digest,
                error = &error as &dyn std::error::Error,
                "an upload was not kept in staging"
            );
        }
    }
}

fn query_digest(incoming: &Incoming) -> Result<Option<Digest>, HandlerError> {
    match query::first(&incoming.parts.uri, "digest") {
        Some(text) => text.parse().map(Some).or(Err(HandlerError::QueryDigest)),
        None => Ok(None),
    }
}
