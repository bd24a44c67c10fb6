//! Whose signatures a rule asks for: of an index and of its children, of one authority or of several; and what needs
//! none.

use crate::support::clients::{crane, oras};
use crate::support::images::tar;
use crate::support::policy::{Desk, Policy};
use crate::support::{ALICE, Auth, BOB, Content, Policed, wait_for};

const COVERAGE: &str = r#"
  - {name: index, repositories: ["index/**"], require: build, on_unsigned_push: reject, coverage: index}
  - {name: children, repositories: ["children/**"], require: build, on_unsigned_push: reject, coverage: children}
  - {name: either, repositories: ["either/**"], require: build, on_unsigned_push: reject, coverage: either}
  - {name: all, repositories: ["all/**"], require: build, on_unsigned_push: reject, coverage: all}
"#;

/// Of an index and its two children.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Index,
    First,
    Second,
}

use Part::{First, Index, Second};

fn covers(coverage: &str, signed: &[Part]) -> bool {
    let index = signed.contains(&Index);
    let children = signed.contains(&First) && signed.contains(&Second);
    match coverage {
        "index" => index,
        "children" => children,
        "either" => index || children,
        _ => index && children,
    }
}

#[test]
fn an_index_is_covered_as_the_rule_says_when_crane_copies_it() {
    assert_coverage("crane", [First, Second, Index]);
}

#[test]
fn an_index_is_covered_as_the_rule_says_when_oras_copies_it() {
    assert_coverage("oras", [Index, First, Second]);
}

/// Signs the parts in this order, and tries after each whether the index gets its tag.
fn assert_coverage(program: &str, order: [Part; 3]) {
    let stage = Policed::with(Auth::Basic, COVERAGE);
    let endpoint = &stage.regseal.endpoint;
    let (crane, oras) = (crane(endpoint, ALICE), oras(endpoint, ALICE).bare());
    let source = stage.repository("open/app");
    let [first, second] = ["first", "second"].map(|tag| source.push_image(tag));
    let [one, other, pair] =
        ["first", "second", "pair"].map(|tag| crane.reference(&format!("open/app:{tag}")));
    crane
        .run(["index", "append", "-m", &one, "-m", &other, "-t", &pair])
        .success();
    let read = source.get_manifest("pair").expect(200);
    let index = Content::new(read.header("content-type"), read.body.clone());

    for coverage in ["index", "children", "either", "all"] {
        let name = format!("{coverage}/app");
        let to = crane.reference(&format!("{name}:v1"));
        let copy = || match program {
            "crane" => crane.run(["copy", &pair, &to]),
            _ => oras.run(["cp", "--from-plain-http", "--to-plain-http", &pair, &to]),
        };
        copy().failure(&format!("rule '{coverage}' requires: build"));
        let repository = stage.repository(&name);
        let mut signed = Vec::new();
        for part in order {
            let manifest = match part {
                Index => &index,
                First => &first,
                Second => &second,
            };
            stage.desk.cosign_signs(&stage.reference(&name, manifest));
            signed.push(part);
            let expected = if covers(coverage, &signed) { 201 } else { 403 };
            let pushed = repository.put_manifest("v1", &index);
            assert_eq!(
                pushed.status,
                expected,
                "{coverage} with {} signed: {pushed:?}",
                signed.len()
            );
        }
        copy().success();
        for manifest in [&index, &first, &second] {
            repository.get_manifest(&manifest.digest()).expect(200);
        }
        repository.get_manifest("v1").expect(200);
    }
}

const COUNTS: &str = r#"
  - {name: any, repositories: ["any/**"], require: {any: [build, release]}, on_unsigned_push: reject}
  - {name: all, repositories: ["all/**"], require: {all: [build, release]}, on_unsigned_push: reject}
  - name: two
    repositories: ["two/**"]
    require: {at_least: 2, of: [build, release, second]}
    on_unsigned_push: reject
"#;

#[test]
fn as_many_authorities_have_to_sign_as_the_rule_says() {
    let (desk, second) = (Desk::of(ALICE, Auth::None), Desk::of(ALICE, Auth::None));
    let key = second.public_key();
    let more = format!("  second: {{cosign: {{key: {key:?}, transparency_log: ignored}}}}\n");
    let policy = Policy::of(&desk, &more, COUNTS);
    let stage = Policed::by(Auth::None, desk, policy);
    second.sits_at(&stage.regseal.endpoint);
    // Who signs, in this order; only the last makes it enough.
    for (name, signers) in [
        ("any/cosign", &["build"][..]),
        ("any/notation", &["release"]),
        ("all/cosign", &["build", "release"]),
        ("all/notation", &["release", "build"]),
        ("two/cosign", &["build", "build under a tag", "second"]),
        ("two/notation", &["second", "nobody", "release"]),
    ] {
        let repository = stage.repository(name);
        let image = repository.image();
        repository.put_manifest("v1", &image).refused(403, "DENIED");
        let reference = stage.reference(name, &image);
        for (number, signer) in signers.iter().enumerate() {
            match *signer {
                "build" => stage.desk.cosign_signs(&reference),
                "build under a tag" => stage.desk.cosign_2_signs(&reference),
                "release" => stage.desk.notation_signs(&reference),
                "second" => second.cosign_signs(&reference),
                _ => second.notation_signs(&reference),
            }
            let pushed = repository.put_manifest("v1", &image);
            let expected = if number + 1 == signers.len() {
                201
            } else {
                403
            };
            assert_eq!(pushed.status, expected, "{name} with {signer}: {pushed:?}");
        }
    }
}

