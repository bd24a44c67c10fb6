//! A walk through every endpoint, by one who may see a repository and by those who may not: whatever the first has
//! warmed, the others get what there is of something that never existed.

use std::iter::successors;
use std::mem::discriminant;

use http::{HeaderMap, Method};
use regseal::route::{Route, UploadStep};
use serde_json::Value;

use crate::companion_tags::cosign_signature;
use crate::support::gate::{Asked, Gate, Verdict};
use crate::support::http::Endpoint;
use crate::support::images::{
    ACCEPT, LAYER, MANIFEST, NOTATION, SBOM, index_of, random_hex, sha256,
};
use crate::support::policy::{Desk, Policy};
use crate::support::{
    ALICE, Auth, CAROL, Content, EVE, Http, Registry, Regseal, Reply, Repository, TokenServer, User,
};

/// No rule is about it: signatures of any content are captured here.
const APP: &str = "private/app";
/// Images are kept and marked here.
const RULED: &str = "private/ruled";
/// Nobody has pushed here; as long as the name of the other.
const NEVER: &str = "private/never";
/// Where one of the strangers has rights.
const ELSEWHERE: &str = "carol/app";

const RULES: &str = r#"
  - {name: kept, repositories: ["private/ruled"], tags: ["kept"], require: build, on_unsigned_push: reject}
  - {name: marked, repositories: ["private/ruled"], require: build, on_unsigned_push: tag}
"#;

/// How the registry behind tells people apart, and whether it answers 404 to those who may not.
#[derive(Clone, Copy, Debug)]
struct Kind {
    auth: Auth,
    masks: bool,
}

struct World {
    kind: Kind,
    gate: Gate,
    regseal: Regseal,
    registry: Registry,
    _policy: Policy,
}

/// All that regseal has of the two repositories.
struct Treasure {
    image: Content,
    signature: Content,
    sbom: Content,
    version: Content,
    fallback: Content,
    staged: Content,
    kept: Content,
    marked: Content,
    /// Path and query of a session that Alice has opened.
    session: String,
}

/// A request about what there is, and the same about what never was.
struct Ask {
    method: Method,
    paths: [String; 2],
    bodies: [Content; 2],
}

impl Ask {
    fn of(method: &Method, paths: [String; 2]) -> Self {
        let nothing = || Content::new("application/octet-stream", "");
        Self {
            method: method.clone(),
            paths,
            bodies: [nothing(), nothing()],
        }
    }

    fn reads(paths: [String; 2]) -> [Self; 2] {
        let head = Self::of(&Method::HEAD, paths.clone());
        [Self::of(&Method::GET, paths), head]
    }

    fn puts(paths: [String; 2], bodies: [Content; 2]) -> Self {
        Self {
            method: Method::PUT,
            paths,
            bodies,
        }
    }

    #[track_caller]
    fn send(&self, caller: &Http, twin: usize) -> Reply {
        let body = &self.bodies[twin];
        let headers = [ACCEPT, ("Content-Type", body.media_type.as_str())];
        let path = &self.paths[twin];
        caller.request(self.method.as_str(), path, &headers, body.bytes.clone())
    }
}

impl World {
    fn of(kind: Kind) -> Self {
        let registry = Registry::with(match kind.auth {
            Auth::Token => Auth::Token,
            Auth::Basic | Auth::None => Auth::None,
        });
        let gate = Gate::before(&registry);
        let desk = Desk::of(ALICE, kind.auth);
        let policy = Policy::of(&desk, "", RULES);
        let access = match kind.auth {
            Auth::Token => registry.endpoint.access.clone(),
            Auth::Basic | Auth::None => gate.endpoint.access.clone(),
        };
        let upstream = Endpoint {
            access,
            ..gate.endpoint.clone()
        };
        let regseal = policy.regseal_at(&upstream, &registry).start();
        gate.rule(move |asked| decide(kind, asked));
        Self {
            kind,
            gate,
            regseal,
            registry,
            _policy: policy,
        }
    }

