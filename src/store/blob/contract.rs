//! The contract of [`BlobStore`], sentence by sentence, for every backend.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};

use super::{BlobError, BlobStore, ByteStream, Condition, Key, Listed, MAX_GET, Written};

pub(super) async fn holds_for(store: Arc<dyn BlobStore>) {
    absent_objects_are_none(&*store).await;
    always_replaces_and_if_absent_does_not(&*store).await;
    one_of_many_creators_wins(&store).await;
    one_of_many_creators_of_equal_bytes_wins(&store).await;
    a_stream_that_fails_leaves_nothing(&*store).await;
    a_stream_replaces_what_is_there(&*store).await;
    a_long_stream_is_stored_whole_or_not_at_all(&*store).await;
    a_read_is_not_changed_by_a_write(&*store).await;
    large_objects_are_only_opened(&*store).await;
    deletion_is_idempotent(&*store).await;
    listing_pages_in_key_order(&*store).await;
    let handle = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || listing_is_the_sorted_keys(&handle, &*store))
        .await
        .unwrap();
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn pieces(pieces: Vec<io::Result<&'static str>>) -> ByteStream {
    stream::iter(pieces)
        .map(|piece| piece.map(|text| Bytes::from_static(text.as_bytes())))
        .boxed()
}

async fn put(store: &dyn BlobStore, name: &Key, text: &'static str, when: Condition) -> Written {
    let bytes = Bytes::from_static(text.as_bytes());
    store.put(name, bytes, when).await.unwrap()
}

