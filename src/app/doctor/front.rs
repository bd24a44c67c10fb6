//! What shows at the front: whether it is a registry, what it asks of callers, what it may be, and how it is spoken to.

use http::header::SERVER;
use http::{StatusCode, Version};
use serde::Serialize;

use super::capability::{Capability, Findings, Value};
use super::registry::{Question, Registry, Reply, Silence, Who};
use crate::auth::relay::direct::{Demand, Granted};

const API_VERSION: &str = "docker-distribution-api-version";

/// A path below `/v2/` that no registry has.
const NOWHERE: &str = "/v2/regseal-doctor/no-such-endpoint/here";

/// How the registry asks who is calling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Authentication {
    pub(super) scheme: Scheme,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) realm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<String>,
    /// Whether the credential that was found is taken.
    pub(super) account: Account,
    pub(super) how: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scheme {
    None,
    Basic,
    Token,
    Unknown,
}

/// What the registry makes of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Account {
    /// There is none.
    None,
    Accepted,
    Refused,
    /// It was not shown: the token service is on another host, which the configuration does not list.
    Withheld,
    Unknown,
}

/// What the front shows.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) authentication: Authentication,
    pub(super) kind: String,
}

/// Whether an answer to `GET /v2/` is one of a registry. A page for people is none, whatever its status.
pub(super) fn is_registry(reply: &Reply) -> bool {
    let is_page = reply.media_type() == "text/html";
    match reply.status {
        StatusCode::UNAUTHORIZED => {
            let demand = Demand::of(&reply.headers);
            demand != Demand::default()
        }
        StatusCode::OK if !reply.header(API_VERSION).is_empty() => true,
        StatusCode::OK => !is_page && (reply.body.is_empty() || reply.json().is_object()),
        _ => false,
    }
}

/// `first` is the answer to `GET /v2/` of nobody.
pub(super) async fn examine(
    registry: &Registry,
    first: &Reply,
    findings: &mut Findings,
) -> Result<Front, Silence> {
    let version = match first.version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        _ => "unknown",
    };
    findings.note(Capability::HttpVersion, version, first);
    let authentication = authentication(registry, first).await?;
    let nowhere = registry.read(Who::Account, Question::get(NOWHERE)).await?;
    let caught = match nowhere.status {
        status if status.is_success() || status.is_redirection() => Value::Yes,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Value::Unknown,
        _ => Value::No,
    };
    findings.note(
        Capability::CatchAll,
        caught,
        format!("{nowhere}, a path that no registry has"),
    );
    Ok(Front {
        kind: kind(first, &nowhere, &authentication),
        authentication,
    })
}

async fn authentication(registry: &Registry, first: &Reply) -> Result<Authentication, Silence> {
    let demand = Demand::of(&first.headers);
    let mut found = Authentication {
        scheme: Scheme::None,
        realm: None,
        service: None,
        account: if registry.has_account() {
            Account::Unknown
        } else {
            Account::None
        },
        how: format!("{first} to a caller without a name"),
    };
    if first.status != StatusCode::UNAUTHORIZED {
        return Ok(found);
    }
    found.scheme = match (demand.tokens.first(), demand.basic) {
        (Some(service), _) => {
            found.realm = Some(service.realm.clone());
            found.service.clone_from(&service.service);
            Scheme::Token
        }
        (None, true) => Scheme::Basic,
        (None, false) => Scheme::Unknown,
    };
    if registry.has_account() {
        found.account = match (found.scheme, demand.tokens.first()) {
            (Scheme::Token, Some(service)) => match registry.log_in(service).await {
                Some(Granted::Token(_)) => Account::Accepted,
                Some(Granted::Refused(_)) => Account::Refused,
                Some(Granted::Elsewhere) => Account::Withheld,
                None => Account::Unknown,
            },
            _ => match registry
                .read(Who::Account, Question::get("/v2/"))
                .await?
                .status
            {
                StatusCode::OK => Account::Accepted,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Account::Refused,
                _ => Account::Unknown,
            },
        };
    }
    Ok(found)
}

/// A guess, for people: nothing is decided by it.
fn kind(first: &Reply, nowhere: &Reply, authentication: &Authentication) -> String {
    let realm = authentication.realm.as_deref().unwrap_or_default();
    let server = first.header(SERVER);
    let has = |name: &str| first.headers.contains_key(name);
    let known = [
        (
            has("x-jfrog-version") || has("x-artifactory-id"),
            "Artifactory",
        ),
        (server.starts_with("Nexus"), "Nexus"),
        (realm.ends_with("/jwt/auth"), "GitLab"),
        (realm.ends_with("/service/token"), "Harbor"),
        (realm.ends_with("/v2/auth"), "Quay"),
        (realm.contains("ghcr.io/"), "GHCR"),
        (realm.contains("auth.docker.io/"), "Docker Hub"),
        (realm.contains(".azurecr.io/"), "ACR"),
        (realm.contains(".amazonaws.com/"), "ECR"),
        (
            has("x-goog-api-version") || realm.contains(".pkg.dev/"),
            "Artifact Registry",
        ),
    ];
    if let Some((_, name)) = known.into_iter().find(|(is, _)| *is) {
        return name.to_owned();
    }
    if first.header(API_VERSION) != "registry/2.0" || nowhere.status != StatusCode::NOT_FOUND {
        return "unknown".to_owned();
    }
    let has_charset = first.header("content-type").contains("charset");
    let kind = match (nowhere.media_type(), nowhere.body.is_empty(), has_charset) {
        ("text/plain", false, true) => "docker-registry 2",
        ("text/plain", false, false) => "distribution 3",
        ("", true, _) => "olareg",
        _ => "unknown",
    };
    kind.to_owned()
}
