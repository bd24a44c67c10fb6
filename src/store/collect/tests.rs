//! What is collected, what is kept, and what a scrub sees.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::look::Waits;
use super::{Collected, Config, Damage, Keys, Options, What};
use crate::clock::{Clock, ManualClock, SystemClock, UnixMillis};
use crate::oci::Digest;
use crate::store::blob::fs::FsBlobStore;
use crate::store::blob::{BlobStore, Condition, Key, Listed};
use crate::store::records::Stamp;
use crate::store::testing::{Fixture, Signature, listed, repository, subject, tag};
use crate::store::{Link, LinkKind, SignatureStore, Source, StoreError, layout};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const CONFIG: Config = Config {
    between_scans: HOUR,
    untouched: DAY,
    subject_grace: DAY,
};
const DRY: Options = Options {
    dry_run: true,
    scrub: false,
};
const SCRUB: Options = Options {
    dry_run: true,
    scrub: true,
};

async fn collect(store: &SignatureStore) -> Collected {
    store.collect(&CONFIG, Options::default()).await.unwrap()
}

/// Runs until nothing is left to delete.
async fn collect_all(fixture: &Fixture) -> u64 {
    let mut deleted = 0;
    fixture.clock.advance(DAY);
    for _ in 0..6 {
        deleted += collect(&fixture.store).await.deleted;
        fixture.clock.advance(HOUR);
    }
    let left = fixture.store.collect(&CONFIG, DRY).await.unwrap();
    assert_eq!(left.candidates, 0, "{left:?}");
    deleted
}

async fn objects(blobs: &dyn BlobStore) -> Vec<Listed> {
    blobs
        .list(&"v1".parse().unwrap(), None, 10_000)
        .await
        .unwrap()
}

async fn put(fixture: &Fixture, key: &Key, bytes: &'static [u8]) {
    let bytes = Bytes::from_static(bytes);
    let written = fixture.blobs.put(key, bytes, Condition::Always).await;
    written.unwrap();
}

#[tokio::test]
async fn what_was_deleted_goes_and_what_stands_stays() {
    let fixture = Fixture::ready().await;
    let (store, name) = (&fixture.store, &repository());
    let [kept, gone] = ["kept", "gone"].map(Signature::new);
    kept.add(store, Source::Captured).await.unwrap();
    gone.add(store, Source::Captured).await.unwrap();
    store.delete_manifest(name, &gone.digest).await.unwrap();
    let copy = Signature::new("copy");
    copy.merge(store).await.unwrap();
    let tagged = Signature::new("tagged");
    tagged.append(store).await.unwrap();

    collect_all(&fixture).await;
    let bytes = |digest: &Digest| layout::blob(digest);
    let gone = fixture.blobs.head(&bytes(&gone.digest)).await.unwrap();
    assert_eq!(gone, None);
    assert_eq!(listed(store).await.len(), 2);
    for signature in [&kept, &copy, &tagged] {
        let read = store.read_manifest(name, &signature.digest).await;
        assert_eq!(read.unwrap().unwrap().0, signature.bytes);
        let blob = Digest::sha256(&signature.blob);
        assert!(store.read(name, &blob).await.unwrap().is_some());
    }
    let served = store.tag(name, &tag()).await.unwrap().unwrap();
    assert_eq!(served.digest, tagged.digest);
    assert_eq!(store.verify_index().await.unwrap(), []);
}

