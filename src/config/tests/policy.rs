//! The policy, what it trusts in, and what goes with it.

use super::*;
use crate::secret::Secret;

/// Files beside the configuration.
fn case(file: &str) -> Case {
    let case = Case::new(&format!("upstream: {{url: http://a}}\n{file}"));
    for (name, content) in [("token", "hidden\n"), ("key", "hidden"), ("empty", "")] {
        std::fs::write(case.directory.path().join(name), content).unwrap();
    }
    case
}

const S3: &str = "storage: {s3: {bucket: signatures}}\nindex: {redis: {url: redis://redis}}\n";

#[test]
fn paths_start_where_they_are_written() {
    let case = case("policy: {file: policy.yaml}\ntrust: {directory: trust}\n");
    let place = case.directory.path();
    let settings = case.load(&[]).unwrap();
    assert_eq!(settings.policy.file, Some(place.join("policy.yaml")));
    assert_eq!(settings.policy.trust_directory, Some(place.join("trust")));

    let flags = Flags {
        policy: Some("other.yaml".to_owned()),
        ..case.flags.clone()
    };
    let settings = load(&flags, &case.environment(&[])).unwrap();
    assert_eq!(settings.policy.file, Some(place.join("other.yaml")), "flag");

    let settings = case.load(&[("REGSEAL__POLICY__FILE", "/etc/p.yaml")]);
    let file = settings.unwrap().policy.file;
    assert_eq!(file, Some("/etc/p.yaml".into()), "variable");
}

#[test]
fn without_keys_there_is_neither_policy_nor_admin_api() {
    let settings = case("").load(&[]).unwrap();
    assert_eq!(settings.policy, Policy::default());
    assert_eq!(settings.keys, Keys::default());
    assert_eq!(settings.admin.token, None);
    assert_eq!(settings.upstream.unwrap().service_account, None);
    assert_eq!(settings.auth.token_relay, TokenRelay::Auto);
    assert!(settings.auth.realms.is_empty());
}

#[test]
fn credentials_and_token_services_are_read() {
    let settings = case(
        "admin: {token_file: token}\nauth: {token_relay: off, realms: [https://a/token, http://b:1]}\n\
         keys: {sealing: [key]}\n",
    );
    let settings = settings
        .load(&[
            ("REGSEAL__UPSTREAM__SERVICE_ACCOUNT__USERNAME", "robot"),
            ("REGSEAL__UPSTREAM__SERVICE_ACCOUNT__PASSWORD", "hidden"),
        ])
        .unwrap();
    assert_eq!(settings.admin.token, Some(Secret::new("hidden")));
    assert_eq!(settings.auth.token_relay, TokenRelay::Off);
    let realms: Vec<String> = settings
        .auth
        .realms
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(realms, ["https://a/token", "http://b:1/"]);
    assert_eq!(settings.keys.sealing.len(), 1);
    let account = settings.upstream.unwrap().service_account.unwrap();
    assert_eq!(
        (account.username.as_str(), account.password.expose()),
        ("robot", "hidden")
    );
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (file, expected, why) in [
        (
            format!("{S3}policy: {{file: p}}\n"),
            "regseal.yaml:4: policy.file: needs keys.sealing: with S3 the replicas share what they have found out, sealed",
            "no key that all replicas have",
        ),
        (
            "admin: {token_file: empty}".to_owned(),
            "regseal.yaml:2: admin.token_file: PLACE/empty is empty",
            "an empty token",
        ),
        (
            "admin: {token_file: missing}".to_owned(),
            "regseal.yaml:2: admin.token_file: cannot read PLACE/missing: No such file or directory (os error 2)",
            "no token",
        ),
        (
            "auth: {realms: [https://a?b, 'https://u:hidden@c', 7]}".to_owned(),
            "regseal.yaml:2: auth.realms: a URL without query is expected here\n\
             regseal.yaml:2: auth.realms: a URL without userinfo is expected here\n\
             regseal.yaml:2: auth.realms: expected a URL such as https://registry.example.com, found 7",
            "no URLs",
        ),
        (
            "auth: {realms: https://a}".to_owned(),
            "regseal.yaml:2: auth.realms: expected a list of URLs, found \"https://a\"",
            "no list",
        ),
        (
            "policy: policy.yaml".to_owned(),
            "regseal.yaml:2: policy: expected a mapping of keys, found \"policy.yaml\"",
            "no mapping",
        ),
        (
            "trust: {directory: ''}".to_owned(),
            "regseal.yaml:2: trust.directory: expected a path, found \"\"",
            "no path",
        ),
    ] {
        let case = case(&file);
        let place = case.directory.path().to_str().unwrap().to_owned();
        let mistakes = case.load(&[]).unwrap_err().replace(&place, "PLACE");
        assert_eq!(mistakes, expected, "{why}");
    }
    assert!(
        case(&format!(
            "{S3}policy: {{file: p}}\nkeys: {{sealing: [key]}}\n"
        ))
        .load(&[])
        .is_ok()
    );
    assert!(case(S3).load(&[]).is_ok(), "no policy, no key");
}

#[test]
fn a_service_account_is_whole() {
    for (account, expected, why) in [
        (
            "{username: a}",
            "regseal.yaml:1: upstream.service_account.username: needs a password or password_file for the user it names",
            "no password",
        ),
        (
            "{password: hidden}",
            "upstream.service_account.username: required: set it in the file or with REGSEAL__UPSTREAM__SERVICE_ACCOUNT__USERNAME",
            "no user",
        ),
        (
            "{username: a, password: hidden, password_file: x}",
            "regseal.yaml:1: upstream.service_account.password_file: only one of this and upstream.service_account.password can be set",
            "two passwords",
        ),
    ] {
        let mistakes = mistakes(&format!(
            "upstream: {{url: http://a, service_account: {account}}}\n"
        ));
        let first = mistakes.lines().next().unwrap();
        assert_eq!(first, expected, "{why}");
        assert!(!mistakes.contains("hidden"), "{why}");
    }
}
