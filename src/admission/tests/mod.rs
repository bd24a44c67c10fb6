//! Decisions over a store in memory, with real signatures.

mod world;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use world::{Image, Signer, World, repository, tag};

const REJECT: &str =
    "  - {name: r, repositories: ['prod/**'], require: a, on_unsigned_push: reject}\n";

fn with_coverage(coverage: &str) -> String {
    format!(
        "  - {{name: r, repositories: ['prod/**'], require: a, on_unsigned_push: reject, coverage: {coverage}}}\n"
    )
}

#[tokio::test]
async fn what_is_signed_by_whom_the_rule_names_passes_and_nothing_else_does() {
    let world = World::new(REJECT).await;
    let image = world.image("one");
    assert_eq!(world.push_by("1", &image).await, "reject: a");
    assert_eq!(world.pull_by(Some("1"), &image).await, "deny");

    world.sign(1, &image).await;
    assert_eq!(
        world.push_by("1", &image).await,
        "reject: a",
        "another's key"
    );
    let stranger = Signer::new();
    world.attach(&stranger, &image.digest, &image.digest).await;
    assert_eq!(
        world.push_by("1", &image).await,
        "reject: a",
        "nobody's key"
    );
    let other = world.image("two");
    world
        .attach(&world.signers[0], &other.digest, &image.digest)
        .await;
    assert_eq!(
        world.push_by("1", &image).await,
        "reject: a",
        "of another image"
    );

    world.sign(0, &image).await;
    assert_eq!(world.push_by("1", &image).await, "admit");
    assert_eq!(world.pull_by(Some("1"), &image).await, "allow");
    assert_eq!(world.pull_by(None, &image).await, "allow");
    assert_eq!(world.push_by("1", &other).await, "reject: a");
}

#[tokio::test]
async fn the_good_signature_is_found_among_a_thousand() {
    let world = World::new(REJECT).await;
    let image = world.image("one");
    let stranger = Signer::new();
    for _ in 0..1000 {
        world.attach(&stranger, &image.digest, &image.digest).await;
    }
    assert_eq!(world.push_by("1", &image).await, "reject: a");
    world.sign(0, &image).await;
    assert_eq!(world.push_by("1", &image).await, "admit");
}

#[tokio::test]
async fn an_index_is_covered_as_the_rule_says() {
    // Who signs, then: push of the index, pull of the index by tag, pull of a child by its digest.
    for (coverage, signed, expected) in [
        ("index", "", ["reject: a", "deny", "deny"]),
        ("index", "index", ["admit", "allow", "allow"]),
        ("index", "children", ["reject: a", "deny", "deny"]),
        ("children", "", ["reject: a", "deny", "deny"]),
        ("children", "index", ["reject: a", "deny", "deny"]),
        ("children", "children", ["admit", "allow", "allow"]),
        ("children", "one child", ["reject: a", "deny", "allow"]),
        ("either", "", ["reject: a", "deny", "deny"]),
        ("either", "index", ["admit", "allow", "allow"]),
        ("either", "children", ["admit", "allow", "allow"]),
        ("either", "one child", ["reject: a", "deny", "allow"]),
        ("all", "index", ["reject: a", "deny", "deny"]),
        ("all", "children", ["reject: a", "deny", "deny"]),
        ("all", "all", ["admit", "allow", "allow"]),
    ] {
        let world = World::new(&with_coverage(coverage)).await;
        let children = [world.image("amd64"), world.image("arm64")];
        let index = world.index_of(&[&children[0], &children[1]]);
        world.tagged(&index, "1").await;
        let signs: Vec<&Image> = match signed {
            "index" => vec![&index],
            "children" => children.iter().collect(),
            "one child" => vec![&children[0]],
            "all" => vec![&index, &children[0], &children[1]],
            _ => Vec::new(),
        };
        for image in signs {
            world.sign(0, image).await;
        }
        let got = [
            world.push_by("1", &index).await,
            world.pull_by(Some("1"), &index).await,
            world.pull_by(None, &children[0]).await,
        ];
        assert_eq!(got, expected, "{coverage}, signed: {signed}");
    }
}

