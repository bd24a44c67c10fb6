//! What a registry does to those who ask it: it is slow, it is gone, it breaks off, it fails, it closes connections, it
//! has no time; and what regseal makes of that, for every kind of request.

mod deadlines;
mod kinds;
mod places;
mod stale;

use std::time::Duration;

use crate::support::gate::{Gated, Verdict};
use crate::support::http::Endpoint;
use crate::support::images::ACCEPT;
use crate::support::proxy::{Mode, TcpProxy};
use crate::support::raw::Connection;
use crate::support::{ALICE, Auth, Content, Http, Registry, Regseal, Reply, Repository, rounds};

use kinds::Kinds;

const APP: &str = "team/app";

/// Deadlines that a test can wait for.
const SHORT: &str = "\
timeouts: {upstream_connect: 1s, upstream_first_byte: 2s, upload_completion: 2s, idle: 2s, request: 6s}
auth: {cache_ttl: 0s}
";

/// A registry, a way to it that fails when it is told to, and regseal at its other end.
struct Faulty {
    regseal: Regseal,
    way: TcpProxy,
    registry: Registry,
}

impl Faulty {
    fn with(auth: Auth) -> Self {
        let registry = Registry::with(auth);
        let way = TcpProxy::to(&registry.endpoint.authority);
        let upstream = Endpoint {
            authority: way.address(),
            access: registry.endpoint.access.clone(),
        };
        let regseal = Regseal::at(&upstream).config(SHORT).start();
        Self {
            regseal,
            way,
            registry,
        }
    }

    fn repository(&self) -> Repository {
        self.regseal.endpoint.repository(ALICE, APP)
    }
}

/// Whatever the registry behind does, a request ends within its deadlines, with an error that says whose fault it was;
/// and when the registry is back, everything goes on.
#[test]
fn every_kind_of_request_survives_every_fault() {
    for auth in [Auth::None, Auth::Basic] {
        let stage = Faulty::with(auth);
        let repository = stage.repository();
        for (mode, why) in [
            (Mode::Refuse, "nobody listens"),
            (Mode::BlackHole, "it takes connections and says nothing"),
            (Mode::CutAfter(0), "it resets before its head"),
            (Mode::CutAfter(17), "it resets in its head"),
        ] {
            // Who has no credential waits for less; all combinations take minutes.
            let is_part = rounds(0, 1) == 0 && auth == Auth::None;
            if is_part && !matches!(mode, Mode::CutAfter(17)) {
                continue;
            }
            let kinds = Kinds::in_repository(&repository);
            stage.way.cut();
            stage.way.set(mode);
            for (what, reply) in kinds.ask_all() {
                let reply = reply.unwrap_or_else(|error| panic!("{why}: {what}: {error}"));
                let is_outage = [502, 503, 504].contains(&reply.status);
                assert!(is_outage, "{auth:?}: {why}: {what}: {reply:?}");
                assert_oci_error(&reply, why);
            }
            stage.way.set(Mode::Pass);
            for (what, reply) in Kinds::in_repository(&repository).ask_each() {
                let status = reply.unwrap().status;
                assert!(status < 300, "after {why}: {what}: {status}");
            }
        }
        assert!(stage.registry.endpoint.http(ALICE).get("/v2/").status == 200);
    }
}

/// An error of the specification, with a registered code; a `HEAD` has no body.
#[track_caller]
fn assert_oci_error(reply: &Reply, why: &str) {
    if reply.request.starts_with("HEAD") {
        return;
    }
    let code = &reply.json()["errors"][0]["code"];
    let registered = ["UNSUPPORTED", "TOOMANYREQUESTS", "DENIED", "UNAUTHORIZED"];
    assert!(
        registered.iter().any(|known| code == known),
        "{why}: {reply:?}"
    );
    let text = String::from_utf8_lossy(&reply.body);
    assert!(!text.contains("127.0.0.1"), "{why}: {reply:?}");
}

