//! Decides about images: gathers the signatures of a digest, has them verified, and asks the policy.
//!
//! What is judged is the digest that is served or named by a tag, never the way to it (see [`Admission::pull`]). A
//! decision rests on verdicts alone: what cannot be read or verified counts as unsigned where that is safe, and is an
//! error (503) where it would otherwise decide.
//!
//! Verdicts are remembered in the process by what they are about, and beside the rows of the index, sealed: a row that
//! was changed, or that is of another policy, other trust material or other signatures, is as if it were not there.

mod audit;
mod context;
mod error;
mod evidence;
mod explain;
mod pull;
mod push;
mod standing;
mod verdicts;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use moka::future::Cache;

use crate::clock::{Clock, UnixMillis};
use crate::oci::{Digest, Manifest, RepositoryName, Tag};
use crate::policy::{OnPull, OnPush, Rule, Snapshot};
use crate::sealing::Sealer;
use crate::store::{SignatureStore, StoreError};

pub use crate::policy::{is_marker, marker_tag};
pub use audit::AdmissionMetrics;
pub use error::AdmissionError;
pub use evidence::{Form, form};
pub use explain::{ExplainAsked, ExplainedSignature, Explanation};
pub use pull::{Pull, PullAsked, PullDecision};
pub use push::{Examined, Push, PushAsked, PushDecision};
pub use verdicts::{Opinion, Signature};

/// Decisions about pulls are believed for so long: what another replica learns shows here after at most this.
pub const BELIEVED: Duration = Duration::from_secs(1);
/// Bytes of verdicts kept in memory, about.
const VERDICTS: u64 = 32 << 20;
/// Decisions and notes kept in memory at most.
const CAPACITY: u64 = 100_000;
/// Generations: writes through this process to one repository end its decisions, and those of few others.
const GENERATIONS: usize = 256;

/// Why an image is not admitted as signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsigned {
    /// The rule that decided.
    pub rule: String,
    /// What it requires, in words.
    pub requires: String,
    /// The digest that was judged.
    pub digest: Digest,
    /// The authorities whose signatures would complete it.
    pub missing: Vec<String>,
    /// What has to be signed, by a command for each of them: the digest itself, or children of it.
    pub commands: Vec<(&'static str, Digest)>,
    /// What kept those signatures that are there from counting.
    pub reasons: Vec<String>,
}

impl Unsigned {
    /// What has to be typed to sign it; `named` is the repository with its host.
    #[must_use]
    pub fn next(&self, named: &str) -> Option<String> {
        let commands: Vec<String> = self
            .commands
            .iter()
            .map(|(command, digest)| format!("{command} {named}@{digest}"))
            .collect();
        (!commands.is_empty()).then(|| commands.join(" && "))
    }

    /// Nobody can say whether it is signed.
    fn undecided(rule: &Rule, digest: &Digest, error: &AdmissionError) -> Self {
        Self {
            rule: rule.name.clone(),
            requires: rule
                .require
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            digest: digest.clone(),
            missing: Vec::new(),
            commands: Vec::new(),
            reasons: vec![format!("could not be decided: {error}")],
        }
    }
}

/// What only the registry behind has, read with the right of whoever asks.
pub trait Elsewhere: Send + Sync {
    /// A blob of a signature that is not in the store; `None` if the registry has none either.
    fn blob<'a>(
        &'a self,
        digest: &'a Digest,
        limit: u64,
    ) -> BoxFuture<'a, Result<Option<Bytes>, AdmissionError>>;

    /// What a manifest is; `None` if the registry has none.
    fn describe<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<Described>, AdmissionError>>;
}

/// What a manifest is, as far as decisions rest on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its media type.
    pub media_type: String,
    /// Its length in bytes.
    pub size: u64,
    /// What it lists, if it is an index.
    pub children: Vec<Digest>,
}

impl Described {
    /// About the memory it takes, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        256 + 96 * self.children.len()
    }

    /// A manifest of `size` bytes.
    #[must_use]
    pub fn of(manifest: &Manifest, size: u64) -> Self {
        let listed = manifest.manifests.iter();
        Self {
            media_type: manifest.media_type.clone(),
            size,
            children: listed.map(|child| child.digest.clone()).collect(),
        }
    }
}

