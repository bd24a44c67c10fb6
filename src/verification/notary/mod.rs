//! Notary Project signatures, as notation makes them (signature-specification, trust-store-trust-policy).
//!
//! [`verify`] judges one envelope for one statement of the trust policy. The checks run in the order of the
//! specification, and after one that is enforced and did not hold none follows:
//!
//! 1. *integrity*: form, signed attributes, chain and signature. A critical attribute that is not known makes the
//!    signature invalid (RFC 7515, section 4.1.11); notation lets it pass. A signature that asks for a verification
//!    plugin is *unsupported*: its attributes are for the plugin, and no program is ever started.
//! 2. *binding*: the payload names the subject, by digest, media type and size. It is believed only after integrity,
//!    and reported before it.
//! 3. *authenticity*: a certificate of the chain is, byte for byte, in a store of the type that belongs to the signing
//!    scheme, and the leaf is one of the trusted identities.
//! 4. *expiry*, *authentic timestamp* and *revocation*, as the statement has them. What needs a countersignature or an
//!    answer from elsewhere is undetermined.
//!
//! COSE envelopes are unsupported. A signer who is not known never counts: where the statement only logs authenticity,
//! a signature that fails it is untrusted all the same.

mod attributes;
mod certificate;
mod chain;
mod distinguished_name;
mod jws;
mod key;
mod level;
mod mistake;
mod trust_policy;
mod trust_store;
mod verifier;

#[cfg(test)]
mod tests;

pub use certificate::Certificate;
pub use distinguished_name::{DistinguishedName, NameError};
pub use level::{Action, Level};
pub use mistake::{Mistake, TrustError};
pub use trust_policy::{Identity, Statement, TrustPolicy, VerifyTimestamp};
pub use trust_store::{StoreName, StoreType, TrustStores};
pub use verifier::{examine_integrity, verify};
