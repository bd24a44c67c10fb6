//! What an import takes over, and what not.

use serde_json::{Value, json};

use super::{Shelf, empty_data, import_from, offline, problems, report};
use crate::support::clients::{Tool, cosign2, cosign3, notation, oras, regctl};
use crate::support::gate::{Gate, Verdict};
use crate::support::images::{
    BUNDLE, COSIGN_LAYER, NOTATION, SBOM, artifact_of, digests, index_of, sha256,
};
use crate::support::regseal::command;
use crate::support::{ALICE, Auth, Content, Registry, Regseal, Repository};

const OFFLINE: [&str; 4] = ["import", "--offline", "-o", "json"];

/// Of a registry that lists no repositories.
fn all_of(name: &str) -> Vec<&str> {
    let named = ["--complete-list", "--repository", name];
    OFFLINE.into_iter().chain(named).collect()
}

/// An image that was signed, and described, with the programs people use, without any regseal.
struct Left {
    image: Content,
    notation: Tool,
}

fn sign_directly(registry: &Registry, reference: &str) -> Left {
    let direct = &registry.endpoint;
    let (name, tag) = reference.split_once(':').unwrap();
    let image = direct.repository(ALICE, name).push_image(tag);
    let notation = notation(direct, ALICE);
    notation
        .run(["sign", &notation.reference(reference)])
        .success();
    let (older, newer) = (cosign2(direct, ALICE), cosign3(direct, ALICE));
    let at = format!("{}/{name}@{}", direct.authority, image.digest());
    let sign = ["sign", "--key", "cosign.key", "--tlog-upload=false", "-y"];
    older.run(sign.iter().chain(&[at.as_str()])).success();
    let more = ["--use-signing-config=false", at.as_str()];
    newer.run(sign.iter().chain(&more)).success();
    let oras = oras(direct, ALICE);
    oras.file("sbom.json", "{}");
    let attach = [
        "attach",
        "--artifact-type",
        SBOM,
        &at,
        "sbom.json:application/json",
    ];
    oras.run(attach).success();
    let regctl = regctl(direct, ALICE);
    regctl.file("note.txt", "a note");
    let put = ["artifact", "put", "--artifact-type", "application/x-note"];
    let what = ["--file", "note.txt", "--subject", at.as_str()];
    regctl.run(put.iter().chain(&what)).success();
    Left { image, notation }
}

#[test]
fn what_the_programs_people_use_have_left_is_taken_over() {
    for (mut registry, has_api) in [
        (Registry::with(Auth::None), false),
        (Registry::with_referrers_api(), true),
    ] {
        let left = sign_directly(&registry, "team/app:v1");
        let regseal = Regseal::before(&registry);
        let imported = report(&regseal.run(&all_of("team/app")), 0);
        // notation writes its tag whatever the registry has: that signature is found in two ways, and counted once.
        let found = |way: &str| imported["referrers"][way].as_u64().unwrap();
        assert_eq!(found("native") + found("fallback_tags"), 4, "{imported:#}");
        assert_eq!(found("native") > 0, has_api, "{imported:#}");
        assert_eq!((found("cosign_tags"), found("tagged")), (1, 0));
        assert_eq!(imported["stored"], 5);
        assert_eq!(imported["repositories"], 1);
        assert_eq!(imported["inventory"], "finished");
        let again = report(&regseal.run(&all_of("team/app")), 0);
        assert_eq!(
            (&again["stored"], &again["already_there"]),
            (&json!(0), &json!(5))
        );

        let app = regseal.endpoint.repository(ALICE, "team/app");
        let listed = app.referrers(&left.image);
        assert_eq!(listed.len(), 4, "{listed:#?}");
        let reference = format!(
            "{}/team/app@{}",
            regseal.endpoint.authority,
            left.image.digest()
        );
        left.notation.run(["verify", &reference]).success();
        // From here on there is nothing but regseal, and what the registry has decided a moment ago.
        registry.kill();
        let tag = left.image.companion_tag(".sig");
        let mut kept = vec![app.get_manifest(&tag).expect(200)];
        for signature in listed.iter().filter(|descriptor| is_signature(descriptor)) {
            kept.push(
                app.get_manifest(signature["digest"].as_str().unwrap())
                    .expect(200),
            );
        }
        assert_eq!(kept.len(), 3, "cosign's two and notation's");
        for manifest in kept {
            let manifest = manifest.json();
            let layers = manifest["layers"].as_array().unwrap();
            for blob in layers.iter().chain([&manifest["config"]]) {
                let digest = blob["digest"].as_str().unwrap();
                let bytes = app.get_blob(digest).expect(200).body;
                assert_eq!(sha256(&bytes), digest);
            }
        }
    }
}

