//! Real envelopes and image layouts.
//!
//! The tables are exact: a file that is there and not listed, or that gives another verdict, fails. A file that is
//! listed and not there is passed over.

use std::fs;
use std::path::Path;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use serde_json::Value;

use super::super::{examine_integrity, verify};
use super::{NOW, at_level, files, stores, vectors};
use crate::oci::{Digest, Manifest};
use crate::verification::evidence::{COSE, JWS, Shape};
use crate::verification::{Conclusion, Subject};

/// Envelopes with the store they need, by file name, and what `strict` makes of them.
const ENVELOPES: &[(&str, &str, Conclusion)] = &[
    ("ca_valid_sig_env.json", "ca:it", Conclusion::Valid),
    (
        "ca_valid_sig_env.json",
        "signingAuthority:it",
        Conclusion::Untrusted,
    ),
    (
        "sa_valid_sig_env.json",
        "signingAuthority:it",
        Conclusion::Valid,
    ),
    ("sa_valid_sig_env.json", "ca:it", Conclusion::Untrusted),
    ("ca_expired_sig_env.json", "ca:it", Conclusion::Untrusted),
    (
        "sa_expired_sig_env.json",
        "signingAuthority:it",
        Conclusion::Untrusted,
    ),
    ("ca_invalid_sig_env.json", "ca:it", Conclusion::Invalid),
    (
        "sa_invalid_sig_env.json",
        "signingAuthority:it",
        Conclusion::Invalid,
    ),
    ("sig_env_with_metadata.json", "ca:it", Conclusion::Untrusted),
    ("jws_signature.sig", "ca:it", Conclusion::Valid),
    (
        "jwsExpiredWithTimestamp.sig",
        "ca:it",
        Conclusion::Untrusted,
    ),
    (
        "timestampBeforeNotBefore.sig",
        "ca:it",
        Conclusion::Untrusted,
    ),
    ("withoutTimestamp.sig", "ca:it+tsa", Conclusion::Untrusted),
    // Not decided: they need what is not verified.
    ("ca_plugin_sig_env.json", "ca:it", Conclusion::Unsupported),
    (
        "sa_plugin_sig_env.json",
        "signingAuthority:it",
        Conclusion::Unsupported,
    ),
    (
        "ca_compatible_pluginver_sig_env_0.0.9.json",
        "ca:it",
        Conclusion::Unsupported,
    ),
    (
        "ca_compatible_pluginver_sig_env_1.0.0-alpha.json",
        "ca:it",
        Conclusion::Unsupported,
    ),
    (
        "ca_compatible_pluginver_sig_env_1.0.0-alpha.beta.json",
        "ca:it",
        Conclusion::Unsupported,
    ),
    (
        "ca_compatible_pluginver_sig_env_1.0.0.json",
        "ca:it",
        Conclusion::Unsupported,
    ),
    (
        "ca_incompatible_pluginver_sig_env_1.0.1.json",
        "ca:it",
        Conclusion::Unsupported,
    ),
    (
        "ca_incompatible_pluginver_sig_env_1.0.9.json",
        "ca:it",
        Conclusion::Unsupported,
    ),
    (
        "ca_incompatible_pluginver_sig_env_1.1.0-alpha.json",
        "ca:it",
        Conclusion::Unsupported,
    ),
    (
        "ca_incompatible_pluginver_sig_env_1.2.3.json",
        "ca:it",
        Conclusion::Unsupported,
    ),
    ("cose_signature.sig", "ca:it", Conclusion::Unsupported),
    (
        "coseWithTimestamp.sig",
        "ca:it+tsa",
        Conclusion::Unsupported,
    ),
    (
        "coseExpiredWithTimestamp.sig",
        "ca:it+tsa",
        Conclusion::Unsupported,
    ),
    (
        "timestampAfterNotAfter.sig",
        "ca:it+tsa",
        Conclusion::Unsupported,
    ),
    (
        "jwsWithTimestamp.sig",
        "ca:it+tsa",
        Conclusion::Undetermined,
    ),
    (
        "jwsExpiredWithTimestamp.sig",
        "ca:it+tsa",
        Conclusion::Undetermined,
    ),
    (
        "timestampBeforeNotBefore.sig",
        "ca:it+tsa",
        Conclusion::Undetermined,
    ),
];

