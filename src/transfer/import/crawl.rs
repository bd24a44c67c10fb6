//! One repository: its tags, what they name, and what hangs on that, each manifest once.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};

use super::{Import, Run};
use crate::oci::companion_tag::referrers_tag;
use crate::oci::{CompanionTag, Digest, Manifest, ManifestKind, RepositoryName, Tag};
use crate::transfer::TransferError;
use crate::transfer::registry::Failure;
use crate::transfer::report::Counts;
use crate::upstream::Answer;
use crate::upstream::UpstreamError;

/// Tags after which it is written down how far it is.
const PART: usize = 200;

/// A part of a repository that a run is through with.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    /// The last tag of it, in the order of their bytes.
    after: Option<String>,
    /// Whether the repository ends here.
    is_last: bool,
    counts: Counts,
}

/// A repository that is looked through.
pub(super) struct Crawl<'a> {
    pub(super) import: &'a Import,
    pub(super) run: &'a Run,
    pub(super) name: RepositoryName,
    has_api: bool,
    hashes: RandomState,
    /// Hashes of what is looked at or was.
    seen: Mutex<HashSet<u64>>,
    /// Of the present part.
    counts: Mutex<Counts>,
}

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Item {
    Tag(Tag),
    /// What an index lists.
    Child {
        parent: Digest,
        digest: Digest,
    },
    /// What a tag of the referrers tag schema lists.
    Entry {
        tag: Tag,
        digest: Digest,
    },
    /// The native list of a manifest.
    List(Digest),
    /// What stands in it.
    Native {
        subject: Digest,
        digest: Digest,
    },
}

/// How a referrer was found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Native,
    FallbackTag,
    CosignTag,
    Tagged,
}

impl<'a> Crawl<'a> {
    /// Looks through a repository, from where the run has come to.
    pub(super) async fn of(
        import: &'a Import,
        run: &'a Run,
        name: RepositoryName,
    ) -> Result<Counts, TransferError> {
        let mut crawl = Self {
            import,
            run,
            name,
            has_api: false,
            hashes: RandomState::new(),
            seen: Mutex::default(),
            counts: Mutex::default(),
        };
        let mut total = Counts::default();
        let parts = crawl.parts().await?;
        let (mut number, mut after) = (parts.len() as u64, None);
        let mut is_done = false;
        for part in parts {
            is_done = part.is_last;
            after = part.after;
            total.add(part.counts);
        }
        if is_done {
            return Ok(total);
        }
        let tags = crawl.tags_after(after.as_deref()).await?;
        let mut chunks = tags.chunks(PART).peekable();
        loop {
            let chunk = chunks.next().unwrap_or_default();
            let is_last = chunks.peek().is_none();
            crawl.look_at(chunk).await?;
            number += 1;
            let part = Part {
                after: chunk.last().map(|tag| tag.as_str().to_owned()),
                is_last,
                counts: std::mem::take(&mut *crawl.counts()),
            };
            crawl.write_down(number, &part).await?;
            total.add(part.counts);
            if is_last {
                return Ok(total);
            }
        }
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn parts(&self) -> Result<Vec<Part>, TransferError> {
        match self.run.number {
            Some(number) if self.run.is_resumed => {
                let parts = self.import.store.import_parts(number, &self.name);
                Ok(parts.await?)
            }
            Some(_) | None => Ok(Vec::new()),
        }
    }

    async fn write_down(&self, number: u64, part: &Part) -> Result<(), TransferError> {
        let Some(run) = self.run.number else {
            return Ok(());
        };
        let store = &self.import.store;
        match store.put_import_part(run, &self.name, number, part).await? {
            true => Ok(()),
            false => Err(TransferError::Elsewhere),
        }
    }

    /// The tags that are still to be looked at.
    async fn tags_after(&mut self, after: Option<&str>) -> Result<Vec<Tag>, TransferError> {
        let mut counts = Counts::default();
        let listed = match self.import.tags(&self.name, &mut counts).await {
            Ok(Some(tags)) if tags.is_empty() => Ok(tags),
            Ok(Some(tags)) => self
                .import
                .registry
                .has_referrers_api(&self.name)
                .await
                .map(|has| {
                    self.has_api = has;
                    tags
                }),
            Ok(None) => {
                let reason = "the registry has no tags of such a repository";
                counts.skipped.add(self.name.to_string(), reason);
                Ok(Vec::new())
            }
            Err(failure) => Err(failure),
        };
        let tags = match listed {
            Ok(tags) => tags,
            Err(failure) => {
                let reason = self.reason(failure).await?;
                counts.failed.add(self.name.to_string(), reason);
                Vec::new()
            }
        };
        if after.is_none() {
            self.counts().add(counts);
        }
        let is_left = |tag: &Tag| after.is_none_or(|after| tag.as_str() > after);
        Ok(tags.into_iter().filter(is_left).collect())
    }

    /// Looks at some tags and all that hangs on them.
    async fn look_at(&self, tags: &[Tag]) -> Result<(), TransferError> {
        let mut waiting: Vec<Item> = tags.iter().rev().cloned().map(Item::Tag).collect();
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < self.run.parallel
                && let Some(item) = waiting.pop()
            {
                running.push(Box::pin(self.look(item)));
            }
            let Some(found) = running.next().await else {
                return Ok(());
            };
            let is_new = |item: &Item| self.is_unseen(&("item", item));
            waiting.extend(found?.into_iter().filter(is_new));
        }
    }

