//! A policy with all that it trusts, and the desk of somebody who signs with keys of their own.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::clients::{Output, Tool};
use super::http::{Access, Endpoint};
use super::process::program;
use super::regseal::Builder;
use super::stores::setting;
use super::{ALICE, Auth, Content, Registry, Regseal, Repository, User};

/// A registry, and regseal with a policy before it.
pub struct Policed {
    pub regseal: Regseal,
    pub registry: Registry,
    /// Where the keys are that the policy names.
    pub desk: Desk,
    pub policy: Policy,
}

impl Policed {
    /// With these rules, about the authorities `build` (the cosign key of the desk) and `release` (its notation key).
    pub fn with(auth: Auth, rules: &str) -> Self {
        let desk = Desk::of(ALICE, auth);
        let policy = Policy::of(&desk, "", rules);
        Self::by(auth, desk, policy)
    }

    /// With a policy of the test's own making.
    pub fn by(auth: Auth, desk: Desk, policy: Policy) -> Self {
        let registry = Registry::with(auth);
        let regseal = policy.regseal(&registry).start();
        desk.sits_at(&regseal.endpoint);
        Self {
            regseal,
            registry,
            desk,
            policy,
        }
    }

    /// A repository through regseal, as [`ALICE`] sees it.
    pub fn repository(&self, name: &str) -> Repository {
        self.repository_of(ALICE, name)
    }

    pub fn repository_of(&self, user: User, name: &str) -> Repository {
        self.regseal.endpoint.repository(user, name)
    }

    /// The same repository in the registry behind.
    pub fn behind(&self, name: &str) -> Repository {
        self.registry.endpoint.repository(ALICE, name)
    }

    /// What is typed to name a manifest.
    pub fn reference(&self, name: &str, manifest: &Content) -> String {
        format!(
            "{}/{name}@{}",
            self.regseal.endpoint.authority,
            manifest.digest()
        )
    }

    /// The value of a metric, summed over all lines of that name which have all of these labels.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        metric(&self.regseal, name, labels)
    }
}

/// The audit lines of one regseal, oldest first.
pub fn audit(regseal: &Regseal) -> Vec<Value> {
    let log = regseal.log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &Value| line["target"] == "regseal::audit")
        .collect()
}

