//! Ways to the bytes of an unsigned manifest by its digest.

use serde_json::json;

use super::{Case, DOCKER_LIST, OPEN, PROD, Theatre, World, as_docker, is, list_of};
use crate::support::images::{ACCEPT, MANIFEST};
use crate::support::{Content, Repository};

const CASES: &[Case] = &[
    Case("B-56", "pulled by digest", |world| {
        let image = pushed_by_digest(world);
        world.pulls_by_digest(PROD, &image)
    }),
    Case("B-57", "asked for by HEAD", |world| {
        let image = pushed_by_digest(world);
        let path = format!("manifests/{}", image.digest());
        world.asks("HEAD", PROD, &path, &[ACCEPT]).status == 200
    }),
    Case("B-58", "asked for by HEAD and tag", |world| {
        let attacker = world.attacker(PROD);
        let image = world.unsigned(&attacker);
        attacker.put_manifest("v1", &image);
        world.asks("HEAD", PROD, "manifests/v1", &[ACCEPT]).status == 200
    }),
    Case(
        "B-59",
        "a manifest that was uploaded as a blob, pulled as a manifest",
        |world| {
            let image = uploaded(world, PROD);
            world.pulls_by_digest(PROD, &image)
        },
    ),
    Case("B-60", "the same, uploaded in chunks", |world| {
        let attacker = world.attacker(PROD);
        let image = world.unsigned(&attacker);
        upload_in_chunks(&attacker, &image);
        world.pulls_by_digest(PROD, &image)
    }),
    Case("B-61", "the same, asked for by HEAD", |world| {
        let image = uploaded(world, PROD);
        let path = format!("manifests/{}", image.digest());
        world.asks("HEAD", PROD, &path, &[ACCEPT]).status == 200
    }),
    Case("B-62", "a manifest as a blob", |world| {
        let image = uploaded(world, PROD);
        world.pulls_as_blob(PROD, &image)
    }),
    Case("B-63", "a manifest as a blob, asked for by HEAD", |world| {
        let image = uploaded(world, PROD);
        let path = format!("blobs/{}", image.digest());
        world.asks("HEAD", PROD, &path, &[]).status == 200
    }),
    Case("B-64", "a part of a manifest as a blob", |world| {
        let image = uploaded(world, PROD);
        let path = format!("blobs/{}", image.digest());
        let reply = world.asks("GET", PROD, &path, &[("Range", "bytes=1-200")]);
        reply.status == 206 && reply.body == image.bytes[1..=200]
    }),
    Case("B-65", "several parts of a manifest as a blob", |world| {
        let image = uploaded(world, PROD);
        let path = format!("blobs/{}", image.digest());
        let reply = world.asks("GET", PROD, &path, &[("Range", "bytes=0-99,100-199")]);
        [200, 206].contains(&reply.status) && reply.body.len() >= 200
    }),
    Case(
        "B-66",
        "a manifest as a blob that is said to be known",
        |world| {
            let image = uploaded(world, PROD);
            let path = format!("blobs/{}", image.digest());
            let known = format!("\"{}\"", image.digest());
            world
                .asks("GET", PROD, &path, &[("If-None-Match", &known)])
                .status
                == 304
        },
    ),
    Case(
        "B-67",
        "a mounted manifest, pulled as a manifest",
        |world| {
            let image = mounted(world);
            world.pulls_by_digest(PROD, &image)
        },
    ),
    Case("B-68", "a mounted manifest as a blob", |world| {
        let image = mounted(world);
        world.pulls_as_blob(PROD, &image)
    }),
    Case("B-69", "a manifest that is said to be known", |world| {
        let image = pushed_by_digest(world);
        let path = format!("manifests/{}", image.digest());
        let known = format!("\"{}\"", image.digest());
        world
            .asks("GET", PROD, &path, &[ACCEPT, ("If-None-Match", &known)])
            .status
            == 304
    }),
    Case("B-70", "a part of a manifest", |world| {
        let image = pushed_by_digest(world);
        let path = format!("manifests/{}", image.digest());
        let reply = world.asks("GET", PROD, &path, &[ACCEPT, ("Range", "bytes=0-")]);
        [200, 206].contains(&reply.status) && reply.body == image.bytes
    }),
    Case("B-71", "a manifest by digest and any type", |world| {
        let image = pushed_by_digest(world);
        let path = format!("manifests/{}", image.digest());
        is(
            &world.asks("GET", PROD, &path, &[("Accept", "*/*"), ACCEPT]),
            &image,
        )
    }),
    Case(
        "B-72",
        "a list that the registry resolves to its child",
        |world| {
            let attacker = world.attacker(PROD);
            let image = as_docker(&world.unsigned(&attacker));
            world.is_secret(&image);
            attacker.push_manifest(&image);
            let list = list_of(DOCKER_LIST, &[&image]);
            world.is_secret(&list);
            world.behind(PROD).put_manifest("v1", &list).expect(201);
            let headers = [("Accept", super::DOCKER_MANIFEST)];
            is(&world.asks("GET", PROD, "manifests/v1", &headers), &image)
        },
    ),
    Case(
        "B-73",
        "an image that the registry converts to schema 1",
        |world| {
            let behind = world.behind(PROD);
            let image = with_history(&behind);
            world.is_secret(&image);
            behind.put_manifest("v1", &image);
            let headers = [(
                "Accept",
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
            )];
            let reply = world.asks("GET", PROD, "manifests/v1", &headers);
            reply.status == 200 && reply.json()["schemaVersion"] == 1
        },
    ),
    Case("B-74", "a blob with its keys in another case", |world| {
        as_blob(world, |text| {
            text.replacen("schemaVersion", "SchemaVersion", 1)
                .into_bytes()
        })
    }),
    Case(
        "B-75",
        "a blob with a letter that folds into its key",
        |world| {
            as_blob(world, |text| {
                text.replacen("schemaVersion", "\u{17f}chemaVersion", 1)
                    .into_bytes()
            })
        },
    ),
    Case(
        "B-76",
        "a blob with an escape in each of its keys",
        |world| {
            as_blob(world, |text| {
                let text = text.replacen("schemaVersion", "\\u0073chemaVersion", 1);
                text.replacen("layers", "\\u006cayers", 1).into_bytes()
            })
        },
    ),
    Case(
        "B-77",
        "a blob with a first key that is no Unicode",
        |world| {
            as_blob(world, |text| {
                [b"{\"\xff\":0,", &text.as_bytes()[1..]].concat()
            })
        },
    ),
    Case(
        "B-78",
        "a blob with half a character in its first key",
        |world| {
            as_blob(world, |text| {
                text.replacen('{', "{\"\\ud800\":0,", 1).into_bytes()
            })
        },
    ),
    Case(
        "B-79",
        "a blob that is deeper than some parsers read",
        |world| {
            as_blob(world, |text| {
                let deep = format!("{{\"a\":{}{},", "[".repeat(300), "]".repeat(300));
                text.replacen('{', &deep, 1).into_bytes()
            })
        },
    ),
    Case("B-80", "a blob behind white space", |world| {
        as_blob(world, |text| format!("\n\t \r\n{text}").into_bytes())
    }),
    Case(
        "B-81",
        "the digest of what was moved away from its tag",
        |world| {
            let behind = world.behind(PROD);
            let image = world.unsigned(&behind);
            behind.put_manifest("v1", &image).expect(201);
            let attacker = world.attacker(PROD);
            world.admitted(&attacker, "v1");
            world.pulls_by_digest(PROD, &image)
        },
    ),
    Case("B-82", "the digest of what a mark's tag names", |world| {
        let behind = world.behind(PROD);
        let image = world.unsigned(&behind);
        behind.put_manifest("unsigned-v1", &image).expect(201);
        world.asks("GET", PROD, "manifests/unsigned-v1", &[ACCEPT]);
        world.pulls_by_digest(PROD, &image)
    }),
    Case(
        "B-83",
        "the digest that another repository shows",
        |world| {
            let open = world.attacker(OPEN);
            let image = world.unsigned(&open);
            open.put_manifest("v1", &image).expect(201);
            open.victim_sees(world, OPEN, "v1");
            let attacker = world.attacker(PROD);
            mount_all(&attacker, &open, &image);
            attacker.push_manifest(&image);
            world.pulls_by_digest(PROD, &image)
        },
    ),
    Case(
        "B-84",
        "the digest after a read by somebody who may push",
        |world| {
            let image = pushed_by_digest(world);
            let attacker = world.attacker(PROD);
            attacker.get_manifest(&image.digest()).expect(200);
            world.pulls_by_digest(PROD, &image)
        },
    ),
];