    /// Looks at one thing, and says what hangs on it.
    async fn look(&self, item: Item) -> Result<Vec<Item>, TransferError> {
        // Held while a manifest is in memory, by all repositories together.
        let slot = self.run.slots.acquire().await;
        let found = match &item {
            Item::Tag(tag) => {
                let found = self.tag(tag).await;
                self.import.done.tags.fetch_add(1, Ordering::Relaxed);
                found
            }
            Item::Child { parent, digest } => self.child(parent, digest).await,
            Item::Entry { tag, digest } => self.entry(tag, digest).await,
            Item::List(subject) => self.list(subject).await,
            Item::Native { subject, digest } => self.native(subject, digest).await,
        };
        drop(slot);
        found
    }

    async fn tag(&self, tag: &Tag) -> Result<Vec<Item>, TransferError> {
        let reference = format!("{}:{tag}", self.name);
        let Some(answer) = self.read(tag.as_str(), &reference).await? else {
            return Ok(Vec::new());
        };
        self.counts().tags += 1;
        let digest = Digest::sha256(&answer.body);
        // Whoever may push may give a manifest the tag of its own name, which no policy judges.
        if referrers_tag(&digest) == tag.as_str() {
            return Ok(Vec::new());
        }
        self.was_there(&digest).await?;
        if self.run.takes_inventory {
            let store = &self.import.store;
            store.note_tagged(&self.name, &digest, tag).await?;
        }
        let manifest = Manifest::parse(&answer.body, answer.content_type()).ok();
        // Some registries resolve the tag `sha256-<hex>` to the subject itself.
        let is_list = |index: &&Manifest| {
            lists_referrers(tag, index) && referrers_tag(&digest) != tag.as_str()
        };
        if let Some(CompanionTag::Cosign(_)) = CompanionTag::parse(tag) {
            self.cosign_tag(tag, &digest, answer, manifest.as_ref())
                .await?;
        } else if let Some(index) = manifest.as_ref().filter(is_list) {
            self.counts().manifests += 1;
            let entries = index.manifests.iter().map(|entry| Item::Entry {
                tag: tag.clone(),
                digest: entry.digest.clone(),
            });
            return Ok(entries.collect());
        } else if let Some(manifest) = &manifest {
            return self.manifest(digest, &answer, manifest).await;
        }
        self.counts().manifests += 1;
        Ok(Vec::new())
    }

