//! What is allowed in a policy, and perhaps not meant.

use super::authority::Authority;
use super::mistake::{Place, Warning};
use super::reading::Reader;
use super::rule::{OnPull, OnPush, Rule};
use crate::clock::UnixMillis;

/// What is worth a look in rules that are right.
pub(super) fn rules(
    reader: &Reader,
    rules: &[Rule],
    authorities: &[Authority],
    now: UnixMillis,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for authority in authorities {
        let is_used = rules.iter().any(|rule| uses(rule, &authority.name));
        if !is_used {
            let place = reader.place(Some(authority.line), &authority.path());
            warnings.push(Warning::new(place, "no rule requires this authority"));
        }
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("rules[{index}]");
        let place = |line, key: &str| reader.place(Some(line), &format!("{path}{key}"));
        if let Some(wider) = rules
            .iter()
            .take(index)
            .find(|earlier| covers(earlier, rule))
        {
            let problem = format!("never decides: {:?} is about all of it before", wider.name);
            warnings.push(Warning::hopeless(place(rule.line, ""), problem));
        }
        if rule.on_unsigned_push == OnPush::Reject && rule.on_unsigned_pull != OnPull::Deny {
            let problem = format!(
                "the way by digest is open: what cannot be pushed by tag can be pushed by digest, and pulled ({})",
                rule.on_unsigned_pull.as_str()
            );
            warnings.push(Warning::new(place(rule.line, ".on_unsigned_pull"), problem));
        }
        for (number, exemption) in rule.exempt.iter().enumerate() {
            if let Some(until) = exemption.until.filter(|until| *until <= now) {
                let place = place(exemption.line, &format!(".exempt[{number}]"));
                warnings.push(Warning::new(place, format!("ended {until}")));
            }
        }
    }
    warnings.sort_by_key(|warning| warning.place.line);
    warnings
}

/// Whether the requirement of a rule names an authority.
pub(super) fn uses(rule: &Rule, authority: &str) -> bool {
    let require = rule.require.as_ref();
    require.is_some_and(|require| require.authorities().contains(&authority))
}

/// Whether it is certain that `wide` is about all that `narrow` is about.
fn covers(wide: &Rule, narrow: &Rule) -> bool {
    let repositories = narrow.repositories.iter().all(|narrow| {
        let mut patterns = wide.repositories.iter();
        patterns.any(|wide| wide.covers(narrow))
    });
    let tags = |narrow| wide.tags.iter().any(|wide| wide.covers(narrow));
    repositories && narrow.tags.iter().all(tags)
}

impl Warning {
    pub(super) fn new(place: Place, problem: impl Into<String>) -> Self {
        Self {
            place,
            problem: problem.into(),
            is_hopeless: false,
        }
    }

    pub(super) fn hopeless(place: Place, problem: impl Into<String>) -> Self {
        Self {
            is_hopeless: true,
            ..Self::new(place, problem)
        }
    }
}
