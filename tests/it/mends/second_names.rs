//! Content by SHA-512, over registries that know it by SHA-256.

use serde_json::{Value, json};

use super::{described, image_of_second_names, opened, registries, sha512, upload, with_digest};
use crate::support::images::{ACCEPT, INDEX, LAYER, MANIFEST, random_hex};
use crate::support::{ALICE, Auth, Content, Registry, Regseal, Repository, Stage, Stores};

#[test]
fn a_blob_has_the_name_it_was_pushed_by() {
    for (kind, registry) in registries() {
        let regseal = Regseal::before(&registry);
        let repository = regseal.endpoint.repository(ALICE, "a");
        let blob = Content::random(LAYER);
        let name = sha512(&blob);
        let pushed = upload(&repository, &blob, &name).expect(201);
        assert_eq!(pushed.header("docker-content-digest"), name, "{kind}");
        assert!(
            pushed.header("location").ends_with(&name),
            "{kind}: {pushed:?}"
        );
        for method in ["GET", "HEAD"] {
            let path = repository.path(&format!("blobs/{name}"));
            let read = repository.http.request(method, &path, &[], "").expect(200);
            assert_eq!(read.header("docker-content-digest"), name, "{kind}");
            assert_eq!(read.header("content-length"), blob.bytes.len().to_string());
            if method == "GET" {
                assert_eq!(read.body, blob.bytes, "{kind}");
            }
        }
        let other = regseal.endpoint.repository(ALICE, "b");
        other.get_blob(&name).expect(404);
    }
}

#[test]
fn an_index_of_images_by_second_names_is_pushed_and_read() {
    for (kind, registry) in registries() {
        let mut regseal = Regseal::builder(&registry)
            .stores(Stores::Directory)
            .start();
        let repository = regseal.endpoint.repository(ALICE, "a");
        let image = image_of_second_names(&repository);
        let index = Content::manifest(&json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [described(&image)],
        }));
        for manifest in [&image, &index] {
            let name = sha512(manifest);
            let pushed = repository.put_manifest(&name, manifest).expect(201);
            assert_eq!(pushed.header("docker-content-digest"), name, "{kind}");
            assert!(pushed.header("location").ends_with(&name), "{kind}");
        }
        repository.put_manifest("latest", &index).expect(201);
        let is_read = |repository: &Repository| {
            for manifest in [&image, &index] {
                let name = sha512(manifest);
                let read = repository.get_manifest(&name).expect(200);
                assert_eq!(read.body, manifest.bytes, "{kind}");
                assert_eq!(read.header("docker-content-digest"), name, "{kind}");
                assert_eq!(read.header("content-type"), manifest.media_type, "{kind}");
                let path = repository.path(&format!("manifests/{name}"));
                let head = repository
                    .http
                    .request("HEAD", &path, &[ACCEPT], "")
                    .expect(200);
                assert_eq!(head.header("docker-content-digest"), name, "{kind}");
                let length = manifest.bytes.len().to_string();
                assert_eq!(head.header("content-length"), length, "{kind}");
            }
        };
        is_read(&repository);
        regseal.terminate();
        regseal.lose_index();
        regseal.start_again();
        is_read(&repository);
    }
}

#[test]
fn conditions_are_about_the_name_that_is_asked_for() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("a");
    let image = image_of_second_names(&repository);
    let name = sha512(&image);
    repository.put_manifest(&name, &image).expect(201);
    let etag = repository
        .get_manifest(&name)
        .expect(200)
        .header("etag")
        .to_owned();
    assert_eq!(etag, format!("\"{name}\""));
    let path = repository.path(&format!("manifests/{name}"));
    let headers = [ACCEPT, ("If-None-Match", etag.as_str())];
    repository
        .http
        .request("GET", &path, &headers, "")
        .expect(304);
}

#[test]
fn content_goes_with_both_its_names() {
    // olareg keeps what it got under the names it got.
    for (_, registry) in &registries()[..2] {
        let regseal = Regseal::before(registry);
        for by_second in [true, false] {
            let repository = regseal.endpoint.repository(ALICE, "a");
            let elsewhere = regseal.endpoint.repository(ALICE, "b");
            let image = image_of_second_names(&repository);
            let blob = Content::random(LAYER);
            upload(&repository, &blob, &sha512(&blob)).expect(201);
            repository.put_manifest(&sha512(&image), &image).expect(201);
            upload(&elsewhere, &blob, &sha512(&blob)).expect(201);
            let names = [sha512(&image), image.digest()];
            let name = if by_second { &names[0] } else { &names[1] };
            repository.delete_manifest(name).expect(202);
            for name in &names {
                repository.get_manifest(name).expect(404);
                repository.get_blob(name).expect(404);
            }
            let names = [sha512(&blob), blob.digest()];
            let name = if by_second { &names[0] } else { &names[1] };
            repository
                .http
                .delete(&repository.path(&format!("blobs/{name}")))
                .expect(202);
            for name in &names {
                repository.get_blob(name).expect(404);
            }
            elsewhere.get_blob(&names[0]).expect(200);
        }
    }
}

/// The registry finds the bytes of a manifest among its blobs as well.
#[test]
fn a_manifest_keeps_its_names_when_it_is_deleted_as_a_blob() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("a");
    let image = image_of_second_names(&repository);
    let index = Content::manifest(&json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [described(&image)],
    }));
    for manifest in [&image, &index] {
        let name = sha512(manifest);
        repository.put_manifest(&name, manifest).expect(201);
    }
    let path = repository.path(&format!("blobs/{}", sha512(&image)));
    repository.http.delete(&path);
    let by_first = repository.get_manifest(&image.digest()).status;
    assert_eq!(repository.get_manifest(&sha512(&image)).status, by_first);
}

