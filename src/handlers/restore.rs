//! Nothing that only regseal holds may poison a later push.
//!
//! A client skips the upload of a blob that regseal says is there; the registry behind may never have kept it, or have
//! collected it. Before a manifest is forwarded, whatever it references and only regseal holds is uploaded there, with
//! the caller's own credential.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode};

use super::blob_pull::content_body;
use super::error::HandlerError;
use super::manifest_push::Pushed;
use super::{Handlers, aliases, unique};
use crate::auth::Caller;
use crate::body::{Body, ReadError, RoomError};
use crate::oci::{Digest, Manifest, RepositoryName, media_type};
use crate::route::{is_session_of, query};
use crate::store::{Content, Link, LinkKind};

impl Handlers {
    /// Uploads to the registry behind what `manifest` references and only regseal holds. What cannot be uploaded is
    /// left to the registry's own verdict on the manifest.
    pub(super) async fn restore_upstream(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        manifest: &Manifest,
    ) -> Result<(), HandlerError> {
        let teaches = self.has_to_teach(caller, name, manifest).await?;
        for child in unique(manifest.manifests.iter()) {
            if teaches {
                self.teach_manifest(caller, name, &child.digest).await?;
            }
            self.restore_manifest(caller, name, &child.digest).await?;
        }
        for blob in unique(manifest.blobs()) {
            if teaches {
                self.teach_blob(caller, name, &blob.digest).await?;
            }
            self.restore_blob(caller, name, &blob.digest).await?;
        }
        Ok(())
    }

    /// Whether there are second names that the registry behind may have to learn, and the caller may push: each costs a
    /// look into the objects.
    async fn has_to_teach(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        manifest: &Manifest,
    ) -> Result<bool, HandlerError> {
        let mut named = manifest.manifests.iter().chain(manifest.blobs());
        if !named.any(|descriptor| aliases::is_second(&descriptor.digest))
            || !self.custody.has_aliases(name).await?
        {
            return Ok(false);
        }
        match self.authorizer.push(caller, name, None).await {
            // Its own answer to the manifest says that better.
            Err(error) if error.is_a_no() => Ok(false),
            decided => Ok(decided.map(|_| true)?),
        }
    }

    /// Whether everything that a manifest references, but its subject, is on one side or the other.
    pub(super) async fn has_everything(&self, pushed: &Pushed<'_>) -> Result<bool, HandlerError> {
        for (kind, descriptors) in [
            ("blobs", unique(pushed.manifest.blobs())),
            ("manifests", unique(pushed.manifest.manifests.iter())),
        ] {
            for descriptor in descriptors {
                let digest = &descriptor.digest;
                if self.custody.link(pushed.name, digest).await?.is_none()
                    && !self
                        .is_upstream_by_any_name(pushed.caller, pushed.name, kind, digest)
                        .await?
                {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// What the store holds of a digest. While it cannot tell, nothing is held of what the registry behind has: that
    /// needs no restoring.
    async fn held(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        kind: &str,
        digest: &Digest,
    ) -> Result<Option<Link>, HandlerError> {
        match self.custody.link(name, digest).await {
            Ok(link) => Ok(link),
            Err(_) if self.is_upstream(caller, name, kind, digest).await? => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn restore_manifest(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), HandlerError> {
        let Some(link) = self.held(caller, name, "manifests", digest).await? else {
            return Ok(());
        };
        if link.kind == LinkKind::Blob
            || self.is_upstream(caller, name, "manifests", digest).await?
        {
            return Ok(());
        }
        let Some(content) = self.custody.restorable(name, digest).await? else {
            return Ok(());
        };
        let bytes = self.read(content).await?;
        if let Ok(manifest) = Manifest::parse(&bytes, &link.media_type) {
            for blob in unique(manifest.blobs()) {
                self.restore_blob(caller, name, &blob.digest).await?;
            }
        }
        let mut headers = caller.headers();
        headers.push((
            CONTENT_TYPE,
            HeaderValue::from_str(&link.media_type).map_err(http::Error::from)?,
        ));
        self.upstream
            .submit(
                &Method::PUT,
                &format!("/v2/{name}/manifests/{digest}"),
                &headers,
                bytes,
            )
            .await?;
        Ok(())
    }

    async fn restore_blob(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), HandlerError> {
        let held = self
            .held(caller, name, "blobs", digest)
            .await?
            .is_some_and(|link| link.kind == LinkKind::Blob);
        if !held || self.is_upstream(caller, name, "blobs", digest).await? {
            return Ok(());
        }
        let Some(content) = self.custody.restorable(name, digest).await? else {
            return Ok(());
        };
        let size = content.size;
        let status = self
            .upload_behind(caller, name, digest, (content_body(content), size))
            .await?;
        tracing::info!(oci.repository = %name, oci.digest = %digest, http.response.status_code = status.map(|status| status.as_u16()),
            "blob restored to the registry behind");
        Ok(())
    }

    /// Uploads a blob to the registry behind for the caller; `None` if its session is elsewhere, or was not opened.
    pub(super) async fn upload_behind(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        digest: &Digest,
        (content, size): (Body, u64),
    ) -> Result<Option<StatusCode>, HandlerError> {
        let session = format!("/v2/{name}/blobs/uploads/");
        let opened = self
            .upstream
            .submit(&Method::POST, &session, &caller.headers(), Bytes::new())
            .await?;
        let location = opened
            .parts
            .headers
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let Some(finish) =
            location.and_then(|location| self.finish_path(caller, name, location, digest))
        else {
            return Ok(None);
        };
        let mut request = Request::put(finish).body(content)?;
        request.headers_mut().extend(caller.headers());
        request
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(size));
        let response = self.upstream.upload(request).await?;
        let status = response.status();
        self.upstream.collect(response, 1 << 16).await?;
        Ok(Some(status))
    }

    async fn read(&self, content: Content) -> Result<Bytes, HandlerError> {
        let limit = usize::try_from(content.size).unwrap_or(usize::MAX);
        let read = self.config.room.read(content_body(content), limit).await;
        read.map_err(|error| match error {
            RoomError::Body(ReadError::Broken(error)) => HandlerError::Broken(error),
            RoomError::Full => HandlerError::NoRoom,
            RoomError::Body(ReadError::TooLarge) => HandlerError::ManifestTooLarge { limit },
        })
    }

    /// The last request of an upload session on the registry behind; `None` for a session elsewhere, where the
    /// caller's credential must not go.
    pub(super) fn finish_path(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        location: &str,
        digest: &Digest,
    ) -> Option<PathAndQuery> {
        let session = self.upstream.own_path(location, caller.host());
        let session = session.filter(|path| is_session_of(path, name))?;
        let separator = if session.query().is_some() { '&' } else { '?' };
        let digest = query::encode([("digest", digest.as_str())]);
        format!("{session}{separator}{digest}").parse().ok()
    }

    pub(super) async fn is_upstream(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        kind: &str,
        digest: &Digest,
    ) -> Result<bool, HandlerError> {
        let mut headers = caller.headers();
        headers.push((
            http::header::ACCEPT,
            HeaderValue::from_static(media_type::ACCEPT_MANIFESTS),
        ));
        let path = format!("/v2/{name}/{kind}/{digest}");
        let answer = self
            .upstream
            .fetch(&Method::HEAD, &path, &headers, 1 << 16)
            .await?;
        Ok(answer.parts.status.is_success()
            || answer.parts.status == StatusCode::TEMPORARY_REDIRECT)
    }
}
