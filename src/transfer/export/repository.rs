//! One repository: every subject with its referrers, and every cosign tag.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::layout::Layout;
use super::{Export, ExportOptions};
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName, Tag};
use crate::store::{Referrer, Source, StoreError};
use crate::transfer::TransferError;
use crate::transfer::push::Blob;
use crate::transfer::registry::Failure;
use crate::transfer::report::ExportCounts;
use crate::upstream::UpstreamError;

/// A repository that is exported.
pub(super) struct OneRepository<'a> {
    pub(super) export: &'a Export,
    pub(super) options: &'a ExportOptions,
    pub(super) name: RepositoryName,
    pub(super) layout: Option<Layout>,
    has_api: bool,
    counts: Mutex<ExportCounts>,
}

/// What is exported at a time.
enum Item {
    Subject(Digest),
    Tag(Tag),
}

/// Where a referrer is in the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Not where it is to be.
    Nowhere,
    /// Where the registry has kept it.
    Kept,
    /// Where regseal has put it, or had it before.
    Given,
}

/// A manifest that regseal holds.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
}

impl<'a> OneRepository<'a> {
    pub(super) async fn export(
        export: &'a Export,
        options: &'a ExportOptions,
        name: RepositoryName,
    ) -> Result<ExportCounts, TransferError> {
        let is_alone = options
            .repositories
            .as_ref()
            .is_some_and(|names| names.len() == 1);
        let folder = options.layout.as_ref().map(|folder| match is_alone {
            true => folder.clone(),
            false => folder.join(name.as_str().replace('/', "+")),
        });
        let mut one = Self {
            export,
            options,
            name,
            layout: folder.filter(|_| !options.dry_run).map(Layout::new),
            has_api: false,
            counts: Mutex::default(),
        };
        let subjects = export.store.subjects(&one.name).await?;
        let tags = export.store.captured_tag_names(&one.name).await?;
        if subjects.is_empty() && tags.is_empty() && !export.store.has_records(&one.name).await? {
            let mut counts = one.counts();
            let reason = "regseal knows nothing of such a repository";
            counts.skipped.add(one.name.to_string(), reason);
            return Ok(std::mem::take(&mut *counts));
        }
        if !options.layout_only && !subjects.is_empty() {
            match export.registry.has_referrers_api(&one.name).await {
                Ok(has_api) => one.has_api = has_api,
                Err(failure) => {
                    let reference = one.name.to_string();
                    one.fail(reference, failure).await?;
                    return Ok(std::mem::take(&mut *one.counts()));
                }
            }
        }
        let subjects = subjects.into_iter().map(Item::Subject);
        let items: Vec<Item> = subjects.chain(tags.into_iter().map(Item::Tag)).collect();
        stream::iter(items)
            .map(|item| Box::pin(one.item(item)))
            .buffer_unordered(options.parallel.max(1))
            .try_collect::<()>()
            .await?;
        if let Some(layout) = &one.layout {
            layout.finish().await?;
        }
        Ok(std::mem::take(&mut *one.counts()))
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, ExportCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn item(&self, item: Item) -> Result<(), TransferError> {
        match item {
            Item::Subject(subject) => self.subject(&subject).await?,
            Item::Tag(tag) => self.cosign_tag(&tag).await?,
        }
        self.export.items.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The referrers of a subject, then what names them.
    async fn subject(&self, subject: &Digest) -> Result<(), TransferError> {
        let referrers = self.export.store.referrers(&self.name, subject).await?;
        let mut there: Vec<Descriptor> = Vec::new();
        let mut given = Vec::new();
        for referrer in referrers {
            match self.referrer(&referrer).await? {
                Place::Nowhere => continue,
                Place::Kept => {}
                Place::Given => given.push(referrer.descriptor.digest.clone()),
            }
            there.push(referrer.descriptor);
        }
        if there.is_empty() {
            return Ok(());
        }
        if self.options.layout_only {
            return self.list_in_layout(subject, &there).await;
        }
        if !self.has_api {
            return self.fallback_tag(subject, &there).await;
        }
        if self.options.dry_run {
            return Ok(());
        }
        // The push is enough, if the registry then lists it.
        match self.export.registry.native(&self.name, subject).await {
            Ok(listed) => {
                for digest in given.iter().filter(|digest| !listed.contains(digest)) {
                    let reference = format!("{}@{digest}", self.name);
                    let reason = "the registry has taken it and does not list it";
                    self.counts().failed.add(reference, reason);
                }
                Ok(())
            }
            Err(failure) => {
                let reference = format!("{}@{subject} (referrers)", self.name);
                self.fail(reference, failure).await
            }
        }
    }

    async fn referrer(&self, referrer: &Referrer) -> Result<Place, TransferError> {
        let digest = &referrer.descriptor.digest;
        let (store, reference) = (&self.export.store, format!("{}@{digest}", self.name));
        if store.deleted(&self.name, digest).await? {
            return Ok(Place::Nowhere);
        }
        if referrer.source != Source::Captured {
            return self.copied(digest, reference).await;
        }
        self.counts().referrers += 1;
        let Some((bytes, link)) = store.read_manifest(&self.name, digest).await? else {
            return Ok(Place::Nowhere);
        };
        let held = Held {
            digest: digest.clone(),
            media_type: link.media_type,
            bytes,
        };
        if self.options.layout_only {
            return self.to_layout(&held, None).await.map(|()| Place::Given);
        }
        match self.registry_has("manifests", digest, &reference).await? {
            None => Ok(Place::Nowhere),
            Some(true) => {
                self.counts().already_there += 1;
                Ok(Place::Given)
            }
            Some(false) => self.give(&held, reference).await,
        }
    }

    /// What the registry itself was given, or had: regseal has a copy of the manifest, and seldom its blobs. If the
    /// registry has it no more, or is another one, it is given again where all its blobs can be had.
    async fn copied(&self, digest: &Digest, reference: String) -> Result<Place, TransferError> {
        if self.options.layout_only {
            return Ok(Place::Nowhere);
        }
        match self.registry_has("manifests", digest, &reference).await? {
            None => return Ok(Place::Nowhere),
            Some(true) => return Ok(Place::Kept),
            Some(false) => self.counts().referrers += 1,
        }
        let held = match self.export.store.read_manifest(&self.name, digest).await {
            Ok(Some((bytes, link))) => Some(Held {
                digest: digest.clone(),
                media_type: link.media_type,
                bytes,
            }),
            Ok(None) | Err(StoreError::Corrupt { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let Some(held) = held else {
            let reason = "the registry has lost it, and regseal has no manifest of it";
            self.counts().failed.add(reference, reason);
            return Ok(Place::Nowhere);
        };
        match self.blobs_can_be_had(&held, &reference).await? {
            None => Ok(Place::Nowhere),
            Some(true) => self.give(&held, reference).await,
            Some(false) => {
                let reason = "the registry has lost it, and regseal has its manifest only";
                self.counts().failed.add(reference, reason);
                Ok(Place::Nowhere)
            }
        }
    }

    /// Whether the store or the registry has every blob; `None` if that could not be learned, which is then on record.
    async fn blobs_can_be_had(
        &self,
        held: &Held,
        reference: &str,
    ) -> Result<Option<bool>, TransferError> {
        let Ok(manifest) = Manifest::parse(&held.bytes, &held.media_type) else {
            return Ok(Some(false));
        };
        for blob in manifest.blobs() {
            match self.export.store.read(&self.name, &blob.digest).await {
                Ok(Some(_)) => continue,
                Ok(None) | Err(StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            match self.registry_has("blobs", &blob.digest, reference).await? {
                Some(true) => {}
                lacking @ (Some(false) | None) => return Ok(lacking),
            }
        }
        Ok(Some(true))
    }

    /// Whether the registry has it; `None` if it does not say, which is then on record.
    async fn registry_has(
        &self,
        kind: &str,
        digest: &Digest,
        reference: &str,
    ) -> Result<Option<bool>, TransferError> {
        match self.export.registry.has(&self.name, kind, digest).await {
            Ok(has) => Ok(Some(has)),
            Err(failure) => {
                self.fail(reference.to_owned(), failure).await?;
                Ok(None)
            }
        }
    }

    /// Gives the registry a manifest that it has not.
    async fn give(&self, held: &Held, reference: String) -> Result<Place, TransferError> {
        if !self.options.dry_run
            && let Err(failure) = self.push(held, held.digest.as_str()).await?
        {
            self.refused(held, None, reference, failure).await?;
            return Ok(Place::Nowhere);
        }
        self.counts().written += 1;
        Ok(Place::Given)
    }

    /// Puts a manifest after its blobs, and reads it back.
    pub(super) async fn push(
        &self,
        held: &Held,
        reference: &str,
    ) -> Result<Result<(), Failure>, TransferError> {
        let registry = &self.export.registry;
        if let Ok(manifest) = Manifest::parse(&held.bytes, &held.media_type) {
            for blob in manifest.blobs() {
                let from = Blob::Stored(&self.export.store);
                // What the store has not, the registry may have; else it says so itself.
                if let Err(failure) = registry.push_blob(&self.name, &blob.digest, &from).await? {
                    return Ok(Err(failure));
                }
            }
        }
        let put =
            registry.push_manifest(&self.name, reference, &held.media_type, held.bytes.clone());
        if let Err(failure) = put.await {
            return Ok(Err(failure));
        }
        let limit = self.export.settings.max_manifest;
        Ok(
            match registry.manifest(&self.name, reference, limit).await {
                Ok(Some(answer)) if held.digest.matches(&answer.body) => Ok(()),
                Ok(_) => Err(Failure::NotKept),
                Err(failure) => Err(failure),
            },
        )
    }

    /// What the registry refuses goes to the layout, if there is one.
    pub(super) async fn refused(
        &self,
        held: &Held,
        tag: Option<&str>,
        reference: String,
        failure: Failure,
    ) -> Result<(), TransferError> {
        if self.layout.is_some() && matches!(failure, Failure::Refused { .. } | Failure::Elsewhere)
        {
            return self.to_layout(held, tag).await;
        }
        self.fail(reference, failure).await
    }

    pub(super) async fn to_layout(
        &self,
        held: &Held,
        tag: Option<&str>,
    ) -> Result<(), TransferError> {
        self.counts().layout += 1;
        let Some(layout) = &self.layout else {
            return Ok(());
        };
        if let Ok(manifest) = Manifest::parse(&held.bytes, &held.media_type) {
            for blob in manifest.blobs() {
                if let Some(content) = self.export.store.read(&self.name, &blob.digest).await? {
                    layout.add_blob(&blob.digest, content.body).await?;
                }
            }
        }
        layout.add_manifest(held, tag).await
    }

    pub(super) async fn fail(
        &self,
        reference: String,
        failure: Failure,
    ) -> Result<(), TransferError> {
        if let Failure::Upstream(UpstreamError::Connection(_) | UpstreamError::FirstByte(_)) =
            &failure
        {
            self.export.registry.answers().await?;
        }
        self.counts().failed.add(reference, failure);
        Ok(())
    }
}
