//! The vectors of the field, read where they lie: bundles made with a key, and the `.sig` layouts of containers/image.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use serde::Deserialize;

use super::*;

/// Where the vectors are; `None`, said aloud, where they are not.
fn vectors(folder: &str) -> Option<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = std::env::var_os("REGSEAL_VECTORS")
        .map_or_else(|| project.join("../shared/vectors"), PathBuf::from);
    let folder = all.join("sigstore").join(folder);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no vectors in {}", folder.display());
    None
}

/// The files of `folder`, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn key_of(path: &Path) -> PublicKey {
    PublicKey::from_pem(&fs::read_to_string(path).unwrap(), None).unwrap()
}

#[test]
fn bundles_made_with_a_key_verify_with_it_alone() {
    let Some(folder) = vectors("key-only") else {
        return;
    };
    let artifact = Digest::sha256(&fs::read(folder.join("artifact")).unwrap());
    let keys: Vec<_> = files(&folder)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "pub"))
        .collect();
    let mut valid = BTreeSet::new();
    for bundle in files(&folder) {
        let Some(stem) = name(&bundle).strip_suffix(".sigstore.json") else {
            continue;
        };
        let bytes = fs::read(&bundle).unwrap();
        for path in &keys {
            let verdict = verify_bundle(&bytes, BUNDLE, &about(&artifact), &key_of(path));
            // PSS is not what a key of cosign makes; the same key stands in two files for it.
            let own = key_of(&folder.join(format!("{stem}.pub")));
            let own = key_of(path).fingerprint() == own.fingerprint() && !stem.contains("pss");
            let expected = if own {
                Conclusion::Valid
            } else {
                Conclusion::Untrusted
            };
            assert_eq!(verdict.conclusion, expected, "{stem} with {}", name(path));
            valid.extend(own.then(|| stem.to_owned()));
        }
        let other = Digest::sha256(b"another artifact");
        let verdict = verify_bundle(&bytes, BUNDLE, &about(&other), &key_of(&keys[0]));
        assert_eq!(
            verdict.conclusion,
            Conclusion::Invalid,
            "{stem}: another artifact"
        );
    }
    let expected = ["ed25519", "p256", "p384", "p521", "rsa2048"];
    assert_eq!(Vec::from_iter(valid), expected);
}

/// Bundles of all kinds: with a foreign key none is valid and nothing panics, and the one with a key verifies with that.
#[test]
fn bundles_of_every_kind_are_valid_only_with_their_key() {
    let Some(folder) = vectors("bundle-verify") else {
        return;
    };
    let foreign = Signer::p256().key();
    let mut with_key = 0;
    for case in files(&folder) {
        let Ok(bytes) = fs::read(case.join("bundle.sigstore.json")) else {
            continue;
        };
        let artifact = [
            case.join("artifact"),
            folder.join("a.txt"),
            folder.join("../a.txt"),
        ];
        let Some(artifact) = artifact.iter().find_map(|path| fs::read(path).ok()) else {
            continue;
        };
        let digest = Digest::sha256(&artifact);
        let verdict = verify_bundle(&bytes, BUNDLE, &about(&digest), &foreign);
        assert_ne!(verdict.conclusion, Conclusion::Valid, "{}", name(&case));
        if !case.join("key.pub").exists() {
            continue;
        }
        with_key += 1;
        let key = key_of(&case.join("key.pub"));
        let verdict = verify_bundle(&bytes, BUNDLE, &about(&digest), &key);
        let expected = !name(&case).ends_with("_fail");
        let told = told(&verdict);
        assert_eq!(
            verdict.conclusion == Conclusion::Valid,
            expected,
            "{}: {told}",
            name(&case)
        );
    }
    assert!(with_key > 0);
}

#[test]
fn a_bundle_with_two_signatures_or_of_an_older_version_is_never_valid() {
    let Some(folder) = vectors("sigstore-go/bundles") else {
        return;
    };
    let foreign = Signer::p256().key();
    for path in files(&folder) {
        let bytes = fs::read(&path).unwrap();
        let verdict = verify_bundle(&bytes, BUNDLE, &about(&image()), &foreign);
        assert_ne!(verdict.conclusion, Conclusion::Valid, "{}", name(&path));
    }
}

/// A layer as containers/image keeps it in a directory, behind `\0sigstore-json\n`.
#[derive(Deserialize)]
struct Kept {
    #[serde(rename = "mimeType")]
    media_type: String,
    payload: String,
    annotations: BTreeMap<String, String>,
}

#[test]
fn layers_of_containers_image_have_the_verdicts_of_its_own_tests() {
    let Some(folder) = vectors("containers-image") else {
        return;
    };
    let keys = ["cosign.pub", "cosign2.pub"].map(|file| key_of(&folder.join(file)));
    let mut seen = 0;
    for image in files(&folder) {
        let Ok(manifest) = fs::read(image.join("manifest.json")) else {
            continue;
        };
        let digest = Digest::sha256(&manifest);
        for path in files(&image) {
            let bytes = fs::read(&path).unwrap();
            let Some(json) = bytes.strip_prefix(b"\0sigstore-json\n") else {
                continue;
            };
            let kept: Kept = serde_json::from_slice(json).unwrap();
            if kept.media_type != crate::oci::media_type::SIMPLE_SIGNING {
                continue;
            }
            seen += 1;
            let payload = Base64::decode_vec(&kept.payload).unwrap();
            let verdicts = keys.each_ref().map(|key| {
                verify_simple(&payload, &kept.annotations, &about(&digest), key).conclusion
            });
            // With the one key, and with the other.
            let expected = match (name(&image), name(&path)) {
                (
                    "dir-img-cosign-modified-manifest" | "dir-img-cosign-manifest-digest-error",
                    _,
                ) => [Conclusion::Invalid; 2],
                // Made with a certificate, or with a key of somebody else.
                ("dir-img-cosign-fulcio-rekor-valid" | "dir-img-cosign-pki-valid", _)
                | ("dir-img-cosign-mixed", "signature-1") => [Conclusion::Untrusted; 2],
                ("dir-img-cosign-key-rekor-valid", _) => [Conclusion::Untrusted, Conclusion::Valid],
                _ => [Conclusion::Valid, Conclusion::Untrusted],
            };
            assert_eq!(verdicts, expected, "{}/{}", name(&image), name(&path));
        }
    }
    assert!(seen > 0);
}
