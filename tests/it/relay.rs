//! The token relay, before a registry with a token service: whoever signs sees what was rejected, and whoever only pulls
//! does not, though both ask for tokens to pull.

use serde_json::Value;
use tempfile::TempDir;

use crate::support::clients::{Tool, cosign2, cosign3, crane, notation, oras, regctl, skopeo};
use crate::support::docker::Docker;
use crate::support::gate::Gate;
use crate::support::http::Endpoint;
use crate::support::images::{random_hex, tar};
use crate::support::{ALICE, Auth, BOB, Content, Http, Registry, Regseal, TokenServer, User};

/// Where unsigned images are rejected.
const KEPT: &str = "team/app";
/// Where no rule is.
const OPEN: &str = "open/app";

/// regseal with a rule that rejects, a gate that sees what goes on to the registry, and the registry.
struct Relayed {
    regseal: Regseal,
    gate: Gate,
    /// With the key that the rule asks for, `cosign.key`.
    keys: Tool,
    /// With the other key that the rule asks for.
    notation: Tool,
    _registry: Registry,
    _files: TempDir,
}

impl Relayed {
    fn start() -> Self {
        let registry = Registry::with(Auth::Token);
        let gate = Gate::before(&registry);
        let keys = Tool::new("cosign3", &registry.endpoint).environment("COSIGN_PASSWORD", "");
        keys.run(["generate-key-pair"]).success();
        let notation = notation(&registry.endpoint, ALICE);
        let trust = notation.home().join(".config/notation");
        let files = TempDir::with_prefix("policy-").unwrap();
        let policy = files.path().join("policy.yaml");
        let text = format!(
            "version: 1\nauthorities:\n  build: {{cosign: {{key: {:?}, transparency_log: ignored}}}}\n  \
             release: {{notation: {{statement: tests}}}}\nrules:\n  - name: kept\n    repositories: [\"team/**\"]\n    \
             require: {{any: [build, release]}}\n    on_unsigned_push: reject\n",
            keys.home().join("cosign.pub"),
        );
        std::fs::write(&policy, text).unwrap();
        let config = format!(
            "policy: {{file: {policy:?}}}\ntrust: {{directory: {trust:?}}}\nauth: {{realms: [{:?}]}}\n",
            registry.tokens().realm(),
        );
        let upstream = Endpoint {
            access: registry.endpoint.access.clone(),
            ..gate.endpoint.clone()
        };
        Self {
            regseal: Regseal::at(&upstream).config(&config).start(),
            gate,
            keys,
            notation,
            _registry: registry,
            _files: files,
        }
    }

    fn anonymous(&self) -> Http {
        Http::new(&self.regseal.endpoint.authority)
    }

    fn realm(&self) -> String {
        format!("http://{}/_regseal/token", self.regseal.endpoint.authority)
    }

    /// A token that is good for pulling, as those have it who sign.
    #[track_caller]
    fn token(&self, user: User, repository: &str) -> String {
        let path = format!(
            "/_regseal/token?service={}&scope=repository:{repository}:pull",
            TokenServer::SERVICE.replace(' ', "+")
        );
        let http = self.anonymous().basic(user.name, user.password);
        let answer = http.get(&path).expect(200).json();
        assert_eq!(answer["token"], answer["access_token"]);
        answer["token"].as_str().unwrap().to_owned()
    }

    /// An image whose tag was refused, since nobody has signed it.
    #[track_caller]
    fn reject(&self) -> Content {
        let repository = self.regseal.endpoint.repository(ALICE, KEPT);
        let image = repository.image();
        repository.put_manifest("v1", &image).refused(403, "DENIED");
        image
    }

    /// The tag of that image is taken now.
    #[track_caller]
    fn admit(&self, image: &Content) {
        let repository = self.regseal.endpoint.repository(ALICE, KEPT);
        repository.put_manifest("v1", image).expect(201);
    }

    fn of(&self, image: &Content) -> String {
        format!(
            "{}/{KEPT}@{}",
            self.regseal.endpoint.authority,
            image.digest()
        )
    }
}