/// Decides, by the policy that is in force at the moment.
#[derive(Clone)]
pub struct Admission {
    store: Arc<SignatureStore>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    sealer: Arc<Sealer>,
    clock: Arc<dyn Clock>,
    metrics: AdmissionMetrics,
    verdicts: verdicts::Remembered,
    decided: Cache<pull::Key, Arc<Pull>>,
    noted: Cache<(RepositoryName, Digest, Noted), ()>,
    generations: Arc<[AtomicU64; GENERATIONS]>,
}

/// What this process has recorded already.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Noted {
    Tag(Tag),
    Child(Digest),
}

impl Admission {
    /// Decides over a store, by whatever snapshot is current.
    #[must_use]
    pub fn new(
        store: Arc<SignatureStore>,
        snapshot: Arc<ArcSwap<Snapshot>>,
        sealer: Arc<Sealer>,
        clock: Arc<dyn Clock>,
        metrics: AdmissionMetrics,
    ) -> Self {
        Self {
            store,
            snapshot,
            sealer,
            clock,
            metrics,
            verdicts: verdicts::Remembered::new(VERDICTS),
            decided: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_live(BELIEVED)
                .build(),
            noted: Cache::builder().max_capacity(CAPACITY).build(),
            generations: Arc::new(std::array::from_fn(|_| AtomicU64::new(0))),
        }
    }

    /// The policy in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Whether anything that is read from `repository` has to be judged.
    #[must_use]
    pub fn gates_pulls(&self, repository: &RepositoryName) -> bool {
        let snapshot = self.snapshot.load();
        let rules = snapshot.policy().rules_of(repository);
        rules
            .iter()
            .any(|rule| rule.on_unsigned_pull != OnPull::Allow)
    }

    /// Whether anything that is pushed to `repository` has to be judged or remembered.
    #[must_use]
    pub fn concerns(&self, repository: &RepositoryName) -> bool {
        !self
            .snapshot
            .load()
            .policy()
            .rules_of(repository)
            .is_empty()
    }

    /// Whether a rule about `repository` marks what is unsigned.
    #[must_use]
    pub fn marks(&self, repository: &RepositoryName) -> bool {
        let snapshot = self.snapshot.load();
        let rules = snapshot.policy().rules_of(repository);
        rules
            .iter()
            .any(|rule| rule.on_unsigned_push == OnPush::Tag)
    }

    /// The present instant, by the clock of all decisions.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// The registry behind names `digest` by `tag`: reads by digest are judged by the rule of the tag.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn note_tag(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        tag: &Tag,
    ) -> Result<(), StoreError> {
        let key = (repository.clone(), digest.clone(), Noted::Tag(tag.clone()));
        if self.noted.contains_key(&key) {
            return Ok(());
        }
        self.store.note_tagged(repository, digest, tag).await?;
        self.noted.insert(key, ()).await;
        self.changed(repository);
        Ok(())
    }

    /// The index `parent` lists `children`: they are judged by it as well.
    ///
    /// # Errors
    /// The object store is unavailable.
    pub async fn note_children(
        &self,
        repository: &RepositoryName,
        parent: &Digest,
        children: &[Digest],
    ) -> Result<(), StoreError> {
        let mut named = children.to_vec();
        for child in children.iter().filter(|child| !child.is_canonical()) {
            // It is judged by its canonical name when it is read.
            named.extend(self.store.alias(repository, child).await?);
        }
        for child in &named {
            let key = (
                repository.clone(),
                parent.clone(),
                Noted::Child(child.clone()),
            );
            if !self.noted.contains_key(&key) {
                self.store.note_parent(repository, child, parent).await?;
                self.noted.insert(key, ()).await;
                self.changed(repository);
            }
        }
        Ok(())
    }

    /// What was decided about `repository` is decided anew.
    pub fn changed(&self, repository: &RepositoryName) {
        self.generation(repository).fetch_add(1, Ordering::Relaxed);
    }

    fn generation(&self, repository: &RepositoryName) -> &AtomicU64 {
        let sum = repository.as_str().bytes().fold(0_usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(usize::from(byte))
        });
        // The array is never empty.
        let [first, ..] = &*self.generations;
        self.generations.get(sum % GENERATIONS).unwrap_or(first)
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Admission").finish_non_exhaustive()
    }
}
