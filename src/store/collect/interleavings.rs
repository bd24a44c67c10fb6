//! Every push, stopped before each of its operations while a whole sweep runs; every sweep, stopped before each of its
//! own while a whole push runs; and a collector that dies at each. The push is always one of what is about to be
//! collected, by the process that collects or by another.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::look::Waits;
use super::{Config, Options};
use crate::clock::{ManualClock, UnixMillis};
use crate::oci::Digest;
use crate::store::blob::BlobStore;
use crate::store::blob::memory::MemoryBlobStore;
use crate::store::testing::{Flaky, Signature, Stop, Stopping, listed, repository, tag};
use crate::store::{SignatureStore, Source, StoreError, layout};

const HOUR: Duration = Duration::from_secs(3600);
const CONFIG: Config = Config {
    between_scans: HOUR,
    untouched: Duration::from_secs(24 * 3600),
    subject_grace: HOUR,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Push {
    Referrer,
    Tag,
    Generated,
}

const PUSHES: [Push; 3] = [Push::Referrer, Push::Tag, Push::Generated];

impl Push {
    async fn run(self, store: &SignatureStore) -> Result<(), StoreError> {
        let signature = Signature::new("a");
        match self {
            Self::Referrer => signature.add(store, Source::Captured).await,
            Self::Tag => signature.append(store).await,
            Self::Generated => {
                let index = Bytes::from_static(b"[]");
                store.put_generated(&repository(), index, "x").await?;
                Ok(())
            }
        }
    }

    /// What leaves the push to the collector.
    async fn undo(self, store: &SignatureStore) {
        if self != Self::Generated {
            let digest = Signature::new("a").digest;
            store.delete_manifest(&repository(), &digest).await.unwrap();
        }
    }

    /// Pushes again until it is acknowledged.
    async fn retry(self, store: &SignatureStore) {
        for _ in 0..3 {
            match self.run(store).await {
                Ok(()) => return,
                Err(error) => expect_unavailable(&error),
            }
        }
        panic!("a push stays unavailable");
    }

    /// Fails unless all that was pushed is there, by the records and by the index.
    async fn expect(self, world: &World) {
        let (by_index, by_records) = (world.replica(), world.replica());
        by_index.repair_journal().await.unwrap();
        for store in [&by_index, &by_records] {
            let signature = Signature::new("a");
            let (digest, blob) = (&signature.digest, Digest::sha256(&signature.blob));
            match self {
                Self::Generated => {
                    let digest = Digest::sha256(b"[]");
                    let read = store.read_manifest(&repository(), &digest).await;
                    assert!(read.unwrap().is_some());
                    continue;
                }
                Self::Referrer => {
                    assert_eq!(listed(store).await, [(digest.clone(), Source::Captured)]);
                }
                Self::Tag => {
                    let served = store.tag(&repository(), &tag()).await.unwrap().unwrap();
                    assert_eq!(served.digest, *digest);
                }
            }
            let read = store.read_manifest(&repository(), digest).await;
            assert_eq!(read.unwrap().unwrap().0, signature.bytes);
            let content = store.read(&repository(), &blob).await.unwrap().unwrap();
            let bytes: Vec<Bytes> = content.body.try_collect().await.unwrap();
            assert_eq!(bytes.concat(), signature.blob);
        }
        assert_eq!(by_index.verify_index().await.unwrap(), []);
    }
}

/// Objects and index that several processes share.
struct World {
    clock: Arc<ManualClock>,
    objects: Arc<dyn BlobStore>,
    index: Arc<Flaky>,
}

impl World {
    /// The push was done and undone, long enough ago, and `sweeps` sweeps have followed: the next one deletes.
    async fn before_sweep(push: Push, sweeps: usize) -> Self {
        let clock = Arc::new(ManualClock::new(UnixMillis::new(1_000)));
        let objects = Arc::new(MemoryBlobStore::new(Arc::<ManualClock>::clone(&clock)));
        let world = Self {
            clock,
            objects,
            index: Arc::default(),
        };
        let store = world.replica();
        store.repair_journal().await.unwrap();
        store.rebuild_index(|_| ()).await.unwrap();
        push.run(&store).await.unwrap();
        push.undo(&store).await;
        world.clock.advance(CONFIG.untouched);
        collect(&store).await.unwrap();
        for _ in 0..sweeps {
            // One deletes, and one more finds what the first has made unreferenced.
            for _ in 0..2 {
                world.clock.advance(HOUR);
                collect(&store).await.unwrap();
            }
        }
        world.clock.advance(HOUR);
        world
    }

    fn replica(&self) -> Arc<SignatureStore> {
        self.replica_over(Arc::clone(&self.objects), Waits::default().abandoned)
    }

    fn replica_over(
        &self,
        objects: Arc<dyn BlobStore>,
        abandoned: Duration,
    ) -> Arc<SignatureStore> {
        let index = Arc::<Flaky>::clone(&self.index);
        let clock = Arc::<ManualClock>::clone(&self.clock);
        let mut store = SignatureStore::new(objects, index, clock);
        store.collections.waits = Waits {
            patience: Duration::ZERO,
            abandoned,
            ..Waits::default()
        };
        Arc::new(store)
    }

    /// Two processes, the first of which can be stopped. `same`: they are one.
    async fn actors(
        &self,
        same: bool,
    ) -> (Arc<Stopping>, Arc<SignatureStore>, Arc<SignatureStore>) {
        let stopping = Arc::new(Stopping::new(Arc::clone(&self.objects)));
        let abandoned = Waits::default().abandoned;
        let first = self.replica_over(Arc::<Stopping>::clone(&stopping), abandoned);
        let second = if same {
            Arc::clone(&first)
        } else {
            self.replica()
        };
        for store in [&first, &second] {
            store.repair_journal().await.unwrap();
        }
        (stopping, first, second)
    }

    /// Whether there is anything below `v1/gc` that says what is being deleted.
    async fn has_published(&self) -> bool {
        let sweeps = self.objects.list(&layout::sweeps(), None, 1).await;
        !sweeps.unwrap().is_empty()
    }
}

async fn collect(store: &SignatureStore) -> Result<u64, StoreError> {
    let collected = Box::pin(store.collect(&CONFIG, Options::default())).await?;
    Ok(collected.deleted)
}

/// Fails unless a client would push again.
fn expect_unavailable(error: &StoreError) {
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}

fn cases() -> impl Iterator<Item = (Push, usize, bool)> {
    PUSHES.into_iter().flat_map(|push| {
        [(0, false), (0, true), (1, false), (1, true)]
            .into_iter()
            .map(move |(sweeps, same)| (push, sweeps, same))
    })
}

#[tokio::test]
async fn a_sweep_has_something_to_delete() {
    for push in PUSHES {
        for sweeps in [0, 1] {
            // What was generated goes in one: nothing but its link has held its bytes.
            let world = World::before_sweep(push, sweeps).await;
            assert!(collect(&world.replica()).await.unwrap() > 0, "{push:?}");
            assert!(!world.has_published().await);
        }
    }
}

#[tokio::test]
async fn a_sweep_at_any_point_of_a_push_takes_nothing_from_it() {
    for (push, sweeps, same) in cases() {
        for count in 0.. {
            let world = World::before_sweep(push, sweeps).await;
            let (stopping, pusher, collector) = world.actors(same).await;
            stopping.stop_after(
                count,
                Stop::For(Box::pin(async move {
                    collect(&collector).await.unwrap();
                })),
            );
            let pushed = push.run(&pusher).await;
            let is_beyond = stopping.forget_stop();
            if let Err(error) = pushed {
                expect_unavailable(&error);
                push.retry(&pusher).await;
            }
            push.expect(&world).await;
            expect_kept(push, &world).await;
            if is_beyond {
                assert!(count > 4, "{push:?}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_push_at_any_point_of_a_sweep_loses_nothing() {
    for (push, sweeps, same) in cases() {
        for count in 0.. {
            let world = World::before_sweep(push, sweeps).await;
            let (stopping, collector, pusher) = world.actors(same).await;
            let (sent, mut outcome) = oneshot::channel();
            let during = Arc::clone(&pusher);
            stopping.stop_after(
                count,
                Stop::For(Box::pin(async move {
                    let pushed = push.run(&during).await;
                    sent.send(pushed.map_err(|error| expect_unavailable(&error)).is_ok())
                        .unwrap();
                })),
            );
            collect(&collector).await.unwrap();
            let is_beyond = stopping.forget_stop();
            if !outcome.try_recv().unwrap_or(false) {
                push.retry(&pusher).await;
            }
            push.expect(&world).await;
            expect_kept(push, &world).await;
            if is_beyond {
                assert!(count > 8, "{push:?}");
                break;
            }
        }
    }
}

/// Something that has come to the operation where it was to be stopped, or to its end.
struct Cut<T> {
    task: JoinHandle<T>,
    end: Option<T>,
    go_on: oneshot::Sender<()>,
}

impl<T: Send + 'static> Cut<T> {
    async fn first_part(
        stop_at: impl FnOnce(Stop),
        work: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        let (reached, is_reached) = oneshot::channel();
        let (go_on, may_go_on) = oneshot::channel();
        stop_at(Stop::For(Box::pin(async move {
            reached.send(()).unwrap();
            may_go_on.await.unwrap();
        })));
        let mut task = tokio::spawn(work);
        let end = tokio::select! {
            biased;
            reached = is_reached => {
                reached.unwrap();
                None
            }
            end = &mut task => Some(end.unwrap()),
        };
        Self { task, end, go_on }
    }

    fn is_whole(&self) -> bool {
        self.end.is_some()
    }

    async fn second_part(self) -> T {
        match self.end {
            Some(end) => end,
            None => {
                self.go_on.send(()).unwrap();
                self.task.await.unwrap()
            }
        }
    }
}

/// A push and a sweep by two processes, cut in two at every pair of points: a part of the one, a part of the other, the
/// rest of the first, the rest of the second.
async fn cut_both(sweep_first: bool) {
    for (push, sweeps) in PUSHES.into_iter().flat_map(|push| [(push, 0), (push, 1)]) {
        let mut refused = 0;
        for sweep_to in 0.. {
            let mut sweep_ends = true;
            for push_to in 0.. {
                let world = World::before_sweep(push, sweeps).await;
                let (of_sweep, collector, _) = world.actors(false).await;
                let (of_push, pusher, _) = world.actors(false).await;
                let first_of_sweep = Cut::first_part(
                    |stop| of_sweep.stop_after_write_below("v1/gc/sweeps/", sweep_to, stop),
                    async move { collect(&collector).await.unwrap() },
                );
                let pushing = Arc::clone(&pusher);
                let first_of_push =
                    Cut::first_part(|stop| of_push.stop_after(push_to, stop), async move {
                        push.run(&pushing).await
                    });
                let (sweep_is_whole, push_is_whole, pushed) = if sweep_first {
                    let sweep = first_of_sweep.await;
                    let pushed = first_of_push.await;
                    let whole = (sweep.is_whole(), pushed.is_whole());
                    sweep.second_part().await;
                    (whole.0, whole.1, pushed.second_part().await)
                } else {
                    let pushed = first_of_push.await;
                    let sweep = first_of_sweep.await;
                    let whole = (sweep.is_whole(), pushed.is_whole());
                    let outcome = pushed.second_part().await;
                    sweep.second_part().await;
                    (whole.0, whole.1, outcome)
                };
                of_push.forget_stop();
                if let Err(error) = pushed {
                    expect_unavailable(&error);
                    refused += 1;
                    push.retry(&pusher).await;
                }
                push.expect(&world).await;
                sweep_ends &= sweep_is_whole;
                if push_is_whole {
                    break;
                }
            }
            if sweep_ends {
                assert!(sweep_to > 4, "{push:?}");
                break;
            }
        }
        assert!(refused > 0, "the two have not met");
    }
}

#[tokio::test]
async fn a_sweep_that_goes_on_in_the_middle_of_a_push_takes_nothing_from_it() {
    cut_both(true).await;
}

#[tokio::test]
async fn a_push_that_goes_on_in_the_middle_of_a_sweep_loses_nothing() {
    cut_both(false).await;
}

#[tokio::test]
async fn a_collector_that_dies_at_any_point_takes_nothing_and_the_next_one_goes_on() {
    for (push, sweeps, late) in cases() {
        for count in 0.. {
            let world = World::before_sweep(push, sweeps).await;
            let (stopping, collector, pusher) = world.actors(false).await;
            let stop = if late { Stop::LateDeath } else { Stop::Death };
            stopping.stop_after(count, stop);
            let collected = collect(&collector).await;
            let is_beyond = stopping.forget_stop();
            assert_eq!(collected.is_ok(), is_beyond);

            // While it may still be alive, a push is refused rather than lost; later it goes through.
            if push.run(&pusher).await.is_ok() {
                push.expect(&world).await;
            }
            let later = world.replica_over(Arc::clone(&world.objects), Duration::ZERO);
            later.repair_journal().await.unwrap();
            push.retry(&later).await;
            push.expect(&world).await;
            world.clock.advance(HOUR);
            collect(&later).await.unwrap();
            assert!(!world.has_published().await);
            push.expect(&world).await;
            expect_kept(push, &world).await;
            if is_beyond {
                break;
            }
        }
    }
}

#[tokio::test]
async fn the_rows_of_what_a_dead_collector_has_deleted_follow() {
    for count in 0.. {
        let world = World::before_sweep(Push::Referrer, 0).await;
        let (stopping, collector, _) = world.actors(false).await;
        stopping.stop_after(count, Stop::LateDeath);
        let collected = collect(&collector).await;
        let later = world.replica_over(Arc::clone(&world.objects), Duration::ZERO);
        collect(&later).await.unwrap();
        later.repair_journal().await.unwrap();
        assert_eq!(later.verify_index().await.unwrap(), []);
        if collected.is_ok() {
            break;
        }
    }
}

/// Fails if later runs take what was pushed; what regseal makes anew when asked they may.
async fn expect_kept(push: Push, world: &World) {
    if push == Push::Generated {
        return;
    }
    let store = world.replica_over(Arc::clone(&world.objects), Duration::ZERO);
    for pause in [CONFIG.untouched, HOUR, HOUR, HOUR] {
        world.clock.advance(pause);
        collect(&store).await.unwrap();
    }
    push.expect(world).await;
}
