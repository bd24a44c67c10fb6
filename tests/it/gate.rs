//! What shows only where the registry behind, or a proxy before it, has rules of its own: other credentials, hidden
//! repositories, limits, refusals.

use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::companion_tags::cosign_signature;
use crate::support::gate::{Asked, Gated, Verdict};
use crate::support::images::{
    self, ACCEPT, INDEX, MANIFEST, NOTATION, SBOM, digests, index_of, random_hex,
};
use crate::support::raw::{self, Connection};
use crate::support::{ALICE, Auth, BOB, Content, EVE, Http, Registry, Reply, Repository, wait_for};

const APP: &str = "team/app";

/// A signed image, in the forms regseal keeps.
struct Signed {
    image: Content,
    signature: Content,
    versions: [Content; 2],
}

impl Signed {
    fn in_repository(repository: &Repository) -> Self {
        let image = repository.push_image("v1");
        let signature = repository.attach(NOTATION, &image);
        let versions = ["first", "second"].map(|_| {
            let version = cosign_signature(repository, &[]);
            repository
                .put_manifest(&image.companion_tag(".sig"), &version)
                .expect(201);
            version
        });
        Self {
            image,
            signature,
            versions,
        }
    }

    /// What only regseal holds, below the repository, and the same of an image that does not exist.
    fn paths(&self, repository: &Repository) -> Vec<[String; 2]> {
        let layer = self.signature.json()["layers"][0]["digest"].clone();
        let union = repository.get_manifest(&self.image.companion_tag(".sig"));
        let union = images::sha256(&union.expect(200).body);
        let other = Content::random(MANIFEST);
        let manifest =
            |digest: &str| [digest, &other.digest()].map(|digest| format!("manifests/{digest}"));
        let tag = |suffix| {
            [&self.image, &other].map(|of| format!("manifests/{}", of.companion_tag(suffix)))
        };
        vec![
            [&self.image, &other].map(|of| format!("referrers/{}", of.digest())),
            tag(""),
            tag(".sig"),
            manifest(&self.signature.digest()),
            manifest(&self.versions[0].digest()),
            manifest(&union),
            [layer.as_str().unwrap(), &other.digest()].map(|digest| format!("blobs/{digest}")),
        ]
    }
}

#[track_caller]
fn assert_refused_or_empty(reply: &Reply, why: &str) {
    match reply.status {
        401 | 403 => {}
        200 if reply.request.contains("/referrers/") => {
            let is_empty = reply.body.is_empty() || reply.json()["manifests"] == json!([]);
            assert!(is_empty, "{why}: {reply:?}");
        }
        _ => panic!("{why}: {reply:?}"),
    }
}

