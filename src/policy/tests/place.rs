//! A directory with a policy and what it trusts in, and signatures that are made here.

use std::collections::BTreeMap;
use std::fs;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64ct::{Base64, Encoding};
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa};
use serde_json::json;
use tempfile::TempDir;
use x509_cert::der::pem::{LineEnding, encode_string};

use super::*;
use crate::verification::{Evidence, Subject};

/// A policy file and a trust directory.
pub(super) struct Place {
    directory: TempDir,
    /// By which name scopes know the registry.
    pub(super) registry: Option<String>,
    pub(super) has_trust: bool,
}

impl Place {
    pub(super) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            registry: Some("registry".to_owned()),
            has_trust: true,
        }
    }

    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(super) fn write_policy(&self, text: &str) {
        self.write("policy.yaml", text);
    }

    /// A policy that requires this authority.
    pub(super) fn require(&self, authority: &str) {
        self.write_policy(&format!(
            "version: 1\nauthorities:\n  one: {authority}\n\
             rules: [{{name: all, repositories: ['**'], require: one, on_unsigned_push: reject}}]\n"
        ));
    }

    /// A trust policy of statements with name, level and scope, and the store `ca:it` that they list.
    pub(super) fn write_trust(&self, statements: &[(&str, &str, &str)]) {
        let statements: Vec<_> = statements
            .iter()
            .map(|(name, level, scope)| {
                let skips = *level == "skip";
                let listed = |what: &str| if skips { vec![] } else { vec![what.to_owned()] };
                json!({
                    "name": name,
                    "registryScopes": [scope],
                    "signatureVerification": {"level": level},
                    "trustStores": listed("ca:it"),
                    "trustedIdentities": listed("*"),
                })
            })
            .collect();
        let document = json!({"version": "1.0", "trustPolicies": statements});
        self.write("trust/trustpolicy.json", document.to_string());
        self.write("trust/truststore/x509/ca/it/root.crt", root("root", 2100));
    }

    pub(super) fn load(&self) -> Result<(Snapshot, Vec<Warning>), LoadErrors> {
        Snapshot::load(&Sources {
            policy_file: self.path("policy.yaml"),
            trust_directory: self.has_trust.then(|| self.path("trust")),
            registry: self.registry.clone(),
            now: NOW,
        })
    }

    #[track_caller]
    pub(super) fn snapshot(&self) -> Snapshot {
        match self.load() {
            Ok((snapshot, _)) => snapshot,
            Err(errors) => panic!("{errors}"),
        }
    }

    /// What is wrong, without the place.
    #[track_caller]
    pub(super) fn mistakes(&self) -> String {
        self.hide(&self.load().unwrap_err().to_string())
    }

    /// What is worth a look, without the place, and whether it is hopeless.
    #[track_caller]
    pub(super) fn warnings(&self) -> Vec<(String, bool)> {
        let (_, warnings) = self.load().map_err(|errors| errors.to_string()).unwrap();
        let shown = |one: &Warning| (self.hide(&one.to_string()), one.is_hopeless);
        warnings.iter().map(shown).collect()
    }

    /// The opinions about a signature of the image, as `authority: conclusion`.
    #[track_caller]
    pub(super) fn examine(&self, name: &str, evidence: &Evidence) -> Vec<String> {
        let digest = image();
        let subject = Subject {
            digest: &digest,
            media_type: None,
            size: None,
        };
        let opinions = self
            .snapshot()
            .examine(&repository(name), evidence, &subject, NOW);
        let shown = |opinion: &Opinion| {
            let conclusion = opinion.verdict.conclusion.as_str();
            format!("{}: {conclusion}", opinion.authority)
        };
        opinions.iter().map(shown).collect()
    }

    fn hide(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.directory.path().display()), "")
    }
}

/// A key pair of cosign.
pub(super) struct Key(EcdsaKeyPair);

impl Key {
    pub(super) fn p384() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        encode_string("PUBLIC KEY", LineEnding::LF, der.as_ref()).unwrap()
    }

    /// What it signs an image with, in the older layout.
    pub(super) fn signature(&self, digest: &Digest) -> Evidence {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": ""},
                "image": {"docker-manifest-digest": digest.as_str()},
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let payload = payload.to_string().into_bytes();
        let signature = self.0.sign(&SystemRandom::new(), &payload).unwrap();
        let encoded = Base64::encode_string(signature.as_ref());
        let name = "dev.cosignproject.cosign/signature".to_owned();
        Evidence::SimpleSigning {
            payload: Bytes::from(payload),
            annotations: BTreeMap::from([(name, encoded)]),
        }
    }
}

/// What calls itself an envelope of the Notary Project.
pub(super) fn junk_envelope() -> Evidence {
    Evidence::Envelope {
        media_type: "application/jose+json".to_owned(),
        bytes: Bytes::from_static(b"{}"),
    }
}

/// A root certificate that ends with the first day of a year.
pub(super) fn root(name: &str, year: i32) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().pem()
}
