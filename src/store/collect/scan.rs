//! One walk over all objects: what is needed, repository by repository, and what is not.
//!
//! The sections of a repository lie in the order of their names: links, then referrers, then the marks and versions of
//! tags. So links are remembered as hashes until all that may need them was read, and listed once more only where some
//! of them seem not to be needed. What is written meanwhile is too young to be a candidate, whatever the walk has seen.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::candidates::Candidates;
use super::{Config, Unreferenced, unless_damaged};
use crate::clock::UnixMillis;
use crate::oci::{Digest, Manifest, RepositoryName};
use crate::store::blob::{Key, Listed};
use crate::store::error::StoreError;
use crate::store::layout::{self, Place};
use crate::store::records::{Link, LinkKind, ReferrerRecord, TagVersion};
use crate::store::signatures::{PAGE, PARALLEL, SignatureStore};
use crate::store::staging::KEPT;

/// A scan, and what it knows of the whole store.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    store: &'a SignatureStore,
    now: UnixMillis,
    untouched: Duration,
    /// Hashes of what some repository links or needs.
    referenced: HashSet<u64>,
    hashes: RandomState,
    /// Subjects that carry the mark of a deletion.
    orphans: Vec<(RepositoryName, Digest)>,
}

/// What is known of the repository that the walk is in.
#[derive(Debug)]
struct Repository {
    name: RepositoryName,
    /// Hashes of what is linked, and whether the link is old enough to be collected.
    links: HashMap<u64, bool>,
    needed: HashSet<u64>,
    /// Manifests of captured tags that were read.
    read: HashSet<u64>,
    /// Something that may need links cannot be read, so all of them stay.
    is_doubtful: bool,
}

/// A record that says what is needed.
#[derive(Debug)]
enum Needs {
    /// That of a referrer.
    Referrer(Key),
    /// A version of a captured tag.
    Version(Key),
    /// The mark of a captured tag on this manifest.
    Tagged(Digest),
}

/// What a record says.
#[derive(Debug)]
enum Said {
    Needed(Vec<Digest>),
    /// A captured tag names this manifest, which says more.
    Manifest(Digest),
    /// It cannot be read.
    InDoubt,
}

impl<'a> Scan<'a> {
    pub(super) fn new(store: &'a SignatureStore, config: &Config, now: UnixMillis) -> Self {
        Self {
            store,
            now,
            untouched: config.untouched,
            referenced: HashSet::new(),
            hashes: RandomState::new(),
            orphans: Vec::new(),
        }
    }

    /// Gives `candidates` what nothing refers to; returns the subjects that carry the mark of a deletion.
    pub(super) async fn run(
        mut self,
        candidates: &mut Candidates<'_>,
    ) -> Result<Vec<(RepositoryName, Digest)>, StoreError> {
        self.walk_repositories(candidates).await?;
        self.walk_blobs(candidates).await?;
        Ok(self.orphans)
    }

    async fn walk_repositories(
        &mut self,
        candidates: &mut Candidates<'_>,
    ) -> Result<(), StoreError> {
        let mut current: Option<Repository> = None;
        let mut after: Option<Key> = None;
        loop {
            let under = layout::repositories();
            let page = self.store.blobs.list(&under, after.as_ref(), PAGE).await?;
            candidates.scanned(page.len());
            after = page.last().map(|listed| listed.key.clone());
            let is_last = page.len() < PAGE;
            let mut group: Vec<(Listed, Place)> = Vec::new();
            for listed in page {
                let Some((name, place)) = layout::place(&listed.key) else {
                    continue;
                };
                let is_next = current.as_ref().is_none_or(|current| current.name != name);
                if is_next && let Some(mut ended) = current.replace(Repository::new(name)) {
                    let group = std::mem::take(&mut group);
                    self.read_group(&mut ended, group, candidates).await?;
                    self.end(ended, candidates).await?;
                }
                group.push((listed, place));
            }
            if let Some(current) = &mut current {
                self.read_group(current, group, candidates).await?;
            }
            if is_last {
                break;
            }
        }
        match current {
            Some(ended) => self.end(ended, candidates).await,
            None => Ok(()),
        }
    }

