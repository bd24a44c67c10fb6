//! What the registry behind lists itself: merged once, noticed when it changes there, and believed for names only.

use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};

use crate::companion_tags::cosign_signature;
use crate::support::gate::{Asked, Gate, Verdict};
use crate::support::images::{
    self, INDEX, MANIFEST, NOTATION, SBOM, digests, index_of, random_hex,
};
use crate::support::{ALICE, Auth, Content, Registry, Regseal, Repository, wait_for};

const APP: &str = "team/app";
/// So that what changes in the registry is looked for again at once.
const REFRESH: &str = "capture: {refresh: 1ms}\n";

/// A registry, a gate before it, and a regseal that looks again at every read.
pub(crate) struct Stage {
    regseal: Regseal,
    pub(crate) gate: Gate,
    registry: Registry,
}

impl Stage {
    pub(crate) fn before(registry: Registry) -> Self {
        let gate = Gate::before(&registry);
        let regseal = Regseal::at(&gate.endpoint).config(REFRESH).start();
        Self {
            regseal,
            gate,
            registry,
        }
    }

    pub(crate) fn repository(&self) -> Repository {
        self.regseal.endpoint.repository(ALICE, APP)
    }

    pub(crate) fn behind(&self) -> Repository {
        self.registry.endpoint.repository(ALICE, APP)
    }
}

/// Waits until exactly these are listed; the background may be at work still.
#[track_caller]
pub(crate) fn comes_to_list(
    repository: &Repository,
    image: &Content,
    expected: &[&Content],
    why: &str,
) {
    let descriptors: Vec<Value> = expected.iter().map(|one| one.as_referrer()).collect();
    let expected = digests(&descriptors);
    wait_for(why, || {
        (digests(&repository.referrers(image)) == expected).then_some(())
    });
}

fn is_list(asked: &Asked) -> bool {
    asked.path.contains("/referrers/")
}

#[test]
fn what_the_registry_itself_lists_is_merged_and_followed() {
    let stage = Stage::before(Registry::with_referrers_api());
    let (repository, behind) = (stage.repository(), stage.behind());
    let image = behind.push_image("v1");
    let before: Vec<Content> = [NOTATION, SBOM]
        .map(|kind| behind.attach(kind, &image))
        .into();
    assert_eq!(
        digests(&repository.referrers(&image)),
        digests(&[before[0].as_referrer(), before[1].as_referrer()])
    );
    let through = repository.attach(NOTATION, &image);
    let listed = repository.referrers(&image);
    assert_eq!(listed.len(), 3, "pushed to both, listed once: {listed:?}");
    for one in before.iter().chain([&through]) {
        assert!(listed.contains(&one.as_referrer()));
    }

    let later = behind.attach(SBOM, &image);
    let all = [&before[0], &before[1], &through, &later];
    comes_to_list(&repository, &image, &all, "what was attached there");
    behind.delete_manifest(&before[1].digest()).expect(202);
    let left = [&before[0], &through, &later];
    comes_to_list(&repository, &image, &left, "what was deleted there to go");

    // Deleted through regseal, and pushed there again behind its back: that is not a push to regseal.
    repository.delete_manifest(&later.digest()).expect(202);
    behind.push_manifest(&later);
    for _ in 0..3 {
        comes_to_list(&repository, &image, &[&before[0], &through], "a tombstone");
    }
}

#[test]
fn a_referrers_api_that_comes_or_goes_is_noticed() {
    let stage = Stage::before(Registry::with_referrers_api());
    let (repository, behind) = (stage.repository(), stage.behind());
    let image = behind.push_image("v1");
    let old = behind.attach(SBOM, &image);
    let refuse = |asked: &Asked| match is_list(asked) {
        true => Verdict::refuse(404, "NOT_FOUND", asked),
        false => Verdict::Pass,
    };
    stage.gate.rule(refuse);
    assert_eq!(repository.referrers(&image), Vec::<Value>::new());
    stage.gate.open();
    comes_to_list(&repository, &image, &[&old], "the API to be found");
    stage.gate.rule(refuse);
    let new = repository.attach(NOTATION, &image);
    for _ in 0..3 {
        comes_to_list(&repository, &image, &[&old, &new], "both kept without it");
    }
    repository.get_manifest(&new.digest()).expect(200);
}

