//! Each way in which Redis loses rows or comes too late, one by one.

use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::state::{back, causes, fill, is_unknown};
use super::{absent, digest, found, link, open, referrer, repository, single};
use crate::backends::redis::{Options, RedisServer};
use crate::store::index::redis::{Config, OpenError, RedisIndex};
use crate::store::index::{IndexError, ReferrersIndex, Row};

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_makes_everything_unknown() {
    let redis = RedisServer::start();
    let index = open(single(&redis)).await;
    fill(&index).await;
    let name = repository();
    let old = index.generation(&name, &digest("s")).await.unwrap();
    let begun = index.begin_repository(&name).await.unwrap();
    let epoch = index.epoch().await.unwrap();

    redis.flush();
    is_unknown(&index).await;
    let rows: Vec<Row> = index.rows().try_collect().await.unwrap();
    assert_eq!(rows, []);
    // What was begun before the flush does not end after it, even if the repository exists again.
    index.put_referrer(&referrer("s", "new")).await.unwrap();
    assert!(!index.complete_repository(&name, begun).await.unwrap());
    let subject = digest("s");
    let replaced = index.replace_subject(&name, &subject, vec![], old).await;
    assert!(!replaced.unwrap());
    is_unknown(&index).await;
    assert!(!index.set_complete(epoch).await.unwrap());
    assert!(!index.complete().await.unwrap());
    assert!(index.epoch().await.unwrap().0 > epoch.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_go_with_their_time_and_with_the_repository() {
    let redis = RedisServer::start();
    let index = open(single(&redis)).await;
    let (name, subject) = (repository(), digest("s"));
    let verdicts = Bytes::from_static(b"sealed");
    let put = || index.put_verdicts(&name, &subject, verdicts.clone());
    let found = || async { index.verdicts(&name, &subject).await.unwrap() };
    put().await.unwrap();
    // `PTTL` is -1 for a key that stays.
    let script = "for _, key in ipairs(redis.call('KEYS', '*}:*')) do \
         if string.find(key, '}:........v') then \
           local left = redis.call('PTTL', key) \
           assert(left > 0 and left <= 3600000) \
           redis.call('PEXPIRE', key, 0) \
         else \
           assert(redis.call('PTTL', key) == -1) \
         end \
         end \
         return 'over'";
    assert_eq!(redis.cli(&["EVAL", script, "0"]), "over");
    assert_eq!(found().await, None);
    put().await.unwrap();
    assert_eq!(found().await, Some(verdicts.clone()));
    assert_eq!(redis.cli(&["DEL", "rx1:{a/b}:m"]), "1");
    assert_eq!(found().await, None, "out of reach without the repository");
    put().await.unwrap();
    redis.flush();
    assert_eq!(found().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_subject_does_not_get_its_generation_back() {
    let redis = RedisServer::start();
    let index = open(single(&redis)).await;
    let (name, subject) = (repository(), digest("s"));
    let before = index.generation(&name, &subject).await.unwrap();
    let script = "local lost = 0 \
         for _, key in ipairs(redis.call('KEYS', '*}:*')) do \
           if string.find(key, '}:........s') then lost = lost + redis.call('DEL', key) end \
         end \
         return lost";
    assert_eq!(redis.cli(&["EVAL", script, "0"]), "1");
    let after = index.generation(&name, &subject).await.unwrap();
    assert_ne!(before, after);
    assert!(
        !index
            .replace_subject(&name, &subject, vec![], before)
            .await
            .unwrap()
    );
    assert!(
        index
            .replace_subject(&name, &subject, vec![], after)
            .await
            .unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_dump_is_not_believed() {
    let mut redis = RedisServer::start();
    let index = open(single(&redis)).await;
    let other = open(single(&redis)).await;
    fill(&index).await;
    let epoch = index.epoch().await.unwrap();
    let dump = redis.dump();
    // What the dump lacks.
    index.put_referrer(&referrer("s", "late")).await.unwrap();

    redis.put_back(&dump);
    back(&index).await;
    is_unknown(&index).await;
    back(&other).await;
    is_unknown(&other).await;
    assert!(index.epoch().await.unwrap().0 > epoch.0);
    assert_eq!(index.epoch().await.unwrap(), other.epoch().await.unwrap());
    assert!(!index.complete().await.unwrap());
    // Nor by a process that has never seen what is lost.
    redis.put_back(&dump);
    is_unknown(&open(single(&redis)).await).await;
    // What is written now counts.
    back(&index).await;
    fill(&index).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_does_not_go_back_behind_an_epoch_it_knows() {
    let redis = RedisServer::start();
    let index = open(single(&redis)).await;
    fill(&index).await;
    let epoch = index.epoch().await.unwrap();
    // A state that was put back, with the servers as they are.
    redis.cli(&["HSET", "rx1:state", "epoch", "17"]);
    drop(index.redis.refreshed().await.unwrap());
    assert!(index.epoch().await.unwrap().0 > epoch.0);
    is_unknown(&index).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_do_not_outlive_a_server() {
    let mut redis = Options::default().append_only().start();
    let index = open(single(&redis)).await;
    fill(&index).await;
    let sha = {
        let session = index.redis.session().unwrap();
        session.nodes[0].scripts.as_ref().unwrap().1[0].clone()
    };
    assert_eq!(redis.cli(&["SCRIPT", "EXISTS", &sha]), "1");
    redis.start_again();
    assert_eq!(redis.cli(&["SCRIPT", "EXISTS", &sha]), "0");
    back(&index).await;
    // A server without them may be one that does not tell that it was started anew.
    let epoch = index.epoch().await.unwrap();
    fill(&index).await;
    redis.cli(&["SCRIPT", "FLUSH"]);
    is_unknown(&index).await;
    assert!(index.epoch().await.unwrap().0 > epoch.0);
    let late = open(single(&redis)).await;
    assert_eq!(late.epoch().await.unwrap(), index.epoch().await.unwrap());
    redis.cli(&["SCRIPT", "FLUSH"]);
    let later = open(single(&redis)).await;
    assert!(later.epoch().await.unwrap().0 > late.redis.session().unwrap().epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_comes_late_does_nothing() {
    let mut redis = RedisServer::start();
    let index = open(Config {
        timeout: Duration::from_millis(300),
        ..single(&redis)
    })
    .await;
    let witness = open(single(&redis)).await;
    fill(&index).await;
    let before = witness
        .generation(&repository(), &digest("s"))
        .await
        .unwrap();
    redis.stop();
    let failed = index
        .put_referrer(&referrer("s", "late"))
        .await
        .unwrap_err();
    assert!(
        matches!(failed, IndexError::Unavailable { .. }),
        "{failed:?}"
    );
    // Now the index is down, and says so at once.
    let refused = index.put_referrer(&referrer("s", "refused")).await;
    assert!(refused.is_err());
    redis.resume();
    back(&index).await;
    assert_eq!(found(&witness, "s").await, [referrer("s", "r")]);
    let after = witness
        .generation(&repository(), &digest("s"))
        .await
        .unwrap();
    assert_eq!(before, after);
    // It was the same server all the time.
    assert_eq!(found(&index, "s").await, [referrer("s", "r")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_follows_what_another_clears() {
    let redis = RedisServer::start();
    let one = open(single(&redis)).await;
    let other = open(single(&redis)).await;
    fill(&one).await;
    assert_eq!(found(&other, "s").await, [referrer("s", "r")]);
    let name = repository();

    let epoch = one.clear().await.unwrap();
    let incarnation = one.begin_repository(&name).await.unwrap();
    // Whatever the other believes, its write is where the first one looks, and so is what it reads.
    other.put_referrer(&referrer("s", "other")).await.unwrap();
    assert!(one.complete_repository(&name, incarnation).await.unwrap());
    assert_eq!(found(&one, "s").await, [referrer("s", "other")]);
    assert_eq!(found(&other, "s").await, [referrer("s", "other")]);
    assert_eq!(other.epoch().await.unwrap(), epoch);
    assert!(other.set_complete(epoch).await.unwrap());
    assert!(one.complete().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_earlier_epochs_left_is_removed() {
    let redis = RedisServer::start();
    let index = open(single(&redis)).await;
    fill(&index).await;
    index.clear().await.unwrap();
    // State and lease stay. Who waits in vain is ended by the runner.
    while redis.cli(&["DBSIZE"]) != "2" {
        drop(index.redis.refreshed().await);
    }
    fill(&index).await;
    assert_eq!(found(&index, "s").await, [referrer("s", "r")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_at_a_time_has_the_lease() {
    let redis = RedisServer::start();
    let one = open(single(&redis)).await;
    let other = open(single(&redis)).await;
    let term = Duration::from_secs(600);
    assert!(one.lease_rebuild(term).await.unwrap());
    assert!(one.lease_rebuild(term).await.unwrap());
    assert!(!other.lease_rebuild(term).await.unwrap());
    redis.cli(&["PEXPIRE", "rx1:rebuild", "0"]);
    assert!(other.lease_rebuild(term).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_evicts_any_key_is_never_complete() {
    let redis = RedisServer::start();
    let index = open(single(&redis)).await;
    fill(&index).await;
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    drop(index.redis.refreshed().await);
    is_unknown(&index).await;
    let name = repository();
    let incarnation = index.begin_repository(&name).await.unwrap();
    assert!(!index.complete_repository(&name, incarnation).await.unwrap());
    is_unknown(&index).await;
    // Subjects can still be known one by one.
    let subject = digest("s");
    let generation = index.generation(&name, &subject).await.unwrap();
    let rows = vec![referrer("s", "r")];
    let replaced = index.replace_subject(&name, &subject, rows, generation);
    assert!(replaced.await.unwrap());
    assert_eq!(found(&index, "s").await, [referrer("s", "r")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_refuses_writes_and_answers_reads() {
    let redis = RedisServer::start();
    let index = open(single(&redis)).await;
    fill(&index).await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = index
        .put_referrer(&referrer("s", "more"))
        .await
        .unwrap_err();
    assert!(causes(&refused).contains("OOM"), "{}", causes(&refused));
    let row = [(digest("m"), link())];
    assert!(index.put_links(&repository(), &row).await.is_err());
    assert_eq!(found(&index, "s").await, [referrer("s", "r")]);
    assert!(absent(&index, "other").await);
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    index.put_referrer(&referrer("s", "more")).await.unwrap();
    assert_eq!(found(&index, "s").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_was_made_a_replica_is_not_used() {
    let redis = RedisServer::start();
    let new = RedisServer::start();
    let index = open(single(&redis)).await;
    fill(&index).await;
    redis.cli(&["REPLICAOF", "127.0.0.1", &new.port.to_string()]);
    let read = index.referrers(&repository(), &digest("s")).await;
    assert!(read.is_err(), "{read:?}");
    assert!(index.put_referrer(&referrer("s", "r")).await.is_err());
    redis.cli(&["REPLICAOF", "NO", "ONE"]);
    back(&index).await;
    is_unknown(&index).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_redis_is_no_failure() {
    let mut redis = RedisServer::start();
    redis.kill();
    let index = open(single(&redis)).await;
    assert!(index.complete().await.is_err());
    redis.start_again();
    back(&index).await;
    fill(&index).await;
    redis.kill();
    assert!(index.complete().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_schema_are_left_alone() {
    let redis = RedisServer::start();
    redis.cli(&["HSET", "rx1:state", "schema", "2", "epoch", "5"]);
    let refused = RedisIndex::open(single(&redis)).await.unwrap_err();
    assert!(
        matches!(&refused, OpenError::Schema { found, .. } if found == "2"),
        "{refused:?}"
    );
    let other_prefix = Config {
        key_prefix: "rx2".to_owned(),
        ..single(&redis)
    };
    let index = open(other_prefix).await;
    fill(&index).await;
    // Nor are rows that were made from other objects.
    let other_objects = Config {
        key_prefix: "rx2".to_owned(),
        objects: "s3 others".to_owned(),
        ..single(&redis)
    };
    let refused = RedisIndex::open(other_objects).await.unwrap_err();
    assert!(
        matches!(&refused, OpenError::Schema { found, .. } if found == "1 s3 signatures"),
        "{refused:?}"
    );
    // It may also appear later.
    redis.cli(&["HSET", "rx2:state", "schema", "2"]);
    drop(index.redis.refreshed().await);
    assert!(index.complete().await.is_err());
    assert_eq!(redis.cli(&["HGET", "rx2:state", "schema"]), "2");
}
