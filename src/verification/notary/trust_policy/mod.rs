//! The trust policy document: which signers a repository trusts, and how strictly.

mod document;

use super::distinguished_name::DistinguishedName;
use super::level::{Action, Actions, Level};
use super::mistake::TrustError;
use super::trust_store::StoreName;
use crate::verification::CheckName;

/// The scope of every repository.
const WILDCARD: &str = "*";

/// A trust policy document that has passed every rule.
#[derive(Clone, Debug)]
pub struct TrustPolicy {
    statements: Vec<Statement>,
}

impl TrustPolicy {
    /// Reads a document. Unknown and repeated fields are refused, unlike notation, which would drop a misspelt
    /// `override` unseen; so is level `skip` for every repository.
    ///
    /// # Errors
    /// Every mistake of the document, each with the statement where it is.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<TrustError>> {
        document::parse(bytes).map(|statements| Self { statements })
    }

    /// The statement of that name.
    #[must_use]
    pub fn statement(&self, name: &str) -> Option<&Statement> {
        self.statements
            .iter()
            .find(|statement| statement.name == name)
    }

    /// The statement for a scope, `host[:port]/repository`: the one that lists exactly that, or else the one for `*`.
    #[must_use]
    pub fn applicable(&self, scope: &str) -> Option<&Statement> {
        let lists = |wanted: &str| {
            self.statements
                .iter()
                .find(|statement| statement.scopes.iter().any(|scope| scope == wanted))
        };
        lists(scope).or_else(|| lists(WILDCARD))
    }

    /// All statements, as written.
    #[must_use]
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }
}

/// Which signers a set of repositories trusts, and how strictly.
#[derive(Clone, Debug)]
pub struct Statement {
    name: String,
    scopes: Vec<String>,
    level: Level,
    actions: Actions,
    verify_timestamp: VerifyTimestamp,
    stores: Vec<StoreName>,
    identities: Vec<Identity>,
}

impl Statement {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its scopes: `host[:port]/repository` each, or `*` alone.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// Its level.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// What happens when a check fails, after level and overrides.
    #[must_use]
    pub fn action(&self, check: CheckName) -> Action {
        self.actions.of(check)
    }

    /// When the time of signing has to be proven by a countersignature, if a `tsa` store is listed.
    #[must_use]
    pub fn verify_timestamp(&self) -> VerifyTimestamp {
        self.verify_timestamp
    }

    /// The trust stores that it lists.
    #[must_use]
    pub fn trust_stores(&self) -> &[StoreName] {
        &self.stores
    }

    /// Whom of those whose chain ends in a store it trusts.
    #[must_use]
    pub fn trusted_identities(&self) -> &[Identity] {
        &self.identities
    }
}

/// When the time of signing has to be proven by a countersignature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyTimestamp {
    /// Always.
    Always,
    /// Only when a certificate of the chain has expired.
    AfterCertExpiry,
}

/// An entry of `trustedIdentities`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Everybody.
    Anyone,
    /// Whose certificate has these attributes in its subject.
    Subject(DistinguishedName),
    /// Of a kind that is not known here: trusts nobody.
    Other(String),
}