    /// With one credential for all requests, so that decisions about it are remembered.
    fn caller(&self, user: Option<User>) -> Http {
        let http = Http::new(&self.regseal.endpoint.authority);
        match (self.kind.auth, user) {
            (Auth::Token, user) => {
                let scopes = [APP, RULED, NEVER, ELSEWHERE]
                    .map(|name| format!("repository:{name}:pull,push,delete"));
                let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
                let issuer = self.registry.tokens().issuer();
                http.bearer(&issuer.token(user.map(|user| user.name), &scopes))
            }
            (Auth::Basic | Auth::None, Some(user)) => http.basic(user.name, user.password),
            (Auth::Basic | Auth::None, None) => http,
        }
    }

    fn fill(&self) -> Treasure {
        let alice = self.caller(Some(ALICE));
        let app = Repository::new(alice.clone(), APP);
        let image = app.push_image("v1");
        let signature = app.attach(NOTATION, &image);
        let sbom = app.attach(SBOM, &image);
        let version = cosign_signature(&app, &[]);
        app.put_manifest(&image.companion_tag(".sig"), &version)
            .expect(201);
        let fallback = index_of([&signature]);
        app.put_manifest(&image.companion_tag(""), &fallback)
            .expect(201);
        let staged = Content::random("application/octet-stream");
        app.push_blob(&staged);
        let session = alice.request("POST", &app.path("blobs/uploads/"), &[], "");
        let session = session.expect(202).header("location").to_owned();
        let ruled = Repository::new(alice, RULED);
        let kept = ruled.image();
        ruled.put_manifest("kept", &kept).refused(403, "DENIED");
        let marked = ruled.push_image("v1");
        assert_eq!(ruled.tags(), ["unsigned-v1", "v1"]);
        Treasure {
            image,
            signature,
            sbom,
            version,
            fallback,
            staged,
            kept,
            marked,
            session,
        }
    }
}

