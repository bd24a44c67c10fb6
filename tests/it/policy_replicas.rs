//! A policy over several replicas, which share a bucket and a Redis: verdicts of one are used by the others, and nothing
//! that somebody writes into Redis is.

use std::sync::Arc;

use crate::support::backends::RedisServer;
use crate::support::images::ACCEPT;
use crate::support::policy::{Desk, Policy, metric};
use crate::support::proxy::Mode;
use crate::support::stores::{Redis, Shared};
use crate::support::{
    ALICE, Auth, BOB, Content, Http, Registry, Regseal, Replicas, Repository, Stores, TokenServer,
    User, wait_for,
};

const APP: &str = "team/app";
const OPEN: &str = "open/app";

const REJECT: &str = r#"
  - {name: team, repositories: ["team/**"], require: build, on_unsigned_push: reject}
"#;
const ALLOW: &str = r#"
  - {name: team, repositories: ["team/**"], require: build, on_unsigned_push: allow}
"#;

const VERIFICATIONS: &str = "regseal_verification_duration_seconds_count";

/// Replicas with one policy.
struct Policed {
    replicas: Replicas,
    desk: Desk,
    policy: Policy,
}

impl Policed {
    fn start(rules: &str) -> Self {
        let desk = Desk::of(ALICE, Auth::None);
        let policy = Policy::of(&desk, "", rules);
        let mut plan = Replicas::plan(2);
        for (key, value) in policy.settings() {
            plan = plan.setting(key, &value);
        }
        let replicas = plan.start();
        desk.sits_at(&replicas.all[0].regseal.endpoint);
        replicas.are_well();
        Self {
            replicas,
            desk,
            policy,
        }
    }

    fn repositories(&self, name: &str) -> [Repository; 2] {
        [0, 1].map(|replica| self.replicas.repository(replica, name))
    }

    /// One more replica, which remembers nothing.
    fn another(&self) -> Regseal {
        let settings = self.policy.settings();
        let settings = settings
            .each_ref()
            .map(|(key, value)| (*key, value.as_str()));
        self.replicas.another(&settings)
    }

    fn reference(&self, image: &Content) -> String {
        let authority = &self.replicas.all[0].regseal.endpoint.authority;
        format!("{authority}/{APP}@{}", image.digest())
    }

    /// Runs a script over the keys of the verdicts in the repository; they alone have their time.
    fn change_verdicts(&self, script: &str) -> String {
        let script = format!(
            "local rows = {{}} for _, key in ipairs(redis.call('KEYS', 'it:{{{APP}}}:*')) do \
             if redis.call('PTTL', key) > 0 then table.insert(rows, key) end end {script} return #rows"
        );
        self.replicas.redis().single().cli(&["EVAL", &script, "0"])
    }
}

#[track_caller]
fn rejected(repository: &Repository) -> Content {
    let image = repository.image();
    repository.put_manifest("v1", &image).refused(403, "DENIED");
    image
}

#[test]
fn a_verdict_that_one_replica_made_is_used_by_the_others() {
    let stage = Policed::start(REJECT);
    let [first, second] = stage.repositories(APP);
    let image = rejected(&first);
    stage.desk.cosign_signs(&stage.reference(&image));
    first.put_manifest("v1", &image).expect(201);
    second.get_manifest("v1").expect(200);
    second.get_manifest(&image.digest()).expect(200);
    second.put_manifest("v2", &image).expect(201);
    let [made, used] =
        [0, 1].map(|replica| metric(&stage.replicas.all[replica].regseal, VERIFICATIONS, &[]));
    assert!(made >= 1.0, "{made} verifications by the first");
    assert!(used < 1.0, "{used} verifications by the second");
}

