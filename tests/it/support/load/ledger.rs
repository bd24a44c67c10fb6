//! What the clients of a load have asked for, what they were told, and what they were shown.
//!
//! Times are counted from the start of the load, by the one clock of the test.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::Content;

/// How long a part may take to be well again after the end of a disturbance, before failures count against it.
pub const RECOVERY: Duration = Duration::from_secs(8);

pub struct Ledger {
    began: Instant,
    book: Mutex<Book>,
}

#[derive(Default)]
pub struct Book {
    pub subjects: Vec<Subject>,
    pub entries: Vec<Entry>,
    known: HashMap<(Place, String), usize>,
    pub lists: Vec<List>,
    pub disturbances: Vec<Disturbance>,
    pub complaints: Vec<String>,
    /// When all replicas were well again after the last change: from then on nothing may be late.
    pub settled: Option<Duration>,
    pub counts: Counts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub acknowledged: usize,
    pub refused: usize,
    pub undecided: usize,
    pub deleted: usize,
    pub lists: usize,
    pub unavailable: usize,
    pub images: usize,
}

/// An image that is signed.
#[derive(Clone)]
pub struct Subject {
    pub repository: String,
    pub image: Content,
}

/// Where signatures of a subject are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub subject: usize,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The list of referrers, and the fallback tag that shows the same.
    Referrers,
    /// The layers of cosign's tag.
    CosignTag,
}

/// One signature: a manifest with a subject, or a layer of cosign's tag.
pub struct Entry {
    pub place: Place,
    pub digest: String,
    /// The descriptor that a list has for it.
    pub descriptor: Value,
    /// What must read back: the manifest if it is one, and the blobs.
    pub manifest: Option<Content>,
    pub layer: Content,
    /// Whether it may be accepted at all.
    pub is_sound: bool,
    pub acts: Vec<Act>,
}

/// A request that changes something, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    pub change: Change,
    pub replica: usize,
    pub sent: Duration,
    pub end: Option<(Duration, Outcome)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Push,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged,
    Refused,
    /// The replica said that it failed: it is done with it, and either may be true.
    Failed,
    /// The connection broke: it may still be at it.
    Lost,
}

/// What one replica showed.
#[derive(Clone, Debug)]
pub struct List {
    pub place: Place,
    pub replica: usize,
    pub begun: Duration,
    pub ended: Duration,
    /// Sorted.
    pub entries: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Redis,
    S3,
    Upstream,
    Process,
}

/// A time in which a part was not well, as a replica sees it.
#[derive(Clone, Copy, Debug)]
pub struct Disturbance {
    pub part: Part,
    pub replica: usize,
    pub from: Duration,
    pub to: Option<Duration>,
}

impl Ledger {
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            book: Mutex::default(),
        }
    }

    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub fn complain(&self, text: &str) {
        let now = self.now();
        self.book().complaints.push(format!("{now:.3?} {text}"));
    }

    /// A part of these replicas is disturbed from now on.
    pub fn disturbed(&self, part: Part, replicas: impl IntoIterator<Item = usize>) {
        let from = self.now();
        let begun = replicas.into_iter().map(|replica| Disturbance {
            part,
            replica,
            from,
            to: None,
        });
        self.book().disturbances.extend(begun);
    }

    /// Ends one disturbance of the part at each of these replicas.
    pub fn healed(&self, part: Part, replicas: impl IntoIterator<Item = usize>) {
        let now = self.now();
        let mut book = self.book();
        for replica in replicas {
            let open = book.disturbances.iter_mut().find(|disturbance| {
                (disturbance.part, disturbance.replica) == (part, replica)
                    && disturbance.to.is_none()
            });
            open.expect("it was disturbed").to = Some(now);
        }
    }

    pub fn sent(&self, entry: usize, change: Change, replica: usize) -> usize {
        let sent = self.now();
        let acts = &mut self.book().entries[entry].acts;
        acts.push(Act {
            change,
            replica,
            sent,
            end: None,
        });
        acts.len() - 1
    }

    /// As [`sent`](Self::sent), for the first of those who want to delete what stands.
    pub fn begins_deletion(&self, entry: usize, replica: usize) -> Option<usize> {
        let sent = self.now();
        let entry = &mut self.book().entries[entry];
        entry.stands().then(|| {
            entry.acts.push(Act {
                change: Change::Delete,
                replica,
                sent,
                end: None,
            });
            entry.acts.len() - 1
        })
    }

    pub fn ended(&self, entry: usize, act: usize, outcome: Outcome) {
        let now = self.now();
        let mut book = self.book();
        let act = &mut book.entries[entry].acts[act];
        act.end = Some((now, outcome));
        let change = act.change;
        let counts = &mut book.counts;
        match (change, outcome) {
            (Change::Push, Outcome::Acknowledged) => counts.acknowledged += 1,
            (Change::Delete, Outcome::Acknowledged) => counts.deleted += 1,
            (_, Outcome::Refused) => counts.refused += 1,
            (_, Outcome::Failed | Outcome::Lost) => counts.undecided += 1,
        }
    }
}

impl Book {
    pub fn add(&mut self, entry: Entry) -> usize {
        let number = self.entries.len();
        self.known
            .insert((entry.place, entry.digest.clone()), number);
        self.entries.push(entry);
        number
    }

    /// The entry with that digest at that place.
    pub fn find(&self, place: Place, digest: &str) -> Option<usize> {
        self.known.get(&(place, digest.to_owned())).copied()
    }

    /// Whether the part was disturbed, or not yet well again, for the replica at some time between the two.
    pub fn was_disturbed(&self, part: Part, replica: usize, from: Duration, to: Duration) -> bool {
        self.disturbances.iter().any(|disturbance| {
            (disturbance.part, disturbance.replica) == (part, replica)
                && disturbance.from <= to
                && disturbance.to.is_none_or(|end| end + RECOVERY >= from)
        })
    }
}

impl Entry {
    /// Whether it was acknowledged, nobody has asked for its deletion, and nobody is at it.
    pub fn stands(&self) -> bool {
        let ends = self.acts.iter().map(|act| act.end.map(|(_, end)| end));
        self.acts.iter().all(|act| act.change == Change::Push)
            && ends
                .clone()
                .all(|end| end.is_some_and(|end| end != Outcome::Lost))
            && ends
                .flatten()
                .any(|outcome| outcome == Outcome::Acknowledged)
    }
}
