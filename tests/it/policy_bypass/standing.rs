//! Time and other callers: signatures that go, pushes at once, signatures by the thousand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::signer::{bundle_manifest, payload, statement};
use super::{Theatre, is};
use crate::support::clients::notation;
use crate::support::images::{BUNDLE, EMPTY, INDEX, MANIFEST, artifact_of};
use crate::support::{ALICE, Auth, BOB, Content, Registry, Regseal, Repository, wait_for};

/// A signature that is taken away takes the admission with it.
#[test]
fn without_its_signature_an_image_is_denied_again() {
    let theatre = Theatre::open();
    let alice = theatre.regseal.endpoint.repository(ALICE, "prod/gone");
    let bob = theatre.regseal.endpoint.repository(BOB, "prod/gone");
    let build = &theatre.keys.build;
    for by_tag in [false, true] {
        let image = alice.image();
        alice.push_manifest(&image);
        let signature = if by_tag {
            let signature = build.signature_tag(&alice, &payload(&image));
            let tag = image.companion_tag(".sig");
            alice.put_manifest(&tag, &signature).expect(201);
            tag
        } else {
            build.sign_image(&alice, &image).digest()
        };
        let tag = format!("v-{by_tag}");
        alice.put_manifest(&tag, &image).expect(201);
        assert!(is(&bob.get_manifest(&tag), &image));
        assert!(is(&bob.get_manifest(&image.digest()), &image));
        alice.delete_manifest(&signature).expect(202);
        for reference in [tag.clone(), image.digest()] {
            wait_for("the end of the admission", || {
                (bob.get_manifest(&reference).status == 403).then_some(())
            });
        }
        alice.put_manifest("again", &image).refused(403, "DENIED");
    }
}

/// Whoever may push can add to what cosign keeps under a tag, and must not take away what is there.
#[test]
fn junk_under_the_tag_of_signatures_hides_no_good_one() {
    let theatre = Theatre::open();
    let alice = theatre.regseal.endpoint.repository(ALICE, "prod/junk");
    let bob = theatre.regseal.endpoint.repository(BOB, "prod/junk");
    let image = alice.image();
    alice.push_manifest(&image);
    let tag = image.companion_tag(".sig");
    let signature = theatre.keys.build.signature_tag(&alice, &payload(&image));
    alice.put_manifest(&tag, &signature).expect(201);
    alice.put_manifest("v1", &image).expect(201);
    for number in 0..3 {
        let stranger = theatre
            .keys
            .stranger
            .signature_tag(&alice, &payload(&image));
        let mut junk = stranger.json();
        let padding = format!("{number}{}", "x".repeat(1_700_000));
        junk["layers"][0]["annotations"]["padding"] = padding.into();
        alice
            .put_manifest(&tag, &Content::manifest(&junk))
            .expect(201);
    }
    for reference in ["v1", &image.digest()] {
        assert!(is(&bob.get_manifest(reference), &image), "{reference}");
    }
    alice.put_manifest("v2", &image).expect(201);
}

/// An index that nothing names vouches for nobody, and many of them stand in nobody's way.
#[test]
fn indexes_by_the_hundred_take_no_child_from_a_signed_one() {
    let theatre = Theatre::open();
    let alice = theatre.regseal.endpoint.repository(ALICE, "prod/lists");
    let bob = theatre.regseal.endpoint.repository(BOB, "prod/lists");
    let child = alice.image();
    alice.push_manifest(&child);
    let index = super::list_of(INDEX, &[&child]);
    alice.push_manifest(&index);
    theatre.keys.build.sign_image(&alice, &index);
    alice.put_manifest("v1", &index).expect(201);
    for number in 0..100 {
        let junk = super::with(
            &index,
            json!({"annotations": {"number": number.to_string()}}),
        );
        alice.push_manifest(&junk);
    }
    for reference in ["v1", &child.digest()] {
        assert_eq!(bob.get_manifest(reference).status, 200, "{reference}");
    }
}

