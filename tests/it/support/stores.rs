//! Where a regseal keeps what it keeps.

use std::sync::{Arc, Mutex, MutexGuard};

use super::backends::redis::{RedisCluster, RedisSentinel};
use super::backends::{RedisServer, S3Server};

/// What stands before the name of each object in the bucket.
pub const PREFIX: &str = "tests/it";

/// Which stores a regseal has.
#[derive(Clone)]
pub enum Stores {
    /// A directory, and the index in a file there.
    Directory,
    /// A bucket, and Redis.
    S3Redis(Arc<Shared>),
}

/// An S3 server and a Redis, of one regseal or of several.
pub struct Shared {
    s3: Mutex<S3Server>,
    redis: Mutex<Redis>,
}

/// The forms in which Redis is run.
pub enum Redis {
    Single(Box<RedisServer>),
    Sentinel(Box<RedisSentinel>),
    Cluster(RedisCluster),
}

impl Stores {
    /// What `REGSEAL_TEST_STORES` asks for, with servers that nobody else has: `s3+redis`, or nothing for a directory.
    pub fn from_environment() -> Self {
        match std::env::var("REGSEAL_TEST_STORES").as_deref() {
            Err(_) | Ok("" | "directory") => Self::Directory,
            Ok("s3+redis") => {
                let redis = Redis::Single(Box::new(RedisServer::start()));
                Self::S3Redis(Arc::new(Shared::with(redis)))
            }
            Ok(other) => panic!("REGSEAL_TEST_STORES={other} is neither directory nor s3+redis"),
        }
    }
}

impl Shared {
    pub fn with(redis: Redis) -> Self {
        Self {
            s3: Mutex::new(S3Server::start()),
            redis: Mutex::new(redis),
        }
    }

    pub fn s3(&self) -> MutexGuard<'_, S3Server> {
        self.s3.lock().unwrap()
    }

    pub fn redis(&self) -> MutexGuard<'_, Redis> {
        self.redis.lock().unwrap()
    }

    /// The settings by which a regseal finds the servers themselves.
    pub fn settings(&self) -> Vec<(String, String)> {
        let s3 = self.s3().endpoint.clone();
        let redis = self.redis().url();
        self.settings_by_way_of(&s3, &redis)
    }

    /// The same, with other ways to the two.
    pub fn settings_by_way_of(&self, s3_endpoint: &str, redis_url: &str) -> Vec<(String, String)> {
        let s3 = self.s3();
        let settings = [
            ("STORAGE__S3__ENDPOINT", s3_endpoint),
            ("STORAGE__S3__BUCKET", s3.bucket),
            ("STORAGE__S3__PREFIX", PREFIX),
            ("STORAGE__S3__ACCESS_KEY_ID", s3.access_key_id),
            ("STORAGE__S3__SECRET_ACCESS_KEY", s3.secret_access_key),
            ("INDEX__REDIS__URL", redis_url),
            ("INDEX__REDIS__MODE", self.redis().mode()),
            ("INDEX__REDIS__KEY_PREFIX", "it"),
        ];
        settings.map(|(key, value)| setting(key, value)).into()
    }
}

impl Redis {
    /// The one server.
    #[track_caller]
    pub fn single(&mut self) -> &mut RedisServer {
        match self {
            Self::Single(server) => server,
            Self::Sentinel(_) | Self::Cluster(_) => panic!("not a single server"),
        }
    }

    /// Where a client begins.
    pub fn url(&self) -> String {
        let ports: Vec<u16> = match self {
            Self::Single(server) => vec![server.port],
            Self::Sentinel(set) => set.sentinels.clone(),
            Self::Cluster(cluster) => cluster.masters.iter().map(|node| node.port).collect(),
        };
        let hosts: Vec<String> = ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        format!("redis://{}", hosts.join(","))
    }

    pub fn mode(&self) -> &'static str {
        match self {
            Self::Single(_) => "single",
            Self::Sentinel(_) => "sentinel",
            Self::Cluster(_) => "cluster",
        }
    }
}

/// The variable of a key such as `TIMEOUTS__REDIS`, and its value.
pub fn setting(key: &str, value: &str) -> (String, String) {
    (format!("REGSEAL__{key}"), value.to_owned())
}
