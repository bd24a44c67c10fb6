//! What people see of a policy, with the programs they use: what is rejected, and the command in the message typed as it
//! is; what is marked; what is warned about; what is denied.

use crate::support::clients::{crane, oras};
use crate::support::images::random_hex;
use crate::support::policy::Desk;
use crate::support::programs::{
    Shows, Start, TAG, with_containerd, with_crane, with_docker, with_helm, with_oras, with_podman,
    with_skopeo,
};
use crate::support::{ALICE, Auth, BOB, Content, EVE, Policed};

const RULES: &str = r#"
  - {name: cosigned, repositories: ["cosigned/**"], require: build, on_unsigned_push: reject}
  - {name: notarized, repositories: ["notarized/**"], require: release, on_unsigned_push: reject}
  - {name: twofold, repositories: ["twofold/**"], require: {all: [build, release]}, on_unsigned_push: reject}
  - {name: marked, repositories: ["marked/**"], require: {any: [build, release]}, on_unsigned_push: tag}
  - {name: warned, repositories: ["warned/**"], require: build, on_unsigned_push: warn, on_unsigned_pull: warn}
  - {name: denied, repositories: ["denied/**"], require: build, on_unsigned_push: allow, on_unsigned_pull: deny}
"#;

/// A registry with the image that programs copy, and regseal before it.
fn stage(auth: Auth) -> Policed {
    let stage = Policed::with(auth, RULES);
    stage.repository("open/app").push_image(TAG);
    stage
}

/// The command in a refusal, as somebody would copy it.
#[track_caller]
fn command_in(said: &str) -> String {
    let (_, after) = said
        .split_once("Sign it, then push again: ")
        .unwrap_or_else(|| panic!("no command in {said}"));
    let digest = "@sha256:";
    let mut end = 0;
    while let Some(at) = after[end..].find(digest) {
        end += at + digest.len() + 64;
        if !after[end..].starts_with(" && ") {
            break;
        }
    }
    after[..end].to_owned()
}

fn by_tag(stage: &Policed, name: &str) -> String {
    format!("{}/{name}:{TAG}", stage.regseal.endpoint.authority)
}

/// Pushes what has to be signed, does as the message says, and pushes again.
#[track_caller]
fn rejected_signed_and_admitted(auth: Auth, start: Start) {
    let stage = stage(auth);
    let client = start(&stage, ALICE);
    for (name, rule, required, programs) in [
        ("cosigned/app", "cosigned", "build", &["cosign"][..]),
        ("notarized/app", "notarized", "release", &["notation"]),
        (
            "twofold/app",
            "twofold",
            "build and release",
            &["cosign", "notation"],
        ),
    ] {
        let image = by_tag(&stage, name);
        let refused = (client.push)(&image);
        let told = if client.shows == Shows::Status {
            refused.failure("403 Forbidden");
            told_by_the_registry(&stage, name)
        } else {
            refused.failure("not signed").said()
        };
        let why = format!("rule '{rule}' requires: {required}");
        assert!(told.contains(&why), "no {why:?} in {told}");
        (client.pull)(&image).failure("");
        assert_eq!(stage.behind(name).tags(), [""; 0], "{rule}");

        let typed = command_in(&told);
        let begun: Vec<&str> = typed
            .split(" && ")
            .map(|command| command.split_once(" sign ").unwrap().0)
            .collect();
        assert_eq!(begun, programs, "{typed}");
        stage.desk.types(&typed).success();
        (client.push)(&image).success();
        (client.pull)(&image).success();
        assert_eq!(stage.behind(name).tags(), [TAG], "{rule}");
    }
}

/// The message that a program which shows none was given.
#[track_caller]
fn told_by_the_registry(stage: &Policed, name: &str) -> String {
    let source = stage.repository("open/app").get_manifest(TAG).expect(200);
    let image = Content::new(source.header("content-type"), source.body.clone());
    let refused = stage.repository(name).put_manifest(TAG, &image);
    let errors = refused.refused(403, "DENIED").json();
    errors["errors"][0]["message"].as_str().unwrap().to_owned()
}

#[test]
fn crane_is_told_how_to_sign_without_authentication() {
    rejected_signed_and_admitted(Auth::None, with_crane);
}

#[test]
fn crane_is_told_how_to_sign_with_basic() {
    rejected_signed_and_admitted(Auth::Basic, with_crane);
}

