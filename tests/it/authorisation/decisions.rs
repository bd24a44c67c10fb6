//! What is a yes of the registry, for whom and how long, and what it costs to ask.

use std::thread;

use http::Method;

use super::{APP, errors, in_capitals};
use crate::bypass::{Signed, assert_nothing_shown};
use crate::support::gate::{Gate, Gated, Verdict};
use crate::support::images::{ACCEPT, NOTATION, SBOM};
use crate::support::raw::Connection;
use crate::support::{
    ALICE, Auth, BOB, Content, EVE, Http, Registry, Regseal, Repository, User, wait_for,
};

#[test]
fn who_gives_no_name_reads_and_does_not_write() {
    let stage = Gated::before(Registry::with(Auth::None));
    stage.gate.rule(in_capitals);
    let alice = stage.repository(APP);
    let signed = Signed::at(&alice);
    let forged = alice.artifact(NOTATION, Some(&signed.image));
    let anonymous = Repository::new(stage.regseal.endpoint.anonymous(), APP);
    for path in signed.paths() {
        anonymous.http.get(&anonymous.path(&path)).expect(200);
    }
    for (reference, manifest) in [
        (forged.digest(), &forged),
        (signed.image.companion_tag(".sig"), &signed.cosign),
        (signed.image.companion_tag(""), &forged),
    ] {
        let refused = anonymous.put_manifest(&reference, manifest);
        let challenge = refused.refused(401, "UNAUTHORIZED");
        let challenge = challenge.header("www-authenticate").to_owned();
        assert_eq!(
            challenge,
            "BASIC realm=\"Sonatype Nexus Repository Manager\""
        );
    }
    anonymous
        .delete_manifest(&signed.signature.digest())
        .expect(401);
    // Who gives a wrong name does not even read.
    let eve = stage.regseal.endpoint.repository(EVE, APP);
    for path in signed.paths() {
        let reply = eve.http.get(&eve.path(&path)).expect(401);
        assert_nothing_shown(&reply, &signed);
    }
    assert_eq!(
        alice.referrers(&signed.image),
        [signed.signature.as_referrer()]
    );
}

#[test]
fn what_is_not_a_clear_yes_is_none() {
    let stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository(APP);
    let signed = Signed::at(&repository);
    let page = "<html>log in</html>";
    let to = |status, location: &str| (status, vec![("Location", location.to_owned())], "");
    let html = vec![("Content-Type", "text/html; charset=utf-8".to_owned())];
    let wait = vec![("Retry-After", "0".to_owned())];
    for (number, (status, headers, body)) in [
        (200, html.clone(), page),
        (201, html.clone(), page),
        (202, html.clone(), page),
        (203, html, page),
        to(301, "https://elsewhere.invalid/v2/"),
        to(302, "https://elsewhere.invalid/login"),
        to(303, "/login"),
        to(307, "https://elsewhere.invalid/v2/"),
        to(308, "/login"),
        (400, vec![], ""),
        (401, vec![], ""),
        (402, vec![], ""),
        (403, vec![], ""),
        (404, vec![], ""),
        (405, vec![], ""),
        (406, vec![], ""),
        (410, vec![], ""),
        (429, wait, ""),
        (451, vec![], ""),
        (500, vec![], ""),
        (501, vec![], ""),
        (503, vec![], ""),
    ]
    .into_iter()
    .enumerate()
    {
        stage.gate.rule(move |asked| match asked.user().as_deref() {
            Some("alice") => Verdict::Pass,
            _ if asked.path == "/login" => {
                let html = vec![("Content-Type", "text/html".to_owned())];
                Verdict::Answer(200, html, page.to_owned())
            }
            _ => Verdict::Answer(status, headers.clone(), body.to_owned()),
        });
        let name = format!("stranger-{number}");
        let stranger = Http::new(&stage.regseal.endpoint.authority).basic(&name, "x");
        // Twice: the first may have taught something.
        for _ in 0..2 {
            for path in signed.paths() {
                for method in ["GET", "HEAD"] {
                    let path = repository.path(&path);
                    let reply = stranger.request(method, &path, &[ACCEPT], "");
                    assert_nothing_shown(&reply, &signed);
                    let of_store = reply.header("x-content-type-options") == "nosniff";
                    assert!(!of_store, "{status}: {reply:?}");
                    if [401, 403, 429].contains(&status) {
                        assert_eq!(reply.status, status, "{reply:?}");
                    }
                }
            }
            let stranger = Repository::new(stranger.clone(), APP);
            for kind in [NOTATION, SBOM] {
                let forged = repository.artifact(kind, Some(&signed.image));
                let reply = stranger.put_manifest(&forged.digest(), &forged);
                assert!(reply.status >= 300, "{status}, {kind}: {reply:?}");
            }
            for digest in [signed.signature.digest(), signed.image.digest()] {
                let path = repository.path(&format!("manifests/{digest}"));
                let reply = stranger.http.delete(&path);
                assert!(reply.status >= 300, "{status}: {reply:?}");
            }
            assert_eq!(
                repository.referrers(&signed.image),
                [signed.signature.as_referrer()],
                "after {status}"
            );
            repository
                .get_manifest(&signed.signature.digest())
                .expect(200);
        }
    }
}

