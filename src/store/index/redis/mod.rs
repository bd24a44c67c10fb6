//! The index in Redis, shared by all replicas: one server, a master that sentinels know, or a cluster.
//!
//! Redis may lose everything at any moment, come back with an old dump, fail over to a replica that lacks the last
//! writes, or hang and execute commands late. Two numbers keep it from answering wrongly then:
//!
//! - The *epoch* of the whole index. It begins anew whenever the servers are not the ones it was begun on
//!   (`handshake`). Each process is told of it at least every second, and by every row it meets of a later one.
//! - The *incarnation* of a repository: drawn when its first row of an epoch is written, kept in the one key that also
//!   says whether the repository is complete, and part of the names of all its other keys. Without that key they are
//!   out of reach. So what is lost makes a repository unknown, not smaller.
//!
//! Changes name the time at which their caller gives up, in the server's own clock; after that they do nothing.

mod codec;
mod config;
mod failure;
mod handshake;
mod keys;
mod link;
mod metrics;
mod operations;
mod rows;
mod scripts;
mod server;
mod session;
mod sweep;
mod tend;
mod tls;
mod topology;

#[cfg(test)]
mod tests;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinHandle;

use self::failure::Failure;
use self::handshake::Handshake;
use self::keys::Keys;
use self::link::Link;
use self::server::Connector;
use self::topology::Finder;
use super::IndexError;

pub use config::{Config, Mode, OpenError, Server};

/// The form of keys and rows; another one needs another prefix.
const SCHEMA: u64 = 1;

/// The index in Redis.
pub struct RedisIndex {
    redis: Arc<Link>,
    task: JoinHandle<()>,
}

impl RedisIndex {
    /// Opens the index. Redis need not answer: the index is then unavailable until it does.
    ///
    /// # Errors
    /// The settings are wrong in themselves, or Redis answers and has rows of another version of regseal, or of another object
    /// store.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let settings = |source| OpenError::Settings { source };
        let connector = Connector::new(&config).map_err(settings)?;
        let (keys, timeout) = (
            Keys::new(&config.key_prefix, &config.objects),
            config.timeout,
        );
        let mut handshake = Handshake::new(connector, Finder::new(config), keys.clone());
        let known = AtomicU64::new(0);
        let first = tend::shake(timeout, &mut handshake, None, &known, false).await;
        if let Err(Failure::Schema { found, needed }) = first {
            return Err(OpenError::Schema { found, needed });
        }
        let outcome = first.map(Arc::new).map_err(Arc::new);
        let redis = Link::new(keys, timeout, random(), outcome);
        redis.known.fetch_max(known.into_inner(), Ordering::SeqCst);
        let redis = Arc::new(redis);
        let task = tokio::spawn(tend::tend(Arc::clone(&redis), handshake));
        Ok(Self { redis, task })
    }
}

impl fmt::Debug for RedisIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RedisIndex").finish_non_exhaustive()
    }
}

impl Drop for RedisIndex {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn unavailable(operation: &'static str, source: Arc<Failure>) -> IndexError {
    let source: Arc<dyn StdError + Send + Sync> = source;
    IndexError::Unavailable { operation, source }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .expect("the generator of the cryptographic library does not fail once seeded");
    bytes
}
