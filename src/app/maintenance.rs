//! What runs beside the requests: the index is rebuilt where it is not complete, the journal repaired, what is kept for
//! a time swept. What is met there is the health of the stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::metrics::{Gauge, Meter};
use tokio::time::{MissedTickBehavior, interval};

use super::contact::Contact;
use crate::clock::{Clock, UnixMillis};
use crate::server::{Health, Readiness};
use crate::store::{self, IndexHealth, SignatureStore};

const JOURNAL: Duration = Duration::from_secs(1);
const OWED: Duration = Duration::from_secs(1);
const STAGING: Duration = Duration::from_secs(60);
const KEPT: Duration = Duration::from_secs(60);
const REBUILD: Duration = Duration::from_secs(1);

const REBUILD_OBJECTS: &str = "regseal.store.index.rebuild.objects";

/// What maintenance works on.
#[derive(Debug)]
pub(super) struct Maintenance {
    pub(super) store: Arc<SignatureStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) readiness: Readiness,
    pub(super) contact: Contact,
    pub(super) meter: Meter,
}

impl Maintenance {
    /// Runs until it is dropped. If that is before the drain, this process is dead to all who ask.
    pub(super) async fn run(self) {
        let _alive = Alive(self.readiness.clone());
        let walked = Walked::new(&self.meter);
        tokio::join!(
            self.journal(&walked),
            self.owed(),
            self.staging(),
            self.kept(),
            rebuild(&self.store, &walked)
        );
    }

    async fn journal(&self, walked: &Walked) {
        let mut ticks = ticks(JOURNAL);
        let mut objects = Objects::default();
        loop {
            ticks.tick().await;
            match self.store.repair_journal().await {
                Ok(0) => {}
                Ok(repaired) => tracing::info!(repaired, "journal repaired"),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the journal is not repaired yet"
                ),
            }
            let health = self.store.health();
            let objects = objects.health(health.objects_answer, self.clock.now());
            self.readiness.set("objects", objects);
            self.readiness
                .set("index", index_health(&health, walked.objects()));
            self.readiness.set("journal", journal_health(&health));
            if let Some(upstream) = self.contact.health() {
                self.readiness.set("upstream", upstream);
            }
        }
    }

    async fn owed(&self) {
        let mut ticks = ticks(OWED);
        loop {
            ticks.tick().await;
            self.store.settle_owed().await;
        }
    }

    async fn staging(&self) {
        let mut ticks = ticks(STAGING);
        loop {
            ticks.tick().await;
            if let Err(error) = self.store.sweep_staging(self.clock.now()).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "staging is not swept yet"
                );
            }
        }
    }

    async fn kept(&self) {
        let mut ticks = ticks(KEPT);
        loop {
            ticks.tick().await;
            if let Err(error) = self.store.sweep_kept(self.clock.now()).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what was rejected is not swept yet"
                );
            }
        }
    }
}

/// Says so when maintenance ends, by whatever cause: nothing would be repaired any more.
struct Alive(Readiness);

impl Drop for Alive {
    fn drop(&mut self) {
        let ended = Health::Failed("ended; nothing is repaired any more".to_owned());
        self.0.set("maintenance", ended);
    }
}

/// How far a rebuild is.
#[derive(Debug)]
struct Walked {
    objects: AtomicU64,
    gauge: Gauge<u64>,
}

impl Walked {
    fn new(meter: &Meter) -> Self {
        let walked = Self {
            objects: AtomicU64::new(0),
            gauge: meter
                .u64_gauge(REBUILD_OBJECTS)
                .with_description(
                    "Objects that the rebuild under way has walked over; 0 without one",
                )
                .build(),
        };
        walked.set(0);
        walked
    }

    fn set(&self, objects: u64) {
        self.objects.store(objects, Ordering::Relaxed);
        self.gauge.record(objects, &[]);
    }

    fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }
}

/// Since when the object store fails.
#[derive(Debug, Default)]
struct Objects {
    failing_since: Option<UnixMillis>,
}

impl Objects {
    /// The health by whether the object store answered when the journal was listed, which is done at each tick.
    fn health(&mut self, answers: bool, now: UnixMillis) -> Health {
        if answers {
            self.failing_since = None;
            return Health::Ok;
        }
        let since = *self.failing_since.get_or_insert(now);
        Health::Degraded(format!("failing since {since}"))
    }
}

