//! Ways to give a tag to an image that nobody has signed.

use serde_json::json;

use super::{
    Case, DOCKER_LIST, OPEN, PROD, Theatre, World, as_docker, exempt_blobs, exempt_image, is,
    list_of, nothing, with,
};
use crate::support::Content;
use crate::support::images::{ACCEPT, CONFIG, INDEX, LAYER, MANIFEST, NOTATION};

const CASES: &[Case] = &[
    Case("B-01", "pushed by tag", |world| {
        tagged(world, Content::clone)
    }),
    Case("B-02", "pushed in the types of Docker", |world| {
        tagged(world, as_docker)
    }),
    Case("B-03", "pushed without a media type in the body", |world| {
        tagged(world, |image| untyped(image, MANIFEST))
    }),
    Case("B-04", "pushed with a Content-Type in capitals", |world| {
        tagged(world, |image| {
            untyped(image, &MANIFEST.to_ascii_uppercase())
        })
    }),
    Case(
        "B-05",
        "pushed with a parameter of the Content-Type",
        |world| {
            tagged(world, |image| {
                Content::new(&format!("{MANIFEST}; charset=utf-8"), image.bytes.clone())
            })
        },
    ),
    Case("B-06", "pushed with its layers twice", |world| {
        tagged(world, |image| {
            let text = String::from_utf8(image.bytes.to_vec()).unwrap();
            Content::new(MANIFEST, text.replacen('{', "{\"layers\":[],", 1))
        })
    }),
    Case("B-07", "pushed with its keys in another case", |world| {
        tagged(world, |image| {
            let text = String::from_utf8(image.bytes.to_vec()).unwrap();
            let text = text.replacen("\"layers\"", "\"Layers\"", 1);
            Content::new(MANIFEST, text.replacen("\"config\"", "\"Config\"", 1))
        })
    }),
    Case("B-08", "pushed with a subject that is nowhere", |world| {
        tagged(world, |image| {
            let subject = json!({"mediaType": MANIFEST, "digest": nothing(), "size": 7});
            with(image, json!({"subject": subject}))
        })
    }),
    Case(
        "B-09",
        "pushed with the artifact type of a signature",
        |world| {
            tagged(world, |image| {
                let subject = json!({"mediaType": MANIFEST, "digest": nothing(), "size": 7});
                with(image, json!({"subject": subject, "artifactType": NOTATION}))
            })
        },
    ),
    Case("B-10", "an index, pushed by tag", |world| {
        index(world, INDEX)
    }),
    Case("B-11", "a list of Docker, pushed by tag", |world| {
        index(world, DOCKER_LIST)
    }),
    Case(
        "B-12",
        "pushed by the tag of a list of referrers",
        |world| companion(world, ""),
    ),
    Case("B-13", "pushed by the tag of signatures", |world| {
        companion(world, ".sig")
    }),
    Case("B-14", "pushed by the tag of attestations", |world| {
        companion(world, ".att")
    }),
    Case("B-15", "pushed by the tag of an SBOM", |world| {
        companion(world, ".sbom")
    }),
    Case("B-16", "pushed by the tag of a mark", |world| {
        let attacker = world.attacker(PROD);
        let image = world.unsigned(&attacker);
        attacker.put_manifest("unsigned-v1", &image);
        world.pulls(PROD, "unsigned-v1", &image)
    }),
    Case("B-17", "pushed by digest, and tagged after that", |world| {
        let attacker = world.attacker(PROD);
        let image = world.unsigned(&attacker);
        attacker.push_manifest(&image);
        attacker.put_manifest("v1", &image);
        world.pulls(PROD, "v1", &image)
    }),
    Case("B-18", "a tag moved away from a signed image", |world| {
        let attacker = world.attacker(PROD);
        let signed = world.admitted(&attacker, "v1");
        let image = world.unsigned(&attacker);
        attacker.put_manifest("v1", &image);
        let moved = world.pulls(PROD, "v1", &image);
        assert!(
            moved || world.pulls(PROD, "v1", &signed),
            "the signed image stays"
        );
        moved
    }),
    Case("B-19", "a tag moved in the registry itself", |world| {
        let attacker = world.attacker(PROD);
        world.admitted(&attacker, "v1");
        assert!(world.asks("GET", PROD, "manifests/v1", &[ACCEPT]).status == 200);
        let image = world.unsigned(&attacker);
        world.behind(PROD).put_manifest("v1", &image).expect(201);
        world.pulls(PROD, "v1", &image)
    }),
    Case("B-20", "an image that was there before regseal", |world| {
        let behind = world.behind(PROD);
        let image = world.unsigned(&behind);
        behind.put_manifest("v1", &image).expect(201);
        world.pulls(PROD, "v1", &image) || world.pulls_by_digest(PROD, &image)
    }),
    Case(
        "B-21",
        "a mark's tag that was there before regseal",
        |world| {
            let behind = world.behind(PROD);
            let image = world.unsigned(&behind);
            behind.put_manifest("unsigned-v1", &image).expect(201);
            world.pulls(PROD, "unsigned-v1", &image)
        },
    ),
    Case(
        "B-22",
        "the signed image deleted, and its tag pushed anew",
        |world| {
            let attacker = world.attacker(PROD);
            let signed = world.admitted(&attacker, "v1");
            attacker.delete_manifest(&signed.digest()).expect(202);
            let image = world.unsigned(&attacker);
            attacker.put_manifest("v1", &image);
            world.pulls(PROD, "v1", &image)
        },
    ),
    Case(
        "B-23",
        "the tag of a rejected image in the list of tags",
        |world| {
            let attacker = world.attacker(PROD);
            world.admitted(&attacker, "v1");
            let image = world.unsigned(&attacker);
            attacker.put_manifest("v2", &image);
            let listed = world.asks("GET", PROD, "tags/list", &[]).expect(200).json();
            listed["tags"].as_array().unwrap().contains(&json!("v2"))
        },
    ),
    Case("B-24", "the exemption of another image", |world| {
        let attacker = world.attacker("exempt");
        let image = world.unsigned(&attacker);
        attacker.put_manifest("v1", &image);
        world.pulls("exempt", "v1", &image)
    }),
    Case("B-25", "an exemption that is over", |world| {
        let attacker = world.attacker("exempt");
        for blob in exempt_blobs("over") {
            attacker.push_blob(&blob);
        }
        let [_, over] = exempt_image();
        world.is_secret(&over);
        attacker.put_manifest("v1", &over);
        world.pulls("exempt", "v1", &over)
    }),
    Case(
        "B-26",
        "the exempt image in a repository of another rule",
        |world| {
            let attacker = world.attacker(PROD);
            for blob in exempt_blobs("exempt") {
                attacker.push_blob(&blob);
            }
            let [exempt, _] = exempt_image();
            world.is_secret(&exempt);
            attacker.put_manifest("v1", &exempt);
            world.pulls(PROD, "v1", &exempt)
        },
    ),
    Case(
        "B-27",
        "an index that lists an exempt image and another",
        |world| {
            let attacker = world.attacker("exempt");
            for blob in exempt_blobs("exempt") {
                attacker.push_blob(&blob);
            }
            let [exempt, _] = exempt_image();
            attacker.push_manifest(&exempt);
            let image = world.unsigned(&attacker);
            attacker.push_manifest(&image);
            let index = list_of(INDEX, &[&exempt, &image]);
            world.is_secret(&index);
            attacker.put_manifest("v1", &index);
            world.pulls("exempt", "v1", &index) && world.pulls_by_digest("exempt", &image)
        },
    ),
    Case(
        "B-28",
        "a tag of another rule of the repository, moved to one that is strict",
        |world| {
            let attacker = world.attacker("lenient");
            let image = world.unsigned(&attacker);
            attacker.put_manifest("dev-1", &image).expect(201);
            attacker.put_manifest("v1", &image);
            let reply = world.victim("lenient").get_manifest("v1");
            is(&reply, &image)
        },
    ),
    Case(
        "B-29",
        "a mark's tag under a rule that marks and denies",
        |world| {
            let attacker = world.attacker("marked-denied");
            let image = world.unsigned(&attacker);
            attacker.put_manifest("v1", &image).expect(201);
            world.pulls("marked-denied", "unsigned-v1", &image)
                || world.pulls("marked-denied", "v1", &image)
        },
    ),
    Case(
        "B-30",
        "a marked image without its warning after a bad signature",
        |world| {
            let attacker = world.attacker("marked");
            let image = attacker.push_image("v1");
            let stranger = &world.keys().stranger;
            let bad = stranger.bundle(&super::signer::statement(&image));
            let bad = super::signer::bundle_manifest(&attacker, &image, &bad);
            attacker.put_manifest(&bad.digest(), &bad);
            let reply = world
                .asks("GET", "marked", "manifests/v1", &[ACCEPT])
                .expect(200);
            reply.header("warning").is_empty()
        },
    ),
    Case(
        "B-31",
        "the tag of a signed image of another repository",
        |world| {
            let open = world.attacker(OPEN);
            let image = open.push_image("v1");
            world.is_secret(&image);
            world.keys().build.sign_image(&open, &image);
            let attacker = world.attacker(PROD);
            for blob in ["config", "layers/0"] {
                let digest = &image
                    .json()
                    .pointer(&format!("/{blob}/digest"))
                    .unwrap()
                    .clone();
                let query = format!("mount={}&from={}", digest.as_str().unwrap(), open.name);
                let path = attacker.path(&format!("blobs/uploads/?{query}"));
                attacker.http.request("POST", &path, &[], "").expect(201);
            }
            attacker.put_manifest("v1", &image);
            world.pulls(PROD, "v1", &image)
        },
    ),
];

