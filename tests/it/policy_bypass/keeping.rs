//! What was rejected and is kept for a while is for those alone who may sign it.

use serde_json::json;

use super::{Case, Keys, PROD, Theatre, World, config_of_policy, is, list_of};
use crate::support::gate::{Gate, Verdict};
use crate::support::http::Access;
use crate::support::images::{ACCEPT, INDEX};
use crate::support::{
    ALICE, Auth, BOB, CAROL, Content, EVE, Http, Registry, Regseal, Repository, wait_for,
};

const CASES: &[Case] = &[
    Case("B-153", "by digest, by who may pull", |world| {
        let image = rejected(world);
        world.pulls_by_digest(PROD, &image)
    }),
    Case("B-154", "by HEAD and digest, by who may pull", |world| {
        let image = rejected(world);
        let path = format!("manifests/{}", image.digest());
        world.asks("HEAD", PROD, &path, &[ACCEPT]).status == 200
    }),
    Case(
        "B-155",
        "by digest, with a token of another repository",
        |world| {
            let image = rejected(world);
            let issuer = world.theatre.registry.tokens().issuer();
            let own = format!("repository:{}:pull", world.name(PROD));
            // The bare registry looks at nothing but the actions of this repository.
            let scopes = [own.as_str(), "repository:carol/app:pull,push"];
            let http = Http::new(&world.endpoint().authority)
                .bearer(&issuer.token(Some(ALICE.name), &scopes));
            let repository = Repository::new(http, &world.name(PROD));
            is(&world.saw(repository.get_manifest(&image.digest())), &image)
        },
    ),
    Case("B-156", "a rejected index, by who may pull", |world| {
        let (index, _) = rejected_index(world);
        world.pulls_by_digest(PROD, &index)
    }),
    Case(
        "B-157",
        "a child of a rejected index, by who may pull",
        |world| {
            let (_, image) = rejected_index(world);
            world.pulls_by_digest(PROD, &image)
        },
    ),
    Case("B-158", "by its tag, by who may push", |world| {
        let image = rejected(world);
        is(&world.saw(world.attacker(PROD).get_manifest("v1")), &image)
    }),
];

#[test]
fn nothing_kept_is_shown_to_who_may_not_sign() {
    Theatre::open().run(CASES);
}

/// Whoever may push is shown it; the others are not, and nobody once its time is over.
#[test]
fn what_is_kept_is_shown_to_signers_until_its_time_is_over() {
    let theatre = Theatre::open();
    let of = |user, name: &str| theatre.regseal.endpoint.repository(user, name);
    let alice = of(ALICE, "prod/kept");
    let image = alice.image();
    alice.put_manifest("v1", &image).refused(403, "DENIED");
    assert!(is(&alice.get_manifest(&image.digest()), &image));
    for (user, status) in [(BOB, 404), (CAROL, 401), (EVE, 401)] {
        let reply = of(user, "prod/kept").get_manifest(&image.digest());
        assert_eq!(reply.status, status, "{}: {reply:?}", user.name);
    }
    let anonymous = Repository::new(theatre.regseal.endpoint.anonymous(), "prod/kept");
    anonymous.get_manifest(&image.digest()).expect(401);

    // Nowhere else, not as a blob, and not by its tag, also to who may push.
    of(ALICE, "prod/other")
        .get_manifest(&image.digest())
        .expect(404);
    alice.get_blob(&image.digest()).expect(404);
    alice.get_manifest("v1").expect(404);
    // What the victim tries to push is kept for nobody.
    let other = alice.image();
    assert_ne!(of(BOB, "prod/kept").put_manifest("v2", &other).status, 201);
    alice.get_manifest(&other.digest()).expect(404);

    // Where pulls are allowed whatever they are, signing comes first all the same.
    let allowed = of(ALICE, "open-pull/kept");
    let image = allowed.image();
    allowed.put_manifest("v1", &image).refused(403, "DENIED");
    assert!(is(&allowed.get_manifest(&image.digest()), &image));
    let bob = of(BOB, "open-pull/kept");
    bob.get_manifest(&image.digest()).expect(404);

    let brief = of(ALICE, "brief/kept");
    let image = brief.image();
    brief.put_manifest("v1", &image).refused(403, "DENIED");
    wait_for("the end of what is kept", || {
        (brief.get_manifest(&image.digest()).status == 404).then_some(())
    });
}

/// Passwords do not say what their owner may do: the answer of the registry to a push does.
#[test]
fn with_passwords_only_who_may_push_is_shown_what_is_kept() {
    let registry = Registry::with(Auth::None);
    let gate = Gate::before(&registry);
    gate.rule(|asked| match asked.user().as_deref() {
        Some("alice") => Verdict::Pass,
        Some("bob") if ["GET", "HEAD"].contains(&asked.method.as_str()) => Verdict::Pass,
        Some(_) => Verdict::refuse(403, "DENIED", asked),
        None => Verdict::refuse(401, "UNAUTHORIZED", asked),
    });
    let (config, _files) = config_of_policy(&Keys::new());
    let regseal = Regseal::at(&gate.endpoint).config(&config).start();
    assert!(matches!(regseal.endpoint.access, Access::Passwords));
    let of = |user| regseal.endpoint.repository(user, "prod/app");

    let image = of(ALICE).image();
    of(ALICE).put_manifest("v1", &image).refused(403, "DENIED");
    let other = of(ALICE).image();
    of(ALICE).push_manifest(&other);
    for hidden in [&image, &other] {
        for _ in 0..2 {
            assert!(is(&of(ALICE).get_manifest(&hidden.digest()), hidden));
            let bob = of(BOB).get_manifest(&hidden.digest());
            assert!([403, 404].contains(&bob.status), "{bob:?}");
            let eve = of(EVE).get_manifest(&hidden.digest());
            assert!([401, 403].contains(&eve.status), "{eve:?}");
        }
    }
}

/// A manifest that was pushed by a tag and rejected, if there is a policy.
fn rejected(world: &World<'_>) -> Content {
    let attacker = world.attacker(PROD);
    let image = world.unsigned(&attacker);
    let pushed = attacker.put_manifest("v1", &image);
    assert_eq!(
        pushed.status,
        if world.is_sealed { 403 } else { 201 },
        "{pushed:?}"
    );
    image
}

fn rejected_index(world: &World<'_>) -> (Content, Content) {
    let attacker = world.attacker(PROD);
    let image = world.unsigned(&attacker);
    attacker.push_manifest(&image);
    let index = super::with(
        &list_of(INDEX, &[&image]),
        json!({"annotations": {"salt": world.name("salt")}}),
    );
    world.is_secret(&index);
    attacker.put_manifest("v1", &index);
    (index, image)
}
