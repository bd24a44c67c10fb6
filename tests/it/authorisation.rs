//! Every kind of registry there is to authorise by, and what it costs it: each answers for itself who may do what, and
//! regseal believes nothing but a clear yes.

use std::sync::Arc;
use std::thread;

use http::Method;
use serde_json::json;

use crate::bypass::{Signed, assert_nothing_shown};
use crate::support::clients::{Tool, cosign2, cosign3, crane, notation, regctl};
use crate::support::gate::{Asked, Gate, Gated, Verdict};
use crate::support::http::Endpoint;
use crate::support::images::{ACCEPT, NOTATION};
use crate::support::policy::{Desk, Policy};
use crate::support::programs::{
    SOURCE, Start, TAG, with_containerd, with_crane, with_docker, with_helm, with_oras,
    with_podman, with_skopeo,
};
use crate::support::raw::Connection;
use crate::support::token_server::Issuer;
use crate::support::{
    ALICE, Auth, BOB, Content, EVE, Http, Policed, Registry, Regseal, Repository, TokenServer,
    User, wait_for,
};

const APP: &str = "team/app";

const RULES: &str = r#"
  - {name: kept, repositories: ["kept/**"], require: {any: [build, release]}, on_unsigned_push: reject}
"#;

fn errors(code: &str) -> String {
    json!({"errors": [{"code": code, "message": "by the gate"}]}).to_string()
}

fn challenged(lines: &[&str]) -> Verdict {
    let lines = lines.iter();
    let lines = lines.map(|line| ("WWW-Authenticate", (*line).to_owned()));
    let headers = lines.chain([("Content-Type", "application/json".to_owned())]);
    Verdict::Answer(401, headers.collect(), errors("UNAUTHORIZED"))
}

/// As Nexus with anonymous access: everybody reads, those with a password write, and the scheme is in capitals.
fn in_capitals(asked: &Asked) -> Verdict {
    let user = asked.user();
    let may = match user.as_deref() {
        Some("alice") => true,
        Some("bob") | None => {
            matches!(asked.method, Method::GET | Method::HEAD)
                && (user.is_some() || asked.path != "/v2/")
        }
        Some(_) => false,
    };
    if may {
        Verdict::Pass
    } else {
        challenged(&["BASIC realm=\"Sonatype Nexus Repository Manager\""])
    }
}

/// As registries that are their own token service, below their API and by whatever name they are called.
fn with_own_tokens(issuer: Arc<Issuer>, masks: bool) -> impl Fn(&Asked) -> Verdict {
    move |asked| {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        if path == "/v2/token" {
            if asked.method != Method::GET {
                return Verdict::refuse(405, "UNSUPPORTED", asked);
            }
            // Without the other method there are no tokens for later.
            let query = &query.replace("offline_token=true", "");
            let basic = asked.header("Authorization");
            let (status, answer) = issuer.answer(query, (!basic.is_empty()).then_some(basic));
            let headers = vec![("Content-Type", "application/json".to_owned())];
            return Verdict::Answer(status, headers, answer.to_string());
        }
        let is_known = asked.holder().is_some();
        let may = |(name, action): (String, &'static str)| {
            User::permits(asked.holder().as_deref(), &name, action)
        };
        if masks && is_known && !asked.wants().into_iter().all(may) {
            return Verdict::refuse(404, "NAME_UNKNOWN", asked);
        }
        if asked.is_granted() {
            return Verdict::Pass;
        }
        let mut host = asked.header("X-Forwarded-Host");
        if host.is_empty() {
            host = asked.header("Host");
        }
        let scopes: Vec<String> = asked
            .wants()
            .into_iter()
            .map(|(name, action)| {
                let actions = if action == "push" {
                    "pull,push"
                } else {
                    action
                };
                format!("repository:{name}:{actions}")
            })
            .collect();
        let service = TokenServer::SERVICE;
        let mut line = format!("Bearer realm=\"http://{host}/v2/token\",service=\"{service}\"");
        if !scopes.is_empty() {
            line = format!("{line},scope=\"{}\"", scopes.join(" "));
        }
        if is_known {
            line.push_str(",error=\"insufficient_scope\"");
        }
        challenged(&[&line])
    }
}

