//! The tags that name referrers and signatures where nothing else does: merged with what the registry has under them,
//! and read back.

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::repository::{Held, OneRepository};
use crate::oci::companion_tag::referrers_tag;
use crate::oci::signature_form::is_cosign_manifest;
use crate::oci::{
    Descriptor, Digest, Manifest, ManifestKind, Tag, image_index, media_type, strict_json,
};
use crate::store::with_layers_of_both;
use crate::transfer::TransferError;
use crate::transfer::push::Blob;
use crate::transfer::registry::Failure;
use crate::upstream::Answer;

/// How often a tag is written that somebody else writes at the same moment.
const ATTEMPTS: usize = 5;

/// What is to be written under a tag.
enum Wanted {
    /// What is there has it all.
    Nothing,
    /// Something else has the name.
    Foreign,
    /// This.
    New(Held),
}

impl OneRepository<'_> {
    /// Writes the tag of the referrers tag schema with these entries, and those that it has.
    pub(super) async fn fallback_tag(
        &self,
        subject: &Digest,
        entries: &[Descriptor],
    ) -> Result<(), TransferError> {
        let tag = referrers_tag(subject);
        let reference = format!("{}:{tag}", self.name);
        self.counts().fallback_tags += 1;
        let mut drops_absent = false;
        for attempt in 1..=ATTEMPTS {
            let Some(there) = self.read_tag(&tag, &reference).await? else {
                return Ok(());
            };
            let held = match self
                .with_entries(there.as_ref(), subject, entries, drops_absent)
                .await?
            {
                Wanted::Nothing => {
                    let mut counts = self.counts();
                    match attempt {
                        1 => counts.already_there += 1,
                        _ => counts.written += 1,
                    }
                    return Ok(());
                }
                Wanted::Foreign => {
                    let reason = "the tag names something that is no list of referrers";
                    self.counts().skipped.add(reference, reason);
                    return Ok(());
                }
                Wanted::New(held) => held,
            };
            if self.options.dry_run {
                self.counts().written += 1;
                return Ok(());
            }
            match self.push(&held, &tag).await? {
                Ok(()) => {
                    self.counts().written += 1;
                    return Ok(());
                }
                // Somebody else has written it; it is looked at again.
                Err(Failure::NotKept) => {}
                // Registries refuse lists with entries that they have lost.
                Err(Failure::Refused { .. }) if !drops_absent => drops_absent = true,
                Err(failure) => return self.refused(&held, Some(&tag), reference, failure).await,
            }
        }
        self.counts().failed.add(reference, Failure::NotKept);
        Ok(())
    }

    /// What the tag has, with what it lacks; entries of the registry stay as they are, but for those that were deleted.
    async fn with_entries(
        &self,
        there: Option<&Answer>,
        subject: &Digest,
        entries: &[Descriptor],
        drops_absent: bool,
    ) -> Result<Wanted, TransferError> {
        // Some registries resolve the tag to the subject itself.
        let there = there.filter(|answer| !subject.matches(&answer.body));
        let Some(answer) = there else {
            return Ok(Wanted::New(index(image_index::encode(entries))));
        };
        let manifest = Manifest::parse(&answer.body, answer.content_type()).ok();
        let known = manifest.filter(|manifest| manifest.kind == ManifestKind::Index);
        let document = strict_json::from_slice::<Json>(&answer.body).ok();
        let (Some(known), Some(mut document)) = (known, document) else {
            return Ok(Wanted::Foreign);
        };
        let mut dropped = Vec::new();
        for entry in &known.manifests {
            let digest = &entry.digest;
            let may_go = drops_absent || self.export.store.deleted(&self.name, digest).await?;
            if may_go
                && let Ok(false) = self
                    .export
                    .registry
                    .has(&self.name, "manifests", digest)
                    .await
            {
                dropped.push(digest.to_string());
            }
        }
        let is_known =
            |entry: &&Descriptor| known.manifests.iter().any(|is| is.digest == entry.digest);
        let missing: Vec<&Descriptor> = entries.iter().filter(|entry| !is_known(entry)).collect();
        if missing.is_empty() && dropped.is_empty() {
            return Ok(Wanted::Nothing);
        }
        let Some(Json::Array(manifests)) = document.get_mut("manifests") else {
            return Ok(Wanted::Foreign);
        };
        manifests.retain(|entry| {
            let digest = entry.get("digest").and_then(Json::as_str);
            digest.is_none_or(|digest| !dropped.iter().any(|dropped| dropped == digest))
        });
        manifests.extend(missing.into_iter().map(|entry| json!(entry)));
        Ok(Wanted::New(Held {
            media_type: known.media_type,
            ..index(document.to_string().into_bytes())
        }))
    }

    /// The list of the referrers tag schema, in the layout.
    pub(super) async fn list_in_layout(
        &self,
        subject: &Digest,
        entries: &[Descriptor],
    ) -> Result<(), TransferError> {
        self.counts().fallback_tags += 1;
        let held = index(image_index::encode(entries));
        self.to_layout(&held, Some(&referrers_tag(subject))).await
    }

    /// Writes a cosign tag as regseal serves it, with the layers that the registry has besides.
    pub(super) async fn cosign_tag(&self, tag: &Tag) -> Result<(), TransferError> {
        let Some(served) = self.export.store.tag(&self.name, tag).await? else {
            return Ok(());
        };
        let ours = Held {
            digest: served.digest,
            media_type: served.media_type,
            bytes: served.bytes,
        };
        self.counts().cosign_tags += 1;
        if self.options.layout_only {
            return self.to_layout(&ours, Some(tag.as_str())).await;
        }
        let reference = format!("{}:{tag}", self.name);
        for attempt in 1..=ATTEMPTS {
            let Some(there) = self.read_tag(tag.as_str(), &reference).await? else {
                return Ok(());
            };
            let held = match self.with_layers(there.as_ref(), tag, &ours).await? {
                Ok(Wanted::New(held)) => held,
                Ok(Wanted::Nothing) => {
                    let mut counts = self.counts();
                    match attempt {
                        1 => counts.already_there += 1,
                        _ => counts.written += 1,
                    }
                    return Ok(());
                }
                Ok(Wanted::Foreign) => {
                    let reason = "the tag names something that is no signature";
                    self.counts().skipped.add(reference, reason);
                    return Ok(());
                }
                Err(failure) => {
                    return self
                        .refused(&ours, Some(tag.as_str()), reference, failure)
                        .await;
                }
            };
            if self.options.dry_run {
                self.counts().written += 1;
                return Ok(());
            }
            match self.push(&held, tag.as_str()).await? {
                Ok(()) => {
                    self.counts().written += 1;
                    return Ok(());
                }
                Err(Failure::NotKept) => {}
                Err(failure) => {
                    return self
                        .refused(&held, Some(tag.as_str()), reference, failure)
                        .await;
                }
            }
        }
        self.counts().failed.add(reference, Failure::NotKept);
        Ok(())
    }

    async fn with_layers(
        &self,
        there: Option<&Answer>,
        tag: &Tag,
        ours: &Held,
    ) -> Result<Result<Wanted, Failure>, TransferError> {
        let Some(answer) = there else {
            return Ok(Ok(Wanted::New(ours.clone())));
        };
        let digest = Digest::sha256(&answer.body);
        let theirs = Manifest::parse(&answer.body, answer.content_type()).ok();
        if !theirs.is_some_and(|theirs| is_cosign_manifest(&theirs)) {
            return Ok(Ok(Wanted::Foreign));
        }
        if digest == ours.digest {
            return Ok(Ok(Wanted::Nothing));
        }
        // What was deleted comes to an end, and of `.sbom` the last push counts.
        let replaces = tag.as_str().ends_with(".sbom");
        if replaces || self.export.store.deleted(&self.name, &digest).await? {
            return Ok(Ok(Wanted::New(ours.clone())));
        }
        if with_layers_of_both(&ours.bytes, &answer.body).is_none() {
            return Ok(Ok(Wanted::Nothing));
        }
        let Some((bytes, config)) = with_layers_of_both(&answer.body, &ours.bytes) else {
            return Ok(Ok(Wanted::New(ours.clone())));
        };
        if let Some(config) = config
            && !self.options.dry_run
        {
            let digest = Digest::sha256(&config);
            let registry = &self.export.registry;
            let blob = Blob::Bytes(config);
            if let Err(failure) = registry.push_blob(&self.name, &digest, &blob).await? {
                return Ok(Err(failure));
            }
        }
        Ok(Ok(Wanted::New(Held {
            digest: Digest::sha256(&bytes),
            media_type: ours.media_type.clone(),
            bytes,
        })))
    }

    /// What the registry has under a tag; the outer `None` if it could not be had, which is then on record.
    async fn read_tag(
        &self,
        tag: &str,
        reference: &str,
    ) -> Result<Option<Option<Answer>>, TransferError> {
        let limit = self.export.settings.max_manifest;
        match self.export.registry.manifest(&self.name, tag, limit).await {
            Ok(there) => Ok(Some(there)),
            Err(failure) => {
                self.fail(reference.to_owned(), failure).await?;
                Ok(None)
            }
        }
    }
}

fn index(bytes: impl Into<Bytes>) -> Held {
    let bytes = bytes.into();
    Held {
        digest: Digest::sha256(&bytes),
        media_type: media_type::IMAGE_INDEX.to_owned(),
        bytes,
    }
}
