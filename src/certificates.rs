//! Certificates, private keys and authorities in PEM (RFC 7468): read whole, and judged before anything uses them.
//!
//! The configuration judges the files it names, the listener and the client of the registry use them: all by this.
//! Nothing here reads a file, and no message repeats what is in one.

use std::sync::Arc;

use der::Decode;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use x509_cert::Certificate;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CertificateError {
    /// It is no PEM, or broken PEM.
    #[error("is not PEM")]
    Pem,
    /// There is no certificate in it.
    #[error("has no certificate")]
    NoCertificate,
    /// One of its certificates cannot be read or trusted.
    #[error("has a certificate that cannot be used: {0}")]
    Unusable(rustls::Error),
    /// There is no private key in it.
    #[error("has no private key")]
    NoKey,
    /// Its private key is of a kind that is not known.
    #[error("has a private key that cannot be used")]
    UnusableKey,
    /// Its private key is not that of the certificate.
    #[error("is not the key of the certificate")]
    Mismatch,
}

/// The cryptography of all connections.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// The certificates of a chain, the server's or client's own first.
///
/// # Errors
/// There is none, or the text is broken.
pub fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = read.or(Err(CertificateError::Pem))?;
    let own = chain.first().ok_or(CertificateError::NoCertificate)?;
    rustls::server::ParsedCertificate::try_from(own).map_err(CertificateError::Unusable)?;
    Ok(chain)
}

/// The private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
///
/// # Errors
/// There is none, or it is of no known kind.
pub fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let key = PrivateKeyDer::from_pem_slice(pem).or(Err(CertificateError::NoKey))?;
    let known = provider().key_provider.load_private_key(key.clone_key());
    known.or(Err(CertificateError::UnusableKey))?;
    Ok(key)
}

/// A chain with the key of its first certificate.
///
/// # Errors
/// The key belongs to another certificate.
pub fn identity(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, CertificateError> {
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
        if matches!(error, rustls::Error::InconsistentKeys(_)) {
            CertificateError::Mismatch
        } else {
            CertificateError::Unusable(error)
        }
    })
}

/// Authorities to trust.
///
/// # Errors
/// There is none, or one that cannot be trusted.
pub fn authorities(pem: &[u8]) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.or(Err(CertificateError::Pem))?;
        roots.add(certificate).map_err(CertificateError::Unusable)?;
    }
    if roots.is_empty() {
        return Err(CertificateError::NoCertificate);
    }
    Ok(roots)
}

/// Why a certificate does not count `now`, in seconds since 1970, by its own dates.
#[must_use]
pub fn out_of_time(certificate: &CertificateDer<'_>, now: u64) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let validity = &certificate.tbs_certificate.validity;
    let [from, until] =
        [validity.not_before, validity.not_after].map(|time| time.to_unix_duration().as_secs());
    if now < from {
        Some(format!("is not valid before {}", validity.not_before))
    } else if now > until {
        Some(format!("has expired at {}", validity.not_after))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn made() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
        let certificate = parameters.self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_chain_and_its_key_are_an_identity_and_those_of_two_are_not() {
        let (own, other) = (made(), made());
        let chain_of = |pem: &str| chain(pem.as_bytes());
        let key_of = |pem: &str| key(pem.as_bytes());
        let both = format!("{}{}", own.0, other.0);
        assert_eq!(chain_of(&both).unwrap().len(), 2);
        identity(chain_of(&both).unwrap(), key_of(&own.1).unwrap()).unwrap();
        let crossed = identity(chain_of(&own.0).unwrap(), key_of(&other.1).unwrap());
        assert_eq!(crossed.unwrap_err(), CertificateError::Mismatch);
    }

    #[test]
    fn what_is_no_certificate_and_no_key_is_refused_by_its_kind() {
        let (certificate, private) = made();
        let cut = certificate.replace("-----END", "-----");
        for (pem, expected, why) in [
            ("", CertificateError::NoCertificate, "empty"),
            (&private, CertificateError::NoCertificate, "a key"),
            (&cut, CertificateError::Pem, "cut off"),
        ] {
            assert_eq!(chain(pem.as_bytes()).unwrap_err(), expected, "{why}");
            assert_eq!(authorities(pem.as_bytes()).unwrap_err(), expected, "{why}");
        }
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for read in [
            chain(garbage.as_bytes()).err(),
            authorities(garbage.as_bytes()).err(),
        ] {
            assert!(
                matches!(read, Some(CertificateError::Unusable(_))),
                "{read:?}"
            );
        }
        assert_eq!(authorities(certificate.as_bytes()).unwrap().len(), 1);
        for (pem, expected, why) in [
            (&certificate, CertificateError::NoKey, "a certificate"),
            (
                &"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned(),
                CertificateError::UnusableKey,
                "no key inside",
            ),
        ] {
            assert_eq!(key(pem.as_bytes()).unwrap_err(), expected, "{why}");
        }
    }

    #[test]
    fn a_certificate_counts_within_its_dates() {
        let (pem, _) = made();
        let certificate = chain(pem.as_bytes()).unwrap().remove(0);
        for (now, expected) in [
            (
                1_577_836_799,
                Some("is not valid before 2020-01-01T00:00:00Z"),
            ),
            (1_577_836_800, None),
            (1_609_459_200, None),
            (1_609_459_201, Some("has expired at 2021-01-01T00:00:00Z")),
        ] {
            assert_eq!(out_of_time(&certificate, now).as_deref(), expected);
        }
    }
}