/// regseal with a policy, before a gate that has a rule of its own.
fn policed(
    registry: Registry,
    rule: impl Fn(&Asked) -> Verdict + Send + Sync + 'static,
) -> (Policed, Gate) {
    let gate = Gate::before(&registry);
    gate.rule(rule);
    let access = match registry.endpoint.auth() {
        Auth::Token => registry.endpoint.access.clone(),
        Auth::None | Auth::Basic => gate.endpoint.access.clone(),
    };
    let upstream = Endpoint {
        access,
        ..gate.endpoint.clone()
    };
    let desk = Desk::of(ALICE, upstream.auth());
    let policy = Policy::of(&desk, "", RULES);
    // The token service is on the host of the registry: no realm has to be allowed.
    let regseal = policy.regseal_at(&upstream, &registry);
    let regseal = regseal.environment("REGSEAL__AUTH__REALMS", "[]").start();
    desk.sits_at(&regseal.endpoint);
    let stage = Policed {
        regseal,
        registry,
        desk,
        policy,
    };
    (stage, gate)
}

/// All programs push and pull, all that sign do so for what was rejected, and who may only pull does not see that.
fn everybody_works(stage: &Policed) {
    stage.repository("open/app").push_image(TAG);
    assert_eq!(SOURCE, format!("open/app:{TAG}"));
    let starts: [(&str, Start); 7] = [
        ("crane", with_crane),
        ("skopeo", with_skopeo),
        ("oras", with_oras),
        ("podman", with_podman),
        ("helm", with_helm),
        ("ctr", with_containerd),
        ("docker", with_docker),
    ];
    let authority = &stage.regseal.endpoint.authority;
    for (program, start) in starts {
        let client = start(stage, ALICE);
        let image = format!("{authority}/open/{program}/app:{TAG}");
        (client.push)(&image).success();
        (client.pull)(&image).success();
        let behind = stage.behind(&format!("open/{program}/app"));
        assert_eq!(behind.tags(), [TAG], "{program}");
    }

    let endpoint = &stage.regseal.endpoint;
    let with_key = |tool: Tool| {
        let key = stage.desk.public_key().with_file_name("cosign.key");
        tool.file("build.key", std::fs::read(key).unwrap());
        tool
    };
    let cosign = ["sign", "--key", "build.key", "--tlog-upload=false", "-y"];
    let newer = [&cosign[..], &["--use-signing-config=false"]].concat();
    for (name, signs) in [
        ("cosign2", cosign.to_vec()),
        ("cosign3", newer),
        ("notation", vec![]),
    ] {
        let name = format!("kept/{name}");
        let repository = stage.repository(&name);
        let image = repository.image();
        repository.put_manifest("v1", &image).refused(403, "DENIED");
        let reference = stage.reference(&name, &image);
        regctl(endpoint, ALICE)
            .run(["manifest", "get", &reference])
            .success();
        crane(endpoint, BOB)
            .run(["manifest", &reference])
            .failure("");
        if signs.is_empty() {
            stage.desk.notation_signs(&reference);
        } else {
            let tool = if name.ends_with('2') {
                cosign2
            } else {
                cosign3
            };
            let tool = with_key(tool(endpoint, ALICE));
            tool.run(signs.into_iter().chain([reference.as_str()]))
                .success();
        }
        repository.put_manifest("v1", &image).expect(201);
        notation(endpoint, BOB).run(["list", &reference]).success();
        crane(endpoint, BOB).run(["manifest", &reference]).success();
    }
}

