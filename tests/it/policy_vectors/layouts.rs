//! Image layouts with signatures that notation made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Trusting, root_of, vectors};
use crate::support::images::MANIFEST;
use crate::support::{Content, Repository};

/// What becomes of the tag of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tagged {
    /// It is signed.
    Admitted,
    /// Its signatures are stored, and count for nobody; this is in the reason.
    Untrusted(&'static str),
    /// Its signature is refused.
    Refused,
    /// Nobody has signed it.
    Unsigned,
}

use Tagged::{Admitted, Refused, Unsigned, Untrusted};

/// Layouts with the root that is trusted; outcomes at the levels strict, permissive and audit.
const LAYOUTS: &[(&str, &str, [Tagged; 3])] = &[
    ("e2e", "e2e.crt", [Unsigned; 3]),
    ("e2e-valid-signature", "e2e.crt", [Admitted; 3]),
    // At the level audit, authenticity is only logged; nobody is named by it, so that it counts for nobody either.
    (
        "e2e-valid-signature",
        "new_e2e.crt",
        [Untrusted("authenticity"); 3],
    ),
    ("e2e-valid-multiple-signatures", "e2e.crt", [Admitted; 3]),
    (
        "e2e-expired-signature",
        "e2e.crt",
        [Untrusted("expiry"), Admitted, Admitted],
    ),
    (
        "e2e-with-expired-cert",
        "expired_e2e.crt",
        [Untrusted("authenticTimestamp"), Admitted, Admitted],
    ),
    ("e2e-invalid-signature", "e2e.crt", [Refused; 3]),
    (
        "e2e-with-timestamped-signature",
        "e2e.crt",
        [Untrusted("authenticity"); 3],
    ),
    (
        "e2e-with-invalid-timestamped-signature",
        "e2e.crt",
        [Untrusted("authenticity"); 3],
    ),
    // Its own root is trusted, and a store of timestamping authorities is named: permissive only logs what comes of that.
    (
        "e2e-with-timestamped-signature",
        "own root, and tsa",
        [Untrusted("expiry"), Admitted, Admitted],
    ),
];

/// A layout: what it holds, and what its index names.
struct Layout {
    blobs: PathBuf,
    tagged: Vec<(String, Content)>,
    signatures: Vec<Content>,
}

impl Layout {
    fn read(folder: &Path) -> Self {
        let mut layout = Self {
            blobs: folder.join("blobs/sha256"),
            tagged: Vec::new(),
            signatures: Vec::new(),
        };
        let index: Value =
            serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
        for entry in index["manifests"].as_array().unwrap() {
            let manifest = layout.content(entry);
            if manifest.json()["subject"].is_object() {
                layout.signatures.push(manifest);
            } else if let Some(tag) =
                entry["annotations"]["org.opencontainers.image.ref.name"].as_str()
            {
                layout.tagged.push((tag.to_owned(), manifest));
            }
        }
        layout
    }

    fn content(&self, descriptor: &Value) -> Content {
        let digest = descriptor["digest"].as_str().unwrap();
        let bytes = std::fs::read(self.blobs.join(digest.trim_start_matches("sha256:"))).unwrap();
        Content::new(descriptor["mediaType"].as_str().unwrap(), bytes)
    }

    fn push_blobs(&self, repository: &Repository, manifest: &Content) {
        let manifest = manifest.json();
        let layers = manifest["layers"].as_array().into_iter().flatten();
        for blob in layers.chain(
            manifest["config"]
                .is_object()
                .then_some(&manifest["config"]),
        ) {
            repository.push_blob(&self.content(blob));
        }
    }

    /// The last certificate in the chain of its first signature.
    fn own_root(&self) -> Vec<u8> {
        let manifest = self.signatures[0].json();
        root_of(&self.content(&manifest["layers"][0]).bytes)
    }
}

