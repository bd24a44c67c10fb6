//! Pages of a long list, while others write.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::images::{NOTATION, SBOM, digests, next_page};
use crate::support::{Auth, Content, Repository, Stage, rounds};

const APP: &str = "team/app";
/// The most bytes of a page.
const PAGE: usize = 4 << 20;
/// Four of these fill a page.
const LARGE: usize = 900 << 10;

/// A referrer that takes much of a page, pushed.
fn attach_large(repository: &Repository, kind: &str, image: &Content) -> Content {
    let large = large(repository, kind, image);
    repository.push_manifest(&large);
    large
}

fn large(repository: &Repository, kind: &str, image: &Content) -> Content {
    let mut manifest = repository.artifact(kind, Some(image)).json();
    manifest["annotations"]["large"] = json!("x".repeat(LARGE));
    Content::manifest(&manifest)
}

/// The digests of a whole walk, page by page, each of which has at most 4 MiB; `between` runs after each page.
fn walk(
    repository: &Repository,
    image: &Content,
    query: &str,
    mut between: impl FnMut(usize),
) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut next = Some(repository.path(&format!("referrers/{}{query}", image.digest())));
    while let Some(path) = next {
        let reply = repository.http.get(&path).expect(200);
        assert!(reply.body.len() <= PAGE, "{} bytes", reply.body.len());
        let listed = reply.json()["manifests"].as_array().unwrap().clone();
        pages.push(listed.iter().map(digest).collect());
        next = next_page(reply.header("link"));
        assert!(pages.len() < 100, "the walk has no end");
        between(pages.len());
    }
    pages
}

fn digest(descriptor: &Value) -> String {
    descriptor["digest"].as_str().unwrap().to_owned()
}

#[test]
fn a_walk_has_all_that_was_there_throughout_and_nothing_twice() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(APP);
    let image = repository.push_image("v1");
    let kept: Vec<Content> = (0..9)
        .map(|number| {
            let kind = [NOTATION, SBOM][number % 2];
            attach_large(&repository, kind, &image)
        })
        .collect();
    let kept_digests: BTreeSet<String> = kept.iter().map(Content::digest).collect();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // Comes and goes and comes again, always the same and always another.
                let same = large(&repository, NOTATION, &image);
                while !is_done.load(Ordering::Relaxed) {
                    let other = attach_large(&repository, SBOM, &image);
                    repository.push_manifest(&same);
                    repository.delete_manifest(&other.digest()).expect(202);
                    repository.delete_manifest(&same.digest()).expect(202);
                }
            });
        }
        for round in 0..rounds(6, 60) {
            let query = ["", "?artifactType=application/spdx%2Bjson"][round % 2];
            let seen: Vec<String> = walk(&repository, &image, query, |_| ()).concat();
            let once: BTreeSet<String> = seen.iter().cloned().collect();
            assert_eq!(seen.len(), once.len(), "nothing twice");
            let expected: BTreeSet<String> = kept
                .iter()
                .filter(|one| query.is_empty() || one.json()["artifactType"] == SBOM)
                .map(Content::digest)
                .collect();
            assert!(once.is_superset(&expected), "nothing missing");
            let order: Vec<&String> = seen
                .iter()
                .filter(|one| kept_digests.contains(*one))
                .collect();
            let pushed: Vec<String> = kept.iter().map(Content::digest).collect();
            let pushed: Vec<&String> = pushed
                .iter()
                .filter(|one| expected.contains(*one))
                .collect();
            assert_eq!(order, pushed, "oldest first");
        }
        is_done.store(true, Ordering::Relaxed);
    });
}

/// What was on an earlier page is not on a later one, also if it was deleted and pushed again in between.
#[test]
fn a_referrer_that_is_pushed_again_is_not_met_twice() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(APP);
    let image = repository.push_image("v1");
    let all: Vec<Content> = (0..6)
        .map(|_| attach_large(&repository, NOTATION, &image))
        .collect();
    let mut late = Vec::new();
    let pages = walk(&repository, &image, "", |page| {
        if page == 1 {
            repository.delete_manifest(&all[0].digest()).expect(202);
            repository.push_manifest(&all[0]);
            late.push(attach_large(&repository, NOTATION, &image));
        }
    });
    let expected: Vec<String> = all.iter().map(Content::digest).collect();
    assert_eq!(pages.len(), 2);
    assert_eq!(pages.concat(), expected);
    // A walk that begins now has it, in its new place.
    let pages = walk(&repository, &image, "", |_| ()).concat();
    let mut expected: Vec<String> = all[1..].iter().map(Content::digest).collect();
    expected.extend([all[0].digest(), late[0].digest()]);
    assert_eq!(pages, expected);
}

/// The page that a cursor names may be gone: the rest still follows.
#[test]
fn a_cursor_outlives_the_entry_it_names() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(APP);
    let image = repository.push_image("v1");
    let all: Vec<Content> = (0..9)
        .map(|_| attach_large(&repository, NOTATION, &image))
        .collect();
    let first = repository.get_referrers(&image.digest(), "").expect(200);
    let next = next_page(first.header("link")).unwrap();
    for path in [
        repository.path(&format!("referrers/{}", image.digest())),
        next.clone(),
    ] {
        let (read, head) = (repository.http.get(&path), repository.http.head(&path));
        for name in ["content-length", "content-type", "link"] {
            assert_eq!(head.header(name), read.header(name), "{name} of {path}");
        }
        assert!(head.body.is_empty());
    }
    let count = first.json()["manifests"].as_array().unwrap().len();
    for one in &all[..=count] {
        repository.delete_manifest(&one.digest()).expect(202);
    }
    let rest = repository.http.get(&next).expect(200).json();
    let expected: Vec<Value> = all[count + 1..].iter().map(Content::as_referrer).collect();
    let rest = rest["manifests"].as_array().unwrap();
    assert_eq!(rest.as_slice(), &expected[..rest.len()]);
    assert!(!rest.is_empty());
    for broken in ["after=1", "after=x.y", "until=1.sha256:00", "after="] {
        let reply = repository.get_referrers(&image.digest(), &format!("?{broken}"));
        assert_eq!(reply.status, 400, "{broken}: {reply:?}");
    }
    assert_eq!(
        digests(&repository.referrers(&image)).len(),
        all.len() - count - 1
    );
}
