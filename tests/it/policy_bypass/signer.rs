//! Keys of cosign, and the signatures that are made with them, good and bad.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use crate::support::images::{BUNDLE, CONFIG, COSIGN_LAYER, EMPTY, MANIFEST, artifact_of};
use crate::support::{Content, Repository};

const IN_TOTO: &str = "application/vnd.in-toto+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// Somebody with a key pair.
pub(super) struct Signer(EcdsaKeyPair);

impl Signer {
    pub(super) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    /// The public key as `cosign.pub` holds it.
    pub(super) fn pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        let text = Base64::encode_string(der.as_ref());
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }

    fn sign(&self, message: &[u8]) -> String {
        let signature = self.0.sign(&SystemRandom::new(), message).unwrap();
        Base64::encode_string(signature.as_ref())
    }

    /// A bundle as cosign 3 writes it with a key and without a log.
    pub(super) fn bundle(&self, statement: &Value) -> Value {
        self.bundle_of_type(IN_TOTO, statement)
    }

    pub(super) fn bundle_of_type(&self, payload_type: &str, statement: &Value) -> Value {
        let payload = statement.to_string();
        let message = format!(
            "DSSEv1 {} {payload_type} {} {payload}",
            payload_type.len(),
            payload.len()
        );
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": "aGludA=="}},
            "dsseEnvelope": {
                "payload": Base64::encode_string(payload.as_bytes()),
                "payloadType": payload_type,
                "signatures": [{"sig": self.sign(message.as_bytes()), "keyid": ""}],
            },
        })
    }

    /// A bundle with a signature over some bytes, as `cosign sign-blob` writes it, about the digest given.
    pub(super) fn bundle_of_message(&self, message: &[u8], digest: &str) -> Value {
        let hex = digest.trim_start_matches("sha256:");
        let hash: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": "aGludA=="}},
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": Base64::encode_string(&hash)},
                "signature": self.sign(message),
            },
        })
    }

    /// Signs an image as cosign 3 does.
    #[track_caller]
    pub(super) fn sign_image(&self, repository: &Repository, image: &Content) -> Content {
        let bundle = bundle_manifest(repository, image, &self.bundle(&statement(image)));
        repository.push_manifest(&bundle);
        bundle
    }

    /// What cosign 2 names by a `.sig` tag.
    #[track_caller]
    pub(super) fn signature_tag(&self, repository: &Repository, payload: &Value) -> Content {
        let payload = payload.to_string();
        let signature = self.sign(payload.as_bytes());
        simple_signing(repository, payload.as_bytes(), &signature)
    }

    /// The same, with a payload that was changed after it was signed.
    #[track_caller]
    pub(super) fn changed_signature_tag(
        &self,
        repository: &Repository,
        signed: &Value,
        shown: &Value,
    ) -> Content {
        let signature = self.sign(signed.to_string().as_bytes());
        simple_signing(repository, shown.to_string().as_bytes(), &signature)
    }
}

fn simple_signing(repository: &Repository, payload: &[u8], signature: &str) -> Content {
    let layer = Content::new(COSIGN_LAYER, payload.to_vec());
    let rootfs = json!({"type": "layers", "diff_ids": [layer.digest()]});
    let config = Content::new(CONFIG, json!({"rootfs": rootfs}).to_string());
    repository.push_blob(&config);
    repository.push_blob(&layer);
    let mut descriptor = layer.descriptor();
    descriptor["annotations"] = json!({SIGNATURE: signature});
    Content::manifest(
        &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(), "layers": [descriptor]}),
    )
}

/// The manifest of a bundle for `image`, whatever the bundle is about, still to be pushed.
#[track_caller]
pub(super) fn bundle_manifest(repository: &Repository, image: &Content, bundle: &Value) -> Content {
    let config = Content::new(EMPTY, "{}");
    let layer = Content::new(BUNDLE, bundle.to_string());
    repository.push_blob(&config);
    repository.push_blob(&layer);
    artifact_of(BUNDLE, Some(image), &config, &layer)
}

/// What `cosign sign`, version 3, states.
pub(super) fn statement(image: &Content) -> Value {
    statement_of("https://sigstore.dev/cosign/sign/v1", image)
}

pub(super) fn statement_of(predicate_type: &str, image: &Content) -> Value {
    let digest = image.digest();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": digest.trim_start_matches("sha256:")}}],
        "predicateType": predicate_type,
        "predicate": {},
    })
}

/// What cosign, version 2, signs.
pub(super) fn payload(image: &Content) -> Value {
    json!({
        "critical": {
            "identity": {"docker-reference": "registry.example.com/prod/app"},
            "image": {"docker-manifest-digest": image.digest()},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
}
