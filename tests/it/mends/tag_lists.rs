//! `GET /v2/<name>/tags/list` with `n` and `last`, over registries that ignore them.

use super::registries;
use crate::support::gate::{Gated, Verdict};
use crate::support::images::next_page;
use crate::support::{ALICE, Auth, Registry, Regseal, Repository, Stage};

fn list(repository: &Repository, query: &str) -> (Vec<String>, Option<String>) {
    let reply = repository
        .http
        .get(&repository.path(&format!("tags/list{query}")))
        .expect(200);
    assert_eq!(reply.json()["name"], repository.name.as_str());
    let tags = serde_json::from_value(reply.json()["tags"].clone()).unwrap();
    (tags, next_page(reply.header("link")))
}

#[test]
fn pages_are_in_the_order_of_bytes() {
    // olareg writes its links in another form, and they are its own.
    for (kind, registry) in &registries()[..2] {
        let regseal = Regseal::before(registry);
        let repository = regseal.endpoint.repository(ALICE, "team/a");
        let image = repository.push_image("b");
        for tag in ["B", "a", "1", "_x", "v1.10", "v1.2"] {
            repository.put_manifest(tag, &image).expect(201);
        }
        let all = ["1", "B", "_x", "a", "b", "v1.10", "v1.2"];
        for (query, expected, more) in [
            ("?n=3", &all[..3], true),
            ("?n=7", &all[..], false),
            ("?n=100", &all[..], false),
            ("?n=2&last=_x", &all[3..5], true),
            ("?last=b", &all[5..], false),
            ("?last=absent", &all[4..], false),
            ("?last=zzz", &[], false),
            ("?n=0", &[], false),
        ] {
            let (tags, next) = list(&repository, query);
            assert_eq!(tags, expected, "{kind} {query}");
            // A registry that pages by itself may find out with one more page that there was none.
            if let Some(next) = next.as_ref().filter(|_| !more && query != "?n=0") {
                let page = repository.http.get(next).expect(200);
                assert_eq!(page.json()["tags"], serde_json::json!([]), "{kind} {query}");
                assert_ne!(*kind, "docker-registry 2.8.2");
            } else {
                assert_eq!(next.is_some(), more, "{kind} {query}");
            }
        }
    }
}

#[test]
fn pages_are_stable_beside_writers() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("a");
    let image = repository.push_image("t05");
    for number in (0..20).map(|number| number * 10) {
        repository
            .put_manifest(&format!("t{number:03}"), &image)
            .expect(201);
    }
    let mut seen: Vec<String> = Vec::new();
    let mut next = Some(repository.path("tags/list?n=4"));
    let mut number = 1;
    while let Some(path) = next {
        let reply = repository.http.get(&path).expect(200);
        let page: Vec<String> = serde_json::from_value(reply.json()["tags"].clone()).unwrap();
        assert!(page.len() <= 4);
        seen.extend(page);
        next = next_page(reply.header("link"));
        // Before and after the place where the list is read on.
        repository
            .put_manifest(&format!("t{number:03}"), &image)
            .expect(201);
        repository
            .put_manifest(&format!("t{:03}", 199 - number), &image)
            .expect(201);
        number += 1;
    }
    let mut ordered = seen.clone();
    ordered.sort();
    ordered.dedup();
    assert_eq!(seen, ordered);
    for number in (0..20).map(|number| number * 10) {
        assert!(seen.contains(&format!("t{number:03}")));
    }
}

#[test]
fn a_list_of_nothing_is_a_list() {
    let stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository("a");
    stage.gate.rule(|_| {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Verdict::Answer(200, headers, r#"{"name":"a","tags":null}"#.to_owned())
    });
    for query in ["", "?n=5", "?n=0", "?last=x"] {
        let (tags, next) = list(&repository, query);
        assert_eq!(tags, Vec::<String>::new(), "{query}");
        assert_eq!(next, None, "{query}");
    }
    stage.gate.open();
    let unknown = repository.path("tags/list?n=5");
    repository.http.get(&unknown).refused(404, "NAME_UNKNOWN");
}
