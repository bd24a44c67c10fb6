//! What fails, under a load of signers, listers and deleters: one test for each row of the table of failures.
//!
//! Each begins a fault, demands that the answers go on as the table says, ends it, and has everything checked that was
//! acknowledged and shown meanwhile.

use std::time::Duration;

use serde_json::json;

use crate::durability::assert_kept;
use crate::support::backends::RedisServer;
use crate::support::backends::redis::{RedisCluster, RedisSentinel};
use crate::support::chance::Chance;
use crate::support::faults::{Fault, Peer, Whose};
use crate::support::images::{MANIFEST, NOTATION};
use crate::support::load::Load;
use crate::support::load::ledger::Part;
use crate::support::proxy::Mode;
use crate::support::stores::Redis;
use crate::support::{Content, Replicas, Repository};

const EACH: usize = 2;
const APP: &str = "apart/app";

/// A load, the replicas under it, and a repository that the load leaves alone.
struct Scene {
    replicas: Replicas,
    load: Load,
    repositories: Vec<Repository>,
    image: Content,
    signatures: Vec<Content>,
}

impl Scene {
    fn begin() -> Self {
        Self::on(Redis::Single(Box::new(RedisServer::start())))
    }

    fn on(redis: Redis) -> Self {
        let replicas = Replicas::plan_with(redis, EACH)
            .setting("TIMEOUTS__S3_OPERATION", "3s")
            .start();
        let repositories = replicas.repositories(APP);
        let image = repositories[0].push_image("v1");
        let signatures = vec![repositories[0].attach(NOTATION, &image)];
        let load = Load::on(&replicas, &Chance::from_environment());
        load.goes_on(15);
        load.is_listed(15);
        Self {
            replicas,
            load,
            repositories,
            image,
            signatures,
        }
    }

    fn begins(&mut self, fault: Fault) {
        fault.begin(&mut self.replicas, &self.load.ledger);
    }

    fn ends(&mut self, fault: Fault) {
        fault.end(&mut self.replicas, &self.load.ledger);
    }

    /// Signatures are acknowledged, and each replica shows what it acknowledged itself.
    #[track_caller]
    fn signs_and_lists(&mut self) {
        for repository in &self.repositories {
            let signature = repository.attach(NOTATION, &self.image);
            assert_kept(repository, &self.image, &signature);
            self.signatures.push(signature);
            for earlier in &self.signatures[..1] {
                assert_kept(repository, &self.image, earlier);
            }
        }
    }

    /// Ends everything; what was acknowledged is with every replica, and the ledger agrees.
    #[track_caller]
    fn ends_right(self) {
        self.load.goes_on(10);
        let verdict = self.load.finish(&self.replicas);
        eprintln!("{:?}", verdict.counts);
        verdict.is_clean();
        for repository in &self.repositories {
            for signature in &self.signatures {
                assert_kept(repository, &self.image, signature);
            }
            assert_eq!(
                repository.referrers(&self.image).len(),
                self.signatures.len()
            );
        }
    }
}

/// Redis does not answer, in one way or another: signatures are acknowledged and lists are complete, as long as it lasts.
fn redis_fails(fault: Fault) {
    let mut scene = Scene::begin();
    scene.begins(fault);
    scene.load.goes_on(10);
    scene.load.is_listed(20);
    scene.signs_and_lists();
    scene.ends(fault);
    scene.ends_right();
}

#[test]
fn redis_refuses_connections() {
    redis_fails(Fault::Way(Peer::Redis, Whose::All, Mode::Refuse));
}

#[test]
fn redis_is_a_black_hole() {
    redis_fails(Fault::Way(Peer::Redis, Whose::All, Mode::BlackHole));
}

#[test]
fn redis_loses_its_answers() {
    redis_fails(Fault::Way(Peer::Redis, Whose::All, Mode::CutAfter(0)));
}

#[test]
fn one_replica_loses_redis() {
    redis_fails(Fault::Way(Peer::Redis, Whose::One(0), Mode::Refuse));
}

#[test]
fn redis_stands_still_and_goes_on() {
    redis_fails(Fault::Paused(Peer::Redis));
}

#[test]
fn redis_dies_and_comes_back_empty() {
    redis_fails(Fault::Killed(Peer::Redis));
}