/// No credential is anywhere but on its way.
fn nothing_has_leaked(stage: &Policed, gate: &Gate) {
    let log = stage.regseal.log();
    let metrics = stage.regseal.admin.get("/metrics").expect(200);
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    for secret in [
        ALICE.password,
        BOB.password,
        "rs1.",
        "Bearer ey",
        "Basic ",
        "eyJ0",
    ] {
        assert!(!log.contains(secret), "{secret} is in the log");
        assert!(!metrics.contains(secret), "{secret} is in the metrics");
    }
    for asked in gate.seen() {
        assert!(!asked.header("authorization").contains("rs1."), "{asked:?}");
    }
}

#[test]
fn all_programs_work_with_a_basic_scheme_in_capitals_and_anonymous_pull() {
    let (stage, gate) = policed(Registry::with(Auth::None), in_capitals);
    everybody_works(&stage);
    nothing_has_leaked(&stage, &gate);
}

#[test]
fn all_programs_work_where_the_token_service_is_below_the_api_and_hides() {
    let registry = Registry::with(Auth::Token);
    let rule = with_own_tokens(registry.tokens().issuer(), true);
    let (stage, gate) = policed(registry, rule);
    everybody_works(&stage);
    nothing_has_leaked(&stage, &gate);
}

#[test]
fn all_programs_work_where_the_token_service_is_on_another_host() {
    let stage = Policed::with(Auth::Token, RULES);
    everybody_works(&stage);
    let nothing = Gate::before(&stage.registry);
    nothing_has_leaked(&stage, &nothing);
}

#[test]
fn who_gives_no_name_reads_and_does_not_write() {
    let stage = Gated::before(Registry::with(Auth::None));
    stage.gate.rule(in_capitals);
    let alice = stage.repository(APP);
    let signed = Signed::at(&alice);
    let forged = alice.artifact(NOTATION, Some(&signed.image));
    let anonymous = Repository::new(stage.regseal.endpoint.anonymous(), APP);
    for path in signed.paths() {
        anonymous.http.get(&anonymous.path(&path)).expect(200);
    }
    for (reference, manifest) in [
        (forged.digest(), &forged),
        (signed.image.companion_tag(".sig"), &signed.cosign),
        (signed.image.companion_tag(""), &forged),
    ] {
        let refused = anonymous.put_manifest(&reference, manifest);
        let challenge = refused.refused(401, "UNAUTHORIZED");
        let challenge = challenge.header("www-authenticate").to_owned();
        assert_eq!(
            challenge,
            "BASIC realm=\"Sonatype Nexus Repository Manager\""
        );
    }
    anonymous
        .delete_manifest(&signed.signature.digest())
        .expect(401);
    // Who gives a wrong name does not even read.
    let eve = stage.regseal.endpoint.repository(EVE, APP);
    for path in signed.paths() {
        let reply = eve.http.get(&eve.path(&path)).expect(401);
        assert_nothing_shown(&reply, &signed);
    }
    assert_eq!(
        alice.referrers(&signed.image),
        [signed.signature.as_referrer()]
    );
}

