//! What is known about the fitness of this process, and how it is told.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::Drain;

/// The state of one named check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Works.
    Ok,
    /// Works, with something lost (slower, older); the reason is for the operator. Still ready.
    Degraded(String),
    /// Does not work, and no request can be answered usefully; the process is not ready.
    Failed(String),
}

/// What is known about the fitness of this process; clones share it.
#[derive(Clone, Debug)]
pub struct Readiness {
    checks: Arc<Mutex<BTreeMap<&'static str, Health>>>,
    drain: Drain,
}

const STARTED: &str = "started";
const DRAINING: &str = "draining";

impl Readiness {
    /// Not started; not ready any more from the moment `drain` is started.
    pub fn new(drain: &Drain) -> Self {
        let starting = BTreeMap::from([(STARTED, Health::Failed("starting".to_owned()))]);
        Self {
            checks: Arc::new(Mutex::new(starting)),
            drain: drain.clone(),
        }
    }

    /// Start-up is over.
    pub fn started(&self) {
        self.set(STARTED, Health::Ok);
    }

    /// Sets the check `name`. A check that was never set does not exist.
    pub fn set(&self, name: &'static str, health: Health) {
        self.checks().insert(name, health);
    }

    /// Whether requests should be sent here.
    pub fn is_ready(&self) -> bool {
        let failed = |health: &Health| matches!(health, Health::Failed(_));
        !self.drain.is_started() && !self.checks().values().any(failed)
    }

    /// Whether start-up is over.
    pub fn is_started(&self) -> bool {
        self.checks().get(STARTED) == Some(&Health::Ok)
    }

    /// No request of the data path comes here, so a lock does.
    fn checks(&self) -> MutexGuard<'_, BTreeMap<&'static str, Health>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every check by name; draining is one while it lasts.
    fn all(&self) -> BTreeMap<&'static str, Health> {
        let mut checks = self.checks().clone();
        if self.drain.is_started() {
            checks.insert(DRAINING, Health::Failed("shutting down".to_owned()));
        }
        checks
    }

    /// Whether something is lost, although requests can be answered.
    pub fn is_degraded(&self) -> bool {
        let degraded = |health: &Health| matches!(health, Health::Degraded(_));
        self.is_ready() && self.checks().values().any(degraded)
    }

    /// The checks by name, for programs.
    pub fn to_json(&self) -> serde_json::Value {
        let checks: serde_json::Map<_, _> = self
            .all()
            .into_iter()
            .map(|(name, health)| {
                let check = match health {
                    Health::Ok => json!({"status": "ok"}),
                    Health::Degraded(reason) => json!({"status": "degraded", "reason": reason}),
                    Health::Failed(reason) => json!({"status": "failed", "reason": reason}),
                };
                (name.to_owned(), check)
            })
            .collect();
        checks.into()
    }
}

/// One line for each check.
impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, health) in self.all() {
            match health {
                Health::Ok => writeln!(f, "[+]{name} ok")?,
                Health::Degraded(reason) => writeln!(f, "[~]{name} degraded: {reason}")?,
                Health::Failed(reason) => writeln!(f, "[-]{name} failed: {reason}")?,
            }
        }
        Ok(())
    }
}
