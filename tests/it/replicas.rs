//! Several replicas before one registry, over one bucket and one Redis: what one has acknowledged, all of them know.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::durability::{
    append_to_cosign_tag, assert_all_listed, assert_cosign_layers, assert_kept, at_once,
    sign_with_fallback_tag,
};
use crate::support::chance::Chance;
use crate::support::faults::Fault;
use crate::support::images::{LAYER, NOTATION, SBOM, artifact_of, digests, random_hex};
use crate::support::load::Load;
use crate::support::proxy::Mode;
use crate::support::stores::setting;
use crate::support::{Content, Replicas, Repository, regseal, rounds, wait_for};

const APP: &str = "team/app";
const EACH: usize = 3;

fn assert_shown_by_all(repositories: &[Repository], image: &Content, expected: &[Value]) {
    let expected = digests(expected);
    for (number, repository) in repositories.iter().enumerate() {
        let listed = digests(&repository.referrers(image));
        assert_eq!(listed.len(), expected.len(), "by replica {number}");
        assert_eq!(listed, expected, "by replica {number}");
    }
}

#[test]
fn what_one_replica_acknowledges_all_others_show_at_once() {
    let replicas = Replicas::start(EACH);
    let repositories = replicas.repositories(APP);
    let image = repositories[0].push_image("v1");
    let mut expected = Vec::new();
    for round in 0..12 {
        let (writer, kind) = (round % EACH, [NOTATION, SBOM][round % 2]);
        let signature = repositories[writer].attach(kind, &image);
        expected.push(signature.as_referrer());
        for repository in &repositories {
            assert_eq!(repository.referrers(&image), expected);
            assert_kept(repository, &image, &signature);
            let fallback = repository.get_manifest(&image.companion_tag(""));
            assert_eq!(fallback.expect(200).json()["manifests"], json!(expected));
        }
    }
    let tag = image.companion_tag(".sig");
    let mut layers = Vec::new();
    for writer in 0..EACH {
        layers.push(append_to_cosign_tag(&repositories[writer], &tag));
        for repository in &repositories {
            let read = repository.get_manifest(&tag).expect(200).json();
            assert_eq!(read["layers"], json!(layers));
        }
    }
    replicas.have_an_exact_index();
}

#[test]
fn what_one_replica_deletes_none_shows_any_more() {
    let replicas = Replicas::start(EACH);
    let repositories = replicas.repositories(APP);
    let image = repositories[0].push_image("v1");
    let kept = repositories[0].attach(NOTATION, &image);
    for round in 0..9 {
        let deleter = round % EACH;
        let signature = repositories[(round + 1) % EACH].attach(NOTATION, &image);
        // So that each has it in whatever it remembers.
        for repository in &repositories {
            assert_eq!(repository.referrers(&image).len(), 2);
        }
        repositories[deleter]
            .delete_manifest(&signature.digest())
            .expect(202);
        for repository in &repositories {
            assert_eq!(repository.referrers(&image), [kept.as_referrer()]);
            repository.get_manifest(&signature.digest()).expect(404);
        }
    }
    replicas.have_an_exact_index();
}

/// Any load balancer may send the parts of an upload to different replicas.
#[test]
fn an_upload_that_begins_on_one_replica_ends_on_another() {
    let replicas = Replicas::start(EACH);
    let repositories = replicas.repositories(APP);
    let image = repositories[0].push_image("v1");
    let config = Content::new(NOTATION, "{}");
    repositories[0].push_blob(&config);
    // Which replicas take the POST, each PATCH, and the PUT.
    for (post, patches, put) in [
        (0, &[0][..], 1),
        (0, &[1, 2], 0),
        (1, &[2, 0, 1], 2),
        (2, &[], 1),
    ] {
        let send = |replica: usize, method: &str, path: &str, body: &str| {
            let headers = [("Content-Type", "application/octet-stream")];
            let http = &repositories[replica].http;
            http.request(method, path, &headers, body.to_owned())
        };
        let mut whole = String::new();
        let begun = send(post, "POST", &repositories[post].path("blobs/uploads/"), "");
        let mut location = path_of(begun.expect(202).header("location"));
        for replica in patches {
            let piece = random_hex(20_000);
            let taken = send(*replica, "PATCH", &location, &piece).expect(202);
            location = path_of(taken.header("location"));
            whole.push_str(&piece);
        }
        let last = random_hex(1_000);
        whole.push_str(&last);
        let layer = Content::new(LAYER, whole);
        let separator = if location.contains('?') { '&' } else { '?' };
        let end = format!("{location}{separator}digest={}", layer.digest());
        send(put, "PUT", &end, &last).expect(201);

        let signature = artifact_of(NOTATION, Some(&image), &config, &layer);
        repositories[post].push_manifest(&signature);
        for repository in &repositories {
            assert_kept(repository, &image, &signature);
        }
    }
}

