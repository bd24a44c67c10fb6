//! Keys and the signatures they make.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64ct::{Base64UrlUnpadded, Encoding};
use der::asn1::BitString;
use serde_json::{Value, json};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::super::certificate::Certificate;
use super::super::key::{Algorithm, PublicKey};
use super::super::verify;
use super::envelopes::{draft, examine};
use super::maker::{
    Draft, Key, RSA_2048, RSA_3072, RSA_4096, Template, p256, p384, p521, the_subject, tlv,
};
use super::{NOW, at_level, stores};
use crate::verification::Conclusion;
use crate::verification::evidence::JWS;

#[test]
fn every_algorithm_verifies_with_its_own_key_only() {
    for key in [&*RSA_2048, &RSA_3072, &RSA_4096, &p256(1), &p384(), &p521()] {
        let certificate = Template::leaf("signer").self_signed(key);
        let envelope = Draft::new(key, std::slice::from_ref(&certificate)).sign(key);
        let verdict = verify(
            &envelope,
            JWS,
            &the_subject(),
            &at_level("strict", &["ca:it"]),
            &stores(&[("ca:it", &certificate)]),
            NOW,
        );
        assert_eq!(
            verdict.conclusion,
            Conclusion::Valid,
            "{}: {verdict:?}",
            key.alg()
        );
        for alg in [
            "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "RS256", "HS256", "none",
            "EdDSA", "",
        ] {
            if alg != key.alg() {
                let envelope = draft(key).set("alg", json!(alg)).sign(key);
                assert_eq!(
                    examine(&envelope).conclusion,
                    Conclusion::Invalid,
                    "{alg} for {}",
                    key.alg()
                );
            }
        }
    }
}

#[test]
fn ecdsa_signatures_have_both_numbers_at_full_length() {
    for key in [p256(1), p384(), p521()] {
        let sound = draft(&key).sign(&key);
        let mut envelope: Value = serde_json::from_slice(&sound).unwrap();
        let octets =
            Base64UrlUnpadded::decode_vec(envelope["signature"].as_str().unwrap()).unwrap();
        let (r, s) = octets.split_at(octets.len() / 2);
        let number = |octets: &[u8]| tlv(0x02, &[&[0], octets].concat());
        let in_der = tlv(0x30, &[number(r), number(s)].concat());
        for (signature, why) in [
            (octets[..octets.len() - 1].to_vec(), "short"),
            ([octets.as_slice(), &[0]].concat(), "long"),
            (in_der, "DER"),
            (vec![0; octets.len()], "zero"),
        ] {
            envelope["signature"] = json!(Base64UrlUnpadded::encode_string(&signature));
            let verdict = examine(envelope.to_string().as_bytes());
            assert_eq!(
                verdict.conclusion,
                Conclusion::Invalid,
                "{why} {}",
                key.alg()
            );
        }
    }
}

#[test]
fn the_algorithm_follows_from_the_exact_size_of_the_key() {
    for (bits, algorithm) in [
        (1024, None),
        (2047, None),
        (2048, Some(Algorithm::Ps256)),
        (2049, None),
        (2560, None),
        (3072, Some(Algorithm::Ps384)),
        (4096, Some(Algorithm::Ps512)),
        (8192, None),
    ] {
        let mut modulus = vec![0xff_u8; usize::div_ceil(bits, 8)];
        modulus[0] >>= modulus.len() * 8 - bits;
        if modulus[0] >= 0x80 {
            modulus.insert(0, 0);
        }
        let key = [tlv(0x02, &modulus), tlv(0x02, &[1, 0, 1])].concat();
        let info = SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned {
                oid: const_oid::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1"),
                parameters: None,
            },
            subject_public_key: BitString::from_bytes(&tlv(0x30, &key)).unwrap(),
        };
        assert_eq!(PublicKey::new(&info).algorithm(), algorithm, "{bits} bits");
    }
}

#[test]
fn both_implementations_of_p256_agree() {
    for seed in 1..8 {
        let key = p256(seed);
        let Key::P256(secret) = &key else {
            panic!("a key on P-256")
        };
        let point = secret.verifying_key().to_sec1_point(false);
        let certificate = Template::leaf("signer").self_signed(&key);
        let certificate = Certificate::parse(&certificate).unwrap();
        let engine = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.as_bytes());
        let message = [seed; 50];
        let signature = key.sign(&message);
        for position in 0..=signature.len() {
            let mut signature = signature.clone();
            if let Some(octet) = signature.get_mut(position) {
                *octet ^= 1 << (seed % 8);
            }
            let ours = certificate.key.verifies(&message, &signature);
            assert_eq!(ours, engine.verify(&message, &signature).is_ok());
            assert_eq!(ours, position == signature.len());
        }
    }
}
