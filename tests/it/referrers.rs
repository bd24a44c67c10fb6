//! The Referrers API, and what becomes of each kind of manifest, over plain HTTP.

use serde_json::{Value, json};

use crate::companion_tags::cosign_signature;
use crate::support::images::{
    self, BUNDLE, EMPTY, INDEX, MANIFEST, NOTATION, SBOM, artifact_of, digests, index_of, next_page,
};
use crate::support::{ALICE, Auth, BOB, Content, Registry, Regseal, Stage};

const MIB: usize = 1024 * 1024;

#[test]
fn an_unknown_subject_has_an_empty_list() {
    for auth in Auth::ALL {
        let stage = Stage::with(auth);
        stage.repository("team/app").push_image("v1");
        let subject = images::sha256(b"no manifest has this digest");
        for name in ["team/app", "nobody/has/pushed/here"] {
            let repository = stage.repository(name);
            let reply = repository.get_referrers(&subject, "").expect(200);
            assert_eq!(reply.header("content-type"), INDEX, "{auth:?} {name}");
            assert_eq!(reply.header("content-length"), reply.body.len().to_string());
            assert_eq!(
                reply.json(),
                json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []})
            );
            assert_eq!(reply.header("oci-filters-applied"), "");
            assert_eq!(reply.header("link"), "");

            let head = repository
                .http
                .head(&repository.path(&format!("referrers/{subject}")))
                .expect(200);
            assert_eq!(head.header("content-type"), INDEX);
            assert_eq!(
                head.header("content-length"),
                reply.header("content-length")
            );
            assert!(head.body.is_empty());
        }
    }
}

#[test]
fn a_subject_must_be_a_digest() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let hex = "a".repeat(64);
    for (subject, reason) in [
        ("latest".to_owned(), "a tag"),
        ("sha256:baddigeststring".to_owned(), "not hexadecimal"),
        (format!("sha256:{}", &hex[1..]), "too short"),
        (format!("sha256:{hex}a"), "too long"),
        (format!("sha256:{}", hex.to_uppercase()), "upper case"),
        (format!("sha256-{hex}"), "a fallback tag"),
        (format!("sha512:{hex}"), "the length of another algorithm"),
    ] {
        let reply = repository.get_referrers(&subject, "");
        assert_eq!(reply.status, 400, "{reason}: {reply:?}");
        assert_eq!(
            reply.json()["errors"][0]["code"],
            "DIGEST_INVALID",
            "{reason}"
        );
    }
    let unknown_algorithm = format!("blake9:{hex}");
    assert_eq!(
        repository
            .get_referrers(&unknown_algorithm, "")
            .expect(200)
            .json()["manifests"],
        json!([])
    );
}

#[test]
fn referrers_are_only_read() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let image = repository.push_image("v1");
    let path = repository.path(&format!("referrers/{}", image.digest()));
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let reply = repository.http.request(method, &path, &[], "{}");
        let reply = reply.refused(405, "UNSUPPORTED");
        assert_eq!(reply.header("allow"), "GET, HEAD", "{method}");
    }
}

#[test]
fn a_filter_selects_by_artifact_type_and_says_so() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let image = repository.push_image("v1");
    let all = [NOTATION, SBOM, BUNDLE].map(|kind| repository.attach(kind, &image).as_referrer());
    let [notation, sbom, bundle] = &all;
    // As Go writes them: a plus as it stands would be a space.
    let [encoded_sbom, encoded_bundle] =
        [SBOM, BUNDLE].map(|kind| kind.replace('/', "%2F").replace('+', "%2B"));
    for (query, expected, applied, reason) in [
        (
            format!("?artifactType={NOTATION}"),
            vec![notation],
            "artifactType",
            "one type",
        ),
        (
            format!("?artifactType={encoded_bundle}"),
            vec![bundle],
            "artifactType",
            "an encoded type",
        ),
        (
            format!("?artifactType={encoded_sbom}&artifactType={NOTATION}"),
            vec![notation, sbom],
            "artifactType",
            "repeated, as containerd does",
        ),
        (
            "?artifactType=application/none".to_owned(),
            vec![],
            "artifactType",
            "a type nobody has",
        ),
        (
            "?artifactType=".to_owned(),
            all.iter().collect(),
            "",
            "empty is no filter",
        ),
        (
            "?other=1".to_owned(),
            all.iter().collect(),
            "",
            "an unknown parameter",
        ),
        (String::new(), all.iter().collect(), "", "none"),
    ] {
        let reply = repository
            .get_referrers(&image.digest(), &query)
            .expect(200);
        assert_eq!(reply.json()["manifests"], json!(expected), "{reason}");
        assert_eq!(reply.header("oci-filters-applied"), applied, "{reason}");
    }
}

