//! Public keys of cosign: PEM with a `SubjectPublicKeyInfo` (RFC 7468, RFC 5480, RFC 8017, RFC 8410).
//!
//! Nothing in a signature says which algorithm made it. It follows from the key, and the hash from the key's size,
//! unless the operator says otherwise: cosign before version 3 signed with SHA-256 whatever the curve.

use std::fmt;

use aws_lc_rs::digest::{self, Digest as Hashed};
use aws_lc_rs::signature::{self as engine, ParsedPublicKey, VerificationAlgorithm};
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef};
use der::{Decode, Reader, SliceReader};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use serde::Deserialize;
use thiserror::Error;
use x509_cert::der::pem;
use x509_cert::spki::SubjectPublicKeyInfoRef;

use crate::oci::Digest;

/// Longer files are no public key; RSA 4096 has 800 bytes.
const MAX_PEM: usize = 16 * 1024;
const BEGIN: &str = "-----BEGIN ";

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// The hash that is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    pub(super) fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        })
    }
}

/// A file that is no key to verify with, and what it is.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// No PEM block.
    #[error("no PEM block; a public key begins with -----BEGIN PUBLIC KEY-----")]
    NotPem,
    /// More than a key can be.
    #[error("longer than {MAX_PEM} bytes, which no public key is")]
    TooLong,
    /// More than one block.
    #[error("several PEM blocks; exactly one public key is expected")]
    Several,
    /// A private key, whatever its form.
    #[error("a private key; the public key is what verifies (cosign public-key --key FILE)")]
    PrivateKey,
    /// A certificate.
    #[error("a certificate, not a public key")]
    Certificate,
    /// An RSA key in its own older form.
    #[error("an RSA key in PKCS#1 form; convert it: openssl rsa -RSAPublicKey_in -pubout")]
    Pkcs1,
    /// Some other block.
    #[error("a PEM block of another type than PUBLIC KEY")]
    OtherBlock,
    /// The block has no end, or is not base64 in lines of 64.
    #[error("a PEM block that is truncated or damaged: {0}")]
    Block(pem::Error),
    /// The block holds no `SubjectPublicKeyInfo`.
    #[error("not a public key inside its PEM block: {0}")]
    Der(#[source] der::Error),
    /// An algorithm that is not verified here.
    #[error("a key of the algorithm {0}, which is not supported")]
    Algorithm(ObjectIdentifier),
    /// A key that may only be used with RSA-PSS.
    #[error("an RSA-PSS key, which is not supported: cosign signs with PKCS#1 v1.5")]
    RsaPss,
    /// A curve that is not verified here.
    #[error("a key on the curve {0}; P-256, P-384 and P-521 are supported")]
    Curve(ObjectIdentifier),
    /// Parameters that the algorithm does not have.
    #[error("the parameters do not belong to the key's algorithm")]
    Parameters,
    /// An RSA modulus of a size that is not accepted.
    #[error("an RSA key of {0} bits; 2048 to 4096 are accepted")]
    RsaSize(usize),
    /// The key itself is malformed: a point off the curve, an even exponent.
    #[error("a malformed {0} key")]
    Malformed(&'static str),
    /// A hash was given for an algorithm that has its own.
    #[error("an Ed25519 key takes no hash setting")]
    HashForEd25519,
}

/// A key that verifies signatures.
#[derive(Clone)]
pub struct PublicKey {
    verifier: Verifier,
    algorithm: &'static str,
    /// `None`: the algorithm hashes as it likes, and needs the whole message.
    hash: Option<Hash>,
    fingerprint: String,
}

#[derive(Clone)]
enum Verifier {
    P256(p256::ecdsa::VerifyingKey),
    Other(ParsedPublicKey),
}

impl PublicKey {
    /// Reads a public key; `hash` is the operator's word against that of the key's size.
    ///
    /// # Errors
    /// What the text is instead, or why the key is not accepted.
    pub fn from_pem(text: &str, hash: Option<Hash>) -> Result<Self, KeyError> {
        let encoded = block(text)?;
        let info = SubjectPublicKeyInfoRef::from_der(&encoded).map_err(KeyError::Der)?;
        let fingerprint = Digest::sha256(&encoded).to_string();
        let (algorithm, verifier, hash) = match info.algorithm.oid {
            EC => elliptic(&info, hash)?,
            RSA => rsa(&info, &encoded, hash)?,
            ED25519 if hash.is_some() => return Err(KeyError::HashForEd25519),
            ED25519 => {
                if info.algorithm.parameters.is_some() {
                    return Err(KeyError::Parameters);
                }
                let name = "Ed25519";
                let key = raw_key(&info, name)?;
                (name, other(&engine::ED25519, key, name)?, None)
            }
            RSA_PSS => return Err(KeyError::RsaPss),
            unknown => return Err(KeyError::Algorithm(unknown)),
        };
        Ok(Self {
            verifier,
            algorithm,
            hash,
            fingerprint,
        })
    }

    /// `sha256:` and the hash of the key's DER: its name in answers and logs.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The algorithm, as people call it.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        self.algorithm
    }

    /// The hash that is signed; `None` for an algorithm that signs the message itself.
    #[must_use]
    pub fn hash(&self) -> Option<Hash> {
        self.hash
    }

    /// Whether `signature` was made over `message` with this key.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match (&self.verifier, self.hash) {
            (Verifier::Other(key), _) => key.verify_sig(message, signature).is_ok(),
            (Verifier::P256(_), Some(hash)) => {
                let hashed = digest::digest(hash.algorithm(), message);
                self.verifies_hashed(hashed.as_ref(), signature)
            }
            (Verifier::P256(_), None) => false,
        }
    }

    /// The same for a message of which there is the hash, made with the key's own algorithm.
    pub(super) fn verifies_hashed(&self, hashed: &[u8], signature: &[u8]) -> bool {
        let Some(hash) = self.hash else {
            return false;
        };
        let Ok(hashed) = Hashed::import_less_safe(hashed, hash.algorithm()) else {
            return false;
        };
        match &self.verifier {
            Verifier::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .and_then(|signature| key.verify_prehash(hashed.as_ref(), &signature))
                .is_ok(),
            Verifier::Other(key) => key.verify_digest_sig(&hashed, signature).is_ok(),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PublicKey")
            .field("algorithm", &self.algorithm)
            .field("hash", &self.hash)
            .field("fingerprint", &self.fingerprint)
            .finish()
    }
}

