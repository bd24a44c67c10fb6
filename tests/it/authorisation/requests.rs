//! Challenges, paths and headers by which somebody could be taken for another.

use super::{APP, challenged, with_own_tokens};
use crate::bypass::Signed;
use crate::support::clients::crane;
use crate::support::gate::{Asked, Gate, Gated, Verdict};
use crate::support::http::Endpoint;
use crate::support::{ALICE, Auth, BOB, Content, Http, Registry, Regseal, TokenServer};

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