#[tokio::test]
async fn it_takes_two_scans_and_time_to_collect() {
    let fixture = Fixture::ready().await;
    let store = &fixture.store;
    let signature = Signature::new("a");
    signature.add(store, Source::Captured).await.unwrap();
    store
        .delete_manifest(&repository(), &signature.digest)
        .await
        .unwrap();
    let all = objects(&*fixture.blobs).await.len() as u64;

    // The manifest's bytes and the link of its blob; the blob is linked still.
    let waiting = |count| Collected {
        candidates: count,
        waiting: count,
        ..Collected::default()
    };
    fixture.clock.advance(DAY - HOUR);
    let young = collect(store).await;
    assert_eq!((young.candidates, young.deleted), (0, 1), "staged bytes");
    fixture.clock.advance(HOUR);
    let scanned = all - 1;
    for run in 0..2 {
        let found = collect(store).await;
        let expected = waiting(2);
        assert_eq!(
            Collected {
                scanned,
                ..expected
            },
            found,
            "run {run}"
        );
    }
    fixture.clock.advance(HOUR);
    let dry = store.collect(&CONFIG, DRY).await.unwrap();
    assert_eq!(dry.deleted, 2);
    assert_eq!(dry.keys.len(), 2);
    let swept = collect(store).await;
    assert_eq!((swept.deleted, swept.waiting), (2, 0));
    assert_eq!(swept.bytes, dry.bytes);
    let next = collect(store).await;
    assert_eq!((next.deleted, next.waiting), (0, 1), "the blob");
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let fixture = Fixture::ready().await;
    let store = &fixture.store;
    let signature = Signature::new("a");
    signature.add(store, Source::Captured).await.unwrap();
    store
        .delete_manifest(&repository(), &signature.digest)
        .await
        .unwrap();
    orphan(&fixture).await;
    for _ in 0..4 {
        fixture.clock.advance(DAY);
        let before = objects(&*fixture.blobs).await;
        let dry = store.collect(&CONFIG, SCRUB).await.unwrap();
        assert_eq!(objects(&*fixture.blobs).await, before);
        assert_eq!(dry.subjects, 1);
        let staged = dry
            .keys
            .iter()
            .filter(|key| key.as_str().contains("_staging"));
        assert_eq!(staged.count(), 1);
    }
}

#[tokio::test]
async fn what_was_touched_in_between_is_spared() {
    let fixture = Fixture::ready().await;
    let store = &fixture.store;
    let signature = Signature::new("a");
    signature.add(store, Source::Captured).await.unwrap();
    store
        .delete_manifest(&repository(), &signature.digest)
        .await
        .unwrap();
    fixture.clock.advance(DAY);
    collect(store).await;
    fixture.clock.advance(HOUR);
    signature.claim(store).await;
    let swept = collect(store).await;
    assert_eq!(swept.deleted, 1, "the manifest's bytes only");
}

#[tokio::test]
async fn a_manifest_whose_push_was_cut_off_is_collected() {
    let fixture = Fixture::ready().await;
    let (store, name) = (&fixture.store, &repository());
    let signature = Signature::new("a");
    signature.claim(store).await;
    let new = signature.new_manifest();
    for (subject, kind) in [
        (Some(&subject()), LinkKind::Manifest),
        (None, LinkKind::ManifestCopy),
    ] {
        store
            .keep_manifest(name, &new, kind, subject, &[])
            .await
            .unwrap();
        collect_all(&fixture).await;
        let left = objects(&*fixture.blobs).await;
        assert_eq!(left, [], "{kind:?}");
    }
}

#[tokio::test]
async fn in_doubt_everything_a_repository_links_is_kept() {
    let (subject, tag) = (subject(), tag());
    let (digest, name) = (Signature::new("a").digest, repository());
    for (damaged, bytes) in [
        (layout::blob(&digest), Some(&b"{"[..])),
        (layout::blob(&digest), None),
        (layout::link(&name, &digest), Some(b"{")),
        (layout::tag_version(&name, &tag, 1), Some(b"{")),
        (layout::referrer(&name, &subject, &digest), Some(b"{")),
        (
            layout::upstream_referrer(&name, &subject, &digest),
            Some(b"{"),
        ),
    ] {
        let fixture = Fixture::ready().await;
        let store = &fixture.store;
        let signature = Signature::new("a");
        signature.append(store).await.unwrap();
        let (unneeded, blob) = (Digest::sha256(b"[]"), Bytes::from_static(b"[]"));
        store.stage(&name, &unneeded, blob).await.unwrap();
        store.claim_blob(&name, &unneeded, "x").await.unwrap();
        match bytes {
            Some(bytes) => put(&fixture, &damaged, bytes).await,
            None => fixture.blobs.delete(&damaged).await.unwrap(),
        }
        collect_all(&fixture).await;
        for digest in [&unneeded, &Digest::sha256(&signature.blob)] {
            let read = store.read(&name, digest).await.unwrap();
            assert!(read.is_some(), "{damaged}");
        }
    }
}