/// Two push one tag at once, one of them what is signed: whoever looks never sees the other.
#[test]
fn a_tag_never_names_what_is_unsigned_while_two_push_it() {
    let theatre = Theatre::open();
    let of = |user| theatre.regseal.endpoint.repository(user, "prod/race");
    let alice = of(ALICE);
    let signed = alice.image();
    alice.push_manifest(&signed);
    theatre.keys.build.sign_image(&alice, &signed);
    let unsigned = alice.image();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let bob = of(BOB);
            let behind = theatre.registry.endpoint.repository(BOB, "prod/race");
            let mut seen = 0;
            while !is_over.load(Ordering::Relaxed) {
                for repository in [&bob, &behind] {
                    let reply = repository.get_manifest("v1");
                    assert_ne!(reply.body, unsigned.bytes, "{reply:?}");
                    seen += usize::from(is(&reply, &signed));
                }
            }
            seen
        });
        for _ in 0..20 {
            let pushes = [&signed, &unsigned].map(|image| {
                let alice = alice.clone();
                scope.spawn(move || alice.put_manifest("v1", image).status)
            });
            let statuses = pushes.map(|push| push.join().unwrap());
            assert_eq!(statuses, [201, 403]);
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}

/// Junk in front of a good signature neither hides it nor makes the answer late. The bound is one for a harness.
#[test]
fn a_good_signature_is_found_behind_a_thousand_that_are_not() {
    let theatre = Theatre::open();
    let alice = theatre.regseal.endpoint.repository(ALICE, "prod/junk");
    let bob = theatre.regseal.endpoint.repository(BOB, "prod/junk");
    let image = alice.image();
    alice.push_manifest(&image);
    push_junk(&theatre, &alice, &image, 1_000);
    assert_ne!(
        bob.get_manifest(&image.digest()).status,
        200,
        "junk does not count"
    );
    theatre.keys.build.sign_image(&alice, &image);
    let started = Instant::now();
    alice.put_manifest("v1", &image).expect(201);
    assert!(is(&bob.get_manifest("v1"), &image));
    assert!(is(&bob.get_manifest(&image.digest()), &image));
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{:?}",
        started.elapsed()
    );
}

/// A signature that says when it ends takes the admission with it.
#[test]
fn after_the_end_of_its_signature_an_image_is_denied_again() {
    let registry = Registry::with(Auth::None);
    let notation = notation(&registry.endpoint, ALICE);
    let files = TempDir::with_prefix("policy-").unwrap();
    let policy = files.path().join("policy.yaml");
    let text = "version: 1\nauthorities:\n  release: {notation: {statement: tests}}\nrules:\n  - name: prod\n    \
        repositories: [\"prod/**\"]\n    require: {any: [release]}\n    on_unsigned_push: reject\n";
    std::fs::write(&policy, text).unwrap();
    let trust = notation.home().join(".config/notation");
    let config = format!("policy: {{file: {policy:?}}}\ntrust: {{directory: {trust:?}}}\n");
    let regseal = Regseal::builder(&registry).config(&config).start();
    let repository = regseal.endpoint.repository(ALICE, "prod/app");
    let image = repository.image();
    repository.put_manifest("v1", &image).refused(403, "DENIED");
    let reference = format!("{}/prod/app@{}", regseal.endpoint.authority, image.digest());
    // Long enough for the push that follows.
    notation
        .run(["sign", "--expiry", "10s", &reference])
        .success();
    repository.put_manifest("v1", &image).expect(201);
    wait_for("the end of the signature", || {
        (repository.get_manifest("v1").status == 403).then_some(())
    });
    repository.put_manifest("v2", &image).refused(403, "DENIED");
}

/// Signatures by a stranger, each another one.
fn push_junk(theatre: &Theatre, repository: &Repository, image: &Content, count: usize) {
    let stranger = &theatre.keys.stranger;
    let bundle = stranger.bundle(&statement(image));
    let first = bundle_manifest(repository, image, &bundle);
    repository.push_manifest(&first);
    let config = Content::new(EMPTY, "{}");
    let layer = Content::new(BUNDLE, bundle.to_string());
    thread::scope(|scope| {
        for part in 0..4 {
            let (config, layer) = (&config, &layer);
            scope.spawn(move || {
                for _ in (part..count - 1).step_by(4) {
                    let junk = artifact_of(BUNDLE, Some(image), config, layer);
                    assert_eq!(junk.media_type, MANIFEST);
                    repository.push_manifest(&junk);
                }
            });
        }
    });
    let listed = repository.referrers(image).len();
    assert_eq!(listed, count);
}