/// Whoever can write to Redis changes no decision: neither what is unsigned is let pass, nor what is signed denied.
#[test]
fn a_row_in_redis_that_was_changed_or_is_of_another_subject_is_not_believed() {
    let stage = Policed::start(REJECT);
    let stranger = Desk::of(ALICE, Auth::None);
    stranger.sits_at(&stage.replicas.all[0].regseal.endpoint);
    let [first, _] = stage.repositories(APP);
    let (signed, forged) = (rejected(&first), rejected(&first));
    stage.desk.cosign_signs(&stage.reference(&signed));
    stranger.cosign_signs(&stage.reference(&forged));
    first.put_manifest("signed", &signed).expect(201);
    first.put_manifest("forged", &forged).refused(403, "DENIED");
    stage
        .replicas
        .behind(APP)
        .put_manifest("forged", &forged)
        .expect(201);

    for (attack, script) in [
        (
            "the row of the other",
            "local a, b = redis.call('GET', rows[1]), redis.call('GET', rows[2]) \
          redis.call('SET', rows[1], b, 'PX', 600000) redis.call('SET', rows[2], a, 'PX', 600000)",
        ),
        (
            "garbage",
            "for _, key in ipairs(rows) do redis.call('SET', key, 'garbage', 'PX', 600000) end",
        ),
        (
            "an empty row",
            "for _, key in ipairs(rows) do redis.call('SET', key, '', 'PX', 600000) end",
        ),
        (
            "a row in plain text",
            "for _, key in ipairs(rows) do redis.call('SET', key, \
          '{\"basis\":\"\",\"until\":9999999999999,\"by\":{\"build\":\"sha256:00\"}}', 'PX', 600000) end",
        ),
        (
            "a letter",
            "for _, key in ipairs(rows) do local row = redis.call('GET', key) \
          redis.call('SET', key, string.sub(row, 1, -2) .. 'x', 'PX', 600000) end",
        ),
    ] {
        assert_eq!(stage.change_verdicts(script), "2", "rows for {attack}");
        let fresh = stage.another();
        let repository = fresh.endpoint.repository(ALICE, APP);
        let pulled = repository.get_manifest("forged");
        assert_eq!(pulled.status, 403, "{attack}: {pulled:?}");
        let pushed = repository.put_manifest("again", &forged);
        assert_eq!(pushed.status, 403, "{attack}: {pushed:?}");
        let pulled = repository.get_manifest("signed");
        assert_eq!(pulled.status, 200, "{attack}: {pulled:?}");
        let verified = metric(&fresh, VERIFICATIONS, &[]);
        assert!(verified >= 2.0, "{attack}: {verified} verifications");
    }
}

/// Each replica looks at the file; soon after it was changed none serves what is denied by it.
#[test]
fn a_policy_that_is_changed_is_soon_in_force_everywhere() {
    let stage = Policed::start(ALLOW);
    let repositories = stage.repositories(APP);
    let image = repositories[0].push_image("v1");
    for repository in &repositories {
        repository.get_manifest("v1").expect(200);
    }
    stage.policy.set(REJECT);
    for repository in &repositories {
        wait_for("the new policy", || {
            let denied = |reference: &str| repository.get_manifest(reference).status == 403;
            (denied("v1") && denied(&image.digest())).then_some(())
        });
    }
    for repository in repositories.iter().cycle().take(20) {
        repository.get_manifest("v1").refused(403, "DENIED");
        repository.put_manifest("v2", &image).refused(403, "DENIED");
    }
}