#[test]
fn what_is_not_a_clear_yes_is_none() {
    let stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository(APP);
    let signed = Signed::at(&repository);
    let page = "<html>log in</html>";
    let to = |status, location: &str| (status, vec![("Location", location.to_owned())], "");
    let html = vec![("Content-Type", "text/html; charset=utf-8".to_owned())];
    let wait = vec![("Retry-After", "0".to_owned())];
    for (number, (status, headers, body)) in [
        (200, html.clone(), page),
        (201, html.clone(), page),
        (203, html, page),
        to(301, "https://elsewhere.invalid/v2/"),
        to(302, "https://elsewhere.invalid/login"),
        to(303, "/login"),
        to(307, "https://elsewhere.invalid/v2/"),
        to(308, "/login"),
        (400, vec![], ""),
        (401, vec![], ""),
        (402, vec![], ""),
        (403, vec![], ""),
        (404, vec![], ""),
        (405, vec![], ""),
        (406, vec![], ""),
        (410, vec![], ""),
        (429, wait, ""),
        (451, vec![], ""),
        (500, vec![], ""),
        (501, vec![], ""),
        (503, vec![], ""),
    ]
    .into_iter()
    .enumerate()
    {
        stage.gate.rule(move |asked| match asked.user().as_deref() {
            Some("alice") => Verdict::Pass,
            _ if asked.path == "/login" => {
                let html = vec![("Content-Type", "text/html".to_owned())];
                Verdict::Answer(200, html, page.to_owned())
            }
            _ => Verdict::Answer(status, headers.clone(), body.to_owned()),
        });
        let name = format!("stranger-{number}");
        let stranger = Http::new(&stage.regseal.endpoint.authority).basic(&name, "x");
        // Twice: the first may have taught something.
        for _ in 0..2 {
            for path in signed.paths() {
                for method in ["GET", "HEAD"] {
                    let path = repository.path(&path);
                    let reply = stranger.request(method, &path, &[ACCEPT], "");
                    assert_nothing_shown(&reply, &signed);
                    let of_store = reply.header("x-content-type-options") == "nosniff";
                    assert!(!of_store, "{status}: {reply:?}");
                    if [401, 403, 429].contains(&status) {
                        assert_eq!(reply.status, status, "{reply:?}");
                    }
                }
            }
            let stranger = Repository::new(stranger.clone(), APP);
            let forged = stranger.put_manifest(&signed.signature.digest(), &signed.signature);
            assert!(
                forged.status == status || forged.status >= 300,
                "{status}: {forged:?}"
            );
        }
    }
    stage.gate.open();
    assert_eq!(
        repository.referrers(&signed.image),
        [signed.signature.as_referrer()]
    );
}

#[test]
fn many_who_ask_at_once_cost_one_question() {
    let stage = Gated::before(Registry::with(Auth::None));
    let signed = Signed::at(&stage.repository(APP));
    let subject = format!("/v2/{APP}/manifests/{}", signed.image.digest());
    stage.gate.rule(|asked| match asked.method {
        Method::HEAD => Verdict::PassAfter(std::time::Duration::from_millis(200)),
        _ => Verdict::Pass,
    });
    let questions = |user: User| {
        stage.gate.seen();
        thread::scope(|scope| {
            for path in [0; 20].map(|_| format!("manifests/{}", signed.signature.digest())) {
                let repository = stage.regseal.endpoint.repository(user, APP);
                scope.spawn(move || repository.http.get(&repository.path(&path)).expect(200));
            }
        });
        let seen = stage.gate.seen();
        assert!(seen.iter().all(|asked| asked.path == subject), "{seen:?}");
        seen.len()
    };
    for user in [BOB, EVE] {
        assert_eq!(
            questions(user),
            1,
            "{user:?}: HEAD of the subject, and nothing else"
        );
    }
}

/// A limit is the caller's own, is passed on with its time, and makes no questions but those of the caller.
#[test]
fn who_has_to_wait_is_not_asked_about() {
    let stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository(APP);
    let signed = Signed::at(&repository);
    stage.gate.rule(|asked| {
        if asked.user().as_deref() != Some("eve") {
            return Verdict::Pass;
        }
        let wait = vec![("Retry-After", "40".to_owned())];
        Verdict::Answer(429, wait, errors("TOOMANYREQUESTS"))
    });
    let [eve, bob] = [EVE, BOB].map(|user| stage.regseal.endpoint.repository(user, APP));
    for (count, path) in signed.paths().iter().chain(&signed.paths()).enumerate() {
        stage.gate.seen();
        let reply = eve.http.get(&eve.path(path));
        assert_nothing_shown(&reply, &signed);
        let reply = reply.refused(429, "TOOMANYREQUESTS");
        let told: u64 = reply.header("retry-after").parse().unwrap();
        assert!((1..=40).contains(&told), "{reply:?}");
        assert_eq!(stage.gate.seen().len(), usize::from(count == 0), "{path}");
    }
    // What she sends herself goes on, once.
    stage.gate.seen();
    eve.get_manifest("v1").refused(429, "TOOMANYREQUESTS");
    eve.http
        .request("POST", &eve.path("blobs/uploads/"), &[], "")
        .expect(429);
    assert_eq!(stage.gate.seen().len(), 2);
    for path in signed.paths() {
        bob.http.get(&bob.path(&path)).expect(200);
    }
}

