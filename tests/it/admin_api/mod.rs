//! What operators ask of a running regseal, and the commands that ask it: `verify` and `explain`.

mod desk;

use std::path::Path;

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::desk::{Desk, ended, write};
use crate::support::clients::{cosign2, cosign3};
use crate::support::images::{MANIFEST, NOTATION};
use crate::support::regseal::command;
use crate::support::{ALICE, Auth, Content, EVE, Registry, Regseal};

const APP: &str = "team/app";
const TOKEN: &str = "token-of-the-operators";

#[test]
fn without_a_token_in_the_configuration_there_is_no_admin_api() {
    let registry = Registry::with(Auth::None);
    let regseal = Regseal::before(&registry);
    for path in ["explain?reference=app", "openapi.json"] {
        let path = format!("/api/v1/{path}");
        regseal.admin.get(&path).expect(404);
        regseal.admin.clone().bearer(TOKEN).get(&path).expect(404);
    }
    regseal.admin.get("/readyz").expect(200);
    regseal.admin.get("/metrics").expect(200);

    let files = TempDir::with_prefix("desk-").unwrap();
    write(&files, "token", TOKEN);
    let url = format!("http://{}", regseal.admin.authority());
    let mut asked = command();
    asked.args(["verify", "app:v1", "--admin", &url]);
    let (_, err) = ended(&asked.output().unwrap(), 2);
    assert!(
        err.contains("--token-file") && err.contains("admin.token_file"),
        "{err}"
    );
    asked.arg("--token-file").arg(files.path().join("token"));
    let (_, err) = ended(&asked.output().unwrap(), 2);
    assert!(err.contains("has no admin API"), "{err}");
}

#[test]
fn whoever_has_not_the_token_is_refused() {
    let desk = Desk::open();
    for (admin, why) in [
        (desk.regseal.admin.clone(), "none"),
        (desk.regseal.admin.clone().bearer("another"), "a wrong one"),
        (
            desk.regseal.admin.clone().basic("operator", TOKEN),
            "another scheme",
        ),
    ] {
        for (method, path) in [
            ("GET", "/api/v1/explain?reference=team/app"),
            ("GET", "/api/v1/openapi.json"),
            ("POST", "/api/v1/policy/simulate"),
            ("GET", "/api/v1/nothing"),
        ] {
            let reply = admin
                .request(method, path, &[], "")
                .refused(401, "UNAUTHORIZED");
            assert_eq!(reply.header("www-authenticate"), "Bearer", "{why}");
            assert_eq!(reply.header("cache-control"), "no-store", "{why}");
        }
        admin.get("/livez").expect(200);
    }
    assert!(!desk.regseal.log().contains(TOKEN));
    let wrong = desk.files.path().join("wrong");
    std::fs::write(&wrong, "another").unwrap();
    let mut asked = command();
    let url = format!("http://{}", desk.regseal.admin.authority());
    asked.args(["explain", "team/app:v1", "--admin", &url, "--token-file"]);
    let (_, err) = ended(&asked.arg(&wrong).output().unwrap(), 2);
    assert!(err.contains("refuses the token"), "{err}");
}

#[test]
fn everything_that_is_described_is_there() {
    let desk = Desk::open();
    let description = desk
        .operator()
        .get("/api/v1/openapi.json")
        .expect(200)
        .json();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let reply = desk
                .operator()
                .request(&method.to_uppercase(), path, &[], "");
            assert!(!matches!(reply.status, 401 | 404 | 405), "{reply:?}");
            desk.operator().request("PUT", path, &[], "").expect(405);
        }
    }
    desk.operator().get("/api/v1/held").expect(404);
    desk.operator().get("/api/v1/audit").expect(404);
}

