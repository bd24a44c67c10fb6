//! Refusals of uploads: before a body is asked for, and while it is being sent.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::OCTETS;
use crate::support::raw::Connection;
use crate::support::wire::Wire;
use crate::support::{ALICE, Auth, Http, PATIENCE, Regseal, Stage, wait_for};

const SESSION: &str = "/v2/team/app/blobs/uploads/u";

fn head(authority: &str, path: &str, headers: &str) -> String {
    format!("PATCH {path} HTTP/1.1\r\nHost: {authority}\r\n{headers}\r\n")
}

/// `100 Continue` comes when the registry has asked for the body, and a refusal instead of it.
#[test]
fn a_body_is_asked_for_when_the_registry_asks() {
    let registry = Wire::start(|exchange| {
        let expects = exchange.heard.header("expect") == "100-continue";
        match exchange.heard.target() {
            SESSION if expects => {
                exchange.say("HTTP/1.1 100 Continue\r\n\r\n");
                exchange.read_body();
                exchange.answer(202, "Location: /v2/team/app/blobs/uploads/u\r\n", "");
            }
            // Many servers never ask, and read all the same.
            "/v2/team/app/blobs/uploads/silent" => {
                exchange.read_body();
                exchange.answer(202, "", "");
            }
            _ => {
                let challenge = "WWW-Authenticate: Basic realm=\"r\"\r\n";
                exchange.answer(401, challenge, "");
            }
        }
    });
    let regseal = Regseal::at(&registry.endpoint).start();
    let authority = &regseal.endpoint.authority;
    for framing in ["Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"] {
        let body = if framing.contains("chunked") {
            "3\r\nabc\r\n0\r\n\r\n"
        } else {
            "abc"
        };
        let headers = format!("{framing}Expect: 100-continue\r\n");
        for path in [SESSION, "/v2/team/app/blobs/uploads/silent"] {
            let mut connection = Connection::to(authority);
            connection.send(head(authority, path, &headers));
            connection.receive().expect(100);
            connection.send(body);
            connection.receive().expect(202);
            let [heard] = &registry.heard()[..] else {
                panic!()
            };
            assert_eq!(heard.body, b"abc", "{path} {framing}");
        }
        let mut refused = Connection::to(authority);
        refused.send(head(
            authority,
            "/v2/team/app/blobs/uploads/refused",
            &headers,
        ));
        refused.receive().expect(401);
        let [heard] = &registry.heard()[..] else {
            panic!()
        };
        assert!(heard.body.is_empty(), "{framing}");
        for (path, status, why) in [
            (
                "/v2/team/app/blobs/uploads/u?digest=sha256:bad",
                400,
                "a bad digest",
            ),
            ("/v2/team//app/blobs/uploads/u", 400, "no canonical path"),
            ("/v2/team/app/blobs/uploads/rs1.x", 404, "a forged session"),
            ("/v2/team/app/tags/list", 405, "another method"),
        ] {
            let mut refused = Connection::to(authority);
            refused.send(head(authority, path, &headers));
            let reply = refused.receive().expect(status);
            assert!(reply.json()["errors"][0]["code"].is_string(), "{why}");
            assert!(registry.heard().is_empty(), "{why}");
        }
    }
}

/// curl waits a second for the word to go on, and says what it sees.
#[test]
fn curl_uploads_only_what_is_wanted() {
    let stage = Stage::with(Auth::Basic);
    let body = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(body.path(), vec![b'x'; 3 << 20]).unwrap();
    let authority = &stage.regseal.endpoint.authority;
    let repository = stage.repository("team/app");
    let session = super::open(&repository);
    let upload = |user: &str, session: &str| {
        let output = std::process::Command::new("curl")
            .args(["--silent", "--verbose", "--http1.1", "-X", "PATCH"])
            .args([
                "-H",
                "Expect: 100-continue",
                "-H",
                "Content-Type: application/octet-stream",
            ])
            .args([
                "-u",
                user,
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} %{size_upload}",
            ])
            .arg("--data-binary")
            .arg(format!("@{}", body.path().display()))
            .arg(format!("http://{authority}{session}"))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    let (wrote, said) = upload("mallory:wrong", &session);
    assert!(!said.contains("100 Continue"), "{said}");
    assert_eq!(wrote, "401 0", "{said}");
    let (wrote, said) = upload(&format!("{}:{}", ALICE.name, ALICE.password), &session);
    assert!(said.contains("100 Continue"), "{said}");
    assert_eq!(wrote, format!("202 {}", 3 << 20), "{said}");
}

/// The client gets the answer, whatever the registry does with its connection, and nothing of either stays.
#[test]
fn an_answer_in_the_middle_of_an_upload_reaches_the_client() {
    let registry = Wire::start(|exchange| {
        let (_, target) = exchange.heard.line();
        let (status, closes) = match target.rsplit('/').next().unwrap() {
            "413-close" => (413, true),
            "401-reset" => (401, false),
            "403-at-once" => (403, false),
            _ => return exchange.answer(200, "", ""),
        };
        if status != 403 {
            exchange.read_bytes(100_000);
        }
        let body = r#"{"errors":[{"code":"DENIED","message":"no"}]}"#;
        exchange.answer(status, "Connection: close\r\n", body);
        if closes {
            exchange.close();
        }
        // Else what is still coming is met by a reset.
    });
    let regseal = Regseal::at(&registry.endpoint).start();
    let authority = &regseal.endpoint.authority;
    let descriptors = || regseal.descriptors();
    Http::new(authority).get("/v2/").expect(200);
    let before = descriptors();
    let bytes = vec![b'x'; 1 << 16];
    for round in 0..10 {
        for (path, status) in [("413-close", 413), ("401-reset", 401), ("403-at-once", 403)] {
            for chunked in [true, false] {
                let mut stream = TcpStream::connect(authority).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let framing = if chunked {
                    "Transfer-Encoding: chunked".to_owned()
                } else {
                    format!("Content-Length: {}", 1 << 26)
                };
                let head = format!("{framing}\r\nContent-Type: {}\r\n", OCTETS.1);
                let path = format!("/v2/team/app/blobs/uploads/{path}");
                stream
                    .write_all(self::head(authority, &path, &head).as_bytes())
                    .unwrap();
                let mut sending = stream.try_clone().unwrap();
                let bytes = &bytes;
                std::thread::scope(|scope| {
                    scope.spawn(move || {
                        for _ in 0..1 << 10 {
                            let sent = if chunked {
                                let size = format!("{:x}\r\n", bytes.len());
                                let sent = sending.write_all(size.as_bytes());
                                sent.and_then(|()| sending.write_all(bytes))
                                    .and_then(|()| sending.write_all(b"\r\n"))
                            } else {
                                sending.write_all(bytes)
                            };
                            if sent.is_err() {
                                return;
                            }
                        }
                    });
                    let mut answer = Vec::new();
                    let ended = stream.read_to_end(&mut answer);
                    let answer = String::from_utf8_lossy(&answer).into_owned();
                    let begins = format!("HTTP/1.1 {status} ");
                    let why = format!("{round}: {path}, chunked: {chunked}: {ended:?}\n{answer}");
                    assert!(answer.starts_with(&begins), "{why}");
                    assert!(answer.ends_with(r#""message":"no"}]}"#), "{why}");
                });
            }
        }
    }
    wait_for("the end of all connections", || {
        (descriptors() <= before + 2).then_some(())
    });
    Http::new(authority).get("/v2/").expect(200);
}