/// A status is no proof of support, nor is a header.
#[test]
fn what_only_looks_like_the_api_is_not_believed() {
    let html = |status: u16| {
        let headers = vec![("Content-Type", "text/html".to_owned())];
        Verdict::Answer(status, headers, "<p>welcome</p>".to_owned())
    };
    let stage = Stage::before(Registry::with(Auth::None));
    let (repository, behind) = (stage.repository(), stage.behind());
    let image = behind.push_image("v1");
    let old = behind.attach(NOTATION, &image);
    let tag = image.companion_tag("");
    behind.put_manifest(&tag, &index_of([&old])).expect(201);
    let elsewhere = stage.gate.endpoint.authority.clone();
    let empty = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).to_string();
    type Answer = Box<dyn Fn() -> Verdict + Send + Sync>;
    let answers: [(&str, Answer); 5] = [
        ("a page for everything", Box::new(move || html(200))),
        (
            "an empty list as plain JSON",
            Box::new(move || {
                let headers = vec![("Content-Type", "application/json".to_owned())];
                Verdict::Answer(200, headers, empty.clone())
            }),
        ),
        (
            "a way to a page that is then limited",
            Box::new(move || {
                let to = format!("http://{elsewhere}/people");
                Verdict::Answer(303, vec![("Location", to)], String::new())
            }),
        ),
        ("a type it does not offer", Box::new(move || html(406))),
        ("a method it does not know", Box::new(move || html(405))),
    ];
    for (why, answer) in answers {
        stage.gate.rule(move |asked| match asked.path.as_str() {
            "/people" => Verdict::refuse(429, "TOOMANYREQUESTS", asked),
            _ if is_list(asked) => answer(),
            _ => Verdict::Pass,
        });
        let reply = repository.get_referrers(&image.digest(), "").expect(200);
        assert_eq!(
            reply.json()["manifests"],
            json!([old.as_referrer()]),
            "{why}"
        );
        assert_eq!(reply.header("warning"), "", "{why}");
        let image = behind.push_image("v2");
        let signature = repository.attach(NOTATION, &image);
        let status = behind.get_manifest(&signature.digest()).status;
        assert_eq!(status, 404, "{why}: a signature is kept here alone");
    }
}

/// Some registries confirm a subject and list nothing.
#[test]
fn a_subject_that_the_registry_confirms_is_listed_by_regseal() {
    let stage = Stage::before(Registry::with(Auth::None));
    let (repository, behind) = (stage.repository(), stage.behind());
    let image = repository.push_image("v1");
    let sbom = repository.artifact(SBOM, Some(&image));
    behind.push_manifest(&sbom);
    let digest = sbom.digest();
    let answered = sbom.digest();
    stage.gate.rule(move |asked| {
        if asked.method == Method::PUT && asked.path.ends_with(&digest) {
            let confirmed = format!("sha256:{}", "0".repeat(64));
            let headers = vec![
                ("OCI-Subject", confirmed),
                ("Docker-Content-Digest", digest.clone()),
            ];
            return Verdict::Answer(201, headers, String::new());
        }
        Verdict::Pass
    });
    let reply = repository.put_manifest(&answered, &sbom).expect(201);
    let confirmed: Vec<_> = reply.headers.get_all("oci-subject").iter().collect();
    assert_eq!(confirmed, [image.digest().as_str()]);
    assert_eq!(repository.referrers(&image), [sbom.as_referrer()]);
}

