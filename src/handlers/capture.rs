//! Captures a manifest: every blob that it names, then the manifest, its record and the index, then the 201.

use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Method, Response, StatusCode};

use super::answer;
use super::error::HandlerError;
use super::manifest_push::Pushed;
use super::{CaptureMode, Handlers, unique};
use crate::auth::{Permit, Push};
use crate::body::Body;
use crate::oci::{Descriptor, Digest, Tag};
use crate::store::{Source, StoreError};
use crate::upstream::answer::is_absence;

/// Blobs of one manifest that are captured at once.
const PARALLEL: usize = 8;

impl Handlers {
    /// Captures a referrer of `subject`.
    pub(super) async fn capture(
        &self,
        pushed: &Pushed<'_>,
        subject: &Digest,
    ) -> Result<Response<Body>, HandlerError> {
        let permit = self.push_permit(pushed).await?;
        self.capture_blobs(pushed, &permit).await?;
        let untrusted = self.examine(pushed, subject, false).await?;
        let to_both = self.captures_to_both(pushed).await;
        if to_both {
            let answer = self.push_upstream(pushed).await?;
            let status = answer.parts.status;
            if matches!(
                status,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
            ) || status.is_server_error()
            {
                return Ok(self.relay_answer(pushed.parts, answer));
            }
        }
        let writer = self.custody.writer(&permit);
        let new = pushed.new_manifest();
        if let Err(error) = writer.add_referrer(subject, new, Source::Captured).await {
            if to_both {
                self.add_later(permit, subject.clone(), pushed);
            }
            return Err(error.into());
        }
        let mut response = answer::created(pushed.name, &pushed.digest, Some(subject))?;
        self.signature_recorded(pushed.caller, &permit, subject, untrusted, &mut response)
            .await;
        self.subject_pushed(permit, pushed.digest.clone()).await;
        tracing::info!(
            oci.repository = %pushed.name,
            oci.digest = %pushed.digest,
            oci.subject = %subject,
            oci.artifact_type = pushed.manifest.effective_artifact_type(),
            "signature manifest captured"
        );
        Ok(response)
    }

    /// Captures one version of a cosign tag.
    pub(super) async fn capture_tag(
        &self,
        pushed: &Pushed<'_>,
        tag: &Tag,
        subject: &Digest,
    ) -> Result<Response<Body>, HandlerError> {
        let permit = self.push_permit(pushed).await?;
        self.capture_blobs(pushed, &permit).await?;
        let untrusted = if tag.as_str().ends_with(".sig") {
            self.examine(pushed, subject, true).await?
        } else {
            self.require_document(pushed, &permit).await?;
            None
        };
        self.custody
            .writer(&permit)
            .append_tag(tag, pushed.new_manifest())
            .await?;
        tracing::info!(
            oci.repository = %pushed.name,
            oci.digest = %pushed.digest,
            oci.tag = %tag,
            "cosign tag captured"
        );
        let mut response = answer::created(pushed.name, &pushed.digest, None)?;
        self.signature_recorded(pushed.caller, &permit, subject, untrusted, &mut response)
            .await;
        Ok(response)
    }

    pub(super) async fn push_permit(
        &self,
        pushed: &Pushed<'_>,
    ) -> Result<Permit<Push>, HandlerError> {
        let known_there = pushed.manifest.blobs().next().map(|blob| &blob.digest);
        Ok(self
            .authorizer
            .push(pushed.caller, pushed.name, known_there)
            .await?)
    }

    async fn captures_to_both(&self, pushed: &Pushed<'_>) -> bool {
        match self.config.mode {
            CaptureMode::Store => false,
            CaptureMode::Both => true,
            CaptureMode::Auto => self
                .has_referrers_api(pushed.caller, pushed.name)
                .await
                .unwrap_or(false),
        }
    }

    /// What is kept beside signatures needs no signature itself, so it must not be an image.
    async fn require_document(
        &self,
        pushed: &Pushed<'_>,
        permit: &Permit<Push>,
    ) -> Result<(), HandlerError> {
        if self.admission(pushed.name).is_none() {
            return Ok(());
        }
        let writer = self.custody.writer(permit);
        if self.is_document(writer.reader(), &pushed.manifest).await? {
            return Ok(());
        }
        Err(HandlerError::SignatureInvalid {
            reason: "a layer is no document".to_owned(),
        })
    }

    /// Makes every blob of the manifest durable in the store.
    async fn capture_blobs(
        &self,
        pushed: &Pushed<'_>,
        permit: &Permit<Push>,
    ) -> Result<(), HandlerError> {
        let blobs: Vec<Descriptor> = unique(pushed.manifest.blobs())
            .into_iter()
            .cloned()
            .collect();
        let mut captured = stream::iter(blobs)
            .map(|blob| self.capture_blob(pushed, permit, blob))
            .buffered(PARALLEL);
        while captured.try_next().await?.is_some() {}
        Ok(())
    }

    async fn capture_blob(
        &self,
        pushed: &Pushed<'_>,
        permit: &Permit<Push>,
        blob: Descriptor,
    ) -> Result<(), HandlerError> {
        let claimed = self
            .custody
            .writer(permit)
            .claim(&blob.digest, &blob.media_type)
            .await?;
        let size = match claimed {
            Some(size) => size,
            None => self.fetch_blob(pushed, permit, &blob).await?,
        };
        self.require_size(&blob, size)
    }

    /// Streams a blob from the registry behind, with the caller's own right to read it.
    async fn fetch_blob(
        &self,
        pushed: &Pushed<'_>,
        permit: &Permit<Push>,
        blob: &Descriptor,
    ) -> Result<u64, HandlerError> {
        let digest = &blob.digest;
        let path = format!("/v2/{}/blobs/{digest}", pushed.name);
        let response = self
            .upstream
            .open(&Method::GET, &path, &pushed.caller.headers())
            .await?;
        match response.status() {
            StatusCode::OK => {}
            status if is_absence(status) => {
                return Err(HandlerError::BlobOfManifestUnknown {
                    digest: digest.clone(),
                });
            }
            status => return Err(HandlerError::undecided(status, response.headers())),
        }
        let limit = self.config.max_blob;
        match self
            .custody
            .writer(permit)
            .reader()
            .put_blob(digest, response.into_body(), limit)
            .await
        {
            Err(StoreError::TooLarge { .. }) => Err(HandlerError::BlobTooLarge {
                digest: digest.clone(),
                limit,
            }),
            stored => Ok(stored?),
        }
    }

    /// A descriptor whose size is not that of its content would mislead whoever reads it.
    fn require_size(&self, blob: &Descriptor, size: u64) -> Result<(), HandlerError> {
        let limit = self.config.max_blob;
        if size > limit {
            return Err(HandlerError::BlobTooLarge {
                digest: blob.digest.clone(),
                limit,
            });
        }
        if size != blob.size {
            return Err(HandlerError::BlobSize {
                digest: blob.digest.clone(),
                size,
            });
        }
        Ok(())
    }
}
