//! Manifests that a registry refuses although the specification allows them, and those that nobody should take.

use serde_json::{Value, json};

use crate::support::gate::{Gated, Verdict};
use crate::support::images::{INDEX, MANIFEST, SBOM, digests, random_hex};
use crate::support::raw::Connection;
use crate::support::{Auth, Content, Registry, Repository, Stage};

const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";

fn artifact(repository: &Repository, media_type: &str, subject: Option<&Content>) -> Content {
    let blob = Content::random(SBOM);
    repository.push_blob(&blob);
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "artifactType": SBOM,
        "blobs": [blob.descriptor()],
        "annotations": {"salt": random_hex(8)},
    });
    if let Some(subject) = subject {
        manifest["subject"] = subject.descriptor();
    }
    Content::manifest(&manifest)
}

#[test]
fn a_referrer_of_a_kind_that_the_registry_refuses_is_kept_here() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("a");
    let image = repository.push_image("v1");
    let mut expected = Vec::new();
    for media_type in [ARTIFACT, "application/vnd.example.unheard.of+json"] {
        let referrer = artifact(&repository, media_type, Some(&image));
        let pushed = repository.push_manifest(&referrer);
        assert_eq!(pushed.header("oci-subject"), image.digest(), "{media_type}");
        let path = repository.path(&format!("manifests/{}", referrer.digest()));
        let read = repository.http.get(&path).expect(200);
        assert_eq!(read.header("content-type"), media_type);
        assert_eq!(read.body, referrer.bytes);
        stage
            .behind("a")
            .get_manifest(&referrer.digest())
            .expect(404);
        expected.push(referrer.digest());
    }
    expected.sort();
    assert_eq!(digests(&repository.referrers(&image)), expected);
}

#[test]
fn a_referrer_of_an_absent_subject_is_kept_here_where_the_registry_refuses_it() {
    let stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository("a");
    repository.push_image("v1");
    let absent = Content::manifest(
        &json!({"schemaVersion": 2, "mediaType": MANIFEST, "salt": random_hex(8)}),
    );
    stage.gate.rule(|asked| match asked.method.as_str() {
        "PUT" if asked.path.contains("/manifests/") => {
            Verdict::refuse(404, "MANIFEST_BLOB_UNKNOWN", asked)
        }
        _ => Verdict::Pass,
    });
    let referrer = repository.artifact(SBOM, Some(&absent));
    let pushed = repository.push_manifest(&referrer);
    assert_eq!(pushed.header("oci-subject"), absent.digest());
    assert_eq!(digests(&repository.referrers(&absent)), [referrer.digest()]);
    // One of whose blobs nobody has is refused as the registry refuses it.
    let mut lacking: Value = referrer.json();
    lacking["layers"][0]["digest"] = json!(Content::random(SBOM).digest());
    let lacking = Content::manifest(&lacking);
    repository
        .put_manifest(&lacking.digest(), &lacking)
        .refused(404, "MANIFEST_BLOB_UNKNOWN");
}

#[test]
fn without_a_subject_the_word_of_the_registry_stands() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("a");
    let artifact = artifact(&repository, ARTIFACT, None);
    repository
        .put_manifest(&artifact.digest(), &artifact)
        .refused(400, "MANIFEST_INVALID");
    let absent = repository.image();
    let index = Content::manifest(&json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [absent.descriptor()],
    }));
    repository
        .put_manifest("v1", &index)
        .refused(400, "MANIFEST_BLOB_UNKNOWN");
    repository.get_manifest(&index.digest()).expect(404);
}

#[test]
fn a_manifest_over_the_limit_is_refused_before_it_is_read() {
    let stage = Stage::with(Auth::None);
    let authority = &stage.regseal.endpoint.authority;
    let limit = 4 * 1024 * 1024;
    let mut connection = Connection::to(authority);
    connection.send(format!(
        "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {MANIFEST}\r\nContent-Length: {}\r\n\r\n{{",
        limit + 1
    ));
    connection.receive().refused(413, "SIZE_INVALID");

    // One that does not say how long it is.
    let mut connection = Connection::to(authority);
    connection.send(format!(
        "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {MANIFEST}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    connection.send(format!("{:x}\r\n{}\r\n", limit + 1, " ".repeat(limit + 1)));
    connection.receive().refused(413, "SIZE_INVALID");
    assert_eq!(stage.repository("a").tags(), Vec::<String>::new());
}

#[test]
fn the_type_of_a_manifest_is_said_in_one_way() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("a");
    let image = repository.image();
    let put = |content_type: &str| {
        let path = repository.path("manifests/v1");
        let headers = [("Content-Type", content_type)];
        repository
            .http
            .request("PUT", &path, &headers, image.bytes.clone())
    };
    for other in [
        INDEX,
        "application/vnd.docker.distribution.manifest.v2+json",
        "text/plain",
    ] {
        put(other).refused(400, "MANIFEST_INVALID");
    }
    assert_eq!(repository.tags(), Vec::<String>::new());
    put(&format!("{MANIFEST}; charset=utf-8")).expect(201);
    let read = repository.get_manifest("v1").expect(200);
    assert_eq!(read.header("content-type"), MANIFEST);
}