#[test]
fn a_pushed_subject_is_confirmed() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let image = repository.push_image("v1");
    for kind in [NOTATION, BUNDLE, SBOM] {
        let by_digest = repository.artifact(kind, Some(&image));
        let by_tag = repository.artifact(kind, Some(&image));
        let mut index = index_of([&image]).json();
        index["subject"] = image.descriptor();
        index["artifactType"] = json!(kind);
        let index = Content::manifest(&index);
        for (reference, manifest) in [
            (by_digest.digest(), &by_digest),
            (format!("tag-of-{}", &by_tag.digest()[7..20]), &by_tag),
            (index.digest(), &index),
        ] {
            let reply = repository.put_manifest(&reference, manifest).expect(201);
            assert_eq!(
                reply.header("oci-subject"),
                image.digest(),
                "{kind} at {reference}"
            );
            assert_eq!(reply.header("docker-content-digest"), manifest.digest());
            for place in [
                reply.header("location"),
                &repository.path(&format!("manifests/{reference}")),
            ] {
                let read = repository
                    .http
                    .request("GET", place, &[images::ACCEPT], "")
                    .expect(200);
                assert_eq!(read.body, manifest.bytes, "{place}");
                assert_eq!(read.header("content-type"), manifest.media_type);
                assert_eq!(read.header("docker-content-digest"), manifest.digest());
            }
            let listed = repository.referrers(&image);
            assert_eq!(
                listed.last(),
                Some(&manifest.as_referrer()),
                "listed at once, and last"
            );
        }
    }
    let plain = repository.put_manifest("v2", &image).expect(201);
    assert_eq!(
        plain.header("oci-subject"),
        "",
        "no subject, nothing to confirm"
    );
}

#[test]
fn a_long_list_comes_in_pages() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let image = repository.push_image("v1");
    let small = repository.attach(SBOM, &image);
    let large: Vec<Content> = (0..6)
        .map(|_| {
            let mut signature = repository.artifact(NOTATION, Some(&image)).json();
            signature["annotations"]["large"] = json!("x".repeat(MIB));
            let signature = Content::manifest(&signature);
            repository.push_manifest(&signature);
            signature
        })
        .collect();

    let pages = repository.referrer_pages(&image.digest(), "");
    assert_full_pages(&pages);
    let all: Vec<Value> = [&small]
        .into_iter()
        .chain(&large)
        .map(Content::as_referrer)
        .collect();
    assert_eq!(pages.concat(), all, "all of them, once, oldest first");

    let query = format!("?artifactType={NOTATION}");
    let first = repository
        .get_referrers(&image.digest(), &query)
        .expect(200);
    let next = next_page(first.header("link")).unwrap();
    assert!(
        next.starts_with("/v2/team/app/referrers/"),
        "the next page stays with the proxy: {next}"
    );
    let second = repository.http.get(&next).expect(200);
    assert_eq!(second.header("oci-filters-applied"), "artifactType");
    let pages = repository.referrer_pages(&image.digest(), &query);
    assert_full_pages(&pages);
    assert_eq!(pages.concat(), all[1..]);

    repository.attach(SBOM, &image);
    let rest = repository.http.get(&next).expect(200).json();
    assert_eq!(
        rest["manifests"],
        second.json()["manifests"],
        "a push in between moves nothing"
    );
}

/// More than one page, and none that could have held the next entry as well.
#[track_caller]
fn assert_full_pages(pages: &[Vec<Value>]) {
    assert!(pages.len() > 1);
    let size = |entries: &[Value]| {
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
            .to_string()
            .len()
    };
    for pair in pages.windows(2) {
        let mut more = pair[0].clone();
        assert!(size(&more) <= 4 * MIB);
        more.push(pair[1][0].clone());
        assert!(size(&more) > 4 * MIB, "there was room for one more");
    }
}

