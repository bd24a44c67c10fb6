//! The programs people use, unmodified: push, pull, sign, list and verify through regseal, before a registry without the
//! Referrers API, with each way of authentication.

use serde_json::Value;

use crate::support::clients::{Tool, cosign2, cosign3, crane, notation, oras, regctl, skopeo};
use crate::support::docker::Docker;
use crate::support::images::{BUNDLE, COSIGN_LAYER, MANIFEST, NOTATION, SBOM, random_hex, tar};
use crate::support::{ALICE, Auth, Content, Repository, Stage};

const APP: &str = "team/app";

#[test]
fn crane_without_authentication() {
    crane_pushes_copies_and_pulls(Auth::None);
}

#[test]
fn crane_with_basic() {
    crane_pushes_copies_and_pulls(Auth::Basic);
}

#[test]
fn crane_with_tokens() {
    crane_pushes_copies_and_pulls(Auth::Token);
}

fn crane_pushes_copies_and_pulls(auth: Auth) {
    let stage = Stage::with(auth);
    let tool = crane(&stage.regseal.endpoint, ALICE);
    let [image, other, copy] =
        ["team/app:v1", "team/app:v2", "team/copy:v1"].map(|name| tool.reference(name));
    let layer = tool.file("layer.tar", tar("hello", random_hex(16).as_bytes()));
    tool.run(["append", "--oci-empty-base", "-f", layer, "-t", &image])
        .success();

    let digest = tool.run(["digest", &image]).success().stdout;
    tool.run(["copy", &image, &other]).success();
    tool.run(["copy", &image, &copy]).success();
    for name in [&other, &copy] {
        assert_eq!(tool.run(["digest", name]).success().stdout, digest);
    }
    assert_eq!(
        tool.run(["ls", &tool.reference(APP)]).success().stdout,
        "v1\nv2"
    );
    tool.run(["pull", "--format", "oci", &copy, "pulled"])
        .success();
    assert!(
        tool.home()
            .join("pulled/blobs")
            .join(digest.replace(':', "/"))
            .is_file()
    );
    tool.run(["delete", &tool.reference(&format!("team/copy@{digest}"))])
        .success();
    tool.run(["digest", &copy]).failure("MANIFEST_UNKNOWN");
}

#[test]
fn oras_without_authentication() {
    oras_attaches_and_discovers(Auth::None);
}

#[test]
fn oras_with_basic() {
    oras_attaches_and_discovers(Auth::Basic);
}

#[test]
fn oras_with_tokens() {
    oras_attaches_and_discovers(Auth::Token);
}

fn oras_attaches_and_discovers(auth: Auth) {
    let stage = Stage::with(auth);
    let tool = oras(&stage.regseal.endpoint, ALICE);
    let image = tool.reference("team/app:v1");
    tool.file("hello.txt", "hello");
    tool.file("sbom.json", "{}");
    tool.file("signature.jws", random_hex(32));
    tool.run([
        "push",
        "--artifact-type",
        "text/example",
        &image,
        "hello.txt:text/plain",
    ])
    .success();
    tool.run([
        "attach",
        "--artifact-type",
        SBOM,
        &image,
        "sbom.json:application/json",
    ])
    .success();
    tool.run([
        "attach",
        "--artifact-type",
        NOTATION,
        &image,
        "signature.jws:application/jose+json",
    ])
    .success();

    let subject = subject(&stage, "v1");
    let discovered = tool
        .run(["discover", "--format", "json", &image])
        .success()
        .json();
    assert_eq!(
        kinds(discovered["referrers"].as_array().unwrap()),
        [SBOM, NOTATION]
    );
    let filtered = tool
        .run([
            "discover",
            "--format",
            "json",
            "--artifact-type",
            SBOM,
            &image,
        ])
        .success()
        .json();
    assert_eq!(kinds(filtered["referrers"].as_array().unwrap()), [SBOM]);
    assert_listed(&stage, &subject, &[SBOM, NOTATION]);
    assert_captured(&stage, &subject, NOTATION);

    let sbom = filtered["referrers"][0]["digest"].as_str().unwrap();
    stage.behind(APP).get_manifest(sbom).expect(200);
    tool.run([
        "pull",
        "-o",
        "pulled",
        &tool.reference(&format!("{APP}@{sbom}")),
    ])
    .success();
    assert_eq!(
        std::fs::read(tool.home().join("pulled/sbom.json")).unwrap(),
        b"{}"
    );
    tool.run(["pull", "-o", "pulled", &image]).success();
    assert_eq!(
        std::fs::read(tool.home().join("pulled/hello.txt")).unwrap(),
        b"hello"
    );
}