#[test]
fn no_digest_shows_what_is_unsigned() {
    Theatre::open().run(CASES);
}

trait Seen {
    fn victim_sees(&self, world: &World<'_>, space: &str, tag: &str);
}

impl Seen for Repository {
    /// The victim pulls from where everything is open, which is no secret there.
    fn victim_sees(&self, world: &World<'_>, space: &str, tag: &str) {
        world.victim(space).get_manifest(tag).expect(200);
    }
}

fn pushed_by_digest(world: &World<'_>) -> Content {
    let attacker = world.attacker(PROD);
    let image = world.unsigned(&attacker);
    attacker.push_manifest(&image);
    image
}

/// A manifest that was uploaded as a blob.
fn uploaded(world: &World<'_>, space: &str) -> Content {
    let attacker = world.attacker(space);
    let image = world.unsigned(&attacker);
    attacker.push_blob(&image);
    image
}

/// A manifest that was uploaded as a blob to an open repository, and mounted.
fn mounted(world: &World<'_>) -> Content {
    let image = uploaded(world, OPEN);
    let (open, attacker) = (world.attacker(OPEN), world.attacker(PROD));
    mount(&attacker, &open, &image.digest());
    mount_all(&attacker, &open, &image);
    image
}

fn mount(attacker: &Repository, from: &Repository, digest: &str) {
    let query = format!("mount={digest}&from={}", from.name);
    let path = attacker.path(&format!("blobs/uploads/?{query}"));
    attacker.http.request("POST", &path, &[], "").expect(201);
}

fn mount_all(attacker: &Repository, from: &Repository, image: &Content) {
    let manifest = image.json();
    for part in [&manifest["config"], &manifest["layers"][0]] {
        mount(attacker, from, part["digest"].as_str().unwrap());
    }
}

fn upload_in_chunks(repository: &Repository, blob: &Content) {
    let http = &repository.http;
    let started = http.request("POST", &repository.path("blobs/uploads/"), &[], "");
    let mut location = started.expect(202).header("location").to_owned();
    let mut at = 0;
    for chunk in blob.bytes.chunks(100) {
        let range = format!("{at}-{}", at + chunk.len() - 1);
        let headers = [
            ("Content-Range", range.as_str()),
            ("Content-Type", "application/octet-stream"),
        ];
        let reply = http
            .request("PATCH", &location, &headers, chunk.to_vec())
            .expect(202);
        location = reply.header("location").to_owned();
        at += chunk.len();
    }
    let separator = if location.contains('?') { '&' } else { '?' };
    let end = format!("{location}{separator}digest={}", blob.digest());
    http.request("PUT", &end, &[], "").expect(201);
}

/// An image of Docker that can be written as schema 1, too.
fn with_history(repository: &Repository) -> Content {
    let image = as_docker(&repository.image());
    let mut manifest = image.json();
    let layer = manifest["layers"][0]["digest"].clone();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {}, "created": "2026-01-02T03:04:05Z",
        "history": [{"created": "2026-01-02T03:04:05Z", "created_by": "test"}],
        "rootfs": {"type": "layers", "diff_ids": [layer]},
    });
    let config = Content::new(super::DOCKER_CONFIG, config.to_string());
    repository.push_blob(&config);
    manifest["config"] = config.descriptor();
    Content::manifest(&manifest)
}

/// A manifest that was rewritten and uploaded as a blob, read as one.
fn as_blob(world: &World<'_>, rewrite: fn(&str) -> Vec<u8>) -> bool {
    let attacker = world.attacker(PROD);
    let image = attacker.image();
    let text = String::from_utf8(image.bytes.to_vec()).unwrap();
    let first = json!({"schemaVersion": 2}).to_string();
    assert!(text.contains(&first[1..first.len() - 1]));
    let image = Content::new(MANIFEST, rewrite(&text));
    world.is_secret(&image);
    attacker.push_blob(&image);
    world.pulls_as_blob(PROD, &image)
}
