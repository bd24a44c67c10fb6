//! Programs that sign and verify.

use super::{APP, assert_captured, assert_listed};
use crate::support::clients::{Tool, cosign2, cosign3, notation};
use crate::support::images::{BUNDLE, COSIGN_LAYER, NOTATION};
use crate::support::{ALICE, Auth, Stage};

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
