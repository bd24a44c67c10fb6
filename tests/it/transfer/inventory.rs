//! `existing: allow`: what was there is served, and nothing that came later.

use serde_json::json;

use super::{empty_data, import_from, report};
use crate::support::images::index_of;
use crate::support::policy::{Desk, Policy};
use crate::support::stores::setting;
use crate::support::{ALICE, Auth, Registry, wait_for};

const CLOSED: &str = "\
  - {name: closed, repositories: [\"team/**\"], tags: [\"*\"], require: {all: [release]}, on_unsigned_push: warn, \
on_unsigned_pull: deny}
";
const EXISTING: &str = "\
  - {name: closed, repositories: [\"team/**\"], tags: [\"*\"], require: {all: [release]}, on_unsigned_push: warn, \
on_unsigned_pull: deny, existing: allow}
";
const OFFLINE: [&str; 4] = ["import", "--offline", "-o", "json"];

#[test]
fn what_was_there_is_served_and_what_came_later_is_not() {
    let registry = Registry::with(Auth::None);
    let direct = |name: &str| registry.endpoint.repository(ALICE, name);
    let old = direct("team/app").push_image("v1");
    let child = direct("team/app").image();
    direct("team/app").push_manifest(&child);
    let index = index_of([&child]);
    direct("team/app").put_manifest("multi", &index).expect(201);
    let elsewhere = direct("team/other").push_image("v1");
    let untagged = direct("team/app").image();
    direct("team/app").push_manifest(&untagged);

    let desk = Desk::of(ALICE, Auth::None);
    let policy = Policy::of(&desk, "", CLOSED);
    let mut regseal = policy.regseal(&registry).start();
    let endpoint = regseal.endpoint.clone();
    let through = |name: &str| endpoint.repository(ALICE, name);
    through("team/app")
        .get_manifest("v1")
        .refused(403, "DENIED");
    assert_eq!(report(&regseal.run(&OFFLINE), 0)["inventory"], "finished");
    policy.set(EXISTING);
    wait_for("the rule to be in force", || {
        (through("team/app").get_manifest("v1").status == 200).then_some(())
    });
    for (manifest, why) in [
        (&old, "a tag"),
        (&index, "an index"),
        (&child, "in an index"),
    ] {
        let reply = through("team/app").get_manifest(&manifest.digest());
        assert_eq!(reply.status, 200, "{why}: {reply:?}");
    }
    // The same bytes, in a repository that has not had them.
    let new = direct("team/app").push_image("v2");
    for name in ["team/app", "team/new"] {
        if name == "team/new" {
            for blob in [&elsewhere, &old] {
                let manifest = blob.json();
                for part in [&manifest["config"], &manifest["layers"][0]] {
                    let digest = part["digest"].as_str().unwrap();
                    let from = if blob.digest() == old.digest() {
                        "team/app"
                    } else {
                        "team/other"
                    };
                    let path = format!("/v2/team/new/blobs/uploads/?mount={digest}&from={from}");
                    direct(name)
                        .http
                        .request("POST", &path, &[], "")
                        .expect(201);
                }
            }
            direct(name).put_manifest("v1", &old).expect(201);
        }
    }
    // Imported once more, what is new does not pass for old.
    let again = report(&regseal.run(&OFFLINE), 0);
    assert_eq!(again["inventory"], "finished");
    through("team/other")
        .get_manifest(&elsewhere.digest())
        .expect(200);
    for (name, reference, why) in [
        ("team/app", "v2".to_owned(), "came later"),
        ("team/app", new.digest(), "came later, by digest"),
        (
            "team/new",
            "v1".to_owned(),
            "was there in another repository only",
        ),
        ("team/new", old.digest(), "the same by digest"),
        ("team/app", untagged.digest(), "no tag led to it"),
    ] {
        let reply = through(name).get_manifest(&reference);
        assert_eq!(reply.status, 403, "{why}: {reply:?}");
    }
    // With its inventory it starts.
    regseal.terminate();
    regseal.start_again();
    through("team/app").get_manifest("v1").expect(200);
    through("team/app")
        .get_manifest("v2")
        .refused(403, "DENIED");
    // Unless that is what is asked for.
    let renew = ["import", "--offline", "-o", "json", "--renew-inventory"];
    assert_eq!(report(&regseal.run(&renew), 0)["inventory"], "finished");
    wait_for("the decision before to be forgotten", || {
        (through("team/app").get_manifest("v2").status == 200).then_some(())
    });
}