/// What the registry behind says to a request, in place of the one that is really there.
fn decide(kind: Kind, asked: &Asked) -> Verdict {
    let who = asked.user().or_else(|| asked.holder());
    let may = |(name, action): (String, &'static str)| User::permits(who.as_deref(), &name, action);
    if asked.wants().into_iter().all(may) {
        return Verdict::Pass;
    }
    match (kind.masks, kind.auth, &who) {
        (true, _, _) => Verdict::refuse(404, "NAME_UNKNOWN", asked),
        (false, Auth::Token, _) => Verdict::Pass,
        (false, Auth::Basic | Auth::None, Some(_)) => Verdict::refuse(403, "DENIED", asked),
        (false, Auth::Basic | Auth::None, None) => Verdict::refuse(401, "UNAUTHORIZED", asked),
    }
}

/// The endpoint that follows in the walk. A new one does not compile before it has a place in it.
fn after(route: &Route) -> Option<Route> {
    let name = APP.parse().unwrap();
    let digest = sha256(b"").parse().unwrap();
    let tag = "v1".parse().unwrap();
    Some(match route {
        Route::Version => Route::Token,
        Route::Token => Route::Passthrough,
        Route::Passthrough => Route::TagsList(name),
        Route::TagsList(_) => Route::BlobPull(name, digest),
        Route::BlobPull(..) => Route::BlobDelete(name, digest),
        Route::BlobDelete(..) => Route::UploadStart(name),
        Route::UploadStart(_) => Route::Upload(name, UploadStep::Status),
        Route::Upload(_, UploadStep::Status) => Route::Upload(name, UploadStep::Chunk),
        Route::Upload(_, UploadStep::Chunk) => Route::Upload(name, UploadStep::Finish),
        Route::Upload(_, UploadStep::Finish) => Route::Upload(name, UploadStep::Cancel),
        Route::Upload(_, UploadStep::Cancel) => {
            Route::SealedUpload(name, UploadStep::Status, String::new())
        }
        Route::SealedUpload(..) => Route::ManifestPull(name, tag),
        Route::ManifestPull(..) => Route::ManifestPush(name, tag),
        Route::ManifestPush(..) => Route::ManifestDelete(name, tag),
        Route::ManifestDelete(..) => Route::Referrers(name, digest),
        Route::Referrers(..) => return None,
    })
}

impl Treasure {
    /// What is asked at an endpoint.
    fn asks(&self, route: &Route) -> Vec<Ask> {
        let never = || format!("sha256:{}", random_hex(32));
        let app = |rest: [String; 2]| rest.map(|rest| format!("/v2/{APP}/{rest}"));
        let named = |kind: &str, digest: &str| {
            app([digest, &never()].map(|digest| format!("{kind}/{digest}")))
        };
        match route {
            Route::Version => Ask::reads(["/v2/", "/v2/"].map(str::to_owned)).into(),
            Route::Token => {
                let service = TokenServer::SERVICE.replace(' ', "+");
                let path = |name| {
                    format!("/_regseal/token?service={service}&scope=repository:{name}:pull")
                };
                vec![Ask::of(&Method::GET, [path(RULED), path(NEVER)])]
            }
            Route::Passthrough => Ask::reads(named("_links", &self.signature.digest())).into(),
            Route::TagsList(_) => {
                let paths = [RULED, NEVER].map(|name| format!("/v2/{name}/tags/list"));
                vec![Ask::of(&Method::GET, paths)]
            }
            Route::BlobPull(..) => {
                let blobs = self.blobs();
                let paths = blobs.iter().map(|digest| named("blobs", digest));
                paths.flat_map(Ask::reads).collect()
            }
            Route::BlobDelete(..) => {
                let blobs = self.blobs();
                let paths = blobs.iter().map(|digest| named("blobs", digest));
                paths.map(|paths| Ask::of(&Method::DELETE, paths)).collect()
            }
            Route::UploadStart(_) => {
                let mounts = self.blobs().into_iter().flat_map(|digest| {
                    [APP, ELSEWHERE].map(|to| {
                        [&digest, &never()].map(|digest| {
                            format!("/v2/{to}/blobs/uploads/?mount={digest}&from={APP}")
                        })
                    })
                });
                mounts.map(|paths| Ask::of(&Method::POST, paths)).collect()
            }
            // A session elsewhere that nobody has been given.
            Route::SealedUpload(..) => {
                let made_up = || format!("blobs/uploads/rs1.{}", random_hex(64));
                vec![Ask::of(&Method::GET, app([made_up(), made_up()]))]
            }
            Route::Upload(_, step) => {
                let (path, query) = self.session.split_once('?').unwrap();
                let (uploads, id) = path.rsplit_once('/').unwrap();
                assert_eq!(id.len(), 36, "{path}");
                let other = format!("{uploads}/00000000-0000-4000-8000-{}", random_hex(6));
                let method = match step {
                    UploadStep::Status => Method::GET,
                    UploadStep::Chunk => Method::PATCH,
                    UploadStep::Finish => Method::PUT,
                    UploadStep::Cancel => Method::DELETE,
                };
                let layer = Content::new("application/octet-stream", "a chunk");
                let more = match step {
                    UploadStep::Finish => format!("&digest={}", layer.digest()),
                    UploadStep::Status | UploadStep::Chunk | UploadStep::Cancel => String::new(),
                };
                let paths = [path, &other].map(|path| format!("{path}?{query}{more}"));
                let mut ask = Ask::of(&method, paths);
                if matches!(step, UploadStep::Chunk | UploadStep::Finish) {
                    ask.bodies = [layer.clone(), layer];
                }
                vec![ask]
            }
            Route::ManifestPull(..) => {
                let digests = self.manifests().into_iter();
                let by_digest = digests.map(|digest| named("manifests", &digest));
                let by_tag = self.tags().map(|[held, other]| {
                    app([held, other].map(|reference| format!("manifests/{reference}")))
                });
                let ruled = |held: &str, other: &str| {
                    [held, other].map(|reference| format!("/v2/{RULED}/manifests/{reference}"))
                };
                let of_rules = [
                    ruled(&self.kept.digest(), &never()),
                    ruled(&self.marked.digest(), &never()),
                    ruled("unsigned-v1", "unsigned-v9"),
                    ruled("v1", "v9"),
                ];
                let paths = by_digest.chain(by_tag).chain(of_rules);
                paths.flat_map(Ask::reads).collect()
            }
            Route::ManifestPush(..) => {
                let mut forged = self.signature.json();
                forged["annotations"]["salt"] = random_hex(8).into();
                let forged = Content::new(MANIFEST, forged.to_string());
                let bodies = || [self.signature.clone(), forged.clone()];
                let digests = [&self.signature, &forged].map(Content::digest);
                let put = |references: [String; 2], bodies| {
                    let paths = app(references.map(|reference| format!("manifests/{reference}")));
                    Ask::puts(paths, bodies)
                };
                let mut asks: Vec<Ask> = self.tags().map(|tags| put(tags, bodies())).collect();
                asks.push(put(digests, bodies()));
                let fallback = || [self.fallback.clone(), index_of([&self.signature])];
                asks.extend(self.tags().map(|tags| put(tags, fallback())));
                asks
            }
            Route::ManifestDelete(..) => {
                let digests = self.manifests().into_iter();
                let by_digest = digests.map(|digest| named("manifests", &digest));
                let by_tag = self.tags().map(|[held, other]| {
                    app([held, other].map(|reference| format!("manifests/{reference}")))
                });
                let paths = by_digest.chain(by_tag);
                paths.map(|paths| Ask::of(&Method::DELETE, paths)).collect()
            }
            Route::Referrers(..) => {
                let query = format!("?artifactType={NOTATION}");
                let paths = ["", &query].map(|query| {
                    named("referrers", &self.image.digest()).map(|path| format!("{path}{query}"))
                });
                paths.into_iter().flat_map(Ask::reads).collect()
            }
        }
    }

    fn blobs(&self) -> Vec<String> {
        let layer = |manifest: &Content| manifest.json()["layers"][0]["digest"].clone();
        let layers = [&self.signature, &self.sbom, &self.version].map(layer);
        let mut blobs: Vec<String> = layers
            .iter()
            .map(|digest| digest.as_str().unwrap().to_owned())
            .collect();
        blobs.push(self.staged.digest());
        blobs
    }

    fn manifests(&self) -> Vec<String> {
        let manifests = [
            &self.image,
            &self.signature,
            &self.sbom,
            &self.version,
            &self.fallback,
        ];
        manifests.map(Content::digest).into()
    }

    /// Tags that name something, each with one that does not.
    fn tags(&self) -> impl Iterator<Item = [String; 2]> {
        let other = Content::random(LAYER);
        let of = |suffix: &str| [&self.image, &other].map(|of| of.companion_tag(suffix));
        [of(""), of(".sig"), ["v1", "v9"].map(str::to_owned)].into_iter()
    }

    /// What must be in no answer to a stranger who has not named it.
    fn secrets(&self) -> Vec<String> {
        let mut secrets = [self.manifests(), self.blobs()].concat();
        secrets.extend([&self.kept, &self.marked].map(Content::digest));
        secrets.push("unsigned-v1".to_owned());
        secrets
    }
}

/// All of an answer but the time, what was asked for, and ids that the registry gives to each session. docker-registry
/// names scopes and actions in any order.
fn comparable(reply: &Reply, path: &str) -> String {
    let mut reply = reply.clone();
    if let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body)
        && let Some(detail) = body.pointer_mut("/errors/0/detail")
        && let Some(detail) = detail.as_array_mut()
    {
        detail.sort_by_key(Value::to_string);
        reply.body = body.to_string().into();
    }
    for name in ["date", "location", "docker-upload-uuid"] {
        reply.headers.remove(name);
    }
    if reply.request.contains("/_regseal/token") && reply.status == 200 {
        reply.body = format!("{} bytes", reply.body.len()).into();
    }
    for value in reply.headers.values_mut() {
        let mut words: Vec<_> = value
            .to_str()
            .unwrap()
            .split([' ', ',', ':', '"'])
            .collect();
        words.sort_unstable();
        *value = words.join(" ").parse().unwrap();
    }
    let mut names: Vec<_> = reply.headers.drain().collect();
    names.sort_by_key(|(name, _)| name.as_ref().map(ToString::to_string));
    reply.headers = names
        .into_iter()
        .filter_map(|(name, value)| Some((name?, value)))
        .collect::<HeaderMap>();
    let shown = format!("{reply:?}");
    let (_, shown) = shown.split_once(' ').unwrap();
    let shown = shown.replace("%3A", ":").replace("%2F", "/");
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let reference = path.trim_end_matches('/').rsplit('/').next().unwrap();
    let mount = query.strip_prefix("mount=").unwrap_or(reference);
    let mount = mount.split('&').next().unwrap();
    [reference, mount, RULED, NEVER]
        .iter()
        .fold(shown, |shown, asked| shown.replace(asked, "…"))
}