/// With the shapes of `Link` that registries use, and one that sends elsewhere.
#[test]
fn all_pages_of_what_the_registry_lists_are_read() {
    let stage = Stage::before(Registry::with(Auth::None));
    let (repository, behind) = (stage.repository(), stage.behind());
    let image = behind.push_image("v1");
    let all: Vec<Content> = (0..5).map(|_| behind.attach(SBOM, &image)).collect();
    let path = behind.path(&format!("referrers/{}", image.digest()));
    let host = stage.gate.endpoint.authority.clone();
    let links = [
        format!("<{path}?page=1>; rel=\"next\""),
        format!("<{path}>; rel=\"first\", <http://{host}{path}?page=2>; rel=\"next\""),
        "<?page=3>; rel=next".to_owned(),
        format!("<{path}?page=3>; rel=\"prev\", <{path}?page=4>; title=\"x\"; rel=\"next\""),
        "<http://192.0.2.1/v2/elsewhere>; rel=\"next\"".to_owned(),
    ];
    let entries: Vec<Value> = all.iter().map(Content::descriptor).collect();
    stage.gate.rule(move |asked| {
        if !is_list(asked) {
            return Verdict::Pass;
        }
        let mut headers = vec![("Content-Type", INDEX.to_owned())];
        let mut manifests = Vec::new();
        if asked.path.starts_with(&path) {
            let page = asked.path.rsplit_once("page=");
            let page: usize = page.map_or(0, |(_, page)| page.parse().unwrap());
            headers.push(("Link", links[page].clone()));
            // The one before is repeated, as lists do that moved meanwhile.
            manifests = entries[page.saturating_sub(1)..=page].to_vec();
        }
        let body = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        Verdict::Answer(200, headers, body.to_string())
    });
    let listed = repository.referrers(&image);
    let expected: Vec<Value> = all.iter().map(Content::as_referrer).collect();
    assert_eq!(listed.len(), expected.len());
    assert_eq!(digests(&listed), digests(&expected));
}

/// A registry that is asked for one manifest and gives another lists nothing by it.
#[test]
fn an_entry_is_what_its_bytes_say() {
    let stage = Stage::before(Registry::with(Auth::None));
    let (repository, behind) = (stage.repository(), stage.behind());
    let image = behind.push_image("v1");
    let other = behind.push_image("v2");
    let [genuine, forged] = [(); 2].map(|()| behind.attach(NOTATION, &image));
    let foreign = behind.attach(NOTATION, &other);
    let gone = Content::random(MANIFEST);
    let mut told = genuine.as_referrer();
    told["annotations"] = json!({"told": "by the index"});
    told["size"] = json!(1);
    let entries = [
        told,
        forged.as_referrer(),
        foreign.as_referrer(),
        other.descriptor(),
        gone.descriptor(),
    ];
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    let path = behind.path(&format!("manifests/{}", image.companion_tag("")));
    let forged_path = behind.path(&format!("manifests/{}", forged.digest()));
    let bytes = String::from_utf8(genuine.bytes.to_vec()).unwrap();
    let accepts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&accepts);
    stage.gate.rule(move |asked| {
        if asked.path == path {
            seen.lock().unwrap().push(asked.header("Accept").to_owned());
            let headers = vec![("Content-Type", INDEX.to_owned())];
            return Verdict::Answer(200, headers, index.to_string());
        }
        if asked.path == forged_path {
            let headers = vec![("Content-Type", MANIFEST.to_owned())];
            return Verdict::Answer(200, headers, bytes.clone());
        }
        Verdict::Pass
    });
    assert_eq!(repository.referrers(&image), [genuine.as_referrer()]);
    let tag = repository
        .get_manifest(&image.companion_tag(""))
        .expect(200);
    assert_eq!(tag.json()["manifests"], json!([genuine.as_referrer()]));
    for accept in accepts.lock().unwrap().iter() {
        for kind in [
            MANIFEST,
            INDEX,
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.distribution.manifest.list.v2+json",
        ] {
            assert!(accept.contains(kind), "{kind} in {accept}");
        }
    }
}

/// Some registries take the tag `sha256-<hex>` for the digest, and answer with the subject itself: an image, or an index
/// whose children are no referrers.
#[test]
fn the_subject_itself_is_no_list_of_its_referrers() {
    let stage = Stage::before(Registry::with(Auth::None));
    let (repository, behind) = (stage.repository(), stage.behind());
    let child = behind.push_image("v1");
    let index = index_of([&child]);
    behind.put_manifest("v2", &index).expect(201);
    for subject in [&child, &index] {
        let tag = behind.path(&format!("manifests/{}", subject.companion_tag("")));
        let (media_type, bytes) = (subject.media_type.clone(), subject.bytes.clone());
        stage.gate.rule(move |asked| {
            if asked.path != tag {
                return Verdict::Pass;
            }
            let headers = vec![("Content-Type", media_type.clone())];
            Verdict::Answer(200, headers, String::from_utf8(bytes.to_vec()).unwrap())
        });
        assert_eq!(repository.referrers(subject), Vec::<Value>::new());
        let signature = repository.attach(NOTATION, subject);
        assert_eq!(repository.referrers(subject), [signature.as_referrer()]);
        let read = repository.get_manifest(&subject.companion_tag(""));
        let read = read.expect(200).json();
        assert_eq!(read["manifests"], json!([signature.as_referrer()]));
    }
}

