//! The contract on each kind of server.

use super::{config, open, sentinel, single};
use crate::backends::redis::{RedisCluster, RedisSentinel, RedisServer};
use crate::store::index::contract;
use crate::store::index::redis::Mode;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_keeps_the_contract() {
    let redis = RedisServer::start();
    contract::holds_for(&open(single(&redis)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_the_contract() {
    let redis = RedisCluster::start();
    let seeds = [redis.masters[1].port];
    contract::holds_for(&open(config(&seeds, Mode::Cluster)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_of_sentinels_keeps_the_contract() {
    let redis = RedisSentinel::start();
    contract::holds_for(&open(sentinel(&redis.sentinels)).await).await;
}
