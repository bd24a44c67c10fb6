//! Redirects of reads: relayed, or followed by regseal.

use crate::support::cloud::{Cloud, Shape, To};
use crate::support::gate::{Gate, Verdict};
use crate::support::images::{ACCEPT, LAYER, random_hex};
use crate::support::policy::{Desk, Policy};
use crate::support::wire::Wire;
use crate::support::{ALICE, Auth, Content, Http, Registry, Regseal, Repository};

const APP: &str = "team/app";
const FOLLOW: &str = "upstream: {redirects: follow}\n";

fn cloud(registry: &Registry, downloads: To) -> Cloud {
    let shape = Shape {
        uploads: To::Registry,
        downloads,
    };
    Cloud::before(registry, shape)
}

#[test]
fn redirects_are_relayed_unless_configured() {
    let registry = Registry::with(Auth::Basic);
    let cloud = cloud(&registry, To::Host);
    let regseal = Regseal::at(&cloud.registry).start();
    let repository = regseal.endpoint.repository(ALICE, APP);
    let blob = Content::new(LAYER, random_hex(100));
    registry.endpoint.repository(ALICE, APP).push_blob(&blob);
    let reply = repository.get_blob(&blob.digest()).expect(307);
    let storage = format!("http://{}/", cloud.storage.authority);
    assert!(reply.header("location").starts_with(&storage), "{reply:?}");
    assert!(cloud.seen_by_storage().is_empty());
}

#[test]
fn a_redirect_is_followed_without_the_credential() {
    let registry = Registry::with(Auth::Basic);
    for downloads in [To::Host, To::Path] {
        let cloud = cloud(&registry, downloads);
        let regseal = Regseal::at(&cloud.registry).config(FOLLOW).start();
        let repository = regseal.endpoint.repository(ALICE, APP);
        let behind = registry.endpoint.repository(ALICE, APP);
        let image = behind.push_image("v1");
        let blob = Content::new(LAYER, random_hex(500));
        behind.push_blob(&blob);
        cloud.seen_by_storage();

        let path = repository.path(&format!("blobs/{}", blob.digest()));
        let headers = [
            ("Range", "bytes=2-5"),
            ("Cookie", "session=alice"),
            ("X-Api-Key", "k"),
        ];
        let whole = repository.http.get(&path).expect(200);
        assert_eq!(whole.body, blob.bytes, "{downloads:?}");
        assert_eq!(whole.header("docker-content-digest"), blob.digest());
        let head = repository.http.head(&path).expect(200);
        assert_eq!(head.header("content-length"), blob.bytes.len().to_string());
        let part = repository
            .http
            .request("GET", &path, &headers[..1], "")
            .expect(206);
        assert_eq!(part.body, blob.bytes.slice(2..6), "{downloads:?}");
        assert!(part.header("content-range").starts_with("bytes 2-5/"));
        if downloads == To::Host {
            let part = repository
                .http
                .request("GET", &path, &headers, "")
                .expect(206);
            assert_eq!(part.body, blob.bytes.slice(2..6));
        }
        let none = [("Range", "bytes=9999-")];
        repository.http.request("GET", &path, &none, "").expect(416);
        let manifest = repository.get_manifest("v1").expect(200);
        assert_eq!(manifest.body, image.bytes, "{downloads:?}");
        assert_eq!(manifest.header("docker-content-digest"), image.digest());

        let asked = cloud.seen_by_storage();
        let methods: Vec<&str> = asked.iter().map(|asked| asked.method.as_str()).collect();
        if downloads == To::Host {
            assert_eq!(methods, ["GET", "HEAD", "GET", "GET", "GET"]);
            for asked in &asked {
                for name in ["authorization", "cookie", "x-api-key", "x-forwarded-for"] {
                    assert_eq!(asked.header(name), "", "{asked:?}");
                }
            }
            assert_eq!(asked.last().unwrap().header("accept"), ACCEPT.1);
        } else {
            assert!(methods.is_empty());
        }
        // The registry decides for whom.
        let eve = Repository::new(Http::new(&regseal.endpoint.authority), APP);
        eve.get_blob(&blob.digest()).expect(401);
        assert!(cloud.seen_by_storage().is_empty());
    }
}