/// A location without the replica that it names.
fn path_of(location: &str) -> String {
    match location.strip_prefix("http://") {
        Some(rest) => format!("/{}", rest.split_once('/').unwrap().1),
        None => location.to_owned(),
    }
}

#[test]
fn a_hundred_signers_over_three_replicas_are_all_listed_by_each() {
    let replicas = Replicas::start(EACH);
    let repositories = replicas.repositories(APP);
    let image = repositories[0].push_image("v1");
    let signatures = at_once(|number| {
        let kind = if number % 5 == 0 { SBOM } else { NOTATION };
        let signature = repositories[number % EACH].attach(kind, &image);
        let listed = repositories[(number + 1) % EACH].referrers(&image);
        assert!(
            listed.contains(&signature.as_referrer()),
            "another replica shows what was acknowledged"
        );
        signature
    });
    for repository in &repositories {
        assert_all_listed(repository, &image, &signatures);
    }
    replicas.have_an_exact_index();
}

#[test]
fn a_hundred_writers_of_a_cosign_tag_over_three_replicas_lose_nothing() {
    let replicas = Replicas::start(EACH);
    let repositories = replicas.repositories(APP);
    let image = repositories[0].push_image("v1");
    let tag = image.companion_tag(".sig");
    let layers = at_once(|number| append_to_cosign_tag(&repositories[number % EACH], &tag));
    for repository in &repositories {
        assert_cosign_layers(repository, &tag, &layers);
    }
    assert_eq!(replicas.behind(APP).tags(), ["v1"]);
    replicas.have_an_exact_index();
}

/// One replica has written its version and not yet said so in the index, while another adds the next one and shows it.
#[test]
fn a_version_of_a_cosign_tag_that_is_indexed_late_is_not_left_out() {
    let replicas = Replicas::start(2);
    let repositories = replicas.repositories(APP);
    let image = repositories[0].push_image("v1");
    let tag = image.companion_tag(".sig");
    let mut layers = vec![append_to_cosign_tag(&repositories[0], &tag)];
    replicas.cut_from_redis(0, Mode::Delay(Duration::from_millis(80)));
    let chance = &mut Chance::from_environment();
    for _ in 0..rounds(4, 60) {
        let pause = chance.between(Duration::ZERO, Duration::from_millis(700));
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| append_to_cosign_tag(&repositories[0], &tag));
            std::thread::sleep(pause);
            layers.push(append_to_cosign_tag(&repositories[1], &tag));
            while !slow.is_finished() {
                repositories[1].get_manifest(&tag).expect(200);
            }
            layers.push(slow.join().unwrap());
        });
        for repository in &repositories {
            assert_cosign_layers(repository, &tag, &layers);
        }
    }
    replicas.cut_from_redis(0, Mode::Pass);
    replicas.have_an_exact_index();
}

#[test]
fn a_hundred_writers_of_the_fallback_tag_over_three_replicas_lose_nothing() {
    let replicas = Replicas::start(EACH);
    let repositories = replicas.repositories(APP);
    let image = repositories[0].push_image("v1");
    let signatures = at_once(|number| sign_with_fallback_tag(&repositories[number % EACH], &image));
    for repository in &repositories {
        assert_all_listed(repository, &image, &signatures);
        let read = repository.get_manifest(&image.companion_tag(""));
        assert_eq!(
            read.expect(200).json()["manifests"],
            json!(repository.referrers(&image))
        );
    }
    replicas.have_an_exact_index();
}

