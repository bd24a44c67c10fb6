//! What the registry behind already has: native referrers, fallback tags and cosign tags from before regseal.
//!
//! Merged at the first read of a subject, and refreshed in the background when it is older than `capture.refresh`, absence
//! too. Entries are read again by digest: neither a fallback index nor an answer of the registry's own API is believed for
//! more than names.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::{Method, StatusCode};
use moka::future::Cache;

use super::error::HandlerError;
use super::manifest_push::{is_cosign_manifest, is_what_its_tag_says};
use super::read_upstream::next_page;
use super::{Handlers, unique};
use crate::auth::{Caller, Permit, Pull};
use crate::oci::{
    Descriptor, Digest, Manifest, ManifestKind, RepositoryName, Tag, companion_tag, media_type,
};
use crate::store::{NewManifest, Referrer, Source};

/// Subjects and tags remembered at most.
const CAPACITY: u64 = 100_000;
/// Pages of a native list that are read, and the bytes of each.
const PAGES: usize = 64;
const PAGE_LIMIT: usize = 8 << 20;
/// Manifests that are fetched at once.
const PARALLEL: usize = 8;
/// No subject has it: what answers is the API itself.
const NO_SUBJECT: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// What one process knows of the registry behind.
#[derive(Clone, Debug)]
pub(super) struct UpstreamReferrers {
    /// How long what was found is believed.
    fresh: Duration,
    subjects: Cache<(RepositoryName, Digest), Found>,
    tags: Cache<(RepositoryName, Tag), ()>,
    has_api: Cache<RepositoryName, bool>,
}

/// What was found for a subject.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    at: Instant,
    /// What the fallback tag names on the registry behind.
    pub(super) fallback_tag: FallbackTag,
    /// The registry behind did not answer: what only it has is missing.
    pub(super) is_partial: bool,
}

/// What a tag of the referrers tag schema names on the registry behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FallbackTag {
    /// Nothing.
    Absent,
    /// A list of referrers of the subject, perhaps an empty one.
    List,
    /// Something else that happens to have such a name.
    Foreign,
}

impl UpstreamReferrers {
    /// Nothing is known yet; what is found is believed for `fresh`.
    pub(super) fn new(fresh: Duration) -> Self {
        Self {
            fresh,
            subjects: Cache::new(CAPACITY),
            tags: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(fresh)
                .build(),
            has_api: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(fresh)
                .build(),
        }
    }
}

