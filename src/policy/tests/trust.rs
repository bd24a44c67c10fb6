//! Keys, trust policies and trust stores: what is wrong with them, and what can never be satisfied.

use super::place::{Key, Place, root};
use super::*;

const KEY: &str = "{cosign: {key: one.pub, transparency_log: ignored}}";
const STATEMENT: &str = "{notation: {statement: release}}";
const SCOPED: &str = "{notation: {}}";

/// What is wrong with the key of an authority that needs one.
#[track_caller]
fn of_key(content: impl AsRef<[u8]>) -> String {
    let place = Place::new();
    place.require(KEY);
    place.write("one.pub", content);
    place.mistakes()
}

#[test]
fn a_key_that_is_none_is_told_where_it_is_named() {
    let start = "policy.yaml:3: authorities.one.cosign.key: one.pub: ";
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (content, expected) in [
        (
            b"junk".to_vec(),
            "no PEM block; a public key begins with -----BEGIN PUBLIC KEY-----",
        ),
        (vec![0xff, 0xfe], "not a text in PEM"),
        (
            private.into(),
            "a private key; the public key is what verifies (cosign public-key --key FILE)",
        ),
        (
            vec![b'x'; (1 << 20) + 1],
            "cannot be read: is larger than 1 MiB",
        ),
    ] {
        assert_eq!(of_key(content), format!("{start}{expected}"));
    }
    let place = Place::new();
    place.require(KEY);
    let missing = "cannot be read: No such file or directory (os error 2)";
    assert_eq!(place.mistakes(), format!("{start}{missing}"));
    std::fs::create_dir(place.path("one.pub")).unwrap();
    assert_eq!(
        place.mistakes(),
        format!("{start}cannot be read: is no regular file")
    );

    place.require("{cosign: {key: '-----BEGIN X', transparency_log: ignored}}");
    let mistakes = place.mistakes();
    let start = "policy.yaml:3: authorities.one.cosign.key: ";
    assert!(mistakes.starts_with(start), "{mistakes}");
}

#[test]
fn a_key_can_stand_in_the_policy_itself() {
    let place = Place::new();
    let key = Key::p384();
    let pem = key.pem().replace('\n', "\n        ");
    place.require(&format!(
        "\n    cosign:\n      transparency_log: ignored\n      key: |\n        {pem}"
    ));
    assert_eq!(
        place.examine("app", &key.signature(&image())),
        ["one: valid"]
    );
}

#[test]
fn a_policy_that_cannot_be_read_is_told() {
    let place = Place::new();
    assert_eq!(
        place.mistakes(),
        "policy.yaml: cannot be read: No such file or directory (os error 2)"
    );
    place.write("policy.yaml", [0xff, 0xfe]);
    assert_eq!(place.mistakes(), "policy.yaml: is not UTF-8");
}

#[test]
fn a_trust_directory_is_whole() {
    let mut place = Place::new();
    place.require(STATEMENT);
    assert_eq!(place.mistakes(), "trust: has no trustpolicy.json");

    place.write_trust(&[("relaese", "strict", "*")]);
    assert_eq!(
        place.mistakes(),
        "policy.yaml:3: authorities.one.notation.statement: trust/trustpolicy.json has no statement \"release\" \
         (did you mean \"relaese\"?)"
    );

    place.write(
        "trust/trustpolicy.json",
        r#"{"version": "1.0", "trustPolicies": [{"nam": 1}]}"#,
    );
    place.write("trust/truststore/x509/ca/it/x.crt", "junk");
    place.write("trust/truststore/x509/ca/b/a.crt", root("b", 2100));
    let mistakes = place.mistakes();
    for expected in [
        "trust/trustpolicy.json: ",
        "trust/truststore: ca:it/x.crt: is no certificate in PEM or DER",
    ] {
        assert!(
            mistakes.lines().any(|line| line.starts_with(expected)),
            "{mistakes}"
        );
    }
    assert!(!mistakes.contains("ca:b"), "{mistakes}");

    // Mistakes of all files are told together, those of the policy first.
    place.write_policy(
        "version: 1\nauthorities: {one: {notation: {statement: release}}}\n\
         rules: [{name: all, repositories: ['**'], require: one, on_unsigned_push: no}]\n",
    );
    let mistakes = place.mistakes();
    let files: Vec<&str> = mistakes
        .lines()
        .filter_map(|line| line.split(':').next())
        .collect();
    assert_eq!(files.first(), Some(&"policy.yaml"), "{mistakes}");
    assert!(files.contains(&"trust/trustpolicy.json"), "{mistakes}");

    place.has_trust = false;
    place.require(STATEMENT);
    assert_eq!(
        place.mistakes(),
        "policy.yaml:3: authorities.one.notation: needs trust.directory"
    );
}

#[test]
fn the_trust_policy_for_images_comes_before_the_older_name() {
    let place = Place::new();
    place.require(STATEMENT);
    place.write_trust(&[("release", "strict", "*")]);
    assert!(place.load().is_ok());
    place.write("trust/trustpolicy.oci.json", "{}");
    assert!(place.mistakes().starts_with("trust/trustpolicy.oci.json: "));
}

