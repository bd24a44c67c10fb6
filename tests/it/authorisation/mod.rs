//! Every kind of registry there is to authorise by, and what it costs it: each answers for itself who may do what, and
//! regseal believes nothing but a clear yes.

mod decisions;
mod programs;
mod requests;
mod tokens;

use std::sync::Arc;

use http::Method;
use serde_json::json;

use crate::support::gate::{Asked, Gate, Verdict};
use crate::support::http::Endpoint;
use crate::support::policy::{Desk, Policy};
use crate::support::token_server::Issuer;
use crate::support::{ALICE, Auth, BOB, Policed, Registry, TokenServer, User};

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