#[test]
fn skopeo_without_authentication() {
    skopeo_copies_both_ways(Auth::None);
}

#[test]
fn skopeo_with_basic() {
    skopeo_copies_both_ways(Auth::Basic);
}

#[test]
fn skopeo_with_tokens() {
    skopeo_copies_both_ways(Auth::Token);
}

fn skopeo_copies_both_ways(auth: Auth) {
    let stage = Stage::with(auth);
    let image = stage.repository(APP).push_image("v1");
    let tool = skopeo(&stage.regseal.endpoint, ALICE);
    let [first, second, third] = ["team/app:v1", "team/app:v2", "team/copy:v1"]
        .map(|name| format!("docker://{}", tool.reference(name)));
    for (from, to) in [
        (first.as_str(), "oci:here:v1"),
        ("oci:here:v1", &second),
        (&second, &third),
    ] {
        tool.run(["copy", "--preserve-digests", from, to]).success();
    }
    for name in [&second, &third] {
        let digest = tool
            .run(["inspect", "--format", "{{.Digest}}", name])
            .success()
            .stdout;
        assert_eq!(digest, image.digest());
    }
    assert_eq!(stage.behind(APP).tags(), ["v1", "v2"]);
}

#[test]
fn docker_without_authentication() {
    docker_pushes_and_pulls(Auth::None);
}

#[test]
fn docker_with_basic() {
    docker_pushes_and_pulls(Auth::Basic);
}

#[test]
fn docker_with_tokens() {
    docker_pushes_and_pulls(Auth::Token);
}

fn docker_pushes_and_pulls(auth: Auth) {
    let stage = Stage::with(auth);
    let docker = Docker::start(&stage.regseal.endpoint, ALICE);
    let image = docker.tool.reference("team/app:v1");
    let layer = docker
        .tool
        .file("layer.tar", tar("hello", random_hex(16).as_bytes()));
    let id = docker.tool.run(["import", layer, &image]).success().stdout;
    docker.tool.run(["push", &image]).success();
    docker.tool.run(["rmi", &image]).success();
    docker.tool.run(["pull", &image]).success();
    assert_eq!(
        docker
            .tool
            .run(["image", "inspect", "--format", "{{.Id}}", &image])
            .success()
            .stdout,
        id
    );
    let missing = docker.tool.reference("team/app:none");
    docker
        .tool
        .run(["pull", &missing])
        .failure("manifest unknown");
}

#[test]
fn regctl_without_authentication() {
    regctl_copies_with_referrers(Auth::None);
}

#[test]
fn regctl_with_basic() {
    regctl_copies_with_referrers(Auth::Basic);
}

#[test]
fn regctl_with_tokens() {
    regctl_copies_with_referrers(Auth::Token);
}

fn regctl_copies_with_referrers(auth: Auth) {
    let stage = Stage::with(auth);
    stage.repository(APP).push_image("v1");
    let tool = regctl(&stage.regseal.endpoint, ALICE);
    let [image, copy] = ["team/app:v1", "team/copy:v1"].map(|name| tool.reference(name));
    tool.file("sbom.json", "{}");
    tool.file("signature.jws", random_hex(32));
    for (kind, layer, file) in [
        (SBOM, "application/json", "sbom.json"),
        (NOTATION, "application/jose+json", "signature.jws"),
    ] {
        let put = [
            "artifact",
            "put",
            "--artifact-type",
            kind,
            "--file-media-type",
            layer,
            "--file",
            file,
            "--subject",
            &image,
        ];
        tool.run(put).success();
    }
    let subject = subject(&stage, "v1");
    assert_listed(&stage, &subject, &[SBOM, NOTATION]);
    assert_captured(&stage, &subject, NOTATION);

    let list = ["artifact", "list", "--format", "{{json .Descriptors}}"];
    let listed = tool
        .run(list.into_iter().chain([image.as_str()]))
        .success()
        .json();
    assert_eq!(kinds(listed.as_array().unwrap()), [SBOM, NOTATION]);
    let get = [
        "artifact",
        "get",
        "--filter-artifact-type",
        SBOM,
        "--subject",
        &image,
    ];
    assert_eq!(tool.run(get).success().stdout, "{}");

    tool.run(["image", "copy", "--referrers", &image, &copy])
        .success();
    let copied = tool
        .run(list.into_iter().chain([copy.as_str()]))
        .success()
        .json();
    let mut kinds = kinds(copied.as_array().unwrap());
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [SBOM, NOTATION],
        "the copy has the referrers as well"
    );
    assert_eq!(stage.behind("team/copy").tags(), ["v1"]);
}

