//! Several regseals over the same stores and before the same registry, each with ways of its own to all of them.

use std::sync::{Arc, MutexGuard};

use super::backends::{RedisServer, S3Server};
use super::http::Endpoint;
use super::proxy::{Mode, TcpProxy};
use super::stores::{Redis, Shared, Stores, setting};
use super::{ALICE, Auth, Http, Registry, Regseal, Repository, wait_for};

pub struct Replicas {
    /// In the order of their numbers.
    pub all: Vec<Replica>,
    pub registry: Registry,
    pub stores: Arc<Shared>,
    /// What a single Redis has when it comes back from nothing, and when it comes back from an old dump.
    pub dumps: Dumps,
}

pub struct Replica {
    pub regseal: Regseal,
    /// The ways from this replica to the others. There is none to a Redis whose servers say where they are.
    pub redis: Option<TcpProxy>,
    pub s3: TcpProxy,
    pub upstream: TcpProxy,
}

#[derive(Default)]
pub struct Dumps {
    pub empty: Vec<u8>,
    pub old: Vec<u8>,
}

/// How replicas are to be started.
pub struct Plan {
    count: usize,
    settings: Vec<(String, String)>,
    redis: Redis,
}

impl Replicas {
    #[track_caller]
    pub fn start(count: usize) -> Self {
        Self::plan(count).start()
    }

    /// With a single Redis.
    pub fn plan(count: usize) -> Plan {
        Self::plan_with(Redis::Single(Box::new(RedisServer::start())), count)
    }

    pub fn plan_with(redis: Redis, count: usize) -> Plan {
        Plan {
            count,
            settings: Vec::new(),
            redis,
        }
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.all
            .iter()
            .map(|replica| replica.regseal.endpoint.clone())
            .collect()
    }

    /// A repository through one of them.
    pub fn repository(&self, replica: usize, name: &str) -> Repository {
        self.all[replica].regseal.endpoint.repository(ALICE, name)
    }

    /// The same repository through each of them.
    pub fn repositories(&self, name: &str) -> Vec<Repository> {
        (0..self.count())
            .map(|replica| self.repository(replica, name))
            .collect()
    }

    /// The same repository in the registry behind.
    pub fn behind(&self, name: &str) -> Repository {
        self.registry.endpoint.repository(ALICE, name)
    }

    pub fn s3(&self) -> MutexGuard<'_, S3Server> {
        self.stores.s3()
    }

    pub fn redis(&self) -> MutexGuard<'_, Redis> {
        self.stores.redis()
    }

    /// Keeps what Redis has now, for [`Fault::OldDump`](super::faults::Fault::OldDump).
    pub fn keep_dump(&mut self) {
        let dump = self.redis().single().dump();
        self.dumps.old = dump;
    }

    /// Sets how the way of one of them to Redis fails.
    pub fn cut_from_redis(&self, replica: usize, mode: Mode) {
        let redis = self.all[replica].redis.as_ref();
        redis.expect("Redis is a single server").set(mode);
    }

    /// One more that is not counted among them, with settings of its own and no proxies.
    pub fn another(&self, settings: &[(&str, &str)]) -> Regseal {
        let mut builder =
            Regseal::builder(&self.registry).stores(Stores::S3Redis(Arc::clone(&self.stores)));
        for (key, value) in settings {
            let (name, value) = setting(key, value);
            builder = builder.environment(&name, &value);
        }
        builder.start()
    }

    /// Waits until each replica uses its index and has nothing to repair.
    #[track_caller]
    pub fn are_well(&self) {
        for (number, replica) in self.all.iter().enumerate() {
            wait_for(&format!("replica {number} to be well"), || {
                is_well(&replica.regseal.admin).then_some(())
            });
        }
    }

    /// What `rebuild-index --verify` says: its status and its output.
    pub fn verify_index(&self) -> (Option<i32>, String) {
        let output = self.all[0]
            .regseal
            .run(&["rebuild-index", "--offline", "--verify"]);
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    /// Waits until they are well, and fails unless the index is what the objects say.
    #[track_caller]
    pub fn have_an_exact_index(&self) {
        self.are_well();
        let (status, text) = self.verify_index();
        assert_eq!(status, Some(0), "{text}");
    }
}

impl Plan {
    /// A setting of all replicas, such as `TIMEOUTS__REDIS`.
    pub fn setting(mut self, key: &str, value: &str) -> Self {
        self.settings.push(setting(key, value));
        self
    }

    #[track_caller]
    pub fn start(self) -> Replicas {
        let mut dumps = Dumps::default();
        if let Redis::Single(server) = &self.redis {
            dumps.empty = server.dump();
            dumps.old.clone_from(&dumps.empty);
        }
        let registry = Registry::with(Auth::None);
        let stores = Arc::new(Shared::with(self.redis));
        let all = (0..self.count)
            .map(|_| start(&registry, &stores, &self.settings))
            .collect();
        Replicas {
            all,
            registry,
            stores,
            dumps,
        }
    }
}

fn start(registry: &Registry, stores: &Arc<Shared>, settings: &[(String, String)]) -> Replica {
    let mut redis_url = stores.redis().url();
    let redis = match &*stores.redis() {
        Redis::Single(server) => Some(TcpProxy::to(&format!("127.0.0.1:{}", server.port))),
        Redis::Sentinel(_) | Redis::Cluster(_) => None,
    };
    if let Some(redis) = &redis {
        redis_url = format!("redis://{}", redis.address());
    }
    let s3 = TcpProxy::to(stores.s3().endpoint.trim_start_matches("http://"));
    let upstream = TcpProxy::to(&registry.endpoint.authority);
    let by_way_of = stores.settings_by_way_of(&format!("http://{}", s3.address()), &redis_url);
    let mut builder = Regseal::at(&Endpoint {
        authority: upstream.address(),
        access: registry.endpoint.access.clone(),
    })
    .stores(Stores::S3Redis(Arc::clone(stores)));
    for (name, value) in by_way_of.iter().chain(settings) {
        builder = builder.environment(name, value);
    }
    Replica {
        regseal: builder.start(),
        redis,
        s3,
        upstream,
    }
}

/// Whether a replica says that all of its parts work, and that its journal was empty when it last looked.
pub fn is_well(admin: &Http) -> bool {
    let verbose = admin.try_get("/readyz?verbose");
    let metrics = admin.try_get("/metrics");
    let (Some(verbose), Some(metrics)) = (verbose, metrics) else {
        return false;
    };
    let verbose = String::from_utf8_lossy(&verbose.body).into_owned();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    !verbose.contains("[~]")
        && !verbose.contains("[-]")
        && metrics
            .lines()
            .filter(|line| line.starts_with("regseal_store_journal_depth"))
            .all(|line| line.ends_with(" 0"))
}
