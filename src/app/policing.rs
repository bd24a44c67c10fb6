//! The policy in force: read at the start, and again whenever its files change. A reload that fails changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use opentelemetry::metrics::Meter;

use super::reloading::{Looks, Outcomes};
use super::{StartError, translate};
use crate::auth::relay::Gates;
use crate::clock::{Clock, UnixMillis};
use crate::config::Settings;
use crate::oci::RepositoryName;
use crate::policy::{Existing, OnPull, Rule, Snapshot, Sources, Warning};
use crate::server::Readiness;
use crate::store::SignatureStore;

/// A file that was written so shortly before it was read may have been written again without a trace.
const RACY: Duration = Duration::from_secs(2);

const RELOADS: &str = "regseal.policy.reloads";

/// Reads the policy, and keeps it as its files are.
#[derive(Debug)]
pub(super) struct Policing {
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    store: Arc<SignatureStore>,
    from: From,
}

/// Where a snapshot comes from, whatever the time.
#[derive(Clone, Debug)]
struct From {
    policy_file: PathBuf,
    trust_directory: Option<PathBuf>,
    registry: Option<String>,
    clock: Arc<dyn Clock>,
}

impl From {
    fn load(&self) -> Result<(Snapshot, Vec<Warning>), StartError> {
        let sources = Sources {
            policy_file: self.policy_file.clone(),
            trust_directory: self.trust_directory.clone(),
            registry: self.registry.clone(),
            now: self.clock.now(),
        };
        Snapshot::load(&sources).map_err(StartError::Policy)
    }
}

impl Policing {
    /// Reads the policy that is configured; none if none is.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) async fn start(
        settings: &Settings,
        store: &Arc<SignatureStore>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Self>, StartError> {
        let Some(policy_file) = settings.policy.file.clone() else {
            return Ok(None);
        };
        let from = From {
            policy_file,
            trust_directory: settings.policy.trust_directory.clone(),
            registry: translate::public_authority(settings),
            clock: Arc::clone(clock),
        };
        let (snapshot, warnings) = from.load()?;
        needs_inventory(&snapshot, store).await?;
        report(&warnings);
        tracing::info!(
            policy_revision = snapshot.revision().policy,
            trust_revision = snapshot.revision().trust,
            rules = snapshot.policy().rules().len(),
            "policy loaded"
        );
        Ok(Some(Self {
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            store: Arc::clone(store),
            from,
        }))
    }

    /// Looks at the files, and at `SIGHUP`, until it is dropped.
    pub(super) async fn watch(self, readiness: Readiness, meter: Meter) {
        let reloads = meter
            .u64_counter(RELOADS)
            .with_description("Reloads of the policy and the trust material, by result.")
            .build();
        let mut outcomes = Outcomes::new("policy", readiness, reloads, Vec::new());
        let mut looks = Looks::start();
        let mut seen = self.look();
        loop {
            let asked_for = looks.next().await;
            let now = self.look();
            if !asked_for && now == seen && !now.is_racy(self.from.clock.now()) {
                continue;
            }
            seen = now;
            let result = self.reload(asked_for).await;
            let stays = format!("revision {}", self.snapshot.load().revision().policy);
            outcomes.tell(result, asked_for, &stays);
        }
    }

    /// Reads all again; whether anything is new. What was in force stays so unless all of it is right.
    async fn reload(&self, asked_for: bool) -> Result<bool, String> {
        let from = self.from.clone();
        let loaded = tokio::task::spawn_blocking(move || from.load()).await;
        let loaded = loaded.map_err(|panicked| panicked.to_string())?;
        let (snapshot, warnings) = loaded.map_err(|error| error.to_string())?;
        if snapshot.revision() == self.snapshot.load().revision() && !asked_for {
            return Ok(false);
        }
        needs_inventory(&snapshot, &self.store)
            .await
            .map_err(|error| error.to_string())?;
        report(&warnings);
        tracing::info!(
            policy_revision = snapshot.revision().policy,
            trust_revision = snapshot.revision().trust,
            "policy reloaded"
        );
        self.snapshot.store(Arc::new(snapshot));
        Ok(true)
    }

    fn look(&self) -> Seen {
        let snapshot = self.snapshot.load();
        let mut paths: Vec<PathBuf> = snapshot.watched().to_vec();
        paths.push(self.from.policy_file.clone());
        paths.extend(self.from.trust_directory.clone());
        let mut seen = Seen::default();
        for path in paths {
            seen.add(&path, 0);
        }
        seen
    }
}

/// What the files look like from outside.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen(BTreeMap<PathBuf, Option<(SystemTime, u64)>>);

impl Seen {
    fn add(&mut self, path: &Path, depth: usize) {
        let found = fs::metadata(path).ok();
        let stamp = found
            .as_ref()
            .and_then(|found| Some((found.modified().ok()?, found.len())));
        self.0.insert(path.to_owned(), stamp);
        if found.is_some_and(|found| found.is_dir()) && depth < 5 {
            let inside = fs::read_dir(path).into_iter().flatten().flatten();
            for entry in inside {
                self.add(&entry.path(), depth + 1);
            }
        }
    }

    fn is_racy(&self, now: UnixMillis) -> bool {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now.as_u64());
        let mut stamps = self.0.values().flatten();
        stamps.any(|(modified, _)| now.duration_since(*modified).is_ok_and(|age| age < RACY))
    }
}

/// Repositories whose policy keeps something from those who may only pull.
#[derive(Debug)]
pub(super) struct Kept(pub(super) Option<Arc<ArcSwap<Snapshot>>>);

impl Gates for Kept {
    fn any(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|snapshot| snapshot.load().policy().rules().iter().any(hides))
    }

    fn covers(&self, repository: &RepositoryName) -> bool {
        self.0.as_ref().is_some_and(|snapshot| {
            let snapshot = snapshot.load();
            let mut rules = snapshot.policy().rules_of(repository).into_iter();
            rules.any(hides)
        })
    }
}

fn hides(rule: &Rule) -> bool {
    rule.rejects() || rule.on_unsigned_pull == OnPull::Deny
}

/// What was there before regseal is known by its inventory alone: without one `existing: allow` would allow nothing,
/// and what is added to the registry later must not pass for it.
async fn needs_inventory(snapshot: &Snapshot, store: &SignatureStore) -> Result<(), StartError> {
    let mut rules = snapshot.policy().rules().iter();
    let Some(rule) = rules.find(|rule| rule.existing == Existing::Allow) else {
        return Ok(());
    };
    match store.has_inventory().await {
        Ok(false) => Err(StartError::Inventory {
            rule: rule.name.clone(),
        }),
        // An outage is no reason not to start: until it is over nothing passes for existing.
        Ok(true) | Err(_) => Ok(()),
    }
}

fn report(warnings: &[Warning]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Without a policy nothing is read again, and a signal that asks for it ends nobody.
pub(super) async fn nothing_to_reload() {
    let mut looks = Looks::start();
    loop {
        if looks.next().await {
            tracing::info!("SIGHUP: there is no policy to read again");
        }
    }
}
