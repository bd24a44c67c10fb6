//! Real trust policies, trust stores and chains, each taken or refused as it is listed.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::super::certificate::Certificate;
use super::super::chain::{Chain, check_authority, check_leaf};
use super::super::trust_store::certificates;
use super::super::{Level, TrustPolicy, TrustStores};
use super::{files, statement, store_directory, vectors};

/// Trust policies that load; every other one of the folder is refused.
const LOADING: [&str; 21] = [
    "any_registry_scope",
    "audit",
    "generate_test",
    "invalid_registry_scope",
    "invalid_trust_store",
    "invalid_trusted_identity",
    "multi_statements_with_wildcard_registry_scope",
    "multiple_registry_scope",
    "multiple_trust_store",
    "multiple_trusted_identity",
    "overlapped_trust_store",
    "override_audit",
    "override_permissive",
    "override_strict",
    "permissive",
    "quickstart",
    "registry_scope",
    "timestamp",
    "timestamp_after_cert_expiry",
    "trustpolicy.json",
    "valid_trusted_identity",
];

#[test]
fn trust_policies_load_or_are_refused() {
    let Some(folder) = vectors() else { return };
    for (name, bytes) in files(&folder.join("notation-e2e/config/trustpolicies")) {
        let listed = |known: &&str| name == **known || name == format!("{known}_trustpolicy.json");
        let loads = LOADING.iter().any(listed);
        match TrustPolicy::parse(&bytes) {
            Ok(policy) => {
                assert!(loads, "{name} loads");
                assert!(policy.statements().iter().all(|s| s.level() != Level::Skip));
            }
            Err(mistakes) => {
                assert!(!loads, "{name}: {mistakes:?}");
                assert!(!mistakes.is_empty());
            }
        }
    }
}

#[test]
fn trust_stores_load_or_are_refused() {
    let Some(folder) = vectors() else { return };
    let folder = folder.join("notation-go/verifier/truststore/x509");
    for (kind, name, loads) in [
        ("ca", "valid-trust-store", true),
        ("ca", "valid-trust-store-2", true),
        ("ca", "valid-trust-store-self-signed", true),
        ("ca", "trust-store-with-invalid-certs", false),
        ("ca", "trust-store-with-leaf-certs", false),
        ("ca", "trust-store-with-leaf-certs-in-single-file", false),
        ("ca", "valid-trust-store_SYMLINK", false),
        ("signingAuthority", "valid-trust-store", true),
        ("signingAuthority", "valid-trust-store-2", true),
        ("tsa", "test-timestamp", true),
        ("tsa", "test-mismatch", true),
        ("tsa", "test-nonCA", false),
        ("tsa", "test-nonSelfIssued", false),
    ] {
        let store = folder.join(kind).join(name);
        if !store.is_dir() {
            continue;
        }
        let named = format!("{kind}:it");
        let files = files(&store);
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(_, bytes)| (named.as_str(), bytes.as_slice()))
            .collect();
        let read = TrustStores::read(store_directory(&files).path());
        assert_eq!(read.is_ok(), loads, "{kind}/{name}: {read:?}");
    }
    for (name, count) in [
        ("pem.crt", 1),
        ("multi-pem.crt", 2),
        ("der.der", 1),
        ("multi-der.der", 2),
    ] {
        let path = folder.join("../../../../notation-core-go/x509").join(name);
        let Ok(bytes) = fs::read(path) else { continue };
        assert_eq!(certificates(&bytes).unwrap().len(), count, "{name}");
    }
    let tsa = folder.join("../../../../notation-e2e/config/timestamp");
    for name in [
        "intermediate.pem",
        "notSelfIssued.crt",
        "CertChain.pem",
        "invalid.crt",
        "Empty.txt",
    ] {
        let Ok(bytes) = fs::read(tsa.join(name)) else {
            continue;
        };
        let read = TrustStores::read(store_directory(&[("tsa:it", &bytes)]).path());
        assert!(read.is_err(), "{name}");
    }
}

