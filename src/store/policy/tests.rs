//! What is kept for policy, over every backend, and beside deletion, collector, rebuild and scrub.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use crate::clock::{Clock, ManualClock, UnixMillis};
use crate::oci::{Digest, Tag};
use crate::store::blob::fs::FsBlobStore;
use crate::store::blob::memory::MemoryBlobStore;
use crate::store::blob::{BlobStore, Condition, Listed};
use crate::store::collect::{Config, Options};
use crate::store::testing::{Fixture, Signature, listed, repository, subject, tag};
use crate::store::{Inventory, Mark, SignatureStore, Source, StoreError, layout};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";

fn image(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

fn named(text: &str) -> Tag {
    text.parse().unwrap()
}

fn mark(text: &str) -> Mark {
    Mark {
        digest: image(text),
        rule: "production".to_owned(),
        missing: vec!["release".to_owned()],
        at: UnixMillis::new(7),
    }
}

async fn all(blobs: &dyn BlobStore) -> Vec<Listed> {
    let under = "v1".parse().unwrap();
    blobs.list(&under, None, 10_000).await.unwrap()
}

/// Each sentence of what the store keeps for policy, over any objects.
pub(in crate::store) async fn holds_over(blobs: Arc<dyn BlobStore>) {
    let clock = Arc::new(ManualClock::new(UnixMillis::new(1_000)));
    let fixture = Fixture::over(blobs, clock);
    names_are_noted_once(&fixture).await;
    a_mark_is_what_was_set_or_cleared_last(&fixture).await;
    marks_set_and_cleared_at_once_lose_no_number(&fixture).await;
    what_is_kept_ends_at_its_time(&fixture).await;
    another_process_sweeps_what_was_kept(&fixture).await;
    what_is_corrupt_is_not_given(&fixture).await;
    the_inventory_has_what_was_added(&fixture).await;
}

async fn names_are_noted_once(fixture: &Fixture) {
    let (store, name, digest) = (&fixture.store, &repository(), &image("named"));
    assert_eq!(store.tags_naming(name, digest).await.unwrap(), []);
    assert_eq!(store.parents(name, digest).await.unwrap(), []);
    let mut parents = [image("p"), image("q")];
    parents.sort();
    for _ in 0..2 {
        for text in ["v2", "latest", "_x"] {
            let noted = store.note_tagged(name, digest, &named(text)).await;
            noted.unwrap();
        }
        for parent in &parents {
            store.note_parent(name, digest, parent).await.unwrap();
        }
    }
    // What a captured tag names the store knows by other records.
    store.note_tagged(name, digest, &tag()).await.unwrap();
    let tags = ["_x", "latest", "v2"].map(named);
    assert_eq!(store.tags_naming(name, digest).await.unwrap(), tags);
    assert_eq!(store.parents(name, digest).await.unwrap(), parents);
    let other = "a".parse().unwrap();
    assert_eq!(store.tags_naming(&other, digest).await.unwrap(), []);
    assert_eq!(store.parents(&other, digest).await.unwrap(), []);
}

async fn a_mark_is_what_was_set_or_cleared_last(fixture: &Fixture) {
    let (store, name, tag) = (&fixture.store, &repository(), &named("marked"));
    let set = |text| store.set_mark(name, tag, mark(text));
    let clear = |text: Option<&str>| {
        let digest = text.map(image);
        async move { store.clear_mark(name, tag, digest.as_ref()).await.unwrap() }
    };
    let versions = || async { store.keys(&layout::mark(name, tag)).await.unwrap().len() };
    assert_eq!(store.mark(name, tag).await.unwrap(), None);
    assert!(!clear(None).await);
    set("a").await.unwrap();
    assert_eq!(store.mark(name, tag).await.unwrap(), Some(mark("a")));
    let later = Mark {
        at: UnixMillis::new(8),
        ..mark("a")
    };
    store.set_mark(name, tag, later).await.unwrap();
    assert_eq!(versions().await, 1, "repeating a mark changes nothing");
    assert_eq!(store.mark(name, tag).await.unwrap(), Some(mark("a")));
    assert!(!clear(Some("b")).await, "of another digest");
    set("b").await.unwrap();
    assert!(!clear(Some("a")).await, "not any more");
    assert_eq!(store.mark(name, tag).await.unwrap(), Some(mark("b")));
    assert_eq!(store.marks(name).await.unwrap(), [(tag.clone(), mark("b"))]);
    assert!(clear(Some("b")).await);
    assert!(!clear(Some("b")).await, "it is cleared");
    assert_eq!(store.mark(name, tag).await.unwrap(), None);
    assert_eq!(store.marks(name).await.unwrap(), []);
    set("b").await.unwrap();
    assert!(clear(None).await);
    assert_eq!(versions().await, 5);
    assert_eq!(store.marks(&"a".parse().unwrap()).await.unwrap(), []);
}

async fn marks_set_and_cleared_at_once_lose_no_number(fixture: &Fixture) {
    let (name, tag) = (repository(), named("raced"));
    let replica = fixture.replica();
    let changes = (0..20).map(|number| {
        let stores = [&fixture.store, &replica];
        let (store, name, tag) = (Arc::clone(stores[number % 2]), name.clone(), tag.clone());
        tokio::spawn(async move {
            if number % 4 == 0 {
                usize::from(store.clear_mark(&name, &tag, None).await.unwrap())
            } else {
                let mark = mark(&number.to_string());
                store.set_mark(&name, &tag, mark).await.unwrap();
                1
            }
        })
    });
    let mut made = 0;
    for change in join_all(changes).await {
        made += change.unwrap();
    }
    let keys = fixture.store.keys(&layout::mark(&name, &tag)).await;
    let expected: Vec<_> = (1..=made as u64)
        .map(|number| layout::mark_version(&name, &tag, number))
        .collect();
    assert_eq!(keys.unwrap(), expected);
    let seen = replica.mark(&name, &tag).await.unwrap();
    assert_eq!(fixture.store.mark(&name, &tag).await.unwrap(), seen);
}

async fn what_is_kept_ends_at_its_time(fixture: &Fixture) {
    let (store, name) = (&fixture.store, &repository());
    let bytes = Bytes::from_static(b"{\n\"a\":\n1}");
    let digest = Digest::sha256(&bytes);
    let now = fixture.clock.now();
    let until = now.saturating_add(HOUR);
    let keep = |until| store.keep_rejected(name, &digest, MEDIA_TYPE, bytes.clone(), until);
    assert_eq!(store.kept(name, &digest).await.unwrap(), None);
    keep(until).await.unwrap();
    let kept = store.kept(name, &digest).await.unwrap().unwrap();
    assert_eq!((&kept.bytes, kept.until), (&bytes, until));
    assert_eq!(kept.media_type, MEDIA_TYPE);
    assert_eq!(
        store.kept(&"a".parse().unwrap(), &digest).await.unwrap(),
        None
    );
    let other = &image("x");
    let wrong = store.keep_rejected(name, other, MEDIA_TYPE, bytes.clone(), until);
    assert!(matches!(
        wrong.await,
        Err(StoreError::DigestMismatch { .. })
    ));

    // Rejected again: it waits longer, although its first time has come.
    let later = until.saturating_add(HOUR);
    keep(later).await.unwrap();
    fixture.clock.set(until);
    assert_eq!(store.sweep_kept(until).await.unwrap(), 0);
    assert!(store.kept(name, &digest).await.unwrap().is_some());
    fixture.clock.set(later);
    assert_eq!(
        store.kept(name, &digest).await.unwrap(),
        None,
        "not swept yet"
    );
    assert_eq!(store.sweep_kept(later).await.unwrap(), 1);
    assert_eq!(store.sweep_kept(later).await.unwrap(), 0);
    let key = layout::kept(name, &digest);
    assert_eq!(fixture.blobs.head(&key).await.unwrap(), None);
}

async fn another_process_sweeps_what_was_kept(fixture: &Fixture) {
    let (store, name) = (&fixture.store, &repository());
    let now = fixture.clock.now();
    let [short, long] = ["short", "long"].map(|text| Bytes::from_static(text.as_bytes()));
    for (bytes, time) in [(&short, HOUR), (&long, 2 * HOUR)] {
        let (digest, until) = (Digest::sha256(bytes), now.saturating_add(time));
        let kept = store.keep_rejected(name, &digest, MEDIA_TYPE, bytes.clone(), until);
        kept.await.unwrap();
    }
    let damaged = layout::kept(&"z".parse().unwrap(), &image("damaged"));
    let bytes = Bytes::from_static(b"{");
    let put = fixture.blobs.put(&damaged, bytes, Condition::Always).await;
    put.unwrap();
    let replica = fixture.replica();
    let at = |time| now.saturating_add(time);
    assert_eq!(replica.sweep_kept(now).await.unwrap(), 1, "what is damaged");
    assert_eq!(replica.sweep_kept(at(HOUR)).await.unwrap(), 1);
    let kept = store.kept(name, &Digest::sha256(&long)).await.unwrap();
    assert!(kept.is_some());
    assert_eq!(replica.sweep_kept(at(2 * HOUR)).await.unwrap(), 1);
    assert_eq!(store.sweep_kept(at(2 * HOUR)).await.unwrap(), 0);
}

async fn what_is_corrupt_is_not_given(fixture: &Fixture) {
    let (store, name) = (&fixture.store, &repository());
    let bytes = Bytes::from_static(b"rejected");
    let digest = Digest::sha256(&bytes);
    let until = fixture.clock.now().saturating_add(HOUR);
    let kept = store.keep_rejected(name, &digest, MEDIA_TYPE, bytes, until);
    kept.await.unwrap();
    let key = layout::kept(name, &digest);
    let mut object = fixture.blobs.get(&key).await.unwrap().unwrap().to_vec();
    *object.last_mut().unwrap() ^= 1;
    let put = fixture.blobs.put(&key, object.into(), Condition::Always);
    put.await.unwrap();
    let read = store.kept(name, &digest).await;
    assert!(matches!(read, Err(StoreError::Corrupt { .. })));

    // A mark that cannot be read is no absent one, and is set anew.
    let tag = &named("damaged");
    store.set_mark(name, tag, mark("a")).await.unwrap();
    let key = layout::mark_version(name, tag, 2);
    let bytes = Bytes::from_static(b"{");
    let put = fixture.blobs.put(&key, bytes, Condition::IfAbsent).await;
    put.unwrap();
    let read = store.mark(name, tag).await;
    assert!(matches!(read, Err(StoreError::Corrupt { .. })));
    assert!(store.clear_mark(name, tag, None).await.is_err());
    store.set_mark(name, tag, mark("b")).await.unwrap();
    assert_eq!(store.mark(name, tag).await.unwrap(), Some(mark("b")));
}

async fn the_inventory_has_what_was_added(fixture: &Fixture) {
    let (store, name) = (&fixture.store, &repository());
    assert!(!store.has_inventory().await.unwrap());
    let digests: Vec<Digest> = (0..70).map(|number| image(&number.to_string())).collect();
    for _ in 0..2 {
        store.add_to_inventory(name, &digests).await.unwrap();
    }
    assert!(!store.has_inventory().await.unwrap(), "it is not whole yet");
    store.finish_inventory(1, 70).await.unwrap();
    let inventory = Inventory {
        made_at: fixture.clock.now(),
        repositories: 1,
        manifests: 70,
    };
    assert_eq!(store.inventory().await.unwrap(), Some(inventory));
    assert!(store.has_inventory().await.unwrap());
    for digest in &digests {
        assert!(store.in_inventory(name, digest).await.unwrap());
    }
    let other = "a".parse().unwrap();
    assert!(!store.in_inventory(&other, &digests[0]).await.unwrap());
    assert!(!store.in_inventory(name, &image("new")).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_holds_in_memory() {
    let clock = Arc::new(ManualClock::new(UnixMillis::new(1_000)));
    holds_over(Arc::new(MemoryBlobStore::new(clock))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_holds_in_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    holds_over(Arc::new(FsBlobStore::open(directory.path()).unwrap())).await;
}

#[tokio::test]
async fn versions_of_a_mark_go_an_hour_after_they_were_made() {
    let fixture = Fixture::new();
    let (store, name, tag) = (&fixture.store, &repository(), &named("v1"));
    let numbers = || async {
        let keys = store.keys(&layout::mark(name, tag)).await.unwrap();
        let number = |key| layout::parse_mark_version(key).unwrap().1;
        keys.iter().map(number).collect::<Vec<_>>()
    };
    for text in ["a", "b", "c"] {
        store.set_mark(name, tag, mark(text)).await.unwrap();
    }
    assert_eq!(numbers().await, [1, 2, 3]);
    fixture.clock.advance(HOUR);
    store.set_mark(name, tag, mark("d")).await.unwrap();
    assert_eq!(numbers().await, [3, 4]);
    assert!(store.clear_mark(name, tag, None).await.unwrap());
    assert_eq!(numbers().await, [4, 5]);
    assert_eq!(store.mark(name, tag).await.unwrap(), None);
    let replica = fixture.replica();
    replica.set_mark(name, tag, mark("e")).await.unwrap();
    assert_eq!(store.marks(name).await.unwrap(), [(tag.clone(), mark("e"))]);
}

/// Everything that is kept for policy, of `digest` and beside it.
async fn keep_all(store: &SignatureStore, digest: &Digest, until: UnixMillis) {
    let name = &repository();
    store.note_tagged(name, digest, &named("v1")).await.unwrap();
    store.note_parent(name, digest, &image("p")).await.unwrap();
    store.note_parent(name, &image("c"), digest).await.unwrap();
    store.set_mark(name, &named("v1"), mark("a")).await.unwrap();
    store.set_mark(name, &named("v2"), mark("a")).await.unwrap();
    let cleared = store.clear_mark(name, &named("v2"), None).await;
    assert!(cleared.unwrap());
    let bytes = Bytes::from_static(b"rejected");
    let rejected = Digest::sha256(&bytes);
    let kept = store.keep_rejected(name, &rejected, MEDIA_TYPE, bytes, until);
    kept.await.unwrap();
    let existing = [digest.clone(), image("old")];
    store.add_to_inventory(name, &existing).await.unwrap();
    store.finish_inventory(1, 2).await.unwrap();
}

async fn collect(fixture: &Fixture) -> u64 {
    let config = Config {
        between_scans: HOUR,
        untouched: DAY,
        subject_grace: DAY,
    };
    let options = Options {
        dry_run: false,
        scrub: true,
    };
    let mut deleted = 0;
    fixture.clock.advance(DAY);
    for _ in 0..6 {
        let run = fixture.store.collect(&config, options).await.unwrap();
        assert_eq!(run.scrub.unwrap().damage, []);
        deleted += run.deleted;
        fixture.clock.advance(HOUR);
    }
    deleted
}

#[tokio::test]
async fn neither_collector_nor_rebuild_touches_what_policy_has() {
    let fixture = Fixture::ready().await;
    let store = &fixture.store;
    let until = fixture.clock.now().saturating_add(HOUR);
    keep_all(store, &image("i"), until).await;
    let before = all(&*fixture.blobs).await;
    // What has ended as well: that is swept, not collected.
    assert_eq!(collect(&fixture).await, 0);
    let left = |objects: Vec<Listed>| {
        let ours = |listed: &Listed| !listed.key.as_str().starts_with("v1/gc/");
        objects.into_iter().filter(ours).collect::<Vec<_>>()
    };
    assert_eq!(left(all(&*fixture.blobs).await), before);
    let summary = store.rebuild_index(|_| ()).await.unwrap();
    assert!(summary.complete);
    assert_eq!((summary.links, summary.tag_versions), (0, 0));
    assert_eq!(store.verify_index().await.unwrap(), []);
    assert_eq!(store.sweep_kept(fixture.clock.now()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_damaged_stamp_or_mark_is_found_by_a_scrub() {
    let fixture = Fixture::ready().await;
    let (store, name, digest) = (&fixture.store, &repository(), &image("i"));
    let keys = [
        layout::mark_version(name, &named("v1"), 1),
        layout::parent(name, digest, digest),
        layout::tagged_by(name, digest, &named("v1")),
    ];
    for key in &keys {
        let bytes = Bytes::from_static(b"{");
        let put = fixture.blobs.put(key, bytes, Condition::Always).await;
        put.unwrap();
    }
    let config = Config {
        between_scans: HOUR,
        untouched: DAY,
        subject_grace: DAY,
    };
    let options = Options {
        dry_run: true,
        scrub: true,
    };
    let run = store.collect(&config, options).await.unwrap();
    let damage = run.scrub.unwrap().damage;
    let found: Vec<_> = damage.into_iter().map(|damage| damage.key).collect();
    assert_eq!(found, keys);
}

#[tokio::test]
async fn a_deletion_leaves_what_has_named_the_manifest_and_no_rejected_copy() {
    let fixture = Fixture::ready().await;
    let (store, name) = (&fixture.store, &repository());
    let signature = Signature::new("a");
    let digest = &signature.digest;
    signature.append(store).await.unwrap();
    signature.add(store, Source::Captured).await.unwrap();
    let until = fixture.clock.now().saturating_add(HOUR);
    keep_all(store, digest, until).await;
    let bytes = signature.bytes.clone();
    let kept = store.keep_rejected(name, digest, MEDIA_TYPE, bytes, until);
    kept.await.unwrap();
    let tags = [named("v1")];
    assert_eq!(
        store.tags_naming(name, digest).await.unwrap(),
        tags,
        "the captured tag is not among them"
    );

    store.delete_manifest(name, digest).await.unwrap();
    assert_eq!(listed(store).await, []);
    assert_eq!(store.tag(name, &tag()).await.unwrap(), None);
    assert_eq!(store.read_manifest(name, digest).await.unwrap(), None);
    assert_eq!(store.kept(name, digest).await.unwrap(), None);
    let stands = || async {
        assert_eq!(store.tags_naming(name, digest).await.unwrap(), tags);
        assert_eq!(store.parents(name, digest).await.unwrap(), [image("p")]);
        let mark = store.mark(name, &named("v1")).await.unwrap();
        assert!(mark.is_some());
        assert!(store.in_inventory(name, digest).await.unwrap());
    };
    stands().await;
    assert_eq!(store.verify_index().await.unwrap(), []);
    // The stamp of the captured tag goes with the manifest, those of policy stay.
    assert!(collect(&fixture).await > 0);
    let stamps = store.keys(&layout::tagged(name, digest)).await.unwrap();
    assert_eq!(stamps, [layout::tagged_by(name, digest, &tags[0])]);
    stands().await;
    let blob = layout::blob(digest);
    assert_eq!(fixture.blobs.head(&blob).await.unwrap(), None);
}

#[tokio::test]
async fn a_link_whose_record_is_gone_does_not_stand_because_a_tag_has_named_it() {
    let fixture = Fixture::ready().await;
    let (store, name) = (&fixture.store, &repository());
    let signature = Signature::new("cut off");
    let digest = &signature.digest;
    signature.add(store, Source::Captured).await.unwrap();
    store.note_tagged(name, digest, &named("v1")).await.unwrap();
    let record = layout::referrer(name, &subject(), digest);
    fixture.blobs.delete(&record).await.unwrap();
    assert_eq!(store.recorded_link(name, digest).await.unwrap(), None);
    store.rebuild_index(|_| ()).await.unwrap();
    assert_eq!(store.link(name, digest).await.unwrap(), None);
    assert_eq!(store.verify_index().await.unwrap(), []);
    // Nor does it keep the link from the collector.
    collect(&fixture).await;
    let link = layout::link(name, digest);
    assert_eq!(fixture.blobs.head(&link).await.unwrap(), None);
    let blob = layout::blob(digest);
    assert_eq!(fixture.blobs.head(&blob).await.unwrap(), None);
}

#[tokio::test]
async fn a_generated_manifest_is_not_deleted_because_a_tag_has_named_it() {
    let fixture = Fixture::ready().await;
    let (store, name) = (&fixture.store, &repository());
    let index = store
        .put_generated(name, Bytes::from_static(b"[]"), "x")
        .await;
    let index = index.unwrap();
    store.note_tagged(name, &index, &named("v1")).await.unwrap();
    let tombstone = layout::tombstone(name, &index);
    let stamp = store.stamp();
    let put = store.put_record(&tombstone, &stamp, Condition::Always);
    put.await.unwrap();
    assert!(!store.delete_generated(name, &index).await.unwrap());
    assert!(store.read_manifest(name, &index).await.unwrap().is_some());
}
