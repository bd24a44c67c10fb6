//! What is found out, and what follows from it.

use serde_json::json;

use super::{Visit, assert_values, leftovers, sentences};
use crate::support::{ALICE, Auth, Http, Registry};

#[test]
fn what_registries_can_do_is_found_out_in_a_scratch_repository() {
    for (kind, registry, expected) in [
        (
            "docker-registry 2",
            Registry::with(Auth::None),
            vec![
                ("http_version", json!("HTTP/1.1")),
                ("tls", json!(false)),
                ("catch_all", json!(false)),
                ("referrers_api", json!(false)),
                ("subject", json!(false)),
                ("absent_subject", json!(true)),
                ("makes_fallback_tags", json!(false)),
                ("tag_paging", json!(false)),
                ("accept_needed", json!(true)),
                ("invalid_digest", json!(false)),
                ("range_requests", json!(true)),
                ("range_unsatisfiable", json!(false)),
                ("redirects", json!(false)),
                ("upload_location", json!("absolute")),
                ("monolithic_post", json!(false)),
                ("chunked_upload", json!(true)),
                ("chunk_order", json!(false)),
                ("cancel_upload", json!(true)),
                ("mount", json!(true)),
                ("anonymous_mount", json!(false)),
                ("blob_sha512", json!(false)),
                ("manifest_sha512", json!(false)),
                ("tag_parameter", json!(false)),
                ("manifest_limit", json!(4 << 20)),
                ("unknown_config_types", json!(true)),
                ("unknown_media_types", json!(false)),
                ("empty_layers", json!(true)),
                ("artifact_manifest", json!(false)),
                ("index_with_missing_child", json!(false)),
                ("delete_tag", json!(false)),
                ("delete_manifest", json!(true)),
                ("delete_blob", json!(true)),
                ("anonymous_pull", json!(true)),
                ("anonymous_push", json!(true)),
                ("left_behind", json!(0)),
            ],
        ),
        (
            "distribution 3",
            Registry::distribution3(),
            vec![
                ("referrers_api", json!(false)),
                ("subject", json!(false)),
                ("tag_paging", json!(true)),
                ("chunk_order", json!(true)),
                ("range_unsatisfiable", json!(true)),
                ("delete_tag", json!(true)),
                ("manifest_sha512", json!(false)),
                ("left_behind", json!(0)),
            ],
        ),
        (
            "olareg",
            Registry::with_referrers_api(),
            vec![
                ("referrers_api", json!(true)),
                ("subject", json!(true)),
                ("tag_paging", json!(true)),
                ("accept_needed", json!(false)),
                ("invalid_digest", json!(true)),
                ("range_unsatisfiable", json!(true)),
                ("upload_location", json!("relative")),
                ("monolithic_post", json!(true)),
                ("chunk_order", json!(true)),
                ("anonymous_mount", json!(true)),
                ("blob_sha512", json!(true)),
                ("manifest_sha512", json!(true)),
                ("tag_parameter", json!(true)),
                ("delete_tag", json!(true)),
                ("delete_manifest", json!(true)),
                ("delete_blob", json!(false)),
            ],
        ),
    ] {
        let there = registry.endpoint.repository(ALICE, "scratch/place");
        let image = there.push_image("mine");
        let visit = Visit::to(&registry.endpoint.authority).with(&["--scratch", "scratch/place"]);
        let report = visit.report(0);
        assert_eq!(report["kind"], kind);
        assert_values(&report, &expected);
        assert!(
            report["capabilities"]
                .as_object()
                .unwrap()
                .values()
                .all(|found| {
                    found["how"]
                        .as_str()
                        .is_some_and(|how| !how.starts_with("not asked"))
                }),
            "{kind}: something was not asked: {report:#}"
        );

        let http = Http::new(&registry.endpoint.authority);
        assert_eq!(leftovers(&http, "scratch/place"), ["mine"], "{kind}");
        there.get_manifest(&image.digest()).expect(200);
    }
}