#[tokio::test]
async fn a_version_whose_mark_is_lost_is_kept() {
    let fixture = Fixture::ready().await;
    let store = &fixture.store;
    let signature = Signature::new("a");
    signature.append(store).await.unwrap();
    let mark = layout::tagged_by(&repository(), &signature.digest, &tag());
    fixture.blobs.delete(&mark).await.unwrap();
    collect_all(&fixture).await;
    let served = store.tag(&repository(), &tag()).await.unwrap().unwrap();
    assert_eq!(served.bytes, signature.bytes);
}

#[tokio::test]
async fn what_regseal_made_is_collected_out_of_use_and_made_anew_when_asked() {
    let fixture = Fixture::ready().await;
    let name = &repository();
    for text in ["a", "b"] {
        Signature::new(text).append(&fixture.store).await.unwrap();
    }
    // As a process does whose memory of an hour is over.
    let tagged = |store: Arc<SignatureStore>| async move {
        store.repair_journal().await.unwrap();
        store.tag(name, &tag()).await.unwrap().unwrap()
    };
    let served = tagged(fixture.replica()).await;
    for _ in 0..30 {
        fixture.clock.advance(HOUR);
        tagged(fixture.replica()).await;
        collect(&fixture.store).await;
        let read = fixture.store.read_manifest(name, &served.digest).await;
        assert_eq!(read.unwrap().unwrap().0, served.bytes);
    }
    collect_all(&fixture).await;
    let read = fixture.store.read_manifest(name, &served.digest).await;
    assert_eq!(read.unwrap(), None);
    let marks = layout::tagged(name, &served.digest);
    assert_eq!(fixture.blobs.list(&marks, None, 1).await.unwrap(), []);

    assert_eq!(tagged(fixture.replica()).await, served);
    let read = fixture.store.read_manifest(name, &served.digest).await;
    assert!(read.unwrap().is_some());
    assert!(
        fixture
            .store
            .delete_generated(name, &served.digest)
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn nested_repositories_are_scanned_as_their_own() {
    let fixture = Fixture::ready().await;
    let store = &fixture.store;
    let blob = Digest::sha256(b"{}");
    let signature = Signature::new("a");
    signature.add(store, Source::Captured).await.unwrap();
    for other in ["a", "a/0", "a/b-c", "a/b/c", "z"] {
        let other = other.parse().unwrap();
        let bytes = Bytes::from_static(b"{}");
        store.stage(&other, &blob, bytes).await.unwrap();
        store.claim_blob(&other, &blob, "x").await.unwrap();
    }
    let deleted = collect_all(&fixture).await;
    assert_eq!(deleted, 6 + 5, "all staged bytes, and five links");
    assert!(store.read(&repository(), &blob).await.unwrap().is_some());
}

#[tokio::test]
async fn many_more_than_a_page_and_a_batch_are_collected() {
    let fixture = Fixture::ready().await;
    let store = &fixture.store;
    let signature = Signature::new("a");
    signature.add(store, Source::Captured).await.unwrap();
    let digests: Vec<Digest> = (0..2500)
        .map(|n: u32| Digest::sha256(&n.to_be_bytes()))
        .collect();
    let link = Link {
        kind: LinkKind::Blob,
        media_type: String::new(),
        size: 1,
        subject: None,
    };
    for digest in &digests {
        put(&fixture, &layout::blob(digest), b"x").await;
        store
            .put_link(&repository(), digest, link.clone())
            .await
            .unwrap();
    }
    let deleted = collect_all(&fixture).await;
    assert_eq!(deleted, 2 * 2500 + 1, "links, blobs, staged bytes");
    assert_eq!(listed(store).await.len(), 1);
}

#[tokio::test]
async fn a_directory_is_collected_by_the_times_of_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let blobs: Arc<dyn BlobStore> = Arc::new(FsBlobStore::open(directory.path()).unwrap());
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let fixture = Fixture::over(Arc::clone(&blobs), Arc::clone(&clock));
    let store = &fixture.store;
    let [kept, gone] = ["kept", "gone"].map(Signature::new);
    kept.add(store, Source::Captured).await.unwrap();
    gone.add(store, Source::Captured).await.unwrap();
    store
        .delete_manifest(&repository(), &gone.digest)
        .await
        .unwrap();
    clock.advance(DAY + HOUR);
    collect(store).await;
    clock.advance(HOUR);
    assert_eq!(collect(store).await.deleted, 1);
    assert_eq!(blobs.head(&layout::blob(&gone.digest)).await.unwrap(), None);
    assert_eq!(listed(store).await.len(), 1);
}

async fn orphan(fixture: &Fixture) {
    let mark = layout::orphaned(&repository(), &subject());
    let record: Stamp = fixture.store.stamp();
    fixture
        .store
        .put_record(&mark, &record, Condition::Always)
        .await
        .unwrap();
}

#[tokio::test]
async fn referrers_go_when_the_grace_of_their_subject_is_over() {
    let fixture = Fixture::ready().await;
    let (store, name) = (&fixture.store, &repository());
    let [pushed, found, tagged] = ["pushed", "found", "tagged"].map(Signature::new);
    pushed.add(store, Source::Captured).await.unwrap();
    found.merge(store).await.unwrap();
    tagged.append(store).await.unwrap();
    let mark = layout::orphaned(name, &subject());
    orphan(&fixture).await;
    fixture.clock.advance(DAY - HOUR);
    assert_eq!(collect(store).await.subjects, 0);
    // It came back, and was deleted again.
    fixture.blobs.delete(&mark).await.unwrap();
    fixture.clock.advance(DAY);
    assert_eq!(collect(store).await.subjects, 0);
    assert_eq!(listed(store).await.len(), 2);
    orphan(&fixture).await;
    fixture.clock.advance(DAY);
    assert_eq!(collect(store).await.subjects, 1);
    assert_eq!(listed(store).await, []);
    assert_eq!(store.tag(name, &tag()).await.unwrap(), None);
    assert_eq!(fixture.blobs.head(&mark).await.unwrap(), None);
    assert_eq!(collect(store).await.subjects, 0);
}

#[tokio::test]
async fn a_push_waits_for_a_batch_that_names_it_and_for_no_other() {
    let fixture = Fixture::ready().await;
    let mut replica = fixture.replica();
    let waits = |patience, abandoned| Waits {
        patience,
        abandoned,
        between_looks: Duration::from_millis(1),
        ..Waits::default()
    };
    let signature = Signature::new("a");
    let sweep = layout::sweep(1);
    let publish = |keys: Vec<Key>| {
        let keys = Keys {
            keys: keys.iter().map(|key| key.as_str().to_owned()).collect(),
        };
        let (store, sweep) = (&fixture.store, &sweep);
        async move { store.put_record(sweep, &keys, Condition::Always).await }
    };
    let blob = Digest::sha256(&signature.blob);
    for named in [
        layout::blob(&signature.digest),
        layout::link(&repository(), &signature.digest),
        layout::blob(&blob),
        layout::link(&repository(), &blob),
    ] {
        publish(vec![named.clone()]).await.unwrap();
        let store = Arc::get_mut(&mut replica).unwrap();
        store.collections.waits = waits(Duration::ZERO, HOUR);
        let refused = signature.add(&replica, Source::Captured).await;
        assert!(
            matches!(refused, Err(StoreError::Unavailable { .. })),
            "{named}"
        );
        assert_eq!(listed(&fixture.replica()).await, []);
        // Of a collector that died.
        let store = Arc::get_mut(&mut replica).unwrap();
        store.collections.waits = waits(Duration::ZERO, Duration::ZERO);
        signature.add(&replica, Source::Captured).await.unwrap();
        let deleted = replica
            .delete_manifest(&repository(), &signature.digest)
            .await;
        deleted.unwrap();
    }
    put(&fixture, &sweep, b"{").await;
    let store = Arc::get_mut(&mut replica).unwrap();
    store.collections.waits = waits(Duration::ZERO, HOUR);
    let refused = signature.add(&replica, Source::Captured).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })));

    publish(vec![layout::blob(&Digest::sha256(b"another"))])
        .await
        .unwrap();
    signature.add(&replica, Source::Captured).await.unwrap();

    // It waits until the batch is withdrawn.
    publish(vec![layout::blob(&signature.digest)])
        .await
        .unwrap();
    let store = Arc::get_mut(&mut replica).unwrap();
    store.collections.waits = waits(HOUR, HOUR);
    let (pushed, ()) = tokio::join!(signature.add(&replica, Source::Captured), async {
        while replica.published_sweeps().await.unwrap().is_empty() {}
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        fixture.blobs.delete(&sweep).await.unwrap();
    });
    pushed.unwrap();
}

