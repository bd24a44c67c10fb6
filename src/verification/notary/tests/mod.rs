//! What a signature is worth, with real envelopes and with some made for the gaps.

mod chains;
mod envelopes;
mod keys;
mod maker;
mod mutations;
mod signers;
mod trust;
mod vectors;
mod vectors_of_trust;
mod verdicts;

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Statement, TrustPolicy, TrustStores};
use crate::clock::UnixMillis;
use crate::verification::{CheckName, Outcome, Verdict};

/// 2026-01-01, within the validity of what the vectors and the maker have.
const NOW: UnixMillis = UnixMillis::new(1_767_225_600_000);

/// The only statement of a document, with these members beside or in place of the usual ones.
fn statement(members: Value) -> Statement {
    let mut statement = json!({
        "name": "release",
        "registryScopes": ["*"],
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:it"],
        "trustedIdentities": ["*"],
    });
    let Value::Object(members) = members else {
        panic!("members are an object");
    };
    statement.as_object_mut().unwrap().extend(members);
    let document = json!({"version": "1.0", "trustPolicies": [statement]}).to_string();
    let policy = TrustPolicy::parse(document.as_bytes()).unwrap();
    policy.statements()[0].clone()
}

/// A statement of that level for the stores.
fn at_level(level: &str, stores: &[&str]) -> Statement {
    statement(json!({"signatureVerification": {"level": level}, "trustStores": stores}))
}

/// Stores with one file each.
fn stores(files: &[(&str, &[u8])]) -> TrustStores {
    let directory = store_directory(files);
    TrustStores::read(directory.path()).unwrap()
}

/// A directory of trust stores with these files, named by store.
fn store_directory(files: &[(&str, &[u8])]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (index, (store, bytes)) in files.iter().enumerate() {
        let store = directory.path().join("x509").join(store.replace(':', "/"));
        std::fs::create_dir_all(&store).unwrap();
        std::fs::write(store.join(format!("{index}.crt")), bytes).unwrap();
    }
    directory
}

fn outcome(verdict: &Verdict, name: CheckName) -> Option<Outcome> {
    let mut checks = verdict.checks.iter();
    checks
        .find(|check| check.name == name)
        .map(|check| check.outcome)
}

/// The folder of test vectors, if it is there.
fn vectors() -> Option<std::path::PathBuf> {
    let root = std::env::var_os("REGSEAL_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors"),
        Into::into,
    );
    let folder = root.join("notary");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no vectors in {}", folder.display());
    None
}

/// The files of a folder with their contents, in order.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.push((name, std::fs::read(path).unwrap()));
        }
    }
    files.sort();
    files
}
