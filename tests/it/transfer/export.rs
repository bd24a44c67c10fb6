//! What an export leaves in a registry, and what those find there who know nothing of regseal.

use std::process::Stdio;

use serde_json::{Value, json};

use super::{Shelf, empty_data, import_from, offline, problems, report};
use crate::support::clients::{Output, cosign2, cosign3, crane, notation, oras, skopeo};
use crate::support::gate::{Gate, Verdict};
use crate::support::images::{
    BUNDLE, CONFIG, COSIGN_LAYER, EMPTY, NOTATION, SBOM, artifact_of, digests, index_of, sha256,
};
use crate::support::regseal::command;
use crate::support::{
    ALICE, Auth, Content, PATIENCE, Registry, Regseal, Repository, Stores, wait_for,
};

const EXPORT: [&str; 4] = ["export", "--offline", "-o", "json"];

/// A cosign manifest with these layers, its blobs pushed.
fn cosign_manifest(repository: &Repository, layers: &[&Content]) -> Content {
    let config = Content::new(EMPTY, "{}");
    for blob in layers.iter().copied().chain([&config]) {
        repository.push_blob(blob);
    }
    let mut manifest = artifact_of(SBOM, None, &config, layers[0]).json();
    manifest.as_object_mut().unwrap().remove("artifactType");
    manifest["config"]["mediaType"] = json!(CONFIG);
    let descriptors: Vec<Value> = layers.iter().map(|layer| layer.descriptor()).collect();
    manifest["layers"] = json!(descriptors);
    Content::manifest(&manifest)
}

