//! A load under random faults, which a seed decides: some seconds of it, or minutes with `REGSEAL_SOAK=1`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::chance::Chance;
use crate::support::faults::{self, Fault};
use crate::support::load::Load;
use crate::support::{Replicas, rounds};

const REPLICAS: usize = 3;

#[test]
fn random_faults_lose_nothing_and_bring_nothing_back() {
    let mut chance = Chance::from_environment();
    let seed = chance.seed();
    let length = Duration::from_secs(rounds(12, 600) as u64);
    let mut replicas = Replicas::plan(REPLICAS)
        .setting("TIMEOUTS__S3_OPERATION", "6s")
        .start();
    let load = Load::on(&replicas, &chance);
    load.goes_on(5);

    let started = Instant::now();
    let mut kinds = BTreeMap::<String, usize>::new();
    let mut active: Vec<(Instant, Fault)> = Vec::new();
    while started.elapsed() < length {
        let fault = faults::any(&mut chance, REPLICAS);
        if active.len() < 3
            && active
                .iter()
                .all(|(_, other)| fault.goes_with(other, &replicas))
        {
            *kinds.entry(fault.kind()).or_default() += 1;
            fault.begin(&mut replicas, &load.ledger);
            let lasts = chance.between(Duration::from_millis(100), Duration::from_secs(4));
            active.push((Instant::now() + lasts, fault));
        }
        if chance.percent(10) && active.iter().all(|(_, fault)| !fault.concerns_redis()) {
            replicas.keep_dump();
        }
        std::thread::sleep(chance.between(Duration::from_millis(100), Duration::from_secs(1)));
        let (over, going): (Vec<_>, Vec<_>) = active
            .into_iter()
            .partition(|(end, _)| *end <= Instant::now());
        active = going;
        for (_, fault) in over {
            fault.end(&mut replicas, &load.ledger);
        }
    }
    for (_, fault) in active {
        fault.end(&mut replicas, &load.ledger);
    }
    load.goes_on(5);
    let verdict = load.finish(&replicas);
    let counts = verdict.counts;
    let kinds: Vec<String> = kinds
        .into_iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    eprintln!(
        "soak: seed {seed}, {} pushes acknowledged, {} lists checked, {} deletions, {} refused, {} undecided, \
         {} answers of 503 to a list; faults: {}; violations: {}",
        counts.acknowledged,
        counts.lists,
        counts.deleted,
        counts.refused,
        counts.undecided,
        counts.unavailable,
        kinds.join(", "),
        verdict.violations.len()
    );
    verdict.is_clean();
}
