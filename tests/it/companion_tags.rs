//! Tags that are named after a digest: the fallback for the Referrers API and the tags of cosign, from before regseal too.

use serde_json::{Value, json};

use crate::support::images::{
    self, COSIGN_LAYER, INDEX, MANIFEST, NOTATION, digests, index_of, random_hex,
};
use crate::support::raw::Connection;
use crate::support::{ALICE, Auth, BOB, Content, Registry, Regseal, Repository, Stage};

const APP: &str = "team/app";

/// The digests of the layers that a cosign tag shows, sorted.
#[track_caller]
fn layers(repository: &Repository, tag: &str) -> Vec<String> {
    let served = repository.get_manifest(tag).expect(200).json();
    digests(served["layers"].as_array().unwrap())
}

#[track_caller]
fn layers_of(versions: &[&Content]) -> Vec<String> {
    let layers = versions
        .iter()
        .map(|version| version.json()["layers"].as_array().unwrap().clone());
    let mut all = digests(&layers.collect::<Vec<_>>().concat());
    all.dedup();
    all
}

/// The index of a fallback tag outlives its entries in a registry that deletes by digest only.
#[test]
fn a_referrer_from_before_stays_deleted() {
    for listed_before in [true, false] {
        let registry = Registry::with(Auth::None);
        let behind = registry.endpoint.repository(ALICE, APP);
        let image = behind.push_image("v1");
        let tag = image.companion_tag("");
        let old = behind.attach(NOTATION, &image);
        behind.put_manifest(&tag, &index_of([&old])).expect(201);

        let mut regseal = Regseal::before(&registry);
        let repository = regseal.endpoint.repository(ALICE, APP);
        if listed_before {
            assert_eq!(repository.referrers(&image), [old.as_referrer()]);
        }
        repository.delete_manifest(&old.digest()).expect(202);
        assert_eq!(repository.referrers(&image), Vec::<Value>::new());
        repository
            .get_manifest(&tag)
            .refused(404, "MANIFEST_UNKNOWN");

        let new = repository.attach(NOTATION, &image);
        for restarted in [false, true] {
            let why = format!("listed before: {listed_before}, restarted: {restarted}");
            assert_eq!(repository.referrers(&image), [new.as_referrer()], "{why}");
            let read = repository.get_manifest(&tag).expect(200).json();
            assert_eq!(read["manifests"], json!([new.as_referrer()]), "{why}");
            repository.get_manifest(&old.digest()).expect(404);
            if !restarted {
                regseal.terminate();
                regseal.start_again();
                repository.get_manifest(&tag).expect(200);
            }
        }
    }
}

#[test]
fn a_deleted_cosign_tag_does_not_come_back_from_the_registry() {
    for read_before in [true, false] {
        let mut stage = Stage::with(Auth::None);
        let (repository, behind) = (stage.repository(APP), stage.behind(APP));
        let image = behind.push_image("v1");
        let tag = image.companion_tag(".sig");
        let old = cosign_signature(&behind, &[]);
        behind.put_manifest(&tag, &old).expect(201);
        if read_before {
            assert_eq!(layers(&repository, &tag), layers_of(&[&old]));
        }
        let new = cosign_signature(&repository, &[]);
        repository.put_manifest(&tag, &new).expect(201);
        repository.delete_manifest(&tag).expect(202);
        for _ in ["at once", "again"] {
            repository
                .get_manifest(&tag)
                .refused(404, "MANIFEST_UNKNOWN");
        }
        stage.regseal.terminate();
        stage.regseal.start_again();
        repository
            .get_manifest(&tag)
            .refused(404, "MANIFEST_UNKNOWN");

        let newest = cosign_signature(&repository, &[]);
        repository.put_manifest(&tag, &newest).expect(201);
        assert_eq!(layers(&repository, &tag), layers_of(&[&newest]));
    }
}

/// A name is no proof of a content: an image under such a tag stays an image.
#[test]
fn an_image_under_a_cosign_tag_is_served_as_it_was_pushed_last() {
    let stage = Stage::with(Auth::None);
    let (repository, behind) = (stage.repository(APP), stage.behind(APP));
    let through_regseal = repository.push_image("v1").companion_tag(".sig");
    let from_before = behind.push_image("v2").companion_tag(".sig");
    let mut pushed = behind.push_image(&from_before);
    assert_eq!(
        repository.get_manifest(&from_before).expect(200).body,
        pushed.bytes
    );
    for tag in [&through_regseal, &from_before] {
        for version in ["first", "second"] {
            pushed = repository.push_image(tag);
            for _ in ["at once", "again"] {
                let read = repository.get_manifest(tag).expect(200);
                assert_eq!(read.body, pushed.bytes, "{version} at {tag}");
                assert_eq!(read.header("docker-content-digest"), pushed.digest());
            }
        }
    }
}