#[tokio::test]
async fn sets_of_a_clock_that_was_ahead_are_thrown_away() {
    let fixture = Fixture::ready().await;
    let store = &fixture.store;
    let ahead = layout::candidate_set(UnixMillis::new(u64::MAX), 1);
    put(&fixture, &ahead, b"{}").await;
    collect(store).await;
    assert_eq!(fixture.blobs.head(&ahead).await.unwrap(), None);
}

#[tokio::test]
async fn a_scrub_finds_what_is_damaged() {
    let fixture = Fixture::ready().await;
    let (store, name) = (&fixture.store, &repository());
    let [whole, tagged] = ["whole", "tagged"].map(Signature::new);
    whole.add(store, Source::Captured).await.unwrap();
    whole.merge(store).await.unwrap();
    tagged.append(store).await.unwrap();
    store.delete_manifest(name, &subject()).await.unwrap();
    orphan(&fixture).await;
    let clean = store.collect(&CONFIG, SCRUB).await.unwrap();
    let clean = clean.scrub.unwrap();
    assert_eq!(clean.damage, []);
    assert!(clean.objects > 6 && clean.bytes > 100);

    let other: Digest = "blake3:abcd".parse().unwrap();
    let mut expected = vec![
        (layout::blob(&whole.digest), Some(&b"{"[..]), What::Hash),
        (layout::blob(&tagged.digest), None, What::Missing),
        (
            layout::link(name, &Digest::sha256(&whole.blob)),
            None,
            What::Missing,
        ),
        (layout::blob(&other), Some(b""), What::Unreadable),
        ("v1/blobs/x".parse().unwrap(), Some(b""), What::Unreadable),
        (
            layout::link(name, &tagged.digest),
            Some(b"{\"kind\":\"blob\",\"mediaType\":\"\",\"size\":1}"),
            What::Missing,
        ),
        (
            layout::tombstone(name, &subject()),
            Some(b"{"),
            What::Unreadable,
        ),
        (
            layout::orphaned(name, &subject()),
            Some(b"[]"),
            What::Unreadable,
        ),
        (
            layout::tag_version(name, &tag(), 1),
            Some(b"{"),
            What::Unreadable,
        ),
        (
            layout::referrer(name, &subject(), &tagged.digest),
            Some(b"{"),
            What::Unreadable,
        ),
        (layout::journal_entry(1, 1), Some(b"{"), What::Unreadable),
    ];
    for (key, bytes, _) in &expected {
        match bytes {
            Some(bytes) => put(&fixture, key, bytes).await,
            None => fixture.blobs.delete(key).await.unwrap(),
        }
    }
    // A sound link to bytes that are missing: they are, not it.
    expected.remove(5);
    let mut expected: Vec<Damage> = expected
        .into_iter()
        .map(|(key, _, what)| Damage { key, what })
        .collect();
    expected.sort();
    let before = objects(&*fixture.blobs).await;
    let found = store.collect(&CONFIG, SCRUB).await.unwrap().scrub.unwrap();
    assert_eq!(found.damage, expected);
    assert_eq!(objects(&*fixture.blobs).await, before);
    let stream = fixture.blobs.open(&layout::blob(&whole.digest)).await;
    let bytes: Vec<Bytes> = stream.unwrap().unwrap().stream.try_collect().await.unwrap();
    assert_eq!(bytes.concat(), b"{");
}