/// The value of a metric of one regseal, summed over all lines of that name which have all of these labels.
pub fn metric(regseal: &Regseal, name: &str, labels: &[&str]) -> f64 {
    let page = regseal.admin.get("/metrics").expect(200);
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'))
        .filter(|rest| labels.iter().all(|label| rest.contains(label)))
        .map(|rest| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

/// The files of a policy: authorities and rules, and the key that seals.
pub struct Policy {
    dir: TempDir,
    authorities: String,
    trust: PathBuf,
}

impl Policy {
    /// With the authorities `build` and `release` of a desk, and more, each in a line of its own.
    pub fn of(desk: &Desk, more: &str, rules: &str) -> Self {
        let authorities = format!(
            "  build: {{cosign: {{key: {:?}, transparency_log: ignored}}}}\n  \
             release: {{notation: {{statement: tests}}}}\n{more}",
            desk.public_key(),
        );
        Self::new(authorities, desk.trust(), rules)
    }

    /// With these authorities and this trust directory.
    pub fn new(authorities: String, trust: PathBuf, rules: &str) -> Self {
        let policy = Self {
            dir: TempDir::with_prefix("policy-").unwrap(),
            authorities,
            trust,
        };
        let mut key = [0; 32];
        rand::fill(&mut key).unwrap();
        let sealing = policy.dir.path().join("sealing.key");
        std::fs::write(sealing, Base64::encode_string(&key)).unwrap();
        policy.set(rules);
        policy
    }

    /// From now on these rules are in the file, all at once.
    pub fn set(&self, rules: &str) {
        let text = format!(
            "version: 1\nauthorities:\n{}rules:\n{rules}",
            self.authorities
        );
        let written = self.dir.path().join("written.yaml");
        std::fs::write(&written, text).unwrap();
        std::fs::rename(written, self.dir.path().join("policy.yaml")).unwrap();
    }

    /// What regseal has to be told of them, by keys such as `POLICY__FILE`.
    pub fn settings(&self) -> [(&'static str, String); 3] {
        let file = |name: &str| self.dir.path().join(name);
        [
            ("POLICY__FILE", file("policy.yaml").display().to_string()),
            ("KEYS__SEALING", format!("[{:?}]", file("sealing.key"))),
            ("TRUST__DIRECTORY", self.trust.display().to_string()),
        ]
    }

    /// A regseal that has this policy, to be started.
    pub fn regseal(&self, registry: &Registry) -> Builder {
        self.regseal_at(&registry.endpoint, registry)
    }

    /// The same before something that stands before the registry.
    pub fn regseal_at(&self, upstream: &Endpoint, registry: &Registry) -> Builder {
        let mut builder = self.at(upstream);
        if registry.endpoint.auth() == Auth::Token {
            let realms = format!("[{:?}]", registry.tokens().realm());
            let (name, value) = setting("AUTH__REALMS", &realms);
            builder = builder.environment(&name, &value);
        }
        builder
    }

    /// The same before whatever answers there.
    pub fn at(&self, upstream: &Endpoint) -> Builder {
        let mut builder = Regseal::at(upstream);
        for (key, value) in self.settings() {
            let (name, value) = setting(key, &value);
            builder = builder.environment(&name, &value);
        }
        builder
    }
}

/// A shell with `notation` and `cosign` on its path, in a folder with the default keys that they make themselves.
pub struct Desk {
    shell: Tool,
    user: User,
}

impl Desk {
    pub fn of(user: User, auth: Auth) -> Self {
        let nowhere = Endpoint {
            authority: String::new(),
            access: Access::Open,
        };
        let shell = Tool::new("sh", &nowhere);
        let bin = shell.home().join("bin");
        std::fs::create_dir(&bin).unwrap();
        for (name, file) in [
            ("notation", "notation"),
            ("cosign", "cosign3"),
            ("cosign2", "cosign2"),
        ] {
            symlink(program(file), bin.join(name)).unwrap();
        }
        let path = format!("{}:/usr/bin:/bin", bin.display());
        let mut shell = shell
            .environment("PATH", &path)
            .environment("COSIGN_PASSWORD", "");
        if auth != Auth::None {
            // The login of notation wants a credential helper.
            shell = shell
                .environment("NOTATION_USERNAME", user.name)
                .environment("NOTATION_PASSWORD", user.password);
        }
        let desk = Self { shell, user };
        desk.types("notation cert generate-test --default tests")
            .success();
        desk.types("cosign generate-key-pair").success();
        let policy = json!({"version": "1.0", "trustPolicies": [{
            "name": "tests",
            "registryScopes": ["*"],
            "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:tests"],
            "trustedIdentities": ["*"],
        }]});
        desk.shell
            .file(".config/notation/trustpolicy.json", policy.to_string());
        desk
    }

    /// Logs in, and says to notation that there is no TLS.
    pub fn sits_at(&self, endpoint: &Endpoint) {
        let authority = &endpoint.authority;
        let config = json!({"insecureRegistries": [authority]});
        self.shell
            .file(".config/notation/config.json", config.to_string());
        if !matches!(endpoint.access, Access::Open) {
            let User { name, password, .. } = self.user;
            self.types(&format!("cosign login -u {name} -p {password} {authority}"))
                .success();
        }
    }

    /// From now on notation signs with this key, and shows this chain of certificates.
    pub fn signs_with(&self, key: &Path, chain: &Path) {
        let keys = json!({
            "default": "given",
            "keys": [{"name": "given", "keyPath": key, "certPath": chain}],
        });
        self.shell
            .file(".config/notation/signingkeys.json", keys.to_string());
    }

    /// Runs a command as it would be typed.
    pub fn types(&self, command: &str) -> Output {
        self.shell.run(["-c", command])
    }

    /// Signs with the notation key.
    #[track_caller]
    pub fn notation_signs(&self, reference: &str) {
        self.types(&format!("notation sign {reference}")).success();
    }

    /// Signs with the cosign key, under a tag as cosign 2 does.
    #[track_caller]
    pub fn cosign_2_signs(&self, reference: &str) {
        let sign = "cosign2 sign --key cosign.key --tlog-upload=false -y";
        self.types(&format!("{sign} {reference}")).success();
    }

    /// Signs with the cosign key.
    #[track_caller]
    pub fn cosign_signs(&self, reference: &str) {
        let sign = "cosign sign --key cosign.key --use-signing-config=false --tlog-upload=false";
        self.types(&format!("{sign} {reference}")).success();
    }

    pub fn public_key(&self) -> PathBuf {
        self.shell.home().join("cosign.pub")
    }

    /// notation's own folder, which is a trust directory.
    pub fn trust(&self) -> PathBuf {
        self.shell.home().join(".config/notation")
    }
}
