//! What the integration tests stand on: real peers, started by builders and ended when the value is dropped.
//!
//! Each test starts its own registry and its own regseal on free ports, so that tests share nothing and may run at once.
//! The code here blocks: a test is a plain function, and what needs a runtime ([`Http`], [`TokenServer`]) shares one.

pub mod backends;
pub mod chance;
pub mod clients;
pub mod cloud;
pub mod collector;
pub mod containerd;
pub mod docker;
pub mod faults;
pub mod gate;
pub mod haproxy;
pub mod http;
pub mod http2;
pub mod images;
pub mod load;
pub mod policy;
pub mod programs;
pub mod proxy;
pub mod raw;
pub mod registry;
pub mod regseal;
pub mod replicas;
pub mod stores;
pub mod tls;
pub mod token_server;
pub mod users;
pub mod wire;

use std::future::Future;
use std::sync::OnceLock;

pub use backends::{PATIENCE, process, wait_for};
pub use http::{Http, Reply};
pub use images::{Content, Repository};
pub use policy::Policed;
pub use registry::Registry;
pub use regseal::Regseal;
pub use replicas::Replicas;
pub use stores::Stores;
pub use token_server::TokenServer;
pub use users::{ALICE, Auth, BOB, CAROL, EVE, User};

/// A registry and regseal before it.
pub struct Stage {
    pub regseal: Regseal,
    pub registry: Registry,
}

impl Stage {
    pub fn with(auth: Auth) -> Self {
        let registry = Registry::with(auth);
        let regseal = Regseal::before(&registry);
        Self { regseal, registry }
    }

    /// A repository through regseal, as [`ALICE`] sees it.
    pub fn repository(&self, name: &str) -> Repository {
        self.regseal.endpoint.repository(ALICE, name)
    }

    /// The same repository in the registry behind.
    pub fn behind(&self, name: &str) -> Repository {
        self.registry.endpoint.repository(ALICE, name)
    }
}

/// How often to repeat what chance decides: `REGSEAL_SOAK=1` asks for the longer run.
pub fn rounds(usual: usize, soak: usize) -> usize {
    let soaking = std::env::var("REGSEAL_SOAK").is_ok_and(|value| value == "1");
    if soaking { soak } else { usual }
}

/// Runs a future to its end on the runtime that all of a process's tests share.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    })
}
