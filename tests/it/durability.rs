//! What was acknowledged is there: after many wrote at once, after a power cut, and after the index was lost.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::images::{self, COSIGN_LAYER, EMPTY, INDEX, MANIFEST, NOTATION, SBOM, digests};
use crate::support::regseal::command;
use crate::support::{
    ALICE, Auth, Content, Registry, Regseal, Repository, Stage, Stores, rounds, wait_for,
};

const SIGNERS: usize = 100;
const APP: &str = "team/app";

/// Runs the signers at once, and returns what each of them made.
pub fn at_once<T: Send>(sign: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let sign = &sign;
        let signers: Vec<_> = (0..SIGNERS)
            .map(|number| scope.spawn(move || sign(number)))
            .collect();
        signers
            .into_iter()
            .map(|signer| signer.join().unwrap())
            .collect()
    })
}

#[test]
fn a_hundred_signers_at_once_are_all_listed() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(APP);
    let image = repository.push_image("v1");
    let signatures = at_once(|number| {
        let kind = if number % 5 == 0 { SBOM } else { NOTATION };
        let signature = repository.attach(kind, &image);
        let listed = repository.referrers(&image);
        assert!(
            listed.contains(&signature.as_referrer()),
            "visible with its acknowledgement"
        );
        signature
    });
    assert_all_listed(&repository, &image, &signatures);
}

#[test]
fn a_hundred_writers_of_the_fallback_tag_lose_nothing() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(APP);
    let image = repository.push_image("v1");
    let signatures = at_once(|_| sign_with_fallback_tag(&repository, &image));
    assert_all_listed(&repository, &image, &signatures);
    let read = repository.get_manifest(&image.companion_tag(""));
    assert_eq!(
        read.expect(200).json()["manifests"],
        json!(repository.referrers(&image))
    );
    assert_eq!(stage.behind(APP).tags(), ["v1"]);
}

/// As notation 1 and oras do where there is no API: read the index, add to it, write it, remove the one before.
pub fn sign_with_fallback_tag(repository: &Repository, image: &Content) -> Content {
    let tag = image.companion_tag("");
    let signature = repository.attach(NOTATION, image);
    let read = repository.get_manifest(&tag);
    let (mut entries, old) = match read.status {
        404 => (Vec::new(), None),
        _ => {
            let read = read.expect(200);
            (
                read.json()["manifests"].as_array().unwrap().clone(),
                Some(images::sha256(&read.body)),
            )
        }
    };
    if !entries
        .iter()
        .any(|entry| entry["digest"] == signature.digest())
    {
        entries.push(signature.as_referrer());
    }
    let index =
        Content::manifest(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}));
    repository.put_manifest(&tag, &index).expect(201);
    if let Some(old) = old {
        repository.delete_manifest(&old).expect(202);
    }
    signature
}

#[test]
fn a_hundred_writers_of_a_cosign_tag_lose_nothing() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(APP);
    let image = repository.push_image("v1");
    let tag = image.companion_tag(".sig");
    let layers = at_once(|_| append_to_cosign_tag(&repository, &tag));
    assert_cosign_layers(&repository, &tag, &layers);
    assert_eq!(stage.behind(APP).tags(), ["v1"]);
}

/// As cosign 2 does: read the manifest of the tag, append a layer, write it.
pub fn append_to_cosign_tag(repository: &Repository, tag: &str) -> Value {
    let config = Content::new(images::CONFIG, "{}");
    let layer = Content::random(COSIGN_LAYER);
    for blob in [&config, &layer] {
        repository.try_ensure_blob(blob).unwrap();
    }
    let read = repository.get_manifest(tag);
    let mut layers = match read.status {
        404 => Vec::new(),
        _ => read.expect(200).json()["layers"]
            .as_array()
            .unwrap()
            .clone(),
    };
    layers.push(layer.descriptor());
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(), "layers": layers});
    repository
        .put_manifest(tag, &Content::manifest(&manifest))
        .expect(201);
    layer.descriptor()
}

#[track_caller]
pub fn assert_cosign_layers(repository: &Repository, tag: &str, expected: &[Value]) {
    let united = repository.get_manifest(tag).expect(200).json();
    assert_eq!(
        digests(united["layers"].as_array().unwrap()),
        digests(expected)
    );
}

