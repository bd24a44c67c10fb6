//! Makes keys, certificates and envelopes, right ones and wrong ones, octet by octet.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self as engine, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RsaEncoding, RsaKeyPair,
};
use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use const_oid::ObjectIdentifier;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use serde_json::{Map, Value, json};

use crate::oci::Digest;
use crate::verification::Subject;

pub(super) enum Key {
    Rsa(RsaKeyPair),
    P256(p256::ecdsa::SigningKey),
    /// PKCS #8 of a key on P-384 or P-521.
    Ec(&'static str, Vec<u8>),
}

/// The same keys for every test: making RSA keys is slow.
pub(super) static RSA_2048: LazyLock<Key> = LazyLock::new(|| rsa(KeySize::Rsa2048));
pub(super) static RSA_3072: LazyLock<Key> = LazyLock::new(|| rsa(KeySize::Rsa3072));
pub(super) static RSA_4096: LazyLock<Key> = LazyLock::new(|| rsa(KeySize::Rsa4096));

fn rsa(size: KeySize) -> Key {
    Key::Rsa(RsaKeyPair::generate(size).unwrap())
}

/// A key on P-256, made from a number.
pub(super) fn p256(seed: u8) -> Key {
    Key::P256(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap())
}

pub(super) fn p384() -> Key {
    Key::Ec(
        "1.3.132.0.34",
        pkcs8(&engine::ECDSA_P384_SHA384_FIXED_SIGNING),
    )
}

pub(super) fn p521() -> Key {
    Key::Ec(
        "1.3.132.0.35",
        pkcs8(&engine::ECDSA_P521_SHA512_FIXED_SIGNING),
    )
}

fn pkcs8(algorithm: &'static EcdsaSigningAlgorithm) -> Vec<u8> {
    let key = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
    key.as_ref().to_vec()
}

/// The algorithm of a certificate's signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hashed {
    /// SHA-2 as long as the key asks for.
    Sha2,
    /// ECDSA with SHA-1, rightly made.
    Sha1,
    /// RSA-PSS with SHA-256.
    Pss,
}

impl Key {
    pub(super) fn alg(&self) -> &'static str {
        match self {
            Self::Rsa(key) => match key.public_modulus_len() {
                256 => "PS256",
                384 => "PS384",
                _ => "PS512",
            },
            Self::P256(_) => "ES256",
            Self::Ec("1.3.132.0.34", _) => "ES384",
            Self::Ec(..) => "ES512",
        }
    }

    /// The signature of an envelope.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(key) => sign_rsa(
                key,
                match self.alg() {
                    "PS256" => &engine::RSA_PSS_SHA256,
                    "PS384" => &engine::RSA_PSS_SHA384,
                    _ => &engine::RSA_PSS_SHA512,
                },
                message,
            ),
            Self::P256(key) => {
                let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message);
                let signature: p256::ecdsa::Signature = key.sign_prehash(hash.as_ref()).unwrap();
                signature.to_bytes().to_vec()
            }
            Self::Ec("1.3.132.0.34", key) => {
                sign_ec(&engine::ECDSA_P384_SHA384_FIXED_SIGNING, key, message)
            }
            Self::Ec(_, key) => sign_ec(&engine::ECDSA_P521_SHA512_FIXED_SIGNING, key, message),
        }
    }

    /// The signature of a certificate with its algorithm.
    fn issue(&self, signed: &[u8], hashed: Hashed) -> Vec<u8> {
        match (self, hashed) {
            (Self::Rsa(key), Hashed::Pss) => sign_rsa(key, &engine::RSA_PSS_SHA256, signed),
            (Self::Rsa(key), _) => sign_rsa(key, &engine::RSA_PKCS1_SHA256, signed),
            (Self::P256(key), hashed) => {
                let algorithm = match hashed {
                    Hashed::Sha1 => &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
                    Hashed::Sha2 | Hashed::Pss => &aws_lc_rs::digest::SHA256,
                };
                let hash = aws_lc_rs::digest::digest(algorithm, signed);
                let signature: p256::ecdsa::Signature = key.sign_prehash(hash.as_ref()).unwrap();
                signature.to_der().as_bytes().to_vec()
            }
            (Self::Ec("1.3.132.0.34", key), _) => {
                sign_ec(&engine::ECDSA_P384_SHA384_ASN1_SIGNING, key, signed)
            }
            (Self::Ec(_, key), _) => sign_ec(&engine::ECDSA_P521_SHA512_ASN1_SIGNING, key, signed),
        }
    }

    fn issuance(&self, hashed: Hashed) -> Vec<u8> {
        let sha256 = || sequence(&[oid("2.16.840.1.101.3.4.2.1")]);
        match (self, hashed) {
            (Self::Rsa(_), Hashed::Pss) => {
                let mask = sequence(&[oid("1.2.840.113549.1.1.8"), sha256()]);
                let parameters = sequence(&[
                    tlv(0xa0, &sha256()),
                    tlv(0xa1, &mask),
                    tlv(0xa2, &tlv(0x02, &[32])),
                ]);
                sequence(&[oid("1.2.840.113549.1.1.10"), parameters])
            }
            (Self::Rsa(_), _) => sequence(&[oid("1.2.840.113549.1.1.11"), tlv(0x05, &[])]),
            (Self::P256(_), Hashed::Sha1) => sequence(&[oid("1.2.840.10045.4.1")]),
            (Self::P256(_), _) => sequence(&[oid("1.2.840.10045.4.3.2")]),
            (Self::Ec("1.3.132.0.34", _), _) => sequence(&[oid("1.2.840.10045.4.3.3")]),
            (Self::Ec(..), _) => sequence(&[oid("1.2.840.10045.4.3.4")]),
        }
    }

    fn public(&self) -> Vec<u8> {
        let (algorithm, key) = match self {
            Self::Rsa(key) => (
                sequence(&[oid("1.2.840.113549.1.1.1"), tlv(0x05, &[])]),
                key.public_key().as_ref().to_vec(),
            ),
            Self::P256(key) => (
                sequence(&[oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7")]),
                key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            ),
            Self::Ec(curve, key) => {
                let algorithm = match *curve {
                    "1.3.132.0.34" => &engine::ECDSA_P384_SHA384_FIXED_SIGNING,
                    _ => &engine::ECDSA_P521_SHA512_FIXED_SIGNING,
                };
                let key = EcdsaKeyPair::from_pkcs8(algorithm, key).unwrap();
                (
                    sequence(&[oid("1.2.840.10045.2.1"), oid(curve)]),
                    key.public_key().as_ref().to_vec(),
                )
            }
        };
        sequence(&[algorithm, bits(0, &key)])
    }
}

fn sign_rsa(key: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature)
        .unwrap();
    signature
}

