//! Policy files as the program reads them: tried, checked, refused at the start, and read again while it runs.

use std::path::PathBuf;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    ALICE, Auth, Content, Registry, Regseal, Repository, Stores, regseal, wait_for,
};

const APP: &str = "team/app";

/// A directory with a policy, a key, and a trust directory.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(TempDir::with_prefix("policy-").unwrap());
        files.write_key("build.pub");
        let statement = json!({
            "name": "release",
            "registryScopes": ["*"],
            "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:acme"],
            "trustedIdentities": ["*"],
        });
        let document = json!({"version": "1.0", "trustPolicies": [statement]});
        files.write("trust/trustpolicy.json", &document.to_string());
        let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = certificate.self_signed(&key).unwrap().pem();
        files.write("trust/truststore/x509/ca/acme/root.crt", &pem);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn write_key(&self, name: &str) {
        let key = rcgen::KeyPair::generate().unwrap();
        self.write(name, &key.public_key_pem());
    }

    /// A policy that requires both authorities, with these words about what lacks them.
    fn write_policy(&self, on_unsigned: &str) {
        self.write(
            "policy.yaml",
            &format!(
                "version: 1
authorities:
  build: {{cosign: {{key: build.pub, transparency_log: ignored}}}}
  release: {{notation: {{statement: release}}}}
rules:
  - name: kept
    repositories: ['team/**']
    require: {{any: [build, release]}}
    {on_unsigned}
"
            ),
        );
    }

    /// Runs a command with all that it needs to know.
    fn run(&self, arguments: &[&str]) -> Output {
        let config = "upstream: {url: http://127.0.0.1:1}\npolicy: {file: policy.yaml}\ntrust: {directory: trust}\n";
        self.write("regseal.yaml", config);
        let mut command = regseal::command();
        command.args(arguments).current_dir(self.0.path());
        command.args(["--config", "regseal.yaml"]).output().unwrap()
    }

    /// The status and what was written to both outputs, without the place.
    fn told(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.run(arguments);
        let place = format!("{}/", self.0.path().display());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&place, "");
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    fn start(&self, registry: &Registry) -> Regseal {
        let config = format!(
            "policy: {{file: {:?}}}\ntrust: {{directory: {:?}}}\n",
            self.path("policy.yaml"),
            self.path("trust"),
        );
        let builder = Regseal::builder(registry).config(&config);
        builder.stores(Stores::Directory).start()
    }
}

