//! `PUT /v2/<name>/manifests/<digest>?tag=a&tag=b`.

use super::{image_of_second_names, registries, sha512};
use crate::support::gate::{Gate, Gated, Verdict};
use crate::support::images::ACCEPT;
use crate::support::policy::{Desk, Policy};
use crate::support::stores::setting;
use crate::support::{
    ALICE, Auth, Content, Http, Policed, Registry, Regseal, Reply, Repository, Stage,
};

fn accepted(reply: &Reply) -> Vec<String> {
    let lines = reply.headers.get_all("oci-tag").iter();
    lines
        .flat_map(|line| line.to_str().unwrap().split(','))
        .map(|tag| tag.trim().to_owned())
        .collect()
}

fn query(tags: &[String]) -> String {
    let tags: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
    tags.join("&")
}

#[test]
fn one_push_sets_many_tags() {
    for (kind, registry) in registries() {
        let regseal = Regseal::before(&registry);
        let repository = regseal.endpoint.repository(ALICE, "a");
        let tags: Vec<String> = (0..12).map(|number| format!("t{number:02}")).collect();
        let image = repository.image();
        let second = image_of_second_names(&repository);
        for (image, name) in [(&image, image.digest()), (&second, sha512(&second))] {
            let pushed = repository.put_manifest(&format!("{name}?{}", query(&tags)), image);
            assert_eq!(accepted(&pushed.expect(201)), tags, "{kind}");
            assert_eq!(repository.tags(), tags, "{kind}");
            for tag in &tags {
                let read = repository.get_manifest(tag).expect(200);
                assert_eq!(read.body, image.bytes, "{kind}");
                assert_eq!(read.header("docker-content-digest"), name, "{kind}");
            }
        }
    }
}

#[test]
fn what_is_no_tag_stops_the_push_before_anything_is_stored() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("a");
    let image = repository.image();
    let many: Vec<String> = (0..65).map(|number| format!("t{number}")).collect();
    let long = "t".repeat(129);
    for (tags, status, why) in [
        ("tag=v1&tag=no%20tag".to_owned(), 400, "a space"),
        ("tag=v1&tag=".to_owned(), 400, "empty"),
        ("tag=v1&tag=sha256:a".to_owned(), 400, "a digest"),
        (format!("tag=v1&tag={long}"), 400, "too long"),
        (query(&many), 414, "too many"),
    ] {
        let pushed = repository.put_manifest(&format!("{}?{tags}", image.digest()), &image);
        assert_eq!(pushed.status, status, "{why}: {pushed:?}");
        assert_eq!(
            pushed.json()["errors"][0]["code"],
            "MANIFEST_INVALID",
            "{why}"
        );
        repository.get_manifest(&image.digest()).expect(404);
        assert_eq!(repository.tags(), Vec::<String>::new(), "{why}");
    }
}

#[test]
fn each_tag_is_judged_before_one_is_set() {
    let rules = "  - {name: prod, repositories: [\"prod\"], tags: [\"v*\"], require: build, on_unsigned_push: reject}\n";
    let stage = Policed::with(Auth::None, rules);
    let repository = stage.repository("prod");
    let image = repository.image();
    let both = format!("{}?tag=free&tag=v1", image.digest());
    repository
        .put_manifest(&both, &image)
        .refused(403, "DENIED");
    assert_eq!(stage.behind("prod").tags(), Vec::<String>::new());
    stage.desk.cosign_signs(&stage.reference("prod", &image));
    let pushed = repository.put_manifest(&both, &image).expect(201);
    assert_eq!(accepted(&pushed), ["free", "v1"]);
}

#[test]
fn a_tag_that_was_not_set_is_not_said_to_be() {
    let stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository("a");
    let image = repository.image();
    stage.gate.rule(|asked| {
        if asked.method == "PUT" && asked.path.ends_with("/manifests/frozen") {
            return Verdict::refuse(403, "DENIED", asked);
        }
        Verdict::Pass
    });
    let name = format!("{}?tag=a&tag=frozen&tag=b", image.digest());
    let pushed = repository.put_manifest(&name, &image).expect(201);
    assert_eq!(accepted(&pushed), ["a", "b"]);
    assert!(pushed.header("warning").contains("frozen"), "{pushed:?}");
    assert_eq!(repository.tags(), ["a", "b"]);
    repository.get_manifest(&image.digest()).expect(200);
}

/// A tag that could not be set has named nothing: what it may name is no way to read the image.
#[test]
fn a_tag_that_was_not_set_vouches_for_nothing() {
    let rules = "  - {name: prod, repositories: [\"prod\"], tags: [\"v*\"], require: build, on_unsigned_push: reject}\n";
    let desk = Desk::of(ALICE, Auth::None);
    let policy = Policy::of(&desk, "", rules);
    let registry = Registry::with(Auth::None);
    let gate = Gate::before(&registry);
    let mut builder = Regseal::at(&gate.endpoint);
    for (key, value) in policy.settings() {
        let (name, value) = setting(key, &value);
        builder = builder.environment(&name, &value);
    }
    let regseal = builder.start();
    gate.rule(|asked| {
        if asked.method == "PUT" && asked.path.ends_with("/manifests/free") {
            return Verdict::refuse(403, "DENIED", asked);
        }
        Verdict::Pass
    });
    let repository = regseal.endpoint.repository(ALICE, "prod");
    let image = repository.image();
    let pushed = repository.put_manifest(&format!("{}?tag=free", image.digest()), &image);
    assert_eq!(accepted(&pushed.expect(201)), Vec::<String>::new());
    let nobody = Repository::new(Http::new(&regseal.endpoint.authority), "prod");
    nobody.get_manifest(&image.digest()).refused(403, "DENIED");
}

#[test]
fn what_is_captured_under_a_tag_is_pushed_by_that_tag() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("a");
    let image = repository.push_image("v1");
    let other = repository.image();
    for suffix in ["", ".sig", ".att", ".sbom"] {
        let tag = image.companion_tag(suffix);
        let pushed =
            repository.put_manifest(&format!("{}?tag={tag}&tag=v2", other.digest()), &other);
        assert_eq!(accepted(&pushed.expect(201)), ["v2"], "{suffix}");
    }
    assert_eq!(stage.behind("a").tags(), ["v1", "v2"]);
}

#[test]
fn a_push_by_tag_sets_that_tag_alone() {
    for (kind, registry) in registries() {
        let regseal = Regseal::before(&registry);
        let repository = regseal.endpoint.repository(ALICE, "a");
        let image: Content = repository.image();
        let pushed = repository.put_manifest("v1?tag=v2", &image).expect(201);
        assert!(!accepted(&pushed).contains(&"v2".to_owned()), "{kind}");
        assert_eq!(repository.tags(), ["v1"], "{kind}");
        let path = repository.path("manifests/v2");
        repository
            .http
            .request("GET", &path, &[ACCEPT], "")
            .expect(404);
    }
}