const REJECT: &str = r#"
  - {name: team, repositories: ["team/**"], require: build, on_unsigned_push: reject}
"#;

#[test]
fn what_is_exempt_needs_no_signature_until_its_time() {
    let stage = Policed::with(Auth::None, REJECT);
    let repository = stage.repository("team/app");
    let [exempt, late, other] = ["exempt", "late", "other"].map(|tag| {
        let image = repository.image();
        repository.put_manifest(tag, &image).refused(403, "DENIED");
        image
    });
    let rules = format!(
        "  - name: team\n    repositories: [\"team/**\"]\n    require: build\n    on_unsigned_push: reject\n    \
         exempt:\n      - {{digest: \"{}\", reason: vendor}}\n      \
         - {{digest: \"{}\", reason: vendor, until: 2020-01-31}}\n",
        exempt.digest(),
        late.digest(),
    );
    stage.policy.set(&rules);
    wait_for("the exemption", || {
        let pushed = repository.put_manifest("exempt", &exempt);
        (pushed.status == 201).then_some(())
    });
    repository.get_manifest("exempt").expect(200);
    repository.get_manifest(&exempt.digest()).expect(200);
    repository
        .put_manifest("late", &late)
        .refused(403, "DENIED");
    repository
        .put_manifest("other", &other)
        .refused(403, "DENIED");
}

/// What the registry had before regseal is as unsigned as anything else, and can be signed.
#[test]
fn what_was_there_before_is_denied_until_it_is_signed() {
    let stage = Policed::with(Auth::Token, REJECT);
    let name = "team/app";
    let image = stage.behind(name).push_image("old");
    let crane = crane(&stage.regseal.endpoint, BOB);
    let old = crane.reference("team/app:old");
    crane
        .run(["pull", "--format", "oci", &old, "pulled"])
        .failure("rule 'team' requires: build");
    crane.run(["digest", &old]).failure("403");
    stage.desk.cosign_signs(&stage.reference(name, &image));
    crane
        .run(["pull", "--format", "oci", &old, "pulled"])
        .success();
}

#[test]
fn a_policy_that_cannot_be_loaded_leaves_the_one_before_in_force() {
    let stage = Policed::with(Auth::None, REJECT);
    let repository = stage.repository("team/app");
    let image = repository.image();
    for (rules, problem) in [
        // Without an inventory nobody knows what was there before.
        (
            "  - {name: team, repositories: [\"team/**\"], require: build, on_unsigned_push: reject, existing: allow}\n",
            "inventory",
        ),
        (
            "  - {name: team, repositories: [\"team/**\"], require: build, on_unsigned_push: hold}\n",
            "not yet supported",
        ),
        (
            "  - {name: team, repositories: [\"team/**\"], require: nobody, on_unsigned_push: allow}\n",
            "unknown authority",
        ),
    ] {
        stage.policy.set(rules);
        wait_for(problem, || {
            let page = stage.regseal.admin.get("/readyz?verbose").expect(200);
            let text = String::from_utf8_lossy(&page.body).into_owned();
            (text.contains("not reloaded") && text.contains(problem)).then_some(())
        });
        repository.put_manifest("v1", &image).refused(403, "DENIED");
    }
    stage.policy.set(
        "  - {name: team, repositories: [\"team/**\"], require: build, on_unsigned_push: warn}\n",
    );
    wait_for("the policy that can be loaded", || {
        (repository.put_manifest("v1", &image).status == 201).then_some(())
    });
}

/// An artifact that is no image, and names an image that is admitted, is pulled with it.
#[test]
fn referrers_of_what_is_admitted_are_pulled_with_it() {
    let stage = Policed::with(Auth::Token, REJECT);
    let name = "team/app";
    let oras = oras(&stage.regseal.endpoint, ALICE);
    let repository = stage.repository(name);
    let image = repository.image();
    repository.put_manifest("v1", &image).refused(403, "DENIED");
    let exact = stage.reference(name, &image);
    oras.file("sbom.tar", tar("sbom", b"{}"));
    let kind = ["--artifact-type", "application/spdx+json"];
    let attach = ["attach"].into_iter().chain(kind);
    oras.run(attach.chain([exact.as_str(), "sbom.tar:application/x-tar"]))
        .success();
    let sbom = repository.referrers(&image)[0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let bob = stage.repository_of(BOB, name);
    bob.get_manifest(&sbom).refused(403, "DENIED");
    stage.desk.cosign_signs(&exact);
    repository.put_manifest("v1", &image).expect(201);
    bob.get_manifest(&sbom).expect(200);
}
