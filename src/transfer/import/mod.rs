//! Takes over what the registry behind had before regseal: native referrers, tags of the referrers tag schema, and
//! cosign's own tags; and takes the inventory of what was there.
//!
//! Every manifest is read by its bytes. A referrer is kept only if those have the digest that it is named by, and the
//! `subject` that it is listed for; a cosign tag only if its manifest has the form of what its name says. Signatures are
//! kept with their blobs, as a push through regseal keeps them; of other referrers the manifest is copied.
//!
//! **What was there** is: every manifest that a tag names, and every manifest that such an index lists, at any depth, and
//! that the registry has under that very digest in that very repository. What no tag leads to cannot be found, and is not
//! there. The inventory is finished when the whole registry was looked through and nothing failed: its own catalogue, or
//! a list that the operator says is complete. Once finished it takes in nothing more, whatever is imported later, since
//! what was pushed past regseal meanwhile would pass for old; unless it is asked to be taken anew.
//!
//! A run that was cut off is gone on with, part by part: see [`SignatureStore::begin_import`].

mod crawl;
mod entries;
mod lists;
mod take;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;

use super::TransferError;
use super::registry::{Registry, Settings};
use super::report::{Counts, ImportReport, Inventory, Progress};
use crate::auth::{Caller, Relay};
use crate::oci::RepositoryName;
use crate::store::SignatureStore;
use crate::upstream::Upstream;

use crawl::Crawl;
use lists::Repositories;

/// What is to be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// The repositories; none: those that the registry lists.
    pub repositories: Option<Vec<RepositoryName>>,
    /// Whether these are all that the registry has.
    pub is_complete_list: bool,
    /// Takes the inventory anew, where there is a finished one.
    pub renew_inventory: bool,
    /// Changes nothing.
    pub dry_run: bool,
    /// Manifests that are worked on at once.
    pub parallel: usize,
}

/// What makes two runs the same, so that the second goes on with the first.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    repositories: Option<Vec<String>>,
    is_complete_list: bool,
    renew_inventory: bool,
}

impl Begun {
    fn of(options: &ImportOptions) -> Self {
        let named = |names: &Vec<RepositoryName>| names.iter().map(ToString::to_string).collect();
        Self {
            repositories: options.repositories.as_ref().map(named),
            is_complete_list: options.is_complete_list,
            renew_inventory: options.renew_inventory,
        }
    }
}

/// An import, over one registry and one store.
#[derive(Debug)]
pub struct Import {
    registry: Registry,
    store: Arc<SignatureStore>,
    settings: Settings,
    done: Done,
}

/// What is done, while it is done.
#[derive(Debug, Default)]
struct Done {
    repositories: AtomicU64,
    tags: AtomicU64,
}

/// One run.
#[derive(Debug)]
struct Run {
    /// None where nothing is to be changed.
    number: Option<u64>,
    is_resumed: bool,
    /// Whether there is no inventory yet, or it is to be taken anew.
    lacks_inventory: bool,
    takes_inventory: bool,
    parallel: usize,
    slots: Semaphore,
}

impl Import {
    /// An import that has asked nothing yet. `account` is what regseal itself is to the registry.
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
            done: Done::default(),
        }
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            repositories: self.done.repositories.load(Ordering::Relaxed),
            items: self.done.tags.load(Ordering::Relaxed),
            requests: self.registry.requests(),
        }
    }

    /// Imports.
    ///
    /// # Errors
    /// The registry or the stores fail; begun again, it goes on where it was.
    pub async fn run(&self, options: &ImportOptions) -> Result<ImportReport, TransferError> {
        let started = Instant::now();
        self.registry.answers().await?;
        let run = self.begin(options).await?;
        let (repositories, counts) = self.walk(options, &run).await?;
        let is_whole = options.repositories.is_none() || options.is_complete_list;
        let finishes_inventory = run.lacks_inventory && is_whole && counts.failed.is_empty();
        if finishes_inventory && !options.dry_run {
            self.store
                .finish_inventory(repositories, counts.existing)
                .await?;
        }
        let inventory = match self.store.has_inventory().await? {
            true => Inventory::Finished,
            false => Inventory::Partial,
        };
        let report = ImportReport {
            dry_run: options.dry_run,
            repositories,
            tags: counts.tags,
            manifests: counts.manifests,
            referrers: counts.referrers,
            stored: counts.stored,
            already_there: counts.already_there,
            deleted: counts.deleted,
            more_problems: counts.skipped.more + counts.failed.more,
            skipped: counts.skipped.listed,
            failed: counts.failed.listed,
            inventory,
            finishes_inventory,
            requests: self.registry.requests(),
            duration: (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        };
        if let Some(number) = run.number {
            self.store.finish_import(number, &json!(report)).await?;
        }
        Ok(report)
    }

    /// Goes on with the latest run if it is the same and not finished, else begins one.
    async fn begin(&self, options: &ImportOptions) -> Result<Run, TransferError> {
        let begun = Begun::of(options);
        let lacks_inventory = options.renew_inventory || !self.store.has_inventory().await?;
        let mut run = Run {
            number: None,
            is_resumed: false,
            lacks_inventory,
            takes_inventory: lacks_inventory && !options.dry_run,
            parallel: options.parallel.max(1),
            slots: Semaphore::new(options.parallel.max(1)),
        };
        if options.dry_run {
            return Ok(run);
        }
        if let Some(latest) = self.store.latest_import().await?
            && latest.finished.is_none()
            && Begun::deserialize(&latest.begun).is_ok_and(|latest| latest == begun)
        {
            run.number = Some(latest.number);
            run.is_resumed = true;
            return Ok(run);
        }
        run.number = self.store.begin_import(&begun).await?;
        match run.number {
            Some(_) => Ok(run),
            None => Err(TransferError::Elsewhere),
        }
    }

    async fn walk(
        &self,
        options: &ImportOptions,
        run: &Run,
    ) -> Result<(u64, Counts), TransferError> {
        let mut repositories = Repositories::of(options.repositories.clone());
        let mut counts = Counts::default();
        let mut walked = 0;
        while let Some(page) = repositories.next(self, &mut counts).await? {
            let mut parts = stream::iter(page)
                .map(|name| Box::pin(Crawl::of(self, run, name)))
                .buffer_unordered(run.parallel);
            while let Some(part) = parts.try_next().await? {
                walked += 1;
                self.done.repositories.fetch_add(1, Ordering::Relaxed);
                counts.add(part);
            }
        }
        Ok((walked, counts))
    }
}
