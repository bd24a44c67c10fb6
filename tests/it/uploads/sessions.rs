//! Sessions as the specification has them, whatever the registry behind makes of them.

use std::sync::{Arc, RwLock};

use bytes::Bytes;
use http::Method;

use super::{OCTETS, ending, open, patch};
use crate::support::gate::{Gated, Verdict};
use crate::support::images::{LAYER, random_hex};
use crate::support::raw::Connection;
use crate::support::wire::Wire;
use crate::support::{ALICE, Auth, Content, Registry, Regseal, Stage, wait_for};

const APP: &str = "team/app";

#[test]
fn every_way_to_upload_ends_in_a_blob_that_can_be_read_at_once() {
    let stage = Stage::with(Auth::Token);
    let repository = stage.repository(APP);
    let http = &repository.http;
    let blob = || Content::new(LAYER, random_hex(20_000));
    let read = |blob: &Content, why: &str| {
        let path = repository.path(&format!("blobs/{}", blob.digest()));
        assert_eq!(http.head(&path).status, 200, "{why}");
        assert_eq!(http.get(&path).expect(200).body, blob.bytes, "{why}");
    };

    let whole = blob();
    let end = ending(&open(&repository), &whole.digest());
    let done = http.request("PUT", &end, &[OCTETS], whole.bytes.clone());
    let done = done.expect(201);
    let path = repository.path(&format!("blobs/{}", whole.digest()));
    assert_eq!(done.header("location"), path);
    read(&whole, "POST, PUT");

    let chunked = blob();
    let mut location = open(&repository);
    for (at, chunk) in chunked.bytes.chunks(25_000).enumerate() {
        let first = at * 25_000;
        let last = first + chunk.len() - 1;
        let range = format!("{first}-{last}");
        let chunk = Bytes::copy_from_slice(chunk);
        let sent = patch(&repository, &location, &[("Content-Range", &range)], chunk);
        let sent = sent.expect(202);
        assert_eq!(sent.header("range"), format!("0-{last}"));
        location = sent.header("location").to_owned();
        assert!(
            location.starts_with("/v2/team/app/blobs/uploads/"),
            "{location}"
        );
    }
    http.request("PUT", &ending(&location, &chunked.digest()), &[], "")
        .expect(201);
    read(&chunked, "POST, PATCH, PATCH, PUT");

    let streamed = blob();
    let authority = &stage.regseal.endpoint.authority;
    let issuer = stage.registry.tokens().issuer();
    let token = issuer.token(Some(ALICE.name), &["repository:team/app:pull,push"]);
    let mut connection = Connection::to(authority);
    connection.send(format!(
        "PATCH {} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {token}\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        open(&repository)
    ));
    for chunk in streamed.bytes.chunks(7_000) {
        connection.send(format!("{:x}\r\n", chunk.len()));
        connection.send(chunk);
        connection.send("\r\n");
    }
    connection.send("0\r\n\r\n");
    let sent = connection.receive().expect(202);
    assert_eq!(sent.header("range"), "0-39999");
    let end = ending(sent.header("location"), &streamed.digest());
    http.request("PUT", &end, &[], "").expect(201);
    read(&streamed, "POST, PATCH without a length, PUT");

    let mounted = repository.path(&format!(
        "blobs/uploads/?mount={}&from=team/other",
        streamed.digest()
    ));
    let reply = http.request("POST", &mounted, &[], "");
    assert!([201, 202].contains(&reply.status), "{reply:?}");

    let cancelled = open(&repository);
    http.delete(&cancelled).expect(204);
    http.get(&cancelled).refused(404, "BLOB_UPLOAD_UNKNOWN");
}

/// Through one regseal and then another, which have nothing in common but the registry.
#[test]
fn a_session_belongs_to_no_replica() {
    let registry = Registry::with(Auth::Basic);
    let [first, second] = [(); 2].map(|()| Regseal::before(&registry));
    let [at_first, at_second] =
        [&first, &second].map(|regseal| regseal.endpoint.repository(ALICE, APP));
    let blob = Content::new(LAYER, "abcdef");
    let location = open(&at_first);
    let sent = patch(&at_second, &location, &[], "abc".into()).expect(202);
    let state = at_first.http.get(sent.header("location")).expect(204);
    assert_eq!(state.header("range"), "0-2");
    let sent = patch(&at_first, state.header("location"), &[], "def".into()).expect(202);
    let end = ending(sent.header("location"), &blob.digest());
    at_second.http.request("PUT", &end, &[], "").expect(201);
    at_first.get_blob(&blob.digest()).expect(200);
}

