//! Logging in, rights, TLS, and what is not shown.

use std::error::Error;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::{digest, found, link, open, referrer, repository, single};
use crate::backends::redis::{Options, RedisServer};
use crate::secret::Secret;
use crate::store::index::redis::{Config, OpenError, RedisIndex};
use crate::store::index::{ReferrersIndex, contract};

/// All that the index needs, with the prefix `rx1`; a cluster needs `+cluster|slots` too.
const RIGHTS: &str = "on >user-password ~rx1:* resetchannels -@all +select +info +time +scan +evalsha \
     +script|load +script|exists +get +set +del +unlink +hget +hset +hmget +hgetall +hdel +hincrby";

fn with_user(redis: &RedisServer, password: &str) -> Config {
    Config {
        username: Some("regseal".to_owned()),
        password: Some(Secret::new(password)),
        ..single(redis)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_few_rights_is_enough() {
    let redis = Options::default()
        .password("all-password")
        .user("regseal", RIGHTS)
        .start();
    let index = open(with_user(&redis, "user-password")).await;
    contract::holds_for(&index).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_not_shown() {
    let redis = Options::default().password("right-password").start();
    let config = with_user(&redis, "wrong-password");
    let mut shown = format!("{config:?}");
    let index = open(config).await;
    let error = index.put_referrer(&referrer("s", "r")).await.unwrap_err();
    shown += &format!("{index:?} {error} {error:?} {:?}", index.redis);
    let mut source = error.source();
    while let Some(cause) = source {
        shown += &format!("{cause} {cause:?}");
        source = cause.source();
    }
    assert!(!shown.contains("-password"), "{shown}");
    assert!(
        shown.contains("AuthenticationFailed") || shown.contains("WRONGPASS"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_database_is_another_index() {
    let redis = RedisServer::start();
    let second = open(Config {
        database: 3,
        ..single(&redis)
    })
    .await;
    second
        .put_links(&repository(), &[(digest("l"), link())])
        .await
        .unwrap();
    assert_eq!(redis.cli(&["DBSIZE"]), "0");
    assert_ne!(redis.cli(&["-n", "3", "DBSIZE"]), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_with_a_server_of_the_given_authority() {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, "authority");
    let ca = authority.self_signed(&authority_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let chain = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &Issuer::new(authority, authority_key))
        .unwrap()
        .pem();
    let redis = Options::default()
        .tls(&chain, &key.serialize_pem(), &ca)
        .start();

    let trusting = Config {
        tls: true,
        ca: Some(ca.clone().into_bytes()),
        ..single(&redis)
    };
    let index = open(trusting.clone()).await;
    index.put_referrer(&referrer("s", "r")).await.unwrap();
    let (name, subject) = (repository(), digest("s"));
    let generation = index.generation(&name, &subject).await.unwrap();
    let rows = vec![referrer("s", "r")];
    let replaced = index.replace_subject(&name, &subject, rows, generation);
    assert!(replaced.await.unwrap());
    assert_eq!(found(&index, "s").await.len(), 1);

    let distrusting = open(Config {
        ca: None,
        ..trusting.clone()
    })
    .await;
    assert!(distrusting.epoch().await.is_err());
    let plain = open(Config {
        tls: false,
        ca: None,
        ..trusting.clone()
    })
    .await;
    assert!(plain.epoch().await.is_err());
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = Config {
        ca: Some(broken.into()),
        ..trusting
    };
    let refused = RedisIndex::open(broken).await.unwrap_err();
    assert!(matches!(refused, OpenError::Settings { .. }), "{refused:?}");
}