#[test]
fn an_unsigned_image_is_explained() {
    let desk = Desk::open();
    let image = desk
        .regseal
        .endpoint
        .repository(ALICE, "locked/app")
        .push_image("v1");
    let explained = desk.explain("locked/app:v1").expect(200);
    assert_eq!(explained.header("cache-control"), "no-store");
    let explained = explained.json();
    let members: Vec<&String> = explained.as_object().unwrap().keys().collect();
    for member in [
        "reference",
        "digest",
        "rule",
        "decision",
        "missing",
        "signatures",
        "next",
    ] {
        assert!(
            members.iter().any(|known| *known == member),
            "{member}: {explained}"
        );
    }
    assert_eq!(explained["reference"], "locked/app:v1");
    assert_eq!(explained["digest"], json!(image.digest()));
    assert_eq!(explained["rule"], "locked");
    assert_eq!(explained["decision"], "deny");
    assert_eq!(explained["on_push"], "warn");
    assert_eq!(explained["signed"], false);
    assert_eq!(explained["signatures"], json!([]));
    assert_eq!(explained["missing"], json!(["release-team", "build-key"]));
    let next = explained["next"].as_str().unwrap();
    assert!(next.contains(&image.digest()), "{next}");
    let by_host = desk
        .explain("localhost:5000/locked/app:v1")
        .expect(200)
        .json();
    assert_eq!(by_host["digest"], json!(image.digest()));

    desk.explain("locked/app:absent")
        .refused(404, "MANIFEST_UNKNOWN");
    for wrong in ["", "Team/app", "locked/app:", "locked/app@sha256:1"] {
        desk.explain(wrong).expect(400);
    }
    desk.operator().get("/api/v1/explain").expect(400);

    let (out, _) = ended(&desk.ask(&["verify", "locked/app:v1"]), 1);
    assert!(
        out.starts_with("not signed: rule locked requires "),
        "{out}"
    );
    let (out, _) = ended(&desk.ask(&["explain", "locked/app:v1"]), 0);
    for part in [image.digest().as_str(), "locked", "deny", next] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (out, _) = ended(&desk.ask(&["verify", "-o", "json", "locked/app:v1"]), 1);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), explained);
    let (_, err) = ended(&desk.ask(&["verify", "locked/app:absent"]), 3);
    assert!(err.contains("no such manifest"), "{err}");
    let (_, err) = ended(&desk.ask(&["verify", "Team/App"]), 2);
    assert!(err.contains("no reference"), "{err}");
    let mut nobody = command();
    nobody
        .args([
            "verify",
            "locked/app:v1",
            "--admin",
            "http://127.0.0.1:1",
            "--token-file",
        ])
        .arg(desk.files.path().join("token"));
    let (_, err) = ended(&nobody.output().unwrap(), 3);
    assert!(err.contains("gives no answer"), "{err}");

    let elsewhere = desk.regseal.endpoint.repository(ALICE, "other/app");
    elsewhere.push_image("v1");
    let (out, _) = ended(&desk.ask(&["verify", "other/app:v1"]), 0);
    assert!(out.contains("no rule is about it"), "{out}");
}

