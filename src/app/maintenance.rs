//! What runs beside the requests: the index is rebuilt where it is not complete, the journal repaired, staging swept.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::server::{Health, Readiness};
use crate::store::{IndexHealth, SignatureStore};

const JOURNAL: Duration = Duration::from_secs(1);
const STAGING: Duration = Duration::from_secs(60);
const REBUILD: Duration = Duration::from_secs(1);

/// Runs until it is dropped.
pub(super) async fn run(store: Arc<SignatureStore>, clock: Arc<dyn Clock>, readiness: Readiness) {
    tokio::join!(
        journal(&store, &readiness),
        staging(&store, &*clock),
        rebuild(&store)
    );
}

async fn journal(store: &SignatureStore, readiness: &Readiness) {
    let mut ticks = ticks(JOURNAL);
    loop {
        ticks.tick().await;
        match store.repair_journal().await {
            Ok(0) => {}
            Ok(repaired) => tracing::info!(repaired, "journal repaired"),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the journal is not repaired yet"
            ),
        }
        readiness.set("index", index_health(store));
    }
}

fn index_health(store: &SignatureStore) -> Health {
    match store.health().index {
        IndexHealth::Ok => Health::Ok,
        IndexHealth::Incomplete => {
            Health::Degraded("being rebuilt; reads go to the object store".to_owned())
        }
        IndexHealth::Degraded => {
            Health::Degraded("failed; reads go to the object store".to_owned())
        }
    }
}

async fn staging(store: &SignatureStore, clock: &dyn Clock) {
    let mut ticks = ticks(STAGING);
    loop {
        ticks.tick().await;
        if let Err(error) = store.sweep_staging(clock.now()).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "staging is not swept yet"
            );
        }
    }
}

/// Rebuilds an index that is not complete; what fails is tried again.
async fn rebuild(store: &SignatureStore) {
    let mut ticks = ticks(REBUILD);
    loop {
        ticks.tick().await;
        if store.health().index != IndexHealth::Incomplete {
            continue;
        }
        match store.rebuild_index(|_| ()).await {
            Ok(summary) => tracing::info!(
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
