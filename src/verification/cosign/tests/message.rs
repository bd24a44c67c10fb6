//! Bundles with a signature over the manifest itself.

use super::*;

#[test]
fn a_signature_over_the_manifest_itself_counts() {
    let pkcs1 = &engine::RSA_PKCS1_SHA256;
    for signer in [Signer::p256(), Signer::rsa(KeySize::Rsa2048, pkcs1)] {
        let bundle = signer.message(b"the image");
        let verdict = verified(&bundle, &image(), &signer.key());
        assert_eq!(verdict.conclusion, Conclusion::Valid, "{verdict:?}");

        let other = verified(&bundle, &image(), &Signer::p256().key());
        assert_eq!(other.conclusion, Conclusion::Untrusted);
        let another_image = Digest::sha256(b"another image");
        let verdict = verified(&bundle, &another_image, &signer.key());
        assert!(told(&verdict).starts_with("invalid: binding: the signature is about sha256:"));

        // The digest that is claimed is not what is signed.
        let mut claimed = signer.message(b"another image");
        claimed["messageSignature"]["messageDigest"] =
            bundle["messageSignature"]["messageDigest"].clone();
        let verdict = verified(&claimed, &image(), &signer.key());
        assert_eq!(verdict.conclusion, Conclusion::Untrusted, "{verdict:?}");
    }
}

#[test]
fn a_signature_over_the_manifest_needs_the_hash_that_is_the_digest() {
    for signer in [
        Signer::ed25519(),
        Signer::ecdsa(&engine::ECDSA_P384_SHA384_ASN1_SIGNING),
    ] {
        let verdict = verified(&signer.message(b"the image"), &image(), &signer.key());
        assert_eq!(verdict.conclusion, Conclusion::Unsupported, "{verdict:?}");
    }
    let signer = Signer::p256();
    for algorithm in [
        "SHA2_512",
        "SHA3_256",
        "HASH_ALGORITHM_UNSPECIFIED",
        "sha256",
    ] {
        let mut bundle = signer.message(b"the image");
        bundle["messageSignature"]["messageDigest"]["algorithm"] = json!(algorithm);
        let verdict = verified(&bundle, &image(), &signer.key());
        assert_eq!(
            verdict.conclusion,
            Conclusion::Unsupported,
            "{algorithm}: {verdict:?}"
        );
    }
}