#[test]
fn a_superseded_version_is_deleted_without_the_tag() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(APP);
    let tag = repository.push_image("v1").companion_tag(".sig");
    let first = cosign_signature(&repository, &[]);
    repository.put_manifest(&tag, &first).expect(201);
    // As cosign does: all layers of the version before, and one more.
    let second = cosign_signature(&repository, first.json()["layers"].as_array().unwrap());
    repository.put_manifest(&tag, &second).expect(201);
    assert_eq!(repository.get_manifest(&tag).expect(200).body, second.bytes);

    repository.delete_manifest(&first.digest()).expect(202);
    assert_eq!(layers(&repository, &tag), layers_of(&[&second]));
    repository.get_manifest(&second.digest()).expect(200);
}

/// Clients resolve a tag and delete the digest they were told.
#[test]
fn deleting_what_a_cosign_tag_shows_deletes_the_tag() {
    let mut stage = Stage::with(Auth::None);
    let repository = stage.repository(APP);
    let tag = repository.push_image("v1").companion_tag(".sig");
    for _ in ["first", "second"] {
        let version = cosign_signature(&repository, &[]);
        repository.put_manifest(&tag, &version).expect(201);
    }
    let union = repository.get_manifest(&tag).expect(200);
    repository
        .delete_manifest(union.header("docker-content-digest"))
        .expect(202);
    repository
        .get_manifest(&tag)
        .refused(404, "MANIFEST_UNKNOWN");
    stage.regseal.terminate();
    stage.regseal.start_again();
    repository
        .get_manifest(&tag)
        .refused(404, "MANIFEST_UNKNOWN");

    let newest = cosign_signature(&repository, &[]);
    repository.put_manifest(&tag, &newest).expect(201);
    assert_eq!(layers(&repository, &tag), layers_of(&[&newest]));
}

/// An SBOM replaces the one before; two of them in one manifest would be none.
#[test]
fn an_sbom_tag_shows_the_last_one() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(APP);
    let tag = repository.push_image("v1").companion_tag(".sbom");
    for version in ["first", "second"] {
        let sbom = cosign_signature(&repository, &[]);
        repository.put_manifest(&tag, &sbom).expect(201);
        let read = repository.get_manifest(&tag).expect(200);
        assert_eq!(read.body, sbom.bytes, "{version}");
        assert_eq!(read.header("docker-content-digest"), sbom.digest());
    }
}

/// Without a tag the registry behind lists nothing of the repository, and who may only pull proves it in another way.
#[test]
fn a_signature_of_an_untagged_image_is_read_by_whom_may_pull() {
    let stage = Stage::with(Auth::Token);
    let repository = stage.repository(APP);
    let image = repository.image();
    repository.push_manifest(&image);
    let signature = repository.attach(NOTATION, &image);
    let layer = signature.json()["layers"][0]["digest"].clone();
    assert_eq!(stage.behind(APP).tags(), Vec::<String>::new());

    let bob = stage.regseal.endpoint.repository(BOB, APP);
    let read = bob.get_manifest(&signature.digest()).expect(200);
    assert_eq!(read.body, signature.bytes);
    bob.get_blob(layer.as_str().unwrap()).expect(200);
}

/// docker-registry announces the whole blob here, and sends one line.
#[test]
fn a_range_beyond_a_blob_has_a_whole_answer() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(APP);
    let blob = Content::random("application/octet-stream");
    repository.push_blob(&blob);
    let authority = &stage.regseal.endpoint.authority;
    let path = repository.path(&format!("blobs/{}", blob.digest()));
    let size = blob.bytes.len();
    let mut connection = Connection::to(authority);
    for _ in ["first", "second"] {
        connection.send(format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nRange: bytes={}-\r\n\r\n",
            size + 10
        ));
        let reply = connection.receive().expect(416);
        assert_eq!(reply.header("content-range"), format!("bytes */{size}"));
    }
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
    assert_eq!(connection.receive().expect(200).body, blob.bytes);
}

