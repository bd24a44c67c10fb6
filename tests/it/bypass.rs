//! Attempts to get more than the registry behind would give, by way of what regseal answers itself.
//!
//! Where the registry behind has an opinion on the same request, it is asked first, so that the tests show what is being
//! bypassed.

use serde_json::{Value, json};

use crate::support::images::{COSIGN_LAYER, EMPTY, NOTATION, SBOM, artifact_of, index_of};
use crate::support::{
    ALICE, Auth, BOB, CAROL, Content, EVE, Http, Reply, Repository, Stage, wait_for,
};

pub(crate) const PRIVATE: &str = "private/app";
pub(crate) const SHARED: &str = "team/app";

/// A signed image in a repository, in all the forms regseal keeps.
pub(crate) struct Signed {
    pub(crate) image: Content,
    pub(crate) signature: Content,
    pub(crate) cosign: Content,
}

impl Signed {
    pub(crate) fn by_alice(stage: &Stage, name: &str) -> Self {
        Self::at(&stage.repository(name))
    }

    pub(crate) fn at(repository: &Repository) -> Self {
        let image = repository.push_image("v1");
        let signature = repository.attach(NOTATION, &image);
        let layer = Content::random(COSIGN_LAYER);
        let config = Content::new(EMPTY, "{}");
        repository.push_blob(&layer);
        let cosign = artifact_of(NOTATION, None, &config, &layer);
        repository
            .put_manifest(&image.companion_tag(".sig"), &cosign)
            .expect(201);
        Self {
            image,
            signature,
            cosign,
        }
    }

