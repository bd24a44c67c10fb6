//! Cases of a policy: an image, who has signed it, and what is expected to happen.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::mistake::LoadErrors;
use super::reading::{At, Reader, suggestion};
use super::rule::OnPush;
use super::{Policy, PullDecision, PullJudgement, PushDecision, PushJudgement, document};
use crate::clock::UnixMillis;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::yaml::{Value, nearest};

/// What stands for the digest of an image that is only named by its tag.
const ANY_DIGEST: &[u8] = b"any image";

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name, or where it stands.
    pub name: String,
    repository: RepositoryName,
    tag: Option<Tag>,
    digest: Digest,
    signed_by: BTreeSet<String>,
    existing: bool,
    at: Option<UnixMillis>,
    push: Option<OnPush>,
    pull: Option<PullDecision>,
    rule: Option<Option<String>>,
}

/// One expectation, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was asked: `push`, `pull` or `rule`.
    pub what: &'static str,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
    /// Why.
    pub why: String,
}

impl Check {
    /// Whether it is as expected.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.expected == self.found
    }
}

/// What came out of cases, each with its name, for programs.
#[must_use]
pub fn as_json(ran: &[(&str, Vec<Check>)]) -> Json {
    let holds = |checks: &[Check]| checks.iter().all(Check::holds);
    let failed = ran.iter().filter(|(_, checks)| !holds(checks)).count();
    let check = |check: &Check| {
        json!({
            "what": check.what,
            "expected": check.expected,
            "found": check.found,
            "why": check.why,
            "holds": check.holds(),
        })
    };
    let cases: Vec<Json> = ran
        .iter()
        .map(|(name, checks)| {
            let each: Vec<Json> = checks.iter().map(check).collect();
            json!({"name": name, "holds": holds(checks), "checks": each})
        })
        .collect();
    json!({"passed": ran.len() - failed, "failed": failed, "cases": cases})
}

/// Reads the text of a file with cases for `policy`; `file` is its name in messages.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file: &Path, text: &str, policy: &Policy) -> Result<Vec<Case>, LoadErrors> {
    let mut reader = Reader::new(file);
    let cases = reader.document(text).and_then(|mut fields| {
        fields.required(&mut reader, "version", document::version);
        let cases = fields.required(&mut reader, "cases", |reader, at| {
            reader.list(at, "cases", |reader, at| case(reader, at, policy))
        });
        fields.finish(&mut reader);
        cases
    });
    reader.finish(cases)
}

fn case(reader: &mut Reader, at: At<'_>, policy: &Policy) -> Option<Case> {
    let mut fields = reader.fields(at)?;
    let name = fields.read(reader, "name", Reader::line);
    let repository = fields.required(reader, "repository", |reader, at| {
        reader.parsed(at, "the name of a repository")
    });
    if !fields.has("tag") && !fields.has("digest") {
        reader.wrong(at, "a tag or a digest is required");
    }
    let is_tagged = fields.has("tag");
    let tag = fields.read(reader, "tag", |reader, at| reader.parsed(at, "a tag"));
    let digest = fields.read(reader, "digest", Reader::digest);
    let signed_by = fields.read(reader, "signed_by", |reader, at| {
        signers(reader, at, policy)
    });
    let existing = fields.read(reader, "existing", |reader, at| match at.node.value {
        Value::Bool(existing) => Some(existing),
        Value::Null
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::List(_)
        | Value::Mapping(_) => {
            reader.unexpected(at, "true or false");
            None
        }
    });
    let instant = fields.read(reader, "at", |reader, at| reader.instant(at, false));
    let expected = fields.required(reader, "expect", |reader, at| {
        expected(reader, at, policy, is_tagged)
    });
    fields.finish(reader);
    let expected = expected?;
    Some(Case {
        name: name.unwrap_or_else(|| at.path.to_owned()),
        repository: repository?,
        tag,
        digest: digest.unwrap_or_else(|| Digest::sha256(ANY_DIGEST)),
        signed_by: signed_by.unwrap_or_default(),
        existing: existing.unwrap_or(false),
        at: instant,
        push: expected.push,
        pull: expected.pull,
        rule: expected.rule,
    })
}

fn signers(reader: &mut Reader, at: At<'_>, policy: &Policy) -> Option<BTreeSet<String>> {
    if at.node.list().is_some_and(<[_]>::is_empty) {
        return Some(BTreeSet::new());
    }
    let known = || {
        policy
            .authorities()
            .iter()
            .map(|authority| authority.name())
    };
    let names = reader.list(at, "authorities", |reader, at| {
        known_name(reader, at, "authority", known().collect())
    })?;
    Some(names.into_iter().collect())
}

