//! Unsigned images within indexes.

use serde_json::json;

use super::{Case, DOCKER_LIST, OPEN, PROD, Theatre, World, as_docker, list_of, with};
use crate::support::Content;
use crate::support::images::{EMPTY, INDEX};

const CASES: &[Case] = &[
    Case(
        "B-85",
        "a child of an index that nobody has signed",
        |world| {
            let attacker = world.attacker(PROD);
            let image = world.unsigned(&attacker);
            attacker.push_manifest(&image);
            let index = list_of(INDEX, &[&image]);
            world.is_secret(&index);
            attacker.put_manifest("v1", &index);
            world.pulls_by_digest(PROD, &image)
        },
    ),
    Case(
        "B-86",
        "a child of an index that is signed in another repository",
        |world| {
            let open = world.attacker(OPEN);
            let (image, index) = signed_index(world, OPEN);
            open.put_manifest("v1", &index).expect(201);
            world.victim(OPEN).get_manifest("v1").expect(200);
            let attacker = world.attacker(PROD);
            mount_parts(world, &image);
            attacker.push_manifest(&image);
            world.pulls_by_digest(PROD, &image)
        },
    ),
    Case(
        "B-87",
        "a child of an index with a tag of another rule, by a strict tag",
        |world| {
            let attacker = world.attacker("lenient");
            let image = attacker.image();
            attacker.push_manifest(&image);
            let index = list_of(INDEX, &[&image]);
            attacker.put_manifest("dev-1", &index).expect(201);
            attacker.put_manifest("v1", &image);
            crate::policy_bypass::is(&world.victim("lenient").get_manifest("v1"), &image)
        },
    ),
    Case(
        "B-88",
        "a signed index where each child has to be signed",
        |world| {
            let (_, index) = signed_index(world, "children");
            world.is_secret(&index);
            world.attacker("children").put_manifest("v1", &index);
            world.pulls("children", "v1", &index)
        },
    ),
    Case(
        "B-89",
        "a child of a signed index where each child has to be signed",
        |world| {
            let (image, index) = signed_index(world, "children");
            world.attacker("children").put_manifest("v1", &index);
            world.pulls_by_digest("children", &image)
        },
    ),
    Case("B-90", "one unsigned child beside a signed one", |world| {
        let (index, image) = half_signed(world, "children", false);
        world.pulls("children", "v1", &index) || world.pulls_by_digest("children", &image)
    }),
    Case(
        "B-91",
        "a signed index with an unsigned child where all have to be signed",
        |world| {
            let (index, image) = half_signed(world, "all", true);
            world.pulls("all", "v1", &index) || world.pulls_by_digest("all", &image)
        },
    ),
    Case(
        "B-92",
        "an unsigned index of signed children where all have to be signed",
        |world| {
            let attacker = world.attacker("all");
            let image = attacker.image();
            attacker.push_manifest(&image);
            world.keys().build.sign_image(&attacker, &image);
            let index = list_of(INDEX, &[&image]);
            world.is_secret(&index);
            attacker.put_manifest("v1", &index);
            world.pulls("all", "v1", &index)
        },
    ),
    Case(
        "B-93",
        "an unsigned index of signed children where the index counts",
        |world| {
            let attacker = world.attacker(PROD);
            let image = attacker.image();
            attacker.push_manifest(&image);
            world.keys().build.sign_image(&attacker, &image);
            let index = list_of(INDEX, &[&image]);
            world.is_secret(&index);
            attacker.put_manifest("v1", &index);
            world.pulls(PROD, "v1", &index)
        },
    ),
    Case(
        "B-94",
        "an index of half signed children where either counts",
        |world| {
            let (index, image) = half_signed(world, "either", false);
            world.pulls("either", "v1", &index) || world.pulls_by_digest("either", &image)
        },
    ),
    Case(
        "B-95",
        "an index without children where the children count",
        |world| {
            let index = |world: &World<'_>| {
                let index = list_of(INDEX, &[]);
                let index = with(&index, json!({"annotations": {"salt": world.name("salt")}}));
                world.is_secret(&index);
                index
            };
            let (attacker, index) = (world.attacker("children"), index(world));
            attacker.put_manifest("v1", &index);
            world.pulls("children", "v1", &index)
        },
    ),
    Case(
        "B-96",
        "an index within an index where the children count",
        |world| {
            let attacker = world.attacker("children");
            let image = world.unsigned(&attacker);
            attacker.push_manifest(&image);
            let inner = list_of(INDEX, &[&image]);
            attacker.push_manifest(&inner);
            let outer = list_of(INDEX, &[&inner]);
            world.is_secret(&inner);
            world.is_secret(&outer);
            attacker.put_manifest("v1", &outer);
            world.pulls("children", "v1", &outer) && world.pulls_by_digest("children", &image)
        },
    ),
    Case(
        "B-97",
        "an index with its children under a key in another case",
        |world| {
            let attacker = world.attacker("children");
            let image = world.unsigned(&attacker);
            attacker.push_manifest(&image);
            let signed = attacker.image();
            attacker.push_manifest(&signed);
            world.keys().build.sign_image(&attacker, &signed);
            let text = String::from_utf8(list_of(INDEX, &[&signed]).bytes.to_vec()).unwrap();
            let listed = list_of(INDEX, &[&image]).json()["manifests"].clone();
            let more = format!(",\"Manifests\":{listed}}}");
            let index = Content::new(INDEX, format!("{}{more}", &text[..text.len() - 1]));
            world.is_secret(&index);
            attacker.put_manifest("v1", &index);
            world.pulls("children", "v1", &index)
        },
    ),
    Case(
        "B-98",
        "a child of an index that is a referrer of a signed image",
        |world| {
            let attacker = world.attacker(PROD);
            let signed = world.admitted(&attacker, "v1");
            let image = world.unsigned(&attacker);
            attacker.push_manifest(&image);
            let index = with(
                &list_of(INDEX, &[&image]),
                json!({"subject": signed.descriptor()}),
            );
            world.is_secret(&index);
            attacker.push_manifest(&index);
            world.pulls_by_digest(PROD, &index) || world.pulls_by_digest(PROD, &image)
        },
    ),
    Case(
        "B-99",
        "a list of Docker whose child is unsigned, resolved by the registry",
        |world| {
            let attacker = world.attacker("children");
            let image = as_docker(&world.unsigned(&attacker));
            world.is_secret(&image);
            attacker.push_manifest(&image);
            let list = list_of(DOCKER_LIST, &[&image]);
            world.keys().build.sign_image(&attacker, &list);
            world
                .behind("children")
                .put_manifest("v1", &list)
                .expect(201);
            let headers = [("Accept", super::DOCKER_MANIFEST)];
            let reply = world.asks("GET", "children", "manifests/v1", &headers);
            super::is(&reply, &image)
        },
    ),
    Case(
        "B-100",
        "the list of referrers of a signed image lists an image",
        |world| {
            let attacker = world.attacker(PROD);
            let signed = world.admitted(&attacker, "v1");
            let image = world.unsigned(&attacker);
            attacker.push_manifest(&image);
            let list = list_of(INDEX, &[&image]);
            world.is_secret(&list);
            let tag = signed.companion_tag("");
            attacker.put_manifest(&tag, &list);
            world.pulls(PROD, &tag, &list) || world.pulls_by_digest(PROD, &image)
        },
    ),
    Case(
        "B-101",
        "that list beside a true referrer, the image pushed afterwards",
        |world| {
            let attacker = world.attacker(PROD);
            let signed = world.admitted(&attacker, "v1");
            let sbom = attacker.attach(crate::support::images::SBOM, &signed);
            let image = world.unsigned(&attacker);
            let list = list_of(INDEX, &[&sbom, &image]);
            let tag = signed.companion_tag("");
            if attacker.put_manifest(&tag, &list).status != 201 {
                attacker.push_manifest(&image);
                attacker.put_manifest(&tag, &list);
            }
            attacker.push_manifest(&image);
            world.victim(PROD).get_manifest(&tag);
            world.victim(PROD).get_manifest(&list.digest());
            world.pulls_by_digest(PROD, &image)
        },
    ),
];

