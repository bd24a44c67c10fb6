//! end-9: deletion. The answer of the registry behind to the same request is the authorisation.

use http::{Response, StatusCode, request};

use super::answer;
use super::error::HandlerError;
use super::{Handlers, Incoming};
use crate::auth::{Caller, Permit, Push};
use crate::body::{self, Body};
use crate::oci::{CompanionTag, Digest, Reference, RepositoryName, Tag};
use crate::route::Route;
use crate::store::LinkKind;
use crate::upstream::Answer;

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
            Reference::Tag(tag) => self.held_tag(name, tag).await?,
        };
        let Incoming {
            parts,
            body,
            caller,
        } = incoming;
        let Some(held) = held else {
            let mut response = self.send(route, &parts, &caller, body).await?;
            if let Reference::Tag(tag) = reference
                && self.config.mend_tag_delete
                && deletes_by_digest_only(response.status())
            {
                let answer = self.upstream.collect(response, ANSWER_LIMIT).await?;
                let asked = (&parts, &caller);
                response = match self.mend_tag_delete(asked, name, tag, &answer).await? {
                    Some(deleted) => deleted,
                    None => Response::from_parts(answer.parts, body::full(answer.body)),
                };
            }
            let response = self.relay(&parts, response);
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
            Held::Tag(..) | Held::List
                if status == StatusCode::BAD_REQUEST && is_about_the_tag(&answer.body) => {}
            // Made from what the store has: a client that cleans up must not fail.
            Held::Generated(_) | Held::List if status == StatusCode::METHOD_NOT_ALLOWED => {}
            _ if status == StatusCode::METHOD_NOT_ALLOWED => {
                return Err(HandlerError::DeletionDisabled);
            }
            Held::Manifest(_) | Held::Generated(_) | Held::List | Held::Tag(..) => {
                return Ok(self.relay_answer(&parts, answer));
            }
        }
        let Some(permit) = self.permit(&caller, name, status).await? else {
            return Ok(self.relay_answer(&parts, answer));
        };
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
            // The tag shows what is listed, and that is deleted one by one.
            Held::List => {}
            Held::Tag(tag, _) => {
                if !writer.delete_tag(&tag).await? {
                    return Ok(self.relay_answer(&parts, answer));
                }
            }
        }
        self.forget_marks(name, reference).await;
        answer::deleted()
    }

    /// What was said of the first name of a manifest is said of its second as well.
    pub(super) async fn forget_second(
        &self,
        permit: &Permit<Push>,
        digest: &Digest,
    ) -> Result<(), HandlerError> {
        if let Some(Held::Manifest(digest)) =
            self.held_manifest(permit.repository(), digest).await?
        {
            self.custody.writer(permit).delete_manifest(&digest).await?;
        }
        self.subject_deleted(permit, digest).await
    }

    async fn mend_tag_delete(
        &self,
        asked: (&request::Parts, &Caller),
        name: &RepositoryName,
        tag: &Tag,
        refusal: &Answer,
    ) -> Result<Option<Response<Body>>, HandlerError> {
        let is_of_the_registry = refusal.parts.status == StatusCode::METHOD_NOT_ALLOWED
            || is_about_the_tag(&refusal.body);
        if !is_of_the_registry || CompanionTag::parse(tag).is_some() {
            return Ok(None);
        }
        self.delete_tag_behind(asked, name, tag).await
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

    async fn held_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<Held>, HandlerError> {
        let subjects = match CompanionTag::parse(tag) {
            Some(CompanionTag::Cosign(subject)) if self.config.absorb_cosign_tags => {
                return Ok(Some(Held::Tag(tag.clone(), subject)));
            }
            Some(CompanionTag::Referrers(subject)) if self.config.absorb_fallback_tags => {
                let has_referrers = self.custody.has_referrers(name, &subject).await?;
                return Ok(has_referrers.then_some(Held::List));
            }
            Some(CompanionTag::CutReferrers(tag)) if self.config.absorb_fallback_tags => {
                self.custody.subjects_of_cut_tag(name, &tag).await?
            }
            Some(_) | None => Vec::new(),
        };
        Ok((subjects.len() == 1).then_some(Held::List))
    }

    /// The registry deleted something for the caller, or it has nothing of that name. In the second case it may only
    /// hide it, so the caller must be allowed to push as well; who is not is answered as for what never existed.
    async fn permit(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        status: StatusCode,
    ) -> Result<Option<Permit<Push>>, HandlerError> {
        if status.is_success() {
            return Ok(Some(self.authorizer.deleted(name, status)?));
        }
        match self.authorizer.push(caller, name, None).await {
            Err(error) if error.is_a_no() => Ok(None),
            decided => Ok(Some(decided?)),
        }
    }
}

/// The statuses with which registries refuse to delete a tag.
fn deletes_by_digest_only(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED
    )
}

/// What the store holds under the reference.
enum Held {
    Manifest(Digest),
    Generated(Digest),
    /// What a referrers tag shows.
    List,
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
