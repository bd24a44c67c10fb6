//! What an operator sees of decisions: a line in the log for each, and their numbers.

use serde_json::Value;

use crate::support::images::NOTATION;
use crate::support::policy::{Desk, audit};
use crate::support::{ALICE, Auth, BOB, Content, Policed};

const RULES: &str = r#"
  - {name: team, repositories: ["team/**"], require: {any: [build, release]}, on_unsigned_push: reject}
  - {name: lenient, repositories: ["lenient/**"], require: build, on_unsigned_push: tag, on_unsigned_pull: warn}
"#;

const DECISIONS: &str = "regseal_admission_decisions_total";
const SIGNATURES: &str = "regseal_signatures_total";
const VERIFICATIONS: &str = "regseal_verification_duration_seconds_count";

const APP: &str = "team/app";

/// The last line about a digest with this action.
#[track_caller]
fn line(stage: &Policed, action: &str, digest: &str) -> Value {
    let lines = audit(&stage.regseal);
    let is_it = |line: &&Value| line["action"] == action && line["oci.digest"] == digest;
    let line = lines.iter().rfind(is_it);
    line.unwrap_or_else(|| panic!("no {action} of {digest} in {lines:#?}"))
        .clone()
}

/// Fails unless the line has these fields.
#[track_caller]
fn assert_fields(line: &Value, fields: &[(&str, &str)]) {
    for (name, value) in fields {
        assert_eq!(line[name], *value, "{name} in {line:#}");
    }
    for revision in ["policy_revision", "trust_revision"] {
        let text = line[revision].as_str().unwrap_or_default();
        assert!(text.len() >= 8, "{revision} in {line:#}");
    }
}

