//! What the rules say about one push or pull. Whoever asks has found out who has signed; nothing else is looked at.

use std::collections::BTreeSet;

use super::marker::is_marker;
use super::rule::{Exemption, Existing, OnPull, OnPush, Rule};
use super::{Policy, Requirement};
use crate::clock::UnixMillis;
use crate::oci::{Digest, RepositoryName, Tag};

/// What happens to a push by tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushDecision {
    /// It passes: what the rule requires is there.
    Admit,
    /// It passes without.
    Allow,
    /// It passes with a warning.
    Warn,
    /// It passes, and the image is marked.
    Tag,
    /// It is refused.
    Reject,
}

/// What happens to a pull; the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PullDecision {
    /// It passes.
    Allow,
    /// It passes with a warning.
    Warn,
    /// It is refused.
    Deny,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// No rule is about it.
    NoRule,
    /// The rule requires nothing.
    NothingRequired,
    /// What the rule requires is there.
    Signed,
    /// The image is exempt.
    Exempt,
    /// The image was there before regseal, and the rule allows that.
    Existing,
    /// Signatures are missing.
    Unsigned,
}

/// A push, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushJudgement<'a> {
    /// The rule that decided; none if no rule is about it.
    pub rule: Option<&'a Rule>,
    /// What happens.
    pub decision: PushDecision,
    /// Why.
    pub ground: Ground,
    /// Authorities whose signatures would complete what is required; empty unless some are missing.
    pub missing: Vec<String>,
    /// The exemption that was used.
    pub exemption: Option<&'a Exemption>,
}

/// A pull, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullJudgement<'a> {
    /// The rule that decided; none if no rule is about it.
    pub rule: Option<&'a Rule>,
    /// What happens.
    pub decision: PullDecision,
    /// Why.
    pub ground: Ground,
    /// Authorities whose signatures would complete what is required; empty unless some are missing.
    pub missing: Vec<String>,
    /// The exemption that was used.
    pub exemption: Option<&'a Exemption>,
}

impl Policy {
    /// Judges a push of the image `digest` by `tag`, which the authorities in `by` have signed.
    #[must_use]
    pub fn judge_push(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
        by: &BTreeSet<&str>,
        now: UnixMillis,
    ) -> PushJudgement<'_> {
        let rule = self.rule_for(repository, tag);
        let finding = Finding::of(rule, digest, by, now);
        PushJudgement {
            rule,
            decision: match (finding.ground, rule) {
                (Ground::Signed | Ground::Exempt, _) => PushDecision::Admit,
                (_, None) => PushDecision::Allow,
                (_, Some(rule)) => rule.on_unsigned_push.into(),
            },
            ground: finding.ground,
            missing: finding.missing,
            exemption: finding.exemption,
        }
    }

    /// Judges a pull of the image `digest`, which the authorities in `by` have signed, and which was there before regseal
    /// if `existing` says so. `tags` are those that are known to name it; for a pull by tag, that one.
    ///
    /// One tag whose rule is content is enough. Where no tag is known each rule of the repository has to be: the strictest
    /// decides.
    #[must_use]
    pub fn judge_pull(
        &self,
        repository: &RepositoryName,
        tags: &[Tag],
        digest: &Digest,
        by: &BTreeSet<&str>,
        existing: bool,
        now: UnixMillis,
    ) -> PullJudgement<'_> {
        let pull = |rule| PullJudgement::by(rule, digest, by, existing, now);
        let mut named = tags.iter().filter(|tag| !is_marker(tag)).peekable();
        let judged = if named.peek().is_some() {
            let judged = named.map(|tag| pull(self.rule_for(repository, tag)));
            judged.min_by_key(|judgement| judgement.decision)
        } else {
            let rules = self.rules_of(repository).into_iter();
            // Of several that are as strict the first decides, as it does everywhere.
            let judged = rules.rev().map(|rule| pull(Some(rule)));
            judged.max_by_key(|judgement| judgement.decision)
        };
        judged.unwrap_or_else(|| pull(None))
    }
}

impl<'a> PullJudgement<'a> {
    fn by(
        rule: Option<&'a Rule>,
        digest: &Digest,
        by: &BTreeSet<&str>,
        existing: bool,
        now: UnixMillis,
    ) -> Self {
        let mut finding = Finding::of(rule, digest, by, now);
        let passes = existing && rule.is_some_and(|rule| rule.existing == Existing::Allow);
        if finding.ground == Ground::Unsigned && passes {
            finding.ground = Ground::Existing;
            finding.missing.clear();
        }
        Self {
            rule,
            decision: match (finding.ground, rule) {
                (Ground::Signed | Ground::Exempt | Ground::Existing, _) | (_, None) => {
                    PullDecision::Allow
                }
                (_, Some(rule)) => rule.on_unsigned_pull.into(),
            },
            ground: finding.ground,
            missing: finding.missing,
            exemption: finding.exemption,
        }
    }
}

/// What there is to say about an image before it matters what happens to it.
struct Finding<'a> {
    ground: Ground,
    missing: Vec<String>,
    exemption: Option<&'a Exemption>,
}

impl<'a> Finding<'a> {
    fn of(rule: Option<&'a Rule>, digest: &Digest, by: &BTreeSet<&str>, now: UnixMillis) -> Self {
        let exemption = rule.and_then(|rule| rule.exemption(digest, now));
        let missing = |requirement: &Requirement| {
            let missing = requirement.missing(by).into_iter();
            missing.map(str::to_owned).collect()
        };
        let (ground, missing) = match rule.map(|rule| &rule.require) {
            None => (Ground::NoRule, Vec::new()),
            Some(None) => (Ground::NothingRequired, Vec::new()),
            Some(Some(requirement)) if requirement.is_satisfied(by) => (Ground::Signed, Vec::new()),
            Some(Some(_)) if exemption.is_some() => (Ground::Exempt, Vec::new()),
            Some(Some(requirement)) => (Ground::Unsigned, missing(requirement)),
        };
        Self {
            ground,
            missing,
            exemption: exemption.filter(|_| ground == Ground::Exempt),
        }
    }
}

impl From<OnPush> for PushDecision {
    fn from(on_unsigned: OnPush) -> Self {
        match on_unsigned {
            OnPush::Allow => Self::Allow,
            OnPush::Warn => Self::Warn,
            OnPush::Tag => Self::Tag,
            OnPush::Reject => Self::Reject,
        }
    }
}

impl From<OnPull> for PullDecision {
    fn from(on_unsigned: OnPull) -> Self {
        match on_unsigned {
            OnPull::Allow => Self::Allow,
            OnPull::Warn => Self::Warn,
            OnPull::Deny => Self::Deny,
        }
    }
}

impl PushDecision {
    /// The name in answers, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Allow => "allow",
            Self::Warn => "warn",
            Self::Tag => "tag",
            Self::Reject => "reject",
        }
    }
}

impl PullDecision {
    /// The name in answers, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Warn => "warn",
            Self::Deny => "deny",
        }
    }
}

impl Ground {
    /// In words, for people and programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRule => "no rule",
            Self::NothingRequired => "nothing required",
            Self::Signed => "signed",
            Self::Exempt => "exempt",
            Self::Existing => "existing",
            Self::Unsigned => "unsigned",
        }
    }
}
