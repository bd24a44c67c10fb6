//! The programs people use, each as one that pushes and pulls an image.

use std::rc::Rc;

use super::clients::{Output, crane, helm, oras, podman, skopeo};
use super::containerd::Containerd;
use super::docker::Docker;
use super::images::random_hex;
use super::{Policed, User};

/// Where the image is that programs copy; no rule is about it.
/// Everything has its name and its tag, since those of a chart are in its metadata.
pub const SOURCE: &str = "open/app:0.1.0";
pub const TAG: &str = "0.1.0";

/// A program that has an image, and pushes and pulls it by whole references.
pub struct Client {
    pub push: Box<dyn Fn(&str) -> Output>,
    pub pull: Box<dyn Fn(&str) -> Output>,
    pub shows: Shows,
}

pub type Start = fn(&Policed, User) -> Client;

/// What a program shows of the answers of a registry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shows {
    /// `403 Forbidden` and no more.
    Status,
    /// Why something is refused.
    Errors,
    /// And what is to be said where nothing is refused.
    Warnings,
}

fn client<T: 'static>(
    shows: Shows,
    tool: T,
    push: impl Fn(&T, &str) -> Output + 'static,
    pull: impl Fn(&T, &str) -> Output + 'static,
) -> Client {
    let tool = Rc::new(tool);
    let pulling = Rc::clone(&tool);
    Client {
        push: Box::new(move |reference| push(&tool, reference)),
        pull: Box::new(move |reference| pull(&pulling, reference)),
        shows,
    }
}

pub fn with_crane(stage: &Policed, user: User) -> Client {
    let tool = crane(&stage.regseal.endpoint, user);
    client(
        Shows::Warnings,
        tool,
        |crane, to| crane.run(["copy", &crane.reference(SOURCE), to]),
        |crane, from| crane.run(["pull", "--format", "oci", from, "pulled"]),
    )
}

pub fn with_skopeo(stage: &Policed, user: User) -> Client {
    let tool = skopeo(&stage.regseal.endpoint, user);
    let at = |reference: &str| format!("docker://{reference}");
    client(
        Shows::Errors,
        tool,
        move |skopeo, to| {
            // Else it compresses layers, and what it pushes the second time is not the same.
            let exact = "--preserve-digests";
            skopeo.run(["copy", exact, &at(&skopeo.reference(SOURCE)), &at(to)])
        },
        move |skopeo, from| skopeo.run(["copy", &at(from), "oci:pulled:v1"]),
    )
}

pub fn with_oras(stage: &Policed, user: User) -> Client {
    let tool = oras(&stage.regseal.endpoint, user);
    tool.file("hello.txt", random_hex(16));
    // Without the annotation oras writes the time of the push, and pushes another manifest each time.
    let made = "org.opencontainers.image.created=2026-01-02T03:04:05Z";
    client(
        Shows::Warnings,
        tool,
        move |oras, to| oras.run(["push", "--annotation", made, to, "hello.txt:text/plain"]),
        |oras, from| oras.run(["pull", "-o", "pulled", from]),
    )
}

pub fn with_podman(stage: &Policed, user: User) -> Client {
    let tool = podman(&stage.regseal.endpoint, user);
    let source = tool.reference(SOURCE);
    tool.run(["pull", "--tls-verify=false", &source]).success();
    client(
        Shows::Errors,
        tool,
        move |podman, to| podman.run(["push", "--tls-verify=false", &source, to]),
        |podman, from| podman.run(["pull", "--tls-verify=false", from]),
    )
}

pub fn with_docker(stage: &Policed, user: User) -> Client {
    let docker = Docker::start(&stage.regseal.endpoint, user);
    let source = docker.tool.reference(SOURCE);
    docker.tool.run(["pull", &source]).success();
    client(
        Shows::Errors,
        docker,
        move |docker, to| {
            docker.tool.run(["tag", &source, to]).success();
            docker.tool.run(["push", to])
        },
        |docker, from| docker.tool.run(["pull", from]),
    )
}

pub fn with_containerd(stage: &Policed, user: User) -> Client {
    let containerd = Containerd::start(&stage.regseal.endpoint, user);
    let source = containerd.tool.reference(SOURCE);
    containerd.pull(&source).success();
    client(
        Shows::Status,
        containerd,
        move |containerd, to| {
            containerd.images(["tag", "--force", &source, to]).success();
            containerd.push(to)
        },
        |containerd, from| containerd.pull(from),
    )
}

pub fn with_helm(stage: &Policed, user: User) -> Client {
    let tool = helm(&stage.regseal.endpoint, user);
    let chart = format!(
        "apiVersion: v2\nname: app\nversion: 0.1.0\ndescription: {}\n",
        random_hex(8)
    );
    tool.file("app/Chart.yaml", chart);
    // Below the folder of the archive, whose time is written into the manifest.
    tool.file("pulled/here", "");
    tool.run(["package", "app"]).success();
    client(
        Shows::Errors,
        tool,
        |helm, to| {
            let registry = to.strip_suffix("/app:0.1.0").unwrap();
            let to = format!("oci://{registry}");
            helm.run(["push", "--plain-http", "app-0.1.0.tgz", &to])
        },
        |helm, from| {
            let chart = format!("oci://{}", from.trim_end_matches(":0.1.0"));
            helm.run(["pull", "--plain-http", "-d", "pulled", &chart])
        },
    )
}