#[test]
fn no_tag_is_given_to_what_is_unsigned() {
    Theatre::open().run(CASES);
}

fn tagged(world: &World<'_>, dress: fn(&Content) -> Content) -> bool {
    let attacker = world.attacker(PROD);
    let image = dress(&world.unsigned(&attacker));
    world.is_secret(&image);
    attacker.put_manifest("v1", &image);
    world.pulls(PROD, "v1", &image)
}

fn index(world: &World<'_>, media_type: &str) -> bool {
    let attacker = world.attacker(PROD);
    let image = world.unsigned(&attacker);
    let image = if media_type == DOCKER_LIST {
        as_docker(&image)
    } else {
        image
    };
    attacker.push_manifest(&image);
    let index = list_of(media_type, &[&image]);
    world.is_secret(&index);
    attacker.put_manifest("v1", &index);
    world.pulls(PROD, "v1", &index)
}

fn companion(world: &World<'_>, suffix: &str) -> bool {
    let attacker = world.attacker(PROD);
    let image = world.unsigned(&attacker);
    let tag = image.companion_tag(suffix);
    attacker.put_manifest(&tag, &image);
    world.pulls(PROD, &tag, &image)
}

fn untyped(image: &Content, content_type: &str) -> Content {
    let mut manifest = image.json();
    manifest.as_object_mut().unwrap().remove("mediaType");
    assert_eq!(manifest["config"]["mediaType"], CONFIG);
    assert_eq!(manifest["layers"][0]["mediaType"], LAYER);
    Content::new(content_type, manifest.to_string())
}