/// Some registries refuse a manifest whose subject is absent, with one status or another.
#[test]
fn what_the_registry_refuses_for_its_subject_is_kept_here() {
    let stage = Stage::before(Registry::with(Auth::None));
    let (repository, behind) = (stage.repository(), stage.behind());
    behind.push_image("v1");
    for (status, code) in [
        (400, "MANIFEST_BLOB_UNKNOWN"),
        (404, "BLOB_UNKNOWN"),
        (405, "UNSUPPORTED"),
        (422, "MANIFEST_INVALID"),
    ] {
        let absent = Content::new(MANIFEST, random_hex(16));
        let sbom = repository.artifact(SBOM, Some(&absent));
        let path = behind.path(&format!("manifests/{}", sbom.digest()));
        stage.gate.rule(move |asked| {
            if asked.method == Method::PUT && asked.path == path {
                return Verdict::refuse(status, code, asked);
            }
            Verdict::Pass
        });
        let reply = repository.put_manifest(&sbom.digest(), &sbom).expect(201);
        assert_eq!(reply.header("oci-subject"), absent.digest(), "{status}");
        assert_eq!(repository.referrers(&absent), [sbom.as_referrer()]);
        let read = repository.get_manifest(&sbom.digest()).expect(200);
        assert_eq!(read.body, sbom.bytes, "{status}");
        behind.get_manifest(&sbom.digest()).expect(404);
    }
}

#[test]
fn tags_that_are_written_in_the_registry_later_are_noticed() {
    let stage = Stage::before(Registry::with(Auth::None));
    let (repository, behind) = (stage.repository(), stage.behind());
    let image = repository.push_image("v1");
    let (tag, cosign) = (image.companion_tag(""), image.companion_tag(".sig"));
    assert_eq!(repository.referrers(&image), Vec::<Value>::new());
    repository.get_manifest(&cosign).expect(404);

    let [first, second] = [(); 2].map(|()| behind.attach(NOTATION, &image));
    for list in [vec![&first], vec![&first, &second]] {
        let index = index_of(list.clone());
        behind.put_manifest(&tag, &index).expect(201);
        comes_to_list(&repository, &image, &list, "what the tag lists there");
        let read = repository.get_manifest(&tag).expect(200).json();
        assert_eq!(read["manifests"].as_array().unwrap().len(), list.len());
    }
    // What has gone there, from the list and for good, is gone here; what is only listed no more is a referrer still.
    behind.put_manifest(&tag, &index_of([])).expect(201);
    for _ in 0..3 {
        comes_to_list(&repository, &image, &[&first, &second], "both");
    }
    behind.delete_manifest(&second.digest()).expect(202);
    comes_to_list(&repository, &image, &[&first], "the second to go");

    let mut layers: Vec<Value> = Vec::new();
    for _ in ["first", "second"] {
        let version = cosign_signature(&behind, &layers);
        layers = version.json()["layers"].as_array().unwrap().clone();
        behind.put_manifest(&cosign, &version).expect(201);
        wait_for("what the tag has there", || {
            let read = repository.get_manifest(&cosign);
            (read.status == 200 && read.json()["layers"] == json!(layers)).then_some(())
        });
    }
    // Kept, as all that a tag of cosign ever had.
    for suffix in ["", ".sig"] {
        let read = behind
            .get_manifest(&image.companion_tag(suffix))
            .expect(200);
        behind
            .delete_manifest(&images::sha256(&read.body))
            .expect(202);
    }
    for _ in 0..3 {
        let read = repository.get_manifest(&cosign).expect(200);
        assert_eq!(read.json()["layers"], json!(layers));
        comes_to_list(&repository, &image, &[&first], "the first");
    }
}