fn index_health(health: &store::Health, walked: u64) -> Health {
    match health.index {
        IndexHealth::Ok => Health::Ok,
        IndexHealth::Incomplete => {
            let progress = match walked {
                0 => String::new(),
                objects => format!(" ({objects} objects so far)"),
            };
            Health::Degraded(format!(
                "being rebuilt{progress}; reads go to the object store"
            ))
        }
        IndexHealth::Degraded if !health.objects_answer => {
            Health::Degraded("not trusted before the journal has been read".to_owned())
        }
        IndexHealth::Degraded => {
            Health::Degraded("failed; reads go to the object store".to_owned())
        }
    }
}

fn journal_health(health: &store::Health) -> Health {
    match (health.journal_depth, health.journal_age) {
        (0, _) => Health::Ok,
        (depth, age) => {
            let age = age.unwrap_or_default().as_secs();
            Health::Degraded(format!(
                "{depth} entries that the index has not learnt, the oldest for {age}s"
            ))
        }
    }
}

/// Rebuilds an index that is not complete; what fails is tried again.
async fn rebuild(store: &SignatureStore, walked: &Walked) {
    let mut ticks = ticks(REBUILD);
    loop {
        ticks.tick().await;
        if store.health().index != IndexHealth::Incomplete {
            if let Err(error) = store.heal().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what the index does not know is not derived yet"
                );
            }
            continue;
        }
        let rebuilt = store
            .complete_index(|progress| walked.set(progress.objects))
            .await;
        walked.set(0);
        match rebuilt {
            // Another replica is at it.
            Ok(None) => {}
            Ok(Some(summary)) => tracing::info!(
                subjects = summary.subjects,
                referrers = summary.referrers,
                links = summary.links,
                tag_versions = summary.tag_versions,
                "index rebuilt"
            ),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the index is not rebuilt yet"
            ),
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Drain;

    #[test]
    fn objects_fail_from_the_first_failure_to_the_next_success() {
        let mut objects = Objects::default();
        let at = |seconds: u64| UnixMillis::new(seconds * 1000);
        assert_eq!(objects.health(true, at(0)), Health::Ok);
        for now in [60, 61] {
            let since = "failing since 1970-01-01T00:01:00.000Z".to_owned();
            assert_eq!(objects.health(false, at(now)), Health::Degraded(since));
        }
        assert_eq!(objects.health(true, at(62)), Health::Ok);
    }

    #[test]
    fn every_state_of_the_index_is_told_apart() {
        let incomplete = IndexHealth::Incomplete;
        for (index, objects_answer, walked, expected) in [
            (IndexHealth::Ok, true, 0, None),
            (
                incomplete,
                true,
                0,
                Some("being rebuilt; reads go to the object store"),
            ),
            (
                incomplete,
                true,
                2000,
                Some("being rebuilt (2000 objects so far); reads go to the object store"),
            ),
            (
                IndexHealth::Degraded,
                true,
                0,
                Some("failed; reads go to the object store"),
            ),
            (
                IndexHealth::Degraded,
                false,
                0,
                Some("not trusted before the journal has been read"),
            ),
        ] {
            let health = store::Health {
                index,
                objects_answer,
                journal_depth: 0,
                journal_age: None,
            };
            let expected = expected.map_or(Health::Ok, |why| Health::Degraded(why.to_owned()));
            assert_eq!(index_health(&health, walked), expected);
        }
    }

    #[test]
    fn a_journal_with_entries_is_degraded() {
        let health = |journal_depth, journal_age| store::Health {
            index: IndexHealth::Degraded,
            objects_answer: true,
            journal_depth,
            journal_age,
        };
        assert_eq!(journal_health(&health(0, None)), Health::Ok);
        let waiting = health(3, Some(Duration::from_millis(2500)));
        let told = "3 entries that the index has not learnt, the oldest for 2s".to_owned();
        assert_eq!(journal_health(&waiting), Health::Degraded(told));
    }

    #[test]
    fn a_process_whose_maintenance_has_ended_is_dead() {
        let readiness = Readiness::new(&Drain::new());
        readiness.started();
        let alive = Alive(readiness.clone());
        assert!(readiness.is_ready());
        drop(alive);
        assert!(!readiness.is_ready());
    }
}
