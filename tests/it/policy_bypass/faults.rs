//! Registries that fail while regseal looks, and signatures that are not what they say.

use serde_json::json;

use super::signer::payload;
use super::{Keys, PROD, Theatre, config_of_policy, is, list_of, with};
use crate::support::gate::{Gate, Verdict};
use crate::support::images::{BUNDLE, INDEX};
use crate::support::{ALICE, Auth, BOB, Content, Http, Registry, Regseal, Repository};

/// What cannot be looked at is not given away in parts either.
#[test]
fn a_registry_that_refuses_the_whole_of_a_blob_gives_no_part_of_it() {
    let registry = Registry::with(Auth::None);
    let gate = Gate::before(&registry);
    let (config, _files) = config_of_policy(&Keys::new());
    let regseal = Regseal::at(&gate.endpoint).config(&config).start();
    let behind = registry.endpoint.repository(ALICE, "prod/app");
    let image = behind.image();
    behind.push_blob(&image);
    let part = ("Range", "bytes=0-100000");
    for status in [429, 500, 416] {
        gate.rule(move |asked| {
            let is_whole =
                asked.path.contains("/blobs/sha256:") && asked.header("Range").is_empty();
            match asked.user().as_deref() {
                _ if asked.method == "GET" && is_whole => {
                    Verdict::refuse(status, "TOOMANYREQUESTS", asked)
                }
                Some("bob") if asked.method != "GET" && asked.method != "HEAD" => {
                    Verdict::refuse(403, "DENIED", asked)
                }
                _ => Verdict::Pass,
            }
        });
        let [bare, sealed] = [&gate.endpoint, &regseal.endpoint].map(|endpoint| {
            let bob = endpoint.repository(BOB, "prod/app");
            let path = bob.path(&format!("blobs/{}", image.digest()));
            bob.http.request("GET", &path, &[part], "")
        });
        assert_eq!((bare.status, &bare.body), (206, &image.bytes), "{status}");
        assert!(sealed.status >= 400, "{status}: {sealed:?}");
        assert_ne!(sealed.body, image.bytes, "{status}");
    }
}

/// A referrer that the registry has, whose layer is larger than its manifest says.
fn lie(repository: &Repository, subject: &Content) {
    let image = repository.image();
    let layer = Content::new(BUNDLE, vec![b' '; 9 << 20]);
    repository.push_blob(&layer);
    let mut descriptor = layer.descriptor();
    descriptor["size"] = json!(100);
    let lie = with(
        &image,
        json!({"artifactType": BUNDLE, "layers": [descriptor], "subject": subject.descriptor()}),
    );
    repository.push_manifest(&lie);
}

/// It counts for nothing, and keeps nobody from being told so or from signing.
#[test]
fn a_signature_that_lies_about_its_size_stands_in_nobodys_way() {
    let theatre = Theatre::open();
    let of = |user| theatre.regseal.endpoint.repository(user, "prod/lie");
    let (alice, bob) = (of(ALICE), of(BOB));
    let image = alice.image();
    lie(&alice, &image);
    alice.put_manifest("v1", &image).refused(403, "DENIED");
    alice.get_manifest(&image.digest()).expect(200);
    theatre.keys.build.sign_image(&alice, &image);
    alice.put_manifest("v1", &image).expect(201);
    assert!(is(&bob.get_manifest("v1"), &image));

    let either = theatre.regseal.endpoint.repository(ALICE, "either/lie");
    let child = either.image();
    either.push_manifest(&child);
    theatre.keys.build.sign_image(&either, &child);
    let index = list_of(INDEX, &[&child]);
    lie(&either, &index);
    either.put_manifest("v1", &index).expect(201);
}

/// Where what counts for nobody is refused, it is refused beside what is good, too; what was there is no hindrance.
#[test]
fn junk_is_refused_beside_a_good_signature() {
    let theatre = Theatre::open();
    let alice = theatre.regseal.endpoint.repository(ALICE, "picky/app");
    let image = alice.image();
    alice.push_manifest(&image);
    let tag = image.companion_tag(".sig");
    let good = theatre.keys.build.signature_tag(&alice, &payload(&image));
    let junk = theatre
        .keys
        .stranger
        .signature_tag(&alice, &payload(&image));
    alice.put_manifest(&tag, &junk).refused(403, "DENIED");
    alice.put_manifest(&tag, &good).expect(201);
    let of = |manifest: &Content| manifest.json()["layers"][0].clone();
    let both = with(&good, json!({"layers": [of(&good), of(&junk)]}));
    alice.put_manifest(&tag, &both).refused(403, "DENIED");
    let again = theatre.keys.audit.signature_tag(&alice, &payload(&image));
    let more = with(&good, json!({"layers": [of(&good), of(&again)]}));
    alice.put_manifest(&tag, &more).expect(201);
    alice.put_manifest("v1", &image).expect(201);
    let repository = format!("{PROD}/other");
    let alice = theatre.regseal.endpoint.repository(ALICE, &repository);
    let image = alice.image();
    alice.push_manifest(&image);
    let junk = theatre
        .keys
        .stranger
        .signature_tag(&alice, &payload(&image));
    alice
        .put_manifest(&image.companion_tag(".sig"), &junk)
        .expect(201);
}

/// What a registry, or a page before it, says to one caller is nothing that is known of the content.
#[test]
fn what_another_caller_was_answered_opens_nothing() {
    let registry = Registry::with(Auth::None);
    let gate = Gate::before(&registry);
    let (config, _files) = config_of_policy(&Keys::new());
    let regseal = Regseal::at(&gate.endpoint).config(&config).start();
    let behind = registry.endpoint.repository(ALICE, "prod/app");
    let image = behind.image();
    behind.push_blob(&image);
    gate.rule(|asked| {
        let is_read = asked.method == "GET" || asked.method == "HEAD";
        match asked.user().as_deref() {
            Some("eve") if asked.path.contains("/blobs/") => {
                let page = vec![("Content-Type", "text/html".to_owned())];
                Verdict::Answer(200, page, "<html>who are you?</html>".to_owned())
            }
            _ if is_read => Verdict::Pass,
            _ => Verdict::refuse(403, "DENIED", asked),
        }
    });
    let authority = &regseal.endpoint.authority;
    let eve = Http::new(authority).basic("eve", "x");
    let path = behind.path(&format!("blobs/{}", image.digest()));
    for _ in 0..2 {
        let reply = Http::new(authority).get(&path);
        assert!(reply.status >= 400, "{reply:?}");
        eve.get(&path);
    }
}
