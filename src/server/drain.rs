//! Ending without losing requests.
//!
//! The order is: not ready ([`Readiness`](super::Readiness) looks at [`Drain`]); accept for `drain_delay` more; stop
//! accepting and tell each connection to close after its response, idle ones at once; at the deadline cut the rest.

use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// The switch that starts draining; clones share it, and it is never reset.
#[derive(Clone, Debug, Default)]
pub struct Drain(CancellationToken);

impl Drain {
    /// A switch that is off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts draining; a second call changes nothing.
    pub fn start(&self) {
        self.0.cancel();
    }

    /// Whether draining has started.
    pub fn is_started(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until draining starts.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }
}

/// How draining ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Drained {
    /// Every response went out whole.
    Complete,
    /// The deadline passed, and this many connections were cut.
    Cut {
        /// Connections that were still open.
        connections: usize,
    },
}

/// The open connections of one listener.
#[derive(Default)]
pub(super) struct Connections {
    tasks: JoinSet<()>,
    closing: CancellationToken,
}

impl Connections {
    /// What tells one connection to close after its response.
    pub(super) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    pub(super) fn spawn(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(connection);
    }

    /// Forgets one connection that has ended; waits for ever while there is none.
    pub(super) async fn reap(&mut self) {
        match self.tasks.join_next().await {
            Some(ended) => report(ended),
            None => std::future::pending().await,
        }
    }

    /// Lets the open requests end, until `deadline` has passed.
    pub(super) async fn drain(mut self, deadline: Duration) -> Drained {
        let tasks = &mut self.tasks;
        self.closing.cancel();
        let ended = async {
            while let Some(ended) = tasks.join_next().await {
                report(ended);
            }
        };
        if tokio::time::timeout(deadline, ended).await.is_ok() {
            return Drained::Complete;
        }
        let connections = self.tasks.len();
        warn!(connections, "draining took too long, connections are cut");
        self.tasks.shutdown().await;
        Drained::Cut { connections }
    }
}

/// A panic costs its connection and nothing else.
fn report(ended: Result<(), JoinError>) {
    if let Err(failure) = ended
        && failure.is_panic()
    {
        error!("a connection ended by a panic");
    }
}
