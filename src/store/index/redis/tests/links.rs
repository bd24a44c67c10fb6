//! Links in their buckets, while these are split.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt};

use super::{digest, open, repository, single};
use crate::backends::redis::RedisServer;
use crate::oci::Digest;
use crate::store::index::{Lookup, ReferrersIndex, Row};
use crate::store::records::{Link, LinkKind};

fn link(size: u64) -> Link {
    Link {
        kind: LinkKind::Blob,
        media_type: "application/x".to_owned(),
        size,
        subject: None,
    }
}

/// Digests of registered and of other algorithms.
fn digests(count: u64) -> Vec<Digest> {
    (0..count)
        .map(|number| {
            let sha256 = digest(&number.to_string());
            let encoded = sha256.encoded();
            match number % 5 {
                0 => format!("sha512:{encoded}{encoded}").parse().unwrap(),
                1 => format!("other+b64:{number}").parse().unwrap(),
                _ => sha256,
            }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_link_is_found_in_its_bucket() {
    let redis = RedisServer::start();
    let index = open(single(&redis)).await;
    let name = repository();
    let incarnation = index.begin_repository(&name).await.unwrap();
    assert!(index.complete_repository(&name, incarnation).await.unwrap());
    let all: Vec<(Digest, Link)> = digests(3_000).into_iter().zip((0..).map(link)).collect();
    // Some of them twice, and at once as many as a script takes.
    for rows in [&all[..1_000], &all[500..]] {
        index.put_links(&name, rows).await.unwrap();
    }
    for (digest, _) in all.iter().step_by(3) {
        index.remove_link(&name, digest).await.unwrap();
        index.remove_link(&name, digest).await.unwrap();
    }
    for (number, (digest, link)) in all.iter().enumerate() {
        let expected = if number % 3 == 0 {
            Lookup::Absent
        } else {
            Lookup::Found(link.clone())
        };
        assert_eq!(
            index.link(&name, digest).await.unwrap(),
            expected,
            "{number}"
        );
    }
    let script = "local all = 0 \
         for _, key in ipairs(redis.call('KEYS', '*')) do \
           if string.find(key, '}:........l') then \
             all = all + redis.call('HLEN', key) \
           end \
         end \
         return all";
    assert_eq!(redis.cli(&["EVAL", script, "0"]), "2000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_meets_each_link_once_while_buckets_are_split() {
    let redis = RedisServer::start();
    let index = open(single(&redis)).await;
    let name = repository();
    let all: Vec<(Digest, Link)> = digests(4_000).into_iter().zip((0..).map(link)).collect();
    let (before, during) = all.split_at(500);
    index.put_links(&name, before).await.unwrap();

    let mut walk = index.rows();
    let mut met: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut added = during.chunks(20);
    while let Some(row) = walk.next().await {
        if let Row::Link { digest, .. } = row.unwrap() {
            *met.entry(digest).or_default() += 1;
        }
        if let Some(more) = added.next() {
            index.put_links(&name, more).await.unwrap();
        }
    }
    for (digest, _) in before {
        assert_eq!(met.get(digest), Some(&1), "{digest}");
    }
    assert!(met.values().all(|times| *times == 1));
    drop(walk);
    for rest in added {
        index.put_links(&name, rest).await.unwrap();
    }
    let rows: Vec<Row> = index.rows().try_collect().await.unwrap();
    assert_eq!(rows.len(), all.len());
}
