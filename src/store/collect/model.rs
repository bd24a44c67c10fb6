//! Random interleavings of pushes and deletions by two replicas and of two collectors, over days.
//!
//! Each digest has a sequence of its own, and all share a blob. Whatever the order, what a sequence has left standing
//! is complete in the end, and all else is gone after some more runs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tokio::sync::RwLock;

use super::look::Waits;
use super::{Config, Options};
use crate::clock::{ManualClock, UnixMillis};
use crate::oci::Digest;
use crate::store::testing::{Fixture, Signature, Yielding, listed, repository, tag};
use crate::store::{SignatureStore, Source, StoreError};

const HOUR: Duration = Duration::from_secs(3600);
const CONFIG: Config = Config {
    between_scans: HOUR,
    untouched: Duration::from_secs(24 * 3600),
    subject_grace: HOUR,
};

#[derive(Clone, Copy, Debug)]
enum Operation {
    Push,
    Append,
    Delete,
}

#[derive(Clone, Copy, Debug)]
enum Background {
    Collect,
    /// Time goes on. No push lasts that long, so it waits for those under way.
    Hour,
    Day,
}

#[derive(Clone, Copy, Debug, Default)]
struct Model {
    listed: bool,
    tagged: bool,
}

fn sequences() -> impl Strategy<Value = Vec<Vec<(Operation, usize, u8)>>> {
    let operation = prop_oneof![
        Just(Operation::Push),
        Just(Operation::Append),
        Just(Operation::Delete),
        Just(Operation::Delete),
    ];
    let step = (operation, 0..2usize, 0..200u8);
    prop::collection::vec(prop::collection::vec(step, 0..8), 1..4)
}

fn background() -> impl Strategy<Value = Vec<Vec<(u8, Background)>>> {
    let background = prop_oneof![
        Just(Background::Collect),
        Just(Background::Collect),
        Just(Background::Hour),
        Just(Background::Day),
    ];
    let steps = prop::collection::vec((0..100u8, background), 0..16);
    prop::collection::vec(steps, 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_loses_what_was_acknowledged_or_keeps_what_nothing_needs(
        sequences in sequences(),
        background in background(),
        seed in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(run(sequences, background, seed))?;
    }
}

/// What all tasks share.
struct World {
    clock: Arc<ManualClock>,
    replicas: [Arc<SignatureStore>; 2],
    time: RwLock<()>,
}

async fn run(
    sequences: Vec<Vec<(Operation, usize, u8)>>,
    background: Vec<Vec<(u8, Background)>>,
    seed: u64,
) -> Result<(), TestCaseError> {
    let clock = Arc::new(ManualClock::new(UnixMillis::new(1_000)));
    let blobs = Arc::new(Yielding::new(Arc::clone(&clock), seed));
    let fixture = Fixture::over(blobs, Arc::clone(&clock));
    let impatient = || {
        let mut store = fixture.replica();
        let waits = &mut Arc::get_mut(&mut store).unwrap().collections.waits;
        *waits = Waits {
            patience: Duration::ZERO,
            ..*waits
        };
        store
    };
    let world = World {
        clock,
        replicas: [impatient(), impatient()],
        time: RwLock::default(),
    };
    world.replicas[0].repair_journal().await.unwrap();
    world.replicas[0].rebuild_index(|_| ()).await.unwrap();
    world.replicas[1].repair_journal().await.unwrap();

    let signatures: Vec<Signature> = (0..sequences.len())
        .map(|n| Signature::new(&n.to_string()))
        .collect();
    let pushing = signatures
        .iter()
        .zip(&sequences)
        .map(|(signature, sequence)| {
            let pushing = world.apply_all(signature, sequence);
            Box::pin(pushing) as BoxFuture<'_, Option<Model>>
        });
    let collecting = background.iter().enumerate().map(|(n, steps)| {
        let collecting = world.collect_all(n, steps);
        Box::pin(collecting) as BoxFuture<'_, Option<Model>>
    });
    let left: Vec<Model> = join_all(pushing.chain(collecting))
        .await
        .into_iter()
        .flatten()
        .collect();

    let store = fixture.replica();
    expect(&fixture.store, &signatures, &left).await;
    world.clock.advance(CONFIG.untouched);
    for _ in 0..6 {
        store.collect(&CONFIG, Options::default()).await.unwrap();
        world.clock.advance(HOUR);
    }
    let options = Options {
        dry_run: true,
        scrub: true,
    };
    let collected = store.collect(&CONFIG, options).await.unwrap();
    prop_assert_eq!(collected.candidates, 0);
    prop_assert_eq!(collected.scrub.unwrap().damage, []);
    store.repair_journal().await.unwrap();
    for store in [&store, &fixture.replica()] {
        expect(store, &signatures, &left).await;
    }
    prop_assert_eq!(store.verify_index().await.unwrap(), []);
    Ok(())
}

impl World {
    async fn apply_all(
        &self,
        signature: &Signature,
        sequence: &[(Operation, usize, u8)],
    ) -> Option<Model> {
        let mut model = Model::default();
        for (operation, replica, turns) in sequence {
            yield_turns(*turns).await;
            let store = &self.replicas[*replica];
            // Clients push again what is answered 503.
            while let Err(error) = self.apply(store, signature, *operation).await {
                assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
                tokio::task::yield_now().await;
            }
            match operation {
                Operation::Push => model.listed = true,
                Operation::Append => model.tagged = true,
                Operation::Delete => model = Model::default(),
            }
        }
        Some(model)
    }

    async fn apply(
        &self,
        store: &SignatureStore,
        signature: &Signature,
        operation: Operation,
    ) -> Result<(), StoreError> {
        let _no_day_goes_by = self.time.read().await;
        match operation {
            Operation::Push => signature.add(store, Source::Captured).await,
            Operation::Append => signature.append(store).await,
            Operation::Delete => {
                store
                    .delete_manifest(&repository(), &signature.digest)
                    .await
            }
        }
    }

    async fn collect_all(&self, replica: usize, steps: &[(u8, Background)]) -> Option<Model> {
        let store = &self.replicas[replica];
        for (turns, step) in steps {
            yield_turns(*turns).await;
            match step {
                Background::Collect => {
                    store.collect(&CONFIG, Options::default()).await.unwrap();
                }
                Background::Hour => self.pass(HOUR).await,
                Background::Day => self.pass(CONFIG.untouched).await,
            }
        }
        None
    }

    async fn pass(&self, time: Duration) {
        let _alone = self.time.write().await;
        self.clock.advance(time);
    }
}

async fn yield_turns(turns: u8) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

async fn expect(store: &SignatureStore, signatures: &[Signature], left: &[Model]) {
    let name = repository();
    let listed = listed(store).await;
    let served = store.tag(&name, &tag()).await.unwrap();
    for (signature, model) in signatures.iter().zip(left) {
        let digest = &signature.digest;
        assert_eq!(
            listed.iter().any(|(listed, _)| listed == digest),
            model.listed
        );
        if !model.listed && !model.tagged {
            continue;
        }
        let read = store.read_manifest(&name, digest).await.unwrap();
        assert_eq!(read.unwrap().0, signature.bytes);
        let blob = Digest::sha256(&signature.blob);
        assert!(store.read(&name, &blob).await.unwrap().is_some());
    }
    if let Some(served) = served {
        let read = store.read_manifest(&name, &served.digest).await.unwrap();
        assert_eq!(read.unwrap().0, served.bytes);
    }
}