#[test]
fn a_deleted_referrer_is_gone_until_it_is_pushed_again() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let image = repository.push_image("v1");
    for kind in [NOTATION, SBOM] {
        let [kept, deleted] = ["kept", "deleted"].map(|_| repository.attach(kind, &image));
        let others = repository.referrers(&image).len() - 1;
        repository.delete_manifest(&deleted.digest()).expect(202);
        repository
            .get_manifest(&deleted.digest())
            .refused(404, "MANIFEST_UNKNOWN");
        repository
            .delete_manifest(&deleted.digest())
            .refused(404, "MANIFEST_UNKNOWN");
        let left = repository.referrers(&image);
        assert_eq!(left.len(), others, "{kind}");
        assert!(left.contains(&kept.as_referrer()), "{kind}");

        repository.push_manifest(&deleted);
        assert_eq!(
            repository.referrers(&image).last(),
            Some(&deleted.as_referrer()),
            "{kind}"
        );
        repository.get_manifest(&deleted.digest()).expect(200);
    }
}

#[test]
fn the_referrers_of_a_deleted_subject_are_kept() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let image = repository.push_image("v1");
    let signature = repository.attach(NOTATION, &image).as_referrer();
    repository.delete_manifest(&image.digest()).expect(202);
    repository.get_manifest(&image.digest()).expect(404);
    repository.push_manifest(&image);
    assert_eq!(repository.referrers(&image), [signature]);
}

#[test]
fn other_artifacts_with_a_subject_stay_in_the_registry() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let image = repository.push_image("v1");
    let sbom = repository.attach(SBOM, &image);
    assert_eq!(repository.referrers(&image), [sbom.as_referrer()]);
    let behind = stage.behind("team/app");
    assert_eq!(
        behind.get_manifest(&sbom.digest()).expect(200).body,
        sbom.bytes
    );
    assert_eq!(behind.tags(), ["v1"]);
}

#[test]
fn a_subject_may_come_later() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let elsewhere = stage.repository("team/other").push_image("v1");
    let mut expected = Vec::new();
    for kind in [NOTATION, SBOM, BUNDLE] {
        let artifact = repository.artifact(kind, Some(&elsewhere));
        let reply = repository.push_manifest(&artifact);
        assert_eq!(reply.header("oci-subject"), elsewhere.digest(), "{kind}");
        expected.push(artifact.as_referrer());
        assert_eq!(repository.referrers(&elsewhere), expected);
    }
}

#[test]
fn a_signature_whose_blobs_are_missing_is_not_acknowledged() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let image = repository.push_image("v1");
    for kind in [NOTATION, SBOM] {
        let config = Content::new(EMPTY, "{}");
        repository.push_blob(&config);
        let artifact = artifact_of(
            kind,
            Some(&image),
            &config,
            &Content::random("application/jose+json"),
        );
        repository
            .put_manifest(&artifact.digest(), &artifact)
            .refused(400, "MANIFEST_BLOB_UNKNOWN");
    }
    assert_eq!(repository.referrers(&image), Vec::<Value>::new());
}

/// The registry collects blobs that no manifest of its own names. A client that is told "it is there" skips the upload, and
/// the registry would then refuse a manifest that names it.
#[test]
fn what_only_regseal_holds_does_not_poison_a_later_push() {
    let stage = Stage::with(Auth::None);
    let (repository, behind) = (stage.repository("team/app"), stage.behind("team/app"));
    let image = repository.push_image("v1");
    let signature = repository.attach(NOTATION, &image);
    let config = Content::new(EMPTY, "{}");
    let layer = signature.json()["layers"][0].clone();
    for digest in [&config.digest(), layer["digest"].as_str().unwrap()] {
        behind
            .http
            .delete(&behind.path(&format!("blobs/{digest}")))
            .expect(202);
        behind.get_blob(digest).expect(404);
        let head = repository
            .http
            .head(&repository.path(&format!("blobs/{digest}")))
            .expect(200);
        assert_ne!(
            head.header("content-length"),
            "",
            "the client will skip the upload"
        );
    }
    let later = Content::manifest(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.example",
        "config": config.descriptor(),
        "layers": [layer],
    }));
    behind
        .put_manifest("v2", &later)
        .refused(400, "MANIFEST_BLOB_UNKNOWN");
    repository.put_manifest("v2", &later).expect(201);
    assert_eq!(behind.get_manifest("v2").expect(200).body, later.bytes);
    for digest in [&config.digest(), layer["digest"].as_str().unwrap()] {
        behind.get_blob(digest).expect(200);
    }

    // An index that lists a signature, which the registry behind does not have either.
    let index = index_of([&image, &signature]);
    repository.put_manifest("v3", &index).expect(201);
    assert_eq!(behind.get_manifest("v3").expect(200).body, index.bytes);
}

