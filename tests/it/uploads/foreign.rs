//! Sessions that the registry behind puts elsewhere: on another host, or on a path of its own.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::json;

use super::{OCTETS, ending, open, patch};
use crate::support::clients::{crane, oras, skopeo};
use crate::support::cloud::{Cloud, Shape, To};
use crate::support::gate::{Asked, Gate, Verdict};
use crate::support::images::{LAYER, NOTATION, artifact_of, random_hex};
use crate::support::wire::Wire;
use crate::support::{ALICE, Auth, Content, Http, Registry, Regseal, Repository};

const APP: &str = "team/app";

struct Stage {
    regseal: Regseal,
    cloud: Cloud,
    registry: Registry,
}

impl Stage {
    fn with(uploads: To) -> Self {
        let registry = Registry::with(Auth::Basic);
        let shape = Shape {
            uploads,
            downloads: To::Registry,
        };
        let cloud = Cloud::before(&registry, shape);
        let regseal = Regseal::at(&cloud.registry).start();
        Self {
            regseal,
            cloud,
            registry,
        }
    }

    fn repository(&self) -> Repository {
        self.regseal.endpoint.repository(ALICE, APP)
    }
}

/// A path of regseal's own, with nothing in it of where it leads.
#[track_caller]
fn assert_own(location: &str, stage: &Stage) {
    let session = location.strip_prefix("/v2/team/app/blobs/uploads/rs1.");
    let session = session.unwrap_or_else(|| panic!("{location}"));
    let shown = Base64UrlUnpadded::decode_vec(session).unwrap();
    let storage = &stage.cloud.storage.authority;
    assert!(!String::from_utf8_lossy(&shown).contains(storage.as_str()));
}

#[test]
fn a_session_elsewhere_is_one_of_regseal() {
    for uploads in [To::Host, To::Path] {
        let stage = Stage::with(uploads);
        let repository = stage.repository();
        let blob = Content::new(LAYER, random_hex(5000));
        let (first, second) = blob.bytes.split_at(3000);
        let location = open(&repository);
        assert_own(&location, &stage);

        let sent = patch(&repository, &location, &[], first.to_vec().into()).expect(202);
        assert_eq!(sent.header("range"), "0-2999", "{uploads:?}");
        let location = sent.header("location");
        assert_own(location, &stage);
        let state = repository.http.get(location).expect(204);
        assert_eq!(state.header("range"), "0-2999", "{uploads:?}");
        assert_own(state.header("location"), &stage);
        let sent = patch(&repository, location, &[], second.to_vec().into()).expect(202);
        let end = ending(sent.header("location"), &blob.digest());
        let done = repository.http.request("PUT", &end, &[], "").expect(201);
        let path = repository.path(&format!("blobs/{}", blob.digest()));
        assert_eq!(done.header("location"), path, "{uploads:?}");
        repository.http.head(&path).expect(200);
        assert_eq!(
            repository.get_blob(&blob.digest()).expect(200).body,
            blob.bytes
        );

        let cancelled = open(&repository);
        repository.http.delete(&cancelled).expect(204);
        repository
            .http
            .get(&cancelled)
            .refused(404, "BLOB_UPLOAD_UNKNOWN");
        let asked = stage.cloud.seen_by_storage();
        assert_eq!(asked.is_empty(), uploads == To::Path, "{asked:?}");
    }
}

