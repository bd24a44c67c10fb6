//! Public keys of certificates, and the signatures they verify (signature-specification, "Algorithms").

use aws_lc_rs::signature::{self as engine, UnparsedPublicKey, VerificationAlgorithm};
use const_oid::ObjectIdentifier;
use der::asn1::UintRef;
use der::{Decode, Sequence};
use p256::ecdsa::signature::Verifier as _;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// The algorithm of an envelope's signature. It follows from the key of the leaf, never from the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
}

impl Algorithm {
    /// The value of `alg`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        }
    }
}

/// The key of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    Rsa {
        /// Bits of the modulus, without leading zeros.
        bits: usize,
        /// `RSAPublicKey`.
        encoded: Vec<u8>,
    },
    /// The point of a key on a curve.
    Ec(Curve, Vec<u8>),
    /// Of no kind that may sign here.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    #[allow(dead_code, reason = "the engine judges the exponent")]
    exponent: UintRef<'a>,
}

impl PublicKey {
    pub(super) fn new(info: &SubjectPublicKeyInfoOwned) -> Self {
        Self::read(info).unwrap_or(Self::Other)
    }

    fn read(info: &SubjectPublicKeyInfoOwned) -> Option<Self> {
        let encoded = info.subject_public_key.as_bytes()?.to_vec();
        if info.algorithm.oid == RSA {
            let key = RsaPublicKey::from_der(&encoded).ok()?;
            let modulus = key.modulus.as_bytes();
            let zeros = usize::try_from(modulus.first()?.leading_zeros()).ok()?;
            let bits = (modulus.len() * 8).checked_sub(zeros)?;
            return Some(Self::Rsa { bits, encoded });
        }
        if info.algorithm.oid != EC {
            return None;
        }
        let curve: ObjectIdentifier = info.algorithm.parameters.as_ref()?.decode_as().ok()?;
        let curve = match curve {
            P256 => Curve::P256,
            P384 => Curve::P384,
            P521 => Curve::P521,
            _ => return None,
        };
        Some(Self::Ec(curve, encoded))
    }

    /// The algorithm with which this key signs envelopes; `None` if it must not.
    pub(super) fn algorithm(&self) -> Option<Algorithm> {
        Some(match self {
            Self::Rsa { bits: 2048, .. } => Algorithm::Ps256,
            Self::Rsa { bits: 3072, .. } => Algorithm::Ps384,
            Self::Rsa { bits: 4096, .. } => Algorithm::Ps512,
            Self::Ec(Curve::P256, _) => Algorithm::Es256,
            Self::Ec(Curve::P384, _) => Algorithm::Es384,
            Self::Ec(Curve::P521, _) => Algorithm::Es512,
            Self::Rsa { .. } | Self::Other => return None,
        })
    }

    /// Whether it is strong enough to sign certificates.
    pub(super) fn may_issue(&self) -> bool {
        match self {
            Self::Rsa { bits, .. } => *bits >= 2048,
            Self::Ec(..) => true,
            Self::Other => false,
        }
    }

    /// Whether this key signed `message` with its algorithm: PSS with a salt as long as the hash, or ECDSA with both
    /// numbers at full length.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verify = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key)
                .verify(message, signature)
                .is_ok()
        };
        match (self, self.algorithm()) {
            (Self::Rsa { encoded, .. }, Some(Algorithm::Ps256)) => {
                verify(&engine::RSA_PSS_2048_8192_SHA256, encoded)
            }
            (Self::Rsa { encoded, .. }, Some(Algorithm::Ps384)) => {
                verify(&engine::RSA_PSS_2048_8192_SHA384, encoded)
            }
            (Self::Rsa { encoded, .. }, Some(Algorithm::Ps512)) => {
                verify(&engine::RSA_PSS_2048_8192_SHA512, encoded)
            }
            (Self::Ec(Curve::P256, point), _) => verifies_p256(point, message, signature),
            (Self::Ec(Curve::P384, point), _) => verify(&engine::ECDSA_P384_SHA384_FIXED, point),
            (Self::Ec(Curve::P521, point), _) => verify(&engine::ECDSA_P521_SHA512_FIXED, point),
            (Self::Rsa { .. } | Self::Other, _) => false,
        }
    }

    /// Whether this key signed the certificate whose signed part and signature these are. SHA-1 and older hashes never
    /// verify.
    pub(super) fn issued(&self, algorithm: Issuance, signed: &[u8], signature: &[u8]) -> bool {
        let (engine, key): (&'static dyn VerificationAlgorithm, &[u8]) = match (self, algorithm) {
            (Self::Rsa { encoded, .. }, Issuance::Pkcs1(hash)) => (
                match hash {
                    Hash::Sha256 => &engine::RSA_PKCS1_2048_8192_SHA256,
                    Hash::Sha384 => &engine::RSA_PKCS1_2048_8192_SHA384,
                    Hash::Sha512 => &engine::RSA_PKCS1_2048_8192_SHA512,
                },
                encoded,
            ),
            (Self::Rsa { encoded, .. }, Issuance::Pss(hash)) => (
                match hash {
                    Hash::Sha256 => &engine::RSA_PSS_2048_8192_SHA256,
                    Hash::Sha384 => &engine::RSA_PSS_2048_8192_SHA384,
                    Hash::Sha512 => &engine::RSA_PSS_2048_8192_SHA512,
                },
                encoded,
            ),
            (Self::Ec(curve, point), Issuance::Ecdsa(hash)) => (ecdsa(*curve, hash), point),
            (Self::Rsa { .. } | Self::Ec(..) | Self::Other, _) => return false,
        };
        self.may_issue()
            && UnparsedPublicKey::new(engine, key)
                .verify(signed, signature)
                .is_ok()
    }
}