#[test]
fn a_signature_that_is_deleted_by_one_replica_soon_counts_for_none() {
    let stage = Policed::start(REJECT);
    let [first, second] = stage.repositories(APP);
    let image = rejected(&first);
    stage.desk.cosign_signs(&stage.reference(&image));
    first.put_manifest("v1", &image).expect(201);
    for repository in [&first, &second] {
        repository.get_manifest("v1").expect(200);
    }
    let signature = first.referrers(&image)[0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    first.delete_manifest(&signature).expect(202);
    first.get_manifest("v1").refused(403, "DENIED");
    wait_for("the other replica to deny it", || {
        (second.get_manifest("v1").status == 403).then_some(())
    });
    second.put_manifest("v2", &image).refused(403, "DENIED");
}

#[test]
fn without_redis_or_s3_nothing_unsigned_passes_and_what_needs_no_verdict_does() {
    let stage = Policed::start(REJECT);
    let [first, second] = stage.repositories(APP);
    let [signed, unsigned] = [rejected(&first), rejected(&first)];
    stage.desk.cosign_signs(&stage.reference(&signed));
    first.put_manifest("signed", &signed).expect(201);
    stage
        .replicas
        .behind(APP)
        .put_manifest("old", &unsigned)
        .expect(201);
    let open = stage.replicas.repository(1, OPEN);
    let image = open.push_image("v1");

    let assert_closed = |outage: &str| {
        for repository in [&first, &second] {
            let pushed = repository.put_manifest("v1", &unsigned);
            assert!([403, 503].contains(&pushed.status), "{outage}: {pushed:?}");
            let pulled = repository.get_manifest("old");
            assert!([403, 503].contains(&pulled.status), "{outage}: {pulled:?}");
            let pulled = repository.get_manifest("signed");
            assert!([200, 503].contains(&pulled.status), "{outage}: {pulled:?}");
        }
        open.get_manifest("v1").expect(200);
        open.get_manifest(&image.digest()).expect(200);
        open.put_manifest("v2", &image).expect(201);
    };
    for replica in 0..2 {
        stage.replicas.cut_from_redis(replica, Mode::Refuse);
    }
    assert_closed("no Redis");
    for repository in [&first, &second] {
        // The objects say the same, slower.
        repository.get_manifest("signed").expect(200);
    }
    for replica in &stage.replicas.all {
        replica.s3.set(Mode::Refuse);
    }
    assert_closed("neither Redis nor S3");
    for replica in 0..2 {
        stage.replicas.cut_from_redis(replica, Mode::Pass);
    }
    assert_closed("no S3");
    for replica in &stage.replicas.all {
        replica.s3.set(Mode::Pass);
    }
    stage.replicas.are_well();
    for repository in [&first, &second] {
        wait_for("decisions", || {
            let signed = repository.get_manifest("signed").status == 200;
            (signed && repository.get_manifest("old").status == 403).then_some(())
        });
    }
    stage.desk.cosign_signs(&stage.reference(&unsigned));
    second.put_manifest("v1", &unsigned).expect(201);
}

/// A load balancer may send the one who fetched a token to another replica.
#[test]
fn what_one_replica_seals_the_others_with_its_key_open() {
    let registry = Registry::with(Auth::Token);
    let redis = Redis::Single(Box::new(RedisServer::start()));
    let shared = Arc::new(Shared::with(redis));
    let desk = Desk::of(ALICE, Auth::Token);
    let (policy, other) = (Policy::of(&desk, "", REJECT), Policy::of(&desk, "", REJECT));
    let start = |policy: &Policy| {
        let stores = Stores::S3Redis(Arc::clone(&shared));
        policy.regseal(&registry).stores(stores).start()
    };
    let [first, second] = [0, 1].map(|_| start(&policy));
    let with_another_key = start(&other);

    let image = rejected(&first.endpoint.repository(ALICE, APP));
    let path = format!("/v2/{APP}/manifests/{}", image.digest());
    let service = TokenServer::SERVICE.replace(' ', "+");
    let token_path = format!("/_regseal/token?service={service}&scope=repository:{APP}:pull");
    let token = |user: User| {
        let http = Http::new(&first.endpoint.authority).basic(user.name, user.password);
        let answer = http.get(&token_path).expect(200).json();
        answer["token"].as_str().unwrap().to_owned()
    };
    let (alice, bob) = (token(ALICE), token(BOB));
    let read = |regseal: &Regseal, token: &str| {
        let http = Http::new(&regseal.endpoint.authority).bearer(token);
        http.request("GET", &path, &[ACCEPT], "")
    };
    for replica in [&first, &second] {
        assert_eq!(read(replica, &alice).expect(200).body, image.bytes);
        read(replica, &bob).refused(404, "MANIFEST_UNKNOWN");
    }
    read(&with_another_key, &alice).refused(404, "MANIFEST_UNKNOWN");

    desk.sits_at(&second.endpoint);
    let reference = format!("{}/{APP}@{}", second.endpoint.authority, image.digest());
    desk.cosign_signs(&reference);
    first
        .endpoint
        .repository(ALICE, APP)
        .put_manifest("v1", &image)
        .expect(201);
    assert_eq!(read(&second, &bob).expect(200).body, image.bytes);
}