/// Nothing fails at all when Redis was restarted between two requests; it only says what was true some time ago.
#[test]
fn redis_comes_back_with_an_old_dump() {
    let mut scene = Scene::begin();
    scene.replicas.keep_dump();
    scene.load.goes_on(20);
    scene.signs_and_lists();
    scene.begins(Fault::OldDump);
    scene.ends(Fault::OldDump);
    scene.load.is_listed(20);
    scene.signs_and_lists();
    scene.load.goes_on(10);
    scene.ends_right();
}

#[test]
fn redis_forgets_everything() {
    let mut scene = Scene::begin();
    for _ in 0..3 {
        scene.begins(Fault::Flushed);
        scene.load.goes_on(5);
        scene.load.is_listed(20);
        scene.signs_and_lists();
    }
    scene.ends_right();
}

/// The new master lacks the last writes, and knows nothing of that.
#[test]
fn a_fail_over_loses_the_last_writes() {
    let mut scene = Scene::on(Redis::Sentinel(Box::new(RedisSentinel::start())));
    let everybody = 0..scene.replicas.count();
    if let Redis::Sentinel(set) = &mut *scene.replicas.redis() {
        set.cut_off_replica();
    }
    scene.load.goes_on(15);
    scene.signs_and_lists();
    scene.load.ledger.disturbed(Part::Redis, everybody.clone());
    if let Redis::Sentinel(set) = &mut *scene.replicas.redis() {
        set.fail_over();
    }
    scene.load.ledger.healed(Part::Redis, everybody);
    scene.load.is_listed(20);
    scene.signs_and_lists();
    scene.ends_right();
}

/// A third of the repositories has no index for a while, and then an empty one.
#[test]
fn a_node_of_a_cluster_dies_and_comes_back() {
    let mut scene = Scene::on(Redis::Cluster(RedisCluster::start()));
    let everybody = 0..scene.replicas.count();
    for node in 0..3 {
        scene.load.ledger.disturbed(Part::Redis, everybody.clone());
        if let Redis::Cluster(cluster) = &mut *scene.replicas.redis() {
            cluster.masters[node].kill();
        }
        scene.load.goes_on(5);
        scene.load.is_listed(10);
        scene.signs_and_lists();
        if let Redis::Cluster(cluster) = &mut *scene.replicas.redis() {
            cluster.masters[node].start_again();
            cluster.wait_until(&["cluster_state:ok"]);
        }
        scene.load.ledger.healed(Part::Redis, everybody.clone());
    }
    scene.signs_and_lists();
    scene.ends_right();
}

/// The object store does not answer: nothing new is acknowledged, and none of it is there afterwards. Images go on.
fn s3_fails(fault: Fault) {
    let mut scene = Scene::begin();
    let prepared = scene.repositories[0].artifact(NOTATION, Some(&scene.image));
    scene.begins(fault);
    let mut refused = vec![prepared];
    for repository in scene.repositories.clone() {
        // Images go on, and so do the uploads of a signature.
        let other = repository.push_image("v2");
        let read = repository.get_manifest("v2").expect(200);
        assert_eq!(read.body, other.bytes);
        refused.push(repository.artifact(NOTATION, Some(&scene.image)));
        for signature in &refused {
            let reply = repository.put_manifest(&signature.digest(), signature);
            assert_eq!(reply.status, 503, "{reply:?}");
            assert!(!reply.header("retry-after").is_empty(), "{reply:?}");
        }
        let listed = repository.get_referrers(&scene.image.digest(), "");
        match listed.status {
            503 => {}
            _ => assert_eq!(
                listed.expect(200).json()["manifests"],
                json!([scene.signatures[0].as_referrer()])
            ),
        }
    }
    scene.load.is_listed(10);
    scene.ends(fault);
    scene.load.goes_on(5);
    for repository in &scene.repositories {
        for signature in &refused {
            repository.get_manifest(&signature.digest()).expect(404);
        }
        assert_eq!(
            repository.referrers(&scene.image),
            [scene.signatures[0].as_referrer()],
            "nothing is half there"
        );
    }
    // The same requests are good now.
    for signature in refused {
        scene.repositories[1].push_manifest(&signature);
        scene.signatures.push(signature);
    }
    scene.ends_right();
}

