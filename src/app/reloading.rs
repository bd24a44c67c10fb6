//! Files that are read again while regseal runs: when they are looked at, and how it is told what came of it.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::server::{Health, Readiness};

/// Files are looked at so often: what they say is in force within a second.
const LOOK: Duration = Duration::from_millis(500);

/// When to look at files: now and then, and at `SIGHUP`.
#[derive(Debug)]
pub(super) struct Looks {
    hangup: Option<Signal>,
    ticks: Interval,
}

impl Looks {
    pub(super) fn start() -> Self {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            hangup: signal(SignalKind::hangup()).ok(),
            ticks,
        }
    }

    /// Waits for the next look; whether somebody has asked for it.
    pub(super) async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.ticks.tick() => false,
            () = received(&mut self.hangup) => true,
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Tells what came of reloads of one kind: in the log, in a metric, and in `/readyz`.
#[derive(Debug)]
pub(super) struct Outcomes {
    name: &'static str,
    readiness: Readiness,
    reloads: Counter<u64>,
    labels: Vec<KeyValue>,
    failed: Option<String>,
}

impl Outcomes {
    /// Of what was loaded at the start. `name` is that of the check.
    pub(super) fn new(
        name: &'static str,
        readiness: Readiness,
        reloads: Counter<u64>,
        labels: Vec<KeyValue>,
    ) -> Self {
        readiness.set(name, Health::Ok);
        Self {
            name,
            readiness,
            reloads,
            labels,
            failed: None,
        }
    }

    /// One attempt: whether anything is new, or why nothing was taken; `stays` says what is in force then. The same
    /// failure again is told only to whoever asked for the reload.
    pub(super) fn tell(&mut self, result: Result<bool, String>, asked_for: bool, stays: &str) {
        let name = self.name;
        let result = match result {
            Ok(false) if self.failed.is_none() => return,
            Ok(is_new) => {
                self.readiness.set(name, Health::Ok);
                if self.failed.take().is_some() && !is_new {
                    tracing::info!("{name}: what is there is right again; what was in force stays");
                }
                "ok"
            }
            Err(error) if self.failed.as_ref() == Some(&error) && !asked_for => return,
            Err(error) => {
                tracing::error!(error, stays, "{name}: not reloaded");
                let reason = format!("not reloaded, {stays} stays in force: {error}");
                self.readiness.set(name, Health::Degraded(reason));
                self.failed = Some(error);
                "failed"
            }
        };
        let mut labels = self.labels.clone();
        labels.push(KeyValue::new("result", result));
        self.reloads.add(1, &labels);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider;
    use opentelemetry_sdk::metrics::SdkMeterProvider;

    use super::*;
    use crate::server::Drain;

    #[test]
    fn a_failure_degrades_until_what_is_there_is_right() {
        let meter = SdkMeterProvider::builder().build().meter("test");
        let readiness = Readiness::new(&Drain::new());
        readiness.started();
        let counter = meter.u64_counter("reloads").build();
        let mut outcomes = Outcomes::new("policy", readiness.clone(), counter, Vec::new());
        let failure = || Err("line 3".to_owned());
        for (result, degraded, why) in [
            (Ok(true), false, "something new"),
            (failure(), true, "a mistake"),
            (failure(), true, "the same mistake"),
            (Ok(false), false, "as it was"),
        ] {
            outcomes.tell(result, false, "revision 1");
            assert_eq!(readiness.is_degraded(), degraded, "{why}");
        }
        outcomes.tell(failure(), false, "revision 1");
        let told = readiness.to_string();
        assert!(
            told.contains("not reloaded, revision 1 stays in force: line 3"),
            "{told}"
        );
    }
}
