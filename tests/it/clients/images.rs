//! Programs that push and pull images.

use super::APP;
use crate::support::clients::{buildah, crane, podman, skopeo};
use crate::support::containerd::Containerd;
use crate::support::docker::Docker;
use crate::support::images::{random_hex, tar};
use crate::support::{ALICE, Auth, Registry, Stage};

#[test]
fn crane_without_authentication() {
    crane_pushes_copies_and_pulls(Auth::None);
}

#[test]
fn crane_with_basic() {
    crane_pushes_copies_and_pulls(Auth::Basic);
}

#[test]
fn crane_with_tokens() {
    crane_pushes_copies_and_pulls(Auth::Token);
}

fn crane_pushes_copies_and_pulls(auth: Auth) {
    let stage = Stage::with(auth);
    let tool = crane(&stage.regseal.endpoint, ALICE);
    let [image, other, copy] =
        ["team/app:v1", "team/app:v2", "team/copy:v1"].map(|name| tool.reference(name));
    let layer = tool.file("layer.tar", tar("hello", random_hex(16).as_bytes()));
    tool.run(["append", "--oci-empty-base", "-f", layer, "-t", &image])
        .success();

    let digest = tool.run(["digest", &image]).success().stdout;
    tool.run(["copy", &image, &other]).success();
    tool.run(["copy", &image, &copy]).success();
    for name in [&other, &copy] {
        assert_eq!(tool.run(["digest", name]).success().stdout, digest);
    }
    assert_eq!(
        tool.run(["ls", &tool.reference(APP)]).success().stdout,
        "v1\nv2"
    );
    tool.run(["pull", "--format", "oci", &copy, "pulled"])
        .success();
    assert!(
        tool.home()
            .join("pulled/blobs")
            .join(digest.replace(':', "/"))
            .is_file()
    );
    tool.run(["delete", &tool.reference(&format!("team/copy@{digest}"))])
        .success();
    tool.run(["digest", &copy]).failure("MANIFEST_UNKNOWN");
}

#[test]
fn skopeo_without_authentication() {
    skopeo_copies_both_ways(Auth::None);
}

#[test]
fn skopeo_with_basic() {
    skopeo_copies_both_ways(Auth::Basic);
}

#[test]
fn skopeo_with_tokens() {
    skopeo_copies_both_ways(Auth::Token);
}

fn skopeo_copies_both_ways(auth: Auth) {
    let stage = Stage::with(auth);
    let image = stage.repository(APP).push_image("v1");
    let tool = skopeo(&stage.regseal.endpoint, ALICE);
    let [first, second, third] = ["team/app:v1", "team/app:v2", "team/copy:v1"]
        .map(|name| format!("docker://{}", tool.reference(name)));
    for (from, to) in [
        (first.as_str(), "oci:here:v1"),
        ("oci:here:v1", &second),
        (&second, &third),
    ] {
        tool.run(["copy", "--preserve-digests", from, to]).success();
    }
    for name in [&second, &third] {
        let digest = tool
            .run(["inspect", "--format", "{{.Digest}}", name])
            .success()
            .stdout;
        assert_eq!(digest, image.digest());
    }
    assert_eq!(stage.behind(APP).tags(), ["v1", "v2"]);
}

#[test]
fn docker_without_authentication() {
    docker_pushes_and_pulls(Auth::None);
}

#[test]
fn docker_with_basic() {
    docker_pushes_and_pulls(Auth::Basic);
}

#[test]
fn docker_with_tokens() {
    docker_pushes_and_pulls(Auth::Token);
}

fn docker_pushes_and_pulls(auth: Auth) {
    let stage = Stage::with(auth);
    let docker = Docker::start(&stage.regseal.endpoint, ALICE);
    let image = docker.tool.reference("team/app:v1");
    let layer = docker
        .tool
        .file("layer.tar", tar("hello", random_hex(16).as_bytes()));
    let id = docker.tool.run(["import", layer, &image]).success().stdout;
    docker.tool.run(["push", &image]).success();
    docker.tool.run(["rmi", &image]).success();
    docker.tool.run(["pull", &image]).success();
    assert_eq!(
        docker
            .tool
            .run(["image", "inspect", "--format", "{{.Id}}", &image])
            .success()
            .stdout,
        id
    );
    let missing = docker.tool.reference("team/app:none");
    docker
        .tool
        .run(["pull", &missing])
        .failure("manifest unknown");
}

