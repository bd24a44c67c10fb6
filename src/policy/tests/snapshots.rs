//! A policy with all that it trusts in.

use super::place::{Key, Place, junk_envelope, root};
use super::*;

#[test]
fn each_authority_of_a_family_has_an_opinion() {
    let place = Place::new();
    let [one, other] = [Key::p384(), Key::p384()];
    place.write("one.pub", one.pem());
    place.write("other.pub", other.pem());
    place.write_trust(&[("x", "strict", "*")]);
    place.write_policy(
        "version: 1\nauthorities:\n  \
           one: {cosign: {key: one.pub, transparency_log: ignored}}\n  \
           other: {cosign: {key: other.pub, transparency_log: ignored}}\n  \
           named: {notation: {statement: x}}\n  \
           scoped: {notation: {}}\n\
         rules: [{name: all, repositories: ['**'], require: one, on_unsigned_push: reject}]\n",
    );
    let signature = one.signature(&image());
    assert_eq!(
        place.examine("app", &signature),
        ["one: valid", "other: untrusted"]
    );
    let replayed = one.signature(&Digest::sha256(b"other"));
    assert_eq!(
        place.examine("app", &replayed),
        ["one: invalid", "other: invalid"]
    );
    let envelope = junk_envelope();
    assert_eq!(
        place.examine("app", &envelope),
        ["named: invalid", "scoped: invalid"]
    );
}

#[test]
fn whatever_changes_what_is_decided_changes_the_revision() {
    let mut place = Place::new();
    place.write("one.pub", Key::p384().pem());
    place.write_trust(&[("x", "strict", "*")]);
    let text = "version: 1\nauthorities: {one: {cosign: {key: one.pub, transparency_log: ignored}}, two: {notation: {}}}\n\
                rules: [{name: all, repositories: ['**'], require: one, on_unsigned_push: reject}]\n";
    place.write_policy(text);
    let mut before = place.snapshot().revision().clone();
    assert_eq!(place.snapshot().revision(), &before, "nothing has changed");
    assert_eq!((before.policy.len(), before.trust.len()), (16, 16));

    let mut changed = |place: &Place, policy: bool, trust: bool, why: &str| {
        let now = place.snapshot().revision().clone();
        let found = (now.policy != before.policy, now.trust != before.trust);
        assert_eq!(found, (policy, trust), "{why}");
        before = now;
    };
    place.write_policy(&format!("{text}\n"));
    changed(&place, true, false, "the file");
    place.write("one.pub", Key::p384().pem());
    changed(&place, true, false, "a key");
    place.write("trust/trustpolicy.json", {
        let file = place.path("trust/trustpolicy.json");
        std::fs::read_to_string(file)
            .unwrap()
            .replace("strict", "permissive")
    });
    changed(&place, false, true, "the trust policy");
    place.write(
        "trust/truststore/x509/ca/it/root.crt",
        root("another", 2100),
    );
    changed(&place, false, true, "a certificate");
    place.write("trust/truststore/x509/ca/new/root.crt", root("new", 2100));
    changed(&place, false, true, "a store");
    place.registry = Some("elsewhere".to_owned());
    changed(&place, false, true, "the name of the registry");
}

#[test]
fn all_that_was_read_is_watched() {
    let place = Place::new();
    place.write("keys/one.pub", Key::p384().pem());
    place.write_trust(&[("x", "strict", "*")]);
    place.write_policy(
        "version: 1\nauthorities: {one: {cosign: {key: keys/one.pub, transparency_log: ignored}}, two: {notation: {}}}\n\
         rules: [{name: all, repositories: ['**'], require: one, on_unsigned_push: reject}]\n",
    );
    let snapshot = place.snapshot();
    for name in [
        "policy.yaml",
        "keys/one.pub",
        "trust/trustpolicy.json",
        "trust/truststore",
        "trust/truststore/x509/ca/it",
        "trust/truststore/x509/ca/it/root.crt",
    ] {
        assert!(snapshot.watched().contains(&place.path(name)), "{name}");
    }
}

#[test]
fn what_is_trusted_is_shown() {
    let place = Place::new();
    place.write("one.pub", Key::p384().pem());
    place.write_trust(&[("x", "permissive", "registry/app")]);
    place.write_policy(
        "version: 1\nauthorities: {one: {cosign: {key: one.pub, transparency_log: ignored}}, two: {notation: {statement: x}}}\n\
         rules: [{name: all, repositories: ['**'], require: one, on_unsigned_push: reject}]\n",
    );
    let inventory = place.snapshot().inventory();
    let [one, two] = inventory.authorities.as_slice() else {
        panic!("two authorities")
    };
    let key = one.key.as_ref().unwrap();
    assert!(key.fingerprint.starts_with("sha256:"));
    assert_eq!(key.hash.as_deref(), Some("SHA-384"));
    assert_eq!(
        (one.rules.as_slice(), &one.statement),
        (&["all".to_owned()][..], &None)
    );
    assert_eq!((two.rules.len(), two.statement.as_deref()), (0, Some("x")));
    assert_eq!(two.key, None);
    let statement = &inventory.statements[0];
    assert_eq!(
        (statement.name.as_str(), statement.level),
        ("x", "permissive")
    );
    assert_eq!(
        (statement.scopes[0].as_str(), statement.stores[0].as_str()),
        ("registry/app", "ca:it")
    );
    let certificate = &inventory.certificates[0];
    assert_eq!(
        (certificate.store.as_str(), certificate.subject.as_str()),
        ("ca:it", "CN=root")
    );
}