#[test]
fn a_push_whose_replica_dies_is_repeated_on_another() {
    let mut replicas = Replicas::start(EACH);
    let chance = &mut Chance::from_environment();
    let repositories = replicas.repositories(APP);
    let image = repositories[0].push_image("v1");
    let mut expected = Vec::new();

    // Between the blobs and the manifest.
    let signature = repositories[0].artifact(NOTATION, Some(&image));
    replicas.all[0].regseal.kill();
    repositories[1].push_manifest(&signature);
    expected.push(signature.as_referrer());
    assert_shown_by_all(&repositories[1..], &image, &expected);
    replicas.all[0].regseal.start_again();
    assert_shown_by_all(&repositories, &image, &expected);

    // While the manifest is being taken: each request to the object store takes its time, so the end comes between any two.
    let mut died_in_time = 0;
    for round in 0..rounds(8, 40) {
        let dies = round % EACH;
        let signature = repositories[dies].artifact(NOTATION, Some(&image));
        replicas.all[dies]
            .s3
            .set(Mode::Delay(Duration::from_millis(20)));
        let pushed = std::thread::scope(|scope| {
            let push = scope
                .spawn(|| repositories[dies].try_put_manifest(&signature.digest(), &signature));
            std::thread::sleep(chance.between(Duration::ZERO, Duration::from_millis(500)));
            replicas.all[dies].regseal.kill();
            push.join().unwrap()
        });
        died_in_time += usize::from(pushed.is_err());
        repositories[(dies + 1) % EACH].push_manifest(&signature);
        expected.push(signature.as_referrer());
        let others: Vec<Repository> = (1..EACH)
            .map(|other| repositories[(dies + other) % EACH].clone())
            .collect();
        assert_shown_by_all(&others, &image, &expected);
        replicas.all[dies].s3.set(Mode::Pass);
        replicas.all[dies].regseal.start_again();
        assert_shown_by_all(&repositories, &image, &expected);
        assert_kept(&repositories[dies], &image, &signature);
    }
    eprintln!("{died_in_time} pushes were cut short");
    replicas.have_an_exact_index();
}

#[test]
fn what_a_replica_without_redis_acknowledges_reaches_the_others() {
    let replicas = Replicas::start(EACH);
    let repositories = replicas.repositories(APP);
    let image = repositories[0].push_image("v1");
    let doomed = repositories[1].attach(NOTATION, &image);
    let tag = image.companion_tag(".sig");
    let mut expected = vec![doomed.as_referrer()];
    let mut layers = Vec::new();
    for mode in [Mode::Refuse, Mode::BlackHole, Mode::CutAfter(0)] {
        replicas.cut_from_redis(0, mode);
        let signature = repositories[0].attach(NOTATION, &image);
        expected.push(signature.as_referrer());
        assert_eq!(repositories[0].referrers(&image), expected, "{mode:?}");
        layers.push(append_to_cosign_tag(&repositories[0], &tag));
        for (number, repository) in repositories.iter().enumerate() {
            appears(&format!("it at replica {number}, {mode:?}"), || {
                let read = repository.get_manifest(&tag);
                repository.referrers(&image) == expected
                    && read.status == 200
                    && read.json()["layers"] == json!(layers)
            });
            assert_kept(repository, &image, &signature);
        }
        // And the other way: it sees what is acknowledged where Redis answers.
        let signature = repositories[1].attach(NOTATION, &image);
        expected.push(signature.as_referrer());
        assert_shown_by_all(&repositories, &image, &expected);
        replicas.cut_from_redis(0, Mode::Pass);
    }

    replicas.cut_from_redis(0, Mode::Refuse);
    repositories[0]
        .delete_manifest(&doomed.digest())
        .expect(202);
    for (number, repository) in repositories.iter().enumerate() {
        appears(&format!("its absence at replica {number}"), || {
            let is_gone = repository.get_manifest(&doomed.digest()).status == 404;
            is_gone && repository.referrers(&image) == expected[1..]
        });
    }
    replicas.cut_from_redis(0, Mode::Pass);
    replicas.have_an_exact_index();
}

