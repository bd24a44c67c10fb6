//! What the store counts. No label of these has a repository, tag or digest.

use opentelemetry::global;
use opentelemetry::metrics::{Counter, Gauge, Histogram};

const JOURNAL_DEPTH: &str = "regseal.store.journal.depth";
const INDEX_LAG: &str = "regseal.store.index.lag";
const INDEX_DEGRADED: &str = "regseal.store.index.degraded";
const INDEX_FAILURES: &str = "regseal.store.index.failures";
const INDEX_REBUILDS: &str = "regseal.store.index.rebuilds";
const COLLECTED_OBJECTS: &str = "regseal.store.collected.objects";
const COLLECTED_BYTES: &str = "regseal.store.collected.bytes";
const DAMAGED_OBJECTS: &str = "regseal.store.damaged.objects";
const OBJECT_DURATION: &str = "regseal.store.object.duration";

/// Seconds: from a file that is cached to a store that does not answer.
const DURATIONS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

/// The instruments of the store, of the global meter provider at the time of the making.
#[derive(Debug)]
pub(super) struct Metrics {
    /// Journal entries that the last look found.
    pub(super) journal_depth: Gauge<u64>,
    /// Seconds for which the oldest entry of the journal has waited.
    pub(super) index_lag: Gauge<f64>,
    /// 1 while reads go past the index.
    pub(super) index_degraded: Gauge<u64>,
    /// Reads and writes of the index that failed.
    pub(super) index_failures: Counter<u64>,
    /// Rebuilds that came to their end.
    pub(super) index_rebuilds: Counter<u64>,
    /// Objects that the collector has deleted.
    pub(super) collected_objects: Counter<u64>,
    /// Bytes of these.
    pub(super) collected_bytes: Counter<u64>,
    /// Objects that a scrub has found damaged or missing.
    pub(super) damaged_objects: Counter<u64>,
    /// Operations on the object store.
    pub(super) object_duration: Histogram<f64>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let meter = global::meter("regseal");
        Self {
            journal_depth: meter
                .u64_gauge(JOURNAL_DEPTH)
                .with_description("Index updates that wait for repair")
                .build(),
            index_lag: meter
                .f64_gauge(INDEX_LAG)
                .with_unit("s")
                .with_description("How long the oldest index update has waited for repair")
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
            collected_objects: meter
                .u64_counter(COLLECTED_OBJECTS)
                .with_description("Objects that nothing referred to, deleted")
                .build(),
            collected_bytes: meter
                .u64_counter(COLLECTED_BYTES)
                .with_unit("By")
                .with_description("Bytes of the objects that nothing referred to, deleted")
                .build(),
            damaged_objects: meter
                .u64_counter(DAMAGED_OBJECTS)
                .with_description("Objects that a scrub found damaged or missing")
                .build(),
            object_duration: meter
                .f64_histogram(OBJECT_DURATION)
                .with_unit("s")
                .with_description("Duration of operations on the object store")
                .with_boundaries(DURATIONS.to_vec())
                .build(),
        }
    }
}
