//! `POST /v2/<name>/blobs/uploads/?digest=` with the blob, over registries that answer 202 to it.

use super::{OCTETS, registries, sha512};
use crate::support::gate::{Gated, Verdict};
use crate::support::images::{LAYER, NOTATION};
use crate::support::{ALICE, Auth, BOB, Content, Registry, Regseal, Reply, Repository, Stage};

fn post(repository: &Repository, blob: &Content, digest: &str) -> Reply {
    let path = repository.path(&format!("blobs/uploads/?digest={digest}"));
    repository
        .http
        .request("POST", &path, &[OCTETS], blob.bytes.clone())
}

#[test]
fn one_post_is_a_whole_upload() {
    for (kind, registry) in registries() {
        let regseal = Regseal::before(&registry);
        let repository = regseal.endpoint.repository(ALICE, "a");
        let empty = Content::new(LAYER, "");
        for blob in [Content::random(LAYER), empty] {
            for digest in [blob.digest(), sha512(&blob)] {
                let pushed = post(&repository, &blob, &digest).expect(201);
                assert_eq!(pushed.header("docker-content-digest"), digest, "{kind}");
                let read = repository.http.get(pushed.header("location")).expect(200);
                assert_eq!(read.body, blob.bytes, "{kind}");
            }
        }
    }
}

#[test]
fn what_has_another_digest_is_refused() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("a");
    let (blob, other) = (Content::random(LAYER), Content::random(LAYER));
    for digest in [other.digest(), sha512(&other), "sha256:bad".to_owned()] {
        post(&repository, &blob, &digest).refused(400, "DIGEST_INVALID");
    }
    repository.get_blob(&blob.digest()).expect(404);
    repository.get_blob(&other.digest()).expect(404);
}

#[test]
fn the_body_goes_to_the_registry_once_and_only_if_it_is_wanted() {
    let stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository("a");
    let blob = Content::random(LAYER);
    post(&repository, &blob, &blob.digest()).expect(201);
    let lengths: Vec<(String, String)> = stage
        .gate
        .seen()
        .iter()
        .filter(|asked| asked.path.contains("/uploads/"))
        .map(|asked| {
            (
                asked.method.to_string(),
                asked.header("content-length").to_owned(),
            )
        })
        .collect();
    assert_eq!(
        lengths,
        [("POST", "0"), ("PUT", "64")].map(|(a, b)| (a.to_owned(), b.to_owned()))
    );

    stage.gate.rule(|asked| match asked.method.as_str() {
        "PUT" => Verdict::refuse(500, "UNKNOWN", asked),
        _ => Verdict::Pass,
    });
    assert_eq!(post(&repository, &blob, &blob.digest()).status, 500);
    let seen = stage.gate.seen();
    assert_eq!(seen.iter().filter(|asked| asked.method == "PUT").count(), 1);

    stage
        .gate
        .rule(|asked| Verdict::refuse(403, "DENIED", asked));
    post(&repository, &blob, &blob.digest()).refused(403, "DENIED");
    assert!(stage.gate.seen().iter().all(|asked| asked.method == "POST"));
}

#[test]
fn who_may_not_push_is_told_so() {
    let stage = Stage::with(Auth::Token);
    let repository = stage.regseal.endpoint.repository(BOB, "a");
    let blob = Content::random(LAYER);
    let refused = post(&repository, &blob, &blob.digest()).expect(401);
    assert!(refused.header("www-authenticate").contains("repository:a:"));
    stage.behind("a").get_blob(&blob.digest()).expect(404);
}

#[test]
fn the_blobs_of_a_signature_may_come_so() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("a");
    let image = repository.push_image("v1");
    let config = Content::new(NOTATION, "{}");
    let layer = Content::random("application/jose+json");
    for blob in [&config, &layer] {
        post(&repository, blob, &blob.digest()).expect(201);
    }
    let signature = crate::support::images::artifact_of(NOTATION, Some(&image), &config, &layer);
    repository.push_manifest(&signature);
    assert_eq!(repository.referrers(&image).len(), 1);
}
