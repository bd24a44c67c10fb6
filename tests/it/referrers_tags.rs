//! The tag of the referrers tag schema, over a registry that has it, makes it, or deletes nothing.

use http::Method;
use serde_json::{Value, json};

use crate::support::gate::Verdict;
use crate::support::images::{self, INDEX, NOTATION, SBOM, index_of, random_hex};
use crate::support::{Auth, Content, Registry};
use crate::upstream_referrers::{Stage, comes_to_list};

/// Some registries make the referrers tag by themselves when a manifest with a subject comes.
#[test]
fn a_referrers_tag_that_the_registry_makes_adds_nothing() {
    let stage = Stage::before(Registry::with(Auth::None));
    let (repository, behind) = (stage.repository(), stage.behind());
    let image = repository.push_image("v1");
    let tag = image.companion_tag("");
    let mut all = Vec::new();
    for kind in [SBOM, NOTATION, SBOM] {
        all.push(repository.attach(kind, &image));
        let mut entries: Vec<Value> = all.iter().map(Content::descriptor).collect();
        entries.retain(|entry| {
            let digest = entry["digest"].as_str().unwrap();
            behind.get_manifest(digest).status == 200
        });
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        behind
            .put_manifest(&tag, &Content::manifest(&index))
            .expect(201);
        let expected: Vec<Value> = all.iter().map(Content::as_referrer).collect();
        for _ in 0..3 {
            assert_eq!(repository.referrers(&image), expected);
            let read = repository.get_manifest(&tag).expect(200).json();
            assert_eq!(read["manifests"], json!(expected));
        }
    }
}

/// A registry that deletes nothing keeps its referrers, and regseal those it has for it.
#[test]
fn a_referrer_that_the_registry_does_not_let_go_stays() {
    let stage = Stage::before(Registry::with(Auth::None));
    let repository = stage.repository();
    let image = repository.push_image("v1");
    let all = [NOTATION, SBOM].map(|kind| repository.attach(kind, &image));
    stage.gate.rule(|asked| match asked.method {
        Method::DELETE => Verdict::refuse(405, "UNSUPPORTED", asked),
        _ => Verdict::Pass,
    });
    let expected: Vec<Value> = all.iter().map(Content::as_referrer).collect();
    for one in &all {
        repository
            .delete_manifest(&one.digest())
            .refused(405, "UNSUPPORTED");
        assert_eq!(repository.referrers(&image), expected);
    }
    // What is made from the list is nobody's to keep.
    let tag = repository
        .get_manifest(&image.companion_tag(""))
        .expect(200);
    for reference in [
        tag.header("docker-content-digest"),
        &image.companion_tag(""),
    ] {
        repository.delete_manifest(reference).expect(202);
    }
    assert_eq!(repository.referrers(&image), expected);
}

/// It shows what is listed, and that is deleted one by one.
#[test]
fn deleting_a_referrers_tag_deletes_no_referrer() {
    for registry in [Registry::with(Auth::None), Registry::with_referrers_api()] {
        let stage = Stage::before(registry);
        let (repository, behind) = (stage.repository(), stage.behind());
        let image = behind.push_image("v1");
        let tag = image.companion_tag("");
        let absent = repository.delete_manifest(&tag).status;
        assert!([400, 404].contains(&absent), "{absent}");
        let old = behind.attach(NOTATION, &image);
        behind.put_manifest(&tag, &index_of([&old])).expect(201);
        comes_to_list(&repository, &image, &[&old], "the old one");
        let new = repository.attach(NOTATION, &image);
        for _ in ["with the registry's own", "without"] {
            repository.delete_manifest(&tag).expect(202);
            comes_to_list(&repository, &image, &[&old, &new], "both");
        }
        for one in [&old, &new] {
            repository.delete_manifest(&one.digest()).expect(202);
        }
        comes_to_list(&repository, &image, &[], "none");
        repository
            .get_manifest(&tag)
            .refused(404, "MANIFEST_UNKNOWN");
    }
}

/// Through pages of each length, over registries that page themselves and one that does not.
#[test]
fn referrers_tags_are_not_in_the_tag_list() {
    for registry in [Registry::with(Auth::None), Registry::with_referrers_api()] {
        let stage = Stage::before(registry);
        let (repository, behind) = (stage.repository(), stage.behind());
        let mut shown = Vec::new();
        for name in ["a", "sha1", "sha256-short", "t", "u", "v"] {
            let image = behind.push_image(name);
            let old = behind.attach(SBOM, &image);
            let tag = image.companion_tag("");
            behind.put_manifest(&tag, &index_of([&old])).expect(201);
            shown.push(name.to_owned());
        }
        let cut = format!("sha512-{}", random_hex(32));
        behind.put_manifest(&cut, &index_of([])).expect(201);
        assert_eq!(behind.tags().len(), 2 * shown.len() + 1);
        let mut all = repository.tags();
        all.sort();
        assert_eq!(all, shown);
        for length in 1..=shown.len() + 1 {
            let mut next = Some(repository.path(&format!("tags/list?n={length}")));
            let mut pages: Vec<Vec<String>> = Vec::new();
            while let Some(path) = next {
                let reply = repository.http.get(&path).expect(200);
                pages.push(serde_json::from_value(reply.json()["tags"].clone()).unwrap());
                next = images::next_page(reply.header("link"));
                assert!(next.is_none() || pages.last().unwrap().len() == length);
            }
            let mut all = pages.concat();
            if pages.len() == 1 {
                // A list that fits comes in the order of the registry.
                all.sort();
            }
            assert_eq!(all, shown, "{length} a page: {pages:?}");
        }
    }
}