/// What the registry is told of a limit counts, whoever has asked: a request of the client, or regseal itself.
#[test]
fn a_limit_of_what_the_client_sends_holds_questions_back() {
    let stage = Gated::before(Registry::with(Auth::None));
    let signed = Signed::at(&stage.repository(APP));
    stage.gate.rule(|asked| {
        if asked.user().as_deref() == Some("eve") && asked.path.ends_with("/manifests/v1") {
            let wait = vec![("Retry-After", "40".to_owned())];
            return Verdict::Answer(429, wait, errors("TOOMANYREQUESTS"));
        }
        Verdict::Pass
    });
    let eve = stage.regseal.endpoint.repository(EVE, APP);
    eve.get_manifest("v1").expect(429);
    stage.gate.seen();
    eve.get_referrers(&signed.image.digest(), "")
        .refused(429, "TOOMANYREQUESTS");
    assert_eq!(stage.gate.seen().len(), 0);
}

#[test]
fn a_right_that_was_taken_away_ends_on_every_path() {
    let registry = Registry::with(Auth::None);
    let gate = Gate::before(&registry);
    let regseal = Regseal::at(&gate.endpoint)
        .config("auth: {cache_ttl: 1s}\n")
        .start();
    let [alice, bob] = [ALICE, BOB].map(|user| regseal.endpoint.repository(user, APP));
    let signed = Signed::at(&alice);
    let forged = alice.artifact(NOTATION, Some(&signed.image));
    for path in signed.paths() {
        bob.http.get(&bob.path(&path)).expect(200);
    }
    bob.push_blob(&Content::random("application/octet-stream"));
    gate.rule(|asked| match asked.user().as_deref() {
        Some("bob") => Verdict::refuse(403, "DENIED", asked),
        _ => Verdict::Pass,
    });
    for path in signed.paths() {
        wait_for("the end of what was decided", || {
            (bob.http.get(&bob.path(&path)).status == 403).then_some(())
        });
    }
    wait_for("the end of the right to push", || {
        let again = bob.put_manifest(&signed.signature.digest(), &signed.signature);
        (again.status == 403).then_some(())
    });
    let refused = bob.put_manifest(&forged.digest(), &forged);
    assert_nothing_shown(&refused.refused(403, "DENIED"), &signed);
    bob.delete_manifest(&signed.signature.digest()).expect(403);
    assert_eq!(
        alice.referrers(&signed.image),
        [signed.signature.as_referrer()]
    );
}

/// The paths at which some registries have their token service are not names of repositories.
#[test]
fn token_services_below_the_api_are_reached_as_they_are() {
    let registry = Registry::with(Auth::Token);
    let gate = Gate::before(&registry);
    gate.rule(with_own_tokens(registry.tokens().issuer(), false));
    let upstream = Endpoint {
        access: registry.endpoint.access,
        ..gate.endpoint.clone()
    };
    let regseal = Regseal::at(&upstream).start();
    let authority = &regseal.endpoint.authority;
    let reply = Http::new(authority).get(&format!(
        "/v2/{APP}/referrers/{}",
        Content::random("").digest()
    ));
    let challenge = reply.expect(401).header("www-authenticate").to_owned();
    let service = TokenServer::SERVICE;
    assert_eq!(
        challenge,
        format!(
            "Bearer realm=\"http://{authority}/v2/token\",service=\"{service}\",scope=\"repository:{APP}:pull\""
        ),
    );
    let image = regseal.endpoint.repository(ALICE, APP).push_image("v1");
    let tool = crane(&regseal.endpoint, BOB);
    let digest = tool
        .run(["digest", &tool.reference(&format!("{APP}:v1"))])
        .success()
        .stdout;
    assert_eq!(digest, image.digest());

    gate.rule(|asked| Verdict::refuse(418, "UNSUPPORTED", asked));
    for path in ["/v2/token", "/v2/auth", "/v2/_catalog", "/v2/_x/y"] {
        for method in ["GET", "POST"] {
            gate.seen();
            let path = format!("{path}?service=s&scope=repository:a:pull&scope=b%20c");
            let bob = Http::new(authority).basic(BOB.name, BOB.password);
            bob.request(method, &path, &[("X-Other", "1")], "grant_type=password")
                .expect(418);
            let seen = gate.seen();
            let [asked] = seen.as_slice() else {
                panic!("{path}: {seen:?}");
            };
            assert_eq!(asked.line(), format!("{method} {path}"));
            assert_eq!(asked.user().as_deref(), Some(BOB.name));
            assert_eq!(asked.header("x-other"), "1");
        }
    }
}