/// The content of the only block of `text`.
fn block(text: &str) -> Result<Vec<u8>, KeyError> {
    if text.len() > MAX_PEM {
        return Err(KeyError::TooLong);
    }
    let mut labels = text.split(BEGIN).skip(1);
    let label = labels.next().ok_or(KeyError::NotPem)?;
    let label = label.split("-----").next().unwrap_or_default();
    if label.ends_with("PRIVATE KEY") {
        return Err(KeyError::PrivateKey);
    }
    if labels.next().is_some() {
        return Err(KeyError::Several);
    }
    match label {
        "PUBLIC KEY" => {}
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
            return Err(KeyError::Certificate);
        }
        "RSA PUBLIC KEY" => return Err(KeyError::Pkcs1),
        _ => return Err(KeyError::OtherBlock),
    }
    let (_, encoded) = pem::decode_vec(text.trim().as_bytes()).map_err(KeyError::Block)?;
    Ok(encoded)
}

type Read = (&'static str, Verifier, Option<Hash>);

fn elliptic(info: &SubjectPublicKeyInfoRef<'_>, hash: Option<Hash>) -> Result<Read, KeyError> {
    let parameters: AnyRef<'_> = info.algorithm.parameters.ok_or(KeyError::Parameters)?;
    let curve: ObjectIdentifier = parameters.decode_as().map_err(KeyError::Der)?;
    let (name, by_default) = match curve {
        P256 => ("P-256", Hash::Sha256),
        P384 => ("P-384", Hash::Sha384),
        P521 => ("P-521", Hash::Sha512),
        unknown => return Err(KeyError::Curve(unknown)),
    };
    let hash = hash.unwrap_or(by_default);
    let point = raw_key(info, name)?;
    // Uncompressed, which is all that RFC 5480 requires and the field's tools write.
    if point.first() != Some(&4) {
        return Err(KeyError::Malformed(name));
    }
    let verifier = match (curve, hash) {
        (P256, _) => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point);
            Verifier::P256(key.or(Err(KeyError::Malformed(name)))?)
        }
        (P384, Hash::Sha256) => other(&engine::ECDSA_P384_SHA256_ASN1, point, name)?,
        (P384, Hash::Sha384) => other(&engine::ECDSA_P384_SHA384_ASN1, point, name)?,
        (P384, Hash::Sha512) => other(&engine::ECDSA_P384_SHA512_ASN1, point, name)?,
        (_, Hash::Sha256) => other(&engine::ECDSA_P521_SHA256_ASN1, point, name)?,
        (_, Hash::Sha384) => other(&engine::ECDSA_P521_SHA384_ASN1, point, name)?,
        (_, Hash::Sha512) => other(&engine::ECDSA_P521_SHA512_ASN1, point, name)?,
    };
    Ok((name, verifier, Some(hash)))
}

fn rsa(
    info: &SubjectPublicKeyInfoRef<'_>,
    encoded: &[u8],
    hash: Option<Hash>,
) -> Result<Read, KeyError> {
    if !info.algorithm.parameters.is_some_and(|any| any.is_null()) {
        return Err(KeyError::Parameters);
    }
    let name = "RSA";
    let bits = modulus_bits(raw_key(info, name)?).map_err(KeyError::Der)?;
    if !(2048..=4096).contains(&bits) {
        return Err(KeyError::RsaSize(bits));
    }
    let hash = hash.unwrap_or(Hash::Sha256);
    let algorithm: &'static dyn VerificationAlgorithm = match hash {
        Hash::Sha256 => &engine::RSA_PKCS1_2048_8192_SHA256,
        Hash::Sha384 => &engine::RSA_PKCS1_2048_8192_SHA384,
        Hash::Sha512 => &engine::RSA_PKCS1_2048_8192_SHA512,
    };
    Ok((name, other(algorithm, encoded, name)?, Some(hash)))
}

fn modulus_bits(key: &[u8]) -> der::Result<usize> {
    let mut reader = SliceReader::new(key)?;
    let modulus: UintRef<'_> = reader.sequence(|reader| {
        let modulus = reader.decode()?;
        let _exponent: UintRef<'_> = reader.decode()?;
        Ok(modulus)
    })?;
    reader.finish(())?;
    let bytes = modulus.as_bytes();
    let leading = bytes.first().map_or(0, |byte| byte.leading_zeros());
    Ok((bytes.len() * 8).saturating_sub(leading as usize))
}

fn raw_key<'a>(
    info: &SubjectPublicKeyInfoRef<'a>,
    name: &'static str,
) -> Result<&'a [u8], KeyError> {
    let key: BitStringRef<'a> = info.subject_public_key;
    key.as_bytes().ok_or(KeyError::Malformed(name))
}

fn other(
    algorithm: &'static dyn VerificationAlgorithm,
    key: &[u8],
    name: &'static str,
) -> Result<Verifier, KeyError> {
    let key = ParsedPublicKey::new(algorithm, key).or(Err(KeyError::Malformed(name)))?;
    Ok(Verifier::Other(key))
}
