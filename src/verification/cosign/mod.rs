//! Cosign signatures that were made with a key: the `.sig` layout and Sigstore bundles.
//!
//! Everything is examined in one order: bounds, form, the digest that is claimed, and only then the signature. What can
//! be said without a key is said by the `examine_*` functions; they never answer *valid*. Certificates, transparency log
//! entries and timestamps that come along are neither needed nor believed here, so they are not looked at beyond their
//! number.

mod bundle;
mod claim;
mod key;
mod object;
mod simple_signing;
mod statement;

pub use key::{Hash, KeyError, PublicKey};

use std::collections::BTreeMap;

use super::{Evidence, Subject, Verdict};

/// Whoever holds one key, without asking a transparency log.
#[derive(Clone, Debug)]
pub struct KeyAuthority {
    /// The key.
    pub key: PublicKey,
}

impl KeyAuthority {
    /// What this authority makes of `evidence`; `None` where that is of another family.
    #[must_use]
    pub fn verify(&self, evidence: &Evidence, subject: &Subject<'_>) -> Option<Verdict> {
        match evidence {
            Evidence::Envelope { .. } => None,
            Evidence::SimpleSigning {
                payload,
                annotations,
            } => Some(verify_simple(payload, annotations, subject, &self.key)),
            Evidence::Bundle { media_type, bytes } => {
                Some(verify_bundle(bytes, media_type, subject, &self.key))
            }
        }
    }
}

/// Verifies one layer of the `.sig` layout.
#[must_use]
pub fn verify_simple(
    payload: &[u8],
    annotations: &BTreeMap<String, String>,
    subject: &Subject<'_>,
    key: &PublicKey,
) -> Verdict {
    claim::verdict(
        simple_signing::read(payload, annotations, subject),
        Some(key),
    )
}

/// Verifies a bundle; `media_type` is that of its layer.
#[must_use]
pub fn verify_bundle(
    bundle: &[u8],
    media_type: &str,
    subject: &Subject<'_>,
    key: &PublicKey,
) -> Verdict {
    claim::verdict(bundle::read(bundle, media_type, subject), Some(key))
}

/// What can be said of a layer of the `.sig` layout without a key: at best *untrusted*.
#[must_use]
pub fn examine_simple(
    payload: &[u8],
    annotations: &BTreeMap<String, String>,
    subject: &Subject<'_>,
) -> Verdict {
    claim::verdict(simple_signing::read(payload, annotations, subject), None)
}

/// What can be said of a bundle without a key: at best *untrusted*.
#[must_use]
pub fn examine_bundle(bundle: &[u8], media_type: &str, subject: &Subject<'_>) -> Verdict {
    claim::verdict(bundle::read(bundle, media_type, subject), None)
}

#[cfg(test)]
mod tests;