#[test]
fn the_fallback_tag_reads_as_the_api_and_is_never_a_second_truth() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let image = repository.push_image("v1");
    let tag = image.companion_tag("");
    repository
        .get_manifest(&tag)
        .refused(404, "MANIFEST_UNKNOWN");

    let first = repository.attach(NOTATION, &image);
    // A client that tells its own story about the first, and knows nothing of the second.
    let mut wrong = first.as_referrer();
    wrong["artifactType"] = json!("application/wrong");
    wrong["annotations"] = json!({"told": "by the client"});
    let second = repository.attach(NOTATION, &image);
    let index =
        Content::manifest(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [wrong]}));
    repository.put_manifest(&tag, &index).expect(201);

    let expected = [first.as_referrer(), second.as_referrer()];
    assert_eq!(repository.referrers(&image), expected);
    let read = repository.get_manifest(&tag).expect(200);
    assert_eq!(read.header("content-type"), INDEX);
    assert_eq!(read.json()["manifests"], json!(expected));
    assert_eq!(
        read.header("docker-content-digest"),
        images::sha256(&read.body)
    );

    // What oras-go does next: it removes the index it believes to have replaced.
    repository
        .delete_manifest(read.header("docker-content-digest"))
        .expect(202);
    repository.delete_manifest(&index.digest()).expect(202);
    assert_eq!(repository.referrers(&image), expected);
    assert_eq!(repository.tags(), ["v1"]);
    assert_eq!(stage.behind("team/app").tags(), ["v1"]);
}

#[test]
fn a_fallback_tag_lists_only_referrers_of_its_subject() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let [image, other] = ["v1", "v2"].map(|tag| repository.push_image(tag));
    let foreign = repository.attach(NOTATION, &other);
    let index = index_of([&image, &foreign]);
    let status = repository
        .put_manifest(&image.companion_tag(""), &index)
        .status;
    assert!([201, 400].contains(&status), "{status}");
    assert_eq!(repository.referrers(&image), Vec::<Value>::new());
    assert_eq!(repository.referrers(&other), [foreign.as_referrer()]);
}

#[test]
fn versions_of_a_cosign_tag_are_united() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let image = repository.push_image("v1");
    let tag = image.companion_tag(".sig");
    repository
        .get_manifest(&tag)
        .refused(404, "MANIFEST_UNKNOWN");

    // Both clients have read the tag before either wrote it.
    let versions = ["first", "second"].map(|_| cosign_signature(&repository, &[]));
    for version in &versions {
        let reply = repository.put_manifest(&tag, version).expect(201);
        assert_eq!(reply.header("docker-content-digest"), version.digest());
        assert_eq!(reply.header("oci-subject"), "", "there is no subject in it");
    }
    let united = repository.get_manifest(&tag).expect(200);
    let layers: Vec<Value> = versions
        .iter()
        .map(|version| version.json()["layers"][0].clone())
        .collect();
    assert_eq!(united.json()["layers"], json!(layers));
    assert_eq!(
        united.header("docker-content-digest"),
        images::sha256(&united.body)
    );
    for version in &versions {
        assert_eq!(
            repository.get_manifest(&version.digest()).expect(200).body,
            version.bytes
        );
    }
    let by_digest = repository
        .get_manifest(united.header("docker-content-digest"))
        .expect(200);
    assert_eq!(
        by_digest.body, united.body,
        "the union can be read by its digest"
    );
    for descriptor in layers.iter().chain([&united.json()["config"]]) {
        repository
            .get_blob(descriptor["digest"].as_str().unwrap())
            .expect(200);
    }

    // A client that appends to the union, as cosign does.
    let third = cosign_signature(&repository, &layers);
    repository.put_manifest(&tag, &third).expect(201);
    let united = repository.get_manifest(&tag).expect(200);
    assert_eq!(
        united.json()["layers"].as_array().unwrap().len(),
        3,
        "what is in both is there once"
    );
    assert_eq!(
        repository.referrers(&image),
        Vec::<Value>::new(),
        "not a referrer: it has no subject"
    );
    assert_eq!(repository.tags(), ["v1"]);
    assert_eq!(stage.behind("team/app").tags(), ["v1"]);
}

/// The manifest of a `.sig` tag: these layers, and one more, whose blobs are pushed.
pub(crate) fn cosign_signature(repository: &Repository, layers: &[Value]) -> Content {
    let config = Content::new(
        images::CONFIG,
        json!({"rootfs": {"type": "layers", "diff_ids": []}}).to_string(),
    );
    let layer = Content::random(COSIGN_LAYER);
    repository.push_blob(&config);
    repository.push_blob(&layer);
    let mut descriptor = layer.descriptor();
    descriptor["annotations"] = json!({"dev.cosignproject.cosign/signature": random_hex(16)});
    let mut all = layers.to_vec();
    all.push(descriptor);
    Content::manifest(
        &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(), "layers": all}),
    )
}
