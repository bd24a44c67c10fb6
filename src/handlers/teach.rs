//! Names that regseal knows and the registry behind does not: before a manifest is forwarded that lists content by a
//! second name, the registry is given that name, by an upload of the same bytes under it.
//!
//! Registries find a blob by every name that it was uploaded under. Some find a manifest so as well.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, HeaderValue};
use http::{Method, StatusCode};

use super::error::HandlerError;
use super::{Handlers, aliases};
use crate::auth::Caller;
use crate::oci::{Digest, RepositoryName, media_type};

impl Handlers {
    pub(super) async fn teach_blob(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), HandlerError> {
        self.teach(caller, name, "blobs", digest).await.map(|_| ())
    }

    pub(super) async fn teach_manifest(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), HandlerError> {
        if self.apart.contains_key(name) || self.is_upstream(caller, name, "blobs", digest).await? {
            return Ok(());
        }
        let taught = self.teach(caller, name, "manifests", digest).await?;
        if taught && !self.is_upstream(caller, name, "manifests", digest).await? {
            self.apart.insert(name.clone(), ()).await;
            let blob = format!("/v2/{name}/blobs/{digest}");
            let headers = caller.headers();
            let undone = self
                .upstream
                .submit(&Method::DELETE, &blob, &headers, Bytes::new());
            undone.await?;
        }
        Ok(())
    }

    /// Uploads content under its second name, if the registry behind has it by the other alone. What cannot be uploaded
    /// is left to the registry's own verdict on the manifest.
    async fn teach(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        kind: &str,
        digest: &Digest,
    ) -> Result<bool, HandlerError> {
        if !aliases::is_second(digest) {
            return Ok(false);
        }
        let Some(canonical) = self.custody.alias(name, digest).await? else {
            return Ok(false);
        };
        if self.is_upstream(caller, name, kind, digest).await? {
            return Ok(false);
        }
        let mut headers = caller.headers();
        let accept = HeaderValue::from_static(media_type::ACCEPT_MANIFESTS);
        headers.push((ACCEPT, accept));
        let path = format!("/v2/{name}/{kind}/{canonical}");
        let content = self.upstream.open(&Method::GET, &path, &headers).await?;
        let length = content.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let (StatusCode::OK, Some(length)) = (content.status(), length) else {
            return Ok(false);
        };
        let content = (content.into_body(), length);
        let status = self.upload_behind(caller, name, digest, content).await?;
        tracing::info!(oci.repository = %name, oci.digest = %digest, "content uploaded under its second name");
        Ok(status == Some(StatusCode::CREATED))
    }

    /// Whether the registry behind has content under this name, or under the other that is known of it.
    pub(super) async fn is_upstream_by_any_name(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        kind: &str,
        digest: &Digest,
    ) -> Result<bool, HandlerError> {
        if self.is_upstream(caller, name, kind, digest).await? {
            return Ok(true);
        }
        match self.custody.alias(name, digest).await? {
            Some(other) => self.is_upstream(caller, name, kind, &other).await,
            None => Ok(false),
        }
    }
}
