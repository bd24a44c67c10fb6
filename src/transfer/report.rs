//! What a transfer has come to, as it is shown and written down.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

/// Problems that are listed; of more only the number is kept.
const LISTED: usize = 1000;

/// Something that was not transferred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What it is: `repository`, `repository:tag`, `repository@digest`.
    pub reference: String,
    /// Why not.
    pub reason: String,
}

/// Valid referrers that were found, each counted where it was found first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Referrers {
    /// In the lists of the registry's own Referrers API.
    pub native: u64,
    /// In tags of the referrers tag schema.
    pub fallback_tags: u64,
    /// As cosign's `.sig`, `.att` and `.sbom` tags.
    pub cosign_tags: u64,
    /// As manifests with a subject that another tag, or an index, names.
    pub tagged: u64,
}

/// What was found in a registry, or in a part of it, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Tags.
    pub tags: u64,
    /// Manifests that were read: of tags, in indexes, and referrers.
    pub manifests: u64,
    /// Manifests among them that count as having been there: those of tags and of indexes.
    pub existing: u64,
    /// Referrers.
    pub referrers: Referrers,
    /// Referrers that were stored.
    pub stored: u64,
    /// Referrers that the store had.
    pub already_there: u64,
    /// Referrers that were deleted through regseal, and stay so.
    pub deleted: u64,
    /// What is not what it claims to be.
    pub skipped: Problems,
    /// What could not be read.
    pub failed: Problems,
}

/// Some problems, and how many more there were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problems {
    /// The first of them.
    pub listed: Vec<Problem>,
    /// Those that are not listed.
    pub more: u64,
}

impl Problems {
    pub(super) fn add(&mut self, reference: String, reason: impl Display) {
        self.push(Problem {
            reference,
            reason: format!("{reason}"),
        });
    }

    fn push(&mut self, problem: Problem) {
        if self.listed.len() < LISTED {
            self.listed.push(problem);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn extend(&mut self, other: Self) {
        for problem in other.listed {
            self.push(problem);
        }
        self.more += other.more;
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.listed.len() as u64 + self.more
    }
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.tags += other.tags;
        self.manifests += other.manifests;
        self.existing += other.existing;
        self.referrers.native += other.referrers.native;
        self.referrers.fallback_tags += other.referrers.fallback_tags;
        self.referrers.cosign_tags += other.referrers.cosign_tags;
        self.referrers.tagged += other.referrers.tagged;
        self.stored += other.stored;
        self.already_there += other.already_there;
        self.deleted += other.deleted;
        self.skipped.extend(other.skipped);
        self.failed.extend(other.failed);
    }
}

/// Whether it is known what the registry had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inventory {
    /// All of it: `existing: allow` can be used.
    Finished,
    /// A part of it, or nothing.
    Partial,
}

/// What an import has come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportReport {
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// Repositories that were looked through.
    pub repositories: u64,
    /// Tags in them.
    pub tags: u64,
    /// Manifests that were read.
    pub manifests: u64,
    /// Valid referrers that were found.
    pub referrers: Referrers,
    /// Referrers that were stored.
    pub stored: u64,
    /// Referrers that the store had.
    pub already_there: u64,
    /// Referrers that were deleted through regseal, and stay so.
    pub deleted: u64,
    /// What is not what it claims to be; at most a thousand of them.
    pub skipped: Vec<Problem>,
    /// What could not be read; at most a thousand of them.
    pub failed: Vec<Problem>,
    /// Problems of both kinds that are not listed.
    pub more_problems: u64,
    /// Whether it is known what the registry had.
    pub inventory: Inventory,
    /// Whether this import has finished it, or would have if something were to be changed.
    #[serde(default)]
    pub finishes_inventory: bool,
    /// Requests to the registry, of this process.
    pub requests: u64,
    /// Seconds, of this process.
    pub duration: f64,
}

impl ImportReport {
    /// Whether everything was done that was to be done.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.skipped.is_empty() && self.failed.is_empty()
    }
}

/// What an export of one repository, or of some, has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ExportCounts {
    pub(super) referrers: u64,
    pub(super) fallback_tags: u64,
    pub(super) cosign_tags: u64,
    pub(super) written: u64,
    pub(super) already_there: u64,
    pub(super) layout: u64,
    pub(super) skipped: Problems,
    pub(super) failed: Problems,
}

impl ExportCounts {
    pub(super) fn add(&mut self, other: Self) {
        self.referrers += other.referrers;
        self.fallback_tags += other.fallback_tags;
        self.cosign_tags += other.cosign_tags;
        self.written += other.written;
        self.already_there += other.already_there;
        self.layout += other.layout;
        self.skipped.extend(other.skipped);
        self.failed.extend(other.failed);
    }
}

/// What an export has come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportReport {
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// Repositories that were looked through.
    pub repositories: u64,
    /// Captured referrers, and others that the registry has lost.
    pub referrers: u64,
    /// Tags of the referrers tag schema that are needed.
    pub fallback_tags: u64,
    /// Cosign tags.
    pub cosign_tags: u64,
    /// Manifests and tags of these that were written to the registry.
    pub written: u64,
    /// Those that the registry had.
    pub already_there: u64,
    /// Those that were written to the layout.
    pub layout: u64,
    /// What has a name there that means something else, and repositories that regseal knows nothing of; at most a thousand.
    pub skipped: Vec<Problem>,
    /// What could not be written; at most a thousand of them.
    pub failed: Vec<Problem>,
    /// Problems of both kinds that are not listed.
    pub more_problems: u64,
    /// Requests to the registry.
    pub requests: u64,
    /// Seconds.
    pub duration: f64,
}

impl ExportReport {
    /// Whether everything was done that was to be done.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.skipped.is_empty() && self.failed.is_empty()
    }
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Repositories that are done.
    pub repositories: u64,
    /// Tags, or referrers and tags, that are done.
    pub items: u64,
    /// Requests to the registry.
    pub requests: u64,
}
