//! Subjects that are named by sha512: their referrers tag is cut, and so no name of one subject alone.

use aws_lc_rs::digest::{SHA512, digest};
use serde_json::{Value, json};

use crate::support::images::{INDEX, MANIFEST, NOTATION, SBOM, hex, random_hex};
use crate::support::{Auth, Content, Repository, Stage};

const APP: &str = "team/app";

fn sha512(content: &Content) -> String {
    format!("sha512:{}", hex(digest(&SHA512, &content.bytes).as_ref()))
}

/// The referrers tag of the schema, and the one that oras-go makes, which is too long for a tag.
fn tags(subject: &str) -> [String; 2] {
    let whole = subject.replace(':', "-");
    [
        whole["sha512-".len()..][..64].to_owned(),
        whole[7..].to_owned(),
    ]
    .map(|encoded| format!("sha512-{encoded}"))
}

/// An artifact whose subject is named by `subject`, pushed.
fn attach(repository: &Repository, kind: &str, subject: &str) -> Content {
    let artifact = repository.artifact(kind, Some(&Content::random(MANIFEST)));
    let mut manifest = artifact.json();
    manifest["subject"]["digest"] = json!(subject);
    let manifest = Content::manifest(&manifest);
    let reply = repository.push_manifest(&manifest);
    assert_eq!(reply.header("oci-subject"), subject);
    manifest
}

fn listed(repository: &Repository, subject: &str) -> Vec<Value> {
    repository.referrer_pages(subject, "").concat()
}

fn index(entries: &[Value]) -> Content {
    Content::manifest(
        &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, "annotations": {"salt": random_hex(8)}}),
    )
}

#[test]
fn the_cut_tag_reads_as_the_list_and_is_never_a_second_truth() {
    let stage = Stage::with(Auth::None);
    let (repository, behind) = (stage.repository(APP), stage.behind(APP));
    let subject = sha512(&repository.push_image("v1"));
    for tag in tags(&subject) {
        repository
            .get_manifest(&tag)
            .refused(404, "MANIFEST_UNKNOWN");
    }
    let mut all: Vec<Value> = Vec::new();
    for (round, tag) in tags(&subject).iter().cycle().take(4).enumerate() {
        let kind = [NOTATION, SBOM][round / 2];
        all.push(attach(&repository, kind, &subject).as_referrer());
        assert_eq!(listed(&repository, &subject), all);
        for tag in tags(&subject) {
            let read = repository.get_manifest(&tag).expect(200);
            assert_eq!(read.header("content-type"), INDEX);
            assert_eq!(read.json()["manifests"], json!(all), "{tag}");
        }
        // A client that knows of the newest alone, and tells its own story about it.
        let mut wrong = all[round].clone();
        wrong["annotations"] = json!({"told": "by the client"});
        let old = repository.get_manifest(tag).expect(200);
        let written = index(&[wrong]);
        repository.put_manifest(tag, &written).expect(201);
        repository
            .delete_manifest(old.header("docker-content-digest"))
            .expect(202);
        assert_eq!(listed(&repository, &subject), all);
        let read = repository.get_manifest(tag).expect(200);
        assert_eq!(read.json()["manifests"], json!(all));
        repository.get_manifest(&written.digest()).expect(200);
    }
    assert_eq!(repository.tags(), ["v1"]);
    assert_eq!(behind.tags(), ["v1"]);
}

/// A list that was in the registry before, under the one name that fits there.
#[test]
fn a_cut_tag_from_before_is_merged_and_absorbed() {
    let stage = Stage::with(Auth::None);
    let (repository, behind) = (stage.repository(APP), stage.behind(APP));
    let subject = sha512(&repository.push_image("v1"));
    let [tag, long] = tags(&subject);
    let artifact = |kind| {
        let mut manifest = behind
            .artifact(kind, Some(&Content::random(MANIFEST)))
            .json();
        manifest["subject"]["digest"] = json!(subject);
        let manifest = Content::manifest(&manifest);
        behind.push_manifest(&manifest);
        manifest.as_referrer()
    };
    let before = artifact(NOTATION);
    let written = index(std::slice::from_ref(&before));
    behind.put_manifest(&tag, &written).expect(201);
    // Nothing says yet which subject it is of.
    assert_eq!(
        repository.get_manifest(&tag).expect(200).body,
        written.bytes
    );
    assert_eq!(listed(&repository, &subject), std::slice::from_ref(&before));
    let later = artifact(SBOM);
    let written = index(&[before.clone(), later.clone()]);
    repository.put_manifest(&long, &written).expect(201);
    assert_eq!(listed(&repository, &subject), [before, later]);
}

/// What two digests have in common must not show the referrers of one as those of the other.
#[test]
fn subjects_whose_tags_are_alike_are_kept_apart() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(APP);
    let image = repository.push_image("v1");
    let half = image.digest().replace("sha256:", "");
    let [one, other] = ["a", "b"].map(|digit| format!("sha512:{half}{}", digit.repeat(64)));
    let signed = attach(&repository, NOTATION, &one).as_referrer();
    let [tag, long] = tags(&one);
    assert_eq!(tags(&other)[0], tag);
    for subject in [&other, &image.digest()] {
        assert_eq!(listed(&repository, subject), Vec::<Value>::new());
    }
    repository
        .get_manifest(&image.companion_tag(""))
        .refused(404, "MANIFEST_UNKNOWN");

    // An index under the shared tag lists each entry for the subject that its own bytes name.
    let behind = stage.behind(APP);
    let mut manifest = behind
        .artifact(NOTATION, Some(&Content::random(MANIFEST)))
        .json();
    manifest["subject"]["digest"] = json!(other);
    let second = Content::manifest(&manifest);
    behind.push_manifest(&second);
    let written = index(&[signed.clone(), second.as_referrer()]);
    repository.put_manifest(&tag, &written).expect(201);
    assert_eq!(listed(&repository, &one), std::slice::from_ref(&signed));
    assert_eq!(listed(&repository, &other), [second.as_referrer()]);
    for tag in [&tag, &long] {
        repository
            .get_manifest(tag)
            .refused(404, "MANIFEST_UNKNOWN");
    }
    repository.delete_manifest(&second.digest()).expect(202);
    let read = repository.get_manifest(&tag).expect(200);
    assert_eq!(read.json()["manifests"], json!([signed]));

    // And one that lists something else is not taken for a list.
    let foreign = repository.attach(SBOM, &image);
    let written = index(&[foreign.as_referrer()]);
    repository.put_manifest(&tag, &written).expect(201);
    assert_eq!(listed(&repository, &one), [signed]);
}
