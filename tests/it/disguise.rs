//! Requests that are not what they look like: paths, manifests, digests, framing and headers with a second reading.
//!
//! Where the registry behind has an opinion on the same request, it is asked first.

use serde_json::{Value, json};

use crate::bypass::{PRIVATE, SHARED, Signed, assert_nothing_shown};
use crate::support::images::{INDEX, MANIFEST, NOTATION, SBOM, index_of, sha256};
use crate::support::raw::{self, Connection};
use crate::support::{Auth, BOB, Content, Http, Stage};

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
