//! end-7: a manifest is read whole, classified by what it is, and captured, indexed or just forwarded.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode, request};

use super::answer::OCI_SUBJECT;
use super::error::HandlerError;
use super::{Handlers, Incoming};
use crate::auth::{Caller, Permit, Push};
use crate::body::{self, Body, ReadError};
use crate::oci::{
    CompanionTag, Digest, Manifest, ManifestKind, Reference, RepositoryName, media_type,
};
use crate::route::Route;
use crate::store::{NewManifest, Source};
use crate::upstream::client::Answer;

/// The waits before a referrer is indexed that could not be at once.
const RETRIES: [Duration; 8] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
    Duration::from_secs(300),
];

/// A manifest that was read whole and has the digest that its path names.
pub(super) struct Pushed<'a> {
    pub(super) route: &'a Route,
    pub(super) parts: &'a request::Parts,
    pub(super) caller: &'a Caller,
    pub(super) name: &'a RepositoryName,
    pub(super) reference: &'a Reference,
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
    pub(super) manifest: Manifest,
}

impl Pushed<'_> {
    pub(super) fn new_manifest(&self) -> NewManifest<'_> {
        NewManifest {
            bytes: self.bytes.clone(),
            digest: self.digest.clone(),
            manifest: &self.manifest,
        }
    }

    pub(super) fn is_by_digest(&self) -> bool {
        matches!(self.reference, Reference::Digest(_))
    }
}