#[test]
fn crane_is_told_how_to_sign_with_tokens() {
    rejected_signed_and_admitted(Auth::Token, with_crane);
}

#[test]
fn docker_is_told_how_to_sign_without_authentication() {
    rejected_signed_and_admitted(Auth::None, with_docker);
}

#[test]
fn docker_is_told_how_to_sign_with_basic() {
    rejected_signed_and_admitted(Auth::Basic, with_docker);
}

#[test]
fn docker_is_told_how_to_sign_with_tokens() {
    rejected_signed_and_admitted(Auth::Token, with_docker);
}

#[test]
fn skopeo_is_told_how_to_sign() {
    rejected_signed_and_admitted(Auth::Basic, with_skopeo);
}

#[test]
fn oras_is_told_how_to_sign() {
    rejected_signed_and_admitted(Auth::Token, with_oras);
}

#[test]
fn podman_is_told_how_to_sign() {
    rejected_signed_and_admitted(Auth::Token, with_podman);
}

#[test]
fn containerd_is_refused_and_admitted() {
    rejected_signed_and_admitted(Auth::Token, with_containerd);
}

#[test]
fn helm_is_told_how_to_sign() {
    rejected_signed_and_admitted(Auth::Token, with_helm);
}

/// What was pushed unsigned, pulled by who may only pull: by tag, and by digest.
#[track_caller]
fn denied_until_signed(start: Start) {
    let stage = stage(Auth::Token);
    let (alice, bob) = (start(&stage, ALICE), start(&stage, BOB));
    let name = "denied/app";
    let image = by_tag(&stage, name);
    (alice.push)(&image).success();
    let pushed = stage.behind(name).get_manifest(TAG).expect(200);
    let digest = pushed.header("docker-content-digest");
    let exact = format!("{}/{name}@{digest}", stage.regseal.endpoint.authority);
    let why = format!(
        "{name}@{digest} is not signed as rule 'denied' requires: build. To sign it: cosign sign"
    );
    for reference in [&image, &exact] {
        let denied = (bob.pull)(reference);
        if bob.shows == Shows::Status {
            denied.failure("403 Forbidden");
        } else {
            denied.failure(&why);
        }
    }
    stage.desk.notation_signs(&exact);
    (bob.pull)(&image).failure("");
    stage.desk.cosign_signs(&exact);
    for reference in [&image, &exact] {
        (bob.pull)(reference).success();
    }
}

#[test]
fn crane_pulls_nothing_that_is_unsigned() {
    denied_until_signed(with_crane);
}

#[test]
fn docker_pulls_nothing_that_is_unsigned() {
    denied_until_signed(with_docker);
}

#[test]
fn skopeo_pulls_nothing_that_is_unsigned() {
    denied_until_signed(with_skopeo);
}

#[test]
fn oras_pulls_nothing_that_is_unsigned() {
    denied_until_signed(with_oras);
}

#[test]
fn podman_pulls_nothing_that_is_unsigned() {
    denied_until_signed(with_podman);
}

#[test]
fn containerd_pulls_nothing_that_is_unsigned() {
    denied_until_signed(with_containerd);
}

#[test]
fn helm_pulls_nothing_that_is_unsigned() {
    denied_until_signed(with_helm);
}

/// The mark is a tag that can be listed and pulled, until the image is signed.
#[track_caller]
fn marked_until_signed(start: Start) {
    let stage = stage(Auth::Basic);
    let client = start(&stage, ALICE);
    for (name, sign) in [
        ("marked/cosigned/app", "cosign"),
        ("marked/notarized/app", "notation"),
    ] {
        let image = by_tag(&stage, name);
        let pushed = (client.push)(&image).success();
        if client.shows == Shows::Warnings {
            pushed.says("not signed as rule 'marked' requires: build or release");
        }
        let marker = format!("unsigned-{TAG}");
        let repository = stage.repository(name);
        assert_eq!(repository.tags(), [TAG, &marker]);
        assert_eq!(
            stage.behind(name).tags(),
            [TAG],
            "the mark is not written there"
        );
        let marked = format!("{}/{name}:{marker}", stage.regseal.endpoint.authority);
        let read = repository.get_manifest(&marker).expect(200);
        let digest = read.header("docker-content-digest").to_owned();
        (client.pull)(&marked).success();
        let exact = format!("{}/{name}@{digest}", stage.regseal.endpoint.authority);
        match sign {
            "cosign" => stage.desk.cosign_signs(&exact),
            _ => stage.desk.notation_signs(&exact),
        }
        assert_eq!(repository.tags(), [TAG]);
        (client.pull)(&marked).failure("");
        (client.pull)(&image).success();
    }
}