/// An answer that breaks off is an error, or visibly breaks off; it is never a whole one that is wrong.
#[test]
fn half_an_answer_is_never_a_whole_one() {
    let stage = Faulty::with(Auth::None);
    let repository = stage.repository();
    let image = repository.push_image("v1");
    let large = Content::random_of(256 * 1024);
    repository.push_blob(&large);
    let config = image.json()["config"]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let whole: Vec<(String, Reply)> = [
        "manifests/v1".to_owned(),
        format!("manifests/{}", image.digest()),
        format!("blobs/{config}"),
        format!("blobs/{}", large.digest()),
        "tags/list".to_owned(),
        "tags/list?n=1".to_owned(),
    ]
    .into_iter()
    .map(|rest| {
        let path = repository.path(&rest);
        let reply = repository
            .http
            .request("GET", &path, &[ACCEPT], "")
            .expect(200);
        (path, reply)
    })
    .collect();
    for cut in [1, 40, 150, 250, 350, 450, 600, 1000, 200_000] {
        stage.way.cut();
        stage.way.set(Mode::CutAfter(cut));
        for (path, whole) in &whole {
            match repository.http.try_request("GET", path, &[ACCEPT], "") {
                // It broke off, and the client has seen it.
                Err(_) => {}
                Ok(reply) if reply.status == 200 => {
                    assert_eq!(reply.body, whole.body, "{path} cut after {cut}");
                }
                Ok(reply) => {
                    assert!([502, 503, 504].contains(&reply.status), "{reply:?}");
                    assert_oci_error(&reply, path);
                }
            }
        }
    }
    stage.way.set(Mode::Pass);
    for (path, whole) in &whole {
        let reply = repository
            .http
            .request("GET", path, &[ACCEPT], "")
            .expect(200);
        assert_eq!(reply.body, whole.body, "{path}");
    }
}

/// An answer that stops coming ends after `timeouts.idle`.
#[test]
fn an_answer_that_stops_coming_breaks_off() {
    let stage = Faulty::with(Auth::None);
    let repository = stage.repository();
    let blob = Content::random_of(24 << 20);
    repository.push_blob(&blob);
    let authority = &stage.regseal.endpoint.authority;
    let mut reader = Connection::to(authority);
    reader.send(format!(
        "GET {} HTTP/1.1\r\nHost: {authority}\r\n\r\n",
        repository.path(&format!("blobs/{}", blob.digest()))
    ));
    assert!(reader.read_some(15).starts_with(b"HTTP/1.1 200 OK"));
    stage.way.set(Mode::BlackHole);
    let rest = reader.drain();
    assert!(rest < blob.bytes.len() as u64, "{rest} bytes came");
    stage.way.set(Mode::Pass);
    repository.get_blob(&blob.digest()).expect(200);
}

/// What the registry says of its own troubles reaches the client, with the time after which to come again.
#[test]
fn refusals_of_a_busy_registry_reach_the_client() {
    let stage = Gated::with("auth: {cache_ttl: 0s}\n");
    let repository = stage.repository(APP);
    // 429 is remembered.
    for status in [503, 429] {
        let kinds = Kinds::in_repository(&repository);
        stage.gate.rule(
            move |asked| match Verdict::refuse(status, "TOOMANYREQUESTS", asked) {
                Verdict::Answer(status, mut headers, body) => {
                    headers.push(("Retry-After", "77".to_owned()));
                    Verdict::Answer(status, headers, body)
                }
                other @ (Verdict::Pass | Verdict::PassAfter(_)) => other,
            },
        );
        for (what, reply) in kinds.ask_all() {
            let reply = reply.unwrap();
            assert_eq!(reply.status, status, "{what}: {reply:?}");
            let told: u64 = reply.header("retry-after").parse().unwrap();
            // While a client has to wait it is told the rest of the time, of which no more than a minute is kept.
            let expected = if status == 429 { 1..=77 } else { 77..=77 };
            assert!(expected.contains(&told), "{what}: {reply:?}");
            assert_oci_error(&reply, &what);
        }
        stage.gate.open();
    }
}

