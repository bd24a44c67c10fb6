//! What a push and a pull would do, with the signatures that are there or with those that somebody supposes.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Parts;
use super::answer::Refusal;
use crate::oci::{ImageReference, RepositoryName, Tag};
use crate::policy::{PullDecision, PushDecision};
use crate::verification::Conclusion;

/// An image, and perhaps who has signed it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Supposed {
    repository: String,
    tag: String,
    digest: String,
    signed_by: Option<BTreeSet<String>>,
}

impl Parts {
    pub(super) async fn simulate(&self, body: &[u8]) -> Result<Json, Refusal> {
        let snapshot = self.policy()?;
        let read = serde_json::from_slice(body);
        let supposed: Supposed = read.map_err(|error| Refusal::BadBody(error.to_string()))?;
        let Supposed {
            repository,
            tag,
            digest,
            signed_by,
        } = &supposed;
        let wrong = |key: &str| Refusal::BadBody(format!("{key} is invalid"));
        let repository: RepositoryName = repository.parse().or(Err(wrong("repository")))?;
        let tag: Tag = tag.parse().or(Err(wrong("tag")))?;
        let digest = digest.parse().or(Err(wrong("digest")))?;
        let Some(signed_by) = signed_by else {
            let asked = ImageReference {
                host: None,
                repository,
                tag: Some(tag),
                digest: Some(digest),
            };
            let explained = Box::pin(self.explained(&asked.to_string(), &asked)).await?;
            let signatures = explained.signatures.iter();
            let valid = signatures.filter(|signature| signature.verdict == Conclusion::Valid);
            let by: BTreeSet<&str> = valid
                .filter_map(|signature| signature.authority.as_deref())
                .collect();
            return Ok(json!({
                "rule": explained.rule,
                "push": explained.on_push,
                "pull": explained.decision,
                "missing": explained.missing,
                "signed_by": by,
            }));
        };
        let policy = snapshot.policy();
        if let Some(unknown) = signed_by
            .iter()
            .find(|name| policy.authority(name).is_none())
        {
            return Err(Refusal::UnknownAuthority(unknown.clone()));
        }
        let by: BTreeSet<&str> = signed_by.iter().map(String::as_str).collect();
        let now = self.admission.now();
        let push = policy.judge_push(&repository, &tag, &digest, &by, now);
        let tags = std::slice::from_ref(&tag);
        let pull = policy.judge_pull(&repository, tags, &digest, &by, false, now);
        Ok(json!({
            "rule": push.rule.map(|rule| &rule.name),
            "push": match push.decision {
                PushDecision::Admit => "admit",
                PushDecision::Allow => "allow",
                PushDecision::Warn => "warn",
                PushDecision::Tag => "tag",
                PushDecision::Reject => "reject",
            },
            "pull": match pull.decision {
                PullDecision::Allow => "allow",
                PullDecision::Warn => "warn",
                PullDecision::Deny => "deny",
            },
            "missing": push.missing,
            "signed_by": by,
        }))
    }
}