#[test]
fn cases_of_a_policy_are_judged() {
    let files = Files::new();
    files.write_policy("on_unsigned_push: reject");
    files.write(
        "cases.yaml",
        "version: 1
cases:
  - {name: unsigned, repository: team/app, tag: v1, expect: {push: reject, pull: deny}}
  - {name: signed, repository: team/app, tag: v1, signed_by: [build], expect: {push: allow}}
  - {name: elsewhere, repository: other/app, tag: v1, expect: {push: allow, rule: null}}
",
    );
    let test = ["policy", "test", "cases.yaml"];
    let (status, out, err) = files.told(&test);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    insta::assert_snapshot!(out, @r"
    ok    unsigned: push reject: unsigned (rule kept), missing build
    ok    unsigned: pull deny: unsigned (rule kept), missing build
    ok    signed: push allow: signed (rule kept)
    ok    elsewhere: push allow: no rule
    ok    elsewhere: rule none: no rule
    3 cases, 0 failed
    ");

    files.write_policy("on_unsigned_push: warn");
    let (status, out, _) = files.told(&test);
    assert_eq!(status, 1, "{out}");
    let failed = "FAIL  unsigned: push warn, expected reject: unsigned (rule kept), missing build";
    assert!(out.lines().any(|line| line == failed), "{out}");
    assert!(out.ends_with("3 cases, 1 failed\n"), "{out}");
    let (status, out, _) = files.told(&["policy", "test", "cases.yaml", "-o", "json"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &answer["failed"]), (1, &json!(1)), "{answer}");
    assert_eq!(answer["cases"][0]["checks"][0]["found"], "warn");
    assert_eq!(answer["cases"][1]["holds"], true);

    files.write("cases.yaml", "version: 1\ncases: [{repository: a}]\n");
    let (status, out, err) = files.told(&test);
    assert_eq!((status, out.as_str()), (2, ""));
    assert_eq!(
        err,
        "cases.yaml:2: cases[0]: a tag or a digest is required\ncases.yaml:2: cases[0].expect: required\n"
    );
    files.write("policy.yaml", "version: 1\n");
    let (status, _, err) = files.told(&test);
    assert_eq!(
        (status, err.as_str()),
        (2, "policy.yaml:1: rules: required\n")
    );
}

#[test]
fn what_is_trusted_is_checked() {
    let files = Files::new();
    files.write_policy("on_unsigned_push: reject");
    let (status, out, err) = files.told(&["trust", "check"]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    for start in [
        "authority    build  cosign  P-256 sha256:",
        "authority    release  notation  statement release  kept",
        "statement    release  strict  *  ca:acme",
        "certificate  ca:acme  ",
    ] {
        assert!(
            out.lines().any(|line| line.starts_with(start)),
            "{start}: {out}"
        );
    }

    std::fs::remove_dir_all(files.path("trust/truststore")).unwrap();
    let (status, out, _) = files.told(&["trust", "check"]);
    let hopeless = "policy.yaml:4: authorities.release: warning: statement \"release\": there is no trust store ca:acme";
    assert_eq!(status, 1, "what can never be satisfied");
    assert!(out.lines().any(|line| line == hopeless), "{out}");

    files.write("build.pub", "junk");
    let (status, out, _) = files.told(&["trust", "check", "-o", "json"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &answer["clean"]), (1, &json!(false)), "{answer}");
    let mistake = answer["mistakes"][0].as_str().unwrap();
    let start = "policy.yaml:3: authorities.build.cosign.key: build.pub: no PEM block";
    assert!(mistake.starts_with(start), "{mistake}");
}

/// Mistakes in the policy, in a key and in the trust directory, each with its place.
fn spoil(files: &Files) -> Vec<&'static str> {
    files.write_policy("on_unsigned_push: hold");
    files.write("build.pub", "junk");
    files.write("trust/truststore/x509/ca/acme/root.crt", "junk");
    vec![
        "policy.yaml:3: authorities.build.cosign.key: build.pub: no PEM block; a public key begins with \
         -----BEGIN PUBLIC KEY-----",
        "policy.yaml:9: rules[0].on_unsigned_push: \"hold\" is not yet supported",
        "trust/truststore: ca:acme/root.crt: is no certificate in PEM or DER",
    ]
}

#[test]
fn the_check_of_a_configuration_tells_all_mistakes_of_policy_and_trust() {
    let files = Files::new();
    files.write_policy("on_unsigned_push: reject");
    let (status, out, _) = files.told(&["config", "check"]);
    assert_eq!((status, out.as_str()), (0, "the configuration is valid\n"));
    let expected = spoil(&files);
    let (status, out, err) = files.told(&["config", "check"]);
    assert_eq!((status, err.as_str()), (1, ""));
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_bad_policy_refuses_the_start_with_every_mistake() {
    let files = Files::new();
    let expected = spoil(&files);
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--data",
        "data",
    ];
    let (status, _, err) = files.told(&serve);
    assert_eq!(status, 2, "{err}");
    let told: Vec<&str> = err.lines().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(told, expected, "beside the log");
}

/// A regseal with a policy whose files change.
struct Watched {
    files: Files,
    regseal: Regseal,
    repository: Repository,
    image: Content,
    _registry: Registry,
}

impl Watched {
    /// With an unsigned image, which the policy allows.
    fn start() -> Self {
        let files = Files::new();
        files.write_policy("on_unsigned_push: allow");
        let registry = Registry::with(Auth::None);
        let regseal = files.start(&registry);
        let repository = regseal.endpoint.repository(ALICE, APP);
        Self {
            image: repository.push_image("v1"),
            repository,
            files,
            regseal,
            _registry: registry,
        }
    }

    /// Waits until a pull of the image is answered so.
    #[track_caller]
    fn pulls(&self, status: u16) {
        wait_for("the new policy to be in force", || {
            let reply = self.repository.get_manifest("v1");
            (reply.status == status).then_some(())
        });
    }

    /// Waits until the check of the policy reads so, and returns its line.
    #[track_caller]
    fn health(&self, start: &str) -> String {
        wait_for("what is told of the policy", || {
            let reply = self.regseal.admin.get("/readyz?verbose").expect(200);
            let text = String::from_utf8(reply.body.to_vec()).unwrap();
            let mut lines = text.lines();
            lines
                .find(|line| line.starts_with(start))
                .map(str::to_owned)
        })
    }

    fn logged(&self, message: &str) -> usize {
        let log = self.regseal.log();
        log.lines().filter(|line| line.contains(message)).count()
    }
}

#[test]
fn a_policy_that_changes_is_in_force_and_a_bad_one_changes_nothing() {
    let watched = Watched::start();
    watched.pulls(200);
    watched.files.write_policy("on_unsigned_push: reject");
    watched.pulls(403);
    let put = watched.repository.put_manifest("v2", &watched.image);
    put.refused(403, "DENIED");

    // A bad one is told with its place, and what was in force stays so.
    watched.files.write_policy("on_unsigned_push: hold");
    let told = watched.health("[~]policy degraded: ");
    for part in [
        "not reloaded",
        "stays in force",
        "policy.yaml:9: rules[0].on_unsigned_push",
        "not yet supported",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    watched.pulls(403);
    std::fs::remove_file(watched.files.path("policy.yaml")).unwrap();
    wait_for("the missing file to be told", || {
        let told = watched.health("[~]policy degraded: ");
        told.contains("cannot be read").then_some(())
    });
    watched.pulls(403);

    watched.files.write_policy("on_unsigned_push: warn");
    watched.pulls(200);
    watched.health("[+]policy ok");
    let metrics = watched.regseal.admin.get("/metrics").expect(200);
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    for result in ["ok", "failed"] {
        let is_counted = |line: &str| {
            line.starts_with("regseal_policy_reloads")
                && line.contains(&format!("result=\"{result}\""))
        };
        assert!(metrics.lines().any(is_counted), "{result}: {metrics}");
    }
}

#[test]
fn a_key_or_a_certificate_that_changes_is_read_again() {
    let watched = Watched::start();
    let reloaded = |least: usize| {
        wait_for("another revision", || {
            (watched.logged("policy reloaded") >= least).then_some(())
        });
    };
    watched.files.write_key("build.pub");
    reloaded(1);
    watched
        .files
        .write("trust/truststore/x509/ca/acme/root.crt", "junk");
    let told = watched.health("[~]policy degraded: ");
    assert!(
        told.contains("ca:acme/root.crt: is no certificate"),
        "{told}"
    );
    let other = Files::new();
    let root = "trust/truststore/x509/ca/acme/root.crt";
    std::fs::copy(other.path(root), watched.files.path(root)).unwrap();
    reloaded(2);
    watched.health("[+]policy ok");
    std::fs::copy(
        other.path(root),
        watched.files.path("trust/truststore/x509/ca/acme/more.crt"),
    )
    .unwrap();
    reloaded(3);
    watched.files.write("build.pub", "junk");
    let told = watched.health("[~]policy degraded: ");
    assert!(told.contains("build.pub: no PEM block"), "{told}");
}

#[test]
fn a_hangup_reads_the_policy_again() {
    let mut watched = Watched::start();
    for reloads in 1..=2 {
        watched.regseal.signal("HUP");
        wait_for("the policy to be read again", || {
            (watched.logged("policy reloaded") == reloads).then_some(())
        });
    }
    watched.pulls(200);
    watched.regseal.terminate();
}
