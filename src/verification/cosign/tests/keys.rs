//! Which keys are accepted, and that they verify what they made and nothing else.

use aws_lc_rs::digest::{self, Digest as Hashed};
use proptest::prelude::*;

use super::*;

const MESSAGE: &[u8] = b"DSSEv1 0  0 ";

#[test]
fn each_algorithm_verifies_with_the_hash_of_its_size() {
    let pkcs1 = &engine::RSA_PKCS1_SHA256;
    for (name, hash, signer) in [
        ("P-256", Some(Hash::Sha256), Signer::p256()),
        (
            "P-384",
            Some(Hash::Sha384),
            Signer::ecdsa(&engine::ECDSA_P384_SHA384_ASN1_SIGNING),
        ),
        (
            "P-521",
            Some(Hash::Sha512),
            Signer::ecdsa(&engine::ECDSA_P521_SHA512_ASN1_SIGNING),
        ),
        (
            "RSA",
            Some(Hash::Sha256),
            Signer::rsa(KeySize::Rsa2048, pkcs1),
        ),
        (
            "RSA",
            Some(Hash::Sha256),
            Signer::rsa(KeySize::Rsa3072, pkcs1),
        ),
        (
            "RSA",
            Some(Hash::Sha256),
            Signer::rsa(KeySize::Rsa4096, pkcs1),
        ),
        ("Ed25519", None, Signer::ed25519()),
    ] {
        let key = signer.key();
        let signature = (signer.sign)(MESSAGE);
        assert_eq!((key.algorithm(), key.hash()), (name, hash));
        assert!(key.verifies(MESSAGE, &signature), "{name}");
        assert!(!key.verifies(b"another", &signature), "{name}: message");
        let mut changed = signature.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(!key.verifies(MESSAGE, &changed), "{name}: signature");
        assert!(!key.verifies(MESSAGE, &[]), "{name}: empty");
        let longer = [&signature[..], &[0]].concat();
        assert!(!key.verifies(MESSAGE, &longer), "{name}: longer");

        if let Some(hash) = hash {
            let hashed = digest::digest(hash.algorithm(), MESSAGE);
            assert!(key.verifies_hashed(hashed.as_ref(), &signature), "{name}");
            let shorter = &hashed.as_ref()[1..];
            assert!(!key.verifies_hashed(shorter, &signature), "{name}");
        } else {
            assert!(!key.verifies_hashed(&[0; 32], &signature), "{name}");
        }
    }
}

#[test]
fn rsa_pss_does_not_pass_for_pkcs1() {
    let signer = Signer::rsa(KeySize::Rsa2048, &engine::RSA_PSS_SHA256);
    assert!(!signer.key().verifies(MESSAGE, &(signer.sign)(MESSAGE)));
}

