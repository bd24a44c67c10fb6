//! Mounts: without a source, from where one may not read, and of what only regseal has.

use super::{opened, upload};
use crate::support::images::{LAYER, NOTATION};
use crate::support::{Auth, BOB, CAROL, Content, Http, Reply, Repository, Stage};

fn mount(repository: &Repository, blob: &Content, from: Option<&str>) -> Reply {
    let from = from.map(|from| format!("&from={from}")).unwrap_or_default();
    let path = repository.path(&format!("blobs/uploads/?mount={}{from}", blob.digest()));
    repository.http.request("POST", &path, &[], "")
}

#[test]
fn a_mount_without_a_source_finds_what_the_caller_has_seen() {
    let stage = Stage::with(Auth::Basic);
    let repository = |name: &str| stage.repository(name);
    let (pushed, pulled) = (Content::random(LAYER), Content::random(LAYER));
    upload(&repository("a"), &pushed, &pushed.digest()).expect(201);
    upload(&stage.behind("a"), &pulled, &pulled.digest()).expect(201);
    mount(&repository("b"), &pulled, None).expect(202);
    repository("a").get_blob(&pulled.digest()).expect(200);
    for blob in [&pushed, &pulled] {
        let mounted = mount(&repository("b"), blob, None).expect(201);
        assert_eq!(mounted.header("docker-content-digest"), blob.digest());
        let read = repository("b")
            .http
            .get(mounted.header("location"))
            .expect(200);
        assert_eq!(read.body, blob.bytes);
    }
    // What is gone where it was seen is uploaded.
    let path = repository("a").path(&format!("blobs/{}", pushed.digest()));
    stage.behind("a").http.delete(&path).expect(202);
    let path = repository("b").path(&format!("blobs/{}", pushed.digest()));
    stage.behind("b").http.delete(&path).expect(202);
    mount(&repository("c"), &pushed, None).expect(202);
}

#[test]
fn what_another_caller_has_seen_is_no_source() {
    let stage = Stage::with(Auth::Basic);
    let blob = Content::random(LAYER);
    upload(&stage.repository("a"), &blob, &blob.digest()).expect(201);
    let bob = stage.regseal.endpoint.repository(BOB, "b");
    let session = mount(&bob, &blob, None).expect(202);
    assert_eq!(session.header("docker-content-digest"), "");
    assert!(session.header("location").contains("/v2/b/blobs/uploads/"));
    mount(&stage.repository("b"), &blob, None).expect(201);
}

#[test]
fn a_source_that_may_not_be_read_is_an_upload() {
    let stage = Stage::with(Auth::Token);
    let blob = Content::random(LAYER);
    upload(&stage.repository("private/a"), &blob, &blob.digest()).expect(201);
    let carol = stage.regseal.endpoint.repository(CAROL, "carol/b");
    for (from, why) in [
        (Some("private/a"), "not hers"),
        (Some("absent"), "not there"),
        (Some("NO NAME"), "no repository"),
        (None, "any"),
    ] {
        let from = from.map(|from| from.replace(' ', "%20"));
        let session = mount(&carol, &blob, from.as_deref());
        assert_eq!(session.status, 202, "{why}: {session:?}");
    }
    carol.get_blob(&blob.digest()).expect(404);
    // Whoever shows nothing is told what to show.
    let nobody = Repository::new(Http::new(&stage.regseal.endpoint.authority), "carol/b");
    let challenge = mount(&nobody, &blob, Some("private/a")).expect(401);
    assert!(challenge.header("www-authenticate").contains("private/a"));
    // And whoever may not push is not helped by a mount.
    let bob = stage.regseal.endpoint.repository(BOB, "a");
    mount(&bob, &blob, Some("a")).expect(401);
}

#[test]
fn no_mount_of_what_is_no_digest() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("a");
    for query in ["mount=latest", "mount=sha256:bad&from=b", "mount="] {
        let path = repository.path(&format!("blobs/uploads/?{query}"));
        repository
            .http
            .request("POST", &path, &[], "")
            .refused(400, "DIGEST_INVALID");
    }
    opened(&repository);
}

#[test]
fn what_only_regseal_has_is_mounted_for_who_may_read_it() {
    let stage = Stage::with(Auth::Token);
    let source = stage.repository("private/a");
    let image = source.push_image("v1");
    let signature = source.attach(NOTATION, &image);
    let layer = signature.json()["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let bytes = source.get_blob(&layer).expect(200).body;
    let blob = Content::new("application/jose+json", bytes);
    let behind = source.path(&format!("blobs/{layer}"));
    stage.behind("private/a").http.delete(&behind).expect(202);

    let carol = stage.regseal.endpoint.repository(CAROL, "carol/b");
    mount(&carol, &blob, Some("private/a")).expect(202);
    carol.get_blob(&layer).expect(404);

    let target = stage.repository("carol/b");
    let mounted = mount(&target, &blob, Some("private/a")).expect(201);
    assert_eq!(mounted.header("docker-content-digest"), layer);
    assert_eq!(target.get_blob(&layer).expect(200).body, blob.bytes);
}
