//! The contract of [`ReferrersIndex`], sentence by sentence, for every backend.

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::{Lookup, MAX_VERDICTS, ReferrersIndex, Row};
use crate::clock::UnixMillis;
use crate::oci::{Descriptor, Digest, RepositoryName, Tag};
use crate::store::records::{Link, LinkKind, Referrer, Source, TagChange, TagVersion};

pub(super) async fn holds_for(index: &dyn ReferrersIndex) {
    nothing_is_known_at_first(index).await;
    a_replaced_subject_is_known(index).await;
    absence_is_known_when_complete(index).await;
    every_write_moves_the_generation(index).await;
    a_moved_generation_refuses_a_replacement(index).await;
    clearing_refuses_what_began_before(index).await;
    a_repository_may_be_complete_alone(index).await;
    writes_are_idempotent(index).await;
    repositories_and_subjects_are_apart(index).await;
    versions_come_in_the_order_of_numbers(index).await;
    every_row_is_walked(index).await;
    verdicts_are_rows_without_records(index).await;
}

pub(super) fn repository() -> RepositoryName {
    "a/b".parse().unwrap()
}

pub(super) fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

pub(super) fn referrer(subject: &str, text: &str) -> Referrer {
    Referrer {
        repository: repository(),
        subject: digest(subject),
        descriptor: Descriptor {
            media_type: "application/x".to_owned(),
            digest: digest(text),
            size: 3,
            artifact_type: Some("a/b".to_owned()),
            annotations: None,
        },
        source: Source::Captured,
        time: UnixMillis::new(7),
    }
}

fn link(media_type: &str) -> Link {
    Link {
        kind: LinkKind::Manifest,
        media_type: media_type.to_owned(),
        size: 3,
        subject: None,
    }
}

fn version(text: &str) -> TagVersion {
    TagVersion {
        digest: digest(text),
        media_type: "application/x".to_owned(),
        time: UnixMillis::new(7),
        change: TagChange::Pushed,
    }
}

const OTHERS: [&str; 4] = ["a", "a/b/c", "a/b-c", "a/c"];

/// Completes the index as a whole, and each repository for the backends that know only them.
async fn complete(index: &dyn ReferrersIndex) {
    let epoch = index.clear().await.unwrap();
    for name in OTHERS.iter().chain(&["a/b"]) {
        let name = name.parse().unwrap();
        let incarnation = index.begin_repository(&name).await.unwrap();
        index.complete_repository(&name, incarnation).await.unwrap();
    }
    assert!(index.set_complete(epoch).await.unwrap());
}

async fn found(index: &dyn ReferrersIndex, subject: &str) -> Vec<Referrer> {
    match index.referrers(&repository(), &digest(subject)).await {
        Ok(Lookup::Found(rows)) => rows,
        other => panic!("not found: {other:?}"),
    }
}

async fn nothing_is_known_at_first(index: &dyn ReferrersIndex) {
    let tag: Tag = "t".parse().unwrap();
    assert!(!index.complete().await.unwrap());
    let unknown = index.referrers(&repository(), &digest("s")).await.unwrap();
    assert_eq!(unknown, Lookup::Unknown);
    let unknown = index.link(&repository(), &digest("s")).await.unwrap();
    assert_eq!(unknown, Lookup::Unknown);
    let unknown = index.tag_versions(&repository(), &tag).await.unwrap();
    assert_eq!(unknown, Lookup::Unknown);

    // A row alone does not make the others known.
    index.put_referrer(&referrer("s", "r")).await.unwrap();
    let unknown = index.referrers(&repository(), &digest("s")).await.unwrap();
    assert_eq!(unknown, Lookup::Unknown);
    index
        .put_tag_version(&repository(), &tag, 1, &version("m"))
        .await
        .unwrap();
    let unknown = index.tag_versions(&repository(), &tag).await.unwrap();
    assert_eq!(unknown, Lookup::Unknown);
    // But a link is one row.
    let row = [(digest("m"), link("application/x"))];
    index.put_links(&repository(), &row).await.unwrap();
    let known = index.link(&repository(), &digest("m")).await.unwrap();
    assert_eq!(known, Lookup::Found(link("application/x")));
}

async fn a_replaced_subject_is_known(index: &dyn ReferrersIndex) {
    index.clear().await.unwrap();
    index.put_referrer(&referrer("s", "old")).await.unwrap();
    for rows in [vec![], vec![referrer("s", "one"), referrer("s", "two")]] {
        let generation = index.generation(&repository(), &digest("s")).await.unwrap();
        let replaced = index
            .replace_subject(&repository(), &digest("s"), rows.clone(), generation)
            .await
            .unwrap();
        assert!(replaced);
        let mut sorted = rows;
        sorted.sort_by(|a, b| a.descriptor.digest.cmp(&b.descriptor.digest));
        assert_eq!(found(index, "s").await, sorted);
    }
    // It stays known when it changes.
    index.put_referrer(&referrer("s", "three")).await.unwrap();
    index
        .remove_referrer(&repository(), &digest("s"), &digest("one"))
        .await
        .unwrap();
    assert_eq!(found(index, "s").await.len(), 2);
    let other = index.referrers(&repository(), &digest("o")).await.unwrap();
    assert_eq!(other, Lookup::Unknown);
}

