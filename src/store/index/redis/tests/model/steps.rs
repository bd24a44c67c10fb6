//! What may happen, one step at a time.

use proptest::prelude::*;

use super::super::digest;
use crate::oci::{Digest, RepositoryName};

pub(super) const REPOSITORIES: [&str; 2] = ["a", "a/b"];
pub(super) const DIGESTS: [&str; 3] = ["1", "2", "3"];
const NUMBERS: u64 = 3;

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    PutReferrer(Place, u64),
    RemoveReferrer(Place),
    PutLink(Place, u64),
    RemoveLink(Place),
    PutTagVersion(Place, u64),
    /// Reads a generation and the records.
    BeginSubject(Place),
    /// Replaces the rows by what was read then.
    EndSubject,
    BeginRepository(Place),
    /// Derives the repository and completes it.
    EndRepository,
    Clear(bool),
    /// Completes the index as a whole.
    SetComplete,
    Flush,
    ForgetScripts,
    Dump,
    PutBack,
    Restart,
    /// The server stands still while a write is tried.
    Hang(Place),
}

/// Which replica does something, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) replica: usize,
    pub(super) repository: usize,
    pub(super) subject: usize,
    pub(super) digest: usize,
}

impl Place {
    pub(super) fn repository(self) -> RepositoryName {
        REPOSITORIES[self.repository].parse().unwrap()
    }

    pub(super) fn subject(self) -> Digest {
        digest(DIGESTS[self.subject])
    }

    pub(super) fn digest(self) -> Digest {
        digest(DIGESTS[self.digest])
    }
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = || {
        (0..2usize, 0..2usize, 0..2usize, 0..3usize).prop_map(
            |(replica, repository, subject, digest)| Place {
                replica,
                repository,
                subject,
                digest,
            },
        )
    };
    let step = prop_oneof![
        8 => (place(), 0..3u64).prop_map(|(place, size)| Step::PutReferrer(place, size)),
        5 => place().prop_map(Step::RemoveReferrer),
        5 => (place(), 0..3u64).prop_map(|(place, size)| Step::PutLink(place, size)),
        3 => place().prop_map(Step::RemoveLink),
        3 => (place(), 0..NUMBERS).prop_map(|(place, number)| Step::PutTagVersion(place, number)),
        5 => place().prop_map(Step::BeginSubject),
        5 => Just(Step::EndSubject),
        5 => place().prop_map(Step::BeginRepository),
        7 => Just(Step::EndRepository),
        1 => any::<bool>().prop_map(Step::Clear),
        2 => Just(Step::SetComplete),
        2 => Just(Step::Flush),
        1 => Just(Step::ForgetScripts),
        1 => Just(Step::Dump),
        1 => Just(Step::PutBack),
        1 => Just(Step::Restart),
        1 => place().prop_map(Step::Hang),
    ];
    prop::collection::vec(step, 1..60)
}
