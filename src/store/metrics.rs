//! What the store counts. No label of these has a repository, tag or digest.

use opentelemetry::global;
use opentelemetry::metrics::{Counter, Gauge};

const JOURNAL_DEPTH: &str = "regseal.store.journal.depth";
const INDEX_DEGRADED: &str = "regseal.store.index.degraded";
const INDEX_FAILURES: &str = "regseal.store.index.failures";
const INDEX_REBUILDS: &str = "regseal.store.index.rebuilds";

/// The instruments of the store, of the global meter provider at the time of the making.
#[derive(Debug)]
pub(super) struct Metrics {
    /// Journal entries that the last look found.
    pub(super) journal_depth: Gauge<u64>,
    /// 1 while reads go past the index.
    pub(super) index_degraded: Gauge<u64>,
    /// Reads and writes of the index that failed.
    pub(super) index_failures: Counter<u64>,
    /// Rebuilds that came to their end.
    pub(super) index_rebuilds: Counter<u64>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let meter = global::meter("regseal");
        Self {
            journal_depth: meter
                .u64_gauge(JOURNAL_DEPTH)
                .with_description("Index updates that wait for repair")
                .build(),
            index_degraded: meter
                .u64_gauge(INDEX_DEGRADED)
                .with_description("1 while reads go to the object store instead of the index")
                .build(),
            index_failures: meter
                .u64_counter(INDEX_FAILURES)
                .with_description("Operations on the index that failed")
                .build(),
            index_rebuilds: meter
                .u64_counter(INDEX_REBUILDS)
                .with_description("Rebuilds of the index from the object store")
                .build(),
        }
    }
}