#[test]
fn many_who_ask_at_once_cost_one_question() {
    let stage = Gated::before(Registry::with(Auth::None));
    let signed = Signed::at(&stage.repository(APP));
    let subject = format!("/v2/{APP}/manifests/{}", signed.image.digest());
    stage.gate.rule(|asked| match asked.method {
        Method::HEAD => Verdict::PassAfter(std::time::Duration::from_millis(200)),
        _ => Verdict::Pass,
    });
    let questions = |user: User| {
        stage.gate.seen();
        thread::scope(|scope| {
            for path in [0; 20].map(|_| format!("manifests/{}", signed.signature.digest())) {
                let repository = stage.regseal.endpoint.repository(user, APP);
                scope.spawn(move || repository.http.get(&repository.path(&path)).expect(200));
            }
        });
        let seen = stage.gate.seen();
        assert!(seen.iter().all(|asked| asked.path == subject), "{seen:?}");
        seen.len()
    };
    for user in [BOB, EVE] {
        assert_eq!(
            questions(user),
            1,
            "{user:?}: HEAD of the subject, and nothing else"
        );
    }
}

/// A limit is the caller's own, is passed on with its time, and makes no questions but those of the caller.
#[test]
fn who_has_to_wait_is_not_asked_about() {
    let stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository(APP);
    let signed = Signed::at(&repository);
    stage.gate.rule(|asked| {
        if asked.user().as_deref() != Some("eve") {
            return Verdict::Pass;
        }
        let wait = vec![("Retry-After", "40".to_owned())];
        Verdict::Answer(429, wait, errors("TOOMANYREQUESTS"))
    });
    let [eve, bob] = [EVE, BOB].map(|user| stage.regseal.endpoint.repository(user, APP));
    for (count, path) in signed.paths().iter().chain(&signed.paths()).enumerate() {
        stage.gate.seen();
        let reply = eve.http.get(&eve.path(path));
        assert_nothing_shown(&reply, &signed);
        let reply = reply.refused(429, "TOOMANYREQUESTS");
        let told: u64 = reply.header("retry-after").parse().unwrap();
        assert!((1..=40).contains(&told), "{reply:?}");
        assert_eq!(stage.gate.seen().len(), usize::from(count == 0), "{path}");
    }
    // What she sends herself goes on, once.
    stage.gate.seen();
    eve.get_manifest("v1").refused(429, "TOOMANYREQUESTS");
    eve.http
        .request("POST", &eve.path("blobs/uploads/"), &[], "")
        .expect(429);
    assert_eq!(stage.gate.seen().len(), 2);
    for path in signed.paths() {
        bob.http.get(&bob.path(&path)).expect(200);
    }
}

/// What the registry is told of a limit counts, whoever has asked: a request of the client, or regseal itself.
#[test]
fn a_limit_of_what_the_client_sends_holds_questions_back() {
    let stage = Gated::before(Registry::with(Auth::None));
    let signed = Signed::at(&stage.repository(APP));
    stage.gate.rule(|asked| {
        if asked.user().as_deref() == Some("eve") && asked.path.ends_with("/manifests/v1") {
            let wait = vec![("Retry-After", "40".to_owned())];
            return Verdict::Answer(429, wait, errors("TOOMANYREQUESTS"));
        }
        Verdict::Pass
    });
    let eve = stage.regseal.endpoint.repository(EVE, APP);
    eve.get_manifest("v1").expect(429);
    stage.gate.seen();
    eve.get_referrers(&signed.image.digest(), "")
        .refused(429, "TOOMANYREQUESTS");
    assert_eq!(stage.gate.seen().len(), 0);
}

#[test]
fn a_right_that_was_taken_away_ends_on_every_path() {
    let registry = Registry::with(Auth::None);
    let gate = Gate::before(&registry);
    let regseal = Regseal::at(&gate.endpoint)
        .config("auth: {cache_ttl: 1s}\n")
        .start();
    let [alice, bob] = [ALICE, BOB].map(|user| regseal.endpoint.repository(user, APP));
    let signed = Signed::at(&alice);
    let forged = alice.artifact(NOTATION, Some(&signed.image));
    for path in signed.paths() {
        bob.http.get(&bob.path(&path)).expect(200);
    }
    bob.push_blob(&Content::random("application/octet-stream"));
    gate.rule(|asked| match asked.user().as_deref() {
        Some("bob") => Verdict::refuse(403, "DENIED", asked),
        _ => Verdict::Pass,
    });
    for path in signed.paths() {
        wait_for("the end of what was decided", || {
            (bob.http.get(&bob.path(&path)).status == 403).then_some(())
        });
    }
    wait_for("the end of the right to push", || {
        let again = bob.put_manifest(&signed.signature.digest(), &signed.signature);
        (again.status == 403).then_some(())
    });
    let refused = bob.put_manifest(&forged.digest(), &forged);
    assert_nothing_shown(&refused.refused(403, "DENIED"), &signed);
    bob.delete_manifest(&signed.signature.digest()).expect(403);
    assert_eq!(
        alice.referrers(&signed.image),
        [signed.signature.as_referrer()]
    );
}

/// Whoever has to give a name is told so before the body has come.
#[test]
fn a_push_without_a_name_is_refused_before_its_body_is_read() {
    for auth in [Auth::Basic, Auth::Token] {
        let registry = Registry::with(auth);
        let regseal = Regseal::before(&registry);
        let authority = &regseal.endpoint.authority;
        for reference in ["v1", &Content::random("").digest()] {
            let mut connection = Connection::to(authority);
            connection.send(format!(
                "PUT /v2/{APP}/manifests/{reference} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 1000\r\n\
                 Expect: 100-continue\r\n\r\n"
            ));
            let reply = connection.receive().refused(401, "UNAUTHORIZED");
            assert!(!reply.header("www-authenticate").is_empty(), "{reply:?}");
        }
        // Also where the body comes all the same.
        let large = Content::new("application/json", vec![b' '; 3 << 20]);
        let nobody = Repository::new(Http::new(authority), APP);
        nobody
            .put_manifest("v1", &large)
            .refused(401, "UNAUTHORIZED");
    }
}
