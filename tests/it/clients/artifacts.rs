//! Programs that push, attach and copy artifacts.

use super::{APP, assert_captured, assert_listed, kinds, subject};
use crate::support::clients::{Tool, helm, helm4, oras, regctl};
use crate::support::http::Endpoint;
use crate::support::images::{NOTATION, SBOM, random_hex};
use crate::support::{ALICE, Auth, Stage, User};

#[test]
fn oras_without_authentication() {
    oras_attaches_and_discovers(Auth::None);
}

#[test]
fn oras_with_basic() {
    oras_attaches_and_discovers(Auth::Basic);
}

#[test]
fn oras_with_tokens() {
    oras_attaches_and_discovers(Auth::Token);
}

fn oras_attaches_and_discovers(auth: Auth) {
    let stage = Stage::with(auth);
    let tool = oras(&stage.regseal.endpoint, ALICE);
    let image = tool.reference("team/app:v1");
    tool.file("hello.txt", "hello");
    tool.file("sbom.json", "{}");
    tool.file("signature.jws", random_hex(32));
    tool.run([
        "push",
        "--artifact-type",
        "text/example",
        &image,
        "hello.txt:text/plain",
    ])
    .success();
    tool.run([
        "attach",
        "--artifact-type",
        SBOM,
        &image,
        "sbom.json:application/json",
    ])
    .success();
    tool.run([
        "attach",
        "--artifact-type",
        NOTATION,
        &image,
        "signature.jws:application/jose+json",
    ])
    .success();

    let subject = subject(&stage, "v1");
    let discovered = tool
        .run(["discover", "--format", "json", &image])
        .success()
        .json();
    assert_eq!(
        kinds(discovered["referrers"].as_array().unwrap()),
        [SBOM, NOTATION]
    );
    let filtered = tool
        .run([
            "discover",
            "--format",
            "json",
            "--artifact-type",
            SBOM,
            &image,
        ])
        .success()
        .json();
    assert_eq!(kinds(filtered["referrers"].as_array().unwrap()), [SBOM]);
    assert_listed(&stage, &subject, &[SBOM, NOTATION]);
    assert_captured(&stage, &subject, NOTATION);

    let sbom = filtered["referrers"][0]["digest"].as_str().unwrap();
    stage.behind(APP).get_manifest(sbom).expect(200);
    tool.run([
        "pull",
        "-o",
        "pulled",
        &tool.reference(&format!("{APP}@{sbom}")),
    ])
    .success();
    assert_eq!(
        std::fs::read(tool.home().join("pulled/sbom.json")).unwrap(),
        b"{}"
    );
    tool.run(["pull", "-o", "pulled", &image]).success();
    assert_eq!(
        std::fs::read(tool.home().join("pulled/hello.txt")).unwrap(),
        b"hello"
    );
}

#[test]
fn regctl_without_authentication() {
    regctl_copies_with_referrers(Auth::None);
}

#[test]
fn regctl_with_basic() {
    regctl_copies_with_referrers(Auth::Basic);
}

#[test]
fn regctl_with_tokens() {
    regctl_copies_with_referrers(Auth::Token);
}

fn regctl_copies_with_referrers(auth: Auth) {
    let stage = Stage::with(auth);
    stage.repository(APP).push_image("v1");
    let tool = regctl(&stage.regseal.endpoint, ALICE);
    let [image, copy] = ["team/app:v1", "team/copy:v1"].map(|name| tool.reference(name));
    tool.file("sbom.json", "{}");
    tool.file("signature.jws", random_hex(32));
    for (kind, layer, file) in [
        (SBOM, "application/json", "sbom.json"),
        (NOTATION, "application/jose+json", "signature.jws"),
    ] {
        let put = [
            "artifact",
            "put",
            "--artifact-type",
            kind,
            "--file-media-type",
            layer,
            "--file",
            file,
            "--subject",
            &image,
        ];
        tool.run(put).success();
    }
    let subject = subject(&stage, "v1");
    assert_listed(&stage, &subject, &[SBOM, NOTATION]);
    assert_captured(&stage, &subject, NOTATION);

    let list = ["artifact", "list", "--format", "{{json .Descriptors}}"];
    let listed = tool
        .run(list.into_iter().chain([image.as_str()]))
        .success()
        .json();
    assert_eq!(kinds(listed.as_array().unwrap()), [SBOM, NOTATION]);
    let get = [
        "artifact",
        "get",
        "--filter-artifact-type",
        SBOM,
        "--subject",
        &image,
    ];
    assert_eq!(tool.run(get).success().stdout, "{}");

    tool.run(["image", "copy", "--referrers", &image, &copy])
        .success();
    let copied = tool
        .run(list.into_iter().chain([copy.as_str()]))
        .success()
        .json();
    let mut kinds = kinds(copied.as_array().unwrap());
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [SBOM, NOTATION],
        "the copy has the referrers as well"
    );
    assert_eq!(stage.behind("team/copy").tags(), ["v1"]);
}

