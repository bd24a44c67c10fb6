//! end-4, end-5, end-6, end-11, end-13, end-14: uploads stream to the registry behind, which checks the caller's push
//! right. A small upload that comes whole is also kept in staging, for the manifest that may claim it: some registries
//! do not let a blob be read that no manifest of theirs references.

use bytes::Bytes;
use http::header::{LOCATION, RANGE};
use http::{HeaderMap, Response, StatusCode, request, response};

use super::error::HandlerError;
use super::hashing::hashing;
use super::tee::{Copy, tee};
use super::upload_answer::normalise;
use super::{Handlers, Incoming, aliases};
use crate::body::{Body, counted};
use crate::oci::{Digest, RepositoryName};
use crate::route::{Route, UploadStep, query};
use crate::upstream::place::Place;

impl Handlers {
    /// `POST /v2/<name>/blobs/uploads/`: opens a session, mounts, or uploads in one request.
    pub(super) async fn upload_start(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
    ) -> Result<Response<Body>, HandlerError> {
        if let Some(digest) = query_digest(&incoming, "mount")? {
            return self.mount(route, incoming, name, &digest).await;
        }
        if let Some(digest) = query_digest(&incoming, "digest")? {
            return self.upload_whole(route, incoming, name, &digest).await;
        }
        let response = self
            .send(route, &incoming.parts, &incoming.caller, incoming.body)
            .await?;
        self.authorizer
            .learn_push(
                &incoming.caller,
                name,
                response.status(),
                response.headers(),
            )
            .await;
        self.relay_upload(&incoming.parts, name, response)
    }

    /// A request on an upload session.
    pub(super) async fn upload(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        step: UploadStep,
    ) -> Result<Response<Body>, HandlerError> {
        let digest = query_digest(&incoming, "digest")?;
        match step {
            UploadStep::Status | UploadStep::Cancel => {}
            UploadStep::Chunk | UploadStep::Finish => {
                self.require_order(route, &incoming.parts, &incoming.caller, name)
                    .await?;
            }
        }
        if step == UploadStep::Finish {
            return self
                .finish_upload(route, incoming, name, digest.as_ref())
                .await;
        }
        let (body, copy) = tee(
            incoming.body,
            self.config.staging,
            &self.config.staging_room,
        );
        let (body, sent) = counted(body);
        let response = self
            .send(route, &incoming.parts, &incoming.caller, body)
            .await?;
        let (mut parts, body) = response.into_parts();
        normalise(step, &incoming.parts, &mut parts, &sent);
        if (step, parts.status) == (UploadStep::Chunk, StatusCode::ACCEPTED) {
            self.stage_first_chunk(name, &parts, &copy).await;
        }
        self.relay_upload(&incoming.parts, name, Response::from_parts(parts, body))
    }

    /// The last request of a session. A blob that came whole and by a second name gets that name here.
    pub(super) async fn finish_upload(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        digest: Option<&Digest>,
    ) -> Result<Response<Body>, HandlerError> {
        let (body, copy) = tee(
            incoming.body,
            self.config.staging,
            &self.config.staging_room,
        );
        let (body, sent) = counted(body);
        let (body, digests) = hashing(body, digest);
        let (request, caller) = (incoming.parts, incoming.caller);
        let response = self.send(route, &request, &caller, body).await?;
        let (mut parts, body) = response.into_parts();
        normalise(UploadStep::Finish, &request, &mut parts, &sent);
        // What the registry itself calls it, before the answer is made one of this server.
        let is_named = digest.is_none_or(|digest| is_named(&parts.headers, digest));
        let response = Response::from_parts(parts, body);
        let mut response = self.relay_upload(&request, name, response)?;
        let status = response.status();
        let (StatusCode::CREATED, Some(digest)) = (status, digest) else {
            return Ok(response);
        };
        self.stage_whole(name, Some(digest), &copy).await;
        // What another place answers is no decision of the registry behind, and no content of the repository.
        if request.extensions.get::<Place>().is_some() {
            return Ok(response);
        }
        self.authorizer
            .learn_push(&caller, name, status, response.headers())
            .await;
        self.note_seen(&caller, name, digest).await;
        if aliases::is_second(digest) && !is_named {
            if let Some(canonical) = digests.canonical_of(digest) {
                let names = (digest, &canonical);
                self.record_blob_alias(&caller, name, status, names).await;
            }
            aliases::name_created(response.headers_mut(), (name, "blobs", digest))?;
        }
        Ok(response)
    }

    /// A request on an upload session whose location regseal has sealed.
    pub(super) async fn sealed_upload(
        &self,
        route: &Route,
        mut incoming: Incoming,
        name: &RepositoryName,
        step: UploadStep,
        sealed: &str,
    ) -> Result<Response<Body>, HandlerError> {
        let opened = self.sessions.open(name, sealed);
        let (place, end) = opened.ok_or(HandlerError::UploadUnknown)?;
        incoming.parts.extensions.insert(place);
        incoming.parts.extensions.insert(end);
        self.upload(route, incoming, name, step).await
    }

    /// Makes an answer about an upload one of this server.
    pub(super) fn relay_upload(
        &self,
        request: &request::Parts,
        name: &RepositoryName,
        response: Response<Body>,
    ) -> Result<Response<Body>, HandlerError> {
        let (mut parts, body) = response.into_parts();
        self.localise_upload(request, name, &mut parts)?;
        Ok(self.relay(request, Response::from_parts(parts, body)))
    }

    /// Keeps an upload that came whole: its bytes have the digest that the client named.
    async fn stage_whole(&self, name: &RepositoryName, digest: Option<&Digest>, copy: &Copy) {
        if let (Some(digest), Some((bytes, _room))) = (digest, copy.take())
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
        let Some((bytes, _room)) = copy.take() else {
            return;
        };
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

/// Whether the registry behind calls a blob by the name it was pushed by.
fn is_named(headers: &HeaderMap, digest: &Digest) -> bool {
    match aliases::named(headers) {
        Some(named) => named == *digest,
        None => headers
            .get(LOCATION)
            .and_then(|location| location.to_str().ok())
            .is_some_and(|location| location.ends_with(digest.encoded())),
    }
}

fn query_digest(incoming: &Incoming, name: &str) -> Result<Option<Digest>, HandlerError> {
    match query::first(&incoming.parts.uri, name) {
        Some(text) => text.parse().map(Some).or(Err(HandlerError::QueryDigest)),
        None => Ok(None),
    }
}
