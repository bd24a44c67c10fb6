//! Writes to the registry behind what only regseal holds, so that regseal can be taken away: captured referrers with their
//! blobs, the tag of the referrers tag schema of each subject where the registry has no Referrers API, and cosign's own
//! tags, as regseal serves them.
//!
//! What the registry has is left as it is: entries and layers that it has and regseal has not stay. What is written is
//! read back. What was deleted through regseal, kept as rejected, or staged, is none of all this. Whatever the registry
//! refuses can go to an OCI image layout instead.

mod layout;
mod repository;
mod tags;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::TransferError;
use super::registry::{Registry, Settings};
use super::report::{ExportCounts, ExportReport, Progress};
use crate::auth::{Caller, Relay};
use crate::oci::RepositoryName;
use crate::store::SignatureStore;
use crate::upstream::Upstream;

use repository::OneRepository;

/// What is to be exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// The repositories; none: all.
    pub repositories: Option<Vec<RepositoryName>>,
    /// The folder for what the registry refuses. With one repository named it is its layout, else that has one for each
    /// repository, named as it is with `+` for `/`.
    pub layout: Option<PathBuf>,
    /// Whether everything goes there, and nothing to the registry.
    pub layout_only: bool,
    /// Changes nothing.
    pub dry_run: bool,
    /// Subjects and tags that are worked on at once.
    pub parallel: usize,
}

/// An export, from one store to one registry.
#[derive(Debug)]
pub struct Export {
    registry: Registry,
    store: Arc<SignatureStore>,
    settings: Settings,
    repositories: AtomicU64,
    items: AtomicU64,
}

impl Export {
    /// An export that has asked nothing yet. `account` is what regseal itself is to the registry.
    #[must_use]
    pub fn new(
        upstream: Arc<Upstream>,
        relay: Arc<Relay>,
        store: Arc<SignatureStore>,
        account: Caller,
        settings: Settings,
    ) -> Self {
        Self {
            registry: Registry::new(upstream, relay, account),
            store,
            settings,
            repositories: AtomicU64::new(0),
            items: AtomicU64::new(0),
        }
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            repositories: self.repositories.load(Ordering::Relaxed),
            items: self.items.load(Ordering::Relaxed),
            requests: self.registry.requests(),
        }
    }

    /// Exports.
    ///
    /// # Errors
    /// The registry, the stores or the folder of the layout fail; begun again, what is there is left alone.
    pub async fn run(&self, options: &ExportOptions) -> Result<ExportReport, TransferError> {
        let started = Instant::now();
        if !options.layout_only {
            self.registry.answers().await?;
        }
        let mut counts = ExportCounts::default();
        let mut repositories = 0;
        if let Some(names) = &options.repositories {
            for name in names {
                repositories += 1;
                counts.add(Box::pin(OneRepository::export(self, options, name.clone())).await?);
                self.repositories.fetch_add(1, Ordering::Relaxed);
            }
        } else {
            let mut after = None;
            while let Some(name) = self.store.next_repository(after.as_ref()).await? {
                repositories += 1;
                counts.add(Box::pin(OneRepository::export(self, options, name.clone())).await?);
                self.repositories.fetch_add(1, Ordering::Relaxed);
                after = Some(name);
            }
        }
        Ok(ExportReport {
            dry_run: options.dry_run,
            repositories,
            referrers: counts.referrers,
            fallback_tags: counts.fallback_tags,
            cosign_tags: counts.cosign_tags,
            written: counts.written,
            already_there: counts.already_there,
            layout: counts.layout,
            more_problems: counts.skipped.more + counts.failed.more,
            skipped: counts.skipped.listed,
            failed: counts.failed.listed,
            requests: self.registry.requests(),
            duration: (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        })
    }
}
