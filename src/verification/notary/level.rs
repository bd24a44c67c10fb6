//! Levels of a statement: what happens when a check fails (trust-store-trust-policy, "Signature verification details").

use crate::verification::{CheckName, Outcome};

/// How strictly a statement has signatures verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Every check is enforced.
    Strict,
    /// Integrity and authenticity are enforced, the others logged.
    Permissive,
    /// Integrity is enforced, the others logged.
    Audit,
    /// Nothing is verified.
    Skip,
}

impl Level {
    pub(super) const NAMES: &str = "strict, permissive, audit or skip";

    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "strict" => Self::Strict,
            "permissive" => Self::Permissive,
            "audit" => Self::Audit,
            "skip" => Self::Skip,
            _ => return None,
        })
    }

    pub(super) fn actions(self) -> Actions {
        let (authenticity, others) = match self {
            Self::Strict => (Action::Enforce, Action::Enforce),
            Self::Permissive => (Action::Enforce, Action::Log),
            Self::Audit => (Action::Log, Action::Log),
            Self::Skip => (Action::Skip, Action::Skip),
        };
        Actions {
            authenticity,
            authentic_timestamp: others,
            expiry: others,
            revocation: others,
        }
    }
}

/// What happens when a check fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The signature does not count.
    Enforce,
    /// It is reported.
    Log,
    /// The check is not made.
    Skip,
}

impl Action {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "enforce" => Self::Enforce,
            "log" => Self::Log,
            "skip" => Self::Skip,
            _ => return None,
        })
    }

    /// How a check that ended with `outcome` is reported under this action.
    pub(super) fn applied_to(self, outcome: Outcome) -> Outcome {
        match (self, outcome) {
            (Self::Skip, _) => Outcome::Skipped,
            (Self::Log, Outcome::Failed | Outcome::Undetermined) => Outcome::Logged,
            (Self::Log | Self::Enforce, outcome) => outcome,
        }
    }
}

/// The action of each check that a statement can turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Actions {
    pub(super) authenticity: Action,
    pub(super) authentic_timestamp: Action,
    pub(super) expiry: Action,
    pub(super) revocation: Action,
}

impl Actions {
    /// The check of that name in an `override`; `None` for what cannot be overridden, integrity among it.
    pub(super) fn named(&mut self, name: &str) -> Option<&mut Action> {
        Some(match name {
            "authenticity" => &mut self.authenticity,
            "authenticTimestamp" => &mut self.authentic_timestamp,
            "expiry" => &mut self.expiry,
            "revocation" => &mut self.revocation,
            _ => return None,
        })
    }

    /// The action of a check. Binding and integrity are always enforced.
    pub(super) fn of(&self, check: CheckName) -> Action {
        match check {
            CheckName::Binding | CheckName::Integrity => Action::Enforce,
            CheckName::Authenticity => self.authenticity,
            CheckName::AuthenticTimestamp => self.authentic_timestamp,
            CheckName::Expiry => self.expiry,
            CheckName::Revocation => self.revocation,
        }
    }
}
