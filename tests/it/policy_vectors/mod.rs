//! Signatures that notation and its libraries are tested with, pushed through regseal: what each is worth shows in the
//! answer to its own push, in the audit line, and in whether the image gets its tag.
//!
//! The tables are exact: a file that is there and not listed, or that gives another verdict, fails. A file that is listed
//! and not there is passed over.

mod envelopes;
mod layouts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::policy::{Desk, Policy, audit};
use crate::support::regseal::command;
use crate::support::stores::setting;
use crate::support::{ALICE, Auth, Content, Registry, Regseal, Repository};

const APP: &str = "team/app";
const TOKEN: &str = "token-of-the-operators-of-the-tests";
const RULES: &str =
    "  - {name: team, repositories: [\"team/**\"], require: vectors, on_unsigned_push: reject}\n";

/// The folder of the vectors, unless they are not there.
fn vectors() -> Option<PathBuf> {
    let root = std::env::var_os("REGSEAL_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors"),
        PathBuf::from,
    );
    let folder = root.join("notary");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no vectors in {}", folder.display());
    None
}

/// The files of a folder, by their names.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.path().is_file());
    files
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// A regseal that trusts whom a statement of the tests trusts.
struct Trusting {
    regseal: Regseal,
    _registry: Registry,
    _policy: Policy,
    trust: TempDir,
}

impl Trusting {
    /// At this level, with these stores, each of these certificates.
    fn start(level: &str, stores: &[(&str, Vec<&[u8]>)]) -> Self {
        let trust = TempDir::with_prefix("trust-").unwrap();
        for (kind, certificates) in stores {
            let store = trust.path().join(format!("truststore/x509/{kind}/tests"));
            std::fs::create_dir_all(&store).unwrap();
            for (number, certificate) in certificates.iter().enumerate() {
                std::fs::write(store.join(format!("{number}.crt")), certificate).unwrap();
            }
        }
        let named: Vec<String> = stores
            .iter()
            .map(|(kind, _)| format!("{kind}:tests"))
            .collect();
        let statement = json!({"version": "1.0", "trustPolicies": [{
            "name": "tests",
            "registryScopes": ["*"],
            "signatureVerification": {"level": level},
            "trustStores": named,
            "trustedIdentities": ["*"],
        }]});
        std::fs::write(trust.path().join("trustpolicy.json"), statement.to_string()).unwrap();
        let authority = "  vectors: {notation: {statement: tests}}\n".to_owned();
        let policy = Policy::new(authority, trust.path().to_owned(), RULES);
        let registry = Registry::with(Auth::None);
        let token = trust.path().join("token");
        std::fs::write(&token, TOKEN).unwrap();
        let (name, file) = setting("ADMIN__TOKEN_FILE", &token.display().to_string());
        Self {
            regseal: policy.regseal(&registry).environment(&name, &file).start(),
            _registry: registry,
            _policy: policy,
            trust,
        }
    }

    fn repository(&self) -> Repository {
        self.regseal.endpoint.repository(ALICE, APP)
    }

    /// What `regseal explain` says of an image, to a program.
    #[track_caller]
    fn explain(&self, image: &Content) -> Value {
        let output = command()
            .args(["explain", &format!("{APP}@{}", image.digest())])
            .args(["-o", "json"])
            .args([
                "--admin",
                &format!("http://{}", self.regseal.admin.authority()),
            ])
            .arg("--token-file")
            .arg(self.trust.path().join("token"))
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// The verdict on a signature, as the audit line of its push has it.
    #[track_caller]
    fn verdict(&self, signature: &Content) -> String {
        let digest = signature.digest();
        let lines = audit(&self.regseal);
        let of_it = |line: &&Value| line["action"] == "sign" && line["oci.digest"] == digest;
        let line = lines.iter().rfind(of_it);
        let line = line.unwrap_or_else(|| panic!("no audit line of {digest}"));
        line["verdict"].as_str().unwrap().to_owned()
    }
}

/// The last certificate of the chain in an envelope.
fn root_of(envelope: &[u8]) -> Vec<u8> {
    let envelope: Value = serde_json::from_slice(envelope).unwrap();
    let chain = envelope["header"]["x5c"].as_array().unwrap();
    Base64::decode_vec(chain.last().unwrap().as_str().unwrap()).unwrap()
}

/// Certificates that name where their revocation can be asked, which is not asked yet: undetermined never counts.
#[test]
fn where_revocation_would_have_to_be_asked_a_signature_does_not_count() {
    let Some(folder) = vectors() else { return };
    let config = folder.join("notation-e2e/config");
    for (kind, chain) in [
        ("crl", "certchain_with_crl.pem"),
        ("ocsp", "certchain_with_ocsp.pem"),
    ] {
        let folder = config.join(kind);
        let root = std::fs::read(folder.join("root.crt")).unwrap();
        let trusting = Trusting::start("strict", &[("ca", vec![&root])]);
        let desk = Desk::of(ALICE, Auth::None);
        desk.sits_at(&trusting.regseal.endpoint);
        desk.signs_with(&folder.join("leaf.key"), &folder.join(chain));
        let repository = trusting.repository();
        let image = repository.image();
        repository.put_manifest("v1", &image).refused(403, "DENIED");
        let authority = &trusting.regseal.endpoint.authority;
        desk.notation_signs(&format!("{authority}/{APP}@{}", image.digest()));

        let listed = repository.referrers(&image);
        let signature = listed[0]["digest"].as_str().unwrap();
        let read = repository.get_manifest(signature).expect(200);
        let signature = Content::new(read.header("content-type"), read.body.clone());
        assert_eq!(trusting.verdict(&signature), "undetermined", "{kind}");
        let reply = repository.put_manifest("v1", &image).refused(403, "DENIED");
        let told = reply.json()["errors"][0]["message"].to_string();
        assert!(told.contains("revocation"), "{kind}: {told}");
        repository.get_manifest("v1").expect(404);
    }
}