#[test]
fn signatures_are_explained_check_by_check() {
    let desk = Desk::open();
    let repository = desk.regseal.endpoint.repository(ALICE, APP);
    let [by_notation, by_cosign, by_bundle, by_stranger] =
        ["v1", "v2", "v3", "v4"].map(|tag| repository.push_image(tag));
    desk.sign_with_notation(&by_notation);
    desk.sign_with(&desk.cosign, &[], &by_cosign);
    let newer = cosign3(&desk.registry.endpoint, ALICE);
    for file in ["cosign.key", "cosign.pub"] {
        std::fs::copy(desk.cosign.home().join(file), newer.home().join(file)).unwrap();
    }
    desk.sign_with(&newer, &["--use-signing-config=false"], &by_bundle);
    let stranger = cosign2(&desk.registry.endpoint, ALICE);
    desk.sign_with(&stranger, &[], &by_stranger);

    for (tag, family, authority) in [
        ("v1", "notation", "release-team"),
        ("v2", "cosign", "build-key"),
        ("v3", "cosign", "build-key"),
    ] {
        let explained = desk.explain(&format!("team/app:{tag}")).expect(200).json();
        assert_eq!(explained["signed"], true, "{explained}");
        assert_eq!(explained["decision"], "allow", "{explained}");
        assert_eq!(explained["on_push"], "admit", "{explained}");
        assert_eq!(explained["missing"], json!([]), "{explained}");
        let [signature] = explained["signatures"].as_array().unwrap().as_slice() else {
            panic!("one signature: {explained}")
        };
        let members: Vec<&str> = signature
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let expected = [
            "authority",
            "checks",
            "digest",
            "family",
            "identity",
            "verdict",
        ];
        assert_eq!(members, expected);
        assert_eq!(signature["family"], family);
        assert_eq!(signature["verdict"], "valid");
        assert_eq!(signature["authority"], authority);
        let checks = signature["checks"].as_array().unwrap();
        assert!(!checks.is_empty(), "{explained}");
        for check in checks {
            let members: Vec<&str> = check
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            assert_eq!(members, ["detail", "name", "outcome"]);
        }
        let (out, _) = ended(&desk.ask(&["verify", &format!("team/app:{tag}")]), 0);
        let lines: Vec<&str> = out.lines().collect();
        let [line, conclusion] = lines.as_slice() else {
            panic!("{out}")
        };
        for part in [
            family,
            "valid",
            authority,
            signature["digest"].as_str().unwrap(),
        ] {
            assert!(line.contains(part), "{part}: {out}");
        }
        assert!(conclusion.starts_with("signed: "), "{out}");
    }
    let (out, _) = ended(&desk.ask(&["verify", "team/app:v4"]), 1);
    assert!(out.contains("untrusted"), "{out}");
    let (out, _) = ended(&desk.ask(&["explain", "team/app:v4"]), 0);
    assert!(
        out.contains("authenticity") && out.contains("failed"),
        "{out}"
    );

    let simulated = desk.operator().request(
        "POST",
        "/api/v1/policy/simulate",
        &[],
        json!({"repository": APP, "tag": "v2", "digest": by_cosign.digest()}).to_string(),
    );
    let expected = json!({"rule": "production", "push": "admit", "pull": "allow", "missing": [],
        "signed_by": ["build-key"]});
    assert_eq!(simulated.expect(200).json(), expected);
}

#[test]
fn what_is_supposed_is_judged_by_the_policy_in_force() {
    let desk = Desk::open();
    let simulate = |body: &Value| {
        let path = "/api/v1/policy/simulate";
        desk.operator().request("POST", path, &[], body.to_string())
    };
    let digest = Content::random(MANIFEST).digest();
    for (by, push, pull) in [
        (json!([]), "tag", "warn"),
        (json!(["build-key"]), "admit", "allow"),
    ] {
        let body = json!({"repository": APP, "tag": "v1", "digest": digest, "signed_by": by});
        let simulated = simulate(&body).expect(200).json();
        assert_eq!(
            (&simulated["push"], &simulated["pull"]),
            (&json!(push), &json!(pull))
        );
        assert_eq!(simulated["rule"], "production");
    }
    for (body, why) in [
        (json!({"repository": APP, "tag": "v1"}), "no digest"),
        (
            json!({"repository": APP, "tag": "v1", "digest": digest, "signed_by": ["nobody"]}),
            "an unknown authority",
        ),
        (
            json!({"repository": APP, "tag": "v1", "digest": digest, "by": []}),
            "an unknown member",
        ),
        (
            json!({"repository": "App", "tag": "v1", "digest": digest, "signed_by": []}),
            "no repository",
        ),
    ] {
        assert_eq!(simulate(&body).status, 400, "{why}");
    }

    let cases = "\
version: 1
cases:
  - name: signed
    repository: team/app
    tag: v1
    signed_by: [build-key]
    expect: {push: allow, pull: allow, rule: production}
  - name: wrong
    repository: team/app
    tag: v1
    expect: {pull: allow}
";
    let test = |text: &str| {
        let path = "/api/v1/policy/test";
        desk.operator().request("POST", path, &[], text.to_owned())
    };
    let tested = test(cases).expect(200).json();
    assert_eq!(
        (&tested["passed"], &tested["failed"]),
        (&json!(1), &json!(1)),
        "{tested}"
    );
    test("cases: 1").expect(400);

    let trust = desk
        .operator()
        .get("/api/v1/trust/check")
        .expect(200)
        .json();
    assert_eq!(trust["mistakes"], json!([]));
    assert!(trust["trust"].is_object(), "{trust}");
}

