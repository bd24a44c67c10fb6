//! What was found out about one signature, check by check.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;
use crate::oci::Digest;

/// A family of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Notary Project signatures, as notation makes them.
    Notation,
    /// Sigstore signatures, as cosign makes them: the `.sig` layout and bundles.
    Cosign,
}

impl Family {
    /// The name in answers, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notation => "notation",
            Self::Cosign => "cosign",
        }
    }
}

/// What a signature is worth to one authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conclusion {
    /// It is good, and made by whom the authority names.
    Valid,
    /// It is well made, and not by whom the authority names, or not for this time.
    Untrusted,
    /// It contradicts itself or its subject, whoever made it.
    Invalid,
    /// Its format or version is not known here.
    Unsupported,
    /// Something that is needed for an answer could not be had.
    Undetermined,
}

impl Conclusion {
    /// The name in answers, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Untrusted => "untrusted",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Undetermined => "undetermined",
        }
    }
}

/// The checks, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CheckName {
    /// The signed digest is that of the subject; media type and size are too, once they are known.
    Binding,
    /// The bytes are what was signed, in a form that is allowed.
    Integrity,
    /// The signer is one whom the authority names.
    Authenticity,
    /// The signature was made while its certificates were valid.
    AuthenticTimestamp,
    /// The signature has not expired.
    Expiry,
    /// No certificate was revoked.
    Revocation,
}

impl CheckName {
    /// The name in answers, after the validation types of the Notary Project.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Binding => "binding",
            Self::Integrity => "integrity",
            Self::Authenticity => "authenticity",
            Self::AuthenticTimestamp => "authenticTimestamp",
            Self::Expiry => "expiry",
            Self::Revocation => "revocation",
        }
    }
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It held.
    Passed,
    /// It failed, or could not be decided, where the trust policy only logs that.
    Logged,
    /// It failed.
    Failed,
    /// It was not to be made.
    Skipped,
    /// It could not be decided.
    Undetermined,
}

impl Outcome {
    /// The name in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Logged => "logged",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Undetermined => "undetermined",
        }
    }
}

/// One check with its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Which.
    pub name: CheckName,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, for people; may be empty where it passed.
    pub detail: String,
}

impl Check {
    /// A check with its outcome and reason.
    pub fn new(name: CheckName, outcome: Outcome, detail: impl Into<String>) -> Self {
        Self {
            name,
            outcome,
            detail: detail.into(),
        }
    }
}

/// What one authority makes of one signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The family of the signature.
    pub family: Family,
    /// What it is worth.
    pub conclusion: Conclusion,
    /// Who signed, as far as the signature proves it: the subject of a certificate, the hash of a key.
    pub identity: Option<String>,
    /// The checks that were made, in order. After one that is enforced and failed none follows.
    pub checks: Vec<Check>,
    /// The instant from which the verdict must be made again, if there is one: an expiry, the end of a certificate.
    pub valid_until: Option<UnixMillis>,
}

impl Verdict {
    /// The first check that did not hold, as `name: detail`; where none failed and the signature is not valid all the
    /// same, the first that did not pass.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let failed =
            |check: &&Check| matches!(check.outcome, Outcome::Failed | Outcome::Undetermined);
        let not_passed = |check: &&Check| {
            self.conclusion != Conclusion::Valid && check.outcome != Outcome::Passed
        };
        let mut checks = self.checks.iter();
        let check = checks
            .clone()
            .find(failed)
            .or_else(|| checks.find(not_passed))?;
        Some(format!("{}: {}", check.name.as_str(), check.detail))
    }

    /// Whether it still says something at `now`.
    #[must_use]
    pub fn holds_at(&self, now: UnixMillis) -> bool {
        self.valid_until.is_none_or(|until| now < until)
    }
}

/// What a signature has to be about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Digest of the manifest.
    pub digest: &'a Digest,
    /// Its media type; `None` while the manifest has not been seen.
    pub media_type: Option<&'a str>,
    /// Its length in bytes; `None` while the manifest has not been seen.
    pub size: Option<u64>,
}
