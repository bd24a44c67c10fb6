//! The store on real servers.

use std::fs;
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::*;
use crate::backends::S3Server;
use crate::store::blob::contract;
use crate::store::policy;

fn config(server: &S3Server) -> Config {
    Config {
        bucket: server.bucket.to_owned(),
        credentials: Credentials::Static {
            access_key_id: server.access_key_id.to_owned(),
            secret_access_key: Secret::new(server.secret_access_key),
            session_token: None,
        },
        region: Some("us-east-1".to_owned()),
        ..super::config(&server.endpoint)
    }
}

async fn open(server: &S3Server) -> S3BlobStore {
    S3BlobStore::open(config(server)).await.unwrap()
}

#[tokio::test]
async fn versitygw_keeps_the_contract() {
    let server = S3Server::versitygw();
    let store = open(&server).await;
    contract::holds_for(Arc::new(store)).await;
}

#[tokio::test]
async fn moto_keeps_the_contract_below_a_prefix() {
    let server = S3Server::second();
    let config = Config {
        prefix: Some("prod/eu-1".to_owned()),
        ..config(&server)
    };
    let store = S3BlobStore::open(config).await.unwrap();
    contract::holds_for(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policy_needs_holds_on_versitygw() {
    let server = S3Server::versitygw();
    policy::holds_over(Arc::new(open(&server).await)).await;
}

/// `count` pieces of one MiB, each of another byte, and then `end`.
fn mebibytes(count: u8, end: Option<std::io::Error>) -> ByteStream {
    let pieces = (0..count).map(|n| Ok(Bytes::from(vec![n; 1 << 20])));
    stream::iter(pieces.chain(end.map(Err))).boxed()
}

async fn uploads(store: &S3BlobStore) -> usize {
    let listed = store.client.list_multipart_uploads().bucket(&store.bucket);
    listed.send().await.unwrap().uploads().len()
}

async fn no_uploads_are_left(store: &S3BlobStore) {
    for _ in 0..1000 {
        if uploads(store).await == 0 {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("an upload is left");
}

async fn leaves_no_uploads(server: &S3Server) {
    let store = open(server).await;
    store
        .put_stream(&key("v1/blobs/large"), mebibytes(20, None))
        .await
        .unwrap();
    no_uploads_are_left(&store).await;

    let cut = mebibytes(10, Some(std::io::Error::other("cut")));
    let error = store.put_stream(&key("v1/blobs/cut"), cut).await;
    error.unwrap_err();
    no_uploads_are_left(&store).await;

    // Its first part was sent when more is asked for.
    let asked = Arc::new(Notify::new());
    let asking = Arc::clone(&asked);
    let end = stream::poll_fn(move |_| {
        asking.notify_one();
        Poll::Pending
    });
    let endless = mebibytes(10, None).chain(end).boxed();
    let name = key("v1/blobs/abandoned");
    let abandoned = store.put_stream(&name, endless);
    tokio::select! {
        stored = abandoned => panic!("{stored:?}"),
        () = asked.notified() => {}
    }
    no_uploads_are_left(&store).await;
    assert_eq!(store.head(&name).await.unwrap(), None);
}

#[tokio::test]
async fn versitygw_is_left_without_uploads() {
    leaves_no_uploads(&S3Server::versitygw()).await;
}

#[tokio::test]
async fn moto_is_left_without_uploads() {
    leaves_no_uploads(&S3Server::second()).await;
}

async fn put(store: &S3BlobStore, name: &str) -> Result<Written, BlobError> {
    let bytes = Bytes::from_static(b"kept");
    store.put(&key(name), bytes, Condition::Always).await
}

/// Until the breaker lets something through that is answered.
async fn recovered(store: &S3BlobStore) {
    while let Err(error) = store.head(&key("v1/any")).await {
        assert!(matches!(error, BlobError::Unavailable { .. }));
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn every_operation_ends_while_the_server_is_stopped_and_works_afterwards() {
    let mut server = S3Server::versitygw();
    let patient = open(&server).await;
    put(&patient, "v1/a").await.unwrap();
    let large = key("v1/large");
    patient
        .put_stream(&large, mebibytes(32, None))
        .await
        .unwrap();
    let config = Config {
        operation_timeout: Duration::from_secs(3),
        ..config(&server)
    };
    let store = S3BlobStore::open(config.clone()).await.unwrap();
    let reading = store.open(&large).await.unwrap().unwrap();
    server.stop();

    let read: Result<Vec<Bytes>, _> = reading.stream.try_collect().await;
    read.unwrap_err();
    // A store of its own for each, whose breaker is closed.
    let operations = (0..7).map(|operation| {
        let config = config.clone();
        async move {
            let store = S3BlobStore::open(config).await.unwrap();
            let name = key("v1/a");
            let outcome = match operation {
                0 => store.get(&name).await.map(|_| ()),
                1 => store.head(&name).await.map(|_| ()),
                2 => store.open(&name).await.map(|_| ()),
                3 => put(&store, "v1/b").await.map(|_| ()),
                4 => store.delete(&name).await,
                5 => store.list(&key("v1"), None, 10).await.map(|_| ()),
                _ => store
                    .put_stream(&name, mebibytes(9, None))
                    .await
                    .map(|_| ()),
            };
            let error = outcome.unwrap_err();
            assert!(matches!(error, BlobError::Unavailable { .. }) && !is_refused(&error));
        }
    });
    join_all(operations).await;
    store.get(&key("v1/a")).await.unwrap_err();

    server.resume();
    recovered(&store).await;
    put(&store, "v1/c").await.unwrap();
    assert_eq!(store.get(&key("v1/c")).await.unwrap().unwrap(), "kept");
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_death_of_the_server() {
    let mut server = S3Server::versitygw();
    let store = open(&server).await;
    put(&store, "v1/a").await.unwrap();
    server.kill();
    store.get(&key("v1/a")).await.unwrap_err();
    server.start_again();
    recovered(&store).await;
    assert_eq!(store.get(&key("v1/a")).await.unwrap().unwrap(), "kept");
    // Written past the server: damage is what it returns.
    fs::write(server.object_file("v1/a"), "rott").unwrap();
    assert_eq!(store.get(&key("v1/a")).await.unwrap().unwrap(), "rott");
}

#[tokio::test]
async fn a_limit_may_be_above_what_the_server_lists_at_a_time() {
    let server = S3Server::versitygw();
    let folder = server.object_file("v1/many");
    fs::create_dir_all(&folder).unwrap();
    for n in 0..2100 {
        fs::write(folder.join(format!("{n:04}")), "x").unwrap();
    }
    fs::write(folder.join("0000 foreign"), "x").unwrap();
    let store = open(&server).await;
    for (after, limit, first, count) in [
        (None, 5000, "v1/many/0000", 2100),
        (None, 1500, "v1/many/0000", 1500),
        (Some("v1/many/0099"), 2000, "v1/many/0100", 2000),
        (Some("v1/many/0099"), 5000, "v1/many/0100", 2000),
    ] {
        let after = after.map(key);
        let listed = store.list(&key("v1/many"), after.as_ref(), limit).await;
        let listed = listed.unwrap();
        assert_eq!(listed[0].key.as_str(), first);
        assert_eq!(listed.len(), count);
        assert!(listed.is_sorted_by(|one, other| one.key < other.key));
    }
}

#[tokio::test]
async fn a_server_is_trusted_through_the_configured_authority_only() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap().pem();
    let server = S3Server::versitygw_with_tls(&certificate, &key.serialize_pem());
    let trusting = Config {
        ca: Some(certificate.into_bytes()),
        ..config(&server)
    };
    let store = S3BlobStore::open(trusting).await.unwrap();
    put(&store, "v1/a").await.unwrap();

    let error = put(&open(&server).await, "v1/a").await.unwrap_err();
    assert!(chain(&error).contains("certificate"), "{error:?}");
}