async fn absence_is_known_when_complete(index: &dyn ReferrersIndex) {
    let tag: Tag = "t".parse().unwrap();
    complete(index).await;
    assert!(index.complete().await.unwrap());
    let absent = index.referrers(&repository(), &digest("s")).await.unwrap();
    assert_eq!(absent, Lookup::Absent);
    let absent = index.link(&repository(), &digest("s")).await.unwrap();
    assert_eq!(absent, Lookup::Absent);
    let absent = index.tag_versions(&repository(), &tag).await.unwrap();
    assert_eq!(absent, Lookup::Absent);
    // And rows are all there are.
    index.put_referrer(&referrer("s", "r")).await.unwrap();
    assert_eq!(found(index, "s").await, [referrer("s", "r")]);

    index.clear().await.unwrap();
    assert!(!index.complete().await.unwrap());
    let unknown = index.referrers(&repository(), &digest("s")).await.unwrap();
    assert_eq!(unknown, Lookup::Unknown);
}

async fn every_write_moves_the_generation(index: &dyn ReferrersIndex) {
    let subject = digest("s");
    let mut seen = vec![index.generation(&repository(), &subject).await.unwrap()];
    for step in 0..5 {
        match step {
            0 | 1 => index.put_referrer(&referrer("s", "r")).await.unwrap(),
            2 | 3 => index
                .remove_referrer(&repository(), &subject, &digest("r"))
                .await
                .unwrap(),
            _ => drop(index.clear().await.unwrap()),
        }
        let generation = index.generation(&repository(), &subject).await.unwrap();
        assert!(!seen.contains(&generation), "step {step}");
        seen.push(generation);
    }
}

async fn a_moved_generation_refuses_a_replacement(index: &dyn ReferrersIndex) {
    let subject = digest("s");
    complete(index).await;
    let before = index.generation(&repository(), &subject).await.unwrap();
    index.put_referrer(&referrer("s", "new")).await.unwrap();
    let replaced = index
        .replace_subject(&repository(), &subject, vec![], before)
        .await
        .unwrap();
    assert!(!replaced);
    assert_eq!(found(index, "s").await, [referrer("s", "new")]);
}

async fn clearing_refuses_what_began_before(index: &dyn ReferrersIndex) {
    let subject = digest("s");
    for known in [false, true] {
        if known {
            index.put_referrer(&referrer("s", "r")).await.unwrap();
        }
        let generation = index.generation(&repository(), &subject).await.unwrap();
        let first = index.clear().await.unwrap();
        let replaced = index
            .replace_subject(&repository(), &subject, vec![], generation)
            .await
            .unwrap();
        assert!(!replaced, "known: {known}");
        let second = index.clear().await.unwrap();
        assert_ne!(first, second);
        assert_eq!(index.epoch().await.unwrap(), second);
        assert!(!index.set_complete(first).await.unwrap());
        assert!(!index.complete().await.unwrap());
        assert!(index.set_complete(second).await.unwrap());
    }
}

async fn a_repository_may_be_complete_alone(index: &dyn ReferrersIndex) {
    let (name, tag): (_, Tag) = (repository(), "t".parse().unwrap());
    index.clear().await.unwrap();
    let incarnation = index.begin_repository(&name).await.unwrap();
    index.put_referrer(&referrer("s", "r")).await.unwrap();
    if index.complete_repository(&name, incarnation).await.unwrap() {
        assert!(!index.complete().await.unwrap());
        assert_eq!(found(index, "s").await, [referrer("s", "r")]);
        let absent = index.referrers(&name, &digest("o")).await.unwrap();
        assert_eq!(absent, Lookup::Absent);
        assert_eq!(
            index.link(&name, &digest("s")).await.unwrap(),
            Lookup::Absent
        );
        assert_eq!(
            index.tag_versions(&name, &tag).await.unwrap(),
            Lookup::Absent
        );
        let other = "other".parse().unwrap();
        let unknown = index.link(&other, &digest("s")).await.unwrap();
        assert_eq!(unknown, Lookup::Unknown);
    }
    let incarnation = index.begin_repository(&name).await.unwrap();
    index.clear().await.unwrap();
    assert!(!index.complete_repository(&name, incarnation).await.unwrap());
    let unknown = index.referrers(&name, &digest("o")).await.unwrap();
    assert_eq!(unknown, Lookup::Unknown);
}

