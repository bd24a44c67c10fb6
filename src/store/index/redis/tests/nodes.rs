//! A cluster and the master of sentinels, when another node takes the place of one.

use super::state::{back, fill, is_unknown};
use super::{absent, config, digest, found, link, open, referrer, repository, sentinel};
use crate::backends::redis::{RedisCluster, RedisSentinel};
use crate::store::index::redis::{Mode, keys};
use crate::store::index::{Lookup, ReferrersIndex};

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_that_lacks_writes_is_not_believed() {
    let mut redis = RedisSentinel::start();
    let index = open(sentinel(&redis.sentinels)).await;
    fill(&index).await;
    let sha = {
        let session = index.redis.session().unwrap();
        session.nodes[0].scripts.as_ref().unwrap().1[0].clone()
    };
    // The replica has the rows, but never the scripts.
    assert_eq!(redis.replica.cli(&["SCRIPT", "EXISTS", &sha]), "0");
    redis.cut_off_replica();
    index.put_referrer(&referrer("s", "lost")).await.unwrap();
    redis.fail_over();
    back(&index).await;
    is_unknown(&index).await;
    fill(&index).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_node_of_a_cluster_is_not_believed() {
    let mut redis = RedisCluster::with_replicas(1);
    let ports: Vec<u16> = redis.masters.iter().map(|node| node.port).collect();
    let index = open(config(&ports, Mode::Cluster)).await;
    fill(&index).await;
    let epoch = index.epoch().await.unwrap();
    redis.fail_over();
    back(&index).await;
    assert!(index.epoch().await.unwrap().0 > epoch.0);
    is_unknown(&index).await;
    fill(&index).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_cluster_that_starts_with_an_old_dump_is_not_believed() {
    let mut redis = RedisCluster::start();
    let ports: Vec<u16> = redis.masters.iter().map(|node| node.port).collect();
    let index = open(config(&ports, Mode::Cluster)).await;
    let other = open(config(&ports, Mode::Cluster)).await;
    fill(&index).await;
    for node in 0..3 {
        let dump = redis.masters[node].dump();
        index.put_referrer(&referrer("s", "late")).await.unwrap();
        redis.masters[node].put_back(&dump);
        redis.wait_until(&["cluster_state:ok"]);
        back(&index).await;
        is_unknown(&index).await;
        back(&other).await;
        is_unknown(&other).await;
        fill(&other).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_may_move_to_another_node() {
    let redis = RedisCluster::start();
    let ports: Vec<u16> = redis.masters.iter().map(|node| node.port).collect();
    let index = open(config(&ports, Mode::Cluster)).await;
    fill(&index).await;
    let slot = keys::slot(b"a/b").to_string();
    let from = usize::from(slot.parse::<u16>().unwrap()) * 3 / 16384;
    let to = (from + 1) % 3;
    let ids: Vec<String> = redis
        .masters
        .iter()
        .map(|node| node.cli(&["CLUSTER", "MYID"]))
        .collect();
    let state = |node: usize, words: &[&str]| {
        let command = [&["CLUSTER", "SETSLOT", slot.as_str()], words].concat();
        redis.masters[node].cli(&command)
    };
    state(to, &["IMPORTING", &ids[from]]);
    state(from, &["MIGRATING", &ids[to]]);
    // One key after the other; what the index says meanwhile is right or an error.
    let port = ports[to].to_string();
    loop {
        match index.referrers(&repository(), &digest("s")).await {
            Ok(Lookup::Found(rows)) => assert_eq!(rows, [referrer("s", "r")]),
            Ok(Lookup::Unknown) | Err(_) => {}
            Ok(Lookup::Absent) => panic!("a row that is being moved is not absent"),
        }
        if let Ok(lookup) = index.link(&repository(), &digest("l")).await {
            assert_eq!(lookup, Lookup::Found(link()));
        }
        let left = redis.masters[from].cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot]);
        if left == "0" {
            break;
        }
        redis.migrate(from, &port, &slot);
    }
    for node in [to, from] {
        state(node, &["NODE", &ids[to]]);
    }
    back(&index).await;
    assert_eq!(found(&index, "s").await, [referrer("s", "r")]);
    assert!(absent(&index, "other").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_than_half_of_the_sentinels_are_not_believed() {
    let set = RedisSentinel::start();
    let nobody = || {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().port()
    };
    let [one, two] = [set.sentinels[0], set.sentinels[1]];
    let most = open(sentinel(&[one, two, nobody()])).await;
    fill(&most).await;
    let few = open(sentinel(&[one, nobody(), nobody()])).await;
    assert!(few.complete().await.is_err());
    assert!(few.put_referrer(&referrer("s", "r")).await.is_err());
}