#[tokio::test]
async fn a_digest_is_judged_by_the_tags_that_name_it_and_strictly_without() {
    let rules = "  - {name: strict, repositories: ['prod/**'], tags: ['v*'], require: a, on_unsigned_push: reject}\n  \
                 - {name: lenient, repositories: ['prod/**'], tags: ['dev-*'], require: a, on_unsigned_push: warn, on_unsigned_pull: warn}\n";
    let world = World::new(rules).await;
    let image = world.image("one");
    assert_eq!(world.pull_by(None, &image).await, "deny", "no tag is known");
    assert_eq!(world.pull_by(Some("dev-1"), &image).await, "warn");
    assert_eq!(
        world.pull_by(Some("other"), &image).await,
        "allow",
        "no rule"
    );
    world.tagged(&image, "v1").await;
    assert_eq!(world.pull_by(None, &image).await, "deny");
    world.tagged(&image, "dev-1").await;
    assert_eq!(world.pull_by(None, &image).await, "warn");
    assert_eq!(world.pull_by(Some("v1"), &image).await, "deny");
    world.tagged(&image, "other").await;
    assert_eq!(world.pull_by(None, &image).await, "allow");
}

#[tokio::test]
async fn the_name_of_a_mark_is_no_way_around_the_rules() {
    let world = World::new(REJECT).await;
    let image = world.image("one");
    assert_eq!(world.pull_by(Some("unsigned-1"), &image).await, "deny");
    world.tagged(&image, "unsigned-1").await;
    assert_eq!(world.pull_by(None, &image).await, "deny");
}

#[tokio::test]
async fn a_referrer_is_admitted_with_its_subject_unless_it_is_an_image() {
    let world = World::new(REJECT).await;
    let image = world.image("one");
    let sbom = world.referrer(&image, "application/vnd.oci.empty.v1+json");
    let disguised = world.referrer(&image, crate::oci::media_type::IMAGE_CONFIG);
    assert_eq!(world.pull_by(None, &sbom).await, "deny");
    world.sign(0, &image).await;
    assert_eq!(world.pull_by(None, &sbom).await, "allow");
    assert_eq!(world.pull_by(None, &disguised).await, "deny");
    assert_eq!(
        world.pull_by(Some("1"), &sbom).await,
        "deny",
        "a tag is judged by itself"
    );
}

#[tokio::test]
async fn exemptions_end_and_concern_one_digest() {
    let world = World::new(REJECT).await;
    let (image, other) = (world.image("one"), world.image("two"));
    let until = "2027-02-01";
    world.reload(&format!(
        "  - {{name: r, repositories: ['prod/**'], require: a, on_unsigned_push: reject, \
         exempt: [{{digest: '{}', reason: base, until: {until}}}]}}\n",
        image.digest
    ));
    assert_eq!(world.push_by("1", &image).await, "admit");
    assert_eq!(world.pull_by(None, &image).await, "allow");
    assert_eq!(world.push_by("1", &other).await, "reject: a");
    world.clock.advance(Duration::from_secs(60 * 24 * 3600));
    world.admission.changed(&repository());
    assert_eq!(world.push_by("1", &image).await, "reject: a");
    assert_eq!(world.pull_by(None, &image).await, "deny");
}

#[tokio::test]
async fn what_was_there_before_passes_only_if_the_inventory_has_it() {
    let rules = "  - {name: r, repositories: ['prod/**'], require: a, on_unsigned_push: reject, existing: allow}\n";
    let world = World::new(rules).await;
    let (old, new) = (world.image("old"), world.image("new"));
    let digests = [old.digest.clone()];
    let name = repository();
    let added = world.store.add_to_inventory(&name, &digests);
    added.await.unwrap();
    assert_eq!(world.pull_by(Some("1"), &old).await, "allow");
    assert_eq!(world.pull_by(Some("1"), &new).await, "deny");
}

#[tokio::test]
async fn a_new_policy_decides_at_once() {
    let world = World::new(REJECT).await;
    let image = world.image("one");
    world.sign(0, &image).await;
    assert_eq!(world.pull_by(None, &image).await, "allow");
    world.reload(&REJECT.replace("require: a", "require: b"));
    assert_eq!(world.pull_by(None, &image).await, "deny");
    assert_eq!(world.push_by("1", &image).await, "reject: b");
}

