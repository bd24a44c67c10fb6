//! One line for every decision, and the numbers of all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::pull::{Pull, PullAsked, PullDecision};
use super::push::{Examined, Push, PushAsked, PushDecision};
use super::verdicts::Signature;
use super::{Admission, Unsigned};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::policy::Snapshot;
use crate::verification::Conclusion;

/// What audit lines can be filtered by.
const TARGET: &str = "regseal::audit";

const DECISIONS: &str = "regseal.admission.decisions";
const VERIFICATION: &str = "regseal.verification.duration";
const SIGNATURES: &str = "regseal.signatures";

/// Seconds.
const DURATIONS: [f64; 10] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0,
];

/// The instruments.
#[derive(Clone, Debug)]
pub struct AdmissionMetrics {
    decisions: Counter<u64>,
    verification: Histogram<f64>,
    signatures: Counter<u64>,
}

impl AdmissionMetrics {
    /// Makes the instruments.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        Self {
            decisions: meter
                .u64_counter(DECISIONS)
                .with_description("Decisions about pushes and pulls, by decision and rule.")
                .build(),
            verification: meter
                .f64_histogram(VERIFICATION)
                .with_unit("s")
                .with_description("Time to verify one signature for all authorities.")
                .with_boundaries(DURATIONS.to_vec())
                .build(),
            signatures: meter
                .u64_counter(SIGNATURES)
                .with_description("Signatures that were pushed, by family and verdict.")
                .build(),
        }
    }

    pub(super) fn verified(&self, signature: &Signature, took: Duration) {
        let labels = [
            KeyValue::new("family", signature.family.as_str()),
            KeyValue::new("result", verdict(signature)),
        ];
        self.verification.record(took.as_secs_f64(), &labels);
    }

    fn decided(&self, action: &'static str, decision: &'static str, rule: Option<&str>) {
        let labels = [
            KeyValue::new("action", action),
            KeyValue::new("decision", decision),
            KeyValue::new("rule", rule.unwrap_or_default().to_owned()),
        ];
        self.decisions.add(1, &labels);
    }

    fn pushed(&self, signature: &Signature) {
        let labels = [
            KeyValue::new("family", signature.family.as_str()),
            KeyValue::new("verdict", verdict(signature)),
        ];
        self.signatures.add(1, &labels);
    }
}

impl Admission {
    pub(super) fn audit_push(&self, snapshot: &Snapshot, asked: &PushAsked<'_>, push: &Push) {
        let (decision, unsigned) = match &push.decision {
            PushDecision::Admit => ("admit", None),
            PushDecision::Allow(unsigned) => ("allow", Some(unsigned)),
            PushDecision::Warn(unsigned) => ("warn", Some(unsigned)),
            PushDecision::Mark(unsigned) => ("tag", Some(unsigned)),
            PushDecision::Reject(unsigned, _) => ("reject", Some(unsigned)),
        };
        self.metrics.decided("push", decision, push.rule.as_deref());
        self.line(
            snapshot,
            &Line {
                action: "push",
                decision,
                repository: asked.repository,
                tag: Some(asked.tag),
                digest: asked.digest,
                rule: push.rule.as_deref(),
                signed_by: Some(&push.signed_by),
                exemption: push.exemption.as_deref(),
                unsigned,
            },
        );
    }

    pub(super) fn audit_pull(&self, snapshot: &Snapshot, asked: &PullAsked<'_>, pull: &Pull) {
        let (decision, unsigned) = match &pull.decision {
            PullDecision::Allow => ("allow", None),
            PullDecision::Warn(unsigned) => ("warn", Some(unsigned)),
            PullDecision::Deny(unsigned) => ("deny", Some(unsigned)),
        };
        self.metrics.decided("pull", decision, pull.rule.as_deref());
        self.line(
            snapshot,
            &Line {
                action: "pull",
                decision,
                repository: asked.repository,
                tag: asked.tag,
                digest: asked.digest,
                rule: pull.rule.as_deref(),
                signed_by: Some(&pull.signed_by),
                exemption: pull.exemption.as_deref(),
                unsigned,
            },
        );
    }

    /// What is unsigned was shown to somebody who may push, to be signed.
    pub fn audit_shown(&self, repository: &RepositoryName, digest: &Digest) {
        self.metrics.decided("pull", "shown", None);
        self.line(
            &self.snapshot(),
            &Line {
                action: "pull",
                decision: "shown",
                repository,
                tag: None,
                digest,
                rule: None,
                signed_by: None,
                exemption: None,
                unsigned: None,
            },
        );
    }

    fn line(&self, snapshot: &Snapshot, line: &Line<'_>) {
        tracing::info!(
            target: TARGET,
            action = line.action,
            decision = line.decision,
            oci.repository = %line.repository,
            oci.tag = line.tag.map(Tag::as_str),
            oci.digest = %line.digest,
            rule = line.rule,
            signatures = line.signed_by.map(listed),
            exemption = line.exemption,
            missing = line.unsigned.map(|unsigned| unsigned.missing.join(", ")),
            reason = line.unsigned.map(|unsigned| unsigned.reasons.join("; ")),
            policy_revision = snapshot.revision().policy,
            trust_revision = snapshot.revision().trust,
            "decided"
        );
    }

    pub(super) fn audit_signature(
        &self,
        snapshot: &Snapshot,
        repository: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
        examined: &Examined,
    ) {
        for signature in &examined.signatures {
            self.metrics.pushed(signature);
            let best = signature.best();
            tracing::info!(
                target: TARGET,
                action = "sign",
                oci.repository = %repository,
                oci.subject = %subject,
                oci.digest = %digest,
                signature = %signature.digest,
                family = signature.family.as_str(),
                verdict = verdict(signature),
                authority = best.and_then(|opinion| opinion.authority.as_deref()),
                identity = best.and_then(|opinion| opinion.verdict.identity.as_deref()),
                reason = best.and_then(|opinion| opinion.verdict.reason()),
                policy_revision = snapshot.revision().policy,
                trust_revision = snapshot.revision().trust,
                "verified"
            );
        }
    }
}

struct Line<'a> {
    action: &'static str,
    decision: &'static str,
    repository: &'a RepositoryName,
    tag: Option<&'a Tag>,
    digest: &'a Digest,
    rule: Option<&'a str>,
    signed_by: Option<&'a BTreeMap<String, Digest>>,
    exemption: Option<&'a str>,
    unsigned: Option<&'a Unsigned>,
}

/// `authority=signature` of each.
fn listed(signed_by: &BTreeMap<String, Digest>) -> String {
    let pairs: Vec<String> = signed_by
        .iter()
        .map(|(authority, signature)| format!("{authority}={signature}"))
        .collect();
    pairs.join(", ")
}

fn verdict(signature: &Signature) -> &'static str {
    let best = signature.best();
    best.map_or(Conclusion::Untrusted, |opinion| opinion.verdict.conclusion)
        .as_str()
}