async fn writes_are_idempotent(index: &dyn ReferrersIndex) {
    complete(index).await;
    for _ in 0..2 {
        index.put_referrer(&referrer("s", "r")).await.unwrap();
        let rows = [(digest("m"), link("a")), (digest("m"), link("b"))];
        index.put_links(&repository(), &rows).await.unwrap();
    }
    assert_eq!(found(index, "s").await.len(), 1);
    let last = index.link(&repository(), &digest("m")).await.unwrap();
    assert_eq!(last, Lookup::Found(link("b")));
    for _ in 0..2 {
        index
            .remove_referrer(&repository(), &digest("s"), &digest("r"))
            .await
            .unwrap();
        index
            .remove_link(&repository(), &digest("m"))
            .await
            .unwrap();
    }
    assert_eq!(found(index, "s").await, []);
    let gone = index.link(&repository(), &digest("m")).await.unwrap();
    assert_eq!(gone, Lookup::Absent);
}

async fn repositories_and_subjects_are_apart(index: &dyn ReferrersIndex) {
    complete(index).await;
    index.put_referrer(&referrer("s", "r")).await.unwrap();
    let row = [(digest("m"), link("a"))];
    index.put_links(&repository(), &row).await.unwrap();
    for other in OTHERS {
        let other: RepositoryName = other.parse().unwrap();
        let absent = index.referrers(&other, &digest("s")).await.unwrap();
        assert_eq!(absent, Lookup::Absent, "{other}");
        let absent = index.link(&other, &digest("m")).await.unwrap();
        assert_eq!(absent, Lookup::Absent, "{other}");
    }
    index.put_referrer(&referrer("other", "o")).await.unwrap();
    assert_eq!(found(index, "s").await, [referrer("s", "r")]);
}

async fn versions_come_in_the_order_of_numbers(index: &dyn ReferrersIndex) {
    complete(index).await;
    let tag: Tag = "t".parse().unwrap();
    for number in [10, 9, 1, 100] {
        index
            .put_tag_version(&repository(), &tag, number, &version("m"))
            .await
            .unwrap();
    }
    let near: Tag = "t.sig".parse().unwrap();
    index
        .put_tag_version(&repository(), &near, 5, &version("m"))
        .await
        .unwrap();
    let Lookup::Found(versions) = index.tag_versions(&repository(), &tag).await.unwrap() else {
        panic!("the index is complete and the tag has versions");
    };
    let numbers: Vec<_> = versions.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 9, 10, 100]);
}

async fn every_row_is_walked(index: &dyn ReferrersIndex) {
    index.clear().await.unwrap();
    let tag: Tag = "t".parse().unwrap();
    let count = 1100;
    for n in 0..count {
        let row = [(digest(&n.to_string()), link("a"))];
        index.put_links(&repository(), &row).await.unwrap();
    }
    index.put_referrer(&referrer("s", "r")).await.unwrap();
    index
        .put_tag_version(&repository(), &tag, 3, &version("m"))
        .await
        .unwrap();
    let rows: Vec<Row> = index.rows().try_collect().await.unwrap();
    assert_eq!(rows.len(), count + 2);
    assert!(rows.contains(&Row::Referrer(referrer("s", "r"))));
    assert!(rows.contains(&Row::Link {
        repository: repository(),
        digest: digest("1099"),
        link: link("a"),
    }));
    assert!(rows.contains(&Row::TagVersion {
        repository: repository(),
        tag,
        number: 3,
        version: version("m"),
    }));
}

async fn verdicts_are_rows_without_records(index: &dyn ReferrersIndex) {
    index.clear().await.unwrap();
    let (name, subject) = (repository(), digest("s"));
    assert_eq!(index.verdicts(&name, &subject).await.unwrap(), None);
    let largest = vec![0xff; MAX_VERDICTS];
    for bytes in [b"\0one".to_vec(), Vec::new(), largest, b"two".to_vec()] {
        let verdicts = Bytes::from(bytes);
        index
            .put_verdicts(&name, &subject, verdicts.clone())
            .await
            .unwrap();
        let found = index.verdicts(&name, &subject).await.unwrap();
        assert!(found == Some(verdicts), "the last that were put");
    }
    // Of this subject in this repository alone.
    for other in OTHERS {
        let other = other.parse().unwrap();
        assert_eq!(index.verdicts(&other, &subject).await.unwrap(), None);
    }
    assert_eq!(index.verdicts(&name, &digest("t")).await.unwrap(), None);
    // Nothing is known of the subject because of them, and no generation moves.
    let unknown = index.referrers(&name, &subject).await.unwrap();
    assert_eq!(unknown, Lookup::Unknown);
    let before = index.generation(&name, &subject).await.unwrap();
    let verdicts = Bytes::from_static(b"three");
    let put = index.put_verdicts(&name, &subject, verdicts.clone()).await;
    put.unwrap();
    let after = index.generation(&name, &subject).await.unwrap();
    assert_eq!(after, before);
    let rows: Vec<Row> = index.rows().try_collect().await.unwrap();
    assert_eq!(rows, []);
    // They outlast a change of the subject: they say themselves what they are about.
    index.put_referrer(&referrer("s", "r")).await.unwrap();
    let found = index.verdicts(&name, &subject).await.unwrap();
    assert_eq!(found, Some(verdicts));
    index.clear().await.unwrap();
    assert_eq!(index.verdicts(&name, &subject).await.unwrap(), None);
}