#[test]
fn s3_refuses_connections() {
    s3_fails(Fault::Way(Peer::S3, Whose::All, Mode::Refuse));
}

#[test]
fn s3_is_a_black_hole() {
    s3_fails(Fault::Way(Peer::S3, Whose::All, Mode::BlackHole));
}

#[test]
fn s3_stands_still_and_goes_on() {
    let mut scene = Scene::begin();
    let fault = Fault::Paused(Peer::S3);
    scene.begins(fault);
    let image = scene.repositories[0].push_image("v2");
    let read = scene.repositories[0].get_manifest("v2").expect(200);
    assert_eq!(read.body, image.bytes);
    // What it was sent is carried out later, after the client was told that it failed.
    let signature = scene.repositories[0].artifact(NOTATION, Some(&scene.image));
    let reply = scene.repositories[0].put_manifest(&signature.digest(), &signature);
    assert_eq!(reply.status, 503, "{reply:?}");
    scene.load.is_listed(10);
    scene.ends(fault);
    scene.load.goes_on(5);
    scene.repositories[1].push_manifest(&signature);
    scene.signatures.push(signature);
    scene.ends_right();
}

#[test]
fn s3_dies_and_comes_back() {
    s3_fails(Fault::Killed(Peer::S3));
}

#[test]
fn s3_is_slow() {
    let mut scene = Scene::begin();
    let fault = Fault::Way(Peer::S3, Whose::All, Mode::Delay(Duration::from_millis(50)));
    scene.begins(fault);
    scene.load.goes_on(5);
    scene.load.is_listed(20);
    scene.signs_and_lists();
    scene.ends(fault);
    scene.ends_right();
}

/// The registry is asked first, so nothing is answered without it for longer than a decision is remembered.
#[test]
fn the_registry_is_down() {
    let mut scene = Scene::begin();
    let fault = Fault::Way(Peer::Registry, Whose::All, Mode::Refuse);
    let signature = scene.repositories[0].artifact(NOTATION, Some(&scene.image));
    scene.begins(fault);
    for repository in &scene.repositories {
        let read = repository.get_manifest("v1");
        assert!(matches!(read.status, 502 | 504), "{read:?}");
        assert!(read.json()["errors"].is_array(), "{read:?}");
        let absent = Content::random(MANIFEST);
        let unknown = repository.get_referrers(&absent.digest(), "");
        assert!(matches!(unknown.status, 200 | 503), "{unknown:?}");
    }
    let image = scene.repositories[0].http.try_request(
        "POST",
        &scene.repositories[0].path("blobs/uploads/"),
        &[],
        "",
    );
    assert!(matches!(image.unwrap().status, 502 | 504));
    let pushed = scene.repositories[0].put_manifest(&signature.digest(), &signature);
    // Acknowledged only on a decision that is remembered.
    assert!(matches!(pushed.status, 201 | 503), "{pushed:?}");
    scene.ends(fault);
    scene.repositories[1].push_manifest(&signature);
    scene.signatures.push(signature);
    scene.ends_right();
}

#[test]
fn redis_and_s3_are_both_down() {
    let mut scene = Scene::begin();
    let faults = [Peer::Redis, Peer::S3].map(|peer| Fault::Way(peer, Whose::All, Mode::Refuse));
    for fault in faults {
        scene.begins(fault);
    }
    let signature = {
        let repository = &scene.repositories[0];
        let image = repository.push_image("v2");
        for reference in ["v2", &image.digest()] {
            let read = repository.get_manifest(reference).expect(200);
            assert_eq!(read.body, image.bytes);
        }
        let layer = image.json()["layers"][0]["digest"].clone();
        repository.get_blob(layer.as_str().unwrap()).expect(200);
        repository
            .get_referrers(&scene.image.digest(), "")
            .expect(503);
        let signature = repository.artifact(NOTATION, Some(&scene.image));
        repository
            .put_manifest(&signature.digest(), &signature)
            .expect(503);
        signature
    };
    for fault in faults {
        scene.ends(fault);
    }
    scene.load.goes_on(5);
    for repository in &scene.repositories {
        repository.get_manifest(&signature.digest()).expect(404);
    }
    scene.ends_right();
}