fn is_signature(descriptor: &Value) -> bool {
    descriptor["artifactType"] == NOTATION || descriptor["artifactType"] == BUNDLE
}

#[test]
fn what_lies_about_itself_is_skipped_and_named() {
    let registry = Registry::with(Auth::None);
    let app = registry.endpoint.repository(ALICE, "app");
    let shelf = Shelf::of(app.clone());
    let (image, other) = (app.push_image("v1"), app.push_image("v2"));
    let right = app.attach(NOTATION, &image);
    let elsewhere = app.attach(NOTATION, &other);
    let gone = app.attach(NOTATION, &image);
    let list = index_of([&right, &elsewhere, &image, &gone]);
    app.put_manifest(&image.companion_tag(""), &list)
        .expect(201);
    app.delete_manifest(&gone.digest()).expect(202);
    // An image, an SBOM of two layers and a signature without its payload.
    app.put_manifest(&image.companion_tag(".sig"), &other)
        .expect(201);
    let payload = Content::random(COSIGN_LAYER);
    app.push_blob(&payload);
    let two = artifact_of(SBOM, None, &shelf.config, &payload);
    app.put_manifest(&image.companion_tag(".att"), &two)
        .expect(201);
    let mut wrong = artifact_of(NOTATION, Some(&other), &shelf.config, &shelf.layer).json();
    wrong["layers"][0]["size"] = json!(1);
    wrong["config"]["mediaType"] = json!(NOTATION);
    let wrong = Content::manifest(&wrong);
    let put = app.put_manifest(&wrong.digest(), &wrong);
    let sized_wrongly = put.status == 201;
    if sized_wrongly {
        let list = index_of([&elsewhere, &wrong]);
        app.put_manifest(&other.companion_tag(""), &list)
            .expect(201);
    }

    // The gate gives one signature other bytes than its digest says.
    let gate = Gate::before(&registry);
    let forged = app.attach(NOTATION, &other);
    let list = index_of([&elsewhere, &wrong, &forged]);
    app.put_manifest(&other.companion_tag(""), &list)
        .expect(201);
    let path = app.path(&format!("manifests/{}", forged.digest()));
    let (instead, kind) = (forged.bytes.to_vec(), forged.media_type.clone());
    gate.rule(move |asked| {
        if asked.path != path {
            return Verdict::Pass;
        }
        let text = String::from_utf8(instead.clone())
            .unwrap()
            .replacen("2026", "2027", 1);
        Verdict::Answer(200, vec![("Content-Type", kind.clone())], text)
    });
    let regseal = Regseal::at(&gate.endpoint).start();
    let imported = report(&regseal.run(&OFFLINE), 1);
    let fallback = format!("app:{}", image.companion_tag(""));
    let second = format!("app:{}", other.companion_tag(""));
    let mut expected = vec![
        format!(
            "{fallback} -> {}: its subject is {}",
            elsewhere.digest(),
            other.digest()
        ),
        format!("{fallback} -> {}: it has no subject", image.digest()),
        format!(
            "{fallback} -> {}: the registry has no such manifest",
            gone.digest()
        ),
        format!(
            "app:{}: it is not what cosign keeps under such a tag",
            image.companion_tag(".att")
        ),
        format!(
            "app:{}: it is not what cosign keeps under such a tag",
            image.companion_tag(".sig")
        ),
        format!(
            "{second} -> {}: what the registry has there has another digest",
            forged.digest()
        ),
        format!(
            "app@{}: its blob {} has {} bytes, not 1",
            wrong.digest(),
            shelf.layer.digest(),
            shelf.layer.bytes.len()
        ),
    ];
    expected.sort();
    assert!(sized_wrongly, "the registry takes any size: {put:?}");
    assert_eq!(problems(&imported, "skipped"), expected);
    assert_eq!(problems(&imported, "failed"), Vec::<String>::new());
    assert_eq!(imported["stored"], 2);
    let through = regseal.endpoint.repository(ALICE, "app");
    let kept = |subject: &Content| digests(&through.referrers(subject));
    assert_eq!(kept(&image), [right.digest()]);
    assert!(!kept(&other).contains(&forged.digest()));
    through
        .get_manifest(&image.companion_tag(".att"))
        .expect(200);
}