#[test]
fn crane_sees_the_mark_of_what_is_unsigned() {
    marked_until_signed(with_crane);
}

#[test]
fn docker_sees_the_mark_of_what_is_unsigned() {
    marked_until_signed(with_docker);
}

#[test]
fn skopeo_sees_the_mark_of_what_is_unsigned() {
    marked_until_signed(with_skopeo);
}

#[test]
fn oras_sees_the_mark_of_what_is_unsigned() {
    marked_until_signed(with_oras);
}

#[test]
fn podman_sees_the_mark_of_what_is_unsigned() {
    marked_until_signed(with_podman);
}

#[test]
fn containerd_sees_the_mark_of_what_is_unsigned() {
    marked_until_signed(with_containerd);
}

/// With a token service, only who may push sees what was rejected, and signs it.
#[test]
fn who_may_only_pull_neither_sees_nor_signs_what_was_rejected() {
    let stage = stage(Auth::Token);
    for (name, typed) in [("cosigned/app", "cosign"), ("notarized/app", "notation")] {
        let image = by_tag(&stage, name);
        let refused = (with_crane(&stage, ALICE).push)(&image).failure("DENIED");
        let typed_by_bob = command_in(&refused.said());
        let (_, exact) = typed_by_bob.rsplit_once(' ').unwrap();
        for user in [BOB, EVE] {
            let endpoint = &stage.regseal.endpoint;
            crane(endpoint, user)
                .run(["manifest", exact])
                .failure(if user.name == BOB.name {
                    "MANIFEST_UNKNOWN"
                } else {
                    "UNAUTHORIZED"
                });
            let desk = Desk::of(user, Auth::Token);
            desk.sits_at(endpoint);
            let failed = desk.types(&typed_by_bob);
            assert!(!failed.succeeded(), "{typed} by {}: {failed:?}", user.name);
        }
        let tool = crane(&stage.regseal.endpoint, ALICE);
        tool.run(["manifest", exact]).success();
        (with_crane(&stage, ALICE).push)(&image).failure("DENIED");
        stage.desk.types(&typed_by_bob).success();
        (with_crane(&stage, ALICE).push)(&image).success();
        (with_crane(&stage, BOB).pull)(&image).success();
        (with_crane(&stage, EVE).pull)(&image).failure("UNAUTHORIZED");
    }
}

/// Programs that push another manifest each time give the one that was signed its tag.
#[test]
fn what_was_rejected_and_signed_gets_its_tag_by_its_digest() {
    for auth in Auth::ALL {
        let stage = stage(auth);
        let endpoint = &stage.regseal.endpoint;
        let (oras, crane) = (oras(endpoint, ALICE), crane(endpoint, ALICE));
        oras.file("hello.txt", random_hex(16));
        let image = by_tag(&stage, "cosigned/app");
        let refused = oras.run(["push", &image, "hello.txt:text/plain"]);
        let typed = command_in(&refused.failure("denied").said());
        let (_, exact) = typed.rsplit_once(' ').unwrap();
        oras.run(["tag", exact, TAG]).failure("denied");
        crane.run(["tag", exact, "other"]).failure("DENIED");
        stage.desk.types(&typed).success();
        oras.run(["tag", exact, TAG]).success();
        crane.run(["tag", exact, "other"]).success();
        oras.run(["pull", "-o", "pulled", &image]).success();
    }
}

/// Programs that show warnings show them at pushes and at pulls.
#[test]
fn what_passes_with_a_warning_passes_everywhere() {
    let stage = stage(Auth::None);
    let starts: [(&str, Start); 3] = [
        ("crane", with_crane),
        ("oras", with_oras),
        ("skopeo", with_skopeo),
    ];
    for (program, start) in starts {
        let client = start(&stage, ALICE);
        let image = by_tag(&stage, &format!("warned/{program}"));
        for said in [(client.push)(&image), (client.pull)(&image)] {
            let said = said.success();
            if client.shows == Shows::Warnings {
                said.says("not signed as rule 'warned' requires: build");
            }
        }
    }
}
