//! Deletion of a tag, over registries that delete by digest only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::registries;
use crate::support::gate::{Gated, Verdict};
use crate::support::{ALICE, Auth, BOB, CAROL, Policed, Registry, Regseal, Repository, Stage};

fn delete(repository: &Repository, tag: &str) -> crate::support::Reply {
    repository
        .http
        .delete(&repository.path(&format!("manifests/{tag}")))
}

#[test]
fn a_tag_goes_and_the_image_stays() {
    for (kind, registry) in registries() {
        let regseal = Regseal::before(&registry);
        let repository = regseal.endpoint.repository(ALICE, "a");
        let image = repository.push_image("v1");
        repository.put_manifest("latest", &image).expect(201);
        let reply = delete(&repository, "latest");
        assert_eq!(reply.status, 202, "{kind}: {reply:?}");
        repository.get_manifest("latest").expect(404);
        assert_eq!(repository.tags(), ["v1"], "{kind}");
        for reference in ["v1", &image.digest()] {
            let read = repository.get_manifest(reference).expect(200);
            assert_eq!(read.body, image.bytes, "{kind}");
        }
        let reply = delete(&repository, "latest");
        assert_eq!(reply.status, 404, "{kind}: {reply:?}");
        delete(&repository, "v1").expect(202);
        repository.get_manifest(&image.digest()).expect(200);
    }
}

#[test]
fn who_may_not_delete_or_push_does_not() {
    let stage = Stage::with(Auth::Token);
    let image = stage.repository("carol/a").push_image("v1");
    for (user, why) in [(BOB, "may only pull"), (CAROL, "may push and not delete")] {
        let repository = stage.regseal.endpoint.repository(user, "carol/a");
        let reply = delete(&repository, "v1");
        assert_eq!(reply.status, 401, "{why}: {reply:?}");
        let read = stage.behind("carol/a").get_manifest("v1").expect(200);
        assert_eq!(read.body, image.bytes, "{why}");
    }
}

/// What a registry may refuse on the way, and whether the tag stays as it was.
#[test]
fn a_deletion_that_is_not_completed_leaves_the_tag_where_it_was() {
    for (refused, status, why) in [
        ("DELETE 0", 405, "deletion is off"),
        ("DELETE 0", 403, "the caller may not delete"),
        ("PUT 0", 403, "the tag is frozen"),
        ("DELETE 1", 500, "the registry fails in the middle"),
        ("DELETE 1", 403, "the registry has changed its mind"),
    ] {
        let stage = Gated::before(Registry::with(Auth::None));
        let repository = stage.repository("a");
        let image = repository.push_image("v1");
        let counted = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let (method, number) = refused.split_once(' ').unwrap();
        let number: usize = number.parse().unwrap();
        let method = method.to_owned();
        stage.gate.rule(move |asked| {
            let at = match (asked.method.as_str(), asked.path.contains("sha256:")) {
                ("DELETE", true) => 0,
                ("PUT", _) => 1,
                _ => return Verdict::Pass,
            };
            let count = counted[at].fetch_add(1, Ordering::SeqCst);
            if asked.method == method.as_str() && count == number {
                return Verdict::refuse(status, "UNSUPPORTED", asked);
            }
            Verdict::Pass
        });
        let reply = delete(&repository, "v1");
        assert_eq!(reply.status, 400, "{why}: {reply:?}");
        let read = stage.behind("a").get_manifest("v1").expect(200);
        assert_eq!(read.body, image.bytes, "{why}");
        assert_eq!(stage.behind("a").tags(), ["v1"], "{why}");
    }
}

#[test]
fn it_can_be_switched_off() {
    let registry = Registry::with(Auth::None);
    let regseal = Regseal::builder(&registry)
        .config("upstream: {mend_tag_delete: false}\n")
        .start();
    let repository = regseal.endpoint.repository(ALICE, "a");
    repository.push_image("v1");
    delete(&repository, "v1").expect(400);
    repository.get_manifest("v1").expect(200);
}

#[test]
fn a_tag_where_nothing_unsigned_may_be_put_stays() {
    let rules = "  - {name: prod, repositories: [\"prod\"], tags: [\"v*\"], require: build, on_unsigned_push: reject}\n";
    let stage = Policed::with(Auth::Basic, rules);
    let repository = stage.repository("prod");
    let image = repository.image();
    repository.push_manifest(&image);
    stage.desk.cosign_signs(&stage.reference("prod", &image));
    repository.put_manifest("v1", &image).expect(201);
    repository.put_manifest("free", &image).expect(201);
    delete(&repository, "v1").expect(400);
    assert_eq!(
        stage.behind("prod").get_manifest("v1").expect(200).body,
        image.bytes
    );
    delete(&repository, "free").expect(202);
    assert_eq!(stage.behind("prod").tags(), ["v1"]);
}

#[test]
fn the_mark_of_a_tag_goes_with_it() {
    let rules =
        "  - {name: prod, repositories: [\"prod\"], require: build, on_unsigned_push: tag}\n";
    let stage = Policed::with(Auth::None, rules);
    let repository = stage.repository("prod");
    repository.push_image("v1");
    assert_eq!(repository.tags(), ["unsigned-v1", "v1"]);
    delete(&repository, "v1").expect(202);
    assert_eq!(repository.tags(), Vec::<String>::new());
    repository.get_manifest("unsigned-v1").expect(404);
}
