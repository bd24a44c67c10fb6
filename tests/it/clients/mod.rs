//! The programs people use, unmodified: push, pull, sign, list and verify through regseal, before a registry without the
//! Referrers API, with each way of authentication.

mod artifacts;
mod images;
mod signers;

use serde_json::Value;

use crate::support::images::MANIFEST;
use crate::support::{Content, Repository, Stage};

const APP: &str = "team/app";

/// The manifest a tag names, as regseal serves it.
fn subject(stage: &Stage, tag: &str) -> Content {
    let reply = stage.repository(APP).get_manifest(tag).expect(200);
    Content::new(reply.header("content-type"), reply.body.clone())
}

/// The referrers of the subject are of these types, oldest first, and each entry says what its manifest says.
#[track_caller]
fn assert_listed(stage: &Stage, subject: &Content, expected: &[&str]) {
    let repository = stage.repository(APP);
    let referrers = repository.referrers(subject);
    assert_eq!(kinds(&referrers), expected);
    for entry in &referrers {
        assert_eq!(referrer(&repository, entry).as_referrer(), *entry);
    }
}

/// The registry behind knows nothing of the referrers of this type: no tag, no manifest, no API.
#[track_caller]
fn assert_captured(stage: &Stage, subject: &Content, kind: &str) {
    let behind = stage.behind(APP);
    let tags = behind.tags();
    assert!(
        tags.iter().all(|tag| !tag.starts_with("sha256-")),
        "a fallback tag in {tags:?}"
    );
    behind.get_referrers(&subject.digest(), "").expect(404);
    for entry in stage.repository(APP).referrers(subject) {
        if entry["artifactType"] == kind {
            behind
                .get_manifest(entry["digest"].as_str().unwrap())
                .expect(404);
        }
    }
}

/// The manifest of an entry, whose layers can be read as well.
#[track_caller]
fn referrer(repository: &Repository, entry: &Value) -> Content {
    let digest = entry["digest"].as_str().unwrap();
    let reply = repository.get_manifest(digest).expect(200);
    let manifest = Content::new(reply.header("content-type"), reply.body.clone());
    assert_eq!(
        (manifest.media_type.as_str(), manifest.digest().as_str()),
        (MANIFEST, digest)
    );
    for layer in manifest.json()["layers"].as_array().unwrap() {
        repository
            .get_blob(layer["digest"].as_str().unwrap())
            .expect(200);
    }
    manifest
}

fn kinds(referrers: &[Value]) -> Vec<&str> {
    referrers
        .iter()
        .map(|entry| entry["artifactType"].as_str().unwrap_or_default())
        .collect()
}
