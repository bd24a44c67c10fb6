//! Attempts to get more than the registry behind would give, by way of what regseal answers itself.
//!
//! Where the registry behind has an opinion on the same request, it is asked first, so that the tests show what is being
//! bypassed.

use serde_json::{Value, json};

use crate::support::images::{
    COSIGN_LAYER, EMPTY, INDEX, MANIFEST, NOTATION, SBOM, artifact_of, index_of, sha256,
};
use crate::support::raw::{self, Connection};
use crate::support::{
    ALICE, Auth, BOB, CAROL, Content, EVE, Http, Reply, Repository, Stage, wait_for,
};

const PRIVATE: &str = "private/app";
const SHARED: &str = "team/app";

/// A signed image in a repository, in all the forms regseal keeps.
struct Signed {
    image: Content,
    signature: Content,
    cosign: Content,
}

impl Signed {
    fn by_alice(stage: &Stage, name: &str) -> Self {
        let repository = stage.repository(name);
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
    fn paths(&self) -> Vec<String> {
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
fn assert_nothing_shown(reply: &Reply, signed: &Signed) {
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

/// Paths that a cleaning server reads as `private/app`, sent as they stand with a token for `team/app`.
#[test]
fn a_disguised_path_is_refused() {
    let stage = Stage::with(Auth::Token);
    let signed = Signed::by_alice(&stage, PRIVATE);
    stage.repository(SHARED).push_image("v1");
    let authority = &stage.regseal.endpoint.authority;
    let issuer = stage.registry.tokens().issuer();
    let token = issuer.token(Some(BOB.name), &["repository:team/app:pull"]);
    let headers =
        format!("Authorization: Bearer {token}\r\nAccept: {MANIFEST}\r\nAccept: {INDEX}\r\n");

    let bare = &stage.registry.endpoint.authority;
    let plain = raw::get(
        bare,
        &format!(
            "/v2/team/app/../../private/app/manifests/{}",
            signed.image.digest()
        ),
        &headers,
    );
    assert_eq!(
        (plain.status, plain.header("location")),
        (
            301,
            format!("/v2/private/app/manifests/{}", signed.image.digest()).as_str()
        ),
        "the registry behind cleans paths"
    );

    for path in signed.paths() {
        for (disguise, reason) in [
            ("/v2/team/app/../../private/app/", "dot segments"),
            (
                "/v2/team/app/%2e%2e/%2e%2e/private/app/",
                "encoded dot segments",
            ),
            (
                "/v2/team/app/.%2E/.%2E/private/app/",
                "half encoded dot segments",
            ),
            ("/v2/team/app%2F..%2F..%2Fprivate%2Fapp/", "encoded slashes"),
            (
                "/v2/team/app%2f..%2f..%2fprivate/app/",
                "encoded slashes in lower case",
            ),
            ("/v2/private%2Fapp/", "an encoded slash in a name"),
            (
                "/v2/team/app%252F..%252F..%252Fprivate%252Fapp/",
                "twice encoded slashes",
            ),
            ("/v2//private/app/", "an empty segment"),
            ("//v2/private/app/", "an empty segment in front"),
            ("/v2/private//app/", "an empty segment within"),
            ("/v2/./private/app/", "a segment of one dot"),
            (
                "/v2/team/app/manifests/../../../private/app/",
                "dot segments behind a verb",
            ),
            ("/v2/team/app\\..\\..\\private\\app/", "backslashes"),
            ("/v2/private/app;x=1/", "a path parameter"),
            ("/V2/private/app/", "upper case"),
            ("/v2/private/app%00/", "a NUL"),
        ] {
            let reply = raw::get(authority, &format!("{disguise}{path}"), &headers);
            assert!([400, 404].contains(&reply.status), "{reason}: {reply:?}");
            assert_nothing_shown(&reply, &signed);
        }
        for (target, reason) in [
            (format!("/v2/private/app/./{path}"), "a dot before the verb"),
            (
                format!("/v2/private/app//{path}"),
                "an empty segment before the verb",
            ),
            (format!("/v2/private/app/{path}/"), "a slash at the end"),
            (
                format!("/v2/private/app/{}", path.replacen('/', "%2F", 1)),
                "an encoded slash after the verb",
            ),
            (
                format!("http://{bare}/v2/private/app/{path}"),
                "an absolute target with the address of the registry",
            ),
            (format!("/v2/private/app/{path}#/v2/team/app"), "a fragment"),
            (
                format!("/v2/private/app/{path}?from=team/app"),
                "another repository in the query",
            ),
        ] {
            let reply = raw::get(authority, &target, &headers);
            assert!(
                [400, 401, 404].contains(&reply.status),
                "{reason}: {reply:?}"
            );
            assert_nothing_shown(&reply, &signed);
        }
    }
}

#[test]
fn a_manifest_is_only_what_its_bytes_say() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(SHARED);
    let image = repository.push_image("v1");
    let signature = repository.artifact(NOTATION, Some(&image));
    let index = index_of([&image]);
    let mut both = signature.json();
    both["manifests"] = json!([image.descriptor()]);
    let mut both_as_index = both.clone();
    both_as_index["mediaType"] = json!(INDEX);
    let mut untyped = both.clone();
    untyped.as_object_mut().unwrap().remove("mediaType");
    for (media_type, body, reason) in [
        (INDEX, signature.json(), "a manifest claimed as an index"),
        (MANIFEST, index.json(), "an index claimed as a manifest"),
        (
            MANIFEST,
            both.clone(),
            "a manifest that lists manifests as well",
        ),
        (INDEX, both_as_index, "an index that has layers as well"),
        (INDEX, untyped, "both, and it does not say what it is"),
        (MANIFEST, json!([both]), "a list"),
    ] {
        let manifest = Content::new(media_type, body.to_string());
        for reference in [
            manifest.digest(),
            "v2".to_owned(),
            image.companion_tag(""),
            image.companion_tag(".sig"),
        ] {
            let reply = repository.put_manifest(&reference, &manifest);
            assert_eq!(reply.status, 400, "{reason} at {reference}: {reply:?}");
            assert_eq!(
                reply.json()["errors"][0]["code"],
                "MANIFEST_INVALID",
                "{reason}: {reply:?}"
            );
        }
    }
    assert_eq!(repository.referrers(&image), Vec::<Value>::new());
    assert_eq!(repository.tags(), ["v1"]);
}

#[test]
fn a_key_that_occurs_twice_is_refused() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(SHARED);
    let [image, other] = ["v1", "v2"].map(|tag| repository.push_image(tag));
    let plain = repository.artifact(SBOM, Some(&image));
    let text = String::from_utf8(plain.bytes.to_vec()).unwrap();
    let subject = format!("\"subject\":{}", image.descriptor());
    for (twice, reason) in [
        (
            text.replacen('{', &format!("{{\"subject\":{},", other.descriptor()), 1),
            "two subjects",
        ),
        (
            text.replacen(
                '{',
                &format!("{{\"sub\\u006aect\":{},", other.descriptor()),
                1,
            ),
            "one of them escaped",
        ),
        (
            text.replace("\"salt\":", "\"salt\":\"1\",\"salt\":"),
            "two annotations of one name",
        ),
        (
            text.replace("\"size\":2", "\"size\":2,\"size\":3"),
            "two sizes in a descriptor",
        ),
    ] {
        assert!(text.contains(&subject) && twice != text, "{reason}");
        let manifest = Content::new(MANIFEST, twice);
        let behind = stage.behind(SHARED);
        behind.put_manifest("as-it-is", &manifest).expect(201);
        for reference in [manifest.digest(), "v3".to_owned()] {
            let reply = repository.put_manifest(&reference, &manifest);
            assert_eq!(reply.status, 400, "{reason}: {reply:?}");
            assert_eq!(
                reply.json()["errors"][0]["code"],
                "MANIFEST_INVALID",
                "{reason}"
            );
        }
    }
    for subject in [&image, &other] {
        assert_eq!(repository.referrers(subject), Vec::<Value>::new());
    }
}

#[test]
fn a_digest_must_be_that_of_the_bytes() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(SHARED);
    let image = repository.push_image("v1");
    for kind in [NOTATION, SBOM] {
        let artifact = repository.artifact(kind, Some(&image));
        for reference in [
            image.digest(),
            sha256(b"other bytes"),
            "sha256:baddigeststring".to_owned(),
        ] {
            repository
                .put_manifest(&reference, &artifact)
                .refused(400, "DIGEST_INVALID");
        }
    }
    assert_eq!(repository.referrers(&image), Vec::<Value>::new());
    assert_eq!(
        repository.get_manifest(&image.digest()).expect(200).body,
        image.bytes
    );
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

/// Two readings of where a request ends let one be smuggled behind another.
#[test]
fn ambiguous_framing_is_refused_and_the_connection_closed() {
    let stage = Stage::with(Auth::None);
    let authority = &stage.regseal.endpoint.authority;
    let mut wrong = Vec::new();
    for (headers, reason) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "two ways to tell the length",
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "the other way round",
        ),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "two lengths"),
        ("Content-Length: 5, 6\r\n", "two lengths in one line"),
        ("Content-Length: +5\r\n", "a sign"),
        (
            "X-Folded: a\r\n b\r\nContent-Length: 5\r\n",
            "a folded line",
        ),
        (
            "Transfer-Encoding: chunked, identity\r\n",
            "an encoding after the chunks",
        ),
        (
            "Transfer-Encoding : chunked\r\n",
            "a space before the colon",
        ),
    ] {
        let mut connection = Connection::to(authority);
        connection.send(format!(
            "POST /v2/team/app/blobs/uploads/ HTTP/1.1\r\nHost: {authority}\r\n{headers}\r\n0\r\n\r\n\
             GET /v2/ HTTP/1.1\r\nHost: {authority}\r\n\r\n"
        ));
        let reply = connection.receive();
        if reply.status != 400 || !connection.is_closed_by_peer() {
            wrong.push(format!("{reason}: {reply:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_client_cannot_choose_where_others_are_sent() {
    let stage = Stage::with(Auth::None);
    let path = "/v2/team/app/blobs/uploads/";
    for header in ["Forwarded", "X-Forwarded-Host"] {
        let value = if header == "Forwarded" {
            "host=evil.example"
        } else {
            "evil.example"
        };
        let bare = Http::new(&stage.registry.endpoint.authority).request(
            "POST",
            path,
            &[(header, value)],
            "",
        );
        assert!(
            bare.expect(202).header("location").contains("evil.example"),
            "the registry behind believes it"
        );
        let reply = Http::new(&stage.regseal.endpoint.authority)
            .request("POST", path, &[(header, value)], "")
            .expect(202);
        let location = reply.header("location");
        let own = format!("http://{}/v2/", stage.regseal.endpoint.authority);
        assert!(
            location.starts_with("/v2/") || location.starts_with(&own),
            "{location}"
        );
    }
}
