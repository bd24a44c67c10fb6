//! Hostile bytes: whatever is changed, nothing panics, and what was signed cannot be changed unseen.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::Value;

use super::super::certificate::Certificate;
use super::super::distinguished_name::DistinguishedName;
use super::super::trust_store::certificates;
use super::super::{Statement, TrustPolicy, TrustStores, verify};
use super::maker::{Draft, Template, p256, the_subject};
use super::{NOW, at_level, stores};
use crate::verification::Conclusion;
use crate::verification::evidence::JWS;

struct Sound {
    envelope: Vec<u8>,
    certificate: Vec<u8>,
    statement: Statement,
    stores: TrustStores,
}

static SOUND: LazyLock<Sound> = LazyLock::new(|| {
    let key = p256(1);
    let certificate = Template::leaf("signer").self_signed(&key);
    Sound {
        envelope: Draft::new(&key, std::slice::from_ref(&certificate)).sign(&key),
        statement: at_level("strict", &["ca:it"]),
        stores: stores(&[("ca:it", &certificate)]),
        certificate,
    }
});

fn conclusion(envelope: &[u8]) -> Conclusion {
    verify(
        envelope,
        JWS,
        &the_subject(),
        &SOUND.statement,
        &SOUND.stores,
        NOW,
    )
    .conclusion
}

/// The members that are signed, with the signature and the chain.
fn signed_parts(envelope: &[u8]) -> Option<Vec<Value>> {
    let envelope: Value = serde_json::from_slice(envelope).ok()?;
    let chain = envelope.get("header")?.get("x5c")?.clone();
    let members = ["payload", "protected", "signature"];
    let mut parts: Vec<_> = members
        .iter()
        .map(|name| envelope.get(name).cloned())
        .collect::<Option<_>>()?;
    parts.push(chain);
    Some(parts)
}

#[test]
fn the_envelope_that_is_changed_below_is_valid() {
    assert_eq!(conclusion(&SOUND.envelope), Conclusion::Valid);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_changed_envelope_is_valid_only_where_nothing_signed_changed(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut envelope = SOUND.envelope.clone();
        for (index, bit) in flips {
            let length = envelope.len();
            envelope[index.index(length)] ^= 1 << bit;
        }
        if let Some(cut) = cut {
            envelope.truncate(cut.index(envelope.len()));
        }
        if conclusion(&envelope) == Conclusion::Valid {
            prop_assert_eq!(signed_parts(&envelope), signed_parts(&SOUND.envelope));
        }
    }

    #[test]
    fn a_changed_certificate_is_never_the_one_that_is_trusted(
        index in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let mut certificate = SOUND.certificate.clone();
        let length = certificate.len();
        certificate[index.index(length)] ^= 1 << bit;
        let key = p256(1);
        let envelope = Draft::new(&key, &[certificate]).sign(&key);
        prop_assert_ne!(conclusion(&envelope), Conclusion::Valid);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in ".{0,200}") {
        let _ = conclusion(&bytes);
        let _ = conclusion(text.as_bytes());
        let _ = Certificate::parse(&bytes);
        let _ = certificates(&bytes);
        let _ = DistinguishedName::parse(&text);
        let _ = TrustPolicy::parse(text.as_bytes());
    }

    #[test]
    fn a_name_reads_back_as_it_is_written(values in prop::collection::vec(".{1,20}", 4)) {
        prop_assume!(!values.iter().any(|value| value.starts_with('#')));
        let escaped = |value: &String| -> String {
            value.bytes().map(|octet| format!("\\{octet:02x}")).collect()
        };
        let text = format!(
            "C={}, ST = {};O={},CN={}",
            escaped(&values[0]), escaped(&values[1]), escaped(&values[2]), escaped(&values[3])
        );
        let name = DistinguishedName::parse(&text).unwrap();
        let written = name.to_string();
        prop_assume!(!written.contains("=#"));
        prop_assert_eq!(DistinguishedName::parse(&written).unwrap(), name);
    }
}
