//! Places: how many requests there are at a time, of all, of one client, and to the registry.

use super::APP;
use crate::support::gate::{Gated, Verdict};
use crate::support::images::{MANIFEST, NOTATION};
use crate::support::raw::Connection;
use crate::support::{Auth, Content, Registry, Regseal, Stage, wait_for};

/// Four places: three for clients, one for regseal's own questions. Nobody waits.
const FEW: &str = "\
limits: {upstream: 4, upstream_queue: 0}
auth: {cache_ttl: 0s}
";

const ACTIVE: &str = "regseal_upstream_active_requests";
const CLIENTS: &[&str] = &["share=\"clients\""];

/// regseal with few places, and a blob that fits in no buffer.
fn with_few_places(config: &str) -> (Stage, Content) {
    let registry = Registry::with(Auth::None);
    let regseal = Regseal::builder(&registry).config(config).start();
    let stage = Stage { regseal, registry };
    let blob = Content::random_of(24 << 20);
    stage.behind(APP).push_blob(&blob);
    (stage, blob)
}

/// A client that asks for the blob and takes no more than the head of the answer.
fn slow_reader(stage: &Stage, blob: &Content) -> Connection {
    let authority = &stage.regseal.endpoint.authority;
    let path = stage
        .repository(APP)
        .path(&format!("blobs/{}", blob.digest()));
    let mut reader = Connection::to(authority);
    reader.send(format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
    assert!(reader.read_some(15).starts_with(b"HTTP/1.1 200 OK"));
    reader
}

#[test]
fn a_place_is_held_until_the_answer_has_ended_and_others_are_refused_at_once() {
    let (stage, blob) = with_few_places(FEW);
    let repository = stage.repository(APP);
    let image = repository.push_image("v1");
    let signature = repository.attach(NOTATION, &image);
    let mut readers: Vec<Connection> = (0..3).map(|_| slow_reader(&stage, &blob)).collect();
    assert!((stage.regseal.metric(ACTIVE, CLIENTS) - 3.0).abs() < 0.1);

    let refused = repository.http.get("/v2/").refused(503, "TOOMANYREQUESTS");
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    // Before anything of a body is read: none is sent.
    let authority = &stage.regseal.endpoint.authority;
    for (method, rest, media_type) in [
        ("PUT", "manifests/v2", MANIFEST),
        (
            "POST",
            "blobs/uploads/?digest=sha256:0",
            "application/octet-stream",
        ),
        (
            "PATCH",
            "blobs/uploads/3?_state=x",
            "application/octet-stream",
        ),
    ] {
        let rest = rest.replace("sha256:0", &blob.digest());
        let mut upload = Connection::to(authority);
        upload.send(format!(
            "{method} {} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {media_type}\r\n\
             Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n",
            repository.path(&rest)
        ));
        upload.receive().refused(503, "TOOMANYREQUESTS");
    }
    // regseal can still ask for itself.
    let listed = repository.referrers(&image);
    assert_eq!(listed, [signature.as_referrer()]);
    repository.get_manifest(&signature.digest()).expect(200);
    let shed = stage.regseal.metric("regseal_upstream_shed_total", CLIENTS);
    assert!(shed >= 4.0, "{shed}");

    // One that goes away, and one that reads to the end, leave their places.
    readers.pop().unwrap().reset();
    wait_for("the place of a client that went away", || {
        (repository.http.get("/v2/").status == 200).then_some(())
    });
    let rest = readers.pop().unwrap().read_some(blob.bytes.len());
    assert_eq!(rest.len(), blob.bytes.len());
    wait_for("the place of an answer that has ended", || {
        (stage.regseal.metric(ACTIVE, CLIENTS) < 1.5).then_some(())
    });
    drop(readers);
    wait_for("the last place", || {
        (stage.regseal.metric(ACTIVE, &[]) < 0.5).then_some(())
    });
}

#[test]
fn a_few_wait_for_a_place_for_a_short_time() {
    let (stage, blob) = with_few_places(
        "limits: {upstream: 2, upstream_queue: 1}\ntimeouts: {upstream_queue: 1h}\nauth: {cache_ttl: 0s}\n",
    );
    let repository = stage.repository(APP);
    let reader = slow_reader(&stage, &blob);
    let waits = || {
        stage
            .regseal
            .metric("regseal_upstream_waiting_requests", CLIENTS)
            > 0.5
    };
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| stage.repository(APP).http.get("/v2/"));
        wait_for("a request that waits", || waits().then_some(()));
        repository.http.get("/v2/").refused(503, "TOOMANYREQUESTS");
        drop(reader);
        waiting.join().unwrap().expect(200);
    });
    assert!(!waits());
}