#[test]
fn answers_of_a_session_have_the_status_of_the_specification() {
    let stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository(APP);
    let blob = Content::new(LAYER, "abc");
    let session = repository.path("blobs/uploads/one?_state=a%3D%3D&x=1");
    let finished = repository.path(&format!("blobs/{}", blob.digest()));
    let elsewhere = "https://storage.example/blob".to_owned();
    for (method, status, headers, expected, location, range, why) in [
        (
            "PATCH",
            202,
            vec![("Range", "0-2")],
            202,
            &session,
            "0-2",
            "as it must be",
        ),
        (
            "PATCH",
            201,
            vec![("Range", "0-2")],
            202,
            &session,
            "0-2",
            "ECR",
        ),
        (
            "PATCH",
            200,
            vec![("Range", "bytes=0-2")],
            202,
            &session,
            "0-2",
            "a range of HTTP",
        ),
        ("PATCH", 204, vec![], 202, &session, "0-2", "no range"),
        (
            "PUT",
            201,
            vec![("Location", finished.as_str())],
            201,
            &finished,
            "",
            "as it must be",
        ),
        ("PUT", 204, vec![], 201, &finished, "", "no location"),
        (
            "PUT",
            200,
            vec![("Location", elsewhere.as_str())],
            201,
            &finished,
            "",
            "a storage",
        ),
        (
            "GET",
            204,
            vec![("Range", "0-2")],
            204,
            &String::new(),
            "0-2",
            "as it must be",
        ),
        (
            "GET",
            200,
            vec![("Range", "0-2")],
            204,
            &String::new(),
            "0-2",
            "with a body",
        ),
        (
            "DELETE",
            204,
            vec![],
            204,
            &String::new(),
            "",
            "as it must be",
        ),
        ("DELETE", 202, vec![], 204, &String::new(), "", "accepted"),
        (
            "DELETE",
            200,
            vec![],
            204,
            &String::new(),
            "",
            "with a body",
        ),
    ] {
        let said: Vec<(&'static str, String)> = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        stage.gate.rule(move |_| {
            let body = if status == 200 { "said" } else { "" };
            Verdict::Answer(status, said.clone(), body.to_owned())
        });
        let path = if method == "PUT" {
            ending(&session, &blob.digest())
        } else {
            session.clone()
        };
        let body = if method == "PATCH" { "abc" } else { "" };
        let reply = repository.http.request(method, &path, &[OCTETS], body);
        let why = format!("{method} {status}, {why}: {reply:?}");
        assert_eq!(reply.status, expected, "{why}");
        assert_eq!(reply.header("location"), location, "{why}");
        assert_eq!(reply.header("range"), range, "{why}");
        assert!(expected != 204 || reply.body.is_empty(), "{why}");
    }
    stage.gate.seen();
    stage
        .gate
        .rule(|_| Verdict::Answer(202, Vec::new(), String::new()));
    let headers = [("Content-Range", "3-5")];
    let sent = patch(&repository, &session, &headers, "def".into()).expect(202);
    assert_eq!(sent.header("range"), "0-5", "as far as the chunk says");
    let [how_far, asked] = &stage.gate.seen()[..] else {
        panic!()
    };
    assert_eq!((&how_far.method, &how_far.path), (&Method::GET, &session));
    assert_eq!(asked.path, session, "the query is verbatim");
    assert_eq!(asked.header("content-range"), "3-5");
    assert_eq!(asked.header("content-length"), "3");
}

/// Registries behind a proxy believe many things of their own address.
#[test]
fn a_location_of_the_registry_stays_with_regseal() {
    let stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository(APP);
    let [gate, own] =
        [&stage.gate.endpoint, &stage.regseal.endpoint].map(|endpoint| endpoint.authority.clone());
    let path = "/v2/team/app/blobs/uploads/u?_state=a%3D%3D&y=%2F";
    for location in [
        path.to_owned(),
        format!("http://{gate}{path}"),
        format!("https://{gate}{path}"),
        format!("http://{own}{path}"),
        format!("//{own}{path}"),
        format!(
            "u{}",
            path.split_once("/u?")
                .map(|(_, query)| format!("?{query}"))
                .unwrap()
        ),
    ] {
        let said = location.clone();
        stage
            .gate
            .rule(move |_| Verdict::Answer(202, vec![("Location", said.clone())], String::new()));
        assert_eq!(open(&repository), path, "{location}");
    }
}

/// Neither side holds more than a few buffers, whoever is slow.
#[test]
fn a_registry_that_reads_slowly_does_not_fill_the_memory() {
    const MIB: usize = 1 << 20;
    let going_on = Arc::new(RwLock::new(()));
    let stalled = going_on.write().unwrap();
    let released = Arc::clone(&going_on);
    let registry = Wire::start(move |exchange| {
        if exchange.heard.line().0 == "PATCH" {
            // Takes a little, and then nothing.
            exchange.read_bytes(1000);
            let _go_on = released.read();
        } else {
            exchange.answer(200, "", "");
        }
    });
    let regseal = Regseal::at(&registry.endpoint).start();
    let authority = &regseal.endpoint.authority;
    let before = regseal.peak_memory();
    let uploads: Vec<_> = (0..8)
        .map(|_| {
            let stream = std::net::TcpStream::connect(authority).unwrap();
            stream.set_nonblocking(true).unwrap();
            let head = format!(
                "PATCH /v2/team/app/blobs/uploads/u HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {}\r\n\r\n",
                64 * MIB
            );
            std::io::Write::write_all(&mut &stream, head.as_bytes()).unwrap();
            stream
        })
        .collect();
    let bytes = vec![b'x'; MIB];
    let mut sent = 0;
    let mut full = 0;
    // Until nobody takes more, a hundred times in a row.
    wait_for("full buffers", || {
        full += 1;
        for mut upload in &uploads {
            if let Ok(taken) = std::io::Write::write(&mut upload, &bytes) {
                sent += taken;
                full = 0;
            }
        }
        (full > 100).then_some(())
    });
    assert!(sent < 8 * 64 * MIB, "somebody took all");
    let grown = regseal.peak_memory() - before;
    assert!(grown < 24 * 1024, "{grown} KiB for {sent} bytes");
    drop(stalled);
}