#[test]
fn envelopes_give_their_verdicts() {
    let Some(folder) = vectors() else { return };
    let tsa = folder.join("notation-go/verifier/truststore/x509/tsa/test-timestamp");
    let tsa = fs::read(tsa.join("globalsignRoot.cer")).unwrap();
    for directory in ["envelopes-mock", "envelopes", "verifier/timestamp/sigEnv"] {
        for (name, bytes) in files(&folder.join("notation-go").join(directory)) {
            let rows: Vec<_> = ENVELOPES.iter().filter(|row| row.0 == name).collect();
            assert!(!rows.is_empty(), "{name} is not listed");
            for (_, store, expected) in rows {
                let trusted = anchor(&folder, &name, &bytes);
                let (store, with_tsa) = match store.strip_suffix("+tsa") {
                    Some(store) => (store, true),
                    None => (*store, false),
                };
                let mut listed = vec![store];
                listed.extend(with_tsa.then_some("tsa:it"));
                let media_type = if bytes.first() == Some(&b'{') {
                    JWS
                } else {
                    COSE
                };
                let (digest, kind, size) = signed(&bytes);
                let verdict = verify(
                    &bytes,
                    media_type,
                    &Subject {
                        digest: &digest,
                        media_type: Some(&kind),
                        size: Some(size),
                    },
                    &at_level("strict", &listed),
                    &stores(&[(store, &trusted), ("tsa:it", &tsa)]),
                    NOW,
                );
                assert_eq!(verdict.conclusion, *expected, "{name} {store}: {verdict:?}");
            }
        }
    }
}

/// What the envelope's root or the tests' root is.
fn anchor(folder: &Path, name: &str, bytes: &[u8]) -> Vec<u8> {
    let stores = folder.join("notation-go/verifier/truststore/x509/ca/valid-trust-store");
    if name.starts_with("ca_") || name.starts_with("sa_") || bytes.first() != Some(&b'{') {
        return fs::read(stores.join("NotationTestRoot.pem")).unwrap();
    }
    if name == "sig_env_with_metadata.json" {
        return fs::read(stores.join("wabbit-networks.io.crt")).unwrap();
    }
    let envelope: Value = serde_json::from_slice(bytes).unwrap();
    let root = envelope["header"]["x5c"]
        .as_array()
        .unwrap()
        .last()
        .unwrap();
    Base64::decode_vec(root.as_str().unwrap()).unwrap()
}

/// The artifact that a payload names; anything for an envelope in COSE, which is not read.
fn signed(bytes: &[u8]) -> (Digest, String, u64) {
    let Ok(envelope) = serde_json::from_slice::<Value>(bytes) else {
        return (Digest::sha256(b""), String::new(), 0);
    };
    let payload =
        Base64UrlUnpadded::decode_vec(envelope["payload"].as_str().unwrap().trim_end_matches('='))
            .unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    let artifact = &payload["targetArtifact"];
    (
        artifact["digest"].as_str().unwrap().parse().unwrap(),
        artifact["mediaType"].as_str().unwrap().to_owned(),
        artifact["size"].as_u64().unwrap(),
    )
}

