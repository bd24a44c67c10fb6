//! Images that pass themselves off as signatures, or as referrers of a signed image.

use serde_json::{Value, json};

use super::signer::{bundle_manifest, statement};
use super::{
    Case, DOCKER_CONFIG, Keys, PROD, Theatre, World, as_docker, config_of_policy, nothing, with,
};
use crate::support::gate::{Gate, Verdict};
use crate::support::images::{
    ACCEPT, BUNDLE, CONFIG, COSIGN_LAYER, EMPTY, LAYER, MANIFEST, NOTATION, SBOM, tar,
};
use crate::support::{ALICE, Auth, BOB, Content, Registry, Regseal, Repository};

const CASES: &[Case] = &[
    Case(
        "B-102",
        "an image that is a referrer of a signed image",
        |world| {
            referrer(world, |image, subject| {
                with(image, json!({"subject": subject}))
            })
        },
    ),
    Case(
        "B-103",
        "an SBOM by its artifact type, an image by its config",
        |world| {
            referrer(world, |image, subject| {
                with(image, json!({"subject": subject, "artifactType": SBOM}))
            })
        },
    ),
    Case(
        "B-104",
        "an image of Docker that is a referrer of a signed image",
        |world| {
            referrer(world, |image, subject| {
                with(&as_docker(image), json!({"subject": subject}))
            })
        },
    ),
    // Docker takes a configuration of these types for one of an image.
    Case("B-105", "its config is application/octet-stream", |world| {
        of_config(world, "application/octet-stream")
    }),
    Case("B-106", "its config is application/json", |world| {
        of_config(world, "application/json")
    }),
    Case("B-107", "its config is text/html", |world| {
        of_config(world, "text/html")
    }),
    Case("B-108", "its config has no type", |world| {
        of_config(world, "")
    }),
    Case(
        "B-109",
        "the types of Docker with an empty config",
        |world| {
            referrer(world, |image, subject| {
                let docker = with(&as_docker(image), json!({"subject": subject}));
                config_of(&docker, EMPTY)
            })
        },
    ),
    Case(
        "B-110",
        "an SBOM whose keys are those of an image in another case",
        |world| {
            referrer(world, |image, subject| {
                let manifest = image.json();
                let sbom = with(
                    image,
                    json!({"subject": subject, "artifactType": SBOM, "config": with_type(&manifest["config"], EMPTY)}),
                );
                more(&sbom, &[("Config", &manifest["config"])])
            })
        },
    ),
    Case(
        "B-111",
        "an SBOM whose config says its type twice in two cases",
        |world| {
            referrer(world, |image, subject| {
                let mut manifest = image.json();
                manifest["subject"] = subject.clone();
                manifest["config"]["mediaType"] = json!(EMPTY);
                manifest["config"]["zMediaType"] = json!(CONFIG);
                let text = manifest.to_string().replace("zMediaType", "MediaType");
                Content::new(MANIFEST, text)
            })
        },
    ),
    Case("B-112", "a bundle pushed by the tag of an image", |world| {
        let attacker = world.attacker(PROD);
        let bundle = fake_bundle(&attacker, EMPTY);
        world.is_secret(&bundle);
        attacker.put_manifest("v1", &bundle);
        world.pulls(PROD, "v1", &bundle)
    }),
    Case(
        "B-113",
        "a bundle with the config of an image, pushed by the tag of an image",
        |world| {
            let attacker = world.attacker(PROD);
            let bundle = fake_bundle(&attacker, "application/octet-stream");
            world.is_secret(&bundle);
            attacker.put_manifest("v1", &bundle);
            world.pulls(PROD, "v1", &bundle) || world.pulls_by_digest(PROD, &bundle)
        },
    ),
    Case(
        "B-114",
        "a bundle whose keys are those of an image in another case, by tag",
        |world| {
            let attacker = world.attacker(PROD);
            let double = double(world, &attacker);
            attacker.put_manifest("v1", &double);
            world.pulls(PROD, "v1", &double)
        },
    ),
    Case(
        "B-115",
        "a bundle whose keys are those of an image in another case, by digest",
        |world| {
            let attacker = world.attacker(PROD);
            let double = double(world, &attacker);
            attacker.put_manifest(&double.digest(), &double);
            world.pulls_by_digest(PROD, &double)
        },
    ),
    Case("B-116", "the same, uploaded as a blob", |world| {
        let attacker = world.attacker(PROD);
        let double = double(world, &attacker);
        attacker.push_blob(&double);
        world.pulls_by_digest(PROD, &double) || world.pulls_as_blob(PROD, &double)
    }),
    Case(
        "B-117",
        "a signature with the config of an image of Docker",
        |world| {
            let attacker = world.attacker(PROD);
            let image = world.unsigned(&attacker);
            let mut manifest = image.json();
            manifest["subject"] = json!({"mediaType": MANIFEST, "digest": nothing(), "size": 7});
            manifest["artifactType"] = json!(NOTATION);
            manifest["config"]["mediaType"] = json!(DOCKER_CONFIG);
            manifest["layers"][0]["mediaType"] = json!("application/vnd.docker.layer");
            let image = Content::manifest(&manifest);
            world.is_secret(&image);
            attacker.put_manifest(&image.digest(), &image);
            world.pulls_by_digest(PROD, &image)
        },
    ),
    Case(
        "B-118",
        "a signature whose layer is an image manifest, as a blob",
        |world| {
            let image = in_a_signature(world);
            world.pulls_as_blob(PROD, &image)
        },
    ),
    Case(
        "B-119",
        "a signature whose layer is an image manifest, as a manifest",
        |world| {
            let image = in_a_signature(world);
            world.pulls_by_digest(PROD, &image)
        },
    ),
    Case(
        "B-120",
        "an image under the tag of an SBOM, its layer of another type",
        |world| companion(world, ".sbom", "application/vnd.docker.image.layer"),
    ),
    Case(
        "B-121",
        "an image under the tag of an SBOM, its layer of a type of OCI",
        |world| {
            companion(
                world,
                ".sbom",
                "application/vnd.oci.image.something.v1+gzip",
            )
        },
    ),
    Case(
        "B-122",
        "an image under the tag of signatures, its layer too large to be read",
        |world| companion(world, ".sig", COSIGN_LAYER),
    ),
    Case(
        "B-123",
        "the same under the tag of an SBOM, put in the registry itself",
        |world| {
            let behind = world.behind(PROD);
            let image = dressed(world, &behind, "application/vnd.docker.image.layer", 16);
            let tag = world
                .admitted(&world.attacker(PROD), "v1")
                .companion_tag(".sbom");
            behind.put_manifest(&tag, &image).expect(201);
            let reply = world.asks("GET", PROD, &format!("manifests/{tag}"), &[ACCEPT]);
            reply.status == 200 && reply.json()["layers"] == image.json()["layers"]
        },
    ),
    // Docker unpacks a layer whatever type it has.
    Case(
        "B-172",
        "an image under the tag of an SBOM, its layer said to be text",
        |world| companion(world, ".sbom", "text/spdx"),
    ),
    Case(
        "B-173",
        "an image under the tag of an SBOM, its layer of no type in particular",
        |world| companion(world, ".sbom", "application/octet-stream"),
    ),
    Case(
        "B-174",
        "an image under the tag of attestations, its layer said to be one",
        |world| companion(world, ".att", "application/vnd.dsse.envelope.v1+json"),
    ),
    Case(
        "B-175",
        "the same under the tag of an SBOM, put in the registry itself, its layer said to be text",
        |world| {
            let behind = world.behind(PROD);
            let image = dressed(world, &behind, "text/spdx", 16);
            let tag = world
                .admitted(&world.attacker(PROD), "v1")
                .companion_tag(".sbom");
            behind.put_manifest(&tag, &image).expect(201);
            let reply = world.asks("GET", PROD, &format!("manifests/{tag}"), &[ACCEPT]);
            reply.status == 200 && reply.json()["layers"] == image.json()["layers"]
        },
    ),
    Case(
        "B-176",
        "its config is of a type that begins like Docker's",
        |world| of_config(world, "application/vnd.docker.something"),
    ),
    Case(
        "B-177",
        "its config is of a type that begins like that of OCI",
        |world| of_config(world, "application/vnd.oci.image.something"),
    ),
    Case(
        "B-178",
        "its config is of such a type in another case",
        |world| of_config(world, "Application/Octet-Stream"),
    ),
    Case(
        "B-124",
        "an SBOM of an image that nobody has signed",
        |world| {
            let attacker = world.attacker(PROD);
            let image = world.unsigned(&attacker);
            attacker.push_manifest(&image);
            let sbom = attacker.attach(SBOM, &image);
            world.is_secret(&sbom);
            world.pulls_by_digest(PROD, &sbom)
        },
    ),
    Case(
        "B-125",
        "an SBOM of a signed image, by the tag of an image",
        |world| {
            let attacker = world.attacker(PROD);
            let signed = world.admitted(&attacker, "v1");
            let sbom = attacker.artifact(SBOM, Some(&signed));
            world.is_secret(&sbom);
            attacker.put_manifest("v2", &sbom);
            world.pulls(PROD, "v2", &sbom)
        },
    ),
];

