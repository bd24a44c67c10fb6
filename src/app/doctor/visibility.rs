//! What a caller without rights is told of what does not exist, and the API that lists referrers.

use http::StatusCode;

use super::capability::{Capability, Findings, Value};
use super::front::{Authentication, Scheme};
use super::registry::{Question, Registry, Reply, Silence, Who};
use crate::oci::{RepositoryName, media_type};

/// The digest of nothing that is known.
const ABSENT: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Whether the registry answers 404 for what a caller may not see: a caller without rights is shown the same answer for a
/// private repository as for one that is not there.
pub(super) async fn hides(
    registry: &Registry,
    authentication: &Authentication,
    absent: &RepositoryName,
    findings: &mut Findings,
) -> Result<(), Silence> {
    let ask = async |who| {
        registry
            .read(who, Question::manifest(absent, "latest"))
            .await
    };
    let nobody = ask(Who::Anonymous).await?;
    let (value, how) = match authentication.scheme {
        Scheme::None if nobody.is_refusal() => (
            Value::Unknown,
            format!(
                "{nobody} to a caller without a name; what users without the right are told takes such a user"
            ),
        ),
        Scheme::None => (
            Value::Unknown,
            format!(
                "{nobody}, and nobody is asked for a name: there is nobody to hide from, unless callers are told apart by address or certificate"
            ),
        ),
        Scheme::Token => {
            let rightless = ask(Who::Rightless).await?;
            match (nobody.is_refusal(), rightless.is_refusal()) {
                (true, true) if rightless.is_with_credential => (
                    Value::No,
                    format!(
                        "{rightless} to a caller without a name and to one whose token allows nothing, although there is no such repository"
                    ),
                ),
                (true, true) => (
                    Value::Unknown,
                    format!(
                        "{nobody} to a caller without a name; a token that allows nothing could not be had"
                    ),
                ),
                (true, false) => (
                    Value::Yes,
                    format!("{rightless} to a token that allows nothing"),
                ),
                (false, _) => (Value::Yes, format!("{nobody} to a caller without a name")),
            }
        }
        Scheme::Basic | Scheme::Unknown if nobody.is_refusal() => (
            Value::Unknown,
            format!(
                "{nobody} to a caller without a name; what users without the right are told takes such a user"
            ),
        ),
        Scheme::Basic | Scheme::Unknown => {
            (Value::Yes, format!("{nobody} to a caller without a name"))
        }
    };
    findings.note(Capability::HidesPrivateRepositories, value, how);
    Ok(())
}

/// Whether referrers are listed, in a repository that need not exist, and perhaps `is_named` by who asks. A status is no proof: some registries answer every
/// path.
pub(super) async fn referrers(
    registry: &Registry,
    repository: &RepositoryName,
    is_named: bool,
    findings: &mut Findings,
) -> Result<(), Silence> {
    let path = format!("/v2/{repository}/referrers/{ABSENT}");
    let reply = registry
        .read(Who::Account, Question::get(path).pulls(repository))
        .await?;
    let (value, how) = match reply.status {
        StatusCode::OK if lists_referrers(&reply) => (Value::Yes, reply.to_string()),
        StatusCode::OK => (
            Value::No,
            format!("{reply}, which is no image index: the status alone proves nothing"),
        ),
        // An endpoint that looks for the repository first is there.
        StatusCode::NOT_FOUND if reply.code() == "NAME_UNKNOWN" => (
            Value::Unknown,
            if is_named {
                format!("{reply}: {repository} does not exist, or is hidden from this caller")
            } else {
                format!("{reply}: a repository that exists can tell, name one with --repository")
            },
        ),
        _ if reply.is_refusal() => (
            Value::Unknown,
            format!("{reply}{}", registry.remedy(&reply)),
        ),
        _ if reply.status.is_server_error() => (Value::Unknown, reply.to_string()),
        StatusCode::TOO_MANY_REQUESTS => (Value::Unknown, reply.to_string()),
        _ => (Value::No, reply.to_string()),
    };
    findings.note(Capability::ReferrersApi, value, how);
    Ok(())
}

/// Whether an answer is one of the Referrers API (distribution-spec "Listing Referrers"), by its type and its body.
pub(super) fn lists_referrers(reply: &Reply) -> bool {
    let body = reply.json();
    reply.status == StatusCode::OK
        && reply.media_type() == media_type::IMAGE_INDEX
        && body
            .get("manifests")
            .is_some_and(serde_json::Value::is_array)
}

/// What is said to a digest that is none.
pub(super) async fn invalid_digest(
    registry: &Registry,
    repository: &RepositoryName,
    findings: &mut Findings,
) -> Result<(), Silence> {
    let question = Question::manifest(repository, "sha256:no-digest");
    let reply = registry.read(Who::Account, question).await?;
    let value = match reply.status {
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => Value::Yes,
        _ if reply.is_refusal() => Value::Unknown,
        _ => Value::No,
    };
    findings.note(Capability::InvalidDigest, value, reply);
    Ok(())
}