#[test]
fn a_dry_run_changes_nothing() {
    let registry = Registry::with(Auth::None);
    let app = registry.endpoint.repository(ALICE, "app");
    let image = app.push_image("v1");
    let signature = app.attach(NOTATION, &image);
    app.put_manifest(&image.companion_tag(""), &index_of([&signature]))
        .expect(201);
    let data = empty_data();
    let files = || {
        let mut all = Vec::new();
        let mut folders = vec![data.path().join("objects")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => all.push(path),
                }
            }
        }
        all
    };
    for _ in 0..2 {
        let mut import = import_from(&registry.endpoint, data.path());
        let dry = report(&import.arg("--dry-run").output().unwrap(), 0);
        assert_eq!(
            (&dry["stored"], &dry["inventory"]),
            (&json!(1), &json!("partial"))
        );
        assert_eq!(files(), Vec::<std::path::PathBuf>::new());
    }
    let done = import_from(&registry.endpoint, data.path())
        .output()
        .unwrap();
    assert_eq!(report(&done, 0)["stored"], 1);
    let before = files();
    let mut import = import_from(&registry.endpoint, data.path());
    let dry = report(&import.arg("--dry-run").output().unwrap(), 0);
    assert_eq!(
        (&dry["stored"], &dry["already_there"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(files().len(), before.len());
}

#[test]
fn on_a_fresh_machine_an_import_makes_the_store_and_nothing_else_does() {
    let registry = Registry::with(Auth::None);
    let app = registry.endpoint.repository(ALICE, "app");
    let image = app.push_image("v1");
    let signature = app.attach(NOTATION, &image);
    app.put_manifest(&image.companion_tag(""), &index_of([&signature]))
        .expect(201);
    let machine = tempfile::TempDir::new().unwrap();
    let data = machine.path().join("var/regseal");
    for (what, more) in [("import", Some("--dry-run")), ("export", None)] {
        let mut transfer = offline(what, &registry.endpoint, &data);
        let output = transfer.args(more).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("`regseal import --offline`"), "{said}");
        assert!(!data.exists());
    }
    let imported = import_from(&registry.endpoint, &data).output().unwrap();
    let imported = report(&imported, 0);
    assert_eq!(
        (&imported["stored"], &imported["inventory"]),
        (&json!(1), &json!("finished"))
    );
}

#[test]
fn the_last_line_says_what_has_become_of_the_inventory() {
    let registry = Registry::with(Auth::None);
    for name in ["app", "other"] {
        registry.endpoint.repository(ALICE, name).push_image("v1");
    }
    let data = empty_data();
    let url = format!("http://{}", registry.endpoint.authority);
    for (arguments, first, last) in [
        (
            &["--dry-run"][..],
            "2 repositories, 2 tags,",
            "the inventory would be finished",
        ),
        (
            &["--dry-run", "--repository", "app"],
            "1 repository, 1 tag,",
            "the inventory would not be finished: existing: allow could not be used",
        ),
        (
            &["--repository", "app"],
            "1 repository, 1 tag,",
            "the inventory is not finished: existing: allow cannot be used",
        ),
        (&[], "2 repositories,", "the inventory is finished"),
        (
            &["--repository", "app"],
            "1 repository,",
            "the inventory of the earlier whole import stands",
        ),
        (
            &["--dry-run", "--renew-inventory"],
            "2 repositories,",
            "the inventory would be finished",
        ),
        (
            &["--renew-inventory"],
            "2 repositories,",
            "the inventory is finished",
        ),
    ] {
        let mut import = command();
        import.args(["import", "--offline", "--upstream", &url, "--data"]);
        let output = import.arg(data.path()).args(arguments).output();
        let said = String::from_utf8(output.unwrap().stdout).unwrap();
        assert!(said.starts_with(first), "{arguments:?}: {said}");
        assert_eq!(said.lines().last(), Some(last), "{arguments:?}");
    }
}

#[test]
fn what_was_deleted_through_regseal_does_not_come_back() {
    let registry = Registry::with(Auth::None);
    let regseal = Regseal::before(&registry);
    let app = regseal.endpoint.repository(ALICE, "app");
    let direct = registry.endpoint.repository(ALICE, "app");
    let image = direct.push_image("v1");
    let signature = direct.attach(NOTATION, &image);
    let list = index_of([&signature]);
    direct
        .put_manifest(&image.companion_tag(""), &list)
        .expect(201);
    assert_eq!(report(&regseal.run(&OFFLINE), 0)["stored"], 1);
    app.delete_manifest(&signature.digest()).expect(202);
    // Somebody pushes it past regseal once more.
    direct.push_manifest(&signature);
    let again = report(&regseal.run(&OFFLINE), 0);
    assert_eq!(
        (&again["stored"], &again["deleted"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(app.referrers(&image), Vec::<Value>::new());
}

#[test]
fn an_account_that_the_registry_knows_is_needed_and_used() {
    for auth in [Auth::Basic, Auth::Token] {
        let registry = Registry::with(auth);
        let app = registry.endpoint.repository(ALICE, "team/app");
        let image = app.push_image("v1");
        let signature = app.attach(NOTATION, &image);
        let list = index_of([&signature]);
        app.put_manifest(&image.companion_tag(""), &list)
            .expect(201);
        let data = empty_data();
        let mut import = import_from(&registry.endpoint, data.path());
        import.args(["--repository", "team/app"]);
        if auth == Auth::Token {
            let realms = format!("[{:?}]", registry.tokens().realm());
            import.env("REGSEAL__AUTH__REALMS", realms);
        }
        let nobody = report(&import.output().unwrap(), 1);
        assert_eq!(nobody["stored"], 0, "{auth:?}");
        assert!(problems(&nobody, "failed")[0].starts_with("team/app: the registry answered 40"));
        import.env("REGSEAL__UPSTREAM__SERVICE_ACCOUNT__USERNAME", ALICE.name);
        import.env(
            "REGSEAL__UPSTREAM__SERVICE_ACCOUNT__PASSWORD",
            ALICE.password,
        );
        let known = report(&import.output().unwrap(), 0);
        assert_eq!(known["stored"], 1, "{auth:?}");
    }
}

#[test]
fn a_wrong_command_and_an_absent_registry_have_statuses_of_their_own() {
    let data = empty_data();
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nowhere.local_addr().unwrap());
    drop(nowhere);
    let run = |arguments: &[&str]| {
        let mut import = command();
        import.args(["import", "--offline", "--upstream", &url]);
        import.arg("--data").arg(data.path()).args(arguments);
        let output = import.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    for (arguments, status, says) in [
        (&[][..], 3, "could not be reached"),
        (&["--repository", "A"], 2, "no repository"),
        (&["--repositories", "/nowhere/list"], 2, "cannot be read"),
        (&["--complete-list"], 2, "needs --repositories"),
        (&["--parallel", "0"], 2, "parallel"),
    ] {
        let (code, said) = run(arguments);
        assert_eq!(code, Some(status), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

#[test]
fn referrers_of_referrers_and_of_what_an_index_lists_are_found() {
    for registry in [Registry::with(Auth::None), Registry::with_referrers_api()] {
        let has_api = registry_has_api(&registry);
        let app = registry.endpoint.repository(ALICE, "app");
        let child = app.image();
        app.push_manifest(&child);
        app.put_manifest("v1", &index_of([&child])).expect(201);
        let of_child = attach(&app, SBOM, &child, has_api);
        let signed_sbom = attach(&app, NOTATION, &of_child, has_api);
        let regseal = Regseal::before(&registry);
        let imported = report(&regseal.run(&all_of("app")), 0);
        assert_eq!(imported["stored"], 2, "{imported:#}");
        let through = regseal.endpoint.repository(ALICE, "app");
        assert_eq!(
            digests(&through.referrers(&of_child)),
            [signed_sbom.digest()]
        );
    }
}

fn registry_has_api(registry: &Registry) -> bool {
    let app = registry.endpoint.repository(ALICE, "app");
    app.get_referrers(&sha256(b""), "").status == 200
}

fn attach(repository: &Repository, kind: &str, subject: &Content, has_api: bool) -> Content {
    let referrer = repository.attach(kind, subject);
    if !has_api {
        let list = index_of([&referrer]);
        repository
            .put_manifest(&subject.companion_tag(""), &list)
            .expect(201);
    }
    referrer
}
