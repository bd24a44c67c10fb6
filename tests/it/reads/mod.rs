//! Reads: parts, conditions, redirects, mirrors, and answers that are not what they say.

mod broken;
mod mirror;
mod redirects;

use http::HeaderMap;
use serde_json::Value;

use crate::support::images::{ACCEPT, LAYER, NOTATION, SBOM, random_hex};
use crate::support::raw::Connection;
use crate::support::wire::Wire;
use crate::support::{ALICE, Auth, Content, Policed, Registry, Regseal, Reply, Repository, Stage};

const APP: &str = "team/app";

/// All headers but those that tell of the moment and of the connection.
fn lasting(headers: &HeaderMap) -> HeaderMap {
    let mut lasting = headers.clone();
    for name in ["date", "connection", "transfer-encoding"] {
        lasting.remove(name);
    }
    lasting
}

/// Of what passes and of what regseal holds itself: a layer, and the envelope of a signature.
#[test]
fn parts_of_a_blob_are_those_of_the_specification() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository(APP);
    let blob = Content::new(LAYER, random_hex(1000));
    repository.push_blob(&blob);
    let image = repository.push_image("v1");
    let signature = repository.attach(NOTATION, &image);
    let envelope = signature.json()["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let held = repository.get_blob(&envelope).expect(200).body;
    let authority = &stage.regseal.endpoint.authority;
    for (digest, bytes) in [(blob.digest(), blob.bytes), (envelope, held)] {
        let size = bytes.len();
        let path = repository.path(&format!("blobs/{digest}"));
        let mut connection = Connection::to(authority);
        let mut ask = |range: &str| {
            connection.send(format!(
                "GET {path} HTTP/1.1\r\nHost: {authority}\r\nRange: {range}\r\n\r\n"
            ));
            connection.receive()
        };
        let (last, half) = (size - 1, size / 2);
        for (range, first, end) in [
            ("bytes=0-0".to_owned(), 0, 0),
            (format!("bytes={half}-"), half, last),
            ("bytes=-5".to_owned(), size - 5, last),
            (format!("bytes=-{}", 2 * size), 0, last),
            (format!("bytes=5-{}", 5 * size), 5, last),
        ] {
            let reply = ask(&range).expect(206);
            let expected = format!("bytes {first}-{end}/{size}");
            assert_eq!(reply.header("content-range"), expected, "{range}");
            assert_eq!(
                reply.header("content-length"),
                (end - first + 1).to_string()
            );
            assert_eq!(reply.body, bytes.slice(first..=end), "{range}");
        }
        for range in [
            "bytes=9-5".to_owned(),
            format!("bytes={size}-"),
            format!("bytes={size}-{size}"),
        ] {
            let reply = ask(&range);
            // An inverted range is no range: RFC 9110 section 14.1.1 lets it be ignored.
            if range == "bytes=9-5" && reply.status == 200 {
                assert_eq!(reply.body, bytes);
                continue;
            }
            let reply = reply.expect(416);
            if range != "bytes=9-5" {
                assert_eq!(
                    reply.header("content-range"),
                    format!("bytes */{size}"),
                    "{range}"
                );
            }
            assert_eq!(reply.header("content-length"), reply.body.len().to_string());
        }
        let reply = ask("bytes=0-1,5-6");
        match reply.status {
            206 => assert!(
                reply
                    .header("content-type")
                    .starts_with("multipart/byteranges")
            ),
            200 => assert_eq!(reply.body, bytes),
            _ => panic!("{reply:?}"),
        }
        let goes_on = ask("bytes=0-0").expect(206);
        assert_eq!(goes_on.body, bytes.slice(..1), "the connection goes on");
    }
}

/// Everything that can be read, and what else `HEAD` says of it.
#[test]
fn head_is_get_without_its_body() {
    let plain = Stage::with(Auth::None);
    let rules = "  - {name: all, repositories: [\"**\"], require: {any: [build]}, on_unsigned_push: warn, on_unsigned_pull: warn}\n";
    let policed = Policed::with(Auth::None, rules);
    // A policy takes no signature that is none.
    for (repository, kind) in [
        (plain.repository(APP), NOTATION),
        (policed.repository(APP), SBOM),
    ] {
        let image = repository.push_image("v1");
        let signature = repository.attach(kind, &image);
        let layer = |manifest: &Content| manifest.json()["layers"][0]["digest"].clone();
        let blobs = [layer(&image), layer(&signature)];
        let blobs = blobs.iter().filter_map(Value::as_str);
        let mut paths: Vec<String> = blobs.map(|digest| format!("blobs/{digest}")).collect();
        paths.extend([
            "manifests/v1".to_owned(),
            format!("manifests/{}", image.digest()),
            format!("manifests/{}", signature.digest()),
            format!("manifests/{}", image.companion_tag("")),
            format!("referrers/{}", image.digest()),
        ]);
        for path in paths {
            let path = repository.path(&path);
            let [get, head] = ["GET", "HEAD"].map(|method| {
                repository
                    .http
                    .request(method, &path, &[ACCEPT], "")
                    .expect(200)
            });
            assert_eq!(lasting(&get.headers), lasting(&head.headers), "{path}");
            assert_eq!(get.header("content-length"), get.body.len().to_string());
            assert!(head.body.is_empty(), "{path}");
        }
    }
}