/// A registry that fails is neither one that refuses nor one that has nothing.
#[test]
fn failures_of_the_registry_are_no_answers() {
    let stage = Gated::with("auth: {cache_ttl: 0s}\n");
    let repository = stage.repository(APP);
    for status in [500, 502, 504] {
        let kinds = Kinds::in_repository(&repository);
        stage
            .gate
            .rule(move |asked| Verdict::refuse(status, "UNSUPPORTED", asked));
        for (what, reply) in kinds.ask_all() {
            let reply = reply.unwrap();
            assert!(reply.status >= 500, "{status}: {what}: {reply:?}");
            assert_oci_error(&reply, &what);
        }
        stage.gate.open();
        let kinds = Kinds::in_repository(&repository);
        for (what, reply) in kinds.ask_each() {
            assert!(reply.unwrap().status < 300, "after {status}: {what}");
        }
    }
}

/// A client that stops sending, or breaks off, is not taken for a registry that fails.
#[test]
fn a_client_that_stops_sending_is_told_so() {
    let stage = Faulty::with(Auth::None);
    let repository = stage.repository();
    let authority = &stage.regseal.endpoint.authority;
    let session = repository
        .http
        .request("POST", &repository.path("blobs/uploads/"), &[], "")
        .expect(202);
    let mut stalled = Connection::to(authority);
    stalled.send(format!(
        "PATCH {} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 10\r\n\r\n01234",
        session.header("location")
    ));
    stalled.receive().refused(408, "SIZE_INVALID");
    let ready = stage.regseal.admin.get("/readyz?verbose").expect(200);
    let text = String::from_utf8_lossy(&ready.body).into_owned();
    assert!(!text.contains("no answer since"), "{text}");
}

/// Where the token service is, only the registry says.
#[test]
fn token_requests_end_with_an_error_while_the_registry_is_away() {
    let registry = Registry::with(Auth::Token);
    let way = TcpProxy::to(&registry.endpoint.authority);
    let realm = registry.tokens().realm().to_owned();
    let files = tempfile::TempDir::new().unwrap();
    let policy = files.path().join("policy.yaml");
    let key = crate::support::clients::Tool::new("cosign3", &registry.endpoint)
        .environment("COSIGN_PASSWORD", "");
    key.run(["generate-key-pair"]).success();
    let text = format!(
        "version: 1\nauthorities:\n  build: {{cosign: {{key: {:?}, transparency_log: ignored}}}}\nrules:\n  - name: kept\n    \
         repositories: [\"team/**\"]\n    require: {{any: [build]}}\n    on_unsigned_push: reject\n",
        key.home().join("cosign.pub")
    );
    std::fs::write(&policy, text).unwrap();
    let upstream = Endpoint {
        authority: way.address(),
        access: registry.endpoint.access,
    };
    let config = format!("{SHORT}policy: {{file: {policy:?}}}\n",)
        .replace("auth: {", &format!("auth: {{realms: [{realm:?}], "));
    let regseal = Regseal::at(&upstream).config(&config).start();
    let http = Http::new(&regseal.endpoint.authority);
    let ask = || http.get("/_regseal/token?service=registry&scope=repository:open/app:pull");
    for mode in [
        Mode::Refuse,
        Mode::BlackHole,
        Mode::CutAfter(0),
        Mode::CutAfter(17),
    ] {
        way.cut();
        way.set(mode);
        let reply = ask();
        assert!(
            [502, 503, 504].contains(&reply.status),
            "{mode:?}: {reply:?}"
        );
        assert_oci_error(&reply, "the registry");
    }
    way.set(Mode::Pass);
    ask().expect(200);
}

impl Gated {
    /// A gate before an open registry, and regseal with these settings before the gate.
    fn with(config: &str) -> Self {
        let registry = Registry::with(Auth::None);
        let gate = crate::support::gate::Gate::before(&registry);
        let regseal = Regseal::at(&gate.endpoint).config(config).start();
        Self {
            regseal,
            gate,
            registry,
        }
    }
}

impl Content {
    /// A blob of so many bytes.
    fn random_of(length: usize) -> Self {
        let bytes = crate::support::images::random_hex(length / 2);
        Self::new(crate::support::images::LAYER, bytes)
    }
}

/// Longer than any deadline of these tests.
const LONG: Duration = Duration::from_secs(20);
