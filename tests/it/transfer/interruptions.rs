//! Imports that are cut off, put off, and refused at times.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::{Shelf, empty_data, import_from, problems, report};
use crate::support::gate::{Gate, Verdict};
use crate::support::images::{NOTATION, digests, index_of};
use crate::support::{ALICE, Auth, PATIENCE, Registry, Regseal, wait_for};

#[test]
fn killed_in_the_middle_it_goes_on_where_it_was() {
    let registry = Registry::with(Auth::None);
    let shelf = Shelf::of(registry.endpoint.repository(ALICE, "app"));
    let tags: Vec<String> = (0..450).map(|n| format!("t{n:03}")).collect();
    for tag in &tags {
        shelf.put(tag);
    }
    let image = shelf.put("u");
    let signature = shelf.repository.attach(NOTATION, &image);
    let list = index_of([&signature]);
    shelf
        .repository
        .put_manifest(&image.companion_tag(""), &list)
        .expect(201);
    let gate = Gate::before(&registry);
    // The third part is never answered.
    gate.rule(|asked| match asked.path.ends_with("/manifests/t350") {
        true => Verdict::PassAfter(PATIENCE * 10),
        false => Verdict::Pass,
    });
    let data = empty_data();
    let mut import = import_from(&gate.endpoint, data.path());
    let mut child = import
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut seen, mut waited) = (Vec::new(), 0);
    wait_for("the tag that is not answered", || {
        seen.extend(gate.seen());
        waited += 1;
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?}");
        seen.iter()
            .any(|asked| asked.path.ends_with("/t350"))
            .then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    gate.open();
    gate.seen();
    let mut import = import_from(&gate.endpoint, data.path());
    let done = report(&import.output().unwrap(), 0);
    assert_eq!(done["tags"], 452, "{done:#}");
    assert_eq!(done["stored"], 1);
    assert_eq!(done["inventory"], "finished");
    let second = gate.seen();
    let twice: Vec<&String> = tags[..199]
        .iter()
        .filter(|tag| {
            second
                .iter()
                .any(|asked| asked.path.ends_with(&format!("/manifests/{tag}")))
        })
        .collect();
    assert_eq!(
        twice,
        Vec::<&String>::new(),
        "what is done is not asked for again"
    );
    let mut regseal = import_from(&gate.endpoint, data.path());
    let again = report(&regseal.output().unwrap(), 0);
    assert_eq!(
        (&again["stored"], &again["already_there"]),
        (&json!(0), &json!(1))
    );
}

#[test]
fn a_registry_that_limits_and_fails_at_times_is_asked_again() {
    let registry = Registry::with(Auth::None);
    let app = registry.endpoint.repository(ALICE, "app");
    let mut subjects = Vec::new();
    for tag in ["v1", "v2", "v3"] {
        let image = app.push_image(tag);
        let signature = app.attach(NOTATION, &image);
        let list = index_of([&signature]);
        app.put_manifest(&image.companion_tag(""), &list)
            .expect(201);
        subjects.push((image, signature));
    }
    let gate = Gate::before(&registry);
    let asked_so_far = Arc::new(Mutex::new(std::collections::HashMap::new()));
    let limited = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&limited);
    gate.rule(move |asked| {
        if asked.path == "/v2/" {
            return Verdict::Pass;
        }
        let mut times = asked_so_far.lock().unwrap();
        let times: &mut usize = times.entry(asked.path.clone()).or_default();
        *times += 1;
        match *times {
            1 => {
                count.fetch_add(1, Ordering::Relaxed);
                let wait = vec![("Retry-After", "0".to_owned())];
                Verdict::Answer(429, wait, "{}".to_owned())
            }
            2 => Verdict::refuse(500, "UNKNOWN", asked),
            _ => Verdict::Pass,
        }
    });
    let regseal = Regseal::at(&gate.endpoint).start();
    let run = ["import", "--offline", "-o", "json"];
    let done = report(&regseal.run(&run), 0);
    assert_eq!(
        (&done["stored"], &done["tags"]),
        (&json!(3), &json!(6)),
        "{done:#}"
    );
    assert!(limited.load(Ordering::Relaxed) > 6);
    gate.open();
    let through = regseal.endpoint.repository(ALICE, "app");
    for (image, signature) in &subjects {
        assert_eq!(digests(&through.referrers(image)), [signature.digest()]);
    }
}

#[test]
fn what_fails_to_the_end_is_named_and_leaves_the_inventory_open() {
    let registry = Registry::with(Auth::None);
    let app = registry.endpoint.repository(ALICE, "app");
    app.push_image("v1");
    app.push_image("v2");
    let gate = Gate::before(&registry);
    gate.rule(|asked| match asked.path.ends_with("/manifests/v1") {
        true => Verdict::refuse(500, "UNKNOWN", asked),
        false => Verdict::Pass,
    });
    let data = empty_data();
    let failed = import_from(&gate.endpoint, data.path()).output().unwrap();
    let failed = report(&failed, 1);
    assert_eq!(
        problems(&failed, "failed"),
        ["app:v1: the registry answered 500 Internal Server Error"]
    );
    assert_eq!(failed["inventory"], "partial");
    gate.open();
    let done = import_from(&gate.endpoint, data.path()).output().unwrap();
    assert_eq!(report(&done, 0)["inventory"], "finished");
}
