//! A load of signers, listers and deleters on several replicas, and the check of everything they were told and shown.

mod audit;
mod client;
mod judge;
pub mod ledger;
mod readers;
mod writers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::chance::Chance;
use super::http::Endpoint;
use super::{PATIENCE, Replicas};
use ledger::{Counts, Ledger};

/// The threads of a load, which go on until [`Load::finish`].
pub struct Load {
    pub ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    chance: Chance,
}

/// What came of a load.
pub struct Verdict {
    pub counts: Counts,
    /// Must be empty.
    pub violations: Vec<String>,
}

const WRITERS: u64 = 4;
const READERS: u64 = 3;

impl Load {
    pub fn on(replicas: &Replicas, chance: &Chance) -> Self {
        let ledger = Arc::new(Ledger::new());
        let stop = Arc::new(AtomicBool::new(false));
        let work = |number: u64, turn: fn(&mut client::Client)| {
            let endpoints: Vec<Endpoint> = replicas.endpoints();
            let mut client =
                client::Client::new(&endpoints, Arc::clone(&ledger), chance.branch(number));
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    turn(&mut client);
                }
            })
        };
        let writers = (0..WRITERS).map(|number| work(number, writers::turn));
        let readers = (WRITERS..WRITERS + READERS).map(|number| work(number, readers::turn));
        Self {
            threads: writers.chain(readers).collect(),
            ledger: Arc::clone(&ledger),
            stop: Arc::clone(&stop),
            chance: chance.branch(u64::MAX),
        }
    }

    /// Waits until so many more signatures were acknowledged; the replicas can take them.
    #[track_caller]
    pub fn goes_on(&self, more: usize) {
        let acknowledged = || self.ledger.book().counts.acknowledged;
        let enough = acknowledged() + more;
        self.waits("more acknowledged signatures", || acknowledged() >= enough);
    }

    /// Waits until so many more lists were read, or refused for want of a store.
    #[track_caller]
    pub fn is_listed(&self, more: usize) {
        let asked = || {
            let counts = self.ledger.book().counts;
            counts.lists + counts.unavailable
        };
        let enough = asked() + more;
        self.waits("more lists", || asked() >= enough);
    }

    /// Waits until it is so, and says what clients complain of when it never is.
    #[track_caller]
    fn waits(&self, what: &str, is_so: impl Fn() -> bool) {
        let since = Instant::now();
        while !is_so() {
            let complaints = &self.ledger.book().complaints;
            assert!(
                since.elapsed() < PATIENCE,
                "waited in vain for {what}; {complaints:#?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the load, waits until the healed replicas are well, and checks all that was said.
    #[track_caller]
    pub fn finish(mut self, replicas: &Replicas) -> Verdict {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        replicas.are_well();
        let now = self.ledger.now();
        self.ledger.book().settled = Some(now);
        audit::audit(replicas, &self.ledger, &self.chance);
        let (status, text) = replicas.verify_index();
        if status != Some(0) {
            let text = format!("the index differs from the objects: {status:?} {text}");
            self.ledger.complain(&text);
        }
        let mut book = self.ledger.book();
        let mut violations = std::mem::take(&mut book.complaints);
        violations.extend(judge::violations(&book));
        Verdict {
            counts: book.counts,
            violations,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

impl Verdict {
    #[track_caller]
    pub fn is_clean(&self) {
        let first: Vec<&str> = self
            .violations
            .iter()
            .take(10)
            .map(String::as_str)
            .collect();
        assert!(
            first.is_empty(),
            "{} violations in {:?}:\n{}",
            self.violations.len(),
            self.counts,
            first.join("\n")
        );
    }
}
