//! Starting, ending, and being watched meanwhile.

use std::process::Output;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tempfile::TempDir;

use crate::support::images::{LAYER, NOTATION, hex, random_hex};
use crate::support::raw::Connection;
use crate::support::{
    ALICE, Auth, BOB, Content, Http, Registry, Regseal, Stage, block_on, regseal,
};

const MIB: usize = 1024 * 1024;

#[test]
fn an_upload_in_progress_is_finished_before_the_end() {
    let mut stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let authority = stage.regseal.endpoint.authority.clone();
    let session = repository
        .http
        .request("POST", &repository.path("blobs/uploads/"), &[], "")
        .expect(202);
    let location = session
        .header("location")
        .replacen(&format!("http://{authority}"), "", 1);
    let half = random_hex(MIB / 4);

    let mut upload = Connection::to(&authority);
    upload.send(format!(
        "PATCH {location} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/octet-stream\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{half}\r\n",
        half.len()
    ));
    let admin = stage.regseal.admin.clone();
    stage.regseal.ask_to_end();
    crate::support::wait_for("the end of its readiness", || {
        admin
            .try_get("/readyz")
            .is_none_or(|reply| reply.status == 503)
            .then_some(())
    });
    upload.send(format!("{:x}\r\n{half}\r\n0\r\n\r\n", half.len()));
    let reply = upload.receive().expect(202);
    assert_eq!(reply.header("range"), format!("0-{}", 2 * half.len() - 1));
    stage.regseal.ends_well();
}