/// The strangers' round: nothing of the treasure is told, and everything is as if it never was. What the registry
/// behind is asked by each request about the treasure.
fn strangers_learn_nothing(
    world: &World,
    treasure: &Treasure,
    stranger: &str,
    http: &Http,
) -> Vec<(String, Vec<String>)> {
    let mut told = Vec::new();
    let mut questions = Vec::new();
    for route in successors(Some(Route::Version), after) {
        for ask in treasure.asks(&route) {
            for path in &ask.paths {
                let parsed = Route::parse(&ask.method, &path.parse().unwrap()).unwrap();
                assert_eq!(discriminant(&parsed), discriminant(&route), "{path}");
            }
            world.gate.seen();
            let held = ask.send(http, 0);
            let seen = world.gate.seen();
            let lines = seen.iter().map(Asked::line);
            // Where the token service is, which is the same for all.
            let seen: Vec<String> = lines.filter(|line| line != "GET /v2/").collect();
            let other = ask.send(http, 1);
            let line = format!("{} {}", ask.method, ask.paths[0]);
            let [of_held, of_other] =
                [(&held, 0), (&other, 1)].map(|(reply, twin)| comparable(reply, &ask.paths[twin]));
            if of_held != of_other {
                told.push(format!("{line}\n{held:?}\n-- but\n{other:?}"));
            }
            let shown = format!("{held:?}");
            let answer = shown.split_once('\n').unwrap().1;
            for secret in treasure.secrets() {
                if answer.contains(&secret) && !line.contains(&secret) {
                    told.push(format!("{line} tells of {secret}\n{held:?}"));
                }
            }
            questions.push((line, seen));
        }
    }
    let (kind, count) = (world.kind, told.len());
    assert!(
        told.is_empty(),
        "{kind:?} {stranger}: {count}\n{}",
        told.join("\n\n")
    );
    questions
}