/// Layouts with the root that is trusted, and the conclusions of strict, permissive and audit.
const LAYOUTS: &[(&str, &str, [Conclusion; 3])] = &[
    ("e2e-valid-signature", "e2e.crt", [Conclusion::Valid; 3]),
    (
        "e2e-valid-signature",
        "new_e2e.crt",
        [Conclusion::Untrusted; 3],
    ),
    (
        "e2e-valid-multiple-signatures",
        "e2e.crt",
        [Conclusion::Valid; 3],
    ),
    (
        "e2e-expired-signature",
        "e2e.crt",
        [Conclusion::Untrusted, Conclusion::Valid, Conclusion::Valid],
    ),
    (
        "e2e-with-expired-cert",
        "expired_e2e.crt",
        [Conclusion::Untrusted, Conclusion::Valid, Conclusion::Valid],
    ),
    (
        "e2e-with-timestamped-signature",
        "e2e.crt",
        [Conclusion::Untrusted; 3],
    ),
    (
        "e2e-with-invalid-timestamped-signature",
        "e2e.crt",
        [Conclusion::Untrusted; 3],
    ),
    // The layer is no envelope, which the shape of the manifest says.
    ("e2e-invalid-signature", "e2e.crt", [Conclusion::Invalid; 3]),
    ("e2e", "e2e.crt", [Conclusion::Unsupported; 3]),
];

#[test]
fn layouts_give_their_verdicts_at_every_level() {
    let Some(folder) = vectors() else { return };
    let folder = folder.join("notation-e2e");
    for entry in fs::read_dir(folder.join("oci_layout")).unwrap() {
        let layout = entry.unwrap();
        let name = layout.file_name().into_string().unwrap();
        let rows: Vec<_> = LAYOUTS.iter().filter(|row| row.0 == name).collect();
        assert!(!rows.is_empty(), "{name} is not listed");
        for (_, root, expected) in rows {
            let root = fs::read(folder.join("config/localkeys").join(root)).unwrap();
            for (level, expected) in ["strict", "permissive", "audit"].iter().zip(expected) {
                let best = best(&layout.path().join("blobs/sha256"), &root, level);
                assert_eq!(best, *expected, "{name} at {level}");
            }
        }
    }
}

/// The best conclusion of the signatures in a layout; unsupported if it has none.
fn best(blobs: &Path, root: &[u8], level: &str) -> Conclusion {
    let stores = stores(&[("ca:it", root)]);
    let mut found = Vec::new();
    for (_, bytes) in files(blobs) {
        let Ok(manifest) = Manifest::parse(&bytes, "") else {
            continue;
        };
        let Some(subject) = &manifest.subject else {
            continue;
        };
        let layer = match Shape::of_referrer(&manifest) {
            Shape::Envelope(layer) => layer,
            Shape::Malformed(..) => {
                found.push(Conclusion::Invalid);
                continue;
            }
            Shape::SimpleSigning(_) | Shape::Bundle(_) | Shape::None => continue,
        };
        let envelope = fs::read(blobs.join(layer.digest.encoded())).unwrap();
        let subject = Subject {
            digest: &subject.digest,
            media_type: Some(&subject.media_type),
            size: Some(subject.size),
        };
        let at_level = at_level(level, &["ca:it"]);
        let verdict = verify(
            &envelope,
            &layer.media_type,
            &subject,
            &at_level,
            &stores,
            NOW,
        );
        found.push(verdict.conclusion);
    }
    if found.contains(&Conclusion::Valid) {
        return Conclusion::Valid;
    }
    found.pop().unwrap_or(Conclusion::Unsupported)
}

#[test]
fn sound_envelopes_are_untrusted_while_nobody_is_asked() {
    let Some(folder) = vectors() else { return };
    for (name, bytes) in files(&folder.join("notation-go/envelopes-mock")) {
        let (digest, _, _) = signed(&bytes);
        let subject = Subject {
            digest: &digest,
            media_type: None,
            size: None,
        };
        let expected = match () {
            () if name.contains("invalid_sig") => Conclusion::Invalid,
            () if name.contains("plugin") => Conclusion::Unsupported,
            () => Conclusion::Untrusted,
        };
        let verdict = examine_integrity(&bytes, JWS, &subject);
        assert_eq!(verdict.conclusion, expected, "{name}");
        let other = Digest::sha256(b"other");
        let subject = Subject {
            digest: &other,
            ..subject
        };
        let verdict = examine_integrity(&bytes, JWS, &subject);
        assert_eq!(verdict.conclusion, Conclusion::Invalid, "{name} elsewhere");
    }
}
