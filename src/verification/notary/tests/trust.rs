//! Trust policies, trust stores and names: what is taken, and what is refused with which words.

use std::fs;

use serde_json::{Value, json};

use super::super::distinguished_name::{DistinguishedName, NameError};
use super::super::trust_store::{LARGEST, MOST_FILES};
use super::super::{Action, Level, TrustPolicy, TrustStores, VerifyTimestamp};
use super::maker::{Template, p256};
use super::store_directory;
use crate::verification::CheckName;

fn usual(name: &str, scopes: &[&str]) -> Value {
    json!({
        "name": name,
        "registryScopes": scopes,
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:it"],
        "trustedIdentities": ["*"],
    })
}

fn document(statements: &[Value]) -> String {
    json!({"version": "1.0", "trustPolicies": statements}).to_string()
}

/// The mistakes of a document with one statement that has these members in place of the usual ones.
fn mistakes(members: &Value) -> Vec<String> {
    let mut statement = usual("release", &["host/a"]);
    for (name, value) in members.as_object().unwrap() {
        if value.is_null() {
            statement.as_object_mut().unwrap().remove(name);
        } else {
            statement[name] = value.clone();
        }
    }
    match TrustPolicy::parse(document(&[statement]).as_bytes()) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_statement_is_refused_for_each_mistake() {
    let verification = |members: Value| json!({"signatureVerification": members});
    let overriding = |name: &str, action: &str| json!({"signatureVerification": {"level": "strict", "override": {name: action}}});
    for (members, expected) in [
        (json!({}), ""),
        (overriding("revocation", "skip"), ""),
        (
            verification(json!({"level": "audit", "verifyTimestamp": "afterCertExpiry"})),
            "",
        ),
        (
            json!({"trustedIdentities": ["x509.subject: C=a,ST=b,O=c", "other: x"]}),
            "",
        ),
        (
            json!({"registryScopes": ["reg.example:5000/a/b", "10.0.0.1/x_y"]}),
            "",
        ),
        (json!({"name": null}), "name is missing"),
        (json!({"name": ""}), "name must not be empty"),
        (json!({"name": 1}), "name must be a string"),
        (json!({"scopes": []}), "unknown field \"scopes\""),
        (
            json!({"registryScopes": []}),
            "registryScopes must not be empty",
        ),
        (
            json!({"registryScopes": null}),
            "registryScopes must not be empty",
        ),
        (json!({"registryScopes": "*"}), "must be a list of strings"),
        (
            json!({"registryScopes": ["*", "host/a"]}),
            "must be the only one",
        ),
        (
            json!({"registryScopes": ["host/a", "host/a"]}),
            "listed before",
        ),
        (
            json!({"registryScopes": ["host/*"]}),
            "must be host[:port]/repository",
        ),
        (
            json!({"registryScopes": ["host"]}),
            "must be host[:port]/repository",
        ),
        (
            json!({"registryScopes": ["https://host/a"]}),
            "must be host[:port]/repository",
        ),
        (
            json!({"registryScopes": ["host/a:tag"]}),
            "must be host[:port]/repository",
        ),
        (
            json!({"registryScopes": ["host:/a"]}),
            "must be host[:port]/repository",
        ),
        (
            json!({"registryScopes": ["-host/a"]}),
            "must be host[:port]/repository",
        ),
        (
            json!({"registryScopes": ["host/A"]}),
            "must be host[:port]/repository",
        ),
        (
            json!({"signatureVerification": null}),
            "signatureVerification is missing",
        ),
        (verification(json!({})), "level is missing"),
        (
            verification(json!({"level": "Strict"})),
            "strict, permissive, audit or skip",
        ),
        (
            verification(json!({"level": "strict", "overide": {}})),
            "unknown field \"overide\"",
        ),
        (
            verification(json!({"level": "strict", "verifyTimestamp": "never"})),
            "always or",
        ),
        (
            overriding("integrity", "log"),
            "\"integrity\" cannot be overridden",
        ),
        (overriding("expiry", "skip"), "enforce or log"),
        (overriding("revocation", "ignore"), "enforce, log or skip"),
        (
            verification(json!({"level": "skip"})),
            "trustStores must not be set",
        ),
        (json!({"trustStores": []}), "trustStores must not be empty"),
        (json!({"trustStores": ["it"]}), "trust store \"it\" must be"),
        (json!({"trustStores": ["*"]}), "trust store \"*\" must be"),
        (
            json!({"trustStores": ["CA:it"]}),
            "trust store \"CA:it\" must be",
        ),
        (
            json!({"trustStores": ["ca:.."]}),
            "trust store \"ca:..\" must be",
        ),
        (
            json!({"trustStores": ["ca:a/b"]}),
            "trust store \"ca:a/b\" must be",
        ),
        (
            json!({"trustedIdentities": null}),
            "trustedIdentities must not be empty",
        ),
        (
            json!({"trustedIdentities": [""]}),
            "must be \"x509.subject: DN\"",
        ),
        (
            json!({"trustedIdentities": ["*", "x509.subject: C=a,ST=b,O=c"]}),
            "the only one",
        ),
        (
            json!({"trustedIdentities": ["x509.subject: C=a,ST=b"]}),
            "O must be listed",
        ),
        (
            json!({"trustedIdentities": ["x509.subject C=a,ST=b,O=c"]}),
            "must be \"x509.subject",
        ),
        (
            json!({"trustedIdentities": ["x509.subject: C=a,ST=b,O=c", "x509.subject: O=c,C=a,S=b,CN=d"]}),
            "overlap",
        ),
    ] {
        let found = mistakes(&members);
        if expected.is_empty() {
            assert!(found.is_empty(), "{members}: {found:?}");
            continue;
        }
        assert!(
            found.iter().any(|text| text.contains(expected)),
            "{members}: {found:?}"
        );
        assert!(
            found
                .iter()
                .all(|text| text.starts_with("statement \"release\": ")
                    || text.starts_with("trustPolicies[0]: ")),
            "{found:?}"
        );
    }
}

#[test]
fn every_mistake_of_a_document_is_told_at_once() {
    let mut first = usual("release", &["*"]);
    first["signatureVerification"]["level"] = json!("skip");
    let mut second = usual("release", &["*"]);
    second["trustStores"] = json!(["nowhere", "ca:.."]);
    let text = document(&[first, second]).replacen("1.0", "2.0", 1);
    let found = TrustPolicy::parse(text.as_bytes()).unwrap_err();
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 8, "{found:#?}");
    for (text, why) in [
        ("{", "no JSON"),
        ("[]", "no object"),
        (r#"{"version":"1.0"}"#, "no statements"),
        (
            r#"{"version":"1.0","trustPolicies":{}}"#,
            "statements are no list",
        ),
        (
            r#"{"version":"1.0","version":"1.0","trustPolicies":[]}"#,
            "a field twice",
        ),
    ] {
        assert!(TrustPolicy::parse(text.as_bytes()).is_err(), "{why}");
    }
}

#[test]
fn the_exact_scope_goes_before_the_wildcard() {
    let text = document(&[
        usual("all", &["*"]),
        usual("one", &["reg:5000/a/b", "reg/c"]),
    ]);
    let policy = TrustPolicy::parse(text.as_bytes()).unwrap();
    for (scope, name) in [
        ("reg:5000/a/b", "one"),
        ("reg/c", "one"),
        ("reg/a/b", "all"),
        ("reg:5000/a", "all"),
        ("reg:5000/a/b/c", "all"),
        ("*", "all"),
    ] {
        assert_eq!(policy.applicable(scope).unwrap().name(), name, "{scope}");
    }
    assert_eq!(policy.statement("one").unwrap().scopes().len(), 2);
    let text = document(&[usual("one", &["reg/a"])]);
    let policy = TrustPolicy::parse(text.as_bytes()).unwrap();
    assert!(policy.applicable("reg/b").is_none());
    let statement = &policy.statements()[0];
    assert_eq!(statement.level(), Level::Strict);
    assert_eq!(statement.action(CheckName::Expiry), Action::Enforce);
    assert_eq!(statement.verify_timestamp(), VerifyTimestamp::Always);
}

#[test]
fn names_are_read_by_the_limited_grammar() {
    let mandatory = |kind| Err(NameError::Mandatory(kind));
    for (text, expected) in [
        ("C=US,ST=WA,O=x", Ok("C=US,O=x,ST=WA")),
        (" C = US ; S=WA;  O=x y  ", Ok("C=US,O=x y,ST=WA")),
        (
            r"C=US,ST=WA,O=a\,b\;c\+d\<e\>\=\#\\\20",
            Ok(r"C=US,O=a\,b\;c\+d\<e\>=#\\\ ,ST=WA"),
        ),
        (r"C=US,ST=WA,O=\C3\A9\ ", Ok(r"C=US,O=é\ ,ST=WA")),
        ("C=US,ST=WA,O=a=b", Ok("C=US,O=a=b,ST=WA")),
        ("c=US,ST=WA,O=x", mandatory("C")),
        ("C=US,O=x", mandatory("ST")),
        ("C=US,ST=WA", mandatory("O")),
        ("C=US,ST=WA,O=x,O=y", Err(NameError::Repeated("O".into()))),
        ("C=US,ST=WA,S=WB,O=x", Err(NameError::Repeated("ST".into()))),
        ("C=US+ST=WA,O=x", Err(NameError::MultiValued)),
        ("C=US,ST=WA,O=#04", Err(NameError::HexValue)),
        ("C=US,ST=WA,O=", Err(NameError::EmptyValue("O".into()))),
        ("C=US,ST=WA,O=x,", Err(NameError::Incomplete)),
        ("C=US,ST=WA,O", Err(NameError::Incomplete)),
        ("C=US,ST=WA,=x", Err(NameError::Incomplete)),
        ("", Err(NameError::Incomplete)),
        (r"C=US,ST=WA,O=\x", Err(NameError::Escape)),
        (r"C=US,ST=WA,O=\ff", Err(NameError::Escape)),
        (r"C=US,ST=WA,O=x\", Err(NameError::Escape)),
        (&"C".repeat(3000), Err(NameError::TooLong)),
    ] {
        let read = DistinguishedName::parse(text).map(|name| name.to_string());
        assert_eq!(read, expected.map(str::to_owned), "{text}");
    }
}

#[test]
fn a_directory_of_stores_is_read_whole_or_not_at_all() {
    let root = Template::authority("root").self_signed(&p256(1));
    let signer = Template::leaf("signer").self_signed(&p256(2));
    let issued =
        Template::leaf("issued").issued_by(&p256(3), &Template::authority("root"), &p256(1));
    let both = [root.clone(), signer.clone()].concat();
    let directory = || {
        store_directory(&[
            ("ca:it", &both),
            ("signingAuthority:x", &root),
            ("tsa:t", &root),
        ])
    };
    let sound = directory();
    let stores = TrustStores::read(sound.path()).unwrap();
    let listed: Vec<_> = stores
        .iter()
        .map(|(name, certificates)| format!("{name}={}", certificates.len()))
        .collect();
    assert_eq!(listed, ["ca:it=2", "signingAuthority:x=1", "tsa:t=1"]);
    let (_, certificates) = stores.iter().next().unwrap();
    assert_eq!(certificates[0].subject(), "CN=root");
    assert_eq!(certificates[0].expires().as_u64(), 1_893_456_000_001);

    type Spoil<'a> = &'a dyn Fn(&std::path::Path);
    let spoilers: [(Spoil<'_>, &str); 10] = [
        (
            &|x509| fs::create_dir(x509.join("ca/it/sub")).unwrap(),
            "ca:it/sub: is no regular file",
        ),
        (
            &|x509| fs::create_dir(x509.join("ca/empty")).unwrap(),
            "ca:empty: has no certificate",
        ),
        (
            &|x509| fs::create_dir(x509.join("other")).unwrap(),
            "other: is no type of trust store",
        ),
        (
            &|x509| fs::create_dir(x509.join("ca/a b")).unwrap(),
            "ca:a b: is no name",
        ),
        (
            &|x509| fs::write(x509.join("ca/file"), "").unwrap(),
            "ca:file: is no directory",
        ),
        (
            &|x509| fs::write(x509.join("ca/it/x"), "").unwrap(),
            "ca:it/x: has no certificate",
        ),
        (
            &|x509| fs::write(x509.join("ca/it/x"), "junk").unwrap(),
            "ca:it/x: is no certificate",
        ),
        (
            &|x509| fs::write(x509.join("ca/it/x"), &issued).unwrap(),
            "neither a CA nor self-signed",
        ),
        (
            &|x509| fs::write(x509.join("tsa/t/x"), &signer).unwrap(),
            "is no self-signed root CA",
        ),
        (
            &|x509| {
                let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
                fs::write(x509.join("ca/it/x"), key).unwrap();
            },
            "ca:it/x: is no certificate",
        ),
    ];
    for (spoil, expected) in spoilers {
        let directory = directory();
        spoil(&directory.path().join("x509"));
        let mistakes = TrustStores::read(directory.path()).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(
            mistakes[0].to_string().contains(expected),
            "{}",
            mistakes[0]
        );
    }
    let absent = TrustStores::read(&sound.path().join("absent")).unwrap();
    assert_eq!(absent.iter().count(), 0);
}

#[test]
fn what_is_too_much_is_not_read() {
    let root = Template::authority("root").self_signed(&p256(1));
    let junk = |length: u64| vec![b'x'; usize::try_from(length).unwrap()];
    let copies = |store: &str, count: usize| {
        let store = store.to_owned();
        (0..count).map(move |_| store.clone()).collect::<Vec<_>>()
    };
    let one = |content: Vec<u8>| (vec!["ca:it".to_owned()], content);
    for ((stores, content), expected) in [
        (
            one(junk(LARGEST)),
            "ca:it/0.crt: is no certificate in PEM or DER",
        ),
        (one(junk(LARGEST + 1)), "ca:it/0.crt: is larger than 1 MiB"),
        ((copies("ca:it", MOST_FILES), root.clone()), ""),
        (
            (copies("ca:it", MOST_FILES + 1), root.clone()),
            "ca:it: more than 1000 files are too many for trust stores",
        ),
        (
            ([copies("ca:it", 600), copies("tsa:it", 600)].concat(), root),
            "tsa:it: more than 1000 files are too many for trust stores",
        ),
    ] {
        let files: Vec<_> = stores
            .iter()
            .map(|store| (store.as_str(), content.as_slice()))
            .collect();
        let directory = store_directory(&files);
        let read = TrustStores::read(directory.path());
        let mistakes: Vec<String> = read
            .err()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(mistakes.join("; "), expected);
    }
}

#[cfg(unix)]
#[test]
fn symbolic_links_are_refused() {
    use std::os::unix::fs::symlink;

    let root = Template::authority("root").self_signed(&p256(1));
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("root.crt"), &root).unwrap();
    for (link, target) in [
        ("ca/it/link.crt", elsewhere.path().join("root.crt")),
        ("ca/link", elsewhere.path().to_owned()),
        ("tsa", elsewhere.path().to_owned()),
    ] {
        let directory = store_directory(&[("ca:it", &root)]);
        symlink(target, directory.path().join("x509").join(link)).unwrap();
        let mistakes = TrustStores::read(directory.path()).unwrap_err();
        assert!(
            mistakes[0].to_string().contains("symbolic link"),
            "{link}: {}",
            mistakes[0]
        );
    }
}