/// Whoever may, reads everything.
fn alice_reads_everything(world: &World, treasure: &Treasure) {
    let alice = world.caller(Some(ALICE));
    for route in successors(Some(Route::Version), after) {
        for ask in treasure.asks(&route) {
            let is_read = ask.method == Method::GET || ask.method == Method::HEAD;
            let is_there = match route {
                Route::Passthrough | Route::Upload(..) | Route::SealedUpload(..) | Route::Token => {
                    false
                }
                Route::Version
                | Route::TagsList(_)
                | Route::BlobPull(..)
                | Route::BlobDelete(..)
                | Route::UploadStart(_)
                | Route::ManifestPull(..)
                | Route::ManifestPush(..)
                | Route::ManifestDelete(..)
                | Route::Referrers(..) => true,
            };
            if is_read && is_there {
                for _ in 0..2 {
                    ask.send(&alice, 0).expect(200);
                }
            }
        }
    }
}

#[track_caller]
fn walk(kind: Kind) {
    let world = World::of(kind);
    let treasure = world.fill();
    let alice = Repository::new(world.caller(Some(ALICE)), APP);
    let before = alice.referrers(&treasure.image);
    assert_eq!(before.len(), 2, "{kind:?}");

    let cold = strangers_learn_nothing(&world, &treasure, "eve", &world.caller(Some(EVE)));
    alice_reads_everything(&world, &treasure);
    let warm = strangers_learn_nothing(&world, &treasure, "carol", &world.caller(Some(CAROL)));
    strangers_learn_nothing(&world, &treasure, "nobody", &world.caller(None));

    // How long an answer takes must not tell what others have asked for.
    for ((line, cold), (_, warm)) in cold.iter().zip(&warm) {
        let is_hers = line.contains(ELSEWHERE);
        assert!(
            is_hers || cold == warm,
            "{kind:?} {line}: {cold:?}\n{warm:?}"
        );
    }
    // And what strangers have tried has changed nothing for her.
    alice_reads_everything(&world, &treasure);
    assert_eq!(alice.referrers(&treasure.image), before, "{kind:?}");
}

#[test]
fn passwords_and_refusals() {
    walk(Kind {
        auth: Auth::Basic,
        masks: false,
    });
}

#[test]
fn passwords_and_masks() {
    walk(Kind {
        auth: Auth::Basic,
        masks: true,
    });
}

#[test]
fn tokens_and_refusals() {
    walk(Kind {
        auth: Auth::Token,
        masks: false,
    });
}

#[test]
fn tokens_and_masks() {
    walk(Kind {
        auth: Auth::Token,
        masks: true,
    });
}
