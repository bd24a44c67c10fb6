//! `regseal doctor`: what it says of registries, and what it does to them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64ct::{Base64, Encoding};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::gate::{Gate, Verdict};
use crate::support::http::Endpoint;
use crate::support::regseal::command;
use crate::support::{ALICE, Auth, BOB, Http, Registry, User};

/// One call of the program: where, with what, as whom.
struct Visit {
    arguments: Vec<String>,
    dir: TempDir,
}

impl Visit {
    fn to(authority: &str) -> Self {
        Self {
            arguments: vec!["doctor".to_owned(), format!("http://{authority}")],
            dir: TempDir::with_prefix("doctor-").unwrap(),
        }
    }

    fn with(mut self, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        self.arguments.extend(arguments);
        self
    }

    /// As after `docker login`.
    fn logged_in(self, host: &str, name: &str, password: &str) -> Self {
        let pair = Base64::encode_string(format!("{name}:{password}").as_bytes());
        let config = json!({"auths": {host: {"auth": pair}}});
        std::fs::write(self.dir.path().join("config.json"), config.to_string()).unwrap();
        self
    }

    fn configured(self, yaml: &str) -> Self {
        let file = self.dir.path().join("regseal.yaml");
        std::fs::write(&file, yaml).unwrap();
        self.with(&["--config", file.to_str().unwrap()])
    }

    fn command(&self) -> Command {
        let mut command = command();
        command
            .args(&self.arguments)
            .env("DOCKER_CONFIG", self.dir.path());
        command
    }

    fn run(&self) -> Output {
        self.command().output().unwrap()
    }