async fn text(store: &dyn BlobStore, name: &Key) -> Option<String> {
    let bytes = store.get(name).await.unwrap()?;
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

async fn absent_objects_are_none(store: &dyn BlobStore) {
    for name in [key("v1/absent"), key("v1/absent/below")] {
        assert_eq!(store.get(&name).await.unwrap(), None);
        assert_eq!(store.head(&name).await.unwrap(), None);
        assert!(store.open(&name).await.unwrap().is_none());
        assert_eq!(store.list(&name, None, 10).await.unwrap(), []);
    }
    put(store, &key("v1/folder/a"), "a", Condition::Always).await;
    assert_eq!(store.get(&key("v1/folder")).await.unwrap(), None);
    assert_eq!(store.head(&key("v1/folder")).await.unwrap(), None);
    assert!(store.open(&key("v1/folder")).await.unwrap().is_none());
    assert_eq!(store.get(&key("v1/folder/a/below")).await.unwrap(), None);
}

async fn always_replaces_and_if_absent_does_not(store: &dyn BlobStore) {
    let name = key("v1/put/a");
    assert_eq!(
        put(store, &name, "one", Condition::IfAbsent).await,
        Written::Created
    );
    assert_eq!(
        put(store, &name, "two", Condition::IfAbsent).await,
        Written::AlreadyThere
    );
    assert_eq!(text(store, &name).await.unwrap(), "one");
    assert_eq!(
        put(store, &name, "three", Condition::Always).await,
        Written::Created
    );
    assert_eq!(text(store, &name).await.unwrap(), "three");
    assert_eq!(store.head(&name).await.unwrap().unwrap().size, 5);
}

async fn one_of_many_creators_wins(store: &Arc<dyn BlobStore>) {
    let name = key("v1/race/deep/er/a");
    let winners = winners(store, &name, |n| n.to_string()).await;
    assert_eq!(winners.len(), 1);
    assert_eq!(text(&**store, &name).await.unwrap(), winners[0].to_string());
}

async fn one_of_many_creators_of_equal_bytes_wins(store: &Arc<dyn BlobStore>) {
    let winners = winners(store, &key("v1/race/equal"), |_| "same".to_owned()).await;
    assert_eq!(winners.len(), 1);
}

/// Which of 32 writers at once are told that they have created the object.
async fn winners(store: &Arc<dyn BlobStore>, name: &Key, bytes: fn(i32) -> String) -> Vec<i32> {
    let writers = (0..32).map(|n| {
        let (store, name) = (Arc::clone(store), name.clone());
        tokio::spawn(async move {
            let bytes = Bytes::from(bytes(n));
            (
                n,
                store.put(&name, bytes, Condition::IfAbsent).await.unwrap(),
            )
        })
    });
    let outcomes = join_all(writers).await;
    outcomes
        .into_iter()
        .map(Result::unwrap)
        .filter_map(|(n, written)| (written == Written::Created).then_some(n))
        .collect()
}

async fn a_stream_that_fails_leaves_nothing(store: &dyn BlobStore) {
    let name = key("v1/stream/failed");
    let cut = || pieces(vec![Ok("half"), Err(io::Error::other("cut"))]);
    let error = store.put_stream(&name, cut()).await.unwrap_err();
    assert!(matches!(error, BlobError::Body(source) if source.to_string() == "cut"));
    assert_eq!(store.head(&name).await.unwrap(), None);
    let listed = store.list(&key("v1/stream"), None, 10).await.unwrap();
    assert_eq!(listed, []);

    put(store, &name, "whole", Condition::Always).await;
    store.put_stream(&name, cut()).await.unwrap_err();
    assert_eq!(text(store, &name).await.unwrap(), "whole");
}

async fn a_stream_replaces_what_is_there(store: &dyn BlobStore) {
    let name = key("v1/stream/whole");
    put(store, &name, "before", Condition::Always).await;
    let length = store
        .put_stream(&name, pieces(vec![Ok("ab"), Ok(""), Ok("cd")]))
        .await
        .unwrap();
    assert_eq!(length, 4);
    assert_eq!(text(store, &name).await.unwrap(), "abcd");
    let empty = key("v1/stream/empty");
    assert_eq!(store.put_stream(&empty, pieces(vec![])).await.unwrap(), 0);
    assert_eq!(text(store, &empty).await.unwrap(), "");
}

async fn a_long_stream_is_stored_whole_or_not_at_all(store: &dyn BlobStore) {
    let mebibytes = |end: Option<io::Error>| {
        let pieces = (0..10).map(|n| Ok(Bytes::from(vec![n; 1 << 20])));
        stream::iter(pieces.chain(end.map(Err))).boxed()
    };
    let name = key("v1/stream/long");
    let cut = mebibytes(Some(io::Error::other("cut")));
    let error = store.put_stream(&name, cut).await.unwrap_err();
    assert!(matches!(error, BlobError::Body(_)));
    assert_eq!(store.head(&name).await.unwrap(), None);

    let length = store.put_stream(&name, mebibytes(None)).await.unwrap();
    assert_eq!(length, 10 << 20);
    let object = store.open(&name).await.unwrap().unwrap();
    let bytes: bytes::BytesMut = object.stream.try_collect().await.unwrap();
    assert_eq!(bytes.len(), 10 << 20);
    let whole = |(n, mebibyte): (usize, &[u8])| mebibyte.iter().all(|byte| usize::from(*byte) == n);
    assert!(bytes.chunks(1 << 20).enumerate().all(whole));
}

async fn a_read_is_not_changed_by_a_write(store: &dyn BlobStore) {
    let name = key("v1/read/a");
    put(store, &name, "before", Condition::Always).await;
    let object = store.open(&name).await.unwrap().unwrap();
    put(store, &name, "afterwards", Condition::Always).await;
    store.delete(&name).await.unwrap();
    assert_eq!(object.size, 6);
    let bytes: bytes::BytesMut = object.stream.try_collect().await.unwrap();
    assert_eq!(bytes, "before");
}

async fn large_objects_are_only_opened(store: &dyn BlobStore) {
    let name = key("v1/large/a");
    for (size, readable) in [(MAX_GET, true), (MAX_GET + 1, false)] {
        let bytes = Bytes::from(vec![7; usize::try_from(size).unwrap()]);
        store
            .put(&name, bytes.clone(), Condition::Always)
            .await
            .unwrap();
        match store.get(&name).await {
            Ok(found) => assert!(readable && found == Some(bytes)),
            Err(error) => {
                assert!(!readable && matches!(error, BlobError::TooLarge { .. }));
            }
        }
        let object = store.open(&name).await.unwrap().unwrap();
        let lengths = object.stream.map_ok(|piece| piece.len() as u64);
        let read = lengths.try_fold(0, |sum, length| async move { Ok(sum + length) });
        assert_eq!(read.await.unwrap(), size);
    }
}

async fn deletion_is_idempotent(store: &dyn BlobStore) {
    let name = key("v1/delete/a");
    put(store, &name, "a", Condition::Always).await;
    for _ in 0..2 {
        store.delete(&name).await.unwrap();
        assert_eq!(store.head(&name).await.unwrap(), None);
    }
    store.delete(&key("v1/never/was")).await.unwrap();
    assert_eq!(
        put(store, &name, "again", Condition::IfAbsent).await,
        Written::Created
    );
}

async fn listing_pages_in_key_order(store: &dyn BlobStore) {
    let names = ["a-b/x", "a/b", "a/c/d", "a.b", "a0", "b"].map(|name| format!("v1/list/{name}"));
    for name in &names {
        put(store, &key(name), "x", Condition::Always).await;
    }
    put(store, &key("v1/list-not/x"), "x", Condition::Always).await;
    let mut sorted = names.to_vec();
    sorted.sort();
    let mut seen = Vec::new();
    loop {
        let page = store.list(&key("v1/list"), seen.last(), 2).await.unwrap();
        let end = page.len() < 2;
        seen.extend(page.into_iter().map(|listed| listed.key));
        if end {
            break;
        }
    }
    let seen: Vec<_> = seen.iter().map(Key::as_str).collect();
    assert_eq!(seen, sorted);

    let Listed { size, modified, .. } = store.list(&key("v1/list/a"), None, 1).await.unwrap()[0];
    let head = store.head(&key("v1/list/a/b")).await.unwrap().unwrap();
    assert_eq!((size, modified), (head.size, head.modified));
}

/// Any set of keys, any position, any limit: the listing is the sorted keys.
fn listing_is_the_sorted_keys(runtime: &tokio::runtime::Handle, store: &dyn BlobStore) {
    let name = "[a0_=+-][a.-]{0,1}(/[a0_-][.a-]{0,1}){0,3}";
    let names = proptest::collection::btree_set(name, 1..24);
    let cases = (names, name, 1..8usize);
    let config = Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    };
    let count = std::cell::Cell::new(0);
    let checked = |(names, after, limit): (std::collections::BTreeSet<String>, String, usize)| {
        count.set(count.get() + 1);
        let under = key(&format!("v1/any/{}", count.get()));
        let mut expected: Vec<Key> = Vec::new();
        for name in &names {
            let is_folder = |other: &String| other.starts_with(&format!("{name}/"));
            if !names.iter().any(is_folder) {
                expected.push(key(&format!("{under}/{name}")));
            }
        }
        expected.sort();
        let after = key(&format!("{under}/{after}"));
        let listed = runtime.block_on(async {
            for name in &expected {
                put(store, name, "x", Condition::Always).await;
            }
            store.list(&under, Some(&after), limit).await.unwrap()
        });
        let listed: Vec<_> = listed.into_iter().map(|listed| listed.key).collect();
        expected.retain(|name| *name > after);
        expected.truncate(limit);
        proptest::prop_assert_eq!(listed, expected);
        Ok(())
    };
    TestRunner::new(config)
        .run(&cases.prop_map(|case| case), checked)
        .unwrap();
}
