//! Policies as they are written, and what they decide.

mod cases;
mod decisions;
mod document;
mod fields;
mod mistakes;
mod place;
mod requirements;
mod snapshots;
mod trust;

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::oci::Digest;

/// 2026-01-01.
const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);

/// Three authorities, for rules to require.
const AUTHORITIES: &str = "version: 1
authorities:
  a: {notation: {statement: a}}
  b: {cosign: {key: b.pub, transparency_log: ignored}}
  c: {cosign: {key: c.pub, transparency_log: ignored}}
";

fn read(text: &str) -> Result<(Policy, Vec<Warning>), LoadErrors> {
    Policy::parse(Path::new("policy.yaml"), text, NOW)
}

/// The policy of these rules, which may require `a`, `b` and `c`.
#[track_caller]
fn policy(rules: &str) -> Policy {
    match read(&format!("{AUTHORITIES}rules:\n{rules}")) {
        Ok((policy, _)) => policy,
        Err(errors) => panic!("{errors}"),
    }
}

fn repository(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

fn image() -> Digest {
    Digest::sha256(b"image")
}

/// Names with spaces between them.
fn names(names: &str) -> BTreeSet<&str> {
    names.split_whitespace().collect()
}

fn lines(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(ToString::to_string).collect()
}
