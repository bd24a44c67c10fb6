//! The index on real servers.

mod access;
mod contract;
mod faults;
mod links;
mod memory;
mod model;
mod nodes;
mod state;

use std::time::Duration;

use super::{Config, Mode, RedisIndex, Server};
use crate::backends::redis::RedisServer;
use crate::store::index::contract::{digest, referrer, repository};
use crate::store::index::{Lookup, ReferrersIndex};
use crate::store::records::{Link, LinkKind, Referrer};

fn server(port: u16) -> Server {
    Server {
        host: "127.0.0.1".to_owned(),
        port,
    }
}

fn config(ports: &[u16], mode: Mode) -> Config {
    Config {
        servers: ports.iter().copied().map(server).collect(),
        mode,
        tls: false,
        ca: None,
        database: 0,
        username: None,
        password: None,
        key_prefix: "rx1".to_owned(),
        objects: "s3 signatures".to_owned(),
        timeout: Duration::from_secs(5),
    }
}

fn single(server: &RedisServer) -> Config {
    config(&[server.port], Mode::Single)
}

fn sentinel(ports: &[u16]) -> Config {
    let mode = Mode::Sentinel {
        service: "mymaster".to_owned(),
        username: None,
        password: None,
    };
    config(ports, mode)
}

async fn open(config: Config) -> RedisIndex {
    RedisIndex::open(config).await.unwrap()
}

fn link() -> Link {
    Link {
        kind: LinkKind::Manifest,
        media_type: "application/x".to_owned(),
        size: 3,
        subject: Some(digest("s")),
    }
}

async fn found(index: &RedisIndex, subject: &str) -> Vec<Referrer> {
    match index.referrers(&repository(), &digest(subject)).await {
        Ok(Lookup::Found(rows)) => rows,
        other => panic!("not found: {other:?}"),
    }
}

async fn absent(index: &RedisIndex, subject: &str) -> bool {
    let rows = index.referrers(&repository(), &digest(subject)).await;
    matches!(rows, Ok(Lookup::Absent))
}
