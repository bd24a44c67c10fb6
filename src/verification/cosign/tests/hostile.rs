//! Hostile bytes: nothing panics, and no damage to what is signed leaves a verdict valid.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// Everything that one key signed, once: `Signer` itself cannot be shared.
struct Signed {
    key: PublicKey,
    bundle: Value,
    message: Value,
    payload: Vec<u8>,
    annotations: BTreeMap<String, String>,
}

static SIGNED: LazyLock<Signed> = LazyLock::new(|| {
    let signer = Signer::p256();
    let payload = payload(&image()).to_string().into_bytes();
    Signed {
        key: signer.key(),
        bundle: signer.bundle(&statement(&image())),
        message: signer.message(b"the image"),
        annotations: signer.annotations(&payload),
        payload,
    }
});

#[derive(Clone, Debug)]
enum Damage {
    Replace(u8),
    Flip(u8),
    Insert(u8),
    Remove,
    Cut,
    Repeat,
}

fn damage() -> impl Strategy<Value = (prop::sample::Index, Damage)> {
    let kind = prop_oneof![
        any::<u8>().prop_map(Damage::Replace),
        (0_u8..8).prop_map(Damage::Flip),
        any::<u8>().prop_map(Damage::Insert),
        Just(Damage::Remove),
        Just(Damage::Cut),
        Just(Damage::Repeat),
    ];
    (any::<prop::sample::Index>(), kind)
}

fn damaged(bytes: &[u8], (at, damage): &(prop::sample::Index, Damage)) -> Vec<u8> {
    let at = at.index(bytes.len());
    let mut bytes = bytes.to_vec();
    match damage {
        Damage::Replace(byte) => bytes[at] = *byte,
        Damage::Flip(bit) => bytes[at] ^= 1 << bit,
        Damage::Insert(byte) => bytes.insert(at, *byte),
        Damage::Remove => drop(bytes.remove(at)),
        Damage::Cut => bytes.truncate(at),
        Damage::Repeat => {
            let behind = bytes[at..].to_vec();
            bytes.extend(behind);
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_damaged_payload_is_never_valid(damage in damage()) {
        let payload = damaged(&SIGNED.payload, &damage);
        prop_assume!(payload != SIGNED.payload);
        let verdict = verify_simple(&payload, &SIGNED.annotations, &about(&image()), &SIGNED.key);
        prop_assert_ne!(verdict.conclusion, Conclusion::Valid);
        let examined = examine_simple(&payload, &SIGNED.annotations, &about(&image()));
        prop_assert_ne!(examined.conclusion, Conclusion::Valid);
    }

    #[test]
    fn a_damaged_signature_is_never_valid(damage in damage()) {
        let signature = &SIGNED.annotations[SIGNATURE];
        let text = String::from_utf8_lossy(&damaged(signature.as_bytes(), &damage)).into_owned();
        // Line breaks are no damage: openssl writes them.
        prop_assume!(text.replace(['\r', '\n'], "") != *signature);
        let annotations = BTreeMap::from([(SIGNATURE.to_owned(), text)]);
        let verdict = verify_simple(&SIGNED.payload, &annotations, &about(&image()), &SIGNED.key);
        prop_assert_ne!(verdict.conclusion, Conclusion::Valid);
    }

    /// What is damaged around the signature may be passed over; then envelope and signature are as they were.
    #[test]
    fn a_damaged_bundle_is_valid_only_if_what_is_signed_is_whole(
        damages in proptest::collection::vec(damage(), 1..4),
        over_manifest in any::<bool>(),
    ) {
        let good = if over_manifest { &SIGNED.message } else { &SIGNED.bundle };
        let bytes = damages.iter().fold(good.to_string().into_bytes(), |bytes, damage| {
            if bytes.is_empty() { bytes } else { damaged(&bytes, damage) }
        });
        let verdict = verify_bundle(&bytes, BUNDLE, &about(&image()), &SIGNED.key);
        let examined = examine_bundle(&bytes, BUNDLE, &about(&image()));
        prop_assert_ne!(examined.conclusion, Conclusion::Valid);
        if verdict.conclusion == Conclusion::Valid {
            let read: Value = serde_json::from_slice(&bytes).unwrap();
            for pointer in [
                "/dsseEnvelope/payload",
                "/dsseEnvelope/payloadType",
                "/dsseEnvelope/signatures/0/sig",
                "/messageSignature/signature",
                "/messageSignature/messageDigest",
            ] {
                prop_assert_eq!(read.pointer(pointer), good.pointer(pointer), "{}", pointer);
            }
        }
    }

    /// The statement inside is damaged, which base64 would hide from damage to the bundle.
    #[test]
    fn a_damaged_statement_is_never_valid(damage in damage()) {
        let mut bundle = SIGNED.bundle.clone();
        let statement = statement(&image()).to_string();
        let changed = damaged(statement.as_bytes(), &damage);
        prop_assume!(changed != statement.as_bytes());
        bundle["dsseEnvelope"]["payload"] = json!(encode(&changed));
        let verdict = verified(&bundle, &image(), &SIGNED.key);
        prop_assert_ne!(verdict.conclusion, Conclusion::Valid);
    }

    #[test]
    fn no_bytes_make_reading_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        text in "[ -~]{0,80}",
    ) {
        let annotations = BTreeMap::from([(SIGNATURE.to_owned(), text.clone())]);
        let subject = image();
        for verdict in [
            verify_simple(&bytes, &annotations, &about(&subject), &SIGNED.key),
            verify_bundle(&bytes, &text, &about(&subject), &SIGNED.key),
            verify_bundle(&bytes, BUNDLE, &about(&subject), &SIGNED.key),
        ] {
            prop_assert_ne!(verdict.conclusion, Conclusion::Valid);
        }
    }

    /// Well-formed JSON of any shape, where bytes at random never come.
    #[test]
    fn no_shape_makes_reading_panic(
        at in any::<prop::sample::Index>(),
        value in prop::sample::select(vec![
            json!(null), json!(-1), json!(1e300), json!(""), json!("\u{0}"), json!([]), json!([[]]),
            json!({}), json!({"": {}}), json!(true),
        ]),
    ) {
        for good in [&SIGNED.bundle, &SIGNED.message] {
            let places = fields::pointers(good);
            let mut changed = good.clone();
            *changed.pointer_mut(&places[at.index(places.len())]).unwrap() = value.clone();
            verified(&changed, &image(), &SIGNED.key);
        }
    }
}