impl Handlers {
    pub(super) async fn manifest_push(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Response<Body>, HandlerError> {
        let Incoming {
            parts,
            body,
            caller,
        } = incoming;
        let bytes = self.read_manifest(&parts, body).await?;
        let digest = match reference {
            Reference::Tag(_) => Digest::sha256(&bytes),
            // An algorithm that regseal does not know: the registry behind decides, and nothing is kept.
            Reference::Digest(digest) if digest.hasher().is_none() => {
                return self
                    .forward(route, &parts, &caller, body::full(bytes))
                    .await;
            }
            Reference::Digest(digest) if digest.matches(&bytes) => digest.clone(),
            Reference::Digest(digest) => {
                return Err(HandlerError::DigestMismatch {
                    digest: digest.clone(),
                });
            }
        };
        let content_type = parts
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let manifest = Manifest::parse(&bytes, media_type::essence(content_type))?;
        let pushed = Pushed {
            route,
            parts: &parts,
            caller: &caller,
            name,
            reference,
            digest,
            bytes,
            manifest,
        };
        if let Some(answer) = self.push_companion_tag(&pushed).await? {
            return Ok(answer);
        }
        match &pushed.manifest.subject {
            Some(subject) if pushed.is_by_digest() && self.is_signature(&pushed.manifest) => {
                self.capture(&pushed, &subject.digest).await
            }
            Some(subject) => self.push_referrer(&pushed, &subject.digest).await,
            None => {
                let answer = self.push_upstream(&pushed).await?;
                let status = answer.parts.status;
                if let Ok(permit) = self.authorizer.pushed(&caller, name, status).await {
                    self.subject_pushed(permit, pushed.digest).await;
                }
                Ok(self.relay_answer(&parts, answer))
            }
        }
    }

    /// Tags that are named after a digest: absorbed or captured, if they are what their name says.
    async fn push_companion_tag(
        &self,
        pushed: &Pushed<'_>,
    ) -> Result<Option<Response<Body>>, HandlerError> {
        let Reference::Tag(tag) = pushed.reference else {
            return Ok(None);
        };
        match CompanionTag::parse(tag) {
            Some(CompanionTag::Referrers(subject))
                if self.config.absorb_fallback_tags
                    && pushed.manifest.kind == ManifestKind::Index =>
            {
                self.absorb(pushed, &subject).await
            }
            Some(CompanionTag::Cosign(_))
                if self.config.absorb_cosign_tags && is_cosign_manifest(&pushed.manifest) =>
            {
                self.capture_tag(pushed, tag).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A manifest with a subject that is no signature goes to the registry behind and is indexed. If the registry
    /// refuses it for what it is, and nothing that it references is missing, it is captured instead.
    async fn push_referrer(
        &self,
        pushed: &Pushed<'_>,
        subject: &Digest,
    ) -> Result<Response<Body>, HandlerError> {
        let answer = self.push_upstream(pushed).await?;
        if answer.parts.status.is_success() {
            let (caller, name) = (pushed.caller, pushed.name);
            let permit = self
                .authorizer
                .pushed(caller, name, answer.parts.status)
                .await?;
            let writer = self.custody.writer(&permit);
            let new = pushed.new_manifest();
            if let Err(error) = writer.add_referrer(subject, new, Source::Forwarded).await {
                self.add_later(permit, subject.clone(), pushed);
                return Err(error.into());
            }
            self.subject_pushed(permit, pushed.digest.clone()).await;
            let mut response = self.relay_answer(pushed.parts, answer);
            let value = HeaderValue::from_str(subject.as_str()).map_err(http::Error::from)?;
            response.headers_mut().insert(OCI_SUBJECT, value);
            return Ok(response);
        }
        if pushed.is_by_digest()
            && is_refused_for_its_kind(&answer)
            && self.has_everything(pushed).await?
        {
            return self.capture(pushed, subject).await;
        }
        Ok(self.relay_answer(pushed.parts, answer))
    }

    /// The registry behind has the manifest, and a client that tries again may see it there and not push it: what
    /// could not be indexed is read back and merged as soon as the store lets us. A deletion meanwhile wins.
    pub(super) fn add_later(&self, permit: Permit<Push>, subject: Digest, pushed: &Pushed<'_>) {
        let (handlers, caller) = (self.clone(), pushed.caller.clone());
        tokio::spawn(handlers.merge_again(caller, permit, subject, pushed.digest.clone()));
    }

    async fn merge_again(
        self,
        caller: Caller,
        permit: Permit<Push>,
        subject: Digest,
        digest: Digest,
    ) {
        for delay in RETRIES {
            tokio::time::sleep(delay).await;
            let merged = self.merge_pushed(&caller, &permit, &subject, &digest);
            if merged.await.is_ok() {
                return;
            }
        }
        tracing::error!(
            oci.repository = %permit.repository(),
            oci.digest = %digest,
            oci.subject = %subject,
            "a referrer that the registry behind has was not indexed"
        );
    }

    async fn merge_pushed(
        &self,
        caller: &Caller,
        permit: &Permit<Push>,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), HandlerError> {
        let found = self.manifest_upstream(caller, permit.repository(), digest);
        let Some((bytes, manifest)) = found.await? else {
            return Ok(());
        };
        let found = NewManifest {
            bytes,
            digest: digest.clone(),
            manifest: &manifest,
        };
        Ok(self
            .custody
            .writer(permit)
            .reader()
            .merge(subject, found)
            .await?)
    }

    /// Forwards the manifest after what only regseal holds of it.
    pub(super) async fn push_upstream(&self, pushed: &Pushed<'_>) -> Result<Answer, HandlerError> {
        self.restore_upstream(pushed.caller, pushed.name, &pushed.manifest)
            .await?;
        self.send_bytes(
            pushed.route,
            pushed.parts,
            pushed.caller,
            &pushed.bytes,
            pushed.is_by_digest(),
        )
        .await
    }

    async fn read_manifest(
        &self,
        parts: &request::Parts,
        body: Body,
    ) -> Result<Bytes, HandlerError> {
        let limit = self.config.max_manifest;
        let too_large = HandlerError::ManifestTooLarge { limit };
        let announced = parts
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(too_large);
        }
        let time = self.config.manifest_time;
        match tokio::time::timeout(time, body::read(body, limit)).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(ReadError::TooLarge)) => Err(too_large),
            Ok(Err(ReadError::Broken(error))) => Err(HandlerError::RequestBody(error)),
            Err(_) => Err(HandlerError::ManifestTooSlow { limit: time }),
        }
    }

    /// A signature is what its artifact type says only if it has no parts of an image.
    fn is_signature(&self, manifest: &Manifest) -> bool {
        self.is_signature_type(manifest.effective_artifact_type())
            && matches!(manifest.kind, ManifestKind::Image | ManifestKind::Artifact)
            && manifest
                .layers
                .iter()
                .all(|layer| !is_image_layer(&layer.media_type))
            && manifest
                .config
                .as_ref()
                .is_none_or(|config| config.media_type != media_type::IMAGE_CONFIG)
    }
}

/// What cosign writes under `.sig`, `.att` and `.sbom`: an image manifest without layers of a file system.
pub(super) fn is_cosign_manifest(manifest: &Manifest) -> bool {
    manifest.kind == ManifestKind::Image
        && manifest.subject.is_none()
        && manifest
            .layers
            .iter()
            .all(|layer| !is_image_layer(&layer.media_type))
}

/// Layers of a file system, in the types of OCI and of Docker.
fn is_image_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.")
        || media_type.contains(".tar")
}

/// The statuses with which registries refuse a type that they do not know or a subject that is absent.
fn is_refused_for_its_kind(answer: &Answer) -> bool {
    matches!(
        answer.parts.status,
        StatusCode::BAD_REQUEST
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY
    )
}