#[tokio::test]
async fn a_deleted_signature_counts_no_more() {
    let world = World::new(REJECT).await;
    let image = world.image("one");
    let signature = world.sign(0, &image).await;
    assert_eq!(world.pull_by(None, &image).await, "allow");
    let name = repository();
    let deleted = world.store.delete_manifest(&name, &signature);
    deleted.await.unwrap();
    world.admission.changed(&repository());
    assert_eq!(world.pull_by(None, &image).await, "deny");
    assert_eq!(
        world.pull_from(&world.another(), None, &image).await,
        "deny"
    );
}

#[tokio::test]
async fn another_process_believes_the_sealed_row_and_no_other() {
    let world = World::new(REJECT).await;
    let (image, unsigned) = (world.image("one"), world.image("two"));
    world.sign(0, &image).await;
    world
        .attach(&world.signers[1], &unsigned.digest, &unsigned.digest)
        .await;
    assert_eq!(world.pull_by(None, &image).await, "allow");
    assert_eq!(world.pull_by(None, &unsigned).await, "deny");
    let row = |subject: Digest| {
        let index = Arc::clone(&world.index);
        async move { index.verdicts(&repository(), &subject).await.unwrap() }
    };
    let good = row(image.digest.clone()).await.unwrap();
    assert!(row(unsigned.digest.clone()).await.is_some());

    for (forged, why) in [
        (good.clone(), "the row of another image"),
        (
            Bytes::from_static(b"{\"by\":[\"a\"]}"),
            "a row that is not sealed",
        ),
        (Bytes::new(), "nothing"),
    ] {
        let name = repository();
        let put = world.index.put_verdicts(&name, &unsigned.digest, forged);
        put.await.unwrap();
        let got = world.pull_from(&world.another(), None, &unsigned).await;
        assert_eq!(got, "deny", "{why}");
    }
    assert_eq!(
        world.pull_from(&world.another(), None, &image).await,
        "allow"
    );
}

#[tokio::test]
async fn what_cannot_be_decided_is_refused_where_a_signature_is_required() {
    let world = World::new(REJECT).await;
    let image = world.image("one");
    let referrer = world.referrer(&image, "application/vnd.oci.empty.v1+json");
    world.behind.is_down.store(true, Ordering::Relaxed);
    let got = world.pull_by(None, &referrer).await;
    assert!(got.starts_with("error"), "{got}");
    world.behind.is_down.store(false, Ordering::Relaxed);
    assert_eq!(
        world.pull_by(None, &referrer).await,
        "deny",
        "an error is not remembered"
    );
}

#[tokio::test]
async fn a_mark_lasts_until_its_image_is_signed() {
    let rules = "  - {name: r, repositories: ['prod/**'], require: a, on_unsigned_push: tag}\n";
    let world = World::new(rules).await;
    let image = world.image("one");
    assert_eq!(world.push_by("1", &image).await, "mark");
    let unsigned = Unsigned {
        rule: "r".to_owned(),
        requires: "a".to_owned(),
        digest: image.digest.clone(),
        missing: vec!["a".to_owned()],
        commands: Vec::new(),
        reasons: Vec::new(),
    };
    let (name, one) = (repository(), tag("1"));
    let mark = world.admission.mark(&name, &one, &unsigned, &image.digest);
    mark.await.unwrap();
    world.tagged(&image, "1").await;
    let markers = || world.admission.marker_tags(&name, &world.behind);
    assert_eq!(markers().await.unwrap(), [tag("unsigned-1")]);

    world.sign(1, &image).await;
    let signed = world.admission.signed(&name, &image.digest, &world.behind);
    signed.await.unwrap();
    assert_eq!(
        markers().await.unwrap(),
        [tag("unsigned-1")],
        "the wrong key"
    );
    world.sign(0, &image).await;
    let signed = world.admission.signed(&name, &image.digest, &world.behind);
    signed.await.unwrap();
    assert_eq!(world.store.mark(&name, &one).await.unwrap(), None);
    assert!(markers().await.unwrap().is_empty());
}

#[tokio::test]
async fn many_who_ask_at_once_cost_one_decision() {
    let world = World::new(REJECT).await;
    let image = world.image("one");
    let referrer = world.referrer(&image, "application/vnd.oci.empty.v1+json");
    world.sign(0, &image).await;
    let asks = (0..64).map(|_| world.pull_by(None, &referrer));
    let answers = futures_util::future::join_all(asks).await;
    assert!(
        answers.iter().all(|answer| answer == "allow"),
        "{answers:?}"
    );
    assert_eq!(world.behind.asked.load(Ordering::Relaxed), 1);
}