#[test]
fn the_status_of_a_repository_names_rules_and_marks() {
    let desk = Desk::open();
    let repository = desk.regseal.endpoint.repository(ALICE, APP);
    let image = repository.push_image("v1");
    let status = || {
        let path = format!("/api/v1/status?repository={APP}");
        desk.operator().get(&path).expect(200).json()
    };
    let marked = status();
    assert_eq!(marked["repository"], APP);
    assert_eq!(marked["rules"], json!(["production"]));
    let [mark] = marked["marks"].as_array().unwrap().as_slice() else {
        panic!("one mark: {marked}")
    };
    assert_eq!(mark["tag"], "v1");
    assert_eq!(mark["digest"], json!(image.digest()));
    assert_eq!(mark["rule"], "production");
    assert_ne!(mark["missing"], json!([]));
    assert!(mark["at"].as_str().unwrap().ends_with('Z'), "{mark}");
    for revision in ["policy_revision", "trust_revision"] {
        assert_eq!(marked[revision].as_str().unwrap().len(), 16, "{marked}");
    }
    desk.sign_with_notation(&image);
    assert_eq!(status()["marks"], json!([]));
    let none = desk.operator().get("/api/v1/status?repository=other");
    let none = none.expect(200).json();
    assert_eq!((&none["rules"], &none["marks"]), (&json!([]), &json!([])));
    desk.operator()
        .get("/api/v1/status?repository=Other")
        .expect(400);
}

/// The registry decides who may read, regseal itself too; and its account is shown to no token service but its own.
#[test]
fn regseal_reads_with_its_own_account() {
    let (realm, none) = (true, false);
    for (auth, user, is_listed, expected) in [
        (Auth::Basic, Some(ALICE), none, 200),
        (Auth::Basic, None, none, 502),
        (Auth::Token, Some(ALICE), realm, 200),
        (Auth::Token, Some(ALICE), none, 502),
        (Auth::Token, Some(EVE), realm, 502),
        (Auth::Token, None, realm, 502),
    ] {
        let desk = Desk::with(auth, |registry| {
            let account = user.map(|user| {
                let (name, password) = (user.name, user.password);
                format!(
                    "upstream: {{service_account: {{username: {name}, password: {password}}}}}\n"
                )
            });
            let listed = is_listed.then(|| {
                let realm = registry.tokens().realm();
                format!("auth: {{token_relay: \"off\", realms: [{realm:?}]}}\n")
            });
            account.into_iter().chain(listed).collect()
        });
        let image = desk
            .registry
            .endpoint
            .repository(ALICE, APP)
            .push_image("v1");
        desk.sign_with_notation(&image);
        let reply = desk.explain("team/app:v1").expect(expected);
        if expected == 200 {
            assert_eq!(reply.json()["signed"], true, "{reply:?}");
        } else {
            let message = reply.json().to_string();
            assert!(message.contains("service_account"), "{reply:?}");
        }
    }
}

/// What was refused is not in the registry, and those who have to sign it want to know why.
#[test]
fn what_was_rejected_at_its_push_is_explained_by_its_digest() {
    let desk = Desk::open();
    let repository = desk.regseal.endpoint.repository(ALICE, "strict/app");
    let image = repository.image();
    repository.put_manifest("v1", &image).refused(403, "DENIED");
    desk.explain("strict/app:v1")
        .refused(404, "MANIFEST_UNKNOWN");
    let reference = format!("strict/app:v1@{}", image.digest());
    let explained = desk.explain(&reference).expect(200).json();
    assert_eq!(explained["rule"], "strict");
    assert_eq!(explained["on_push"], "reject", "{explained}");
    assert_eq!(explained["decision"], "deny", "{explained}");
    ended(&desk.ask(&["verify", &reference]), 1);
    let simulated = desk.operator().request(
        "POST",
        "/api/v1/policy/simulate",
        &[],
        json!({"repository": "strict/app", "tag": "v1", "digest": image.digest()}).to_string(),
    );
    assert_eq!(simulated.expect(200).json()["push"], "reject");
    let metrics = desk.regseal.admin.get("/metrics").expect(200);
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let pulls = metrics
        .lines()
        .filter(|line| line.contains("decision=\"deny\"") && line.contains("action=\"pull\""));
    assert_eq!(pulls.count(), 0, "an explanation is no pull: {metrics}");
}