#[test]
fn a_name_holds_in_its_repository_alone() {
    let stage = Stage::with(Auth::None);
    let (here, there) = (stage.repository("a"), stage.repository("b"));
    let image = here.push_image("v1");
    here.put_manifest(&sha512(&image), &image).expect(201);
    for blob in [&image.json()["config"], &image.json()["layers"][0]] {
        let digest = blob["digest"].as_str().unwrap();
        let mount = there.path(&format!("blobs/uploads/?mount={digest}&from=a"));
        there.http.request("POST", &mount, &[], "").expect(201);
    }
    there.put_manifest("v1", &image).expect(201);
    here.get_manifest(&sha512(&image)).expect(200);
    there.get_manifest(&image.digest()).expect(200);
    there.get_manifest(&sha512(&image)).expect(404);
    there.delete_manifest(&sha512(&image)).expect(404);
    there.get_manifest(&image.digest()).expect(200);
}

#[test]
fn a_record_that_is_wrong_is_not_believed() {
    let registry = Registry::with(Auth::None);
    let regseal = Regseal::builder(&registry)
        .stores(Stores::Directory)
        .start();
    let repository = regseal.endpoint.repository(ALICE, "a");
    let (image, other) = (repository.push_image("v1"), repository.push_image("v2"));
    repository.put_manifest(&sha512(&image), &image).expect(201);
    let record = regseal.objects().join(format!(
        "v1/repos/a/_aliases/{}",
        sha512(&image).replace(':', "-")
    ));
    let written = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, written.replace(&image.digest(), &other.digest())).unwrap();
    let read = repository.get_manifest(&sha512(&image));
    assert_eq!(read.status, 502, "{read:?}");
}

#[test]
fn a_push_by_a_name_of_other_bytes_is_refused() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("a");
    let (image, other) = (repository.image(), repository.image());
    repository
        .put_manifest(&sha512(&other), &image)
        .refused(400, "DIGEST_INVALID");
    for name in [sha512(&image), sha512(&other), image.digest()] {
        repository.get_manifest(&name).expect(404);
    }
    let blob = Content::random(LAYER);
    upload(&repository, &blob, &sha512(&image)).refused(400, "DIGEST_INVALID");
    repository.get_blob(&sha512(&blob)).expect(404);
}

#[test]
fn a_mounted_second_name_is_one_that_can_be_read() {
    for (kind, registry) in registries() {
        let regseal = Regseal::before(&registry);
        let (source, target) = (
            regseal.endpoint.repository(ALICE, "a"),
            regseal.endpoint.repository(ALICE, "b"),
        );
        let image = image_of_second_names(&source);
        for blob in blobs(&image) {
            let mount = target.path(&format!("blobs/uploads/?mount={blob}&from=a"));
            let mounted = target.http.request("POST", &mount, &[], "").expect(201);
            assert_eq!(mounted.header("docker-content-digest"), blob, "{kind}");
            target.get_blob(&blob).expect(200);
        }
        // A registry that looks for what a manifest names finds it by that name.
        target.put_manifest("v1", &image).expect(201);
    }
}

#[test]
fn a_second_name_that_cannot_be_mounted_becomes_an_upload() {
    let stage = Stage::with(Auth::None);
    let (source, target) = (stage.repository("a"), stage.repository("b"));
    let blob = Content::random(LAYER);
    // In pieces: nobody has seen all the bytes at once.
    let location = opened(&source);
    let (head, tail) = (blob.bytes.slice(..10), blob.bytes.slice(10..));
    let chunk = source
        .http
        .request("PATCH", &location, &[super::OCTETS], head)
        .expect(202);
    let last = with_digest(chunk.header("location"), &sha512(&blob));
    let pushed = source
        .http
        .request("PUT", &last, &[super::OCTETS], tail)
        .expect(201);
    assert_eq!(pushed.header("docker-content-digest"), sha512(&blob));
    source.get_blob(&sha512(&blob)).expect(200);
    let mount = target.path(&format!("blobs/uploads/?mount={}&from=a", sha512(&blob)));
    let session = target.http.request("POST", &mount, &[], "").expect(202);
    let last = with_digest(session.header("location"), &sha512(&blob));
    target
        .http
        .request("PUT", &last, &[], blob.bytes.clone())
        .expect(201);
    target.get_blob(&sha512(&blob)).expect(200);
}

#[test]
fn a_referrer_by_a_second_name_is_listed_and_read() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("a");
    let image = repository.push_image("v1");
    let sbom = repository.artifact(crate::support::images::SBOM, Some(&image));
    let pushed = repository.put_manifest(&sha512(&sbom), &sbom).expect(201);
    assert_eq!(pushed.header("oci-subject"), image.digest());
    let listed: Vec<Value> = repository.referrers(&image);
    assert_eq!(listed[0]["digest"], sha512(&sbom));
    repository.get_manifest(&sha512(&sbom)).expect(200);
    repository.delete_manifest(&sha512(&sbom)).expect(202);
    assert_eq!(repository.referrers(&image), Vec::<Value>::new());
    repository.get_manifest(&sha512(&sbom)).expect(404);
}

fn blobs(image: &Content) -> Vec<String> {
    let image = image.json();
    let digest = |blob: &Value| blob["digest"].as_str().unwrap().to_owned();
    vec![digest(&image["config"]), digest(&image["layers"][0])]
}

#[test]
fn an_unknown_algorithm_is_left_to_the_registry() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("a");
    let image = Content::manifest(&json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": [], "annotations": {"salt": random_hex(4)},
    }));
    let pushed = repository.put_manifest(&format!("blake9:{}", "a".repeat(64)), &image);
    assert!(pushed.status >= 400, "{pushed:?}");
}