#[test]
fn no_image_passes_as_something_else() {
    Theatre::open().run(CASES);
}

/// Some registries refuse what has a subject. regseal captures it then, as if it were no image.
#[test]
fn an_image_that_the_registry_refuses_is_judged_as_well() {
    let registry = Registry::with(Auth::None);
    let gate = Gate::before(&registry);
    gate.rule(|asked| {
        let is_by_digest = asked.path.contains("/manifests/sha256:");
        match (asked.user().as_deref(), asked.method.as_str()) {
            (Some("alice"), "PUT") if is_by_digest => {
                Verdict::refuse(400, "MANIFEST_INVALID", asked)
            }
            (Some("alice"), _) | (Some("bob"), "GET" | "HEAD") => Verdict::Pass,
            (Some(_), _) => Verdict::refuse(403, "DENIED", asked),
            (None, _) => Verdict::refuse(401, "UNAUTHORIZED", asked),
        }
    });
    let (config, _files) = config_of_policy(&Keys::new());
    let regseal = Regseal::at(&gate.endpoint).config(&config).start();
    // Whoever may pull has to see the subject, or he is told nothing.
    let base = registry
        .endpoint
        .repository(ALICE, "prod/app")
        .push_image("base");
    let [bare, sealed] = [&gate.endpoint, &regseal.endpoint].map(|endpoint| {
        let alice = endpoint.repository(ALICE, "prod/app");
        let bob = endpoint.repository(BOB, "prod/app");
        let subject = base.descriptor();
        let image = with(&alice.image(), json!({"subject": subject}));
        if alice.put_manifest(&image.digest(), &image).status != 201 {
            alice.push_blob(&image);
        }
        let reply = bob.get_manifest(&image.digest());
        (reply.status, reply.body == image.bytes)
    });
    assert_eq!(
        bare,
        (200, true),
        "the registry behind serves what was uploaded as a blob"
    );
    assert_eq!(sealed, (403, false));
    // What is judged for a tag has to be known by its digest: such a push goes no further.
    let digest = format!("sha384:{}", "0".repeat(96));
    gate.seen();
    let alice = regseal.endpoint.repository(ALICE, "prod/app");
    let image = alice.image();
    alice
        .put_manifest(&format!("{digest}?tag=v1"), &image)
        .refused(400, "MANIFEST_INVALID");
    assert!(
        gate.seen()
            .iter()
            .all(|asked| !asked.path.contains("sha384"))
    );
}