#[test]
fn chains_are_accepted_only_whole_and_in_order() {
    let Some(folder) = vectors() else { return };
    let folder = folder.join("notation-core-go");
    let chain = |names: &[&str]| -> Option<bool> {
        let read = |name: &&str| -> Option<Vec<u8>> {
            certificate(&folder, name).map(|c| c.encoded().to_vec())
        };
        let encoded: Option<Vec<_>> = names.iter().map(read).collect();
        encoded.map(|encoded| Chain::parse(&encoded).is_ok())
    };
    let (leaf, two, one, root) = (
        "codeSigningLeafPem",
        "intermediateCertPem2",
        "intermediateCertPem1",
        "rootCertPem",
    );
    for (names, accepted, why) in [
        (vec![leaf, two, one, root], true, "whole and in order"),
        (vec![leaf, two, one], false, "no root"),
        (vec![leaf, one, two, root], false, "out of order"),
        (vec![leaf, two, one, root, root], false, "a root twice"),
        (
            vec![leaf, two, two, one, root],
            false,
            "an intermediate twice",
        ),
        (
            vec![leaf, "unrelatedCertPem", two, one, root],
            false,
            "unrelated",
        ),
        (vec![root, two, one, root], false, "a root for a leaf"),
        (vec![leaf, root, one, root], false, "a root in the middle"),
        (
            vec![leaf, two, one, "unrelatedCertPem"],
            false,
            "ends elsewhere",
        ),
        (
            vec![
                "codeSigningLeafInvalidPathLenPem",
                two,
                "intermediateCertInvalidPathLenPem",
                root,
            ],
            false,
            "path length",
        ),
        (vec![root], false, "an authority alone"),
        (
            vec!["openssl-minimum-self-signed"],
            true,
            "a self-signed leaf alone",
        ),
    ] {
        if let Some(is_accepted) = chain(&names) {
            assert_eq!(is_accepted, accepted, "{why}");
        }
    }
    for (name, may_sign) in [
        ("validNoOptionsLeafPem", true),
        ("codeSigningLeafPem", true),
        ("caTrueLeafPem", false),
        ("kuNoDigitalSignatureLeafPem", false),
        ("kuWrongValuesLeafPem", false),
        ("rsaKeyTooSmallLeafPem", false),
        ("ecdsaKeyTooSmallLeafPem", false),
        ("ekuWrongValuesCodeLeafPem", false),
        ("ekuMissingCodeSigningLeafPem", false),
    ] {
        if let Some(leaf) = certificate(&folder, name) {
            assert_eq!(
                check_leaf(&leaf).is_ok(),
                may_sign,
                "{name}: {:?}",
                check_leaf(&leaf)
            );
        }
    }
    for (name, may_issue) in [
        ("rootCertPem", true),
        ("noBasicConstraintsCaPem", false),
        ("basicConstraintsNotCaPem", false),
        ("kuNotCriticalCertSignCaPem", false),
        ("kuMissingCaPem", false),
        ("kuNotCertSignCaPem", false),
    ] {
        if let Some(authority) = certificate(&folder, name) {
            let result = check_authority(&authority, 0);
            assert_eq!(result.is_ok(), may_issue, "{name}: {result:?}");
        }
    }
}

fn certificate(folder: &Path, name: &str) -> Option<Certificate> {
    let path = folder.join("x509-pem").join(format!("{name}.pem"));
    let other = folder.join("x509").join(format!("{name}.pem"));
    let bytes = fs::read(path).or_else(|_| fs::read(other)).ok()?;
    certificates(&bytes).unwrap().pop()
}

#[test]
fn listed_names_match_the_subjects_that_have_them() {
    let Some(folder) = vectors() else { return };
    for (file, name, matches) in [
        ("signing-cert.pem", "C=US,O=SomeOrg,ST=WA", true),
        ("signing-cert.pem", "ST=WA;O=SomeOrg;C=US;CN=SomeCN", true),
        ("signing-cert.pem", "C=IND,O=SomeOrg,ST=WA", false),
        (
            "signing-cert.pem",
            "C=US,O=SomeOrg,ST=WA,POSTALCODE=1",
            false,
        ),
        ("bad-cert.pem", "C=US,O=SomeOrg,ST=WA", false),
    ] {
        let path = folder.join("notation-go/verifier/verifier").join(file);
        let Ok(bytes) = fs::read(path) else { continue };
        let leaf = certificates(&bytes).unwrap().pop().unwrap();
        let identity = format!("x509.subject: {name}");
        let statement = statement(json!({"trustedIdentities": [identity]}));
        let [super::super::Identity::Subject(listed)] = statement.trusted_identities() else {
            panic!("one name")
        };
        assert_eq!(listed.names(&leaf.subject_name), matches, "{file} {name}");
    }
}