#[test]
fn a_storage_host_gets_bytes_and_no_credential() {
    let stage = Stage::with(To::Host);
    let repository = stage.repository();
    let location = open(&repository);
    let headers = [
        ("Cookie", "session=alice"),
        ("X-Api-Key", "k"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("User-Agent", "a client"),
        ("Content-Range", "0-2"),
    ];
    patch(&repository, &location, &headers, "abc".into()).expect(202);
    let asked = stage.cloud.seen_by_storage();
    let [chunk] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    let mut names: Vec<&str> = chunk.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let expected = [
        "content-length",
        "content-range",
        "content-type",
        "host",
        "user-agent",
    ];
    names.retain(|name| !name.starts_with("trace"));
    assert_eq!(names, expected);
    assert_eq!(chunk.header("host"), stage.cloud.storage.authority);
}

/// What storage takes from whoever has a session is no decision of the registry.
#[test]
fn what_another_host_takes_gives_no_right() {
    let stage = Stage::with(To::Host);
    let image = stage.repository().push_image("v1");
    let location = open(&stage.repository());
    let stranger = Repository::new(stage.regseal.endpoint.anonymous(), APP);
    let blob = Content::new(LAYER, random_hex(100));
    let end = ending(&location, &blob.digest());
    let taken = stranger
        .http
        .request("PUT", &end, &[OCTETS], blob.bytes.clone());
    assert!(taken.status < 500, "{taken:?}");
    let config = Content::new(NOTATION, "{}");
    let signature = artifact_of(NOTATION, Some(&image), &config, &blob);
    stranger
        .put_manifest(&signature.digest(), &signature)
        .expect(401);
    assert_eq!(stage.repository().referrers(&image), [json!(null); 0]);
}

/// With programs that refuse to leave the host, as oras does, and with a signature that is captured from the upload.
#[test]
fn clients_push_where_uploads_go_elsewhere() {
    for uploads in [To::Host, To::Path] {
        let stage = Stage::with(uploads);
        let endpoint = &stage.regseal.endpoint;
        let oras = oras(endpoint, ALICE);
        oras.file("hello.txt", random_hex(16));
        let by_oras = oras.reference("team/oras:v1");
        oras.run(["push", &by_oras, "hello.txt:text/plain"])
            .success();

        let crane = crane(endpoint, ALICE);
        crane.file("layer.tar", crate::support::images::tar("a", b"b"));
        let by_crane = crane.reference("team/crane:v1");
        crane
            .run([
                "append",
                "--oci-empty-base",
                "-f",
                "layer.tar",
                "-t",
                &by_crane,
            ])
            .success();
        let skopeo = skopeo(endpoint, ALICE);
        let by_skopeo = skopeo.reference("team/skopeo:v1");
        skopeo
            .run([
                "copy",
                &format!("docker://{by_crane}"),
                &format!("docker://{by_skopeo}"),
            ])
            .success();

        let repository = stage.repository();
        let image = repository.push_image("v1");
        let signature = repository.attach(NOTATION, &image);
        let listed = repository.referrers(&image);
        assert_eq!(listed, [signature.as_referrer()], "{uploads:?}");
        let behind = stage.registry.endpoint.repository(ALICE, "team/oras");
        behind.get_manifest("v1").expect(200);
    }
}

#[test]
fn a_session_elsewhere_belongs_to_no_replica() {
    let registry = Registry::with(Auth::Basic);
    let shape = Shape {
        uploads: To::Host,
        downloads: To::Registry,
    };
    let cloud = Cloud::before(&registry, shape);
    let keys = tempfile::TempDir::new().unwrap();
    let key = |name: &str, byte: u8| {
        use base64ct::Base64;
        let path = keys.path().join(name);
        std::fs::write(&path, Base64::encode_string(&[byte; 32])).unwrap();
        format!("keys: {{sealing: [{path:?}]}}\n")
    };
    let (ours, theirs) = (key("ours", 1), key("theirs", 2));
    let [mut first, second, stranger] =
        [&ours, &ours, &theirs].map(|keys| Regseal::at(&cloud.registry).config(keys).start());
    let [at_first, at_second, at_stranger] =
        [&first, &second, &stranger].map(|regseal| regseal.endpoint.repository(ALICE, APP));

    let location = open(&at_first);
    let sent = patch(&at_second, &location, &[], "abc".into()).expect(202);
    let location = sent.header("location");
    first.terminate();
    first.start_again();
    let sent = patch(&at_first, location, &[], "def".into()).expect(202);
    let location = sent.header("location");
    cloud.seen_by_storage();
    patch(&at_stranger, location, &[], "xyz".into()).refused(404, "BLOB_UPLOAD_UNKNOWN");
    assert!(cloud.seen_by_storage().is_empty(), "with another key");
    let blob = Content::new(LAYER, "abcdef");
    let end = ending(location, &blob.digest());
    at_second.http.request("PUT", &end, &[], "").expect(201);
    at_first.get_blob(&blob.digest()).expect(200);
}

/// Nobody but regseal makes such a session, and none is good for another repository.
#[test]
fn a_session_cannot_be_forged_or_moved() {
    let stage = Stage::with(To::Host);
    let repository = stage.repository();
    let other = stage.regseal.endpoint.repository(ALICE, "team/other");
    let location = open(&repository);
    let (_, sealed) = location.rsplit_once("rs1.").unwrap();
    let changed = |at: usize| {
        let mut changed = sealed.as_bytes().to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(changed).unwrap()
    };
    let url = format!(
        "http://{}/artifacts-uploads/x",
        stage.cloud.storage.authority
    );
    let plain = Base64UrlUnpadded::encode_string(url.as_bytes());
    stage.cloud.seen_by_storage();
    stage.cloud.seen_by_registry();
    for (at, sealed, why) in [
        (&other, sealed.to_owned(), "of another repository"),
        (&repository, changed(0), "another version"),
        (&repository, changed(30), "another nonce or text"),
        (&repository, changed(sealed.len() - 2), "another tag"),
        (&repository, sealed[..40].to_owned(), "cut off"),
        (&repository, String::new(), "nothing"),
        (&repository, plain, "not sealed"),
        (&repository, format!("{sealed}AAAA"), "with more behind it"),
    ] {
        let path = at.path(&format!("blobs/uploads/rs1.{sealed}"));
        for method in ["GET", "PATCH", "PUT", "DELETE"] {
            let reply = at.http.request(method, &path, &[], "");
            reply.refused(404, "BLOB_UPLOAD_UNKNOWN");
        }
        let (storage, registry) = (
            stage.cloud.seen_by_storage(),
            stage.cloud.seen_by_registry(),
        );
        assert!(storage.is_empty() && registry.is_empty(), "{why}");
    }
    repository.http.get(&location).expect(204);
}

/// Where the registry sends is no way into the network of regseal, nor around the handlers of its own paths.
#[test]
fn regseal_goes_nowhere_that_the_registry_could_not_be() {
    let registry = Registry::with(Auth::None);
    let gate = Gate::before(&registry);
    let regseal = Regseal::at(&gate.endpoint).start();
    let http = Http::new(&regseal.endpoint.authority);
    for (location, why) in [
        (
            "http://169.254.169.254/latest/meta-data/",
            "metadata of a cloud",
        ),
        ("http://[fe80::1]/u", "an address of the link"),
        ("http://2130706433/u", "an address as a number"),
        ("file:///etc/passwd", "no HTTP"),
        ("http://user:password@registry/u", "with a password"),
        ("http://", "no host"),
        ("/v2/team/app/manifests/latest", "a manifest"),
        (
            "/v2/team/app/../app/manifests/latest",
            "a manifest in disguise",
        ),
        (
            "/v2/team/app/blobs/uploads/a/../../../manifests/latest",
            "another",
        ),
        ("/v2//team/app/blobs/uploads/u", "no canonical path"),
        ("/v2/auth", "a token service"),
        (
            "/repository/v2/team/app/manifests/latest",
            "another registry API",
        ),
    ] {
        let said = location.to_owned();
        gate.rule(move |asked| {
            if asked.method == "POST" {
                Verdict::Answer(202, vec![("Location", said.clone())], String::new())
            } else {
                Verdict::Pass
            }
        });
        let reply = http.request("POST", "/v2/team/app/blobs/uploads/", &[], "");
        assert_eq!(reply.header("location"), "", "{why}: {reply:?}");
        reply.refused(502, "UNSUPPORTED");
    }
}

/// A registry that names a host may name another one there, and itself again.
#[test]
fn a_chain_of_hosts_is_followed_step_by_step() {
    let last = Wire::start(|exchange| {
        exchange.read_body();
        exchange.answer(200, "", "stored");
    });
    let next = last.url();
    let middle = Wire::start(move |exchange| {
        exchange.read_body();
        let location = format!("Location: {next}/last?sig=2\r\nRange: bytes=0-2\r\n");
        exchange.answer(201, &location, "");
    });
    let first = format!("{}/middle?sig=1", middle.url());
    let registry = Registry::with(Auth::None);
    let gate = Gate::before(&registry);
    gate.rule(move |asked: &Asked| match asked.method.as_str() {
        "POST" => Verdict::Answer(202, vec![("Location", first.clone())], String::new()),
        _ => Verdict::Pass,
    });
    let regseal = Regseal::at(&gate.endpoint).start();
    let repository = regseal.endpoint.repository(ALICE, APP);
    let location = open(&repository);
    let sent = patch(&repository, &location, &[], "abc".into()).expect(202);
    assert_eq!(sent.header("range"), "0-2");
    let blob = Content::new(LAYER, "abc");
    let end = ending(sent.header("location"), &blob.digest());
    let done = repository.http.request("PUT", &end, &[], "").expect(201);
    assert_eq!(
        done.header("location"),
        repository.path(&format!("blobs/{}", blob.digest()))
    );
    let [chunk] = &middle.heard()[..] else {
        panic!()
    };
    assert_eq!(
        (chunk.line(), chunk.body.as_slice()),
        (("PATCH", "/middle?sig=1"), &b"abc"[..])
    );
    let [end] = &last.heard()[..] else { panic!() };
    let target = format!("/last?sig=2&digest={}", blob.digest());
    assert_eq!(end.line(), ("PUT", target.as_str()));
}

#[test]
fn locations_are_relayed_where_that_is_configured() {
    let registry = Registry::with(Auth::None);
    for (uploads, begins) in [(To::Host, None), (To::Path, Some("/artifacts-uploads/"))] {
        let shape = Shape {
            uploads,
            downloads: To::Registry,
        };
        let cloud = Cloud::before(&registry, shape);
        let config = "upstream: {foreign_uploads: relay}\n";
        let regseal = Regseal::at(&cloud.registry).config(config).start();
        let repository = regseal.endpoint.repository(ALICE, APP);
        let location = open(&repository);
        let storage = format!("http://{}/artifacts-uploads/", cloud.storage.authority);
        assert!(
            location.starts_with(begins.unwrap_or(&storage)),
            "{location}"
        );
    }
}
