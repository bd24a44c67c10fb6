//! All programs, before registries that ask who is there in their own way.

use super::{RULES, in_capitals, nothing_has_leaked, policed, with_own_tokens};
use crate::support::clients::{Tool, cosign2, cosign3, crane, notation, regctl};
use crate::support::gate::Gate;
use crate::support::programs::{
    SOURCE, Start, TAG, with_containerd, with_crane, with_docker, with_helm, with_oras,
    with_podman, with_skopeo,
};
use crate::support::{ALICE, Auth, BOB, Policed, Registry};

/// All programs push and pull, all that sign do so for what was rejected, and who may only pull does not see that.
fn everybody_works(stage: &Policed) {
    stage.repository("open/app").push_image(TAG);
    assert_eq!(SOURCE, format!("open/app:{TAG}"));
    let starts: [(&str, Start); 7] = [
        ("crane", with_crane),
        ("skopeo", with_skopeo),
        ("oras", with_oras),
        ("podman", with_podman),
        ("helm", with_helm),
        ("ctr", with_containerd),
        ("docker", with_docker),
    ];
    let authority = &stage.regseal.endpoint.authority;
    for (program, start) in starts {
        let client = start(stage, ALICE);
        let image = format!("{authority}/open/{program}/app:{TAG}");
        (client.push)(&image).success();
        (client.pull)(&image).success();
        let behind = stage.behind(&format!("open/{program}/app"));
        assert_eq!(behind.tags(), [TAG], "{program}");
    }

    let endpoint = &stage.regseal.endpoint;
    let with_key = |tool: Tool| {
        let key = stage.desk.public_key().with_file_name("cosign.key");
        tool.file("build.key", std::fs::read(key).unwrap());
        tool
    };
    let cosign = ["sign", "--key", "build.key", "--tlog-upload=false", "-y"];
    let newer = [&cosign[..], &["--use-signing-config=false"]].concat();
    for (name, signs) in [
        ("cosign2", cosign.to_vec()),
        ("cosign3", newer),
        ("notation", vec![]),
    ] {
        let name = format!("kept/{name}");
        let repository = stage.repository(&name);
        let image = repository.image();
        repository.put_manifest("v1", &image).refused(403, "DENIED");
        let reference = stage.reference(&name, &image);
        regctl(endpoint, ALICE)
            .run(["manifest", "get", &reference])
            .success();
        crane(endpoint, BOB)
            .run(["manifest", &reference])
            .failure("");
        if signs.is_empty() {
            stage.desk.notation_signs(&reference);
        } else {
            let tool = if name.ends_with('2') {
                cosign2
            } else {
                cosign3
            };
            let tool = with_key(tool(endpoint, ALICE));
            tool.run(signs.into_iter().chain([reference.as_str()]))
                .success();
        }
        repository.put_manifest("v1", &image).expect(201);
        notation(endpoint, BOB).run(["list", &reference]).success();
        crane(endpoint, BOB).run(["manifest", &reference]).success();
    }
}

#[test]
fn all_programs_work_with_a_basic_scheme_in_capitals_and_anonymous_pull() {
    let (stage, gate) = policed(Registry::with(Auth::None), in_capitals);
    everybody_works(&stage);
    nothing_has_leaked(&stage, &gate);
}

#[test]
fn all_programs_work_where_the_token_service_is_below_the_api_and_hides() {
    let registry = Registry::with(Auth::Token);
    let rule = with_own_tokens(registry.tokens().issuer(), true);
    let (stage, gate) = policed(registry, rule);
    everybody_works(&stage);
    nothing_has_leaked(&stage, &gate);
}

#[test]
fn all_programs_work_where_the_token_service_is_on_another_host() {
    let stage = Policed::with(Auth::Token, RULES);
    everybody_works(&stage);
    let nothing = Gate::before(&stage.registry);
    nothing_has_leaked(&stage, &nothing);
}