/// What hangs on a signed image, pushed and pulled by digest.
fn referrer(world: &World<'_>, dress: fn(&Content, &Value) -> Content) -> bool {
    let attacker = world.attacker(PROD);
    let signed = world.admitted(&attacker, "v1");
    let image = dress(&world.unsigned(&attacker), &signed.descriptor());
    world.is_secret(&image);
    attacker.put_manifest(&image.digest(), &image);
    world.pulls_by_digest(PROD, &image)
}

fn of_config(world: &World<'_>, media_type: &str) -> bool {
    let attacker = world.attacker(PROD);
    let signed = world.admitted(&attacker, "v1");
    let image = world.unsigned(&attacker);
    let image = with(&image, json!({"subject": signed.descriptor()}));
    let image = config_of(&image, media_type);
    world.is_secret(&image);
    attacker.put_manifest(&image.digest(), &image);
    world.pulls_by_digest(PROD, &image)
}

fn config_of(image: &Content, media_type: &str) -> Content {
    let config = with_type(&image.json()["config"], media_type);
    with(image, json!({"config": config}))
}

fn with_type(descriptor: &Value, media_type: &str) -> Value {
    let mut descriptor = descriptor.clone();
    descriptor["mediaType"] = json!(media_type);
    descriptor
}

/// The manifest with members behind all others.
fn more(manifest: &Content, members: &[(&str, &Value)]) -> Content {
    let text = String::from_utf8(manifest.bytes.to_vec()).unwrap();
    let members: String = members
        .iter()
        .map(|(name, value)| format!(",\"{name}\":{value}"))
        .collect();
    let text = format!("{}{members}}}", text.strip_suffix('}').unwrap());
    Content::new(&manifest.media_type, text)
}

