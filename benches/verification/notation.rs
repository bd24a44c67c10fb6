//! Signatures of the Notary Project, and reading the trust policy.

use std::hint::black_box;
use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, RSA_PSS_SHA256, RSA_PSS_SHA384, RsaEncoding, RsaKeyPair,
};
use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use criterion::Criterion;
use rcgen::{CertificateParams, DnType, KeyPair, KeyUsagePurpose, RsaKeySize};
use regseal::clock::UnixMillis;
use regseal::oci::Digest;
use regseal::verification::notary::{self, TrustPolicy, TrustStores};
use regseal::verification::{Conclusion, Subject};
use serde_json::json;

/// 2026-01-01.
const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn policy() -> Vec<u8> {
    let statement = json!({
        "name": "release",
        "registryScopes": ["*"],
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:bench"],
        "trustedIdentities": ["x509.subject: C=US, ST=WA, O=Notary"],
    });
    let document = json!({"version": "1.0", "trustPolicies": [statement]});
    document.to_string().into_bytes()
}

/// A certificate that signs itself, as notation makes them for tests.
fn certificate(key: &KeyPair) -> Vec<u8> {
    let mut params = CertificateParams::default();
    for (kind, value) in [
        (DnType::CountryName, "US"),
        (DnType::StateOrProvinceName, "WA"),
        (DnType::OrganizationName, "Notary"),
        (DnType::CommonName, "bench"),
    ] {
        params.distinguished_name.push(kind, value);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2034, 1, 1);
    let certificate = params.self_signed(key).expect("a certificate");
    certificate.der().to_vec()
}

fn envelope(
    algorithm: &str,
    certificate: &[u8],
    digest: &Digest,
    sign: &dyn Fn(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let protected = json!({
        "alg": algorithm,
        "cty": "application/vnd.cncf.notary.payload.v1+json",
        "crit": ["io.cncf.notary.signingScheme"],
        "io.cncf.notary.signingScheme": "notary.x509",
        "io.cncf.notary.signingTime": "2025-06-01T12:00:00Z",
    });
    let payload = json!({
        "targetArtifact": {"mediaType": MANIFEST, "digest": digest.as_str(), "size": 8},
    });
    let encode = |text: String| Base64UrlUnpadded::encode_string(text.as_bytes());
    let (protected, payload) = (encode(protected.to_string()), encode(payload.to_string()));
    let signature = sign(format!("{protected}.{payload}").as_bytes());
    let envelope = json!({
        "payload": payload,
        "protected": protected,
        "header": {"x5c": [Base64::encode_string(certificate)]},
        "signature": Base64UrlUnpadded::encode_string(&signature),
    });
    envelope.to_string().into_bytes()
}

fn sign_rsa(key: &KeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let key = RsaKeyPair::from_pkcs8(key.serialized_der()).expect("a key");
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature)
        .expect("a signature");
    signature
}

fn sign_ec(key: &KeyPair, algorithm: &'static EcdsaSigningAlgorithm, message: &[u8]) -> Vec<u8> {
    let key = EcdsaKeyPair::from_pkcs8(algorithm, key.serialized_der()).expect("a key");
    let signature = key.sign(&SystemRandom::new(), message);
    signature.expect("a signature").as_ref().to_vec()
}

/// The stores of a directory with this one certificate.
fn stores(certificate: &[u8]) -> TrustStores {
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join(Path::new("x509/ca/bench"));
    std::fs::create_dir_all(&store).expect("a store");
    std::fs::write(store.join("root.der"), certificate).expect("a certificate");
    TrustStores::read(directory.path()).expect("stores")
}

pub(super) fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verification/notation");
    let digest = Digest::sha256(b"manifest");
    let policy = TrustPolicy::parse(&policy()).expect("a policy");
    let statement = policy.statement("release").expect("a statement");
    let subject = Subject {
        digest: &digest,
        media_type: Some(MANIFEST),
        size: Some(8),
    };
    let rsa = |algorithm, size| KeyPair::generate_rsa_for(algorithm, size).expect("a key");
    let ec = |algorithm| KeyPair::generate_for(algorithm).expect("a key");
    for algorithm in ["ES256", "ES384", "PS256", "PS384"] {
        let key = match algorithm {
            "ES256" => ec(&rcgen::PKCS_ECDSA_P256_SHA256),
            "ES384" => ec(&rcgen::PKCS_ECDSA_P384_SHA384),
            "PS256" => rsa(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
            _ => rsa(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072),
        };
        let certificate = certificate(&key);
        let envelope = envelope(
            algorithm,
            &certificate,
            &digest,
            &|message| match algorithm {
                "ES256" => sign_ec(&key, &ECDSA_P256_SHA256_FIXED_SIGNING, message),
                "ES384" => sign_ec(&key, &ECDSA_P384_SHA384_FIXED_SIGNING, message),
                "PS256" => sign_rsa(&key, &RSA_PSS_SHA256, message),
                _ => sign_rsa(&key, &RSA_PSS_SHA384, message),
            },
        );
        let stores = stores(&certificate);
        let verify = || {
            let envelope = black_box(envelope.as_slice());
            let media_type = "application/jose+json";
            notary::verify(envelope, media_type, &subject, statement, &stores, NOW)
        };
        assert_eq!(verify().conclusion, Conclusion::Valid, "{algorithm}");
        group.bench_function(algorithm, |bencher| bencher.iter(verify));
    }
    group.finish();
}

pub(super) fn trust_policy(criterion: &mut Criterion) {
    let document = policy();
    criterion.bench_function("verification/trust_policy", |bencher| {
        bencher.iter(|| TrustPolicy::parse(black_box(&document)));
    });
}