    #[track_caller]
    fn report(mut self, expected: i32) -> Value {
        self.arguments.extend(["-o", "json"].map(str::to_owned));
        let output = self.run();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(expected), "{said}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

#[track_caller]
fn assert_values(report: &Value, expected: &[(&str, Value)]) {
    for (name, expected) in expected {
        let found = &report["capabilities"][name];
        assert_eq!(found["value"], *expected, "{name}: {found}");
    }
}

fn sentences(report: &Value, key: &str) -> String {
    report[key].to_string()
}

/// Somebody's own content in a repository, and what is left of it and of others.
fn leftovers(http: &Http, name: &str) -> Vec<String> {
    let reply = http.get(&format!("/v2/{name}/tags/list"));
    if reply.status == 404 {
        return Vec::new();
    }
    let tags = reply.json()["tags"].clone();
    serde_json::from_value(tags).unwrap_or_default()
}

#[test]
fn what_registries_can_do_is_found_out_in_a_scratch_repository() {
    for (kind, registry, expected) in [
        (
            "docker-registry 2",
            Registry::with(Auth::None),
            vec![
                ("http_version", json!("HTTP/1.1")),
                ("tls", json!(false)),
                ("catch_all", json!(false)),
                ("referrers_api", json!(false)),
                ("subject", json!(false)),
                ("absent_subject", json!(true)),
                ("makes_fallback_tags", json!(false)),
                ("tag_paging", json!(false)),
                ("accept_needed", json!(true)),
                ("invalid_digest", json!(false)),
                ("range_requests", json!(true)),
                ("range_unsatisfiable", json!(false)),
                ("redirects", json!(false)),
                ("upload_location", json!("absolute")),
                ("monolithic_post", json!(false)),
                ("chunked_upload", json!(true)),
                ("chunk_order", json!(false)),
                ("cancel_upload", json!(true)),
                ("mount", json!(true)),
                ("anonymous_mount", json!(false)),
                ("blob_sha512", json!(false)),
                ("manifest_sha512", json!(false)),
                ("tag_parameter", json!(false)),
                ("manifest_limit", json!(4 << 20)),
                ("unknown_config_types", json!(true)),
                ("unknown_media_types", json!(false)),
                ("empty_layers", json!(true)),
                ("artifact_manifest", json!(false)),
                ("index_with_missing_child", json!(false)),
                ("delete_tag", json!(false)),
                ("delete_manifest", json!(true)),
                ("delete_blob", json!(true)),
                ("anonymous_pull", json!(true)),
                ("anonymous_push", json!(true)),
                ("left_behind", json!(0)),
            ],
        ),
        (
            "distribution 3",
            Registry::distribution3(),
            vec![
                ("referrers_api", json!(false)),
                ("subject", json!(false)),
                ("tag_paging", json!(true)),
                ("chunk_order", json!(true)),
                ("range_unsatisfiable", json!(true)),
                ("delete_tag", json!(true)),
                ("manifest_sha512", json!(false)),
                ("left_behind", json!(0)),
            ],
        ),
        (
            "olareg",
            Registry::with_referrers_api(),
            vec![
                ("referrers_api", json!(true)),
                ("subject", json!(true)),
                ("tag_paging", json!(true)),
                ("accept_needed", json!(false)),
                ("invalid_digest", json!(true)),
                ("range_unsatisfiable", json!(true)),
                ("upload_location", json!("relative")),
                ("monolithic_post", json!(true)),
                ("chunk_order", json!(true)),
                ("anonymous_mount", json!(true)),
                ("blob_sha512", json!(true)),
                ("manifest_sha512", json!(true)),
                ("tag_parameter", json!(true)),
                ("delete_tag", json!(true)),
                ("delete_manifest", json!(true)),
                ("delete_blob", json!(false)),
            ],
        ),
    ] {
        let there = registry.endpoint.repository(ALICE, "scratch/place");
        let image = there.push_image("mine");
        let visit = Visit::to(&registry.endpoint.authority).with(&["--scratch", "scratch/place"]);
        let report = visit.report(0);
        assert_eq!(report["kind"], kind);
        assert_values(&report, &expected);
        assert!(
            report["capabilities"]
                .as_object()
                .unwrap()
                .values()
                .all(|found| {
                    found["how"]
                        .as_str()
                        .is_some_and(|how| !how.starts_with("not asked"))
                }),
            "{kind}: something was not asked: {report:#}"
        );

        let http = Http::new(&registry.endpoint.authority);
        assert_eq!(leftovers(&http, "scratch/place"), ["mine"], "{kind}");
        there.get_manifest(&image.digest()).expect(200);
    }
}

#[test]
fn without_a_scratch_repository_nothing_but_get_and_head_is_sent() {
    let registry = Registry::with(Auth::None);
    registry
        .endpoint
        .repository(ALICE, "team/app")
        .push_image("v1");
    let gate = Gate::before(&registry);
    for arguments in [&[][..], &["--repository", "team/app"]] {
        gate.seen();
        let report = Visit::to(&gate.endpoint.authority)
            .with(arguments)
            .report(0);
        let seen = gate.seen();
        assert!(seen.len() > 5);
        for asked in seen {
            assert!(
                ["GET", "HEAD"].contains(&asked.method.as_str()),
                "{asked:?}"
            );
        }
        // The image is found in the catalog, where none is named.
        assert_values(
            &report,
            &[
                ("referrers_api", json!(false)),
                ("anonymous_pull", json!(true)),
                ("range_requests", json!(true)),
                ("tag_paging", json!("unknown")),
                ("delete_manifest", json!("unknown")),
                ("left_behind", json!("unknown")),
            ],
        );
        let how = &report["capabilities"]["delete_manifest"]["how"];
        assert!(how.as_str().unwrap().contains("--scratch"), "{how}");
    }
}

#[test]
fn the_answer_has_the_promised_form() {
    let registry = Registry::with_referrers_api();
    let url = registry.url();
    let report = Visit::to(&registry.endpoint.authority).report(0);
    let keys: Vec<&str> = report
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut expected = [
        "upstream",
        "kind",
        "authentication",
        "capabilities",
        "adds",
        "cannot",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(report["upstream"], url);
    for (name, found) in report["capabilities"].as_object().unwrap() {
        let keys: Vec<&String> = found.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["how", "value"], "{name}");
    }
    let output = Visit::to(&registry.endpoint.authority).run();
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        &format!("upstream        {url}"),
        "capabilities",
        "regseal adds",
        "regseal cannot",
        "  upstream:",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    let takes_writing: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("it takes writing"))
        .collect();
    assert!(
        matches!(takes_writing.as_slice(), [one] if one.contains("subject, ") && one.contains("left_behind")),
        "one line has all of them: {text}"
    );
}

#[test]
fn what_was_not_asked_is_promised_on_a_condition() {
    let registry = Registry::with_referrers_api();
    let report = Visit::to(&registry.endpoint.authority).report(0);
    for sentence in report["adds"].as_array().unwrap() {
        let sentence = sentence.as_str().unwrap();
        let is_unasked = ["OCI-Subject", "lists of tags"]
            .iter()
            .any(|start| sentence.starts_with(start));
        assert!(
            !is_unasked || sentence.contains("if the registry lacks"),
            "{sentence}"
        );
    }
}

#[test]
fn a_repository_that_cannot_be_read_is_named_as_the_reason() {
    let open = Registry::with(Auth::None);
    let closed = Registry::with(Auth::Basic);
    for (registry, expected, why) in [
        (&open, "nope/x does not exist", "there is none"),
        (&closed, "docker login", "strangers are refused"),
    ] {
        let visit = Visit::to(&registry.endpoint.authority).with(&["--repository", "nope/x"]);
        let report = visit.report(0);
        for name in ["anonymous_pull", "tag_paging", "redirects"] {
            let found = &report["capabilities"][name];
            let how = found["how"].as_str().unwrap();
            assert_eq!(found["value"], "unknown", "{why}");
            assert!(
                how.contains(expected) && !how.contains("--repository"),
                "{why}: {name}: {how}"
            );
        }
    }
}

#[test]
fn a_visit_that_is_terminated_takes_away_what_it_has_written() {
    let registry = Registry::with(Auth::None);
    let there = registry.endpoint.repository(ALICE, "scratch/place");
    there.push_image("mine");
    let gate = Gate::before(&registry);
    let id = Arc::new(Mutex::new(0));
    let visited = Arc::clone(&id);
    let state = Mutex::new((false, false));
    // The first read of a manifest that was written gets no answer, so that only the signal can go on.
    gate.rule(move |asked| {
        let mut state = state.lock().unwrap();
        let (is_written, is_told) = *state;
        if is_told || !asked.path.contains("/manifests/") {
            return Verdict::Pass;
        }
        if asked.method == "GET" && is_written {
            state.1 = true;
            let id = visited.lock().unwrap().to_string();
            let sent = Command::new("kill").args(["-s", "TERM", &id]).status();
            assert!(sent.unwrap().success());
            return Verdict::PassAfter(Duration::from_secs(600));
        }
        state.0 = is_written || asked.method == "PUT";
        Verdict::Pass
    });
    let visit =
        Visit::to(&gate.endpoint.authority).with(&["--scratch", "scratch/place", "-o", "json"]);
    let child = {
        let mut id = id.lock().unwrap();
        let mut command = visit.command();
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        *id = child.id();
        child
    };
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_values(
        &report,
        &[
            ("monolithic_post", json!(false)),
            ("delete_tag", json!("unknown")),
            ("left_behind", json!(0)),
        ],
    );
    let how = &report["capabilities"]["delete_tag"]["how"];
    assert_eq!(how, "not asked: interrupted");
    let http = Http::new(&registry.endpoint.authority);
    assert_eq!(leftovers(&http, "scratch/place"), ["mine"]);
}

#[test]
fn who_is_asked_for_a_name_and_how_is_told() {
    for (auth, scheme, hides) in [
        (Auth::None, "none", json!("unknown")),
        (Auth::Basic, "basic", json!("unknown")),
        (Auth::Token, "token", json!(false)),
    ] {
        let registry = Registry::with(auth);
        registry
            .endpoint
            .repository(ALICE, "team/app")
            .push_image("v1");
        let authority = &registry.endpoint.authority;
        let realms = match auth {
            Auth::Token => format!("auth: {{realms: [{:?}]}}", registry.tokens().realm()),
            Auth::None | Auth::Basic => "{}".to_owned(),
        };
        let visit = Visit::to(authority)
            .logged_in(authority, ALICE.name, ALICE.password)
            .configured(&realms)
            .with(&["--scratch", "team/scratch", "--repository", "team/app"]);
        let report = visit.report(0);
        let open = auth == Auth::None;
        assert_eq!(report["authentication"]["scheme"], scheme);
        let account = if open { "unknown" } else { "accepted" };
        assert_eq!(report["authentication"]["account"], account, "{report:#}");
        assert_values(
            &report,
            &[
                ("hides_private_repositories", hides),
                ("anonymous_pull", json!(open)),
                ("anonymous_push", json!(open)),
                ("mount", json!(true)),
                ("referrers_api", json!(false)),
                ("delete_manifest", json!(true)),
                ("left_behind", json!(0)),
            ],
        );
        let everybody = sentences(&report, "cannot").contains("everybody push");
        assert_eq!(everybody, open);
        if auth == Auth::Token {
            assert_eq!(report["authentication"]["realm"], registry.tokens().realm());
        }
    }
}

#[test]
fn what_is_recommended_follows_from_what_was_found() {
    let registry = Registry::with(Auth::Token);
    let authority = &registry.endpoint.authority;
    let output = Visit::to(authority).run();
    let text = String::from_utf8(output.stdout).unwrap();
    let realm = registry.tokens().realm();
    // The token service is on another host, so nothing was asked there, and it is not known what users are told.
    let expected = format!("auth:\n    realms: [\"{realm}\"]\n");
    assert!(text.contains(&expected), "{text}");
    assert!(text.contains("hides_private_repositories: true"), "{text}");
    let visit = Visit::to(authority).configured(&format!("auth: {{realms: [{realm:?}]}}"));
    let text = String::from_utf8(visit.run().stdout).unwrap();
    assert!(
        text.contains("hides_private_repositories: false\n"),
        "{text}"
    );
}

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
fn who_may_not_push_is_told_why_nothing_was_written() {
    let registry = Registry::with(Auth::Token);
    let User { name, password, .. } = BOB;
    let authority = &registry.endpoint.authority;
    let visit = Visit::to(authority)
        .logged_in(authority, name, password)
        .configured(&format!(
            "auth: {{realms: [{:?}]}}",
            registry.tokens().realm()
        ))
        .with(&["--scratch", "team/scratch"]);
    let report = visit.report(0);
    let found = &report["capabilities"]["mount"];
    assert_eq!(found["value"], "unknown");
    let how = found["how"].as_str().unwrap();
    assert!(
        how.contains("nothing can be uploaded") && how.contains("401"),
        "{how}"
    );
}

#[test]
fn a_credential_is_shown_to_the_registry_it_is_for_and_to_no_other() {
    let registry = Registry::with(Auth::Basic);
    let gate = Gate::before(&registry);
    let authority = gate.endpoint.authority.clone();
    let account = format!(
        "service_account: {{username: {}, password: {}}}",
        ALICE.name, ALICE.password
    );
    for (configured, is_shown, why) in [
        (
            format!("http://{authority}"),
            true,
            "it is the one that is configured",
        ),
        (
            "http://registry.example.com".to_owned(),
            false,
            "another one is",
        ),
    ] {
        gate.seen();
        let yaml = format!("upstream: {{url: {configured:?}, {account}}}");
        let report = Visit::to(&authority).configured(&yaml).report(0);
        let shown = gate
            .seen()
            .iter()
            .any(|asked| !asked.header("Authorization").is_empty());
        assert_eq!(shown, is_shown, "{why}");
        let expected = if is_shown { "accepted" } else { "none" };
        assert_eq!(report["authentication"]["account"], expected, "{why}");
    }
    gate.seen();
    let visit = Visit::to(&authority).logged_in("registry.example.com", ALICE.name, ALICE.password);
    visit.report(0);
    assert!(
        gate.seen()
            .iter()
            .all(|asked| asked.header("Authorization").is_empty())
    );

    // A registry that sends its callers to a token service elsewhere gets nothing there.
    let elsewhere = Gate::before(&registry);
    let realm = format!("http://localhost:{}/token", port(&elsewhere.endpoint));
    let challenge = format!("Bearer realm={realm:?},service=\"s\"");
    gate.rule(move |_| {
        let headers = vec![("WWW-Authenticate", challenge.clone())];
        Verdict::Answer(401, headers, "{}".to_owned())
    });
    let visit = Visit::to(&authority).logged_in(&authority, ALICE.name, ALICE.password);
    let report = visit.with(&["--scratch", "a"]).report(0);
    assert_eq!(report["authentication"]["account"], "withheld");
    assert!(elsewhere.seen().is_empty());
    assert!(
        gate.seen()
            .iter()
            .all(|asked| asked.header("Authorization").is_empty())
    );
}

fn port(endpoint: &Endpoint) -> &str {
    endpoint.authority.rsplit_once(':').unwrap().1
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
