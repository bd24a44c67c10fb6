//! Random interleavings of everything that changes referrers, against a model of what must be listed in the end.
//!
//! Each digest has a sequence of operations of its own; the sequences of all digests run at once, beside rebuilds,
//! repairs and an index that fails. Whatever the order, the outcome per digest is that of its own sequence, and the
//! repaired index says the same as the objects.

use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::collect::look::KEEP;
use super::testing::{Fixture, Mode, Signature, Yielding, listed, repository, subject, tag};
use super::{SignatureStore, Source, StoreError};
use crate::clock::{ManualClock, UnixMillis};

#[derive(Clone, Copy, Debug)]
enum Operation {
    Push(Source),
    Merge,
    Forget,
    Delete,
}

/// What goes on beside the operations.
#[derive(Clone, Copy, Debug)]
enum Background {
    Rebuild,
    Repair,
    Fail(Mode),
}

/// What a sequence leaves.
#[derive(Debug, Default)]
struct Model {
    source: Option<Source>,
    deleted: bool,
}

impl Model {
    fn apply(&mut self, operation: Operation) {
        let strengthen = |source| Some(self.source.map_or(source, |old| old.max(source)));
        match operation {
            Operation::Push(source) => {
                self.source = strengthen(source);
                self.deleted = false;
            }
            Operation::Merge if self.source.is_none() && !self.deleted => {
                self.source = Some(Source::Upstream);
            }
            Operation::Forget if self.source == Some(Source::Upstream) => self.source = None,
            Operation::Delete => {
                self.source = None;
                self.deleted = true;
            }
            Operation::Merge | Operation::Forget => {}
        }
    }
}

fn operations() -> impl Strategy<Value = Vec<Vec<Operation>>> {
    let operation = prop_oneof![
        Just(Operation::Push(Source::Captured)),
        Just(Operation::Push(Source::Forwarded)),
        Just(Operation::Merge),
        Just(Operation::Forget),
        Just(Operation::Delete),
    ];
    prop::collection::vec(prop::collection::vec(operation, 0..6), 1..5)
}

/// Steps, and how often the others have their turn before each: a push takes about a hundred turns.
fn background() -> impl Strategy<Value = Vec<(u8, Background)>> {
    let background = prop_oneof![
        Just(Background::Rebuild),
        Just(Background::Repair),
        Just(Background::Fail(Mode::Up)),
        Just(Background::Fail(Mode::Down)),
        Just(Background::Fail(Mode::LosesReplies)),
    ];
    prop::collection::vec((0..150u8, background), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_ends_as_each_sequence_does(
        sequences in operations(),
        background in background(),
        prepared in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(sequences, background, prepared, seed))?;
    }
}

async fn run(
    sequences: Vec<Vec<Operation>>,
    background: Vec<(u8, Background)>,
    prepared: bool,
    seed: u64,
) -> Result<(), TestCaseError> {
    let clock = Arc::new(ManualClock::new(UnixMillis::new(1_000)));
    let fixture = Fixture::over(Arc::new(Yielding::new(Arc::clone(&clock), seed)), clock);
    let store = &fixture.store;
    if prepared {
        store.repair_journal().await.unwrap();
        store.rebuild_index(|_| ()).await.unwrap();
    }
    let signatures: Vec<Signature> = (0..sequences.len())
        .map(|n| Signature::new(&n.to_string()))
        .collect();
    let mut tasks: Vec<BoxFuture<'_, ()>> = Vec::new();
    for (signature, sequence) in signatures.iter().zip(&sequences) {
        tasks.push(Box::pin(apply_all(store, signature, sequence)));
    }
    tasks.push(Box::pin(disturb(&fixture, background)));
    join_all(tasks).await;
    let mut expected: Vec<_> = Vec::new();
    for (signature, sequence) in signatures.iter().zip(sequences) {
        let mut model = Model::default();
        for operation in sequence {
            model.apply(operation);
        }
        let deleted = store.deleted(&repository(), &signature.digest).await;
        prop_assert_eq!(deleted.unwrap(), model.deleted);
        let manifest = store.read_manifest(&repository(), &signature.digest).await;
        prop_assert_eq!(manifest.unwrap().is_some(), model.source.is_some());
        if let Some(source) = model.source {
            expected.push((signature.digest.clone(), source));
        }
    }
    expected.sort();

    // Before the repair, whatever state the index is in; after it; and by the index alone.
    prop_assert_eq!(&listed(store).await, &expected);
    fixture.index.set(Mode::Up);
    store.repair_journal().await.unwrap();
    prop_assert_eq!(&listed(store).await, &expected);
    prop_assert_eq!(store.differences().await.unwrap(), []);
    store.rebuild_index(|_| ()).await.unwrap();
    prop_assert_eq!(store.differences().await.unwrap(), []);
    prop_assert_eq!(&listed(store).await, &expected);
    let replica = fixture.replica();
    prop_assert_eq!(&listed(&replica).await, &expected);
    Ok(())
}

