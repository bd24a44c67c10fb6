//! The one thread that writes the embedded index, and commits in groups.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use redb::{Database, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::{Panicked, rows, unavailable};
use crate::store::index::IndexError;

/// Writes that wait; beyond it, writers wait for a place.
const QUEUE: usize = 1024;
/// Writes in one transaction.
const GROUP: usize = 256;

/// The way to the thread, which ends when this is dropped.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(database: Arc<Database>) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new()
            .name("index-writer".to_owned())
            .spawn(move || run(&database, queue))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Does `work` in a transaction that others may share; answers when that is durable.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, IndexError> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Write {
            operation,
            work: Some(work),
            result: None,
            reply,
        });
        if let Some(jobs) = &self.jobs {
            // If the thread is gone the job is dropped, and with it the reply, which is the answer below.
            let _ = jobs.send(job).await;
        }
        answer
            .await
            .unwrap_or_else(|stopped| Err(unavailable(operation, stopped)))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been answered as an error to whoever waited.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Writer").finish_non_exhaustive()
    }
}

trait Job: Send {
    fn apply(&mut self, txn: &WriteTransaction) -> Result<(), redb::Error>;
    fn finish(self: Box<Self>, outcome: Result<(), Failure>);
}

/// Why a whole group failed.
type Failure = Arc<dyn std::error::Error + Send + Sync>;

struct Write<T, F> {
    operation: &'static str,
    work: Option<F>,
    result: Option<T>,
    reply: oneshot::Sender<Result<T, IndexError>>,
}

impl<T, F> Job for Write<T, F>
where
    T: Send,
    F: FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send,
{
    fn apply(&mut self, txn: &WriteTransaction) -> Result<(), redb::Error> {
        if let Some(work) = self.work.take() {
            self.result = Some(work(txn)?);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, outcome: Result<(), Failure>) {
        let operation = self.operation;
        let answer = match (outcome, self.result) {
            (Ok(()), Some(result)) => Ok(result),
            (Ok(()), None) => Err(unavailable(operation, Panicked)),
            (Err(source), _) => Err(IndexError::Unavailable { operation, source }),
        };
        // Whoever asked may have gone away.
        let _ = self.reply.send(answer);
    }
}

fn run(database: &Database, mut queue: mpsc::Receiver<Box<dyn Job>>) {
    while let Some(first) = queue.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(next) = queue.try_recv()
        {
            group.push(next);
        }
        let outcome = guarded(database, |txn| {
            group.iter_mut().try_for_each(|job| job.apply(txn))
        });
        for job in group {
            job.finish(outcome.clone());
        }
    }
    if let Err(error) = guarded(database, rows::end) {
        tracing::warn!(%error, "the index could not be closed in order and will be derived again");
    }
}

/// One transaction, synced; after an error or a panic nothing of it has happened.
fn guarded(
    database: &Database,
    work: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), Failure> {
    let attempt = catch_unwind(AssertUnwindSafe(|| transact(database, work)));
    match attempt {
        Ok(outcome) => outcome.map_err(|error| Arc::new(error) as Failure),
        Err(_panic) => Err(Arc::new(Panicked)),
    }
}

pub(super) fn transact<T>(
    database: &Database,
    work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
) -> Result<T, redb::Error> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    let result = work(&txn)?;
    txn.commit()?;
    Ok(result)
}
