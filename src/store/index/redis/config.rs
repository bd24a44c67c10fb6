//! Settings of Redis, and why it cannot be used.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::secret::Secret;

/// Settings of Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The server, the seeds of the cluster, or the sentinels.
    pub servers: Vec<Server>,
    /// How they belong together.
    pub mode: Mode,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Authorities (PEM) to trust besides those of the system.
    pub ca: Option<Vec<u8>>,
    /// The number of the database; a cluster has only 0.
    pub database: i64,
    /// The user of the servers.
    pub username: Option<String>,
    /// The password of the servers.
    pub password: Option<Secret>,
    /// What all keys begin with.
    pub key_prefix: String,
    /// Names the object store whose records are indexed: one index is never of two.
    pub objects: String,
    /// For every call and every connection.
    pub timeout: Duration,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Server {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// How the servers belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One server.
    Single,
    /// A cluster.
    Cluster,
    /// Sentinels that know the server.
    Sentinel {
        /// The name by which they know it.
        service: String,
        /// The user of the sentinels.
        username: Option<String>,
        /// The password of the sentinels.
        password: Option<Secret>,
    },
}

/// Why Redis cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another version of regseal uses it, or one with another object store.
    #[error(
        "the index in Redis has the schema {found:?} (version and objects), and this one would have {needed:?}: \
         give it a key prefix of its own"
    )]
    Schema {
        /// Its version, and the objects that it is of.
        found: String,
        /// Those of this one.
        needed: String,
    },
    /// What cannot be used to connect, such as an authority that is no certificate.
    #[error("the settings of Redis cannot be used")]
    Settings {
        /// Why.
        source: redis::RedisError,
    },
}
