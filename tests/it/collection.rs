//! What nothing refers to any more is collected, beside a regseal that goes on; what is referred to is not.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::images::NOTATION;
use crate::support::regseal::command;
use crate::support::{ALICE, Auth, BOB, Content, Registry, Regseal, Repository, wait_for};

const APP: &str = "team/app";
/// Times that only a test can want: what was touched three seconds ago may go.
const IMPATIENT: &str = "gc: {between_scans: 1ms, untouched: 3s}";

/// The exit status of `regseal gc`, and what it says as JSON.
fn collect(regseal: &Regseal, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = regseal.run(&[&["gc", "-o", "json"], arguments].concat());
    let said = serde_json::from_slice(&output.stdout);
    let said =
        said.unwrap_or_else(|_| panic!("gc said {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), said)
}

/// The file of a stored blob.
fn stored(regseal: &Regseal, blob: &str) -> PathBuf {
    let hex = blob.strip_prefix("sha256:").unwrap();
    let folder = regseal.objects().join("v1/blobs/sha256").join(&hex[..2]);
    folder.join(hex)
}

fn layer(signature: &Content) -> String {
    signature.json()["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Fails unless a signature is listed and readable with all it names.
#[track_caller]
fn assert_whole(repository: &Repository, subject: &Content, signature: &Content) {
    let listed = repository.referrers(subject);
    assert!(listed.contains(&signature.as_referrer()), "{listed:?}");
    let read = repository.get_manifest(&signature.digest()).expect(200);
    assert_eq!(read.body, signature.bytes);
    repository.get_blob(&layer(signature)).expect(200);
}

#[test]
fn a_deleted_signature_is_collected_with_its_blobs_and_no_other() {
    let registry = Registry::with(Auth::None);
    let regseal = Regseal::builder(&registry).config(IMPATIENT).start();
    let repository = regseal.endpoint.repository(ALICE, APP);
    let image = repository.push_image("v1");
    let [kept, gone] = [(); 2].map(|()| repository.attach(NOTATION, &image));
    repository.delete_manifest(&gone.digest()).expect(202);

    let garbage = [gone.digest(), layer(&gone)].map(|digest| stored(&regseal, &digest));
    // The manifest, and the link to its blob; the blob itself follows when nothing links it any more.
    wait_for("a dry run to find the garbage", || {
        let (status, said) = collect(&regseal, &["--dry-run"]);
        assert_eq!(status, Some(0), "{said}");
        assert_eq!(said["dry_run"], true);
        (said["candidates"].as_u64()? == 2).then_some(())
    });
    assert!(garbage.iter().all(|file| file.exists()), "it was dry");
    wait_for("the garbage to be collected", || {
        let (status, said) = collect(&regseal, &[]);
        assert_eq!(status, Some(0), "{said}");
        garbage.iter().all(|file| !file.exists()).then_some(())
    });
    assert_whole(&repository, &image, &kept);
    assert_eq!(repository.referrers(&image).len(), 1);
    let (status, said) = collect(&regseal, &["--dry-run", "--scrub"]);
    assert_eq!(status, Some(0), "{said}");

    // The config that both named was never garbage, and what was deleted can be signed again.
    repository.push_blob(&Content::new(NOTATION, "{}"));
    let again = repository.attach(NOTATION, &image);
    assert_whole(&repository, &image, &again);
}

#[test]
fn a_collector_takes_nothing_from_those_who_push_meanwhile() {
    let registry = Registry::with(Auth::None);
    let regseal = Regseal::builder(&registry).config(IMPATIENT).start();
    let repository = regseal.endpoint.repository(ALICE, APP);
    let image = repository.push_image("v1");
    let ended = AtomicBool::new(false);
    let kept: Vec<Content> = std::thread::scope(|scope| {
        let signers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let signed = (0..12).map(|_| {
                        let [kept, gone] = [(); 2].map(|()| repository.attach(NOTATION, &image));
                        repository.delete_manifest(&gone.digest()).expect(202);
                        kept
                    });
                    signed.collect::<Vec<_>>()
                })
            })
            .collect();
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let (status, said) = collect(&regseal, &[]);
                assert_eq!(status, Some(0), "{said}");
            }
        });
        let signed = signers.into_iter().map(|signer| signer.join());
        let signed: Vec<_> = signed.collect();
        ended.store(true, Ordering::Relaxed);
        signed.into_iter().flat_map(Result::unwrap).collect()
    });
    wait_for("garbage to be collected", || {
        let (_, said) = collect(&regseal, &[]);
        (said["deleted"].as_u64()? > 0).then_some(())
    });
    assert_eq!(repository.referrers(&image).len(), kept.len());
    for signature in &kept {
        assert_whole(&repository, &image, signature);
    }
    let (status, said) = collect(&regseal, &["--dry-run", "--scrub"]);
    assert_eq!(status, Some(0), "{said}");
}

