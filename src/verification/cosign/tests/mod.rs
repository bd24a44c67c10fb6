//! Signatures made here with every kind of key, and the vectors of the field.

mod bundle;
mod fields;
mod hostile;
mod keys;
mod message;
mod simple_signing;
mod vectors;

use std::collections::BTreeMap;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self as engine, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding,
    RsaKeyPair,
};
use serde_json::{Value, json};
use x509_cert::der::pem::{LineEnding, encode_string};

use super::*;
use crate::oci::Digest;
use crate::verification::{CheckName, Conclusion, Outcome};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// Somebody with a key pair.
struct Signer {
    der: Vec<u8>,
    sign: Sign,
}

impl Signer {
    fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self {
            der: der.as_ref().to_vec(),
            sign: Box::new(move |message| {
                let signature = pair.sign(&SystemRandom::new(), message).unwrap();
                signature.as_ref().to_vec()
            }),
        }
    }

    fn p256() -> Self {
        Self::ecdsa(&engine::ECDSA_P256_SHA256_ASN1_SIGNING)
    }

    fn rsa(size: KeySize, padding: &'static dyn RsaEncoding) -> Self {
        let pair = RsaKeyPair::generate(size).unwrap();
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self {
            der: der.as_ref().to_vec(),
            sign: Box::new(move |message| {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &SystemRandom::new(), message, &mut signature)
                    .unwrap();
                signature
            }),
        }
    }

    fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self {
            der: der.as_ref().to_vec(),
            sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()),
        }
    }

    fn pem(&self) -> String {
        pem(&self.der)
    }

    fn key(&self) -> PublicKey {
        PublicKey::from_pem(&self.pem(), None).unwrap()
    }

    fn sign_base64(&self, message: &[u8]) -> String {
        encode(&(self.sign)(message))
    }

    fn annotations(&self, payload: &[u8]) -> BTreeMap<String, String> {
        BTreeMap::from([(SIGNATURE.to_owned(), self.sign_base64(payload))])
    }

    /// A bundle as cosign 3 writes it with a key and without a log.
    fn bundle(&self, statement: &Value) -> Value {
        let payload = statement.to_string();
        let head = format!(
            "DSSEv1 28 application/vnd.in-toto+json {} {payload}",
            payload.len()
        );
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {
                "publicKey": {"hint": "aGludA=="},
                "tlogEntries": [],
                "timestampVerificationData": {"rfc3161Timestamps": []},
            },
            "dsseEnvelope": {
                "payload": encode(payload.as_bytes()),
                "payloadType": "application/vnd.in-toto+json",
                "signatures": [{"sig": self.sign_base64(head.as_bytes()), "keyid": ""}],
            },
        })
    }

    /// A signature over the manifest itself.
    fn message(&self, manifest: &[u8]) -> Value {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, manifest);
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": "aGludA=="}},
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": encode(hash.as_ref())},
                "signature": self.sign_base64(manifest),
            },
        })
    }
}

fn pem(der: &[u8]) -> String {
    encode_string("PUBLIC KEY", LineEnding::LF, der).unwrap()
}

fn encode(bytes: &[u8]) -> String {
    use base64ct::Encoding;
    base64ct::Base64::encode_string(bytes)
}

fn image() -> Digest {
    Digest::sha256(b"the image")
}

fn about(digest: &Digest) -> Subject<'_> {
    Subject {
        digest,
        media_type: None,
        size: None,
    }
}

/// The payload as cosign 2 writes it.
fn payload(digest: &Digest) -> Value {
    json!({
        "critical": {
            "identity": {"docker-reference": "registry.example.com/team/app"},
            "image": {"docker-manifest-digest": digest.as_str()},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
}

/// The statement of `cosign sign`, version 3.
fn statement(digest: &Digest) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": digest.encoded()}, "annotations": {"commit": "c0ffee"}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    })
}

fn verified(bundle: &Value, digest: &Digest, key: &PublicKey) -> Verdict {
    verify_bundle(bundle.to_string().as_bytes(), BUNDLE, &about(digest), key)
}

/// Conclusion and reason in one line.
fn told(verdict: &Verdict) -> String {
    let reason = verdict.reason().unwrap_or_default();
    format!("{}: {reason}", verdict.conclusion.as_str())
}