#[track_caller]
pub fn assert_all_listed(repository: &Repository, image: &Content, expected: &[Content]) {
    let listed = repository.referrers(image);
    let descriptors: Vec<Value> = expected.iter().map(Content::as_referrer).collect();
    assert_eq!(listed.len(), expected.len());
    assert_eq!(digests(&listed), digests(&descriptors));
    assert!(
        descriptors
            .iter()
            .all(|descriptor| listed.contains(descriptor))
    );
}

/// Several signers push while regseal is killed; whatever had its 201 is listed and readable afterwards.
#[test]
fn a_power_cut_loses_no_acknowledged_signature() {
    let registry = Registry::with(Auth::None);
    let mut regseal = Regseal::before(&registry);
    let repository = regseal.endpoint.repository(ALICE, APP);
    let images: Vec<Content> = (0..3)
        .map(|number| repository.push_image(&format!("v{number}")))
        .collect();
    let mut acknowledged: Vec<(usize, Content)> = Vec::new();

    for round in 0..rounds(20, 200) {
        let of_this_round = Mutex::new(Vec::new());
        let count = AtomicUsize::new(0);
        // The cut comes at another place in each round, while the other signers are in the midst of theirs.
        let enough = 1 + round * 7 % 12;
        std::thread::scope(|scope| {
            for signer in 0..4 {
                let (repository, images, of_this_round, count) =
                    (&repository, &images, &of_this_round, &count);
                scope.spawn(move || {
                    for turn in 0..500 {
                        let number = (signer + turn) % images.len();
                        match sign(repository, &images[number], signer % 2 == 0) {
                            Ok(signature) => {
                                of_this_round.lock().unwrap().push((number, signature))
                            }
                            Err(_) => return,
                        }
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            wait_for("some signatures", || {
                (count.load(Ordering::SeqCst) >= enough).then_some(())
            });
            regseal.kill();
        });
        regseal.start_again();
        let of_this_round = of_this_round.into_inner().unwrap();
        assert!(of_this_round.len() >= enough);
        for (number, signature) in &of_this_round {
            assert_kept(&repository, &images[*number], signature);
        }
        acknowledged.extend(of_this_round);
    }

    for (number, image) in images.iter().enumerate() {
        let listed: BTreeSet<String> = digests(&repository.referrers(image)).into_iter().collect();
        for (of, signature) in &acknowledged {
            assert!(
                *of != number || listed.contains(&signature.digest()),
                "{} is lost",
                signature.digest()
            );
        }
    }
}

/// Pushes one signature; an error is that of a peer which has gone.
fn sign(repository: &Repository, image: &Content, through_tag: bool) -> Result<Content, String> {
    let signature = repository.try_artifact(NOTATION, Some(image))?;
    let pushed = repository.try_put_manifest(&signature.digest(), &signature)?;
    if pushed.status != 201 {
        return Err(format!("{pushed:?}"));
    }
    if through_tag {
        let index = images::index_of([&signature]);
        let _ = repository.try_put_manifest(&image.companion_tag(""), &index);
    }
    Ok(signature)
}

#[track_caller]
pub fn assert_kept(repository: &Repository, image: &Content, signature: &Content) {
    assert!(
        repository
            .referrers(image)
            .contains(&signature.as_referrer()),
        "not listed: {}",
        signature.digest()
    );
    assert_eq!(
        repository
            .get_manifest(&signature.digest())
            .expect(200)
            .body,
        signature.bytes
    );
    let manifest = signature.json();
    let layers = manifest["layers"].as_array().unwrap();
    for blob in layers.iter().chain([&manifest["config"]]) {
        let digest = blob["digest"].as_str().unwrap();
        assert_eq!(
            images::sha256(&repository.get_blob(digest).expect(200).body),
            digest
        );
    }
}

#[test]
fn a_lost_or_broken_index_changes_no_answer() {
    let registry = Registry::with(Auth::None);
    let mut regseal = Regseal::builder(&registry)
        .stores(Stores::Directory)
        .start();
    let repository = regseal.endpoint.repository(ALICE, APP);
    let image = repository.push_image("v1");
    let attached: Vec<Content> = [NOTATION, SBOM, NOTATION, SBOM, NOTATION]
        .into_iter()
        .map(|kind| repository.attach(kind, &image))
        .collect();
    for deleted in &attached[1..3] {
        repository.delete_manifest(&deleted.digest()).expect(202);
    }
    append_to_cosign_tag(&repository, &image.companion_tag(".sig"));
    let answers = || {
        let tags = ["", ".sig"].map(|suffix| {
            repository
                .get_manifest(&image.companion_tag(suffix))
                .expect(200)
                .body
        });
        let each: Vec<u16> = attached
            .iter()
            .map(|one| repository.get_manifest(&one.digest()).status)
            .collect();
        (repository.referrers(&image), tags, each)
    };
    let before = answers();
    assert_eq!(before.0.len(), 3);
    assert_eq!(before.2, [200, 404, 404, 200, 200]);

    let index = regseal.data().join("index.redb");
    let length = std::fs::metadata(&index).unwrap().len();
    for damage in [
        "none",
        "removed",
        "garbage",
        "empty",
        "cut",
        "another program's",
        "zeroed start",
    ] {
        regseal.terminate();
        let bytes = std::fs::read(&index).unwrap();
        match damage {
            "removed" => std::fs::remove_file(&index).unwrap(),
            "garbage" => std::fs::write(
                &index,
                images::random_hex(usize::try_from(length).unwrap() / 2),
            )
            .unwrap(),
            "empty" => std::fs::write(&index, "").unwrap(),
            "cut" => std::fs::write(&index, &bytes[..bytes.len() / 3]).unwrap(),
            "another program's" => std::fs::write(&index, "SQLite format 3\0").unwrap(),
            "zeroed start" => {
                std::fs::write(&index, [&[0; 4096][..], &bytes[4096..]].concat()).unwrap()
            }
            _ => {}
        }
        regseal.start_again();
        assert_eq!(answers(), before, "{damage}");
        // And it can be written to.
        let more = repository.attach(NOTATION, &image);
        assert_eq!(
            repository.referrers(&image).last(),
            Some(&more.as_referrer()),
            "{damage}"
        );
        repository.delete_manifest(&more.digest()).expect(202);
        assert_eq!(answers(), before, "{damage}");
    }
}

#[test]
fn a_collector_behind_takes_no_signature_away() {
    let stage = Stage::with(Auth::None);
    let (repository, behind) = (stage.repository(APP), stage.behind(APP));
    let image = repository.push_image("v1");
    let signature = repository.attach(NOTATION, &image);
    let layer = signature.json()["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let config = Content::new(EMPTY, "{}").digest();
    for digest in [&layer, &config] {
        behind
            .http
            .delete(&behind.path(&format!("blobs/{digest}")))
            .expect(202);
    }
    assert_kept(&repository, &image, &signature);
}

#[test]
fn the_index_is_rebuilt_and_compared_by_command() {
    let registry = Registry::with(Auth::None);
    let mut regseal = Regseal::builder(&registry)
        .stores(Stores::Directory)
        .start();
    let repository = regseal.endpoint.repository(ALICE, APP);
    let image = repository.push_image("1.0");
    let signature = repository.attach(NOTATION, &image);
    let data = regseal.data();
    let run = |arguments: &[&str]| {
        let output = command()
            .args(["rebuild-index", "--data"])
            .arg(&data)
            .args(arguments)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };

    let (status, text) = run(&["--offline"]);
    assert_eq!(status, Some(3), "the index is in use: {text}");
    assert!(text.contains("in use by another process"), "{text}");

    // An index that is still being rebuilt is neither equal nor different.
    wait_for("the index to be complete", || {
        let reply = regseal.admin.get("/readyz?verbose").expect(200);
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        text.contains("[+]index ok\n").then_some(())
    });
    regseal.terminate();
    let (status, text) = run(&["--offline", "--verify"]);
    assert_eq!(
        (status, text.trim()),
        (Some(0), "index and objects are equal")
    );
    let (status, text) = run(&["--offline", "-o", "json"]);
    assert_eq!(status, Some(0), "{text}");
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary["subjects"], 1);
    assert_eq!(summary["referrers"], 1);

    regseal.start_again();
    assert_kept(&repository, &image, &signature);
}