#[test]
fn what_the_registry_held_before_is_listed_as_well() {
    let stage = Stage::with(Auth::None);
    let (repository, behind) = (stage.repository("team/app"), stage.behind("team/app"));
    let image = behind.push_image("v1");
    let old = behind.attach(NOTATION, &image);
    let stranger = behind.push_image("v2");
    let mut wrong = old.as_referrer();
    wrong["artifactType"] = json!("application/wrong");
    let fallback = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [wrong, stranger.descriptor()]});
    behind
        .put_manifest(&image.companion_tag(""), &Content::manifest(&fallback))
        .expect(201);
    let old_cosign = cosign_signature(&behind, &[]);
    behind
        .put_manifest(&image.companion_tag(".sig"), &old_cosign)
        .expect(201);

    assert_eq!(repository.referrers(&image), [old.as_referrer()]);
    let new = repository.attach(NOTATION, &image);
    let mut all = repository.referrers(&image);
    assert_eq!(
        digests(&all),
        digests(&[old.as_referrer(), new.as_referrer()])
    );
    all.sort_by_key(|entry| entry["digest"] == new.digest());
    assert_eq!(all, [old.as_referrer(), new.as_referrer()]);

    let new_cosign = cosign_signature(&repository, &[]);
    repository
        .put_manifest(&image.companion_tag(".sig"), &new_cosign)
        .expect(201);
    let united = repository
        .get_manifest(&image.companion_tag(".sig"))
        .expect(200)
        .json();
    let layers = united["layers"].as_array().unwrap();
    for version in [&old_cosign, &new_cosign] {
        assert!(layers.contains(&version.json()["layers"][0]), "{united}");
    }
}

#[test]
fn every_way_of_authentication_lists_the_same() {
    for auth in [Auth::Basic, Auth::Token] {
        let stage = Stage::with(auth);
        let repository = stage.repository("team/app");
        let image = repository.push_image("v1");
        let expected = [NOTATION, SBOM].map(|kind| repository.attach(kind, &image).as_referrer());
        assert_eq!(repository.referrers(&image), expected, "{auth:?}");
        let reply = stage
            .regseal
            .endpoint
            .http(ALICE)
            .get(&repository.path("tags/list"))
            .expect(200);
        assert_eq!(reply.json()["tags"], json!(["v1"]));
    }
}

/// A repository without tags and without the subject is 404 in the registry behind, as a hidden one may be.
#[test]
fn a_404_is_a_permission_only_where_the_registry_is_said_to_hide_nothing() {
    for (hides, shown) in [(true, false), (false, true)] {
        let registry = Registry::with(Auth::Token);
        let regseal = Regseal::builder(&registry)
            .config(&format!(
                "upstream: {{hides_private_repositories: {hides}}}\n"
            ))
            .start();
        let absent = Content::random(MANIFEST);
        let signer = regseal.endpoint.repository(ALICE, "team/new");
        let signature = signer.attach(NOTATION, &absent);
        let reader = regseal.endpoint.repository(BOB, "team/new");
        let expected = shown.then(|| signature.as_referrer());
        let expected: Vec<Value> = expected.into_iter().collect();
        assert_eq!(reader.referrers(&absent), expected, "hides: {hides}");
        assert_eq!(signer.referrers(&absent), [signature.as_referrer()]);
    }
}