#[test]
fn challenges_are_relayed_as_they_are() {
    let stage = Gated::before(Registry::with(Auth::None));
    let signed = Signed::at(&stage.repository(APP));
    const LINES: [&str; 3] = [
        "Bearer realm=\"https://auth.example/token?x=1,2\",service=\"a b\",scope=\"repository:team/app:pull\",error=\"insufficient_scope\"",
        "BASIC realm=\"r\"",
        "Negotiate",
    ];
    stage.gate.rule(|_| challenged(&LINES));
    let bob = stage.regseal.endpoint.repository(BOB, APP);
    for path in signed
        .paths()
        .into_iter()
        .chain(["tags/list".to_owned(), "manifests/v1".to_owned()])
    {
        for method in ["GET", "HEAD", "DELETE", "PUT"] {
            let is_manifest = path.starts_with("manifests/");
            if !["GET", "HEAD"].contains(&method) && !is_manifest {
                continue;
            }
            let body = if method == "PUT" {
                signed.signature.bytes.clone()
            } else {
                "".into()
            };
            let headers = [("Content-Type", signed.signature.media_type.as_str())];
            let reply = bob.http.request(method, &bob.path(&path), &headers, body);
            if method == "PUT" && reply.status == 400 {
                continue;
            }
            let reply = reply.expect(401);
            let lines = reply.headers.get_all("www-authenticate").iter();
            let lines: Vec<&str> = lines.map(|line| line.to_str().unwrap()).collect();
            assert_eq!(lines, LINES, "{method} {path}");
        }
    }
}

/// Whoever has to give a name is told so before the body has come.
#[test]
fn a_push_without_a_name_is_refused_before_its_body_is_read() {
    for auth in [Auth::Basic, Auth::Token] {
        let registry = Registry::with(auth);
        let regseal = Regseal::before(&registry);
        let authority = &regseal.endpoint.authority;
        for reference in ["v1", &Content::random("").digest()] {
            let mut connection = Connection::to(authority);
            connection.send(format!(
                "PUT /v2/{APP}/manifests/{reference} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 1000\r\n\
                 Expect: 100-continue\r\n\r\n"
            ));
            let reply = connection.receive().refused(401, "UNAUTHORIZED");
            assert!(!reply.header("www-authenticate").is_empty(), "{reply:?}");
        }
        // Also where the body comes all the same.
        let large = Content::new("application/json", vec![b' '; 3 << 20]);
        let nobody = Repository::new(Http::new(authority), APP);
        nobody
            .put_manifest("v1", &large)
            .refused(401, "UNAUTHORIZED");
    }
}

#[test]
fn credentials_of_a_connection_go_nowhere() {
    let stage = Gated::before(Registry::with(Auth::None));
    let http =
        Http::new(&stage.regseal.endpoint.authority).header("Authorization", "NTLM TlRMTVNTUAAB");
    stage.gate.seen();
    http.get("/v2/").refused(400, "UNAUTHORIZED");
    http.get(&format!("/v2/{APP}/tags/list"))
        .refused(400, "UNAUTHORIZED");
    assert_eq!(stage.gate.seen().len(), 0);
}

