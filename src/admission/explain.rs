//! What is known of one reference, for people and for programs: every signature, every check, the rule that decides,
//! and what would make it pass.

use std::sync::Arc;

use serde::Serialize;

use super::context::Context;
use super::pull::{PullAsked, PullDecision};
use super::standing::{EXISTING, Standing};
use super::verdicts::Signature;
use super::{Admission, AdmissionError, Elsewhere};
use crate::oci::{Digest, Manifest, RepositoryName, Tag};
use crate::policy::OnPush;
use crate::verification::{Check, Conclusion, Family};

/// An answer of `explain` and `verify`.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// What was asked for.
    pub reference: String,
    /// The digest it names.
    pub digest: Digest,
    /// The rule that decides; none if none is about it.
    pub rule: Option<String>,
    /// What the rule requires, in words.
    pub requires: Option<String>,
    /// Whether it is signed as the rule asks; false without a rule.
    pub signed: bool,
    /// What happens to a pull: `allow`, `warn` or `deny`.
    pub decision: &'static str,
    /// What happens to a push of this digest by this tag: `admit`, `allow`, `warn`, `tag` or `reject`.
    pub on_push: Option<&'static str>,
    /// Why it passes without a signature, if it does: an exemption, or that it was there before.
    pub exemption: Option<String>,
    /// The authorities whose signatures are missing.
    pub missing: Vec<String>,
    /// The signatures that are there.
    pub signatures: Vec<ExplainedSignature>,
    /// What would make it pass, to be typed.
    pub next: Option<String>,
    /// By which policy.
    pub policy_revision: String,
    /// By which trust material.
    pub trust_revision: String,
}

/// One signature.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedSignature {
    /// Digest of its manifest, or of its layer where one manifest holds several.
    pub digest: Digest,
    /// Its family.
    pub family: Family,
    /// What it is worth to the authority named, or to all.
    pub verdict: Conclusion,
    /// The authority that accepts it.
    pub authority: Option<String>,
    /// Who signed.
    pub identity: Option<String>,
    /// The checks.
    pub checks: Vec<Check>,
}

impl From<&Signature> for ExplainedSignature {
    fn from(signature: &Signature) -> Self {
        let best = signature.best();
        let verdict = best.map(|opinion| &opinion.verdict);
        Self {
            digest: signature.digest.clone(),
            family: signature.family,
            verdict: verdict.map_or(Conclusion::Untrusted, |verdict| verdict.conclusion),
            authority: best
                .filter(|opinion| opinion.verdict.conclusion == Conclusion::Valid)
                .and_then(|opinion| opinion.authority.clone()),
            identity: verdict.and_then(|verdict| verdict.identity.clone()),
            checks: verdict
                .map(|verdict| verdict.checks.clone())
                .unwrap_or_default(),
        }
    }
}

/// A manifest to explain.
#[derive(Clone, Copy)]
pub struct ExplainAsked<'a> {
    /// What was asked for, as it was written.
    pub reference: &'a str,
    /// The repository as clients name it, with the host.
    pub named: &'a str,
    /// Where.
    pub repository: &'a RepositoryName,
    /// The tag, if it was asked by one.
    pub tag: Option<&'a Tag>,
    /// Digest of the manifest.
    pub digest: &'a Digest,
    /// The manifest.
    pub manifest: &'a Manifest,
    /// Its length in bytes.
    pub size: u64,
}

impl Admission {
    /// Everything about one manifest.
    ///
    /// # Errors
    /// What a decision needs could not be had.
    pub async fn explain(
        &self,
        asked: ExplainAsked<'_>,
        elsewhere: &dyn Elsewhere,
    ) -> Result<Explanation, AdmissionError> {
        let pull = PullAsked {
            repository: asked.repository,
            tag: asked.tag,
            digest: asked.digest,
            manifest: Some(asked.manifest),
            size: asked.size,
        };
        let mut context = Context::new(self, asked.repository, elsewhere);
        let described = super::Described::of(asked.manifest, asked.size);
        let children = described.children.clone();
        context.describe(asked.digest, described);
        // Nobody is served: nothing is remembered, and no decision is on record.
        let decided = Box::pin(context.judge(&pull)).await?;
        let about = context.about(asked.digest).await?;
        let snapshot = Arc::clone(&context.snapshot);
        let there = self.signatures(&snapshot, asked.repository, &about, elsewhere);
        let there = there.await?;
        let policy = snapshot.policy();
        let rule = match asked.tag {
            Some(tag) => policy.rule_for(asked.repository, tag),
            None => decided.rule.as_ref().and_then(|name| policy.rule(name)),
        };
        let standing = match rule {
            Some(rule) => context.stands(rule, asked.digest, &children).await?,
            None => Standing::Signed(std::collections::BTreeMap::new()),
        };
        let decision = match decided.decision {
            PullDecision::Allow => "allow",
            PullDecision::Warn(_) => "warn",
            PullDecision::Deny(_) => "deny",
        };
        let (signed, exemption, unsigned) = match standing {
            Standing::Signed(_) => (true, None, None),
            Standing::Exempt(reason) => (false, Some(reason), None),
            Standing::Existing => (false, Some(EXISTING.to_owned()), None),
            Standing::Unsigned(unsigned) => (false, None, Some(unsigned)),
        };
        let on_push = asked.tag.map(|_| match (rule, &unsigned) {
            (None, _) | (_, None) => "admit",
            (Some(rule), Some(_)) => match rule.on_unsigned_push {
                OnPush::Allow => "allow",
                OnPush::Warn => "warn",
                OnPush::Tag => "tag",
                OnPush::Reject => "reject",
            },
        });
        Ok(Explanation {
            reference: asked.reference.to_owned(),
            digest: asked.digest.clone(),
            rule: rule.map(|rule| rule.name.clone()),
            requires: rule
                .and_then(|rule| rule.require.as_ref())
                .map(ToString::to_string),
            signed: signed && rule.is_some(),
            decision,
            on_push,
            exemption,
            next: unsigned
                .as_ref()
                .and_then(|unsigned| unsigned.next(asked.named)),
            missing: unsigned
                .map(|unsigned| unsigned.missing)
                .unwrap_or_default(),
            signatures: there.all.iter().map(ExplainedSignature::from).collect(),
            policy_revision: snapshot.revision().policy.clone(),
            trust_revision: snapshot.revision().trust.clone(),
        })
    }
}
