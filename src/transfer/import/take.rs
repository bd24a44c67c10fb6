//! Taking over one referrer or one cosign tag that was found to be what it says.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::BodyExt;

use super::crawl::{Crawl, Way};
use crate::oci::signature_form::{is_cosign_manifest, is_signature, is_what_its_tag_says};
use crate::oci::{Descriptor, Digest, Manifest, Tag};
use crate::store::{Adopted, NewManifest, Source, StoreError};
use crate::transfer::TransferError;
use crate::transfer::registry::Failure;
use crate::upstream::Answer;

/// How often a blob is read that breaks off.
const ATTEMPTS: usize = 3;

/// Why a manifest is not kept.
enum Lacking {
    /// A blob is not what the manifest says.
    Invalid(String),
    /// A blob could not be had.
    Failed(Failure),
}

impl Crawl<'_> {
    /// Takes over a referrer of `subject`, whose bytes say so.
    pub(super) async fn referrer(
        &self,
        way: Way,
        subject: &Digest,
        (digest, bytes): (Digest, Bytes),
        manifest: &Manifest,
    ) -> Result<(), TransferError> {
        let store = &self.import.store;
        let is_signature = is_signature(manifest, &self.import.settings.artifact_types);
        let source = if is_signature {
            Source::Captured
        } else {
            Source::Upstream
        };
        let known = store.known_referrer(&self.name, subject, &digest, source);
        if let Some(known) = known.await? {
            if known == Adopted::AlreadyThere && self.run.number.is_some() {
                store.confirm_referrer(&self.name, subject, &digest).await?;
            }
            self.count(way, known);
            return Ok(());
        }
        if digest.hasher().is_none() {
            let reference = format!("{}@{digest}", self.name);
            self.skip(reference, "digests like this are not supported");
            return Ok(());
        }
        if self.run.number.is_none() {
            self.count(way, Adopted::Stored);
            return Ok(());
        }
        let reference = format!("{}@{digest}", self.name);
        if is_signature && !self.has_blobs(&reference, manifest).await? {
            return Ok(());
        }
        let new = NewManifest {
            bytes,
            digest,
            manifest,
        };
        let adopted = if is_signature {
            store.adopt_referrer(&self.name, subject, new).await?
        } else {
            store
                .merge_upstream_referrer(&self.name, subject, new)
                .await?;
            Adopted::Stored
        };
        self.count(way, adopted);
        Ok(())
    }

    /// Takes over what stands under a cosign tag, if it has the form of it.
    pub(super) async fn cosign_tag(
        &self,
        tag: &Tag,
        digest: &Digest,
        answer: Answer,
        manifest: Option<&Manifest>,
    ) -> Result<(), TransferError> {
        let reference = format!("{}:{tag}", self.name);
        let has_form = |manifest: &&Manifest| {
            is_cosign_manifest(manifest) && is_what_its_tag_says(tag, manifest)
        };
        let Some(manifest) = manifest.filter(has_form) else {
            self.skip(reference, "it is not what cosign keeps under such a tag");
            return Ok(());
        };
        let store = &self.import.store;
        let adopted = match store.known_tag(&self.name, tag, digest).await? {
            Some(known) => {
                if known == Adopted::AlreadyThere && self.run.number.is_some() {
                    store.confirm_tag(&self.name, tag).await?;
                }
                known
            }
            None if self.run.number.is_none() => Adopted::Stored,
            None => {
                if !self.has_blobs(&reference, manifest).await? {
                    return Ok(());
                }
                let new = NewManifest {
                    bytes: answer.body,
                    digest: digest.clone(),
                    manifest,
                };
                store.adopt_tag(&self.name, tag, new).await?
            }
        };
        self.count(Way::CosignTag, adopted);
        Ok(())
    }

    fn count(&self, way: Way, adopted: Adopted) {
        let mut counts = self.counts();
        match way {
            Way::Native => counts.referrers.native += 1,
            Way::FallbackTag => counts.referrers.fallback_tags += 1,
            Way::CosignTag => counts.referrers.cosign_tags += 1,
            Way::Tagged => counts.referrers.tagged += 1,
        }
        match adopted {
            Adopted::Stored => counts.stored += 1,
            Adopted::AlreadyThere => counts.already_there += 1,
            Adopted::Deleted => counts.deleted += 1,
        }
    }

    /// Makes every blob of a signature durable in the store; `false` if one cannot be had, which is then on record.
    async fn has_blobs(&self, reference: &str, manifest: &Manifest) -> Result<bool, TransferError> {
        let mut seen = HashSet::new();
        for blob in manifest.blobs().filter(|blob| seen.insert(&blob.digest)) {
            match self.blob(blob).await? {
                Ok(()) => {}
                Err(Lacking::Invalid(reason)) => {
                    self.skip(reference.to_owned(), reason);
                    return Ok(false);
                }
                Err(Lacking::Failed(failure)) => {
                    self.fail(reference.to_owned(), failure).await?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    async fn blob(&self, blob: &Descriptor) -> Result<Result<(), Lacking>, TransferError> {
        let digest = &blob.digest;
        let store = &self.import.store;
        let claimed = store.claim_blob(&self.name, digest, &blob.media_type);
        let size = match claimed.await? {
            Some(size) => size,
            None => match self.fetch_blob(digest).await? {
                Ok(size) => size,
                Err(lacking) => return Ok(Err(lacking)),
            },
        };
        // A descriptor whose size is not that of its content would mislead whoever reads it.
        if size != blob.size {
            let reason = format!("its blob {digest} has {size} bytes, not {}", blob.size);
            return Ok(Err(Lacking::Invalid(reason)));
        }
        Ok(Ok(()))
    }

    async fn fetch_blob(&self, digest: &Digest) -> Result<Result<u64, Lacking>, TransferError> {
        let invalid = |reason: String| Ok(Err(Lacking::Invalid(reason)));
        let (store, limit) = (&self.import.store, self.import.settings.max_blob);
        let mut attempts = 0;
        loop {
            let response = match self.import.registry.blob(&self.name, digest).await {
                Ok(Some(response)) => response,
                Ok(None) => return invalid(format!("the registry has no blob {digest}")),
                Err(failure) => return Ok(Err(Lacking::Failed(failure))),
            };
            let body = response.into_body().into_data_stream();
            let body = body.map_err(std::io::Error::other);
            let stored = store.put_blob(&self.name, digest, Box::pin(body), limit);
            match stored.await {
                Ok(size) => return Ok(Ok(size)),
                Err(StoreError::Body { source }) => {
                    attempts += 1;
                    if attempts >= ATTEMPTS {
                        let error = crate::body::BodyError::new(source);
                        let failure = crate::upstream::UpstreamError::Body(error);
                        return Ok(Err(Lacking::Failed(failure.into())));
                    }
                }
                Err(
                    error @ (StoreError::DigestMismatch { .. }
                    | StoreError::UnsupportedDigest { .. }
                    | StoreError::TooLarge { .. }),
                ) => return invalid(error.to_string()),
                Err(
                    error @ (StoreError::Unavailable { .. }
                    | StoreError::Corrupt { .. }
                    | StoreError::BlobUnknown { .. }),
                ) => return Err(error.into()),
            }
        }
    }
}
