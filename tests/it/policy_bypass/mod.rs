//! Attempts to get an unsigned image past the policy, each with an id.
//!
//! An attack is one function that is run twice: against the bare registry, where it has to reach its goal, and through
//! regseal, where it must not, and where none of the answers may show what it is after. Whoever attacks may push; the
//! victim, who is made to pull, may only pull.

mod children;
mod digests;
mod faults;
mod keeping;
mod olareg;
mod pushes;
mod referrers;
mod requests;
mod rules;
mod signatures;
mod signer;
mod standing;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::rules::{config_of_policy, exempt_blobs, exempt_image};
use self::signer::Signer;
use crate::support::http::Endpoint;
use crate::support::images::{self, ACCEPT, INDEX, random_hex};
use crate::support::{ALICE, Auth, BOB, Content, Registry, Regseal, Reply, Repository};

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Repositories where everything has to be signed by [`Keys::build`]; what is pushed unsigned is rejected.
const PROD: &str = "prod";
/// No rule is about these.
const OPEN: &str = "open";

/// An attack. It says whether it has reached its goal.
struct Case(&'static str, &'static str, fn(&World<'_>) -> bool);

/// Who signs.
struct Keys {
    build: Signer,
    /// Of the policy as well, and required by one rule beside the first.
    audit: Signer,
    /// Unknown to the policy.
    stranger: Signer,
}

impl Keys {
    fn new() -> Self {
        let [build, audit, stranger] = [(); 3].map(|()| Signer::new());
        Self {
            build,
            audit,
            stranger,
        }
    }
}

/// A registry, and regseal with a policy before it.
struct Theatre {
    regseal: Regseal,
    registry: Registry,
    keys: Keys,
    _files: TempDir,
}

impl Theatre {
    /// A registry with a token service, so that the victim may pull and not push.
    fn open() -> Self {
        let registry = Registry::with(Auth::Token);
        let realm = registry.tokens().realm().to_owned();
        Self::before(registry, &format!("auth: {{realms: [{realm:?}]}}\n"))
    }

    fn before(registry: Registry, config: &str) -> Self {
        let keys = Keys::new();
        let (policy, files) = config_of_policy(&keys);
        let config = format!("{policy}{config}");
        Self {
            regseal: Regseal::builder(&registry).config(&config).start(),
            registry,
            keys,
            _files: files,
        }
    }

    /// Runs every attack on both sides, and tells all that went wrong at once.
    #[track_caller]
    fn run(&self, cases: &[Case]) {
        let mut mistakes = Vec::new();
        for Case(id, name, attack) in cases {
            for is_sealed in [false, true] {
                let world = World {
                    theatre: self,
                    id: id.to_ascii_lowercase(),
                    is_sealed,
                    shown: RefCell::default(),
                    secrets: RefCell::default(),
                };
                let reached = catch_unwind(AssertUnwindSafe(|| attack(&world)));
                let mistake = match (is_sealed, reached) {
                    (_, Err(_)) => Some("the attack itself failed".to_owned()),
                    (false, Ok(false)) => Some("does not work on the bare registry".to_owned()),
                    (false, Ok(true)) => None,
                    (true, Ok(true)) => Some("works through regseal".to_owned()),
                    (true, Ok(false)) => world.mistake(),
                };
                if let Some(mistake) = mistake {
                    mistakes.push(format!("{id} {name}: {mistake}\n{}", world.told()));
                }
            }
        }
        let count = mistakes.len();
        assert!(
            mistakes.is_empty(),
            "{count} of {}:\n{}",
            cases.len(),
            mistakes.join("\n")
        );
    }
}

/// What an attack sees: one of the two sides, and repositories that no other attack has.
struct World<'a> {
    theatre: &'a Theatre,
    id: String,
    is_sealed: bool,
    /// What the victim was answered.
    shown: RefCell<Vec<Reply>>,
    /// What the victim must not be shown.
    secrets: RefCell<Vec<Bytes>>,
}

impl World<'_> {
    fn keys(&self) -> &Keys {
        &self.theatre.keys
    }

    fn endpoint(&self) -> &Endpoint {
        if self.is_sealed {
            &self.theatre.regseal.endpoint
        } else {
            &self.theatre.registry.endpoint
        }
    }

    fn name(&self, space: &str) -> String {
        let side = if self.is_sealed { "sealed" } else { "bare" };
        format!("{space}/{}/{side}", self.id)
    }

    /// A repository as the attacker has it, who may push there.
    fn attacker(&self, space: &str) -> Repository {
        self.endpoint().repository(ALICE, &self.name(space))
    }

    /// The same, past regseal.
    fn behind(&self, space: &str) -> Repository {
        let registry = &self.theatre.registry.endpoint;
        registry.repository(ALICE, &self.name(space))
    }

    /// A repository as the victim has it, who may pull.
    fn victim(&self, space: &str) -> Repository {
        self.endpoint().repository(BOB, &self.name(space))
    }

    /// What nobody has signed, and nobody may be shown who only pulls.
    fn is_secret(&self, content: &Content) {
        self.secrets.borrow_mut().push(content.bytes.clone());
    }

    /// An image that nobody has signed, its blobs pushed and its manifest not.
    #[track_caller]
    fn unsigned(&self, repository: &Repository) -> Content {
        let image = repository.image();
        self.is_secret(&image);
        image
    }

    /// An image that is signed and was pushed by this tag.
    #[track_caller]
    fn admitted(&self, repository: &Repository, tag: &str) -> Content {
        let image = repository.image();
        repository.push_manifest(&image);
        self.keys().build.sign_image(repository, &image);
        repository.put_manifest(tag, &image).expect(201);
        image
    }

    /// What the victim is answered.
    #[track_caller]
    fn asks(&self, method: &str, space: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let victim = self.victim(space);
        let reply = victim.http.request(method, &victim.path(path), headers, "");
        self.saw(reply)
    }

    fn saw(&self, reply: Reply) -> Reply {
        self.shown.borrow_mut().push(reply.clone());
        reply
    }

    /// Whether the victim gets these bytes by a tag or a digest.
    #[track_caller]
    fn pulls(&self, space: &str, reference: &str, wanted: &Content) -> bool {
        let reply = self.asks("GET", space, &format!("manifests/{reference}"), &[ACCEPT]);
        is(&reply, wanted)
    }

    #[track_caller]
    fn pulls_by_digest(&self, space: &str, wanted: &Content) -> bool {
        self.pulls(space, &wanted.digest(), wanted)
    }

    /// Whether the victim gets them as a blob.
    #[track_caller]
    fn pulls_as_blob(&self, space: &str, wanted: &Content) -> bool {
        let reply = self.asks("GET", space, &format!("blobs/{}", wanted.digest()), &[]);
        is(&reply, wanted)
    }

    /// What is wrong with the answers, though the attack has missed its goal.
    fn mistake(&self) -> Option<String> {
        for reply in self.shown.borrow().iter() {
            for secret in self.secrets.borrow().iter() {
                if reply.body.len() >= 16 && contains(secret, &reply.body) {
                    return Some(format!("the unsigned bytes were shown: {reply:?}"));
                }
            }
            if reply.status >= 500 {
                return Some(format!("no refusal: {reply:?}"));
            }
        }
        None
    }

    fn told(&self) -> String {
        let shown = self.shown.borrow();
        let lines = shown.iter().map(|reply| {
            let text: String = String::from_utf8_lossy(&reply.body)
                .chars()
                .take(300)
                .collect();
            format!("    {} -> {} {text}", reply.request, reply.status)
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn is(reply: &Reply, wanted: &Content) -> bool {
    reply.status == 200 && reply.body == wanted.bytes
}

fn contains(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}

/// The same image with some members set.
fn with(image: &Content, members: Value) -> Content {
    let mut manifest = image.json();
    let Value::Object(members) = members else {
        panic!("members of an object are wanted: {members}");
    };
    for (name, value) in members {
        manifest[name] = value;
    }
    Content::manifest(&manifest)
}

/// The image in the types of Docker.
fn as_docker(image: &Content) -> Content {
    let mut manifest = image.json();
    manifest["mediaType"] = json!(DOCKER_MANIFEST);
    manifest["config"]["mediaType"] = json!(DOCKER_CONFIG);
    manifest["layers"][0]["mediaType"] = json!(DOCKER_LAYER);
    Content::manifest(&manifest)
}

/// A list of images for one platform, in the type given.
fn list_of(media_type: &str, images: &[&Content]) -> Content {
    let manifests: Vec<Value> = images
        .iter()
        .map(|image| {
            let mut descriptor = image.descriptor();
            descriptor["platform"] = json!({"architecture": "amd64", "os": "linux"});
            descriptor
        })
        .collect();
    Content::manifest(&json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}))
}

/// A digest that nothing has.
fn nothing() -> String {
    images::sha256(random_hex(16).as_bytes())
}

/// What is signed passes, on every way: else the attacks would show nothing.
#[test]
fn what_is_signed_is_served() {
    let theatre = Theatre::open();
    let world = World {
        theatre: &theatre,
        id: "signed".to_owned(),
        is_sealed: true,
        shown: RefCell::default(),
        secrets: RefCell::default(),
    };
    let alice = world.attacker(PROD);
    let by_bundle = world.admitted(&alice, "bundle");
    let by_tag = alice.image();
    alice.push_manifest(&by_tag);
    let signature = theatre
        .keys
        .build
        .signature_tag(&alice, &signer::payload(&by_tag));
    alice
        .put_manifest(&by_tag.companion_tag(".sig"), &signature)
        .expect(201);
    alice.put_manifest("tag", &by_tag).expect(201);
    for (tag, image) in [("bundle", &by_bundle), ("tag", &by_tag)] {
        assert!(world.pulls(PROD, tag, image), "{}", world.told());
        assert!(world.pulls_by_digest(PROD, image), "{}", world.told());
    }
    let [exempt, _] = exempt_image();
    let repository = world.attacker("exempt");
    for blob in exempt_blobs("exempt") {
        repository.push_blob(&blob);
    }
    repository.put_manifest("v1", &exempt).expect(201);
    assert!(world.pulls("exempt", "v1", &exempt), "{}", world.told());

    let child = world.attacker("children");
    let image = child.image();
    child.push_manifest(&image);
    theatre.keys.build.sign_image(&child, &image);
    let index = list_of(INDEX, &[&image]);
    child.put_manifest("v1", &index).expect(201);
    assert!(world.pulls("children", "v1", &index), "{}", world.told());

    let two = world.attacker("two");
    let image = two.image();
    two.push_manifest(&image);
    theatre.keys.build.sign_image(&two, &image);
    theatre.keys.audit.sign_image(&two, &image);
    two.put_manifest("v1", &image).expect(201);
    assert!(world.pulls("two", "v1", &image), "{}", world.told());
}
