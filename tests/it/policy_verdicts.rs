//! What signatures are worth to a policy, as it shows in what passes: signatures of other images, by other keys, from
//! other repositories, changed, and many; indexes and their children; exemptions, and how many are required.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::images::{ACCEPT, random_hex};
use crate::support::policy::Desk;
use crate::support::{ALICE, Auth, Content, Policed, Reply, Repository};

const RULES: &str = r#"
  - {name: build, repositories: ["build/**"], require: build, on_unsigned_push: reject}
  - {name: release, repositories: ["release/**"], require: release, on_unsigned_push: reject}
  - name: strict
    repositories: ["strict/**"]
    require: {any: [build, release]}
    on_unsigned_push: reject
    on_untrusted_push: reject
  - {name: warned, repositories: ["warned/**"], require: build, on_unsigned_push: warn, on_unsigned_pull: warn}
  - {name: marked, repositories: ["marked/**"], require: build, on_unsigned_push: tag, on_unsigned_pull: warn}
  - {name: denied, repositories: ["denied/**"], require: build, on_unsigned_push: allow, on_unsigned_pull: deny}
"#;

/// The manifest of a signature, as it was read, with all it consists of in the same repository.
#[track_caller]
fn signature_of(repository: &Repository, image: &Content) -> Content {
    let listed = repository.referrers(image);
    let digest = listed.last().unwrap()["digest"].as_str().unwrap();
    let reply = repository.get_manifest(digest).expect(200);
    Content::new(reply.header("content-type"), reply.body.clone())
}

/// The blobs of a manifest, read from one repository and pushed to another.
#[track_caller]
fn copy_blobs(manifest: &Content, from: &Repository, to: &Repository) {
    let manifest = manifest.json();
    let layers = manifest["layers"].as_array().unwrap().iter();
    for blob in layers.chain([&manifest["config"]]) {
        let read = from.get_blob(blob["digest"].as_str().unwrap()).expect(200);
        to.push_blob(&Content::new(
            blob["mediaType"].as_str().unwrap(),
            read.body,
        ));
    }
}

