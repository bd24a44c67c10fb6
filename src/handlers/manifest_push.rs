//! end-7: a manifest is read whole, classified by what it is, and captured, indexed or just forwarded.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode, request};

use super::answer::OCI_SUBJECT;
use super::error::HandlerError;
use super::{Handlers, Incoming, aliases};
use crate::admission::{self, Form};
use crate::auth::{Caller, Permit, Push};
use crate::body::{self, Body, ReadError, RoomError};
use crate::oci::signature_form;
pub(super) use crate::oci::signature_form::{
    is_cosign_manifest, is_of_payloads, is_what_its_tag_says,
};
use crate::oci::{
    CompanionTag, Digest, Manifest, ManifestKind, Reference, RepositoryName, media_type,
};
use crate::route::{Route, query};
use crate::store::{NewManifest, Source};
use crate::upstream::Answer;

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

    /// What it lists, if it is an index.
    pub(super) fn children(&self) -> Vec<Digest> {
        let listed = self.manifest.manifests.iter();
        listed.map(|child| child.digest.clone()).collect()
    }

    pub(super) fn is_by_digest(&self) -> bool {
        matches!(self.reference, Reference::Digest(_))
    }

    /// Whether sending it twice does what sending it once does. Between the two another push may have set a tag.
    fn is_repeatable(&self) -> bool {
        self.is_by_digest() && query::first(&self.parts.uri, "tag").is_none()
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
            mut parts,
            body,
            caller,
        } = incoming;
        let tags = self.take_tags(&mut parts, reference)?;
        // Before the body is read.
        self.authorizer.require_name(&caller, name).await?;
        let bytes = self.read_manifest(&parts, body).await?;
        let digest = match reference {
            Reference::Tag(_) => Digest::sha256(&bytes),
            // What is judged for a tag has to be known by its digest.
            Reference::Digest(digest)
                if digest.hasher().is_none()
                    && self.admission(name).is_some()
                    && !tags.is_empty() =>
            {
                return Err(HandlerError::QueryTag);
            }
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
        let mut admitted = self.admit(&pushed).await?;
        let mut response = self.push_admitted(&pushed).await?;
        if response.status().is_success() {
            if !tags.is_empty() {
                admitted.retain(&self.set_tags(&pushed, &tags, &mut response).await);
            }
            self.admitted(&pushed, admitted, &mut response).await?;
        }
        Ok(response)
    }

    async fn push_admitted(&self, pushed: &Pushed<'_>) -> Result<Response<Body>, HandlerError> {
        match &pushed.manifest.subject {
            Some(subject) if pushed.is_by_digest() && self.is_signature(&pushed.manifest) => {
                self.capture(pushed, &subject.digest).await
            }
            Some(subject) => {
                self.refuse_malformed(pushed, &subject.digest).await?;
                self.push_referrer(pushed, &subject.digest).await
            }
            None => {
                let answer = self.push_upstream(pushed).await?;
                let (caller, status) = (pushed.caller, answer.parts.status);
                if let Ok(permit) = self.authorizer.pushed(caller, pushed.name, status).await {
                    self.subject_pushed(permit, pushed.digest.clone()).await;
                }
                Ok(self.relay_answer(pushed.parts, answer))
            }
        }
    }

    /// What says that it is a signature and has not its form is refused where signatures are verified, and is on record
    /// like any other that is.
    async fn refuse_malformed(
        &self,
        pushed: &Pushed<'_>,
        subject: &Digest,
    ) -> Result<(), HandlerError> {
        match admission::form(&pushed.manifest) {
            Form::Malformed(why) if self.admission(pushed.name).is_some() => {
                self.push_permit(pushed).await?;
                self.examine(pushed, subject, false).await?;
                Err(HandlerError::SignatureInvalid {
                    reason: format!("integrity: {why}"),
                })
            }
            Form::Signature | Form::Malformed(_) | Form::Other => Ok(()),
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
        let is_list =
            self.config.absorb_fallback_tags && pushed.manifest.kind == ManifestKind::Index;
        match CompanionTag::parse(tag) {
            Some(CompanionTag::Referrers(subject)) if is_list => {
                self.absorb(pushed, tag, &[subject]).await
            }
            Some(CompanionTag::CutReferrers(tag)) if is_list => {
                let subjects = self.custody.subjects_of_cut_tag(pushed.name, &tag).await?;
                self.absorb(pushed, &tag, &subjects).await
            }
            Some(CompanionTag::Cosign(subject))
                if self.config.absorb_cosign_tags
                    && is_cosign_manifest(&pushed.manifest)
                    && (self.admission(pushed.name).is_none()
                        || is_what_its_tag_says(tag, &pushed.manifest)) =>
            {
                self.capture_tag(pushed, tag, &subject).await.map(Some)
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
        let again = pushed.is_repeatable();
        match pushed.reference {
            Reference::Digest(named) if aliases::is_second(named) => {
                self.push_by_second_name(pushed, named).await
            }
            Reference::Digest(_) | Reference::Tag(_) => {
                self.send_to(pushed, pushed.route, again).await
            }
        }
    }

    async fn send_to(
        &self,
        pushed: &Pushed<'_>,
        route: &Route,
        again: bool,
    ) -> Result<Answer, HandlerError> {
        let (parts, caller) = (pushed.parts, pushed.caller);
        self.send_bytes(route, parts, caller, &pushed.bytes, again)
            .await
    }

    /// By the name it is pushed by, or, where the registry behind does not take that, by the canonical one; then both
    /// names are recorded before the push is acknowledged.
    async fn push_by_second_name(
        &self,
        pushed: &Pushed<'_>,
        named: &Digest,
    ) -> Result<Answer, HandlerError> {
        let answer = self.send_to(pushed, pushed.route, false).await?;
        if !is_refused_for_its_kind(&answer) {
            return Ok(answer);
        }
        let canonical = Digest::sha256(&pushed.bytes);
        let name = pushed.name;
        let route = Route::ManifestPush(name.clone(), Reference::Digest(canonical.clone()));
        let mut answer = self.send_to(pushed, &route, pushed.is_repeatable()).await?;
        let status = answer.parts.status;
        if status.is_success() {
            self.record_alias(pushed.caller, name, status, (named, &canonical))
                .await?;
            aliases::name_created(&mut answer.parts.headers, (name, "manifests", named))?;
        }
        Ok(answer)
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
        self.upstream.expect_place()?;
        let time = self.config.manifest_time;
        match tokio::time::timeout(time, self.config.room.read(body, limit)).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(RoomError::Body(ReadError::TooLarge))) => Err(too_large),
            Ok(Err(RoomError::Full)) => Err(HandlerError::NoRoom),
            Ok(Err(RoomError::Body(ReadError::Broken(error)))) => {
                Err(HandlerError::RequestBody(error))
            }
            Err(_) => Err(HandlerError::ManifestTooSlow { limit: time }),
        }
    }

    fn is_signature(&self, manifest: &Manifest) -> bool {
        signature_form::is_signature(manifest, &self.config.artifact_types)
    }
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