#[test]
fn every_decision_has_a_line_that_says_why() {
    let stage = Policed::with(Auth::Token, RULES);
    let repository = stage.repository(APP);
    let image = repository.image();
    let digest = image.digest();
    repository.put_manifest("v1", &image).refused(403, "DENIED");
    let rejected = line(&stage, "push", &digest);
    assert_fields(
        &rejected,
        &[
            ("decision", "reject"),
            ("rule", "team"),
            ("oci.repository", APP),
            ("oci.tag", "v1"),
            ("missing", "build"),
            ("signatures", ""),
        ],
    );

    let stranger = Desk::of(ALICE, Auth::Token);
    stranger.sits_at(&stage.regseal.endpoint);
    let reference = stage.reference(APP, &image);
    stranger.cosign_signs(&reference);
    let foreign = repository.referrers(&image)[0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let signed = line(&stage, "sign", &foreign);
    assert_fields(
        &signed,
        &[
            ("oci.repository", APP),
            ("oci.subject", &digest),
            ("family", "cosign"),
            ("verdict", "untrusted"),
        ],
    );
    let reason = signed["reason"].as_str().unwrap();
    assert!(reason.starts_with("authenticity: "), "{signed:#}");
    assert!(
        line(&stage, "pull", &digest)["decision"] == "shown",
        "to the signer"
    );
    repository.put_manifest("v1", &image).refused(403, "DENIED");
    let rejected = line(&stage, "push", &digest);
    let reason = rejected["reason"].as_str().unwrap();
    assert!(
        reason.contains(&foreign) && reason.contains("authenticity: "),
        "{rejected:#}"
    );

    stage.desk.notation_signs(&reference);
    let own = repository.referrers(&image)[1]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let signed = line(&stage, "sign", &own);
    assert_fields(
        &signed,
        &[
            ("oci.subject", &digest),
            ("family", "notation"),
            ("verdict", "valid"),
            ("authority", "release"),
        ],
    );
    assert!(
        signed["identity"].as_str().unwrap().contains("CN=tests"),
        "{signed:#}"
    );
    repository.put_manifest("v1", &image).expect(201);
    let admitted = line(&stage, "push", &digest);
    let by = format!("release={own}");
    assert_fields(
        &admitted,
        &[
            ("decision", "admit"),
            ("rule", "team"),
            ("oci.tag", "v1"),
            ("signatures", &by),
        ],
    );
    stage.repository_of(BOB, APP).get_manifest("v1").expect(200);
    let pulled = line(&stage, "pull", &digest);
    assert_fields(
        &pulled,
        &[
            ("decision", "allow"),
            ("rule", "team"),
            ("oci.tag", "v1"),
            ("signatures", &by),
        ],
    );
    let old = stage.behind(APP).push_image("old");
    stage
        .repository_of(BOB, APP)
        .get_manifest("old")
        .refused(403, "DENIED");
    let denied = line(&stage, "pull", &old.digest());
    assert_fields(
        &denied,
        &[("decision", "deny"), ("rule", "team"), ("missing", "build")],
    );

    let log = stage.regseal.log();
    let key = std::fs::read_to_string(stage.desk.public_key().with_extension("key")).unwrap();
    for secret in [
        ALICE.password,
        BOB.password,
        "Bearer ",
        "Basic ",
        "rs1.",
        key.lines().nth(1).unwrap(),
    ] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn decisions_signatures_and_verifications_are_counted() {
    let stage = Policed::with(Auth::None, RULES);
    let repository = stage.repository(APP);
    let image = repository.image();
    repository.put_manifest("v1", &image).refused(403, "DENIED");
    let stranger = Desk::of(ALICE, Auth::None);
    stranger.sits_at(&stage.regseal.endpoint);
    let reference = stage.reference(APP, &image);
    stranger.notation_signs(&reference);
    stage.desk.cosign_signs(&reference);
    repository.put_manifest("v1", &image).expect(201);
    repository.get_manifest("v1").expect(200);
    let junk = Content::manifest(&with_layer_of_no_envelope(&stage, &image));
    repository
        .put_manifest(&junk.digest(), &junk)
        .refused(400, "MANIFEST_INVALID");

    let lenient = stage.repository("lenient/app");
    lenient.push_image("v1");
    lenient.get_manifest("v1").expect(200);

    for (name, labels, expected) in [
        (
            DECISIONS,
            &["action=\"push\"", "decision=\"reject\"", "rule=\"team\""][..],
            1.0,
        ),
        (
            DECISIONS,
            &["action=\"push\"", "decision=\"admit\"", "rule=\"team\""],
            1.0,
        ),
        (
            DECISIONS,
            &["action=\"push\"", "decision=\"tag\"", "rule=\"lenient\""],
            1.0,
        ),
        (
            DECISIONS,
            &["action=\"pull\"", "decision=\"allow\"", "rule=\"team\""],
            1.0,
        ),
        (
            DECISIONS,
            &["action=\"pull\"", "decision=\"warn\"", "rule=\"lenient\""],
            1.0,
        ),
        (
            SIGNATURES,
            &["family=\"notation\"", "verdict=\"untrusted\""],
            1.0,
        ),
        (
            SIGNATURES,
            &["family=\"notation\"", "verdict=\"invalid\""],
            1.0,
        ),
        (SIGNATURES, &["family=\"cosign\"", "verdict=\"valid\""], 1.0),
        (SIGNATURES, &[], 3.0),
    ] {
        let counted = stage.metric(name, labels);
        // A decision that is made again, since a signature might have been found, is counted again.
        assert!(counted >= expected, "{name} {labels:?}: {counted}");
        if name == SIGNATURES {
            assert!(counted < expected + 1.0, "{name} {labels:?}: {counted}");
        }
    }
    for labels in [
        ["family=\"notation\"", "result=\"untrusted\""],
        ["family=\"cosign\"", "result=\"valid\""],
    ] {
        assert!(stage.metric(VERIFICATIONS, &labels) >= 1.0, "{labels:?}");
    }
    let page = stage.regseal.admin.get("/metrics").expect(200);
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    for name in [APP, "lenient/app", &image.digest()] {
        assert!(!text.contains(name), "no label holds {name}");
    }
}

/// A signature of notation whose layer is none.
fn with_layer_of_no_envelope(stage: &Policed, image: &Content) -> Value {
    let repository = stage.repository(APP);
    let mut manifest = repository.artifact(NOTATION, Some(image)).json();
    manifest["layers"][0]["mediaType"] = "application/octet-stream".into();
    manifest
}
