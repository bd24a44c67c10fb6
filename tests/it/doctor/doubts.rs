//! What lies, what is no registry, and what cannot be reached.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use super::{Visit, assert_values, sentences};
use crate::support::gate::{Gate, Verdict};
use crate::support::{ALICE, Auth, Registry};

#[test]
fn a_refused_credential_decides_nothing() {
    for auth in [Auth::Basic, Auth::Token] {
        let registry = Registry::with(auth);
        let authority = &registry.endpoint.authority;
        let realms = match auth {
            Auth::Token => format!("auth: {{realms: [{:?}]}}", registry.tokens().realm()),
            Auth::None | Auth::Basic => "{}".to_owned(),
        };
        let visit = Visit::to(authority)
            .logged_in(authority, ALICE.name, "wrong")
            .configured(&realms)
            .with(&["--scratch", "team/scratch"]);
        let report = visit.report(3);
        assert_eq!(report["authentication"]["account"], "refused");
        assert_values(
            &report,
            &[
                ("mount", json!("unknown")),
                ("delete_blob", json!("unknown")),
            ],
        );
    }
}

#[test]
fn a_server_that_answers_everything_is_not_believed() {
    let registry = Registry::with(Auth::None);
    let gate = Gate::before(&registry);
    gate.rule(|asked| match asked.path.as_str() {
        "/v2/" => Verdict::Pass,
        _ => Verdict::Answer(
            200,
            vec![("Content-Type", "text/html".to_owned())],
            "<html>".to_owned(),
        ),
    });
    let report = Visit::to(&gate.endpoint.authority).report(0);
    assert_values(
        &report,
        &[("catch_all", json!(true)), ("referrers_api", json!(false))],
    );
    assert_eq!(report["kind"], "unknown");
    assert!(sentences(&report, "adds").contains("the Referrers API, over signatures it keeps"));
}

#[test]
fn a_registry_that_only_says_that_it_knows_subjects_is_found_out() {
    let registry = Registry::with(Auth::None);
    let gate = Gate::before(&registry);
    let image = Mutex::new(None);
    // What is pushed by digest is taken for a referrer of the first image that was read by its digest.
    gate.rule(move |asked| {
        let mut image = image.lock().unwrap();
        let reference = asked.path.rsplit('/').next().unwrap().to_owned();
        let is_by_digest = asked.path.contains("/manifests/sha256:") && reference.len() == 71;
        match asked.method.as_str() {
            "GET" if is_by_digest && image.is_none() => *image = Some(reference),
            "PUT" if is_by_digest => {
                let subject = image.clone().unwrap_or_default();
                return Verdict::Answer(201, vec![("OCI-Subject", subject)], String::new());
            }
            _ => {}
        }
        Verdict::Pass
    });
    let visit = Visit::to(&gate.endpoint.authority).with(&["--scratch", "a"]);
    let report = visit.report(0);
    assert_values(&report, &[("subject", json!("said, but not listed"))]);
    assert!(sentences(&report, "adds").contains("OCI-Subject"));
}

#[test]
fn a_registry_is_asked_over_tls_with_an_authority_of_its_own() {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let config = Arc::new(serving(&certificate, &key));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // It ends with the process of the test.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = answer_one(stream.unwrap(), Arc::clone(&config));
        }
    });
    let visit = || {
        let mut visit = Visit::to("");
        visit.arguments[1] = format!("https://localhost:{port}");
        visit
    };
    let ca = visit().dir.keep().join("ca.crt");
    std::fs::write(&ca, certificate.pem()).unwrap();
    let report = visit().with(&["--ca", ca.to_str().unwrap()]).report(0);
    std::fs::remove_dir_all(ca.parent().unwrap()).unwrap();
    assert_values(
        &report,
        &[
            ("tls", json!("TLS 1.3")),
            ("http_version", json!("HTTP/1.1")),
        ],
    );
    let how = report["capabilities"]["tls"]["how"].as_str().unwrap();
    assert!(how.ends_with("agreed on h2"), "{how}");
    let output = visit().run();
    assert_eq!(output.status.code(), Some(3), "nobody vouches for it");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("invalid peer certificate") && said.contains("try --ca FILE"),
        "{said}"
    );
}

fn serving(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> ServerConfig {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// A registry without anything in it, for one request.
fn answer_one(stream: TcpStream, config: Arc<ServerConfig>) -> std::io::Result<()> {
    let session = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(session, stream));
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| line != "\r\n") {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        lines.push(line);
    }
    let status = if lines[0].starts_with("GET /v2/ ") {
        "200 OK"
    } else {
        "404 Not Found"
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
    stream.get_mut().write_all(head.as_bytes())?;
    stream.get_mut().conn.send_close_notify();
    stream.get_mut().flush()
}

#[test]
fn where_there_is_no_registry_nothing_is_decided() {
    let registry = Registry::with(Auth::None);
    let gate = Gate::before(&registry);
    for (status, kind, body, why) in [
        (404, "text/plain", "no", "nothing at /v2/"),
        (200, "text/html", "<html>", "a page"),
        (200, "application/json", "[]", "another API"),
        (302, "text/html", "", "sent elsewhere"),
        (401, "text/html", "", "no challenge"),
        (503, "application/json", "{}", "out of service"),
    ] {
        gate.rule(move |_| {
            Verdict::Answer(
                status,
                vec![("Content-Type", kind.to_owned())],
                body.to_owned(),
            )
        });
        let output = Visit::to(&gate.endpoint.authority).run();
        assert_eq!(output.status.code(), Some(3), "{why}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("this is no registry") && said.contains(&status.to_string()),
            "{said}"
        );
        assert!(said.contains(body), "{why}: {said}");
    }

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 100]);
        stream.write_all(b"220 mail.example.com ESMTP\r\n").unwrap();
    });
    let output = Visit::to(&authority).run();
    assert_eq!(output.status.code(), Some(3), "another protocol");
    server.join().unwrap();
    let output = Visit::to(&authority).run();
    assert_eq!(
        output.status.code(),
        Some(3),
        "nobody listens there any more"
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("nothing could be found out") && said.contains("Connection refused"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn wrong_usage_ends_with_2() {
    for (url, arguments) in [
        ("registry.example.com", &[][..]),
        ("http://registry.example.com/path", &[]),
        ("http://alice:secret@registry.example.com", &[]),
        ("http://127.0.0.1:1", &["--scratch", "Not/A/Name"]),
        ("http://127.0.0.1:1", &["--repository", "a:tag"]),
    ] {
        let mut visit = Visit::to("").with(arguments);
        url.clone_into(&mut visit.arguments[1]);
        let output = visit.run();
        assert_eq!(output.status.code(), Some(2), "{url} {arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("secret"), "{said}");
    }
}