/// One that waits too long is refused, and one that goes away waits no more.
#[test]
fn who_waits_is_refused_after_a_while() {
    let (stage, blob) = with_few_places(
        "limits: {upstream: 2, upstream_queue: 9}\ntimeouts: {upstream_queue: 100ms}\n",
    );
    let _reader = slow_reader(&stage, &blob);
    let http = stage.repository(APP).http;
    http.get("/v2/").refused(503, "TOOMANYREQUESTS");
}

#[test]
fn one_client_cannot_take_all_places() {
    let registry = Registry::with(Auth::None);
    let regseal = Regseal::builder(&registry)
        .config("limits: {per_client: 1}\n")
        .start();
    let stage = Stage { regseal, registry };
    let blob = Content::random_of(24 << 20);
    stage.behind(APP).push_blob(&blob);
    let reader = slow_reader(&stage, &blob);
    let refused = stage
        .repository(APP)
        .http
        .get("/v2/")
        .refused(429, "TOOMANYREQUESTS");
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");

    let authority = &stage.regseal.endpoint.authority;
    let mut other = Connection::from([127, 0, 0, 2], authority);
    other.send(format!("GET /v2/ HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
    other.receive().expect(200);
    drop(reader);
    wait_for("the place of the client", || {
        (stage.repository(APP).http.get("/v2/").status == 200).then_some(())
    });
}

/// A slow part of the registry costs those who ask for that part, and nobody else.
#[test]
fn other_requests_do_not_suffer_from_slow_ones() {
    let stage = Gated::with("limits: {upstream: 16, upstream_queue: 0}\n");
    let repository = stage.repository(APP);
    let image = repository.push_image("v1");
    let signature = repository.attach(NOTATION, &image);
    stage.gate.rule(|asked| {
        if asked.path.contains("/slow/") {
            Verdict::PassAfter(super::LONG)
        } else {
            Verdict::Pass
        }
    });
    let authority = &stage.regseal.endpoint.authority;
    let slow: Vec<Connection> = (0..11)
        .map(|_| {
            let mut connection = Connection::to(authority);
            connection.send(format!(
                "GET /v2/slow/app/manifests/v1 HTTP/1.1\r\nHost: {authority}\r\n\r\n"
            ));
            connection
        })
        .collect();
    wait_for("the slow ones", || {
        (stage.regseal.metric(ACTIVE, CLIENTS) > 10.5).then_some(())
    });
    for _ in 0..20 {
        repository.get_manifest("v1").expect(200);
        assert_eq!(repository.referrers(&image), [signature.as_referrer()]);
    }
    drop(slow);
}

/// Manifests that are read whole share a bounded memory; who finds none comes again.
#[test]
fn manifests_beyond_the_memory_for_them_are_refused() {
    let registry = Registry::with(Auth::None);
    let regseal = Regseal::builder(&registry)
        .config("limits: {buffered: 1MiB}\n")
        .start();
    let authority = &regseal.endpoint.authority;
    let begin = |name: &str, sent: usize| {
        let mut push = Connection::to(authority);
        push.send(format!(
            "PUT /v2/{APP}/manifests/{name} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {MANIFEST}\r\n\
             Content-Length: 900000\r\n\r\n"
        ));
        push.send(vec![b' '; sent]);
        push
    };
    // Whichever is read first has the memory, and the other is refused.
    let (half, refused) = wait_for("the half to be read first", || {
        let half = begin("a", 800_000);
        let mut second = begin("b", 800_000);
        second.send(vec![b' '; 100_000]);
        let reply = second.receive();
        (reply.status == 503).then_some((half, reply))
    });
    let refused = refused.refused(503, "TOOMANYREQUESTS");
    assert!(!refused.header("retry-after").is_empty());
    drop(half);
    wait_for("the memory of a client that went away", || {
        let mut second = begin("b", 800_000);
        second.send(vec![b' '; 100_000]);
        (second.receive().status == 400).then_some(())
    });
}