#[test]
fn a_scrub_names_what_is_damaged_or_missing() {
    let registry = Registry::with(Auth::None);
    let regseal = Regseal::before(&registry);
    let repository = regseal.endpoint.repository(ALICE, APP);
    let image = repository.push_image("v1");
    let [damaged, missing] = [(); 2].map(|()| repository.attach(NOTATION, &image));
    std::fs::write(stored(&regseal, &layer(&damaged)), "other bytes").unwrap();
    std::fs::remove_file(stored(&regseal, &layer(&missing))).unwrap();

    let (status, said) = collect(&regseal, &["--dry-run", "--scrub"]);
    assert_eq!(status, Some(1), "{said}");
    for (what, signature) in [("hash", &damaged), ("missing", &missing)] {
        let hex = layer(signature).replace("sha256:", "");
        let found = said["scrub"]["damage"]
            .as_array()
            .unwrap()
            .iter()
            .any(|damage| {
                damage["what"] == what && damage["key"].as_str().unwrap().ends_with(&hex)
            });
        assert!(found, "{what} {hex}: {said}");
    }
}

#[test]
fn a_directory_that_is_not_there_is_no_empty_store() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("mistyped");
    for arguments in [&["gc"][..], &["gc", "--dry-run"]] {
        let output = command()
            .args(arguments)
            .arg("--data")
            .arg(&data)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
    }
    assert!(!data.exists());
}

#[test]
fn signatures_of_a_deleted_image_stay_or_go_as_configured() {
    for (on, listed_after, collected) in
        [("keep", 1, false), ("delete", 0, false), ("grace", 1, true)]
    {
        let registry = Registry::with(Auth::None);
        let regseal = Regseal::builder(&registry)
            .config(&format!(
                "capture: {{on_subject_delete: {on}, subject_grace: 1ms}}\n{IMPATIENT}"
            ))
            .start();
        let repository = regseal.endpoint.repository(ALICE, APP);
        let [image, other] = ["v1", "v2"].map(|tag| repository.push_image(tag));
        let signature = repository.attach(NOTATION, &image);
        let other_signature = repository.attach(NOTATION, &other);
        repository.delete_manifest(&image.digest()).expect(202);
        assert_eq!(repository.referrers(&image).len(), listed_after, "{on}");

        // An image that came back keeps them.
        if on == "grace" {
            repository.put_manifest("v1", &image).expect(201);
            collect(&regseal, &[]);
            assert_whole(&repository, &image, &signature);
            repository.delete_manifest(&image.digest()).expect(202);
        }
        collect(&regseal, &[]);
        let expected = if collected { 0 } else { listed_after };
        wait_for("the index to follow", || {
            (repository.referrers(&image).len() == expected).then_some(())
        });
        assert_whole(&repository, &other, &other_signature);
    }
}

#[test]
fn who_may_not_delete_an_image_takes_no_signature_from_it() {
    let registry = Registry::with(Auth::Token);
    let regseal = Regseal::builder(&registry)
        .config("capture: {on_subject_delete: delete}")
        .start();
    let repository = regseal.endpoint.repository(ALICE, APP);
    let image = repository.push_image("v1");
    let signature = repository.attach(NOTATION, &image);
    for name in [image.digest(), signature.digest()] {
        let refused = regseal.endpoint.repository(BOB, APP).delete_manifest(&name);
        assert!(matches!(refused.status, 401 | 403), "{refused:?}");
        let refused = Repository::new(regseal.endpoint.anonymous(), APP).delete_manifest(&name);
        assert_eq!(refused.status, 401, "{refused:?}");
    }
    assert_whole(&repository, &image, &signature);
}