fn sign_ec(algorithm: &'static EcdsaSigningAlgorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = EcdsaKeyPair::from_pkcs8(algorithm, key).unwrap();
    let signature = key.sign(&SystemRandom::new(), message).unwrap();
    signature.as_ref().to_vec()
}

/// What a certificate says; the fields are there to be made wrong.
#[derive(Clone)]
pub(super) struct Template {
    pub(super) subject: Vec<u8>,
    pub(super) not_before: &'static str,
    pub(super) not_after: &'static str,
    pub(super) extensions: Vec<Vec<u8>>,
    pub(super) hashed: Hashed,
}

impl Template {
    pub(super) fn leaf(common_name: &str) -> Self {
        Self {
            subject: subject(&[("2.5.4.3", common_name)]),
            not_before: "240101000000Z",
            not_after: "300101000000Z",
            extensions: vec![key_usage(true, 7, 0x80)],
            hashed: Hashed::Sha2,
        }
    }

    pub(super) fn authority(common_name: &str) -> Self {
        Self {
            extensions: vec![
                basic_constraints(true, true, None),
                key_usage(true, 2, 0x04),
            ],
            ..Self::leaf(common_name)
        }
    }

    pub(super) fn with(mut self, extensions: &[Vec<u8>]) -> Self {
        self.extensions = extensions.to_vec();
        self
    }

    pub(super) fn and(mut self, extension: Vec<u8>) -> Self {
        self.extensions.push(extension);
        self
    }

    /// The certificate of `key`, issued by another.
    pub(super) fn issued_by(&self, key: &Key, issuer: &Self, issuer_key: &Key) -> Vec<u8> {
        let algorithm = issuer_key.issuance(self.hashed);
        let validity = [self.not_before, self.not_after].map(|time| tlv(0x17, time.as_bytes()));
        let signed = sequence(&[
            tlv(0xa0, &tlv(0x02, &[2])),
            tlv(0x02, &[1]),
            algorithm.clone(),
            issuer.subject.clone(),
            sequence(&validity),
            self.subject.clone(),
            key.public(),
            tlv(0xa3, &sequence(&self.extensions)),
        ]);
        let signature = issuer_key.issue(&signed, self.hashed);
        sequence(&[signed, algorithm, bits(0, &signature)])
    }

    pub(super) fn self_signed(&self, key: &Key) -> Vec<u8> {
        self.issued_by(key, self, key)
    }
}

pub(super) fn subject(attributes: &[(&str, &str)]) -> Vec<u8> {
    let component = |(kind, value): &(&str, &str)| {
        tlv(0x31, &sequence(&[oid(kind), tlv(0x0c, value.as_bytes())]))
    };
    sequence(&attributes.iter().map(component).collect::<Vec<_>>())
}

