//! The chain of an envelope (signature-specification, "Certificate requirements").
//!
//! The chain is ordered and complete, so it is walked as it stands; nothing is built or searched. A generic path
//! validator cannot do this: it refuses the self-signed leaf that notation makes for tests, and evaluates extensions
//! that the specification says must not be. Where notation is laxer than the specification, the specification holds:
//! basic constraints of a CA must be critical, its key must be strong enough, and a single self-signed certificate must
//! not be signed with SHA-1 either.

use const_oid::ObjectIdentifier;
use jiff::Timestamp;
use thiserror::Error;

use super::certificate::Certificate;
use super::key::Algorithm;

/// Longer chains are refused before any signature is checked.
pub(super) const MAX_LENGTH: usize = 16;

/// Uses that a key for signing artifacts must not have beside (RFC 5280, section 4.2.1.12).
const FOREIGN_USES: [(&str, &str); 6] = [
    ("2.5.29.37.0", "anyExtendedKeyUsage"),
    ("1.3.6.1.5.5.7.3.1", "serverAuth"),
    ("1.3.6.1.5.5.7.3.2", "clientAuth"),
    ("1.3.6.1.5.5.7.3.4", "emailProtection"),
    ("1.3.6.1.5.5.7.3.8", "timeStamping"),
    ("1.3.6.1.5.5.7.3.9", "OCSPSigning"),
];

/// A chain that has passed every rule that does not depend on time or trust.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    certificates: Vec<Certificate>,
    algorithm: Algorithm,
}

/// The chain breaks a rule.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum ChainError {
    #[error("the certificate chain is empty")]
    Empty,
    #[error("the certificate chain has more than {MAX_LENGTH} certificates")]
    TooLong,
    #[error("certificate {0} of the chain is not a certificate in DER")]
    NotACertificate(usize),
    #[error("certificate {subject}: {rule}")]
    Rule {
        subject: String,
        rule: CertificateError,
    },
}

/// A certificate breaks a rule of its place in the chain.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum CertificateError {
    #[error("is not issued by the next one in the chain")]
    NotIssuedByNext,
    #[error("is self-signed, and others follow it")]
    SelfSignedInside,
    #[error("ends the chain, and is not self-signed")]
    NoRoot,
    #[error("a signing certificate must not be a CA")]
    LeafIsAuthority,
    #[error("must be a CA, by critical basic constraints")]
    NotAnAuthority,
    #[error("its path length allows fewer certificates below it")]
    PathTooLong,
    #[error("must have a critical key usage")]
    NoKeyUsage,
    #[error("its key usage must have digitalSignature")]
    NoDigitalSignature,
    #[error("its key usage has more than signing needs")]
    TooManyKeyUsages,
    #[error("its key usage must have keyCertSign")]
    NoCertSign,
    #[error("its extended key usage must not have {0}")]
    ForeignUse(&'static str),
    #[error("its key must be RSA of 2048, 3072 or 4096 bits, or EC on P-256, P-384 or P-521")]
    SigningKey,
    #[error("its key must be RSA of at least 2048 bits, or EC on P-256, P-384 or P-521")]
    IssuingKey,
}

impl Chain {
    /// Reads and checks a chain, leaf first.
    pub(super) fn parse(encoded: &[Vec<u8>]) -> Result<Self, ChainError> {
        if encoded.len() > MAX_LENGTH {
            return Err(ChainError::TooLong);
        }
        let mut certificates = Vec::with_capacity(encoded.len());
        for (index, encoded) in encoded.iter().enumerate() {
            let certificate = Certificate::parse(encoded);
            certificates.push(certificate.or(Err(ChainError::NotACertificate(index)))?);
        }
        let algorithm = check(&certificates)?;
        Ok(Self {
            certificates,
            algorithm,
        })
    }

    pub(super) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The first one, whose key signed.
    pub(super) fn leaf(&self) -> Option<&Certificate> {
        self.certificates.first()
    }

    /// The algorithm that follows from the key of the leaf.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// A certificate that is not valid at `instant`.
    pub(super) fn invalid_at(&self, instant: Timestamp) -> Option<&Certificate> {
        self.certificates
            .iter()
            .find(|certificate| !certificate.is_valid_at(instant))
    }
}

fn check(certificates: &[Certificate]) -> Result<Algorithm, ChainError> {
    let broken = |certificate: &Certificate, rule| ChainError::Rule {
        subject: certificate.subject(),
        rule,
    };
    // What costs nothing comes first: a chain that breaks a rule is not worth a signature check.
    let (leaf, authorities) = certificates.split_first().ok_or(ChainError::Empty)?;
    let algorithm = check_leaf(leaf).map_err(|rule| broken(leaf, rule))?;
    for (below, authority) in authorities.iter().enumerate() {
        check_authority(authority, below).map_err(|rule| broken(authority, rule))?;
    }
    for (certificate, issuer) in certificates.iter().zip(authorities) {
        if certificate.is_issued_by(certificate) {
            return Err(broken(certificate, CertificateError::SelfSignedInside));
        }
        if !certificate.is_issued_by(issuer) {
            return Err(broken(certificate, CertificateError::NotIssuedByNext));
        }
    }
    let root = authorities.last().unwrap_or(leaf);
    if !root.is_issued_by(root) {
        return Err(broken(root, CertificateError::NoRoot));
    }
    Ok(algorithm)
}

pub(super) fn check_leaf(certificate: &Certificate) -> Result<Algorithm, CertificateError> {
    if certificate.is_authority() {
        return Err(CertificateError::LeafIsAuthority);
    }
    let usage = match &certificate.key_usage {
        Some(usage) if usage.critical => usage.value,
        _ => return Err(CertificateError::NoKeyUsage),
    };
    if !usage.digital_signature() {
        return Err(CertificateError::NoDigitalSignature);
    }
    let more = usage.key_encipherment()
        || usage.data_encipherment()
        || usage.key_agreement()
        || usage.key_cert_sign()
        || usage.crl_sign()
        || usage.encipher_only()
        || usage.decipher_only();
    if more {
        return Err(CertificateError::TooManyKeyUsages);
    }
    let uses = certificate.extended_key_usage.iter();
    for usage in uses.flat_map(|extension| &extension.value.0) {
        let is = |text: &str| ObjectIdentifier::new(text).is_ok_and(|oid| oid == *usage);
        if let Some((_, name)) = FOREIGN_USES.iter().find(|(oid, _)| is(oid)) {
            return Err(CertificateError::ForeignUse(name));
        }
    }
    certificate
        .key
        .algorithm()
        .ok_or(CertificateError::SigningKey)
}

/// `below` is the number of intermediate certificates between this one and the leaf.
pub(super) fn check_authority(
    certificate: &Certificate,
    below: usize,
) -> Result<(), CertificateError> {
    let constraints = match &certificate.basic_constraints {
        Some(constraints) if constraints.critical && constraints.value.ca => &constraints.value,
        _ => return Err(CertificateError::NotAnAuthority),
    };
    let allowed = constraints.path_len_constraint.map(usize::from);
    if allowed.is_some_and(|allowed| allowed < below) {
        return Err(CertificateError::PathTooLong);
    }
    match &certificate.key_usage {
        Some(usage) if usage.critical && usage.value.key_cert_sign() => {}
        Some(usage) if usage.critical => return Err(CertificateError::NoCertSign),
        _ => return Err(CertificateError::NoKeyUsage),
    }
    if certificate.key.may_issue() {
        Ok(())
    } else {
        Err(CertificateError::IssuingKey)
    }
}
