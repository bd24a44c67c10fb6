//! What the tests of the admin API start from.

use std::path::Path;
use std::process::Output;

use serde_json::json;
use tempfile::TempDir;

use super::{APP, TOKEN};
use crate::support::clients::{Tool, cosign2, notation};
use crate::support::regseal::command;
use crate::support::{ALICE, Auth, Content, Http, Registry, Regseal, Reply};

/// A regseal with an admin API, whose policy trusts in one signer of each kind, before a registry.
pub(super) struct Desk {
    pub(super) regseal: Regseal,
    pub(super) registry: Registry,
    pub(super) notation: Tool,
    pub(super) cosign: Tool,
    pub(super) files: TempDir,
}

impl Desk {
    pub(super) fn open() -> Self {
        Self::with(Auth::None, |_| String::new())
    }

    /// What is unsigned below `team/` is marked, below `locked/` it is not pulled; `rest` is more configuration.
    pub(super) fn with(auth: Auth, rest: impl Fn(&Registry) -> String) -> Self {
        let registry = Registry::with(auth);
        let rest = rest(&registry);
        let files = TempDir::with_prefix("desk-").unwrap();
        // The signers exist before the regseal that trusts them: they only make their keys here.
        let notation = notation(&registry.endpoint, ALICE);
        let cosign = cosign2(&registry.endpoint, ALICE);
        let store = files.path().join("trust/truststore/x509/ca/signers");
        std::fs::create_dir_all(&store).unwrap();
        let certificate =
            find(notation.home(), "signer.crt").expect("notation has made a certificate");
        std::fs::copy(certificate, store.join("signer.crt")).unwrap();
        let policy = json!({"version": "1.0", "trustPolicies": [{
            "name": "release",
            "registryScopes": ["*"],
            "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:signers"],
            "trustedIdentities": ["*"],
        }]});
        write(&files, "trust/trustpolicy.json", &policy.to_string());
        let key = std::fs::read_to_string(cosign.home().join("cosign.pub")).unwrap();
        write(&files, "build.pub", &key);
        write(&files, "token", &format!("{TOKEN}\n"));
        let policy = "\
version: 1
authorities:
  release-team: {notation: {statement: release}}
  build-key: {cosign: {key: build.pub, transparency_log: ignored}}
rules:
  - name: production
    repositories: [\"team/**\"]
    tags: [\"*\"]
    require: {any: [release-team, build-key]}
    on_unsigned_push: tag
    on_unsigned_pull: warn
  - name: locked
    repositories: [\"locked/**\"]
    tags: [\"*\"]
    require: {all: [release-team, build-key]}
    on_unsigned_push: warn
    on_unsigned_pull: deny
  - name: strict
    repositories: [\"strict/**\"]
    tags: [\"*\"]
    require: {all: [release-team]}
    on_unsigned_push: reject
";
        write(&files, "policy.yaml", policy);
        let config = format!(
            "admin: {{token_file: {:?}}}\npolicy: {{file: {:?}}}\ntrust: {{directory: {:?}}}\n{rest}",
            files.path().join("token"),
            files.path().join("policy.yaml"),
            files.path().join("trust"),
        );
        write(&files, "regseal.yaml", &config);
        let regseal = Regseal::builder(&registry).config(&config).start();
        Self {
            regseal,
            registry,
            notation,
            cosign,
            files,
        }
    }

    pub(super) fn operator(&self) -> Http {
        self.regseal.admin.clone().bearer(TOKEN)
    }

    pub(super) fn explain(&self, reference: &str) -> Reply {
        self.operator()
            .get(&format!("/api/v1/explain?reference={reference}"))
    }

    /// Runs a command that asks the admin API.
    pub(super) fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = command();
        command
            .args(arguments)
            .args([
                "--admin",
                &format!("http://{}", self.regseal.admin.authority()),
            ])
            .arg("--token-file")
            .arg(self.files.path().join("token"));
        command.output().unwrap()
    }

    pub(super) fn reference(&self, image: &Content) -> String {
        format!(
            "{}/{APP}@{}",
            self.regseal.endpoint.authority,
            image.digest()
        )
    }

    pub(super) fn sign_with_notation(&self, image: &Content) {
        self.notation
            .run(["sign", &self.reference(image)])
            .success();
    }

    pub(super) fn sign_with(&self, cosign: &Tool, more: &[&str], image: &Content) {
        let sign = ["sign", "--key", "cosign.key", "--tlog-upload=false", "-y"];
        let reference = self.reference(image);
        cosign
            .run(sign.iter().chain(more).chain([&reference.as_str()]))
            .success();
    }
}

pub(super) fn write(files: &TempDir, name: &str, text: &str) {
    std::fs::write(files.path().join(name), text).unwrap();
}

pub(super) fn find(folder: &Path, name: &str) -> Option<std::path::PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return find(&path, name);
        }
        (path.file_name()? == name).then_some(path)
    })
}

#[track_caller]
pub(super) fn ended(output: &Output, status: i32) -> (String, String) {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert_eq!(output.status.code(), Some(status), "{out}\n{err}");
    (out, err)
}