async fn disturb(fixture: &Fixture, background: Vec<(u8, Background)>) {
    for (turns, step) in background {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        // The index may be down for these: they fail then, and break nothing.
        match step {
            Background::Rebuild => drop(fixture.store.rebuild_index(|_| ()).await),
            Background::Repair => drop(fixture.store.repair_journal().await),
            Background::Fail(mode) => fixture.index.set(mode),
        }
    }
}

/// Applies a sequence, and after each operation reads what it did: what is acknowledged is listed from then on.
async fn apply_all(store: &SignatureStore, signature: &Signature, sequence: &[Operation]) {
    let (repository, digest) = (repository(), &signature.digest);
    let mut model = Model::default();
    for operation in sequence {
        match operation {
            Operation::Push(source) => signature.add(store, *source).await.unwrap(),
            Operation::Merge => signature.merge(store).await.unwrap(),
            Operation::Forget => store
                .forget_upstream_referrer(&repository, &subject(), digest)
                .await
                .unwrap(),
            Operation::Delete => store.delete_manifest(&repository, digest).await.unwrap(),
        }
        model.apply(*operation);
        let listed = listed(store).await;
        let listed = listed.iter().find(|(listed, _)| listed == digest);
        assert_eq!(
            listed.map(|(_, source)| *source),
            model.source,
            "{operation:?}"
        );
        let link = store.link(&repository, digest).await.unwrap();
        assert_eq!(link.is_some(), model.source.is_some(), "{operation:?}");
    }
}

fn contended_operations() -> impl Strategy<Value = Vec<Contended>> {
    let contended = prop_oneof![
        3 => Just(Contended::Change(Operation::Push(Source::Captured))),
        1 => Just(Contended::Change(Operation::Push(Source::Forwarded))),
        2 => Just(Contended::Change(Operation::Merge)),
        1 => Just(Contended::Change(Operation::Forget)),
        3 => Just(Contended::Change(Operation::Delete)),
        2 => Just(Contended::Append),
    ];
    prop::collection::vec(contended, 0..4)
}

/// Rebuilds, one after the other, and beside them what the index does.
fn failing_rebuilds() -> impl Strategy<Value = [Vec<(u8, Background)>; 2]> {
    let rebuild = (0..100u8).prop_map(|turns| (turns, Background::Rebuild));
    let mode = prop_oneof![Just(Mode::Down), Just(Mode::LosesReplies), Just(Mode::Up)];
    let failure = (0..250u8, mode).prop_map(|(turns, mode)| (turns, Background::Fail(mode)));
    (
        prop::collection::vec(rebuild, 3..6),
        prop::collection::vec(failure, 3..8),
    )
        .prop_map(|(rebuilds, failures)| [rebuilds, failures])
}

