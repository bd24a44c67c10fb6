//! Locks by name, within this process.
//!
//! They only keep apart what one process does to one digest or one tag at a time. That nothing is lost between
//! replicas rests on conditional writes, not on these.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use tokio::sync::{Mutex, MutexGuard};

/// Names that fall on one stripe wait for each other without need: rarely, with this many.
const STRIPES: usize = 1024;

/// A fixed number of locks that any number of names share.
#[derive(Debug)]
pub(super) struct Locks(Box<[Mutex<()>]>);

impl Default for Locks {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| Mutex::new(())).collect())
    }
}

impl Locks {
    /// Waits for the lock of `name`. Whoever holds one takes no other of the same set.
    pub(super) async fn hold(&self, name: &impl Hash) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let stripe = usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or(0);
        self.0
            .get(stripe)
            .expect("the remainder is below the number of stripes")
            .lock()
            .await
    }
}
