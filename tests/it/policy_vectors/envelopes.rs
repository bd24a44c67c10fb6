//! Envelopes without the image that they sign: pushed as signatures of one that is not there yet.

use std::collections::{BTreeMap, BTreeSet};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use super::{Trusting, files, root_of, vectors};
use crate::support::Content;
use crate::support::images::{MANIFEST, NOTATION, hex};

const JWS: &str = "application/jose+json";
const COSE: &str = "application/cose";

/// Envelopes with the stores that the statement names, and the verdict at the level strict.
const ENVELOPES: &[(&str, &str, &str)] = &[
    ("ca_valid_sig_env.json", "ca", "valid"),
    ("ca_valid_sig_env.json", "signingAuthority", "untrusted"),
    ("sa_valid_sig_env.json", "signingAuthority", "valid"),
    ("sa_valid_sig_env.json", "ca", "untrusted"),
    ("ca_expired_sig_env.json", "ca", "untrusted"),
    ("sa_expired_sig_env.json", "signingAuthority", "untrusted"),
    ("ca_invalid_sig_env.json", "ca", "invalid"),
    ("sa_invalid_sig_env.json", "signingAuthority", "invalid"),
    ("sig_env_with_metadata.json", "ca", "untrusted"),
    ("jws_signature.sig", "ca", "valid"),
    ("jwsExpiredWithTimestamp.sig", "ca", "untrusted"),
    ("timestampBeforeNotBefore.sig", "ca", "untrusted"),
    ("withoutTimestamp.sig", "ca tsa", "untrusted"),
];

/// What is not decided, since it needs timestamps, plugins or COSE.
const UNDECIDED: &[(&str, &str, &str)] = &[
    ("jwsWithTimestamp.sig", "ca tsa", "undetermined"),
    ("jwsExpiredWithTimestamp.sig", "ca tsa", "undetermined"),
    ("timestampBeforeNotBefore.sig", "ca tsa", "undetermined"),
    ("ca_plugin_sig_env.json", "ca", "unsupported"),
    ("sa_plugin_sig_env.json", "signingAuthority", "unsupported"),
    (
        "ca_compatible_pluginver_sig_env_0.0.9.json",
        "ca",
        "unsupported",
    ),
    (
        "ca_compatible_pluginver_sig_env_1.0.0-alpha.json",
        "ca",
        "unsupported",
    ),
    (
        "ca_compatible_pluginver_sig_env_1.0.0-alpha.beta.json",
        "ca",
        "unsupported",
    ),
    (
        "ca_compatible_pluginver_sig_env_1.0.0.json",
        "ca",
        "unsupported",
    ),
    (
        "ca_incompatible_pluginver_sig_env_1.0.1.json",
        "ca",
        "unsupported",
    ),
    (
        "ca_incompatible_pluginver_sig_env_1.0.9.json",
        "ca",
        "unsupported",
    ),
    (
        "ca_incompatible_pluginver_sig_env_1.1.0-alpha.json",
        "ca",
        "unsupported",
    ),
    (
        "ca_incompatible_pluginver_sig_env_1.2.3.json",
        "ca",
        "unsupported",
    ),
    ("cose_signature.sig", "ca", "unsupported"),
    ("coseWithTimestamp.sig", "ca tsa", "unsupported"),
    ("coseExpiredWithTimestamp.sig", "ca tsa", "unsupported"),
    ("timestampAfterNotAfter.sig", "ca tsa", "unsupported"),
];

#[test]
fn envelopes_give_their_verdicts() {
    let Some(folder) = vectors() else { return };
    let go = folder.join("notation-go");
    let envelopes: BTreeMap<String, Vec<u8>> =
        ["envelopes-mock", "envelopes", "verifier/timestamp/sigEnv"]
            .iter()
            .flat_map(|directory| files(&go.join(directory)))
            .collect();
    let rows = || ENVELOPES.iter().chain(UNDECIDED);
    for name in envelopes.keys() {
        let is_listed = rows().any(|row| row.0 == name);
        assert!(is_listed, "{name} is not listed");
    }
    let tsa = go.join("verifier/truststore/x509/tsa/test-timestamp/globalsignRoot.cer");
    let tsa = std::fs::read(tsa).unwrap();
    let ca = go.join("verifier/truststore/x509/ca/valid-trust-store");
    let mut anchors: BTreeSet<Vec<u8>> = files(&ca).into_values().collect();
    let jws = envelopes.values().filter(|bytes| is_jws(bytes));
    anchors.extend(jws.map(|envelope| root_of(envelope)));
    for stores in ["ca", "signingAuthority", "ca tsa"] {
        let named: Vec<(&str, Vec<&[u8]>)> = stores
            .split(' ')
            .map(|kind| match kind {
                "tsa" => (kind, vec![tsa.as_slice()]),
                _ => (kind, anchors.iter().map(Vec::as_slice).collect()),
            })
            .collect();
        let trusting = Trusting::start("strict", &named);
        let of_these = rows().filter(|row| row.1 == stores);
        for (name, _, expected) in of_these {
            let Some(envelope) = envelopes.get(*name) else {
                continue;
            };
            assert_envelope(
                &trusting,
                envelope,
                expected,
                &format!("{name} with {stores}"),
            );
        }
    }
}

fn is_jws(envelope: &[u8]) -> bool {
    envelope.first() == Some(&b'{')
}

/// Pushes an envelope as a signature of an image that is not there yet.
#[track_caller]
fn assert_envelope(trusting: &Trusting, envelope: &[u8], expected: &str, why: &str) {
    let repository = trusting.repository();
    let subject = if is_jws(envelope) {
        let envelope: Value = serde_json::from_slice(envelope).unwrap();
        let payload = envelope["payload"].as_str().unwrap().trim_end_matches('=');
        let payload = Base64UrlUnpadded::decode_vec(payload).unwrap();
        let payload: Value = serde_json::from_slice(&payload).unwrap();
        let target = &payload["targetArtifact"];
        json!({"mediaType": target["mediaType"], "digest": target["digest"], "size": target["size"]})
    } else {
        json!({"mediaType": MANIFEST, "digest": format!("sha256:{}", hex(&[0; 32])), "size": 2})
    };
    let layer = Content::new(if is_jws(envelope) { JWS } else { COSE }, envelope.to_vec());
    let config = Content::new(NOTATION, "{}");
    repository.push_blob(&config);
    repository.push_blob(&layer);
    let signature = Content::manifest(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
        "subject": subject,
        "annotations": {"io.cncf.notary.x509chain.thumbprint#S256": "[]"},
    }));
    let reply = repository.put_manifest(&signature.digest(), &signature);
    if expected == "invalid" {
        assert_eq!(reply.status, 400, "{why}: {reply:?}");
        reply.refused(400, "MANIFEST_INVALID");
    } else {
        assert_eq!(reply.status, 201, "{why}: {reply:?}");
        let counts = reply.header("warning").is_empty();
        assert_eq!(counts, expected == "valid", "{why}: {reply:?}");
    }
    assert_eq!(trusting.verdict(&signature), expected, "{why}");
}