    /// Takes a run of records of one repository, in the order of their keys.
    async fn read_group(
        &mut self,
        repository: &mut Repository,
        group: Vec<(Listed, Place)>,
        candidates: &mut Candidates<'_>,
    ) -> Result<(), StoreError> {
        let mut needs = Vec::new();
        for (listed, place) in group {
            let is_old = self.is_old(&listed);
            match place {
                Place::Link(digest) => {
                    let hash = self.hash(&digest);
                    repository.links.insert(hash, is_old);
                }
                Place::Referrer { .. } => needs.push(Needs::Referrer(listed.key)),
                Place::TagVersion => needs.push(Needs::Version(listed.key)),
                Place::Tagged(digest) if repository.links.contains_key(&self.hash(&digest)) => {
                    needs.push(Needs::Tagged(digest));
                }
                Place::Tagged(_) if is_old => candidates.found(listed.into()).await?,
                Place::Staged if listed.modified.saturating_add(KEPT) <= self.now => {
                    candidates.expired(&listed.into()).await?;
                }
                Place::Orphaned(subject) => self.orphans.push((repository.name.clone(), subject)),
                // What policy keeps stands by itself: it has its own end, or none. A second name goes with a deletion.
                Place::Named | Place::Mark | Place::Kept | Place::Existing | Place::Alias => {}
                Place::Tagged(_) | Place::Staged | Place::Tombstone | Place::Unknown => {}
            }
        }
        let said = self.read_records(needs).await?;
        let mut manifests = Vec::new();
        for said in said {
            if let Some(digest) = self.hear(repository, said) {
                let hash = self.hash(&digest);
                if repository.links.contains_key(&hash) && repository.read.insert(hash) {
                    manifests.push(digest);
                }
            }
        }
        for said in self.read_manifests(&repository.name, manifests).await? {
            self.hear(repository, said);
        }
        Ok(())
    }

    /// Notes what a record has said; returns the manifest it leads to, if it does.
    fn hear(&self, repository: &mut Repository, said: Said) -> Option<Digest> {
        match said {
            Said::Needed(digests) => {
                let hashes = digests.iter().map(|digest| self.hash(digest));
                repository.needed.extend(hashes);
                None
            }
            Said::Manifest(digest) => Some(digest),
            Said::InDoubt => {
                repository.is_doubtful = true;
                None
            }
        }
    }

    async fn read_records(&self, needs: Vec<Needs>) -> Result<Vec<Said>, StoreError> {
        stream::iter(needs)
            .map(|needs| self.read_record(needs))
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await
    }

    /// A record that was deleted meanwhile needs nothing.
    async fn read_record(&self, needs: Needs) -> Result<Said, StoreError> {
        Ok(match needs {
            Needs::Referrer(key) => {
                match unless_damaged(self.store.record::<ReferrerRecord>(&key).await)? {
                    Some(Some(record)) => {
                        let mut digests = record.blobs;
                        digests.push(record.referrer.descriptor.digest);
                        Said::Needed(digests)
                    }
                    Some(None) => Said::Needed(Vec::new()),
                    None => Said::InDoubt,
                }
            }
            Needs::Version(key) => {
                match unless_damaged(self.store.record::<TagVersion>(&key).await)? {
                    Some(Some(version)) => Said::Manifest(version.digest),
                    Some(None) => Said::Needed(Vec::new()),
                    None => Said::InDoubt,
                }
            }
            Needs::Tagged(digest) => Said::Manifest(digest),
        })
    }

    async fn read_manifests(
        &self,
        repository: &RepositoryName,
        manifests: Vec<Digest>,
    ) -> Result<Vec<Said>, StoreError> {
        stream::iter(manifests)
            .map(|digest| self.read_manifest(repository, digest))
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await
    }