#[test]
fn authorities_that_are_counted_are_not_one() {
    let place = Place::new();
    let [one, other] = [Key::p384(), Key::p384()];
    place.write("one.pub", one.pem());
    place.write("copy.pub", format!("\n{}", one.pem()));
    place.write("other.pub", other.pem());
    place.write_trust(&[("x", "strict", "*"), ("y", "strict", "registry/y")]);
    let key = |file: &str| format!("{{cosign: {{key: {file}, transparency_log: ignored}}}}");
    let statement = |name: &str| format!("{{notation: {{statement: {name}}}}}");
    let counted = "{at_least: 2, of: [a, b]}";
    for (a, b, require, is_one) in [
        (key("one.pub"), key("other.pub"), counted, false),
        (key("one.pub"), key("one.pub"), counted, true),
        (key("one.pub"), key("copy.pub"), counted, true),
        (key("one.pub"), key("copy.pub"), "{any: [a, b]}", false),
        (
            key("one.pub"),
            key("copy.pub"),
            "{any: [{at_least: 1, of: [a, {all: [b]}]}]}",
            true,
        ),
        (statement("x"), statement("y"), counted, true),
        (statement("x"), statement("y"), "{any: [a, b]}", false),
        (statement("x"), statement("x"), counted, true),
        (SCOPED.to_owned(), SCOPED.to_owned(), counted, true),
        (statement("x"), key("one.pub"), counted, false),
    ] {
        place.write_policy(&format!(
            "version: 1\nauthorities: {{a: {a}, b: {b}}}\n\
             rules: [{{name: all, repositories: ['**'], require: {require}, on_unsigned_push: reject}}]\n"
        ));
        let mistakes = place
            .load()
            .map_or_else(|errors| errors.to_string(), |_| String::new());
        assert_eq!(
            mistakes.contains("which could count twice"),
            is_one,
            "{a} {b} {require}: {mistakes}"
        );
        assert_eq!(mistakes.is_empty(), !is_one, "{mistakes}");
    }
}

#[test]
fn what_can_never_be_satisfied_is_told() {
    let start = "policy.yaml:3: authorities.one: warning: ";
    let mut place = Place::new();
    for (authority, level, scope, registry, expected, is_hopeless) in [
        (STATEMENT, "strict", "*", Some("registry"), "", false),
        (STATEMENT, "permissive", "elsewhere/x", None, "", false),
        (
            STATEMENT,
            "audit",
            "*",
            Some("registry"),
            "statement \"release\" only logs who has signed; whom it does not trust still does not count",
            false,
        ),
        (
            STATEMENT,
            "skip",
            "registry/x",
            Some("registry"),
            "statement \"release\" verifies nothing (level skip)",
            true,
        ),
        (SCOPED, "strict", "*", Some("registry"), "", false),
        (SCOPED, "strict", "registry/x", Some("registry"), "", false),
        (
            SCOPED,
            "strict",
            "registry.example/x",
            Some("registry"),
            "no statement has a scope that begins with registry/",
            true,
        ),
        (
            SCOPED,
            "strict",
            "registry/x",
            None,
            "listen.public_url is not set, and no statement has the scope *",
            true,
        ),
        (
            SCOPED,
            "strict",
            "*",
            None,
            "listen.public_url is not set, so that of all scopes only * applies",
            false,
        ),
        (
            SCOPED,
            "skip",
            "registry/x",
            Some("registry"),
            "statement \"release\" verifies nothing (level skip)",
            true,
        ),
    ] {
        place.require(authority);
        place.write_trust(&[("release", level, scope)]);
        place.registry = registry.map(str::to_owned);
        let expected: Vec<_> = (!expected.is_empty())
            .then(|| (format!("{start}{expected}"), is_hopeless))
            .into_iter()
            .collect();
        assert_eq!(place.warnings(), expected, "{authority} {level} {scope}");
    }
}

#[test]
fn a_statement_without_its_stores_is_told() {
    let place = Place::new();
    place.require(STATEMENT);
    for (stores, present, expected, is_hopeless) in [
        ("[\"ca:it\", \"ca:other\"]", true, "ca:other", false),
        ("[\"ca:other\"]", true, "ca:other", true),
        ("[\"tsa:times\"]", true, "tsa:times", true),
        ("[\"ca:it\"]", false, "ca:it", true),
    ] {
        place.write_trust(&[("release", "strict", "*")]);
        let file = place.path("trust/trustpolicy.json");
        let text = std::fs::read_to_string(&file)
            .unwrap()
            .replace("[\"ca:it\"]", stores);
        place.write("trust/trustpolicy.json", text);
        if !present {
            std::fs::remove_dir_all(place.path("trust/truststore")).unwrap();
        }
        let warning = format!(
            "policy.yaml:3: authorities.one: warning: statement \"release\": there is no trust store {expected}"
        );
        assert_eq!(place.warnings(), [(warning, is_hopeless)], "{stores}");
    }
}

#[test]
fn certificates_that_end_soon_are_told() {
    let place = Place::new();
    place.require(STATEMENT);
    place.write_trust(&[("release", "strict", "*")]);
    place.write("trust/truststore/x509/ca/it/old.crt", root("old", 2025));
    place.write("trust/truststore/x509/ca/it/soon.crt", root("soon", 2026));
    let warnings = place.warnings();
    let texts: Vec<&str> = warnings.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "trust/truststore: ca:it: warning: certificate CN=old: expired 2025-01-01T00:00:00.001Z",
            "trust/truststore: ca:it: warning: certificate CN=soon: expires 2026-01-01T00:00:00.001Z",
        ]
    );
}