#[test]
fn notation_without_authentication() {
    notation_signs_lists_and_verifies(Auth::None);
}

#[test]
fn notation_with_basic() {
    notation_signs_lists_and_verifies(Auth::Basic);
}

#[test]
fn notation_with_tokens() {
    notation_signs_lists_and_verifies(Auth::Token);
}

/// With both envelopes and both ways to store: by default notation writes the fallback tag even where there is the API.
fn notation_signs_lists_and_verifies(auth: Auth) {
    let stage = Stage::with(auth);
    let subject = stage.repository(APP).push_image("v1");
    let tool = notation(&stage.regseal.endpoint, ALICE);
    let image = tool.reference(&format!("{APP}@{}", subject.digest()));
    tool.run(["verify", &image])
        .failure("no signature is associated with");

    let mut expected = Vec::new();
    for format in ["jws", "cose"] {
        for flag in ["--force-referrers-tag=true", "--force-referrers-tag=false"] {
            tool.run(["sign", "--signature-format", format, flag, &image])
                .success();
            expected.push(NOTATION);
            assert_listed(&stage, &subject, &expected);
            assert_captured(&stage, &subject, NOTATION);
        }
    }
    let listed = tool.run(["list", &image]).success().stdout;
    assert_eq!(
        listed.matches("sha256:").count(),
        1 + expected.len(),
        "the image and its signatures: {listed}"
    );
    tool.run(["verify", &image]).success();
    tool.run(["inspect", &image]).success();
    tool.run(["verify", &tool.reference("team/app:v1")])
        .success();
}

#[test]
fn cosign_3_without_authentication() {
    cosign_3_signs_and_verifies(Auth::None);
}

#[test]
fn cosign_3_with_basic() {
    cosign_3_signs_and_verifies(Auth::Basic);
}

#[test]
fn cosign_3_with_tokens() {
    cosign_3_signs_and_verifies(Auth::Token);
}

/// cosign 3 stores bundles by `subject`, and asks the referrers API whether it has to write the fallback tag as well.
fn cosign_3_signs_and_verifies(auth: Auth) {
    let stage = Stage::with(auth);
    let subject = stage.repository(APP).push_image("v1");
    let tool = cosign3(&stage.regseal.endpoint, ALICE);
    let image = tool.reference(&format!("{APP}@{}", subject.digest()));
    let sign = [
        "sign",
        "--key",
        "cosign.key",
        "--use-signing-config=false",
        "--tlog-upload=false",
        "-y",
    ];
    let verify = ["verify", "--key", "cosign.pub", "--insecure-ignore-tlog"];
    tool.run(verify.into_iter().chain([image.as_str()]))
        .failure("no signatures found");

    for count in 1..=2 {
        tool.run(sign.into_iter().chain([image.as_str()])).success();
        assert_listed(&stage, &subject, &vec![BUNDLE; count]);
        assert_captured(&stage, &subject, BUNDLE);
    }
    tool.run(verify.into_iter().chain([image.as_str()]))
        .success();
    assert_eq!(stage.behind(APP).tags(), ["v1"]);

    let other = cosign3(&stage.regseal.endpoint, ALICE);
    other
        .run(verify.into_iter().chain([image.as_str()]))
        .failure("");
}

#[test]
fn cosign_2_without_authentication() {
    cosign_2_signs_and_verifies(Auth::None);
}

#[test]
fn cosign_2_with_basic() {
    cosign_2_signs_and_verifies(Auth::Basic);
}

#[test]
fn cosign_2_with_tokens() {
    cosign_2_signs_and_verifies(Auth::Token);
}