#[test]
fn an_idle_connection_does_not_delay_the_end() {
    let mut stage = Stage::with(Auth::None);
    let mut idle = Connection::to(&stage.regseal.endpoint.authority);
    idle.send(format!(
        "GET /v2/ HTTP/1.1\r\nHost: {}\r\n\r\n",
        stage.regseal.endpoint.authority
    ));
    idle.receive().expect(200);
    let _silent = Connection::to(&stage.regseal.endpoint.authority);
    stage.regseal.terminate();
    let log = stage.regseal.log();
    assert!(
        log.contains(r#""drained":"Complete""#),
        "nothing had to be cut off: {log}"
    );
    assert!(idle.is_closed_by_peer());
}

#[test]
fn an_upload_goes_on_after_a_restart() {
    let mut stage = Stage::with(Auth::Token);
    let repository = stage.repository("team/app");
    let blob = Content::new(LAYER, random_hex(MIB));
    let (first, second) = blob.bytes.split_at(blob.bytes.len() / 2);
    let headers = [("Content-Type", "application/octet-stream")];
    let session = repository
        .http
        .request("POST", &repository.path("blobs/uploads/"), &[], "")
        .expect(202);
    let reply = repository
        .http
        .request(
            "PATCH",
            session.header("location"),
            &headers,
            Bytes::copy_from_slice(first),
        )
        .expect(202);
    stage.regseal.terminate();
    stage.regseal.start_again();

    let location = reply.header("location");
    let state = repository.http.get(location).expect(204);
    assert_eq!(state.header("range"), format!("0-{}", first.len() - 1));
    let reply = repository
        .http
        .request("PATCH", location, &headers, Bytes::copy_from_slice(second))
        .expect(202);
    let end = format!("{}&digest={}", reply.header("location"), blob.digest());
    repository
        .http
        .request("PUT", &end, &headers, "")
        .expect(201);
    assert_eq!(
        repository.get_blob(&blob.digest()).expect(200).body,
        blob.bytes
    );
}

/// Two hundred MiB in one upload and one download, in constant memory.
#[test]
fn a_large_blob_streams_both_ways() {
    const SIZE: usize = 200 * MIB;
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let chunk = Bytes::from(random_hex(MIB / 2));
    let mut hash = Context::new(&SHA256);
    (0..SIZE / chunk.len()).for_each(|_| hash.update(&chunk));
    let digest = format!("sha256:{}", hex(hash.finish().as_ref()));

    let session = repository
        .http
        .request("POST", &repository.path("blobs/uploads/"), &[], "")
        .expect(202);
    let location = format!("{}&digest={digest}", session.header("location"));
    let chunks = stream::iter((0..SIZE / chunk.len()).map(move |_| Ok(Frame::data(chunk.clone()))));
    let headers = [
        ("Content-Type", "application/octet-stream"),
        ("Content-Length", &SIZE.to_string()),
    ];
    let body = StreamBody::new(chunks).boxed_unsync();
    let pushed = block_on(repository.http.open("PUT", &location, &headers, body)).unwrap();
    assert_eq!(pushed.status(), 201);

    let path = repository.path(&format!("blobs/{digest}"));
    let received = block_on(async {
        let response = repository
            .http
            .open(
                "GET",
                &path,
                &[],
                http_body_util::Empty::new().boxed_unsync(),
            )
            .await
            .unwrap();
        assert_eq!(response.headers()["content-length"], SIZE.to_string());
        let mut body = response.into_body();
        let mut hash = Context::new(&SHA256);
        while let Some(frame) = body.frame().await {
            hash.update(&frame.unwrap().into_data().unwrap());
        }
        format!("sha256:{}", hex(hash.finish().as_ref()))
    });
    assert_eq!(received, digest);
    let peak = stage.regseal.peak_memory();
    assert!(peak < 100 * 1024, "{peak} KiB were resident");
}

#[test]
fn a_bad_configuration_is_refused_with_all_its_mistakes() {
    let text = "\
upstream: {url: 'ftp://registry.example.com'}
listen: {address: nowhere, colour: blue}
timeouts: {head: soon}
storage: {s3: {bucket: signatures}}
surprise: true
";
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("regseal.yaml");
    std::fs::write(&file, text).unwrap();
    for (arguments, status) in [(&["serve"][..], 2), (&["config", "check"], 1)] {
        let output = regseal::command()
            .args(arguments)
            .arg("--config")
            .arg(&file)
            .output()
            .unwrap();
        let shown = shown(&output);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{shown}");
        for (line, mistake) in [
            (1, "url"),
            (2, "address"),
            (2, "colour"),
            (3, "head"),
            (4, "s3"),
            (5, "surprise"),
        ] {
            assert!(
                shown
                    .lines()
                    .any(|text| text.contains(&format!("regseal.yaml:{line}"))
                        && text.contains(mistake)),
                "{arguments:?}: line {line}, {mistake}\n{shown}"
            );
        }
    }
    let output = regseal::command().arg("serve").output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(2),
        "no upstream\n{}",
        shown(&output)
    );
    let output = regseal::command()
        .args(["serve", "--unknown"])
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(2),
        "an unknown flag\n{}",
        shown(&output)
    );
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_configuration_file_is_enough() {
    let registry = Registry::with(Auth::None);
    let config = format!(
        "upstream: {{url: {:?}}}\ntimeouts: {{head: 10s}}\n",
        registry.url()
    );
    let stage = Regseal::builder(&registry).config(&config).start();
    stage.endpoint.http(ALICE).get("/v2/").expect(200);

    let dir = TempDir::new().unwrap();
    let file = dir.path().join("regseal.yaml");
    std::fs::write(&file, config).unwrap();
    let run = |verb: &str| {
        let output = regseal::command()
            .args(["config", verb, "--config"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        shown(&output)
    };
    run("check");
    assert!(run("dump").contains("10s"));
    assert!(run("schema").contains("upstream"));
}

#[test]
fn health_and_metrics_are_on_the_second_listener_only() {
    let stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let image = repository.push_image("v1");
    repository.referrers(&image);
    for path in ["/livez", "/readyz", "/startupz", "/readyz?verbose"] {
        stage.regseal.admin.get(path).expect(200);
    }
    let metrics = stage.regseal.admin.get("/metrics").expect(200);
    assert!(metrics.header("content-type").starts_with("text/plain"));
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(
        text.lines()
            .any(|line| !line.starts_with('#') && line.contains("_count")),
        "{text}"
    );
    assert!(
        !text.contains("team/app"),
        "a label for each repository would have no bound"
    );

    let data = Http::new(&stage.regseal.endpoint.authority);
    for path in ["/metrics", "/livez", "/api/v1/held", "/v2/metrics"] {
        assert_eq!(data.get(path).status, 404, "{path}");
    }
    assert_ne!(
        stage.regseal.admin.get("/v2/team/app/manifests/v1").status,
        200
    );
    let status = stage.regseal.admin.get("/api/v1/held").status;
    assert!(
        [401, 403, 404].contains(&status),
        "without a token file there is no admin API: {status}"
    );
}

#[test]
fn logs_and_metrics_tell_no_secret() {
    for auth in [Auth::Basic, Auth::Token] {
        let registry = Registry::with(auth);
        let mut stage = Regseal::builder(&registry)
            .environment("REGSEAL__TELEMETRY__LOG__LEVEL", "trace")
            .start();
        let repository = stage.endpoint.repository(ALICE, "private/app");
        let image = repository.push_image("v1");
        repository.attach(NOTATION, &image);
        repository.referrers(&image);
        let wrong = Http::new(&stage.endpoint.authority).basic(BOB.name, "a-wrong-password-of-bob");
        assert_eq!(
            wrong
                .get(&repository.path(&format!("referrers/{}", image.digest())))
                .status,
            401
        );
        let metrics = stage.admin.get("/metrics").expect(200);
        stage.terminate();

        let told = stage.log() + &String::from_utf8_lossy(&metrics.body);
        assert!(told.contains("private/app"), "requests are logged");
        for secret in [
            ALICE.password,
            "a-wrong-password-of-bob",
            "Basic ",
            "Bearer ey",
            "eyJ0eXAi",
        ] {
            assert!(!told.contains(secret), "{auth:?}: {secret}");
        }
    }
}

#[test]
fn each_log_line_is_json_with_the_id_of_its_trace() {
    let stage = Stage::with(Auth::None);
    let trace = random_hex(16);
    let http = Http::new(&stage.regseal.endpoint.authority);
    let parent = format!("00-{trace}-{}-01", random_hex(8));
    http.request(
        "GET",
        "/v2/team/app/manifests/none",
        &[("traceparent", &parent)],
        "",
    )
    .expect(404);
    let log = crate::support::wait_for("the line of the request", || {
        Some(stage.regseal.log()).filter(|log| log.contains(&trace))
    });
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line)
            .unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[test]
fn without_the_registry_behind_nothing_is_given_out() {
    let mut stage = Stage::with(Auth::None);
    let repository = stage.repository("team/app");
    let image = repository.push_image("v1");
    let signature = repository.attach(NOTATION, &image);
    stage.registry.kill();
    stage.regseal.terminate();
    stage.regseal.start_again();
    for path in [
        format!("referrers/{}", image.digest()),
        format!("manifests/{}", signature.digest()),
        format!("manifests/{}", image.companion_tag("")),
        "manifests/v1".to_owned(),
        "tags/list".to_owned(),
    ] {
        let reply = repository.http.get(&repository.path(&path));
        assert!([502, 503, 504].contains(&reply.status), "{reply:?}");
        assert!(reply.json()["errors"][0]["code"].is_string(), "{reply:?}");
    }
    let pushed = repository.put_manifest(&signature.digest(), &signature);
    assert!([502, 503, 504].contains(&pushed.status), "{pushed:?}");
    stage.regseal.admin.get("/livez").expect(200);
}

#[test]
fn more_requests_than_the_bound_are_shed_and_counted() {
    let registry = Registry::with(Auth::None);
    let regseal = Regseal::builder(&registry)
        .config("limits: {in_flight: 1}\n")
        .start();
    let authority = &regseal.endpoint.authority;
    let mut first = Connection::to(authority);
    first.send(format!(
        "PUT /v2/team/app/manifests/1.0 HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 2\r\n\r\n"
    ));
    let metrics = || {
        let page = regseal.admin.get("/metrics").expect(200);
        String::from_utf8(page.body.to_vec()).unwrap()
    };
    // Asked on the other listener: a request on this one would take the place itself.
    crate::support::wait_for("the first request to be taken", || {
        let taken = |line: &str| {
            line.starts_with("http_server_active_requests")
                && line.contains("\"PUT\"")
                && line.ends_with(" 1")
        };
        metrics().lines().any(taken).then_some(())
    });
    let refused = Http::new(authority).get("/v2/").expect(503);
    assert_eq!(refused.json()["errors"][0]["code"], "TOOMANYREQUESTS");
    assert!(!refused.header("retry-after").is_empty());
    assert!(metrics().contains("regseal_requests_shed_total"));

    first.send("{}");
    first.receive().expect(400);
    crate::support::wait_for("room for a request", || {
        (Http::new(authority).get("/v2/").status == 200).then_some(())
    });
}

#[test]
fn a_manifest_that_does_not_come_in_time_is_given_up() {
    let registry = Registry::with(Auth::None);
    let regseal = Regseal::builder(&registry)
        .config("timeouts: {idle: 300ms}\n")
        .start();
    let authority = &regseal.endpoint.authority;
    let mut stalled = Connection::to(authority);
    stalled.send(format!(
        "PUT /v2/team/app/manifests/1.0 HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 9\r\n\r\n{{"
    ));
    let reply = stalled.receive().expect(408);
    assert_eq!(reply.json()["errors"][0]["code"], "SIZE_INVALID");
}
