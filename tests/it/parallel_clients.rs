//! Real clients that sign one image at once. Each reads a tag, adds to it and writes it back, and knows nothing of the
//! others.

use crate::support::clients::{Tool, cosign2, notation, oras, regctl};
use crate::support::http::Endpoint;
use crate::support::images::{COSIGN_LAYER, NOTATION, random_hex};
use crate::support::{ALICE, Auth, Content, Replicas, Repository, Stage};

const APP: &str = "team/app";
/// Of each program.
const EACH: usize = 3;

/// How a program is prepared, signs and verifies.
type Program = (fn(&Endpoint) -> Tool, Run, Run);
type Run = fn(&Tool, &str);

#[test]
fn clients_that_sign_at_once_lose_nothing() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(APP);
    let image = repository.push_image("v1");
    all_sign(std::slice::from_ref(&stage.regseal.endpoint), &image);
    assert_all_there(&repository, &image);
    assert_eq!(stage.behind(APP).tags(), ["v1"]);
}

#[test]
fn clients_that_sign_at_once_through_two_replicas_lose_nothing() {
    let replicas = Replicas::start(2);
    let repositories = replicas.repositories(APP);
    let image = repositories[0].push_image("v1");
    all_sign(&replicas.endpoints(), &image);
    for repository in &repositories {
        assert_all_there(repository, &image);
    }
    assert_eq!(replicas.behind(APP).tags(), ["v1"]);
    replicas.have_an_exact_index();
}

/// Each program as often as [`EACH`], all at once, by turns through each endpoint; then whoever can verifies its own.
#[track_caller]
fn all_sign(endpoints: &[Endpoint], image: &Content) {
    let programs: [Program; 4] = [
        (|at| notation(at, ALICE), notation_signs, notation_verifies),
        (|at| cosign2(at, ALICE), cosign_signs, cosign_verifies),
        (|at| oras(at, ALICE), oras_attaches, |_, _| ()),
        (|at| regctl(at, ALICE), regctl_attaches, |_, _| ()),
    ];
    let prepared: Vec<(Tool, Run, Run)> = programs
        .iter()
        .flat_map(|program| std::iter::repeat_n(program, EACH))
        .zip(endpoints.iter().cycle())
        .map(|((prepare, sign, verify), endpoint)| (prepare(endpoint), *sign, *verify))
        .collect();
    let digest = image.digest();
    for step in [0, 1] {
        std::thread::scope(|scope| {
            for (tool, sign, verify) in &prepared {
                let reference = tool.reference(&format!("{APP}@{digest}"));
                scope.spawn(move || [sign, verify][step](tool, &reference));
            }
        });
    }
}

#[track_caller]
fn assert_all_there(repository: &Repository, image: &Content) {
    let listed = repository.referrers(image);
    let signed_by = |is_it: fn(&str) -> bool| {
        let of_kind = listed.iter().filter(|entry| {
            let annotations = entry["annotations"].as_object();
            entry["artifactType"] == NOTATION
                && annotations.is_some_and(|all| all.keys().any(|key| is_it(key)))
        });
        of_kind.count()
    };
    assert_eq!(signed_by(|key| key.starts_with("io.cncf.notary")), EACH);
    assert_eq!(signed_by(|key| key == "by.oras"), EACH);
    assert_eq!(signed_by(|key| key == "by.regctl"), EACH);
    assert_eq!(listed.len(), 3 * EACH);
    let tag = repository
        .get_manifest(&image.companion_tag(""))
        .expect(200);
    assert_eq!(tag.json()["manifests"], serde_json::json!(listed));

    let united = repository
        .get_manifest(&image.companion_tag(".sig"))
        .expect(200)
        .json();
    let layers = united["layers"].as_array().unwrap();
    assert_eq!(layers.len(), EACH);
    assert!(
        layers
            .iter()
            .all(|layer| layer["mediaType"] == COSIGN_LAYER)
    );
}

/// By default it maintains the referrers tag as well, and deletes the index that it replaces.
fn notation_signs(tool: &Tool, image: &str) {
    tool.run(["sign", image]).success();
}

fn notation_verifies(tool: &Tool, image: &str) {
    tool.run(["verify", "--max-signatures", "100", image])
        .success();
}

fn cosign_signs(tool: &Tool, image: &str) {
    let sign = ["sign", "--key", "cosign.key", "--tlog-upload=false", "-y"];
    tool.run(sign.into_iter().chain([image])).success();
}

fn cosign_verifies(tool: &Tool, image: &str) {
    let verify = ["verify", "--key", "cosign.pub", "--insecure-ignore-tlog"];
    tool.run(verify.into_iter().chain([image])).success();
}

/// Told to believe that there is no Referrers API.
fn oras_attaches(tool: &Tool, image: &str) {
    tool.file("signature.jws", random_hex(32));
    tool.run([
        "attach",
        "--distribution-spec",
        "v1.1-referrers-tag",
        "--annotation",
        "by.oras=yes",
        "--artifact-type",
        NOTATION,
        image,
        "signature.jws:application/jose+json",
    ])
    .success();
}

fn regctl_attaches(tool: &Tool, image: &str) {
    tool.file("signature.jws", random_hex(32));
    tool.run([
        "artifact",
        "put",
        "--artifact-type",
        NOTATION,
        "--annotation",
        "by.regctl=yes",
        "--file-media-type",
        "application/jose+json",
        "--file",
        "signature.jws",
        "--subject",
        image,
    ])
    .success();
}