/// What has the form of a bundle, and the layer of an image in it.
fn fake_bundle(repository: &Repository, config: &str) -> Content {
    let image = repository.image();
    let mut manifest = image.json();
    manifest["artifactType"] = json!(BUNDLE);
    manifest["config"]["mediaType"] = json!(config);
    manifest["layers"][0]["mediaType"] = json!(BUNDLE);
    manifest["subject"] = json!({"mediaType": MANIFEST, "digest": nothing(), "size": 7});
    Content::manifest(&manifest)
}

/// A well-formed bundle by a stranger that is an image to whoever reads keys in any case, as most clients do.
fn double(world: &World<'_>, repository: &Repository) -> Content {
    let image = repository.image().json();
    let signed = repository.image();
    repository.push_manifest(&signed);
    let bundle = world.keys().stranger.bundle(&statement(&signed));
    let bundle = bundle_manifest(repository, &signed, &bundle);
    let double = more(
        &bundle,
        &[("Config", &image["config"]), ("Layers", &image["layers"])],
    );
    world.is_secret(&double);
    double
}

/// An image manifest that is the layer of a captured signature.
fn in_a_signature(world: &World<'_>) -> Content {
    let attacker = world.attacker(PROD);
    let signed = world.admitted(&attacker, "v1");
    let image = world.unsigned(&attacker);
    let config = Content::new(NOTATION, "{}");
    let layer = Content::new("application/jose+json", image.bytes.clone());
    attacker.push_blob(&config);
    attacker.push_blob(&layer);
    let signature = crate::support::images::artifact_of(NOTATION, Some(&signed), &config, &layer);
    attacker.put_manifest(&signature.digest(), &signature);
    image
}

fn companion(world: &World<'_>, suffix: &str, layer: &str) -> bool {
    let attacker = world.attacker(PROD);
    let tag = world.admitted(&attacker, "v1").companion_tag(suffix);
    let size = if layer == COSIGN_LAYER { 9 << 20 } else { 16 };
    let image = dressed(world, &attacker, layer, size);
    attacker.put_manifest(&tag, &image);
    // What is captured under such a tag is served with whatever was there before, in bytes of its own.
    let reply = world.asks("GET", PROD, &format!("manifests/{tag}"), &[ACCEPT]);
    reply.status == 200 && reply.json()["layers"] == image.json()["layers"]
}

/// An image whose layer says that it is of another type.
fn dressed(world: &World<'_>, repository: &Repository, media_type: &str, size: usize) -> Content {
    let image = repository.image();
    let layer = Content::new(LAYER, tar("salt", &vec![b'x'; size]));
    repository.push_blob(&layer);
    let mut manifest = image.json();
    manifest["layers"] = json!([with_type(&layer.descriptor(), media_type)]);
    assert!(!ACCEPT.1.contains(media_type));
    let image = Content::manifest(&manifest);
    world.is_secret(&image);
    image
}
