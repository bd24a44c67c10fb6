//! Signatures that must not count.

use serde_json::{Value, json};

use super::signer::{bundle_manifest, payload, statement, statement_of};
use super::{Case, OPEN, PROD, Theatre, World};
use crate::support::images::{CONFIG, MANIFEST, NOTATION};
use crate::support::{Content, Repository};

const CASES: &[Case] = &[
    Case("B-32", "a bundle by an unknown key", |world| {
        bundled(world, |world, image| {
            world.keys().stranger.bundle(&statement(image))
        })
    }),
    Case("B-33", "a bundle by the key of another rule", |world| {
        bundled(world, |world, image| {
            world.keys().audit.bundle(&statement(image))
        })
    }),
    Case("B-34", "a bundle about another digest", |world| {
        bundled(world, |world, _image| {
            let other = Content::random(MANIFEST);
            world.keys().build.bundle(&statement(&other))
        })
    }),
    Case("B-35", "a bundle whose statement was changed", |world| {
        bundled(world, |world, image| {
            let other = Content::random(MANIFEST);
            let mut bundle = world.keys().build.bundle(&statement(&other));
            let changed = world.keys().stranger.bundle(&statement(image));
            bundle["dsseEnvelope"]["payload"] = changed["dsseEnvelope"]["payload"].clone();
            bundle
        })
    }),
    Case("B-36", "a bundle of another payload type", |world| {
        bundled(world, |world, image| {
            world
                .keys()
                .build
                .bundle_of_type("application/json", &statement(image))
        })
    }),
    Case(
        "B-37",
        "a bundle that says another payload type than was signed",
        |world| {
            bundled(world, |world, image| {
                let build = &world.keys().build;
                let mut bundle = build.bundle_of_type("application/json", &statement(image));
                bundle["dsseEnvelope"]["payloadType"] = json!("application/vnd.in-toto+json");
                bundle
            })
        },
    ),
    Case(
        "B-38",
        "an attestation of an SBOM by the right key",
        |world| {
            bundled(world, |world, image| {
                let sbom = statement_of("https://spdx.dev/Document", image);
                world.keys().build.bundle(&sbom)
            })
        },
    ),
    Case(
        "B-39",
        "an attestation of provenance by the right key",
        |world| {
            bundled(world, |world, image| {
                let provenance = statement_of("https://slsa.dev/provenance/v1", image);
                world.keys().build.bundle(&provenance)
            })
        },
    ),
    Case(
        "B-40",
        "the digits of the digest under another algorithm",
        |world| {
            bundled(world, |world, image| {
                let mut statement = statement(image);
                let digits = statement["subject"][0]["digest"]["sha256"].clone();
                statement["subject"][0]["digest"] = json!({"sha512": digits});
                world.keys().build.bundle(&statement)
            })
        },
    ),
    Case(
        "B-41",
        "a second signature in the envelope, by a stranger and first",
        |world| {
            bundled(world, |world, image| {
                let other = statement(&Content::random(MANIFEST));
                let mut bundle = world.keys().stranger.bundle(&statement(image));
                let more = world.keys().build.bundle(&other);
                let more = more["dsseEnvelope"]["signatures"][0].clone();
                bundle["dsseEnvelope"]["signatures"]
                    .as_array_mut()
                    .unwrap()
                    .push(more);
                bundle
            })
        },
    ),
    Case(
        "B-42",
        "a signed file that is said to be the image",
        |world| {
            bundled(world, |world, image| {
                world
                    .keys()
                    .build
                    .bundle_of_message(b"a file", &image.digest())
            })
        },
    ),
    Case("B-43", "a payload for the tag by an unknown key", |world| {
        by_tag(world, |world, repository, image| {
            world
                .keys()
                .stranger
                .signature_tag(repository, &payload(image))
        })
    }),
    Case("B-44", "a payload about another digest", |world| {
        by_tag(world, |world, repository, _image| {
            let other = Content::random(MANIFEST);
            world
                .keys()
                .build
                .signature_tag(repository, &payload(&other))
        })
    }),
    Case("B-45", "a payload that was changed", |world| {
        by_tag(world, |world, repository, image| {
            let other = Content::random(MANIFEST);
            let build = &world.keys().build;
            build.changed_signature_tag(repository, &payload(&other), &payload(image))
        })
    }),
    Case("B-46", "a payload of another type", |world| {
        by_tag(world, |world, repository, image| {
            let mut payload = payload(image);
            payload["critical"]["type"] = json!("atomic container signature");
            world.keys().build.signature_tag(repository, &payload)
        })
    }),
    Case("B-47", "a payload that names two digests", |world| {
        by_tag(world, |world, repository, image| {
            let other = Content::random(MANIFEST);
            let mut payload = payload(&other);
            payload["Critical"] = payload_of(image);
            world.keys().build.signature_tag(repository, &payload)
        })
    }),
    Case(
        "B-48",
        "the signatures of another image, by its tag",
        |world| {
            by_tag(world, |world, repository, _image| {
                let other = world.admitted(repository, "other");
                let signature = world
                    .keys()
                    .build
                    .signature_tag(repository, &payload(&other));
                repository
                    .put_manifest(&other.companion_tag(".sig"), &signature)
                    .expect(201);
                signature
            })
        },
    ),
    Case(
        "B-49",
        "the signature of another image with its subject changed",
        |world| {
            bundled(world, |world, _image| {
                let attacker = world.attacker(PROD);
                let other = world.admitted(&attacker, "other");
                world.keys().build.bundle(&statement(&other))
            })
        },
    ),
    Case("B-50", "a good signature in another repository", |world| {
        let attacker = world.attacker(PROD);
        let image = world.unsigned(&attacker);
        attacker.push_manifest(&image);
        let open = world.attacker(OPEN);
        world.keys().build.sign_image(&open, &image);
        attacker.put_manifest("v1", &image);
        world.pulls(PROD, "v1", &image) || world.pulls_by_digest(PROD, &image)
    }),
    Case(
        "B-51",
        "a good signature in another repository of the same rule",
        |world| {
            let attacker = world.attacker(PROD);
            let image = world.unsigned(&attacker);
            attacker.push_manifest(&image);
            let other = Repository::new(attacker.http.clone(), &format!("{}/other", attacker.name));
            world.keys().build.sign_image(&other, &image);
            attacker.put_manifest("v1", &image);
            world.pulls(PROD, "v1", &image) || world.pulls_by_digest(PROD, &image)
        },
    ),
    Case("B-52", "one key twice where two are required", |world| {
        let attacker = world.attacker("two");
        let image = world.unsigned(&attacker);
        attacker.push_manifest(&image);
        let build = &world.keys().build;
        build.sign_image(&attacker, &image);
        build.sign_image(&attacker, &image);
        let signature = build.signature_tag(&attacker, &payload(&image));
        attacker.put_manifest(&image.companion_tag(".sig"), &signature);
        attacker.put_manifest("v1", &image);
        world.pulls("two", "v1", &image) || world.pulls_by_digest("two", &image)
    }),
    Case(
        "B-53",
        "an attestation under the tag of attestations",
        |world| {
            let attacker = world.attacker(PROD);
            let image = world.unsigned(&attacker);
            attacker.push_manifest(&image);
            let dsse = world.keys().build.bundle(&statement(&image))["dsseEnvelope"].clone();
            let config = Content::new(CONFIG, "{}");
            let layer = Content::new("application/vnd.dsse.envelope.v1+json", dsse.to_string());
            attacker.push_blob(&config);
            attacker.push_blob(&layer);
            let attestation = Content::manifest(&json!({
                "schemaVersion": 2, "mediaType": MANIFEST,
                "config": config.descriptor(), "layers": [layer.descriptor()],
            }));
            attacker
                .put_manifest(&image.companion_tag(".att"), &attestation)
                .expect(201);
            attacker.put_manifest("v1", &image);
            world.pulls(PROD, "v1", &image) || world.pulls_by_digest(PROD, &image)
        },
    ),
    Case(
        "B-54",
        "a signature of the other family that nobody made",
        |world| {
            let attacker = world.attacker(PROD);
            let image = world.unsigned(&attacker);
            attacker.push_manifest(&image);
            let notation = attacker.artifact(NOTATION, Some(&image));
            attacker.put_manifest(&notation.digest(), &notation);
            attacker.put_manifest("v1", &image);
            world.pulls(PROD, "v1", &image) || world.pulls_by_digest(PROD, &image)
        },
    ),
    Case(
        "B-55",
        "a bundle that is written past regseal and is bad",
        |world| {
            let (attacker, behind) = (world.attacker(PROD), world.behind(PROD));
            let image = world.unsigned(&attacker);
            attacker.push_manifest(&image);
            let other = world
                .keys()
                .build
                .bundle(&statement(&Content::random(MANIFEST)));
            let bundle = bundle_manifest(&behind, &image, &other);
            behind.push_manifest(&bundle);
            let list = crate::support::images::index_of([&bundle]);
            behind
                .put_manifest(&image.companion_tag(""), &list)
                .expect(201);
            attacker.put_manifest("v1", &image);
            world.pulls(PROD, "v1", &image) || world.pulls_by_digest(PROD, &image)
        },
    ),
];