/// What was signed past regseal is found, as it is for clients.
#[test]
fn signatures_from_before_are_explained() {
    let desk = Desk::open();
    let behind = desk.registry.endpoint.repository(ALICE, APP);
    let image = behind.push_image("v1");
    let reference = format!(
        "{}/{APP}@{}",
        desk.registry.endpoint.authority,
        image.digest()
    );
    desk.notation
        .run(["sign", "--force-referrers-tag=true", &reference])
        .success();
    let explained = desk.explain("team/app:v1").expect(200).json();
    assert_eq!(explained["signed"], true, "{explained}");
}

#[test]
fn without_a_policy_signatures_are_shown_and_nothing_is_asked_for() {
    let registry = Registry::with(Auth::None);
    let files = TempDir::with_prefix("desk-").unwrap();
    write(&files, "token", TOKEN);
    let config = format!("admin: {{token_file: {:?}}}\n", files.path().join("token"));
    let regseal = Regseal::builder(&registry).config(&config).start();
    let repository = regseal.endpoint.repository(ALICE, APP);
    let image = repository.push_image("v1");
    repository.attach(NOTATION, &image);
    let operator = regseal.admin.bearer(TOKEN);
    let explained = operator.get("/api/v1/explain?reference=team/app:v1");
    let explained = explained.expect(200).json();
    assert_eq!(explained["rule"], Value::Null);
    assert_eq!(explained["decision"], "allow");
    assert_eq!(
        explained["signatures"][0]["family"], "notation",
        "{explained}"
    );
    assert_ne!(explained["signatures"][0]["verdict"], "valid");
    operator.get("/api/v1/trust/check").expect(409);
    operator
        .request("POST", "/api/v1/policy/test", &[], "")
        .expect(409);
}

#[test]
fn the_stores_are_asked_without_a_running_regseal_and_beside_one() {
    let mut desk = Desk::with(Auth::Basic, |_| String::new());
    let repository = desk.regseal.endpoint.repository(ALICE, APP);
    let [signed, _] = ["v1", "v2"].map(|tag| repository.push_image(tag));
    desk.sign_with_notation(&signed);
    let home = TempDir::with_prefix("home-").unwrap();
    std::fs::create_dir(home.path().join(".docker")).unwrap();
    let pair = format!("{}:{}", ALICE.name, ALICE.password);
    let auth = Base64::encode_string(pair.as_bytes());
    let docker = json!({"auths": {&desk.registry.endpoint.authority: {"auth": auth}}});
    std::fs::write(home.path().join(".docker/config.json"), docker.to_string()).unwrap();
    let ask = |desk: &Desk, arguments: &[&str], home: Option<&Path>| {
        let mut asked = command();
        asked
            .args(arguments)
            .args(["--offline", "--upstream", &desk.registry.url(), "--data"])
            .arg(desk.regseal.data())
            .arg("--config")
            .arg(desk.files.path().join("regseal.yaml"));
        asked.envs(home.map(|home| ("HOME", home)));
        asked.output().unwrap()
    };
    for beside in [true, false] {
        if !beside {
            desk.regseal.terminate();
        }
        let home = Some(home.path());
        let (out, _) = ended(&ask(&desk, &["verify", "team/app:v1"], home), 0);
        assert!(out.contains("release-team"), "{beside}: {out}");
        ended(&ask(&desk, &["verify", "team/app:v2"], home), 1);
        let (out, _) = ended(
            &ask(&desk, &["explain", "-o", "json", "team/app:v1"], home),
            0,
        );
        let explained: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(explained["digest"], json!(signed.digest()));
        ended(&ask(&desk, &["verify", "team/app:absent"], home), 3);
        let (_, err) = ended(&ask(&desk, &["verify", "team/app:v1"], None), 3);
        assert!(err.contains("service_account"), "{err}");
    }
}