/// Waits for something without which nothing else is done, and says how long it took.
#[track_caller]
fn appears(what: &str, is_there: impl Fn() -> bool) {
    let since = Instant::now();
    wait_for(what, || is_there().then_some(()));
    eprintln!("{what}: after {:.1?}", since.elapsed());
}

#[test]
fn a_push_and_a_deletion_at_once_end_in_the_same_everywhere() {
    let replicas = Replicas::start(EACH);
    let repositories = replicas.repositories(APP);
    let image = repositories[0].push_image("v1");
    let mut ends = [0, 0];
    for round in 0..rounds(30, 300) {
        let (pusher, deleter) = (round % EACH, (round + 1 + round / EACH % 2) % EACH);
        let signature = repositories[pusher].attach(NOTATION, &image);
        let digest = signature.digest();
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                repositories[pusher].push_manifest(&signature);
            });
            scope.spawn(|| {
                barrier.wait();
                repositories[deleter].delete_manifest(&digest).expect(202);
            });
        });
        let is_there = repositories[pusher].get_manifest(&digest).status == 200;
        ends[usize::from(is_there)] += 1;
        for (number, repository) in repositories.iter().enumerate() {
            let listed = repository.referrers(&image);
            let is_listed = listed.contains(&signature.as_referrer());
            let status = repository.get_manifest(&digest).status;
            assert_eq!(
                (is_listed, status),
                if is_there { (true, 200) } else { (false, 404) },
                "round {round}: {digest} by {number}"
            );
            if is_there {
                assert_kept(repository, &image, &signature);
            }
        }
        if is_there {
            repositories[deleter].delete_manifest(&digest).expect(202);
        }
        assert_shown_by_all(&repositories, &image, &[]);
    }
    eprintln!(
        "deleted, then pushed: {}; the reverse: {}",
        ends[1], ends[0]
    );
    replicas.have_an_exact_index();
}

#[test]
fn a_rolling_restart_under_load_loses_nothing() {
    let mut replicas = Replicas::start(EACH);
    let load = Load::on(&replicas, &Chance::from_environment());
    load.goes_on(10);
    for number in 0..EACH {
        let restart = Fault::ReplicaRestarted(number);
        restart.begin(&mut replicas, &load.ledger);
        load.is_listed(20);
        restart.end(&mut replicas, &load.ledger);
        load.goes_on(10);
    }
    load.finish(&replicas).is_clean();
}

#[test]
fn a_mistake_in_one_replicas_configuration_does_not_disturb_the_others() {
    let replicas = Replicas::start(2);
    let load = Load::on(&replicas, &Chance::from_environment());
    load.goes_on(10);
    for (key, value) in [
        ("INDEX__REDIS__MODE", "twin"),
        ("STORAGE__S3__CHECKSUMS", "never"),
        ("INDEX__REDIS__URL", "http://127.0.0.1"),
    ] {
        let mut command = regseal::command();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--upstream", &replicas.registry.url()])
            .envs(replicas.stores.settings())
            .envs([setting(key, value)]);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{key}: {text}");
        let key = key.to_lowercase().replace("__", ".");
        assert!(text.contains(&key), "{key}: {text}");
    }

    // It starts, since what is wrong could be right tomorrow; and it takes nothing, since it can keep nothing.
    let locked_out = replicas.another(&[("STORAGE__S3__SECRET_ACCESS_KEY", "mistyped")]);
    let repository = locked_out.endpoint.repository(crate::support::ALICE, APP);
    let image = repository.push_image("v1");
    let signature = repository.artifact(NOTATION, Some(&image));
    let refused = repository.put_manifest(&signature.digest(), &signature);
    assert_eq!(refused.status, 503, "{refused:?}");

    // And this one has nobody to answer for the index, as if Redis were down.
    let alone = replicas.another(&[("INDEX__REDIS__URL", "redis://127.0.0.1:9")]);
    let repository = alone.endpoint.repository(crate::support::ALICE, APP);
    let signature = repository.attach(NOTATION, &image);
    assert_kept(&repository, &image, &signature);
    for other in replicas.repositories(APP) {
        appears("it", || {
            other.referrers(&image) == [signature.as_referrer()]
        });
    }
    load.goes_on(10);
    drop((locked_out, alone));
    load.finish(&replicas).is_clean();
}