#[test]
fn no_signature_counts_that_must_not() {
    Theatre::open().run(CASES);
}

/// An image with a bundle, pushed by digest, then by tag.
fn bundled(world: &World<'_>, bundle: fn(&World<'_>, &Content) -> Value) -> bool {
    let attacker = world.attacker(PROD);
    let image = world.unsigned(&attacker);
    attacker.push_manifest(&image);
    let bundle = bundle_manifest(&attacker, &image, &bundle(world, &image));
    attacker.put_manifest(&bundle.digest(), &bundle);
    attacker.put_manifest("v1", &image);
    world.pulls(PROD, "v1", &image) || world.pulls_by_digest(PROD, &image)
}

/// An image with what cosign 2 writes.
fn by_tag(world: &World<'_>, signature: fn(&World<'_>, &Repository, &Content) -> Content) -> bool {
    let attacker = world.attacker(PROD);
    let image = world.unsigned(&attacker);
    attacker.push_manifest(&image);
    let signature = signature(world, &attacker, &image);
    attacker.put_manifest(&image.companion_tag(".sig"), &signature);
    attacker.put_manifest("v1", &image);
    world.pulls(PROD, "v1", &image) || world.pulls_by_digest(PROD, &image)
}

fn payload_of(image: &Content) -> Value {
    payload(image)["critical"].clone()
}
