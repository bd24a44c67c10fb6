//! TLS towards the registry.

use crate::support::images::NOTATION;
use crate::support::tls::{Authority, Pair};
use crate::support::{ALICE, Registry, Regseal};

fn regseal(registry: &Registry, trusted: Option<&Authority>, shown: Option<&Pair>) -> Regseal {
    let mut keys = vec!["trusts_proxy: acknowledged".to_owned()];
    keys.extend(trusted.map(|authority| format!("ca: {:?}", authority.file())));
    keys.extend(shown.map(|pair| {
        format!(
            "client_certificate: {:?}, client_key: {:?}",
            pair.certificate, pair.key
        )
    }));
    Regseal::builder(registry)
        .upstream(&format!("https://{}", registry.endpoint.authority))
        .config(&format!("upstream: {{{}}}\n", keys.join(", ")))
        .start()
}

#[test]
fn images_and_signatures_pass_where_both_know_each_other() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let registry = Registry::with_tls(&authority.sign("registry"), Some(&clients));
    let regseal = regseal(&registry, Some(&authority), Some(&clients.sign("regseal")));
    let repository = regseal.endpoint.repository(ALICE, "team/app");
    let image = repository.push_image("v1");
    let signature = repository.attach(NOTATION, &image);
    assert_eq!(repository.referrers(&image), [signature.as_referrer()]);
    assert_eq!(repository.get_manifest("v1").expect(200).body, image.bytes);
}

#[test]
fn a_registry_that_is_not_known_or_does_not_know_regseal_is_not_spoken_to() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let registry = Registry::with_tls(&authority.sign("registry"), Some(&clients));
    let other = Authority::new();
    let [right, wrong] = [clients.sign("right"), other.sign("wrong")];
    for (trusted, shown, why) in [
        (
            None,
            Some(&right),
            "an authority that the system does not know",
        ),
        (Some(&other), Some(&right), "another authority"),
        (Some(&authority), None, "no certificate"),
        (
            Some(&authority),
            Some(&wrong),
            "a certificate of somebody else",
        ),
    ] {
        let regseal = regseal(&registry, trusted, shown);
        let reply = regseal
            .endpoint
            .http(ALICE)
            .get("/v2/team/app/manifests/v1");
        assert_eq!(reply.status, 502, "{why}: {reply:?}");
        let said = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(
            !said.contains(&registry.endpoint.authority),
            "{why}: {said}"
        );
    }
}