#[test]
fn the_hash_of_old_cosign_is_accepted_only_where_it_is_set() {
    // A P-384 signature over SHA-256, as cosign 2 makes it: the hash is a number, and a longer one with leading zeros is
    // the same number.
    let pair = EcdsaKeyPair::generate(&engine::ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
    let hashed = digest::digest(&digest::SHA256, MESSAGE);
    let padded = [&[0; 16][..], hashed.as_ref()].concat();
    let padded = Hashed::import_less_safe(&padded, &digest::SHA384).unwrap();
    let p384 = pair.sign_digest(&padded).unwrap().as_ref().to_vec();
    let p384_key: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();

    let p521 = Signer::ecdsa(&engine::ECDSA_P521_SHA256_ASN1_SIGNING);
    let rsa = Signer::rsa(KeySize::Rsa2048, &engine::RSA_PKCS1_SHA512);
    for (name, key, signature, hash) in [
        ("P-384", pem(p384_key.as_ref()), p384, Hash::Sha256),
        ("P-521", p521.pem(), (p521.sign)(MESSAGE), Hash::Sha256),
        ("RSA", rsa.pem(), (rsa.sign)(MESSAGE), Hash::Sha512),
    ] {
        for (set, expected) in [
            (None, false),
            (Some(hash), true),
            (Some(Hash::Sha384), false),
        ] {
            let key = PublicKey::from_pem(&key, set).unwrap();
            assert_eq!(
                key.verifies(MESSAGE, &signature),
                expected,
                "{name} {set:?}"
            );
        }
    }
}

#[test]
fn what_is_no_public_key_is_named() {
    let signer = Signer::p256();
    let good = signer.pem();
    let labelled = |label: &str| good.replace("PUBLIC KEY", label);
    let cut = |text: &str, end: usize| text.get(..end).unwrap().to_owned();
    let small = rsa_of(1024);
    let large = rsa_of(8192);
    let mut off_curve = signer.der.clone();
    *off_curve.last_mut().unwrap() ^= 1;
    let compressed = {
        let mut point = signer.der[26..59].to_vec();
        point[0] = 2;
        let mut der = signer.der[..26].to_vec();
        (der[1], der[24]) = (57, 34);
        [der, point].concat()
    };
    let with = |from: &[u8], to: &[u8]| {
        let at = signer
            .der
            .windows(from.len())
            .position(|window| window == from);
        let at = at.unwrap();
        let mut der = signer.der.clone();
        der[at..at + from.len()].copy_from_slice(to);
        pem(&der)
    };
    let p256_oid = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let ec_oid = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let dh_oid = [0x2a, 0x86, 0x48, 0xce, 0x3e, 0x02, 0x01];

    for (why, text, expected) in [
        ("empty", String::new(), "no PEM block"),
        ("text", "not a key".to_owned(), "no PEM block"),
        ("a huge file", "x".repeat(20_000), "longer than"),
        ("two keys", format!("{good}{good}"), "several PEM blocks"),
        (
            "key and certificate",
            format!("{good}{}", labelled("CERTIFICATE")),
            "several",
        ),
        ("private", labelled("PRIVATE KEY"), "a private key"),
        ("EC private", labelled("EC PRIVATE KEY"), "a private key"),
        (
            "cosign private",
            labelled("ENCRYPTED SIGSTORE PRIVATE KEY"),
            "a private key",
        ),
        (
            "parameters and private key, as openssl writes them",
            format!(
                "{}{}",
                labelled("EC PARAMETERS"),
                labelled("EC PRIVATE KEY")
            ),
            "several PEM blocks",
        ),
        ("certificate", labelled("CERTIFICATE"), "a certificate"),
        ("PKCS#1", labelled("RSA PUBLIC KEY"), "PKCS#1"),
        ("OpenPGP", labelled("PGP PUBLIC KEY BLOCK"), "another type"),
        ("no end", cut(&good, good.len() - 30), "truncated"),
        ("half", cut(&good, good.len() / 2), "truncated"),
        ("first line", cut(&good, 27), "truncated"),
        ("text behind", format!("{good}\nhello"), "truncated"),
        ("short inside", pem(&signer.der[..40]), "not a public key"),
        (
            "bytes behind",
            pem(&[&signer.der[..], &[0]].concat()),
            "not a public key",
        ),
        ("off the curve", pem(&off_curve), "malformed P-256"),
        ("compressed", pem(&compressed), "malformed P-256"),
        (
            "another curve",
            with(&p256_oid, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x01]),
            "on the curve",
        ),
        ("another algorithm", with(&ec_oid, &dh_oid), "not supported"),
        ("RSA 1024", pem(&small), "RSA key of 1024 bits"),
        ("RSA 8192", pem(&large), "RSA key of 8192 bits"),
        (
            "RSA with an even modulus",
            pem(&rsa_of(2048)),
            "malformed RSA",
        ),
    ] {
        let error = PublicKey::from_pem(&text, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{why}: {error}");
    }
    let error = PublicKey::from_pem(&Signer::ed25519().pem(), Some(Hash::Sha512)).unwrap_err();
    assert_eq!(error, KeyError::HashForEd25519);
}

#[test]
fn a_key_file_may_have_what_editors_leave_behind() {
    let signer = Signer::p256();
    let expected = signer.key();
    for (why, text) in [
        ("line ends", signer.pem().replace('\n', "\r\n")),
        ("no last line end", signer.pem().trim().to_owned()),
        ("empty lines", format!("\n\n{}\n\n", signer.pem())),
    ] {
        let key = PublicKey::from_pem(&text, None).unwrap_or_else(|error| panic!("{why}: {error}"));
        assert_eq!(key.fingerprint(), expected.fingerprint(), "{why}");
    }
}

#[test]
fn a_key_prints_by_its_fingerprint() {
    let signer = Signer::p256();
    let key = signer.key();
    assert_eq!(key.fingerprint(), Digest::sha256(&signer.der).as_str());
    assert!(format!("{key:?}").contains(key.fingerprint()));
}

/// The form of an RSA key of so many bits; no key, since its modulus is even.
fn rsa_of(bits: usize) -> Vec<u8> {
    let element = |tag: u8, content: &[u8]| {
        let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
        let head = match high {
            0 => vec![tag, 0x81, low],
            _ => vec![tag, 0x82, high, low],
        };
        [&head, content].concat()
    };
    let mut modulus = vec![0; bits / 8 + 1];
    modulus[1] = 0x80;
    let modulus = element(0x02, &modulus);
    let key = element(0x30, &[&modulus[..], &[2, 3, 1, 0, 1]].concat());
    let algorithm = [
        0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0,
    ];
    let key = element(0x03, &[&[0][..], &key].concat());
    element(0x30, &[&algorithm[..], &key].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Two implementations of P-256 agree on signatures, as they are and damaged.
    #[test]
    fn both_implementations_of_p256_agree(
        message in proptest::collection::vec(any::<u8>(), 0..200),
        damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4)),
        hash in prop::sample::select(vec![Hash::Sha256, Hash::Sha384, Hash::Sha512]),
    ) {
        let signer = Signer::p256();
        let mut signature = (signer.sign)(&message);
        if let Some((at, byte, kind)) = damage {
            let at = at.index(signature.len());
            match kind {
                0 => signature[at] = byte,
                1 => signature.truncate(at),
                2 => signature.insert(at, byte),
                _ => signature[at] ^= 1 << (byte % 8),
            }
        }
        let ours = PublicKey::from_pem(&signer.pem(), Some(hash)).unwrap();
        let algorithm: &'static dyn engine::VerificationAlgorithm = match hash {
            Hash::Sha256 => &engine::ECDSA_P256_SHA256_ASN1,
            Hash::Sha384 => &engine::ECDSA_P256_SHA384_ASN1,
            Hash::Sha512 => &engine::ECDSA_P256_SHA512_ASN1,
        };
        let theirs = engine::UnparsedPublicKey::new(algorithm, &signer.der);
        prop_assert_eq!(
            ours.verifies(&message, &signature),
            theirs.verify(&message, &signature).is_ok()
        );
        if damage.is_none() {
            prop_assert_eq!(ours.verifies(&message, &signature), hash == Hash::Sha256);
        }
    }

    #[test]
    fn no_text_makes_reading_a_key_panic(text in "(-----BEGIN [A-Z ]{0,12}-----)?[ -~\n]{0,200}(-----END PUBLIC KEY-----)?") {
        drop(PublicKey::from_pem(&text, None));
    }

    #[test]
    fn no_damage_makes_reading_a_key_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut der = Signer::p256().der;
        let at = at.index(der.len());
        der[at] = byte;
        drop(PublicKey::from_pem(&pem(&der), None));
    }
}
