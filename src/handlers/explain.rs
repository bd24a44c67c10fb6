//! What is known of one reference, for operators: read with the caller that regseal is itself.
//!
//! Nothing here is an answer to a client of the registry: whoever asks has the token of the admin API, or the stores.

use bytes::Bytes;

use super::Handlers;
use super::behind::Behind;
use super::error::HandlerError;
use crate::admission::{Admission, ExplainAsked, Explanation};
use crate::auth::Caller;
use crate::oci::{Digest, ImageReference, Manifest};

/// What stands for the host in commands where nobody knows it; no client takes it for one.
const SOME_HOST: &str = "REGISTRY";

/// A manifest to explain.
struct Found {
    digest: Digest,
    media_type: String,
    bytes: Bytes,
}

impl Handlers {
    /// Host, and perhaps port, that clients use, where it is configured.
    #[must_use]
    pub fn public_authority(&self) -> Option<&str> {
        self.config.public_authority.as_deref()
    }

    /// Explains what `asked`, written as `reference`, names on the registry behind, or what is kept of it after it was
    /// refused. `account` is what regseal itself is there. Signatures that the registry has and the store has not are
    /// merged before.
    ///
    /// # Errors
    /// `ManifestUnknown` if there is none; whatever else keeps it from being decided.
    pub async fn explain(
        &self,
        admission: &Admission,
        account: Caller,
        asked: &ImageReference,
        reference: &str,
    ) -> Result<Explanation, HandlerError> {
        let name = &asked.repository;
        let Some(named) = asked.asked() else {
            return Err(HandlerError::ManifestUnknown);
        };
        let path = format!("/v2/{name}/manifests/{named}");
        let caller = self.relay.own_caller(account, name, &path).await?;
        let found = self.find(&caller, asked, &named.to_string()).await?;
        let digest = &found.digest;
        let manifest = Manifest::parse(&found.bytes, &found.media_type)?;
        self.find_signatures(&caller, name, digest).await;
        let host = self.public_authority().or(asked.host.as_deref());
        let named = format!("{}/{name}", host.unwrap_or(SOME_HOST));
        let asked = ExplainAsked {
            reference,
            named: &named,
            repository: name,
            tag: asked.tag.as_ref(),
            digest,
            manifest: &manifest,
            size: u64::try_from(found.bytes.len()).unwrap_or(u64::MAX),
        };
        let behind = Behind {
            handlers: self,
            caller: &caller,
            name,
        };
        Ok(Box::pin(admission.explain(asked, &behind)).await?)
    }

    async fn find(
        &self,
        caller: &Caller,
        asked: &ImageReference,
        named: &str,
    ) -> Result<Found, HandlerError> {
        let name = &asked.repository;
        if let Some(answer) = self.fetch_manifest(caller, name, named).await? {
            let digest = match &asked.digest {
                None => Digest::sha256(&answer.body),
                Some(digest) if digest.matches(&answer.body) => digest.clone(),
                Some(_) => {
                    let status = answer.parts.status;
                    return Err(HandlerError::Undecided { status });
                }
            };
            return Ok(Found {
                digest,
                media_type: answer.content_type().to_owned(),
                bytes: answer.body,
            });
        }
        let Some(digest) = &asked.digest else {
            return Err(HandlerError::ManifestUnknown);
        };
        let kept = self.custody.kept(name, digest).await?;
        let kept = kept.ok_or(HandlerError::ManifestUnknown)?;
        Ok(Found {
            digest: digest.clone(),
            media_type: kept.media_type,
            bytes: kept.bytes,
        })
    }
}