#[test]
fn every_challenge_names_the_relay_and_is_else_as_the_registry_made_it() {
    let relayed = Relayed::start();
    let digest = format!("sha256:{}", "0".repeat(64));
    let anonymous = relayed.anonymous();
    for (path, scope) in [
        ("/v2/".to_owned(), None),
        (format!("/v2/{KEPT}/tags/list"), Some(KEPT)),
        (format!("/v2/{KEPT}/manifests/v1"), Some(KEPT)),
        (format!("/v2/{KEPT}/blobs/{digest}"), Some(KEPT)),
        (format!("/v2/{KEPT}/referrers/{digest}"), Some(KEPT)),
        (format!("/v2/{OPEN}/manifests/v1"), Some(OPEN)),
    ] {
        let reply = anonymous.get(&path).expect(401);
        let challenge = reply.header("www-authenticate");
        let start = format!(
            "Bearer realm=\"{}\",service=\"{}\"",
            relayed.realm(),
            TokenServer::SERVICE
        );
        assert!(challenge.starts_with(&start), "{path}: {challenge}");
        if let Some(name) = scope {
            let scope = format!("scope=\"repository:{name}:pull\"");
            assert!(challenge.contains(&scope), "{path}: {challenge}");
        }
    }
}

#[test]
fn wrapped_tokens_work_and_neither_they_nor_passwords_go_further_than_they_must() {
    let relayed = Relayed::start();
    let token = relayed.token(ALICE, KEPT);
    assert!(token.starts_with("rs1."), "{token}");
    let inner = token.splitn(3, '.').nth(2).unwrap().to_owned();
    let plain = relayed.token(ALICE, OPEN);
    assert!(!plain.starts_with("rs1."), "{plain}");

    let holder = relayed.anonymous().bearer(&token);
    holder.get("/v2/").expect(200);
    let digest = format!("sha256:{}", "0".repeat(64));
    holder.get(&format!("/v2/{KEPT}/referrers/{digest}"));
    holder
        .request("POST", &format!("/v2/{KEPT}/blobs/uploads/"), &[], "")
        .expect(401);
    let changed = relayed
        .anonymous()
        .bearer(&token.replacen("rs1.", "rs1.A", 1));
    changed.get("/v2/").expect(200);
    let nested = relayed.anonymous().bearer(&format!("rs1.x.{token}"));
    nested.get("/v2/").expect(200);

    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let ask = |password: &str| {
        let form_body = format!(
            "grant_type=password&service=s&client_id=c&scope=repository:{KEPT}:pull&username=alice&password={password}"
        );
        relayed
            .anonymous()
            .request("POST", "/_regseal/token", &form, form_body)
    };
    let answer: Value = ask(ALICE.password).expect(200).json();
    assert!(answer["access_token"].as_str().unwrap().starts_with("rs1."));
    ask("wrong-password").refused(401, "UNAUTHORIZED");
    relayed
        .anonymous()
        .request("PUT", "/_regseal/token", &[], "")
        .refused(405, "UNSUPPORTED");

    for asked in relayed.gate.seen() {
        let credential = asked.header("authorization");
        assert!(!credential.contains("rs1."), "{asked:?}");
        assert!(!credential.starts_with("Basic"), "{asked:?}");
    }
    let log = relayed.regseal.log();
    for secret in [
        ALICE.password,
        "wrong-password",
        inner.as_str(),
        "rs1.",
        "Bearer ey",
    ] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn whoever_may_push_sees_what_was_rejected_with_a_token_to_pull() {
    let relayed = Relayed::start();
    let image = relayed.reject();
    let path = format!("/v2/{KEPT}/manifests/{}", image.digest());
    let as_holder = |token: &str| relayed.anonymous().bearer(token).get(&path);
    let alice = relayed.token(ALICE, KEPT);
    let bob = relayed.token(BOB, KEPT);
    assert_eq!(as_holder(&alice).expect(200).body, image.bytes);
    as_holder(&bob).refused(404, "MANIFEST_UNKNOWN");

    let seal_of_alice = alice.split('.').nth(1).unwrap();
    let token_of_bob = bob.splitn(3, '.').nth(2).unwrap();
    as_holder(&format!("rs1.{seal_of_alice}.{token_of_bob}")).refused(404, "MANIFEST_UNKNOWN");
    let token_of_alice = alice.splitn(3, '.').nth(2).unwrap();
    as_holder(token_of_alice).refused(404, "MANIFEST_UNKNOWN");
    let elsewhere = relayed.token(ALICE, "team/other");
    let seal_for_elsewhere = elsewhere.split('.').nth(1).unwrap();
    as_holder(&format!("rs1.{seal_for_elsewhere}.{token_of_alice}"))
        .refused(404, "MANIFEST_UNKNOWN");
}

#[test]
fn cosign_3_signs_what_was_rejected() {
    let relayed = Relayed::start();
    let image = relayed.reject();
    let tool = cosign3(&relayed.regseal.endpoint, ALICE);
    cosign_signs(&relayed, &tool, &["--use-signing-config=false"], &image);
    relayed.admit(&image);
}

#[test]
fn cosign_2_signs_what_was_rejected() {
    let relayed = Relayed::start();
    let image = relayed.reject();
    let tool = cosign2(&relayed.regseal.endpoint, ALICE);
    cosign_signs(&relayed, &tool, &[], &image);
    relayed.admit(&image);
}

fn cosign_signs(relayed: &Relayed, tool: &Tool, more: &[&str], image: &Content) {
    let key = std::fs::read(relayed.keys.home().join("cosign.key")).unwrap();
    let key = tool.file("build.key", key);
    let image = relayed.of(image);
    let sign = ["sign", "--key", key, "--tlog-upload=false", "-y"];
    let more = more.iter().copied().chain([image.as_str()]);
    tool.run(sign.into_iter().chain(more)).success();
}

#[test]
fn notation_signs_what_was_rejected() {
    let relayed = Relayed::start();
    let image = relayed.reject();
    relayed
        .notation
        .run(["sign", &relayed.of(&image)])
        .success();
    relayed.admit(&image);
    relayed
        .notation
        .run(["verify", &relayed.of(&image)])
        .success();
}

#[test]
fn crane_pushes_and_pulls_through_the_relay() {
    let relayed = Relayed::start();
    let tool = crane(&relayed.regseal.endpoint, ALICE);
    let image = tool.reference("open/app:v1");
    let layer = tool.file("layer.tar", tar("hello", random_hex(16).as_bytes()));
    let append = ["append", "--oci-empty-base", "-f", layer, "-t"];
    tool.run(append.into_iter().chain([image.as_str()]))
        .success();
    tool.run(["pull", "--format", "oci", &image, "pulled"])
        .success();
    let kept = tool.reference("team/app:v1");
    tool.run(append.into_iter().chain([kept.as_str()]))
        .failure("DENIED");

    let rejected = relayed.reject();
    let reference = relayed.of(&rejected);
    tool.run(["manifest", &reference]).success();
    let reader = crane(&relayed.regseal.endpoint, BOB);
    reader.run(["manifest", &image]).success();
    reader
        .run(["manifest", &reference])
        .failure("MANIFEST_UNKNOWN");
}

#[test]
fn oras_pushes_and_pulls_through_the_relay() {
    let relayed = Relayed::start();
    let tool = oras(&relayed.regseal.endpoint, ALICE);
    let image = tool.reference("open/app:v1");
    tool.file("hello.txt", "hello");
    tool.run(["push", &image, "hello.txt:text/plain"]).success();
    tool.run(["pull", "-o", "pulled", &image]).success();
    let rejected = relayed.reject();
    tool.run(["manifest", "fetch", &relayed.of(&rejected)])
        .success();
}

#[test]
fn skopeo_and_regctl_copy_through_the_relay() {
    let relayed = Relayed::start();
    let open = relayed.regseal.endpoint.repository(ALICE, OPEN);
    open.push_image("v1");
    let rejected = relayed.reject();

    let tool = skopeo(&relayed.regseal.endpoint, ALICE);
    let [first, second] =
        ["open/app:v1", "open/app:v2"].map(|name| format!("docker://{}", tool.reference(name)));
    tool.run(["copy", &first, "oci:here:v1"]).success();
    tool.run(["copy", "oci:here:v1", &second]).success();
    let kept = format!("docker://{}", relayed.of(&rejected));
    tool.run(["inspect", "--raw", &kept]).success();

    let tool = regctl(&relayed.regseal.endpoint, ALICE);
    let [first, third] = ["open/app:v1", "open/copy:v1"].map(|name| tool.reference(name));
    tool.run(["image", "copy", &first, &third]).success();
    tool.run(["manifest", "get", &relayed.of(&rejected)])
        .success();
}

#[test]
fn docker_pushes_and_pulls_through_the_relay() {
    let relayed = Relayed::start();
    let docker = Docker::start(&relayed.regseal.endpoint, ALICE);
    let image = docker.tool.reference("open/app:v1");
    let layer = tar("hello", random_hex(16).as_bytes());
    let layer = docker.tool.file("layer.tar", layer);
    docker.tool.run(["import", layer, &image]).success();
    docker.tool.run(["push", &image]).success();
    docker.tool.run(["rmi", &image]).success();
    docker.tool.run(["pull", &image]).success();
}
