//! What goes wrong between us and Redis.

use redis::{ErrorKind, RedisError, ServerErrorKind};
use thiserror::Error;
use tokio::time::error::Elapsed;

use super::config::Server;

/// Why Redis did not do what was asked. Says nothing of passwords.
#[derive(Clone, Debug, Error)]
pub(super) enum Failure {
    /// No connection to a server.
    #[error("no connection to {server}")]
    Connect {
        server: Server,
        #[source]
        source: RedisError,
    },
    /// A server's refusal, or the end of its connection.
    #[error("Redis failed")]
    Redis(#[from] RedisError),
    /// No answer in time.
    #[error("Redis did not answer in time")]
    Timeout {
        #[source]
        source: std::sync::Arc<Elapsed>,
    },
    /// The server has another part than we need.
    #[error("the server is a {role}, not a master")]
    NotMaster { role: String },
    /// It does not have its data yet.
    #[error("the server is loading its data")]
    Loading,
    /// A reply that cannot be understood.
    #[error("Redis does not tell {what}")]
    Unreadable { what: &'static str },
    /// Nobody knows a server.
    #[error("no sentinel knows a master of this name")]
    NoMaster,
    /// A cluster that lost a part.
    #[error("the cluster has no master for slot {slot}")]
    NoSlot { slot: u16 },
    /// Another version of regseal uses the prefix, or one with another object store.
    #[error("the index in Redis has the schema {found:?} (version and objects), not {needed:?}")]
    Schema { found: String, needed: String },
    /// The epoch could not be agreed on: others begin new ones.
    #[error("the epoch keeps changing")]
    Restless,
    /// Rows were met that belong to a later epoch than ours.
    #[error("the epoch is over")]
    Outdated,
    /// The command came to its turn after we had given it up.
    #[error("Redis came to the command too late")]
    Late,
}

impl From<Elapsed> for Failure {
    fn from(source: Elapsed) -> Self {
        Self::Timeout {
            source: std::sync::Arc::new(source),
        }
    }
}

/// What a failed command means for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Not executed: the server is not the one we think it is, or has forgotten our scripts.
    Stranger,
    /// This command failed; others need not.
    Refused,
    /// No other command is tried before the servers were looked at again.
    Down,
}

impl Failure {
    pub(super) fn meaning(&self) -> Meaning {
        match self {
            Self::Redis(error) => meaning(error),
            Self::Outdated => Meaning::Stranger,
            Self::Late | Self::Unreadable { .. } => Meaning::Refused,
            Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::NotMaster { .. }
            | Self::Loading
            | Self::NoMaster
            | Self::NoSlot { .. }
            | Self::Schema { .. }
            | Self::Restless => Meaning::Down,
        }
    }
}

fn meaning(error: &RedisError) -> Meaning {
    let is_stranger = matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::NoScript | ServerErrorKind::Moved)
    );
    let is_down = error.is_connection_dropped()
        || matches!(
            error.kind(),
            ErrorKind::Io
                | ErrorKind::Client
                | ErrorKind::Parse
                | ErrorKind::AuthenticationFailed
                | ErrorKind::Server(
                    ServerErrorKind::BusyLoading
                        | ServerErrorKind::ClusterDown
                        | ServerErrorKind::MasterDown
                        | ServerErrorKind::ReadOnly
                )
        );
    if is_stranger {
        Meaning::Stranger
    } else if is_down {
        Meaning::Down
    } else {
        // Among them that memory is full, and that a slot is on the move.
        Meaning::Refused
    }
}