#[test]
fn the_answer_has_the_promised_form() {
    let registry = Registry::with_referrers_api();
    let url = registry.url();
    let report = Visit::to(&registry.endpoint.authority).report(0);
    let keys: Vec<&str> = report
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut expected = [
        "upstream",
        "kind",
        "authentication",
        "capabilities",
        "adds",
        "cannot",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(report["upstream"], url);
    for (name, found) in report["capabilities"].as_object().unwrap() {
        let keys: Vec<&String> = found.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["how", "value"], "{name}");
    }
    let output = Visit::to(&registry.endpoint.authority).run();
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        &format!("upstream        {url}"),
        "capabilities",
        "regseal adds",
        "regseal cannot",
        "  upstream:",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    let takes_writing: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("it takes writing"))
        .collect();
    assert!(
        matches!(takes_writing.as_slice(), [one] if one.contains("subject, ") && one.contains("left_behind")),
        "one line has all of them: {text}"
    );
}

#[test]
fn what_was_not_asked_is_promised_on_a_condition() {
    let registry = Registry::with_referrers_api();
    let report = Visit::to(&registry.endpoint.authority).report(0);
    for sentence in report["adds"].as_array().unwrap() {
        let sentence = sentence.as_str().unwrap();
        let is_unasked = ["OCI-Subject", "lists of tags"]
            .iter()
            .any(|start| sentence.starts_with(start));
        assert!(
            !is_unasked || sentence.contains("if the registry lacks"),
            "{sentence}"
        );
    }
}

#[test]
fn a_repository_that_cannot_be_read_is_named_as_the_reason() {
    let open = Registry::with(Auth::None);
    let closed = Registry::with(Auth::Basic);
    for (registry, expected, why) in [
        (&open, "nope/x does not exist", "there is none"),
        (&closed, "docker login", "strangers are refused"),
    ] {
        let visit = Visit::to(&registry.endpoint.authority).with(&["--repository", "nope/x"]);
        let report = visit.report(0);
        for name in ["anonymous_pull", "tag_paging", "redirects"] {
            let found = &report["capabilities"][name];
            let how = found["how"].as_str().unwrap();
            assert_eq!(found["value"], "unknown", "{why}");
            assert!(
                how.contains(expected) && !how.contains("--repository"),
                "{why}: {name}: {how}"
            );
        }
    }
}

#[test]
fn who_is_asked_for_a_name_and_how_is_told() {
    for (auth, scheme, hides) in [
        (Auth::None, "none", json!("unknown")),
        (Auth::Basic, "basic", json!("unknown")),
        (Auth::Token, "token", json!(false)),
    ] {
        let registry = Registry::with(auth);
        registry
            .endpoint
            .repository(ALICE, "team/app")
            .push_image("v1");
        let authority = &registry.endpoint.authority;
        let realms = match auth {
            Auth::Token => format!("auth: {{realms: [{:?}]}}", registry.tokens().realm()),
            Auth::None | Auth::Basic => "{}".to_owned(),
        };
        let visit = Visit::to(authority)
            .logged_in(authority, ALICE.name, ALICE.password)
            .configured(&realms)
            .with(&["--scratch", "team/scratch", "--repository", "team/app"]);
        let report = visit.report(0);
        let open = auth == Auth::None;
        assert_eq!(report["authentication"]["scheme"], scheme);
        let account = if open { "unknown" } else { "accepted" };
        assert_eq!(report["authentication"]["account"], account, "{report:#}");
        assert_values(
            &report,
            &[
                ("hides_private_repositories", hides),
                ("anonymous_pull", json!(open)),
                ("anonymous_push", json!(open)),
                ("mount", json!(true)),
                ("referrers_api", json!(false)),
                ("delete_manifest", json!(true)),
                ("left_behind", json!(0)),
            ],
        );
        let everybody = sentences(&report, "cannot").contains("everybody push");
        assert_eq!(everybody, open);
        if auth == Auth::Token {
            assert_eq!(report["authentication"]["realm"], registry.tokens().realm());
        }
    }
}

#[test]
fn what_is_recommended_follows_from_what_was_found() {
    let registry = Registry::with(Auth::Token);
    let authority = &registry.endpoint.authority;
    let output = Visit::to(authority).run();
    let text = String::from_utf8(output.stdout).unwrap();
    let realm = registry.tokens().realm();
    // The token service is on another host, so nothing was asked there, and it is not known what users are told.
    let expected = format!("auth:\n    realms: [\"{realm}\"]\n");
    assert!(text.contains(&expected), "{text}");
    assert!(text.contains("hides_private_repositories: true"), "{text}");
    let visit = Visit::to(authority).configured(&format!("auth: {{realms: [{realm:?}]}}"));
    let text = String::from_utf8(visit.run().stdout).unwrap();
    assert!(
        text.contains("hides_private_repositories: false\n"),
        "{text}"
    );
}