/// Between two registries, one behind regseal and one that it knows nothing of.
#[test]
fn skopeo_copies_between_registries() {
    let (stage, elsewhere) = (Stage::with(Auth::Basic), Registry::with(Auth::None));
    let image = elsewhere.endpoint.repository(ALICE, APP).push_image("v1");
    let tool = skopeo(&stage.regseal.endpoint, ALICE);
    let there = |name: &str| format!("docker://{}/{name}", elsewhere.endpoint.authority);
    let here = format!("docker://{}", tool.reference("team/app:v1"));
    let copy = ["copy", "--all", "--preserve-digests"];
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    for (from, to) in [
        (there("team/app:v1"), &here),
        (here.clone(), &there("team/back:v1")),
    ] {
        let arguments = copy
            .into_iter()
            .chain(plain)
            .chain([from.as_str(), to.as_str()]);
        tool.run(arguments).success();
    }
    for repository in [
        stage.repository(APP),
        elsewhere.endpoint.repository(ALICE, "team/back"),
    ] {
        let reply = repository.get_manifest("v1").expect(200);
        assert_eq!(reply.header("docker-content-digest"), image.digest());
    }
}

#[test]
fn podman_without_authentication() {
    podman_pushes_and_pulls(Auth::None);
}

#[test]
fn podman_with_basic() {
    podman_pushes_and_pulls(Auth::Basic);
}

#[test]
fn podman_with_tokens() {
    podman_pushes_and_pulls(Auth::Token);
}

fn podman_pushes_and_pulls(auth: Auth) {
    let stage = Stage::with(auth);
    let tool = podman(&stage.regseal.endpoint, ALICE);
    let image = tool.reference("team/app:v1");
    let layer = tool.file("layer.tar", tar("hello", random_hex(16).as_bytes()));
    tool.run(["import", layer, &image]).success();
    let id = || tool.run(["image", "inspect", "--format", "{{.Id}}", &image]);
    let imported = id().success().stdout;
    tool.run(["push", "--tls-verify=false", &image]).success();
    tool.run(["rmi", &image]).success();
    tool.run(["pull", "--tls-verify=false", &image]).success();
    assert_eq!(id().success().stdout, imported);
    let missing = tool.reference("team/app:none");
    let pulled = tool.run(["pull", "--tls-verify=false", &missing]);
    pulled.failure("manifest unknown");
}

#[test]
fn buildah_without_authentication() {
    buildah_builds_pushes_and_pulls(Auth::None);
}

#[test]
fn buildah_with_basic() {
    buildah_builds_pushes_and_pulls(Auth::Basic);
}

#[test]
fn buildah_with_tokens() {
    buildah_builds_pushes_and_pulls(Auth::Token);
}

/// An image, and an index of it that is pushed with all it lists.
fn buildah_builds_pushes_and_pulls(auth: Auth) {
    let stage = Stage::with(auth);
    let tool = buildah(&stage.regseal.endpoint, ALICE);
    tool.file("hello.txt", random_hex(16));
    tool.file("Containerfile", "FROM scratch\nCOPY hello.txt /\n");
    tool.run(["bud", "--format", "oci", "-t", "local", "."])
        .success();
    let [image, index] = ["team/app:v1", "team/app:all"].map(|name| tool.reference(name));
    let to = format!("docker://{image}");
    tool.run(["push", "--tls-verify=false", "local", &to])
        .success();
    tool.run(["manifest", "create", "list"]).success();
    let add = ["manifest", "add", "--tls-verify=false", "list"];
    tool.run(add.into_iter().chain([to.as_str()])).success();
    let push = ["manifest", "push", "--all", "--tls-verify=false", "list"];
    let to = format!("docker://{index}");
    tool.run(push.into_iter().chain([to.as_str()])).success();
    tool.run(["rmi", "--all", "--force"]).success();
    for name in [&image, &index] {
        tool.run(["pull", "--tls-verify=false", name]).success();
    }
    let repository = stage.repository(APP);
    let listed = repository.get_manifest("all").expect(200).json();
    let child = listed["manifests"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let image = repository.get_manifest("v1").expect(200);
    assert_eq!(image.header("docker-content-digest"), child);
}

#[test]
fn containerd_without_authentication() {
    containerd_pulls_fetches_and_pushes(Auth::None);
}

#[test]
fn containerd_with_basic() {
    containerd_pulls_fetches_and_pushes(Auth::Basic);
}

#[test]
fn containerd_with_tokens() {
    containerd_pulls_fetches_and_pushes(Auth::Token);
}

fn containerd_pulls_fetches_and_pushes(auth: Auth) {
    let stage = Stage::with(auth);
    let image = stage.repository(APP).push_image("v1");
    let containerd = Containerd::start(&stage.regseal.endpoint, ALICE);
    let [from, to] = ["team/app:v1", "team/copy:v1"].map(|name| containerd.tool.reference(name));
    containerd.fetch(&from).success();
    containerd.pull(&from).success();
    containerd.images(["tag", &from, &to]).success();
    containerd.push(&to).success();
    let copy = stage.repository("team/copy").get_manifest("v1").expect(200);
    assert_eq!(copy.header("docker-content-digest"), image.digest());
}