/// The reason in a refusal.
#[track_caller]
fn told(reply: &Reply) -> String {
    reply.json()["errors"][0]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// An image whose tag was refused, since nobody has signed it.
#[track_caller]
fn rejected(repository: &Repository) -> Content {
    let image = repository.image();
    repository.put_manifest("v1", &image).refused(403, "DENIED");
    image
}

#[track_caller]
fn stays_rejected(repository: &Repository, image: &Content, why: &str) {
    let reply = repository.put_manifest("v1", image);
    assert_eq!(reply.status, 403, "{why}: {reply:?}");
    assert_eq!(repository.get_manifest("v1").status, 404, "{why}");
}

/// Another image as the subject, and all else as it was.
fn about(signature: &Content, subject: &Content) -> Content {
    let mut manifest = signature.json();
    manifest["subject"] = subject.descriptor();
    Content::manifest(&manifest)
}

#[test]
fn a_signature_of_one_image_is_refused_at_another() {
    let stage = Policed::with(Auth::None, RULES);
    for name in ["build/app", "release/app"] {
        let repository = stage.repository(name);
        let (signed, other) = (rejected(&repository), rejected(&repository));
        let reference = stage.reference(name, &signed);
        if name == "build/app" {
            stage.desk.cosign_signs(&reference);
        } else {
            stage.desk.notation_signs(&reference);
        }
        let moved = about(&signature_of(&repository, &signed), &other);
        let refused = repository.put_manifest(&moved.digest(), &moved);
        assert!(
            told(&refused.clone().refused(400, "MANIFEST_INVALID")).contains("binding"),
            "{refused:?}"
        );
        stays_rejected(&repository, &other, name);
        repository.put_manifest("v1", &signed).expect(201);
    }
    // The older layout binds by its tag.
    let repository = stage.repository("build/older");
    let (signed, other) = (rejected(&repository), rejected(&repository));
    stage
        .desk
        .cosign_2_signs(&stage.reference("build/older", &signed));
    let read = repository
        .get_manifest(&signed.companion_tag(".sig"))
        .expect(200);
    let signatures = Content::new(read.header("content-type"), read.body.clone());
    repository
        .put_manifest(&other.companion_tag(".sig"), &signatures)
        .refused(400, "MANIFEST_INVALID");
    stays_rejected(&repository, &other, "an older layout");
    repository.put_manifest("v1", &signed).expect(201);
}

#[test]
fn signatures_by_unknown_keys_are_stored_and_count_for_nobody() {
    let stage = Policed::with(Auth::None, RULES);
    let stranger = Desk::of(ALICE, Auth::None);
    stranger.sits_at(&stage.regseal.endpoint);
    for name in ["build/app", "release/app"] {
        let repository = stage.repository(name);
        let image = rejected(&repository);
        let reference = stage.reference(name, &image);
        stranger.cosign_signs(&reference);
        stranger.cosign_2_signs(&reference);
        stranger.notation_signs(&reference);
        assert_eq!(repository.referrers(&image).len(), 2, "bundle and envelope");
        stays_rejected(&repository, &image, name);
        let told = told(&repository.put_manifest("v1", &image));
        assert!(told.contains("authenticity: "), "{told}");
        stage.desk.cosign_signs(&reference);
        stage.desk.notation_signs(&reference);
        repository.put_manifest("v1", &image).expect(201);
    }
}

#[test]
fn where_a_rule_says_so_signatures_by_unknown_keys_are_refused() {
    let stage = Policed::with(Auth::None, RULES);
    let stranger = Desk::of(ALICE, Auth::None);
    stranger.sits_at(&stage.regseal.endpoint);
    let repository = stage.repository("strict/app");
    let image = rejected(&repository);
    let reference = stage.reference("strict/app", &image);
    let cosign = "cosign sign --key cosign.key --use-signing-config=false --tlog-upload=false";
    let older = "cosign2 sign --key cosign.key --tlog-upload=false -y";
    for typed in [cosign, older, "notation sign"] {
        stranger
            .types(&format!("{typed} {reference}"))
            .failure("counts for no authority of the policy");
    }
    assert_eq!(repository.referrers(&image), [json!(null); 0]);
    repository
        .get_manifest(&image.companion_tag(".sig"))
        .expect(404);
    stays_rejected(&repository, &image, "refused signatures");
    stage.desk.notation_signs(&reference);
    repository.put_manifest("v1", &image).expect(201);
}

/// A signature counts in the repository where it is stored.
#[test]
fn a_signature_in_another_repository_does_not_count() {
    let stage = Policed::with(Auth::None, RULES);
    for (name, other) in [("build/app", "build/copy"), ("release/app", "release/copy")] {
        let [from, to] = [name, other].map(|name| stage.repository(name));
        let image = rejected(&from);
        let reference = stage.reference(name, &image);
        stage.desk.cosign_signs(&reference);
        stage.desk.notation_signs(&reference);
        from.put_manifest("v1", &image).expect(201);
        copy_blobs(&image, &from, &to);
        stays_rejected(&to, &image, other);

        let signatures = from.referrers(&image);
        for signature in &signatures {
            let read = from
                .get_manifest(signature["digest"].as_str().unwrap())
                .expect(200);
            let signature = Content::new(read.header("content-type"), read.body.clone());
            copy_blobs(&signature, &from, &to);
            to.push_manifest(&signature);
        }
        to.put_manifest("v1", &image).expect(201);
    }
}

/// A layer of a signature changed in one place, and the manifest made to name it.
#[track_caller]
fn with_layer(
    repository: &Repository,
    signature: &Content,
    change: impl Fn(&mut Value),
) -> Content {
    let mut manifest = signature.json();
    let layer = manifest["layers"][0].clone();
    let read = repository
        .get_blob(layer["digest"].as_str().unwrap())
        .expect(200);
    let mut document: Value = serde_json::from_slice(&read.body).unwrap();
    change(&mut document);
    let changed = Content::new(layer["mediaType"].as_str().unwrap(), document.to_string());
    repository.push_blob(&changed);
    let mut descriptor = changed.descriptor();
    if layer["annotations"].is_object() {
        descriptor["annotations"] = layer["annotations"].clone();
    }
    manifest["layers"][0] = descriptor;
    Content::manifest(&manifest)
}

/// Another letter in the middle of a text in Base64.
fn flip(text: &mut Value) {
    let mut letters: Vec<char> = text.as_str().unwrap().chars().collect();
    let middle = letters.len() / 2;
    letters[middle] = if letters[middle] == 'A' { 'B' } else { 'A' };
    *text = Value::String(letters.into_iter().collect());
}

#[test]
fn what_was_changed_after_it_was_signed_counts_for_nobody() {
    let stage = Policed::with(Auth::None, RULES);
    let repository = stage.repository("release/app");
    let image = rejected(&repository);
    stage
        .desk
        .notation_signs(&stage.reference("release/app", &image));
    let good = signature_of(&repository, &image);
    repository.delete_manifest(&good.digest()).expect(202);
    stays_rejected(&repository, &image, "the signature is deleted");
    for part in ["payload", "signature", "protected"] {
        let changed = with_layer(&repository, &good, |envelope| flip(&mut envelope[part]));
        let refused = repository.put_manifest(&changed.digest(), &changed);
        assert_eq!(refused.status, 400, "{part}: {refused:?}");
        stays_rejected(&repository, &image, part);
    }
    repository.push_manifest(&good);
    repository.put_manifest("v1", &image).expect(201);

    let repository = stage.repository("build/app");
    let image = rejected(&repository);
    stage
        .desk
        .cosign_signs(&stage.reference("build/app", &image));
    let good = signature_of(&repository, &image);
    repository.delete_manifest(&good.digest()).expect(202);
    for (part, pointer) in [
        ("the signature", "/dsseEnvelope/signatures/0/sig"),
        ("the payload", "/dsseEnvelope/payload"),
    ] {
        let changed = with_layer(&repository, &good, |bundle| {
            flip(bundle.pointer_mut(pointer).unwrap());
        });
        // It may be the signature of somebody else, or none at all.
        let reply = repository.put_manifest(&changed.digest(), &changed);
        assert!([201, 400].contains(&reply.status), "{part}: {reply:?}");
        if reply.status == 201 {
            assert!(!reply.header("warning").is_empty(), "{part}: {reply:?}");
        }
        stays_rejected(&repository, &image, part);
    }
    repository.push_manifest(&good);
    repository.put_manifest("v1", &image).expect(201);
}

#[test]
fn the_older_layout_is_good_only_as_it_was_signed() {
    let stage = Policed::with(Auth::None, RULES);
    let repository = stage.repository("build/app");
    let image = rejected(&repository);
    stage
        .desk
        .cosign_2_signs(&stage.reference("build/app", &image));
    let tag = image.companion_tag(".sig");
    let read = repository.get_manifest(&tag).expect(200);
    let good = Content::new(read.header("content-type"), read.body.clone());
    repository.delete_manifest(&good.digest()).expect(202);
    stays_rejected(&repository, &image, "the signature is deleted");

    let renamed = with_layer(&repository, &good, |payload| {
        payload["critical"]["identity"]["docker-reference"] = json!("other.example/app");
    });
    let reply = repository.put_manifest(&tag, &renamed).expect(201);
    assert!(
        reply.header("warning").contains("authenticity"),
        "{reply:?}"
    );
    stays_rejected(&repository, &image, "another name");
    let other = with_layer(&repository, &good, |payload| {
        payload["critical"]["image"]["docker-manifest-digest"] =
            json!(Content::random("x").digest());
    });
    repository
        .put_manifest(&tag, &other)
        .refused(400, "MANIFEST_INVALID");
    stays_rejected(&repository, &image, "another digest");
    repository.put_manifest(&tag, &good).expect(201);
    repository.put_manifest("v1", &image).expect(201);
}

/// However many signatures count for nobody, the good one behind them is found.
#[test]
fn a_thousand_signatures_that_do_not_count_hide_none_that_does() {
    const JUNK: usize = 1_000;
    let stage = Policed::with(Auth::None, RULES);
    let stranger = Desk::of(ALICE, Auth::None);
    stranger.sits_at(&stage.regseal.endpoint);
    let repository = stage.repository("build/app");
    let image = rejected(&repository);
    let reference = stage.reference("build/app", &image);
    stranger.cosign_signs(&reference);
    let junk = signature_of(&repository, &image).json();
    let next = AtomicUsize::new(1);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < JUNK {
                    let mut junk = junk.clone();
                    junk["annotations"]["salt"] = json!(random_hex(8));
                    repository.push_manifest(&Content::manifest(&junk));
                }
            });
        }
    });
    stays_rejected(&repository, &image, "junk");
    stage.desk.cosign_signs(&reference);
    assert_eq!(repository.referrers(&image).len(), JUNK + 1);
    repository.put_manifest("v1", &image).expect(201);
    repository.get_manifest("v1").expect(200);
}

#[test]
fn what_passes_unsigned_is_warned_about_where_the_rule_says_so() {
    let stage = Policed::with(Auth::None, RULES);
    for rule in ["warned", "marked"] {
        let repository = stage.repository(&format!("{rule}/app"));
        let image = repository.image();
        let warning = format!("299 - \"not signed as rule '{rule}' requires: build\"");
        let pushed = repository.put_manifest("v1", &image).expect(201);
        assert_eq!(pushed.header("warning"), warning);
        for reference in ["v1", &image.digest()] {
            for method in ["GET", "HEAD"] {
                let path = repository.path(&format!("manifests/{reference}"));
                let pulled = repository.http.request(method, &path, &[ACCEPT], "");
                assert_eq!(pulled.expect(200).header("warning"), warning);
            }
        }
        stage
            .desk
            .cosign_signs(&stage.reference(&format!("{rule}/app"), &image));
        assert_eq!(
            repository.get_manifest("v1").expect(200).header("warning"),
            ""
        );
        let again = repository.put_manifest("v1", &image).expect(201);
        assert_eq!(again.header("warning"), "");
    }
}
