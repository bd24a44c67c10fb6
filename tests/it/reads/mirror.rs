//! regseal as the mirror of a registry (distribution-spec "Registry Proxying").

use crate::support::containerd::Containerd;
use crate::support::gate::Gated;
use crate::support::{ALICE, Auth, Registry};

const APP: &str = "team/app";

#[test]
fn a_mirror_says_whose_it_is() {
    let stage = Gated::before(Registry::with(Auth::None));
    let repository = stage.repository(APP);
    let image = repository.push_image("v1");
    let own = stage.regseal.endpoint.authority.clone();
    let behind = stage.gate.endpoint.authority.clone();
    let layer = image.json()["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let paths = [
        format!("manifests/{}", image.digest()),
        format!("blobs/{layer}"),
        "tags/list".to_owned(),
        format!("referrers/{}", image.digest()),
    ];
    stage.gate.seen();
    for path in &paths {
        let ask = |query: &str| {
            let path = repository.path(&format!("{path}{query}"));
            let accept = [("Accept", crate::support::images::MANIFEST)];
            repository.http.request("GET", &path, &accept, "")
        };
        for namespace in [&behind, &own] {
            let reply = ask(&format!("?ns={namespace}")).expect(200);
            assert_eq!(reply.header("oci-namespace"), namespace, "{path}");
            let escaped = namespace.replace(':', "%3A");
            ask(&format!("?n=5&ns={escaped}")).expect(200);
        }
        assert_eq!(ask("?ns=").expect(200).header("oci-namespace"), "");
        assert_eq!(ask("").expect(200).header("oci-namespace"), "");
        let asked = stage.gate.seen();
        assert!(
            asked.iter().all(|asked| !asked.path.contains("ns=")),
            "{asked:?}"
        );
        for namespace in [
            "docker.io",
            "evil.example",
            &format!("{behind}&ns=evil.example"),
        ] {
            let reply = ask(&format!("?ns={namespace}")).refused(404, "NAME_UNKNOWN");
            assert_eq!(reply.header("oci-namespace"), "");
            assert!(stage.gate.seen().is_empty(), "{namespace}");
        }
    }
}

/// containerd goes on to the registry itself where a mirror has nothing.
#[test]
fn containerd_fetches_from_regseal_as_a_mirror() {
    let stage = Gated::before(Registry::with(Auth::None));
    let image = stage.behind(APP).push_image("v1");
    let containerd = Containerd::start(&stage.regseal.endpoint, ALICE);
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        stage.registry.endpoint.authority, stage.regseal.endpoint.authority
    );
    let mirrored = stage.gate.endpoint.authority.clone();
    for (namespace, through_regseal) in [("other.example", false), (mirrored.as_str(), true)] {
        let file = format!("hosts/{namespace}/hosts.toml");
        containerd.tool.file(&file, &text);
        stage.gate.seen();
        let reference = format!("{namespace}/{APP}:v1");
        containerd.fetch_by("hosts", &reference).success();
        let asked = stage.gate.seen();
        let manifests = asked
            .iter()
            .filter(|asked| asked.path.contains("/manifests/"));
        assert_eq!(
            manifests.count() > 0,
            through_regseal,
            "{namespace}: {asked:?}"
        );
        assert!(asked.iter().all(|asked| !asked.path.contains("ns=")));
    }
    let content = containerd.content(["ls", "-q"]).success().said();
    assert!(content.contains(&image.digest()), "{content}");
}