/// Some servers take a request for one of another method; what they then answer would decide about the first.
#[test]
fn a_method_cannot_be_disguised() {
    let stage = Gated::before(Registry::with(Auth::None));
    let signed = Signed::at(&stage.repository(APP));
    let is_a_read = |asked: &Asked| {
        let methods = [
            "x-http-method",
            "x-http-method-override",
            "x-method-override",
        ];
        methods.iter().any(|name| asked.header(name) == "GET")
    };
    stage.gate.rule(move |asked| {
        if asked.user().as_deref() == Some("alice") || is_a_read(asked) {
            return Verdict::Pass;
        }
        Verdict::refuse(403, "DENIED", asked)
    });
    let bob = stage.regseal.endpoint.repository(BOB, APP);
    for name in [
        "X-HTTP-Method",
        "X-HTTP-Method-Override",
        "X-Method-Override",
    ] {
        let path = bob.path(&format!("manifests/{}", signed.signature.digest()));
        bob.http
            .request("DELETE", &path, &[(name, "GET")], "")
            .expect(403);
        let headers = [
            (name, "GET"),
            ("Content-Type", signed.signature.media_type.as_str()),
        ];
        let body = signed.signature.bytes.clone();
        bob.http.request("PUT", &path, &headers, body).expect(403);
    }
    let referrers = stage.repository(APP).referrers(&signed.image);
    assert_eq!(referrers, [signed.signature.as_referrer()]);
}

/// A wrapper is good where it was made for, with the token it was made around, in the header where tokens belong.
#[test]
fn a_wrapper_is_good_for_nothing_else() {
    let registry = Registry::with(Auth::Token);
    let rule = with_own_tokens(registry.tokens().issuer(), false);
    let (stage, gate) = policed(registry, rule);
    let [kept, other] = ["kept/a", "kept/b"].map(|name| {
        let repository = stage.repository(name);
        let image = repository.image();
        repository.put_manifest("v1", &image).refused(403, "DENIED");
        repository.path(&format!("manifests/{}", image.digest()))
    });
    let authority = &stage.regseal.endpoint.authority;
    let service = TokenServer::SERVICE.replace(' ', "+");
    let wrapped = |user: User, more: &str| {
        let http = Http::new(authority).basic(user.name, user.password);
        let path = format!("/_regseal/token?service={service}{more}");
        let answer = http.get(&path).expect(200).json();
        answer["token"].as_str().unwrap().to_owned()
    };
    let read = |token: &str, path: &str| Http::new(authority).bearer(token).get(path).status;
    let of_a = wrapped(ALICE, "&scope=repository:kept/a:pull");
    let of_both = wrapped(
        ALICE,
        "&scope=repository:kept/a:pull+repository:kept/b:pull",
    );
    let repeated = wrapped(
        ALICE,
        "&scope=repository:kept/a:pull&scope=repository:kept/b:pull",
    );
    let of_bob = wrapped(
        BOB,
        "&scope=repository:kept/a:pull&scope=repository:kept/b:pull",
    );
    assert_eq!(read(&of_a, &kept), 200);
    for token in [&of_both, &repeated] {
        assert_eq!(
            (read(token, &kept), read(token, &other)),
            (200, 200),
            "two scopes"
        );
    }
    assert_eq!((read(&of_bob, &kept), read(&of_bob, &other)), (404, 404));
    let inner = |token: &str| token.splitn(3, '.').nth(2).unwrap().to_owned();
    let seal = |token: &str| token.split('.').nth(1).unwrap().to_owned();
    for (token, expected, why) in [
        (
            inner(&of_a),
            404,
            "without its seal, which the registry does not let push",
        ),
        (
            format!("rs1.{}.{}", seal(&of_a), inner(&of_bob)),
            404,
            "around the token of another",
        ),
        (
            format!("rs1.{}.{}", seal(&of_bob), inner(&of_a)),
            404,
            "with the seal of another",
        ),
        (
            format!("rs1.{}.{}", &seal(&of_a)[1..], inner(&of_a)),
            404,
            "cut",
        ),
        (format!("rs1.{}.", seal(&of_a)), 401, "without its token"),
        (format!("rs1.{}", seal(&of_a)), 401, "the seal alone"),
        (
            of_a[..of_a.len() - 1].to_owned(),
            401,
            "with a token that was cut",
        ),
    ] {
        assert_eq!(read(&token, &kept), expected, "{why}");
    }
    assert_eq!(read(&of_a, &other), 401, "in another repository");
    for query in ["token", "access_token", "authorization"] {
        let path = format!("{kept}?{query}={of_a}");
        Http::new(authority).get(&path).expect(401);
    }
    nothing_has_leaked(&stage, &gate);
}