    /// What a manifest of a captured tag needs: itself, unless regseal makes it anew when asked, and what it names.
    async fn read_manifest(
        &self,
        repository: &RepositoryName,
        digest: Digest,
    ) -> Result<Said, StoreError> {
        let key = layout::link(repository, &digest);
        let Some(link) = unless_damaged(self.store.record::<Link>(&key).await)? else {
            return Ok(Said::InDoubt);
        };
        let Some(link) = link else {
            return Ok(Said::Needed(Vec::new()));
        };
        let bytes = self.store.blobs.get(&layout::blob(&digest)).await;
        let bytes = unless_damaged(bytes.map_err(StoreError::from))?.flatten();
        let manifest = bytes
            .filter(|bytes| digest.matches(bytes))
            .and_then(|bytes| Manifest::parse(&bytes, &link.media_type).ok());
        Ok(match manifest {
            Some(manifest) => {
                let named = manifest.blobs().chain(&manifest.manifests);
                let mut digests: Vec<Digest> = named.map(|named| named.digest.clone()).collect();
                if link.kind != LinkKind::Generated {
                    digests.push(digest);
                }
                Said::Needed(digests)
            }
            None if link.kind == LinkKind::Generated => Said::Needed(Vec::new()),
            None => {
                tracing::error!(%key, "a manifest cannot be read; nothing of its repository is collected");
                Said::InDoubt
            }
        })
    }

    /// All records of a repository were seen.
    async fn end(
        &mut self,
        repository: Repository,
        candidates: &mut Candidates<'_>,
    ) -> Result<(), StoreError> {
        let is_unneeded =
            |(hash, is_old): (&u64, &bool)| *is_old && !repository.needed.contains(hash);
        if !repository.is_doubtful && repository.links.iter().any(is_unneeded) {
            self.find_unneeded_links(&repository, candidates).await?;
        }
        self.referenced.extend(repository.links.into_keys());
        self.referenced.extend(repository.needed);
        Ok(())
    }

    async fn find_unneeded_links(
        &self,
        repository: &Repository,
        candidates: &mut Candidates<'_>,
    ) -> Result<(), StoreError> {
        let under = layout::links(&repository.name);
        let mut after: Option<Key> = None;
        loop {
            let page = self.store.blobs.list(&under, after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|listed| listed.key.clone());
            let unneeded = page.into_iter().filter(|listed| {
                let Some((_, Place::Link(digest))) = layout::place(&listed.key) else {
                    return false;
                };
                let hash = self.hash(&digest);
                // What is linked since then was not looked up among what is needed.
                repository.links.contains_key(&hash)
                    && !repository.needed.contains(&hash)
                    && self.is_old(listed)
            });
            let mut readable = stream::iter(unneeded)
                .map(|listed| async {
                    let record = self.store.record::<Link>(&listed.key).await;
                    let link = unless_damaged(record)?.flatten();
                    Ok::<_, StoreError>(link.map(|_| listed))
                })
                .buffered(PARALLEL);
            while let Some(found) = readable.try_next().await? {
                if let Some(found) = found {
                    candidates.found(found.into()).await?;
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn walk_blobs(&self, candidates: &mut Candidates<'_>) -> Result<(), StoreError> {
        let mut after: Option<Key> = None;
        loop {
            let under = layout::blobs();
            let page = self.store.blobs.list(&under, after.as_ref(), PAGE).await?;
            candidates.scanned(page.len());
            let is_last = page.len() < PAGE;
            after = page.last().map(|listed| listed.key.clone());
            for listed in page {
                let Some(digest) = layout::blob_digest(&listed.key) else {
                    continue;
                };
                if self.is_old(&listed) && !self.referenced.contains(&self.hash(&digest)) {
                    candidates.found(listed.into()).await?;
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn is_old(&self, listed: &Listed) -> bool {
        listed.modified.saturating_add(self.untouched) <= self.now
    }

    fn hash(&self, digest: &Digest) -> u64 {
        self.hashes.hash_one(digest)
    }
}

impl Repository {
    fn new(name: RepositoryName) -> Self {
        Self {
            name,
            links: HashMap::new(),
            needed: HashSet::new(),
            read: HashSet::new(),
            is_doubtful: false,
        }
    }
}

impl From<Listed> for Unreferenced {
    fn from(listed: Listed) -> Self {
        Self {
            key: listed.key,
            size: listed.size,
            modified: listed.modified,
        }
    }
}
