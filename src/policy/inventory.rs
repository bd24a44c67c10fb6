//! What a snapshot trusts in, for people and programs.

use serde::Serialize;

use super::authority::{Authority, Verifier};
use super::trust::Trust;
use super::{Policy, lint};
use crate::verification::Family;
use crate::verification::notary::Level;

/// Everything that is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inventory {
    /// The authorities, in the order of the policy.
    pub authorities: Vec<KnownAuthority>,
    /// The statements of the trust policy.
    pub statements: Vec<KnownStatement>,
    /// The certificates of the trust stores.
    pub certificates: Vec<KnownCertificate>,
}

/// An authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownAuthority {
    /// Its name.
    pub name: String,
    /// Whose signatures it can accept.
    pub family: Family,
    /// The rules that name it.
    pub rules: Vec<String>,
    /// Its key, if it has one.
    pub key: Option<KnownKey>,
    /// The statement it names, if it names one.
    pub statement: Option<String>,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownKey {
    /// Its hash.
    pub fingerprint: String,
    /// Its algorithm.
    pub algorithm: String,
    /// The hash that is signed, where that is not the algorithm's own matter.
    pub hash: Option<String>,
}

/// A statement of the trust policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownStatement {
    /// Its name.
    pub name: String,
    /// The repositories that it is about.
    pub scopes: Vec<String>,
    /// How strictly it has signatures verified.
    pub level: &'static str,
    /// The trust stores that it lists.
    pub stores: Vec<String>,
}

/// A certificate of a trust store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownCertificate {
    /// The trust store.
    pub store: String,
    /// Whose it is.
    pub subject: String,
    /// The instant from which it is not valid any more.
    pub expires: String,
}

impl Inventory {
    pub(super) fn of(
        policy: &Policy,
        verifiers: &[(String, Verifier)],
        trust: Option<&Trust>,
    ) -> Self {
        let known = |authority: &Authority| {
            let verifier = verifiers.iter().find(|(name, _)| name == authority.name());
            let rules = policy.rules().iter();
            let rules = rules.filter(|rule| lint::uses(rule, authority.name()));
            let (key, statement) = match verifier {
                Some((_, Verifier::Key(authority))) => {
                    let key = KnownKey {
                        fingerprint: authority.key.fingerprint().to_owned(),
                        algorithm: authority.key.algorithm().to_owned(),
                        hash: authority.key.hash().map(|hash| hash.to_string()),
                    };
                    (Some(key), None)
                }
                Some((_, Verifier::Statement(statement))) => (None, statement.clone()),
                None => (None, None),
            };
            KnownAuthority {
                name: authority.name().to_owned(),
                family: authority.family(),
                rules: rules.map(|rule| rule.name.clone()).collect(),
                key,
                statement,
            }
        };
        let statements = trust.map(Trust::statements).unwrap_or_default().iter();
        let stores = trust.into_iter().flat_map(|trust| trust.stores().iter());
        Self {
            authorities: policy.authorities().iter().map(known).collect(),
            statements: statements
                .map(|statement| KnownStatement {
                    name: statement.name().to_owned(),
                    scopes: statement.scopes().to_vec(),
                    level: level(statement.level()),
                    stores: statement
                        .trust_stores()
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                })
                .collect(),
            certificates: stores
                .flat_map(|(store, certificates)| {
                    certificates.iter().map(|certificate| KnownCertificate {
                        store: store.to_string(),
                        subject: certificate.subject(),
                        expires: certificate.expires().to_string(),
                    })
                })
                .collect(),
        }
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Strict => "strict",
        Level::Permissive => "permissive",
        Level::Audit => "audit",
        Level::Skip => "skip",
    }
}
