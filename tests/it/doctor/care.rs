//! What a visit leaves alone: content, and credentials.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Visit, assert_values, leftovers, port};
use crate::support::gate::{Gate, Verdict};
use crate::support::{ALICE, Auth, BOB, Http, Registry, User};

#[test]
fn without_a_scratch_repository_nothing_but_get_and_head_is_sent() {
    let registry = Registry::with(Auth::None);
    registry
        .endpoint
        .repository(ALICE, "team/app")
        .push_image("v1");
    let gate = Gate::before(&registry);
    for arguments in [&[][..], &["--repository", "team/app"]] {
        gate.seen();
        let report = Visit::to(&gate.endpoint.authority)
            .with(arguments)
            .report(0);
        let seen = gate.seen();
        assert!(seen.len() > 5);
        for asked in seen {
            assert!(
                ["GET", "HEAD"].contains(&asked.method.as_str()),
                "{asked:?}"
            );
        }
        // The image is found in the catalog, where none is named.
        assert_values(
            &report,
            &[
                ("referrers_api", json!(false)),
                ("anonymous_pull", json!(true)),
                ("range_requests", json!(true)),
                ("tag_paging", json!("unknown")),
                ("delete_manifest", json!("unknown")),
                ("left_behind", json!("unknown")),
            ],
        );
        let how = &report["capabilities"]["delete_manifest"]["how"];
        assert!(how.as_str().unwrap().contains("--scratch"), "{how}");
    }
}

#[test]
fn a_visit_that_is_terminated_takes_away_what_it_has_written() {
    let registry = Registry::with(Auth::None);
    let there = registry.endpoint.repository(ALICE, "scratch/place");
    there.push_image("mine");
    let gate = Gate::before(&registry);
    let id = Arc::new(Mutex::new(0));
    let visited = Arc::clone(&id);
    let state = Mutex::new((false, false));
    // The first read of a manifest that was written gets no answer, so that only the signal can go on.
    gate.rule(move |asked| {
        let mut state = state.lock().unwrap();
        let (is_written, is_told) = *state;
        if is_told || !asked.path.contains("/manifests/") {
            return Verdict::Pass;
        }
        if asked.method == "GET" && is_written {
            state.1 = true;
            let id = visited.lock().unwrap().to_string();
            let sent = Command::new("kill").args(["-s", "TERM", &id]).status();
            assert!(sent.unwrap().success());
            return Verdict::PassAfter(Duration::from_secs(600));
        }
        state.0 = is_written || asked.method == "PUT";
        Verdict::Pass
    });
    let visit =
        Visit::to(&gate.endpoint.authority).with(&["--scratch", "scratch/place", "-o", "json"]);
    let child = {
        let mut id = id.lock().unwrap();
        let mut command = visit.command();
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        *id = child.id();
        child
    };
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_values(
        &report,
        &[
            ("monolithic_post", json!(false)),
            ("delete_tag", json!("unknown")),
            ("left_behind", json!(0)),
        ],
    );
    let how = &report["capabilities"]["delete_tag"]["how"];
    assert_eq!(how, "not asked: interrupted");
    let http = Http::new(&registry.endpoint.authority);
    assert_eq!(leftovers(&http, "scratch/place"), ["mine"]);
}

#[test]
fn who_may_not_push_is_told_why_nothing_was_written() {
    let registry = Registry::with(Auth::Token);
    let User { name, password, .. } = BOB;
    let authority = &registry.endpoint.authority;
    let visit = Visit::to(authority)
        .logged_in(authority, name, password)
        .configured(&format!(
            "auth: {{realms: [{:?}]}}",
            registry.tokens().realm()
        ))
        .with(&["--scratch", "team/scratch"]);
    let report = visit.report(0);
    let found = &report["capabilities"]["mount"];
    assert_eq!(found["value"], "unknown");
    let how = found["how"].as_str().unwrap();
    assert!(
        how.contains("nothing can be uploaded") && how.contains("401"),
        "{how}"
    );
}

#[test]
fn a_credential_is_shown_to_the_registry_it_is_for_and_to_no_other() {
    let registry = Registry::with(Auth::Basic);
    let gate = Gate::before(&registry);
    let authority = gate.endpoint.authority.clone();
    let account = format!(
        "service_account: {{username: {}, password: {}}}",
        ALICE.name, ALICE.password
    );
    for (configured, is_shown, why) in [
        (
            format!("http://{authority}"),
            true,
            "it is the one that is configured",
        ),
        (
            "http://registry.example.com".to_owned(),
            false,
            "another one is",
        ),
    ] {
        gate.seen();
        let yaml = format!("upstream: {{url: {configured:?}, {account}}}");
        let report = Visit::to(&authority).configured(&yaml).report(0);
        let shown = gate
            .seen()
            .iter()
            .any(|asked| !asked.header("Authorization").is_empty());
        assert_eq!(shown, is_shown, "{why}");
        let expected = if is_shown { "accepted" } else { "none" };
        assert_eq!(report["authentication"]["account"], expected, "{why}");
    }
    gate.seen();
    let visit = Visit::to(&authority).logged_in("registry.example.com", ALICE.name, ALICE.password);
    visit.report(0);
    assert!(
        gate.seen()
            .iter()
            .all(|asked| asked.header("Authorization").is_empty())
    );

    // A registry that sends its callers to a token service elsewhere gets nothing there.
    let elsewhere = Gate::before(&registry);
    let realm = format!("http://localhost:{}/token", port(&elsewhere.endpoint));
    let challenge = format!("Bearer realm={realm:?},service=\"s\"");
    gate.rule(move |_| {
        let headers = vec![("WWW-Authenticate", challenge.clone())];
        Verdict::Answer(401, headers, "{}".to_owned())
    });
    let visit = Visit::to(&authority).logged_in(&authority, ALICE.name, ALICE.password);
    let report = visit.with(&["--scratch", "a"]).report(0);
    assert_eq!(report["authentication"]["account"], "withheld");
    assert!(elsewhere.seen().is_empty());
    assert!(
        gate.seen()
            .iter()
            .all(|asked| asked.header("Authorization").is_empty())
    );
}