    /// A manifest that is no companion of another: by its subject a referrer as well, by its entries an index.
    async fn manifest(
        &self,
        digest: Digest,
        answer: &Answer,
        manifest: &Manifest,
    ) -> Result<Vec<Item>, TransferError> {
        if !self.is_first(&digest) {
            return Ok(Vec::new());
        }
        self.counts().manifests += 1;
        if let Some(subject) = &manifest.subject {
            let found = (digest.clone(), answer.body.clone());
            self.referrer(Way::Tagged, &subject.digest, found, manifest)
                .await?;
        }
        let children = manifest.manifests.iter().map(|child| Item::Child {
            parent: digest.clone(),
            digest: child.digest.clone(),
        });
        Ok(children.chain(self.list_of(&digest)).collect())
    }

    async fn child(&self, parent: &Digest, digest: &Digest) -> Result<Vec<Item>, TransferError> {
        let reference = format!("{}@{digest}", self.name);
        // What an index lists need not be there; what is there under another digest is something else.
        let answer = self.read(digest.as_str(), &reference).await?;
        let Some(answer) = answer.filter(|answer| digest.matches(&answer.body)) else {
            return Ok(Vec::new());
        };
        self.was_there(digest).await?;
        if self.run.takes_inventory {
            let store = &self.import.store;
            store.note_parent(&self.name, digest, parent).await?;
        }
        match Manifest::parse(&answer.body, answer.content_type()) {
            Ok(manifest) => self.manifest(digest.clone(), &answer, &manifest).await,
            Err(_) => Ok(Vec::new()),
        }
    }

    /// A signature may be signed itself.
    pub(super) fn list_of(&self, digest: &Digest) -> impl Iterator<Item = Item> {
        self.has_api.then(|| Item::List(digest.clone())).into_iter()
    }

    /// Notes that a manifest was there.
    pub(super) async fn was_there(&self, digest: &Digest) -> Result<(), TransferError> {
        if !self.is_unseen(&("existing", digest)) {
            return Ok(());
        }
        self.counts().existing += 1;
        if self.run.takes_inventory {
            let digests = [digest.clone()];
            let store = &self.import.store;
            store.add_to_inventory(&self.name, &digests).await?;
        }
        Ok(())
    }

    /// A manifest; `None` if there is none, or if it could not be had, which is then on record.
    pub(super) async fn read(
        &self,
        named: &str,
        reference: &str,
    ) -> Result<Option<Answer>, TransferError> {
        let limit = self.import.settings.max_manifest;
        match self
            .import
            .registry
            .manifest(&self.name, named, limit)
            .await
        {
            Ok(answer) => Ok(answer),
            Err(failure) => {
                self.fail(reference.to_owned(), failure).await?;
                Ok(None)
            }
        }
    }

    pub(super) fn skip(&self, reference: String, reason: impl std::fmt::Display) {
        self.counts().skipped.add(reference, reason);
    }

    pub(super) async fn fail(
        &self,
        reference: String,
        failure: Failure,
    ) -> Result<(), TransferError> {
        let reason = self.reason(failure).await?;
        self.counts().failed.add(reference, reason);
        Ok(())
    }

    /// What is said of a failure of one thing; a registry that has gone ends everything.
    async fn reason(&self, failure: Failure) -> Result<String, TransferError> {
        if let Failure::Upstream(UpstreamError::Connection(_) | UpstreamError::FirstByte(_)) =
            &failure
        {
            self.import.registry.answers().await?;
        }
        Ok(failure.to_string())
    }

    /// Whether a manifest is met for the first time.
    pub(super) fn is_first(&self, digest: &Digest) -> bool {
        self.is_unseen(&("manifest", digest))
    }

    fn is_unseen(&self, what: &impl std::hash::Hash) -> bool {
        let hash = self.hashes.hash_one(what);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(hash)
    }
}

/// Whether a tag has the form of the referrers tag schema, and names an index.
fn lists_referrers(tag: &Tag, index: &Manifest) -> bool {
    let is_cut = |tag: &str| {
        let encoded = tag.strip_prefix("sha512-").unwrap_or_default();
        encoded.len() == 64 && encoded.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let is_named_so = matches!(CompanionTag::parse(tag), Some(CompanionTag::Referrers(_)));
    index.kind == ManifestKind::Index && (is_named_so || is_cut(tag.as_str()))
}
