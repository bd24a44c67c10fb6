//! Signatures of cosign.

use std::collections::BTreeMap;
use std::hint::black_box;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey,
};
use base64ct::{Base64, Encoding};
use criterion::Criterion;
use regseal::oci::Digest;
use regseal::verification::cosign::{PublicKey, examine_simple, verify_bundle, verify_simple};
use regseal::verification::{Conclusion, Subject};

/// Signatures by a P-256 key. `simple` is the whole verification, with `p256`; `p256_aws_lc` is the same signature
/// checked by the other library alone, so that the ratio of the two is to be read after taking `simple_form` away.
pub(super) fn verify(criterion: &mut Criterion) {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("a public key");
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines(&Base64::encode_string(der.as_ref()))
    );
    let key = PublicKey::from_pem(&pem, None).expect("a key of its own kind");
    let other = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, der.as_ref()).expect("the same key");
    let sign = |message: &[u8]| {
        let signature = pair.sign(&SystemRandom::new(), message);
        signature.expect("a signature").as_ref().to_vec()
    };
    let image = Digest::sha256(b"an image");
    let subject = Subject {
        digest: &image,
        media_type: None,
        size: None,
    };

    let payload = format!(
        r#"{{"critical":{{"identity":{{"docker-reference":"registry.example.com/team/app"}},"image":{{"docker-manifest-digest":"{image}"}},"type":"cosign container image signature"}},"optional":null}}"#
    );
    let payload = payload.as_bytes();
    let signature = sign(payload);
    let annotations = BTreeMap::from([(
        "dev.cosignproject.cosign/signature".to_owned(),
        Base64::encode_string(&signature),
    )]);

    let media_type = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let in_toto = "application/vnd.in-toto+json";
    let statement = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{}"}}}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{{}}}}"#,
        image.encoded()
    );
    let signed = format!(
        "DSSEv1 {} {in_toto} {} {statement}",
        in_toto.len(),
        statement.len()
    );
    let bundle = format!(
        r#"{{"mediaType":"{media_type}","verificationMaterial":{{"publicKey":{{"hint":""}}}},"dsseEnvelope":{{"payload":"{}","payloadType":"{in_toto}","signatures":[{{"sig":"{}"}}]}}}}"#,
        Base64::encode_string(statement.as_bytes()),
        Base64::encode_string(&sign(signed.as_bytes())),
    );
    let bundle = bundle.as_bytes();

    let simple = || verify_simple(black_box(payload), &annotations, &subject, &key);
    let by_bundle = || verify_bundle(black_box(bundle), media_type, &subject, &key);
    assert_eq!(simple().conclusion, Conclusion::Valid);
    assert_eq!(by_bundle().conclusion, Conclusion::Valid);

    let mut group = criterion.benchmark_group("cosign");
    group.bench_function("simple", |bencher| bencher.iter(simple));
    group.bench_function("simple_form", |bencher| {
        bencher.iter(|| examine_simple(black_box(payload), &annotations, &subject));
    });
    group.bench_function("bundle", |bencher| bencher.iter(by_bundle));
    group.bench_function("p256_aws_lc", |bencher| {
        bencher.iter(|| {
            let hashed = digest(&SHA256, black_box(payload));
            other.verify_digest_sig(&hashed, &signature)
        });
    });
    group.finish();
}

/// PEM has lines of 64.
fn lines(base64: &str) -> String {
    let mut lines = String::new();
    for (at, character) in base64.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            lines.push('\n');
        }
        lines.push(character);
    }
    lines
}
