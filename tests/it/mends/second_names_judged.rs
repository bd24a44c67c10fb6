//! A policy is about bytes, whatever name they are asked for by.

use serde_json::json;

use super::{described, image_of_second_names, sha512};
use crate::support::images::{ACCEPT, INDEX};
use crate::support::{ALICE, Auth, BOB, Content, Policed, Reply};

const RULES: &str = "  - {name: prod, repositories: [\"prod\"], tags: [\"v*\"], require: build, on_unsigned_push: reject}\n  \
                     - {name: rest, repositories: [\"prod\"], require: build, on_unsigned_push: reject}\n";

#[test]
fn the_unsigned_is_not_read_by_its_second_name() {
    let stage = Policed::with(Auth::Token, RULES);
    let (alice, bob) = (stage.repository("prod"), stage.repository_of(BOB, "prod"));
    let image = image_of_second_names(&alice);
    alice.put_manifest(&sha512(&image), &image).expect(201);
    let hidden = |reply: Reply| {
        assert!([403, 404].contains(&reply.status), "{reply:?}");
        assert_ne!(reply.body, image.bytes);
    };
    for name in [sha512(&image), image.digest()] {
        hidden(bob.get_manifest(&name));
        let path = bob.path(&format!("manifests/{name}"));
        hidden(bob.http.request("HEAD", &path, &[ACCEPT], ""));
        hidden(bob.get_blob(&name));
        let part = [("Range", "bytes=0-99")];
        let path = bob.path(&format!("blobs/{name}"));
        hidden(bob.http.request("GET", &path, &part, ""));
    }
    for tags in ["?tag=v1", "?tag=free&tag=v1"] {
        alice
            .put_manifest(&format!("{}{tags}", sha512(&image)), &image)
            .refused(403, "DENIED");
    }
    assert_eq!(stage.behind("prod").tags(), Vec::<String>::new());

    stage.desk.cosign_signs(&stage.reference("prod", &image));
    for name in [sha512(&image), image.digest()] {
        assert_eq!(bob.get_manifest(&name).expect(200).body, image.bytes);
    }
    let pushed = alice
        .put_manifest(&format!("{}?tag=v1", sha512(&image)), &image)
        .expect(201);
    assert_eq!(pushed.header("oci-tag"), "v1");
    assert_eq!(bob.get_manifest("v1").expect(200).body, image.bytes);
}

#[test]
fn a_signed_index_vouches_for_what_it_lists_by_second_names() {
    let stage = Policed::with(Auth::Token, RULES);
    let (alice, bob) = (stage.repository("prod"), stage.repository_of(BOB, "prod"));
    let image = image_of_second_names(&alice);
    alice.put_manifest(&sha512(&image), &image).expect(201);
    let index = Content::manifest(&json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [described(&image)],
    }));
    alice.push_manifest(&index);
    stage.desk.cosign_signs(&stage.reference("prod", &index));
    alice.put_manifest("v1", &index).expect(201);
    assert_eq!(bob.get_manifest("v1").expect(200).body, index.bytes);
    for name in [sha512(&image), image.digest()] {
        assert_eq!(bob.get_manifest(&name).expect(200).body, image.bytes);
    }
    // Another image that no index lists.
    let other = image_of_second_names(&alice);
    alice.put_manifest(&sha512(&other), &other).expect(201);
    bob.get_manifest(&sha512(&other)).refused(403, "DENIED");
}

#[test]
fn a_private_repository_is_as_private_by_second_names() {
    let stage = Policed::with(Auth::Token, RULES);
    let (alice, bob) = (
        stage.repository_of(ALICE, "private/a"),
        stage.repository_of(BOB, "private/a"),
    );
    let image = image_of_second_names(&alice);
    alice.put_manifest(&sha512(&image), &image).expect(201);
    alice.get_manifest(&sha512(&image)).expect(200);
    for reply in [
        bob.get_manifest(&sha512(&image)),
        bob.get_blob(&sha512(&image)),
        bob.delete_manifest(&sha512(&image)),
    ] {
        assert_eq!(reply.status, 401, "{reply:?}");
    }
    let mount = format!(
        "/v2/public/b/blobs/uploads/?mount={}&from=private/a",
        sha512(&image)
    );
    assert_ne!(bob.http.request("POST", &mount, &[], "").status, 201);
    alice.get_manifest(&sha512(&image)).expect(200);
}