#[test]
fn no_index_vouches_for_what_it_must_not() {
    Theatre::open().run(CASES);
}

/// An unsigned child and its signed index, pushed by digest.
fn signed_index(world: &World<'_>, space: &str) -> (Content, Content) {
    let repository = world.attacker(space);
    let image = world.unsigned(&repository);
    repository.push_manifest(&image);
    let index = list_of(INDEX, &[&image]);
    repository.push_manifest(&index);
    world.keys().build.sign_image(&repository, &index);
    (image, index)
}

/// An index of a signed child and an unsigned one, pushed as `v1`.
fn half_signed(world: &World<'_>, space: &str, is_signed: bool) -> (Content, Content) {
    let attacker = world.attacker(space);
    let signed = attacker.image();
    attacker.push_manifest(&signed);
    world.keys().build.sign_image(&attacker, &signed);
    let image = world.unsigned(&attacker);
    attacker.push_manifest(&image);
    let index = list_of(INDEX, &[&signed, &image]);
    world.is_secret(&index);
    attacker.push_manifest(&index);
    if is_signed {
        world.keys().build.sign_image(&attacker, &index);
    }
    attacker.put_manifest("v1", &index);
    (index, image)
}

/// The blobs of an image of the open repository.
fn mount_parts(world: &World<'_>, image: &Content) {
    let (open, attacker) = (world.attacker(OPEN), world.attacker(PROD));
    let manifest = image.json();
    for part in [&manifest["config"], &manifest["layers"][0]] {
        assert_ne!(part["mediaType"], EMPTY);
        let query = format!(
            "mount={}&from={}",
            part["digest"].as_str().unwrap(),
            open.name
        );
        let path = attacker.path(&format!("blobs/uploads/?{query}"));
        attacker.http.request("POST", &path, &[], "").expect(201);
    }
}