/// The grants of OAuth 2, with a token service on another host: what they give is as good as what a password gives.
#[test]
fn refresh_tokens_are_passed_on_and_tell_who_may_push() {
    let stage = Policed::with(Auth::Token, RULES);
    let repository = stage.repository("kept/a");
    let image = repository.image();
    repository.put_manifest("v1", &image).refused(403, "DENIED");
    let path = repository.path(&format!("manifests/{}", image.digest()));
    let nobody = Http::new(&stage.regseal.endpoint.authority);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let ask = |fields: String| {
        let fields = format!("service=s&client_id=c&scope=repository:kept/a:pull&{fields}");
        nobody.request("POST", "/_regseal/token", &form, fields)
    };
    let later = Http::new(nobody.authority()).basic(ALICE.name, ALICE.password);
    let later =
        later.get("/_regseal/token?service=s&offline_token=true&scope=repository:kept/a:pull");
    let later = later.expect(200).json();
    let refresh = later["refresh_token"].as_str().unwrap();
    assert!(
        !refresh.starts_with("rs1."),
        "it is the token service's own"
    );
    ask(format!("grant_type=refresh_token&refresh_token={refresh}")).expect(200);
    for (user, expected) in [(ALICE, 200), (BOB, 404)] {
        let password = format!(
            "grant_type=password&access_type=offline&username={}&password={}",
            user.name, user.password
        );
        let first = ask(password).expect(200).json();
        let refresh = first["refresh_token"].as_str().unwrap();
        let second = ask(format!("grant_type=refresh_token&refresh_token={refresh}"));
        let second = second.expect(200).json();
        for answer in [first.clone(), second] {
            let token = answer["access_token"].as_str().unwrap();
            assert_eq!(
                nobody.clone().bearer(token).get(&path).status,
                expected,
                "{user:?}"
            );
        }
        assert!(
            !stage.regseal.log().contains(refresh),
            "a refresh token is in the log"
        );
    }
    ask("grant_type=refresh_token&refresh_token=unknown".to_owned()).refused(401, "UNAUTHORIZED");
}

/// A client that has no name to give, where some repositories are for everybody.
#[test]
fn tokens_for_nobody_pull_what_is_public_and_push_nothing() {
    let stage = Policed::with(Auth::Token, RULES);
    let endpoint = &stage.regseal.endpoint;
    let names = ["public/app", "team/app"];
    let signed = names.map(|name| Signed::at(&stage.repository(name)));
    let anonymous = Tool::new("crane", endpoint);
    let copy = |name: &str| anonymous.reference(&format!("{name}:v1"));
    anonymous
        .run(["digest", "--insecure", &copy("public/app")])
        .success();
    anonymous
        .run(["digest", "--insecure", &copy("team/app")])
        .failure("UNAUTHORIZED");
    let refused = ["tag", "--insecure", &copy("public/app"), "v2"].map(str::to_owned);
    anonymous.run(refused).failure("UNAUTHORIZED");
    let nobody = endpoint.anonymous();
    for path in signed[0].paths() {
        nobody.get(&format!("/v2/public/app/{path}")).expect(200);
    }
    for path in signed[1].paths() {
        let reply = nobody.get(&format!("/v2/team/app/{path}")).expect(401);
        assert_nothing_shown(&reply, &signed[1]);
    }
}
