//! What docker-registry lacks, before olareg: tags in the query, other digests, manifests as blobs.
//!
//! It is open to everybody. Whoever gives no name is shown nothing that is unsigned but what was rejected by its tag.

use aws_lc_rs::digest::{SHA512, digest};

use super::{Case, OPEN, PROD, Theatre, World};
use crate::support::images::{ACCEPT, MANIFEST, hex};
use crate::support::{Content, Registry};

const CASES: &[Case] = &[
    Case("B-159", "a tag in the query of a push by digest", |world| {
        by_query(world, "?tag=v1")
    }),
    Case("B-160", "a second tag in the query", |world| {
        by_query(world, "?tag=unsigned-x&tag=v1")
    }),
    Case("B-161", "the same, the other way", |world| {
        by_query(world, "?tag=v1&tag=v2")
    }),
    Case("B-162", "an encoded tag in the query", |world| {
        by_query(world, "?tag=%76%31")
    }),
    Case("B-163", "an encoded name in the query", |world| {
        by_query(world, "?%74ag=v1")
    }),
    Case("B-164", "behind an empty pair of the query", |world| {
        by_query(world, "?&a=b&&tag=v1")
    }),
    Case("B-165", "a tag in the query of a push by sha512", |world| {
        tagged(world, "sha512", "?tag=v1")
    }),
    Case("B-166", "by sha512 of the same bytes", |world| {
        let attacker = world.attacker(PROD);
        let image = world.unsigned(&attacker);
        let digest = digest_of("sha512", &image);
        attacker.put_manifest(&digest, &image);
        world.pulls(PROD, &digest, &image)
    }),
    Case("B-167", "by sha256 of what was pushed by sha512", |world| {
        let attacker = world.attacker(PROD);
        let image = world.unsigned(&attacker);
        attacker.push_manifest(&image);
        attacker.put_manifest(&digest_of("sha512", &image), &image);
        world.pulls_by_digest(PROD, &image)
    }),
    Case("B-168", "a manifest as a blob", |world| {
        let attacker = world.attacker(PROD);
        let image = world.unsigned(&attacker);
        attacker.push_manifest(&image);
        world.pulls_as_blob(PROD, &image)
    }),
    Case("B-169", "a manifest as a blob by sha512", |world| {
        let attacker = world.attacker(PROD);
        let image = world.unsigned(&attacker);
        let digest = digest_of("sha512", &image);
        attacker.put_manifest(&digest, &image);
        let reply = world.asks("GET", PROD, &format!("blobs/{digest}"), &[]);
        super::is(&reply, &image)
    }),
    Case("B-170", "by digest, without a name", |world| {
        let attacker = world.attacker(PROD);
        let image = world.unsigned(&attacker);
        attacker.push_manifest(&image);
        world.pulls_by_digest(PROD, &image)
    }),
    Case(
        "B-179",
        "by digest, with a credential that nobody looks at",
        |world| {
            let attacker = world.attacker(PROD);
            let image = world.unsigned(&attacker);
            attacker.push_manifest(&image);
            let path = attacker.path(&format!("manifests/{}", image.digest()));
            let nobody = world.endpoint().anonymous().basic("nobody", "nothing");
            let reply = world.saw(nobody.request("GET", &path, &[ACCEPT], ""));
            super::is(&reply, &image)
        },
    ),
    Case(
        "B-171",
        "mounted from an open repository, as a blob",
        |world| {
            let (open, attacker) = (world.attacker(OPEN), world.attacker(PROD));
            let image = world.unsigned(&open);
            open.push_manifest(&image);
            open.push_blob(&image);
            let query = format!("mount={}&from={}", image.digest(), open.name);
            let path = attacker.path(&format!("blobs/uploads/?{query}"));
            attacker.http.request("POST", &path, &[], "").expect(201);
            world.pulls_as_blob(PROD, &image)
        },
    ),
];

#[test]
fn no_way_of_a_newer_registry_leads_around() {
    Theatre::before(Registry::with_referrers_api(), "").run(CASES);
}

/// A push by digest with this query, which tags it.
fn by_query(world: &World<'_>, query: &str) -> bool {
    tagged(world, "sha256", query)
}

fn tagged(world: &World<'_>, algorithm: &str, query: &str) -> bool {
    let attacker = world.attacker("open-pull");
    let image = world.unsigned(&attacker);
    let path = attacker.path(&format!(
        "manifests/{}{query}",
        digest_of(algorithm, &image)
    ));
    attacker.http.request(
        "PUT",
        &path,
        &[("Content-Type", MANIFEST)],
        image.bytes.clone(),
    );
    // Pulls are allowed there: that the tag does not move is all that keeps it away.
    world.pulls("open-pull", "v1", &image)
}

fn digest_of(algorithm: &str, content: &Content) -> String {
    if algorithm == "sha256" {
        return content.digest();
    }
    assert_eq!(algorithm, "sha512");
    format!(
        "{algorithm}:{}",
        hex(digest(&SHA512, &content.bytes).as_ref())
    )
}