/// A decision belongs to all that the registry behind may have looked at, not to the `Authorization` header alone.
#[test]
fn what_another_credential_opens_stays_closed_to_others() {
    type Credential = (&'static str, fn(Http) -> Http, fn(&Asked) -> bool);
    let credentials: [Credential; 3] = [
        (
            "a cookie",
            |http| http.header("Cookie", "session=alice"),
            |asked| asked.header("Cookie") == "session=alice",
        ),
        (
            "a key",
            |http| http.header("X-Api-Key", "k"),
            |asked| asked.header("X-Api-Key") == "k",
        ),
        (
            "a query",
            |http| http.query("token=t"),
            |asked| {
                let query = asked
                    .path
                    .split_once('?')
                    .map_or("", |(_, query)| query)
                    .split('&');
                query.into_iter().any(|pair| pair == "token=t")
            },
        ),
    ];
    let stage = Gated::before(Registry::with(Auth::None));
    for (number, (credential, give, is_given)) in credentials.into_iter().enumerate() {
        stage.gate.open();
        let name = format!("{APP}/{number}");
        let with_password = stage.repository(&name);
        let signed = Signed::in_repository(&with_password);
        let paths = signed.paths(&with_password);
        let [own, forged] =
            ["own", "forged"].map(|_| with_password.artifact(NOTATION, Some(&signed.image)));
        let forged_version = cosign_signature(&with_password, &[]);
        let tag = signed.image.companion_tag(".sig");
        let before = with_password.get_manifest(&tag).expect(200);
        stage.gate.rule(move |asked| {
            if is_given(asked) {
                Verdict::Pass
            } else if asked.user().is_some() {
                Verdict::refuse(403, "DENIED", asked)
            } else {
                Verdict::refuse(401, "UNAUTHORIZED", asked)
            }
        });

        let http = || Http::new(&stage.regseal.endpoint.authority);
        let alice = Repository::new(give(http()), &name);
        alice.get_manifest("v1").expect(200);
        alice.push_blob(&Content::random("application/octet-stream"));
        let _ = alice.put_manifest(&own.digest(), &own);
        for [path, _] in &paths {
            let _ = alice.http.get(&alice.path(path));
        }
        for (caller, stranger) in [
            ("anonymous", http()),
            ("eve", http().basic(EVE.name, EVE.password)),
        ] {
            let why = format!("{caller} after {credential}");
            for [path, _] in &paths {
                for method in ["GET", "HEAD"] {
                    let path = alice.path(path);
                    let reply = stranger.request(method, &path, &[ACCEPT], "");
                    assert_refused_or_empty(&reply, &why);
                }
            }
            let stranger = Repository::new(stranger, &name);
            for (reference, manifest) in [(&forged.digest(), &forged), (&tag, &forged_version)] {
                let pushed = stranger.put_manifest(reference, manifest);
                assert!([401, 403].contains(&pushed.status), "{why}: {pushed:?}");
            }
        }
        stage.gate.open();
        let listed = digests(&stage.repository(&name).referrers(&signed.image));
        assert!(listed.contains(&signed.signature.digest()), "{credential}");
        assert!(!listed.contains(&forged.digest()), "{credential}");
        let after = with_password.get_manifest(&tag).expect(200);
        assert_eq!(after.body, before.body, "{credential}");
    }
}

/// Where a registry answers 404 for what a caller may not see, its answers must not tell what regseal holds.
#[test]
fn a_hidden_repository_answers_as_one_that_is_not_there() {
    let stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository(APP);
    let signed = Signed::in_repository(&repository);
    let paths = signed.paths(&repository);
    stage.gate.rule(|asked| match asked.user() {
        Some(name) if name == ALICE.name => Verdict::Pass,
        _ => Verdict::refuse(404, "NAME_UNKNOWN", asked),
    });
    let mut told = Vec::new();
    for user in [None, Some(BOB)] {
        let http = user.map_or_else(
            || stage.regseal.endpoint.anonymous(),
            |user| stage.regseal.endpoint.http(user),
        );
        for [held, absent] in &paths {
            for method in ["GET", "HEAD"] {
                let [held, absent] = [held, absent].map(|path| {
                    let path = repository.path(path);
                    without_digests(&http.request(method, &path, &[ACCEPT], ""))
                });
                if held != absent {
                    told.push(format!("{user:?}\n{held}\n-- but\n{absent}"));
                }
            }
        }
    }
    assert!(told.is_empty(), "{}", told.join("\n\n"));
}

/// All of an answer but the time and the digests in it, which may be those that were asked for.
fn without_digests(reply: &Reply) -> String {
    let mut reply = reply.clone();
    reply.headers.remove("date");
    let mut names: Vec<_> = reply.headers.drain().collect();
    names.sort_by_key(|(name, _)| name.as_ref().map(ToString::to_string));
    reply.headers = names
        .into_iter()
        .filter_map(|(name, value)| Some((name?, value)))
        .collect::<HeaderMap>();
    let text = format!("{reply:?}");
    let parts = text.split([':', '-']).map(|part| {
        let digits = part.chars().take_while(char::is_ascii_hexdigit).count();
        if digits == 64 { &part[64..] } else { part }
    });
    parts.collect::<Vec<_>>().join(":")
}

/// A limit that one caller has reached is neither an absence nor the answer for others.
#[test]
fn what_one_caller_was_not_shown_is_marked_and_not_remembered() {
    let stage = Gated::before(Registry::with(Auth::None));
    for (number, (status, limited)) in [
        (429, "the tag"),
        (503, "the tag"),
        (429, "the entry"),
        (503, "the entry"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{APP}/{number}");
        let behind = stage.behind(&name);
        let image = behind.push_image("v1");
        let old = behind.attach(NOTATION, &image);
        behind
            .put_manifest(&image.companion_tag(""), &index_of([&old]))
            .expect(201);
        let reference = if limited == "the tag" {
            image.companion_tag("")
        } else {
            old.digest()
        };
        let path = behind.path(&format!("manifests/{reference}"));
        stage.gate.rule(move |asked| {
            if asked.path == path && asked.user().as_deref() == Some(EVE.name) {
                Verdict::refuse(status, "TOOMANYREQUESTS", asked)
            } else {
                Verdict::Pass
            }
        });

        let why = format!("{status} for {limited}");
        let [eve, bob] = [EVE, BOB].map(|user| stage.regseal.endpoint.repository(user, &name));
        let partial = eve.get_referrers(&image.digest(), "").expect(200);
        assert_ne!(partial.header("warning"), "", "{why}: {partial:?}");
        let whole = bob.get_referrers(&image.digest(), "").expect(200);
        assert_eq!(
            whole.json()["manifests"],
            json!([old.as_referrer()]),
            "{why}"
        );
        assert_eq!(whole.header("warning"), "", "{why}");
    }
}

#[test]
fn a_repository_without_the_api_says_nothing_of_others() {
    let stage = Gated::before(Registry::with_referrers_api());
    stage.gate.rule(|asked| {
        if asked.path.starts_with("/v2/other/x/referrers/") {
            Verdict::refuse(404, "NOT_FOUND", asked)
        } else {
            Verdict::Pass
        }
    });
    let other = stage.behind("other/x").push_image("v1");
    let behind = stage.behind("nat/c");
    let image = behind.push_image("v1");
    let native = behind.attach(NOTATION, &image);
    assert_eq!(
        digests(&behind.referrers(&image)),
        [native.digest()],
        "the registry behind has the API"
    );
    assert_eq!(
        stage.repository("other/x").referrers(&other),
        Vec::<Value>::new()
    );
    for user in [ALICE, BOB] {
        let repository = stage.regseal.endpoint.repository(user, "nat/c");
        assert_eq!(
            repository.referrers(&image),
            [native.as_referrer()],
            "{user:?}"
        );
    }
}

/// Some registries have immutable tags, and say so when a tag is deleted.
#[test]
fn a_refused_deletion_deletes_nothing() {
    let stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository(APP);
    let signed = Signed::in_repository(&repository);
    let tag = signed.image.companion_tag(".sig");
    let before = repository.get_manifest(&tag).expect(200);
    for status in [403, 409, 412, 429, 503] {
        stage.gate.rule(move |asked| {
            if asked.method == Method::DELETE && asked.path.contains("/manifests/") {
                Verdict::refuse(status, "IMMUTABLE", asked)
            } else {
                Verdict::Pass
            }
        });
        for reference in [&tag, &signed.signature.digest()] {
            let reply = repository
                .delete_manifest(reference)
                .refused(status, "IMMUTABLE");
            assert_eq!(reply.json()["errors"][0]["message"], "by the gate");
        }
        let after = repository.get_manifest(&tag).expect(200);
        assert_eq!(after.body, before.body, "{status}");
        repository
            .get_manifest(&signed.signature.digest())
            .expect(200);
        assert_eq!(
            repository.referrers(&signed.image),
            [signed.signature.as_referrer()],
            "{status}"
        );
    }
}

#[test]
fn an_abandoned_push_of_a_signature_is_done_or_not_done() {
    assert_all_or_nothing(NOTATION);
}

#[test]
fn an_abandoned_push_of_another_artifact_is_done_or_not_done() {
    assert_all_or_nothing(SBOM);
}

/// A client that goes away leaves a push done or not done, and the same after the index was lost.
#[track_caller]
fn assert_all_or_nothing(kind: &str) {
    let mut stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository(APP);
    let image = repository.push_image("v1");
    let pushed: Vec<Content> = (0..40)
        .map(|_| stage.behind(APP).artifact(kind, Some(&image)))
        .collect();
    stage
        .gate
        .rule(|_| Verdict::PassAfter(Duration::from_millis(3)));
    let authority = stage.regseal.endpoint.authority.clone();
    let mut state: u64 = 20_260_102;
    for manifest in &pushed {
        let path = repository.path(&format!("manifests/{}", manifest.digest()));
        let mut connection = Connection::to(&authority);
        connection.send(format!(
            "PUT {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {MANIFEST}\r\nContent-Length: {}\r\n\r\n",
            manifest.bytes.len()
        ));
        connection.send(&manifest.bytes);
        // A linear congruential generator: the same delays in each run.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((state >> 33) % 40_000));
    }
    stage.gate.open();

    let snapshot = || {
        let present = pushed.iter().map(Content::digest);
        let mut present: Vec<String> = present
            .filter(|digest| repository.get_manifest(digest).status == 200)
            .collect();
        present.sort();
        (digests(&repository.referrers(&image)), present)
    };
    let mut last = None;
    let (listed, present) = wait_for("the end of what was begun", || {
        stage.gate.seen();
        let now = snapshot();
        let is_quiet = last.as_ref() == Some(&now);
        last = Some(now.clone());
        is_quiet.then_some(now)
    });
    assert!(!present.is_empty(), "{kind}");
    assert_eq!(listed, present, "{kind}");

    stage.regseal.terminate();
    stage.regseal.lose_index();
    stage.regseal.start_again();
    assert_eq!(snapshot(), (listed, present), "{kind}, after a restart");
}

/// `Connection` names headers of this hop; a client must not be able to make a proxy drop those of the request.
#[test]
fn a_client_cannot_strip_the_headers_of_its_request() {
    let stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository(APP);
    let signed = Signed::in_repository(&repository);
    let sbom = repository.artifact(SBOM, Some(&signed.image));
    let authority = &stage.regseal.endpoint.authority;
    for (reference, manifest) in [("v2", &signed.image), (sbom.digest().as_str(), &sbom)] {
        stage.gate.seen();
        let path = repository.path(&format!("manifests/{reference}"));
        let mut connection = Connection::to(authority);
        connection.send(format!(
            "PUT {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {MANIFEST}\r\nAuthorization: Basic YWxpY2U6eA==\r\n\
             X-Hop: 1\r\nConnection: content-type, authorization, x-hop\r\nContent-Length: {}\r\n\r\n",
            manifest.bytes.len()
        ));
        connection.send(&manifest.bytes);
        connection.receive().expect(201);
        let seen = stage.gate.seen();
        let push = seen.iter().find(|asked| asked.method == Method::PUT);
        let push = push.expect("the manifest is forwarded");
        assert_eq!(push.header("content-type"), MANIFEST, "{push:?}");
        assert_eq!(push.user().as_deref(), Some(ALICE.name), "{push:?}");
        assert_eq!(push.header("x-hop"), "", "{push:?}");
    }
}

/// Some servers drop what follows a semicolon in each segment, and read these as `/v2/…`.
#[test]
fn a_disguised_api_path_is_not_forwarded() {
    let stage = Gated::before(Registry::with(Auth::None));
    let authority = &stage.regseal.endpoint.authority;
    for path in [
        "/v2;x/a/manifests/t",
        "/foo/v2;x/a",
        "/foo/v2;x/a/manifests/t",
        "/foo/..;/v2;x/a/manifests/t",
        "/V2;x/a/manifests/t",
    ] {
        stage.gate.seen();
        let reply = raw::get(authority, path, "");
        let seen = stage.gate.seen();
        assert!(
            [400, 404].contains(&reply.status) && seen.is_empty(),
            "{path}: {reply:?}\n{seen:?}"
        );
    }
}

/// An index is cheap to write and each of its entries costs a question.
#[test]
fn a_long_list_of_unknown_entries_costs_few_questions() {
    let stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository(APP);
    let image = repository.push_image("v1");
    let entries: Vec<Value> = (0..2000)
        .map(|_| json!({"mediaType": MANIFEST, "digest": format!("sha256:{}", random_hex(32)), "size": 500}))
        .collect();
    let index =
        Content::manifest(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}));
    stage.gate.seen();
    let reply = repository.put_manifest(&image.companion_tag(""), &index);
    assert!(reply.status < 500, "{reply:?}");
    assert_eq!(repository.referrers(&image), Vec::<Value>::new());
    let asked = stage.gate.seen().len();
    assert!(asked <= 100, "{asked} requests");
}
