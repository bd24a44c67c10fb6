//! The programs people use, over TLS.

use super::{Stage, curl, tls};
use crate::support::clients::Tool;
use crate::support::docker::Docker;
use crate::support::images::{LAYER, SBOM, random_hex};
use crate::support::policy::metric;
use crate::support::tls::{Authority, Pair};
use crate::support::{ALICE, Content};

#[test]
fn curl_reads_and_writes_over_both_versions_of_http() {
    let authority = Authority::new();
    let stage = Stage::with(&tls(&authority.sign("server"), None));
    let host = stage.authority().to_owned();
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let blob = Content::new(LAYER, random_hex(1 << 20));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &blob.bytes).unwrap();
        let data = format!("@{}", file.path().display());
        let opened = curl(
            Some(&authority),
            &[
                flag,
                "-X",
                "POST",
                "-D",
                "-",
                &format!("https://{host}/v2/app/blobs/uploads/"),
            ],
        )
        .success()
        .says(&format!("202 {version}"));
        let location = opened
            .stdout
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .starts_with("location:")
                    .then(|| line[9..].trim().to_owned())
            })
            .unwrap();
        assert!(
            location.starts_with('/') || location.starts_with("https://"),
            "{location}"
        );
        let path = location
            .strip_prefix(&format!("https://{host}"))
            .unwrap_or(&location);
        let whole = format!("https://{host}{path}&digest={}", blob.digest());
        curl(
            Some(&authority),
            &[
                flag,
                "-X",
                "PUT",
                "--data-binary",
                &data,
                "-H",
                "Content-Type: application/octet-stream",
                &whole,
            ],
        )
        .success()
        .says(&format!("201 {version}"));
        let read = curl(
            Some(&authority),
            &[
                flag,
                &format!("https://{host}/v2/app/blobs/{}", blob.digest()),
            ],
        )
        .success();
        let expected = format!("{}\n200 {version}", String::from_utf8_lossy(&blob.bytes));
        assert!(
            read.stdout == expected,
            "the blob came back changed over {flag}"
        );
        let part = curl(
            Some(&authority),
            &[
                flag,
                "-r",
                "5-9",
                &format!("https://{host}/v2/app/blobs/{}", blob.digest()),
            ],
        );
        let expected = format!(
            "{}\n206 {version}",
            String::from_utf8_lossy(&blob.bytes[5..10])
        );
        assert_eq!(part.success().stdout, expected);
    }
    for asked in stage.gate.seen() {
        assert_eq!(asked.header("x-forwarded-proto"), "https", "{asked:?}");
        assert_eq!(asked.header("x-forwarded-host"), host, "{asked:?}");
    }
}

#[test]
fn crane_and_oras_believe_the_authority_that_they_are_told_of() {
    let authority = Authority::new();
    let stage = Stage::with(&tls(&authority.sign("server"), None));
    let endpoint = &stage.regseal.endpoint;
    let image = stage.behind("source/app").push_image("v1");
    let ca = authority.file().display().to_string();
    let tool = |name: &str| Tool::new(name, endpoint).environment("SSL_CERT_FILE", &ca);

    let crane = tool("crane");
    let (from, to) = (
        crane.reference("source/app:v1"),
        crane.reference("copy/app:v1"),
    );
    crane.run(["copy", &from, &to]).success();
    let digest = crane.run(["digest", &to]).success();
    assert_eq!(digest.stdout, image.digest());

    let oras = tool("oras");
    oras.file("sbom.json", "{}");
    let subject = oras.reference("copy/app:v1");
    oras.run([
        "attach",
        "--artifact-type",
        SBOM,
        &subject,
        "sbom.json:application/json",
    ])
    .success();
    oras.run(["discover", "--format", "json", &subject])
        .success()
        .says(SBOM);

    let stranger = Tool::new("crane", endpoint).run(["digest", &to]);
    assert!(!stranger.succeeded(), "crane believes any certificate");
}

#[test]
fn docker_pushes_and_pulls() {
    let authority = Authority::new();
    let stage = Stage::with(&tls(&authority.sign("server"), None));
    stage.behind("source/app").push_image("v1");
    // It believes any certificate of the loopback, but speaks in clear only where there is no TLS.
    let docker = Docker::start(&stage.regseal.endpoint, ALICE);
    let (from, to) = (
        docker.tool.reference("source/app:v1"),
        docker.tool.reference("copy/app:v1"),
    );
    docker.tool.run(["pull", &from]).success();
    docker.tool.run(["tag", &from, &to]).success();
    docker.tool.run(["push", &to]).success();
    docker.tool.run(["rmi", &to]).success();
    docker.tool.run(["pull", &to]).success();
    assert_eq!(stage.behind("copy/app").tags(), ["v1"]);
}

#[test]
fn only_clients_with_a_certificate_of_the_authority_come_in_where_one_is_needed() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let stage = Stage::with(&tls(&authority.sign("server"), Some(&clients)));
    let url = format!("https://{}/v2/", stage.authority());
    let with = |flag: &str, shown: Option<&Pair>| {
        let files =
            shown.map(|pair| [&pair.certificate, &pair.key].map(|file| file.display().to_string()));
        let mut arguments = vec![flag, &url];
        if let Some([certificate, key]) = &files {
            arguments.extend(["--cert", certificate, "--key", key]);
        }
        curl(Some(&authority), &arguments)
    };
    let (known, stranger) = (clients.sign("known"), others.sign("stranger"));
    for flag in ["--http1.1", "--http2"] {
        with(flag, Some(&known)).success().says("\n200 ");
        for (shown, why) in [(None, "none"), (Some(&stranger), "of another authority")] {
            assert!(!with(flag, shown).succeeded(), "{why}");
        }
    }
    assert_eq!(
        stage.gate.seen().len(),
        2,
        "strangers do not reach the registry"
    );
    let counted = metric(
        &stage.regseal,
        "regseal_connections_refused_total",
        &["reason=\"client_certificate\""],
    );
    assert_eq!(counted, 4.0);
}