#[test]
fn layouts_give_their_verdicts_at_every_level() {
    let Some(folder) = vectors() else { return };
    let e2e = folder.join("notation-e2e");
    let tsa = e2e.join("config/timestamp/globalsignTSARoot.cer");
    let tsa = std::fs::read(tsa).unwrap();
    let there: BTreeSet<String> = std::fs::read_dir(e2e.join("oci_layout"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for name in &there {
        let is_listed = LAYOUTS.iter().any(|row| row.0 == name);
        assert!(is_listed, "{name} is not listed");
    }
    for (name, root, expected) in LAYOUTS.iter().filter(|row| there.contains(row.0)) {
        let layout = Layout::read(&e2e.join("oci_layout").join(name));
        for (level, expected) in ["strict", "permissive", "audit"].iter().zip(expected) {
            let trusting = match e2e.join("config/localkeys").join(root) {
                file if file.is_file() => {
                    Trusting::start(level, &[("ca", vec![&std::fs::read(file).unwrap()])])
                }
                _ => Trusting::start(
                    level,
                    &[("ca", vec![&layout.own_root()]), ("tsa", vec![&tsa])],
                ),
            };
            let why = format!("{name} with {root} at {level}");
            assert_layout(&trusting, &layout, *expected, &why);
        }
    }
}

/// Pushes a layout in the order in which programs copy: the image by its digest, its signatures, and then the tags.
#[track_caller]
fn assert_layout(trusting: &Trusting, layout: &Layout, expected: Tagged, why: &str) {
    let repository = trusting.repository();
    for (_, image) in &layout.tagged {
        layout.push_blobs(&repository, image);
        if image.media_type == MANIFEST {
            repository.push_manifest(image);
        }
    }
    for signature in &layout.signatures {
        layout.push_blobs(&repository, signature);
        let reply = repository.put_manifest(&signature.digest(), signature);
        match expected {
            Refused => {
                reply.refused(400, "MANIFEST_INVALID");
                assert_eq!(trusting.verdict(signature), "invalid", "{why}");
                continue;
            }
            Untrusted(reason) => {
                let warning = reply.header("warning").to_owned();
                reply.expect(201);
                assert!(warning.contains(reason), "{why}: {warning}");
                assert_eq!(trusting.verdict(signature), "untrusted", "{why}");
            }
            // One that is good is enough.
            Admitted | Unsigned => drop(reply.expect(201)),
        }
    }
    for (tag, image) in &layout.tagged {
        if image.media_type != MANIFEST {
            // The list of referrers, under the tag by which it is found without the API.
            if expected != Refused {
                repository.put_manifest(tag, image).expect(201);
            }
            continue;
        }
        assert_explained(&trusting.explain(image), expected, why);
        let reply = repository.put_manifest(tag, image);
        if expected == Admitted {
            assert_eq!(reply.status, 201, "{why}: {reply:?}");
            repository.get_manifest(tag).expect(200);
            continue;
        }
        assert_eq!(reply.status, 403, "{why}: {reply:?}");
        let told = reply.json()["errors"][0]["message"].to_string();
        assert!(
            told.contains("rule 'team' requires: vectors"),
            "{why}: {told}"
        );
        if let Untrusted(reason) = expected {
            assert!(told.contains(reason), "{why}: {told}");
        }
    }
}

/// The explanation names what decides: each signature that is stored, its verdict, and the check that did not pass (at the level audit it is only logged).
#[track_caller]
fn assert_explained(explained: &Value, expected: Tagged, why: &str) {
    assert_eq!(
        explained["signed"],
        expected == Admitted,
        "{why}: {explained:#}"
    );
    let signatures = explained["signatures"].as_array().unwrap();
    let did_not_pass = |signature: &Value, name: &str| {
        let mut checks = signature["checks"].as_array().unwrap().iter();
        checks.any(|check| check["name"] == name && check["outcome"] != "passed")
    };
    let is_as_expected = match expected {
        Admitted => signatures.iter().any(|one| one["verdict"] == "valid"),
        Untrusted(reason) => signatures
            .iter()
            .all(|one| one["verdict"] == "untrusted" && did_not_pass(one, reason)),
        Refused | Unsigned => signatures.is_empty(),
    };
    assert!(is_as_expected, "{why}: {explained:#}");
    if expected != Admitted {
        assert_eq!(explained["decision"], "deny", "{why}: {explained:#}");
        assert_eq!(
            explained["missing"],
            json!(["vectors"]),
            "{why}: {explained:#}"
        );
        let next = explained["next"].as_str().unwrap();
        assert!(next.starts_with("notation sign "), "{why}: {next}");
    }
}
