//! end-9: deletion. The answer of the registry behind to the same request is the authorisation.

use http::{Response, StatusCode};

use super::answer;
use super::error::HandlerError;
use super::{Handlers, Incoming};
use crate::auth::{AuthError, Caller, Permit, Push};
use crate::body::Body;
use crate::oci::{CompanionTag, Digest, Reference, RepositoryName, Tag};
use crate::route::Route;
use crate::store::LinkKind;

/// Answers to deletions are read up to here: they are short.
const ANSWER_LIMIT: usize = 1 << 20;

impl Handlers {
    pub(super) async fn manifest_delete(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Response<Body>, HandlerError> {
        let held = match reference {
            Reference::Digest(digest) => self.held_manifest(name, digest).await?,
            Reference::Tag(tag) => self.held_tag(tag),
        };
        let Incoming {
            parts,
            body,
            caller,
        } = incoming;
        let Some(held) = held else {
            let response = self.forward(route, &parts, &caller, body).await?;
            if let Reference::Digest(subject) = reference
                && let Ok(permit) = self.authorizer.deleted(name, response.status())
            {
                self.subject_deleted(&permit, subject).await?;
            }
            if response.status().is_success() {
                self.forget_marks(name, reference).await;
            }
            return Ok(response);
        };
        if let Held::Tag(tag, subject) = &held {
            self.merge_before_deletion(&caller, name, tag, subject)
                .await;
        }
        let response = self.send(route, &parts, &caller, body).await?;
        let answer = self.upstream.collect(response, ANSWER_LIMIT).await?;
        let status = answer.parts.status;
        match held {
            _ if status.is_success() || status == StatusCode::NOT_FOUND => {}
            // Old registries delete by digest only and say so after they have authorised the deletion.
            Held::Tag(..)
                if status == StatusCode::BAD_REQUEST && is_about_the_tag(&answer.body) => {}
            // Made from what the store has: a client that cleans up must not fail.
            Held::Generated(_) if status == StatusCode::METHOD_NOT_ALLOWED => {}
            _ if status == StatusCode::METHOD_NOT_ALLOWED => {
                return Err(HandlerError::DeletionDisabled);
            }
            Held::Manifest(_) | Held::Generated(_) | Held::Tag(..) => {
                return Ok(self.relay_answer(&parts, answer));
            }
        }
        let permit = self.permit(&caller, name, status).await?;
        let writer = self.custody.writer(&permit);
        match held {
            Held::Manifest(digest) => {
                writer.delete_manifest(&digest).await?;
                self.subject_deleted(&permit, &digest).await?;
            }
            Held::Generated(digest) => {
                // Nothing to delete, but for the manifest that a captured tag serves.
                writer.delete_generated(&digest).await?;
            }
            Held::Tag(tag, _) => {
                if !writer.delete_tag(&tag).await? {
                    return Ok(self.relay_answer(&parts, answer));
                }
            }
        }
        self.forget_marks(name, reference).await;
        answer::deleted()
    }

    /// What the registry behind has under a cosign tag must not come back as something new after the deletion.
    async fn merge_before_deletion(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        tag: &Tag,
        subject: &Digest,
    ) {
        if let Ok(permit) = self
            .authorizer
            .pull_or_push(caller, name, Some(subject))
            .await
        {
            self.merge_upstream_tag(caller, &permit, tag).await;
        }
    }

    async fn held_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Held>, HandlerError> {
        Ok(
            match self
                .custody
                .recorded_link(name, digest)
                .await?
                .map(|link| link.kind)
            {
                Some(LinkKind::Manifest | LinkKind::ManifestCopy) => {
                    Some(Held::Manifest(digest.clone()))
                }
                Some(LinkKind::Generated) => Some(Held::Generated(digest.clone())),
                Some(LinkKind::Blob) | None => None,
            },
        )
    }

    fn held_tag(&self, tag: &Tag) -> Option<Held> {
        match CompanionTag::parse(tag)? {
            CompanionTag::Cosign(subject) if self.config.absorb_cosign_tags => {
                Some(Held::Tag(tag.clone(), subject))
            }
            CompanionTag::Cosign(_) | CompanionTag::Referrers(_) => None,
        }
    }

    /// The registry deleted something for the caller, or it has nothing of that name; in the second case it may only
    /// hide it, so the caller must be allowed to push as well.
    async fn permit(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        status: StatusCode,
    ) -> Result<Permit<Push>, HandlerError> {
        if status.is_success() {
            return Ok(self.authorizer.deleted(name, status)?);
        }
        match self.authorizer.push(caller, name, None).await {
            Err(AuthError::Hidden) => Err(HandlerError::ManifestUnknown),
            decided => Ok(decided?),
        }
    }
}

/// What the store holds under the reference.
enum Held {
    Manifest(Digest),
    Generated(Digest),
    Tag(Tag, Digest),
}

/// Whether a refusal says that a tag is nothing that can be deleted.
fn is_about_the_tag(body: &[u8]) -> bool {
    let document: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let code = document
        .pointer("/errors/0/code")
        .and_then(serde_json::Value::as_str);
    matches!(code, Some("DIGEST_INVALID" | "UNSUPPORTED" | "TAG_INVALID"))
}
