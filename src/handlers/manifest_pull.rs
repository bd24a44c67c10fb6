//! end-3: manifests. What only regseal holds is answered from the store; everything else is forwarded.

use bytes::Bytes;
use http::{Response, StatusCode, request};

use super::aliases::is_second;
use super::answer;
use super::error::HandlerError;
use super::gate::{Passed, Served};
use super::manifest_push::is_of_payloads;
use super::unframed::verified;
use super::upstream_referrers::FallbackTag;
use super::{Handlers, Incoming};
use crate::admission::is_marker;
use crate::auth::{AuthError, Caller, Permit, Pull};
use crate::body::Body;
use crate::oci::{
    CompanionTag, Digest, Manifest, ManifestKind, Reference, RepositoryName, Tag, image_index,
    media_type,
};
use crate::route::Route;
use crate::store::{Link, LinkKind};

impl Handlers {
    pub(super) async fn manifest_pull(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Response<Body>, HandlerError> {
        match reference {
            Reference::Digest(digest) => {
                self.pull_by_digest(route, incoming, name, reference, digest)
                    .await
            }
            Reference::Tag(tag) => match CompanionTag::parse(tag) {
                Some(CompanionTag::Referrers(subject)) if self.config.absorb_fallback_tags => {
                    self.pull_fallback_tag(route, incoming, name, reference, &subject)
                        .await
                }
                Some(CompanionTag::CutReferrers(tag)) if self.config.absorb_fallback_tags => {
                    match self
                        .custody
                        .subjects_of_cut_tag(name, &tag)
                        .await?
                        .as_slice()
                    {
                        [subject] => {
                            self.pull_fallback_tag(route, incoming, name, reference, subject)
                                .await
                        }
                        // Unknown, or of several: no list of one is shown as that of another.
                        _ => self.pull_upstream(route, incoming, name, reference).await,
                    }
                }
                Some(CompanionTag::Cosign(subject)) if self.config.absorb_cosign_tags => {
                    self.pull_cosign_tag(route, incoming, name, reference, tag, &subject)
                        .await
                }
                _ => match self.admission(name) {
                    Some(admission) if admission.marks(name) && is_marker(tag) => {
                        self.pull_marker(admission, route, incoming, name, reference)
                            .await
                    }
                    _ => self.pull_upstream(route, incoming, name, reference).await,
                },
            },
        }
    }

    /// Whoever may not see what is held gets what the registry behind says of it, as for any other digest.
    async fn pull_by_digest(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<Response<Body>, HandlerError> {
        let link = match self.custody.link(name, digest).await {
            Ok(Some(link)) => link,
            Ok(None) => return self.pull_upstream(route, incoming, name, reference).await,
            Err(outage) => {
                let response = self.pull_upstream(route, incoming, name, reference).await?;
                if response.status() == StatusCode::NOT_FOUND {
                    return Err(outage.into());
                }
                return Ok(response);
            }
        };
        match link.kind {
            LinkKind::Manifest | LinkKind::Generated => {
                let permit =
                    self.authorizer
                        .pull_or_push(&incoming.caller, name, link.subject.as_ref());
                let permit = match permit.await {
                    // As for any other digest.
                    Err(error) if error.is_a_no() => {
                        return self.pull_upstream(route, incoming, name, reference).await;
                    }
                    decided => decided?,
                };
                match self.custody.reader(&permit).manifest(digest).await? {
                    Some(held) => {
                        let (parts, caller) = (&incoming.parts, &incoming.caller);
                        self.answer_judged_held(parts, caller, &permit, digest, held)
                            .await
                    }
                    None => self.pull_upstream(route, incoming, name, reference).await,
                }
            }
            LinkKind::ManifestCopy => {
                self.pull_copied(route, incoming, name, reference, digest, &link)
                    .await
            }
            LinkKind::Blob => self.pull_upstream(route, incoming, name, reference).await,
        }
    }

    /// The registry behind has the manifest, unless it has collected it: then the copy is served.
    async fn pull_copied(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        reference: &Reference,
        digest: &Digest,
        link: &Link,
    ) -> Result<Response<Body>, HandlerError> {
        let Incoming { parts, caller, .. } = &incoming;
        let (parts, caller) = (parts.clone(), caller.clone());
        let response = self.pull_upstream(route, incoming, name, reference).await?;
        if response.status() != StatusCode::NOT_FOUND {
            return Ok(response);
        }
        let permit = match self
            .authorizer
            .pull_or_push(&caller, name, link.subject.as_ref())
            .await
        {
            Err(AuthError::Hidden) => return Ok(response),
            decided => decided?,
        };
        let Some(held) = self.custody.reader(&permit).manifest(digest).await? else {
            return Ok(response);
        };
        self.answer_judged_held(&parts, &caller, &permit, digest, held)
            .await
    }

    /// What the store holds is judged as what the registry behind has: a registry may have refused what it took for
    /// no image. What has no subject is exempt if it is what cosign keeps under tags, or was made here.
    async fn answer_judged_held(
        &self,
        parts: &request::Parts,
        caller: &Caller,
        permit: &Permit<Pull>,
        digest: &Digest,
        held: (Bytes, Link),
    ) -> Result<Response<Body>, HandlerError> {
        let (bytes, link) = held;
        let name = permit.repository();
        let mut passed = Passed::default();
        if let Some(admission) = self.gate(name)
            && !self.is_exempt(permit, &bytes, &link).await?
        {
            let served = Served {
                parts,
                caller,
                name,
                tag: None,
                media_type: &link.media_type,
                bytes: &bytes,
                second: Some(digest.clone()).filter(is_second),
            };
            passed = self.judge(admission, &served).await?;
        }
        let mut response = answer::manifest(parts, digest, &link.media_type, bytes)?;
        passed.apply(&mut response);
        Ok(response)
    }

    /// Whether what is captured without a subject is what cosign keeps under a tag, or a list that was made here.
    async fn is_exempt(
        &self,
        permit: &Permit<Pull>,
        bytes: &[u8],
        link: &Link,
    ) -> Result<bool, HandlerError> {
        if link.kind == LinkKind::ManifestCopy || link.subject.is_some() {
            return Ok(false);
        }
        let Ok(manifest) = Manifest::parse(bytes, &link.media_type) else {
            return Ok(false);
        };
        if manifest.kind == ManifestKind::Index {
            return Ok(link.kind == LinkKind::Generated);
        }
        if is_of_payloads(&manifest) {
            return Ok(true);
        }
        let reader = self.custody.reader(permit);
        self.is_document(&reader, &manifest).await
    }

    /// The fallback tag reads back as what the Referrers API answers; a tag of that name that is something else on
    /// the registry behind stays what it is.
    async fn pull_fallback_tag(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        reference: &Reference,
        subject: &Digest,
    ) -> Result<Response<Body>, HandlerError> {
        let permit = self
            .permit_for_referrers(&incoming.caller, name, subject)
            .await?;
        let Some(permit) = permit else {
            return self.pull_upstream(route, incoming, name, reference).await;
        };
        let found = self
            .merge_upstream(&incoming.caller, &permit, subject)
            .await;
        let referrers = self.custody.reader(&permit).referrers(subject).await?;
        match found.fallback_tag {
            FallbackTag::Foreign => {
                return self.pull_upstream(route, incoming, name, reference).await;
            }
            // What is left of the list was deleted.
            FallbackTag::List if referrers.is_empty() => return Err(HandlerError::ManifestUnknown),
            FallbackTag::Absent if referrers.is_empty() => {
                return self.pull_upstream(route, incoming, name, reference).await;
            }
            FallbackTag::List | FallbackTag::Absent => {}
        }
        let descriptors = referrers.iter().map(|referrer| &referrer.descriptor);
        let bytes = Bytes::from(image_index::encode(descriptors));
        let digest = self
            .custody
            .reader(&permit)
            .keep_generated(bytes.clone(), media_type::IMAGE_INDEX)
            .await?;
        answer::manifest(&incoming.parts, &digest, media_type::IMAGE_INDEX, bytes)
    }

    async fn pull_cosign_tag(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        reference: &Reference,
        tag: &Tag,
        subject: &Digest,
    ) -> Result<Response<Body>, HandlerError> {
        let permit = match self
            .authorizer
            .pull_or_push(&incoming.caller, name, Some(subject))
            .await
        {
            Err(AuthError::Hidden) => {
                return self.pull_upstream(route, incoming, name, reference).await;
            }
            decided => decided?,
        };
        self.merge_upstream_tag(&incoming.caller, &permit, tag)
            .await;
        if let Some(served) = self.custody.reader(&permit).tag(tag).await? {
            let link = Link {
                kind: LinkKind::Manifest,
                media_type: served.media_type,
                size: u64::try_from(served.bytes.len()).unwrap_or(u64::MAX),
                subject: None,
            };
            let (parts, caller) = (&incoming.parts, &incoming.caller);
            let held = (served.bytes, link);
            return self
                .answer_judged_held(parts, caller, &permit, &served.digest, held)
                .await;
        }
        let response = self.pull_upstream(route, incoming, name, reference).await?;
        let named = response
            .headers()
            .get(answer::CONTENT_DIGEST)
            .and_then(|digest| digest.to_str().ok());
        if let Some(digest) = named.and_then(|digest| digest.parse().ok()) {
            // A version that was merged and deleted with the tag: many registries cannot delete a tag.
            let link = self.custody.link(name, &digest).await?;
            if link.is_some_and(|link| link.kind == LinkKind::Manifest) {
                return Err(HandlerError::ManifestUnknown);
            }
        }
        Ok(response)
    }

    /// Forwards, judges what comes where the policy is about it, and learns from success that this caller may pull.
    pub(super) async fn pull_upstream(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Response<Body>, HandlerError> {
        if let Some(admission) = self.gate(name) {
            return self
                .pull_judged(admission, route, incoming, name, reference, reference.tag())
                .await;
        }
        let response = self
            .send(route, &incoming.parts, &incoming.caller, incoming.body)
            .await?;
        self.authorizer
            .learn_pull(
                &incoming.caller,
                name,
                response.status(),
                response.headers(),
            )
            .await;
        if response.status() == StatusCode::NOT_FOUND
            && let Some(admission) = self.admission(name)
            && let Reference::Digest(digest) = reference
        {
            let (parts, caller) = (&incoming.parts, &incoming.caller);
            let kept = self.show_kept(admission, parts, caller, name, digest);
            if let Some(kept) = kept.await? {
                return Ok(kept);
            }
        }
        let response = self
            .followed(&incoming.parts, &incoming.caller, response)
            .await?;
        let is_shown = response.status().is_success();
        let named = response.headers().get(answer::CONTENT_DIGEST).cloned();
        let expected = match reference {
            Reference::Digest(digest) => Some(digest.clone()),
            Reference::Tag(_) => named
                .as_ref()
                .and_then(|named| named.to_str().ok()?.parse().ok()),
        };
        let response = verified(response, expected);
        let mut response = self.relay(&incoming.parts, response);
        if is_shown {
            self.custody.note_shown(name);
            if let (Some(tag), Some(named)) = (reference.tag(), named) {
                self.warn_of_mark(name, tag, &named, &mut response).await;
            }
        }
        Ok(response)
    }
}