fn verifies_p256(point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = p256::ecdsa::VerifyingKey::from_sec1_bytes(point) else {
        return false;
    };
    p256::ecdsa::Signature::from_slice(signature)
        .is_ok_and(|signature| key.verify(message, &signature).is_ok())
}

fn ecdsa(curve: Curve, hash: Hash) -> &'static dyn VerificationAlgorithm {
    match (curve, hash) {
        (Curve::P256, Hash::Sha256) => &engine::ECDSA_P256_SHA256_ASN1,
        (Curve::P256, Hash::Sha384) => &engine::ECDSA_P256_SHA384_ASN1,
        (Curve::P256, Hash::Sha512) => &engine::ECDSA_P256_SHA512_ASN1,
        (Curve::P384, Hash::Sha256) => &engine::ECDSA_P384_SHA256_ASN1,
        (Curve::P384, Hash::Sha384) => &engine::ECDSA_P384_SHA384_ASN1,
        (Curve::P384, Hash::Sha512) => &engine::ECDSA_P384_SHA512_ASN1,
        (Curve::P521, Hash::Sha256) => &engine::ECDSA_P521_SHA256_ASN1,
        (Curve::P521, Hash::Sha384) => &engine::ECDSA_P521_SHA384_ASN1,
        (Curve::P521, Hash::Sha512) => &engine::ECDSA_P521_SHA512_ASN1,
    }
}

/// A hash that certificates may be signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// The algorithm of a certificate's own signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Issuance {
    Pkcs1(Hash),
    Pss(Hash),
    Ecdsa(Hash),
    /// SHA-1, MD5, or not known here.
    Refused,
}

#[derive(Sequence)]
struct PssParameters {
    #[asn1(context_specific = "0", optional = "true")]
    hash: Option<AlgorithmIdentifierOwned>,
    #[asn1(context_specific = "1", optional = "true")]
    mask: Option<AlgorithmIdentifierOwned>,
    #[asn1(context_specific = "2", optional = "true")]
    salt: Option<u16>,
    #[asn1(context_specific = "3", optional = "true")]
    trailer: Option<u8>,
}

impl Issuance {
    pub(super) fn new(algorithm: &AlgorithmIdentifierOwned) -> Self {
        if algorithm.oid == RSA_PSS {
            return pss(algorithm).map_or(Self::Refused, Self::Pss);
        }
        match algorithm.oid.to_string().as_str() {
            "1.2.840.113549.1.1.11" => Self::Pkcs1(Hash::Sha256),
            "1.2.840.113549.1.1.12" => Self::Pkcs1(Hash::Sha384),
            "1.2.840.113549.1.1.13" => Self::Pkcs1(Hash::Sha512),
            "1.2.840.10045.4.3.2" => Self::Ecdsa(Hash::Sha256),
            "1.2.840.10045.4.3.3" => Self::Ecdsa(Hash::Sha384),
            "1.2.840.10045.4.3.4" => Self::Ecdsa(Hash::Sha512),
            _ => Self::Refused,
        }
    }
}

/// The one hash of PSS parameters whose mask and salt go with it (RFC 4055, section 3.1).
fn pss(algorithm: &AlgorithmIdentifierOwned) -> Option<Hash> {
    let parameters: PssParameters = algorithm.parameters.as_ref()?.decode_as().ok()?;
    let (hash, length) = sha2(&parameters.hash?)?;
    let mask = parameters.mask?;
    let mask_hash: AlgorithmIdentifierOwned = mask.parameters.as_ref()?.decode_as().ok()?;
    let fits = mask.oid == MGF1
        && sha2(&mask_hash)? == (hash, length)
        && parameters.salt == Some(length)
        && parameters.trailer.is_none_or(|trailer| trailer == 1);
    fits.then_some(hash)
}

/// The hash with its length in octets.
fn sha2(algorithm: &AlgorithmIdentifierOwned) -> Option<(Hash, u16)> {
    match algorithm.oid.to_string().as_str() {
        "2.16.840.1.101.3.4.2.1" => Some((Hash::Sha256, 32)),
        "2.16.840.1.101.3.4.2.2" => Some((Hash::Sha384, 48)),
        "2.16.840.1.101.3.4.2.3" => Some((Hash::Sha512, 64)),
        _ => None,
    }
}
