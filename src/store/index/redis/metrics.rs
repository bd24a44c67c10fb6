//! What the index in Redis counts. No label of these has a repository, tag or digest.

use std::time::Duration;

use opentelemetry::metrics::{Counter, Gauge, Histogram};
use opentelemetry::{KeyValue, global};

const UP: &str = "regseal.store.index.redis.up";
const EPOCHS: &str = "regseal.store.index.redis.epochs";
const DURATION: &str = "regseal.store.index.redis.duration";
/// Most calls take less than a millisecond.
const BOUNDARIES: [f64; 11] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
];

/// The instruments, of the global meter provider at the time of the making.
#[derive(Debug)]
pub(super) struct Metrics {
    up: Gauge<u64>,
    epochs: Counter<u64>,
    duration: Histogram<f64>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let meter = global::meter("regseal");
        Self {
            up: meter
                .u64_gauge(UP)
                .with_description("1 while Redis can be used")
                .build(),
            epochs: meter
                .u64_counter(EPOCHS)
                .with_description("Times that the index in Redis was begun anew, as seen here")
                .build(),
            duration: meter
                .f64_histogram(DURATION)
                .with_unit("s")
                .with_description("Duration of operations on the index in Redis")
                .with_boundaries(BOUNDARIES.to_vec())
                .build(),
        }
    }

    pub(super) fn set_up(&self, up: bool) {
        self.up.record(u64::from(up), &[]);
    }

    pub(super) fn epoch_began(&self) {
        self.epochs.add(1, &[]);
    }

    pub(super) fn called(&self, operation: &'static str, succeeded: bool, took: Duration) {
        let outcome = if succeeded { "success" } else { "failure" };
        let labels = [
            KeyValue::new("operation", operation),
            KeyValue::new("outcome", outcome),
        ];
        self.duration.record(took.as_secs_f64(), &labels);
    }
}
