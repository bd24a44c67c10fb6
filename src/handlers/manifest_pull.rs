//! end-3: manifests. What only regseal holds is answered from the store; everything else is forwarded.

use bytes::Bytes;
use http::{Response, StatusCode, request};

use super::answer;
use super::error::HandlerError;
use super::upstream_referrers::FallbackTag;
use super::{Handlers, Incoming};
use crate::auth::AuthError;
use crate::body::Body;
use crate::oci::{CompanionTag, Digest, Reference, RepositoryName, Tag, image_index, media_type};
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
            Reference::Digest(digest) => self.pull_by_digest(route, incoming, name, digest).await,
            Reference::Tag(tag) => match CompanionTag::parse(tag) {
                Some(CompanionTag::Referrers(subject)) if self.config.absorb_fallback_tags => {
                    self.pull_fallback_tag(route, incoming, name, &subject)
                        .await
                }
                Some(CompanionTag::Cosign(subject)) if self.config.absorb_cosign_tags => {
                    self.pull_cosign_tag(route, incoming, name, tag, &subject)
                        .await
                }
                _ => self.pull_upstream(route, incoming, name).await,
            },
        }
    }

    /// Whoever may not see what is held gets what the registry behind says of it, as for any other digest.
    async fn pull_by_digest(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Response<Body>, HandlerError> {
        let link = match self.custody.link(name, digest).await {
            Ok(Some(link)) => link,
            Ok(None) => return self.pull_upstream(route, incoming, name).await,
            Err(outage) => {
                let response = self.pull_upstream(route, incoming, name).await?;
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
                    Err(AuthError::Hidden) => {
                        return self.pull_upstream(route, incoming, name).await;
                    }
                    decided => decided?,
                };
                match self.custody.reader(&permit).manifest(digest).await? {
                    Some(held) => answer_held(&incoming.parts, digest, held),
                    None => self.pull_upstream(route, incoming, name).await,
                }
            }
            LinkKind::ManifestCopy => self.pull_copied(route, incoming, name, digest, &link).await,
            LinkKind::Blob => self.pull_upstream(route, incoming, name).await,
        }
    }

    /// The registry behind has the manifest, unless it has collected it: then the copy is served.
    async fn pull_copied(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        digest: &Digest,
        link: &Link,
    ) -> Result<Response<Body>, HandlerError> {
        let Incoming {
            parts,
            body,
            caller,
        } = incoming;
        let response = self.send(route, &parts, &caller, body).await?;
        self.authorizer
            .learn_pull(&caller, name, response.status())
            .await;
        if response.status() != StatusCode::NOT_FOUND {
            return Ok(self.relay(&parts, response));
        }
        let permit = match self
            .authorizer
            .pull_or_push(&caller, name, link.subject.as_ref())
            .await
        {
            Err(AuthError::Hidden) => return Ok(self.relay(&parts, response)),
            decided => decided?,
        };
        match self.custody.reader(&permit).manifest(digest).await? {
            Some(held) => answer_held(&parts, digest, held),
            None => Ok(self.relay(&parts, response)),
        }
    }

    /// The fallback tag reads back as what the Referrers API answers; a tag of that name that is something else on
    /// the registry behind stays what it is.
    async fn pull_fallback_tag(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        subject: &Digest,
    ) -> Result<Response<Body>, HandlerError> {
        let permit = self
            .permit_for_referrers(&incoming.caller, name, subject)
            .await?;
        let Some(permit) = permit else {
            return self.pull_upstream(route, incoming, name).await;
        };
        let found = self
            .merge_upstream(&incoming.caller, &permit, subject)
            .await;
        let referrers = self.custody.reader(&permit).referrers(subject).await?;
        match found.fallback_tag {
            FallbackTag::Foreign => return self.pull_upstream(route, incoming, name).await,
            // What is left of the list was deleted.
            FallbackTag::List if referrers.is_empty() => return Err(HandlerError::ManifestUnknown),
            FallbackTag::Absent if referrers.is_empty() => {
                return self.pull_upstream(route, incoming, name).await;
            }
            FallbackTag::List | FallbackTag::Absent => {}
        }
        let descriptors: Vec<_> = referrers
            .into_iter()
            .map(|referrer| referrer.descriptor)
            .collect();
        let bytes = Bytes::from(image_index::encode(&descriptors));
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
        tag: &Tag,
        subject: &Digest,
    ) -> Result<Response<Body>, HandlerError> {
        let permit = match self
            .authorizer
            .pull_or_push(&incoming.caller, name, Some(subject))
            .await
        {
            Err(AuthError::Hidden) => return self.pull_upstream(route, incoming, name).await,
            decided => decided?,
        };
        self.merge_upstream_tag(&incoming.caller, &permit, tag)
            .await;
        if let Some(served) = self.custody.reader(&permit).tag(tag).await? {
            let parts = &incoming.parts;
            return answer::manifest(parts, &served.digest, &served.media_type, served.bytes);
        }
        let response = self
            .send(route, &incoming.parts, &incoming.caller, incoming.body)
            .await?;
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
        Ok(self.relay(&incoming.parts, response))
    }

    /// Forwards, and learns from success that this caller may pull.
    async fn pull_upstream(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
    ) -> Result<Response<Body>, HandlerError> {
        let response = self
            .send(route, &incoming.parts, &incoming.caller, incoming.body)
            .await?;
        self.authorizer
            .learn_pull(&incoming.caller, name, response.status())
            .await;
        if response.status().is_success() {
            self.custody.note_shown(name);
        }
        Ok(self.relay(&incoming.parts, response))
    }
}

fn answer_held(
    request: &request::Parts,
    digest: &Digest,
    held: (Bytes, Link),
) -> Result<Response<Body>, HandlerError> {
    let (bytes, link) = held;
    answer::manifest(request, digest, &link.media_type, bytes)
}
