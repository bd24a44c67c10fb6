//! end-9 by tag, where the registry behind deletes by digest only: an index that is like no other is put at the tag, and
//! deleted by its digest. With it goes the tag, and never the image.
//!
//! Everything is done with the caller's own credential. First the registry is asked whether he may delete, by deleting
//! what is not there; the push of the index then shows whether he may push. If either is refused, the registry's own
//! answer to the deletion stands, and nothing has changed.

use aws_lc_rs::rand;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode, request};

use super::Handlers;
use super::aliases::without_query;
use super::answer;
use super::behind::Behind;
use super::error::HandlerError;
use super::whole_upload::without_body;
use crate::admission::{PushAsked, PushDecision};
use crate::auth::Caller;
use crate::body::Body;
use crate::oci::{Digest, Manifest, Reference, RepositoryName, Tag, media_type};
use crate::route::Route;
use crate::upstream::Answer;

impl Handlers {
    /// Deletes a tag for the caller, if the registry behind lets him push and delete; `None` if it does not, or if the
    /// policy would not let him put something unsigned there.
    pub(super) async fn delete_tag_behind(
        &self,
        asked: (&request::Parts, &Caller),
        name: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<Response<Body>>, HandlerError> {
        let (_, caller) = asked;
        let named = match self.fetch_manifest(caller, name, tag.as_str()).await {
            Ok(Some(named)) => named,
            Ok(None) => return Err(HandlerError::ManifestUnknown),
            // Who may not read it may not have it put back.
            Err(HandlerError::Undecided { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some((bytes, manifest)) = placeholder() else {
            return Ok(None);
        };
        let digest = Digest::sha256(&bytes);
        if !self
            .may_be_put(caller, name, tag, (&digest, &manifest))
            .await?
        {
            return Ok(None);
        }
        let deletion = Route::ManifestDelete(name.clone(), Reference::Digest(digest.clone()));
        let deleted = self.ask_deletion(&deletion, asked).await?;
        if deleted.parts.status != StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let put = self
            .put_at(asked, name, tag, (media_type::IMAGE_INDEX, &bytes))
            .await?;
        if !put.parts.status.is_success() {
            return Ok(None);
        }
        let deleted = self.ask_deletion(&deletion, asked).await;
        if deleted
            .as_ref()
            .is_ok_and(|answer| answer.parts.status.is_success())
        {
            return answer::deleted().map(Some);
        }
        // As it was, if nobody has pushed to it since.
        let now = self.fetch_manifest(caller, name, tag.as_str()).await?;
        if now.is_some_and(|now| digest.matches(&now.body)) {
            let kind = named.content_type();
            self.put_at(asked, name, tag, (kind, &named.body)).await?;
        }
        deleted.map(|_| None)
    }

    /// Whether the policy would let the index be pushed to the tag.
    async fn may_be_put(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        tag: &Tag,
        (digest, manifest): (&Digest, &Manifest),
    ) -> Result<bool, HandlerError> {
        let Some(admission) = self.admission(name) else {
            return Ok(true);
        };
        let asked = PushAsked {
            repository: name,
            tag,
            digest,
            manifest,
            size: 0,
        };
        let behind = Behind {
            handlers: self,
            caller,
            name,
        };
        let push = admission.push(asked, false, &behind).await?;
        Ok(!matches!(push.decision, PushDecision::Reject(..)))
    }

    async fn ask_deletion(
        &self,
        route: &Route,
        asked: (&request::Parts, &Caller),
    ) -> Result<Answer, HandlerError> {
        let parts = without_body(&without_query(asked.0));
        self.send_bytes(route, &parts, asked.1, &Bytes::new(), false)
            .await
    }

    async fn put_at(
        &self,
        asked: (&request::Parts, &Caller),
        name: &RepositoryName,
        tag: &Tag,
        (kind, bytes): (&str, &Bytes),
    ) -> Result<Answer, HandlerError> {
        let mut parts = without_query(asked.0);
        parts.method = Method::PUT;
        parts.headers.remove(CONTENT_LENGTH);
        let kind = HeaderValue::from_str(kind).map_err(http::Error::from)?;
        parts.headers.insert(CONTENT_TYPE, kind);
        let route = Route::ManifestPush(name.clone(), Reference::Tag(tag.clone()));
        self.send_bytes(&route, &parts, asked.1, bytes, false).await
    }
}

/// An index of nothing that is like no other.
fn placeholder() -> Option<(Bytes, Manifest)> {
    let mut salt = [0; 16];
    rand::fill(&mut salt).ok()?;
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::IMAGE_INDEX,
        "manifests": [],
        "annotations": {"regseal.placeholder": format!("{:032x}", u128::from_be_bytes(salt))},
    });
    let bytes = Bytes::from(index.to_string());
    let manifest = Manifest::parse(&bytes, media_type::IMAGE_INDEX).ok()?;
    Some((bytes, manifest))
}