#[test]
fn a_condition_is_met_with_304_also_under_a_policy() {
    let plain = Stage::with(Auth::None);
    let rules = "  - {name: all, repositories: [\"**\"], require: {any: [build]}, on_unsigned_push: warn, on_unsigned_pull: warn}\n";
    let policed = Policed::with(Auth::None, rules);
    for (repository, is_policed) in [
        (plain.repository(APP), false),
        (policed.repository(APP), true),
    ] {
        let image = repository.push_image("v1");
        let blob = image.json()["layers"][0]["digest"]
            .as_str()
            .unwrap()
            .to_owned();
        for path in [
            "manifests/v1".to_owned(),
            format!("manifests/{}", image.digest()),
            format!("blobs/{blob}"),
        ] {
            let path = repository.path(&path);
            let ask = |method: &str, tags: &str| -> Reply {
                let headers = [("If-None-Match", tags), ACCEPT];
                repository.http.request(method, &path, &headers, "")
            };
            let first = ask("GET", "\"another\"").expect(200);
            let etag = first.header("etag").to_owned();
            assert!(!etag.is_empty(), "{first:?}");
            for method in ["GET", "HEAD"] {
                let known = ask(method, &etag).expect(304);
                // docker-registry leaves it out for manifests.
                let is_left_out = known.header("etag").is_empty();
                let may_be = !is_policed && path.contains("/manifests/");
                assert!(known.header("etag") == etag || (is_left_out && may_be));
                assert!(known.body.is_empty(), "{path}");
            }
        }
    }
}

/// Lines stay lines, bytes stay bytes.
#[test]
fn what_is_asked_and_answered_is_not_rewritten() {
    let zipped = b"\x1f\x8b\x08 not really".to_vec();
    let content = zipped.clone();
    let registry = Wire::start(move |exchange| {
        exchange.read_body();
        let headers = "Content-Encoding: gzip\r\nWarning: 299 - \"one\"\r\nWarning: 299 - \"two\"\r\n\
                       ETag: \"e\"\r\nDocker-Distribution-Api-Version: registry/2.0\r\nRateLimit-Limit: 5\r\n";
        exchange.answer(200, headers, &content);
    });
    let regseal = Regseal::at(&registry.endpoint).start();
    let repository = regseal.endpoint.repository(ALICE, APP);
    let path = repository.path("manifests/v1");
    let headers = [
        (
            "Accept",
            "application/vnd.oci.image.index.v1+json, text/a;q=0.5",
        ),
        ("Accept", "application/vnd.oci.image.manifest.v1+json"),
        ("Accept-Encoding", "gzip"),
    ];
    let reply = repository
        .http
        .request("GET", &path, &headers, "")
        .expect(200);
    assert_eq!(reply.body, zipped);
    for (name, value) in [
        ("content-encoding", "gzip"),
        ("etag", "\"e\""),
        ("ratelimit-limit", "5"),
    ] {
        assert_eq!(reply.header(name), value);
    }
    assert_eq!(reply.headers.get_all("warning").iter().count(), 2);
    let heard = registry.heard();
    let asked = heard.iter().find(|heard| heard.target() == path).unwrap();
    assert_eq!(asked.values("accept"), [headers[0].1, headers[1].1]);
    assert_eq!(asked.header("accept-encoding"), "gzip");
}

#[test]
fn the_catalog_goes_on_at_regseal() {
    let stage = Stage::with(Auth::None);
    for name in ["team/a", "team/b", "team/c"] {
        stage.repository(name).push_image("v1");
    }
    let http = &stage.repository(APP).http;
    let mut found = Vec::new();
    let mut next = Some("/v2/_catalog?n=1".to_owned());
    while let Some(path) = next {
        let page = http.get(&path).expect(200);
        let names = page.json()["repositories"].as_array().unwrap().clone();
        found.extend(names);
        let link = page.header("link");
        assert!(
            link.is_empty() || link.starts_with("</v2/_catalog?"),
            "{link}"
        );
        next = crate::support::images::next_page(link);
    }
    assert_eq!(found, ["team/a", "team/b", "team/c"]);
}