fn known_name(reader: &mut Reader, at: At<'_>, what: &str, known: Vec<&str>) -> Option<String> {
    let Some(name) = at.node.text() else {
        reader.unexpected(at, &format!("the name of a {what}"));
        return None;
    };
    if known.contains(&name) {
        return Some(name.to_owned());
    }
    let meant = suggestion(nearest(known, name));
    reader.wrong(at, format!("unknown {what} {name:?}{meant}"));
    None
}

struct Expected {
    push: Option<OnPush>,
    pull: Option<PullDecision>,
    rule: Option<Option<String>>,
}

fn expected(reader: &mut Reader, at: At<'_>, policy: &Policy, is_tagged: bool) -> Option<Expected> {
    let mut fields = reader.fields(at)?;
    if !["push", "pull", "rule"]
        .into_iter()
        .any(|key| fields.has(key))
    {
        reader.wrong(at, "one of push, pull and rule is required");
    }
    let push = fields.read(reader, "push", |reader, at| {
        if !is_tagged {
            reader.wrong(at, "a push is judged by its tag, and the case has none");
        }
        reader.word(at, OnPush::WORDS, &["hold"])
    });
    let pull = fields.read(reader, "pull", |reader, at| {
        let words = [
            ("allow", PullDecision::Allow),
            ("warn", PullDecision::Warn),
            ("deny", PullDecision::Deny),
        ];
        reader.word(at, &words, &[])
    });
    let rule = fields.read(reader, "rule", |reader, at| match at.node.value {
        Value::Null => Some(None),
        Value::Bool(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::List(_)
        | Value::Mapping(_) => {
            let known = policy.rules().iter().map(|rule| rule.name.as_str());
            known_name(reader, at, "rule", known.collect()).map(Some)
        }
    });
    fields.finish(reader);
    Some(Expected { push, pull, rule })
}

impl Case {
    /// Judges the case as a server would at `now`, unless the case names its own instant.
    #[must_use]
    pub fn run(&self, policy: &Policy, now: UnixMillis) -> Vec<Check> {
        let now = self.at.unwrap_or(now);
        let by: BTreeSet<&str> = self.signed_by.iter().map(String::as_str).collect();
        let tags = self.tag.as_slice();
        let pull = policy.judge_pull(
            &self.repository,
            tags,
            &self.digest,
            &by,
            self.existing,
            now,
        );
        let push = self
            .tag
            .as_ref()
            .map(|tag| policy.judge_push(&self.repository, tag, &self.digest, &by, now));
        let mut checks = Vec::new();
        if let (Some(expected), Some(push)) = (self.push, &push) {
            checks.push(Check {
                what: "push",
                expected: expected.as_str().to_owned(),
                found: pushed(push).to_owned(),
                why: why(
                    push.ground.as_str(),
                    push.rule.map(|rule| rule.name.as_str()),
                    &push.missing,
                ),
            });
        }
        if let Some(expected) = self.pull {
            checks.push(Check {
                what: "pull",
                expected: expected.as_str().to_owned(),
                found: pull.decision.as_str().to_owned(),
                why: pulled(&pull),
            });
        }
        if let Some(expected) = &self.rule {
            let found = pull.rule.map(|rule| rule.name.clone());
            let shown = |name: Option<String>| name.unwrap_or_else(|| "none".to_owned());
            checks.push(Check {
                what: "rule",
                expected: shown(expected.clone()),
                found: shown(found),
                why: pulled(&pull),
            });
        }
        checks
    }
}

/// The word that was expected for it; whoever has all signatures passes as well as whoever needs none.
fn pushed(judgement: &PushJudgement<'_>) -> &'static str {
    match judgement.decision {
        PushDecision::Admit => PushDecision::Allow.as_str(),
        other @ (PushDecision::Allow
        | PushDecision::Warn
        | PushDecision::Tag
        | PushDecision::Reject) => other.as_str(),
    }
}

fn pulled(judgement: &PullJudgement<'_>) -> String {
    let rule = judgement.rule.map(|rule| rule.name.as_str());
    why(judgement.ground.as_str(), rule, &judgement.missing)
}

fn why(ground: &str, rule: Option<&str>, missing: &[String]) -> String {
    let rule = rule.map_or_else(String::new, |rule| format!(" (rule {rule})"));
    if missing.is_empty() {
        return format!("{ground}{rule}");
    }
    format!("{ground}{rule}, missing {}", missing.join(", "))
}