#[test]
fn oras_takes_the_referrers_of_what_it_copies_and_backs_up() {
    for auth in Auth::ALL {
        let stage = Stage::with(auth);
        let image = stage.repository(APP).push_image("v1");
        for kind in [SBOM, NOTATION] {
            stage.repository(APP).attach(kind, &image);
        }
        let tool = oras(&stage.regseal.endpoint, ALICE);
        let [from, to, restored] =
            ["team/app:v1", "team/copy:v1", "team/restored"].map(|name| tool.reference(name));
        let discovered = |reference: &str| {
            let discover = ["discover", "--format", "json", reference];
            let json = tool.run(discover).success().json();
            let mut found: Vec<String> = kinds(json["referrers"].as_array().unwrap())
                .into_iter()
                .map(ToOwned::to_owned)
                .collect();
            found.sort_unstable();
            found
        };
        let both = ["--from-plain-http", "--to-plain-http"];
        let copy = ["copy", "-r", &from, &to].into_iter().chain(both);
        oras(&stage.regseal.endpoint, ALICE)
            .bare()
            .run(copy)
            .success();
        assert_eq!(discovered(&to), [SBOM, NOTATION], "{auth:?}");

        tool.run(["backup", "--include-referrers", "-o", "saved", &from])
            .success();
        tool.run(["restore", "--input", "saved", &restored])
            .success();
        assert_eq!(
            discovered(&format!("{restored}:v1")),
            [SBOM, NOTATION],
            "{auth:?}"
        );
        let behind = stage.behind("team/restored").tags();
        assert_eq!(behind, ["v1"], "{auth:?}: no fallback tags in the registry");
    }
}

#[test]
fn regctl_imports_what_it_has_exported() {
    for auth in Auth::ALL {
        let stage = Stage::with(auth);
        let image = stage.repository(APP).push_image("v1");
        let tool = regctl(&stage.regseal.endpoint, ALICE);
        let [from, to] = ["team/app:v1", "team/imported:v1"].map(|name| tool.reference(name));
        tool.run(["image", "export", &from, "image.tar"]).success();
        tool.run(["image", "import", &to, "image.tar"]).success();
        let digest = tool.run(["image", "digest", &to]).success().stdout;
        assert_eq!(digest, image.digest(), "{auth:?}");
    }
}

#[test]
fn helm_3_pushes_and_pulls_charts() {
    pushes_and_pulls_charts(helm);
}

#[test]
fn helm_4_pushes_and_pulls_charts() {
    pushes_and_pulls_charts(helm4);
}

/// A version with `+`, which stands as `_` in the tag.
fn pushes_and_pulls_charts(start: fn(&Endpoint, User) -> Tool) {
    for auth in Auth::ALL {
        let stage = Stage::with(auth);
        let tool = start(&stage.regseal.endpoint, ALICE);
        let chart = format!(
            "apiVersion: v2\nname: chart\nversion: 0.1.0+build.1\ndescription: {}\n",
            random_hex(8)
        );
        tool.file("chart/Chart.yaml", chart);
        tool.file("pulled/here", "");
        tool.run(["package", "chart"]).success();
        let packed = "chart-0.1.0+build.1.tgz";
        let to = format!("oci://{}", tool.reference("charts"));
        tool.run(["push", "--plain-http", packed, &to]).success();
        let from = format!("{to}/chart");
        let pull = [
            "pull",
            "--plain-http",
            "--version",
            "0.1.0+build.1",
            "-d",
            "pulled",
            &from,
        ];
        tool.run(pull).success();
        let [sent, got] = ["", "pulled"].map(|dir| tool.home().join(dir).join(packed));
        assert_eq!(
            std::fs::read(sent).unwrap(),
            std::fs::read(got).unwrap(),
            "{auth:?}"
        );
        assert_eq!(stage.repository("charts/chart").tags(), ["0.1.0_build.1"]);
    }
}