#[test]
fn a_slow_reader_does_not_fill_the_memory() {
    const SIZE: usize = 64 << 20;
    let registry = Wire::start(|exchange| {
        exchange.read_body();
        exchange.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        let bytes = vec![b'x'; 1 << 20];
        for _ in 0..SIZE >> 20 {
            exchange.say(&bytes);
        }
    });
    let regseal = Regseal::at(&registry.endpoint).start();
    let authority = &regseal.endpoint.authority;
    let before = regseal.peak_memory();
    let digest = Content::random(LAYER).digest();
    let mut readers: Vec<Connection> = (0..8).map(|_| Connection::to(authority)).collect();
    for reader in &mut readers {
        reader.send(format!(
            "GET /v2/team/app/blobs/{digest} HTTP/1.1\r\nHost: {authority}\r\n\r\n"
        ));
    }
    // The registry has been asked by all, and says what it can.
    let mut asked = 0;
    crate::support::wait_for("all readers", || {
        asked += registry.heard().len();
        (asked >= 8).then_some(())
    });
    Regseal::before(&Registry::with(Auth::None));
    let grown = regseal.peak_memory() - before;
    assert!(grown < 24 * 1024, "{grown} KiB");
    drop(readers);
}

#[test]
fn needless_words_of_a_path_name_the_fault_and_go_nowhere() {
    let registry = Wire::start(|exchange| {
        exchange.read_body();
        exchange.answer(200, "", "");
    });
    let regseal = Regseal::at(&registry.endpoint).start();
    let authority = &regseal.endpoint.authority;
    let long = "a".repeat(256);
    let digest = Content::random(LAYER).digest();
    registry.heard();
    for (target, status, code) in [
        ("/v2/a/../b/manifests/t".to_owned(), 400, "NAME_INVALID"),
        ("/v2/a//manifests/t".to_owned(), 400, "NAME_INVALID"),
        ("/v2/a%2Fb/manifests/t".to_owned(), 400, "NAME_INVALID"),
        ("/v2/%61/manifests/t".to_owned(), 400, "NAME_INVALID"),
        ("/v2/a/manifests/%74".to_owned(), 400, "NAME_INVALID"),
        (format!("/v2/{long}/manifests/t"), 400, "NAME_INVALID"),
        (
            format!("/v2/{}/blobs/uploads/u", "a/".repeat(2000)),
            400,
            "NAME_INVALID",
        ),
        (format!("/v2/a/manifests/{long}"), 400, "MANIFEST_INVALID"),
        (
            format!("/v2/a/manifests/sha256:{long}"),
            400,
            "DIGEST_INVALID",
        ),
        (format!("/v2/a/blobs/{digest}0"), 400, "DIGEST_INVALID"),
        ("/v2/a/b".to_owned(), 404, "NAME_UNKNOWN"),
    ] {
        let reply = crate::support::raw::get(authority, &target, "");
        let shown: String = target.chars().take(60).collect();
        assert_eq!(reply.status, status, "{shown}: {reply:?}");
        assert_eq!(
            reply.json()["errors"][0]["code"],
            code,
            "{shown}: {reply:?}"
        );
        assert!(registry.heard().is_empty(), "{shown}");
    }
}

#[test]
fn words_of_the_api_may_be_names_and_colons_may_be_escaped() {
    let stage = Stage::with(Auth::None);
    for name in [
        "a/manifests/b",
        "a/blobs/uploads",
        "tags/list/tags",
        "referrers",
    ] {
        let repository: Repository = stage.repository(name);
        let image = repository.push_image("t");
        assert_eq!(
            repository.get_manifest("t").expect(200).body,
            image.bytes,
            "{name}"
        );
        let escaped = image.digest().replace(':', "%3A");
        assert_eq!(
            repository.get_manifest(&escaped).expect(200).body,
            image.bytes
        );
        let layer = image.json()["layers"][0]["digest"]
            .as_str()
            .unwrap()
            .replace(':', "%3a");
        repository
            .http
            .head(&repository.path(&format!("blobs/{layer}")))
            .expect(200);
        assert_eq!(repository.tags(), ["t"], "{name}");
    }
}