#[test]
fn what_an_index_lists_and_the_registry_has_not_is_not_in_the_inventory() {
    let registry = Registry::with(Auth::None);
    let app = registry.endpoint.repository(ALICE, "team/app");
    let (there, foreseen) = (app.image(), app.image());
    for manifest in [&there, &foreseen] {
        app.push_manifest(manifest);
    }
    let index = index_of([&there, &foreseen]);
    app.put_manifest("multi", &index).expect(201);
    app.delete_manifest(&foreseen.digest()).expect(202);
    let data = empty_data();
    let imported = import_from(&registry.endpoint, data.path())
        .output()
        .unwrap();
    assert_eq!(report(&imported, 0)["inventory"], "finished");
    let existing = data.path().join("objects/v1/repos/team/app/_existing");
    let mut names: Vec<String> = std::fs::read_dir(existing)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut expected = [&there, &index].map(|manifest| manifest.companion_tag(""));
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn a_part_of_the_registry_finishes_no_inventory() {
    let registry = Registry::with(Auth::None);
    for name in ["team/app", "team/other"] {
        registry.endpoint.repository(ALICE, name).push_image("v1");
    }
    let data = empty_data();
    let run = |arguments: &[&str]| {
        let mut import = import_from(&registry.endpoint, data.path());
        report(&import.args(arguments).output().unwrap(), 0)
    };
    let one = run(&["--repository", "team/app"]);
    assert_eq!(
        (&one["inventory"], &one["repositories"]),
        (&json!("partial"), &json!(1))
    );
    let list = data.path().join("list");
    std::fs::write(&list, "team/app\n\n team/other\n").unwrap();
    let list = list.to_str().unwrap();
    let both = run(&["--repositories", list]);
    assert_eq!(
        (&both["inventory"], &both["tags"]),
        (&json!("partial"), &json!(2))
    );
    let all = run(&["--repositories", list, "--complete-list"]);
    assert_eq!(all["inventory"], "finished");
}

#[test]
fn without_an_inventory_the_start_names_the_command() {
    let registry = Registry::with(Auth::None);
    registry
        .endpoint
        .repository(ALICE, "team/app")
        .push_image("v1");
    let desk = Desk::of(ALICE, Auth::None);
    let policy = Policy::of(&desk, "", EXISTING);
    let data = empty_data();
    let mut serve = crate::support::regseal::command();
    let url = format!("http://{}", registry.endpoint.authority);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    serve
        .args(["--upstream", &url])
        .arg("--data")
        .arg(data.path());
    for (key, value) in policy.settings() {
        let (name, value) = setting(key, &value);
        serve.env(name, value);
    }
    let refused = serve.output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("existing: allow") && said.contains("`regseal import --offline`"),
        "{said}"
    );
    // The import itself needs none, though the rule is in force where it is run.
    let regseal_like = |import: &mut std::process::Command| {
        for (key, value) in policy.settings() {
            let (name, value) = setting(key, &value);
            import.env(name, value);
        }
        report(&import.output().unwrap(), 0)
    };
    let imported = regseal_like(&mut import_from(&registry.endpoint, data.path()));
    assert_eq!(imported["inventory"], "finished");
}

/// Whoever may push may give a manifest the tag of its own name, which no rule judges.
#[test]
fn a_tag_of_its_own_name_makes_nothing_old() {
    let registry = Registry::with(Auth::None);
    let direct = registry.endpoint.repository(ALICE, "team/app");
    let image = direct.image();
    direct.push_manifest(&image);
    let own = image.digest().replace(':', "-");
    direct.put_manifest(&own, &image).expect(201);
    direct.push_image("v1");

    let desk = Desk::of(ALICE, Auth::None);
    let policy = Policy::of(&desk, "", CLOSED);
    let regseal = policy.regseal(&registry).start();
    assert_eq!(report(&regseal.run(&OFFLINE), 0)["inventory"], "finished");
    policy.set(EXISTING);
    let through = regseal.endpoint.repository(ALICE, "team/app");
    wait_for("the rule to be in force", || {
        (through.get_manifest("v1").status == 200).then_some(())
    });
    through.get_manifest(&image.digest()).refused(403, "DENIED");
}