    /// Every path below the repository at which something of it can be read that only regseal holds.
    pub(crate) fn paths(&self) -> Vec<String> {
        let layer = |manifest: &Content| {
            manifest.json()["layers"][0]["digest"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        vec![
            format!("referrers/{}", self.image.digest()),
            format!("manifests/{}", self.image.companion_tag("")),
            format!("manifests/{}", self.image.companion_tag(".sig")),
            format!("manifests/{}", self.signature.digest()),
            format!("manifests/{}", self.cosign.digest()),
            format!("blobs/{}", layer(&self.signature)),
            format!("blobs/{}", layer(&self.cosign)),
        ]
    }
}

/// Nothing in an answer tells of the signature.
#[track_caller]
pub(crate) fn assert_nothing_shown(reply: &Reply, signed: &Signed) {
    let shown = format!("{reply:?}");
    let answer = shown.split_once('\n').unwrap().1;
    for secret in [&signed.signature, &signed.cosign] {
        // An error may repeat what it was asked for.
        let told = answer.contains(&secret.digest()) && !reply.request.contains(&secret.digest());
        assert!(!told, "{shown}");
        assert_ne!(reply.body, secret.bytes, "{shown}");
    }
}

#[test]
fn nothing_is_read_without_the_right_to_pull() {
    let stage = Stage::with(Auth::Token);
    let signed = Signed::by_alice(&stage, PRIVATE);
    let registry = &stage.registry.endpoint;
    let regseal = &stage.regseal.endpoint;
    let nobody = "Basic-like words, not a token";
    let callers = [
        ("bob", registry.http(BOB), regseal.http(BOB)),
        ("eve", registry.http(EVE), regseal.http(EVE)),
        ("anonymous", registry.anonymous(), regseal.anonymous()),
        (
            "no credentials",
            Http::new(&registry.authority),
            Http::new(&regseal.authority),
        ),
        (
            "a token of nobody",
            Http::new(&registry.authority).bearer(nobody),
            Http::new(&regseal.authority).bearer(nobody),
        ),
    ];
    for (caller, to_registry, to_regseal) in callers {
        let behind = Repository::new(to_registry, PRIVATE);
        assert_eq!(behind.get_manifest("v1").status, 401, "{caller}");
        let before = Repository::new(to_regseal, PRIVATE);
        for path in signed.paths() {
            for method in ["GET", "HEAD"] {
                // Alice may, and has just been told so: her answer is not theirs.
                stage
                    .repository(PRIVATE)
                    .http
                    .get(&before.path(&path))
                    .expect(200);
                let reply = before.http.request(method, &before.path(&path), &[], "");
                assert_eq!(reply.status, 401, "{caller}: {reply:?}");
                assert_nothing_shown(&reply, &signed);
                let challenge = reply.header("www-authenticate");
                assert!(
                    challenge.contains("scope=\"repository:private/app:pull\""),
                    "the client learns what to ask for: {challenge}"
                );
            }
        }
    }
}

#[test]
fn nothing_is_read_without_the_password() {
    let stage = Stage::with(Auth::Basic);
    let signed = Signed::by_alice(&stage, PRIVATE);
    let authority = &stage.regseal.endpoint.authority;
    for (caller, http) in [
        ("no credentials", Http::new(authority)),
        (
            "a wrong password",
            Http::new(authority).basic(ALICE.name, BOB.password),
        ),
        (
            "an unknown user",
            Http::new(authority).basic("mallory", ALICE.password),
        ),
    ] {
        let repository = Repository::new(http, PRIVATE);
        for path in signed.paths() {
            stage
                .repository(PRIVATE)
                .http
                .get(&repository.path(&path))
                .expect(200);
            let reply = repository.http.get(&repository.path(&path));
            assert_eq!(reply.status, 401, "{caller}: {reply:?}");
            assert_nothing_shown(&reply, &signed);
        }
    }
}

#[test]
fn a_digest_opens_no_other_repository() {
    let stage = Stage::with(Auth::Token);
    let signed = Signed::by_alice(&stage, PRIVATE);
    stage.repository(SHARED).push_image("v1");
    let repository = stage.regseal.endpoint.repository(BOB, SHARED);
    repository.get_manifest("v1").expect(200);
    for path in signed.paths() {
        let reply = repository.http.get(&repository.path(&path));
        assert_nothing_shown(&reply, &signed);
        if path.starts_with("referrers/") {
            assert_eq!(reply.expect(200).json()["manifests"], json!([]));
        } else {
            reply.expect(404);
        }
    }
}

#[test]
fn a_token_of_one_repository_opens_no_other() {
    let stage = Stage::with(Auth::Token);
    let signed = Signed::by_alice(&stage, PRIVATE);
    stage.repository(SHARED).push_image("v1");
    let issuer = stage.registry.tokens().issuer();
    let narrow = issuer.token(Some(ALICE.name), &["repository:team/app:pull,push"]);
    let http = Http::new(&stage.regseal.endpoint.authority).bearer(&narrow);
    Repository::new(http.clone(), SHARED)
        .get_manifest("v1")
        .expect(200);
    let repository = Repository::new(http, PRIVATE);
    for path in signed.paths() {
        let reply = repository.http.get(&repository.path(&path)).expect(401);
        assert_nothing_shown(&reply, &signed);
    }
}

/// A decision that was taken for a token does not outlive it, however fresh the decision is.
#[test]
fn a_token_that_has_ended_opens_nothing() {
    let stage = Stage::with(Auth::Token);
    let signed = Signed::by_alice(&stage, PRIVATE);
    let issuer = stage.registry.tokens().issuer();
    // docker-registry grants a minute of grace, of which three seconds are left.
    let token = issuer.token_for(-57, Some(ALICE.name), &["repository:private/app:pull"]);
    let [behind, repository] = [&stage.registry.endpoint, &stage.regseal.endpoint]
        .map(|endpoint| Repository::new(Http::new(&endpoint.authority).bearer(&token), PRIVATE));
    let read = repository.get_referrers(&signed.image.digest(), "").status;
    wait_for("the end of the token", || {
        (behind.get_manifest("v1").status == 401).then_some(())
    });
    let reply = repository.get_referrers(&signed.image.digest(), "");
    assert_eq!((read, reply.status), (200, 401), "{reply:?}");
}

#[test]
fn a_mount_brings_nothing_that_its_caller_may_not_pull() {
    let stage = Stage::with(Auth::Token);
    let signed = Signed::by_alice(&stage, PRIVATE);
    let repository = stage.regseal.endpoint.repository(CAROL, "carol/app");
    repository.push_image("v1");
    let layer = signed.signature.json()["layers"][0].clone();
    let digest = layer["digest"].as_str().unwrap();
    for from in [PRIVATE, "carol/app", ""] {
        let path = repository.path(&format!("blobs/uploads/?mount={digest}&from={from}"));
        let reply = repository.http.request("POST", &path, &[], "");
        assert!([202, 401].contains(&reply.status), "{reply:?}");
        repository.get_blob(digest).expect(404);
    }
    let path = repository.path(&format!("blobs/uploads/?mount={digest}"));
    assert_ne!(repository.http.request("POST", &path, &[], "").status, 201);
    repository.get_blob(digest).expect(404);
}

#[test]
fn naming_a_digest_in_a_manifest_does_not_bring_its_bytes() {
    let stage = Stage::with(Auth::Token);
    let signed = Signed::by_alice(&stage, PRIVATE);
    let repository = stage.regseal.endpoint.repository(CAROL, "carol/app");
    let image = repository.push_image("v1");
    let config = Content::new(EMPTY, "{}");
    repository.push_blob(&config);
    let layer = signed.signature.json()["layers"][0].clone();
    for kind in [NOTATION, SBOM] {
        let mut manifest = artifact_of(kind, Some(&image), &config, &config).json();
        manifest["layers"] = json!([layer]);
        let manifest = Content::manifest(&manifest);
        repository
            .put_manifest(&manifest.digest(), &manifest)
            .refused(400, "MANIFEST_BLOB_UNKNOWN");
        repository
            .get_blob(layer["digest"].as_str().unwrap())
            .expect(404);
    }
    let mut cosign = artifact_of(NOTATION, None, &config, &config).json();
    cosign["layers"] =
        json!([{"mediaType": COSIGN_LAYER, "digest": layer["digest"], "size": layer["size"]}]);
    let cosign = Content::manifest(&cosign);
    assert_ne!(
        repository
            .put_manifest(&image.companion_tag(".sig"), &cosign)
            .status,
        201
    );

    // The fallback tag names manifests: those of another repository do not come with it.
    let fallback = index_of([&signed.signature]);
    let status = repository
        .put_manifest(&signed.image.companion_tag(""), &fallback)
        .status;
    assert!(status < 500, "{status}");
    for path in signed.paths() {
        let reply = repository.http.get(&repository.path(&path));
        if path.starts_with("referrers/") {
            assert_eq!(reply.expect(200).json()["manifests"], json!([]));
        } else {
            reply.expect(404);
        }
    }
    assert_eq!(repository.referrers(&image), Vec::<Value>::new());
}

#[test]
fn who_may_only_pull_cannot_sign_or_delete() {
    let stage = Stage::with(Auth::Token);
    let signed = Signed::by_alice(&stage, SHARED);
    let alice = stage.repository(SHARED);
    // All blobs are there, so that only the manifest is between bob and a signature.
    let forged = alice.artifact(NOTATION, Some(&signed.image));
    let sbom = alice.artifact(SBOM, Some(&signed.image));
    let [tag, signatures] = ["", ".sig"].map(|suffix| signed.image.companion_tag(suffix));
    let before = alice.referrers(&signed.image);
    let cosign_before = alice.get_manifest(&signatures).expect(200).body;

    let behind = stage.registry.endpoint.repository(BOB, SHARED);
    behind.get_manifest("v1").expect(200);
    behind.put_manifest(&forged.digest(), &forged).expect(401);

    let anonymous = Repository::new(stage.regseal.endpoint.anonymous(), SHARED);
    for caller in [BOB, CAROL, EVE]
        .map(|user| stage.regseal.endpoint.repository(user, SHARED))
        .iter()
        .chain([&anonymous])
    {
        for (reference, manifest) in [
            (&forged.digest(), &forged),
            (&"by-tag".to_owned(), &forged),
            (&sbom.digest(), &sbom),
            (&tag, &index_of([&signed.signature])),
            (
                &signatures,
                &artifact_of(
                    NOTATION,
                    None,
                    &Content::new(EMPTY, "{}"),
                    &Content::new(COSIGN_LAYER, "{}"),
                ),
            ),
            (&"v1".to_owned(), &signed.image),
        ] {
            // Alice may push, and has just been told so: her answer is not theirs.
            alice
                .put_manifest(&signed.signature.digest(), &signed.signature)
                .expect(201);
            let reply = caller
                .put_manifest(reference, manifest)
                .refused(401, "UNAUTHORIZED");
            let challenge = reply.header("www-authenticate");
            assert!(
                challenge.contains("push"),
                "the client learns what to ask for: {challenge}"
            );
        }
        for digest in [
            signed.signature.digest(),
            signed.cosign.digest(),
            signed.image.digest(),
        ] {
            caller.delete_manifest(&digest).expect(401);
        }
        caller
            .http
            .request("POST", &caller.path("blobs/uploads/"), &[], "")
            .expect(401);
    }
    assert_eq!(alice.referrers(&signed.image), before);
    assert_eq!(
        alice.get_manifest(&signatures).expect(200).body,
        cosign_before
    );
    alice.get_manifest(&forged.digest()).expect(404);
}
