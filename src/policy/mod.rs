//! Policy: which images need whose signature, and what happens to a push or a pull where one is missing.
//!
//! [`Policy`] is the file: authorities, and rules of which the first that is about a repository and a tag decides; without
//! one everything is allowed. [`Snapshot`] is the policy with the keys and certificates it names, read once and immutable:
//! whoever judges takes one and keeps to it. What happens to an image is decided by [`Policy::judge_push`] and
//! [`Policy::judge_pull`] alone, which look at nothing but their arguments.
//!
//! Nothing here has a default that passes: a rule that requires something says what happens without it, and a file with
//! one mistake is not used at all.

mod authority;
pub mod cases;
mod decision;
mod document;
mod files;
mod inventory;
mod lint;
mod marker;
mod mistake;
mod pattern;
mod reading;
mod requirement;
mod rule;
mod snapshot;
#[cfg(test)]
mod tests;
mod times;
mod trust;

pub use self::authority::Authority;
pub use self::decision::{Ground, PullDecision, PullJudgement, PushDecision, PushJudgement};
pub use self::inventory::{Inventory, KnownAuthority, KnownCertificate, KnownKey, KnownStatement};
pub use self::marker::{MARKER, is_marker, marker_tag};
pub use self::mistake::{LoadErrors, Mistake, Place, Warning};
pub use self::pattern::{RepositoryPattern, TagPattern};
pub use self::requirement::Requirement;
pub use self::rule::{Coverage, Exemption, Existing, OnPull, OnPush, OnUntrusted, Rule};
pub use self::snapshot::{Opinion, Revision, Snapshot, Sources};

use std::path::Path;

use self::reading::Reader;
use crate::clock::UnixMillis;
use crate::oci::{RepositoryName, Tag};

/// The rules, in order, and the authorities that they name.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    authorities: Vec<Authority>,
}

impl Policy {
    /// Reads the text of a policy file, without the keys that it names; `file` is its name in messages.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(
        file: &Path,
        text: &str,
        now: UnixMillis,
    ) -> Result<(Self, Vec<Warning>), LoadErrors> {
        let mut reader = Reader::new(file);
        let (policy, warnings) = document::read(&mut reader, text, now).policy();
        reader.finish(policy.map(|policy| (policy, warnings)))
    }

    /// All rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// All authorities, in the order of the file.
    #[must_use]
    pub fn authorities(&self) -> &[Authority] {
        &self.authorities
    }

    /// The authority of this name.
    #[must_use]
    pub fn authority(&self, name: &str) -> Option<&Authority> {
        let mut authorities = self.authorities.iter();
        authorities.find(|authority| authority.name() == name)
    }

    /// The rule of this name.
    #[must_use]
    pub fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }

    /// The rule that decides about a tag: the first that is about it. Marker tags have none.
    #[must_use]
    pub fn rule_for(&self, repository: &RepositoryName, tag: &Tag) -> Option<&Rule> {
        if is_marker(tag) {
            return None;
        }
        let components: Vec<&str> = repository.as_str().split('/').collect();
        self.rules
            .iter()
            .find(|rule| rule.is_about_tag(tag) && rule.is_about(repository.as_str(), &components))
    }

    /// The rules that decide about some tag of a repository, in order. Behind one that is about all tags none does.
    #[must_use]
    pub fn rules_of(&self, repository: &RepositoryName) -> Vec<&Rule> {
        let components: Vec<&str> = repository.as_str().split('/').collect();
        let mut rules = Vec::new();
        for rule in &self.rules {
            if rule.is_about(repository.as_str(), &components) {
                rules.push(rule);
                if rule.is_about_all_tags() {
                    break;
                }
            }
        }
        rules
    }
}