#[test]
fn what_was_captured_is_verified_when_regseal_has_gone() {
    for registry in [Registry::with(Auth::None), Registry::with_referrers_api()] {
        let direct = registry.endpoint.repository(ALICE, "team/app");
        let has_api = direct.get_referrers(&sha256(b""), "").status == 200;
        let mut regseal = Regseal::before(&registry);
        let through = regseal.endpoint.repository(ALICE, "team/app");
        let (image, older_image) = (through.push_image("v1"), through.push_image("v2"));
        let at =
            |authority: &str, image: &Content| format!("{authority}/team/app@{}", image.digest());
        let authority = regseal.endpoint.authority.clone();
        let notation = notation(&regseal.endpoint, ALICE);
        notation.run(["sign", &at(&authority, &image)]).success();
        let (older, newer) = (
            cosign2(&regseal.endpoint, ALICE),
            cosign3(&regseal.endpoint, ALICE),
        );
        let sign = ["sign", "--key", "cosign.key", "--tlog-upload=false", "-y"];
        let subject = at(&authority, &older_image);
        older.run(sign.iter().chain(&[subject.as_str()])).success();
        let subject = at(&authority, &image);
        let more = ["--use-signing-config=false", subject.as_str()];
        newer.run(sign.iter().chain(&more)).success();
        let attacher = oras(&regseal.endpoint, ALICE);
        attacher.file("sbom.json", "{}");
        let attach = [
            "attach",
            "--artifact-type",
            SBOM,
            &subject,
            "sbom.json:application/json",
        ];
        attacher.run(attach).success();

        let mut dry = EXPORT.to_vec();
        dry.push("--dry-run");
        let planned = report(&regseal.run(&dry), 0);
        let exported = report(&regseal.run(&EXPORT), 0);
        assert_eq!(
            (&exported["referrers"], &exported["cosign_tags"]),
            (&json!(2), &json!(1))
        );
        // Two signatures, the list of them, and the tag; a registry with the API was given the signatures at once.
        let written = if has_api { 1 } else { 4 };
        assert_eq!(
            (&planned["written"], &exported["written"]),
            (&json!(written), &json!(written))
        );
        let again = report(&regseal.run(&EXPORT), 0);
        assert_eq!(
            (&again["written"], &again["failed"]),
            (&json!(0), &json!([]))
        );
        regseal.kill();

        let bare = &registry.endpoint.authority;
        let key = ["verify", "--key", "cosign.pub", "--insecure-ignore-tlog"];
        notation.run(["verify", &at(bare, &image)]).success();
        newer
            .run(key.iter().chain(&[at(bare, &image).as_str()]))
            .success();
        older
            .run(key.iter().chain(&[at(bare, &older_image).as_str()]))
            .success();
        let discovered = attacher.run(["discover", "--format", "json", &at(bare, &image)]);
        let mut kinds: Vec<String> = discovered.success().json()["referrers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|referrer| referrer["artifactType"].as_str().unwrap().to_owned())
            .collect();
        kinds.sort();
        let mut expected = [BUNDLE, NOTATION, SBOM];
        expected.sort_unstable();
        assert_eq!(kinds, expected);
    }
}

#[test]
fn what_the_registry_has_under_the_tags_stays() {
    let registry = Registry::with(Auth::None);
    let regseal = Regseal::before(&registry);
    let direct = registry.endpoint.repository(ALICE, "app");
    let through = regseal.endpoint.repository(ALICE, "app");
    let image = direct.push_image("v1");
    // Pushed through regseal.
    let captured = through.attach(NOTATION, &image);
    let [ours, theirs] = [0, 1].map(|_| Content::random(COSIGN_LAYER));
    let tag = image.companion_tag(".sig");
    let manifest = cosign_manifest(&through, &[&ours]);
    through.put_manifest(&tag, &manifest).expect(201);
    let deleted = through.attach(NOTATION, &image);
    through.delete_manifest(&deleted.digest()).expect(202);
    // Pushed past it, where nobody has read since.
    let own = direct.attach(SBOM, &image);
    let mut list = index_of([&own]).json();
    list["annotations"] = json!({"whose": "the registry's"});
    let list = Content::manifest(&list);
    direct
        .put_manifest(&image.companion_tag(""), &list)
        .expect(201);
    let manifest = cosign_manifest(&direct, &[&theirs]);
    direct.put_manifest(&tag, &manifest).expect(201);
    // Tags that something else has.
    let foreign = direct.push_image("v2");
    let other = through.attach(NOTATION, &foreign);
    direct
        .put_manifest(&foreign.companion_tag(""), &image)
        .expect(201);

    let exported = report(&regseal.run(&EXPORT), 1);
    let expected = format!(
        "app:{}: the tag names something that is no list of referrers",
        foreign.companion_tag("")
    );
    assert_eq!(problems(&exported, "skipped"), [expected]);
    assert_eq!(problems(&exported, "failed"), Vec::<String>::new());
    let list = direct
        .get_manifest(&image.companion_tag(""))
        .expect(200)
        .json();
    let mut both = [captured.digest(), own.digest()];
    both.sort();
    assert_eq!(digests(list["manifests"].as_array().unwrap()), both);
    assert_eq!(list["annotations"]["whose"], "the registry's");
    let merged = direct.get_manifest(&tag).expect(200).json();
    let mut layers = [ours.digest(), theirs.digest()];
    layers.sort();
    assert_eq!(digests(merged["layers"].as_array().unwrap()), layers);
    direct
        .get_blob(merged["config"]["digest"].as_str().unwrap())
        .expect(200);
    direct.get_manifest(&deleted.digest()).expect(404);
    direct.get_manifest(&other.digest()).expect(200);
    // What is there is left alone, also when it is imported.
    let imported = regseal.run(&["import", "--offline", "-o", "json"]);
    report(&imported, 0);
    let again = report(&regseal.run(&EXPORT), 1);
    assert_eq!(again["written"], 0);
}

#[test]
fn killed_in_the_middle_an_export_finds_what_is_there() {
    let registry = Registry::with(Auth::None);
    let gate = Gate::before(&registry);
    // Two processes at once, so the stores of the environment, or a directory.
    let regseal = Regseal::at(&gate.endpoint)
        .stores(Stores::from_environment())
        .start();
    let through = regseal.endpoint.repository(ALICE, "app");
    let mut signed = Vec::new();
    for n in 0..12 {
        let image = through.push_image(&format!("v{n}"));
        signed.push((through.attach(NOTATION, &image), image));
    }
    let last = format!("/manifests/{}", signed[11].0.digest());
    gate.rule(move |asked| {
        match asked.method == http::Method::PUT && asked.path.ends_with(&last) {
            true => Verdict::PassAfter(PATIENCE * 10),
            false => Verdict::Pass,
        }
    });
    let mut export = regseal.command(&EXPORT);
    let mut child = export
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let direct = registry.endpoint.repository(ALICE, "app");
    let listed = |image: &Content| direct.get_manifest(&image.companion_tag("")).status == 200;
    wait_for("the others to be exported", || {
        assert!(child.try_wait().unwrap().is_none());
        signed[..11]
            .iter()
            .all(|(_, image)| listed(image))
            .then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    gate.open();
    let exported = report(&regseal.run(&EXPORT), 0);
    assert_eq!(
        (&exported["written"], &exported["already_there"]),
        (&json!(2), &json!(22))
    );
    for (signature, image) in &signed {
        let list = direct
            .get_manifest(&image.companion_tag(""))
            .expect(200)
            .json();
        assert_eq!(
            digests(list["manifests"].as_array().unwrap()),
            [signature.digest()]
        );
    }
}

#[test]
fn what_the_registry_refuses_goes_to_a_layout_that_others_read() {
    let registry = Registry::with(Auth::None);
    let gate = Gate::before(&registry);
    let regseal = Regseal::at(&gate.endpoint).start();
    let through = regseal.endpoint.repository(ALICE, "team/app");
    let image = through.push_image("v1");
    let signature = through.attach(NOTATION, &image);
    let layer = Content::random(COSIGN_LAYER);
    let tag = image.companion_tag(".sig");
    let manifest = cosign_manifest(&through, &[&layer]);
    through.put_manifest(&tag, &manifest).expect(201);
    let name = signature.digest();
    gate.rule(move |asked| {
        match asked.method == http::Method::PUT && asked.path.ends_with(&name) {
            true => Verdict::refuse(400, "MANIFEST_INVALID", asked),
            false => Verdict::Pass,
        }
    });
    let refused = report(&regseal.run(&EXPORT), 1);
    let refused = problems(&refused, "failed").concat();
    assert!(
        refused.contains("MANIFEST_INVALID by the gate"),
        "{refused}"
    );

    let oras = oras(&registry.endpoint, ALICE).bare();
    let home = oras.home().to_owned();
    let folder = |name: &str| home.join(name).display().to_string();
    let export = |more: &[&str]| {
        let arguments: Vec<&str> = EXPORT.iter().chain(more).copied().collect();
        report(&regseal.run(&arguments), 0)
    };
    let (some, all) = (folder("some"), folder("all"));
    let exported = export(&["--layout", &some]);
    assert_eq!(
        (&exported["layout"], &exported["already_there"]),
        (&json!(1), &json!(1))
    );
    for _ in 0..2 {
        let exported = export(&[
            "--layout",
            &all,
            "--layout-only",
            "--repository",
            "team/app",
        ]);
        assert_eq!(
            exported["layout"], 3,
            "signature, list and cosign tag: {exported}"
        );
    }
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    assert_eq!(
        read(&format!("{all}/oci-layout")),
        r#"{"imageLayoutVersion":"1.0.0"}"#
    );
    let index: Value = serde_json::from_str(&read(&format!("{all}/index.json"))).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 3, "{index:#}");

    // The subject is where they are copied to.
    let to = |tag: &str| oras.reference(&format!("team/app:{tag}"));
    let from = format!("{some}/team+app@{}", signature.digest());
    let copied = |output: Output| drop(output.success());
    let to_registry = ["--to-plain-http", &to("signature")];
    copied(
        oras.run(
            ["copy", "--from-oci-layout", &from]
                .iter()
                .chain(&to_registry),
        ),
    );
    let direct = registry.endpoint.repository(ALICE, "team/app");
    direct.get_manifest(&signature.digest()).expect(200);
    let skopeo = skopeo(&registry.endpoint, ALICE);
    let from = format!("oci:{all}:{tag}");
    copied(skopeo.run([
        "copy",
        "--preserve-digests",
        &from,
        &format!("docker://{}", to("by-skopeo")),
    ]));
    assert_eq!(
        direct.get_manifest("by-skopeo").expect(200).body,
        manifest.bytes
    );
    let crane = crane(&registry.endpoint, ALICE);
    copied(crane.run(["push", "--index", &all, &to("by-crane")]));
    let pushed = direct.get_manifest("by-crane").expect(200).json();
    assert!(digests(pushed["manifests"].as_array().unwrap()).contains(&manifest.digest()));
}

#[test]
fn what_was_imported_and_is_lost_is_given_again_or_named() {
    let registry = Registry::with(Auth::None);
    let direct = registry.endpoint.repository(ALICE, "app");
    let shelf = Shelf::of(direct.clone());
    let image = direct.push_image("v1");
    let config = Content::new(NOTATION, "{}");
    let signature = artifact_of(NOTATION, Some(&image), &config, &shelf.layer);
    let with_its_blobs = artifact_of(SBOM, Some(&image), &shelf.config, &shelf.layer);
    for referrer in [&signature, &with_its_blobs] {
        direct
            .put_manifest(&referrer.digest(), referrer)
            .expect(201);
    }
    let bare = direct.attach(SBOM, &image);
    let all = [&signature, &with_its_blobs, &bare];
    let (list, tag) = (index_of(all), image.companion_tag(""));
    direct.put_manifest(&tag, &list).expect(201);
    let data = empty_data();
    let mut import = import_from(&registry.endpoint, data.path());
    assert_eq!(report(&import.output().unwrap(), 0)["stored"], 3);
    let sorted = |contents: &[&Content]| {
        let mut digests: Vec<String> = contents.iter().map(|content| content.digest()).collect();
        digests.sort();
        digests
    };
    let listed = |repository: &Repository| {
        let list = repository.get_manifest(&tag).expect(200).json();
        digests(list["manifests"].as_array().unwrap())
    };

    // Manifests alone are lost: the registry has the blobs.
    for lost in [&list, &with_its_blobs, &bare] {
        direct.delete_manifest(&lost.digest()).expect(202);
    }
    for dry_run in [true, false] {
        let mut export = offline("export", &registry.endpoint, data.path());
        export.args(dry_run.then_some("--dry-run"));
        let exported = report(&export.output().unwrap(), 0);
        assert_eq!(
            (&exported["written"], &exported["already_there"]),
            (&json!(3), &json!(1)),
            "{exported:#}"
        );
        let status = if dry_run { 404 } else { 200 };
        direct.get_manifest(&bare.digest()).expect(status);
    }
    assert_eq!(listed(&direct), sorted(&all));

    // Another registry has nothing, and regseal has the blobs of signatures alone.
    let other = Registry::with(Auth::None);
    let reason = "the registry has lost it, and regseal has its manifest only";
    for (dry_run, written) in [(true, 3), (false, 3), (false, 0)] {
        let mut export = offline("export", &other.endpoint, data.path());
        export.args(dry_run.then_some("--dry-run"));
        let exported = report(&export.output().unwrap(), 1);
        assert_eq!(
            problems(&exported, "failed"),
            [format!("app@{}: {reason}", bare.digest())]
        );
        assert_eq!(exported["written"], written, "{exported:#}");
    }
    let there = other.endpoint.repository(ALICE, "app");
    assert_eq!(listed(&there), sorted(&[&signature, &with_its_blobs]));
}

#[test]
fn a_repository_of_which_nothing_is_known_is_named() {
    let registry = Registry::with(Auth::None);
    let data = empty_data();
    let app = registry.endpoint.repository(ALICE, "app/nested");
    app.push_image("v1");
    let mut import = import_from(&registry.endpoint, data.path());
    report(&import.output().unwrap(), 0);
    let export = |name: &str, status: i32| {
        let mut export = offline("export", &registry.endpoint, data.path());
        report(
            &export.args(["--repository", name]).output().unwrap(),
            status,
        )
    };
    assert_eq!(export("app/nested", 0)["skipped"], json!([]));
    for unknown in ["nope/zz", "app"] {
        let exported = export(unknown, 1);
        assert_eq!(
            problems(&exported, "skipped"),
            [format!(
                "{unknown}: regseal knows nothing of such a repository"
            )]
        );
    }
}

#[test]
fn what_cannot_be_asked_for_is_refused() {
    for (arguments, says) in [
        (&["--layout", "d"][..], "--offline"),
        (&["--offline", "--layout-only"], "--layout"),
        (
            &[
                "--offline",
                "--repository",
                "A",
                "--upstream",
                "http://127.0.0.1:1",
            ],
            "no repository",
        ),
    ] {
        let output = command().arg("export").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}