impl Handlers {
    /// Merges what the registry behind lists for `subject`. A registry that does not answer adds nothing now and is
    /// asked again at the next read.
    pub(super) async fn merge_upstream(
        &self,
        caller: &Caller,
        permit: &Permit<Pull>,
        subject: &Digest,
    ) -> Found {
        let known = &self.upstream_referrers.subjects;
        let key = (permit.repository().clone(), subject.clone());
        let refreshed = Box::pin(self.refresh(caller, permit, subject));
        match known.try_get_with(key.clone(), refreshed).await {
            Ok(found) if found.at.elapsed() > self.upstream_referrers.fresh => {
                let renewed = Found {
                    at: Instant::now(),
                    ..found
                };
                known.insert(key.clone(), renewed).await;
                tokio::spawn(self.clone().refresh_again(caller.clone(), key.0, key.1));
                found
            }
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(
                    oci.repository = %permit.repository(),
                    oci.subject = %subject,
                    error = &*error as &dyn std::error::Error,
                    "what the registry behind lists was not merged"
                );
                Found {
                    at: Instant::now(),
                    fallback_tag: FallbackTag::Absent,
                    is_partial: true,
                }
            }
        }
    }

    /// Whether the registry behind has the Referrers API in this repository: a status alone is no proof, some answer
    /// 200 to everything.
    pub(super) async fn has_referrers_api(
        &self,
        caller: &Caller,
        name: &RepositoryName,
    ) -> Result<bool, HandlerError> {
        if let Some(known) = self.upstream_referrers.has_api.get(name).await {
            return Ok(known);
        }
        let path = format!("/v2/{name}/referrers/{NO_SUBJECT}");
        let answer = self.referrers_page(caller, &path, PAGE_LIMIT).await?;
        let has_api = answer.is_some();
        self.upstream_referrers
            .has_api
            .insert(name.clone(), has_api)
            .await;
        Ok(has_api)
    }

    /// Merges what the registry behind has under a cosign tag as one more version.
    pub(super) async fn merge_upstream_tag(
        &self,
        caller: &Caller,
        permit: &Permit<Pull>,
        tag: &Tag,
    ) {
        let key = (permit.repository().clone(), tag.clone());
        let refreshed = Box::pin(self.refresh_tag(caller, permit, tag));
        if let Err(error) = self
            .upstream_referrers
            .tags
            .try_get_with(key, refreshed)
            .await
        {
            tracing::warn!(
                oci.repository = %permit.repository(),
                oci.tag = %tag,
                error = &*error as &dyn std::error::Error,
                "what the registry behind has under a cosign tag was not merged"
            );
        }
    }

    async fn refresh_again(self, caller: Caller, name: RepositoryName, subject: Digest) {
        let refreshed = match self.authorizer.pull(&caller, &name, Some(&subject)).await {
            Ok(permit) => self.refresh(&caller, &permit, &subject).await,
            Err(error) => Err(error.into()),
        };
        match refreshed {
            Ok(found) => {
                self.upstream_referrers
                    .subjects
                    .insert((name, subject), found)
                    .await
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "refresh failed")
            }
        }
    }

    async fn refresh(
        &self,
        caller: &Caller,
        permit: &Permit<Pull>,
        subject: &Digest,
    ) -> Result<Found, HandlerError> {
        let name = permit.repository();
        // One that fails keeps nothing of the other back.
        let native = self.list_native(caller, name, subject).await;
        let tagged = self.list_tagged(caller, name, subject).await;
        let entries = tagged.iter().flat_map(|(_, entries)| entries);
        let listed: Vec<&Digest> = unique(native.iter().flatten().chain(entries))
            .into_iter()
            .map(|entry| &entry.digest)
            .collect();
        let known = self.custody.reader(permit).referrers(subject).await?;
        let strangers = self
            .merge_listed(caller, permit, subject, &known, &listed)
            .await?;
        if native.is_ok() && tagged.is_ok() {
            self.forget_unlisted(caller, permit, subject, &known, &listed)
                .await?;
        }
        native?;
        let (mut fallback_tag, entries) = tagged?;
        let is_stranger = |entry: &Descriptor| strangers.contains(&entry.digest);
        if !entries.is_empty() && entries.iter().all(is_stranger) {
            fallback_tag = FallbackTag::Foreign;
        }
        Ok(Found {
            at: Instant::now(),
            fallback_tag,
            is_partial: false,
        })
    }

    /// What the referrers tag names on the registry behind, and its entries if it is an index.
    async fn list_tagged(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        subject: &Digest,
    ) -> Result<(FallbackTag, Vec<Descriptor>), HandlerError> {
        let tag = companion_tag::referrers_tag(subject);
        let Some(answer) = self.fetch_manifest(caller, name, &tag).await? else {
            return Ok((FallbackTag::Absent, Vec::new()));
        };
        // Some registries resolve the tag `sha256-<hex>` to the subject itself.
        if subject.matches(&answer.body) {
            return Ok((FallbackTag::Absent, Vec::new()));
        }
        let manifest = Manifest::parse(&answer.body, answer.content_type());
        Ok(match manifest {
            Ok(index) if index.kind == ManifestKind::Index => (FallbackTag::List, index.manifests),
            Ok(_) | Err(_) => (FallbackTag::Foreign, Vec::new()),
        })
    }

    /// The registry's own list, page by page; an empty one where there is no Referrers API.
    async fn list_native(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, HandlerError> {
        let mut listed = Vec::new();
        if !self.has_referrers_api(caller, name).await? {
            return Ok(listed);
        }
        let mut path = format!("/v2/{name}/referrers/{subject}");
        for _ in 0..PAGES {
            let Some(page) = self.referrers_page(caller, &path, PAGE_LIMIT).await? else {
                break;
            };
            let index = Manifest::parse(&page.body, media_type::IMAGE_INDEX)?;
            listed.extend(index.manifests);
            let own_path = |target: &str| {
                let own = self.upstream.own_path(target, caller.host())?;
                Some(own.to_string())
            };
            match next_page(&page, &path, own_path) {
                Some(next) if next != path => path = next,
                Some(_) | None => break,
            }
        }
        Ok(listed)
    }

    /// Reads what is listed and not known, in the order of the list; returns what was found and is no referrer of
    /// `subject`.
    async fn merge_listed(
        &self,
        caller: &Caller,
        permit: &Permit<Pull>,
        subject: &Digest,
        known: &[Referrer],
        listed: &[&Digest],
    ) -> Result<HashSet<Digest>, HandlerError> {
        let reader = self.custody.reader(permit);
        let known: HashSet<&Digest> = known
            .iter()
            .map(|referrer| &referrer.descriptor.digest)
            .collect();
        let mut unknown = Vec::new();
        for digest in listed {
            if !known.contains(digest) && !reader.was_deleted(digest).await? {
                unknown.push(*digest);
            }
        }
        let mut strangers = HashSet::new();
        for some in unknown.chunks(PARALLEL) {
            let fetched = some
                .iter()
                .map(|digest| self.fetch_named(caller, permit.repository(), (*digest).clone()));
            for (digest, found) in try_join_all(fetched).await? {
                let Some((bytes, manifest)) = found else {
                    continue;
                };
                if manifest.subject.as_ref().map(|subject| &subject.digest) == Some(subject) {
                    let found = NewManifest {
                        bytes,
                        digest,
                        manifest: &manifest,
                    };
                    reader.merge(subject, found).await?;
                } else {
                    strangers.insert(digest);
                }
            }
        }
        Ok(strangers)
    }

    async fn fetch_named(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        digest: Digest,
    ) -> Result<(Digest, Option<(Bytes, Manifest)>), HandlerError> {
        let found = self.manifest_upstream(caller, name, &digest).await?;
        Ok((digest, found))
    }

    /// Forgets what was found there once and is neither listed nor there any more.
    async fn forget_unlisted(
        &self,
        caller: &Caller,
        permit: &Permit<Pull>,
        subject: &Digest,
        known: &[Referrer],
        listed: &[&Digest],
    ) -> Result<(), HandlerError> {
        let listed: HashSet<&Digest> = listed.iter().copied().collect();
        for referrer in known {
            let digest = &referrer.descriptor.digest;
            if referrer.source == Source::Upstream && !listed.contains(digest) {
                let there = self
                    .fetch_manifest(caller, permit.repository(), digest.as_str())
                    .await?;
                if there.is_none() {
                    self.custody.reader(permit).forget(subject, digest).await?;
                }
            }
        }
        Ok(())
    }

    async fn refresh_tag(
        &self,
        caller: &Caller,
        permit: &Permit<Pull>,
        tag: &Tag,
    ) -> Result<(), HandlerError> {
        let name = permit.repository();
        let reader = self.custody.reader(permit);
        let Some(answer) = self.fetch_manifest(caller, name, tag.as_str()).await? else {
            return Ok(());
        };
        let digest = Digest::sha256(&answer.body);
        let known = self.custody.link(name, &digest).await?.is_some();
        if known || reader.was_deleted(&digest).await? {
            return Ok(());
        }
        let manifest = Manifest::parse(&answer.body, answer.content_type())?;
        let is_judged = self.admission(name).is_some();
        if !is_cosign_manifest(&manifest) || is_judged && !is_what_its_tag_says(tag, &manifest) {
            return Ok(());
        }
        for blob in unique(manifest.blobs()) {
            let path = format!("/v2/{name}/blobs/{}", blob.digest);
            let response = self
                .upstream
                .open(&Method::GET, &path, &caller.headers())
                .await?;
            match response.status() {
                StatusCode::OK => {}
                status => return Err(HandlerError::undecided(status, response.headers())),
            }
            reader
                .put_blob(&blob.digest, response.into_body(), self.config.max_blob)
                .await?;
        }
        let found = NewManifest {
            bytes: answer.body,
            digest,
            manifest: &manifest,
        };
        Ok(reader.merge_tag(tag, found).await?)
    }
}