/// What replicas do to one manifest at once.
#[derive(Clone, Copy, Debug)]
enum Contended {
    Change(Operation),
    Append,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    /// Which of two that contradict each other wins is open; that both replicas, the records and the index agree
    /// afterwards is not, nor what nobody contradicted.
    #[test]
    fn replicas_that_change_one_manifest_at_once_end_in_agreement(
        sequences in prop::collection::vec(contended_operations(), 2..4),
        background in background(),
        seed in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(contend(sequences, vec![background], seed))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    /// As above, where what rebuilds have begun to derive is cut off again and again.
    #[test]
    fn replicas_end_in_agreement_beside_rebuilds_that_fail(
        sequences in prop::collection::vec(contended_operations(), 2..4),
        background in failing_rebuilds(),
        seed in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(contend(sequences, background.into(), seed))?;
    }
}

async fn contend(
    sequences: Vec<Vec<Contended>>,
    backgrounds: Vec<Vec<(u8, Background)>>,
    seed: u64,
) -> Result<(), TestCaseError> {
    let clock = Arc::new(ManualClock::new(UnixMillis::new(1_000)));
    let fixture = Fixture::over(Arc::new(Yielding::new(Arc::clone(&clock), seed)), clock);
    fixture.store.repair_journal().await.unwrap();
    fixture.store.rebuild_index(|_| ()).await.unwrap();
    let replicas: Vec<_> = sequences.iter().map(|_| fixture.replica()).collect();
    let signature = Signature::new("contended");
    let mut tasks: Vec<BoxFuture<'_, ()>> = Vec::new();
    for (replica, sequence) in replicas.iter().zip(&sequences) {
        tasks.push(Box::pin(contend_all(replica, &signature, sequence)));
    }
    for background in backgrounds {
        tasks.push(Box::pin(disturb(&fixture, background)));
    }
    join_all(tasks).await;
    fixture.index.set(Mode::Up);

    let (name, digest) = (repository(), &signature.digest);
    for replica in replicas.iter().chain([&fixture.store]) {
        replica.repair_journal().await.unwrap();
        replica.settle_owed().await;
    }
    prop_assert_eq!(fixture.store.differences().await.unwrap(), []);
    // A version of a tag is a push as well.
    let appended = sequences
        .iter()
        .flatten()
        .any(|step| matches!(step, Contended::Append));
    let is_listed = !listed(&fixture.store).await.is_empty();
    let is_tagged = fixture.store.tag(&name, &tag()).await.unwrap().is_some();
    for replica in &replicas {
        prop_assert_eq!(!listed(replica).await.is_empty(), is_listed);
        prop_assert_eq!(
            replica.tag(&name, &tag()).await.unwrap().is_some(),
            is_tagged
        );
        let manifest = replica.read_manifest(&name, digest).await.unwrap();
        prop_assert!(manifest.is_some() || !is_listed && !is_tagged);
        // What a tag has named stays readable when only its version is gone.
        prop_assert!(manifest.is_none() || is_listed || is_tagged || appended);
    }

    let last: Vec<Operation> = sequences
        .iter()
        .filter_map(|sequence| sequence.iter().rev().find_map(|step| step.decides()))
        .collect();
    let is_deletion = |operation: &Operation| matches!(operation, Operation::Delete);
    if !last.is_empty() && !last.iter().any(is_deletion) {
        prop_assert!(is_listed);
    }
    if !last.is_empty() && last.iter().all(is_deletion) && !appended {
        prop_assert!(!is_listed);
        prop_assert!(fixture.store.deleted(&name, digest).await.unwrap());
    }
    let deleted = sequences
        .iter()
        .flatten()
        .any(|step| matches!(step, Contended::Change(Operation::Delete)));
    prop_assert!(is_tagged || deleted || !appended);
    Ok(())
}

impl Contended {
    /// Whether it decides that the manifest is listed or not, whatever else there is.
    fn decides(self) -> Option<Operation> {
        match self {
            Self::Change(change @ (Operation::Push(_) | Operation::Delete)) => Some(change),
            Self::Change(Operation::Merge | Operation::Forget) | Self::Append => None,
        }
    }
}

async fn contend_all(store: &SignatureStore, signature: &Signature, sequence: &[Contended]) {
    // The index may be down: then reads go past it.
    store.repair_journal().await.ok();
    for operation in sequence {
        while let Err(error) = contend_once(store, signature, *operation).await {
            // What others keep deleting while it is pushed is not acknowledged, and clients push it again.
            let is_push = !matches!(
                operation,
                Contended::Change(Operation::Delete | Operation::Forget)
            );
            let is_deleted =
                matches!(&error, StoreError::Unavailable { operation, .. } if *operation == KEEP);
            assert!(is_push && is_deleted, "{operation:?}: {error}");
        }
    }
}

async fn contend_once(
    store: &SignatureStore,
    signature: &Signature,
    operation: Contended,
) -> Result<(), StoreError> {
    let (name, digest) = (repository(), &signature.digest);
    match operation {
        Contended::Change(Operation::Push(source)) => signature.add(store, source).await,
        Contended::Change(Operation::Merge) => signature.merge(store).await,
        Contended::Change(Operation::Forget) => {
            store
                .forget_upstream_referrer(&name, &subject(), digest)
                .await
        }
        Contended::Change(Operation::Delete) => store.delete_manifest(&name, digest).await,
        Contended::Append => signature.append(store).await,
    }
}
