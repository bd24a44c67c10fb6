//! Certificates and keys, who may say something about clients, and whom a registry decides about.

use super::*;

/// Beside two certificates: `a.crt` with `a.key`, and `b.crt` with `b.key`.
fn case(file: &str) -> Case {
    let case = Case::new(file);
    for name in ["a", "b"] {
        case.certificate(&format!("{name}.crt"), &format!("{name}.key"));
    }
    let write = |name: &str, text: &str| {
        std::fs::write(case.directory.path().join(name), text).unwrap();
    };
    write("empty", "");
    write("text", "hidden");
    case
}

fn mistakes(file: &str) -> String {
    let case = case(file);
    let mistakes = case.load(&[]).unwrap_err();
    assert!(!mistakes.contains("hidden"), "{mistakes}");
    let place = format!("{}/", case.directory.path().display());
    mistakes.replace(&place, "")
}

#[test]
fn a_mistake_in_a_certificate_names_file_key_and_line() {
    for (tls, expected) in [
        (
            "{certificate: a.crt, key: b.key}",
            "listen.tls.key: b.key is not the key of the certificate",
        ),
        (
            "{certificate: none.crt, key: a.key}",
            "listen.tls.certificate: cannot read none.crt: No such file or directory (os error 2)",
        ),
        (
            "{certificate: empty, key: a.key}",
            "listen.tls.certificate: empty has no certificate",
        ),
        (
            "{certificate: a.crt, key: text}",
            "listen.tls.key: text has no private key",
        ),
        (
            "{certificate: a.key, key: a.crt}",
            "listen.tls.certificate: a.key has no certificate\nregseal.yaml:3: listen.tls.key: a.crt has no private key",
        ),
        (
            "{certificate: a.crt, key: a.key, client_ca: a.key}",
            "listen.tls.client_ca: a.key has no certificate",
        ),
    ] {
        let file = format!("upstream: {{url: http://a}}\nlisten:\n  tls: {tls}\n");
        assert_eq!(mistakes(&file), format!("regseal.yaml:3: {expected}"));
    }
    let half = mistakes("upstream: {url: http://a}\nlisten: {tls: {key: a.key}}\n");
    assert!(
        half.starts_with("listen.tls.certificate: required"),
        "{half}"
    );
    let ca = mistakes("upstream: {url: https://a, ca: text}\n");
    assert_eq!(ca, "regseal.yaml:1: upstream.ca: text has no certificate");
}

#[test]
fn a_registry_that_knows_regseal_needs_clients_that_are_known_or_somebody_who_knows() {
    let client = "url: https://a, client_certificate: a.crt, client_key: a.key";
    let tls = "certificate: b.crt, key: b.key";
    for (file, expected, why) in [
        (
            format!("upstream: {{{client}}}\n"),
            Some(
                "regseal.yaml:1: upstream.client_certificate: needs listen.tls.client_ca, or upstream.trusts_proxy: acknowledged: ",
            ),
            "anybody could come",
        ),
        (
            format!("upstream: {{{client}, trusts_proxy: no}}\nlisten: {{tls: {{{tls}}}}}\n"),
            Some("regseal.yaml:1: upstream.client_certificate: needs listen.tls.client_ca, or "),
            "and TLS alone keeps nobody out",
        ),
        (
            format!("upstream: {{{client}}}\nlisten: {{tls: {{{tls}, client_ca: b.crt}}}}\n"),
            None,
            "clients are known",
        ),
        (
            format!("upstream: {{{client}, trusts_proxy: acknowledged}}\n"),
            None,
            "acknowledged",
        ),
        (
            "upstream: {url: https://a, client_key: a.key}\n".to_owned(),
            Some("upstream.client_certificate: required"),
            "half",
        ),
        (
            "upstream: {url: http://a, client_certificate: a.crt, client_key: a.key}\n".to_owned(),
            Some(
                "regseal.yaml:1: upstream.client_certificate: has an effect only with an https upstream.url",
            ),
            "in clear",
        ),
    ] {
        match expected {
            Some(expected) => {
                let mistakes = mistakes(&file);
                assert!(mistakes.starts_with(expected), "{why}: {mistakes}");
            }
            None => assert!(case(&file).load(&[]).is_ok(), "{why}"),
        }
    }
}

#[test]
fn networks_are_read() {
    let file = "upstream: {url: http://a}\nlisten: {proxy_protocol: {from: [10.0.0.0/8]}, trusted_proxies: [127.0.0.1, fd00::/8]}\n";
    let listen = case(file).load(&[]).unwrap().listen;
    let shown = |networks: &[ipnet::IpNet]| {
        let shown: Vec<String> = networks.iter().map(ToString::to_string).collect();
        shown.join(" ")
    };
    assert_eq!(shown(&listen.proxy_protocol), "10.0.0.0/8");
    assert_eq!(shown(&listen.trusted_proxies), "127.0.0.1/32 fd00::/8");
    let wrong = mistakes(
        "upstream: {url: http://a}\nlisten:\n  trusted_proxies:\n    - 10.0.0.1/8\n    - all\n",
    );
    assert_eq!(wrong.lines().count(), 2, "{wrong}");
    assert!(
        wrong.starts_with("regseal.yaml:4: listen.trusted_proxies: expected a network"),
        "{wrong}"
    );
}