/// What is followed is judged as what the registry says itself, and so is what is redirected to the client.
#[test]
fn a_policy_judges_what_is_behind_a_redirect() {
    let registry = Registry::with(Auth::None);
    let rules = "  - {name: all, repositories: [\"**\"], require: {any: [build]}, on_unsigned_push: reject, on_unsigned_pull: deny}\n";
    let behind = registry.endpoint.repository(ALICE, APP);
    let image = behind.push_image("v1");
    let layer = image.json()["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    for redirects in ["follow", "relay"] {
        let cloud = cloud(&registry, To::Host);
        let desk = Desk::of(ALICE, Auth::None);
        let policy = Policy::of(&desk, "", rules);
        let regseal = policy
            .at(&cloud.registry)
            .environment("REGSEAL__UPSTREAM__REDIRECTS", redirects)
            .start();
        let repository = regseal.endpoint.repository(ALICE, APP);
        for path in [
            "manifests/v1".to_owned(),
            format!("manifests/{}", image.digest()),
            format!("blobs/{}", image.digest()),
        ] {
            for headers in [&[][..], &[("Range", "bytes=0-9")][..]] {
                let headers: Vec<_> = headers.iter().copied().chain([ACCEPT]).collect();
                let path = repository.path(&path);
                let reply = repository.http.request("GET", &path, &headers, "");
                // docker-registry has manifests under no blob path.
                let refused = if path.contains("/blobs/") { 404 } else { 403 };
                assert_eq!(reply.status, refused, "{redirects}: {reply:?}");
            }
        }
        let reply = repository.get_blob(&layer);
        let expected = if redirects == "follow" { 200 } else { 307 };
        assert_eq!(reply.status, expected, "{reply:?}");
    }
}

#[test]
fn regseal_follows_three_times_and_nowhere_it_could_not_be() {
    let storage = Wire::start(|exchange| {
        let target = exchange.heard.target().to_owned();
        exchange.read_body();
        let next = |rest: &str| format!("Location: {rest}\r\n");
        match target
            .strip_prefix("/hops/")
            .and_then(|left| left.parse::<u32>().ok())
        {
            Some(0) => exchange.answer(
                200,
                "WWW-Authenticate: Basic\r\nSet-Cookie: a=b\r\n",
                "here",
            ),
            Some(left) => exchange.answer(302, &next(&format!("{}", left - 1)), ""),
            None if target == "/403" => {
                exchange.answer(403, "WWW-Authenticate: Basic\r\n", "<xml/>")
            }
            None if target == "/404" => exchange.answer(404, "", "<xml/>"),
            None => exchange.answer(302, &next("http://169.254.169.254/latest"), ""),
        }
    });
    let registry = Registry::with(Auth::None);
    let gate = Gate::before(&registry);
    let regseal = Regseal::at(&gate.endpoint).config(FOLLOW).start();
    let http = Http::new(&regseal.endpoint.authority);
    let url = storage.url();
    let path = format!(
        "/v2/team/app/blobs/{}",
        Content::new(LAYER, "here").digest()
    );
    for (location, status, why) in [
        (format!("{url}/hops/0"), 200, "once"),
        (format!("{url}/hops/2"), 200, "three times"),
        (format!("{url}/hops/3"), 502, "four times"),
        (
            format!("{url}/403"),
            502,
            "the storage refuses regseal, not the client",
        ),
        (
            format!("{url}/404"),
            502,
            "the storage does not say that there is no blob",
        ),
        (
            format!("{url}/link"),
            502,
            "an address of the link, from another host",
        ),
        (
            "http://169.254.169.254/latest".to_owned(),
            502,
            "an address of the link",
        ),
        ("ftp://storage.example/x".to_owned(), 502, "no HTTP"),
    ] {
        gate.rule(move |asked| {
            if asked.path.contains("/blobs/") {
                let location = vec![("Location", location.clone())];
                Verdict::Answer(307, location, "moved".to_owned())
            } else {
                Verdict::Pass
            }
        });
        let reply = http.get(&path);
        assert_eq!(reply.status, status, "{why}: {reply:?}");
        for name in ["www-authenticate", "set-cookie", "location"] {
            assert_eq!(reply.header(name), "", "{why}");
        }
    }
}

/// Where a rule is about reads, regseal follows by itself, and goes nowhere that the registry could not be.
#[test]
fn what_regseal_reads_for_itself_is_followed_as_far_and_no_further() {
    let registry = Registry::with(Auth::None);
    let gate = Gate::before(&registry);
    let storage = Wire::start(|exchange| {
        let challenge =
            "WWW-Authenticate: Bearer realm=\"http://evil.example/token\"\r\nSet-Cookie: a=b\r\n";
        exchange.answer(401, challenge, "");
    });
    let desk = Desk::of(ALICE, Auth::None);
    let rules = "  - {name: app, repositories: [\"team/**\"], require: build, on_unsigned_push: warn, on_unsigned_pull: warn}\n";
    let policy = Policy::of(&desk, "", rules);
    let regseal = policy.at(&gate.endpoint).start();
    registry.endpoint.repository(ALICE, APP).push_image("v1");
    let refusing = format!("http://{}/manifest", storage.endpoint.authority);
    for location in [
        "http://169.254.169.254/latest/meta-data".to_owned(),
        refusing,
    ] {
        let said = location.clone();
        gate.rule(move |asked| {
            if asked.path.ends_with("/manifests/v1") {
                Verdict::Answer(307, vec![("Location", said.clone())], String::new())
            } else {
                Verdict::Pass
            }
        });
        let repository = regseal.endpoint.repository(ALICE, APP);
        let reply = repository.get_manifest("v1").expect(502);
        for header in ["www-authenticate", "set-cookie"] {
            assert_eq!(reply.header(header), "", "{location}: {reply:?}");
        }
    }
}
