//! What is kept for a time and then removed: what this process knows of it, and a walk for what others left.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::UnixMillis;

use super::blob::{Key, Listed};
use super::error::StoreError;
use super::layout::{self, Passing};
use super::signatures::{PAGE, SignatureStore};

/// Objects remembered; when more are waiting, a walk finds them.
const REMEMBERED: usize = 65_536;

/// The objects of one section that this process waits for, by the time at which each is to be looked at.
#[derive(Debug)]
pub(super) struct Waiting {
    keys: Mutex<BTreeSet<(UnixMillis, Key)>>,
    /// There are objects that are not in `keys`: of earlier processes, or too many.
    walk: AtomicBool,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            keys: Mutex::default(),
            walk: AtomicBool::new(true),
        }
    }
}

impl Waiting {
    fn keys(&self) -> MutexGuard<'_, BTreeSet<(UnixMillis, Key)>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a key until `due`.
    pub(super) fn push(&self, due: UnixMillis, key: Key) {
        let mut keys = self.keys();
        if keys.len() < REMEMBERED {
            keys.insert((due, key));
        } else {
            self.walk.store(true, Ordering::Relaxed);
        }
    }

    /// The next key that is due at `now`.
    pub(super) fn pop(&self, now: UnixMillis) -> Option<Key> {
        let mut keys = self.keys();
        keys.first().filter(|(due, _)| *due <= now)?;
        keys.pop_first().map(|(_, key)| key)
    }

    /// Whether a walk is needed; whoever is told so walks, or asks for it [again](Self::walk_again).
    pub(super) fn needs_walk(&self) -> bool {
        self.walk.swap(false, Ordering::Relaxed)
    }

    pub(super) fn walk_again(&self) {
        self.walk.store(true, Ordering::Relaxed);
    }
}

impl SignatureStore {
    /// One step of a walk over what all repositories have in `section`: some of it, and where the next step begins;
    /// `None` at the end.
    pub(super) async fn step_through(
        &self,
        section: Passing,
        after: Option<&Key>,
    ) -> Result<Option<(Vec<Listed>, Key)>, StoreError> {
        let under = layout::repositories();
        let mut page = self.blobs.list(&under, after, PAGE).await?;
        let Some(next) = page.last().map(|last| section.leap(&last.key)) else {
            return Ok(None);
        };
        page.retain(|listed| section.has(&listed.key));
        Ok(Some((page, next)))
    }
}