/// cosign 2 appends to the one manifest under the `.sig` tag.
fn cosign_2_signs_and_verifies(auth: Auth) {
    let stage = Stage::with(auth);
    let repository = stage.repository(APP);
    let subject = repository.push_image("v1");
    let [first, second] = [ALICE, ALICE].map(|user| cosign2(&stage.regseal.endpoint, user));
    let image = first.reference(&format!("{APP}@{}", subject.digest()));
    let sign = ["sign", "--key", "cosign.key", "--tlog-upload=false", "-y"];
    let verify = ["verify", "--key", "cosign.pub", "--insecure-ignore-tlog"];
    first
        .run(verify.into_iter().chain([image.as_str()]))
        .failure("no signatures found");

    for (tool, layers) in [(&first, 1), (&second, 2)] {
        tool.run(sign.into_iter().chain([image.as_str()])).success();
        let signatures = repository
            .get_manifest(&subject.companion_tag(".sig"))
            .expect(200)
            .json();
        let signatures = signatures["layers"].as_array().unwrap();
        assert_eq!(signatures.len(), layers);
        assert!(
            signatures
                .iter()
                .all(|layer| layer["mediaType"] == COSIGN_LAYER)
        );
    }
    for tool in [&first, &second] {
        tool.run(verify.into_iter().chain([image.as_str()]))
            .success();
    }
    let tag = first.reference(&format!("{APP}:{}", subject.companion_tag(".sig")));
    assert_eq!(first.run(["triangulate", &image]).success().stdout, tag);
    first.run(["tree", &image]).success();

    assert_listed(&stage, &subject, &[]);
    assert_eq!(repository.tags(), ["v1"]);
    let behind = stage.behind(APP);
    assert_eq!(behind.tags(), ["v1"]);
    behind
        .get_manifest(&subject.companion_tag(".sig"))
        .expect(404);
    let newest = repository.get_manifest(&subject.companion_tag(".sig"));
    behind
        .get_manifest(newest.header("docker-content-digest"))
        .expect(404);
}

#[test]
fn one_image_signed_by_all_is_verified_by_all() {
    let stage = Stage::with(Auth::None);
    let subject = stage.repository(APP).push_image("v1");
    let endpoint = &stage.regseal.endpoint;
    let (notation, old, new) = (
        notation(endpoint, ALICE),
        cosign2(endpoint, ALICE),
        cosign3(endpoint, ALICE),
    );
    let image = notation.reference(&format!("{APP}@{}", subject.digest()));
    let cosign_sign = |tool: &Tool, more: &[&str]| {
        let sign = [
            "sign",
            "--key",
            "cosign.key",
            "--tlog-upload=false",
            "-y",
            &image,
        ];
        tool.run(sign.iter().chain(more)).success();
    };
    cosign_sign(&old, &[]);
    let verify = [
        "verify",
        "--key",
        "cosign.pub",
        "--insecure-ignore-tlog",
        &image,
    ];
    // As soon as there is a bundle, cosign 2 looks at bundles only.
    old.run(verify).success();
    cosign_sign(&new, &["--use-signing-config=false"]);
    notation.run(["sign", &image]).success();

    notation.run(["verify", &image]).success();
    new.run(verify).success();
    assert_listed(&stage, &subject, &[BUNDLE, NOTATION]);
    assert_captured(&stage, &subject, BUNDLE);
    assert_captured(&stage, &subject, NOTATION);
}

/// The manifest a tag names, as regseal serves it.
fn subject(stage: &Stage, tag: &str) -> Content {
    let reply = stage.repository(APP).get_manifest(tag).expect(200);
    Content::new(reply.header("content-type"), reply.body.clone())
}

/// The referrers of the subject are of these types, oldest first, and each entry says what its manifest says.
#[track_caller]
fn assert_listed(stage: &Stage, subject: &Content, expected: &[&str]) {
    let repository = stage.repository(APP);
    let referrers = repository.referrers(subject);
    assert_eq!(kinds(&referrers), expected);
    for entry in &referrers {
        assert_eq!(referrer(&repository, entry).as_referrer(), *entry);
    }
}

/// The registry behind knows nothing of the referrers of this type: no tag, no manifest, no API.
#[track_caller]
fn assert_captured(stage: &Stage, subject: &Content, kind: &str) {
    let behind = stage.behind(APP);
    let tags = behind.tags();
    assert!(
        tags.iter().all(|tag| !tag.starts_with("sha256-")),
        "a fallback tag in {tags:?}"
    );
    behind.get_referrers(&subject.digest(), "").expect(404);
    for entry in stage.repository(APP).referrers(subject) {
        if entry["artifactType"] == kind {
            behind
                .get_manifest(entry["digest"].as_str().unwrap())
                .expect(404);
        }
    }
}

/// The manifest of an entry, whose layers can be read as well.
#[track_caller]
fn referrer(repository: &Repository, entry: &Value) -> Content {
    let digest = entry["digest"].as_str().unwrap();
    let reply = repository.get_manifest(digest).expect(200);
    let manifest = Content::new(reply.header("content-type"), reply.body.clone());
    assert_eq!(
        (manifest.media_type.as_str(), manifest.digest().as_str()),
        (MANIFEST, digest)
    );
    for layer in manifest.json()["layers"].as_array().unwrap() {
        repository
            .get_blob(layer["digest"].as_str().unwrap())
            .expect(200);
    }
    manifest
}

fn kinds(referrers: &[Value]) -> Vec<&str> {
    referrers
        .iter()
        .map(|entry| entry["artifactType"].as_str().unwrap_or_default())
        .collect()
}