pub(super) fn extension(kind: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![oid(kind)];
    parts.extend(critical.then(|| tlv(0x01, &[0xff])));
    parts.push(tlv(0x04, value));
    sequence(&parts)
}

pub(super) fn basic_constraints(critical: bool, ca: bool, length: Option<u8>) -> Vec<u8> {
    let mut parts = Vec::new();
    parts.extend(ca.then(|| tlv(0x01, &[0xff])));
    parts.extend(length.map(|length| tlv(0x02, &[length])));
    extension("2.5.29.19", critical, &sequence(&parts))
}

/// The octet has the first bit of the list at its top, and `unused` bits at its end.
pub(super) fn key_usage(critical: bool, unused: u8, octet: u8) -> Vec<u8> {
    extension("2.5.29.15", critical, &bits(unused, &[octet]))
}

pub(super) fn extended_key_usage(kinds: &[&str]) -> Vec<u8> {
    let kinds: Vec<_> = kinds.iter().map(|kind| oid(kind)).collect();
    extension("2.5.29.37", false, &sequence(&kinds))
}

pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut encoded = vec![tag];
    match length {
        0..=0x7f => encoded.push(u8::try_from(length).unwrap()),
        0x80..=0xff => encoded.extend([0x81, u8::try_from(length).unwrap()]),
        _ => {
            encoded.push(0x82);
            encoded.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    encoded.extend(content);
    encoded
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

fn bits(unused: u8, octets: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[unused], octets].concat())
}

fn oid(text: &str) -> Vec<u8> {
    tlv(0x06, ObjectIdentifier::new_unwrap(text).as_bytes())
}

/// What is signed in the tests.
pub(super) static SUBJECT: LazyLock<Digest> = LazyLock::new(|| Digest::sha256(b"manifest"));
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(super) fn the_subject() -> Subject<'static> {
    Subject {
        digest: &SUBJECT,
        media_type: Some(MANIFEST),
        size: Some(8),
    }
}

/// An envelope before it is signed; the fields are there to be made wrong.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) protected: Map<String, Value>,
    pub(super) payload: Value,
    pub(super) header: Map<String, Value>,
}

impl Draft {
    pub(super) fn new(key: &Key, chain: &[Vec<u8>]) -> Self {
        let chain: Vec<_> = chain.iter().map(|der| Base64::encode_string(der)).collect();
        let mut draft = Self {
            protected: Map::new(),
            payload: json!({"targetArtifact": {
                "mediaType": MANIFEST, "digest": SUBJECT.as_str(), "size": 8,
            }}),
            header: Map::new(),
        };
        draft.header.insert("x5c".to_owned(), json!(chain));
        draft
            .set("alg", json!(key.alg()))
            .set("cty", json!("application/vnd.cncf.notary.payload.v1+json"))
            .set("crit", json!(["io.cncf.notary.signingScheme"]))
            .set("io.cncf.notary.signingScheme", json!("notary.x509"))
            .set("io.cncf.notary.signingTime", json!("2025-06-01T12:00:00Z"))
    }

    pub(super) fn set(mut self, name: &str, value: Value) -> Self {
        self.protected.insert(name.to_owned(), value);
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.protected.remove(name);
        self
    }

    /// Sets an attribute and lists it as critical.
    pub(super) fn critical(mut self, name: &str, value: &str) -> Self {
        let listed = self.protected["crit"].as_array_mut().unwrap();
        listed.push(json!(name));
        self.set(name, json!(value))
    }

    /// As a service signs that vouches for the time.
    pub(super) fn by_authority(self, signed_at: &str) -> Self {
        self.without("io.cncf.notary.signingTime")
            .set(
                "io.cncf.notary.signingScheme",
                json!("notary.x509.signingAuthority"),
            )
            .critical("io.cncf.notary.authenticSigningTime", signed_at)
    }

    pub(super) fn sign(&self, key: &Key) -> Vec<u8> {
        let protected = Value::Object(self.protected.clone()).to_string();
        self.sign_text(key, &protected, &self.payload.to_string())
    }

    /// Signs these texts in place of its own attributes and payload.
    pub(super) fn sign_text(&self, key: &Key, protected: &str, payload: &str) -> Vec<u8> {
        let [protected, payload] =
            [protected, payload].map(|text| Base64UrlUnpadded::encode_string(text.as_bytes()));
        let signature = key.sign(format!("{protected}.{payload}").as_bytes());
        json!({
            "payload": payload,
            "protected": protected,
            "header": self.header,
            "signature": Base64UrlUnpadded::encode_string(&signature),
        })
        .to_string()
        .into_bytes()
    }
}
